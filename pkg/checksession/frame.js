addEventListener("message", async event => {
  // Of an origin that has no name there is nobody whom an answer would reach alone.
  if (!event.source || event.origin === "null") return;
  // Only the page that shows us is answered, and what stands in it of its own origin. Some
  // browsers tell us by the referrer alone, and some pages send none.
  const shown = location.ancestorOrigins ? location.ancestorOrigins[0] : document.referrer ? new URL(document.referrer).origin : event.origin;
  if (shown !== event.origin) return;
  const answer = word => event.source.postMessage(word, event.origin);
  const asked = typeof event.data === "string" && /^([\x20-\x7e]+) ([^ ]+)$/.exec(event.data);
  // All but pages that are delivered insecurely have subtle, and those are no client's.
  if (!asked || !crypto.subtle) return answer("error");
  const name = (location.protocol === "https:" ? "SECURE" : "PLAIN") + "=";
  const state = (document.cookie.split("; ").find(cookie => cookie.startsWith(name)) || name).slice(name.length);
  // Where the browser shows us no cookies here, changed would be said for ever, and at
  // each time the client would ask the server.
  if (!state && document.hasStorageAccess && !await document.hasStorageAccess()) return answer("error");
  const [, client, told] = asked;
  const salt = told.slice(told.lastIndexOf(".") + 1);
  const text = new TextEncoder().encode([client, event.origin, state, salt].join(" "));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  const now = Array.from(hash, byte => byte.toString(16).padStart(2, "0")).join("") + "." + salt;
  // Whoever asks could make up the hash of no state at all, and see by it who is nobody.
  answer(state && now === told ? "unchanged" : "changed");
});

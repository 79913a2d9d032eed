package clients

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestSessionManagement is a client's page that watches kmint's frame, on another port,
// and on another site.
func TestSessionManagement(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	w := newWatcher(t, false)
	t.Run("another port", w.watches)
	t.Run("kept out", w.isKeptOut)
	w = newWatcher(t, true)
	t.Run("another site", w.watches)
	t.Run("a login begins", w.begins)
}

// A watcher is a relying party that asks the frame whose login the browser has (OpenID
// Connect Session Management 1.0 §3.1).
type watcher struct {
	url   string
	kmint *process
}

var watcherPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Party</title><h1>Party</h1>
<iframe id="op" title="Session" hidden src="{{.}}oidc/check_session"></iframe>
<script>
const op = new URL({{.}}).origin, answers = []
const ask = (message) => new Promise((resolve) => {
	addEventListener("message", (e) => { if (e.origin === op) resolve(e.data) }, {once: true})
	document.getElementById("op").contentWindow.postMessage(message, op)
})
const watch = async (message) => {
	do answers.push(await ask(message)), await new Promise((resolve) => setTimeout(resolve, 50))
	while (answers.at(-1) === "unchanged")
}
</script></html>`))

// strangerPage stands in a frame beside kmint's, and tells the client's page what it hears.
const strangerPage = `<!doctype html><html lang="en"><title>Stranger</title><script>
addEventListener("message", (e) => parent.postMessage("told " + e.data, "*"))
parent.frames[0].postMessage("watcher x", "*")
</script></html>`

// beside is what a page of that origin hears, "nothing" for a second of silence.
const beside = `.then(() => new Promise((resolve) => {
	addEventListener("message", (e) => { if (String(e.data).startsWith("told ")) resolve(e.data) })
	const frame = document.createElement("iframe")
	frame.src = origin + "/stranger"
	frame.onload = () => setTimeout(() => resolve("nothing"), 1000)
	document.body.append(frame)
}))`

func newWatcher(t *testing.T, crossSite bool) *watcher {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{url: "http://localhost:" + port}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(rw http.ResponseWriter, _ *http.Request) { _ = watcherPage.Execute(rw, w.kmint.issuer) })
	mux.HandleFunc("GET /begin", w.begin)
	mux.HandleFunc("GET /stranger", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(strangerPage)) })
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	var env []string
	if crossSite {
		certFile, keyFile := certificate(t)
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		w.url, server.TLS = "https://127.0.0.1:"+port, &tls.Config{Certificates: []tls.Certificate{pair}}
		server.StartTLS()
		env = []string{"TLS_CERT=" + certFile, "TLS_KEY=" + keyFile}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)

	person := func(name string) map[string]any {
		return map[string]any{"sub": name + "-user", "username": name, "password": password}
	}
	seed, err := json.Marshal(map[string]any{
		"clients": []any{map[string]any{
			"client_id": "watcher", "client_secret": strings.Repeat("watcher-secret-", 3), "client_name": "Party", "first_party": true,
			"grant_types": []string{"authorization_code"}, "redirect_uris": []string{w.url + "/callback"}, "web_origins": []string{w.url},
		}, map[string]any{
			"client_id": "begins", "client_secret": strings.Repeat("begins-secret-", 3), "client_name": "Party", "first_party": true,
			"redirect_uris": []string{w.url + "/callback"}, "initiate_login_uri": "https://" + strings.SplitN(w.url, "//", 2)[1] + "/begin?x=1",
		}},
		"users": []any{person(username), person("other")},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	w.kmint = makeRun(t, append(env, "SEED="+path)...)
	return w
}

// asks opens an authorization request, logs in as name if that is not "", and returns
// the session_state of the answer.
func (w *watcher) asks(b *tab, name string, pairs ...string) string {
	b.t.Helper()
	query := url.Values{"response_type": {"code"}, "client_id": {"watcher"}, "redirect_uri": {w.url + "/callback"}, "scope": {"openid"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	b.open(w.kmint.issuer + "authorize?" + query.Encode())
	if name != "" {
		shown(b, w.kmint.issuer)
		b.login(name, password)
	}
	at, err := url.Parse(b.at())
	if err != nil || !strings.HasPrefix(b.at(), w.url+"/callback?") || at.Query().Get("session_state") == "" {
		b.t.Fatalf("at %s: %s", b.at(), b.says())
	}
	return at.Query().Get("session_state")
}

// says fails the test where the frame says another word.
func (w *watcher) says(b *tab, want, message string) {
	b.t.Helper()
	if got := w.answer(b, fmt.Sprintf("%q", message)); got != want {
		b.t.Errorf("to %q it says %s, want %s", message, got, want)
	}
}

const onceLoaded = `new Promise((resolve) => document.readyState === "complete" ? resolve() : addEventListener("load", () => resolve()))`

func (w *watcher) answer(b *tab, message string) string {
	b.t.Helper()
	return run(b, chromedp.Evaluate[string](onceLoaded+".then(() => ask("+message+"))", chromedp.EvalAwaitPromise))
}

func (w *watcher) watches(t *testing.T) {
	b := newTab(t)
	// What any page could make up of a browser that nobody is logged in with.
	sum := sha256.Sum256([]byte("watcher " + w.url + "  salt"))
	made := "watcher " + hex.EncodeToString(sum[:]) + ".salt"
	b.open(w.url + "/")
	w.says(b, "changed", made)
	nobody := w.asks(b, "", "prompt", "none")
	w.says(b, "unchanged", "watcher "+nobody)
	w.says(b, "changed", made)
	told := w.asks(b, username)
	w.says(b, "unchanged", "watcher "+told)
	w.says(b, "unchanged", "watcher "+w.asks(b, "", "prompt", "none"))
	w.says(b, "unchanged", "watcher "+told)
	w.says(b, "changed", "watcher "+nobody)

	// The twins: what is not right, and what is not understood.
	hash, salt, _ := strings.Cut(told, ".")
	for message, want := range map[string]string{
		"other " + told:                          "changed",
		"watcher " + hash + "." + salt[1:] + "A": "changed",
		"watcher " + hash:                        "changed",
		"watcher x":                              "changed",
		told:                                     "error",
		" " + told:                               "error",
		"watcher ":                               "error",
		"":                                       "error",
	} {
		w.says(b, want, message)
	}
	for _, message := range []string{"null", "1", `{client: "watcher"}`, `["watcher ` + told + `"]`} {
		if got := w.answer(b, message); got != "error" {
			t.Errorf("to %s it says %s", message, got)
		}
	}

	// §3.2: "The OP iframe MUST enforce that the caller has the same origin as its parent
	// frame."
	here, _ := url.Parse(w.url)
	there := here.Scheme + "://" + map[string]string{"localhost": "127.0.0.1", "127.0.0.1": "localhost"}[here.Hostname()] + ":" + here.Port()
	for origin, want := range map[string]string{w.url: "told changed", there: "nothing"} {
		script := onceLoaded + strings.Replace(beside, "origin +", fmt.Sprintf("%q +", origin), 1)
		if got := run(b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); got != want {
			t.Errorf("a page of %s beside hears %s, want %s", origin, got, want)
		}
	}
	b.open(w.url + "/")

	// While one tab watches, the person leaves in another.
	watch := func(told string) {
		t.Helper()
		run(b, chromedp.Evaluate[any](onceLoaded+`.then(() => { answers.length = 0; watch("watcher `+told+`") }), null`))
	}
	changes := func(what string) {
		t.Helper()
		var answers []string
		for range 100 {
			if answers = evaluate[[]string](b, "answers"); slices.Contains(answers, "changed") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(answers) < 2 || answers[0] != "unchanged" || answers[len(answers)-1] != "changed" {
			t.Errorf("%s: it heard %v", what, answers)
		}
	}
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	second := &tab{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	watch(told)
	second.open(w.kmint.issuer + "oidc/logout")
	second.follow(chromedp.Click("button[type=submit]"))
	changes("a logout")
	nobody = w.asks(b, "", "prompt", "none")
	w.says(b, "unchanged", "watcher "+nobody)

	// Somebody comes, and then somebody else.
	watch(nobody)
	told = w.asks(second, username)
	changes("a login")
	w.says(b, "unchanged", "watcher "+told)
	watch(told)
	other := w.asks(second, "other", "prompt", "login")
	changes("another person's login")
	w.says(b, "unchanged", "watcher "+other)
	if strings.HasPrefix(w.url, "https:") {
		b.complained() // of cookies that cross sites, and of those that do not
	}
}

// isKeptOut: where the browser keeps our cookies from a frame on another site, the frame
// says error. By changed the client would ask us for ever. Here it is told so, and no more.
func (w *watcher) isKeptOut(t *testing.T) {
	b := newTab(t)
	told := w.asks(b, username)
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: "document.hasStorageAccess = () => Promise.resolve(false)",
	})
	b.open(w.url + "/")
	w.says(b, "unchanged", "watcher "+told) // it sees them all the same
	call(b, emulation.SetDocumentCookieDisabled, emulation.SetDocumentCookieDisabledParams{Disabled: true})
	b.open(w.url + "/")
	w.says(b, "error", "watcher "+told)
}

// begin is where a login begins that a third party wants (OpenID Connect Core 1.0 §4).
func (w *watcher) begin(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("iss") != w.kmint.issuer || query.Get("x") != "1" {
		http.Error(rw, "not from kmint", http.StatusBadRequest)
		return
	}
	request := url.Values{
		"response_type": {"code"}, "client_id": {"begins"}, "redirect_uri": {w.url + "/callback"}, "scope": {"openid"},
		"state": {"of its own " + query.Get("target_link_uri")}, "login_hint": {query.Get("login_hint")},
	}
	http.Redirect(rw, r, w.kmint.issuer+"authorize?"+request.Encode(), http.StatusFound)
}

// begins opens a bookmark: the client makes the request, and the person comes to it with
// a state that it knows.
func (w *watcher) begins(t *testing.T) {
	b := newTab(t)
	address := w.kmint.issuer + "login?" + url.Values{"client_id": {"begins"}, "login_hint": {"other"}, "target_link_uri": {w.url + "/inbox"}}.Encode()
	b.open(address)
	shown(b, w.kmint.issuer)
	if hint := evaluate[string](b, `document.querySelector("input[name=username]").value`); hint != "other" {
		t.Errorf("the page has the username %q", hint)
	}
	b.login("other", password)
	arrived := func() {
		t.Helper()
		at, err := url.Parse(b.at())
		if err != nil || !strings.HasPrefix(b.at(), w.url+"/callback?") || at.Query().Get("code") == "" || at.Query().Get("state") != "of its own "+w.url+"/inbox" {
			t.Errorf("at %s: %s", b.at(), b.says())
		}
	}
	arrived()
	b.open(address) // by the session, at once
	arrived()

	// The twins end on a page of ours.
	for query, says := range map[string]string{
		"client_id=watcher": "A login does not begin here.",
		"client_id=nobody":  "its client_id is wrong",
		"client_id=begins&target_link_uri=https%3A%2F%2Fevil.example%2F": "no address of the application",
	} {
		if status := b.open(w.kmint.issuer + "login?" + query); status != http.StatusBadRequest || !strings.HasPrefix(b.at(), w.kmint.issuer+"login?") || !strings.Contains(b.says(), says) {
			t.Errorf("%s: %d at %s: %s", query, status, b.at(), b.says())
		}
	}
	b.complained() // of being sent on
}

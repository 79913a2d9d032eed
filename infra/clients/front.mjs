// The front channel of the full example by openid-client: hybrid, implicit, and the
// answers that are forms.

import assert from "node:assert/strict"
import * as client from "openid-client"
import { issuer, login } from "./example.mjs"

const redirect_uri = "http://localhost:8080/hybrid"
const discover = (...execute) => client.discovery(new URL(issuer), "demo-hybrid", {},
  client.ClientSecretBasic("demo-hybrid-secret-used-in-examples-only"), { execute: [client.allowInsecureRequests, ...execute] })
const ask = async (config, parameters = {}) => {
  const checks = {
    expectedState: client.randomState(), expectedNonce: client.randomNonce(), pkceCodeVerifier: client.randomPKCECodeVerifier(), maxAge: 600,
  }
  const back = await login(client.buildAuthorizationUrl(config, {
    redirect_uri, scope: "openid profile offline_access", state: checks.expectedState, nonce: checks.expectedNonce, max_age: "600",
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier), code_challenge_method: "S256", ...parameters,
  }))
  return { back, checks, answer: new URLSearchParams(back.hash.slice(1)) }
}
// What a form would post is told like a fragment.
const posted = ({ back, answer }) => new Request(back.origin + back.pathname, { method: "POST", body: answer })
const changed = (back, name, change) => {
  const url = new URL(back)
  const answer = new URLSearchParams(url.hash.slice(1))
  answer.set(name, change(answer.get(name)))
  url.hash = answer
  return url
}
const mismatched = (promise, claim) => assert.rejects(promise, (e) => {
  assert.equal(e.cause.cause.claim, claim, e)
  return true
})
const flip = (text) => (text[0] === "x" ? "y" : "x") + text.slice(1)

// Hybrid: the ID token that comes with the code says which code it is (c_hash).
const hybrid = await discover(client.useCodeIdTokenResponseType)
for (const response_mode of ["fragment", "form_post"]) {
  const asked = await ask(hybrid, { response_mode })
  assert.equal(asked.back.search, "")
  await mismatched(client.authorizationCodeGrant(hybrid, changed(asked.back, "code", flip), asked.checks), "c_hash")
  await mismatched(client.authorizationCodeGrant(hybrid, asked.back, { ...asked.checks, expectedNonce: "another" }), "nonce")
  const back = response_mode === "form_post" ? posted(asked) : asked.back
  const tokens = await client.authorizationCodeGrant(hybrid, back, asked.checks)
  assert.equal(tokens.claims().sub, "demo-buyer")
  assert.equal((await client.fetchUserInfo(hybrid, tokens.access_token, "demo-buyer")).name, "Demo Buyer")
  assert.ok((await client.refreshTokenGrant(hybrid, tokens.refresh_token)).access_token)
}

// Implicit: an ID token, and nothing else.
const implicit = await discover(client.useIdTokenResponseType)
for (const response_mode of ["fragment", "form_post"]) {
  const { back, checks, answer } = await ask(implicit, { response_mode, scope: "openid profile" })
  assert.deepEqual([...answer.keys()].sort(), ["id_token", "iss", "session_state", "state"])
  await mismatched(client.implicitAuthentication(implicit, back, "another", checks), "nonce")
  await assert.rejects(client.implicitAuthentication(implicit, changed(back, "id_token", (t) => t.slice(0, -9) + flip(t.slice(-9))), checks.expectedNonce, checks),
    (e) => /signature/.test(e.cause.message))
  const received = response_mode === "form_post" ? posted({ back, answer }) : back
  const claims = await client.implicitAuthentication(implicit, received, checks.expectedNonce, checks)
  assert.equal(claims.sub, "demo-buyer")
  assert.equal(claims.name, "Demo Buyer") // there is no userinfo to ask
}

// The code flow by a form.
const code = await discover()
{
  const asked = await ask(code, { response_mode: "form_post" })
  assert.deepEqual([...asked.answer.keys()].sort(), ["code", "iss", "session_state", "state"])
  const url = new URL(asked.back)
  url.search = asked.answer
  url.hash = ""
  const tokens = await client.authorizationCodeGrant(code, url, { ...asked.checks, idTokenExpected: true })
  assert.equal(tokens.claims().sub, "demo-buyer")
}

// What is refused comes the way that was asked for, but no token by a query.
const refusals = [
  [implicit, { prompt: "none" }, "login_required"],
  [implicit, { prompt: "none", response_mode: "form_post" }, "login_required"],
  [hybrid, { prompt: "none" }, "login_required"],
  [implicit, { nonce: "" }, "invalid_request"], // OpenID Connect Core 1.0 §3.2.2.1: REQUIRED
  [implicit, { response_mode: "query" }, "invalid_request"],
  [hybrid, { response_mode: "query" }, "invalid_request"],
]
for (const [config, parameters, error] of refusals) {
  const { back, answer } = await ask(config, parameters)
  assert.equal(back.search, "", JSON.stringify(parameters))
  assert.equal(answer.get("error"), error, JSON.stringify(parameters))
  assert.equal(answer.get("id_token"), null)
}
// A client that has not registered the response type gets none.
const spa = await client.discovery(new URL(issuer), "demo-dpop-spa", {}, client.None(), { execute: [client.allowInsecureRequests, client.useIdTokenResponseType] })
const unregistered = await ask(spa, { redirect_uri: "http://localhost:8080/dpop-spa" })
assert.equal(unregistered.answer.get("error"), "unauthorized_client")

console.log("done")
process.exit(0)

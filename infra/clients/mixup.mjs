// Two servers and one client of both, whose attacker owns the second and mixes them up
// (RFC 9700 §4.4, RFC 9207): the person is sent to the first where the client has asked
// the second, so that the client would hand the code to the attacker. By openid-client and
// oauth4webapi, which know from iss that it is not theirs to redeem.

import assert from "node:assert/strict"
import * as client from "openid-client"
import * as oauth from "oauth4webapi"
import { issuer, login } from "./example.mjs"

const evil = process.env.EVIL
const redirect_uri = "http://localhost:8080/hybrid"
const secret = "demo-hybrid-secret-used-in-examples-only"

// What reaches a token endpoint is noted.
let asked = []
const watched = (url, options) => {
  if (options.method === "POST") asked.push(new URL(url).origin + "/")
  return fetch(url, options)
}
const discover = (of, ...execute) => client.discovery(new URL(of), "demo-hybrid", {}, client.ClientSecretBasic(secret),
  { execute: [client.allowInsecureRequests, ...execute], [client.customFetch]: watched })
// The attacker sends the browser to another server than the client meant.
const redirected = (url, to) => login(new URL(url.pathname + url.search, to))

const because = (promise, words) => assert.rejects(promise, (e) => {
  assert.match(`${e.message} ${e.cause?.message}`, words, e)
  return true
})
const foreign = (promise) => because(promise, /"iss" \(issuer\)/)

for (const response_mode of ["query", "fragment", "form_post"]) {
  const theirs = await discover(evil)
  const ours = await discover(issuer)
  assert.equal(theirs.serverMetadata().authorization_response_iss_parameter_supported, true)
  const expectedState = client.randomState()
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const parameters = {
    redirect_uri, scope: "openid", state: expectedState, response_mode,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: "S256",
  }
  const checks = { expectedState, pkceCodeVerifier, idTokenExpected: true }
  const back = await redirected(client.buildAuthorizationUrl(theirs, parameters), issuer)
  if (response_mode !== "query") back.search = back.hash.slice(1)
  assert.equal(back.searchParams.get("iss"), issuer)
  await foreign(client.authorizationCodeGrant(theirs, back, checks))
  // Nor when the iss is taken away.
  const stripped = new URL(back)
  stripped.searchParams.delete("iss")
  await foreign(client.authorizationCodeGrant(theirs, stripped, checks))
  assert.deepEqual(asked, [])

  const as = await oauth.processDiscoveryResponse(new URL(evil), await oauth.discoveryRequest(new URL(evil), { [oauth.allowInsecureRequests]: true }))
  for (const answer of [back, stripped]) {
    assert.throws(() => oauth.validateAuthResponse(as, { client_id: "demo-hybrid" }, answer, expectedState), /"iss" \(issuer\)/)
  }

  // The twin: whoever has asked this server gets its tokens from it.
  const tokens = await client.authorizationCodeGrant(ours, back, checks)
  assert.equal(tokens.claims().iss, issuer)
  assert.deepEqual(asked, [issuer])
  asked = []
}

// An error of another server is no answer either.
{
  const theirs = await discover(evil)
  const back = await redirected(client.buildAuthorizationUrl(theirs, { redirect_uri, scope: "openid", state: "s", prompt: "none" }), issuer)
  assert.equal(back.searchParams.get("error"), "login_required")
  await foreign(client.authorizationCodeGrant(theirs, back, { expectedState: "s" }))
  await assert.rejects(client.authorizationCodeGrant(await discover(issuer), back, { expectedState: "s" }), { error: "login_required" })
}

// Hybrid: the ID token beside the code is another issuer's too.
{
  const theirs = await discover(evil, client.useCodeIdTokenResponseType)
  const checks = { expectedState: "s", expectedNonce: client.randomNonce() }
  const back = await redirected(client.buildAuthorizationUrl(theirs, { redirect_uri, scope: "openid", state: "s", nonce: checks.expectedNonce }), issuer)
  await foreign(client.authorizationCodeGrant(theirs, back, checks))
  const forged = new URL(back)
  const answer = new URLSearchParams(forged.hash.slice(1))
  answer.set("iss", evil)
  forged.hash = answer
  await assert.rejects(client.authorizationCodeGrant(theirs, forged, checks))
  assert.deepEqual(asked, [])
}

// An answer with another state, or none, is another's (RFC 6749 §10.12), and an ID token
// with another nonce, or none, has been used before (OpenID Connect Core 1.0 §15.5.2).
{
  const ours = await discover(issuer)
  const checks = { expectedState: client.randomState(), expectedNonce: client.randomNonce() }
  const request = { redirect_uri, scope: "openid", state: checks.expectedState, nonce: checks.expectedNonce }
  const back = await login(client.buildAuthorizationUrl(ours, request))
  const without = new URL(back)
  without.searchParams.delete("state")
  const other = await login(client.buildAuthorizationUrl(ours, { ...request, state: "of the attacker" }))
  for (const forged of [without, other]) await because(client.authorizationCodeGrant(ours, forged, checks), /"state"/)
  assert.deepEqual(asked, [])
  for (const nonce of ["another", undefined]) {
    const { nonce: _, ...rest } = request
    const injected = await login(client.buildAuthorizationUrl(ours, nonce ? { ...rest, nonce } : rest))
    await because(client.authorizationCodeGrant(ours, injected, checks), /nonce/)
  }
  assert.ok((await client.authorizationCodeGrant(ours, back, checks)).id_token)
}

// A code that is put into another login is of no use there: it has another challenge, was
// given for another address, or to another client (RFC 9700 §4.5).
{
  const ours = await discover(issuer)
  const verifier = client.randomPKCECodeVerifier()
  const of = async (v, more = {}) => login(client.buildAuthorizationUrl(ours, {
    redirect_uri, scope: "openid", state: "s", ...(v ? { code_challenge: await client.calculatePKCECodeChallenge(v), code_challenge_method: "S256" } : {}), ...more,
  }))
  const refused = (promise) => assert.rejects(promise, { error: "invalid_grant" })
  const stolen = await of(client.randomPKCECodeVerifier())
  await refused(client.authorizationCodeGrant(ours, stolen, { expectedState: "s", pkceCodeVerifier: verifier }))
  // Without a challenge it was asked for by somebody who has taken the challenge away.
  await refused(client.authorizationCodeGrant(ours, await of(""), { expectedState: "s", pkceCodeVerifier: verifier }))
  // And with one it wants the verifier.
  await refused(client.authorizationCodeGrant(ours, await of(verifier), { expectedState: "s" }))
  const elsewhere = new URL(await of(verifier))
  elsewhere.pathname = "/other"
  await refused(client.authorizationCodeGrant(ours, elsewhere, { expectedState: "s", pkceCodeVerifier: verifier }))
  const other = await client.discovery(new URL(issuer), "demo-careful", {}, client.ClientSecretBasic("demo-careful-secret-used-in-examples-only"), { execute: [client.allowInsecureRequests] })
  await refused(client.authorizationCodeGrant(other, await of(verifier), { expectedState: "s", pkceCodeVerifier: verifier }))
  assert.ok((await client.authorizationCodeGrant(ours, await of(verifier), { expectedState: "s", pkceCodeVerifier: verifier })).access_token)
}

console.log("done")
process.exit(0)

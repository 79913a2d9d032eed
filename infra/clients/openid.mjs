// The example's clients by openid-client and oauth4webapi, which are strict about
// what a server answers. A person logs in elsewhere: each line written is an
// authorization request, and the line read is where it led back to.

import assert from "node:assert/strict"
import { createInterface } from "node:readline/promises"
import * as oauth from "oauth4webapi"
import * as client from "openid-client"

const [issuer] = process.argv.slice(2)
const orders = "https://orders.example.com/"
const insecure = { execute: [client.allowInsecureRequests] } // plain http, on this machine

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const login = async (url) => {
  console.log(url.href)
  return new URL((await lines.next()).value)
}
const refused = (promise, error, status) =>
  assert.rejects(promise, (e) => {
    assert.equal(e.error, error)
    assert.equal(e.status, status)
    return true
  })
// oauth4webapi checks access tokens as RFC 9068 §4 asks an API to.
const atAPI = async (token) => {
  const server = await oauth.processDiscoveryResponse(
    new URL(issuer),
    await oauth.discoveryRequest(new URL(issuer), { [oauth.allowInsecureRequests]: true }),
  )
  const request = (t) => new Request(orders, { headers: { authorization: `Bearer ${t}` } })
  const options = { [oauth.allowInsecureRequests]: true }
  await assert.rejects(oauth.validateJwtAccessToken(server, request(token), "https://stock.example.com/", options))
  return oauth.validateJwtAccessToken(server, request(token), orders, options)
}

const secrets = {
  service: "demo-service-secret-used-in-examples-only",
  web: "demo-web-secret-used-in-examples-only",
}

// demo-service
{
  const config = await client.discovery(new URL(issuer), "demo-service", {}, client.ClientSecretBasic(secrets.service), insecure)
  const tokens = await client.clientCredentialsGrant(config)
  const claims = await atAPI(tokens.access_token)
  assert.equal(claims.client_id, "demo-service")
  assert.equal(claims.scope, "read:orders")
  const wrong = await client.discovery(new URL(issuer), "demo-service", {}, client.ClientSecretBasic(secrets.web), insecure)
  // RFC 6749 §5.2: who tried the Authorization header is told its scheme.
  await assert.rejects(client.clientCredentialsGrant(wrong), (e) => e.status === 401 && e.cause[0].scheme === "basic")
}

// demo-web, without PKCE
{
  const config = await client.discovery(new URL(issuer), "demo-web", {}, client.ClientSecretBasic(secrets.web), insecure)
  const expectedState = client.randomState()
  const expectedNonce = client.randomNonce()
  const back = await login(client.buildAuthorizationUrl(config, {
    redirect_uri: "http://localhost:8080/callback",
    scope: "openid profile email offline_access read:orders",
    state: expectedState,
    nonce: expectedNonce,
    max_age: "600",
  }))
  const checks = { expectedState, expectedNonce, idTokenExpected: true, maxAge: 600 }
  const mixedUp = new URL(back)
  mixedUp.searchParams.set("iss", "https://evil.example/")
  await assert.rejects(client.authorizationCodeGrant(config, mixedUp, checks))
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  assert.equal(tokens.claims().sub, "demo-user")
  await atAPI(tokens.access_token)
  const user = await client.fetchUserInfo(config, tokens.access_token, "demo-user")
  assert.equal(user.email, "demo@example.com")
  await assert.rejects(client.fetchUserInfo(config, tokens.access_token, "somebody-else"))
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal(renewed.claims().sub, "demo-user")
  await refused(client.authorizationCodeGrant(config, back, checks), "invalid_grant", 400)
  await refused(client.refreshTokenGrant(config, renewed.refresh_token), "invalid_grant", 400)
}

// demo-spa, with PKCE
{
  const config = await client.discovery(new URL(issuer), "demo-spa", {}, client.None(), insecure)
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  assert.equal(config.serverMetadata().supportsPKCE(), true)
  const back = await login(client.buildAuthorizationUrl(config, {
    redirect_uri: "http://localhost:8080/spa",
    scope: "openid offline_access",
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  }))
  const wrong = { expectedState, pkceCodeVerifier: client.randomPKCECodeVerifier() }
  await refused(client.authorizationCodeGrant(config, back, wrong), "invalid_grant", 400)
  const first = await client.authorizationCodeGrant(config, back, { expectedState, pkceCodeVerifier, idTokenExpected: true })
  const second = await client.refreshTokenGrant(config, first.refresh_token)
  assert.notEqual(second.refresh_token, first.refresh_token)
  await refused(client.refreshTokenGrant(config, first.refresh_token), "invalid_grant", 400)
  await refused(client.refreshTokenGrant(config, second.refresh_token), "invalid_grant", 400)
}

// An answer that is an error is one to the library, too.
{
  const config = await client.discovery(new URL(issuer), "demo-web", {}, client.ClientSecretBasic(secrets.web), insecure)
  const back = await login(client.buildAuthorizationUrl(config, {
    redirect_uri: "http://localhost:8080/callback", scope: "openid nonsense offline_access", prompt: "none", state: "s", max_age: "0",
  }))
  await assert.rejects(client.authorizationCodeGrant(config, back, { expectedState: "s" }), { error: "login_required" })
}

console.log("done")
process.exit(0)

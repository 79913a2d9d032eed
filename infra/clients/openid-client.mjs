// The back channel of the full example by openid-client.

import assert from "node:assert/strict"
import * as client from "openid-client"
import { billing, challenged, issuer, login, orders, privateKey, refused } from "./example.mjs"

const discover = (id, auth) =>
  client.discovery(new URL(issuer), id, {}, auth, { execute: [client.allowInsecureRequests] }) // plain http, on this machine
const accessToken = "urn:ietf:params:oauth:token-type:access_token"

const api = await discover("demo-orders-api", client.ClientSecretBasic("demo-orders-api-secret-used-in-examples-only"))

// demo-dpop-spa: code, PKCE, and a key that never leaves the browser. openid-client
// asks again by itself where a nonce is wanted.
const spa = await discover("demo-dpop-spa", client.None())
const pair = await client.randomDPoPKeyPair()
const DPoP = client.getDPoPHandle(spa, pair)
const exchangeCode = async (options) => {
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const back = await login(client.buildAuthorizationUrl(spa, {
    redirect_uri: "http://localhost:8080/dpop-spa",
    scope: "openid offline_access read:orders",
    state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    dpop_jkt: await DPoP.calculateThumbprint(),
  }))
  return client.authorizationCodeGrant(spa, back, { expectedState, pkceCodeVerifier, idTokenExpected: true }, undefined, options)
}
const first = await exchangeCode({ DPoP })
assert.equal(first.token_type, "dpop")
assert.equal((await client.fetchUserInfo(spa, first.access_token, "demo-buyer", { DPoP })).sub, "demo-buyer")
await assert.rejects(client.fetchUserInfo(spa, first.access_token, "demo-buyer"), (e) => e.status === 401)
// The code is for the key that the request named; another's proof does not do.
const other = client.getDPoPHandle(spa, await client.randomDPoPKeyPair())
await refused(exchangeCode({ DPoP: other }), "invalid_dpop_proof", 400)
await refused(exchangeCode(), "invalid_dpop_proof", 400)

// Refresh: by the same key alone.
await refused(client.refreshTokenGrant(spa, first.refresh_token, undefined, { DPoP: other }), "invalid_dpop_proof", 400)
const second = await client.refreshTokenGrant(spa, first.refresh_token, undefined, { DPoP })
assert.equal(second.token_type, "dpop")

// Introspection, by the API that the token is for.
const seen = await client.tokenIntrospection(api, second.access_token)
assert.equal(seen.active, true)
assert.equal(seen.sub, "demo-buyer")
assert.equal(seen.cnf.jkt, await DPoP.calculateThumbprint())

// Token exchange: the API binds what it gets to a key of its own. Unbound it gets nothing.
const exchange = (options) => client.genericGrantRequest(api, "urn:ietf:params:oauth:grant-type:token-exchange", {
  subject_token: second.access_token, subject_token_type: accessToken, scope: "read:orders",
}, options)
const exchanged = await exchange({ DPoP: client.getDPoPHandle(api, await client.randomDPoPKeyPair()) })
assert.equal(exchanged.token_type, "dpop")
assert.equal(exchanged.issued_token_type, accessToken)
assert.equal(exchanged.refresh_token, undefined)
await assert.rejects(exchange(), (e) => e.status === 400)

// Revocation ends the grant, and what came of it.
await client.tokenRevocation(spa, first.refresh_token)
await refused(client.refreshTokenGrant(spa, second.refresh_token, undefined, { DPoP }), "invalid_grant", 400)
assert.equal((await client.tokenIntrospection(api, second.access_token)).active, false)

// demo-backend: private_key_jwt.
const backend = await discover("demo-backend", client.PrivateKeyJwt(await privateKey("demo-backend")))
const tokens = await client.clientCredentialsGrant(backend, { audience: billing })
assert.equal(tokens.scope ?? "read:invoices", "read:invoices")
const stranger = await client.randomDPoPKeyPair()
const forged = await discover("demo-backend", client.PrivateKeyJwt(stranger.privateKey))
await challenged(client.clientCredentialsGrant(forged, { audience: billing }))
await refused(client.clientCredentialsGrant(backend, { audience: orders }), "invalid_target", 400)

// demo-batch: client_secret_jwt, by each of its two secrets.
for (const which of ["new", "old"]) {
  const batch = await discover("demo-batch", client.ClientSecretJwt(`demo-batch-${which}-secret-used-in-examples-only`))
  assert.match((await client.clientCredentialsGrant(batch)).access_token, /^kmint_access\./)
}
const batch = await discover("demo-batch", client.ClientSecretJwt("demo-batch-wrong-secret-used-in-examples-only"))
await challenged(client.clientCredentialsGrant(batch))

console.log("done")
process.exit(0)

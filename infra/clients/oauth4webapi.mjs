// The back channel of the full example by oauth4webapi, step by step.

import assert from "node:assert/strict"
import * as oauth from "oauth4webapi"
import { challenged, issuer, ledger, login, orders, privateKey } from "./example.mjs"

const insecure = { [oauth.allowInsecureRequests]: true } // plain http, on this machine
const server = await oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer), insecure))
const refused = (promise, error) => assert.rejects(promise, (e) => {
  assert.equal(e.error ?? e.cause?.[0]?.parameters?.error, error, e)
  return true
})

// Where a nonce is wanted the request has to be made again, with the handle that has
// learnt it.
const withNonce = async (request) => {
  try {
    return await request()
  } catch (e) {
    if (!oauth.isDPoPNonceError(e)) throw e
    return request()
  }
}

// demo-dpop-spa
const spa = { client_id: "demo-dpop-spa" }
const DPoP = oauth.DPoP(spa, await oauth.generateKeyPair("ES256"))
const other = oauth.DPoP(spa, await oauth.generateKeyPair("ES256"))
const authorize = async () => {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const url = new URL(server.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: spa.client_id,
    redirect_uri: "http://localhost:8080/dpop-spa",
    response_type: "code",
    scope: "openid offline_access read:orders",
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  })
  return [oauth.validateAuthResponse(server, spa, await login(url), state), verifier]
}
const exchangeCode = ([parameters, verifier], handle) => withNonce(async () =>
  oauth.processAuthorizationCodeResponse(server, spa, await oauth.authorizationCodeGrantRequest(
    server, spa, oauth.None(), parameters, "http://localhost:8080/dpop-spa", verifier, { DPoP: handle, ...insecure },
  ), { requireIdToken: true }))
const code = await authorize()
await refused(exchangeCode([code[0], oauth.generateRandomCodeVerifier()], DPoP), "invalid_grant")
const first = await exchangeCode(code, DPoP)
assert.equal(first.token_type, "dpop")

const refresh = (token, handle) => withNonce(async () =>
  oauth.processRefreshTokenResponse(server, spa, await oauth.refreshTokenGrantRequest(
    server, spa, oauth.None(), token, { DPoP: handle, ...insecure },
  )))
await refused(refresh(first.refresh_token, other), "invalid_dpop_proof")
const second = await refresh(first.refresh_token, DPoP)
assert.notEqual(second.refresh_token, first.refresh_token)

// An API checks a bound token as RFC 9068 §4 and RFC 9449 §7 ask it to. The proof is
// for the API's own address.
const atAPI = async (handle) => {
  let request
  await oauth.protectedResourceRequest(second.access_token, "POST", new URL(orders), undefined, undefined, {
    DPoP: handle, [oauth.customFetch]: async (url, init) => {
      request = new Request(url, init)
      return new Response()
    },
  })
  return oauth.validateJwtAccessToken(server, request, orders, { requireDPoP: true, ...insecure })
}
assert.equal((await atAPI(DPoP)).sub, "demo-buyer")
await assert.rejects(atAPI(other))

// Userinfo
const userinfo = (handle) => withNonce(async () =>
  oauth.processUserInfoResponse(server, spa, "demo-buyer", await oauth.userInfoRequest(server, spa, second.access_token, { DPoP: handle, ...insecure })))
assert.equal((await userinfo(DPoP)).sub, "demo-buyer")
await assert.rejects(userinfo(other))

// demo-orders-api
const api = { client_id: "demo-orders-api" }
const secret = oauth.ClientSecretBasic("demo-orders-api-secret-used-in-examples-only")
const introspect = async (token, auth = secret) =>
  oauth.processIntrospectionResponse(server, api, await oauth.introspectionRequest(server, api, auth, token, insecure))
assert.equal((await introspect(second.access_token)).active, true)
assert.equal((await introspect(second.refresh_token)).active, false)
await assert.rejects(introspect(second.access_token, oauth.ClientSecretBasic("demo-orders-api-wrong-secret-used-in-examples")))

const exchange = async (parameters, handle) => oauth.processGenericTokenEndpointResponse(server, api, await oauth.genericTokenEndpointRequest(
  server, api, secret, "urn:ietf:params:oauth:grant-type:token-exchange", parameters, { DPoP: handle, ...insecure },
))
const subject = { subject_token: second.access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token" }
const mine = oauth.DPoP(api, await oauth.generateKeyPair("ES256"))
const exchanged = await exchange({ ...subject, scope: "read:orders" }, mine)
assert.equal(exchanged.token_type, "dpop")
await assert.rejects(exchange({ ...subject, scope: "read:orders" }))
await refused(exchange({ ...subject, scope: "write:orders" }, mine), "invalid_scope")

// demo-backend
const backend = { client_id: "demo-backend" }
const credentials = async (auth) => oauth.processClientCredentialsResponse(server, backend, await oauth.clientCredentialsGrantRequest(
  server, backend, auth, { audience: ledger }, insecure,
))
const es256 = await credentials(oauth.PrivateKeyJwt(await privateKey("demo-backend")))
const claims = await oauth.validateJwtAccessToken(
  server, new Request(ledger, { headers: { authorization: `Bearer ${es256.access_token}` } }), ledger, { signingAlgorithms: ["ES256"], ...insecure },
)
assert.equal(claims.scope, "read:ledger")
await challenged(credentials(oauth.PrivateKeyJwt((await oauth.generateKeyPair("ES256")).privateKey)))

// Revocation
const revoke = async (token) => oauth.processRevocationResponse(await oauth.revocationRequest(server, spa, oauth.None(), token, insecure))
await revoke(second.refresh_token)
await refused(refresh(second.refresh_token, DPoP), "invalid_grant")
assert.equal((await introspect(second.access_token)).active, false)
await revoke("nothing of ours")

console.log("done")
process.exit(0)

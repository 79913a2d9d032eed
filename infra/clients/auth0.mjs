// The full example by Auth0's own SDK for Node.js, which is told nothing but another
// domain: grants, an assertion, and the errors that it hands on.

import assert from "node:assert/strict"
import { exportPKCS8 } from "jose"
import { AuthenticationClient } from "auth0"
import { billing, issuer, orders, privateKey } from "./example.mjs"

const domain = new URL(issuer).host
const fails = (promise, statusCode, error, description) =>
  assert.rejects(promise, (e) => {
    assert.deepEqual([e.statusCode, e.error, e.error_description], [statusCode, error, description])
    return true
  })

// demo-legacy: a password, and what comes of it. The SDK verifies the ID token.
const legacy = new AuthenticationClient({ domain, clientId: "demo-legacy", clientSecret: "demo-legacy-secret-used-in-examples-only" })
const person = { username: "buyer", password: "correct horse battery staple", scope: "openid profile offline_access read:orders", audience: orders }
const { data: first } = await legacy.oauth.passwordGrant({ ...person }) // into which the SDK writes the secret
assert.ok(first.id_token && first.access_token)
const { data: realm } = await legacy.oauth.passwordGrant({ ...person, realm: "Username-Password-Authentication" })
assert.ok(realm.access_token)
await fails(legacy.oauth.passwordGrant({ ...person, password: "wrong" }), 403, "invalid_grant", "Wrong email or password.")
await assert.rejects(legacy.oauth.passwordGrant({ ...person, username: "blocked" }), (e) => e.statusCode === 403 && /user is blocked/i.test(e.error_description))

const { data: second } = await legacy.oauth.refreshTokenGrant({ refresh_token: first.refresh_token })
assert.notEqual(second.refresh_token, first.refresh_token)
await legacy.oauth.revokeRefreshToken({ token: second.refresh_token })
await fails(legacy.oauth.refreshTokenGrant({ refresh_token: second.refresh_token }), 403, "invalid_grant", "Unknown or invalid refresh token.")
await fails(
  legacy.oauth.clientCredentialsGrant({ audience: orders }), 403, "unauthorized_client", "Grant type 'client_credentials' not allowed for the client.",
)
const impostor = new AuthenticationClient({ domain, clientId: "demo-legacy", clientSecret: "another-secret-used-in-examples-only-now" })
await fails(impostor.oauth.passwordGrant({ ...person }), 401, "access_denied", "Unauthorized")

// demo-backend: private_key_jwt.
const { key } = await privateKey("demo-backend", true)
const backend = new AuthenticationClient({
  domain, clientId: "demo-backend", clientAssertionSigningKey: await exportPKCS8(key), clientAssertionSigningAlg: "ES256",
})
assert.equal((await backend.oauth.clientCredentialsGrant({ audience: billing })).data.expires_in, 3600)
await assert.rejects(backend.oauth.clientCredentialsGrant({ audience: orders }), { error: "invalid_target" })

console.log("done")
process.exit(0)

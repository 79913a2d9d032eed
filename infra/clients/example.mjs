// What the scripts of the full example share.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline/promises"

export const [issuer] = process.argv.slice(2)
export const orders = "https://orders.example.com/"
export const billing = "https://billing.example.com/"
export const ledger = "https://ledger.example.com/"

// A person logs in elsewhere: the line written is an authorization request, and the
// line read is where it led back to.
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
export const login = async (url) => {
  console.log(url.href)
  return new URL((await lines.next()).value)
}

// The private half of a key of the example.
const keys = JSON.parse(readFileSync(new URL("../examples/private-keys.json", import.meta.url))).keys
export const privateKey = async (name, extractable = false) => {
  const { alg, kid, ...jwk } = keys.find((k) => k.kid.startsWith(name))
  return { key: await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, extractable, ["sign"]), kid }
}

export const refused = (promise, error, status) =>
  assert.rejects(promise, (e) => {
    assert.equal(e.error, error, e)
    assert.equal(e.status, status)
    return true
  })

// An HTTP 401 carries a challenge, which is what the libraries read of it.
export const challenged = (promise) => assert.rejects(promise, (e) => {
  assert.equal(e.status, 401, e)
  assert.equal(e.cause[0].scheme, "basic")
  return true
})

// Package faults answers: what becomes of a request when a call of AWS goes wrong?
//
// Its tests put a wire between the functions' SDK clients and DynamoDB Local, the KMS
// of kmstest and a queue: a server of its own for each run, so that what breaks is
// HTTP and the SDK's timeouts and retries are real. A scenario is one request with all
// that must be there before it. It is made once undisturbed, by a function whose
// caches are cold, and the wire writes down the calls; then once for each of those
// calls and each fault, so that a new call has its cells without anybody's doing.
//
// After the fault the client behaves as clients do. Told to come again, it sends the
// very same request; where no answer comes, because the process died, it asks a new
// process. Then tables and tokens are looked at: nothing was minted that was not spent,
// nothing is good twice, and nobody was logged out for a fault of ours. Where no answer
// came after a code was spent, or a refresh token without leeway, the second request is
// a replay and nothing else can be told: those cells are counted apart.
//
// A run of rotate is disturbed in the same way, each time with a registry and keys of
// its own. Nobody waits for its answer; so it is the next runs that are looked at: they
// complete what was begun, one key signs at every step, and no key of KMS is left that
// nobody has written down.
//
// Beside that, clients are at work for a while, at the built functions and at `make run`,
// and hold what they were given against the table at the end: processes are killed, all
// of them at once too, and backends stand still for five seconds.
//
// That the matrix finds what it is for is shown by defects planted before the store.
package faults

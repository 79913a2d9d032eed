// Package property answers: does the token endpoint keep its promises in histories
// that nobody thought of?
//
// TestPromises lets rapid draw clients, APIs, people, grants and requests, and
// compares every answer with an oracle that is written from what the configuration
// says (package store), not from package policy. FuzzToken sends the same function
// whatever bytes come. Both live on a store in memory, which passes storetest as
// the others do. That the promises can be broken is shown by defects planted
// before the store.
package property

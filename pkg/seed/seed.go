// Package seed answers: what is the owner's configuration?
//
// It reads the configuration file, checks all of it and writes it to any store.
// `kmint import` and `make run` share it, so a file that works on a laptop works
// in the cloud. The file is JSON; its members are the client metadata of RFC
// 7591 and OpenID Connect Dynamic Client Registration 1.0, the claims of OpenID
// Connect Core 1.0, and a few of our own.
//
// Reading is strict, because what is misspelt in a configuration is a hole
// nobody sees: an unknown member, a repeated one and a wrong value are errors
// that name the JSON path, and all of them are reported at once. A file stands
// alone: every API that it names is in it, so whoever reviews it sees all that
// it grants.
//
// Writing upserts and never prunes: what a file no longer names stays. A record
// is written whole, so a member that was taken out of the file goes back to its
// default, save a password, which stays. What is already there is not written
// again.
package seed

import (
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A Seed is a configuration file that passed every check. Its secrets are in
// clear, as they are in the file.
type Seed struct {
	// Settings is nil where the file says nothing about the server.
	Settings *store.Settings
	APIs     []store.API
	Clients  []Client
	Users    []User
}

// A Client is the record with its secrets in clear. SealedSecrets are left to
// Write.
type Client struct {
	store.Client
	// Secret is "" for a client that has none; OtherSecret is the second one while
	// one takes the place of the other, else "".
	Secret      oauth.Secret
	OtherSecret oauth.Secret
}

// A User is the record, without the hash, and the password in clear, "" for
// none.
type User struct {
	store.User
	Password oauth.Secret
}

// What the file need not say. Lifetimes are in seconds.
const (
	DefaultLifetime     = 30 * 24 * 60 * 60
	DefaultIdleLifetime = 15 * 24 * 60 * 60
)

// Bounds of what the file may say.
const (
	// MinSecret is in characters. A secret is kept as a plain SHA-256, which is
	// safe for a random one only.
	MinSecret        = 32
	MaxTokenLifetime = store.MaxTokenLifetime
	MaxLifetime      = 365 * 24 * 60 * 60
	MaxLeeway        = 60

	maxID       = 255  // bytes of what is a key; for a sub OpenID Connect Core 1.0 §2 says so
	maxName     = 1024 // bytes of a URI, a scope value or a claim's name
	maxPassword = 1024 // bytes
)

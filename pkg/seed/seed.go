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
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

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

// A Client is the record with its secret in clear, "" for a public client.
type Client struct {
	store.Client
	Secret oauth.Secret
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
	MaxTokenLifetime = 30 * 24 * 60 * 60
	MaxLifetime      = 365 * 24 * 60 * 60
	MaxLeeway        = 60

	maxID       = 255  // bytes of what is a key; for a sub OpenID Connect Core 1.0 §2 says so
	maxName     = 1024 // bytes of a URI, a scope value or a claim's name
	maxPassword = 1024 // bytes
)

// RevealJSON writes the file: reading it again gives an equal Seed. It holds the
// secrets and passwords in clear.
func (s Seed) RevealJSON() ([]byte, error) {
	var file struct {
		Server  *store.Settings  `json:"server,omitempty"`
		APIs    []store.API      `json:"apis,omitempty"`
		Clients []clientFile     `json:"clients,omitempty"`
		Users   []map[string]any `json:"users,omitempty"`
	}
	file.Server, file.APIs = s.Settings, s.APIs
	for _, c := range s.Clients {
		file.Clients = append(file.Clients, clientFile{Client: c.Client, Secret: c.Secret.Reveal()})
	}
	for _, u := range s.Users {
		file.Users = append(file.Users, u.file())
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(file); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	return out.Bytes(), nil
}

// clientFile is a client as the file has it: the stored names are those of RFC
// 7591, save for the secret, which the record has as a digest.
type clientFile struct {
	store.Client
	SecretDigests *string `json:"secret_digests,omitempty"` // hides the record's
	Secret        string  `json:"client_secret,omitempty"`
}

func (u User) file() map[string]any {
	file := maps.Clone(u.Profile)
	if file == nil {
		file = map[string]any{}
	}
	file["sub"], file["username"] = u.Subject, u.Username
	if u.Password != "" {
		file["password"] = u.Password.Reveal()
	}
	if len(u.Claims) > 0 {
		file["claims"] = u.Claims
	}
	return file
}

package store

import (
	"fmt"

	"github.com/alexedwards/argon2id"
)

// passwordParameters are those that OWASP's Password Storage Cheat Sheet gives
// for argon2id: 19 MiB, two passes, one lane. They stand here once, beside the
// record that keeps the hash, because whoever writes a password and whoever
// checks one must agree: the time that an unknown name costs is that of these.
func passwordParameters() *argon2id.Params {
	return &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
}

// HashPassword returns the argon2id hash of a password in PHC form, with a salt
// of its own.
func HashPassword(password string) (string, error) {
	hash, err := argon2id.CreateHash(password, passwordParameters())
	if err != nil {
		return "", fmt.Errorf("store: password: %w", err)
	}
	return hash, nil
}

// MatchPassword reports whether hash is one of the password. An error says that
// hash is no argon2id hash.
func MatchPassword(password, hash string) (bool, error) {
	match, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, fmt.Errorf("store: password: %w", err)
	}
	return match, nil
}

// CurrentPasswordHash reports whether hash was made with the parameters that
// HashPassword uses now.
func CurrentPasswordHash(hash string) bool {
	parameters, _, _, err := argon2id.DecodeHash(hash)
	return err == nil && *parameters == *passwordParameters()
}

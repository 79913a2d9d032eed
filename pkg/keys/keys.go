// Package keys answers: which key signs now, which ones count, and how does one
// come to?
//
// The registry lists every signing key with its state, in the order of a key's
// life: next (published, so that all know it before it signs), active, retired
// (its tokens are still about), revoked (nobody trusts it any more). A key is for
// one algorithm, as its JWK says (RFC 7517 §4.4), so each algorithm has an active
// key of its own, and a line of keys that follow one another. Each change of the
// registry is one conditional write, and functions read it through a cache of a
// minute: so keys change without a deployment.
//
// A Ring is the reading side. First begins a line. Activate, Rollback and Revoke are
// the changes, pure and each refused while it would break verifiers; Decide names the
// one that is due, and a Rotation does it. There is always a next key, published long
// before it is needed, so that one which is compromised can be replaced at once. A
// private key that no registry lists is found by its tags and never left behind.
//
// How long all this takes follows from how old others' knowledge may be:
//
//	next      at least 2 h (a verifier's JWKS) + 1 min (a function's registry) + 2 min
//	          (clocks, and the write), and a day unless the owner says otherwise
//	active    the owner's rotation period
//	retired   the longest lifetime of a token + 2 h + 1 min
//	revoked   until KMS has deleted the key, 30 days later or more; then it is listed
//	          no more, so that the item stays small
package keys

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
)

var (
	// ErrNoKey says that no key of the registry is active for an algorithm.
	ErrNoKey = errors.New("keys: no signing key is active")
	// ErrOther says that another key than the one to be the first of its algorithm
	// is active.
	ErrOther = errors.New("keys: another signing key is active")
)

// New is the key for one of jwt.Algorithms whose private half lives at reference.
// Its ID is the RFC 7638 thumbprint of its public half, never the reference: that
// may change, and names the owner's account.
func New(algorithm string, public crypto.PublicKey, reference string) (jwt.Key, error) {
	if err := jwt.CheckKey(algorithm, public); err != nil {
		return jwt.Key{}, fmt.Errorf("keys: %w", err)
	}
	id, err := jwt.Thumbprint(public)
	if err != nil {
		return jwt.Key{}, fmt.Errorf("keys: %w", err)
	}
	return jwt.Key{ID: id, Algorithm: algorithm, Reference: reference, Public: public}, nil
}

// First makes key the first active one of its algorithm, in one conditional write.
// It reports whether it did: a key that is listed already stays as it is. ErrOther
// if another one of its algorithm is active.
func First(ctx context.Context, registries store.Registries, key jwt.Key, now time.Time) (bool, error) {
	first, err := listed(key, store.KeyActive, now)
	if err != nil {
		return false, err
	}
	// A conflict may be another's write or, its answer lost, our own: look again.
	for range 3 {
		registry, err := registries.Registry(ctx)
		if err != nil {
			return false, fmt.Errorf("keys: registry: %w", err)
		}
		known := slices.IndexFunc(registry.Keys, func(k store.SigningKey) bool { return k.ID == key.ID })
		active := slices.ContainsFunc(registry.Keys, func(k store.SigningKey) bool {
			return k.State == store.KeyActive && k.Algorithm == key.Algorithm
		})
		switch {
		case known >= 0 && registry.Keys[known].Algorithm != key.Algorithm:
			return false, fmt.Errorf("keys: %s is listed for %s, and cannot be for %s too", key.ID, registry.Keys[known].Algorithm, key.Algorithm)
		case known >= 0 && active:
			return false, nil
		case known >= 0:
			return false, fmt.Errorf("%w for %s, and %s is %s", ErrNoKey, key.Algorithm, key.ID, registry.Keys[known].State)
		case active:
			return false, ErrOther
		}
		registry.Version++
		registry.Keys = append(slices.Clone(registry.Keys), first)
		err = registries.ReplaceRegistry(ctx, registry)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return false, fmt.Errorf("keys: registry: %w", err)
		}
	}
	return false, fmt.Errorf("keys: registry: %w", store.ErrConflict)
}

// read makes keys of registry entries, active ones first, and of these RS256 first.
//
// Entries that this code cannot read, whose kid is not the thumbprint of their key,
// or whose algorithm does not fit it, are left out: while two versions of the code run, the newer may list what
// the older does not know. Revoked keys are left out because they are revoked.
// Keys that are to sign next are not: whoever has read the registry a minute ago
// sees as next what others sign with already.
func read(entries []store.SigningKey) (published []jwt.Key, active int) {
	published = []jwt.Key{} // in JSON an empty list
	for _, state := range []string{store.KeyActive, store.KeyNext, store.KeyRetired} {
		for _, entry := range entries {
			if entry.State != state {
				continue
			}
			var key jwt.Key
			if err := json.Unmarshal([]byte(entry.JWK), &key); err != nil {
				continue
			}
			if id, err := jwt.Thumbprint(key.Public); err != nil || id != entry.ID {
				continue
			}
			// An algorithm of newer code is published as it is; here nothing uses it.
			if slices.Contains(jwt.Algorithms(), entry.Algorithm) && jwt.CheckKey(entry.Algorithm, key.Public) != nil {
				continue
			}
			published = append(published, jwt.Key{ID: entry.ID, Algorithm: entry.Algorithm, Reference: entry.Reference, Public: key.Public})
		}
		if state == store.KeyActive {
			active = len(published)
			slices.SortStableFunc(published, func(a, b jwt.Key) int { return rank(a) - rank(b) })
		}
	}
	return published, active
}

// rank puts the algorithm first that every client knows.
func rank(k jwt.Key) int {
	if k.Algorithm == jwt.RS256 {
		return 0
	}
	return 1
}

package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
)

// A PrivateKey signs with whichever key it is told, as a jwt.Signer does. Its errors wrap
// jwt.ErrKeyUnusable and jwt.ErrBusy. Whoever has one can mint.
type PrivateKey interface {
	Sign(ctx context.Context, key jwt.Key, message []byte) ([]byte, error)
}

// A CachedRegistry is the registry as it was at most a minute ago.
type CachedRegistry interface {
	store.RegistryReader
	// Forget lets the next Registry be read anew.
	Forget()
}

// A Ring is the keys of the registry. It is safe for use side by side, and not to
// be copied.
type Ring struct {
	Registry CachedRegistry
	// Private is nil where nothing is signed.
	Private PrivateKey

	latest atomic.Pointer[parsed]
}

var (
	_ jwt.Signer = (*Ring)(nil)
	_ jwt.KeySet = (*Ring)(nil)
)

// parsed is what was made of a registry, so that no request parses keys.
type parsed struct {
	registry  store.Registry
	published []jwt.Key
	active    int // how many of published are
}

func (r *Ring) keys(ctx context.Context) (*parsed, error) {
	registry, err := r.Registry.Registry(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: registry: %w", err)
	}
	// The version alone would not do: it starts again with the table.
	if p := r.latest.Load(); p != nil && p.registry.Version == registry.Version && slices.Equal(p.registry.Keys, registry.Keys) {
		return p, nil
	}
	p := &parsed{registry: registry}
	p.published, p.active = read(registry.Keys)
	r.latest.Store(p)
	return p, nil
}

// SigningKey is the active key that is chosen. A key that does not sign any more, or
// that nobody remembers, is followed by the one that does. ErrNoKey if there is none.
func (r *Ring) SigningKey(ctx context.Context, c jwt.Choice) (jwt.Key, error) {
	algorithm := cmp.Or(c.Algorithm, jwt.RS256)
	p, err := r.keys(ctx)
	if err != nil {
		return jwt.Key{}, err
	}
	active := p.published[:p.active]
	i := slices.IndexFunc(active, func(k jwt.Key) bool { return k.ID == c.KeyID })
	if i < 0 {
		i = slices.IndexFunc(active, func(k jwt.Key) bool { return k.Algorithm == algorithm })
	}
	if i < 0 || active[i].Algorithm != algorithm {
		return jwt.Key{}, fmt.Errorf("%w: %s %s", ErrNoKey, algorithm, c.KeyID)
	}
	return active[i], nil
}

// Sign signs with the private half of key. Where that cannot be used, the registry
// is forgotten, so that whoever asks for the SigningKey again gets the one that
// has taken its place.
func (r *Ring) Sign(ctx context.Context, key jwt.Key, message []byte) ([]byte, error) {
	signature, err := r.Private.Sign(ctx, key, message)
	if errors.Is(err, jwt.ErrKeyUnusable) {
		r.Registry.Forget()
	}
	return signature, err
}

// Keys are those whose signatures count: all but the revoked. They are shared, and
// not to be changed.
func (r *Ring) Keys(ctx context.Context) ([]jwt.Key, error) {
	p, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	return p.published, nil
}

// JWKS is what Keys are to the public (RFC 7517 §5). The order is stable; the
// active key of RS256 comes first, for those that do not look for a kid.
func (r *Ring) JWKS(ctx context.Context) (jwt.Set, error) {
	published, err := r.Keys(ctx)
	return jwt.Set{Keys: published}, err
}

// Algorithms lists those that a key is active for, in the order of jwt.Algorithms.
func (r *Ring) Algorithms(ctx context.Context) ([]string, error) {
	p, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(jwt.Algorithms(), func(algorithm string) bool {
		return !slices.ContainsFunc(p.published[:p.active], func(k jwt.Key) bool { return k.Algorithm == algorithm })
	}), nil
}

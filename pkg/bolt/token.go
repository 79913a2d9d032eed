// Access tokens that were ended (RFC 7009 §2.1), and those that say nothing
// themselves.

package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	_ store.RevokedTokens = (*Store)(nil)
	_ store.OpaqueTokens  = (*Store)(nil)
)

func revokedKey(jti string) string        { return "revoked#" + string(oauth.DigestOf(jti)) }
func tokenKey(digest oauth.Digest) string { return "token#" + string(digest) }

// RevokeToken ends one access token.
func (s *Store) RevokeToken(_ context.Context, jti string, expires time.Time) error {
	return s.update(grantsBucket, func(b items) error { return b.put(revokedKey(jti), expires, expires) })
}

// TokenRevoked knows whether it was ended, until it has expired anyway.
func (s *Store) TokenRevoked(_ context.Context, jti string, now time.Time) (bool, error) {
	var expires time.Time
	err := s.view(grantsBucket, func(b items) error { return b.get(revokedKey(jti), &expires) })
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && now.Before(expires), err
}

// PutToken writes a new token.
func (s *Store) PutToken(_ context.Context, t store.OpaqueToken) error {
	return s.update(grantsBucket, func(b items) error {
		if b.has(tokenKey(t.Digest)) {
			return store.ErrConflict
		}
		return b.put(tokenKey(t.Digest), t, t.Expires)
	})
}

// Token returns a token that has not expired.
func (s *Store) Token(_ context.Context, digest oauth.Digest, now time.Time) (store.OpaqueToken, error) {
	var t store.OpaqueToken
	err := s.view(grantsBucket, func(b items) error { return b.get(tokenKey(digest), &t) })
	if err == nil && !now.Before(t.Expires) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.OpaqueToken{}, err
	}
	return t, nil
}

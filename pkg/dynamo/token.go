// Access tokens that were ended (RFC 7009 §2.1), and those that say nothing
// themselves.

package dynamo

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
func (s *Store) RevokeToken(ctx context.Context, jti string, expires time.Time) error {
	it := newItem(revokedKey(jti))
	it["expires"] = notBefore(expires)
	it["ttl"] = seconds(expires)
	_, err := s.put(ctx, s.GrantsTable, it, "", nil)
	return err
}

// TokenRevoked knows whether it was ended, until it has expired anyway.
func (s *Store) TokenRevoked(ctx context.Context, jti string, now time.Time) (bool, error) {
	it, err := s.get(ctx, s.GrantsTable, revokedKey(jti))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && now.Before(it.time("expires")), err
}

// PutToken writes a new token. Its digest is that of 256 bits drawn for it, so an
// item that is there after an answer was lost is this one.
func (s *Store) PutToken(ctx context.Context, t store.OpaqueToken) error {
	it := newItem(tokenKey(t.Digest))
	it.setText("claims", t.Claims)
	it["expires"] = millis(t.Expires)
	it["ttl"] = seconds(t.Expires)
	out, err := s.put(ctx, s.GrantsTable, it, "attribute_not_exists(#pk)", nil)
	if err == nil && out.taken(it) {
		return store.ErrConflict
	}
	return err
}

// Token returns a token that has not expired.
func (s *Store) Token(ctx context.Context, digest oauth.Digest, now time.Time) (store.OpaqueToken, error) {
	it, err := s.get(ctx, s.GrantsTable, tokenKey(digest))
	if err != nil {
		return store.OpaqueToken{}, err
	}
	t := store.OpaqueToken{Digest: digest, Claims: it.text("claims"), Expires: it.time("expires")}
	if !now.Before(t.Expires) {
		return store.OpaqueToken{}, store.ErrNotFound
	}
	return t, nil
}

// Single sign-on sessions (OpenID Connect Core 1.0 §3.1.2.3).

package dynamo

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	_ store.Sessions       = (*Store)(nil)
	_ store.SessionClients = (*Store)(nil)
)

func sessionKey(digest oauth.Digest) string { return "session#" + string(digest) }

// PutSession writes a new session. Its digest is that of 256 bits drawn for it,
// so an item that is there after an answer was lost is this one.
func (s *Store) PutSession(ctx context.Context, session store.Session) error {
	it := newItem(sessionKey(session.Digest))
	it.setText("sid", session.ID)
	it.setText("sub", session.Subject)
	it.setTime("auth_time", session.AuthTime)
	it["expires"] = millis(session.Expires)
	it["idle_expires"] = millis(session.IdleExpires)
	it.setNames("clients", session.Clients)
	it.setText("device", session.Device)
	it["owner"] = text(sessionsOwner(session.Subject))
	it["ttl"] = seconds(session.Expires)
	out, err := s.put(ctx, s.GrantsTable, it, "attribute_not_exists(#pk)", nil)
	if err == nil && out.taken(it) {
		return store.ErrConflict
	}
	return err
}

// Session returns a session that is alive.
func (s *Store) Session(ctx context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	it, err := s.get(ctx, s.GrantsTable, sessionKey(digest))
	if err != nil {
		return store.Session{}, err
	}
	session := sessionOf(digest, it)
	if !session.Alive(now) {
		return store.Session{}, store.ErrNotFound
	}
	return session, nil
}

func sessionOf(digest oauth.Digest, it item) store.Session {
	return store.Session{
		Digest:      digest,
		ID:          it.text("sid"),
		Subject:     it.text("sub"),
		AuthTime:    it.time("auth_time"),
		Expires:     it.time("expires"),
		IdleExpires: it.time("idle_expires"),
		Clients:     it.names("clients"),
		Device:      it.text("device"),
	}
}

// RenewSession moves the idle expiry, and leaves the absolute one, with the ttl,
// alone.
func (s *Store) RenewSession(ctx context.Context, digest oauth.Digest, idleExpires time.Time) error {
	out, err := s.update(ctx, sessionKey(digest), "SET #idle_expires = :idle", "", item{":idle": millis(idleExpires)})
	if err == nil && out.refused {
		return store.ErrNotFound
	}
	return err
}

// JoinSession adds a client to the set, which may hold it already.
func (s *Store) JoinSession(ctx context.Context, digest oauth.Digest, clientID string, idleExpires time.Time) error {
	out, err := s.update(ctx, sessionKey(digest), "SET #idle_expires = :idle ADD #clients :client", "",
		item{":idle": millis(idleExpires), ":client": &types.AttributeValueMemberSS{Value: []string{clientID}}})
	if err == nil && out.refused {
		return store.ErrNotFound
	}
	return err
}

// EndSession deletes it, and returns what it was. Where the answer of a first
// attempt was lost, the second finds nothing: whoever read the session before knows
// it all the same.
func (s *Store) EndSession(ctx context.Context, digest oauth.Digest) (store.Session, error) {
	it, err := s.take(ctx, sessionKey(digest))
	if err != nil {
		return store.Session{}, err
	}
	return sessionOf(digest, it), nil
}

// DeleteSession ends it.
func (s *Store) DeleteSession(ctx context.Context, digest oauth.Digest) error {
	return s.remove(ctx, sessionKey(digest), "", nil)
}

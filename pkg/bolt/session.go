// Single sign-on sessions (OpenID Connect Core 1.0 §3.1.2.3).

package bolt

import (
	"context"
	"slices"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	_ store.Sessions       = (*Store)(nil)
	_ store.SessionClients = (*Store)(nil)
)

func sessionKey(digest oauth.Digest) string { return "session#" + string(digest) }

// PutSession writes a new session.
func (s *Store) PutSession(_ context.Context, session store.Session) error {
	return s.update(grantsBucket, func(b items) error {
		if b.has(sessionKey(session.Digest)) {
			return store.ErrConflict
		}
		return b.put(sessionKey(session.Digest), session, session.Expires)
	})
}

// Session returns a session that is alive.
func (s *Store) Session(_ context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	var session store.Session
	err := s.view(grantsBucket, func(b items) error { return b.get(sessionKey(digest), &session) })
	if err == nil && !session.Alive(now) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Session{}, err
	}
	return session, nil
}

// RenewSession moves the idle expiry.
func (s *Store) RenewSession(_ context.Context, digest oauth.Digest, idleExpires time.Time) error {
	return s.update(grantsBucket, func(b items) error {
		var session store.Session
		if err := b.get(sessionKey(digest), &session); err != nil {
			return err
		}
		session.IdleExpires = idleExpires
		return b.put(sessionKey(digest), session, session.Expires)
	})
}

// JoinSession adds a client.
func (s *Store) JoinSession(_ context.Context, digest oauth.Digest, clientID string, idleExpires time.Time) error {
	return s.update(grantsBucket, func(b items) error {
		var session store.Session
		if err := b.get(sessionKey(digest), &session); err != nil {
			return err
		}
		if !slices.Contains(session.Clients, clientID) {
			session.Clients = append(session.Clients, clientID)
		}
		session.IdleExpires = idleExpires
		return b.put(sessionKey(digest), session, session.Expires)
	})
}

// EndSession deletes it, and returns what it was.
func (s *Store) EndSession(_ context.Context, digest oauth.Digest) (session store.Session, err error) {
	err = s.update(grantsBucket, func(b items) error {
		if err := b.get(sessionKey(digest), &session); err != nil {
			return err
		}
		return b.delete(sessionKey(digest))
	})
	if err != nil {
		return store.Session{}, err
	}
	return session, nil
}

// DeleteSession ends it.
func (s *Store) DeleteSession(_ context.Context, digest oauth.Digest) error {
	return s.update(grantsBucket, func(b items) error { return b.delete(sessionKey(digest)) })
}

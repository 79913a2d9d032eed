// Authorization codes and refresh tokens (RFC 6749 §4.1.3, §6; RFC 9700 §4.14.2).

package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/store"
)

var (
	_ store.Codes       = (*Store)(nil)
	_ store.GrantReader = (*Store)(nil)
	_ store.Grants      = (*Store)(nil)
	_ store.Revocations = (*Store)(nil)
)

func grantKey(id string) string { return "grant#" + id }

// PutGrant writes a new grant.
func (s *Store) PutGrant(_ context.Context, g store.Grant) error {
	return s.update(grantsBucket, func(b items) error {
		if b.has(grantKey(g.ID)) {
			return store.ErrConflict
		}
		return b.putGrant(g)
	})
}

// Grant reads it.
func (s *Store) Grant(_ context.Context, id string) (g store.Grant, err error) {
	err = s.view(grantsBucket, func(b items) error { return b.get(grantKey(id), &g) })
	return g, err
}

// SpendCode exchanges a code.
func (s *Store) SpendCode(_ context.Context, spend store.Spend) (store.Grant, error) {
	return s.decide(spend.GrantID, spend.Now, spend.Judge, spend.Done, spend.Apply)
}

// RotateRefreshToken exchanges a refresh token.
func (s *Store) RotateRefreshToken(_ context.Context, r store.Rotation) (store.Grant, error) {
	return s.decide(r.GrantID, r.Now, r.Judge, r.Settled, r.Apply)
}

// decide applies what is allowed. A replay is answered by revoking.
func (s *Store) decide(
	id string, now time.Time,
	judge func(store.Grant) error, settled func(store.Grant) bool, apply func(store.Grant) store.Grant,
) (store.Grant, error) {
	var g store.Grant
	var verdict error
	err := s.update(grantsBucket, func(b items) error {
		if err := b.get(grantKey(id), &g); err != nil {
			return err
		}
		verdict = judge(g)
		switch {
		case errors.Is(verdict, store.ErrReplayed):
			g.Revoked = now
		case verdict != nil:
			return verdict
		case settled(g):
			return nil
		default:
			g = apply(g)
		}
		return b.putGrant(g)
	})
	if err == nil {
		err = verdict
	}
	if err != nil {
		return store.Grant{}, err
	}
	return g, nil
}

// ReopenCode gives back a code.
func (s *Store) ReopenCode(_ context.Context, id, by string) error {
	return s.undo(id, by, store.UndoSpend)
}

// ReopenRotation marks a rotation.
func (s *Store) ReopenRotation(_ context.Context, id, by string) error {
	return s.undo(id, by, store.UndoRotation)
}

func (s *Store) undo(id, by string, apply func(store.Grant, string) (store.Grant, bool)) error {
	err := s.update(grantsBucket, func(b items) error {
		var g store.Grant
		if err := b.get(grantKey(id), &g); err != nil {
			return err
		}
		undone, ok := apply(g, by)
		if !ok {
			return nil
		}
		// It goes no sooner than it would have.
		until, err := g.Until()
		if err != nil {
			return err
		}
		return b.put(grantKey(id), undone, until)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// RevokeGrant ends a grant.
func (s *Store) RevokeGrant(_ context.Context, r store.Revocation) error {
	return s.update(grantsBucket, func(b items) error {
		var g store.Grant
		if err := b.get(grantKey(r.GrantID), &g); err != nil {
			return err
		}
		if err := r.Judge(g); err != nil || !g.Revoked.IsZero() {
			return err
		}
		g.Revoked = r.Now
		return b.putGrant(g)
	})
}

func (i items) putGrant(g store.Grant) error {
	until, err := g.Until()
	if err != nil {
		return err
	}
	return i.put(grantKey(g.ID), g, until)
}

package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kmint/pkg/store"
)

// A wire does for a store that is near what a store that is far does for itself: it
// makes a call again if its answer was lost, takes nobody for a thief then, and gives
// back what may have been written (see store.Grants).
type wire struct{ near Stores }

var (
	_ store.Grants      = wire{}
	_ store.Revocations = wire{}
)

const attempts = 2

func (w wire) SpendCode(ctx context.Context, s store.Spend) (store.Grant, error) {
	return w.decide(ctx, s.GrantID, s.By, s.Judge, w.ReopenCode, func() (store.Grant, error) { return w.near.Grants.SpendCode(ctx, s) })
}

func (w wire) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	return w.decide(ctx, r.GrantID, r.By, r.Judge, w.ReopenRotation, func() (store.Grant, error) { return w.near.Grants.RotateRefreshToken(ctx, r) })
}

func (w wire) decide(
	ctx context.Context, id, by string, judge func(store.Grant) error,
	undo func(ctx context.Context, id, by string) error, do func() (store.Grant, error),
) (g store.Grant, err error) {
	verdict := func() error {
		stored, err := w.near.Reader.Grant(ctx, id)
		if err != nil {
			return err
		}
		return judge(stored)
	}
	// One write changes what it may, and nobody hears what it may not.
	unheard := func() {
		if err := verdict(); err == nil || errors.Is(err, store.ErrUndone) {
			_, _ = do()
		}
	}
	for attempt := range attempts {
		inDoubt := false
		lost := Carry(ctx, false, func() {
			if inDoubt = attempt > 0 && errors.Is(verdict(), store.ErrReplayed); !inDoubt {
				g, err = do()
			}
		}, unheard)
		if lost == nil && !inDoubt {
			return g, err
		}
	}
	return store.Grant{}, errors.Join(fmt.Errorf("%w: no answer", store.ErrBusy), undo(ctx, id, by))
}

func (w wire) ReopenCode(ctx context.Context, id, by string) error {
	return insist(ctx, true, func() error { return w.near.Grants.ReopenCode(ctx, id, by) })
}

func (w wire) ReopenRotation(ctx context.Context, id, by string) error {
	return insist(ctx, true, func() error { return w.near.Grants.ReopenRotation(ctx, id, by) })
}

func (w wire) RevokeGrant(ctx context.Context, r store.Revocation) error {
	return insist(ctx, false, func() error { return w.near.Revocations.RevokeGrant(ctx, r) })
}

// RevokeToken is no moment of a grant.
func (w wire) RevokeToken(ctx context.Context, jti string, expires time.Time) error {
	return w.near.Revocations.RevokeToken(ctx, jti, expires)
}

// insist makes a call that is the same when it is made twice.
func insist(ctx context.Context, undo bool, do func() error) (err error) {
	for range attempts {
		if Carry(ctx, undo, func() { err = do() }, func() { _ = do() }) == nil {
			return err
		}
	}
	return fmt.Errorf("%w: no answer", store.ErrBusy)
}

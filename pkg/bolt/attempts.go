package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Attempts = (*Store)(nil)

func attemptsKey(name oauth.Digest) string { return "attempts#" + string(name) }

// BeginAttempt takes one of the attempts left.
func (s *Store) BeginAttempt(_ context.Context, name oauth.Digest, now time.Time) error {
	return s.update(grantsBucket, func(b items) error {
		var count store.FailureCount
		if err := b.get(attemptsKey(name), &count); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		count, err := count.Next(now)
		if err != nil {
			return err
		}
		return b.put(attemptsKey(name), count, count.Until)
	})
}

// ClearAttempts forgets the failures.
func (s *Store) ClearAttempts(_ context.Context, name oauth.Digest) error {
	return s.update(grantsBucket, func(b items) error { return b.delete(attemptsKey(name)) })
}

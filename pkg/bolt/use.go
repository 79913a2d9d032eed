// What is good once: the jti of an assertion (RFC 7523 §3) and of a proof (RFC 9449
// §11.1).

package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Uses = (*Store)(nil)

func useKey(key oauth.Digest) string { return "once#" + string(key) }

// UseOnce takes it.
func (s *Store) UseOnce(_ context.Context, u store.Use, now time.Time) error {
	return s.update(grantsBucket, func(b items) error {
		var kept store.Use
		err := b.get(useKey(u.Key), &kept)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		case err == nil && kept.By != u.By && now.Before(kept.Until):
			return store.ErrUsed
		}
		return b.put(useKey(u.Key), u, u.Until)
	})
}

// ForgetUse gives it back where it is By's.
func (s *Store) ForgetUse(_ context.Context, u store.Use) error {
	return s.update(grantsBucket, func(b items) error {
		var kept store.Use
		if err := b.get(useKey(u.Key), &kept); err != nil || kept.By != u.By {
			return optional(err)
		}
		return b.delete(useKey(u.Key))
	})
}

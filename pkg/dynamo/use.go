// What is good once: the jti of an assertion (RFC 7523 §3) and of a proof (RFC 9449
// §11.1).

package dynamo

import (
	"context"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Uses = (*Store)(nil)

func useKey(key oauth.Digest) string { return "once#" + string(key) }

// UseOnce takes it. Its item may outlive its time, for DynamoDB deletes when it
// comes to it.
//
// A copy of the write that arrives after ForgetUse takes it again, and who sends
// the very same request then is refused: that errs on the safe side.
func (s *Store) UseOnce(ctx context.Context, u store.Use, now time.Time) error {
	it := newItem(useKey(u.Key))
	it["by"] = text(u.By)
	it["until"] = notBefore(u.Until)
	it["ttl"] = seconds(u.Until)
	out, err := s.put(ctx, s.GrantsTable, it, "attribute_not_exists(#pk) OR #until <= :now OR #by = :by",
		item{":now": millis(now), ":by": text(u.By)})
	if err == nil && out.refused {
		return store.ErrUsed
	}
	return err
}

// ForgetUse gives it back where it is By's.
func (s *Store) ForgetUse(ctx context.Context, u store.Use) error {
	return s.insist(ctx, func(ctx context.Context) error {
		return s.remove(ctx, useKey(u.Key), "#by = :by", item{":by": text(u.By)})
	})
}

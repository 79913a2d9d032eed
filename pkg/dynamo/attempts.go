package dynamo

import (
	"context"
	"fmt"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Attempts = (*Store)(nil)

func attemptsKey(name oauth.Digest) string { return "attempts#" + string(name) }

// BeginAttempt writes the next count if the item is still as it was seen, which
// at first is: not there, as before most logins. A refused write shows the count
// that others have written meanwhile. Whoever is refused, another got through;
// so as many rounds as there are attempts, and as many again, end it.
//
// An attempt whose answer was lost counts twice: it errs on the safe side.
func (s *Store) BeginAttempt(ctx context.Context, name oauth.Digest, now time.Time) error {
	var seen item
	for range 2 * store.MaxFailures {
		count, err := store.FailureCount{Failures: int(seen.number("failures")), Until: seen.time("until")}.Next(now)
		if err != nil {
			return err
		}
		it := newItem(attemptsKey(name))
		it["failures"] = number(int64(count.Failures))
		it["until"] = millis(count.Until)
		it["ttl"] = seconds(count.Until)
		condition, values := "attribute_not_exists(#pk)", item(nil)
		if seen != nil {
			condition = "#failures = :failures AND #until = :until"
			values = item{":failures": seen["failures"], ":until": seen["until"]}
		}
		out, err := s.put(ctx, s.GrantsTable, it, condition, values)
		if err != nil || !out.refused {
			return err
		}
		seen = out.item
	}
	return fmt.Errorf("dynamo: %w: the login attempts keep changing", store.ErrBusy)
}

// ClearAttempts forgets the failures.
func (s *Store) ClearAttempts(ctx context.Context, name oauth.Digest) error {
	return s.remove(ctx, attemptsKey(name), "", nil)
}

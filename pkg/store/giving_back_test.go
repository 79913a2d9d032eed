package store_test

import (
	"context"
	"testing"
	"time"

	"kmint/pkg/store"
)

// There is time for a table that stands still, but not more than the request has, and
// some after it is over.
func TestGivingBack(t *testing.T) {
	for name, tt := range map[string]struct {
		left        time.Duration // of the request's time, 0 for no deadline
		least, most time.Duration
	}{
		"no deadline":           {0, 5500 * time.Millisecond, 6 * time.Second},
		"as long as a function": {10 * time.Second, 5500 * time.Millisecond, 6 * time.Second},
		"near its end":          {3 * time.Second, 2 * time.Second, 2500 * time.Millisecond},
		"over":                  {-time.Second, 500 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			request, leave := context.WithCancel(t.Context())
			if tt.left != 0 {
				request, leave = context.WithTimeout(t.Context(), tt.left)
			}
			ctx, cancel := store.GivingBack(request)
			defer cancel()
			leave()
			if ctx.Err() != nil {
				t.Error("it ends with the client's leaving")
			}
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left < tt.least || left > tt.most {
				t.Errorf("%s are left", left)
			}
		})
	}
}

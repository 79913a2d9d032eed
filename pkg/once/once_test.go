package once_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/oauth"
	"kmint/pkg/once"
	"kmint/pkg/store"
)

// dead takes the first use, and fails at others.
type dead struct {
	*bolt.Store
	key oauth.Digest
}

func (d dead) UseOnce(ctx context.Context, u store.Use, now time.Time) error {
	if u.Key == d.key {
		return store.ErrBusy
	}
	return d.Store.UseOnce(ctx, u, now)
}

func TestOnce(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	done := func() error { return nil }
	answering := func(err error) func() error { return func() error { return err } }
	batch := func(uses store.Uses, names ...string) *once.Batch {
		b := &once.Batch{Uses: uses, Now: func() time.Time { return now }}
		for _, name := range names {
			b.Add(oauth.InvalidClient.Errorf("again"), store.Use{Key: oauth.DigestOf(name), Until: now.Add(time.Minute)})
		}
		return b
	}
	refusal, down := oauth.InvalidRequest.Errorf("no"), errors.New("down")
	for name, tt := range map[string]struct {
		rest  func() error
		want  error
		again bool // the very same request may come again
	}{
		"done":                 {done, nil, false},
		"refused":              {answering(refusal), refusal, false},
		"failed":               {answering(down), down, true},
		"busy":                 {answering(store.ErrBusy), store.ErrBusy, true},
		"failed, in our words": {answering(oauth.TemporarilyUnavailable.Errorf("later")), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = batch(db, "a", "b").Then(t.Context(), tt.rest)
			if tt.want != nil && !errors.Is(err, tt.want) || (err == nil) != (name == "done") {
				t.Fatal(err)
			}
			did := false
			err = batch(db, "a", "b").Then(t.Context(), func() error { did = true; return nil })
			var e *oauth.Error
			switch {
			case did != tt.again:
				t.Errorf("came again: %v, %v", did, err)
			case !tt.again && (!errors.As(err, &e) || e.Code != oauth.InvalidClient || !errors.Is(err, store.ErrUsed)):
				t.Errorf("refused by %v", err)
			}
			// Half of it taken is given back too, and nothing is done.
			did = false
			err = batch(dead{db, oauth.DigestOf("d")}, "c", "d").Then(t.Context(), func() error { did = true; return nil })
			if did || !errors.Is(err, store.ErrBusy) {
				t.Errorf("did %v, %v", did, err)
			}
			if err := batch(db, "c", "d").Then(t.Context(), done); err != nil {
				t.Errorf("not given back: %v", err)
			}
		})
	}
	// What holds nothing asks no store.
	if err := batch(nil).Then(t.Context(), done); err != nil {
		t.Error(err)
	}
}

package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"kmint/pkg/dynamo"
	"kmint/pkg/store"
)

// A letter is a copy of a request that is still on its way.
type letter struct {
	w       *wire
	request *http.Request
	body    []byte
}

// kept is what happens to the request itself, of which a copy is on its way.
func (l *letter) kept(next fault) fault {
	return func(w *wire, r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		*l = letter{w: w, request: r.Clone(context.WithoutCancel(r.Context())), body: body}
		return next(w, r)
	}
}

// arrives fails unless DynamoDB answers the copy so: 200, or 400 if its condition
// did not hold.
func (l *letter) arrives(t *testing.T, want int) {
	t.Helper()
	l.request.Body = io.NopCloser(bytes.NewReader(l.body))
	response, err := l.w.inner.Do(l.request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != want ||
		want == http.StatusBadRequest && !bytes.Contains(answer, []byte("ConditionalCheckFailedException")) {
		t.Errorf("the late copy: %d %s %v", response.StatusCode, answer, err)
	}
}

// bounces fails unless the copy is refused and changes nothing.
func (l *letter) bounces(t *testing.T, s *dynamo.Store, id string) {
	t.Helper()
	before := read(t, s, id)
	l.arrives(t, http.StatusBadRequest)
	if after := read(t, s, id); !reflect.DeepEqual(after, before) {
		t.Errorf("the late copy left %+v of %+v", after, before)
	}
}

// A write whose answers were lost may be carried out seconds later. Whatever it
// meets then, it takes nothing that was given back: the client that comes again is
// served, and no thief. A second use stays one.
func TestLateCopies(t *testing.T) {
	w, s, direct := wired(t)
	ctx := t.Context()
	// A use is one honest request, with a By of its own.
	type use func(s *dynamo.Store) error
	for name, begin := range map[string]func(t *testing.T) (id string, use use){
		"SpendCode": func(t *testing.T) (string, use) {
			g, _ := newGrant(t, direct)
			return g.ID, func(s *dynamo.Store) error { return second(s.SpendCode(ctx, spendOf(g))) }
		},
		"RotateRefreshToken": func(t *testing.T) (string, use) {
			g, _ := newRotation(t, direct)
			return g.ID, func(s *dynamo.Store) error { return second(s.RotateRefreshToken(ctx, rotationOf(g))) }
		},
	} {
		// busy fails unless the use is put off after so many writes.
		busy := func(t *testing.T, use use, writes int, faults ...fault) {
			t.Helper()
			w.meets(faults...)
			if err := use(s); !errors.Is(err, store.ErrBusy) {
				t.Errorf("got error %v, want %v", err, store.ErrBusy)
			}
			w.made(t, "UpdateItem", map[string]int{"UpdateItem": writes})
			w.meets()
		}
		served := func(t *testing.T, id string, use use) {
			t.Helper()
			if err := use(s); err != nil {
				t.Errorf("the client again: %v", err)
			}
			if !read(t, direct, id).Revoked.IsZero() {
				t.Error("the grant is revoked")
			}
		}
		replayed := func(t *testing.T, id string, use use) {
			t.Helper()
			if err := use(s); !errors.Is(err, store.ErrReplayed) {
				t.Errorf("a second use: %v", err)
			}
			if read(t, direct, id).Revoked.IsZero() {
				t.Error("a second use: the grant is not revoked")
			}
		}

		t.Run(name+", before the client comes again", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			busy(t, use, 4, late.kept(hung), dropped) // the two writes, a look at what came of them, the mark
			late.bounces(t, direct, id)
			served(t, id, use)
			replayed(t, id, use)
		})

		t.Run(name+", after the client has come again", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			busy(t, use, 4, late.kept(dropped), dropped)
			served(t, id, use)
			late.bounces(t, direct, id)
			replayed(t, id, use)
			late.bounces(t, direct, id)
		})

		t.Run(name+", after that, though nothing could be given back", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			s.Patience = time.Nanosecond
			busy(t, use, 4, late.kept(dropped), dropped, dropped, dropped)
			s.Patience = 0
			served(t, id, use)
			late.bounces(t, direct, id)
			replayed(t, id, use)
		})

		t.Run(name+", of the client's second attempt too", func(t *testing.T) {
			id, use := begin(t)
			var late, later letter
			busy(t, use, 4, late.kept(dropped), dropped)
			busy(t, use, 4, later.kept(dropped), dropped)
			late.bounces(t, direct, id)
			later.bounces(t, direct, id)
			served(t, id, use)
			replayed(t, id, use)
		})

		t.Run(name+", while it is given back", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			// It is not there at first, and is before it can be marked.
			busy(t, use, 5, late.kept(dropped), dropped, passed,
				then(func() { late.arrives(t, http.StatusOK) }, passed), passed)
			late.bounces(t, direct, id)
			served(t, id, use)
			late.bounces(t, direct, id)
		})

		t.Run(name+", the mark's answer lost", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			busy(t, use, 6, late.kept(dropped), dropped, passed, lost) // looked for again, and found
			late.bounces(t, direct, id)
			served(t, id, use)
			replayed(t, id, use)
		})

		t.Run(name+", given back once the table answers again", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			busy(t, use, 8, late.kept(dropped), dropped, dropped, dropped, throttled, throttled)
			late.bounces(t, direct, id)
			served(t, id, use)
			replayed(t, id, use)
		})

		t.Run(name+", once revoked", func(t *testing.T) {
			id, use := begin(t)
			var late letter
			busy(t, use, 4, late.kept(dropped), dropped)
			served(t, id, use)
			replayed(t, id, use)
			// What comes then is not even marked.
			before := read(t, direct, id)
			for _, reopen := range []func(context.Context, string, string) error{s.ReopenCode, s.ReopenRotation} {
				if err := reopen(ctx, id, "by"); err != nil {
					t.Error(err)
				}
			}
			late.bounces(t, direct, id)
			if after := read(t, direct, id); !reflect.DeepEqual(after, before) {
				t.Errorf("left %+v of %+v", after, before)
			}
		})
	}

	// The code was in other hands when the copy was looked for, and comes back.
	t.Run("SpendCode, once another has given the code back", func(t *testing.T) {
		g, mine := newGrant(t, direct)
		other := spendOf(g)
		var late letter
		w.meets(late.kept(then(func() {
			if err := second(direct.SpendCode(ctx, other)); err != nil {
				t.Error(err)
			}
		}, dropped)))
		if err := second(s.SpendCode(ctx, mine)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("SpendCode: %v", err)
		}
		w.made(t, "SpendCode", map[string]int{"UpdateItem": 4})
		if got := read(t, direct, g.ID); got.By != other.By || !got.Revoked.IsZero() {
			t.Errorf("what the other has: %+v", got)
		}
		late.bounces(t, direct, g.ID)
		if err := direct.ReopenCode(ctx, g.ID, other.By); err != nil {
			t.Error(err)
		}
		late.bounces(t, direct, g.ID)
		if err := second(s.SpendCode(ctx, spendOf(g))); err != nil {
			t.Errorf("the client again: %v", err)
		}
		if err := second(s.SpendCode(ctx, spendOf(g))); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("a second use: %v", err)
		}
	})

	// Somebody ends the grant while a write of it, or of its end, is on its way.
	for name, end := range map[string]func(t *testing.T, g store.Grant){
		"RevokeGrant": func(t *testing.T, g store.Grant) {
			if err := direct.RevokeGrant(ctx, revocationOf(g)); err != nil {
				t.Error(err)
			}
		},
		"RevokeGrant, of which a copy comes too": func(t *testing.T, g store.Grant) {
			var late letter
			w.meets(late.kept(dropped))
			if err := s.RevokeGrant(ctx, revocationOf(g)); err != nil {
				t.Error(err)
			}
			late.bounces(t, direct, g.ID)
		},
	} {
		t.Run("RotateRefreshToken, after "+name, func(t *testing.T) {
			for _, static := range []bool{false, true} {
				g, use := newRotation(t, direct)
				use.Static = static
				var late letter
				w.meets(late.kept(dropped), dropped)
				if err := second(s.RotateRefreshToken(ctx, use)); !errors.Is(err, store.ErrBusy) {
					t.Errorf("RotateRefreshToken: %v", err)
				}
				end(t, g)
				late.bounces(t, direct, g.ID)
			}
		})
	}

	// A token that is not rotated: a late copy leaves it the same.
	t.Run("RotateRefreshToken, static", func(t *testing.T) {
		g, use := newRotation(t, direct)
		use.Static = true
		var late letter
		w.meets(late.kept(dropped))
		if err := second(s.RotateRefreshToken(ctx, use)); err != nil {
			t.Error(err)
		}
		before := read(t, direct, g.ID)
		late.arrives(t, http.StatusOK)
		if after := read(t, direct, g.ID); !reflect.DeepEqual(after, before) {
			t.Errorf("the late copy left %+v of %+v", after, before)
		}
		// Nor does it bring back what was rotated since.
		if err := second(direct.RotateRefreshToken(ctx, rotationOf(g))); err != nil {
			t.Error(err)
		}
		late.bounces(t, direct, g.ID)
	})

	t.Run("ForgetUse, once the table answers again", func(t *testing.T) {
		now := time.Now()
		use := store.Use{Key: digest(), Until: now.Add(time.Minute), By: "me"}
		again := use
		again.By = "me, once more"
		if err := direct.UseOnce(ctx, use, now); err != nil {
			t.Fatal(err)
		}
		w.meets(dropped, dropped, throttled, throttled)
		if err := s.ForgetUse(ctx, use); err != nil {
			t.Error(err)
		}
		w.made(t, "ForgetUse", map[string]int{"DeleteItem": 5})
		if err := s.UseOnce(ctx, again, now); err != nil {
			t.Errorf("UseOnce again: %v", err)
		}
		w.meets(dropped, dropped)
		s.Patience = time.Nanosecond
		if err := s.ForgetUse(ctx, again); !errors.Is(err, store.ErrBusy) {
			t.Errorf("ForgetUse: %v", err)
		}
		s.Patience = 0
	})

	// A copy of the use of a jti that was given back takes it again: the very same
	// request is refused from then on, and is never let through twice.
	t.Run("UseOnce", func(t *testing.T) {
		now := time.Now()
		use := store.Use{Key: digest(), Until: now.Add(time.Minute), By: "me"}
		retry := use
		retry.By = "me, once more"
		var late letter
		w.meets(late.kept(dropped), dropped)
		if err := s.UseOnce(ctx, use, now); !errors.Is(err, store.ErrBusy) {
			t.Errorf("UseOnce: %v", err)
		}
		if err := s.ForgetUse(ctx, use); err != nil {
			t.Error(err)
		}
		late.arrives(t, http.StatusOK)
		if err := s.UseOnce(ctx, retry, now); !errors.Is(err, store.ErrUsed) {
			t.Errorf("UseOnce again: %v", err)
		}

		use.Key = digest()
		retry.Key = use.Key
		w.meets(late.kept(dropped), dropped)
		if err := s.UseOnce(ctx, use, now); !errors.Is(err, store.ErrBusy) {
			t.Errorf("UseOnce: %v", err)
		}
		if err := s.UseOnce(ctx, retry, now); err != nil {
			t.Errorf("UseOnce again: %v", err)
		}
		late.arrives(t, http.StatusBadRequest)
	})
}

func revocationOf(g store.Grant) store.Revocation {
	return store.Revocation{GrantID: g.ID, ClientID: g.ClientID, Family: g.Family, Now: g.Created}
}

package storetest

import (
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func testSession(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	session := store.Session{
		Digest: digest(), ID: "sid", Subject: "ada", AuthTime: now.Add(-time.Minute + 7*time.Millisecond),
		Expires: now.Add(2*time.Hour + 3*time.Millisecond), IdleExpires: now.Add(time.Hour + time.Millisecond),
	}
	must(t, s.Sessions.PutSession(ctx, session))
	is(t, "the same digest again", s.Sessions.PutSession(ctx, store.Session{
		Digest: session.Digest, Subject: "eve", Expires: session.Expires, IdleExpires: session.IdleExpires,
	}), store.ErrConflict)
	alive := func(what string, at time.Time, want store.Session) {
		t.Helper()
		got, err := s.Sessions.Session(ctx, session.Digest, at)
		is(t, what, err, nil)
		same(t, what, got, want)
	}
	dead := func(what string, at time.Time) {
		t.Helper()
		_, err := s.Sessions.Session(ctx, session.Digest, at)
		is(t, what, err, store.ErrNotFound)
	}
	alive("now", now, session)
	alive("just before the idle expiry", session.IdleExpires.Add(-time.Millisecond), session)
	dead("at the idle expiry", session.IdleExpires)

	session.IdleExpires = now.Add(3 * time.Hour)
	must(t, s.Sessions.RenewSession(ctx, session.Digest, session.IdleExpires))
	alive("just before the end", session.Expires.Add(-time.Millisecond), session)
	dead("at the end, in spite of the idle expiry", session.Expires)

	for _, other := range []oauth.Digest{digest(), "", oauth.Digest(strings.Repeat("x", 5000))} {
		_, err := s.Sessions.Session(ctx, other, now)
		is(t, "another digest", err, store.ErrNotFound)
		is(t, "renewing another", s.Sessions.RenewSession(ctx, other, now), store.ErrNotFound)
	}

	must(t, s.Sessions.DeleteSession(ctx, session.Digest))
	dead("deleted", now)
	is(t, "deleting it again", s.Sessions.DeleteSession(ctx, session.Digest), nil)
	is(t, "renewing what was deleted", s.Sessions.RenewSession(ctx, session.Digest, now.Add(time.Hour)), store.ErrNotFound)
	dead("deleted, then renewed", now)
}

func testAttempts(t *testing.T, s Stores) {
	ctx, now, name := t.Context(), now(), digest()
	fail := func(at time.Time, want error) {
		t.Helper()
		is(t, "BeginAttempt", s.Attempts.BeginAttempt(ctx, name, at), want)
	}
	for range store.MaxFailures {
		fail(now, nil)
	}
	fail(now, store.ErrLocked)
	is(t, "another name", s.Attempts.BeginAttempt(ctx, digest(), now), nil)
	unlocked := now.Add(store.LockedDuration)
	// Trying does not extend the lock.
	fail(unlocked.Add(-time.Millisecond), store.ErrLocked)
	for range store.MaxFailures {
		fail(unlocked, nil)
	}
	fail(unlocked, store.ErrLocked)

	must(t, s.Attempts.ClearAttempts(ctx, name))
	is(t, "clearing what is clear", s.Attempts.ClearAttempts(ctx, name), nil)
	fail(unlocked, nil)
	// The window ends as it began, whatever happened in it.
	for range store.MaxFailures - 2 {
		fail(unlocked.Add(time.Minute), nil)
	}
	later := unlocked.Add(store.FailureWindow)
	for range store.MaxFailures - 1 {
		fail(later, nil)
	}
	// The lock counts from the last failure.
	last := later.Add(store.FailureWindow - time.Minute)
	fail(last, nil)
	fail(later.Add(store.FailureWindow), store.ErrLocked)
	fail(last.Add(store.LockedDuration-time.Millisecond), store.ErrLocked)
	fail(last.Add(store.LockedDuration), nil)
}

func testAttemptsRace(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	for range raceRounds {
		name := digest()
		errs, busy := race(func(int) error { return s.Attempts.BeginAttempt(ctx, name, now) })
		if n := count(t, errs, store.ErrLocked)[nil]; n > store.MaxFailures || n < store.MaxFailures && !busy {
			t.Errorf("%d of %d attempts were allowed, want %d", n, racers, store.MaxFailures)
		}
		// An attempt whose answer was lost may have counted twice.
		is(t, "one more", s.Attempts.BeginAttempt(ctx, name, now), store.ErrLocked)
	}
}

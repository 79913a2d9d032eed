package storetest

import (
	"fmt"
	"slices"
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
		Device: "Firefox, Linux",
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

func testSessionClients(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	began := func(clients ...string) store.Session {
		session := store.Session{
			Digest: digest(), ID: "sid", Subject: "ada", AuthTime: now.Add(-time.Minute),
			Expires: now.Add(2 * time.Hour), IdleExpires: now.Add(time.Hour), Clients: clients,
		}
		must(t, s.Sessions.PutSession(ctx, session))
		return session
	}
	for name, first := range map[string][]string{"begun by nobody": nil, "begun by one": {"spa"}} {
		t.Run(name, func(t *testing.T) {
			session := began(first...)
			for _, client := range []string{"web", "web", "\u00e9", "spa"} {
				session.IdleExpires = session.IdleExpires.Add(time.Minute)
				must(t, s.Joined.JoinSession(ctx, session.Digest, client, session.IdleExpires))
			}
			session.Clients = []string{"spa", "web", "\u00e9"}
			got, err := s.Sessions.Session(ctx, session.Digest, session.IdleExpires.Add(-time.Millisecond))
			must(t, err)
			slices.Sort(got.Clients)
			same(t, "joined", got, session)

			must(t, s.Sessions.RenewSession(ctx, session.Digest, session.IdleExpires.Add(time.Minute)))
			session.IdleExpires = session.IdleExpires.Add(time.Minute)
			got, err = s.Joined.EndSession(ctx, session.Digest)
			must(t, err)
			slices.Sort(got.Clients)
			same(t, "ended", got, session)

			_, err = s.Sessions.Session(ctx, session.Digest, now)
			is(t, "reading it", err, store.ErrNotFound)
			_, err = s.Joined.EndSession(ctx, session.Digest)
			is(t, "ending it again", err, store.ErrNotFound)
			is(t, "joining it", s.Joined.JoinSession(ctx, session.Digest, "late", session.Expires), store.ErrNotFound)
			_, err = s.Sessions.Session(ctx, session.Digest, now)
			is(t, "reading what was joined late", err, store.ErrNotFound)
		})
	}
	t.Run("nobody ever joined", func(t *testing.T) {
		session := began()
		got, err := s.Joined.EndSession(ctx, session.Digest)
		must(t, err)
		same(t, "ended", got, session)
	})
	for _, other := range []oauth.Digest{digest(), "", oauth.Digest(strings.Repeat("x", 5000))} {
		_, err := s.Joined.EndSession(ctx, other)
		is(t, "ending another", err, store.ErrNotFound)
		is(t, "joining another", s.Joined.JoinSession(ctx, other, "web", now), store.ErrNotFound)
	}
}

// Whoever joined is told, and whoever was too late is refused: there is no third.
func testSessionClientsRace(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	for range raceRounds {
		session := store.Session{Digest: digest(), ID: "sid", Subject: "ada", Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour)}
		must(t, s.Sessions.PutSession(ctx, session))
		var ended store.Session
		errs, busy := race(func(i int) (err error) {
			if i == racers/2 {
				ended, err = s.Joined.EndSession(ctx, session.Digest)
				return err
			}
			return s.Joined.JoinSession(ctx, session.Digest, fmt.Sprint("client", i), session.IdleExpires)
		})
		if busy {
			continue // an answer that was lost says neither
		}
		is(t, "EndSession", errs[racers/2], nil)
		var joined []string
		for i, err := range errs {
			if err == nil && i != racers/2 {
				joined = append(joined, fmt.Sprint("client", i))
			}
		}
		slices.Sort(joined)
		slices.Sort(ended.Clients)
		same(t, "told", ended.Clients, joined)
	}
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

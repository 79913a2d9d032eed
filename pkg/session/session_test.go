package session_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

// table keeps sessions and people in memory, and counts renewals.
type table struct {
	sessions map[oauth.Digest]store.Session
	users    map[string]store.User
	renewed  int
	joined   int
	fault    error
	deleted  []oauth.Digest
}

var (
	_ store.Sessions = (*table)(nil)
	_ store.Users    = (*table)(nil)

	_ store.SessionClients = (*table)(nil)
)

func (t *table) PutSession(_ context.Context, s store.Session) error {
	t.sessions[s.Digest] = s
	return nil
}

func (t *table) Session(_ context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	s, ok := t.sessions[digest]
	if !ok || !s.Alive(now) {
		return store.Session{}, store.ErrNotFound
	}
	return s, nil
}

func (t *table) RenewSession(_ context.Context, digest oauth.Digest, idle time.Time) error {
	s := t.sessions[digest]
	s.IdleExpires = idle
	t.sessions[digest] = s
	t.renewed++
	return nil
}

func (t *table) JoinSession(_ context.Context, digest oauth.Digest, clientID string, idle time.Time) error {
	s, ok := t.sessions[digest]
	if !ok {
		return store.ErrNotFound
	}
	s.IdleExpires, s.Clients = idle, append(s.Clients, clientID)
	t.sessions[digest] = s
	t.joined++
	return t.fault
}

func (t *table) EndSession(_ context.Context, digest oauth.Digest) (store.Session, error) {
	s, ok := t.sessions[digest]
	if !ok {
		return store.Session{}, store.ErrNotFound
	}
	delete(t.sessions, digest)
	return s, t.fault
}

func (t *table) DeleteSession(_ context.Context, digest oauth.Digest) error {
	t.deleted = append(t.deleted, digest)
	return nil
}

func (t *table) User(_ context.Context, subject string) (store.User, error) {
	u, ok := t.users[subject]
	if !ok {
		return store.User{}, store.ErrNotFound
	}
	return u, nil
}

func keeper(now *time.Time) (*table, session.Keeper) {
	t := &table{sessions: map[oauth.Digest]store.Session{}, users: map[string]store.User{"u|1 é": {Subject: "u|1 é"}}}
	return t, session.Keeper{Sessions: t, Clients: t, Users: t, Now: func() time.Time { return *now }}
}

func TestASessionIsFoundByItsHandle(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	kept, k := keeper(&now)
	s, handle := k.New("u|1 é")
	if len(kept.sessions) != 0 {
		t.Error("New wrote")
	}
	// A cookie cannot hold just anything (RFC 6265 §4.1.1).
	if strings.ContainsAny(handle.Reveal(), " |é;,\"\\") || !strings.HasPrefix(handle.Reveal(), oauth.SessionPrefix) {
		t.Errorf("the handle is %s", handle.Reveal())
	}
	if _, _, err := k.Find(t.Context(), handle); !errors.Is(err, session.ErrNone) {
		t.Errorf("before it was written: %v", err)
	}
	if err := k.Begin(t.Context(), s, ""); err != nil || len(kept.deleted) != 0 {
		t.Fatalf("%v, deleted %v", err, kept.deleted)
	}
	found, user, err := k.Find(t.Context(), handle)
	if err != nil || !reflect.DeepEqual(found, s) || user.Subject != "u|1 é" {
		t.Errorf("%+v, %+v, %v", found, user, err)
	}
	if next, other := k.New("u|1 é"); next.ID == s.ID || other == handle || next.Digest == s.Digest {
		t.Error("two logins share a secret")
	}
	next, _ := k.New("u|1 é")
	if err := k.Begin(t.Context(), next, handle); err != nil || len(kept.deleted) != 1 || kept.deleted[0] != s.Digest {
		t.Errorf("%v, deleted %v", err, kept.deleted)
	}
	delete(kept.users, "u|1 é")
	if _, _, err := k.Find(t.Context(), handle); !errors.Is(err, session.ErrNone) {
		t.Errorf("of one who is gone: %v", err)
	}
}

func TestUseIsWrittenDownNowAndThen(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	kept, k := keeper(&now)
	s, _ := k.New("u|1 é")
	began := now
	for _, tt := range []struct {
		at      time.Duration
		renewed int
		idle    time.Duration
	}{
		{0, 0, session.IdleLifetime},
		{session.RenewEvery - 1, 0, session.IdleLifetime},
		{session.RenewEvery, 1, session.RenewEvery + session.IdleLifetime},
		{session.RenewEvery + 1, 1, session.RenewEvery + session.IdleLifetime},
		{3 * 24 * time.Hour, 2, 6 * 24 * time.Hour},
		{4*24*time.Hour - time.Minute, 3, session.Lifetime - time.Minute},
		// The last minute is not lost to RenewEvery, and then there is no more.
		{5 * 24 * time.Hour, 4, session.Lifetime},
		{6 * 24 * time.Hour, 4, session.Lifetime},
	} {
		now = began.Add(tt.at)
		if err := k.Renew(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if written, ok := kept.sessions[s.Digest]; ok {
			s.IdleExpires = written.IdleExpires
		}
		if kept.renewed != tt.renewed || s.IdleExpires.Sub(began) != tt.idle {
			t.Errorf("after %s: renewed %d times, idle until %s", tt.at, kept.renewed, s.IdleExpires.Sub(began))
		}
	}
}

func TestAClientIsWrittenDownOnce(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	kept, k := keeper(&now)
	s, _ := k.New("u|1 é")
	s.Clients = []string{"web"}
	began := now
	if err := k.Begin(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		client string
		at     time.Duration
		joined int
		idle   time.Duration
	}{
		{"web", time.Hour, 0, session.IdleLifetime},
		{"spa", time.Hour, 1, time.Hour + session.IdleLifetime},
		{"spa", 2 * time.Hour, 1, time.Hour + session.IdleLifetime},
		{"cli", 6 * 24 * time.Hour, 2, session.Lifetime},
	} {
		now = began.Add(tt.at)
		if err := k.Join(t.Context(), kept.sessions[s.Digest], tt.client); err != nil {
			t.Fatal(err)
		}
		if idle := kept.sessions[s.Digest].IdleExpires.Sub(began); kept.joined != tt.joined || idle != tt.idle {
			t.Errorf("%s after %s: joined %d times, idle until %s", tt.client, tt.at, kept.joined, idle)
		}
	}
	read := kept.sessions[s.Digest]
	if err := k.Join(t.Context(), read, "late"); err != nil {
		t.Fatal(err)
	}
	clients, err := k.End(t.Context(), read)
	if want := []string{"cli", "late", "spa", "web"}; err != nil || !slices.Equal(clients, want) {
		t.Errorf("to be told: %q, %v, want %q", clients, err, want)
	}
	if err := k.Join(t.Context(), read, "later"); !errors.Is(err, session.ErrNone) {
		t.Errorf("joining what has ended: %v", err)
	}
	// Another has ended it meanwhile, or the answer was lost: who is known is told.
	clients, err = k.End(t.Context(), read)
	if want := []string{"cli", "spa", "web"}; err != nil || !slices.Equal(clients, want) {
		t.Errorf("to be told again: %q, %v, want %q", clients, err, want)
	}
	busy := errors.New("busy")
	kept.sessions[s.Digest], kept.fault = read, busy
	if err := k.Join(t.Context(), read, "more"); !errors.Is(err, busy) || errors.Is(err, session.ErrNone) {
		t.Errorf("joining by a busy table: %v", err)
	}
	if _, err := k.End(t.Context(), read); !errors.Is(err, busy) {
		t.Errorf("ending by a busy table: %v", err)
	}
}

type key func(purpose string, hour int64) ([]byte, error)

func (k key) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	return k(purpose, hour)
}

func TestASealIsForOneBrowserAndOneRequest(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var asked []int64
	s := session.Sealer{Now: func() time.Time { return now }, MAC: key(func(purpose string, hour int64) ([]byte, error) {
		asked = append(asked, hour)
		return []byte{byte(hour), byte(len(purpose))}, nil
	})}
	browser, fresh := session.Browser("")
	if !fresh {
		t.Error("no new key for a browser without one")
	}
	if same, fresh := session.Browser(browser); fresh || same != browser {
		t.Error("the browser's key is not kept")
	}
	seal, err := s.Seal(t.Context(), browser, "a=1")
	if err != nil {
		t.Fatal(err)
	}
	leaving := s
	leaving.Purpose = session.Logout
	if err := leaving.Check(t.Context(), seal, browser, "a=1"); !errors.Is(err, session.ErrSeal) {
		t.Errorf("a seal of another purpose: %v", err)
	}
	for name, tt := range map[string]struct {
		seal, request string
		browser       oauth.Secret
		later         time.Duration
		want          error
	}{
		"as sealed":                     {seal, "a=1", browser, 0, nil},
		"the next hour":                 {seal, "a=1", browser, time.Hour, nil},
		"the hour after":                {seal, "a=1", browser, 2 * time.Hour, session.ErrSeal},
		"the hour before":               {seal, "a=1", browser, -time.Hour, session.ErrSeal},
		"by a clock a minute behind":    {seal, "a=1", browser, -time.Minute, nil},
		"by one further behind":         {seal, "a=1", browser, -time.Minute - time.Second, session.ErrSeal},
		"another request":               {seal, "a=2", browser, 0, session.ErrSeal},
		"another browser":               {seal, "a=1", oauth.Secret(oauth.NewID()), 0, session.ErrSeal},
		"no browser":                    {seal, "a=1", "", 0, session.ErrSeal},
		"moved from browser to request": {seal, browser.Reveal()[42:] + "a=1", browser[:42], 0, session.ErrSeal},
		"no seal":                       {"", "a=1", browser, 0, session.ErrSeal},
		"half a seal":                   {seal[:20], "a=1", browser, 0, session.ErrSeal},
		"a seal and more":               {seal + "AAAA", "a=1", browser, 0, session.ErrSeal},
	} {
		now, asked = time.Unix(1_800_000_000, 0).Add(tt.later), nil
		if err := s.Check(t.Context(), tt.seal, tt.browser, tt.request); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		for _, h := range asked {
			if h > now.Add(time.Minute).Unix()/3600 {
				t.Errorf("%s: asked for a key of the hour %d", name, h)
			}
		}
	}
	// Browser would never have kept this one.
	now = time.Unix(1_800_000_000, 0)
	chosen, err := s.Seal(t.Context(), "chosen", "a=1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context(), chosen, "chosen", "a=1"); !errors.Is(err, session.ErrSeal) {
		t.Errorf("a key that somebody chose: %v", err)
	}
	busy := errors.New("busy")
	s.MAC = key(func(string, int64) ([]byte, error) { return nil, busy })
	if _, err := s.Seal(t.Context(), browser, "a=1"); !errors.Is(err, busy) {
		t.Errorf("without a key: %v", err)
	}
	// A key that cannot be had says nothing about the seal.
	if err := s.Check(t.Context(), seal, browser, "a=1"); !errors.Is(err, busy) || errors.Is(err, session.ErrSeal) {
		t.Errorf("without a key: %v", err)
	}
}

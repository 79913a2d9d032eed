package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

func TestDevice(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0":                                                                             "Firefox, Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                    "Chrome, Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":                      "Edge, Windows",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36 EdgA/140.0.0.0":                     "Edge, Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                              "Safari, macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1":            "Safari, iPhone",
		"Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.0.0 Mobile/15E148 Safari/604.1":                  "Chrome, iPad",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                                    "Chrome, Android",
		"Mozilla/5.0 (Linux; Android 15; SAMSUNG SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet, Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                     "Chrome, ChromeOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 OPR/124.0.0.0":                      "Opera, Windows",
		"curl/8.5.0": "", "": "", "<script>": "", "Linux": "Linux",
	} {
		if got := session.Device(agent); got != want {
			t.Errorf("%q of %q, want %q", got, agent, want)
		}
	}
}

// Use is seen to within RenewEvery, until the end is too near to tell.
func TestLastUsed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	kept, k := keeper(&now)
	s, _ := k.New("u|1 é")
	began := now
	if err := k.Begin(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at, used time.Duration
		exact    bool
	}{
		{0, 0, true},
		{session.RenewEvery - 1, 0, true},
		{time.Hour, time.Hour, true},
		{3 * 24 * time.Hour, 3 * 24 * time.Hour, true},
		{5 * 24 * time.Hour, session.Lifetime - session.IdleLifetime, false},
		{6 * 24 * time.Hour, session.Lifetime - session.IdleLifetime, false},
	} {
		now = began.Add(tt.at)
		if err := k.Renew(t.Context(), kept.sessions[s.Digest]); err != nil {
			t.Fatal(err)
		}
		at, exact := session.LastUsed(kept.sessions[s.Digest])
		if at.Sub(began) != tt.used || exact != tt.exact {
			t.Errorf("after %s: used after %s, exact %v", tt.at, at.Sub(began), exact)
		}
	}
}

// pages is an index that says what it is told to.
type pages struct {
	sessions []store.Session
	next     oauth.Digest
	err      error
	store.Listings
}

func (p pages) SessionsOf(context.Context, string, time.Time, oauth.Digest) ([]store.Session, oauth.Digest, error) {
	return p.sessions, p.next, p.err
}

func TestSessionsThatCountAreListed(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	_, k := keeper(&now)
	at := func(hours int) store.Session {
		return store.Session{Digest: oauth.DigestOf(time.Duration(hours).String()), Subject: "u|1 é", AuthTime: now.Add(time.Duration(hours) * time.Hour)}
	}
	k.Listings = pages{sessions: []store.Session{at(-3), at(-1), at(-2), at(-4)}, next: "next"}
	page, next, err := k.Of(t.Context(), store.User{Subject: "u|1 é", NotBefore: now.Add(-3 * time.Hour)}, "")
	if err != nil || next != "next" || len(page) != 3 {
		t.Fatalf("%v, %q, %v", page, next, err)
	}
	for i, want := range []store.Session{at(-1), at(-2), at(-3)} {
		if page[i].Digest != want.Digest {
			t.Errorf("place %d: of %s", i, page[i].AuthTime)
		}
	}
	if page, _, err := k.Of(t.Context(), store.User{Subject: "u|1 é", Blocked: true}, ""); err != nil || len(page) > 0 {
		t.Errorf("of a blocked person: %v, %v", page, err)
	}
	busy := errors.New("busy")
	k.Listings = pages{err: busy}
	if _, _, err := k.Of(t.Context(), store.User{}, ""); !errors.Is(err, busy) {
		t.Error(err)
	}
}

func TestAnotherSession(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	_, k := keeper(&now)
	s, _ := k.New("u|1 é")
	if err := k.Begin(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		subject string
		digest  oauth.Digest
		later   time.Duration
		want    error
	}{
		"one's own":        {"u|1 é", s.Digest, 0, nil},
		"another person's": {"u|2", s.Digest, 0, session.ErrNone},
		"none":             {"u|1 é", "x", 0, session.ErrNone},
		"one that is over": {"u|1 é", s.Digest, session.IdleLifetime, session.ErrNone},
	} {
		now = time.Unix(1_800_000_000, 0).Add(tt.later)
		got, err := k.Another(t.Context(), store.User{Subject: tt.subject}, tt.digest)
		if !errors.Is(err, tt.want) || (err == nil) != (got.Digest == s.Digest) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

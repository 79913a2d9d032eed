package login_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// people are in memory; calls are noted in their order.
type people struct {
	logins map[string]string
	users  map[string]store.User
	counts map[oauth.Digest]store.FailureCount
	calls  []string
	fail   map[string]error
}

var (
	_ store.Logins   = (*people)(nil)
	_ store.Users    = (*people)(nil)
	_ store.Attempts = (*people)(nil)
)

func (p *people) note(call string) error {
	p.calls = append(p.calls, call)
	return p.fail[call]
}

func (p *people) Login(_ context.Context, name string) (string, error) {
	if err := p.note("Login"); err != nil {
		return "", err
	}
	if name == "" || len(name) > login.MaxName {
		return "", errors.New("a key that DynamoDB refuses")
	}
	subject, ok := p.logins[name]
	if !ok {
		return "", store.ErrNotFound
	}
	return subject, nil
}

func (p *people) User(_ context.Context, subject string) (store.User, error) {
	if err := p.note("User"); err != nil {
		return store.User{}, err
	}
	u, ok := p.users[subject]
	if !ok {
		return store.User{}, store.ErrNotFound
	}
	return u, nil
}

func (p *people) BeginAttempt(_ context.Context, name oauth.Digest, now time.Time) error {
	if err := p.note("BeginAttempt"); err != nil {
		return err
	}
	next, err := p.counts[name].Next(now)
	p.counts[name] = next
	return err
}

func (p *people) ClearAttempts(_ context.Context, name oauth.Digest) error {
	delete(p.counts, name)
	return p.note("ClearAttempts")
}

const password = "correct horse battery staple"

func newPeople(t *testing.T) (*people, login.Authenticator) {
	t.Helper()
	hash, err := store.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", login.MaxName)
	p := &people{
		logins: map[string]string{"demo": "u1", "bare": "u2", "gone": "u3", "odd": "u4", " ": "u1", long: "u1"},
		users: map[string]store.User{
			"u1": {Subject: "u1", PasswordHash: hash}, "u2": {Subject: "u2"}, "u4": {Subject: "u4", PasswordHash: "plain"},
			// Whoever has this name is not let in by a name that nobody has.
			"nobody": {Subject: "nobody", PasswordHash: hash},
		},
		counts: map[oauth.Digest]store.FailureCount{}, fail: map[string]error{},
	}
	return p, login.Authenticator{Logins: p, Users: p, Attempts: p, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
}

// argon2 counts the argon2id that do takes: each needs 19 MiB of its own.
func argon2(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / (19 << 20)
}

func TestAuthenticate(t *testing.T) {
	for name, tt := range map[string]struct {
		username, password string
		refused            bool
	}{
		"right":                         {"demo", password, false},
		"right, spelt otherwise":        {" ＤＥＭＯ\t", password, false},
		"wrong":                         {"demo", password + "x", true},
		"wrong, in another case":        {"demo", strings.ToUpper(password), true},
		"wrong, endless":                {"demo", strings.Repeat("x", oauth.MaxBody), true},
		"unknown":                       {"nobody", password, true},
		"without a password":            {"bare", "", true},
		"gone":                          {"gone", password, true},
		"empty":                         {"", password, true},
		"nothing but space":             {" \t ", password, true},
		"longer than any name":          {strings.Repeat("x", login.MaxName+1), password, true},
		"longer, once it is normalised": {strings.Repeat("ﷺ", 20), password, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, a := newPeople(t)
			var user store.User
			var err error
			hashed := argon2(func() { user, err = a.Authenticate(t.Context(), tt.username, tt.password) })
			// Whoever it is, it costs the same, in the same order.
			want := "BeginAttempt Login User"
			if !tt.refused {
				want += " ClearAttempts"
			}
			if calls := strings.Join(p.calls, " "); calls != want || hashed != 1 {
				t.Errorf("cost %s and %d argon2id, want %s and 1", calls, hashed, want)
			}
			if tt.refused && (!errors.Is(err, login.ErrRefused) || user.Subject != "") {
				t.Errorf("%+v, %v", user, err)
			}
			if !tt.refused && (err != nil || user.Subject != "u1") {
				t.Errorf("%+v, %v", user, err)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

// The hash of nobody's password costs what everybody's does.
func TestNobodyCostsTheSame(t *testing.T) {
	p, a := newPeople(t)
	p.users["u1"] = store.User{Subject: "u1", PasswordHash: login.Nobody}
	if !store.CurrentPasswordHash(login.Nobody) {
		t.Error("the hash was made with other parameters")
	}
	for _, guess := range []string{"", "nobody", password} {
		if _, err := a.Authenticate(t.Context(), "demo", guess); !errors.Is(err, login.ErrRefused) {
			t.Errorf("%q: %v", guess, err)
		}
	}
}

func TestALockedNameIsNotLookedAt(t *testing.T) {
	for _, username := range []string{"demo", "unknown"} {
		p, a := newPeople(t)
		for range store.MaxFailures - 1 {
			if err := p.BeginAttempt(t.Context(), oauth.DigestOf(username), a.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Authenticate(t.Context(), strings.ToUpper(username), "wrong"); !errors.Is(err, login.ErrRefused) {
			t.Fatal(err)
		}
		p.calls = nil
		hashed := argon2(func() {
			if _, err := a.Authenticate(t.Context(), username, password); !errors.Is(err, store.ErrLocked) || errors.Is(err, login.ErrRefused) {
				t.Errorf("%s: %v", username, err)
			}
		})
		if calls := strings.Join(p.calls, " "); calls != "BeginAttempt" || hashed != 0 {
			t.Errorf("%s: a locked name cost %s and %d argon2id", username, calls, hashed)
		}
	}
}

func TestAFaultIsNoRefusal(t *testing.T) {
	for _, call := range []string{"BeginAttempt", "Login", "User", "ClearAttempts"} {
		p, a := newPeople(t)
		p.fail[call] = store.ErrBusy
		user, err := a.Authenticate(t.Context(), "demo", password)
		if !errors.Is(err, store.ErrBusy) || errors.Is(err, login.ErrRefused) || user.Subject != "" {
			t.Errorf("%s: %+v, %v", call, user, err)
		}
	}
	_, a := newPeople(t)
	if _, err := a.Authenticate(t.Context(), "odd", "plain"); err == nil || errors.Is(err, login.ErrRefused) {
		t.Errorf("a hash that is none: %v", err)
	}
}

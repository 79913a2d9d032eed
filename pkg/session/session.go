// Package session answers: what have this browser and we agreed on?
//
// Two things. A Session (OpenID Connect Core 1.0 §3.1.2.3) says that a person
// has logged in with this browser: the browser holds a handle in a cookie, the
// table its digest. The handle is prefix.user-key.secret: it names the person,
// so that session and person are read side by side, and its digest covers the
// name, so that nobody can put another's into it.
//
// A seal says that this browser was shown this form by us, for this request. The
// pending request travels in the form itself and not, as one might expect, in an
// item behind the cookie: a visitor who has not logged in, or a crawler that
// follows every link to the authorization endpoint, then costs no write and
// leaves nothing to expire, and two tabs do not get in each other's way.
package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

const (
	// Lifetime ends a session however much it is used: people prove once a week
	// who they are.
	Lifetime = 7 * 24 * time.Hour
	// IdleLifetime ends one that lies unused: long enough for a weekend.
	IdleLifetime = 3 * 24 * time.Hour
	// RenewEvery is how often use is written down at most, so that a busy browser
	// costs no write at each request.
	RenewEvery = 5 * time.Minute
)

// ErrNone says that the browser is in no session: it brought no handle, or one of
// a session that has ended, or of a person who is gone.
var ErrNone = errors.New("session: none")

// CookieName is the name of the cookie that holds the handle. The prefix __Host-
// makes browsers insist on Secure, on Path=/ and on this very host (RFC 6265bis
// §4.1.3.2); over plain http, on localhost, it cannot be had.
func CookieName(secure bool) string { return hostPrefix(secure) + "kmint_session" }

func hostPrefix(secure bool) string {
	if secure {
		return "__Host-"
	}
	return ""
}

// A Keeper finds, begins and ends sessions.
type Keeper struct {
	Sessions store.Sessions
	// Clients is the same table: whom a session has logged in.
	Clients store.SessionClients
	// Listings is the same table by its index, nil where nobody looks.
	Listings store.Listings
	Users    store.Users
	Now      func() time.Time
}

// Find returns the session that handle opens and the person in it, read side by
// side. ErrNone if there is none.
func (k Keeper) Find(ctx context.Context, handle oauth.Secret) (store.Session, store.User, error) {
	subject, ok := Subject(handle)
	if !ok {
		return store.Session{}, store.User{}, ErrNone
	}
	var s store.Session
	var u store.User
	read, readCtx := errgroup.WithContext(ctx)
	read.Go(func() (err error) { s, err = k.Sessions.Session(readCtx, handle.Digest(), k.Now()); return err })
	read.Go(func() (err error) { u, err = k.Users.User(readCtx, subject); return err })
	switch err := read.Wait(); {
	case errors.Is(err, store.ErrNotFound):
		return store.Session{}, store.User{}, fmt.Errorf("%w: %w", ErrNone, err)
	case err != nil:
		return store.Session{}, store.User{}, fmt.Errorf("session: %w", err)
	case s.Subject != subject:
		return store.Session{}, store.User{}, fmt.Errorf("%w: it is another person's", ErrNone)
	}
	return s, u, nil
}

// New makes the session of a person who has just proved who they are, and its
// handle. Nothing is written yet. Each login has a secret of its own: a handle
// that someone planted in the browser before never becomes one of a login.
func (k Keeper) New(subject string) (store.Session, oauth.Secret) {
	handle := oauth.NewHandle(oauth.SessionPrefix + base64.RawURLEncoding.EncodeToString([]byte(subject)) + ".")
	now := k.Now()
	return store.Session{
		Digest:      handle.Digest(),
		ID:          string(handle.Digest()),
		Subject:     subject,
		AuthTime:    now,
		Expires:     now.Add(Lifetime),
		IdleExpires: now.Add(IdleLifetime),
	}, handle
}

// Begin writes a new session and ends the one that the browser had before, if
// old is the handle of one.
func (k Keeper) Begin(ctx context.Context, s store.Session, old oauth.Secret) error {
	write, ctx := errgroup.WithContext(ctx)
	write.Go(func() error { return k.Sessions.PutSession(ctx, s) })
	if _, ok := Subject(old); ok {
		write.Go(func() error { return k.Sessions.DeleteSession(ctx, old.Digest()) })
	}
	if err := write.Wait(); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

// Renew writes down that the session is in use, if that was not done within
// RenewEvery.
func (k Keeper) Renew(ctx context.Context, s store.Session) error {
	idle := k.Now().Add(IdleLifetime)
	if idle.Before(s.IdleExpires.Add(RenewEvery)) {
		return nil
	}
	if idle = k.idle(s); !idle.After(s.IdleExpires) {
		return nil
	}
	if err := k.Sessions.RenewSession(ctx, s.Digest, idle); err != nil {
		return fmt.Errorf("session: renew: %w", err)
	}
	return nil
}

// Join writes down that the session logs a client in, and that it is in use, where
// it has not logged that client in before: one write for each client, and none at
// its later requests. ErrNone if the session has ended meanwhile.
func (k Keeper) Join(ctx context.Context, s store.Session, clientID string) error {
	if slices.Contains(s.Clients, clientID) {
		return nil
	}
	err := k.Clients.JoinSession(ctx, s.Digest, clientID, k.idle(s))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: it has just ended: %w", ErrNone, err)
	case err != nil:
		return fmt.Errorf("session: join: %w", err)
	}
	return nil
}

// End ends the session, and returns the clients that are to hear of it: those of s,
// as it was read before, and whoever joined since.
func (k Keeper) End(ctx context.Context, s store.Session) ([]string, error) {
	last, err := k.Clients.EndSession(ctx, s.Digest)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("session: end: %w", err)
	}
	clients := slices.Concat(s.Clients, last.Clients)
	slices.Sort(clients)
	return slices.Compact(clients), nil
}

// idle is until when a session that is used now may lie unused.
func (k Keeper) idle(s store.Session) time.Time {
	idle := k.Now().Add(IdleLifetime)
	if idle.After(s.Expires) {
		return s.Expires
	}
	return idle
}

// maxHandle is longer than any handle: a sub has at most 255 characters.
const maxHandle = 512

// Subject reads the user key of a handle: who is in the session, if there is one.
// Find alone says whether there is.
func Subject(handle oauth.Secret) (subject string, ok bool) {
	rest, ok := strings.CutPrefix(handle.Reveal(), oauth.SessionPrefix)
	key, secret, found := strings.Cut(rest, ".")
	if !ok || !found || len(rest) > maxHandle || !oauth.IsID(secret) {
		return "", false
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(key)
	return string(name), err == nil && len(name) > 0
}

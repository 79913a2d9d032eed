// Package login answers: who is the person that types this name and password?
//
// What it gives away is one bit: right or wrong. A name that nobody has costs
// the same reads and the same argon2id as one that somebody has, is counted and
// locked the same, and gets the same answer. Only a name that is locked answers
// sooner, and that is so for known and unknown names alike.
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// ErrRefused says that name and password do not belong together. What it wraps
// is for the log.
var ErrRefused = errors.New("login: refused")

// nobody is the hash that a password is compared with where there is none: made
// by store.HashPassword of a random password that was thrown away.
const nobody = "$argon2id$v=19$m=19456,t=2,p=1$v/huEh4CNMhIY/T+f6BhQw$O5cMNEv92I0sU7RKXIzfKk0BFHvoQ+EHMxwaE7uYrBI"

// MaxName is the length of the longest login name, in bytes: no longer one can
// be configured, or asked for in DynamoDB.
const MaxName = 255

// An Authenticator knows people by their passwords.
type Authenticator struct {
	Logins   store.Logins
	Users    store.Users
	Attempts store.Attempts
	Now      func() time.Time
}

// Authenticate returns the person. ErrRefused if name and password do not belong
// together, store.ErrLocked if the name has no attempts left.
//
// The attempt is counted before the password is looked at, and the count
// forgotten after a success: guesses made side by side cannot be more than those
// made one after another. There is no limit of its own for the password: the
// body has one, and argon2id reads a password once, so a long one costs no more
// than a short one.
func (a Authenticator) Authenticate(ctx context.Context, typed, password string) (store.User, error) {
	name := store.LoginName(typed)
	digest := oauth.DigestOf(name)
	if err := a.Attempts.BeginAttempt(ctx, digest, a.Now()); err != nil {
		if errors.Is(err, store.ErrLocked) {
			audit.Happened(ctx, audit.LoginLocked)
		}
		return store.User{}, fmt.Errorf("login: %w", err)
	}
	user, refusal, err := a.find(ctx, name)
	if err != nil {
		return store.User{}, fmt.Errorf("login: %w", err)
	}
	hash := user.PasswordHash
	if hash == "" {
		hash = nobody
	}
	match, err := store.MatchPassword(password, hash)
	switch {
	case err != nil:
		return store.User{}, fmt.Errorf("login: %s: %w", user.Subject, err)
	case refusal != "":
		audit.Happened(ctx, audit.LoginFailed, slog.String("auth0", audit.UnknownName))
		return store.User{}, fmt.Errorf("%w: %s", ErrRefused, refusal)
	case !match:
		audit.Happened(ctx, audit.LoginFailed, slog.String("auth0", audit.WrongPassword), slog.String("sub", user.Subject))
		return store.User{}, fmt.Errorf("%w: wrong password of %s", ErrRefused, user.Subject)
	}
	if err := a.Attempts.ClearAttempts(ctx, digest); err != nil {
		return store.User{}, fmt.Errorf("login: %w", err)
	}
	return user, nil
}

// find reads the login name and then a person, both in any case. Where refusal says
// why nobody can log in by that name, it is just anybody.
func (a Authenticator) find(ctx context.Context, name string) (user store.User, refusal string, err error) {
	if len(name) > MaxName {
		name, refusal = name[:MaxName], "the name is too long"
	}
	if name == "" {
		name, refusal = " ", "the name is empty" // no key may be empty, and no name is a space
	}
	subject, err := a.Logins.Login(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		subject, refusal = "nobody", "the name is unknown"
	case err != nil:
		return store.User{}, "", err
	}
	user, err = a.Users.User(ctx, subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if refusal == "" {
			refusal = "the person is gone"
		}
	case err != nil:
		return store.User{}, "", err
	case refusal == "" && user.PasswordHash == "":
		refusal = "the person has no password"
	}
	return user, refusal, nil
}

package bolt

import (
	"context"
	"time"

	"kmint/pkg/store"
)

var (
	_ store.Users      = (*Store)(nil)
	_ store.Logins     = (*Store)(nil)
	_ store.UserWriter = (*Store)(nil)
)

func userKey(subject string) string { return "user#" + subject }
func loginKey(name string) string   { return "login#" + name }

// User finds a person.
func (s *Store) User(_ context.Context, subject string) (u store.User, err error) {
	err = s.view(usersBucket, func(b items) error { return b.get(userKey(subject), &u) })
	return u, err
}

// Login finds the person behind a login name.
func (s *Store) Login(_ context.Context, name string) (subject string, err error) {
	err = s.view(usersBucket, func(b items) error { return b.get(loginKey(name), &subject) })
	return subject, err
}

// PutUser writes the person and their login name, and takes the name they had
// away.
func (s *Store) PutUser(_ context.Context, u store.User) error {
	name := store.LoginName(u.Username)
	return s.update(usersBucket, func(b items) error {
		var old store.User
		if err := optional(b.get(userKey(u.Subject), &old)); err != nil {
			return err
		}
		if before := store.LoginName(old.Username); before != name {
			if err := b.delete(loginKey(before)); err != nil {
				return err
			}
		}
		if name != "" {
			owner := u.Subject
			if err := optional(b.get(loginKey(name), &owner)); err != nil {
				return err
			}
			if owner != u.Subject {
				return store.ErrConflict
			}
			if err := b.put(loginKey(name), u.Subject, time.Time{}); err != nil {
				return err
			}
		}
		return b.put(userKey(u.Subject), u, time.Time{})
	})
}

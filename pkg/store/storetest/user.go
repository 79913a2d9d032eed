package storetest

import (
	"fmt"
	"strings"
	"testing"

	"kmint/pkg/store"
)

func testUser(t *testing.T, s Stores) {
	ctx := t.Context()
	// login finds the subject, "" for none.
	login := func(t *testing.T, name string) string {
		t.Helper()
		subject, err := s.Logins.Login(ctx, store.LoginName(name))
		if subject == "" {
			is(t, "Login "+name, err, store.ErrNotFound)
		} else {
			is(t, "Login "+name, err, nil)
		}
		return subject
	}
	ada := store.User{
		Subject: "ada", Username: "Ada@Example.com", PasswordHash: "$argon2id$...",
		Profile: map[string]any{"name": "Ada", "email_verified": true, "updated_at": 1.5e9, "address": map[string]any{"country": "GB"}},
		Claims:  map[string]any{"https://example.com/roles": []any{"admin", 7.0, nil}, "https://example.com/none": map[string]any{}},
	}

	_, err := s.Users.User(ctx, "ada")
	is(t, "User", err, store.ErrNotFound)
	same(t, "nobody's name", login(t, "ada@example.com"), "")

	must(t, s.People.PutUser(ctx, ada))
	got, err := s.Users.User(ctx, "ada")
	must(t, err)
	same(t, "User", got, ada)
	same(t, "the name, however it is typed", login(t, " ADA@example.COM "), "ada")
	_, err = s.Users.User(ctx, "Ada")
	is(t, "another subject", err, store.ErrNotFound)
	_, err = s.Users.User(ctx, strings.Repeat("x", 5000))
	is(t, "a long subject", err, store.ErrNotFound)
	_, err = s.Logins.Login(ctx, strings.Repeat("x", 5000))
	is(t, "a long name", err, store.ErrNotFound)

	t.Run("a name that is another's", func(t *testing.T) {
		eve := store.User{Subject: "eve", Username: "ADA@example.com"}
		is(t, "PutUser", s.People.PutUser(ctx, eve), store.ErrConflict)
		_, err := s.Users.User(ctx, "eve")
		is(t, "User", err, store.ErrNotFound)
		same(t, "the name", login(t, "ada@example.com"), "ada")

		eve.Username = "eve"
		must(t, s.People.PutUser(ctx, eve))
		renamed := eve
		renamed.Username = "ada@example.com"
		is(t, "renaming", s.People.PutUser(ctx, renamed), store.ErrConflict)
		got, err := s.Users.User(ctx, "eve")
		must(t, err)
		same(t, "the user refused", got, eve)
		same(t, "their name", login(t, "eve"), "eve")
	})

	t.Run("the same name again", func(t *testing.T) {
		ada.Username, ada.PasswordHash, ada.Claims = "ada@example.com", "", nil
		must(t, s.People.PutUser(ctx, ada))
		got, err := s.Users.User(ctx, "ada")
		must(t, err)
		same(t, "User", got, ada)
		same(t, "the name", login(t, "ada@example.com"), "ada")
	})

	t.Run("a new name takes the old one away", func(t *testing.T) {
		ada.Username = "countess"
		must(t, s.People.PutUser(ctx, ada))
		same(t, "the new name", login(t, "countess"), "ada")
		same(t, "the old name", login(t, "ada@example.com"), "")
		must(t, s.People.PutUser(ctx, store.User{Subject: "bob", Username: "ada@example.com"}))
		same(t, "the old name, taken", login(t, "ada@example.com"), "bob")
		must(t, s.People.PutUser(ctx, ada))
		same(t, "the old name, after another write", login(t, "ada@example.com"), "bob")
	})

	t.Run("no name", func(t *testing.T) {
		ada.Username = ""
		must(t, s.People.PutUser(ctx, ada))
		same(t, "the old name", login(t, "countess"), "")
		must(t, s.People.PutUser(ctx, store.User{Subject: "nameless"}))
		ada.Username = "countess"
		must(t, s.People.PutUser(ctx, ada))
		same(t, "a name again", login(t, "countess"), "ada")
	})
}

// Of those who want one name one gets it; of one person's names one stays.
func testUserRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for round := range raceRounds / 2 {
		name := fmt.Sprintf("wanted-%d", round)
		errs, _ := race(func(i int) error {
			return s.People.PutUser(ctx, store.User{Subject: fmt.Sprintf("user-%d-%d", round, i), Username: name})
		})
		owner, err := s.Logins.Login(ctx, name)
		must(t, err)
		if n := count(t, errs, store.ErrConflict)[nil]; n != 1 {
			t.Errorf("%d got the name", n)
		}
		for i, err := range errs {
			subject := fmt.Sprintf("user-%d-%d", round, i)
			_, missing := s.Users.User(ctx, subject)
			if won := err == nil; won != (missing == nil) || won != (owner == subject) {
				t.Errorf("%s: PutUser: %v; User: %v; the name is of %s", subject, err, missing, owner)
			}
		}

		subject := fmt.Sprintf("renamed-%d", round)
		must(t, s.People.PutUser(ctx, store.User{Subject: subject, Username: subject}))
		errs, _ = race(func(i int) error {
			return s.People.PutUser(ctx, store.User{Subject: subject, Username: fmt.Sprintf("%s-%d", subject, i)})
		})
		count(t, errs)
		u, err := s.Users.User(ctx, subject)
		must(t, err)
		for i := range racers {
			name := fmt.Sprintf("%s-%d", subject, i)
			got, err := s.Logins.Login(ctx, name)
			if name == u.Username {
				is(t, "the name that stayed", err, nil)
				same(t, "the name that stayed", got, subject)
			} else {
				is(t, "a name that did not", err, store.ErrNotFound)
			}
		}
	}
}

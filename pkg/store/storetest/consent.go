package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kmint/pkg/store"
)

func testConsent(t *testing.T, s Stores) {
	ctx := t.Context()
	first, later := now(), now().Add(time.Hour)
	read := func(what string, want map[string]store.Consent) {
		t.Helper()
		got, err := s.Consents.Consents(ctx, "ada")
		must(t, err)
		if len(got)+len(want) > 0 {
			same(t, what, got, want)
		}
	}
	read("nobody's", nil)
	is(t, "withdrawing none", s.Consents.DeleteConsent(ctx, "ada", "app"), nil)

	email := store.Consent{"email": first}
	must(t, s.Consents.PutConsent(ctx, "ada", "app", nil, email))
	read("the first", map[string]store.Consent{"app": email})

	// One that says no more than that the client may know who is there is one.
	must(t, s.Consents.PutConsent(ctx, "ada", "client#odd id", nil, store.Consent{}))
	read("an empty one beside it", map[string]store.Consent{"app": email, "client#odd id": {}})

	grown := store.Consent{"email": first, "https://orders.example.com/ read:orders": later, `a"b\`: later}
	for what, before := range map[string]store.Consent{
		"none":         nil,
		"an empty one": {},
		"another time": {"email": later},
		"more":         grown,
	} {
		is(t, "growing from "+what, s.Consents.PutConsent(ctx, "ada", "app", before, grown), store.ErrConflict)
		read("what was not changed", map[string]store.Consent{"app": email, "client#odd id": {}})
	}
	is(t, "growing from one that is not there", s.Consents.PutConsent(ctx, "ada", "other", email, grown), store.ErrConflict)
	must(t, s.Consents.PutConsent(ctx, "ada", "app", email, grown))
	must(t, s.Consents.PutConsent(ctx, "ada", "client#odd id", store.Consent{}, email))
	read("grown", map[string]store.Consent{"app": grown, "client#odd id": email})

	must(t, s.Consents.PutConsent(ctx, "bob", "app", nil, email))
	must(t, s.Consents.DeleteConsent(ctx, "ada", "app"))
	read("withdrawn", map[string]store.Consent{"client#odd id": email})
	is(t, "growing what was withdrawn", s.Consents.PutConsent(ctx, "ada", "app", grown, grown), store.ErrConflict)
	others, err := s.Consents.Consents(ctx, "bob")
	must(t, err)
	same(t, "another person's", others, map[string]store.Consent{"app": email})
	none, err := s.Consents.Consents(ctx, strings.Repeat("x", 5000))
	if err != nil || len(none) > 0 {
		t.Errorf("a long subject: %v, %v", none, err)
	}
}

// Of those who saw the same one changes it; those who consent to other clients never
// get in each other's way.
func testConsentRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for round := range raceRounds {
		client := fmt.Sprint("one-", round)
		errs, busy := race(func(i int) error {
			return s.Consents.PutConsent(ctx, "ada", client, nil, store.Consent{fmt.Sprint(i): now()})
		})
		if n := count(t, errs, store.ErrConflict)[nil]; n != 1 && (!busy || n > 1) {
			t.Errorf("%d changed what all saw", n)
		}
		subject := fmt.Sprint("bob-", round)
		errs, _ = race(func(i int) error {
			// Who comes again after an answer that was lost may find it done.
			return s.Consents.PutConsent(ctx, subject, fmt.Sprint(i), nil, store.Consent{})
		})
		count(t, errs, store.ErrConflict)
		all, err := s.Consents.Consents(ctx, subject)
		must(t, err)
		if len(all) != racers {
			t.Errorf("%d of %d consents are there", len(all), racers)
		}
	}
}

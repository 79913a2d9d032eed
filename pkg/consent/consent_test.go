package consent_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/consent"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	orders = store.API{Identifier: "https://orders.example.com/", Name: "Orders", Scopes: map[string]string{"read": "Read orders", "bare": ""}}
	bills  = store.API{Identifier: "bills v2", Scopes: map[string]string{"read": "Read bills"}}
)

func TestWords(t *testing.T) {
	for name, tt := range map[string]struct {
		scope  string
		apis   []store.API
		wanted []string
		words  []string
	}{
		"nothing": {"", nil, nil, []string{"Know who you are here"}},
		"who they are": {
			"openid profile email address phone offline_access online_access", nil,
			[]string{"openid", "profile", "email", "address", "phone", "offline_access", "online_access"},
			[]string{
				"Know who you are here", "See your profile: your name, your picture and the like", "See your email address", "See your postal address",
				"See your phone number", "Keep this access while you are away", "Keep this access as long as you are logged in",
			},
		},
		"an API alone":             {"", []store.API{bills}, []string{"bills v2 "}, []string{"Use bills v2 in your name"}},
		"a value with and without": {"read bare", []store.API{orders}, []string{orders.Identifier + " ", orders.Identifier + " read", orders.Identifier + " bare"}, []string{"Orders: Read orders", "Orders: bare"}},
		"a value of two APIs": {
			"read", []store.API{orders, bills},
			[]string{orders.Identifier + " ", orders.Identifier + " read", "bills v2 ", "bills v2 read"},
			[]string{"Orders: Read orders", "bills v2: Read bills"},
		},
		"a value that nobody has": {"other", []store.API{orders}, []string{orders.Identifier + " "}, []string{"Use Orders in your name"}},
	} {
		t.Run(name, func(t *testing.T) {
			scope, err := oauth.ParseScope(tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			wanted := consent.Wanted(scope, tt.apis)
			if !slices.Equal(wanted, tt.wanted) {
				t.Errorf("wanted %q", wanted)
			}
			var read []string
			for _, text := range consent.Words(wanted, tt.apis) {
				read = append(read, text.String())
			}
			if !slices.Equal(read, tt.words) {
				t.Errorf("in words %q", read)
			}
		})
	}
}

func TestGiven(t *testing.T) {
	read := store.Consent{"openid": time.Now(), orders.Identifier + " ": time.Now(), orders.Identifier + " read": time.Now()}
	for name, tt := range map[string]struct {
		c     store.Consent
		scope oauth.Scope
		apis  []store.API
		want  bool
	}{
		"no record, nothing wanted":          {nil, nil, nil, false},
		"an empty record, nothing wanted":    {store.Consent{}, nil, nil, true},
		"an empty record, something wanted":  {store.Consent{}, oauth.Scope{"openid"}, nil, false},
		"the same":                           {read, oauth.Scope{"openid", "read"}, []store.API{orders}, true},
		"less":                               {read, oauth.Scope{"openid"}, nil, true},
		"more":                               {read, oauth.Scope{"openid", "email"}, nil, false},
		"another API with a value so called": {read, oauth.Scope{"read"}, []store.API{bills}, false},
		"another API, no value":              {read, nil, []store.API{bills}, false},
		"both APIs":                          {read, oauth.Scope{"read"}, []store.API{orders, bills}, false},
	} {
		if got := consent.Given(tt.c, consent.Wanted(tt.scope, tt.apis)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// An API of an identifier that looks like a scope value gives no identity.
func TestAnAPINamedAsAScopeValue(t *testing.T) {
	wanted := consent.Wanted(nil, []store.API{{Identifier: "email"}})
	if consent.Given(store.Consent{"email": time.Now()}, wanted) {
		t.Error("the email address is taken for an API")
	}
}

func TestKeeper(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	now := time.UnixMilli(1_800_000_000_000)
	k := consent.Keeper{Consents: db, Listings: db, Grants: db, Settle: func(context.Context) error { return nil }, Now: func() time.Time { return now }}
	of := func() store.Consent {
		t.Helper()
		all, err := k.Of(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		return all["app"]
	}
	allow := func(before store.Consent, wanted ...string) {
		t.Helper()
		if err := k.Allow(t.Context(), "ada", "app", before, wanted); err != nil {
			t.Fatal(err)
		}
	}
	first := now
	allow(nil, "openid")
	now = now.Add(time.Hour)
	// A tab that has not seen the first adds to it all the same.
	allow(nil, "email")
	allow(of(), "openid", "phone")
	c := of()
	if len(c) != 3 || !c["openid"].Equal(first) || !c["email"].Equal(now) || !c["phone"].Equal(now) || !consent.Since(c).Equal(first) {
		t.Errorf("kept %v", c)
	}
	if err := k.Withdraw(t.Context(), "ada", "app"); err != nil || of() != nil {
		t.Errorf("after the withdrawal: %v, %v", of(), err)
	}
	// A page that was shown before the withdrawal brings nothing else back.
	allow(c, "email")
	if got := of(); len(got) != 1 || !got["email"].Equal(now) {
		t.Errorf("came back: %v", got)
	}
	k.Consents = changing{db}
	if err := k.Allow(t.Context(), "ada", "app", nil, []string{"address"}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a record that keeps changing: %v", err)
	}
}

// changing is a store in which others are always faster.
type changing struct{ *bolt.Store }

func (changing) PutConsent(context.Context, string, string, store.Consent, store.Consent) error {
	return store.ErrConflict
}

// holding are grants that clients hold for people, as they stand in the store.
func holding(t *testing.T, db *bolt.Store, now time.Time, subject, clientID string, many int) (ids []string) {
	t.Helper()
	for i := range many {
		g := store.Grant{
			ID: oauth.NewID(), Subject: subject, ClientID: clientID, Online: i%2 == 0,
			Created: now, CodeExpires: now.Add(time.Minute), End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour),
		}
		if i%3 > 0 { // a refresh token hangs on it
			g.Spent, g.Family, g.Current, g.IdleExpires = now, oauth.DigestOf(g.ID), oauth.DigestOf("x"+g.ID), g.End
		}
		if err := db.PutGrant(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
	}
	return ids
}

// A faulty store fails the calls that it is told to, from a number on; lying names
// grants that are not the client's.
type faulty struct {
	*bolt.Store
	fail    string
	after   int
	calls   int
	lying   []string
	between func()
}

var errFault = errors.New("it is broken")

func (f *faulty) note(call string) error {
	if f.fail != call {
		return nil
	}
	if f.calls++; f.calls > f.after {
		return errFault
	}
	return nil
}

func (f *faulty) GrantsOf(ctx context.Context, subject, clientID, from string) ([]string, string, error) {
	if err := f.note("GrantsOf"); err != nil {
		return nil, "", err
	}
	ids, next, err := f.Store.GrantsOf(ctx, subject, clientID, from)
	return append(ids, f.lying...), next, err
}

func (f *faulty) DeleteConsent(ctx context.Context, subject, clientID string) error {
	if err := f.note("DeleteConsent"); err != nil {
		return err
	}
	if f.between != nil {
		f.between()
	}
	return f.Store.DeleteConsent(ctx, subject, clientID)
}

// Whatever the client holds for the person ends, nothing else does, and what was half
// done is done the next time.
func TestWithdrawalEndsGrants(t *testing.T) {
	for name, tt := range map[string]struct {
		fail  string
		after int
		// left says that the person can still withdraw it.
		left bool
	}{
		"as it should be":              {"", 0, false},
		"the list fails":               {"GrantsOf", 0, true},
		"its second page fails":        {"GrantsOf", 1, true},
		"the record cannot be deleted": {"DeleteConsent", 0, true},
		"there is no time to wait":     {"Settle", 0, false},
		"the list fails the last time": {"GrantsOf", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := bolt.Open(filepath.Join(t.TempDir(), "db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			now := time.Now().Truncate(time.Millisecond)
			const many = store.PageSize + 4
			theirs := holding(t, db, now, "ada", "app", many)
			var others []string
			for _, of := range [][2]string{{"ada", "other"}, {"eve", "app"}, {"", "app"}} {
				others = append(others, holding(t, db, now, of[0], of[1], 2)...)
			}
			f := &faulty{Store: db, fail: tt.fail, after: tt.after, lying: append([]string{oauth.NewID()}, others...)}
			f.between = func() { theirs = append(theirs, holding(t, db, now, "ada", "app", 1)...) }
			late := func(context.Context) error { // a request that had read the record writes its grant
				theirs = append(theirs, holding(t, db, now, "ada", "app", 1)...)
				return f.note("Settle")
			}
			k := consent.Keeper{Consents: f, Listings: f, Grants: db, Settle: late, Now: func() time.Time { return now }}
			if err := k.Allow(t.Context(), "ada", "app", nil, []string{"openid"}); err != nil {
				t.Fatal(err)
			}
			revoked := func(ids []string) (n int) {
				t.Helper()
				for _, id := range ids {
					g, err := db.Grant(t.Context(), id)
					if err != nil {
						t.Fatal(err)
					}
					if !g.Revoked.IsZero() {
						n++
					}
				}
				return n
			}
			err = k.Withdraw(t.Context(), "ada", "app")
			all, readErr := k.Of(t.Context(), "ada")
			if readErr != nil || errors.Is(err, errFault) != (tt.fail != "") || (all["app"] != nil) != tt.left {
				t.Fatalf("%v, left %v, %v", err, all, readErr)
			}
			if n := revoked(theirs); tt.fail == "" && n != len(theirs) {
				t.Errorf("%d of %d ended the first time", n, len(theirs))
			}
			f.fail, f.between = "", nil
			k.Settle = func(context.Context) error { return nil }
			if err := k.Withdraw(t.Context(), "ada", "app"); err != nil {
				t.Errorf("again: %v", err)
			}
			if all, err := k.Of(t.Context(), "ada"); err != nil || all["app"] != nil {
				t.Errorf("left %v, %v", all, err)
			}
			if n := revoked(theirs); n != len(theirs) {
				t.Errorf("%d of %d ended", n, len(theirs))
			}
			if n := revoked(others); n > 0 {
				t.Errorf("%d of others ended", n)
			}
		})
	}
}

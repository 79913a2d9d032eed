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
	k := consent.Keeper{Consents: db, Now: func() time.Time { return now }}
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

package authorize_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// What of a request stands in the grant.
func TestWhatIsGranted(t *testing.T) {
	h := newHouse(t, overTLS)
	if err := h.store.PutSettings(t.Context(), store.Settings{Claims: []store.ClaimRule{
		{Claim: "https://example.com/tier", From: "user.attributes.tier", AccessToken: true, IDToken: true},
	}}); err != nil {
		t.Fatal(err)
	}
	u, err := h.store.Store.User(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	u.Attributes = map[string]any{"tier": "gold"}
	if err := h.store.PutUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	v.logIn()
	for name, tt := range map[string]struct {
		request  url.Values
		scope    string
		audience []string
		online   bool
		key      string
		lifetime time.Duration
	}{
		"for the userinfo endpoint":   {forWeb, "openid email", nil, false, "", time.Minute},
		"by its address":              {with(forWeb, "resource", overTLS+"userinfo"), "openid email", nil, false, "", time.Minute},
		"for an API":                  {with(forWeb, "resource", api, "scope", "openid read:orders count"), "openid read:orders", []string{api}, false, "", time.Minute},
		"for an API, and by address":  {with(forWeb, "resource", overTLS+"userinfo", "audience", api), "openid email", []string{api}, false, "", time.Minute},
		"for two":                     {with(forWeb, "resource", api, "audience", stock, "scope", "openid read:orders count"), "openid read:orders count", []string{stock, api}, false, "", time.Minute},
		"with the session":            {with(forWeb, "scope", "openid online_access"), "openid online_access", nil, true, "", time.Hour},
		"after the session":           {with(forWeb, "scope", "openid offline_access"), "openid offline_access", nil, false, "", time.Hour},
		"to a client without refresh": {with(forSPA, "scope", "openid online_access"), "openid", nil, false, "", time.Minute},
		"to a key":                    {with(forWeb, "dpop_jkt", challenge), "openid email", nil, false, challenge, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			a := v.get(tt.request)
			if a.query("code") == "" {
				t.Fatalf("%d to %s", a.Code, a.location)
			}
			g, err := h.store.Grant(t.Context(), string(oauth.DigestOf(a.query("code"))))
			if err != nil {
				t.Fatal(err)
			}
			if g.Scope.String() != tt.scope || !slices.Equal(g.Audience, tt.audience) || g.Online != tt.online || g.CodeKey != tt.key || g.End.Sub(h.now) != tt.lifetime {
				t.Errorf("%+v", g)
			}
			if s, err := h.store.Store.Session(t.Context(), oauth.Digest(g.SessionID), h.now); err != nil || s.Subject != g.Subject {
				t.Errorf("the sid finds no session: %v", err)
			}
			if g.Claims["https://example.com/tier"] != "gold" || g.AccessClaims["https://example.com/tier"] != "gold" {
				t.Errorf("%v, %v", g.Claims, g.AccessClaims)
			}
		})
	}
}

// A session that is older than a not_before counts no more: the person logs in
// again.
func TestWhatEndsASession(t *testing.T) {
	for name, tt := range map[string]struct {
		do    func(h *house) error
		ended bool
	}{
		"nothing": {func(*house) error { return nil }, false},
		"the user's not_before": {func(h *house) error {
			return h.person(func(u *store.User) { u.NotBefore = h.now })
		}, true},
		"the user's, at the login": {func(h *house) error {
			return h.person(func(u *store.User) { u.NotBefore = h.now.Add(-time.Minute) })
		}, false},
		"the client's": {func(h *house) error {
			c, err := h.store.Store.Client(h.Context(), "web")
			c.NotBefore = h.now
			return errors.Join(err, h.store.PutClient(h.Context(), c))
		}, true},
		"another client's": {func(h *house) error {
			c, err := h.store.Store.Client(h.Context(), "spa")
			c.NotBefore = h.now
			return errors.Join(err, h.store.PutClient(h.Context(), c))
		}, false},
		"the server's": {func(h *house) error {
			return h.store.PutSettings(h.Context(), store.Settings{NotBefore: h.now})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.logIn()
			h.now = h.now.Add(time.Minute)
			if err := tt.do(h); err != nil {
				t.Fatal(err)
			}
			silent := v.get(with(forWeb, "prompt", "none"))
			if tt.ended != (silent.query("error") == string(oauth.LoginRequired)) || tt.ended == (silent.query("code") != "") {
				t.Errorf("prompt=none: %s", silent.location)
			}
			a := v.get(forWeb)
			if !tt.ended {
				if a.query("code") == "" {
					t.Errorf("%d to %s", a.Code, a.location)
				}
				return
			}
			h.isLoginPage(a, http.StatusOK)
			if a := v.fill("demo", password); a.query("code") == "" {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if a := v.get(with(forWeb, "prompt", "none")); a.query("code") == "" {
				t.Errorf("the new session: %s", a.location)
			}
		})
	}
}

func (h *house) person(how func(*store.User)) error {
	u, err := h.store.Store.User(h.Context(), "u1")
	if err != nil {
		return err
	}
	how(&u)
	return h.store.PutUser(h.Context(), u)
}

// That somebody is blocked is said to whoever has the password, and to nobody else.
func TestABlockedPerson(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	if err := h.person(func(u *store.User) { u.Blocked = true }); err != nil {
		t.Fatal(err)
	}
	if a := v.get(with(forWeb, "prompt", "none")); a.query("error") != string(oauth.LoginRequired) {
		t.Errorf("prompt=none: %s", a.location)
	}
	a := v.get(forWeb)
	h.isLoginPage(a, http.StatusOK)
	const words = "This account is blocked."
	if strings.Contains(a.Body.String(), words) {
		t.Error("the session alone says it")
	}
	a = v.fill("demo", "wrong")
	h.isLoginPage(a, http.StatusBadRequest)
	if strings.Contains(a.Body.String(), words) {
		t.Error("a wrong password is told")
	}
	a = v.fill("demo", password)
	h.isLoginPage(a, http.StatusForbidden)
	if !strings.Contains(a.Body.String(), words) || len(h.store.grants) > 0 {
		t.Errorf("%s, %d grants", a.Body, len(h.store.grants))
	}
	if err := h.person(func(u *store.User) { u.Blocked = false }); err != nil {
		t.Fatal(err)
	}
	if a := v.fill("demo", password); a.query("code") == "" {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

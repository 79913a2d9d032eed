package grant_test

import (
	"fmt"
	"testing"
	"time"

	"kmint/pkg/grant"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func (h *house) password(client, name, password string, fields ...string) answer {
	h.t.Helper()
	return h.post(append(from(client, "grant_type", oauth.Password, "username", name, "password", password), fields...)...)
}

func TestPassword(t *testing.T) {
	h := open(t)
	for name, tt := range map[string]struct {
		client, user, password string
		fields                 []string
		status                 int
		refused                oauth.Code
		scope                  string
		refresh                bool
	}{
		"right":                         {"app", "u", password, []string{"scope", "read", "audience", orders}, 200, "", "read", false},
		"the name in another case":      {"app", "U", password, []string{"scope", "openid"}, 200, "", "openid", false},
		"of a public client":            {"spa", "u", password, []string{"scope", "openid"}, 200, "", "openid", false},
		"with a refresh token":          {"app", "u", password, []string{"scope", "openid offline_access read", "audience", orders}, 200, "", "openid offline_access read", true},
		"no session to refresh with":    {"app", "u", password, []string{"scope", "openid online_access"}, 200, "", "openid", false},
		"the scope is always said":      {"app", "u", password, []string{"scope", "openid unknown"}, 200, "", "openid", false},
		"wrong password":                {"app", "u", "wrong", []string{"scope", "openid"}, 400, oauth.InvalidGrant, "", false},
		"unknown name":                  {"app", "nobody", password, []string{"scope", "openid"}, 400, oauth.InvalidGrant, "", false},
		"blocked":                       {"app", "blocked", password, []string{"scope", "openid"}, 400, oauth.InvalidGrant, "", false},
		"no password":                   {"app", "u", "", []string{"scope", "openid"}, 400, oauth.InvalidRequest, "", false},
		"no name":                       {"app", "", password, []string{"scope", "openid"}, 400, oauth.InvalidRequest, "", false},
		"an unknown API":                {"app", "u", password, []string{"audience", "https://none/"}, 400, oauth.InvalidTarget, "", false},
		"for nothing":                   {"impersonator", "u", password, []string{"scope", "email"}, 400, oauth.InvalidTarget, "", false},
		"nothing of the scope":          {"app", "u", password, []string{"scope", "unknown", "audience", orders}, 400, oauth.InvalidScope, "", false},
		"a client without the grant":    {"few", "u", password, []string{"scope", "openid"}, 400, oauth.UnauthorizedClient, "", false},
		"realm means nothing here":      {"app", "u", password, []string{"scope", "openid", "realm", "any"}, 200, "", "openid", false},
		"two parameters of a name":      {"app", "u", password, []string{"scope", "openid", "username", "u"}, 400, oauth.InvalidRequest, "", false},
		"the name as on the login page": {"app", "u ", password, []string{"scope", "openid"}, 200, "", "openid", false},
		"the userinfo endpoint by name": {"app", "u", password, []string{"scope", "openid", "resource", issuer + "userinfo"}, 200, "", "openid", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			got := h.password(tt.client, tt.user, tt.password, tt.fields...)
			h.want(got, tt.status, tt.refused)
			if got.Scope != tt.scope || (got.RefreshToken != "") != tt.refresh || (got.AccessToken == "") == (tt.status == 200) {
				t.Errorf("%+v", got.TokenResponse)
			}
			h.must(h.store.ClearAttempts(t.Context(), oauth.DigestOf("u")))
		})
	}
}

// in is the house for a test within the test.
func (h *house) in(t *testing.T) *house {
	return &house{t: t, store: h.store, http: h.http, now: h.clock(), keys: h.keys, foreign: h.foreign}
}

func TestPasswordRealm(t *testing.T) {
	h := open(t)
	post := func(fields ...string) answer {
		return h.post(append(from("app", "grant_type", oauth.PasswordRealm, "username", "u", "password", password, "scope", "openid"), fields...)...)
	}
	h.ok(post("realm", grant.Realm))
	h.store.took()
	h.want(post("realm", "another"), 400, oauth.InvalidRequest)
	h.want(post(), 400, oauth.InvalidRequest)
	if calls := h.store.took(); calls != "" {
		t.Errorf("without a realm there is nobody to look for: %s", calls)
	}
	h.set(func(s *store.Settings) { s.LegacyPassword = false })
	h.want(post("realm", grant.Realm), 400, oauth.UnauthorizedClient)
	h.want(h.password("app", "u", password, "scope", "openid"), 400, oauth.UnauthorizedClient)
}

// The words and statuses that Auth0's SDKs look for, and when.
func TestPasswordCases(t *testing.T) {
	h := open(t)
	h.change("app", func(c *store.Client) { c.ErrorProfile = store.Auth0 })
	for name, tt := range map[string]struct {
		user, password string
		status         int
		description    string
	}{
		"wrong":                              {"u", "wrong", 403, "Wrong email or password."},
		"blocked":                            {"blocked", password, 403, "user is blocked"},
		"blocked, but the password is wrong": {"blocked", "wrong", 403, "Wrong email or password."},
	} {
		got := h.password("app", tt.user, tt.password, "scope", "openid")
		if got.status != tt.status || got.Error != oauth.InvalidGrant || got.Description != tt.description {
			t.Errorf("%s: %d %s %s", name, got.status, got.Error, got.Description)
		}
	}
}

// A name is locked for the login page and here alike, the right password or not.
func TestPasswordIsLocked(t *testing.T) {
	h := open(t)
	for i := range store.MaxFailures {
		if got := h.password("app", "u", "wrong", "scope", "openid"); got.Description != "Wrong username or password." {
			t.Fatalf("attempt %d: %s", i, got.Description)
		}
	}
	h.want(h.password("app", "u", password, "scope", "openid"), 400, oauth.InvalidGrant)
	if err := h.store.BeginAttempt(t.Context(), oauth.DigestOf("u"), h.clock()); err == nil {
		t.Error("the login page does not know of it")
	}
	h.change("app", func(c *store.Client) { c.ErrorProfile = store.Auth0 })
	if got := h.password("app", "u", password, "scope", "openid"); got.status != 429 || got.Error != oauth.TooManyAttempts {
		t.Errorf("%d %s", got.status, got.Error)
	}
	h.ok(h.password("app", "known", password, "scope", "openid")) // only the name is
	h.wait(store.LockedDuration)
	h.ok(h.password("app", "u", password, "scope", "openid"))
}

// What comes of a password is a grant like any other: it refreshes, and one write
// ends it.
func TestAPasswordsGrant(t *testing.T) {
	h := open(t)
	first := h.ok(h.password("spa", "u", password, "scope", "openid email offline_access read", "audience", orders))
	claims, id := h.claims(first.AccessToken), h.claims(first.IDToken)
	g, err := h.store.Store.Grant(t.Context(), claims["grant_id"].(string))
	h.must(err)
	if g.ClientID != "spa" || g.Subject != "u" || g.Spent.IsZero() || !g.End.Equal(h.clock().Add(time.Hour)) || !g.AuthTime.Equal(h.clock()) || id["email"] != "u@example.com" || id["sid"] != nil {
		t.Errorf("%+v, %v", g, id)
	}
	h.wait(time.Second)
	second := h.ok(h.refresh("spa", first.RefreshToken))
	if again := h.claims(second.IDToken); again["auth_time"] != id["auth_time"] || again["email"] != "u@example.com" {
		t.Errorf("%v, before it %v", again, id)
	}
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)
	h.want(h.refresh("spa", second.RefreshToken), 400, oauth.InvalidGrant) // the replay has ended it

	// Without a refresh token there is a grant too.
	short := h.claims(h.ok(h.password("spa", "u", password, "scope", "read", "audience", orders)).AccessToken)
	if g, err = h.store.Store.Grant(t.Context(), short["grant_id"].(string)); err != nil || g.Current != "" || g.Kept.Before(h.clock().Add(10*time.Minute)) {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestAPasswordBindsARefreshToken(t *testing.T) {
	h := open(t)
	for client, other := range map[string]oauth.Code{"spa": oauth.InvalidDPoPProof, "app": ""} {
		k := h.key()
		first := h.ok(h.by(k, from(client, "grant_type", oauth.Password, "username", "u", "password", password, "scope", "openid offline_access")...))
		if first.TokenType != oauth.DPoP {
			t.Errorf("%s: %s", client, first.TokenType)
		}
		h.want(h.refresh(client, first.RefreshToken), 400, oauth.InvalidDPoPProof)
		another := h.by(h.key(), from(client, "grant_type", oauth.RefreshToken, "refresh_token", first.RefreshToken)...)
		if another.Error != other {
			t.Errorf("%s by another key: %d %s", client, another.status, another.Error)
		}
		if other != "" {
			h.ok(h.by(k, from(client, "grant_type", oauth.RefreshToken, "refresh_token", first.RefreshToken)...))
		}
	}
}

func TestAPasswordWhenSigningFails(t *testing.T) {
	h := open(t)
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	h.want(h.password("app", "u", password, "scope", "openid"), 503, oauth.TemporarilyUnavailable)
	h.failing(nil)
	h.store.took()
	h.ok(h.password("app", "u", password, "scope", "openid"))
	if calls := h.store.took(); calls != "PutGrant Sign Sign User" {
		t.Error(calls)
	}
	// Who asks for too much spends no attempt.
	h.want(h.password("app", "u", "wrong", "audience", "https://none/"), 400, oauth.InvalidTarget)
	if calls := h.store.took(); calls != "" {
		t.Error(calls)
	}
}

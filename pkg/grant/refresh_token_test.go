package grant_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// What ends a grant between two refreshes, and what does not.
func TestWhatEndsAGrant(t *testing.T) {
	for name, tt := range map[string]struct {
		online bool
		do     func(h *house, sid string)
		ends   bool
	}{
		"nothing": {false, func(*house, string) {}, false},
		"the user blocked": {false, func(h *house, _ string) {
			h.person("u", func(u *store.User) { u.Blocked = true })
		}, true},
		"the user's not_before": {false, func(h *house, _ string) {
			h.person("u", func(u *store.User) { u.NotBefore = h.clock() })
		}, true},
		"one at the login itself": {false, func(h *house, _ string) {
			h.person("u", func(u *store.User) { u.NotBefore = h.clock().Add(-time.Second) })
		}, false},
		"the client's not_before": {false, func(h *house, _ string) {
			h.change("spa", func(c *store.Client) { c.NotBefore = h.clock() })
		}, true},
		"the server's not_before": {false, func(h *house, _ string) {
			h.set(func(s *store.Settings) { s.NotBefore = h.clock() })
		}, true},
		"the user gone": {false, func(h *house, _ string) { h.store.gone = true }, true},
		"the session ended": {true, func(h *house, sid string) {
			h.must(h.store.DeleteSession(h.t.Context(), oauth.Digest(sid)))
		}, true},
		"no session ended":              {true, func(*house, string) {}, false},
		"the session of an offline one": {false, func(h *house, sid string) { h.must(h.store.DeleteSession(h.t.Context(), oauth.Digest(sid))) }, false},
		"the grant type taken away": {false, func(h *house, _ string) {
			h.change("spa", func(c *store.Client) { c.GrantTypes = c.GrantTypes[:1] })
		}, true},
		"the API gone": {false, func(h *house, _ string) {
			h.changeAPI(orders, func(a *store.API) { a.UserPolicy = store.DenyAll })
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			sid := h.session()
			change := func(g *store.Grant) { g.SessionID = sid }
			if tt.online {
				change = online(sid)
			}
			first := h.ok(h.exchange("spa", h.code("spa", change)))
			h.wait(time.Second)
			tt.do(h, sid)
			got := h.refresh("spa", first.RefreshToken)
			if tt.ends != (got.status != http.StatusOK) || got.status >= 500 || got.AccessToken != "" == tt.ends {
				t.Errorf("%d %s %s", got.status, got.Error, got.Description)
			}
		})
	}
}

// auth0-spa-js logs out where somebody is blocked, and falls back to a silent login
// where the token is merely dead.
func TestRefreshCases(t *testing.T) {
	h := open(t)
	h.change("spa", func(c *store.Client) { c.ErrorProfile = store.Auth0 })
	first := h.ok(h.exchange("spa", h.code("spa")))
	h.person("u", func(u *store.User) { u.Blocked = true })
	if got := h.refresh("spa", first.RefreshToken); got.status != 403 || got.Description != "user is blocked" {
		t.Errorf("blocked: %d %s", got.status, got.Description)
	}
	h.wait(time.Second)
	h.person("u", func(u *store.User) { u.Blocked, u.NotBefore = false, h.clock() })
	second := h.ok(h.exchange("spa", h.code("spa", func(g *store.Grant) { g.AuthTime = h.clock() })))
	h.wait(time.Second)
	h.person("u", func(u *store.User) { u.NotBefore = h.clock() })
	if got := h.refresh("spa", second.RefreshToken); got.status != 403 || got.Description != "Unknown or invalid refresh token." {
		t.Errorf("ended: %d %s", got.status, got.Description)
	}
}

func TestARefreshedIDToken(t *testing.T) {
	h := open(t)
	first := h.ok(h.exchange("spa", h.code("spa", func(g *store.Grant) { g.SessionID = "s" })))
	h.person("u", func(u *store.User) { u.Profile["email"] = "new@example.com" })
	h.wait(time.Minute)
	second := h.ok(h.refresh("spa", first.RefreshToken))
	before, after := h.claims(first.IDToken), h.claims(second.IDToken)
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "sid"} {
		if before[name] == nil || before[name] != after[name] {
			t.Errorf("%s was %v and is %v", name, before[name], after[name])
		}
	}
	if before["nonce"] != "n" || after["nonce"] != nil || after["email"] != "new@example.com" || before["email"] != "u@example.com" || before["iat"] == after["iat"] {
		t.Errorf("%v\n%v", before, after)
	}
	third := h.ok(h.refresh("spa", second.RefreshToken, "scope", "read"))
	if third.IDToken != "" || third.Scope != "read" || third.RefreshToken == "" {
		t.Errorf("%+v", third.TokenResponse)
	}
	// RFC 6749 §6: the new refresh token has the scope of the old one.
	if fourth := h.ok(h.refresh("spa", third.RefreshToken)); fourth.Scope != "openid email offline_access read" {
		t.Errorf("scope %q", fourth.Scope)
	}
}

// The lifetime is absolute, however often the token is used.
func TestTheLifetimeOfAGrant(t *testing.T) {
	h := open(t)
	got := h.ok(h.exchange("spa", h.code("spa")))
	for range 3 {
		h.wait(19 * time.Minute)
		got = h.ok(h.refresh("spa", got.RefreshToken))
	}
	h.wait(3 * time.Minute)
	h.want(h.refresh("spa", got.RefreshToken), 400, oauth.InvalidGrant)
}

func TestATokenThatDoesNotRotate(t *testing.T) {
	h := open(t)
	first := h.ok(h.exchange("still", h.code("still")))
	for range 3 {
		h.wait(25 * time.Minute / 2)
		if next := h.ok(h.refresh("still", first.RefreshToken)); next.RefreshToken != first.RefreshToken {
			t.Fatal("it has rotated")
		}
	}
	h.wait(30 * time.Minute) // idle
	h.want(h.refresh("still", first.RefreshToken), 400, oauth.InvalidGrant)

	// RFC 9700 §2.2.2: the token of a public client rotates, or is bound.
	h.change("spa", func(c *store.Client) { c.Refresh.NonRotating = true })
	first = h.ok(h.exchange("spa", h.code("spa")))
	h.ok(h.refresh("spa", first.RefreshToken))
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)

	h.change("spa", func(c *store.Client) { c.DPoPBound = true })
	k := h.key()
	bound := h.ok(h.by(k, from("spa", "grant_type", oauth.AuthorizationCode, "code", h.code("spa"), "code_verifier", verifier)...))
	for range 2 {
		if next := h.ok(h.by(k, from("spa", "grant_type", oauth.RefreshToken, "refresh_token", bound.RefreshToken)...)); next.RefreshToken != bound.RefreshToken {
			t.Fatal("it has rotated")
		}
	}
	h.want(h.by(h.key(), from("spa", "grant_type", oauth.RefreshToken, "refresh_token", bound.RefreshToken)...), 400, oauth.InvalidDPoPProof)
}

// One who rotated, and then need not: what the leeway yields is the successor, and
// not the token that it is the successor of.
func TestNoMoreRotationWithinTheLeeway(t *testing.T) {
	h := open(t)
	h.change("app", func(c *store.Client) { c.Refresh.Leeway = 600 })
	first := h.ok(h.exchange("app", h.code("app")))
	second := h.ok(h.refresh("app", first.RefreshToken))
	h.change("app", func(c *store.Client) { c.Refresh.NonRotating = true })
	if again := h.ok(h.refresh("app", first.RefreshToken)); again.RefreshToken != second.RefreshToken {
		t.Error("not the successor")
	}
	if again := h.ok(h.refresh("app", second.RefreshToken)); again.RefreshToken != second.RefreshToken {
		t.Error("it has rotated")
	}
}

// RFC 9449 §5 speaks of every refresh token that is issued: once a proof came with
// one, the next needs a proof.
func TestARefreshThatBinds(t *testing.T) {
	h := open(t)
	k, other := h.key(), h.key()
	for client, byOther := range map[string]oauth.Code{"spa": oauth.InvalidDPoPProof, "app": ""} {
		first := h.ok(h.exchange(client, h.code(client)))
		again := from(client, "grant_type", oauth.RefreshToken, "refresh_token")
		second := h.ok(h.by(k, append(again, first.RefreshToken)...))
		h.want(h.refresh(client, second.RefreshToken), 400, oauth.InvalidDPoPProof)
		h.want(h.swap("app", second.RefreshToken, oauth.RefreshTokenType), 400, map[bool]oauth.Code{true: oauth.InvalidDPoPProof, false: oauth.InvalidRequest}[client == "app"])
		third := h.ok(h.by(k, append(again, second.RefreshToken)...))
		if got := h.by(other, append(again, third.RefreshToken)...); got.Error != byOther {
			t.Errorf("%s by another key: %d %s", client, got.status, got.Error)
		}
	}
	// A client that becomes public needs the key that it comes with.
	first := h.ok(h.by(k, from("app", "grant_type", oauth.AuthorizationCode, "code", h.code("app"), "code_verifier", verifier)...))
	h.change("app", func(c *store.Client) { c.AuthMethod, c.SecretDigests = oauth.None, nil })
	again := []string{"client_id", "app", "grant_type", oauth.RefreshToken, "refresh_token"}
	second := h.ok(h.by(k, append(again, first.RefreshToken)...))
	h.want(h.by(other, append(again, second.RefreshToken)...), 400, oauth.InvalidDPoPProof)
	// One whose tokens are bound from now on need not rotate: by then they are.
	first = h.ok(h.exchange("spa", h.code("spa")))
	h.change("spa", func(c *store.Client) { c.DPoPBound, c.Refresh.NonRotating = true, true })
	again = from("spa", "grant_type", oauth.RefreshToken, "refresh_token", first.RefreshToken)
	if kept := h.ok(h.by(k, again...)); kept.RefreshToken != first.RefreshToken {
		t.Error("it has rotated")
	}
	h.want(h.by(other, again...), 400, oauth.InvalidDPoPProof)
}

// RFC 8707 §2.2: what is named is within what was granted, and its scope alone is
// what the token has.
func TestNarrowingByResource(t *testing.T) {
	h := open(t)
	both := func(g *store.Grant) {
		g.Audience = []string{orders, stock}
		g.Scope = oauth.Scope{"openid", "list", "count", "read", "offline_access"}
		g.Requested = append(g.Scope, "write")
	}
	aud := func(a answer) any { return h.claims(a.AccessToken)["aud"] }
	userinfo := issuer + "userinfo"

	code := h.code("spa", both)
	h.want(h.exchange("spa", code, "resource", "https://opaque/"), 400, oauth.InvalidTarget)
	h.want(h.exchange("spa", code, "resource", "https://none/"), 400, oauth.InvalidTarget)
	h.want(h.exchange("spa", code, "resource", orders, "audience", "https://none/"), 400, oauth.InvalidTarget)
	first := h.ok(h.exchange("spa", code, "resource", orders)) // nothing of it has burnt the code
	if first.Scope != "openid list read offline_access" || !same(aud(first), orders, userinfo) {
		t.Errorf("%s for %v", first.Scope, aud(first))
	}
	for _, tt := range []struct {
		fields []string
		scope  string
		aud    []string
		exp    int64
	}{
		{[]string{"resource", stock}, "openid count read offline_access", []string{stock, userinfo}, 300},
		{[]string{"resource", stock, "scope", "count"}, "count", []string{stock}, 300},
		{[]string{"resource", stock, "scope", "count list"}, "count", []string{stock}, 300},
		{[]string{"resource", stock, "resource", orders}, "openid list count read offline_access", []string{stock, orders, userinfo}, 300},
		{[]string{"audience", orders, "scope", "list"}, "list", []string{orders}, 600},
		{[]string{"resource", userinfo}, "openid offline_access", []string{userinfo}, 86400},
		{nil, "openid list count read offline_access", []string{orders, stock, userinfo}, 300},
	} {
		next := h.ok(h.refresh("spa", first.RefreshToken, tt.fields...))
		if next.Scope != tt.scope || !same(aud(next), tt.aud...) || next.ExpiresIn != tt.exp {
			t.Errorf("%v: %q for %v, %d s", tt.fields, next.Scope, aud(next), next.ExpiresIn)
		}
		first = next
	}
	for _, tt := range []struct {
		fields  []string
		refused oauth.Code
	}{
		{[]string{"resource", stock, "scope", "list"}, oauth.InvalidScope},
		{[]string{"resource", userinfo, "scope", "list"}, oauth.InvalidScope},
		{[]string{"resource", userinfo, "scope", "email"}, oauth.InvalidScope},
		{[]string{"resource", "https://opaque/"}, oauth.InvalidTarget},
		{[]string{"resource", stock, "resource", "https://opaque/"}, oauth.InvalidTarget},
		{[]string{"scope", "openid other"}, oauth.InvalidScope},
	} {
		h.want(h.refresh("spa", first.RefreshToken, tt.fields...), 400, tt.refused)
	}
	h.ok(h.refresh("spa", first.RefreshToken)) // and the token is as good as before
}

func same(aud any, want ...string) bool {
	var got []string
	switch aud := aud.(type) {
	case string:
		got = []string{aud}
	case []any:
		for _, one := range aud {
			got = append(got, one.(string))
		}
	}
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] {
			return false
		}
	}
	return true
}

// An API that allows offline access no more: the code yields no refresh token.
func TestOfflineAccessIsTakenAway(t *testing.T) {
	h := open(t)
	code := h.code("spa", func(g *store.Grant) { g.CodeExpires = h.clock().Add(time.Hour) })
	h.changeAPI(orders, func(a *store.API) { a.AllowOfflineAccess = false })
	if got := h.ok(h.exchange("spa", code)); got.RefreshToken != "" || got.Scope != "openid email read" {
		t.Errorf("%+v", got.TokenResponse)
	}
}

// A refresh yields no other one then, whatever scope it asks for; a client that names
// less would else keep what the API allows nobody.
func TestOfflineAccessIsTakenAwayFromARefreshToken(t *testing.T) {
	for _, scope := range []string{"", "read", "read offline_access"} {
		h := open(t)
		first := h.tokens("spa")
		if got := h.ok(h.refresh("spa", first.RefreshToken, "scope", scope)); got.RefreshToken == "" {
			t.Errorf("%q, while it is allowed: %+v", scope, got.TokenResponse)
		}
		other := h.tokens("spa")
		h.changeAPI(orders, func(a *store.API) { a.AllowOfflineAccess = false })
		if got := h.ok(h.refresh("spa", other.RefreshToken, "scope", scope)); got.RefreshToken != "" {
			t.Errorf("%q: %+v", scope, got.TokenResponse)
		}
	}
	// One that ends with the session needs no API's leave.
	h := open(t)
	sid := h.session()
	h.changeAPI(orders, func(a *store.API) { a.AllowOfflineAccess = false })
	first := h.tokens("spa", online(sid))
	if got := h.ok(h.refresh("spa", first.RefreshToken, "scope", "read")); got.RefreshToken == "" {
		t.Errorf("online: %+v", got.TokenResponse)
	}
}

// So does a client that refreshes no more.
func TestRefreshIsTakenAway(t *testing.T) {
	h := open(t)
	sid := h.session()
	for name, change := range map[string]func(*store.Grant){"offline": func(*store.Grant) {}, "online": online(sid)} {
		code := h.code("few", change)
		if got := h.ok(h.exchange("few", code)); got.RefreshToken != "" || strings.Contains(got.Scope, "line_access") {
			t.Errorf("%s: %+v", name, got.TokenResponse)
		}
	}
}

func TestBudgets(t *testing.T) {
	h := open(t)
	sid := h.session()
	code := h.code("spa", online(sid))
	h.store.took()
	first := h.ok(h.exchange("spa", code))
	if calls := h.store.took(); calls != "Sign Sign SpendCode" {
		t.Errorf("code: %s", calls)
	}
	second := h.ok(h.refresh("spa", first.RefreshToken))
	if calls := h.store.took(); calls != "Rotate Session Sign Sign User" {
		t.Errorf("refresh, bound to a session: %s", calls)
	}
	k := h.key()
	h.ok(h.by(k, from("spa", "grant_type", oauth.RefreshToken, "refresh_token", second.RefreshToken, "scope", "read")...))
	if calls := h.store.took(); calls != "Rotate Session Sign UseOnce User" {
		t.Errorf("refresh, with a proof: %s", calls)
	}
	h.ok(h.post(from("app", "grant_type", oauth.ClientCredentials)...))
	if calls := h.store.took(); calls != "Sign" {
		t.Errorf("client_credentials: %s", calls)
	}
	// A refused request never signs.
	h.want(h.post(from("app", "grant_type", oauth.ClientCredentials, "scope", "list")...), 400, oauth.InvalidScope)
	h.want(h.exchange("spa", "kmint_code.wrong"), 400, oauth.InvalidGrant)
	h.want(h.by(k, from("few", "grant_type", oauth.RefreshToken, "refresh_token", "x")...), 400, oauth.UnauthorizedClient)
	if calls := h.store.took(); calls != "SpendCode" {
		t.Errorf("refused: %s", calls)
	}
}

package grant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// swap exchanges a subject token.
func (h *house) swap(client, token, ofType string, fields ...string) answer {
	h.t.Helper()
	return h.swapBy(key{}, client, token, ofType, fields...)
}

func (h *house) swapBy(k key, client, token, ofType string, fields ...string) answer {
	h.t.Helper()
	return h.by(k, append(from(client, "grant_type", oauth.TokenExchange, "subject_token", token, "subject_token_type", ofType), fields...)...)
}

// tokens are those of a login of u with a client.
func (h *house) tokens(client string, changes ...func(*store.Grant)) answer {
	h.t.Helper()
	return h.ok(h.exchange(client, h.code(client, changes...)))
}

// machine is a token of a client in its own name, for the orders.
func (h *house) machine(client string) string {
	h.t.Helper()
	return h.ok(h.post(from(client, "grant_type", oauth.ClientCredentials, "audience", orders, "scope", "read")...)).AccessToken
}

// Who may exchange which of our tokens, and what for.
func TestExchange(t *testing.T) {
	h := open(t)
	mine := h.tokens("app")
	machine := h.machine("app")
	opaque := h.tokens("app", func(g *store.Grant) { g.Audience = []string{"https://opaque/"} })
	for name, tt := range map[string]struct {
		client, token, ofType string
		fields                []string
		refused               oauth.Code
		issued, scope         string
		aud                   string
	}{
		"my own":                             {"app", mine.AccessToken, oauth.AccessTokenType, nil, "", oauth.AccessTokenType, "openid email read", orders},
		"narrowed":                           {"app", mine.AccessToken, oauth.AccessTokenType, []string{"scope", "read"}, "", oauth.AccessTokenType, "read", orders},
		"as a JWT":                           {"app", mine.AccessToken, oauth.JWTType, []string{"scope", "read"}, "", oauth.AccessTokenType, "read", orders},
		"to a JWT":                           {"app", mine.AccessToken, oauth.AccessTokenType, []string{"scope", "read", "requested_token_type", oauth.JWTType}, "", oauth.JWTType, "read", orders},
		"to an ID token":                     {"app", mine.AccessToken, oauth.AccessTokenType, []string{"requested_token_type", oauth.IDTokenType}, "", oauth.IDTokenType, "openid email read", "app"},
		"for the API that it is for":         {"gateway", mine.AccessToken, oauth.AccessTokenType, []string{"scope", "read"}, "", oauth.AccessTokenType, "read", orders},
		"onward":                             {"gateway", mine.AccessToken, oauth.AccessTokenType, []string{"audience", stock, "scope", "read"}, "", oauth.AccessTokenType, "read", stock},
		"onward by resource":                 {"gateway", mine.AccessToken, oauth.AccessTokenType, []string{"resource", stock, "scope", "read"}, "", oauth.AccessTokenType, "read", stock},
		"onward beyond its scope":            {"gateway", mine.AccessToken, oauth.AccessTokenType, []string{"audience", stock, "scope", "count"}, oauth.InvalidScope, "", "", ""},
		"onward without being named":         {"spa", h.tokens("spa").AccessToken, oauth.AccessTokenType, []string{"audience", stock, "scope", "read"}, oauth.InvalidTarget, "", "", ""},
		"to an unknown API":                  {"app", mine.AccessToken, oauth.AccessTokenType, []string{"audience", "https://none/"}, oauth.InvalidTarget, "", "", ""},
		"another's":                          {"stranger", mine.AccessToken, oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"for another API than the client is": {"gateway", opaque.AccessToken, oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"beyond its scope":                   {"app", mine.AccessToken, oauth.AccessTokenType, []string{"scope", "read list"}, oauth.InvalidScope, "", "", ""},
		"another kind than it says":          {"app", mine.AccessToken, oauth.IDTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"an ID token for an access token":    {"app", mine.IDToken, oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"an opaque one":                      {"app", opaque.AccessToken, oauth.AccessTokenType, []string{"scope", "openid"}, "", oauth.AccessTokenType, "openid", ""},
		"an opaque one as a JWT":             {"app", opaque.AccessToken, oauth.JWTType, nil, oauth.InvalidRequest, "", "", ""},
		"an opaque one to a JWT":             {"app", opaque.AccessToken, oauth.AccessTokenType, []string{"requested_token_type", oauth.JWTType}, oauth.InvalidTarget, "", "", ""},
		"a broken one":                       {"app", mine.AccessToken + "x", oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"with a line break":                  {"app", mine.AccessToken + "\n", oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"an ID token":                        {"app", mine.IDToken, oauth.IDTokenType, []string{"audience", stock}, "", oauth.AccessTokenType, "read", stock},
		"an ID token by its only API":        {"app", mine.IDToken, oauth.IDTokenType, nil, "", oauth.AccessTokenType, "read", stock},
		"an ID token gives no offline":       {"app", mine.IDToken, oauth.IDTokenType, []string{"scope", "read offline_access"}, oauth.InvalidScope, "", "", ""},
		"an ID token where all may":          {"stranger", h.tokens("stranger").IDToken, oauth.IDTokenType, []string{"audience", orders}, oauth.InvalidTarget, "", "", ""},
		"another's ID token":                 {"gateway", mine.IDToken, oauth.IDTokenType, []string{"audience", stock}, oauth.InvalidRequest, "", "", ""},
		"a refresh token":                    {"app", mine.RefreshToken, oauth.RefreshTokenType, []string{"scope", "read"}, "", oauth.AccessTokenType, "read", orders},
		"another's refresh token":            {"gateway", mine.RefreshToken, oauth.RefreshTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"a broken refresh token":             {"app", mine.RefreshToken + "x", oauth.RefreshTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"a machine's":                        {"app", machine, oauth.AccessTokenType, nil, "", oauth.AccessTokenType, "read", orders},
		"a machine's, for the API":           {"gateway", machine, oauth.AccessTokenType, []string{"audience", stock}, "", oauth.AccessTokenType, "read", stock},
		"a machine's to an ID token":         {"app", machine, oauth.AccessTokenType, []string{"requested_token_type", oauth.IDTokenType}, oauth.InvalidScope, "", "", ""},
		"a machine's to a refresh token":     {"app", machine, oauth.AccessTokenType, []string{"requested_token_type", oauth.RefreshTokenType}, oauth.InvalidScope, "", "", ""},
		"to a type we do not know":           {"app", mine.AccessToken, oauth.AccessTokenType, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:saml2"}, oauth.InvalidRequest, "", "", ""},
		"of a type we do not know":           {"app", mine.AccessToken, "urn:ietf:params:oauth:token-type:saml2", nil, oauth.InvalidRequest, "", "", ""},
		"of no type":                         {"app", mine.AccessToken, "", nil, oauth.InvalidRequest, "", "", ""},
		"nothing":                            {"app", "", oauth.AccessTokenType, nil, oauth.InvalidRequest, "", "", ""},
		"an actor's type alone":              {"app", mine.AccessToken, oauth.AccessTokenType, []string{"actor_token_type", oauth.AccessTokenType}, oauth.InvalidRequest, "", "", ""},
		"an actor without its type":          {"app", mine.AccessToken, oauth.AccessTokenType, []string{"actor_token", machine}, oauth.InvalidRequest, "", "", ""},
		"no leave to impersonate":            {"delegate", mine.AccessToken, oauth.AccessTokenType, nil, oauth.UnauthorizedClient, "", "", ""},
		"no leave to delegate":               {"impersonator", mine.AccessToken, oauth.AccessTokenType, []string{"actor_token", machine, "actor_token_type", oauth.AccessTokenType}, oauth.UnauthorizedClient, "", "", ""},
		"no leave to exchange":               {"few", mine.AccessToken, oauth.AccessTokenType, nil, oauth.UnauthorizedClient, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			got := h.swap(tt.client, tt.token, tt.ofType, tt.fields...)
			if tt.refused != "" {
				h.want(got, 400, tt.refused)
				return
			}
			h.ok(got)
			if got.Scope != tt.scope || got.IssuedTokenType != tt.issued || got.RefreshToken != "" || got.IDToken != "" {
				t.Errorf("%+v", got.TokenResponse)
			}
			wantType := oauth.Bearer
			if tt.issued == oauth.IDTokenType {
				wantType = oauth.NA
			}
			if got.TokenType != wantType || got.ExpiresIn <= 0 || got.ExpiresIn > 600 && tt.issued != oauth.IDTokenType && tt.aud != "" {
				t.Errorf("%+v", got.TokenResponse)
			}
			if strings.HasPrefix(got.AccessToken, oauth.AccessPrefix) {
				return
			}
			claims := h.claims(got.AccessToken)
			aud, _ := claims["aud"].(string)
			if list, ok := claims["aud"].([]any); ok {
				aud = list[0].(string)
			}
			if aud != tt.aud {
				t.Errorf("aud %v", claims["aud"])
			}
			if tt.issued != oauth.IDTokenType && claims["client_id"] != tt.client {
				t.Errorf("%v", claims)
			}
		})
	}
}

// RFC 8693 §2.2.1: whatever was asked for is the access_token.
func TestExchangeForARefreshToken(t *testing.T) {
	h := open(t)
	mine := h.tokens("spa")
	h.wait(5 * time.Minute)
	got := h.ok(h.swap("spa", mine.AccessToken, oauth.AccessTokenType, "requested_token_type", oauth.RefreshTokenType))
	if got.TokenType != oauth.NA || got.IssuedTokenType != oauth.RefreshTokenType || got.RefreshToken != "" || got.ExpiresIn != 300 {
		t.Errorf("%+v", got.TokenResponse)
	}
	first := h.ok(h.refresh("spa", got.AccessToken))
	if first.Scope != "openid email offline_access read" {
		t.Errorf("scope %q", first.Scope)
	}
	h.want(h.refresh("spa", got.AccessToken), 400, oauth.InvalidGrant) // a replay

	// It ends with the token that it was made of.
	got = h.ok(h.swap("spa", mine.AccessToken, oauth.AccessTokenType, "requested_token_type", oauth.RefreshTokenType, "scope", "read"))
	h.wait(5 * time.Minute)
	h.want(h.refresh("spa", got.AccessToken), 400, oauth.InvalidGrant)

	// So does one of a refresh token; with that it is the grant's end.
	mine = h.tokens("spa")
	h.wait(25 * time.Minute)
	both := h.ok(h.swap("spa", mine.RefreshToken, oauth.RefreshTokenType, "scope", "read offline_access"))
	if both.RefreshToken == "" || both.AccessToken == "" || both.IssuedTokenType != oauth.AccessTokenType || both.TokenType != oauth.Bearer {
		t.Errorf("%+v", both.TokenResponse)
	}
	h.wait(25 * time.Minute)
	next := h.ok(h.refresh("spa", both.RefreshToken))
	h.wait(10 * time.Minute)
	h.want(h.refresh("spa", next.RefreshToken), 400, oauth.InvalidGrant)

	// Without offline_access there is none.
	mine = h.tokens("spa", func(g *store.Grant) { g.Scope = oauth.Scope{"openid", "read"} })
	h.want(h.swap("spa", mine.AccessToken, oauth.AccessTokenType, "requested_token_type", oauth.RefreshTokenType), 400, oauth.InvalidScope)
	h.want(h.swap("spa", mine.AccessToken, oauth.AccessTokenType, "scope", "read offline_access"), 400, oauth.InvalidScope)
}

// An old refresh token is a replay here too: whoever has stolen one is noticed.
func TestExchangeOfAnOldRefreshToken(t *testing.T) {
	h := open(t)
	first := h.tokens("spa")
	h.ok(h.swap("spa", first.RefreshToken, oauth.RefreshTokenType))
	second := h.ok(h.refresh("spa", first.RefreshToken)) // the exchange has left it as it was
	h.want(h.swap("spa", first.RefreshToken, oauth.RefreshTokenType), 400, oauth.InvalidRequest)
	h.want(h.refresh("spa", second.RefreshToken), 400, oauth.InvalidGrant)
}

// Whoever has stolen a refresh token, and the client's secret, does not get rid of the
// first grant: what was made of it ends with it.
func TestARefreshTokenOfAnExchangeEndsWithTheFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(h *house, mine answer)
		good bool
	}{
		"nothing": {func(*house, answer) {}, true},
		"a replay": {func(h *house, mine answer) {
			h.ok(h.refresh("app", mine.RefreshToken))
			h.want(h.refresh("app", mine.RefreshToken), 400, oauth.InvalidGrant)
		}, false},
		"a revocation": {func(h *house, mine answer) {
			handle, _ := oauth.ParseRefreshHandle(mine.RefreshToken)
			h.must(h.store.RevokeGrant(h.t.Context(), store.Revocation{GrantID: handle.GrantID, ClientID: "app", Family: handle.Family.Digest(), Now: h.clock()}))
		}, false},
		"the client's not_before": {func(h *house, _ answer) { h.change("app", func(c *store.Client) { c.NotBefore = h.clock() }) }, false},
	} {
		for ofType, by := range map[string]string{oauth.RefreshTokenType: "app", oauth.AccessTokenType: "gateway"} {
			h := open(t)
			mine := h.tokens("app")
			token := map[string]string{oauth.RefreshTokenType: mine.RefreshToken, oauth.AccessTokenType: mine.AccessToken}[ofType]
			own := h.ok(h.swap(by, token, ofType, "requested_token_type", oauth.RefreshTokenType))
			h.wait(time.Second)
			first := h.ok(h.refresh(by, own.AccessToken))
			tt.do(h, mine)
			for what, got := range map[string]answer{
				"exchanged": h.swap(by, first.AccessToken, oauth.AccessTokenType), "refreshed": h.refresh(by, first.RefreshToken),
			} {
				if (got.status == 200) != tt.good || got.status >= 500 {
					t.Errorf("%s of %s, %s: %d %s", name, ofType, what, got.status, got.Description)
				}
			}
		}
	}
	h := open(t)
	mine := h.tokens("app")
	own := h.ok(h.swap("app", mine.RefreshToken, oauth.RefreshTokenType, "requested_token_type", oauth.RefreshTokenType))
	h.store.took()
	first := h.ok(h.refresh("app", own.AccessToken))
	if calls := h.store.took(); calls != "Grant Rotate Sign Sign User" {
		t.Error(calls)
	}
	h.store.failing("Grant")
	h.want(h.refresh("app", first.RefreshToken), 503, oauth.TemporarilyUnavailable)
	h.store.failing("")
	first = h.ok(h.refresh("app", first.RefreshToken))
	// It has one before it, and no more.
	h.want(h.swap("app", first.RefreshToken, oauth.RefreshTokenType, "requested_token_type", oauth.RefreshTokenType), 400, oauth.InvalidScope)
	h.want(h.swap("app", first.AccessToken, oauth.AccessTokenType, "scope", "read offline_access"), 400, oauth.InvalidScope)
	h.ok(h.swap("app", first.AccessToken, oauth.AccessTokenType, "scope", "read"))
}

// An exchange uses the refresh token: within leeway the one before is as good as it
// was, until then.
func TestExchangeWithinTheLeeway(t *testing.T) {
	h := open(t)
	h.change("app", func(c *store.Client) { c.Refresh.Leeway = 600 })
	first := h.tokens("app")
	second := h.ok(h.refresh("app", first.RefreshToken))
	h.ok(h.swap("app", first.RefreshToken, oauth.RefreshTokenType))
	if again := h.ok(h.refresh("app", first.RefreshToken)); again.RefreshToken != second.RefreshToken {
		t.Error("not the successor")
	}
	h.ok(h.swap("app", second.RefreshToken, oauth.RefreshTokenType))
	h.want(h.refresh("app", first.RefreshToken), 400, oauth.InvalidGrant)
	h.want(h.refresh("app", second.RefreshToken), 400, oauth.InvalidGrant)
}

// No token lives longer than the one that it was made of, however often.
func TestExchangeGivesNoTime(t *testing.T) {
	h := open(t)
	h.changeAPI(stock, func(a *store.API) { a.TokenLifetime = 100_000 })
	mine := h.tokens("app")
	exp := h.claims(mine.AccessToken)["exp"]
	h.wait(4*time.Minute + 300*time.Millisecond)
	for name, fields := range map[string][]string{
		"the same":            nil,
		"one that may longer": {"audience", stock},
		"an ID token":         {"requested_token_type", oauth.IDTokenType},
	} {
		got := h.ok(h.swap("app", mine.AccessToken, oauth.AccessTokenType, fields...))
		if claims := h.claims(got.AccessToken); claims["exp"].(float64) > exp.(float64) || got.ExpiresIn > 360 || got.ExpiresIn < 358 {
			t.Errorf("%s: exp %v, of one with %v, in %d s", name, claims["exp"], exp, got.ExpiresIn)
		}
	}
	h.wait(6 * time.Minute)
	h.want(h.swap("app", mine.AccessToken, oauth.AccessTokenType), 400, oauth.InvalidRequest)
}

// What ends the token ends what can be made of it.
func TestWhatEndsAnExchange(t *testing.T) {
	type ending struct {
		do              func(h *house, sid string, mine answer)
		access, id, ref bool // still good
	}
	for name, tt := range map[string]ending{
		"nothing": {func(*house, string, answer) {}, true, true, true},
		"the grant revoked": {func(h *house, _ string, mine answer) {
			next := h.ok(h.refresh("app", mine.RefreshToken))
			h.want(h.refresh("app", mine.RefreshToken), 400, oauth.InvalidGrant)
			h.want(h.refresh("app", next.RefreshToken), 400, oauth.InvalidGrant)
		}, false, true, false},
		"the access token revoked": {func(h *house, _ string, mine answer) {
			h.must(h.store.RevokeToken(h.t.Context(), h.claims(mine.AccessToken)["jti"].(string), h.clock().Add(time.Hour)))
		}, false, true, true},
		"the user blocked": {func(h *house, _ string, _ answer) { h.person("u", func(u *store.User) { u.Blocked = true }) }, false, false, false},
		"the user's not_before": {func(h *house, _ string, _ answer) {
			h.person("u", func(u *store.User) { u.NotBefore = h.clock() })
		}, false, false, false},
		"the client's not_before": {func(h *house, _ string, _ answer) {
			h.change("app", func(c *store.Client) { c.NotBefore = h.clock() })
		}, false, false, false},
		"the server's not_before": {func(h *house, _ string, _ answer) { h.set(func(s *store.Settings) { s.NotBefore = h.clock() }) }, false, false, false},
		"the user gone":           {func(h *house, _ string, _ answer) { h.store.gone = true }, false, false, false},
		"the session ended": {func(h *house, sid string, _ answer) {
			h.must(h.store.DeleteSession(h.t.Context(), oauth.Digest(sid)))
		}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			sid := h.session()
			mine := h.tokens("app", online(sid))
			h.wait(time.Second)
			tt.do(h, sid, mine)
			h.store.took()
			for ofType, one := range map[string]struct {
				token string
				good  bool
			}{
				oauth.AccessTokenType:  {mine.AccessToken, tt.access},
				oauth.IDTokenType:      {mine.IDToken, tt.id},
				oauth.RefreshTokenType: {mine.RefreshToken, tt.ref},
			} {
				got := h.swap("app", one.token, ofType, "scope", "read")
				if one.good != (got.status == 200) || !one.good && got.Error != oauth.InvalidRequest {
					t.Errorf("%s: %d %s %s", ofType, got.status, got.Error, got.Description)
				}
				if calls := h.store.took(); !one.good && strings.Contains(calls, "Sign") {
					t.Errorf("%s: a refused request signs: %s", ofType, calls)
				}
				if one.good && ofType != oauth.IDTokenType && h.claims(got.AccessToken)["sid"] != sid {
					t.Errorf("%s: what is made of a token of a session is none: %v", ofType, h.claims(got.AccessToken))
				}
			}
		})
	}
	t.Run("the client that it was issued to", func(t *testing.T) {
		h := open(t)
		mine := h.tokens("app")
		h.ok(h.swap("gateway", mine.AccessToken, oauth.AccessTokenType))
		h.wait(time.Second)
		h.change("app", func(c *store.Client) { c.NotBefore = h.clock() })
		h.want(h.swap("gateway", mine.AccessToken, oauth.AccessTokenType), 400, oauth.InvalidRequest)
	})
	t.Run("the client that the first of them was issued to", func(t *testing.T) {
		for name, change := range map[string]func(h *house) func(*store.Client){
			"nothing":    func(*house) func(*store.Client) { return func(*store.Client) {} },
			"not_before": func(h *house) func(*store.Client) { return func(c *store.Client) { c.NotBefore = h.clock() } },
		} {
			h := open(t)
			mine := h.tokens("app")
			got := h.ok(h.swap("gateway", mine.AccessToken, oauth.AccessTokenType))
			h.wait(time.Second)
			h.change("app", change(h))
			again := h.swap("gateway", got.AccessToken, oauth.AccessTokenType)
			if (again.status == 200) != (name == "nothing") || again.status >= 500 {
				t.Errorf("%s: %d %s", name, again.status, again.Description)
			}
		}
	})
}

// One revocation of the first grant ends all.
func TestExchangeKeepsTheGrant(t *testing.T) {
	h := open(t)
	mine := h.tokens("app")
	first := h.claims(mine.AccessToken)
	h.store.took()
	got := h.ok(h.swap("gateway", mine.AccessToken, oauth.AccessTokenType, "audience", stock))
	if calls := h.store.took(); calls != "Grant Sign TokenRevoked User" {
		t.Error(calls)
	}
	if claims := h.claims(got.AccessToken); claims["grant_id"] != first["grant_id"] || claims["auth_time"] != first["auth_time"] || claims["jti"] == first["jti"] || claims["sub"] != "u" {
		t.Errorf("%v", claims)
	}
	// An ID token names no grant, so there is one of the exchange's own.
	got = h.ok(h.swap("app", mine.IDToken, oauth.IDTokenType))
	id := h.claims(got.AccessToken)["grant_id"].(string)
	if g, err := h.store.Store.Grant(t.Context(), id); err != nil || g.ClientID != "app" || g.Subject != "u" || g.Current != "" || g.Spent.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
	h.store.took()
	h.ok(h.swap("app", h.machine("app"), oauth.AccessTokenType))
	if calls := h.store.took(); calls != "Sign Sign TokenRevoked" {
		t.Error(calls)
	}
}

func TestDelegation(t *testing.T) {
	h := open(t)
	mine := h.tokens("app")
	actor := h.machine("gateway")
	acting := func(token string, fields ...string) answer {
		h.t.Helper()
		return h.swap("gateway", token, oauth.AccessTokenType, append([]string{"actor_token", actor, "actor_token_type", oauth.AccessTokenType}, fields...)...)
	}
	got := h.ok(acting(mine.AccessToken))
	claims := h.claims(got.AccessToken)
	if act := claims["act"].(map[string]any); act["sub"] != "gateway" || len(act) != 1 || claims["sub"] != "u" {
		t.Errorf("%v", claims)
	}
	for depth := 2; depth <= 4; depth++ {
		got = h.ok(acting(got.AccessToken))
	}
	act := h.claims(got.AccessToken)["act"]
	if text := fmt.Sprint(act); strings.Count(text, "sub:gateway") != 4 {
		t.Error(text)
	}
	deep := acting(got.AccessToken)
	h.want(deep, 400, oauth.InvalidRequest)
	if deep.Description != "Delegation chain (`act` claim) depth exceeds the maximum allowed limit of 4" {
		t.Error(deep.Description)
	}
	// Who exchanges it alone does not get rid of the actors, in an ID token neither.
	alone := h.ok(h.swap("gateway", got.AccessToken, oauth.AccessTokenType))
	if fmt.Sprint(h.claims(alone.AccessToken)["act"]) != fmt.Sprint(act) {
		t.Errorf("%v", h.claims(alone.AccessToken))
	}
	id := h.ok(acting(mine.AccessToken, "requested_token_type", oauth.IDTokenType))
	if fmt.Sprint(h.claims(id.AccessToken)["act"]) != "map[sub:gateway]" {
		t.Errorf("%v", h.claims(id.AccessToken))
	}
	back := h.ok(h.swap("gateway", id.AccessToken, oauth.IDTokenType, "audience", stock))
	if fmt.Sprint(h.claims(back.AccessToken)["act"]) != "map[sub:gateway]" {
		t.Errorf("%v", h.claims(back.AccessToken))
	}
	// There is no refresh token, with an actor or after one.
	h.want(acting(mine.AccessToken, "requested_token_type", oauth.RefreshTokenType), 400, oauth.InvalidRequest)
	if got := h.ok(acting(mine.AccessToken, "scope", "read offline_access")); got.RefreshToken != "" || got.Scope != "read" {
		t.Errorf("%+v", got.TokenResponse)
	}
	h.want(h.swap("gateway", got.AccessToken, oauth.AccessTokenType, "requested_token_type", oauth.RefreshTokenType), 400, oauth.InvalidScope)

	for name, bad := range map[string][]string{
		"a refresh token":     {mine.RefreshToken, oauth.RefreshTokenType},
		"one of another kind": {actor, oauth.IDTokenType},
		"broken":              {actor + "x", oauth.AccessTokenType},
		"itself acted for":    {got.AccessToken, oauth.AccessTokenType},
		"another client's":    {h.ok(h.post(from("gateway", "grant_type", oauth.ClientCredentials, "audience", stock)...)).AccessToken, oauth.AccessTokenType},
	} {
		client := "gateway"
		token := mine.AccessToken
		if name == "another client's" {
			client = "app"
		}
		got := h.swap(client, token, oauth.AccessTokenType, "actor_token", bad[0], "actor_token_type", bad[1])
		if got.Error != oauth.InvalidRequest {
			t.Errorf("%s: %d %s", name, got.status, got.Error)
		}
	}
	// Nobody acts for themselves: a client without leave to impersonate would.
	own := h.tokens("delegate").AccessToken
	h.want(h.swap("delegate", own, oauth.AccessTokenType, "actor_token", own, "actor_token_type", oauth.AccessTokenType), 400, oauth.InvalidRequest)
	h.ok(h.swap("delegate", own, oauth.AccessTokenType, "actor_token", h.ok(h.by(key{}, from("delegate", "grant_type", oauth.AuthorizationCode,
		"code", h.code("delegate", func(g *store.Grant) { g.Subject = "else|known" }), "code_verifier", verifier)...)).AccessToken, "actor_token_type", oauth.AccessTokenType))
	// The actor's end is the new token's too.
	h.wait(9 * time.Minute)
	young := h.tokens("app")
	if got := h.ok(acting(young.AccessToken)); got.ExpiresIn > 60 {
		t.Errorf("in %d s", got.ExpiresIn)
	}
	// A blocked person does not act.
	person := h.tokens("gateway", func(g *store.Grant) { g.Subject = "else|known" })
	byPerson := func() answer {
		return h.swap("gateway", young.AccessToken, oauth.AccessTokenType, "actor_token", person.AccessToken, "actor_token_type", oauth.AccessTokenType)
	}
	if got := h.ok(byPerson()); fmt.Sprint(h.claims(got.AccessToken)["act"]) != "map[sub:else|known]" {
		t.Errorf("%v", h.claims(got.AccessToken))
	}
	h.person("else|known", func(u *store.User) { u.Blocked = true })
	h.want(byPerson(), 400, oauth.InvalidRequest)
}

// A token that is bound yields bound ones alone: to the same key, or, for whoever
// can keep a secret, to another that the request is proven by.
func TestExchangeOfABoundToken(t *testing.T) {
	h := open(t)
	k, other := h.key(), h.key()
	for client, byOther := range map[string]oauth.Code{"spa": oauth.InvalidDPoPProof, "app": ""} {
		mine := h.ok(h.by(k, from(client, "grant_type", oauth.AuthorizationCode, "code", h.code(client), "code_verifier", verifier)...))
		for _, one := range [][]string{{mine.AccessToken, oauth.AccessTokenType}, {mine.RefreshToken, oauth.RefreshTokenType}} {
			h.want(h.swap(client, one[0], one[1], "scope", "read"), 400, oauth.InvalidDPoPProof)
			kept := h.ok(h.swapBy(k, client, one[0], one[1], "scope", "read"))
			if kept.TokenType != oauth.DPoP || h.claims(kept.AccessToken)["cnf"].(map[string]any)["jkt"] != k.thumbprint(h) {
				t.Errorf("%s: %+v", client, kept.TokenResponse)
			}
			again := h.swapBy(other, client, one[0], one[1], "scope", "read")
			if again.Error != byOther {
				t.Fatalf("%s by another key: %d %s", client, again.status, again.Error)
			}
			if byOther == "" && h.claims(again.AccessToken)["cnf"].(map[string]any)["jkt"] != other.thumbprint(h) {
				t.Errorf("%s: %v", client, h.claims(again.AccessToken))
			}
			refresh := h.ok(h.swapBy(k, client, one[0], one[1], "requested_token_type", oauth.RefreshTokenType))
			h.want(h.refresh(client, refresh.AccessToken), 400, oauth.InvalidDPoPProof)
			h.ok(h.by(k, from(client, "grant_type", oauth.RefreshToken, "refresh_token", refresh.AccessToken)...))
		}
	}
	// An API that was called with one, by a client that is public or not.
	mine := h.ok(h.by(k, from("spa", "grant_type", oauth.AuthorizationCode, "code", h.code("spa"), "code_verifier", verifier)...))
	h.want(h.swap("gateway", mine.AccessToken, oauth.AccessTokenType), 400, oauth.InvalidDPoPProof)
	h.ok(h.swapBy(other, "gateway", mine.AccessToken, oauth.AccessTokenType))
	// A bound actor_token likewise.
	actor := h.ok(h.by(k, from("gateway", "grant_type", oauth.ClientCredentials, "audience", orders)...)).AccessToken
	plain := h.tokens("app").AccessToken
	fields := []string{"actor_token", actor, "actor_token_type", oauth.AccessTokenType}
	h.want(h.swap("gateway", plain, oauth.AccessTokenType, fields...), 400, oauth.InvalidDPoPProof)
	h.ok(h.swapBy(k, "gateway", plain, oauth.AccessTokenType, fields...))
}

// JWTs of a foreign issuer that the owner trusts, by what each of its conditions
// says.
func TestExchangeOfAForeignToken(t *testing.T) {
	h := open(t)
	swap := func(client string, changes map[string]any, fields ...string) answer {
		h.t.Helper()
		ofType := oauth.JWTType
		if typ, ok := changes["as"].(string); ok {
			ofType = typ
			delete(changes, "as")
		}
		return h.swap(client, h.foreignToken(changes), ofType, fields...)
	}
	got := h.ok(swap("app", nil))
	claims := h.claims(got.AccessToken)
	if claims["sub"] != "else|emp-1" || claims["client_id"] != "app" || got.Scope != "read" || claims["aud"] != stock || claims["grant_id"] != nil || claims["auth_time"] != nil {
		t.Errorf("%v", claims)
	}
	for name, tt := range map[string]struct {
		client  string
		changes map[string]any
		refused oauth.Code
	}{
		"as an ID token":                 {"app", map[string]any{"as": oauth.IDTokenType}, ""},
		"as an access token":             {"app", map[string]any{"as": oauth.AccessTokenType}, oauth.InvalidRequest},
		"with a typ":                     {"app", map[string]any{"typ": "JWT"}, ""},
		"an access token as a JWT":       {"app", map[string]any{"typ": "at+jwt"}, ""},
		"an access token as an ID token": {"app", map[string]any{"typ": "at+jwt", "as": oauth.IDTokenType}, oauth.InvalidRequest},
		"a logout token":                 {"app", map[string]any{"typ": "logout+jwt"}, oauth.InvalidRequest},
		"another issuer":                 {"app", map[string]any{"iss": "https://other.example.com"}, oauth.InvalidRequest},
		"ours, it says":                  {"app", map[string]any{"iss": issuer}, oauth.InvalidRequest},
		"another audience":               {"app", map[string]any{"aud": "other"}, oauth.InvalidRequest},
		"one of its audiences":           {"app", map[string]any{"aud": []string{"other", "kmint"}}, ""},
		"another subject":                {"app", map[string]any{"sub": "svc-1"}, oauth.InvalidRequest},
		"no subject":                     {"app", map[string]any{"sub": nil}, oauth.InvalidRequest},
		"another claim":                  {"app", map[string]any{"env": "test"}, oauth.InvalidRequest},
		"no such claim":                  {"app", map[string]any{"env": nil}, oauth.InvalidRequest},
		"a claim that is a list":         {"app", map[string]any{"env": []string{"prod"}}, oauth.InvalidRequest},
		"expired":                        {"app", map[string]any{"exp": h.clock().Unix()}, oauth.InvalidRequest},
		"without an end":                 {"app", map[string]any{"exp": nil}, oauth.InvalidRequest},
		"of no time":                     {"app", map[string]any{"iat": nil}, oauth.InvalidRequest},
		"bound otherwise":                {"app", map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}, oauth.InvalidRequest},
		"bound, without a proof":         {"app", map[string]any{"cnf": map[string]any{"jkt": h.key().thumbprint(h)}}, oauth.InvalidDPoPProof},
		"act that is none":               {"app", map[string]any{"act": "x"}, oauth.InvalidRequest},
		"a client without that issuer":   {"impersonator", nil, oauth.InvalidRequest},
		"a client without a named API":   {"stranger", nil, oauth.InvalidTarget},
		"may_act of the client":          {"app", map[string]any{"may_act": map[string]any{"client_id": "app"}}, ""},
		"may_act by our name of it":      {"app", map[string]any{"may_act": map[string]any{"iss": issuer, "sub": "app"}}, ""},
		"may_act of another":             {"app", map[string]any{"may_act": map[string]any{"client_id": "gateway"}}, oauth.InvalidRequest},
		"may_act by a foreign name":      {"app", map[string]any{"may_act": map[string]any{"sub": "app"}}, oauth.InvalidRequest},
		"may_act that names nobody":      {"app", map[string]any{"may_act": map[string]any{}}, oauth.InvalidRequest},
		"may_act by what we do not know": {"app", map[string]any{"may_act": map[string]any{"client_id": "app", "group": "x"}}, oauth.InvalidRequest},
		"may_act that is no object":      {"app", map[string]any{"may_act": "app"}, oauth.InvalidRequest},
		"may_act of null":                {"app", map[string]any{"may_act": []string{}}, oauth.InvalidRequest},
	} {
		got := swap(tt.client, tt.changes)
		if got.Error != tt.refused || (got.status == 200) != (tt.refused == "") {
			t.Errorf("%s: %d %s %s", name, got.status, got.Error, got.Description)
		}
	}
	forged := h.sign(h.key().PrivateKey, (&jose.SignerOptions{}).WithHeader("kid", "f"), map[string]any{
		"iss": elsewhere, "aud": "kmint", "sub": "emp-1", "env": "prod", "iat": h.clock().Unix(), "exp": h.clock().Add(time.Minute).Unix(),
	})
	h.want(h.swap("app", forged, oauth.JWTType), 400, oauth.InvalidRequest)

	// A bound one comes out bound.
	k := h.key()
	bound := h.ok(h.swapBy(k, "app", h.foreignToken(map[string]any{"cnf": map[string]any{"jkt": k.thumbprint(h)}}), oauth.JWTType))
	if bound.TokenType != oauth.DPoP {
		t.Error(bound.TokenType)
	}
	// Actors of theirs stay, in our names; with one of ours before them.
	acted := h.ok(h.swap("gateway", h.foreignToken(map[string]any{"act": map[string]any{"sub": "boss", "act": map[string]any{"sub": "clerk", "x": 1}}}), oauth.JWTType,
		"audience", stock, "actor_token", h.machine("gateway"), "actor_token_type", oauth.AccessTokenType))
	if act := fmt.Sprint(h.claims(acted.AccessToken)["act"]); act != "map[act:map[act:map[sub:else|clerk] sub:else|boss] sub:gateway]" {
		t.Error(act)
	}
	// A foreign actor, whom may_act names.
	for name, refused := range map[string]oauth.Code{"emp-2": "", "emp-3": oauth.InvalidRequest} {
		got := h.swap("app", h.foreignToken(map[string]any{"may_act": map[string]any{"sub": name}}), oauth.JWTType,
			"actor_token", h.foreignToken(map[string]any{"sub": "emp-2"}), "actor_token_type", oauth.JWTType)
		if got.Error != refused {
			t.Errorf("may_act %s: %d %s", name, got.status, got.Error)
		}
		if refused == "" && fmt.Sprint(h.claims(got.AccessToken)["act"]) != "map[sub:else|emp-2]" {
			t.Errorf("%v", h.claims(got.AccessToken))
		}
	}
	// What came of it may go on to the API's own client, and ends no later.
	h.want(h.swap("app", h.foreignToken(nil), oauth.JWTType, "scope", "openid", "audience", stock), 400, oauth.InvalidScope)
	h.want(h.swap("app", h.foreignToken(nil), oauth.JWTType, "requested_token_type", oauth.RefreshTokenType), 400, oauth.InvalidScope)
	again := h.ok(h.swap("app", got.AccessToken, oauth.AccessTokenType))
	if h.claims(again.AccessToken)["sub"] != "else|emp-1" {
		t.Errorf("%v", h.claims(again.AccessToken))
	}
}

// A foreign person whom a user of ours stands for has an identity here, and a grant
// to end.
func TestExchangeOfAForeignTokenOfOneWeKnow(t *testing.T) {
	h := open(t)
	h.set(func(s *store.Settings) { s.TrustedIssuers[0].Subject = "" })
	token := h.foreignToken(map[string]any{"sub": "known", "auth_time": h.clock().Add(-time.Minute).Unix()})
	got := h.ok(h.swap("app", token, oauth.JWTType, "scope", "openid read"))
	claims := h.claims(got.AccessToken)
	if claims["sub"] != "else|known" || claims["grant_id"] == nil || claims["auth_time"] != float64(h.clock().Add(-time.Minute).Unix()) {
		t.Errorf("%v", claims)
	}
	id := h.ok(h.swap("app", token, oauth.JWTType, "requested_token_type", oauth.IDTokenType))
	if claims := h.claims(id.AccessToken); claims["sub"] != "else|known" || claims["aud"] != "app" || claims["email"] != nil || id.ExpiresIn > 600 {
		t.Errorf("%v in %d s", claims, id.ExpiresIn)
	}
	h.person("else|known", func(u *store.User) { u.NotBefore = h.clock() })
	h.want(h.swap("app", token, oauth.JWTType), 400, oauth.InvalidRequest)
	h.person("else|known", func(u *store.User) { u.NotBefore, u.Blocked = time.Time{}, true })
	h.want(h.swap("app", token, oauth.JWTType), 400, oauth.InvalidRequest)
}

// RFC 9068 §5: nobody but a client is called like one, in either dialect.
func TestExchangeOfAForeignTokenOfOneNamedLikeAClient(t *testing.T) {
	h := open(t)
	h.set(func(s *store.Settings) { s.TrustedIssuers[0].Subject, s.TrustedIssuers[0].SubjectPrefix = "", "" })
	for sub, refused := range map[string]oauth.Code{
		"app": oauth.InvalidRequest, "gateway": oauth.InvalidRequest, "app@clients": oauth.InvalidRequest, "application": "",
	} {
		got := h.swap("app", h.foreignToken(map[string]any{"sub": sub}), oauth.JWTType)
		if got.Error != refused || got.status >= 500 {
			t.Errorf("%s: %d %s %s", sub, got.status, got.Error, got.Description)
		}
	}
}

func TestExchangeOfAMachinesTokenAgain(t *testing.T) {
	h := open(t)
	onward := h.ok(h.swap("gateway", h.machine("app"), oauth.AccessTokenType))
	claims := h.claims(onward.AccessToken)
	if claims["sub"] != "app" || claims["client_id"] != "gateway" || claims["auth_time"] != nil {
		t.Errorf("%v", claims)
	}
	again := h.ok(h.swap("gateway", onward.AccessToken, oauth.AccessTokenType, "audience", stock))
	if claims := h.claims(again.AccessToken); claims["sub"] != "app" || again.Scope != "read" {
		t.Errorf("%v", claims)
	}
	h.wait(time.Second)
	h.change("app", func(c *store.Client) { c.NotBefore = h.clock() })
	h.want(h.swap("gateway", onward.AccessToken, oauth.AccessTokenType, "audience", stock), 400, oauth.InvalidRequest)
	h.change("app", func(c *store.Client) { c.NotBefore = time.Time{} })
	h.ok(h.swap("gateway", onward.AccessToken, oauth.AccessTokenType, "audience", stock))
	h.change("gateway", func(c *store.Client) { c.APIGrants = nil })
	h.want(h.swap("gateway", onward.AccessToken, oauth.AccessTokenType), 400, oauth.InvalidTarget)
}

// Our fault is not the client's: what was used up is given back.
func TestAnExchangeWhenSomethingFails(t *testing.T) {
	h := open(t)
	mine := h.tokens("app")
	for _, call := range []string{"Grant", "User", "TokenRevoked"} {
		h.store.failing(call)
		h.want(h.swap("app", mine.AccessToken, oauth.AccessTokenType), 503, oauth.TemporarilyUnavailable)
	}
	h.store.failing("PutGrant")
	h.want(h.swap("app", mine.IDToken, oauth.IDTokenType), 503, oauth.TemporarilyUnavailable)
	h.store.failing("Rotate")
	h.want(h.swap("app", mine.RefreshToken, oauth.RefreshTokenType), 503, oauth.TemporarilyUnavailable)
	h.store.failing("")
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	h.want(h.swap("app", mine.RefreshToken, oauth.RefreshTokenType), 503, oauth.TemporarilyUnavailable)
	h.failing(nil)
	h.ok(h.swap("app", mine.RefreshToken, oauth.RefreshTokenType))
	h.ok(h.refresh("app", mine.RefreshToken))
}

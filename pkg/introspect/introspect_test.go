package introspect_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/clientauth"
	"kmint/pkg/introspect"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

const issuer = "https://auth.example.com/"

var (
	now   = time.UnixMilli(1_700_000_000_500)
	login = now.Add(-10 * time.Minute)
)

var private = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// signer is one key, which cannot be read when told so.
type signer struct{ err error }

func (signer) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	return jwt.Key{ID: "k", Algorithm: jwt.RS256, Public: &private().PublicKey}, nil
}

func (signer) Sign(_ context.Context, _ jwt.Key, digest []byte) ([]byte, error) {
	return private().Sign(rand.Reader, digest, crypto.SHA256)
}

func (s signer) Keys(ctx context.Context) ([]jwt.Key, error) {
	key, _ := s.SigningKey(ctx, jwt.Choice{})
	return []jwt.Key{key}, s.err
}

// counted is the store, whose reads that are no configuration are counted. What
// fails is named.
type counted struct {
	*bolt.Store
	mu    sync.Mutex
	reads map[string]int
	fails string
	// together is nil, or lets reads of a grant, a user, a session and a jti go only
	// when all four have begun.
	together *sync.WaitGroup
}

func (c *counted) read(what string) error {
	if c.together != nil && what != "opaque" {
		c.together.Done()
		c.together.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads[what]++
	if c.fails == what {
		return store.ErrBusy
	}
	return nil
}

func (c *counted) Grant(ctx context.Context, id string) (store.Grant, error) {
	if err := c.read("grant"); err != nil {
		return store.Grant{}, err
	}
	return c.Store.Grant(ctx, id)
}

func (c *counted) User(ctx context.Context, sub string) (store.User, error) {
	if err := c.read("user"); err != nil {
		return store.User{}, err
	}
	return c.Store.User(ctx, sub)
}

func (c *counted) Session(ctx context.Context, d oauth.Digest, at time.Time) (store.Session, error) {
	if err := c.read("session"); err != nil {
		return store.Session{}, err
	}
	return c.Store.Session(ctx, d, at)
}

func (c *counted) TokenRevoked(ctx context.Context, jti string, at time.Time) (bool, error) {
	if err := c.read("jti"); err != nil {
		return false, err
	}
	return c.Store.TokenRevoked(ctx, jti, at)
}

func (c *counted) Token(ctx context.Context, d oauth.Digest, at time.Time) (store.OpaqueToken, error) {
	if err := c.read("opaque"); err != nil {
		return store.OpaqueToken{}, err
	}
	return c.Store.Token(ctx, d, at)
}

// A house is the endpoint over a real store: an app whose tokens are for two APIs,
// and the clients that these APIs are.
type house struct {
	t        *testing.T
	store    *counted
	endpoint introspect.Endpoint
	mint     token.Issuer
	log      bytes.Buffer
	sid      string
}

var clients = []store.Client{
	{ID: "app", GrantTypes: []string{oauth.AuthorizationCode}},
	{ID: "first", ResourceServer: "https://first/"},
	{ID: "second", ResourceServer: "https://second/"},
	{ID: "third", ResourceServer: "https://third/"},
	{ID: "plain"},
	{ID: "spa", AuthMethod: oauth.None},
}

func open(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, sid: string(oauth.DigestOf("session"))}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	h.must(err)
	t.Cleanup(func() { _ = db.Close() })
	h.store = &counted{Store: db, reads: map[string]int{}}
	h.must(db.PutIssuer(t.Context(), issuer))
	for _, c := range clients {
		if c.AuthMethod == "" {
			c.AuthMethod, c.SecretDigests = oauth.ClientSecretPost, []oauth.Digest{oauth.DigestOf("secret")}
		}
		h.must(db.PutClient(t.Context(), c))
	}
	for _, name := range []string{"first", "second", "third"} {
		h.must(db.PutAPI(t.Context(), store.API{Identifier: "https://" + name + "/", Scopes: map[string]string{"read:" + name: ""}}))
	}
	h.must(db.PutUser(t.Context(), store.User{Subject: "u", Username: "u"}))
	h.must(db.PutSession(t.Context(), store.Session{
		Digest: oauth.Digest(h.sid), ID: h.sid, Subject: "u", AuthTime: login, Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour),
	}))
	clock := func() time.Time { return now }
	h.mint = token.Issuer{Issuers: db, Signer: signer{}, Opaque: db, Now: clock}
	h.endpoint = introspect.Endpoint{
		Authenticator: clientauth.Authenticator{Clients: db}, Clients: db, APIs: db, Settings: db,
		Tokens: token.Reader{Issuers: db, Keys: signer{}, Opaque: h.store, Now: clock},
		Grants: h.store, Users: h.store, Sessions: h.store, Revoked: h.store, Uses: db, Now: clock,
	}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// refreshToken is the current one of a new grant of the app, which is changed
// first, and the one before it.
func (h *house) refreshToken(change func(*store.Grant)) (g store.Grant, current, previous string) {
	h.t.Helper()
	one := oauth.NewRefreshHandle(oauth.NewID())
	two, err := one.Successor("salt")
	h.must(err)
	g = store.Grant{
		ID: one.GrantID, ClientID: "app", Subject: "u", AuthTime: login, Created: login, Spent: login, CodeExpires: login.Add(time.Minute),
		Scope: oauth.Scope{"openid", "read:first"}, Audience: []string{"https://first/"}, SessionID: h.sid,
		End: now.Add(2 * time.Hour), Kept: now.Add(3 * time.Hour), IdleExpires: now.Add(time.Hour),
		Family: one.Family.Digest(), Previous: one.Rotating.Digest(), Current: two.Rotating.Digest(), Generation: 1, Rotated: login,
	}
	if change != nil {
		change(&g)
	}
	h.must(h.store.PutGrant(h.t.Context(), g))
	return g, two.Token().Reveal(), one.Token().Reveal()
}

// authorization is that of a person, in a session, for two APIs.
func (h *house) authorization(grantID string) token.Authorization {
	return token.Authorization{
		GrantID: grantID, ClientID: "app", GrantType: oauth.AuthorizationCode, Subject: "u",
		Scope: oauth.Scope{"openid", "read:first", "read:second"}, Audience: []string{"https://first/", "https://second/"},
		Format: token.Format{Lifetime: time.Hour},
		Person: &token.Person{AuthTime: login, SessionID: h.sid, Online: true, Facts: func(context.Context) (token.Facts, error) { return token.Facts{}, nil }},
	}
}

func (h *house) issue(a token.Authorization) oauth.TokenResponse {
	h.t.Helper()
	r, err := h.mint.Issue(h.t.Context(), a)
	h.must(err)
	return r
}

func (h *house) ask(client string, fields ...string) *httptest.ResponseRecorder {
	form := url.Values{"client_id": {client}}
	if client != "spa" {
		form.Set("client_secret", "secret")
	}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/introspect", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://app.example.com")
	w := httptest.NewRecorder()
	edge := web.Edge{Log: slog.New(slog.NewTextHandler(&h.log, nil)), Now: func() time.Time { return now }}
	edge.JSON(h.endpoint.Serve).ServeHTTP(w, r)
	return w
}

// active is the answer to a client, nil for exactly {"active":false}.
func (h *house) active(client, presented string) map[string]any {
	h.t.Helper()
	w := h.ask(client, "token", presented)
	if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
		h.t.Fatalf("answered %d %s %v", w.Code, w.Body, w.Header())
	}
	if w.Body.String() == `{"active":false}` {
		return nil
	}
	var members map[string]any
	h.must(json.Unmarshal(w.Body.Bytes(), &members))
	if members["active"] != true {
		h.t.Fatalf("answered %s", w.Body)
	}
	return members
}

func TestWhoSeesWhat(t *testing.T) {
	dialects := []string{store.RFC9068, store.Auth0Dialect, store.Opaque}
	for _, dialect := range dialects {
		h := open(t)
		g, _, _ := h.refreshToken(func(g *store.Grant) { g.Online = true })
		a := h.authorization(g.ID)
		a.Format.Dialect, a.Key, a.Actor = dialect, "thumb", map[string]any{"sub": "agent"}
		presented := h.issue(a).AccessToken
		common := `"client_id":"app","token_type":"DPoP","exp":1700003600,"iat":1700000000,"auth_time":1699999400,"sub":"u",`
		behind := `"cnf":{"jkt":"thumb"},"act":{"sub":"agent"}}`
		for client, want := range map[string]string{
			"app":    `{"active":true,"scope":"openid read:first read:second",` + common + `"aud":["https://first/","https://second/","https://auth.example.com/userinfo"],`,
			"first":  `{"active":true,"scope":"read:first",` + common + `"aud":"https://first/",`,
			"second": `{"active":true,"scope":"read:second",` + common + `"aud":"https://second/",`,
			"third":  `{"active":false}`,
			"plain":  `{"active":false}`,
		} {
			for _, hint := range []string{"", "access_token", "refresh_token", "unheard_of"} {
				clear(h.store.reads)
				got := h.ask(client, "token", presented, "token_type_hint", hint).Body.String()
				if strings.HasSuffix(want, ",") {
					start, id, found := strings.Cut(got, `"iss":"https://auth.example.com/","jti":"`)
					id, end, _ := strings.Cut(id, `",`)
					if start != want || !found || !oauth.IsID(id) || end != behind {
						t.Errorf("%s, %s: %s", dialect, client, got)
					}
				} else if got != want {
					t.Errorf("%s, %s: %s", dialect, client, got)
				}
				// Four reads side by side, behind that of an opaque one; none where there is
				// nothing to see.
				reads := map[string]int{}
				if want != `{"active":false}` {
					reads = map[string]int{"grant": 1, "user": 1, "session": 1, "jti": 1}
				}
				if dialect == store.Opaque {
					reads["opaque"] = 1
				}
				if !maps.Equal(h.store.reads, reads) {
					t.Errorf("%s, %s: read %v", dialect, client, h.store.reads)
				}
			}
		}
		if strings.Contains(h.log.String(), presented) {
			t.Error("the token is in the log")
		}
	}
}

// One after the other they would wait for ever.
func TestReadsAreMadeSideBySide(t *testing.T) {
	for _, dialect := range []string{store.RFC9068, store.Auth0Dialect, store.Opaque} {
		h := open(t)
		g, _, _ := h.refreshToken(func(g *store.Grant) { g.Online = true })
		a := h.authorization(g.ID)
		a.Format.Dialect = dialect
		access := h.issue(a).AccessToken
		h.store.together = &sync.WaitGroup{}
		h.store.together.Add(4)
		answered := make(chan map[string]any, 1)
		go func() { answered <- h.active("first", access) }()
		select {
		case got := <-answered:
			if got == nil {
				t.Errorf("%s: inactive", dialect)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: a read waits for another", dialect)
		}
	}
}

// No token of ours says so; if a grant's id were ever another's, nobody is mixed up.
func TestAnothersGrantKeepsNoTokenAlive(t *testing.T) {
	h := open(t)
	h.must(h.store.PutUser(t.Context(), store.User{Subject: "v", Username: "v"}))
	for sub, want := range map[string]bool{"u": true, "v": false} {
		g, _, _ := h.refreshToken(func(g *store.Grant) { g.Subject = sub })
		if got := h.active("first", h.issue(h.authorization(g.ID)).AccessToken); (got != nil) != want {
			t.Errorf("a grant of %s: %v", sub, got)
		}
	}
}

func TestAMachinesToken(t *testing.T) {
	for dialect, sub := range map[string]string{store.RFC9068: "app", store.Auth0Dialect: "app@clients", store.Opaque: "app"} {
		h := open(t)
		presented := h.issue(token.Authorization{
			ClientID: "app", Subject: "app", GrantType: oauth.ClientCredentials, Scope: oauth.Scope{"read:first"}, Audience: []string{"https://first/"},
			Format: token.Format{Dialect: dialect, Lifetime: time.Hour},
		}).AccessToken
		delete(h.store.reads, "opaque")
		got := h.active("first", presented)
		if got["sub"] != sub || got["token_type"] != "Bearer" || got["cnf"] != nil || got["auth_time"] != nil || got["act"] != nil {
			t.Errorf("%s: %v", dialect, got)
		}
		if h.store.reads["jti"] != 1 || h.store.reads["grant"]+h.store.reads["user"]+h.store.reads["session"] != 0 {
			t.Errorf("%s: read %v", dialect, h.store.reads)
		}
		h.must(h.store.PutClient(t.Context(), store.Client{ID: "app", NotBefore: now.Add(time.Second)}))
		if got := h.active("first", presented); got != nil {
			t.Errorf("%s, of a client whose tokens were ended: %v", dialect, got)
		}
	}
}

// The same token in the hands of another client, who got it by exchange.
func TestAMachinesTokenThatWasExchanged(t *testing.T) {
	h := open(t)
	presented := h.issue(token.Authorization{
		ClientID: "second", Subject: "app", GrantType: oauth.TokenExchange, Scope: oauth.Scope{"read:first"}, Audience: []string{"https://first/"},
		Format: token.Format{Lifetime: time.Hour},
	}).AccessToken
	for at, want := range map[time.Time]bool{now.Truncate(time.Second): true, now.Add(time.Second): false} {
		h.must(h.store.PutClient(t.Context(), store.Client{ID: "app", NotBefore: at}))
		if got := h.active("first", presented); (got != nil) != want {
			t.Errorf("not_before %s: %v", at, got)
		}
	}
}

// Each of these ends an access token, and a refresh token too unless it says so.
func TestWhatEndsATokenMakesItInactive(t *testing.T) {
	user := func(change func(*store.User)) func(*house, *store.Grant, string) {
		return func(h *house, _ *store.Grant, _ string) {
			u := store.User{Subject: "u", Username: "u"}
			change(&u)
			h.must(h.store.PutUser(h.t.Context(), u))
		}
	}
	app := func(notBefore time.Time) func(*house, *store.Grant, string) {
		return func(h *house, _ *store.Grant, _ string) {
			c, err := h.store.Client(h.t.Context(), "app")
			h.must(err)
			c.NotBefore = notBefore
			h.must(h.store.PutClient(h.t.Context(), c))
		}
	}
	tests := []struct {
		name            string
		do              func(h *house, g *store.Grant, access string)
		access, refresh bool // still active
	}{
		{"nothing", func(*house, *store.Grant, string) {}, true, true},
		{"the grant revoked", func(h *house, g *store.Grant, _ string) {
			h.must(h.store.RevokeGrant(h.t.Context(), store.Revocation{GrantID: g.ID, ClientID: "app", Family: g.Family, Now: now}))
		}, false, false},
		{"the access token revoked", func(h *house, _ *store.Grant, access string) {
			read, err := h.endpoint.Tokens.Access(h.t.Context(), oauth.Secret(access), "", false)
			h.must(err)
			h.must(h.store.RevokeToken(h.t.Context(), read.ID, time.Unix(read.Expiry, 0)))
		}, false, true},
		{"another token revoked", func(h *house, _ *store.Grant, _ string) {
			h.must(h.store.RevokeToken(h.t.Context(), oauth.NewID(), now.Add(time.Hour)))
		}, true, true},
		{"the session ended", func(h *house, _ *store.Grant, _ string) {
			h.must(h.store.DeleteSession(h.t.Context(), oauth.Digest(h.sid)))
		}, false, false},
		{"the user blocked", user(func(u *store.User) { u.Blocked = true }), false, false},
		{"the user's not_before after the login", user(func(u *store.User) { u.NotBefore = login.Add(time.Millisecond) }), false, false},
		{"the user's not_before at the login", user(func(u *store.User) { u.NotBefore = login }), true, true},
		{"the client's not_before after the login", app(login.Add(time.Millisecond)), false, false},
		{"the client's not_before at the login", app(login), true, true},
		{"the server's not_before after the login", func(h *house, _ *store.Grant, _ string) {
			h.must(h.store.PutSettings(h.t.Context(), store.Settings{NotBefore: login.Add(time.Millisecond)}))
		}, false, false},
		{"the server's not_before at the login", func(h *house, _ *store.Grant, _ string) {
			h.must(h.store.PutSettings(h.t.Context(), store.Settings{NotBefore: login}))
		}, true, true},
		{"the client gone", func(h *house, _ *store.Grant, _ string) { h.endpoint.Clients = none{} }, false, true}, // who asks has been found
		{"the user gone", func(h *house, _ *store.Grant, _ string) { h.endpoint.Users = none{} }, false, false},
		{"the grant gone", func(h *house, _ *store.Grant, _ string) { h.endpoint.Grants = none{} }, false, false},
		{"the API gone", func(h *house, _ *store.Grant, _ string) { h.endpoint.APIs = none{} }, false, true},
		{"another key", func(h *house, _ *store.Grant, _ string) { h.endpoint.Tokens.Keys = otherKey{} }, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t)
			g, refresh, _ := h.refreshToken(func(g *store.Grant) { g.Online = true })
			access := h.issue(h.authorization(g.ID)).AccessToken
			tt.do(h, &g, access)
			if got := h.active("first", access); (got != nil) != tt.access {
				t.Errorf("the access token: %v", got)
			}
			if got := h.active("app", refresh); (got != nil) != tt.refresh {
				t.Errorf("the refresh token: %v", got)
			}
		})
	}
}

// A token may hang on the grant of another client, whose token it was exchanged for,
// and a grant on the one that it was made of.
func TestWhatEndsAGrantOfAnothers(t *testing.T) {
	other := func(change func(*store.Client)) func(*house, store.Grant) {
		return func(h *house, _ store.Grant) {
			c, err := h.store.Client(h.t.Context(), "second")
			h.must(err)
			change(&c)
			h.must(h.store.PutClient(h.t.Context(), c))
		}
	}
	for name, tt := range map[string]struct {
		do     func(*house, store.Grant)
		active bool
	}{
		"nothing": {func(*house, store.Grant) {}, true},
		"revoked": {func(h *house, g store.Grant) {
			h.must(h.store.RevokeGrant(h.t.Context(), store.Revocation{GrantID: g.ID, ClientID: "second", Family: g.Family, Now: now}))
		}, false},
		"its client's not_before":              {other(func(c *store.Client) { c.NotBefore = login.Add(time.Millisecond) }), false},
		"its client's not_before at the login": {other(func(c *store.Client) { c.NotBefore = login }), true},
		"its client gone":                      {func(h *house, _ store.Grant) { h.endpoint.Clients = without{h.store, "second"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			first, _, _ := h.refreshToken(func(g *store.Grant) { g.ClientID = "second" })
			own, refresh, _ := h.refreshToken(func(g *store.Grant) { g.Parent = first.ID })
			tt.do(h, first)
			for kind, presented := range map[string]string{
				"exchanged": h.issue(h.authorization(first.ID)).AccessToken, "of a grant that was made of it": h.issue(h.authorization(own.ID)).AccessToken,
				"a refresh token": refresh,
			} {
				if got := h.active("app", presented); (got != nil) != tt.active {
					t.Errorf("%s: %v", kind, got)
				}
			}
		})
	}
	h := open(t)
	own, refresh, _ := h.refreshToken(func(g *store.Grant) { g.Parent = oauth.NewID() })
	if h.active("app", h.issue(h.authorization(own.ID)).AccessToken) != nil || h.active("app", refresh) != nil {
		t.Error("active, though the grant before is gone")
	}
}

// without finds all clients but one.
type without struct {
	store.Clients
	id string
}

func (w without) Client(ctx context.Context, id string) (store.Client, error) {
	if id == w.id {
		return store.Client{}, store.ErrNotFound
	}
	return w.Clients.Client(ctx, id)
}

// none finds nothing.
type none struct{}

func (none) Client(context.Context, string) (store.Client, error) {
	return store.Client{}, store.ErrNotFound
}
func (none) User(context.Context, string) (store.User, error) {
	return store.User{}, store.ErrNotFound
}
func (none) Grant(context.Context, string) (store.Grant, error) {
	return store.Grant{}, store.ErrNotFound
}
func (none) API(context.Context, string) (store.API, error) { return store.API{}, store.ErrNotFound }

type otherKey struct{}

func (otherKey) Keys(context.Context) ([]jwt.Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return []jwt.Key{{ID: "k", Algorithm: jwt.RS256, Public: &key.PublicKey}}, err
}

func TestAnOfflineTokenOutlivesTheSession(t *testing.T) {
	h := open(t)
	g, refresh, _ := h.refreshToken(nil)
	a := h.authorization(g.ID)
	a.Person.Online = false
	access := h.issue(a).AccessToken
	h.must(h.store.DeleteSession(t.Context(), oauth.Digest(h.sid)))
	clear(h.store.reads)
	if h.active("first", access) == nil || h.store.reads["session"] != 0 || h.active("app", refresh) == nil {
		t.Errorf("inactive, having read %v", h.store.reads)
	}
}

// A person of a foreign issuer, whose token was exchanged here, is no user of ours.
func TestAForeignPersonNeedNotBeOurs(t *testing.T) {
	h := open(t)
	for sub, want := range map[string]bool{"partner|1": true, "u": true, "blocked": false} {
		h.must(h.store.PutUser(t.Context(), store.User{Subject: "blocked", Username: "blocked", Blocked: true}))
		access := h.issue(token.Authorization{
			ClientID: "app", Subject: sub, GrantType: oauth.TokenExchange, Audience: []string{"https://first/"}, Format: token.Format{Lifetime: time.Hour},
		}).AccessToken
		if got := h.active("first", access); (got != nil) != want {
			t.Errorf("%s: %v", sub, got)
		}
	}
}

func TestRefreshTokens(t *testing.T) {
	expired := func(change func(*store.Grant)) func(*house) string {
		return func(h *house) string { _, current, _ := h.refreshToken(change); return current }
	}
	tests := []struct {
		name, client string
		presented    func(*house) string
		want         string
	}{
		{"the current one", "app", expired(nil), `{"active":true,"scope":"openid read:first","client_id":"app","exp":1700003600,"auth_time":1699999400,"sub":"u","aud":"https://first/","iss":"https://auth.example.com/"}`},
		{"of the session", "app", expired(func(g *store.Grant) { g.Online = true }), `{"active":true,"scope":"openid read:first","client_id":"app","exp":1700003600,"auth_time":1699999400,"sub":"u","aud":"https://first/","iss":"https://auth.example.com/"}`},
		{"near its end, for userinfo alone", "app", expired(func(g *store.Grant) { g.End, g.Audience = now.Add(time.Minute), nil }), `{"active":true,"scope":"openid read:first","client_id":"app","exp":1700000060,"auth_time":1699999400,"sub":"u","iss":"https://auth.example.com/"}`},
		{"bound", "app", expired(func(g *store.Grant) { g.RefreshKey = "thumb" }), `{"active":true,"scope":"openid read:first","client_id":"app","exp":1700003600,"auth_time":1699999400,"sub":"u","aud":"https://first/","iss":"https://auth.example.com/","cnf":{"jkt":"thumb"}}`},
		{"bound to whichever key", "app", expired(func(g *store.Grant) { g.RefreshKey = store.AnyKey }), `{"active":true,"scope":"openid read:first","client_id":"app","exp":1700003600,"auth_time":1699999400,"sub":"u","aud":"https://first/","iss":"https://auth.example.com/"}`},
		{"another client's", "plain", expired(nil), ""},
		{"for the API, which must not see it", "first", expired(nil), ""},
		{"the one before", "app", func(h *house) string { _, _, previous := h.refreshToken(nil); return previous }, ""},
		{"with another family", "app", func(h *house) string {
			_, current, _ := h.refreshToken(nil)
			parts := strings.Split(current, ".")
			parts[2] = oauth.NewID()
			return strings.Join(parts, ".")
		}, ""},
		{"of no grant", "app", func(*house) string { return oauth.NewRefreshHandle(oauth.NewID()).Token().Reveal() }, ""},
		{"of a grant without one", "app", expired(func(g *store.Grant) { g.Family, g.Current = "", "" }), ""},
		{"at its idle end", "app", expired(func(g *store.Grant) { g.IdleExpires = now }), ""},
		{"at its absolute end", "app", expired(func(g *store.Grant) { g.End = now }), ""},
		{"with a tail", "app", func(h *house) string { _, current, _ := h.refreshToken(nil); return current + ".x" }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t)
			want := tt.want
			if want == "" {
				want = `{"active":false}`
			}
			presented := tt.presented(h)
			if got := h.ask(tt.client, "token", presented, "token_type_hint", "access_token").Body.String(); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			if strings.Contains(h.log.String(), presented) {
				t.Error("the token is in the log")
			}
			if h.store.reads["grant"] > 1 || h.store.reads["user"] > 1 || h.store.reads["session"] > 1 || h.store.reads["jti"] > 0 {
				t.Errorf("read %v", h.store.reads)
			}
		})
	}
}

func TestWhatIsNoTokenOfOursIsInactive(t *testing.T) {
	h := open(t)
	g, _, _ := h.refreshToken(nil)
	for _, dialect := range []string{store.RFC9068, store.Auth0Dialect} {
		a := h.authorization(g.ID)
		a.Format.Dialect = dialect
		r := h.issue(a)
		if h.active("app", r.AccessToken) == nil || h.active("first", r.AccessToken) == nil {
			t.Fatal("inactive")
		}
		parts := strings.Split(r.AccessToken, ".")
		for name, change := range map[string]any{"as issued": nil, "of another issuer": "https://other.example.com/"} {
			foreign := map[string]any{"iss": issuer, "sub": "u", "aud": []string{"https://first/"}, "exp": now.Unix() + 60, "jti": "j", "client_id": "app", "grant_id": g.ID, "auth_time": login.Unix()}
			if change != nil {
				foreign["iss"] = change
			}
			signed, err := jwt.Sign(t.Context(), signer{}, jwt.Choice{}, jwt.TypAccessToken, foreign)
			h.must(err)
			if got := h.active("first", signed); (got != nil) != (change == nil) {
				t.Errorf("%s: %v", name, got)
			}
		}
		expired := a
		expired.Format.Lifetime = 0
		for name, presented := range map[string]string{
			"an ID token":      r.IDToken,
			"an unsigned one":  "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
			"a tampered one":   parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
			"another's claims": parts[0] + "." + strings.Split(r.IDToken, ".")[1] + "." + parts[2],
			"an expired one":   h.issue(expired).AccessToken,
			"a code":           oauth.NewHandle(oauth.CodePrefix).Reveal(),
			"an opaque one":    oauth.NewHandle(oauth.AccessPrefix).Reveal(),
			"nonsense":         "x",
		} {
			for _, client := range []string{"app", "first", "plain"} {
				if got := h.active(client, presented); got != nil {
					t.Errorf("%s, %s: %v", name, client, got)
				}
			}
		}
	}
}

func TestRequests(t *testing.T) {
	h := open(t)
	g, _, _ := h.refreshToken(nil)
	access := h.issue(h.authorization(g.ID)).AccessToken
	clear(h.store.reads)
	for name, tt := range map[string]struct {
		client string
		fields []string
		status int
		code   string
	}{
		"a public client":   {"spa", []string{"token", access}, 400, "unauthorized_client"},
		"an unknown client": {"who", []string{"token", access}, 401, "invalid_client"},
		"a wrong secret":    {"first", []string{"token", access, "client_secret", "wrong"}, 401, "invalid_client"},
		"no secret":         {"first", []string{"token", access, "client_secret", ""}, 401, "invalid_client"},
		"no token":          {"first", nil, 400, "invalid_request"},
		"an empty token":    {"first", []string{"token", ""}, 400, "invalid_request"},
	} {
		w := h.ask(tt.client, tt.fields...)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), `"`+tt.code+`"`) || strings.Contains(w.Body.String(), "active") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(h.store.reads) != 0 {
		t.Errorf("read %v", h.store.reads)
	}
	if w := h.ask("first", "token", access); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// What could not be looked at is neither active nor inactive.
func TestWhatFailsOnOurSideIsNoAnswer(t *testing.T) {
	h := open(t)
	g, refresh, _ := h.refreshToken(func(g *store.Grant) { g.Online = true })
	a := h.authorization(g.ID)
	access := h.issue(a).AccessToken
	a.Format.Dialect = store.Opaque
	opaque := h.issue(a).AccessToken
	for presented, reads := range map[string][]string{
		access:  {"grant", "user", "session", "jti"},
		opaque:  {"opaque", "grant", "user", "session", "jti"},
		refresh: {"grant", "user", "session"},
	} {
		for _, read := range reads {
			h.store.fails = read
			w := h.ask("app", "token", presented)
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "active") {
				t.Errorf("without the %s: %d %s", read, w.Code, w.Body)
			}
		}
		if !slices.Contains(reads, "jti") {
			h.store.fails = "jti"
			if h.active("app", presented) == nil {
				t.Error("a read that is not needed was made")
			}
		}
	}
	h.store.fails = ""
	h.endpoint.Tokens.Keys = signer{errors.New("down")}
	if w := h.ask("app", "token", access); w.Code != 500 || strings.Contains(w.Body.String(), "active") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

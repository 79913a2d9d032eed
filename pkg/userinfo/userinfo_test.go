package userinfo_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/userinfo"
	"kmint/pkg/web"
)

const (
	issuer = "https://auth.example.com/"
	origin = "https://app.example.com"
)

var now = time.Unix(1_700_000_000, 0)

// parts are all that the endpoint asks, with an answer for each.
type parts struct {
	private *rsa.PrivateKey
	keysErr error
	grant   store.Grant
	noUser  bool
	busy    bool
}

func (p parts) Issuer(context.Context) (string, error) { return issuer, nil }
func (p parts) Client(_ context.Context, id string) (store.Client, error) {
	if id != "c" {
		return store.Client{}, store.ErrNotFound
	}
	return store.Client{ID: "c", WebOrigins: []string{origin}}, nil
}
func (p parts) Grant(context.Context, string) (store.Grant, error) {
	if p.busy {
		return store.Grant{}, store.ErrBusy
	}
	return p.grant, nil
}
func (p parts) User(context.Context, string) (store.User, error) {
	if p.noUser {
		return store.User{}, store.ErrNotFound
	}
	return store.User{Subject: "u", Profile: map[string]any{"email": "u@example.com"}}, nil
}
func (p parts) Keys(context.Context) ([]jwt.Key, error) {
	key, err := p.SigningKey(context.Background())
	return []jwt.Key{key}, errors.Join(err, p.keysErr)
}
func (p parts) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	id, err := jwt.Thumbprint(&p.private.PublicKey)
	return jwt.Key{ID: id, Algorithm: jwt.RS256, Public: &p.private.PublicKey}, err
}
func (p parts) Sign(_ context.Context, _ jwt.Key, digest []byte) ([]byte, error) {
	return p.private.Sign(rand.Reader, digest, crypto.SHA256)
}

func TestUserinfo(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := parts{private: private, grant: store.Grant{ID: "g", ClientID: "c", Subject: "u"}}
	claims := func(change func(*token.AccessToken)) token.AccessToken {
		a := token.AccessToken{
			Issuer: issuer, Subject: "u", Audience: jwt.Audience{"https://api/", issuer + "userinfo"},
			Expiry: now.Unix() + 1, ClientID: "c", Scope: "openid email", GrantID: "g",
		}
		change(&a)
		return a
	}
	same := func(*token.AccessToken) {}
	with := func(change func(*parts)) parts { p := good; change(&p); return p }
	for name, tt := range map[string]struct {
		parts  parts
		claims token.AccessToken
		status int
		error  string
		// read says that the client's scripts may read the answer.
		read bool
	}{
		"a good token":             {good, claims(same), 200, "", true},
		"expired":                  {good, claims(func(a *token.AccessToken) { a.Expiry = now.Unix() }), 401, "invalid_token", true},
		"without openid":           {good, claims(func(a *token.AccessToken) { a.Scope = "email" }), 403, "insufficient_scope", true},
		"for an API alone":         {good, claims(func(a *token.AccessToken) { a.Audience = jwt.Audience{"https://api/"} }), 401, "invalid_token", false},
		"of another issuer":        {good, claims(func(a *token.AccessToken) { a.Issuer = "https://other/" }), 401, "invalid_token", false},
		"of a client that is gone": {good, claims(func(a *token.AccessToken) { a.ClientID = "gone" }), 401, "invalid_token", false},
		"of a revoked grant":       {with(func(p *parts) { p.grant.Revoked = now }), claims(same), 401, "invalid_token", true},
		"of another's grant":       {with(func(p *parts) { p.grant.Subject = "v" }), claims(same), 401, "invalid_token", true},
		"of a user who is gone":    {with(func(p *parts) { p.noUser = true }), claims(same), 401, "invalid_token", true},
		"while the store is busy":  {with(func(p *parts) { p.busy = true }), claims(same), 503, "temporarily_unavailable", true},
		"while the keys are busy":  {with(func(p *parts) { p.keysErr = store.ErrBusy }), claims(same), 503, "temporarily_unavailable", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := tt.parts
			bearer, err := jwt.Sign(t.Context(), p, jwt.Choice{}, jwt.TypAccessToken, tt.claims)
			if err != nil {
				t.Fatal(err)
			}
			clock := func() time.Time { return now }
			e := userinfo.Endpoint{Issuers: p, Keys: p, Clients: p, Grants: p, Users: p, Now: clock}
			r := httptest.NewRequest(http.MethodGet, "/userinfo", nil)
			r.Header.Set("Authorization", "Bearer "+bearer)
			r.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			web.Edge{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: clock}.JSON(e.Serve).ServeHTTP(w, r)
			if w.Code != tt.status || tt.error != "" && !strings.Contains(w.Body.String(), `"error":"`+tt.error+`"`) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if tt.status == 200 && !strings.Contains(w.Body.String(), `"email":"u@example.com"`) {
				t.Errorf("%s", w.Body)
			}
			if tt.status == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer realm="kmint", error="invalid_token"`) {
				t.Errorf("challenge %s", w.Header().Get("WWW-Authenticate"))
			}
			if got := w.Header().Get("Access-Control-Allow-Origin") == origin; got != tt.read {
				t.Errorf("readable: %v", got)
			}
		})
	}
}

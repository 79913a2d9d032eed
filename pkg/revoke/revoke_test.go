package revoke_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/clientauth"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/revoke"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

const issuer = "https://auth.example.com/"

var now = time.UnixMilli(1_700_000_000_000)

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

// counted is the store, each of whose calls that the endpoint makes is counted.
type counted struct {
	*bolt.Store
	writes, reads int
	err           error
}

func (c *counted) RevokeGrant(ctx context.Context, r store.Revocation) error {
	c.writes++
	if c.err != nil {
		return c.err
	}
	return c.Store.RevokeGrant(ctx, r)
}

func (c *counted) RevokeToken(ctx context.Context, jti string, expires time.Time) error {
	c.writes++
	if c.err != nil {
		return c.err
	}
	return c.Store.RevokeToken(ctx, jti, expires)
}

func (c *counted) Token(ctx context.Context, digest oauth.Digest, at time.Time) (store.OpaqueToken, error) {
	c.reads++
	return c.Store.Token(ctx, digest, at)
}

// A house is the endpoint over a real store.
type house struct {
	t        *testing.T
	store    *counted
	endpoint revoke.Endpoint
	mint     token.Issuer
	log      bytes.Buffer
}

func open(t *testing.T) *house {
	t.Helper()
	h := &house{t: t}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	h.must(err)
	t.Cleanup(func() { _ = db.Close() })
	h.store = &counted{Store: db}
	h.must(db.PutIssuer(t.Context(), issuer))
	for _, c := range []store.Client{
		{ID: "spa", AuthMethod: oauth.None, WebOrigins: []string{"https://app.example.com"}},
		{ID: "web", AuthMethod: oauth.ClientSecretBasic, SecretDigests: []oauth.Digest{oauth.DigestOf("secret")}},
		{ID: "moved", AuthMethod: oauth.ClientSecretPost, SecretDigests: []oauth.Digest{oauth.DigestOf("secret")}, ErrorProfile: store.Auth0},
	} {
		h.must(db.PutClient(t.Context(), c))
	}
	clock := func() time.Time { return now }
	h.mint = token.Issuer{Issuers: db, Signer: signer{}, Opaque: db, Now: clock}
	h.endpoint = revoke.Endpoint{
		Clients: clientauth.Authenticator{Clients: db}, Settings: db, Revocations: h.store, Uses: db, Now: clock,
		Tokens: token.Reader{Issuers: db, Keys: signer{}, Opaque: h.store, Now: clock},
	}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// refreshToken is the current one of a new grant, in its second generation, and the
// one before it.
func (h *house) refreshToken(client string) (grantID, first, second string) {
	h.t.Helper()
	grantID = oauth.NewID()
	one := oauth.NewRefreshHandle(grantID)
	two, err := one.Successor("salt")
	h.must(err)
	h.must(h.store.PutGrant(h.t.Context(), store.Grant{
		ID: grantID, ClientID: client, Subject: "u", AuthTime: now, Created: now, Spent: now, CodeExpires: now.Add(time.Minute),
		End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour), IdleExpires: now.Add(time.Hour),
		Family: one.Family.Digest(), Previous: one.Rotating.Digest(), Current: two.Rotating.Digest(), Generation: 1, Rotated: now,
	}))
	return grantID, one.Token().Reveal(), two.Token().Reveal()
}

// accessToken is minted for a client in a dialect.
func (h *house) accessToken(client, dialect string, lifetime time.Duration) string {
	h.t.Helper()
	r, err := h.mint.Issue(h.t.Context(), token.Authorization{
		ClientID: client, Subject: client, GrantType: oauth.ClientCredentials, Audience: []string{"https://api/"},
		Format: token.Format{Dialect: dialect, Lifetime: lifetime}, Key: "a key that no proof shows here",
	})
	h.must(err)
	return r.AccessToken
}

func (h *house) jti(presented string) string {
	h.t.Helper()
	reader := h.endpoint.Tokens
	reader.Keys, reader.Opaque = signer{}, h.store.Store
	t, err := reader.Access(h.t.Context(), oauth.Secret(presented), "", true)
	h.must(err)
	return t.ID
}

func (h *house) revoked(jti string) bool {
	h.t.Helper()
	revoked, err := h.store.TokenRevoked(h.t.Context(), jti, now)
	h.must(err)
	return revoked
}

func (h *house) grantRevoked(id string) bool {
	h.t.Helper()
	g, err := h.store.Grant(h.t.Context(), id)
	h.must(err)
	return !g.Revoked.IsZero()
}

// post sends a form as a client would: web by the header, others in the body.
func (h *house) post(client string, fields ...string) *httptest.ResponseRecorder {
	form := url.Values{}
	if client == "moved" {
		form.Set("client_secret", "secret")
	}
	if client != "web" {
		form.Set("client_id", client)
	}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/revoke", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://app.example.com")
	if client == "web" {
		r.SetBasicAuth("web", "secret")
	}
	return h.send(r)
}

func (h *house) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	edge := web.Edge{Log: slog.New(slog.NewTextHandler(&h.log, nil)), Now: func() time.Time { return now }}
	edge.JSON(h.endpoint.Serve).ServeHTTP(w, r)
	return w
}

func (h *house) want(w *httptest.ResponseRecorder, status int, part string) {
	h.t.Helper()
	if w.Code != status || part == "" && w.Body.Len() > 0 || !strings.Contains(w.Body.String(), part) {
		h.t.Fatalf("answered %d %s, want %d %s", w.Code, w.Body, status, part)
	}
}

func TestARefreshTokenOfAnyGenerationEndsItsGrant(t *testing.T) {
	for _, client := range []string{"spa", "web", "moved"} {
		for _, generation := range []string{"first", "second"} {
			for _, hint := range []string{"", "refresh_token", "access_token", "unheard_of"} {
				h := open(t)
				id, first, second := h.refreshToken(client)
				presented := map[string]string{"first": first, "second": second}[generation]
				h.want(h.post(client, "token", presented, "token_type_hint", hint), 200, "")
				if !h.grantRevoked(id) || h.store.writes != 1 || h.store.reads != 0 {
					t.Errorf("%s, %s, hint %q: %d writes, %d reads, revoked %v", client, generation, hint, h.store.writes, h.store.reads, h.grantRevoked(id))
				}
				h.want(h.post(client, "token", presented), 200, "") // once more is no error
			}
		}
	}
}

func TestAnAccessTokenEndsAlone(t *testing.T) {
	for _, dialect := range []string{store.RFC9068, store.Auth0Dialect, store.Opaque} {
		for _, hint := range []string{"", "access_token", "refresh_token", "unheard_of"} {
			h := open(t)
			presented, other := h.accessToken("web", dialect, time.Minute), h.accessToken("web", dialect, time.Minute)
			h.want(h.post("web", "token", presented, "token_type_hint", hint), 200, "")
			// An opaque one has to be read first.
			reads := 0
			if dialect == store.Opaque {
				reads = 1
			}
			if h.store.writes != 1 || h.store.reads != reads {
				t.Errorf("%s: %d writes, %d reads", dialect, h.store.writes, h.store.reads)
			}
			jti := h.jti(presented)
			if !h.revoked(jti) || h.revoked(h.jti(other)) {
				t.Errorf("%s, hint %q: revoked %v, the other %v", dialect, hint, h.revoked(jti), h.revoked(h.jti(other)))
			}
			// Until it expires, and no longer.
			for at, want := range map[time.Time]bool{now.Add(time.Minute - 1): true, now.Add(time.Minute): false} {
				if revoked, err := h.store.TokenRevoked(t.Context(), jti, at); err != nil || revoked != want {
					t.Errorf("%s at %v: %v, %v", dialect, at.Sub(now), revoked, err)
				}
			}
		}
	}
}

func TestWhatIsNotTheClientsChangesNothing(t *testing.T) {
	h := open(t)
	id, first, second := h.refreshToken("web")
	parts := strings.Split(second, ".")
	guessed := parts[0] + "." + parts[1] + "." + oauth.NewID() + "." + parts[3]
	access := h.accessToken("web", store.RFC9068, time.Minute)
	auth0 := h.accessToken("web", store.Auth0Dialect, time.Minute)
	opaque := h.accessToken("web", store.Opaque, time.Minute)
	expired := h.accessToken("spa", store.RFC9068, 0)
	foreign, err := jwt.Sign(t.Context(), signer{}, jwt.Choice{}, jwt.TypAccessToken, token.AccessToken{
		Issuer: "https://other.example.com/", Subject: "spa", Audience: jwt.Audience{"https://api/"}, Expiry: now.Unix() + 60, ID: "foreign", ClientID: "spa",
	})
	h.must(err)
	idToken, err := jwt.Sign(t.Context(), signer{}, jwt.Choice{}, jwt.TypIDToken, map[string]any{
		"iss": issuer, "sub": "u", "aud": "spa", "exp": now.Unix() + 60, "sid": "s",
	})
	h.must(err)
	for name, presented := range map[string]string{
		"another client's refresh token":         second,
		"another client's old refresh token":     first,
		"a guessed family secret":                guessed,
		"a refresh token of no grant":            oauth.NewRefreshHandle(oauth.NewID()).Token().Reveal(),
		"a refresh token cut short":              second[:len(second)-1],
		"another client's access token":          access,
		"another client's access token, Auth0's": auth0,
		"another client's access token, opaque":  opaque,
		"an opaque token that nobody has":        oauth.NewHandle(oauth.AccessPrefix).Reveal(),
		"an expired access token":                expired,
		"another issuer's access token":          foreign,
		"an ID token":                            idToken,
		"an unsigned token":                      "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(access, ".")[1] + ".",
		"a tampered token":                       access[:len(access)-4] + "AAAA",
		"a code":                                 oauth.NewHandle(oauth.CodePrefix).Reveal(),
		"nonsense":                               "x",
		"a very long one":                        strings.Repeat("x.", 20000),
		"another client's, and a space":          access + " ",
	} {
		// A refresh token is judged by the one write; nothing else is written at all.
		before, writes := h.store.writes, 0
		if _, ok := oauth.ParseRefreshHandle(presented); ok {
			writes = 1
		}
		h.want(h.post("spa", "token", presented), 200, "")
		if h.store.writes-before != writes {
			t.Errorf("%s: %d writes", name, h.store.writes-before)
		}
		if h.grantRevoked(id) || h.revoked(h.jti(access)) || h.revoked(h.jti(auth0)) || h.revoked(h.jti(opaque)) || h.revoked("foreign") || h.revoked(h.jti(expired)) {
			t.Fatalf("%s was revoked", name)
		}
	}
	for _, secret := range []string{second, access, opaque, guessed} {
		if strings.Contains(h.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
	// The twin: their owner ends them.
	for _, presented := range []string{second, access, auth0, opaque} {
		h.want(h.post("web", "token", presented), 200, "")
	}
	if !h.grantRevoked(id) || !h.revoked(h.jti(access)) || !h.revoked(h.jti(auth0)) || !h.revoked(h.jti(opaque)) {
		t.Error("their owner could not end them")
	}
}

func TestRequests(t *testing.T) {
	h := open(t)
	_, _, second := h.refreshToken("web")
	body := func(contentType, body string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/oauth/revoke", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return r
	}
	basic := func(r *http.Request, secret string) *http.Request { r.SetBasicAuth("web", secret); return r }
	const form = "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		request *http.Request
		status  int
		part    string
	}{
		"without token":        {basic(body(form, ""), "secret"), 400, `"invalid_request"`},
		"with an empty token":  {basic(body(form, "token="), "secret"), 400, `"invalid_request"`},
		"with two tokens":      {basic(body(form, "token=a&token=b"), "secret"), 400, `"invalid_request"`},
		"without client":       {body(form, "token=a"), 401, `"invalid_client"`},
		"with a wrong secret":  {basic(body(form, "token="+second), "wrong"), 401, `"invalid_client"`},
		"with no secret":       {body(form, "client_id=web&token="+second), 401, `"invalid_client"`},
		"of an unknown client": {body(form, "client_id=who&token="+second), 401, `"invalid_client"`},
		"as XML":               {basic(body("text/xml", "<token/>"), "secret"), 415, `"invalid_request"`},
		"too large":            {basic(body(form, "token="+strings.Repeat("x", oauth.MaxBody)), "secret"), 413, `"invalid_request"`},
		"in the profile of Auth0": {body("application/json", `{"client_id":"moved","client_secret":"wrong","token":"x"}`), func() int {
			var e *oauth.Error
			errors.As(oauth.InProfile(oauth.InvalidClient.Errorf("x").Named(oauth.CaseClient), oauth.Auth0), &e)
			return e.Status()
		}(), `"error"`},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			h.want(h.send(tt.request), tt.status, tt.part)
		})
	}
	h.t = t
	if h.store.writes != 0 {
		t.Fatalf("%d writes", h.store.writes)
	}
	// Auth0's JSON form.
	id, _, current := h.refreshToken("moved")
	h.want(h.send(body("application/json", `{"client_id":"moved","client_secret":"secret","token":"`+current+`"}`)), 200, "")
	if !h.grantRevoked(id) {
		t.Error("the JSON form revoked nothing")
	}
}

func TestScriptsOfTheClientMayReadTheAnswer(t *testing.T) {
	h := open(t)
	for client, want := range map[string]string{"spa": "https://app.example.com", "web": ""} {
		if got := h.post(client, "token", "x").Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: %q", client, got)
		}
	}
	refused := h.post("spa")
	h.want(refused, 400, "invalid_request")
	if refused.Header().Get("Access-Control-Allow-Origin") == "" || refused.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%v", refused.Header())
	}
}

func TestWhatFailsOnOurSideIsNoSuccess(t *testing.T) {
	h := open(t)
	_, _, second := h.refreshToken("spa")
	access := h.accessToken("spa", store.RFC9068, time.Minute)
	h.store.err = store.ErrBusy
	for _, presented := range []string{second, access} {
		w := h.post("spa", "token", presented)
		h.want(w, 503, "temporarily_unavailable")
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	h.store.err = nil
	h.endpoint.Tokens.Keys = signer{errors.New("down")}
	h.want(h.post("spa", "token", access), 500, "server_error")
	if h.revoked(h.jti(access)) {
		t.Error("revoked all the same")
	}
}

// Whatever a token says of itself, little of it is logged.
func TestALongHeaderMakesNoLongLine(t *testing.T) {
	long := strings.Repeat("\x7f", 40000)
	for name, header := range map[string]string{
		"typ": `{"alg":"RS256","kid":"k","typ":"` + long + `"}`,
		"alg": `{"alg":"` + long + `","kid":"k","typ":"at+jwt"}`,
		"kid": `{"alg":"RS256","kid":"` + long + `","typ":"at+jwt"}`,
	} {
		h := open(t)
		h.want(h.post("spa", "token", base64.RawURLEncoding.EncodeToString([]byte(header))+".e30.AAAA"), 200, "")
		if line := h.log.String(); len(line) > 5000 || !strings.Contains(line, "revoked=nothing") || !strings.Contains(line, "x7f") {
			t.Errorf("%s: %d bytes: %.500s", name, len(line), line)
		}
	}
}

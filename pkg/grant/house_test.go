package grant_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/bolt"
	"kmint/pkg/clientauth"
	"kmint/pkg/dpop"
	"kmint/pkg/grant"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/trust"
	"kmint/pkg/web"
)

const (
	issuer    = "https://auth.example.com/"
	elsewhere = "https://elsewhere.example.com"
	password  = "correct horse battery staple"
	orders    = "https://api/"
	stock     = "https://stock/"
)

// A house is the token endpoint over a real store, with a key that fails and a
// clock that moves when the test says so.
type house struct {
	t     *testing.T
	store *watched
	http  http.Handler

	mu      sync.Mutex
	now     time.Time
	fail    error
	keys    *localkey.Keys
	foreign *ecdsa.PrivateKey
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) failing(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

// Sign is the private key's.
func (h *house) Sign(ctx context.Context, key jwt.Key, digest []byte) ([]byte, error) {
	h.store.note("Sign")
	h.mu.Lock()
	err := h.fail
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.keys.Sign(ctx, key, digest)
}

// watched counts the calls that reach a table.
type watched struct {
	*bolt.Store
	mu    sync.Mutex
	calls []string
	// busy is the call that fails, "" for none.
	busy string
	// gone says that nobody is known any more.
	gone bool
}

func (w *watched) note(call string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call)
	if w.busy == call {
		return store.ErrBusy
	}
	return nil
}

// took returns what was called since the last time, sorted.
func (w *watched) took() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	slices.Sort(calls)
	return strings.Join(calls, " ")
}

func (w *watched) failing(call string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = call
}

func (w *watched) SpendCode(ctx context.Context, s store.Spend) (store.Grant, error) {
	if err := w.note("SpendCode"); err != nil {
		return store.Grant{}, err
	}
	return w.Store.SpendCode(ctx, s)
}

func (w *watched) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	if err := w.note("Rotate"); err != nil {
		return store.Grant{}, err
	}
	return w.Store.RotateRefreshToken(ctx, r)
}

func (w *watched) PutGrant(ctx context.Context, g store.Grant) error {
	if err := w.note("PutGrant"); err != nil {
		return err
	}
	return w.Store.PutGrant(ctx, g)
}

func (w *watched) Grant(ctx context.Context, id string) (store.Grant, error) {
	if err := w.note("Grant"); err != nil {
		return store.Grant{}, err
	}
	return w.Store.Grant(ctx, id)
}

func (w *watched) User(ctx context.Context, subject string) (store.User, error) {
	if err := w.note("User"); err != nil {
		return store.User{}, err
	}
	if w.gone {
		return store.User{}, store.ErrNotFound
	}
	return w.Store.User(ctx, subject)
}

func (w *watched) Session(ctx context.Context, d oauth.Digest, now time.Time) (store.Session, error) {
	if err := w.note("Session"); err != nil {
		return store.Session{}, err
	}
	return w.Store.Session(ctx, d, now)
}

func (w *watched) TokenRevoked(ctx context.Context, jti string, now time.Time) (bool, error) {
	if err := w.note("TokenRevoked"); err != nil {
		return false, err
	}
	return w.Store.TokenRevoked(ctx, jti, now)
}

func (w *watched) UseOnce(ctx context.Context, u store.Use, now time.Time) error {
	if err := w.note("UseOnce"); err != nil {
		return err
	}
	return w.Store.UseOnce(ctx, u, now)
}

// keyDir holds one key for all tests: an RSA key takes its time.
var keyDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kmint")
	if err != nil {
		panic(err)
	}
	keyDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// passwordHash is made once: it is slow on purpose.
var passwordHash = sync.OnceValue(func() string {
	hash, err := store.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return hash
})

// clients of the house. Those with a secret have their own id for it.
func clients() []store.Client {
	all := []string{oauth.AuthorizationCode, oauth.RefreshToken, oauth.Password, oauth.PasswordRealm, oauth.TokenExchange, oauth.ClientCredentials}
	both := store.ExchangePolicy{Impersonation: true, Delegation: true, SubjectIssuers: []string{elsewhere}}
	clients := []store.Client{
		{ID: "spa", AuthMethod: oauth.None, GrantTypes: all, Exchange: both},
		{ID: "patient", AuthMethod: oauth.None, GrantTypes: all, Refresh: store.RefreshPolicy{Leeway: 10}},
		{ID: "still", GrantTypes: all, Refresh: store.RefreshPolicy{NonRotating: true}},
		{ID: "app", GrantTypes: all, Exchange: both, UserAPIGrants: map[string][]string{stock: {"read"}}, APIGrants: map[string][]string{orders: {"read"}}},
		// gateway is the API itself, and calls onward to the stock.
		{ID: "gateway", GrantTypes: all, Exchange: both, ResourceServer: orders, UserAPIGrants: map[string][]string{stock: {"read", "count"}}, APIGrants: map[string][]string{orders: {"read"}, stock: {"read"}}},
		{ID: "stranger", GrantTypes: all, Exchange: both},
		{ID: "impersonator", GrantTypes: all, Exchange: store.ExchangePolicy{Impersonation: true}},
		{ID: "delegate", GrantTypes: all, Exchange: store.ExchangePolicy{Delegation: true}},
		{ID: "few", GrantTypes: all[:1]},
	}
	for i := range clients {
		c := &clients[i]
		c.Refresh.Lifetime, c.Refresh.IdleLifetime = 3600, 1800
		if c.AuthMethod == "" {
			c.AuthMethod, c.SecretDigests = oauth.ClientSecretPost, []oauth.Digest{oauth.DigestOf(c.ID)}
		}
	}
	return clients
}

func open(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, now: time.UnixMilli(1_700_000_000_000)}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	h.must(err)
	db.Now = h.clock
	h.store = &watched{Store: db}
	t.Cleanup(func() { _ = h.store.Close() })
	h.keys, err = localkey.Open(keyDir)
	h.must(err)
	h.foreign, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	h.must(h.store.PutIssuer(t.Context(), issuer))
	h.must(h.store.PutAPI(t.Context(), store.API{Identifier: orders, Scopes: map[string]string{"read": "", "list": ""}, AllowOfflineAccess: true, TokenLifetime: 600}))
	h.must(h.store.PutAPI(t.Context(), store.API{Identifier: stock, Scopes: map[string]string{"read": "", "count": ""}, AllowOfflineAccess: true, TokenLifetime: 300}))
	h.must(h.store.PutAPI(t.Context(), store.API{Identifier: "https://opaque/", Scopes: map[string]string{"read": ""}, Dialect: store.Opaque}))
	for _, c := range clients() {
		h.must(h.store.PutClient(t.Context(), c))
	}
	for _, u := range []store.User{
		{Subject: "u", Username: "u"}, {Subject: "blocked", Username: "blocked", Blocked: true}, {Subject: "else|known", Username: "known"},
	} {
		u.PasswordHash, u.Profile = passwordHash(), map[string]any{"email": u.Username + "@example.com"}
		h.must(h.store.PutUser(t.Context(), u))
	}
	h.must(h.store.PutSettings(t.Context(), store.Settings{LegacyPassword: true, TrustedIssuers: []store.TrustedIssuer{{
		Issuer: elsewhere, JWKS: h.foreignKeys(), Algorithms: []string{"ES256"},
		Audience: "kmint", Subject: "emp-*", Claims: map[string]string{"env": "prod"}, SubjectPrefix: "else|",
	}}}))
	public, err := h.keys.PublicKey(t.Context(), localkey.Reference)
	h.must(err)
	key, err := keys.New(jwt.RS256, public, localkey.Reference)
	h.must(err)
	_, err = keys.First(t.Context(), h.store, key, h.now)
	h.must(err)

	cache := store.NewCache(h.store, h.store, h.store, h.store, h.store, h.clock)
	ring := &keys.Ring{Registry: cache, Private: h}
	form := grant.Password{Login: login.Authenticator{Logins: h.store, Users: h.store, Attempts: h.store, Now: h.clock}, APIs: cache, Codes: h.store, Now: h.clock}
	realm := form
	realm.NeedsRealm = true
	endpoint := grant.Endpoint{
		Clients:  clientauth.Authenticator{Clients: cache},
		APIs:     cache,
		Settings: cache,
		Issuers:  cache,
		DPoP:     dpop.Verifier{MAC: mac{}, Now: h.clock},
		Uses:     h.store,
		Issuer:   token.Issuer{Issuers: cache, Signer: ring, Opaque: h.store, Now: h.clock},
		Now:      h.clock,
		Grants: map[string]grant.Grant{
			oauth.AuthorizationCode: grant.AuthorizationCode{Grants: h.store, Now: h.clock},
			oauth.ClientCredentials: grant.ClientCredentials{APIs: cache},
			oauth.RefreshToken:      grant.RefreshToken{Grants: h.store, Reads: h.store, Clients: cache, Users: h.store, Sessions: h.store, Now: h.clock},
			oauth.Password:          form,
			oauth.PasswordRealm:     realm,
			oauth.TokenExchange: grant.TokenExchange{
				Parties: grant.Parties{
					Tokens:  token.Reader{Issuers: cache, Keys: ring, Opaque: h.store, Now: h.clock},
					Foreign: &trust.Verifier{Issuers: named{cache}}, Clients: cache, Grants: h.store, Reads: h.store, Revoked: h.store,
					Users: h.store, Sessions: h.store, Now: h.clock,
				},
				APIs: cache, Codes: h.store, Now: h.clock,
			},
		},
	}
	h.http = web.Edge{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: h.clock}.JSON(endpoint.Serve)
	return h
}

// named are the issuers of the settings.
type named struct{ settings store.ServerSettings }

func (n named) TrustedIssuer(ctx context.Context, name string) (trust.Issuer, error) {
	settings, err := n.settings.Settings(ctx)
	for _, one := range settings.TrustedIssuers {
		if one.Issuer == name {
			return trust.Issuer{Issuer: name, JWKS: one.JWKS, Algorithms: one.Algorithms}, err
		}
	}
	return trust.Issuer{}, trust.ErrUntrusted
}

// mac makes hourly keys in memory.
type mac struct{}

func (mac) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	return []byte(oauth.DigestOf(purpose + time.Unix(hour*3600, 0).String()))[:32], nil
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// change rewrites a client, and waits until that is known.
func (h *house) change(id string, how func(*store.Client)) {
	h.t.Helper()
	c, err := h.store.Client(h.t.Context(), id)
	h.must(err)
	how(&c)
	h.must(h.store.PutClient(h.t.Context(), c))
	h.wait(61 * time.Second)
}

// changeAPI likewise.
func (h *house) changeAPI(identifier string, how func(*store.API)) {
	h.t.Helper()
	a, err := h.store.API(h.t.Context(), identifier)
	h.must(err)
	how(&a)
	h.must(h.store.PutAPI(h.t.Context(), a))
	h.wait(61 * time.Second)
}

// set likewise.
func (h *house) set(how func(*store.Settings)) {
	h.t.Helper()
	s, err := h.store.Settings(h.t.Context())
	h.must(err)
	how(&s)
	h.must(h.store.PutSettings(h.t.Context(), s))
	h.wait(61 * time.Second)
}

// person rewrites a user.
func (h *house) person(subject string, how func(*store.User)) {
	h.t.Helper()
	u, err := h.store.Store.User(h.t.Context(), subject)
	h.must(err)
	how(&u)
	h.must(h.store.PutUser(h.t.Context(), u))
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// code authorizes a client as /authorize would.
func (h *house) code(client string, changes ...func(*store.Grant)) string {
	h.t.Helper()
	challenge, err := oauth.ChallengeOf(verifier)
	h.must(err)
	code := oauth.NewHandle(oauth.CodePrefix)
	now := h.clock()
	scope := oauth.Scope{"openid", "email", "offline_access", "read"}
	g := store.Grant{
		ID: string(code.Digest()), ClientID: client, Subject: "u", RedirectURI: "https://app/cb", Challenge: challenge,
		Scope: scope, Requested: append(scope, "write"), Audience: []string{orders}, AuthTime: now, Nonce: "n",
		Claims:  map[string]any{"email": "u@example.com"},
		Created: now, CodeExpires: now.Add(time.Minute), End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour),
	}
	for _, change := range changes {
		change(&g)
	}
	h.must(h.store.Store.PutGrant(h.t.Context(), g))
	return code.Reveal()
}

// session is a living one of u, and its sid.
func (h *house) session() string {
	h.t.Helper()
	s := store.Session{
		Digest: oauth.DigestOf(oauth.NewID()), Subject: "u", AuthTime: h.clock(),
		Expires: h.clock().Add(time.Hour), IdleExpires: h.clock().Add(time.Hour),
	}
	s.ID = string(s.Digest)
	h.must(h.store.PutSession(h.t.Context(), s))
	return s.ID
}

func online(sid string) func(*store.Grant) {
	return func(g *store.Grant) {
		g.SessionID, g.Online = sid, true
		g.Scope = oauth.Scope{"openid", "read", "online_access"}
		g.Requested = g.Scope
	}
}

type answer struct {
	status int
	header http.Header
	oauth.TokenResponse
	Error       oauth.Code `json:"error"`
	Description string     `json:"error_description"`
}

// A key signs proofs, if there is one.
type key struct{ *ecdsa.PrivateKey }

func (h *house) key() key {
	h.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	return key{private}
}

func (k key) thumbprint(h *house) string {
	h.t.Helper()
	thumbprint, err := jwt.Thumbprint(k.Public())
	h.must(err)
	return thumbprint
}

// sign makes a JWT of others.
func (h *house) sign(private *ecdsa.PrivateKey, options *jose.SignerOptions, claims map[string]any) string {
	h.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, options)
	h.must(err)
	payload, err := json.Marshal(claims)
	h.must(err)
	jws, err := signer.Sign(payload)
	h.must(err)
	text, err := jws.CompactSerialize()
	h.must(err)
	return text
}

// foreignKeys is the key set of the issuer elsewhere.
func (h *house) foreignKeys() string {
	h.t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: h.foreign.Public(), KeyID: "f", Algorithm: "ES256", Use: "sig"}}})
	h.must(err)
	return string(text)
}

// foreignToken is one that counts, but for the changes.
func (h *house) foreignToken(changes map[string]any) string {
	h.t.Helper()
	now := h.clock()
	claims := map[string]any{
		"iss": elsewhere, "aud": "kmint", "sub": "emp-1", "env": "prod", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	options := (&jose.SignerOptions{}).WithHeader("kid", "f")
	if typ, ok := claims["typ"].(string); ok {
		delete(claims, "typ")
		options = options.WithType(jose.ContentType(typ))
	}
	return h.sign(h.foreign, options, claims)
}

func (h *house) post(fields ...string) answer {
	h.t.Helper()
	return h.by(key{}, fields...)
}

// by sends a request that is proven by the key.
func (h *house) by(k key, fields ...string) answer {
	h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if k.PrivateKey != nil {
		r.Header.Set("DPoP", h.proof(k))
	}
	return h.send(r)
}

func (h *house) proof(k key) string {
	h.t.Helper()
	return h.sign(k.PrivateKey, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"), map[string]any{
		"jti": oauth.NewID(), "htm": "POST", "htu": issuer + "oauth/token", "iat": h.clock().Unix(),
	})
}

func (h *house) send(r *http.Request) answer {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.http.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		h.t.Errorf("%v: %s", err, w.Body)
	}
	return a
}

// from names a client and proves that it is it.
func from(client string, fields ...string) []string {
	named := []string{"client_id", client}
	if client != "spa" && client != "patient" {
		named = append(named, "client_secret", client)
	}
	return append(named, fields...)
}

func (h *house) exchange(client, code string, fields ...string) answer {
	h.t.Helper()
	return h.post(append(from(client, "grant_type", "authorization_code", "code", code, "code_verifier", verifier), fields...)...)
}

func (h *house) refresh(client, token string, fields ...string) answer {
	h.t.Helper()
	return h.post(append(from(client, "grant_type", "refresh_token", "refresh_token", token), fields...)...)
}

func (h *house) want(a answer, status int, code oauth.Code) {
	h.t.Helper()
	if a.status != status || a.Error != code {
		h.t.Fatalf("answered %d %s %s, want %d %s", a.status, a.Error, a.Description, status, code)
	}
}

// ok is the answer of a request that is granted.
func (h *house) ok(a answer) answer {
	h.t.Helper()
	h.want(a, 200, "")
	return a
}

// claims are those of a JWT, unverified: whose signature it is others test.
func (h *house) claims(token string) map[string]any {
	h.t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		h.t.Fatalf("%q is no JWT", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	h.must(err)
	var claims map[string]any
	h.must(json.Unmarshal(payload, &claims))
	return claims
}

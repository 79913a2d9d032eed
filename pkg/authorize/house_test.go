package authorize_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/bolt"
	"kmint/pkg/consent"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

const (
	api       = "https://orders.example.com/"
	stock     = "https://stock.example.com/"
	closed    = "https://closed.example.com/"
	password  = "correct horse battery staple"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
)

// passwordHash is made once: it is slow on purpose.
var passwordHash = sync.OnceValue(func() string {
	hash, err := store.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return hash
})

// A house is an authorization endpoint on a store of its own.
type house struct {
	*testing.T
	store  *watched
	issuer string
	now    time.Time
	mac    mac
	keys   *signer
	log    bytes.Buffer
	// endpoint is what answers; a test may change it.
	endpoint authorize.Endpoint
	http.Handler
}

func newHouse(t *testing.T, issuer string) *house {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	h := &house{T: t, store: &watched{Store: db}, issuer: issuer, now: time.Unix(1_800_000_000, 0), keys: newSigner(privateKeys()[0])}
	now := func() time.Time { return h.now }
	db.Now = now
	code := []string{oauth.AuthorizationCode, oauth.RefreshToken}
	for _, err := range []error{
		db.PutIssuer(t.Context(), issuer),
		db.PutAPI(t.Context(), store.API{Identifier: api, Scopes: map[string]string{"read:orders": ""}, AllowOfflineAccess: true, TokenLifetime: 600}),
		db.PutAPI(t.Context(), store.API{Identifier: stock, Scopes: map[string]string{"count": ""}, AllowOfflineAccess: true, TokenLifetime: 600}),
		db.PutAPI(t.Context(), store.API{Identifier: closed, Scopes: map[string]string{"read": ""}, UserPolicy: store.RequireGrant}),
		db.PutUser(t.Context(), store.User{
			Subject: "u1", Username: "Demo", PasswordHash: passwordHash(),
			Profile: map[string]any{"name": "Demo User", "email": "demo@example.com"},
		}),
		db.PutClient(t.Context(), store.Client{
			ID: "web", Name: "Demo web app", AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, GrantTypes: code,
			RedirectURIs: []string{"https://app.example.com/cb?keep=1"}, FirstParty: true, Refresh: store.RefreshPolicy{Lifetime: 3600},
		}),
		db.PutClient(t.Context(), store.Client{
			ID: "spa", AuthMethod: oauth.None, ApplicationType: oauth.Web, GrantTypes: code[:1],
			RedirectURIs: []string{"https://app.example.com/cb", "http://localhost:8080/cb"}, FirstParty: true,
		}),
		db.PutClient(t.Context(), store.Client{
			ID: "native", AuthMethod: oauth.None, ApplicationType: oauth.Native, GrantTypes: code[:1], FirstParty: true,
			RedirectURIs: []string{"http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb", "com.example.app://host/cb", "https://APP.example.com:8443/cb"},
		}),
		db.PutClient(t.Context(), store.Client{
			ID: "service", AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, GrantTypes: []string{oauth.ClientCredentials},
			RedirectURIs: []string{"https://service.example.com/cb"}, FirstParty: true,
		}),
		db.PutClient(t.Context(), store.Client{
			ID: "third", AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, GrantTypes: code,
			RedirectURIs: []string{"https://third.example.com/cb"},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.endpoint = authorize.Endpoint{
		Issuers: h.store, Settings: h.store, Keys: h.keys, Clients: h.store, APIs: h.store, Codes: h.store, Now: now,
		Login:    login.Authenticator{Logins: h.store, Users: h.store, Attempts: h.store, Now: now},
		Sessions: session.Keeper{Sessions: h.store, Clients: h.store, Users: h.store, Now: now},
		Consents: consent.Keeper{Consents: h.store, Listings: h.store, Grants: h.store, Settle: func(context.Context) error { return nil }, Now: now},
		Seal:     session.Sealer{MAC: &h.mac, Now: now},
	}
	edge := web.Edge{Log: slog.New(slog.NewJSONHandler(&h.log, nil)), Now: now, Secure: strings.HasPrefix(issuer, "https:")}
	h.Handler = edge.Page(web.Methods(func(w http.ResponseWriter, r *http.Request) error { return h.endpoint.Serve(w, r) }, http.MethodGet, http.MethodPost))
	return h
}

// mac makes hourly keys in memory.
type mac struct{ err error }

func (m *mac) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	h := hmac.New(sha256.New, []byte("key"))
	fmt.Fprintln(h, purpose, hour)
	return h.Sum(nil), m.err
}

// watched counts the calls that reach a table and fails those it is told to.
type watched struct {
	*bolt.Store
	mu     sync.Mutex
	calls  []string
	fail   map[string]error
	grants []store.Grant
	// meet holds a call back until the other one has begun too.
	meet map[string]*sync.WaitGroup
}

func (w *watched) note(call string) error {
	w.mu.Lock()
	w.calls = append(w.calls, call)
	meet, err := w.meet[call], w.fail[call]
	w.mu.Unlock()
	if meet != nil {
		meet.Done()
		meet.Wait()
	}
	return err
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

func (w *watched) Client(ctx context.Context, id string) (store.Client, error) {
	if err := w.fail["Client"]; err != nil {
		return store.Client{}, err
	}
	return w.Store.Client(ctx, id)
}

func (w *watched) Issuer(ctx context.Context) (string, error) {
	if err := w.fail["Issuer"]; err != nil {
		return "", err
	}
	return w.Store.Issuer(ctx)
}

func (w *watched) User(ctx context.Context, subject string) (store.User, error) {
	if err := w.note("User"); err != nil {
		return store.User{}, err
	}
	return w.Store.User(ctx, subject)
}

func (w *watched) Login(ctx context.Context, name string) (string, error) {
	if err := w.note("Login"); err != nil {
		return "", err
	}
	return w.Store.Login(ctx, name)
}

func (w *watched) BeginAttempt(ctx context.Context, name oauth.Digest, now time.Time) error {
	if err := w.note("BeginAttempt"); err != nil {
		return err
	}
	return w.Store.BeginAttempt(ctx, name, now)
}

func (w *watched) ClearAttempts(ctx context.Context, name oauth.Digest) error {
	if err := w.note("ClearAttempts"); err != nil {
		return err
	}
	return w.Store.ClearAttempts(ctx, name)
}

func (w *watched) PutSession(ctx context.Context, s store.Session) error {
	if err := w.note("PutSession"); err != nil {
		return err
	}
	return w.Store.PutSession(ctx, s)
}

func (w *watched) Session(ctx context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	if err := w.note("Session"); err != nil {
		return store.Session{}, err
	}
	return w.Store.Session(ctx, digest, now)
}

func (w *watched) RenewSession(ctx context.Context, digest oauth.Digest, idle time.Time) error {
	if err := w.note("RenewSession"); err != nil {
		return err
	}
	return w.Store.RenewSession(ctx, digest, idle)
}

func (w *watched) JoinSession(ctx context.Context, digest oauth.Digest, clientID string, idle time.Time) error {
	if err := w.note("JoinSession"); err != nil {
		return err
	}
	return w.Store.JoinSession(ctx, digest, clientID, idle)
}

func (w *watched) Consents(ctx context.Context, subject string) (map[string]store.Consent, error) {
	if err := w.note("Consents"); err != nil {
		return nil, err
	}
	return w.Store.Consents(ctx, subject)
}

func (w *watched) PutConsent(ctx context.Context, subject, clientID string, before, next store.Consent) error {
	if err := w.note("PutConsent"); err != nil {
		return err
	}
	return w.Store.PutConsent(ctx, subject, clientID, before, next)
}

func (w *watched) DeleteSession(ctx context.Context, digest oauth.Digest) error {
	if err := w.note("DeleteSession"); err != nil {
		return err
	}
	return w.Store.DeleteSession(ctx, digest)
}

func (w *watched) PutGrant(ctx context.Context, g store.Grant) error {
	if err := w.note("PutGrant"); err != nil {
		return err
	}
	w.mu.Lock()
	w.grants = append(w.grants, g)
	w.mu.Unlock()
	return w.Store.PutGrant(ctx, g)
}

// A visitor is a browser: it keeps cookies, and remembers the form it was shown.
type visitor struct {
	*house
	cookies map[string]string
	form    url.Values
}

func (h *house) visitor() *visitor { return &visitor{h, map[string]string{}, nil} }

type answer struct {
	*httptest.ResponseRecorder
	location *url.URL
}

// query returns a parameter of the redirect: of its fragment, where it has one.
func (a answer) query(name string) string {
	if a.location == nil {
		return ""
	}
	if fragment := a.location.EscapedFragment(); fragment != "" {
		parameters, _ := url.ParseQuery(fragment)
		return parameters.Get(name)
	}
	return a.location.Query().Get(name)
}

var field = regexp.MustCompile(`<input[^>]* name="(request|shown|seal)" value="([^"]*)"`)

func (v *visitor) send(r *http.Request) answer {
	v.Helper()
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookies[c.Name] = c.Value
	}
	a := answer{w, nil}
	if location := w.Header().Get("Location"); location != "" {
		u, err := url.Parse(location)
		if err != nil {
			v.Fatal(err)
		}
		a.location = u
	}
	if fields := field.FindAllStringSubmatch(w.Body.String(), -1); len(fields) > 0 {
		v.form = url.Values{}
		for _, f := range fields {
			v.form.Set(f[1], html.UnescapeString(f[2]))
		}
	}
	return a
}

func (v *visitor) get(parameters url.Values) answer {
	v.Helper()
	return v.send(httptest.NewRequest(http.MethodGet, "/authorize?"+parameters.Encode(), nil))
}

func (v *visitor) post(parameters url.Values) answer {
	v.Helper()
	r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(parameters.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.send(r)
}

// fill sends the form that was shown.
func (v *visitor) fill(username, password string) answer {
	v.Helper()
	return v.post(with(v.form, "username", username, "password", password))
}

// logIn puts the browser into a session, as a login would, that has logged every
// client in.
func (v *visitor) logIn() {
	v.Helper()
	v.logInto("web", "spa", "native", "service", "third")
}

func (v *visitor) logInto(clients ...string) store.Session {
	v.Helper()
	s, handle := session.Keeper{Now: func() time.Time { return v.now }}.New("u1")
	s.Clients = clients
	if err := v.store.Store.PutSession(v.Context(), s); err != nil {
		v.Fatal(err)
	}
	secure := strings.HasPrefix(v.issuer, "https:")
	v.cookies[session.CookieName(secure)] = handle.Reveal()
	v.cookies[session.StateCookieName(secure)] = session.State(handle)
	return s
}

// failures are attempts that others have made with a name.
func (h *house) failures(name string, count int) {
	h.Helper()
	for range count {
		if err := h.store.Store.BeginAttempt(h.Context(), oauth.DigestOf(name), h.now); err != nil {
			h.Fatal(err)
		}
	}
}

// forWeb and forSPA are requests that are right.
var (
	forWeb = url.Values{
		"response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {"https://app.example.com/cb?keep=1"},
		"scope": {"openid email"}, "state": {"st-1"}, "nonce": {"no-1"},
	}
	forSPA = url.Values{
		"response_type": {"code"}, "client_id": {"spa"}, "redirect_uri": {"http://localhost:8080/cb"},
		"scope": {"openid"}, "state": {"st-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
)

// with returns the parameters with others set, or left out if "-".
func with(parameters url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range parameters {
		out[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "-" {
			out.Del(pairs[i])
		}
	}
	return out
}

const (
	overTLS = "https://auth.example.com/"
	plain   = "http://localhost:3000/"
)

// isPage fails unless the answer is a page that leads nowhere.
func (h *house) isPage(a answer, status int) {
	h.Helper()
	if a.Code != status || a.Header().Get("Location") != "" || !strings.HasPrefix(a.Header().Get("Content-Type"), "text/html") {
		h.Errorf("status %d, want a page with %d; Location %q", a.Code, status, a.Header().Get("Location"))
	}
	if strings.Contains(a.Body.String(), "<script") || a.Header().Get("X-Frame-Options") != "DENY" || a.Header().Get("Cache-Control") != "no-store" {
		h.Errorf("a page with %v", a.Header())
	}
}

func (h *house) isLoginPage(a answer, status int) {
	h.Helper()
	h.isPage(a, status)
	if !strings.Contains(a.Body.String(), `name="password"`) {
		h.Errorf("not the login page: %s", a.Body)
	}
}

package logout_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/logout"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

const (
	issuer = "https://auth.example.com/"
	cookie = "__Host-kmint_session"
	bye    = "https://app.example.com/bye"
)

// keyDir holds one set of keys for all tests: RSA keys take their time.
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

// A house is a logout endpoint on a store of its own.
type house struct {
	*testing.T
	store *watched
	ring  *keys.Ring
	// strange are keys that nobody has published.
	strange *keys.Ring
	queue   queue
	now     time.Time
	log     bytes.Buffer
	http.Handler
}

// queue keeps messages.
type queue struct {
	mu       sync.Mutex
	messages []string
	err      error
	// sent runs after each Send.
	sent func()
}

func (q *queue) Send(_ context.Context, messages []string) error {
	if q.err != nil {
		return q.err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, messages...)
	if q.sent != nil {
		q.sent()
	}
	return nil
}

// watched fails those calls that it is told to.
type watched struct {
	*bolt.Store
	fail map[string]error
}

func (w *watched) Client(ctx context.Context, id string) (store.Client, error) {
	if err := w.fail["Client "+id]; err != nil {
		return store.Client{}, err
	}
	return w.Store.Client(ctx, id)
}

func (w *watched) EndSession(ctx context.Context, digest oauth.Digest) (store.Session, error) {
	if err := w.fail["EndSession"]; err != nil {
		return store.Session{}, err
	}
	return w.Store.EndSession(ctx, digest)
}

func (w *watched) Session(ctx context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	if err := w.fail["Session"]; err != nil {
		return store.Session{}, err
	}
	return w.Store.Session(ctx, digest, now)
}

func (w *watched) SessionsOf(ctx context.Context, subject string, now time.Time, from oauth.Digest) ([]store.Session, oauth.Digest, error) {
	if err := w.fail["SessionsOf"]; err != nil {
		return nil, "", err
	}
	return w.Store.SessionsOf(ctx, subject, now, from)
}

func (w *watched) Issuer(ctx context.Context) (string, error) {
	if err := w.fail["Issuer"]; err != nil {
		return "", err
	}
	return w.Store.Issuer(ctx)
}

// registry is read anew at each use.
type registry struct{ *watched }

func (registry) Forget() {}

func (r registry) Registry(ctx context.Context) (store.Registry, error) {
	if err := r.fail["Registry"]; err != nil {
		return store.Registry{}, err
	}
	return r.Store.Registry(ctx)
}

// mac makes hourly keys in memory.
type mac struct{}

func (mac) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	h := hmac.New(sha256.New, []byte("key"))
	fmt.Fprintln(h, purpose, hour)
	return h.Sum(nil), nil
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func openStore(t *testing.T) *bolt.Store {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// ringOf registers the keys of a folder in a store.
func (h *house) ringOf(db *watched, dir string) *keys.Ring {
	h.Helper()
	local, err := localkey.Open(dir)
	h.must(err)
	for algorithm, reference := range localkey.References() {
		public, err := local.PublicKey(h.Context(), reference)
		h.must(err)
		key, err := keys.New(algorithm, public, reference)
		h.must(err)
		_, err = keys.First(h.Context(), db, key, h.now)
		h.must(err)
	}
	return &keys.Ring{Registry: registry{db}, Private: local}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, now: time.Unix(1_800_000_000, 0), store: &watched{Store: openStore(t), fail: map[string]error{}}}
	now := func() time.Time { return h.now }
	h.store.Now = now
	h.ring = h.ringOf(h.store, filepath.Join(keyDir, "ours"))
	h.strange = h.ringOf(&watched{Store: openStore(t)}, filepath.Join(keyDir, "strange"))
	h.must(h.store.PutIssuer(t.Context(), issuer))
	h.must(h.store.PutUser(t.Context(), store.User{Subject: "u1", Username: "Demo <b>"}))
	for _, c := range []store.Client{
		{ID: "web", Name: `Web "app" <i>`, PostLogoutRedirectURIs: []string{bye, bye + "?a=1"}, RedirectURIs: []string{"https://app.example.com/cb"}},
		{ID: "spa", PostLogoutRedirectURIs: []string{"http://localhost:8080/out"}, WebOrigins: []string{"https://spa.example.com"}, BackchannelLogoutURI: "https://spa.example.com/back"},
		{ID: "cli", PostLogoutRedirectURIs: []string{"com.example.app:/out"}, RedirectURIs: []string{"com.example.app:/cb"}, FrontchannelLogoutURI: "https://cli.example.com/front?x=<1>", BackchannelLogoutURI: "https://cli.example.com/back"},
		{ID: "bare"},
	} {
		h.must(h.store.PutClient(t.Context(), c))
	}
	endpoint := logout.Endpoint{
		Issuers: h.store, Keys: h.ring, Clients: h.store, Settings: h.store, Now: now, Queue: &h.queue,
		Sessions: session.Keeper{Sessions: h.store, Clients: h.store, Listings: h.store, Users: h.store, Now: now},
		Seal:     session.Sealer{Purpose: session.Logout, MAC: mac{}, Now: now},
	}
	edge := web.Edge{Log: slog.New(slog.NewJSONHandler(&h.log, nil)), Now: now, Secure: true}
	mux := http.NewServeMux()
	mux.Handle(logout.Path, edge.Page(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost)))
	mux.Handle(logout.Auth0Path, edge.Page(web.Methods(endpoint.ServeAuth0, http.MethodGet)))
	mux.Handle(logout.SessionsPath, edge.Page(web.Methods(endpoint.ServeSessions, http.MethodGet, http.MethodPost)))
	h.Handler = mux
	return h
}

// A visitor is a browser: it keeps cookies, and remembers the form that it was shown.
type visitor struct {
	*house
	cookies map[string]string
	form    url.Values
	session store.Session
}

// logIn puts a browser into a session that has logged clients in.
func (h *house) logIn(clients ...string) *visitor {
	h.Helper()
	s, handle := session.Keeper{Now: func() time.Time { return h.now }}.New("u1")
	s.Clients = clients
	h.must(h.store.PutSession(h.Context(), s))
	return &visitor{h, map[string]string{cookie: handle.Reveal()}, nil, s}
}

// claims are those of an ID token of the session for a client.
func (v *visitor) claims(client string) map[string]any {
	return map[string]any{
		"iss": issuer, "aud": client, "sub": "u1", "sid": v.session.ID,
		"iat": v.now.Add(-2 * time.Hour).Unix(), "exp": v.now.Add(-time.Hour).Unix(), "auth_time": v.now.Unix(),
	}
}

func (h *house) sign(ring *keys.Ring, algorithm, typ string, claims map[string]any) string {
	h.Helper()
	token, err := jwt.Sign(h.Context(), ring, jwt.Choice{Algorithm: algorithm}, typ, claims)
	h.must(err)
	return token
}

// hint is an ID token that has expired an hour ago.
func (v *visitor) hint(client string) string {
	v.Helper()
	return v.sign(v.ring, "", jwt.TypIDToken, v.claims(client))
}

// ended reports whether the session is gone.
func (v *visitor) ended() bool {
	v.Helper()
	_, err := v.store.Store.Session(v.Context(), v.session.Digest, v.now)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		v.Fatal(err)
	}
	return err != nil
}

var field = regexp.MustCompile(`<input[^>]* name="(request|seal)" value="([^"]*)"`)

func (v *visitor) send(r *http.Request) *httptest.ResponseRecorder {
	v.Helper()
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
			continue
		}
		v.cookies[c.Name] = c.Value
	}
	if fields := field.FindAllStringSubmatch(w.Body.String(), -1); len(fields) > 0 {
		v.form = url.Values{}
		for _, f := range fields {
			v.form.Set(f[1], html.UnescapeString(f[2]))
		}
	}
	return w
}

func (v *visitor) get(path string, parameters url.Values, header ...string) *httptest.ResponseRecorder {
	v.Helper()
	r := httptest.NewRequest(http.MethodGet, path+"?"+parameters.Encode(), nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

func (v *visitor) post(parameters url.Values) *httptest.ResponseRecorder {
	v.Helper()
	r := httptest.NewRequest(http.MethodPost, logout.Path, strings.NewReader(parameters.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.send(r)
}

// words makes parameters of pairs; those that are "" are left out.
func words(pairs ...string) url.Values {
	out := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out.Set(pairs[i], pairs[i+1])
		}
	}
	return out
}

// told are the clients that the queue holds notices for, sorted.
func (h *house) told() string {
	h.Helper()
	var ids []string
	for _, message := range h.queue.messages {
		var n struct {
			ClientID string `json:"client_id"`
		}
		h.must(json.Unmarshal([]byte(message), &n))
		ids = append(ids, n.ClientID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// isPage fails unless the answer is a page of ours that nobody can put into a frame.
func (h *house) isPage(w *httptest.ResponseRecorder, status int, title string) {
	h.Helper()
	header := w.Header()
	if w.Code != status || header.Get("Location") != "" || !strings.Contains(w.Body.String(), "<h1>"+title+"</h1>") {
		h.Fatalf("status %d, Location %q, want the page %q with %d: %s", w.Code, header.Get("Location"), title, status, w.Body)
	}
	policy := header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "frame-ancestors 'none'") || header.Get("X-Frame-Options") != "DENY" || header.Get("Cache-Control") != "no-store" {
		h.Errorf("a page with %v", header)
	}
	for _, raw := range []string{"<b>", "<i>", "<1>", "javascript:"} {
		if strings.Contains(w.Body.String(), raw) {
			h.Errorf("%s is not escaped: %s", raw, w.Body)
		}
	}
}

const (
	asks   = "Log out?"
	done   = "You are logged out"
	failed = "This did not work"
)

package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/logout"
	"kmint/pkg/seed"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

const issuer = "https://auth.example.com/"

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

// A clock stands still until it is moved. A module that waits moves it.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.at.Load()) }
func (c *clock) wait(long time.Duration) { c.at.Add(long.Milliseconds()) }

// A house is the server under test.
type house struct {
	http.Handler
	clock *clock
	// seed is that of seed.json, and clients is where it was written.
	seed    seed.Seed
	clients store.Clients
	told    *told
}

// told is what clients are told by the back channel.
type told struct {
	messages  []string
	posts     []post
	deliverer logout.Deliverer
}

// A post is a form that came to a client.
type post struct {
	address string
	form    url.Values
}

var (
	_ logout.Queue  = (*told)(nil)
	_ logout.Poster = (*told)(nil)
)

func (b *told) Send(_ context.Context, messages []string) error {
	b.messages = append(b.messages, messages...)
	return nil
}

func (b *told) Post(_ context.Context, address string, form url.Values) (int, error) {
	b.posts = append(b.posts, post{address, form})
	return http.StatusOK, nil
}

// deliver takes all messages of the queue to the clients.
func (b *told) deliver(ctx context.Context) (posts []post, err error) {
	for _, message := range b.messages {
		if _, err := b.deliverer.Deliver(ctx, message); err != nil {
			return nil, err
		}
	}
	posts, b.posts, b.messages = b.posts, nil, nil
	return posts, nil
}

// build makes the functions over one local store that holds seed.json. log is
// where they log to, nil for nowhere.
func build(t *testing.T, log io.Writer) house {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if log == nil {
		log = io.Discard
	}
	now := &clock{}
	now.at.Store(time.Now().UnixMilli())
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	must(err)
	t.Cleanup(func() { _ = db.Close() })
	local, err := localkey.Open(keyDir)
	must(err)
	for algorithm, reference := range localkey.References() {
		public, err := local.PublicKey(t.Context(), reference)
		must(err)
		key, err := keys.New(algorithm, public, reference)
		must(err)
		_, err = keys.First(t.Context(), db, key, now.now())
		must(err)
	}
	file, err := os.Open("seed.json")
	must(err)
	example, err := seed.Read(file)
	must(errors.Join(err, file.Close()))
	_, err = example.Write(t.Context(), seed.Writers{
		Issuer: issuer, Config: db, Clients: db, APIs: db, Settings: db, Users: db, Logins: db, People: db, Vault: local,
	})
	must(err)

	back := &told{}
	back.deliverer = logout.Deliverer{
		Issuers: db, Clients: db, Signer: &keys.Ring{Registry: store.NewCache(db, db, db, db, db, now.now), Private: local}, Poster: back, Now: now.now,
	}
	must(db.PutIssuer(t.Context(), issuer))
	logger := slog.New(slog.NewTextHandler(log, nil))
	mux := http.NewServeMux()
	mux.Handle("/oauth/", server.Token{
		Issuer: issuer, TokenPath: "/oauth/token",
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: local, Vault: local, PrivateKey: local, Now: now.now, Log: logger,
	}.Handler())
	mux.Handle("/", server.Authorize{
		Issuer:  issuer,
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db,
		Opaque: db, Documents: db, MAC: local, PrivateKey: local, Queue: back, Now: now.now, Log: logger,
	}.Handler())
	mux.Handle("/userinfo", server.Userinfo{
		Issuer:  issuer,
		Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
		MAC: local, Now: now.now, Log: logger,
	}.Handler())
	discovery := server.Discovery{
		Issuer: issuer, TokenPath: "/oauth/token", AuthorizeSigns: true, Issuers: db, Registry: db, Now: now.now, Log: logger,
	}.Handler()
	mux.Handle("/.well-known/", discovery)
	mux.Handle("/oidc/check_session", discovery)
	return house{Handler: mux, clock: now, seed: example, clients: db, told: back}
}

// announces reports whether the member of the discovery document says value, or is
// there and not false where value is "". Words may stand in any order.
func (h house) announces(member, value string) bool {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/openid-configuration", nil))
	var document map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		return false
	}
	said, there := document[member]
	if value == "" {
		return there && said != false
	}
	values, _ := said.([]any)
	return slices.ContainsFunc(values, func(v any) bool {
		text, _ := v.(string)
		return slices.Equal(words(text), words(value))
	})
}

func words(text string) []string { return slices.Sorted(slices.Values(strings.Fields(text))) }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// A response is what the server answers.
type response struct {
	status int
	header http.Header
	body   string
}

// json decodes the body, nil if it is no JSON object.
func (r response) json() map[string]any {
	var members map[string]any
	if json.Unmarshal([]byte(r.body), &members) != nil {
		return nil
	}
	return members
}

// isJSON reports whether the Content-Type is application/json.
func (r response) isJSON() bool {
	media, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	return media == "application/json"
}

func (h house) send(method, target string, header http.Header, form url.Values) response {
	if u, err := url.Parse(target); err == nil {
		target = u.RequestURI()
	}
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	maps.Copy(r.Header, header)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return response{w.Code, w.Header(), w.Body.String()}
}

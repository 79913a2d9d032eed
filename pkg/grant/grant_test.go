package grant_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/clientauth"
	"kmint/pkg/grant"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// A house is the token endpoint over a real store, with a key that fails and a
// clock that moves when the test says so.
type house struct {
	t     *testing.T
	store *bolt.Store
	http  http.Handler

	mu   sync.Mutex
	now  time.Time
	fail error
	keys *localkey.Keys
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
	h.mu.Lock()
	err := h.fail
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.keys.Sign(ctx, key, digest)
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

func open(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, now: time.UnixMilli(1_700_000_000_000)}
	var err error
	if h.store, err = bolt.Open(filepath.Join(t.TempDir(), "kmint.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.store.Close() })
	if h.keys, err = localkey.Open(keyDir); err != nil {
		t.Fatal(err)
	}
	h.must(h.store.PutIssuer(t.Context(), "https://auth.example.com/"))
	h.must(h.store.PutAPI(t.Context(), store.API{Identifier: "https://api/", Scopes: map[string]string{"read": ""}, AllowOfflineAccess: true, TokenLifetime: 600}))
	for _, c := range []store.Client{
		{ID: "spa", AuthMethod: oauth.None, Refresh: store.RefreshPolicy{Lifetime: 3600, IdleLifetime: 1800}},
		{ID: "patient", AuthMethod: oauth.None, Refresh: store.RefreshPolicy{Lifetime: 3600, IdleLifetime: 1800, Leeway: 10}},
	} {
		c.GrantTypes = []string{oauth.AuthorizationCode, oauth.RefreshToken}
		h.must(h.store.PutClient(t.Context(), c))
	}
	h.must(h.store.PutUser(t.Context(), store.User{Subject: "u", Username: "u", Profile: map[string]any{"email": "u@example.com"}}))
	public, err := h.keys.PublicKey(t.Context(), localkey.Reference)
	h.must(err)
	key, err := keys.New(jwt.RS256, public, localkey.Reference)
	h.must(err)
	_, err = keys.First(t.Context(), h.store, key, h.now)
	h.must(err)

	cache := store.NewCache(h.store, h.store, h.store, h.store, h.store, h.clock)
	endpoint := grant.Endpoint{
		Clients: clientauth.Authenticator{Clients: cache},
		APIs:    cache,
		Issuer:  token.Issuer{Issuers: cache, Signer: &keys.Ring{Registry: cache, Private: h}, Now: h.clock},
		Grants: map[string]grant.Grant{
			oauth.AuthorizationCode: grant.AuthorizationCode{Grants: h.store, Now: h.clock},
			oauth.RefreshToken:      grant.RefreshToken{Grants: h.store, Users: h.store, Now: h.clock},
		},
	}
	h.http = web.Edge{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: h.clock}.JSON(endpoint.Serve)
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// code authorizes a client as /authorize would.
func (h *house) code(client string) string {
	h.t.Helper()
	challenge, err := oauth.ChallengeOf(verifier)
	h.must(err)
	code := oauth.NewHandle(oauth.CodePrefix)
	now := h.clock()
	scope := oauth.Scope{"openid", "email", "offline_access", "read"}
	h.must(h.store.PutGrant(h.t.Context(), store.Grant{
		ID: string(code.Digest()), ClientID: client, Subject: "u", RedirectURI: "https://app/cb", Challenge: challenge,
		Scope: scope, Requested: append(scope, "write"), Audience: []string{"https://api/"}, AuthTime: now,
		Claims:  map[string]any{"email": "u@example.com"},
		Created: now, CodeExpires: now.Add(time.Minute), End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour),
	}))
	return code.Reveal()
}

type answer struct {
	status int
	header http.Header
	oauth.TokenResponse
	Error       oauth.Code `json:"error"`
	Description string     `json:"error_description"`
}

func (h *house) post(fields ...string) answer {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.http.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		h.t.Errorf("%v: %s", err, w.Body)
	}
	return a
}

func (h *house) exchange(client, code string) answer {
	return h.post("grant_type", "authorization_code", "client_id", client, "code", code, "code_verifier", verifier)
}

func (h *house) refresh(client, token string) answer {
	return h.post("grant_type", "refresh_token", "client_id", client, "refresh_token", token)
}

func (h *house) want(a answer, status int, code oauth.Code) {
	h.t.Helper()
	if a.status != status || a.Error != code {
		h.t.Fatalf("answered %d %s %s, want %d %s", a.status, a.Error, a.Description, status, code)
	}
}

func TestACodeIsGivenBackWhenSigningFails(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	busy := h.exchange("spa", code)
	h.want(busy, 503, oauth.TemporarilyUnavailable)
	if busy.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	h.failing(fmt.Errorf("on fire"))
	h.want(h.exchange("spa", code), 500, oauth.ServerError)

	h.failing(nil)
	h.want(h.exchange("spa", code), 200, "")
	h.want(h.exchange("spa", code), 400, oauth.InvalidGrant)
}

func TestARotationIsRepeatedWhenSigningFails(t *testing.T) {
	h := open(t)
	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	h.want(h.refresh("spa", first.RefreshToken), 503, oauth.TemporarilyUnavailable)
	h.want(h.refresh("spa", first.RefreshToken), 503, oauth.TemporarilyUnavailable)
	h.failing(nil)
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.want(h.refresh("spa", second.RefreshToken), 200, "")
	// The twin: once the successor was used, the old one is a replay.
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)
}

// Of what was asked for, nothing was granted: that is refused, and spends nothing.
func TestNothingOfTheScope(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.want(h.post("grant_type", "authorization_code", "client_id", "spa", "code", code, "code_verifier", verifier, "scope", "write"), 400, oauth.InvalidScope)
	first := h.exchange("spa", code)
	h.want(first, 200, "")
	h.want(h.post("grant_type", "refresh_token", "client_id", "spa", "refresh_token", first.RefreshToken, "scope", "write"), 400, oauth.InvalidScope)
	narrowed := h.post("grant_type", "refresh_token", "client_id", "spa", "refresh_token", first.RefreshToken, "scope", "write read")
	h.want(narrowed, 200, "")
	if narrowed.Scope != "read" {
		t.Errorf("scope %q", narrowed.Scope)
	}
}

func TestLeewayYieldsTheSameSuccessor(t *testing.T) {
	h := open(t)
	first := h.exchange("patient", h.code("patient"))
	h.want(first, 200, "")
	a := h.refresh("patient", first.RefreshToken)
	h.wait(9 * time.Second)
	b := h.refresh("patient", first.RefreshToken)
	h.want(b, 200, "")
	if a.RefreshToken != b.RefreshToken || a.AccessToken == b.AccessToken {
		t.Error("not the same successor with an access token of its own")
	}
	h.wait(2 * time.Second)
	h.want(h.refresh("patient", first.RefreshToken), 400, oauth.InvalidGrant)
	h.want(h.refresh("patient", b.RefreshToken), 400, oauth.InvalidGrant)
}

func TestExpiry(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.wait(time.Minute)
	h.want(h.exchange("spa", code), 400, oauth.InvalidGrant)

	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	h.wait(29 * time.Minute)
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.wait(30 * time.Minute) // idle
	h.want(h.refresh("spa", second.RefreshToken), 400, oauth.InvalidGrant)
}

func TestOneWhoHasGoneGetsNothing(t *testing.T) {
	h := open(t)
	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	gone := grant.RefreshToken{Grants: h.store, Users: nobody{}, Now: h.clock}
	client, err := h.store.Client(t.Context(), "spa")
	h.must(err)
	r, err := oauth.Request{}.With(url.Values{"refresh_token": {first.RefreshToken}}.Encode())
	h.must(err)
	result, err := gone.Authorize(t.Context(), client, r)
	h.must(err)
	if _, err := result.Authorization.Person.Claims(t.Context()); oauth.AsError(err).Code != oauth.InvalidGrant {
		t.Errorf("got %v", err)
	}
}

type nobody struct{}

func (nobody) User(context.Context, string) (store.User, error) {
	return store.User{}, store.ErrNotFound
}

// Go's decoder skips line breaks: a token with one is not an old token of the
// grant, and must not end it.
func TestALineBreakIsNoReplay(t *testing.T) {
	h := open(t)
	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	parts := strings.Split(first.RefreshToken, ".")
	for i := 1; i < len(parts); i++ {
		broken := append([]string(nil), parts...)
		broken[i] += "\n"
		h.want(h.refresh("spa", strings.Join(broken, ".")), 400, oauth.InvalidGrant)
	}
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)
}

// Thirty-two at once: one wins, and the grant ends revoked, the winner's tokens
// included.
func TestRaces(t *testing.T) {
	race := func(one func() answer) (won []answer) {
		var wg sync.WaitGroup
		answers := make(chan answer, 32)
		for range 32 {
			wg.Go(func() { answers <- one() })
		}
		wg.Wait()
		close(answers)
		for a := range answers {
			if a.status == 200 {
				won = append(won, a)
			} else if a.Error != oauth.InvalidGrant {
				t.Errorf("a loser got %d %s", a.status, a.Error)
			}
		}
		return won
	}
	h := open(t)
	code := h.code("spa")
	won := race(func() answer { return h.exchange("spa", code) })
	if len(won) != 1 {
		t.Fatalf("%d exchanged one code", len(won))
	}
	h.want(h.refresh("spa", won[0].RefreshToken), 400, oauth.InvalidGrant)

	first := h.exchange("spa", h.code("spa"))
	won = race(func() answer { return h.refresh("spa", first.RefreshToken) })
	if len(won) != 1 {
		t.Fatalf("%d rotated one token", len(won))
	}
	h.want(h.refresh("spa", won[0].RefreshToken), 400, oauth.InvalidGrant)
}

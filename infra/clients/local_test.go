package clients

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const example = "SEED=infra/examples/seed.json"

// answers sends a request and holds the answer against the documented error.
func (s site) answers(t *testing.T, r *http.Request, status int, code string) http.Header {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || response.StatusCode != status || body.Error != code || body.Description == "" {
		t.Errorf("%d %+v %v, want %d %s", response.StatusCode, body, err, status, code)
	}
	if store := response.Header.Get("Cache-Control"); store != "no-store" {
		t.Errorf("Cache-Control: %s", store)
	}
	return response.Header
}

var jwtForm = regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+`)

// TestFirstToken takes the token that `make run` printed, and nothing else, to
// go-oidc.
func TestFirstToken(t *testing.T) {
	t.Parallel()
	p := makeRun(t)
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	raw := jwtForm.FindString(p.page)
	const demoAPI = "https://demo-api.kmint.example/"
	token, err := provider.Verifier(&oidc.Config{ClientID: demoAPI}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	if token.Issuer != p.issuer || token.Subject != p.field(t, "Client") {
		t.Errorf("%+v", token)
	}
	later := &oidc.Config{ClientID: demoAPI, Now: func() time.Time { return token.Expiry.Add(time.Second) }}
	if _, err := provider.Verifier(later).Verify(t.Context(), raw); err == nil {
		t.Error("it is good after its expiry")
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: "https://other.example/"}).Verify(t.Context(), raw); err == nil {
		t.Error("it is good for another API")
	}
	// Another kmint has another key.
	other, err := oidc.NewProvider(t.Context(), makeRun(t).issuer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Verifier(&oidc.Config{ClientID: demoAPI, SkipIssuerCheck: true}).Verify(t.Context(), raw); err == nil {
		t.Error("another kmint's keys verify it")
	}
}

// TestExample is the example's clients at `make run`.
func TestExample(t *testing.T) {
	t.Parallel()
	p := makeRun(t, example)
	if client := p.field(t, "Client"); client != "demo-service" {
		t.Errorf("the client shown is %s", client)
	}
	flows(t, p.issuer)
}

// TestExpiredCode waits as long as a code lives. Without the wait expiry is proved
// with a clock of the tests' own, by the suite in pkg/store/storetest.
func TestExpiredCode(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("left out: it takes a minute; CI=true runs it")
	}
	t.Parallel()
	p := makeRun(t, example)
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := site{p.issuer, provider}
	client := s.webClient()
	late := s.code(t, client)
	time.Sleep(61 * time.Second)
	_, err = client.Exchange(t.Context(), late)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
}

// TestBehindProxy is `make run` behind a proxy that ends TLS: an https issuer, and
// requests that arrive in plain.
func TestBehindProxy(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	p := makeRun(t, example, "PORT="+port, "ISSUER=https://auth.example.com/")
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: through("localhost:" + port)})
	provider, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	client := &oauth2.Config{
		ClientID: "demo-web", ClientSecret: webSecret, RedirectURL: webCallback, Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID},
	}
	user := newPerson(t, p.issuer)
	user.browser.Transport = through("localhost:" + port)
	query := user.login(client.AuthCodeURL("s"))
	if query.Get("iss") != p.issuer {
		t.Errorf("back at the client with %v", query)
	}
	for _, cookie := range user.browser.Jar.Cookies(&url.URL{Scheme: "http", Host: "auth.example.com", Path: "/"}) {
		t.Errorf("the cookie %s would be sent in plain", cookie.Name)
	}
	session := 0
	for _, cookie := range user.browser.Jar.Cookies(&url.URL{Scheme: "https", Host: "auth.example.com", Path: "/"}) {
		if strings.HasPrefix(cookie.Name, "__Host-") {
			session++
		}
	}
	if session == 0 {
		t.Error("there is no session cookie")
	}
	token, err := client.Exchange(ctx, query.Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	if _, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: "demo-web"}).Verify(ctx, raw); err != nil {
		t.Error(err)
	}
}

// through is a proxy before the host: what is sent to https arrives there in
// plain.
type through string

var _ http.RoundTripper = through("")

func (host through) RoundTrip(r *http.Request) (*http.Response, error) {
	plain := r.Clone(r.Context())
	plain.URL.Scheme, plain.URL.Host, plain.Host = "http", string(host), r.URL.Host
	plain.Header.Set("X-Forwarded-Proto", "https")
	response, err := http.DefaultTransport.RoundTrip(plain)
	if err == nil {
		response.Request = r
	}
	return response, err
}

// exampleWith is a seed like the example, with other text in some places.
func exampleWith(t *testing.T, oldnew ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "infra", "examples", "seed.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(string(raw))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

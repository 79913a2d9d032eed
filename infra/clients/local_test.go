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

// TestRefusalsAreLogged makes each of the well-known mistakes once: each gets its
// error, and one line in the log, which says why and gives nothing away, beside that of
// the audit.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	p := makeRun(t, example)
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := site{p.issuer, provider}
	web, spa, verifier := s.webClient(), s.spaClient(), oauth2.GenerateVerifier()
	wrong := oauth2.GenerateVerifier()
	webCode, spaCode := s.code(t, web), s.code(t, spa, oauth2.S256ChallengeOption(verifier))
	secrets := []string{webSecret, serviceSecret, password, verifier, wrong, webCode, spaCode, "its-own-state"}
	if p.stderr.String() != "" {
		t.Errorf("what is well is logged: %s", p.stderr)
	}
	exchange := func(client *oauth2.Config, code string, options ...oauth2.AuthCodeOption) func(*testing.T) *oauth2.Token {
		return func(t *testing.T) *oauth2.Token {
			token, err := client.Exchange(t.Context(), code, options...)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
	}
	post := func(t *testing.T, body string, status int) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.Endpoint.TokenURL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		s.answers(t, r, status, "invalid_request")
	}
	var webTokens, spaTokens *oauth2.Token
	for _, step := range []struct {
		name string
		do   func(*testing.T)
		// line has what the log says; "" for no line.
		line []string
	}{
		{"wrong secret", func(t *testing.T) {
			client := s.webClient()
			client.ClientSecret = serviceSecret
			_, err := client.Exchange(t.Context(), webCode)
			refused(t, err, http.StatusUnauthorized, "invalid_client")
		}, []string{"status=401", "client_id=demo-web", "error=invalid_client", "reason="}},
		{"wrong verifier", func(t *testing.T) {
			_, err := spa.Exchange(t.Context(), spaCode, oauth2.VerifierOption(wrong))
			refused(t, err, http.StatusBadRequest, "invalid_grant")
		}, []string{"status=400", "client_id=demo-spa", "error=invalid_grant", "code_verifier"}},
		{"foreign redirect_uri", func(t *testing.T) {
			client := s.webClient()
			client.RedirectURL = "https://evil.example/"
			if _, _, out, status := newPerson(t, p.issuer).open(client.AuthCodeURL("its-own-state")); out != nil || status != http.StatusBadRequest {
				t.Errorf("%d, to %v", status, out)
			}
		}, []string{"status=400", "demo-web", "error=invalid_request", "evil.example"}},
		{"repeated parameter", func(t *testing.T) {
			post(t, "grant_type=authorization_code&code=a&code=b", http.StatusBadRequest)
		}, []string{"status=400", "error=invalid_request", "code is included more than once"}},
		{"oversized body", func(t *testing.T) {
			post(t, "code="+strings.Repeat("x", 65<<10), http.StatusRequestEntityTooLarge)
		}, []string{"status=413", "error=request_too_large", "reason="}},
		{"right code", func(t *testing.T) {
			webTokens = exchange(web, webCode)(t)
			spaTokens = exchange(spa, spaCode, oauth2.VerifierOption(verifier))(t)
			if _, err := refresh(t.Context(), spa, spaTokens.RefreshToken); err != nil {
				t.Error(err)
			}
		}, nil},
		{"replayed code", func(t *testing.T) {
			_, err := web.Exchange(t.Context(), webCode)
			refused(t, err, http.StatusBadRequest, "invalid_grant")
		}, []string{"status=400", "client_id=demo-web", "error=invalid_grant", "second time"}},
		{"replayed refresh token", func(t *testing.T) {
			_, err := refresh(t.Context(), spa, spaTokens.RefreshToken)
			refused(t, err, http.StatusBadRequest, "invalid_grant")
		}, []string{"status=400", "client_id=demo-spa", "error=invalid_grant", "second time"}},
		{"wrong password", func(t *testing.T) {
			user := newPerson(t, p.issuer)
			page, at, _, _ := user.open(web.AuthCodeURL("its-own-state"))
			user.submit(page, at, map[string]string{"username": username, "password": password + "x"})
		}, []string{"status=400", "client_id=demo-web", "wrong password"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := p.stderr.String()
			step.do(t)
			line := ""
			for range 100 { // it may be later than the answer
				line = strings.TrimPrefix(p.stderr.String(), before)
				if len(step.line) == 0 || strings.Contains(line, " msg=request ") {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			for _, part := range step.line {
				if !strings.Contains(line, part) {
					t.Errorf("the log does not say %s: %s", part, line)
				}
			}
			for _, message := range []string{" msg=request ", " msg=audit "} {
				if lines := strings.Count(line, message); lines != min(1, len(step.line)) {
					t.Errorf("%d lines of%s: %s", lines, message, line)
				}
			}
		})
	}
	log := p.stderr.String()
	for _, secret := range append(secrets, webTokens.AccessToken, webTokens.RefreshToken, spaTokens.RefreshToken) {
		if strings.Contains(log, secret) || strings.Contains(log, url.QueryEscape(secret)) {
			t.Errorf("the log holds %s", secret)
		}
	}
}

// TestLocked guesses a password until the name is locked, for whoever knows it too.
func TestLocked(t *testing.T) {
	t.Parallel()
	p := makeRun(t, example)
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	client := site{p.issuer, provider}.webClient()
	read := map[string]bool{}
	for _, name := range []string{username, "nobody"} {
		user := newPerson(t, p.issuer)
		page, at, _, _ := user.open(client.AuthCodeURL("s"))
		var wrong, locked string
		for range 10 {
			guess, _, out, _ := user.submit(page, at, map[string]string{"username": name, "password": "guess"})
			if out != nil {
				t.Fatalf("a guess leads to %v", out)
			}
			wrong = text(guess)
		}
		last, _, out, status := user.submit(page, at, map[string]string{"username": name, "password": password})
		if out != nil {
			t.Fatalf("the eleventh, which is right, leads to %v", out)
		}
		if locked = text(last); locked == wrong || status/100 != 4 {
			t.Errorf("%s reads, after ten guesses, %d %s", name, status, locked)
		}
		read[locked] = true
	}
	if len(read) != 1 { // whether there is such a user is nobody's business
		t.Errorf("a user reads one thing, and nobody another: %v", read)
	}
}

// TestNative is an application on the user's own machine. RFC 8252 §7.3: "The
// authorization server MUST allow any port to be specified at the time of the
// request for loopback IP redirect URIs".
func TestNative(t *testing.T) {
	t.Parallel()
	seed := exampleWith(t, `"application_type": "web"`, `"application_type": "native"`, `"http://localhost:8080/spa"`, `"http://127.0.0.1/callback", "com.example.app:/callback"`)
	p := makeRun(t, "SEED="+seed)
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := site{p.issuer, provider}
	for _, redirectURI := range []string{"http://127.0.0.1:" + freePort(t) + "/callback", "com.example.app:/callback"} {
		client, verifier := s.spaClient(), oauth2.GenerateVerifier()
		client.RedirectURL = redirectURI
		user := newPerson(t, p.issuer)
		back := user.back(client.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
		if !strings.HasPrefix(back.String(), redirectURI+"?") {
			t.Errorf("back at %s, want %s", back, redirectURI)
		}
		token, err := client.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		s.idToken(t, client, token)
	}
	for _, redirectURI := range []string{"http://127.0.0.1:4000/other", "http://localhost:4000/callback", "http://127.0.0.2:4000/callback", "https://127.0.0.1:4000/callback", "com.example.app:/other"} {
		client := s.spaClient()
		client.RedirectURL = redirectURI
		if _, _, out, status := newPerson(t, p.issuer).open(client.AuthCodeURL("s", oauth2.S256ChallengeOption("v"))); out != nil || status != http.StatusBadRequest {
			t.Errorf("%s: %d, to %v", redirectURI, status, out)
		}
	}
}

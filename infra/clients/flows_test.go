package clients

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"golang.org/x/net/html"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// What stands in infra/examples/seed.json.
const (
	orders        = "https://orders.example.com/"
	serviceSecret = "demo-service-secret-used-in-examples-only"
	webSecret     = "demo-web-secret-used-in-examples-only"
	webCallback   = "http://localhost:8080/callback"
	spaCallback   = "http://localhost:8080/spa"
	spaOrigin     = "http://localhost:8080"
)

// flows is what the clients of the example do at an issuer, and what is refused
// to them. It knows the issuer and nothing else: all the rest is found out from
// there.
func flows(t *testing.T, issuer string) {
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := site{issuer, provider}
	t.Run("discovery", s.discovery)
	t.Run("demo-service", s.service)
	t.Run("demo-service refused", s.serviceRefused)
	t.Run("demo-web", s.web)
	t.Run("demo-web refused", s.webRefused)
	t.Run("demo-web replays a code", s.webReplay)
	t.Run("demo-web uses a code many times at once", s.webRace)
	t.Run("demo-spa", s.spa)
	t.Run("demo-spa refused", s.spaRefused)
	t.Run("demo-spa replays a refresh token", s.spaReplay)
	t.Run("clients that find out their method", s.findOut)
	t.Run("single sign-on", s.signOn)
	t.Run("two tabs", s.twoTabs)
	t.Run("requests that are none", s.none)
}

// A site is one running kmint.
type site struct {
	issuer   string
	provider *oidc.Provider
}

func (s site) endpoint(style oauth2.AuthStyle) oauth2.Endpoint {
	e := s.provider.Endpoint()
	e.AuthStyle = style
	return e
}

func (s site) webClient() *oauth2.Config {
	return &oauth2.Config{
		ClientID: "demo-web", ClientSecret: webSecret, RedirectURL: webCallback, Endpoint: s.endpoint(oauth2.AuthStyleInHeader),
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess, "read:orders"},
	}
}

func (s site) spaClient() *oauth2.Config {
	return &oauth2.Config{
		ClientID: "demo-spa", RedirectURL: spaCallback, Endpoint: s.endpoint(oauth2.AuthStyleInParams),
		Scopes: []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess, "read:orders"},
	}
}

func (s site) serviceClient() *clientcredentials.Config {
	return &clientcredentials.Config{
		ClientID: "demo-service", ClientSecret: serviceSecret,
		TokenURL: s.endpoint(0).TokenURL, AuthStyle: oauth2.AuthStyleInHeader,
	}
}

// code logs the demo user in, and returns the code that the client gets.
func (s site) code(t *testing.T, client *oauth2.Config, options ...oauth2.AuthCodeOption) string {
	t.Helper()
	state := oauth2.GenerateVerifier()
	query := newPerson(t, s.issuer).login(client.AuthCodeURL(state, options...))
	// RFC 9207 §2.4: the client compares iss with the issuer, as text.
	if query.Get("state") != state || query.Get("iss") != s.issuer || query.Get("error") != "" || query.Get("code") == "" {
		t.Fatalf("back at the client with %v", query)
	}
	return query.Get("code")
}

// idToken verifies the ID token in an answer.
func (s site) idToken(t *testing.T, client *oauth2.Config, token *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, _ := token.Extra("id_token").(string)
	id, err := s.provider.Verifier(&oidc.Config{ClientID: client.ClientID}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.provider.Verifier(&oidc.Config{ClientID: "somebody-else"}).Verify(t.Context(), raw); err == nil {
		t.Error("the ID token is good for another client too")
	}
	return id
}

// accessToken verifies an access token as its API does, with another JOSE
// library than kmint's.
func (s site) accessToken(t *testing.T, token *oauth2.Token) jwt.Token {
	t.Helper()
	var metadata struct {
		JWKSURI string `json:"jwks_uri"`
	}
	if err := s.provider.Claims(&metadata); err != nil {
		t.Fatal(err)
	}
	keys, err := jwk.Fetch(t.Context(), metadata.JWKSURI)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseString(token.AccessToken, jwt.WithKeySet(keys), jwt.WithIssuer(s.issuer), jwt.WithAudience(orders))
	if err != nil {
		t.Fatalf("%v in %s", err, token.AccessToken)
	}
	body, signature := token.AccessToken[:len(token.AccessToken)-10], token.AccessToken[len(token.AccessToken)-10:]
	twin := body + strings.Map(func(r rune) rune { return map[bool]rune{true: 'B', false: 'A'}[r == 'A'] }, signature)
	if _, err := jwt.ParseString(twin, jwt.WithKeySet(keys)); err == nil {
		t.Error("another signature is as good")
	}
	return parsed
}

func claim[T any](t *testing.T, token jwt.Token, name string) T {
	t.Helper()
	var value T
	if err := token.Get(name, &value); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return value
}

// refused holds an error of x/oauth2 against the documented one.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var answer *oauth2.RetrieveError
	switch {
	case err == nil:
		t.Errorf("not refused, want %d %s", status, code)
	case !errors.As(err, &answer):
		t.Errorf("%v, want %d %s", err, status, code)
	case answer.Response.StatusCode != status || answer.ErrorCode != code || answer.ErrorDescription == "":
		t.Errorf("%d %s (%s), want %d %s", answer.Response.StatusCode, answer.ErrorCode, answer.ErrorDescription, status, code)
	}
}

// refresh uses a refresh token.
func refresh(ctx context.Context, client *oauth2.Config, refreshToken string) (*oauth2.Token, error) {
	return client.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
}

// dead says that a grant has ended: its tokens work neither here nor there.
func (s site) dead(t *testing.T, client *oauth2.Config, token *oauth2.Token) {
	t.Helper()
	_, err := refresh(t.Context(), client, token.RefreshToken)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
	if _, err := s.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("userinfo: %v", err)
	}
}

func (s site) discovery(t *testing.T) {
	var metadata struct {
		Issuer    string   `json:"issuer"`
		Methods   []string `json:"token_endpoint_auth_methods_supported"`
		Grants    []string `json:"grant_types_supported"`
		Challenge []string `json:"code_challenge_methods_supported"`
		Iss       bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := s.provider.Claims(&metadata); err != nil {
		t.Fatal(err)
	}
	slices.Sort(metadata.Methods)
	slices.Sort(metadata.Grants)
	if metadata.Issuer != s.issuer || !slices.Equal(metadata.Methods, []string{
		"client_secret_basic", "client_secret_jwt", "client_secret_post", "none", "private_key_jwt", "workload_identity",
	}) || !slices.Equal(slices.DeleteFunc(metadata.Grants, func(grant string) bool { return grant == "implicit" }), []string{ // where the endpoint signs
		"authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange",
	}) ||
		!slices.Equal(metadata.Challenge, []string{"S256"}) || !metadata.Iss {
		t.Errorf("%+v", metadata)
	}
	// OpenID Connect Discovery 1.0 §4.3: another issuer, if only by a slash, is
	// another.
	if _, err := oidc.NewProvider(t.Context(), strings.TrimSuffix(s.issuer, "/")); err == nil {
		t.Error("the issuer without its slash is as good")
	}
}

func (s site) service(t *testing.T) {
	token, err := s.serviceClient().Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Expiry); token.TokenType != "Bearer" || token.RefreshToken != "" || left < 86300*time.Second || left > 86400*time.Second {
		t.Errorf("%s for %s, refresh token %q", token.TokenType, left, token.RefreshToken)
	}
	access := s.accessToken(t, token)
	if subject, _ := access.Subject(); subject != "demo-service" || claim[string](t, access, "scope") != "read:orders" || claim[string](t, access, "client_id") != "demo-service" {
		t.Errorf("%v", access)
	}
	client := s.serviceClient()
	client.Scopes, client.EndpointParams = []string{"read:orders"}, url.Values{"audience": {orders}}
	if _, err := client.Token(t.Context()); err != nil {
		t.Errorf("scope and audience: %v", err)
	}
	// The owner's path and the aliases are the same endpoint.
	for _, path := range []string{"token", "v1/token", "oauth2/token"} {
		client := s.serviceClient()
		client.TokenURL = s.issuer + path
		if _, err := client.Token(t.Context()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func (s site) serviceRefused(t *testing.T) {
	for name, twin := range map[string]struct {
		change func(*clientcredentials.Config)
		status int
		code   string
	}{
		"wrong secret":   {func(c *clientcredentials.Config) { c.ClientSecret = webSecret }, http.StatusUnauthorized, "invalid_client"},
		"no secret":      {func(c *clientcredentials.Config) { c.ClientSecret = "" }, http.StatusUnauthorized, "invalid_client"},
		"unknown client": {func(c *clientcredentials.Config) { c.ClientID = "nobody" }, http.StatusUnauthorized, "invalid_client"},
		"foreign scope":  {func(c *clientcredentials.Config) { c.Scopes = []string{"write:orders"} }, http.StatusBadRequest, "invalid_scope"},
		"foreign audience": {func(c *clientcredentials.Config) {
			c.EndpointParams = url.Values{"audience": {"https://stock.example.com/"}}
		}, http.StatusBadRequest, "invalid_target"},
		"two audiences":     {func(c *clientcredentials.Config) { c.EndpointParams = url.Values{"audience": {orders, orders}} }, http.StatusBadRequest, "invalid_request"},
		"a client of users": {func(c *clientcredentials.Config) { c.ClientID, c.ClientSecret = "demo-web", webSecret }, http.StatusBadRequest, "unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			client := s.serviceClient()
			twin.change(client)
			_, err := client.Token(t.Context())
			refused(t, err, twin.status, twin.code)
		})
	}
}

func (s site) web(t *testing.T) {
	client, nonce := s.webClient(), oauth2.GenerateVerifier()
	token, err := client.Exchange(t.Context(), s.code(t, client, oidc.Nonce(nonce)))
	if err != nil {
		t.Fatal(err)
	}
	id := s.idToken(t, client, token)
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		Name     string `json:"name"`
		Tier     string `json:"https://example.com/tier"`
		AuthTime int64  `json:"auth_time"`
	}
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if id.Nonce != nonce || id.Subject != "demo-user" || claims.Email != "demo@example.com" || !claims.Verified || claims.Name != "Demo User" || claims.Tier != "gold" {
		t.Errorf("%+v %+v", id, claims)
	}
	if ago := time.Since(time.Unix(claims.AuthTime, 0)); ago < -time.Second || ago > time.Minute {
		t.Errorf("auth_time was %s ago", ago)
	}
	access := s.accessToken(t, token)
	if subject, _ := access.Subject(); subject != "demo-user" || claim[string](t, access, "client_id") != "demo-web" {
		t.Errorf("%v", access)
	}
	info, err := s.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil || info.Subject != "demo-user" || info.Email != "demo@example.com" || !info.EmailVerified {
		t.Errorf("userinfo: %+v %v", info, err)
	}
	renewed, err := refresh(t.Context(), client, token.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	// OpenID Connect Core 1.0 §12.2: "its sub Claim Value MUST be the same",
	// "it SHOULD NOT have a nonce Claim".
	if again := s.idToken(t, client, renewed); again.Subject != id.Subject || again.Nonce != "" || renewed.RefreshToken == token.RefreshToken {
		t.Errorf("%+v", again)
	}
	if _, err := s.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(renewed)); err != nil {
		t.Error(err)
	}

	// A confidential client may use PKCE too; without offline_access there is
	// nothing to refresh.
	client.Scopes = []string{oidc.ScopeOpenID}
	verifier := oauth2.GenerateVerifier()
	token, err = client.Exchange(t.Context(), s.code(t, client, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(verifier))
	if err != nil || token.RefreshToken != "" {
		t.Errorf("refresh token %q, %v", token.RefreshToken, err)
	}
}

func (s site) webRefused(t *testing.T) {
	client := s.webClient()
	code := s.code(t, client)
	twin := func(name, code string, status int, want string, change func(*oauth2.Config), options ...oauth2.AuthCodeOption) {
		t.Run(name, func(t *testing.T) {
			client := s.webClient()
			change(client)
			_, err := client.Exchange(t.Context(), code, options...)
			refused(t, err, status, want)
		})
	}
	twin("wrong secret", code, http.StatusUnauthorized, "invalid_client", func(c *oauth2.Config) { c.ClientSecret = serviceSecret })
	twin("foreign redirect_uri", code, http.StatusBadRequest, "invalid_grant", func(c *oauth2.Config) { c.RedirectURL = spaCallback })
	twin("no redirect_uri", code, http.StatusBadRequest, "invalid_grant", func(c *oauth2.Config) { c.RedirectURL = "" })
	twin("a verifier without a challenge", code, http.StatusBadRequest, "invalid_grant", func(*oauth2.Config) {}, oauth2.VerifierOption(oauth2.GenerateVerifier()))
	twin("another client's code", code, http.StatusBadRequest, "invalid_grant", func(c *oauth2.Config) {
		c.ClientID, c.ClientSecret, c.Endpoint.AuthStyle = "demo-spa", "", oauth2.AuthStyleInParams
	}, oauth2.VerifierOption(oauth2.GenerateVerifier()))
	twin("a made-up code", "kmint_code.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", http.StatusBadRequest, "invalid_grant", func(*oauth2.Config) {})
	// None of them burnt it.
	if _, err := client.Exchange(t.Context(), code); err != nil {
		t.Errorf("the right use: %v", err)
	}

	t.Run("the challenge's verifier is missing", func(t *testing.T) {
		code := s.code(t, client, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
		_, err := client.Exchange(t.Context(), code)
		refused(t, err, http.StatusBadRequest, "invalid_grant")
	})
	// RFC 6749 §4.1.2.1: "the authorization server [...] MUST NOT automatically
	// redirect the user-agent to the invalid redirection URI".
	for name, change := range map[string]func(*oauth2.Config){
		"foreign":               func(c *oauth2.Config) { c.RedirectURL = "https://evil.example/callback" },
		"longer":                func(c *oauth2.Config) { c.RedirectURL = webCallback + "/deeper" },
		"another port":          func(c *oauth2.Config) { c.RedirectURL = "http://localhost:8081/callback" },
		"another client's":      func(c *oauth2.Config) { c.RedirectURL = spaCallback },
		"of a client not there": func(c *oauth2.Config) { c.ClientID = "nobody" },
	} {
		t.Run("a redirect_uri that is "+name, func(t *testing.T) {
			client := s.webClient()
			change(client)
			page, _, out, status := newPerson(t, s.issuer).open(client.AuthCodeURL("state"))
			if out != nil || status != http.StatusBadRequest || len(elements(page, "form")) > 0 || len(elements(page, "h1")) != 1 {
				t.Fatalf("%d, to %v", status, out)
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		p := newPerson(t, s.issuer)
		page, at, _, _ := p.open(client.AuthCodeURL("state"))
		page, _, out, status := p.submit(page, at, map[string]string{"username": username, "password": "wrong"})
		if out != nil || status != http.StatusBadRequest || !strings.Contains(text(page), "Wrong username or password.") {
			t.Errorf("%d, to %v: %s", status, out, text(page))
		}
	})
}

// RFC 6749 §4.1.2: "If an authorization code is used more than once, the
// authorization server MUST deny the request and SHOULD revoke (when possible)
// all tokens previously issued based on that authorization code."
func (s site) webReplay(t *testing.T) {
	client := s.webClient()
	code := s.code(t, client)
	token, err := client.Exchange(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err != nil {
		t.Fatal(err)
	}
	_, err = client.Exchange(t.Context(), code)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
	s.dead(t, client, token)

	// A replay after a refresh ends what the refresh gave.
	code = s.code(t, client)
	if token, err = client.Exchange(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if token, err = refresh(t.Context(), client, token.RefreshToken); err != nil {
		t.Fatal(err)
	}
	_, err = client.Exchange(t.Context(), code)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
	s.dead(t, client, token)
}

// Of many uses at once one wins, and as the others are replays, its tokens end.
func (s site) webRace(t *testing.T) {
	client := s.webClient()
	code := s.code(t, client)
	type result struct {
		token *oauth2.Token
		err   error
	}
	results := make(chan result)
	const racers = 16
	for range racers {
		go func() {
			token, err := client.Exchange(t.Context(), code)
			results <- result{token, err}
		}()
	}
	var winners []*oauth2.Token
	for range racers {
		r := <-results
		if r.err != nil {
			refused(t, r.err, http.StatusBadRequest, "invalid_grant")
			continue
		}
		winners = append(winners, r.token)
	}
	if len(winners) != 1 {
		t.Fatalf("%d of %d won", len(winners), racers)
	}
	s.dead(t, client, winners[0])
}

// A script is an application in a browser: it sends the Origin of its page, and
// reads an answer only if that allows it.
type script struct {
	origin string
	last   http.Header
}

var _ http.RoundTripper = (*script)(nil)

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Origin", s.origin)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		s.last = response.Header
	}
	return response, err
}

func (s *script) context(t *testing.T) context.Context {
	return oidc.ClientContext(t.Context(), &http.Client{Transport: s})
}

// readable holds the CORS headers of the last answer.
func (s *script) readable(t *testing.T, want bool) {
	t.Helper()
	allowed := s.last.Get("Access-Control-Allow-Origin")
	if (allowed == s.origin) != want || !want && allowed != "" || s.last.Get("Access-Control-Allow-Credentials") != "" ||
		!slices.Contains(strings.Split(strings.Join(s.last.Values("Vary"), ","), ","), "Origin") {
		t.Errorf("for %s: %v", s.origin, s.last)
	}
}

func (s site) spa(t *testing.T) {
	page, client := &script{origin: spaOrigin}, s.spaClient()
	ctx := page.context(t)
	verifier := oauth2.GenerateVerifier()
	code := s.code(t, client, oauth2.S256ChallengeOption(verifier), oidc.Nonce("n"))
	preflight, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, client.Endpoint.TokenURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	preflight.Header.Set("Access-Control-Request-Method", http.MethodPost)
	preflight.Header.Set("Access-Control-Request-Headers", "content-type")
	response, err := page.RoundTrip(preflight)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if page.readable(t, true); response.StatusCode/100 != 2 || !strings.Contains(page.last.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", response.StatusCode, page.last)
	}

	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	page.readable(t, true)
	if id := s.idToken(t, client, token); id.Subject != "demo-user" || id.Nonce != "n" {
		t.Errorf("%+v", id)
	}
	for range 3 { // each refresh token gives the next
		renewed, err := refresh(ctx, client, token.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		page.readable(t, true)
		if id := s.idToken(t, client, renewed); id.Subject != "demo-user" || renewed.RefreshToken == token.RefreshToken {
			t.Errorf("%+v", id)
		}
		s.accessToken(t, renewed)
		token = renewed
	}
	// Any page may read what userinfo says to a token.
	if _, err := s.provider.UserInfo(ctx, oauth2.StaticTokenSource(token)); err != nil {
		t.Error(err)
	}
}

func (s site) spaRefused(t *testing.T) {
	page, client, verifier := &script{origin: spaOrigin}, s.spaClient(), oauth2.GenerateVerifier()
	ctx := page.context(t)
	code := s.code(t, client, oauth2.S256ChallengeOption(verifier))
	for name, option := range map[string][]oauth2.AuthCodeOption{
		"wrong verifier": {oauth2.VerifierOption(oauth2.GenerateVerifier())},
		"no verifier":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Exchange(ctx, code, option...)
			refused(t, err, http.StatusBadRequest, "invalid_grant")
			page.readable(t, true) // a script has to tell a wrong code from a server that is away
		})
	}
	t.Run("foreign origin", func(t *testing.T) {
		for _, origin := range []string{"https://evil.example", "http://localhost:8081", "http://localhost:8080.evil.example", "null"} {
			evil := &script{origin: origin}
			_, err := client.Exchange(evil.context(t), "kmint_code.wrong", oauth2.VerifierOption(verifier))
			refused(t, err, http.StatusBadRequest, "invalid_grant")
			evil.readable(t, false)
		}
	})
	t.Run("with another client's secret", func(t *testing.T) {
		client := s.spaClient()
		client.ClientSecret = webSecret
		_, err := client.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		refused(t, err, http.StatusUnauthorized, "invalid_client")
	})
	if _, err := client.Exchange(ctx, code, oauth2.VerifierOption(verifier)); err != nil {
		t.Errorf("the right use: %v", err)
	}
	for name, options := range map[string][]oauth2.AuthCodeOption{
		"no challenge": nil,
		"plain":        {oauth2.SetAuthURLParam("code_challenge", verifier), oauth2.SetAuthURLParam("code_challenge_method", "plain")},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, out, _ := newPerson(t, s.issuer).open(client.AuthCodeURL("its-state", options...))
			if out == nil {
				t.Fatal("there is a page")
			}
			if q := out.Query(); q.Get("error") != "invalid_request" || q.Get("state") != "its-state" || q.Get("iss") != s.issuer || q.Has("code") {
				t.Errorf("back at the client with %v", q)
			}
		})
	}
}

// RFC 9700 §4.14.2: "the refresh token that was used [...] will be invalidated".
// Whoever comes second ends the grant for both.
func (s site) spaReplay(t *testing.T) {
	page, client, verifier := &script{origin: spaOrigin}, s.spaClient(), oauth2.GenerateVerifier()
	ctx := page.context(t)
	first, err := client.Exchange(ctx, s.code(t, client, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	second, err := refresh(ctx, client, first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	// Another client that has found it can do nothing with it, and nothing to it.
	_, err = refresh(t.Context(), s.webClient(), second.RefreshToken)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
	third, err := refresh(ctx, client, second.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	_, err = refresh(ctx, client, first.RefreshToken)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
	page.readable(t, true)
	s.dead(t, client, third)
}

// findOut leaves it to x/oauth2 to find out how a client authenticates: it tries
// the Authorization header first, and the body if that is refused. What is
// refused must not have burnt the code.
func (s site) findOut(t *testing.T) {
	for name, client := range map[string]*oauth2.Config{"demo-web": s.webClient(), "demo-spa": s.spaClient()} {
		t.Run(name, func(t *testing.T) {
			client.Endpoint.AuthStyle = oauth2.AuthStyleAutoDetect
			verifier := oauth2.GenerateVerifier()
			if _, err := client.Exchange(t.Context(), s.code(t, client, oauth2.S256ChallengeOption(verifier)), oauth2.VerifierOption(verifier)); err != nil {
				t.Error(err)
			}
		})
	}
}

func (s site) signOn(t *testing.T) {
	client, p := s.webClient(), newPerson(t, s.issuer)
	authTime := func(query url.Values) int64 {
		t.Helper()
		token, err := client.Exchange(t.Context(), query.Get("code"))
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			AuthTime int64 `json:"auth_time"`
		}
		if err := s.idToken(t, client, token).Claims(&claims); err != nil {
			t.Fatal(err)
		}
		return claims.AuthTime
	}
	none, ask := oauth2.SetAuthURLParam("prompt", "none"), oauth2.SetAuthURLParam("prompt", "login")
	if _, _, out, _ := p.open(client.AuthCodeURL("s", none)); out == nil || out.Query().Get("error") != "login_required" {
		t.Errorf("prompt=none without a session: %v", out)
	}
	first := authTime(p.login(client.AuthCodeURL("s")))
	for _, options := range [][]oauth2.AuthCodeOption{{}, {none}, {oauth2.SetAuthURLParam("max_age", "1000")}} {
		_, _, out, _ := p.open(client.AuthCodeURL("s", options...))
		if out == nil {
			t.Fatal("with a session there is a page all the same")
		}
		if again := authTime(out.Query()); again != first {
			t.Errorf("auth_time was %d and is %d", first, again)
		}
	}
	// The session belongs to the browser, not to the client.
	verifier := oauth2.GenerateVerifier()
	if _, _, out, _ := p.open(s.spaClient().AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))); out == nil || out.Query().Get("code") == "" {
		t.Errorf("the other client: %v", out)
	}
	time.Sleep(1100 * time.Millisecond)
	for name, option := range map[string]oauth2.AuthCodeOption{
		"prompt=login": ask, "max_age=0": oauth2.SetAuthURLParam("max_age", "0"),
	} {
		if page, _, out, _ := p.open(client.AuthCodeURL("s", option)); out != nil || len(elements(page, "form")) != 1 {
			t.Errorf("%s with a session shows no page: %v", name, out)
		}
	}
	before := p.session()
	if again := authTime(p.login(client.AuthCodeURL("s", ask))); again <= first {
		t.Errorf("auth_time was %d and is %d after a new login", first, again)
	}
	if after := p.session(); after == before || before == "" {
		t.Error("a new login keeps the old session")
	}
	if _, _, out, _ := newPerson(t, s.issuer).open(client.AuthCodeURL("s", none)); out == nil || out.Query().Get("error") != "login_required" {
		t.Errorf("somebody else's browser: %v", out)
	}
}

// twoTabs has two login pages open at once, and uses both.
func (s site) twoTabs(t *testing.T) {
	p := newPerson(t, s.issuer)
	fill := map[string]string{"username": username, "password": password}
	first, at, _, _ := p.open(s.webClient().AuthCodeURL("first"))
	second, _, _, _ := p.open(s.spaClient().AuthCodeURL("second", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	for _, tab := range []struct {
		page      *html.Node
		to, state string
	}{{second, spaCallback, "second"}, {first, webCallback, "first"}, {first, webCallback, "first"}} {
		_, _, out, status := p.submit(tab.page, at, fill)
		if out == nil {
			t.Fatalf("no way back to %s: %d", tab.to, status)
		}
		if q := out.Query(); !strings.HasPrefix(out.String(), tab.to+"?") || q.Get("state") != tab.state || q.Get("code") == "" {
			t.Errorf("back at %s", out)
		}
	}
}

// none are requests that no client sends.
func (s site) none(t *testing.T) {
	tokenURL := s.endpoint(0).TokenURL
	for name, twin := range map[string]struct {
		body   string
		status int
	}{
		"repeated parameter": {"grant_type=client_credentials&grant_type=client_credentials", http.StatusBadRequest},
		"oversized body":     {"grant_type=client_credentials&filler=" + strings.Repeat("x", 65<<10), http.StatusRequestEntityTooLarge},
		"no grant":           {"scope=openid", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tokenURL, strings.NewReader(twin.body))
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("demo-service", serviceSecret)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			s.answers(t, r, twin.status, "invalid_request")
		})
	}
	t.Run("GET", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tokenURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header := s.answers(t, r, http.StatusMethodNotAllowed, "invalid_request"); header.Get("Allow") != "POST" {
			t.Errorf("Allow: %s", header.Get("Allow"))
		}
	})
	t.Run("repeated parameter at /authorize", func(t *testing.T) {
		page, _, out, status := newPerson(t, s.issuer).open(s.webClient().AuthCodeURL("s") + "&client_id=demo-web")
		if out != nil || status != http.StatusBadRequest || len(elements(page, "h1")) != 1 {
			t.Errorf("%d, to %v", status, out)
		}
	})
}

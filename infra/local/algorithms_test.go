package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"kmint/pkg/config"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/verify"
)

// APIs side by side, each with an algorithm of its own: their tokens are signed by it,
// count at introspection, and at the API, by what discovery and JWKS say. The seed alone
// asks for the keys.
func TestAlgorithmsOfAPIs(t *testing.T) {
	var functions map[string]http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			functions["DiscoveryFunction"].ServeHTTP(w, r)
			return
		}
		functions["TokenFunction"].ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	identifier := func(algorithm string) string { return "https://" + strings.ToLower(algorithm) + ".example.com/" }
	var apis, grants []string
	clients := []string{""}
	const secret = "0123456789abcdef0123456789abcdef"
	for _, algorithm := range jwt.Algorithms() {
		apis = append(apis, fmt.Sprintf(`{"identifier": %q, "signing_alg": %q, "scopes": {"read": "r"}}`, identifier(algorithm), algorithm))
		grants = append(grants, fmt.Sprintf(`%q: ["read"]`, identifier(algorithm)))
		clients = append(clients, fmt.Sprintf(`{"client_id": "api-%s", "client_secret": %q, "grant_types": [], "resource_server_identifier": %q}`,
			algorithm, secret, identifier(algorithm)))
	}
	clients[0] = fmt.Sprintf(`{"client_id": "service", "client_secret": %q, "grant_types": ["client_credentials"], "api_grants": {%s}}`, secret, strings.Join(grants, ","))
	s, err := seed.Read(strings.NewReader(`{"apis": [` + strings.Join(apis, ",") + `], "clients": [` + strings.Join(clients, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHouse(t.Context(), config.Local{DataDir: t.TempDir(), Issuer: server.URL + "/"}, slog.New(slog.DiscardHandler), s.Algorithms()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if _, err := s.Write(t.Context(), h.writers()); err != nil {
		t.Fatal(err)
	}
	functions = h.functions("/oauth/token")

	ask := func(path, client string, form url.Values) map[string]any {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(client, secret)
		w := httptest.NewRecorder()
		functions["TokenFunction"].ServeHTTP(w, r)
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return answer
	}
	for _, algorithm := range jwt.Algorithms() {
		answer := ask("/oauth/token", "service", url.Values{"grant_type": {oauth.ClientCredentials}, "audience": {identifier(algorithm)}})
		token, _ := answer["access_token"].(string)
		api := &verify.Verifier{Issuer: server.URL + "/", Audience: identifier(algorithm), Algorithms: []string{algorithm}}
		if claims, err := api.Verify(t.Context(), token); err != nil || claims.ClientID != "service" {
			t.Errorf("%s at its API: %+v %v", algorithm, claims, err)
		}
		if answer := ask("/oauth/introspect", "api-"+algorithm, url.Values{"token": {token}}); answer["active"] != true || answer["client_id"] != "service" {
			t.Errorf("%s at introspection: %v", algorithm, answer)
		}
		end := strings.LastIndexByte(token, '.')
		if answer := ask("/oauth/introspect", "api-"+algorithm, url.Values{"token": {token[:end-8] + "AAAAAAAA" + token[end:]}}); answer["active"] != false {
			t.Errorf("%s with other claims: %v", algorithm, answer)
		}
	}
}

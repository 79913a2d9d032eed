package discovery_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/discovery"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// A house is what the endpoint reads.
type house struct {
	issuer     string
	algorithms []string
	issuerErr  error
	keysErr    error
	keys       jwt.Set
}

func (h house) Issuer(context.Context) (string, error)       { return h.issuer, h.issuerErr }
func (h house) Algorithms(context.Context) ([]string, error) { return h.algorithms, h.keysErr }
func (h house) JWKS(context.Context) (jwt.Set, error)        { return h.keys, h.keysErr }

func ask(t *testing.T, h house) *httptest.ResponseRecorder {
	t.Helper()
	e := discovery.Endpoint{
		Issuers: h, Keys: h,
		TokenPath: "/oauth/token", RevokePath: "/oauth/revoke", IntrospectPath: "/oauth/introspect",
		GrantTypes:      []string{oauth.ClientCredentials, oauth.TokenExchange},
		AuthMethods:     []string{oauth.PrivateKeyJWT, oauth.None},
		AuthAlgorithms:  []string{"ES256"},
		ProofAlgorithms: []string{"ES256", "EdDSA"},
		ResponseTypes:   []string{"code", "none"}, ResponseModes: []string{"query"}, RequestAlgorithms: []string{"none"},
	}
	w := httptest.NewRecorder()
	edge := web.Edge{Log: slog.New(slog.DiscardHandler), Now: time.Now}
	edge.JSON(e.Metadata).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/openid-configuration", nil))
	return w
}

func TestMetadata(t *testing.T) {
	w := ask(t, house{issuer: "https://login.example.com/", algorithms: []string{"RS256", "ES256"}})
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v", w.Code, err)
	}
	list := func(values ...any) []any { return values }
	for name, want := range map[string]any{
		"issuer":                                      "https://login.example.com/",
		"token_endpoint":                              "https://login.example.com/oauth/token",
		"revocation_endpoint":                         "https://login.example.com/oauth/revoke",
		"introspection_endpoint":                      "https://login.example.com/oauth/introspect",
		"grant_types_supported":                       list(oauth.ClientCredentials, oauth.TokenExchange),
		"response_types_supported":                    list("code", "none"),
		"response_modes_supported":                    list("query"),
		"request_object_signing_alg_values_supported": list("none"),
		"scopes_supported":                            list("openid", "profile", "email", "address", "phone", "offline_access", "online_access"),

		"id_token_signing_alg_values_supported":            list("RS256", "ES256"),
		"dpop_signing_alg_values_supported":                list("ES256", "EdDSA"),
		"token_endpoint_auth_methods_supported":            list(oauth.PrivateKeyJWT, oauth.None),
		"token_endpoint_auth_signing_alg_values_supported": list("ES256"),

		"revocation_endpoint_auth_methods_supported":               list(oauth.PrivateKeyJWT, oauth.None),
		"revocation_endpoint_auth_signing_alg_values_supported":    list("ES256"),
		"introspection_endpoint_auth_methods_supported":            list(oauth.PrivateKeyJWT),
		"introspection_endpoint_auth_signing_alg_values_supported": list("ES256"),
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	for name, value := range got {
		if value == nil {
			t.Errorf("%s is null", name)
		}
		if text, ok := value.(string); ok && strings.HasSuffix(name, "_endpoint") {
			if u, err := url.Parse(text); err != nil || u.Host != "login.example.com" || strings.HasPrefix(u.Path, "//") {
				t.Errorf("%s is %s", name, text)
			}
		}
	}
}

// OpenID Connect Discovery 1.0 §3 has RS256 in every list; what no key signs by is not
// announced.
func TestSigningAlgorithms(t *testing.T) {
	for _, test := range []struct{ active, want []string }{
		{nil, []string{"RS256"}},
		{[]string{"RS256"}, []string{"RS256"}},
		{[]string{"PS256", "ES256"}, []string{"RS256", "PS256", "ES256"}},
	} {
		var got discovery.Metadata
		if err := json.Unmarshal(ask(t, house{issuer: "https://a.example", algorithms: test.active}).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.SigningAlgorithms, test.want) {
			t.Errorf("%v: %v", test.active, got.SigningAlgorithms)
		}
	}
}

// A new key waits for caches as long as they may keep the keys that were before it.
func TestCachesKeepKeysNoLongerThanRotationWaits(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.ES256, &private.PublicKey, "k")
	if err != nil {
		t.Fatal(err)
	}
	h := house{keys: jwt.Set{Keys: []jwt.Key{key}}}
	w := httptest.NewRecorder()
	edge := web.Edge{Log: slog.New(slog.DiscardHandler), Now: time.Now}
	edge.JSON(discovery.Endpoint{Keys: h}.JWKS).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	want := fmt.Sprintf("public, max-age=%d", int(keys.EdgeAge/time.Second))
	if got := w.Header().Get("Cache-Control"); w.Code != http.StatusOK || got != want {
		t.Errorf("%d %q, want %q: %s", w.Code, got, want, w.Body)
	}
}

// What cannot be read now is not said wrongly, and no cache keeps that.
func TestMetadataUnavailable(t *testing.T) {
	for name, test := range map[string]struct {
		house
		status int
	}{
		"the issuer, busy":   {house{issuerErr: store.ErrBusy}, http.StatusServiceUnavailable},
		"the keys, busy":     {house{issuer: "https://a.example", keysErr: store.ErrBusy}, http.StatusServiceUnavailable},
		"the keys, on fire":  {house{issuer: "https://a.example", keysErr: errors.New("table on fire")}, http.StatusInternalServerError},
		"the issuer on fire": {house{issuerErr: errors.New("table on fire")}, http.StatusInternalServerError},
	} {
		w := ask(t, test.house)
		if w.Code != test.status || strings.Contains(w.Body.String(), "fire") || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %s", name, w.Code, w.Header().Get("Cache-Control"), w.Body)
		}
	}
}

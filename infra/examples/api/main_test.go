package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
	"go.yaml.in/yaml/v3"

	"kmint/pkg/gateway"
	"kmint/pkg/verify"
)

// An event is an HttpApi event of template.yaml.
type event struct {
	Method string `yaml:"Method"`
	Path   string `yaml:"Path"`
	Auth   struct {
		Scopes []string `yaml:"AuthorizationScopes"`
	} `yaml:"Auth"`
}

func readEvents(t *testing.T) map[string]event {
	t.Helper()
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources struct {
			OrdersFunction struct {
				Properties struct {
					Events map[string]struct {
						Properties event `yaml:"Properties"`
					} `yaml:"Events"`
				} `yaml:"Properties"`
			} `yaml:"OrdersFunction"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	found := map[string]event{}
	for name, e := range template.Resources.OrdersFunction.Properties.Events {
		found[name] = e.Properties
	}
	if len(found) == 0 {
		t.Fatal("template.yaml has no events")
	}
	return found
}

// TestRoutes holds that the function serves each route of the template, for the
// scopes that the template says and no less.
func TestRoutes(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var document any = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Use: "sig"}}}
		if r.URL.Path != "/jwks" {
			document = map[string]string{"issuer": issuer.URL, "jwks_uri": issuer.URL + "/jwks"}
		}
		_ = json.NewEncoder(w).Encode(document)
	}))
	defer issuer.Close()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}},
		(&jose.SignerOptions{}).WithType("at+jwt"),
	)
	if err != nil {
		t.Fatal(err)
	}
	const audience = "https://orders.example.com/"
	function := gateway.Proxy(routes(&verify.Verifier{Issuer: issuer.URL, Audience: audience}))
	ask := func(e event, scope string, change map[string]any) int {
		t.Helper()
		claims := map[string]any{
			"iss": issuer.URL, "aud": audience, "sub": "somebody", "client_id": "app", "jti": "1", "scope": scope,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
		for name, v := range change {
			claims[name] = v
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		request := events.APIGatewayV2HTTPRequest{RawPath: e.Path, Headers: map[string]string{"authorization": "Bearer " + token}}
		request.RequestContext.HTTP.Method = e.Method
		answer, err := function(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	for name, e := range readEvents(t) {
		if len(e.Auth.Scopes) != 1 {
			t.Errorf("%s asks for the scopes %q", name, e.Auth.Scopes)
			continue
		}
		if got := ask(e, "other "+e.Auth.Scopes[0], nil); got >= 300 {
			t.Errorf("%s answers %d", name, got)
		}
		if got := ask(e, "other", nil); got != http.StatusForbidden {
			t.Errorf("%s without the scope answers %d", name, got)
		}
		// What API Gateway's authorizer lets through, and only a proof would make good.
		if got := ask(e, e.Auth.Scopes[0], map[string]any{"cnf": map[string]string{"jkt": "x"}}); got != http.StatusUnauthorized {
			t.Errorf("%s with a bound token answers %d", name, got)
		}
	}
}

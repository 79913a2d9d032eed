package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An elsewhere is a server that is not ours: it publishes a key set, for a client
// that has its keys there and for an issuer that the owner trusts.
type elsewhere struct {
	*httptest.Server
	key     *ecdsa.PrivateKey
	fetches atomic.Int64
}

func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := &elsewhere{key: key}
	mux := http.NewServeMux()
	answer := func(value func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			e.fetches.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(value())
		}
	}
	mux.HandleFunc("GET /jwks.json", answer(func() any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "one", Algorithm: "ES256"}}}
	}))
	mux.HandleFunc("GET /.well-known/openid-configuration", answer(func() any {
		return map[string]string{"issuer": e.URL, "jwks_uri": e.URL + "/jwks.json"}
	}))
	e.Server = httptest.NewTLSServer(mux)
	t.Cleanup(e.Close)
	return e
}

// certificateFile is where the server's certificate is.
func (e *elsewhere) certificateFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "elsewhere.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sign makes a JWT by a key, which need not be the one that is published.
func sign(t *testing.T, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	claims["iat"], claims["exp"], claims["jti"] = time.Now().Unix(), time.Now().Add(time.Minute).Unix(), rand.Text()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// TestKeysElsewhere has `make run` fetch the keys of a client at its jwks_uri, and
// those of a foreign issuer by discovery: for a workload, and for a token exchange.
func TestKeysElsewhere(t *testing.T) {
	t.Parallel()
	e := newElsewhere(t)
	seed := filepath.Join(t.TempDir(), "seed.json")
	text := strings.NewReplacer("ELSEWHERE", e.URL).Replace(`{
		"server": {"trusted_issuers": [{"issuer": "ELSEWHERE", "algs": ["ES256"], "audience": "https://orders.example.com/"}]},
		"apis": [{"identifier": "https://orders.example.com/", "scopes": {"read:orders": ""}, "user_policy": "require_grant"}],
		"clients": [
			{"client_id": "service", "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "ELSEWHERE/jwks.json",
				"grant_types": ["client_credentials"], "api_grants": {"https://orders.example.com/": ["read:orders"]}},
			{"client_id": "job", "token_endpoint_auth_method": "workload_identity",
				"workload": {"issuer": "ELSEWHERE", "audience": "https://login.example.com/", "subject": "repo:example/*"},
				"grant_types": ["client_credentials"], "api_grants": {"https://orders.example.com/": ["read:orders"]}},
			{"client_id": "api", "client_secret": "a-secret-that-is-used-in-this-test-only",
				"token_endpoint_auth_method": "client_secret_post", "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"],
				"user_api_grants": {"https://orders.example.com/": ["read:orders"]},
				"token_exchange": {"impersonation": true, "subject_issuers": ["ELSEWHERE"]}}
		]}`)
	if err := os.WriteFile(seed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	issuer := makeRun(t, "SEED="+seed, "SSL_CERT_FILE="+e.certificateFile(t)).issuer
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := func(form url.Values) (int, string) {
		response, err := http.PostForm(issuer+"oauth/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	assertion := func(client, jwt string) url.Values {
		return url.Values{
			"grant_type": {"client_credentials"}, "client_id": {client},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {jwt},
		}
	}
	exchange := func(jwt string) url.Values {
		return url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"api"},
			"client_secret": {"a-secret-that-is-used-in-this-test-only"}, "audience": {"https://orders.example.com/"},
			"subject_token": {jwt}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		}
	}
	own := func() map[string]any { return map[string]any{"iss": "service", "sub": "service", "aud": issuer} }
	workload := func(sub string) map[string]any {
		return map[string]any{"iss": e.URL, "sub": sub, "aud": "https://login.example.com/"}
	}
	person := func() map[string]any {
		return map[string]any{"iss": e.URL, "sub": "alice", "aud": "https://orders.example.com/"}
	}
	for name, tt := range map[string]struct {
		form   url.Values
		status int
		says   string
	}{
		"a client's keys":            {assertion("service", sign(t, e.key, own())), 200, "access_token"},
		"another key":                {assertion("service", sign(t, stranger, own())), 401, "invalid_client"},
		"a workload":                 {assertion("job", sign(t, e.key, workload("repo:example/app:ref:refs/heads/main"))), 200, "access_token"},
		"another workload":           {assertion("job", sign(t, e.key, workload("repo:evil/app:ref:refs/heads/main"))), 401, "invalid_client"},
		"a workload by another key":  {assertion("job", sign(t, stranger, workload("repo:example/app:ref:refs/heads/main"))), 401, "invalid_client"},
		"a person, exchanged":        {exchange(sign(t, e.key, person())), 200, "issued_token_type"},
		"a person by another key":    {exchange(sign(t, stranger, person())), 400, "invalid_request"},
		"a workload's, as a subject": {exchange(sign(t, e.key, workload("repo:example/app"))), 400, "invalid_request"},
	} {
		if status, body := token(tt.form); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	// Both documents once: what is wrong by its signature is no reason to ask again
	// before a minute is over.
	if n := e.fetches.Load(); n != 2 {
		t.Errorf("%d documents were fetched", n)
	}
}

package clientauth_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/clientauth"
	"kmint/pkg/fetch"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// An example is one of testdata: what an issuer issues, and the client for it.
type example struct {
	TrustedIssuer store.TrustedIssuer `json:"trusted_issuer"`
	Client        store.Client        `json:"client"`
	Algorithm     string              `json:"algorithm"`
	Typ           string              `json:"typ"`
	// Lifetime are the dates, in seconds from now.
	Lifetime map[string]int64 `json:"lifetime"`
	Claims   map[string]any   `json:"claims"`
	// Others are changes that make the token another workload's.
	Others []map[string]any `json:"others"`
}

func (e example) claims(changes map[string]any) map[string]any {
	c := maps.Clone(e.Claims)
	for name, seconds := range e.Lifetime {
		c[name] = now.Unix() + seconds
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

type issuers map[string]trust.Issuer

func (i issuers) TrustedIssuer(_ context.Context, issuer string) (trust.Issuer, error) {
	if found, ok := i[issuer]; ok {
		return found, nil
	}
	return trust.Issuer{}, trust.ErrUntrusted
}

// A rig is an issuer that is reached by TLS, and an Authenticator that trusts it.
type rig struct {
	example
	clientauth.Authenticator
	by    signature
	asked []string
}

// newRig moves the example's issuer to this machine.
func newRig(t *testing.T, file string) *rig {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{}
	if err := json.Unmarshal(text, &r.example); err != nil {
		t.Fatal(err)
	}
	k := keys()
	r.by = signature{algorithm: r.Algorithm, key: map[string]any{"RS256": k.rsa, "ES384": k.p384}[r.Algorithm], kid: "theirs", typ: r.Typ}
	published := public(jose.JSONWebKey{Key: r.by.key, KeyID: "theirs", Use: "sig", Algorithm: r.Algorithm})
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked = append(r.asked, q.URL.Path)
		mux.ServeHTTP(w, q)
	}))
	t.Cleanup(s.Close)
	here := s.URL + "/issuer"
	mux.HandleFunc("GET /issuer/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		json.NewEncoder(w).Encode(map[string]any{"issuer": here, "jwks_uri": s.URL + "/keys", "id_token_signing_alg_values_supported": []string{r.Algorithm}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(published))
	})
	if r.TrustedIssuer.Issuer != r.Client.Workload.Issuer || r.TrustedIssuer.Issuer != r.Claims["iss"] {
		t.Fatal("the example speaks of several issuers")
	}
	r.Client.Workload.Issuer, r.Claims["iss"] = here, here
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	clock := func() time.Time { return now }
	r.Authenticator = clientauth.Authenticator{
		Clients: clients{r.Client.ID: r.Client}, Issuers: issuer(us), Now: clock,
		Trust: &trust.Verifier{
			Issuers:   issuers{here: {Issuer: here}},
			Documents: &fetch.Fetcher{Roots: pool, AllowLoopback: true, Now: clock},
		},
	}
	return r
}

func (r *rig) send(t *testing.T, token string, change func(url.Values)) (clientauth.Authentication, error) {
	t.Helper()
	form := url.Values{"client_id": {r.Client.ID}, "client_assertion": {token}, "client_assertion_type": {oauth.AssertionType}}
	if change != nil {
		change(form)
	}
	return send(t, r.Authenticator, "", form)
}

// What AWS STS, GitHub Actions and Kubernetes issue, with the client for it.
func TestWorkloads(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			r := newRig(t, file)
			token := r.by.sign(t, r.claims(nil))
			for range 2 { // it is a bearer token: it counts again
				got, err := r.send(t, token, nil)
				if err != nil || got.Client.ID != r.Client.ID || len(got.Uses) != 0 {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			if asked := strings.Join(r.asked, " "); asked != "/issuer/.well-known/openid-configuration /keys" {
				t.Errorf("asked %s", asked)
			}
			for _, other := range r.Others {
				_, err := r.send(t, r.by.sign(t, r.claims(other)), nil)
				checkRefusal(t, err, oauth.InvalidClient, " ")
				for name := range other {
					if why := err.Error(); !strings.Contains(why, name) && !strings.Contains(why, strings.ReplaceAll(name, "/", "~1")) {
						t.Errorf("%v: refused for something else: %v", other, err)
					}
				}
			}
		})
	}
}

func TestWorkloadRules(t *testing.T) {
	k := keys()
	with := func(name string, value any) map[string]any { return map[string]any{name: value} }
	for name, test := range map[string]struct {
		changes map[string]any
		by      func(*signature)
		rig     func(*rig)
		form    func(url.Values)
		refused oauth.Code
		why     string
	}{
		"as it is":                {},
		"without jti":             {changes: with("jti", nil)},
		"for a day":               {changes: with("exp", now.Unix()+24*3600)},
		"a second more":           {changes: with("exp", now.Unix()+24*3600+1), refused: oauth.InvalidClient, why: "made for more"},
		"for a year, long ago":    {changes: map[string]any{"iat": now.Unix() - 365*24*3600, "nbf": nil}, refused: oauth.InvalidClient, why: "made for more"},
		"for a year, no iat":      {changes: map[string]any{"iat": nil, "exp": now.Unix() + 365*24*3600}, refused: oauth.InvalidClient, why: "from now"},
		"expired":                 {changes: with("exp", now.Unix()-60), refused: oauth.InvalidClient, why: "expired"},
		"a second before that":    {changes: map[string]any{"iat": now.Unix() - 119, "exp": now.Unix() - 59}},
		"no exp":                  {changes: with("exp", nil), refused: oauth.InvalidClient, why: "no exp"},
		"not yet":                 {changes: with("nbf", now.Unix()+61), refused: oauth.InvalidClient, why: "not valid yet"},
		"another issuer":          {changes: with("iss", "https://other.example"), refused: oauth.InvalidClient, why: "iss is"},
		"no sub":                  {changes: with("sub", nil), refused: oauth.InvalidClient, why: "sub is"},
		"typ jwt":                 {by: func(s *signature) { s.typ = "jwt" }},
		"no typ":                  {by: func(s *signature) { s.typ = "" }},
		"an access token":         {by: func(s *signature) { s.typ = "at+jwt" }, refused: oauth.InvalidClient, why: "typ is"},
		"an assertion's typ":      {by: func(s *signature) { s.typ = "client-authentication+jwt" }, refused: oauth.InvalidClient, why: "typ is"},
		"another's key":           {by: func(s *signature) { s.key = k.otherRSA }, refused: oauth.InvalidClient, why: "no key with kid"},
		"an unknown kid":          {by: func(s *signature) { s.kid = "x" }, refused: oauth.InvalidClient, why: "no such key"},
		"a MAC":                   {by: func(s *signature) { s.algorithm, s.key = "HS256", []byte(newSecret.Reveal()) }, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"no client_id":            {form: func(v url.Values) { v.Del("client_id") }, refused: oauth.InvalidClient, why: "unknown client"},
		"no client_id, but sub":   {changes: with("sub", "deployer"), rig: func(r *rig) { r.Client.Workload.Subject = "deployer" }, form: func(v url.Values) { v.Del("client_id") }, refused: oauth.InvalidClient, why: "client_id is missing"},
		"a client_id that is sub": {changes: with("sub", "deployer"), rig: func(r *rig) { r.Client.Workload.Subject = "deployer" }},
		"a secret too":            {form: func(v url.Values) { v.Set("client_secret", "x") }, refused: oauth.InvalidRequest, why: "two methods"},
		"bound to nothing":        {rig: func(r *rig) { r.Client.Workload = nil; r.Clients = clients{r.Client.ID: r.Client} }, refused: oauth.InvalidClient, why: "bound to no workload"},
		"bound to no audience":    {rig: func(r *rig) { r.Client.Workload.Audience = "" }, refused: oauth.InvalidClient, why: "bound to no workload"},
		"bound to no subject":     {rig: func(r *rig) { r.Client.Workload.Subject = "" }, refused: oauth.InvalidClient, why: "sub is"},
		"bound to any subject":    {rig: func(r *rig) { r.Client.Workload.Subject = "*" }, refused: oauth.InvalidClient, why: "sub is"},
		"a subject's beginning":   {rig: func(r *rig) { r.Client.Workload.Subject = "repo:example-org/shop:*" }},
		"another's beginning":     {rig: func(r *rig) { r.Client.Workload.Subject = "repo:example-org/other:*" }, refused: oauth.InvalidClient, why: "sub is"},
		"no longer trusted":       {rig: func(r *rig) { r.Trust.Issuers = issuers{} }, refused: oauth.InvalidClient, why: "not trusted"},
		"the client of another method": {rig: func(r *rig) {
			r.Client.AuthMethod, r.Client.JWKS = oauth.PrivateKeyJWT, public(jose.JSONWebKey{Key: k.rsa, KeyID: "theirs"})
			r.Clients = clients{r.Client.ID: r.Client}
		}, refused: oauth.InvalidClient, why: "iss is"},
		"its own assertion": {rig: func(r *rig) {
			r.Claims = claimsOf(r.Client.ID, nil)
			r.Lifetime = nil
		}, refused: oauth.InvalidClient, why: "iss is"},
		"the issuer is not there": {rig: func(r *rig) { r.Trust.Documents = &getter{err: temporary{}} }, refused: oauth.TemporarilyUnavailable, why: "no network"},
		"the issuer is refused":   {rig: func(r *rig) { r.Trust.Documents = &getter{err: guarded{}} }, refused: oauth.InvalidClient, why: "the guard refuses"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "testdata/github.json")
			if test.rig != nil {
				test.rig(r)
			}
			if test.by != nil {
				test.by(&r.by)
			}
			_, err := r.send(t, r.by.sign(t, r.claims(test.changes)), test.form)
			switch {
			case test.refused != "":
				checkRefusal(t, err, test.refused, test.why)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

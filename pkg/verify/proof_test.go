package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/verify"
)

// other is the key of somebody else; curve is the client's.
var other = sync.OnceValue(func() *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
})

// bound is a token for the client's key.
func (f *forge) bound(claims map[string]any) string {
	key := must(jwt.Thumbprint(&curve().PublicKey))
	return f.token(nil, with(map[string]any{"cnf": map[string]any{"jkt": key}}, claims))
}

var proofs int

// dpop is a proof for a token, with a jti of its own.
func dpop(key *ecdsa.PrivateKey, token string, change map[string]any) string {
	proofs++
	sum := sha256.Sum256([]byte(token))
	claims := with(map[string]any{
		"jti": strconv.Itoa(proofs), "htm": "GET", "htu": "https://orders.example.com/orders", "iat": now.Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}, change)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")))
	return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// ask sends a request, whose Host is not to be believed.
func ask(h http.Handler, address, authorization string, proof ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.Host = "evil.example.com"
	r.Header.Set("Authorization", authorization)
	r.Header["Dpop"] = proof
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestBoundTokens(t *testing.T) {
	f := newForge(t)
	api := f.verifier()
	api.Resource = "https://orders.example.com/"
	handler := api.Require(seen, "read:orders")
	const all = `algs="ES256 ES384 ES512 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512"`
	const realm = ` realm="https://orders.example.com/", resource_metadata="https://orders.example.com/.well-known/oauth-protected-resource"`
	bearer, bound := f.token(nil, nil), f.bound(nil)
	poor := f.bound(map[string]any{"scope": "other"})
	type members = map[string]any
	proof := func(change members) string { return dpop(curve(), bound, change) }
	used := proof(nil)
	for _, c := range []struct {
		name          string
		authorization string
		proofs        []string
		status        int
		// challenge holds the code and the words of the DPoP challenge; the Bearer's
		// where bearer is set.
		code, words string
		bearer      bool
	}{
		{"a bearer token", "Bearer " + bearer, nil, 200, "", "", false},
		{"a bearer token and a needless header", "Bearer " + bearer, []string{"x"}, 200, "", "", false},
		{"a token and its proof", "DPoP " + bound, []string{used}, 200, "", "", false},
		{"the scheme in small letters", "dpop  " + bound, []string{proof(nil)}, 200, "", "", false},
		{"a query", "DPoP " + bound, []string{proof(members{"htu": "https://orders.example.com/orders?x#y"})}, 200, "", "", false},

		{"the proof again", "DPoP " + bound, []string{used}, 401, "invalid_dpop_proof", "was used before", false},
		{"as a bearer token", "Bearer " + bound, nil, 401, "invalid_token", "it is bound to a key", true},
		{"as a bearer token, with a proof", "Bearer " + bound, []string{proof(nil)}, 401, "invalid_token", "it is bound to a key", true},
		{"a bearer token as DPoP", "DPoP " + bearer, []string{dpop(curve(), bearer, nil)}, 401, "invalid_token", "it is bound to no key", false},
		{"without a proof", "DPoP " + bound, nil, 401, "invalid_dpop_proof", "has 0 DPoP proofs", false},
		{"two proofs", "DPoP " + bound, []string{proof(nil), proof(nil)}, 401, "invalid_dpop_proof", "has 2 DPoP proofs", false},
		{"no JWT", "DPoP " + bound, []string{"x"}, 401, "invalid_dpop_proof", "it is not a signed JWT", false},
		{"another's proof", "DPoP " + bound, []string{dpop(other(), bound, nil)}, 401, "invalid_token", "another key", false},
		{"a proof for another token", "DPoP " + bound, []string{dpop(curve(), bearer, nil)}, 401, "invalid_dpop_proof", "its ath", false},
		{"a proof for no token", "DPoP " + bound, []string{proof(members{"ath": nil})}, 401, "invalid_dpop_proof", "its ath", false},
		{"a proof for another method", "DPoP " + bound, []string{proof(members{"htm": "POST"})}, 401, "invalid_dpop_proof", "its htm", false},
		{"a proof for another path", "DPoP " + bound, []string{proof(members{"htu": "https://orders.example.com/orders/1"})}, 401, "invalid_dpop_proof", "its htu", false},
		{"a proof for the Host", "DPoP " + bound, []string{proof(members{"htu": "https://evil.example.com/orders"})}, 401, "invalid_dpop_proof", "its htu", false},
		{"an old proof", "DPoP " + bound, []string{proof(members{"iat": now.Unix() - 120})}, 401, "invalid_dpop_proof", "too long ago", false},
		{"too little scope", "DPoP " + poor, []string{dpop(curve(), poor, nil)}, 403, "insufficient_scope", "read:orders", false},
		{"an expired token", "DPoP " + f.bound(members{"exp": now.Unix() - 60}), []string{proof(nil)}, 401, "invalid_token", "it has expired", false},
		{"bound to a certificate", "DPoP " + f.token(nil, members{"cnf": members{"x5t#S256": "x"}}), []string{proof(nil)}, 401, "invalid_token", "something else", false},
		{"bound to both", "DPoP " + f.bound(members{"cnf": members{"jkt": "x", "x5t#S256": "x"}}), []string{proof(nil)}, 401, "invalid_token", "something else", false},
		{"bound to an empty key", "DPoP " + f.token(nil, members{"cnf": members{"jkt": ""}}), []string{proof(nil)}, 401, "invalid_token", "something else", false},
		{"bound to a number", "DPoP " + f.token(nil, members{"cnf": members{"jkt": 1}}), []string{proof(nil)}, 401, "invalid_token", "something else", false},
		{"a cnf that is text", "DPoP " + f.token(nil, members{"cnf": "x"}), []string{proof(nil)}, 401, "invalid_token", "cannot be read", false},
	} {
		w := ask(handler, "/orders?a=b", c.authorization, c.proofs...)
		challenges := w.Header().Values("WWW-Authenticate")
		if w.Code != c.status {
			t.Errorf("%s: %d %q", c.name, w.Code, challenges)
			continue
		}
		if c.status == http.StatusOK {
			continue
		}
		reason := challenges[0]
		if c.bearer {
			if !slices.Equal(challenges[1:], []string{"DPoP" + realm + ", " + all}) || !strings.HasPrefix(reason, "Bearer"+realm) {
				t.Errorf("%s: %q", c.name, challenges)
			}
		} else if len(challenges) != 1 || !strings.HasPrefix(reason, "DPoP"+realm) || !strings.HasSuffix(reason, ", "+all) {
			t.Errorf("%s: %q", c.name, challenges)
		}
		if !strings.Contains(reason, `error="`+c.code+`"`) || !strings.Contains(reason, c.words) || !strings.Contains(w.Body.String(), `"error":"`+c.code+`"`) {
			t.Errorf("%s: %s %s", c.name, reason, w.Body)
		}
	}
	// Nobody, and a scheme alone, are told of both schemes and no more.
	for _, authorization := range []string{"Basic YTpi", "DPoP", "DPoP "} {
		w := ask(handler, "/orders", authorization)
		got := strings.Join(w.Header().Values("WWW-Authenticate"), "|")
		if w.Code != http.StatusUnauthorized || strings.Contains(got, "error") || w.Body.Len() != 0 || !strings.Contains(got, "DPoP"+realm+", "+all) {
			t.Errorf("%s: %d %s", authorization, w.Code, got)
		}
	}
}

// TestRequestURL holds that a proof is for the address that the client used.
func TestRequestURL(t *testing.T) {
	f := newForge(t)
	for name, c := range map[string]struct {
		resource string
		url      func(*http.Request) string
		wrap     func(http.Handler) http.Handler
		htu      string
		ok       bool
	}{
		"of the resource":           {"https://orders.example.com", nil, nil, "https://orders.example.com/v1/orders", true},
		"of one with a path":        {"https://orders.example.com/v1/", nil, nil, "https://orders.example.com/v1/orders", true},
		"of one with a port":        {"https://orders.example.com:8443/", nil, nil, "https://orders.example.com:8443/v1/orders", true},
		"behind a mux that cuts":    {"https://orders.example.com", nil, func(h http.Handler) http.Handler { return http.StripPrefix("/v1", h) }, "https://orders.example.com/v1/orders", true},
		"as it was cut":             {"https://orders.example.com", nil, func(h http.Handler) http.Handler { return http.StripPrefix("/v1", h) }, "https://orders.example.com/orders", false},
		"of another port":           {"https://orders.example.com:8443/", nil, nil, "https://orders.example.com/v1/orders", false},
		"as the owner says":         {"", func(r *http.Request) string { return "https://front.example.com/api" + r.URL.Path }, nil, "https://front.example.com/api/v1/orders", true},
		"as the owner does not say": {"https://orders.example.com", func(r *http.Request) string { return "https://front.example.com/api" + r.URL.Path }, nil, "https://orders.example.com/v1/orders", false},
	} {
		api := f.verifier()
		api.Resource, api.RequestURL = c.resource, c.url
		h := api.Require(seen)
		if c.wrap != nil {
			h = c.wrap(h)
		}
		token := f.bound(nil)
		w := ask(h, "/v1/orders", "DPoP "+token, dpop(curve(), token, map[string]any{"htu": c.htu}))
		if (w.Code == http.StatusOK) != c.ok {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	// What the owner says, and cannot be, is no fault of the client's.
	api := f.verifier()
	api.RequestURL = func(r *http.Request) string { return r.URL.Path }
	token := f.bound(nil)
	if w := ask(api.Require(seen), "/orders", "DPoP "+token, dpop(curve(), token, nil)); w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// An address that is unknown cannot be compared.
	if w := ask(f.verifier().Require(seen), "/orders", "DPoP "+token, dpop(curve(), token, nil)); w.Code != http.StatusUnauthorized || strings.Contains(strings.Join(w.Header().Values("WWW-Authenticate"), " "), "DPoP ") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestVerifyBound(t *testing.T) {
	f := newForge(t)
	token := f.bound(nil)
	api := f.verifier() // without net/http no field is needed for it
	proof := func(key *ecdsa.PrivateKey) verify.Proof {
		return verify.Proof{JWT: dpop(key, token, nil), Method: "GET", URL: "https://orders.example.com/orders"}
	}
	claims, err := api.VerifyBound(t.Context(), token, proof(curve()))
	if err != nil || claims.Key != must(jwt.Thumbprint(&curve().PublicKey)) || claims.Subject != "somebody" {
		t.Errorf("%+v, %v", claims, err)
	}
	if claims, err := api.VerifyBound(t.Context(), token, proof(other())); code(err) != oauth.InvalidToken || claims.Subject != "" {
		t.Errorf("another's proof: %+v, %v", claims, err)
	}
	if claims, err := api.Verify(t.Context(), token); code(err) != oauth.InvalidToken || claims.Subject != "" {
		t.Errorf("without its proof: %+v, %v", claims, err)
	}
	bearer := f.token(nil, nil)
	if _, err := api.VerifyBound(t.Context(), bearer, verify.Proof{JWT: dpop(curve(), bearer, nil), Method: "GET", URL: "https://orders.example.com/orders"}); code(err) != oauth.InvalidToken {
		t.Errorf("a bearer token: %v", err)
	}
}

// TestUsedOnce holds that of many that show one proof one is let through, in memory
// and by a store of the owner's.
func TestUsedOnce(t *testing.T) {
	f := newForge(t)
	token := f.bound(nil)
	proof := verify.Proof{JWT: dpop(curve(), token, nil), Method: "GET", URL: "https://orders.example.com/orders"}
	race := func(api *verify.Verifier) (won int) {
		var wait sync.WaitGroup
		var mu sync.Mutex
		for range 32 {
			wait.Go(func() {
				_, err := api.VerifyBound(context.WithoutCancel(t.Context()), token, proof)
				mu.Lock()
				defer mu.Unlock()
				switch code(err) {
				case "":
					won++
				case oauth.InvalidDPoPProof:
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		return won
	}
	if won := race(f.verifier()); won != 1 {
		t.Errorf("in memory %d won", won)
	}
	var shared sync.Map
	store := func(_ context.Context, name string, until time.Time) (bool, error) {
		if len(name) != 43 || !until.After(now.Add(time.Minute)) {
			t.Errorf("%q until %s", name, until)
		}
		_, loaded := shared.LoadOrStore(name, until)
		return !loaded, nil
	}
	first, second := f.verifier(), f.verifier()
	first.UseOnce, second.UseOnce = store, store
	if won := race(first) + race(second); won != 1 {
		t.Errorf("of two programs that share a store %d won", won)
	}
	down := f.verifier()
	down.UseOnce = func(context.Context, string, time.Time) (bool, error) { return true, errors.New("down") }
	if claims, err := down.VerifyBound(t.Context(), token, proof); code(err) != oauth.TemporarilyUnavailable || claims.Subject != "" {
		t.Errorf("%+v, %v", claims, err)
	}
}

// TestMemory holds that a proof is remembered for as long as it counts, whenever the
// memory was tidied, and that another is not taken for it.
func TestMemory(t *testing.T) {
	f := newForge(t)
	token := f.bound(nil)
	clock := now
	api := f.verifier()
	api.Now = func() time.Time { return clock }
	show := func(proof string) error {
		_, err := api.VerifyBound(t.Context(), token, verify.Proof{JWT: proof, Method: "GET", URL: "https://orders.example.com/orders"})
		return err
	}
	// 7 s apart, over 10 min: each as far ahead as may be, so that it counts for long.
	for i := range 85 {
		clock = now.Add(time.Duration(i) * 7 * time.Second)
		proof := dpop(curve(), token, map[string]any{"iat": clock.Unix() + 60})
		if err := show(proof); err != nil {
			t.Fatal(err)
		}
		for _, later := range []time.Duration{0, 90 * time.Second, 179 * time.Second} {
			before := clock
			clock = clock.Add(later)
			if err := show(proof); code(err) != oauth.InvalidDPoPProof || !strings.Contains(err.Error(), "used before") {
				t.Errorf("%s later: %v", later, err)
			}
			clock = before
		}
	}
}

// TestBoundTokensOfKmint gets a bound token of kmint itself, by a proof, and uses it
// by another.
func TestBoundTokensOfKmint(t *testing.T) {
	htu := func(address, method string) map[string]any {
		return map[string]any{"htu": address, "htm": method, "iat": time.Now().Unix(), "jti": oauth.NewID()}
	}
	ask := func(proof string) (body oauth.TokenResponse) {
		r := must(http.NewRequest(http.MethodPost, issuer+"oauth/token", strings.NewReader("grant_type=client_credentials")))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("DPoP", proof)
		r.SetBasicAuth("demo-service", "demo-service-secret-used-in-examples-only")
		answer := must(http.DefaultClient.Do(r))
		defer answer.Body.Close()
		_ = json.NewDecoder(answer.Body).Decode(&body)
		return body
	}
	first := dpop(curve(), "", htu(issuer+"oauth/token", "POST"))
	given := ask(first)
	if given.TokenType != oauth.DPoP || given.AccessToken == "" {
		t.Fatalf("%+v", given)
	}
	if again := ask(first); again.AccessToken != "" {
		t.Error("one proof gets two tokens")
	}
	api := &verify.Verifier{Issuer: issuer, Audience: audience}
	const orders = "https://orders.example.com/orders"
	proof := verify.Proof{JWT: dpop(curve(), given.AccessToken, htu(orders, "GET")), Method: "GET", URL: orders}
	claims, err := api.VerifyBound(t.Context(), given.AccessToken, proof)
	if err != nil || claims.Key != must(jwt.Thumbprint(&curve().PublicKey)) || claims.ClientID != "demo-service" {
		t.Errorf("%+v, %v", claims, err)
	}
	proof.JWT = dpop(other(), given.AccessToken, htu(orders, "GET"))
	if _, err := api.VerifyBound(t.Context(), given.AccessToken, proof); code(err) != oauth.InvalidToken {
		t.Errorf("by another's key: %v", err)
	}
	if _, err := api.Verify(t.Context(), given.AccessToken); code(err) != oauth.InvalidToken {
		t.Errorf("as a bearer token: %v", err)
	}
}

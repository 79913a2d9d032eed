package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
)

var proofNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// provers are a key for each kind of algorithm; RSA keys take their time.
var provers = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return key
	}
	rsaOf := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		return must(key, err)
	}
	ecOf := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		return must(key, err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"RSA": rsaOf(2048), "short": rsaOf(1024),
		"P-256": ecOf(elliptic.P256()), "P-384": ecOf(elliptic.P384()), "P-521": ecOf(elliptic.P521()), "P-224": ecOf(elliptic.P224()),
		"Ed25519": must(ed, err),
	}
})

func part(v any) string {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// jwkOf is a key's public half as members.
func jwkOf(key any) map[string]any {
	b, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		panic(err)
	}
	return members
}

func changed(base, change map[string]any) map[string]any {
	m := maps.Clone(base)
	for name, v := range change {
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	return m
}

// signed signs any two parts as alg says, by a private key or a shared secret.
func signed(alg string, key, header, claims any) string {
	input := part(header) + "." + part(claims)
	made, err := signatureOf(alg, key, []byte(input))
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(made)
}

func signatureOf(alg string, key any, input []byte) ([]byte, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	switch key := key.(type) {
	case []byte:
		h := hmac.New(sha256.New, key)
		h.Write(input)
		return h.Sum(nil), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
	case *ecdsa.PrivateKey:
		x, y, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		size := map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[alg]
		return append(x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size))...), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(key, input), nil
	default:
		return nil, errors.New("no such key")
	}
}

const proofURL = "https://auth.example.com/oauth/token"

func proofHeader(change map[string]any) map[string]any {
	return changed(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(provers()["P-256"].Public())}, change)
}

func proofClaims(change map[string]any) map[string]any {
	return changed(map[string]any{"jti": "-BwC3ESc6acc2lTc", "htm": "POST", "htu": proofURL, "iat": proofNow.Unix()}, change)
}

// proof is a good one but for the changes.
func proof(header, claims map[string]any) string {
	return signed("ES256", provers()["P-256"], proofHeader(header), proofClaims(claims))
}

func TestVerifyProof(t *testing.T) {
	type members = map[string]any
	const token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU" // of RFC 9449 §7.1
	const hash = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
	good := proof(nil, nil)
	head, rest, _ := strings.Cut(good, ".")
	der, err := x509.MarshalPKIXPublicKey(provers()["RSA"].Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	public := func(name string) members { return jwkOf(provers()[name].Public()) }
	by := func(alg, name string, jwk members) string {
		return signed(alg, provers()[name], proofHeader(members{"alg": alg, "jwk": jwk}), proofClaims(nil))
	}
	twice := func(v members, member string) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return "{" + member + "," + string(b[1:])
	}
	seconds := func(n int64) int64 { return proofNow.Unix() + n }
	accepted := map[string]string{
		"as RFC 9449 §4.2 shows it":      good,
		"a key with a name and a use":    proof(members{"jwk": changed(public("P-256"), members{"kid": "1", "use": "sig", "alg": "ES256"})}, nil),
		"claims of its own":              proof(nil, members{"x": "y"}),
		"an ath where there is no token": proof(nil, members{"ath": "x"}),
		"by a clock behind":              proof(nil, members{"iat": seconds(-119)}),
		"by a clock ahead":               proof(nil, members{"iat": seconds(60)}),
		"a fraction of a second":         proof(nil, members{"iat": float64(seconds(0)) - 0.25}),
		"not expired":                    proof(nil, members{"exp": seconds(-59), "nbf": seconds(60)}),
		"a jti of 256 bytes":             proof(nil, members{"jti": strings.Repeat("j", 256)}),
		"a nonce of 256 bytes":           proof(nil, members{"nonce": strings.Repeat("n", 256)}),
	}
	kinds := map[string][]string{
		"RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}, "Ed25519": {"EdDSA", "Ed25519"},
	}
	var tried []string
	for name, algs := range kinds {
		for _, alg := range algs {
			tried = append(tried, alg)
			accepted["by "+alg] = by(alg, name, public(name))
		}
	}
	slices.Sort(tried)
	if listed := slices.Sorted(slices.Values(jwt.ProofAlgorithms())); !slices.Equal(tried, listed) {
		t.Errorf("of %v only %v are tried", listed, tried)
	}
	// Each is one that verifies, but for the one thing.
	refused := map[string]string{
		"nothing":                      "",
		"a word":                       "x",
		"two parts":                    head + "." + part(proofClaims(nil)),
		"four parts":                   good + ".x",
		"a line break":                 good[:50] + "\n" + good[50:],
		"a line break at the end":      good + "\r\n",
		"a line break in the header":   head[:10] + "\n" + head[10:] + "." + rest,
		"padding":                      head + "=." + rest,
		"two proofs in one header":     good + "," + good,
		"too long":                     proof(nil, members{"x": strings.Repeat("y", 8<<10)}),
		"no typ":                       proof(members{"typ": nil}, nil),
		"the typ of a JWT":             proof(members{"typ": "JWT"}, nil),
		"the typ of an access token":   proof(members{"typ": "at+jwt"}, nil),
		"no alg":                       proof(members{"alg": nil}, nil),
		"none":                         part(proofHeader(members{"alg": "none"})) + "." + rest,
		"none, unsigned":               part(proofHeader(members{"alg": "none"})) + "." + part(proofClaims(nil)) + ".",
		"ES256K":                       proof(members{"alg": "ES256K"}, nil),
		"HS256 by the public key":      signed("HS256", text, proofHeader(members{"alg": "HS256", "jwk": public("RSA")}), proofClaims(nil)),
		"HS256 by a key that it shows": signed("HS256", []byte("thirty-two bytes of shared secret"), proofHeader(members{"alg": "HS256", "jwk": members{"kty": "oct", "k": part("thirty-two bytes of shared secret")}}), proofClaims(nil)),
		"ES256 by a key that it shows": signed("HS256", []byte("thirty-two bytes of shared secret"), proofHeader(members{"alg": "ES256", "jwk": members{"kty": "oct", "k": part("thirty-two bytes of shared secret")}}), proofClaims(nil)),
		"ES256 by a key of P-384":      by("ES256", "P-256", public("P-384")),
		"ES384 by a key of P-256":      by("ES384", "P-384", public("P-256")),
		"ES256 in name, on P-384":      signed("ES384", provers()["P-384"], proofHeader(members{"jwk": public("P-384")}), proofClaims(nil)),
		"RS256 by a key of P-256":      by("RS256", "RSA", public("P-256")),
		"ES256 by an RSA key":          by("ES256", "P-256", public("RSA")),
		"EdDSA by an RSA key":          by("EdDSA", "Ed25519", public("RSA")),
		"Ed25519 by an RSA key":        by("Ed25519", "Ed25519", public("RSA")),
		"Ed25519 in name, on P-256":    signed("ES256", provers()["P-256"], proofHeader(members{"alg": "Ed25519", "jwk": public("P-256")}), proofClaims(nil)),
		"Ed25519 by another's key":     by("Ed25519", "Ed25519", jwkOf(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())),
		"RS256 by an Ed25519 key":      by("RS256", "RSA", public("Ed25519")),
		"RS256 in name, PS256 indeed":  signed("PS256", provers()["RSA"], proofHeader(members{"alg": "RS256", "jwk": public("RSA")}), proofClaims(nil)),
		"RS256 in name, RS512 indeed":  signed("RS512", provers()["RSA"], proofHeader(members{"alg": "RS256", "jwk": public("RSA")}), proofClaims(nil)),
		"an RSA key of 1024 bits":      by("RS256", "short", public("short")),
		"a curve that is not for this": by("ES256", "P-256", members{"kty": "EC", "crv": "P-224", "x": "AA", "y": "AA"}),
		"a point that is not on it":    by("ES256", "P-256", changed(public("P-256"), members{"x": public("P-256")["y"]})),
		"another's key":                signed("ES256", provers()["P-256"], proofHeader(members{"alg": "RS256", "jwk": public("RSA")}), proofClaims(nil)),
		"no jwk":                       proof(members{"jwk": nil}, nil),
		"a jwk that is text":           proof(members{"jwk": "x"}, nil),
		"an empty jwk":                 proof(members{"jwk": members{}}, nil),
		"a jwk named JWK":              proof(members{"jwk": nil, "JWK": public("P-256")}, nil),
		"keys elsewhere":               proof(members{"jwk": nil, "jku": "https://app.example.com/jwks", "kid": "1"}, nil),
		"a private EC key":             by("ES256", "P-256", jwkOf(provers()["P-256"])),
		"a private RSA key":            by("RS256", "RSA", jwkOf(provers()["RSA"])),
		"a private Ed25519 key":        by("EdDSA", "Ed25519", jwkOf(provers()["Ed25519"])),
		"an empty d":                   by("ES256", "P-256", changed(public("P-256"), members{"d": ""})),
		"primes without a d":           by("RS256", "RSA", changed(jwkOf(provers()["RSA"]), members{"d": nil})),
		"critical":                     proof(members{"crit": []string{"exp"}, "exp": 1}, nil),
		"b64":                          proof(members{"b64": true}, nil),
		"a typ said twice":             signed("ES256", provers()["P-256"], twice(proofHeader(nil), `"typ":"JWT"`), proofClaims(nil)),
		"an htu said twice":            signed("ES256", provers()["P-256"], proofHeader(nil), twice(proofClaims(nil), `"htu":"https://other.example.com/"`)),
		"claims that are a list":       signed("ES256", provers()["P-256"], proofHeader(nil), "[]"),
		"claims that are null":         signed("ES256", provers()["P-256"], proofHeader(nil), "null"),
		"claims of another proof":      head + "." + part(proofClaims(members{"jti": "other"})) + good[strings.LastIndex(good, "."):],
		"a signature cut":              good[:len(good)-2],
		"no signature":                 good[:strings.LastIndex(good, ".")+1],
		"no jti":                       proof(nil, members{"jti": nil}),
		"an empty jti":                 proof(nil, members{"jti": ""}),
		"a jti that is a number":       proof(nil, members{"jti": 1}),
		"a jti of 257 bytes":           proof(nil, members{"jti": strings.Repeat("j", 257)}),
		"no htm":                       proof(nil, members{"htm": nil}),
		"another method":               proof(nil, members{"htm": "GET"}),
		"the method in small letters":  proof(nil, members{"htm": "post"}),
		"no htu":                       proof(nil, members{"htu": nil}),
		"another path":                 proof(nil, members{"htu": "https://auth.example.com/userinfo"}),
		"another host":                 proof(nil, members{"htu": "https://api.example.com/oauth/token"}),
		"no iat":                       proof(nil, members{"iat": nil}),
		"an iat that is text":          proof(nil, members{"iat": "1"}),
		"an iat beyond time":           proof(nil, members{"iat": 1e300}),
		"an iat before time":           proof(nil, members{"iat": -1}),
		"two minutes old":              proof(nil, members{"iat": seconds(-120)}),
		"too far ahead":                proof(nil, members{"iat": seconds(61)}),
		"in milliseconds":              proof(nil, members{"iat": seconds(0) * 1000}),
		"expired":                      proof(nil, members{"exp": seconds(-60)}),
		"not valid yet":                proof(nil, members{"nbf": seconds(61)}),
		"a nonce of 257 bytes":         proof(nil, members{"nonce": strings.Repeat("n", 257)}),
		"a nonce that is a number":     proof(nil, members{"nonce": 1}),
		"an access token as a proof":   signed("ES256", provers()["P-256"], members{"typ": "at+jwt", "alg": "ES256", "kid": "1"}, proofClaims(nil)),
	}
	want := jwt.ExpectedProof{Method: "POST", URL: proofURL, Now: proofNow}
	for name, p := range accepted {
		if got, err := jwt.VerifyProof(p, want); err != nil || got.Key == "" || got.Use == "" || got.Until.Before(proofNow) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, p := range refused {
		got, err := jwt.VerifyProof(p, want)
		if bad := (*jwt.ProofError)(nil); !errors.As(err, &bad) || bad.Reason == "" || got != (jwt.Proof{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}

	// With an access token.
	want.Token = token
	for name, c := range map[string]struct {
		ath any
		ok  bool
	}{
		"its hash":         {hash, true},
		"none":             {nil, false},
		"an empty one":     {"", false},
		"another token's":  {part("x"), false},
		"with padding":     {hash + "=", false},
		"the token itself": {token, false},
	} {
		if _, err := jwt.VerifyProof(proof(nil, members{"ath": c.ath}), want); (err == nil) != c.ok {
			t.Errorf("ath, %s: %v", name, err)
		}
	}
	// A fault of ours is not the proof's.
	want.URL = "/oauth/token"
	if _, err := jwt.VerifyProof(good, want); err == nil || errors.As(err, new(*jwt.ProofError)) {
		t.Errorf("a URL of ours that cannot be: %v", err)
	}
}

// TestProofOfTheRFC takes the proof that RFC 9449 §4.1 shows.
func TestProofOfTheRFC(t *testing.T) {
	const shown = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19" +
		".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ" +
		".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	want := jwt.ExpectedProof{Method: "POST", URL: "https://server.example.com/token", Now: time.Unix(1562262616, 0)}
	got, err := jwt.VerifyProof(shown, want)
	if err != nil || got.Key != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" || got.Until.Unix() != 1562262616+180 { // the jkt of §6.1
		t.Errorf("%+v, %v", got, err)
	}
	want.Now = time.Unix(1562262616+120, 0)
	if _, err := jwt.VerifyProof(shown, want); err == nil {
		t.Error("it counts two minutes later")
	}
}

// TestProofURL compares by RFC 3986 §6.2.2 and §6.2.3, without query and fragment.
func TestProofURL(t *testing.T) {
	for _, c := range []struct {
		ours, htu string
		same      bool
	}{
		{"https://a.example.com/x/y", "https://a.example.com/x/y", true},
		{"https://a.example.com/x/y?q=1", "https://a.example.com/x/y#f", true},
		{"https://a.example.com/x/y", "HTTPS://A.Example.COM:443/x/y?a=b#c", true},
		{"https://a.example.com:/x/y", "https://a.example.com/x/y", true},
		{"http://localhost:80/x", "http://localhost/x", true},
		{"http://[::1]:80/x", "http://[::1]/x", true},
		{"http://[::1]:3000/x", "http://[::1]:3000/x", true},
		{"https://a.example.com/", "https://a.example.com", true},
		{"https://a.example.com/", "https://a.example.com?q", true},
		{"https://a.example.com/x/y", "https://a.example.com/./z/../x//../y", true},
		{"https://a.example.com/x/", "https://a.example.com/x/y/..", true},
		{"https://a.example.com/x/", "https://a.example.com/x/.", true},
		{"https://a.example.com/x", "https://a.example.com/../../x", true},
		{"https://a.example.com/~x", "https://a.example.com/%7ex", true},
		{"https://a.example.com/x", "https://a.example.com/%2E%2e/x", true},
		{"https://a.example.com/%C3%A4", "https://a.example.com/%c3%a4", true},
		{"https://a.example.com/ä", "https://a.example.com/%c3%a4", true},
		{"https://a.example.com/a%2fb", "https://a.example.com/a%2Fb", true},
		{"https://a.example.com//x", "https://a.example.com//x", true},

		{"https://a.example.com/a/b", "https://a.example.com/a%2Fb", false},
		{"https://a.example.com/x", "https://a.example.com//x", false},
		{"https://a.example.com/x", "https://a.example.com/x/", false},
		{"https://a.example.com/x", "https://a.example.com/X", false},
		{"https://a.example.com/x", "http://a.example.com/x", false},
		{"https://a.example.com/x", "https://a.example.com:80/x", false},
		{"https://a.example.com/x", "https://a.example.com:8443/x", false},
		{"https://a.example.com/x", "https://a.example.com./x", false},
		{"https://a.example.com/x", "https://u@a.example.com/x", false},
		{"https://a.example.com/x", "https://a.example.com@b.example.com/x", false},
		{"https://a.example.com/x", "//a.example.com/x", false},
		{"https://a.example.com/x", "/x", false},
		{"https://a.example.com/x", "https:/x", false},
		{"https://a.example.com/x", "https:a.example.com/x", false},
		{"https://a.example.com/x", "https://a.example.com/x%", false},
		{"https://a.example.com/x", "https://a.example.com/x\x00", false},
		{"https://a.example.com/x", " https://a.example.com/x", false},
	} {
		want := jwt.ExpectedProof{Method: "POST", URL: c.ours, Now: proofNow}
		if _, err := jwt.VerifyProof(proof(nil, map[string]any{"htu": c.htu}), want); (err == nil) != c.same {
			t.Errorf("%s for %s: %v", c.htu, c.ours, err)
		}
	}
}

// TestProofUse holds that the same jti is the same use by one key for one URL
// alone, however the URL is written.
func TestProofUse(t *testing.T) {
	use := func(url, p string) string {
		got, err := jwt.VerifyProof(p, jwt.ExpectedProof{Method: "POST", URL: url, Now: proofNow})
		if err != nil {
			t.Fatal(err)
		}
		return got.Use
	}
	first := use(proofURL, proof(nil, nil))
	for name, c := range map[string]struct {
		use  string
		same bool
	}{
		"signed again":             {use(proofURL, proof(nil, map[string]any{"iat": proofNow.Unix() - 1})), true},
		"the URL written at large": {use(proofURL, proof(nil, map[string]any{"htu": "https://AUTH.example.com:443/oauth/token?x"})), true},
		"another jti":              {use(proofURL, proof(nil, map[string]any{"jti": "other"})), false},
		"another URL":              {use("https://auth.example.com/userinfo", proof(nil, map[string]any{"htu": "https://auth.example.com/userinfo"})), false},
		"another key": {use(proofURL, signed("ES384", provers()["P-384"],
			proofHeader(map[string]any{"alg": "ES384", "jwk": jwkOf(provers()["P-384"].Public())}), proofClaims(nil))), false},
	} {
		if (c.use == first) != c.same {
			t.Errorf("%s: %s", name, c.use)
		}
	}
}

func FuzzVerifyProof(f *testing.F) {
	for _, seed := range []string{proof(nil, nil), "", "..", proof(map[string]any{"typ": "JWT"}, nil), part(`{"typ":"dpop+jwt","alg":"none","jwk":{}}`) + "." + part("{}") + "."} {
		f.Add(seed)
	}
	want := jwt.ExpectedProof{Method: "POST", URL: proofURL, Now: proofNow}
	f.Fuzz(func(t *testing.T, p string) {
		got, err := jwt.VerifyProof(p, want)
		// A seed may be of another process, which has keys of its own.
		if err == nil && (got.Key == "" || !strings.HasPrefix(got.Use, proofURL+" "+got.Key+" ")) {
			t.Errorf("%q becomes %+v", p, got)
		}
		if err != nil && got != (jwt.Proof{}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// FuzzProofURL signs a proof for any URL: whatever is written in two ways is judged
// the same from both ends.
func FuzzProofURL(f *testing.F) {
	for _, seed := range []string{proofURL, "https://a/%2e%2E/%zz", "http://[::1%25a]:0/../", "https://a/%", "//", "https://a/..;x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		want := jwt.ExpectedProof{Method: "POST", URL: address, Now: proofNow}
		got, err := jwt.VerifyProof(proof(nil, map[string]any{"htu": address}), want)
		if err != nil {
			return
		}
		normal, _, _ := strings.Cut(got.Use, " ")
		want.URL = normal
		if again, err := jwt.VerifyProof(proof(nil, map[string]any{"htu": address}), want); err != nil || again.Use != got.Use {
			t.Errorf("%q becomes %q, and that %+v, %v", address, normal, again, err)
		}
	})
}

func BenchmarkVerifyProof(b *testing.B) {
	want := jwt.ExpectedProof{Method: "POST", URL: proofURL, Now: proofNow}
	for _, c := range []struct{ alg, key string }{{"ES256", "P-256"}, {"RS256", "RSA"}, {"EdDSA", "Ed25519"}} {
		p := signed(c.alg, provers()[c.key], proofHeader(map[string]any{"alg": c.alg, "jwk": jwkOf(provers()[c.key].Public())}), proofClaims(nil))
		b.Run(c.alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jwt.VerifyProof(p, want); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

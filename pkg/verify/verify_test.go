package verify_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/oauth"
	"kmint/pkg/verify"
)

func TestTokensOfKmint(t *testing.T) {
	clock := time.Now()
	ours := func() *verify.Verifier {
		return &verify.Verifier{Issuer: issuer, Audience: audience, Now: func() time.Time { return clock }}
	}
	claims, err := ours().Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != issuer || claims.Subject == "" || claims.ClientID != "demo-service" || claims.Scope.String() != "read:orders" ||
		claims.ID == "" || !claims.Expiry.After(clock) || claims.IssuedAt.IsZero() || !claims.AuthTime.IsZero() || !slices.Contains(claims.Audience, audience) {
		t.Errorf("%+v", claims)
	}
	parts := strings.Split(token, ".")
	for name, refused := range map[string]func() (verify.Claims, error){
		"another API": func() (verify.Claims, error) {
			v := ours()
			v.Audience = "https://bills.example.com/"
			return v.Verify(t.Context(), token)
		},
		"the issuer without its slash": func() (verify.Claims, error) {
			v := ours()
			v.Issuer = strings.TrimSuffix(issuer, "/")
			return v.Verify(t.Context(), token)
		},
		"another issuer": func() (verify.Claims, error) { return newForge(t).verifier().Verify(t.Context(), token) },
		"expired": func() (verify.Claims, error) {
			v := ours()
			v.Now = func() time.Time { return claims.Expiry.Add(time.Minute) }
			return v.Verify(t.Context(), token)
		},
		"another's claims": func() (verify.Claims, error) {
			return ours().Verify(t.Context(), parts[0]+"."+segment(map[string]any{"iss": issuer, "sub": "admin"})+"."+parts[2])
		},
		"a line break": func() (verify.Claims, error) { return ours().Verify(t.Context(), token[:40]+"\n"+token[40:]) },
		"cut":          func() (verify.Claims, error) { return ours().Verify(t.Context(), token[:len(token)-1]) },
	} {
		claims, err := refused()
		want := oauth.InvalidToken
		if name == "the issuer without its slash" { // which is no metadata's, so nothing is known of its keys
			want = oauth.TemporarilyUnavailable
		}
		if code(err) != want || claims.Subject != "" {
			t.Errorf("%s: %v, %+v", name, err, claims)
		}
	}
}

// TestEveryRule tries each rule on a token that obeys it, and on one that differs
// from a good one in nothing else.
func TestEveryRule(t *testing.T) {
	f := newForge(t)
	set := []jose.JSONWebKey{
		{Key: &keyPair().PublicKey, KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		{Key: &keyPair().PublicKey, KeyID: "pss", Algorithm: "PS256", Use: "sig"},
		{Key: &keyPair().PublicKey, KeyID: "any"},
		{Key: &curve().PublicKey, KeyID: "ec", Algorithm: "ES256", Use: "sig"},
		{Key: &keyPair().PublicKey, KeyID: "enc", Use: "enc"},
		{Key: []byte("thirty-two bytes of shared secret"), KeyID: "oct"},
		{Key: keyPair(), KeyID: "private"},
		{Key: &short().PublicKey, KeyID: "short"},
	}
	f.publish(set...)
	rs := func(header, claims map[string]any) string { return f.token(header, claims) }
	jwk, err := json.Marshal(set[2])
	if err != nil {
		t.Fatal(err)
	}
	good := rs(nil, nil)
	head, rest, _ := strings.Cut(good, ".")
	last := good[len(good)-1] // of a signature of 256 bytes it carries two bits, so A, Q, g or w
	// By RFC 7797 the claims themselves are signed.
	plain := segment(f.header(map[string]any{"crit": []string{"b64"}, "b64": false}))
	claims := string(must(json.Marshal(f.claims(nil))))

	unsigned := func(kid string) string { return segment(f.header(map[string]any{"kid": kid})) + "." + segment(claims) }

	accepted := map[string]string{
		"as kmint makes them":         good,
		"typ in full":                 rs(map[string]any{"typ": "application/at+jwt"}, nil),
		"typ in capitals":             rs(map[string]any{"typ": "AT+JWT"}, nil),
		"several audiences":           rs(nil, map[string]any{"aud": []string{"https://other.example.com/", audience}}),
		"a second before its end":     rs(nil, map[string]any{"exp": now.Unix() + 1}),
		"a clock a little ahead":      rs(nil, map[string]any{"iat": now.Unix() + 60}),
		"a clock a little behind":     rs(nil, map[string]any{"exp": now.Unix() - 59}),
		"nbf a little ahead":          rs(nil, map[string]any{"nbf": now.Unix() + 60}),
		"no scope":                    rs(nil, map[string]any{"scope": nil}),
		"dates with a fraction":       rs(nil, map[string]any{"iat": float64(now.Unix()) - 0.5}),
		"a key without an algorithm":  rs(map[string]any{"kid": "any"}, nil),
		"a key of its own, unused":    rs(map[string]any{"jwk": json.RawMessage(jwk)}, nil),
		"PS256, allowed":              sign(f.header(map[string]any{"alg": "PS256", "kid": "pss"}), f.claims(nil), "PS256"),
		"ES256, allowed":              sign(f.header(map[string]any{"alg": "ES256", "kid": "ec"}), f.claims(nil), "ES256"),
		"PS256 by an undecided key":   sign(f.header(map[string]any{"alg": "PS256", "kid": "any"}), f.claims(nil), "PS256"),
		"a claim by a name like ours": rs(nil, map[string]any{"ISS": "x", "Sub": "y", "CNF": map[string]any{}}),
	}
	refused := map[string]string{
		"nothing":                       "",
		"no JWT":                        "opaque",
		"two parts":                     head + "." + strings.Split(rest, ".")[0],
		"five parts":                    good + ".a.b",
		"no signature":                  head + "." + strings.Split(rest, ".")[0] + ".",
		"padding":                       good + "==",
		"a space":                       good + " ",
		"too long":                      rs(nil, map[string]any{"x": strings.Repeat("x", 16<<10)}),
		"an ID token":                   rs(map[string]any{"typ": "JWT"}, nil),
		"no typ":                        rs(map[string]any{"typ": nil}, nil),
		"a typ like it":                 rs(map[string]any{"typ": "xat+jwt"}, nil),
		"another media type":            rs(map[string]any{"typ": "text/at+jwt"}, nil),
		"typ of another kind":           rs(map[string]any{"typ": []string{"at+jwt"}}, nil),
		"another issuer":                rs(nil, map[string]any{"iss": f.issuer + "x"}),
		"the issuer in capitals":        rs(nil, map[string]any{"iss": strings.ToUpper(f.issuer)}),
		"the issuer without a slash":    rs(nil, map[string]any{"iss": f.URL}),
		"no issuer":                     rs(nil, map[string]any{"iss": nil}),
		"another API":                   rs(nil, map[string]any{"aud": "https://other.example.com/"}),
		"a longer audience":             rs(nil, map[string]any{"aud": audience + "x"}),
		"audiences, ours not":           rs(nil, map[string]any{"aud": []string{"https://other.example.com/"}}),
		"no audience":                   rs(nil, map[string]any{"aud": nil}),
		"expired":                       rs(nil, map[string]any{"exp": now.Unix() - 60}),
		"no exp":                        rs(nil, map[string]any{"exp": nil}),
		"exp as text":                   rs(nil, map[string]any{"exp": "9999999999"}),
		"exp without end":               rs(nil, map[string]any{"exp": 1e300}),
		"issued tomorrow":               rs(nil, map[string]any{"iat": now.Unix() + 61}),
		"not valid yet":                 rs(nil, map[string]any{"nbf": now.Unix() + 61}),
		"no iat":                        rs(nil, map[string]any{"iat": nil}),
		"no sub":                        rs(nil, map[string]any{"sub": nil}),
		"a sub by another name":         rs(nil, map[string]any{"sub": nil, "SUB": "somebody"}),
		"no client_id":                  rs(nil, map[string]any{"client_id": nil}),
		"no jti":                        rs(nil, map[string]any{"jti": nil}),
		"a scope that cannot be":        rs(nil, map[string]any{"scope": "read:\"orders"}),
		"scope as a list":               rs(nil, map[string]any{"scope": []string{"read:orders"}}),
		"bound by DPoP":                 rs(nil, map[string]any{"cnf": map[string]any{"jkt": "x"}}),
		"bound to a certificate":        rs(nil, map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}),
		"bound to nobody knows what":    rs(nil, map[string]any{"cnf": map[string]any{}}),
		"no kid":                        rs(map[string]any{"kid": nil}, nil),
		"another kid":                   rs(map[string]any{"kid": "other"}, nil),
		"no kid, a key of its own":      rs(map[string]any{"kid": nil, "jwk": json.RawMessage(jwk)}, nil),
		"another kid, keys elsewhere":   rs(map[string]any{"kid": "other", "jku": f.URL + "/jwks"}, nil),
		"a key to encrypt with":         rs(map[string]any{"kid": "enc"}, nil),
		"a private key":                 rs(map[string]any{"kid": "private"}, nil),
		"a key of another algorithm":    rs(map[string]any{"kid": "pss"}, nil),
		"a key of another kind":         rs(map[string]any{"kid": "ec"}, nil),
		"none":                          segment(f.header(map[string]any{"alg": "none"})) + "." + rest,
		"none, unsigned":                segment(f.header(map[string]any{"alg": "none"})) + "." + segment(f.claims(nil)) + ".",
		"no alg":                        rs(map[string]any{"alg": nil}, nil),
		"HS256 by the public key":       sign(f.header(map[string]any{"alg": "HS256"}), f.claims(nil), "HS256"),
		"HS256 by a shared key":         sign(f.header(map[string]any{"alg": "HS256", "kid": "oct"}), f.claims(nil), "HS256"),
		"PS256 by a key for RS256":      sign(f.header(map[string]any{"alg": "PS256"}), f.claims(nil), "PS256"),
		"RS256 in name":                 sign(f.header(nil), f.claims(nil), "PS256"),
		"RS512":                         rs(map[string]any{"alg": "RS512"}, nil),
		"critical":                      rs(map[string]any{"crit": []string{"exp"}, "exp": 1}, nil),
		"not encoded":                   plain + "." + segment(claims) + "." + signature(plain+"."+claims, keyPair()),
		"a signature written otherwise": good[:len(good)-1] + string(last+1),
		"a typ by another name":         rs(map[string]any{"typ": nil, "TYP": "at+jwt"}, nil),
		"a key that is too short":       unsigned("short") + "." + signature(unsigned("short"), short()),
		"another header":                segment(f.header(map[string]any{"x": 1})) + "." + rest,
		"another signature":             good[:len(good)-6] + "AAAAAA",
		"claims that are a list":        sign(f.header(nil), `[]`, "RS256"),
		"claims that are null":          sign(f.header(nil), `null`, "RS256"),
		"a claim said twice":            sign(f.header(nil), strings.Replace(string(must(json.Marshal(f.claims(nil)))), `{`, `{"sub":"x",`, 1), "RS256"),
		"a header said twice":           sign(`{"typ":"JWT","alg":"RS256","kid":"rsa","typ":"at+jwt"}`, f.claims(nil), "RS256"),
	}
	v := f.verifier()
	v.Algorithms = []string{"RS256", "PS256", "ES256"}
	for name, token := range accepted {
		if claims, err := v.Verify(t.Context(), token); err != nil || claims.Subject != "somebody" {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	for name, token := range refused {
		if claims, err := v.Verify(t.Context(), token); code(err) != oauth.InvalidToken || claims.Subject != "" {
			t.Errorf("%s: %v, %+v", name, err, claims)
		}
	}
	// Without a list all three count, and with one no other.
	for name, token := range accepted {
		all, one := f.verifier(), f.verifier()
		one.Algorithms = []string{"RS256"}
		if _, err := all.Verify(t.Context(), token); err != nil {
			t.Errorf("without a list, %s: %v", name, err)
		}
		_, err := one.Verify(t.Context(), token)
		if want := strings.Contains(name, "PS256") || strings.Contains(name, "ES256"); want != (err != nil) {
			t.Errorf("with RS256 alone, %s: %v", name, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestClaimsOfOnesOwn(t *testing.T) {
	f := newForge(t)
	claims, err := f.verifier().Verify(t.Context(), f.token(nil, map[string]any{"https://example.com/tier": "gold", "auth_time": now.Unix() - 60}))
	if err != nil {
		t.Fatal(err)
	}
	var own struct {
		Tier string `json:"https://example.com/tier"`
	}
	if err := claims.Decode(&own); err != nil || own.Tier != "gold" {
		t.Errorf("%+v, %v", own, err)
	}
	if claims.AuthTime.Unix() != now.Unix()-60 {
		t.Errorf("auth_time is %s", claims.AuthTime)
	}
	// Where nothing was verified there is nothing to read.
	if err := (verify.Claims{}).Decode(&own); err == nil {
		t.Error("claims of no token can be read")
	}
}

// TestWrongFields holds that a mistake refuses everything, and is told by Load.
func TestWrongFields(t *testing.T) {
	f := newForge(t)
	for name, change := range map[string]func(*verify.Verifier){
		"no issuer":               func(v *verify.Verifier) { v.Issuer = "" },
		"an issuer by plain http": func(v *verify.Verifier) { v.Issuer = "http://auth.example.com/" },
		"an issuer with a query":  func(v *verify.Verifier) { v.Issuer += "?a" },
		"an issuer with a mark":   func(v *verify.Verifier) { v.Issuer += "#" },
		"no audience":             func(v *verify.Verifier) { v.Audience = "" },
		"none":                    func(v *verify.Verifier) { v.Algorithms = []string{"none"} },
		"HS256":                   func(v *verify.Verifier) { v.Algorithms = []string{"RS256", "HS256"} },
		"a resource without host": func(v *verify.Verifier) { v.Resource = "/orders" },
	} {
		v := f.verifier()
		change(v)
		if err := v.Load(t.Context()); err == nil {
			t.Errorf("%s: Load finds nothing", name)
		}
		if _, err := v.Verify(t.Context(), f.token(nil, nil)); code(err) != oauth.ServerError {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.verifier().Load(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	forge := newForge(f)
	v := forge.verifier()
	good := forge.token(nil, nil)
	f.Add(good)
	f.Add("")
	f.Add("..")
	f.Add(forge.token(map[string]any{"typ": "JWT"}, nil))
	f.Add(segment(`{"alg":"none","typ":"at+jwt","kid":"rsa"}`) + "." + segment("{}") + ".")
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := v.Verify(t.Context(), token)
		switch {
		case err == nil && token != good:
			t.Errorf("%q is taken", token)
		case err != nil && (code(err) == "" || claims.Subject != ""):
			t.Errorf("%v, %+v", err, claims)
		}
	})
}

// FuzzClaims gives Verify signed claims of any content.
func FuzzClaims(f *testing.F) {
	forge := newForge(f)
	v := forge.verifier()
	f.Add(string(must(json.Marshal(forge.claims(nil)))))
	f.Add(`{"exp":1e999}`)
	f.Add(`{"aud":[null]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		if payload == "" {
			return
		}
		claims, err := v.Verify(t.Context(), sign(forge.header(nil), payload, "RS256"))
		if err == nil && (claims.Subject == "" || claims.Issuer != forge.issuer || !slices.Contains(claims.Audience, audience) || !claims.Expiry.After(now)) {
			t.Errorf("%q becomes %+v", payload, claims)
		}
		if err != nil && code(err) == "" {
			t.Errorf("%v", err)
		}
	})
}

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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
)

// foreign signs text as a program of somebody else does.
func foreign(t *testing.T, algorithm string, key any, kid, typ, payload string) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	if kid != "" {
		key = jose.JSONWebKey{Key: key, KeyID: kid}
	}
	if private, is := key.(ed25519.PrivateKey); is && algorithm == jwt.Ed25519 {
		key = byName{private}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// byName signs by Ed25519, a name that go-jose does not know.
type byName struct{ ed25519.PrivateKey }

func (byName) Public() *jose.JSONWebKey { return nil }

func (byName) Algs() []jose.SignatureAlgorithm { return []jose.SignatureAlgorithm{jwt.Ed25519} }

func (k byName) SignPayload(input []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	return ed25519.Sign(k.PrivateKey, input), nil
}

type private struct {
	rsa, other       *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

func newPrivate(t *testing.T) private {
	t.Helper()
	var p private
	var err [6]error
	p.rsa, err[0] = rsa.GenerateKey(rand.Reader, 2048)
	p.other, err[1] = rsa.GenerateKey(rand.Reader, 2048)
	p.p256, err[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.p384, err[3] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p.p521, err[4] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, p.ed, err[5] = ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err[:]...); err != nil {
		t.Fatal(err)
	}
	return p
}

// set writes a JWK Set.
func set(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForeignAlgorithms(t *testing.T) {
	p := newPrivate(t)
	keys, err := jwt.ReadKeySet(set(t,
		jose.JSONWebKey{Key: p.rsa.Public()}, jose.JSONWebKey{Key: p.p256.Public()}, jose.JSONWebKey{Key: p.p384.Public()},
		jose.JSONWebKey{Key: p.p521.Public()}, jose.JSONWebKey{Key: p.ed.Public()}))
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, key := range map[string]any{
		"RS256": p.rsa, "RS384": p.rsa, "RS512": p.rsa, "PS256": p.rsa, "PS384": p.rsa, "PS512": p.rsa,
		"ES256": p.p256, "ES384": p.p384, "ES512": p.p521, "EdDSA": p.ed, "Ed25519": p.ed,
	} {
		t.Run(algorithm, func(t *testing.T) {
			token := foreign(t, algorithm, key, "", "", `{"exp":1}`)
			read, err := jwt.Read(token, jwt.AsymmetricAlgorithms())
			if err != nil {
				t.Fatal(err)
			}
			if err := read.ProveByKeys(keys); err != nil {
				t.Error(err)
			}
			for i := range keys { // each key is for its own algorithms
				err := read.ProveByKeys(slices.Delete(slices.Clone(keys), i, i+1))
				if fits := keys[i].Key; (err != nil) != sameKind(fits, key) {
					t.Errorf("without key %d: %v", i, err)
				}
			}
			others := slices.DeleteFunc(jwt.AsymmetricAlgorithms(), func(a string) bool { return a == algorithm })
			if _, err := jwt.Read(token, others); err == nil {
				t.Error("read though it is not allowed")
			}
			if err := read.ProveBySecret([]byte(strings.Repeat("x", 64))); err == nil {
				t.Error("proven by a secret")
			}
		})
	}
}

func sameKind(public, key any) bool {
	signer := key.(crypto.Signer)
	return signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public)
}

func TestProveByKeys(t *testing.T) {
	p := newPrivate(t)
	mine, other := p.rsa.Public(), p.other.Public()
	many := make([]jose.JSONWebKey, 20)
	for i := range many {
		many[i].Key = other
	}
	for name, test := range map[string]struct {
		kid  string
		keys []jose.JSONWebKey
		want string // ok, unknown, refused
	}{
		"the key of the kid":              {"a", []jose.JSONWebKey{{KeyID: "b", Key: other}, {KeyID: "a", Key: mine}}, "ok"},
		"one of two keys of the kid":      {"a", []jose.JSONWebKey{{KeyID: "a", Key: other}, {KeyID: "a", Key: mine}}, "ok"},
		"another key of the kid":          {"a", []jose.JSONWebKey{{KeyID: "a", Key: other}, {KeyID: "b", Key: mine}}, "refused"},
		"no key of the kid":               {"a", []jose.JSONWebKey{{KeyID: "b", Key: mine}}, "unknown"},
		"a key without a kid for the kid": {"a", []jose.JSONWebKey{{Key: mine}}, "unknown"},
		"no kid, one key":                 {"", []jose.JSONWebKey{{Key: mine}}, "ok"},
		"no kid, keys with kids":          {"", []jose.JSONWebKey{{KeyID: "a", Key: other}, {KeyID: "b", Key: mine}}, "ok"},
		"no kid, another's key":           {"", []jose.JSONWebKey{{Key: other}}, "unknown"},
		"no kid, too many keys":           {"", append(slices.Clone(many), jose.JSONWebKey{Key: mine}), "unknown"},
		"no kid, not too many":            {"", append(slices.Clone(many[:15]), jose.JSONWebKey{Key: mine}), "ok"},
		"the alg of the key":              {"a", []jose.JSONWebKey{{KeyID: "a", Key: mine, Algorithm: "RS256"}}, "ok"},
		"another alg of the key":          {"a", []jose.JSONWebKey{{KeyID: "a", Key: mine, Algorithm: "PS256"}}, "refused"},
		"a key of another type":           {"a", []jose.JSONWebKey{{KeyID: "a", Key: p.p256.Public()}}, "refused"},
		"a secret of the kid":             {"a", []jose.JSONWebKey{{KeyID: "a", Key: []byte("0123456789abcdef0123456789abcdef")}}, "refused"},
		"no keys":                         {"a", nil, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			read, err := jwt.Read(foreign(t, "RS256", p.rsa, test.kid, "", `{"exp":1}`), []string{"RS256"})
			if err != nil {
				t.Fatal(err)
			}
			got := "ok"
			switch err := read.ProveByKeys(test.keys); {
			case errors.Is(err, jwt.ErrUnknownKey):
				got = "unknown"
			case err != nil:
				got = "refused"
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestReadKeySet(t *testing.T) {
	p := newPrivate(t)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := jose.JSONWebKey{KeyID: "good", Key: p.rsa.Public()}
	for name, passed := range map[string]jose.JSONWebKey{
		"for encryption":            {Key: p.other.Public(), Use: "enc"},
		"too short":                 {Key: short.Public()},
		"a secret":                  {Key: []byte("0123456789abcdef0123456789abcdef")},
		"private":                   {Key: p.other},
		"private, EC":               {Key: p.p256},
		"for a secret":              {Key: p.other.Public(), Algorithm: "HS256"},
		"for encryption by its alg": {Key: p.other.Public(), Algorithm: "RSA-OAEP"},
	} {
		keys, err := jwt.ReadKeySet(set(t, passed, good))
		if err != nil || len(keys) != 1 || keys[0].KeyID != "good" {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
		if keys, err := jwt.ReadKeySet(set(t, passed)); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
	known := string(set(t, good))
	for name, document := range map[string]string{
		"nothing":              ``,
		"no object":            `[]`,
		"no keys":              `{}`,
		"no key":               `{"keys":[]}`,
		"keys of another case": strings.Replace(known, "keys", "KEYS", 1),
		"a repeated member":    strings.Replace(known, `{"keys"`, `{"keys":[],"keys"`, 1),
		"a key that is no one": `{"keys":[7]}`,
		"an unknown type":      `{"keys":[{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}]}`,
	} {
		if keys, err := jwt.ReadKeySet([]byte(document)); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
	// What is not understood does not take the others along.
	if keys, err := jwt.ReadKeySet([]byte(strings.Replace(known, `[`, `[7,{"kty":"AKP"},null,`, 1))); err != nil || len(keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
}

// mac signs by an HMAC with any key at all.
func mac(header, payload string, key []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func TestReadRefuses(t *testing.T) {
	p := newPrivate(t)
	good := foreign(t, "RS256", p.rsa, "", "JWT", `{"exp":1}`)
	if read, err := jwt.Read(good, jwt.AsymmetricAlgorithms()); err != nil || read.Type != "JWT" || read.Algorithm != "RS256" {
		t.Fatalf("%+v, %v", read, err)
	}
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	all := append(jwt.AsymmetricAlgorithms(), append(jwt.SymmetricAlgorithms(), "none", "")...)
	for name, token := range map[string]string{
		"nothing":               "",
		"two parts":             parts[0] + "." + parts[1],
		"four parts":            good + "." + parts[2],
		"JSON":                  `{"payload":"` + parts[1] + `"}`,
		"none":                  none + "." + parts[1] + ".",
		"none, with the MAC":    none + "." + parts[1] + "." + parts[2],
		"None":                  base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + "." + parts[1] + ".",
		"no alg":                base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[1] + "." + parts[2],
		"alg twice":             base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","alg":"RS256"}`)) + "." + parts[1] + "." + parts[2],
		"a line break":          parts[0] + "." + parts[1] + ".\n" + parts[2],
		"a space":               parts[0] + "." + parts[1] + ". " + parts[2],
		"padding":               good + "==",
		"the other alphabet":    parts[0] + "." + parts[1] + ".+/+/",
		"bits beyond the end":   parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + "_",
		"a typ that is no text": mac(`{"alg":"HS256","typ":7}`, `{"exp":1}`, make([]byte, 32)),
		"too long":              foreign(t, "RS256", p.rsa, "", "", `{"exp":1,"x":"`+strings.Repeat("x", jwt.MaxForeign)+`"}`),
	} {
		if read, err := jwt.Read(token, all); err == nil {
			t.Errorf("%s: %+v", name, read)
		}
	}
	// RFC 7515 §4.1.11: what is critical and not understood makes the JWS invalid.
	for _, header := range []string{
		`"crit":["x"],"x":1`, `"crit":[]`, `"crit":"x"`, `"crit":["b64"]`, `"crit":["b64"],"b64":true`,
		`"crit":["b64"],"b64":false`, `"b64":false`, `"b64":true`,
	} {
		if read, err := jwt.Read(mac(`{"alg":"HS256",`+header+`}`, `{"exp":1}`, make([]byte, 32)), all); err == nil {
			t.Errorf("%s: %+v", header, read)
		}
	}
	if _, err := jwt.Read(mac(`{"alg":"HS256","x":1}`, `{"exp":1}`, make([]byte, 32)), all); err != nil {
		t.Error(err)
	}
}

// RFC 8725 §2.1: whoever has a public key must not be able to sign by it.
func TestKeyConfusion(t *testing.T) {
	p := newPrivate(t)
	der, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.JSONWebKey{Key: p.rsa.Public()}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	keys := []jose.JSONWebKey{{Key: p.rsa.Public()}}
	for name, secret := range map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": jwk, "modulus": p.rsa.N.Bytes(),
	} {
		token := mac(`{"alg":"HS256"}`, `{"exp":1}`, secret)
		if _, err := jwt.Read(token, jwt.AsymmetricAlgorithms()); err == nil {
			t.Errorf("%s: read", name)
		}
		read, err := jwt.Read(token, jwt.SymmetricAlgorithms())
		if err != nil {
			t.Fatal(err)
		}
		if err := read.ProveByKeys(keys); err == nil {
			t.Errorf("%s: proven", name)
		}
	}
}

func TestProveBySecret(t *testing.T) {
	right := []byte(strings.Repeat("s", 64))
	for name, test := range map[string]struct {
		algorithm string
		secret    []byte
		want      bool
	}{
		"HS256":                 {"HS256", right, true},
		"HS384":                 {"HS384", right, true},
		"HS512":                 {"HS512", right, true},
		"another":               {"HS256", []byte(strings.Repeat("t", 64)), false},
		"its beginning":         {"HS256", right[:32], false},
		"nothing":               {"HS256", nil, false},
		"its end padded with 0": {"HS256", append(slices.Clone(right), 0), false},
	} {
		read, err := jwt.Read(foreign(t, test.algorithm, right, "", "", `{"exp":1}`), jwt.SymmetricAlgorithms())
		if err != nil {
			t.Fatal(err)
		}
		if err := read.ProveBySecret(test.secret); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// RFC 7518 §3.2: a short secret can be guessed.
	short := []byte("a short secret")
	read, err := jwt.Read(mac(`{"alg":"HS256"}`, `{"exp":1}`, short), jwt.SymmetricAlgorithms())
	if err != nil {
		t.Fatal(err)
	}
	if err := read.ProveBySecret(short); err == nil {
		t.Error("a short secret")
	}
}

func TestRegistered(t *testing.T) {
	secret := make([]byte, 32)
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	read := func(payload string) (jwt.Registered, error) {
		u, err := jwt.Read(mac(`{"alg":"HS256"}`, payload, secret), jwt.SymmetricAlgorithms())
		if err != nil {
			t.Fatal(err)
		}
		return u.Registered()
	}
	got, err := read(`{"iss":"i","sub":"s","aud":"a","jti":"j","exp":20.1,"nbf":9.5,"iat":10,"ISS":"x","more":{"a":[1]}}`)
	if err != nil || got.Issuer != "i" || got.Subject != "s" || !slices.Equal(got.Audience, []string{"a"}) || got.ID != "j" ||
		!got.Expiry.Equal(at(21)) || !got.NotBefore.Equal(at(10)) || !got.IssuedAt.Equal(at(10)) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, payload := range map[string]string{
		"no object":            `7`,
		"nothing":              ``,
		"no exp":               `{"iss":"i"}`,
		"no exp but null":      `{"exp":null}`,
		"exp of another case":  `{"EXP":20}`,
		"exp twice":            `{"exp":1,"exp":99999}`,
		"exp as text":          `{"exp":"20"}`,
		"exp of 0":             `{"exp":0}`,
		"exp below 0":          `{"exp":-1}`,
		"exp beyond all years": `{"exp":1e11}`,
		"exp beyond floats":    `{"exp":1e999}`,
		"iat below 0":          `{"exp":1,"iat":-1}`,
		"nbf as text":          `{"exp":1,"nbf":"1"}`,
		"iss as a number":      `{"exp":1,"iss":1}`,
		"sub as a list":        `{"exp":1,"sub":["a"]}`,
		"jti as a number":      `{"exp":1,"jti":1}`,
		"aud as a number":      `{"exp":1,"aud":1}`,
		"aud as an object":     `{"exp":1,"aud":{"a":1}}`,
		"aud of numbers":       `{"exp":1,"aud":[1]}`,
		"data after it":        `{"exp":1}{}`,
	} {
		if got, err := read(payload); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestPeriod(t *testing.T) {
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, test := range map[string]struct {
		period jwt.Period
		most   time.Duration
		why    string
	}{
		"just now":                   {jwt.Period{Expiry: in(time.Second)}, 0, ""},
		"expired by a slow clock":    {jwt.Period{Expiry: in(1 - jwt.Skew)}, 0, ""},
		"expired":                    {jwt.Period{Expiry: in(-jwt.Skew)}, 0, "expired"},
		"nbf within the skew":        {jwt.Period{Expiry: in(time.Hour), NotBefore: in(jwt.Skew)}, 0, ""},
		"nbf beyond it":              {jwt.Period{Expiry: in(time.Hour), NotBefore: in(jwt.Skew + 1)}, 0, "not valid yet"},
		"iat within the skew":        {jwt.Period{Expiry: in(time.Hour), IssuedAt: in(jwt.Skew)}, 0, ""},
		"iat beyond it":              {jwt.Period{Expiry: in(time.Hour), IssuedAt: in(jwt.Skew + 1)}, 0, "in the future"},
		"iat after exp":              {jwt.Period{Expiry: in(1), IssuedAt: in(2)}, 0, "after its end"},
		"no bound":                   {jwt.Period{Expiry: in(1000 * time.Hour), IssuedAt: in(-1000 * time.Hour)}, 0, ""},
		"as long as may be":          {jwt.Period{Expiry: in(time.Hour), IssuedAt: now}, time.Hour, ""},
		"as long, by a fast clock":   {jwt.Period{Expiry: in(time.Hour + jwt.Skew), IssuedAt: in(jwt.Skew)}, time.Hour, ""},
		"longer, by a fast clock":    {jwt.Period{Expiry: in(time.Hour + jwt.Skew + 1), IssuedAt: in(jwt.Skew)}, time.Hour, "from now"},
		"longer, without iat":        {jwt.Period{Expiry: in(time.Hour + jwt.Skew + 1)}, time.Hour, "from now"},
		"longer, though nearly over": {jwt.Period{Expiry: in(time.Second), IssuedAt: in(-time.Hour)}, time.Hour, "made for more"},
	} {
		err := test.period.Check(now, test.most)
		if (err == nil) != (test.why == "") || err != nil && !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, want %q", name, err, test.why)
		}
	}
}

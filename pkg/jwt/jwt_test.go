package jwt_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
)

// A holder signs with its first key, and counts all of them.
type holder struct {
	keys    []jwt.Key
	private map[string]*rsa.PrivateKey
	// fail lists what goes wrong in the signatures to come.
	fail  []error
	asked int // for the signing key
	signs int
}

var (
	_ jwt.Signer = (*holder)(nil)
	_ jwt.KeySet = (*holder)(nil)
)

func newHolder(t *testing.T) *holder {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	id, err := jwt.Thumbprint(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{
		keys:    []jwt.Key{{ID: id, Algorithm: jwt.RS256, Public: &private.PublicKey}},
		private: map[string]*rsa.PrivateKey{id: private},
	}
}

func (h *holder) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	h.asked++
	return h.keys[0], nil
}

func (h *holder) Keys(context.Context) ([]jwt.Key, error) { return h.keys, nil }

func (h *holder) Sign(_ context.Context, key jwt.Key, digest []byte) ([]byte, error) {
	h.signs++
	if len(h.fail) > 0 {
		err := h.fail[0]
		h.fail = h.fail[1:]
		if err != nil {
			return nil, err
		}
	}
	return rsa.SignPKCS1v15(rand.Reader, h.private[key.ID], crypto.SHA256, digest)
}

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// claims change in the cases of a table; nil takes a member away.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{"iss": "https://i/", "aud": "api", "exp": now.Unix() + 60, "sub": "someone"}
	for name, value := range changes {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

var want = jwt.Expected{Type: jwt.TypAccessToken, Issuer: "https://i/", Audience: "api", Now: now}

func TestVerify(t *testing.T) {
	h := newHolder(t)
	for name, test := range map[string]struct {
		typ     string
		changes map[string]any
		why     string // "" accepts
	}{
		"as expected":                   {jwt.TypAccessToken, nil, ""},
		"one of several audiences":      {jwt.TypAccessToken, map[string]any{"aud": []string{"other", "api"}}, ""},
		"the last second":               {jwt.TypAccessToken, map[string]any{"exp": now.Unix() + 1}, ""},
		"since now":                     {jwt.TypAccessToken, map[string]any{"nbf": now.Unix()}, ""},
		"an ID token":                   {jwt.TypIDToken, nil, `typ is "JWT"`},
		"the typ of another spelling":   {"AT+JWT", nil, "typ is"},
		"no typ":                        {"", nil, "typ is"},
		"another issuer":                {jwt.TypAccessToken, map[string]any{"iss": "https://i"}, "iss is"},
		"no issuer":                     {jwt.TypAccessToken, map[string]any{"iss": nil}, "iss is"},
		"another audience":              {jwt.TypAccessToken, map[string]any{"aud": "api2"}, "aud does not name"},
		"other audiences":               {jwt.TypAccessToken, map[string]any{"aud": []string{"a", "pi"}}, "aud does not name"},
		"no audience":                   {jwt.TypAccessToken, map[string]any{"aud": nil}, "aud does not name"},
		"an audience that is no string": {jwt.TypAccessToken, map[string]any{"aud": 7}, "claims"},
		"expired":                       {jwt.TypAccessToken, map[string]any{"exp": now.Unix()}, "expired"},
		"without expiry":                {jwt.TypAccessToken, map[string]any{"exp": nil}, "expired"},
		"from the next second on":       {jwt.TypAccessToken, map[string]any{"nbf": now.Unix() + 1}, "not valid yet"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := jwt.Sign(t.Context(), h, jwt.Choice{}, test.typ, claims(test.changes))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Subject string `json:"sub"`
			}
			err = jwt.Verify(t.Context(), h, token, want, &got)
			switch {
			case test.why == "" && (err != nil || got.Subject != "someone"):
				t.Errorf("refused: %v", err)
			case test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)):
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
}

// A token that has expired is still ours; everything else about it counts as
// before.
func TestVerifyAllowsExpiredOnes(t *testing.T) {
	h := newHolder(t)
	late := want
	late.AllowExpired = true
	for name, test := range map[string]struct {
		typ     string
		changes map[string]any
		why     string // "" accepts
	}{
		"not expired":           {jwt.TypAccessToken, nil, ""},
		"expired":               {jwt.TypAccessToken, map[string]any{"exp": now.Unix()}, ""},
		"long ago":              {jwt.TypAccessToken, map[string]any{"exp": 1}, ""},
		"expired, another typ":  {jwt.TypIDToken, map[string]any{"exp": 1}, "typ is"},
		"expired, another iss":  {jwt.TypAccessToken, map[string]any{"exp": 1, "iss": "https://i"}, "iss is"},
		"expired, another aud":  {jwt.TypAccessToken, map[string]any{"exp": 1, "aud": "api2"}, "aud does not name"},
		"from the next second":  {jwt.TypAccessToken, map[string]any{"nbf": now.Unix() + 1}, "not valid yet"},
		"an exp that is a text": {jwt.TypAccessToken, map[string]any{"exp": "1"}, "claims"},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := jwt.Sign(t.Context(), h, jwt.Choice{}, test.typ, claims(test.changes))
			if err != nil {
				t.Fatal(err)
			}
			err = jwt.Verify(t.Context(), h, token, late, &struct{}{})
			if (err == nil) != (test.why == "") || err != nil && !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
	token, err := jwt.Sign(t.Context(), h, jwt.Choice{}, jwt.TypAccessToken, claims(map[string]any{"exp": 1}))
	if err != nil {
		t.Fatal(err)
	}
	if err := jwt.Verify(t.Context(), newHolder(t), token, late, &struct{}{}); err == nil {
		t.Error("expired and another's")
	}
}

// unreadable is a key set that cannot be read.
type unreadable struct{ err error }

func (u unreadable) Keys(context.Context) ([]jwt.Key, error) { return nil, u.err }

func TestVerifyTellsTheKeySetsErrors(t *testing.T) {
	h, cause := newHolder(t), errors.New("on fire")
	token, err := jwt.Sign(t.Context(), h, jwt.Choice{}, jwt.TypAccessToken, claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = jwt.Verify(t.Context(), unreadable{cause}, token, want, &struct{}{})
	if !errors.Is(err, jwt.ErrKeySet) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if err := jwt.Verify(t.Context(), h, token+"x", want, &struct{}{}); err == nil || errors.Is(err, jwt.ErrKeySet) {
		t.Errorf("a token that is none: %v", err)
	}
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Tokens that were not made by Sign.
func TestVerifyRefusesForgeries(t *testing.T) {
	h, other := newHolder(t), newHolder(t)
	key := h.keys[0]
	sign := func(header map[string]any, by *holder) string {
		input := encode(header) + "." + encode(claims(nil))
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(rand.Reader, by.private[by.keys[0].ID], crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	header := func(changes map[string]any) map[string]any {
		h := map[string]any{"alg": "RS256", "kid": key.ID, "typ": "at+jwt"}
		for name, value := range changes {
			h[name] = value
			if value == nil {
				delete(h, name)
			}
		}
		return h
	}
	good := sign(header(nil), h)
	if err := jwt.Verify(t.Context(), h, good, want, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(key.Public)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 8725 §2.1: the public key taken for the secret of a MAC.
	input := encode(header(map[string]any{"alg": "HS256"})) + "." + parts[1]
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte(input))
	for name, token := range map[string]string{
		"signed by another key":        sign(header(nil), other),
		"the kid of another key":       sign(header(map[string]any{"kid": other.keys[0].ID}), h),
		"no kid":                       sign(header(map[string]any{"kid": nil}), h),
		"another alg in the header":    sign(header(map[string]any{"alg": "PS256"}), h),
		"alg none":                     encode(header(map[string]any{"alg": "none"})) + "." + parts[1] + ".",
		"a MAC by the public key":      input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"a key of its own":             sign(header(map[string]any{"kid": nil, "jwk": other.keys[0]}), other),
		"an extension it must know":    sign(header(map[string]any{"crit": []string{"x"}, "x": 1}), h), // RFC 7515 §4.1.11
		"other claims":                 parts[0] + "." + encode(claims(map[string]any{"sub": "root"})) + "." + parts[2],
		"another header":               encode(header(map[string]any{"x": 1})) + "." + parts[1] + "." + parts[2],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"two parts":                    parts[0] + "." + parts[1],
		"four parts":                   good + ".",
		"not compact":                  `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"nothing":                      "",
		"claims that are no object":    parts[0] + "." + encode("x") + "." + parts[2],
		"a signature with padding":     good + "==",
		"a line break at the end":      good + "\n",
		"a line break within":          good[:len(good)-4] + "\r\n" + good[len(good)-4:],
		"signature of a smaller value": parts[0] + "." + parts[1] + ".AA",
	} {
		t.Run(name, func(t *testing.T) {
			if err := jwt.Verify(t.Context(), h, token, want, &struct{}{}); err == nil {
				t.Error("accepted")
			}
		})
	}
	// The algorithm is the key's: RFC 8725 §3.1. Both signatures are by the one RSA
	// key, and good by the algorithm that their header names.
	input = encode(header(map[string]any{"alg": "PS256"})) + "." + parts[1]
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPSS(rand.Reader, h.private[key.ID], crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		t.Fatal(err)
	}
	pss := input + "." + base64.RawURLEncoding.EncodeToString(signature)
	for _, test := range []struct {
		algorithm, token string
		accepted         bool
	}{
		{jwt.RS256, good, true}, {jwt.RS256, pss, false}, {jwt.PS256, pss, true}, {jwt.PS256, good, false},
		{jwt.ES256, good, false}, {jwt.ES256, pss, false}, {"none", good, false}, {"", good, false},
	} {
		h.keys[0].Algorithm = test.algorithm
		if err := jwt.Verify(t.Context(), h, test.token, want, &struct{}{}); (err == nil) != test.accepted {
			t.Errorf("a key for %q: %v", test.algorithm, err)
		}
	}
}

func TestSignTriesAnotherKeyOnce(t *testing.T) {
	gone, busy := jwt.ErrKeyUnusable, jwt.ErrBusy
	for name, test := range map[string]struct {
		fail  []error
		want  error
		signs int
	}{
		"well":                  {nil, nil, 1},
		"unusable once":         {[]error{gone}, nil, 2},
		"unusable":              {[]error{gone, gone}, gone, 2},
		"busy":                  {[]error{busy}, busy, 1},
		"unusable, then busy":   {[]error{gone, busy}, busy, 2},
		"something else":        {[]error{context.Canceled}, context.Canceled, 1},
		"unusable and in words": {[]error{errors.Join(errors.New("KMS"), gone)}, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHolder(t)
			h.fail = test.fail
			token, err := jwt.Sign(t.Context(), h, jwt.Choice{}, jwt.TypAccessToken, claims(nil))
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || (token == "") != (err != nil) {
				t.Errorf("got %q, %v", token, err)
			}
			if h.signs != test.signs || h.asked != test.signs {
				t.Errorf("%d signatures, asked %d times for the key", h.signs, h.asked)
			}
		})
	}
	if _, err := jwt.Sign(t.Context(), newHolder(t), jwt.Choice{}, jwt.TypAccessToken, func() {}); err == nil {
		t.Error("signed what is no JSON")
	}
}

// RFC 7638 §3.1 has a key and its thumbprint.
func TestThumbprint(t *testing.T) {
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	if got, err := jwt.Thumbprint(public); err != nil || got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := jwt.Thumbprint("no key"); err == nil {
		t.Error("no key has a thumbprint")
	}
}

func TestAudience(t *testing.T) {
	for text, want := range map[string]jwt.Audience{`"a"`: {"a"}, `["a","b"]`: {"a", "b"}, `[]`: {}} {
		var got jwt.Audience
		if err := json.Unmarshal([]byte(text), &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %q: %v", text, got, err)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%q is %s: %v", want, back, err)
		}
	}
	for _, text := range []string{`7`, `{}`, `["a",7]`} {
		if err := json.Unmarshal([]byte(text), new(jwt.Audience)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

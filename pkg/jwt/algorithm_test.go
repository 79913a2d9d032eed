package jwt_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
)

// everyKey has a private key for each algorithm: one for all of RSA, and one for both
// names of Ed25519. Made once, as RSA takes its time.
var everyKey = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	ec := func(curve elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(curve, rand.Reader)) }
	one := must(rsa.GenerateKey(rand.Reader, 2048))
	edwards := ed25519.NewKeyFromSeed(make([]byte, 32))
	return map[string]crypto.Signer{
		jwt.RS256: one, jwt.RS384: one, jwt.RS512: one, jwt.PS256: one, jwt.PS384: one, jwt.PS512: one,
		jwt.ES256: ec(elliptic.P256()), jwt.ES384: ec(elliptic.P384()), jwt.ES512: ec(elliptic.P521()),
		jwt.EdDSA: edwards, jwt.Ed25519: edwards,
		jwt.MLDSA44: must(mldsa.GenerateKey(mldsa.MLDSA44())), jwt.MLDSA65: must(mldsa.GenerateKey(mldsa.MLDSA65())),
		jwt.MLDSA87: must(mldsa.GenerateKey(mldsa.MLDSA87())),
	}
})

func everyPublic(algorithm string) crypto.PublicKey { return everyKey()[algorithm].Public() }

// one signs by one algorithm, whatever the key is said to be for.
type one struct{ algorithm, named string }

var _ jwt.Signer = one{}

func (o one) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	return jwt.Key{ID: "k", Algorithm: o.named, Public: everyPublic(o.algorithm)}, nil
}

func (o one) Sign(_ context.Context, _ jwt.Key, message []byte) ([]byte, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[o.algorithm[2:]]
	switch private := everyKey()[o.algorithm].(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(o.algorithm, "PS") {
			return private.Sign(rand.Reader, message, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
		}
		return private.Sign(rand.Reader, message, hash)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, message)
		size := (private.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), err
	case *mldsa.PrivateKey:
		return private.Sign(nil, message, mldsacrypto.MLDSAMu)
	default:
		return private.Sign(nil, message, crypto.Hash(0))
	}
}

// RFC 8725 §3.1: "each key MUST be used with exactly one algorithm, and this MUST be
// checked". A token counts by the key of its algorithm alone: not where the key is for
// another, nor where it names another, even where the signature would be right.
func TestAlgorithmsDoNotMix(t *testing.T) {
	for _, signed := range jwt.Algorithms() {
		for _, named := range jwt.Algorithms() {
			token, err := jwt.Sign(t.Context(), one{signed, named}, jwt.Choice{}, jwt.TypAccessToken, claims(nil))
			if err != nil {
				if signed == named {
					t.Errorf("%s: %v", signed, err)
				}
				continue // a digest of another length, or no μ of that key
			}
			for _, of := range jwt.Algorithms() {
				for _, held := range []string{signed, of} {
					set := &holder{keys: []jwt.Key{{ID: "k", Algorithm: of, Public: everyPublic(held)}}}
					err := jwt.Verify(t.Context(), set, token, want, &struct{}{})
					if right := of == named && sameSignature(signed, named) && sameKind(everyPublic(held), everyKey()[signed]); (err == nil) != right {
						t.Errorf("signed by %s, named %s, with the %s key for %s: %v", signed, named, held, of, err)
					}
				}
			}
		}
	}
}

// sameSignature reports whether two names stand for one signature.
func sameSignature(a, b string) bool {
	return a == b || strings.HasPrefix(a, "Ed") && strings.HasPrefix(b, "Ed")
}

// RFC 9964, "Examples": the key of the seed of zeros, made here by a library of others,
// which signs, too.
func TestRFC9964(t *testing.T) {
	public, private := mldsa44.NewKeyFromSeed(new([mldsa44.SeedSize]byte))
	text, err := json.Marshal(map[string]string{
		"kty": "AKP", "alg": "ML-DSA-44", "kid": "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o",
		"pub": base64.RawURLEncoding.EncodeToString(public.Bytes()),
	})
	if err != nil {
		t.Fatal(err)
	}
	var key jwt.Key
	if err := json.Unmarshal(text, &key); err != nil {
		t.Fatal(err)
	}
	if got, err := jwt.Thumbprint(key.Public); err != nil || got != key.ID {
		t.Errorf("%s %v", got, err)
	}
	input := encode(map[string]any{"alg": "ML-DSA-44", "kid": key.ID, "typ": "at+jwt"}) + "." + encode(claims(nil))
	for name, test := range map[string]struct {
		context []byte
		good    bool
	}{"an empty context": {nil, true}, "a context": {[]byte("x"), false}} {
		signature := make([]byte, mldsa44.SignatureSize)
		if err := mldsa44.SignTo(private, []byte(input), test.context, true, signature); err != nil {
			t.Fatal(err)
		}
		token := input + "." + base64.RawURLEncoding.EncodeToString(signature)
		if err := jwt.Verify(t.Context(), &holder{keys: []jwt.Key{key}}, token, want, &struct{}{}); (err == nil) != test.good {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

func TestKeysAsJSON(t *testing.T) {
	for _, algorithm := range jwt.Algorithms() {
		key := jwt.Key{ID: "k", Algorithm: algorithm, Reference: "arn", Public: everyPublic(algorithm)}
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		var back jwt.Key
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		equal := key.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(back.Public)
		if back.ID != "k" || back.Algorithm != algorithm || back.Reference != "" || !equal || !strings.Contains(string(text), `"use":"sig"`) {
			t.Errorf("%s became %+v", text, back)
		}
	}
	pub := base64.RawURLEncoding.EncodeToString(everyKey()[jwt.MLDSA44].Public().(*mldsa.PublicKey).Bytes())
	private, err := json.Marshal(jose.JSONWebKey{Key: everyKey()[jwt.ES256]})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no alg":              `{"kty":"AKP","pub":"` + pub + `"}`,
		"an alg of another":   `{"kty":"AKP","alg":"ML-DSA-65","pub":"` + pub + `"}`,
		"an alg of no AKP":    `{"kty":"AKP","alg":"RS256","pub":"` + pub + `"}`,
		"no pub":              `{"kty":"AKP","alg":"ML-DSA-44"}`,
		"a pub with padding":  `{"kty":"AKP","alg":"ML-DSA-44","pub":"` + pub + `="}`,
		"a pub cut off":       `{"kty":"AKP","alg":"ML-DSA-44","pub":"` + pub[:len(pub)-4] + `"}`,
		"a seed":              `{"kty":"AKP","alg":"ML-DSA-44","pub":"` + pub + `","priv":"AAAA"}`,
		"a pub twice":         `{"kty":"AKP","alg":"ML-DSA-44","pub":"` + pub + `","pub":"` + pub + `"}`,
		"for encryption":      `{"kty":"AKP","use":"enc","alg":"ML-DSA-44","pub":"` + pub + `"}`,
		"a private key of EC": string(private),
		"a secret":            `{"kty":"oct","k":"AAAA"}`,
		"an unknown kind":     `{"kty":"XYZ"}`,
		"no kind":             `{}`,
		"no object":           `7`,
	} {
		if err := json.Unmarshal([]byte(text), new(jwt.Key)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// OpenID Connect Core 1.0 §3.1.3.6: at_hash is by the hash of the alg. The digests of
// nothing are those of FIPS 180-4 and FIPS 202.
func TestHash(t *testing.T) {
	const (
		sha2of256 = "e3b0c44298fc1c149afbf4c8996fb924"
		sha2of384 = "38b060a751ac96384cd9327eb1b1e36a"
		sha2of512 = "cf83e1357eefb8bdf1542850d66d8007"
		shake256  = "46b9dd2b0ba88d13233b3feb743eeb24"
	)
	for algorithm, want := range map[string]string{
		jwt.RS256: sha2of256, jwt.PS256: sha2of256, jwt.ES256: sha2of256,
		jwt.RS384: sha2of384, jwt.PS384: sha2of384, jwt.ES384: sha2of384,
		jwt.RS512: sha2of512, jwt.PS512: sha2of512, jwt.ES512: sha2of512, jwt.EdDSA: sha2of512, jwt.Ed25519: sha2of512,
		jwt.MLDSA44: shake256, jwt.MLDSA65: shake256, jwt.MLDSA87: shake256,
	} {
		if got := jwt.Hash(algorithm, nil); hex.EncodeToString(got[:16]) != want || len(got) != map[string]int{sha2of256: 32, sha2of384: 48}[want] && len(got) != 64 {
			t.Errorf("%s: %x", algorithm, got)
		}
	}
}

// A key that names an algorithm that it is not for makes nothing.
func TestSignByAnUnfitKey(t *testing.T) {
	for _, other := range []string{jwt.RS256, jwt.EdDSA} {
		if _, err := jwt.Sign(t.Context(), one{other, jwt.MLDSA65}, jwt.Choice{}, jwt.TypAccessToken, claims(nil)); err == nil {
			t.Errorf("%s signs ML-DSA-65", other)
		}
	}
	long := claims(map[string]any{"filler": strings.Repeat("x", jwt.MaxRaw)})
	if _, err := jwt.Sign(t.Context(), one{jwt.EdDSA, jwt.EdDSA}, jwt.Choice{}, jwt.TypAccessToken, long); !errors.Is(err, jwt.ErrTooLong) {
		t.Error(err)
	}
	if err := jwt.CheckKey(jwt.RS256, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 9000), E: 65537}); err == nil {
		t.Error("an RSA key of 9,001 bits would be used")
	}
}

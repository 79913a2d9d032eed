package token_test

import (
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// OpenID Connect Core 1.0 §3.3.2.11: at_hash and c_hash are by the hash of the ID
// token's alg, whatever that of the access token is.
func TestHashesOfTheIDToken(t *testing.T) {
	sha2 := func(text string) []byte { sum := sha256.Sum256([]byte(text)); return sum[:16] }
	for algorithm, half := range map[string]func(text string) []byte{
		"":          sha2,
		jwt.ES256:   sha2,
		jwt.PS384:   func(text string) []byte { sum := sha512.Sum384([]byte(text)); return sum[:24] },
		jwt.RS512:   func(text string) []byte { sum := sha512.Sum512([]byte(text)); return sum[:32] },
		jwt.Ed25519: func(text string) []byte { sum := sha512.Sum512([]byte(text)); return sum[:32] },
		jwt.MLDSA65: func(text string) []byte { return sha3.SumSHAKE256([]byte(text), 64)[:32] },
	} {
		m := newMint(t)
		a := in(ofPerson, "")
		a.Front, a.Code, a.IDTokenAlgorithm = true, oauth.Secret("code"), algorithm
		response, err := m.Issue(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(response.IDToken, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			AccessToken string `json:"at_hash"`
			Code        string `json:"c_hash"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		for text, got := range map[string]string{response.AccessToken: claims.AccessToken, "code": claims.Code} {
			if want := base64.RawURLEncoding.EncodeToString(half(text)); got != want {
				t.Errorf("%q: %s, want %s", algorithm, got, want)
			}
		}
	}
}

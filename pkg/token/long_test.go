package token_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// edwards signs whatever it is given by Ed25519.
type edwards struct{ private ed25519.PrivateKey }

var _ jwt.Signer = edwards{}

func (e edwards) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	return jwt.Key{ID: "k", Algorithm: jwt.Ed25519, Public: e.private.Public()}, nil
}

func (e edwards) Sign(_ context.Context, _ jwt.Key, message []byte) ([]byte, error) {
	return e.private.Sign(nil, message, crypto.Hash(0))
}

// What a client asks for may make a token too long for Ed25519: that is its mistake,
// and no fault of the server. The log says what the owner can do.
func TestTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		nonce int
		good  bool
	}{"as usual": {40, true}, "a nonce of 5,000 bytes": {5000, false}} {
		m := newMint(t)
		m.Signer = edwards{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
		a := in(ofPerson, "")
		a.Person.Nonce = strings.Repeat("n", test.nonce)
		_, err := m.Issue(t.Context(), a)
		if test.good {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		bad := (*oauth.Error)(nil)
		if !errors.As(err, &bad) || bad.Code != oauth.InvalidRequest || !errors.Is(err, jwt.ErrTooLong) || !strings.Contains(err.Error(), "sign by an algorithm that has a digest") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

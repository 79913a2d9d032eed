package verify_test

import (
	"context"
	"strings"
	"testing"

	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/oauth"
)

// A chosen is the one key that signs.
type chosen struct {
	*localkey.Keys
	key jwt.Key
}

var _ jwt.Signer = chosen{}

func (c chosen) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) { return c.key, nil }

// Whatever kmint signs counts here, by the key of its algorithm alone.
func TestEveryAlgorithm(t *testing.T) {
	f := newForge(t)
	local, err := localkey.Open(t.TempDir(), jwt.Algorithms()...)
	if err != nil {
		t.Fatal(err)
	}
	var set jwt.Set
	for _, algorithm := range jwt.Algorithms() {
		public, err := local.PublicKey(t.Context(), localkey.ReferenceOf(algorithm))
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, must(keys.New(algorithm, public, localkey.ReferenceOf(algorithm))))
	}
	f.set = set
	all := f.verifier()
	for i, key := range set.Keys {
		sign := func() string {
			return must(jwt.Sign(t.Context(), chosen{local, key}, jwt.Choice{}, jwt.TypAccessToken, f.claims(nil)))
		}
		token := sign()
		if claims, err := all.Verify(t.Context(), token); err != nil || claims.Subject != "somebody" {
			t.Errorf("%s is refused: %v", key.Algorithm, err)
		}
		end := strings.LastIndexByte(token, '.') + 1
		other := sign()
		for name, changed := range map[string]string{
			"another's signature": token[:end] + other[strings.LastIndexByte(other, '.')+1:len(other)-8] + "AAAAAAAA",
			"a short signature":   token[:end+8],
		} {
			if _, err := all.Verify(t.Context(), changed); code(err) != oauth.InvalidToken {
				t.Errorf("%s, %s: %v", key.Algorithm, name, err)
			}
		}
		without := f.verifier()
		for _, algorithm := range jwt.Algorithms() {
			if algorithm != key.Algorithm {
				without.Algorithms = append(without.Algorithms, algorithm)
			}
		}
		if _, err := without.Verify(t.Context(), token); code(err) != oauth.InvalidToken {
			t.Errorf("%s counts though it is not in the list: %v", key.Algorithm, err)
		}
		// The same kid on the key of another algorithm.
		stranger := set.Keys[(i+1)%len(set.Keys)]
		stranger.ID = key.ID
		f.set = jwt.Set{Keys: []jwt.Key{stranger}}
		if _, err := f.verifier().Verify(t.Context(), token); code(err) != oauth.InvalidToken {
			t.Errorf("%s counts by the key for %s: %v", key.Algorithm, stranger.Algorithm, err)
		}
		f.set = set
	}
	for _, algorithms := range [][]string{{"HS256"}, {"none"}, {"RS256", "ES256K"}} {
		v := f.verifier()
		v.Algorithms = algorithms
		if err := v.Load(t.Context()); err == nil {
			t.Errorf("%v were taken", algorithms)
		}
	}
}

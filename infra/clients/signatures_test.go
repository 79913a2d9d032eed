package clients

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/localkey"
	"kmint/pkg/store"
)

// What kmint signs, in KMS or on a key of its own, verifies under the JWK that it
// publishes, whose kid is the thumbprint (RFC 7638): so says jwx, which made
// neither.
func TestSignaturesVerifyByAnotherLibrary(t *testing.T) {
	server := kmstest.New()
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	inKMS := kms.Signer{Client: kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})}
	// The library knows neither Ed25519 by that name nor ML-DSA; those are verified by
	// others in pkg/keys.
	specs := map[string]string{
		jwt.RS256: kmstest.RSA2048, jwt.RS384: kmstest.RSA3072, jwt.RS512: kmstest.RSA2048,
		jwt.PS256: kmstest.RSA2048, jwt.PS384: kmstest.RSA2048, jwt.PS512: kmstest.RSA3072,
		jwt.ES256: kmstest.P256, jwt.ES384: kmstest.P384, jwt.ES512: kmstest.P521, jwt.EdDSA: kmstest.Edwards,
	}
	local, err := localkey.Open(t.TempDir(), slices.Collect(maps.Keys(specs))...)
	if err != nil {
		t.Fatal(err)
	}
	type holder interface {
		keys.PrivateKey
		PublicKey(ctx context.Context, reference string) (crypto.PublicKey, error)
	}
	type signer struct {
		holder
		algorithm, reference string
	}
	signers := map[string]signer{}
	for algorithm, spec := range specs {
		arn, err := server.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		signers[algorithm+" kms"] = signer{inKMS, algorithm, arn}
		signers[algorithm+" localkey"] = signer{local, algorithm, localkey.ReferenceOf(algorithm)}
	}
	for name, test := range signers {
		t.Run(name, func(t *testing.T) {
			public, err := test.PublicKey(t.Context(), test.reference)
			if err != nil {
				t.Fatal(err)
			}
			key, err := keys.New(test.algorithm, public, test.reference)
			if err != nil {
				t.Fatal(err)
			}
			r := &oneRegistry{}
			if _, err := keys.First(t.Context(), r, key, time.Now()); err != nil {
				t.Fatal(err)
			}
			ring := &keys.Ring{Registry: r, Private: test.holder}
			token, err := jwt.Sign(t.Context(), ring, jwt.Choice{Algorithm: test.algorithm}, jwt.TypAccessToken, map[string]string{"sub": "someone"})
			if err != nil {
				t.Fatal(err)
			}
			published, err := ring.JWKS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			document, err := json.Marshal(published)
			if err != nil {
				t.Fatal(err)
			}
			set, err := jwk.Parse(document)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := jws.Verify([]byte(token), jws.WithKeySet(set)) // finds the key by kid and alg
			if err != nil || string(payload) != `{"sub":"someone"}` {
				t.Errorf("%s %v", payload, err)
			}
			first, _ := set.Key(0)
			thumbprint, err := first.Thumbprint(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if kid, _ := first.KeyID(); kid != base64.RawURLEncoding.EncodeToString(thumbprint) {
				t.Errorf("kid %s is not the thumbprint", kid)
			}
			if _, err := jws.Verify([]byte(token[:len(token)-8]+"AAAAAAAA"), jws.WithKeySet(set)); err == nil {
				t.Error("a changed signature verifies")
			}
		})
	}
}

// oneRegistry is a registry in memory, for one test at a time.
type oneRegistry struct{ kept store.Registry }

func (r *oneRegistry) Registry(context.Context) (store.Registry, error) { return r.kept, nil }

func (r *oneRegistry) ReplaceRegistry(_ context.Context, next store.Registry) error {
	r.kept = next
	return nil
}

func (r *oneRegistry) Forget() {}

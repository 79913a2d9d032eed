package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/localkey"
	"kmint/pkg/store"
)

// A holder has private keys: what kms and localkey have in common.
type holder interface {
	keys.PrivateKey
	PublicKey(ctx context.Context, reference string) (crypto.PublicKey, error)
	HourlyKey(ctx context.Context, purpose string, hour int64) ([]byte, error)
}

type inKMS struct {
	kms.Signer
	*kms.MAC
}

// startKMS starts a KMS with one key to sign and one for MACs.
func startKMS(t testing.TB) (server *kmstest.Server, signer inKMS, arn string) {
	t.Helper()
	server = kmstest.New()
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	arn, err := server.Create(kmstest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := server.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	client := kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	return server, inKMS{kms.Signer{Client: client}, &kms.MAC{Client: client, Key: mac}}, arn
}

// register makes the key at reference the first one of its algorithm.
func register(t testing.TB, r *registry, from holder, algorithm, reference string) jwt.Key {
	t.Helper()
	public, err := from.PublicKey(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(algorithm, public, reference)
	if err != nil {
		t.Fatal(err)
	}
	if added, err := keys.First(t.Context(), r, key, epoch); err != nil || !added {
		t.Fatal(added, err)
	}
	return key
}

// another is one more key in KMS, which no registry lists.
func another(t *testing.T, server *kmstest.Server, from holder) jwt.Key {
	t.Helper()
	arn, err := server.Create(kmstest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := from.PublicKey(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, public, arn)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// specs are the kinds of keys in KMS, by what they sign.
var specs = map[string]string{jwt.RS256: kmstest.RSA2048, jwt.PS256: kmstest.RSA2048, jwt.ES256: kmstest.P256}

// holders calls do with every kind of holder, for each algorithm and the name of
// its signing key.
func holders(t *testing.T, do func(t *testing.T, h holder, algorithm, reference string)) {
	for _, algorithm := range jwt.Algorithms() {
		t.Run(algorithm+" kms", func(t *testing.T) {
			server, h, _ := startKMS(t)
			arn, err := server.Create(specs[algorithm])
			if err != nil {
				t.Fatal(err)
			}
			do(t, h, algorithm, arn)
		})
		t.Run(algorithm+" localkey", func(t *testing.T) {
			h, err := localkey.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			do(t, h, algorithm, localkey.References()[algorithm])
		})
	}
}

type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Expiry   int64  `json:"exp"`
	Filler   string `json:"filler,omitempty"`
}

func someClaims(filler int) claims {
	return claims{"https://issuer.example/", "api", epoch.Unix() + 60, strings.Repeat("x", filler)}
}

var expected = jwt.Expected{Type: jwt.TypAccessToken, Issuer: "https://issuer.example/", Audience: "api", Now: epoch}

// The contract of whoever holds keys: what they sign verifies under the published
// JWK, read here by the standard library alone.
func TestContract(t *testing.T) {
	holders(t, func(t *testing.T, h holder, algorithm, reference string) {
		r := &registry{}
		key := register(t, r, h, algorithm, reference)
		ring := &keys.Ring{Registry: cached(r), Private: h}
		for _, filler := range []int{0, 10_000} { // KMS takes no message of 10,000 bytes
			token, err := jwt.Sign(t.Context(), ring, jwt.Choice{Algorithm: algorithm}, jwt.TypAccessToken, someClaims(filler))
			if err != nil {
				t.Fatal(err)
			}
			set, err := ring.JWKS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			document, err := json.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(token, document); err != nil {
				t.Error(err)
			}
			if err := verify(token[:len(token)-8]+"AAAAAAAA", document); err == nil {
				t.Error("a changed signature verifies")
			}
			var got claims
			if err := jwt.Verify(t.Context(), ring, token, expected, &got); err != nil || got != someClaims(filler) {
				t.Errorf("%v %v", got, err)
			}
		}
		digest := sha256.Sum256(nil)
		gone := key
		gone.Reference = "arn:aws:kms:us-east-1:000000000000:key/44444444-4444-4444-8444-444444444444"
		if _, err := h.Sign(t.Context(), gone, digest[:]); !errors.Is(err, jwt.ErrKeyUnusable) {
			t.Errorf("a key that is gone: %v", err)
		}
		if _, err := h.PublicKey(t.Context(), gone.Reference); !errors.Is(err, jwt.ErrKeyUnusable) {
			t.Errorf("a key that is gone: %v", err)
		}
		if _, err := h.Sign(t.Context(), key, digest[:31]); err == nil || errors.Is(err, jwt.ErrKeyUnusable) || errors.Is(err, jwt.ErrBusy) {
			t.Errorf("a digest of 31 bytes: %v", err)
		}
		// KMS holds a key's kind, and its policy the algorithm; localkey both.
		for _, other := range []string{"none", "", "RS384", "HS256"} {
			unknown := key
			unknown.Algorithm = other
			if _, err := h.Sign(t.Context(), unknown, digest[:]); err == nil {
				t.Errorf("signed by %q", other)
			}
		}
		// Signatures of ECDSA have often a leading zero, of RSA now and then: there
		// the encodings differ.
		for range 64 {
			signature, err := h.Sign(t.Context(), key, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			if err := check(algorithm, key.Public, digest[:], signature); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Hourly keys are of 32 bytes, the same when asked again, and no two the same.
func TestContractOfHourlyKeys(t *testing.T) {
	holders(t, func(t *testing.T, h holder, _, _ string) {
		seen := map[string]bool{}
		for _, purpose := range []string{"login", "nonce", "login\x00", ""} {
			for _, hour := range []int64{0, 1, 255, 256, 1 << 40} {
				a, err := h.HourlyKey(t.Context(), purpose, hour)
				if err != nil {
					t.Fatal(err)
				}
				b, err := h.HourlyKey(t.Context(), purpose, hour)
				if err != nil || len(a) != 32 || !bytes.Equal(a, b) || seen[string(a)] {
					t.Errorf("%q, %d: %v", purpose, hour, err)
				}
				seen[string(a)] = true
			}
		}
	})
}

// verify checks a token against a JWK set (RFC 7515 §5.2, RFC 7517 §5, RFC 7518
// §6.2.1 and §6.3.1, RFC 7638 §3) without any of the libraries that made them.
func verify(token string, document []byte) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%d parts", len(parts))
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	text, err := decode(parts[0])
	if err != nil {
		return err
	}
	var header struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(text, &header); err != nil {
		return err
	}
	var set struct {
		Keys []struct{ Kty, Alg, Use, Kid, N, E, Crv, X, Y string }
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return err
	}
	for _, jwk := range set.Keys {
		if jwk.Kid != header.Kid {
			continue
		}
		members := `{"e":"` + jwk.E + `","kty":"RSA","n":"` + jwk.N + `"}`
		numbers := []string{jwk.N, jwk.E}
		if jwk.Kty == "EC" {
			members = `{"crv":"P-256","kty":"EC","x":"` + jwk.X + `","y":"` + jwk.Y + `"}`
			numbers = []string{jwk.X, jwk.Y}
		}
		thumbprint := sha256.Sum256([]byte(members))
		if base64.RawURLEncoding.EncodeToString(thumbprint[:]) != jwk.Kid {
			return fmt.Errorf("kid %s is not the thumbprint", jwk.Kid)
		}
		if (jwk.Kty == "EC") != (jwk.Alg == "ES256") || jwk.Use != "sig" || header.Alg != jwk.Alg || header.Typ != "at+jwt" {
			return fmt.Errorf("header %+v, JWK %+v", header, jwk)
		}
		var raw [][]byte
		for _, number := range numbers {
			n, err := decode(number)
			if err != nil {
				return err
			}
			raw = append(raw, n)
		}
		signature, err := decode(parts[2])
		if err != nil {
			return err
		}
		var public crypto.PublicKey = &rsa.PublicKey{N: new(big.Int).SetBytes(raw[0]), E: int(new(big.Int).SetBytes(raw[1]).Int64())}
		if jwk.Kty == "EC" {
			if public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, raw[0], raw[1])); err != nil {
				return err
			}
		}
		digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		return check(jwk.Alg, public, digest[:], signature)
	}
	return fmt.Errorf("no key %s in the set", header.Kid)
}

// check checks a signature (RFC 7518 §3).
func check(algorithm string, public crypto.PublicKey, digest, signature []byte) error {
	switch algorithm {
	case jwt.RS256:
		return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA256, digest, signature)
	case jwt.PS256: // §3.5: "The size of the salt value is the same size as the hash function output."
		return rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest, signature, &rsa.PSSOptions{SaltLength: 32})
	case jwt.ES256:
		if len(signature) != 64 {
			return fmt.Errorf("%d bytes", len(signature))
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		if !ecdsa.Verify(public.(*ecdsa.PublicKey), digest, r, s) {
			return errors.New("wrong signature")
		}
		return nil
	default:
		return fmt.Errorf("alg %s", algorithm)
	}
}

// Each algorithm has its own key, all of them are published, and none verifies
// what another has signed.
func TestAlgorithmsSideBySide(t *testing.T) {
	server, h, _ := startKMS(t)
	r := &registry{}
	ring := &keys.Ring{Registry: cached(r), Private: h}
	listed := map[string]jwt.Key{}
	for _, algorithm := range []string{jwt.ES256, jwt.PS256, jwt.RS256} {
		arn, err := server.Create(specs[algorithm])
		if err != nil {
			t.Fatal(err)
		}
		listed[algorithm] = register(t, r, h, algorithm, arn)
	}
	ring.Registry.Forget()
	set, err := ring.JWKS(t.Context())
	if err != nil || len(set.Keys) != 3 || set.Keys[0].Algorithm != jwt.RS256 {
		t.Fatalf("%+v %v", set, err)
	}
	document, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		choice jwt.Choice
		want   string // the algorithm, "" for ErrNoKey
	}{
		{jwt.Choice{}, jwt.RS256},
		{jwt.Choice{Algorithm: jwt.RS256}, jwt.RS256},
		{jwt.Choice{Algorithm: jwt.PS256}, jwt.PS256},
		{jwt.Choice{Algorithm: jwt.ES256}, jwt.ES256},
		{jwt.Choice{Algorithm: jwt.ES256, KeyID: listed[jwt.ES256].ID}, jwt.ES256},
		{jwt.Choice{Algorithm: jwt.PS256, KeyID: listed[jwt.RS256].ID}, ""},
		{jwt.Choice{KeyID: listed[jwt.PS256].ID}, ""},
		{jwt.Choice{KeyID: "x"}, ""},
		{jwt.Choice{Algorithm: "ES384"}, ""},
		{jwt.Choice{Algorithm: "none"}, ""},
	} {
		token, err := jwt.Sign(t.Context(), ring, test.choice, jwt.TypAccessToken, someClaims(0))
		if test.want == "" {
			if !errors.Is(err, keys.ErrNoKey) {
				t.Errorf("%+v: %v", test.choice, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%+v: %v", test.choice, err)
		}
		if err := verify(token, document); err != nil {
			t.Errorf("%+v: %v", test.choice, err)
		}
		text, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
		if err != nil {
			t.Fatal(err)
		}
		var header struct{ Alg, Kid string }
		if err := json.Unmarshal(text, &header); err != nil || header.Alg != test.want || header.Kid != listed[test.want].ID {
			t.Errorf("%+v: header %s, %v", test.choice, text, err)
		}
		if err := jwt.Verify(t.Context(), ring, token, expected, &claims{}); err != nil {
			t.Errorf("%+v: %v", test.choice, err)
		}
		for algorithm, key := range listed {
			if algorithm == test.want {
				continue
			}
			other := keySet{key}
			if err := jwt.Verify(t.Context(), other, token, expected, &claims{}); err == nil {
				t.Errorf("the %s key verifies %s", algorithm, test.want)
			}
			other[0].ID = header.Kid
			if err := jwt.Verify(t.Context(), other, token, expected, &claims{}); err == nil {
				t.Errorf("the %s key verifies %s by a name that is not its own", algorithm, test.want)
			}
		}
	}
}

// A keySet is fixed.
type keySet []jwt.Key

var _ jwt.KeySet = keySet{}

func (s keySet) Keys(context.Context) ([]jwt.Key, error) { return s, nil }

// "When KMS says the key is disabled, invalid or gone, the registry is re-read
// and the Sign tried once more."
func TestAnUnusableKeyIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(*kmstest.Server, string) error{
		"disabled":      func(s *kmstest.Server, arn string) error { return s.SetState(arn, kmstest.Disabled) },
		"to be deleted": func(s *kmstest.Server, arn string) error { return s.SetState(arn, kmstest.PendingDeletion) },
		"gone":          func(s *kmstest.Server, arn string) error { return s.Remove(arn) },
	} {
		t.Run(name, func(t *testing.T) {
			server, h, arn := startKMS(t)
			r := &registry{}
			one := register(t, r, h, jwt.RS256, arn)
			two := another(t, server, h)
			ring := &keys.Ring{Registry: cached(r), Private: h}
			sign := func(signs, reads int, want error) string {
				t.Helper()
				signs, reads = signs+server.Calls("Sign"), reads+r.reads
				token, err := jwt.Sign(t.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0))
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Fatalf("got %v, want %v", err, want)
				}
				if server.Calls("Sign") != signs || r.reads != reads {
					t.Errorf("%d signatures and %d reads in all, want %d and %d", server.Calls("Sign"), r.reads, signs, reads)
				}
				return token
			}
			sign(1, 1, nil)
			sign(1, 0, nil)
			if err := spoil(server, arn); err != nil {
				t.Fatal(err)
			}
			// Nobody has changed the registry: tried twice, in vain.
			sign(2, 1, jwt.ErrKeyUnusable)

			r.set(entry(t, one, store.KeyRetired), entry(t, two, store.KeyActive))
			// The failure has let go of the old registry.
			token := sign(1, 1, nil)
			set, err := ring.JWKS(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			document, err := json.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(token, document); err != nil || len(set.Keys) != 2 {
				t.Errorf("%d keys: %v", len(set.Keys), err)
			}
			sign(1, 0, nil)
		})
	}
}

// The same with the registry changed while the old one is in the cache.
func TestRotationWhileCached(t *testing.T) {
	server, h, arn := startKMS(t)
	r := &registry{}
	one := register(t, r, h, jwt.RS256, arn)
	ring := &keys.Ring{Registry: cached(r), Private: h}
	old, err := jwt.Sign(t.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0))
	if err != nil {
		t.Fatal(err)
	}
	two := another(t, server, h)
	if err := server.SetState(arn, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	r.set(entry(t, one, store.KeyRevoked), entry(t, two, store.KeyActive))
	before := server.Calls("Sign")
	token, err := jwt.Sign(t.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0))
	if err != nil || server.Calls("Sign") != before+2 {
		t.Fatal(err, server.Calls("Sign"))
	}
	if err := jwt.Verify(t.Context(), ring, token, expected, &claims{}); err != nil {
		t.Error(err)
	}
	if err := jwt.Verify(t.Context(), ring, old, expected, &claims{}); err == nil {
		t.Error("a token of the revoked key counts")
	}
}

// A busy KMS is no reason to look for another key.
func TestBusy(t *testing.T) {
	server, h, arn := startKMS(t)
	r := &registry{}
	register(t, r, h, jwt.RS256, arn)
	ring := &keys.Ring{Registry: cached(r), Private: h}
	if _, err := ring.SigningKey(t.Context(), jwt.Choice{}); err != nil {
		t.Fatal(err)
	}
	reads := r.reads
	throttled := kmstest.Fault{Error: kmstest.Throttled}
	server.Next("Sign", throttled, throttled)
	if _, err := jwt.Sign(t.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0)); !errors.Is(err, jwt.ErrBusy) {
		t.Error(err)
	}
	if server.Calls("Sign") != 2 || r.reads != reads {
		t.Errorf("%d signatures, %d reads", server.Calls("Sign"), r.reads-reads)
	}
	if _, err := jwt.Sign(t.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0)); err != nil {
		t.Error(err)
	}
}

// While keys change, every token's kid is published by the time it is handed out.
func TestRaceOfSigningAndRotation(t *testing.T) {
	server, h, arn := startKMS(t)
	r := &registry{}
	both := []jwt.Key{register(t, r, h, jwt.RS256, arn), another(t, server, h)}
	cache := cached(r)
	ring := &keys.Ring{Registry: cache, Private: h}
	r.set(entry(t, both[0], store.KeyActive), entry(t, both[1], store.KeyNext))
	states := [][2]string{{store.KeyRetired, store.KeyActive}, {store.KeyActive, store.KeyRetired}}
	var all sync.WaitGroup
	stop := make(chan struct{})
	changing := make(chan struct{})
	go func() {
		defer close(changing)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				r.set(entry(t, both[0], states[i%2][0]), entry(t, both[1], states[i%2][1]))
				cache.Forget()
			}
		}
	}()
	var mu sync.Mutex
	kids := map[string]bool{}
	for range 8 {
		all.Go(func() {
			for range 20 {
				token, err := jwt.Sign(context.Background(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0))
				if err != nil {
					t.Error(err)
					return
				}
				set, err := ring.JWKS(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				document, err := json.Marshal(set)
				if err != nil {
					t.Error(err)
					return
				}
				if err := verify(token, document); err != nil {
					t.Error(err)
				}
				mu.Lock()
				kids[token[:strings.IndexByte(token, '.')]] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(stop)
	<-changing
	if len(kids) != 2 {
		t.Errorf("%d keys have signed, want 2", len(kids))
	}
}

// One signed access token, from claims to the compact form.
func BenchmarkToken(b *testing.B) {
	local, err := localkey.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	_, remote, arn := startKMS(b)
	for _, h := range []struct {
		name      string
		holder    holder
		reference string
	}{{"kms", remote, arn}, {"localkey", local, localkey.Reference}} {
		b.Run(h.name, func(b *testing.B) {
			r := &registry{}
			register(b, r, h.holder, jwt.RS256, h.reference)
			ring := &keys.Ring{Registry: cached(r), Private: h.holder}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jwt.Sign(b.Context(), ring, jwt.Choice{}, jwt.TypAccessToken, someClaims(0)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What the hot path pays for the registry when it is warm.
func BenchmarkSigningKey(b *testing.B) {
	r := &registry{}
	if _, err := keys.First(b.Context(), r, newKey(b, "arn"), epoch); err != nil {
		b.Fatal(err)
	}
	ring := &keys.Ring{Registry: cached(r)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.SigningKey(b.Context(), jwt.Choice{}); err != nil {
			b.Fatal(err)
		}
	}
}

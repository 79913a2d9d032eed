package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http/httptest"
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
var specs = map[string][]string{
	jwt.RS256: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096}, jwt.RS384: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096},
	jwt.RS512: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096}, jwt.PS256: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096},
	jwt.PS384: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096}, jwt.PS512: {kmstest.RSA2048, kmstest.RSA3072, kmstest.RSA4096},
	jwt.ES256: {kmstest.P256}, jwt.ES384: {kmstest.P384}, jwt.ES512: {kmstest.P521},
	jwt.EdDSA: {kmstest.Edwards}, jwt.Ed25519: {kmstest.Edwards},
	jwt.MLDSA44: {kmstest.MLDSA44}, jwt.MLDSA65: {kmstest.MLDSA65}, jwt.MLDSA87: {kmstest.MLDSA87},
}

// holders calls do with every kind of holder, for each algorithm and each kind of key
// that it has, with the name of that key.
func holders(t *testing.T, do func(t *testing.T, h holder, algorithm, reference string)) {
	server, remote, _ := startKMS(t)
	local, err := localkey.Open(t.TempDir(), jwt.Algorithms()...)
	if err != nil {
		t.Fatal(err)
	}
	arns := map[string]string{}
	for _, algorithm := range jwt.Algorithms() {
		for _, spec := range specs[algorithm] {
			if arns[spec] == "" {
				if arns[spec], err = server.Create(spec); err != nil {
					t.Fatal(err)
				}
			}
			t.Run(algorithm+" kms "+spec, func(t *testing.T) { do(t, remote, algorithm, arns[spec]) })
		}
		t.Run(algorithm+" localkey", func(t *testing.T) { do(t, local, algorithm, localkey.ReferenceOf(algorithm)) })
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
// JWK, read here without any of the libraries that made it.
func TestContract(t *testing.T) {
	holders(t, func(t *testing.T, h holder, algorithm, reference string) {
		r := &registry{}
		key := register(t, r, h, algorithm, reference)
		ring := &keys.Ring{Registry: cached(r), Private: h}
		for _, filler := range []int{0, 10_000} { // KMS takes no message of 10,000 bytes
			token, err := jwt.Sign(t.Context(), ring, jwt.Choice{Algorithm: algorithm}, jwt.TypAccessToken, someClaims(filler))
			if filler > 0 && (algorithm == jwt.EdDSA || algorithm == jwt.Ed25519) {
				if !errors.Is(err, jwt.ErrTooLong) {
					t.Errorf("10,000 bytes: %v", err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			document := jwks(t, ring)
			if err := verify(token, document); err != nil {
				t.Error(err)
			}
			for name, changed := range map[string]string{
				"its end": token[:len(token)-8] + "AAAAAAAA",
				"nothing": token[:strings.LastIndexByte(token, '.')+1],
			} {
				if verify(changed, document) == nil || jwt.Verify(t.Context(), ring, changed, expected, &claims{}) == nil {
					t.Errorf("a signature with %s changed verifies", name)
				}
			}
			var got claims
			if err := jwt.Verify(t.Context(), ring, token, expected, &got); err != nil || got != someClaims(filler) {
				t.Errorf("%v %v", got, err)
			}
		}
		input := []byte("header.payload")
		message := prepared(algorithm, key.Public, input)
		gone := key
		gone.Reference = "arn:aws:kms:us-east-1:000000000000:key/44444444-4444-4444-8444-444444444444"
		if _, err := h.Sign(t.Context(), gone, message); !errors.Is(err, jwt.ErrKeyUnusable) {
			t.Errorf("a key that is gone: %v", err)
		}
		if _, err := h.PublicKey(t.Context(), gone.Reference); !errors.Is(err, jwt.ErrKeyUnusable) {
			t.Errorf("a key that is gone: %v", err)
		}
		// EdDSA signs messages of every length.
		if raw := bytes.Equal(message, input); !raw {
			for _, wrong := range [][]byte{message[1:], append(bytes.Clone(message), 0), input} {
				if _, err := h.Sign(t.Context(), key, wrong); err == nil || errors.Is(err, jwt.ErrKeyUnusable) || errors.Is(err, jwt.ErrBusy) {
					t.Errorf("a message of %d bytes: %v", len(wrong), err)
				}
			}
		}
		// KMS holds a key's kind, and its policy the algorithm; localkey both. To KMS the
		// three of ML-DSA are one algorithm, and the key decides: see keys.New.
		unfit := []string{"none", "", "HS256"}
		for other := range specs {
			_, remote := h.(inKMS)
			oneInKMS := remote && strings.HasPrefix(algorithm, "ML-DSA-") && strings.HasPrefix(other, "ML-DSA-")
			if jwt.CheckKey(other, key.Public) != nil && !oneInKMS {
				unfit = append(unfit, other)
			}
		}
		for _, other := range unfit {
			unknown := key
			unknown.Algorithm = other
			if _, err := h.Sign(t.Context(), unknown, message); err == nil {
				t.Errorf("signed by %q", other)
			}
		}
		// Signatures of ECDSA have often a leading zero, of RSA now and then: there
		// the encodings differ.
		times := 4
		if strings.HasPrefix(algorithm, "ES") {
			times = 64
		}
		for range times {
			signature, err := h.Sign(t.Context(), key, message)
			if err != nil {
				t.Fatal(err)
			}
			if err := check(algorithm, key.Public, input, signature); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// KMS signs no more than 4,096 bytes without a digest: what is longer is refused
// before it is asked, and says what to do; it is not the key's fault.
func TestEdDSAHasALongest(t *testing.T) {
	server, h, _ := startKMS(t)
	arn, err := server.Create(kmstest.Edwards)
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{}
	register(t, r, h, jwt.Ed25519, arn)
	ring := &keys.Ring{Registry: cached(r), Private: h}
	sign := func(filler int) (string, error) {
		return jwt.Sign(t.Context(), ring, jwt.Choice{Algorithm: jwt.Ed25519}, jwt.TypAccessToken, someClaims(filler))
	}
	var last string
	for filler := 2800; ; filler++ {
		token, err := sign(filler)
		if err == nil {
			last = token
			continue
		}
		input := last[:max(0, strings.LastIndexByte(last, '.'))]
		if len(input) < 4094 || len(input) > 4096 { // base64 has no words of every length
			t.Errorf("the longest is %d bytes", len(input))
		}
		if !errors.Is(err, jwt.ErrTooLong) || errors.Is(err, jwt.ErrKeyUnusable) || errors.Is(err, jwt.ErrBusy) || !strings.Contains(err.Error(), "let fewer claims in, or sign by") {
			t.Error(err)
		}
		break
	}
	calls := server.Calls("Sign")
	if _, err := sign(20_000); !errors.Is(err, jwt.ErrTooLong) || server.Calls("Sign") != calls {
		t.Errorf("KMS was asked: %v", err)
	}
	if err := verify(last, jwks(t, ring)); err != nil {
		t.Error(err)
	}
}

func jwks(t *testing.T, ring *keys.Ring) []byte {
	t.Helper()
	set, err := ring.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// Hourly keys are of 32 bytes, the same when asked again, and no two the same.
func TestContractOfHourlyKeys(t *testing.T) {
	_, remote, _ := startKMS(t)
	local, err := localkey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []holder{remote, local} {
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
	}
}

// Each algorithm has its own key, all of them are published, and none verifies
// what another has signed.
func TestAlgorithmsSideBySide(t *testing.T) {
	server, h, _ := startKMS(t)
	r := &registry{}
	ring := &keys.Ring{Registry: cached(r), Private: h}
	listed := map[string]jwt.Key{}
	for _, algorithm := range []string{jwt.MLDSA65, jwt.Ed25519, jwt.ES512, jwt.ES256, jwt.PS256, jwt.RS512, jwt.RS256} {
		arn, err := server.Create(specs[algorithm][0])
		if err != nil {
			t.Fatal(err)
		}
		listed[algorithm] = register(t, r, h, algorithm, arn)
	}
	ring.Registry.Forget()
	set, err := ring.JWKS(t.Context())
	if err != nil || len(set.Keys) != 7 || set.Keys[0].Algorithm != jwt.RS256 {
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
		{jwt.Choice{Algorithm: jwt.RS512}, jwt.RS512},
		{jwt.Choice{Algorithm: jwt.ES512}, jwt.ES512},
		{jwt.Choice{Algorithm: jwt.Ed25519}, jwt.Ed25519},
		{jwt.Choice{Algorithm: jwt.MLDSA65}, jwt.MLDSA65},
		{jwt.Choice{Algorithm: jwt.MLDSA65, KeyID: listed[jwt.MLDSA65].ID}, jwt.MLDSA65},
		{jwt.Choice{Algorithm: jwt.EdDSA}, ""},
		{jwt.Choice{Algorithm: jwt.MLDSA44, KeyID: listed[jwt.MLDSA65].ID}, ""},
		{jwt.Choice{Algorithm: jwt.ES256, KeyID: listed[jwt.ES256].ID}, jwt.ES256},
		{jwt.Choice{Algorithm: jwt.PS256, KeyID: listed[jwt.RS256].ID}, ""},
		{jwt.Choice{KeyID: listed[jwt.PS256].ID}, ""},
		{jwt.Choice{KeyID: "one that was here once"}, jwt.RS256},
		{jwt.Choice{Algorithm: jwt.ES256, KeyID: "one that was here once"}, jwt.ES256},
		{jwt.Choice{Algorithm: "HS256", KeyID: "one that was here once"}, ""},
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

package keys_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"
	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/store"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// newKey is a key that nobody holds.
func newKey(t testing.TB, reference string) jwt.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, &private.PublicKey, reference)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// entry is the key as the registry lists it.
func entry(t testing.TB, key jwt.Key, state string) store.SigningKey {
	t.Helper()
	jwk, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	return store.SigningKey{ID: key.ID, Reference: key.Reference, Algorithm: key.Algorithm, JWK: string(jwk), State: state, Since: epoch}
}

// A registry is kept in memory.
type registry struct {
	mu     sync.Mutex
	kept   store.Registry
	reads  int
	writes int
	// lose lets the next writes be done, and their answers be lost: the repeated
	// write then meets its own.
	lose int
	fail error
}

var _ store.Registries = (*registry)(nil)

func (r *registry) Registry(context.Context) (store.Registry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	kept := r.kept
	kept.Keys = slices.Clone(kept.Keys)
	return kept, r.fail
}

func (r *registry) ReplaceRegistry(_ context.Context, next store.Registry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if next.Version != r.kept.Version+1 {
		return store.ErrConflict
	}
	r.kept, r.writes = next, r.writes+1
	if r.lose > 0 {
		r.lose--
		return store.ErrConflict
	}
	return nil
}

// set replaces all entries.
func (r *registry) set(entries ...store.SigningKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = store.Registry{Version: r.kept.Version + 1, Keys: entries}
}

// cached puts the cache of the functions before a registry. Its clock stands.
func cached(r *registry) *store.Cache {
	return store.NewCache(nil, nil, nil, nil, r, func() time.Time { return epoch })
}

func TestNew(t *testing.T) {
	newRSA := func(bits int) crypto.PublicKey {
		private, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return &private.PublicKey
	}
	newEC := func(curve elliptic.Curve) crypto.PublicKey {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &private.PublicKey
	}
	newMLDSA := func(parameters mldsa.Parameters) crypto.PublicKey {
		private, err := mldsa.GenerateKey(parameters)
		if err != nil {
			t.Fatal(err)
		}
		return private.PublicKey()
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]crypto.PublicKey{
		"RSA of 1024 bits": newRSA(1024), "RSA of 2048 bits": newRSA(2048), "RSA of 3072 bits": newRSA(3072),
		"RSA of 16384 bits": &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537},
		"P-224":             newEC(elliptic.P224()), "P-256": newEC(elliptic.P256()), "P-384": newEC(elliptic.P384()), "P-521": newEC(elliptic.P521()),
		"Ed25519": edwards, "half of Ed25519": edwards[:16],
		"ML-DSA-44": newMLDSA(mldsa.MLDSA44()), "ML-DSA-65": newMLDSA(mldsa.MLDSA65()), "ML-DSA-87": newMLDSA(mldsa.MLDSA87()),
		"nothing": nil, "a secret": []byte("x"), "a secret of 32 bytes": make([]byte, 32),
	}
	rsaSizes := []string{"RSA of 2048 bits", "RSA of 3072 bits"}
	fit := map[string][]string{
		jwt.RS256: rsaSizes, jwt.RS384: rsaSizes, jwt.RS512: rsaSizes, jwt.PS256: rsaSizes, jwt.PS384: rsaSizes, jwt.PS512: rsaSizes,
		jwt.ES256: {"P-256"}, jwt.ES384: {"P-384"}, jwt.ES512: {"P-521"}, jwt.EdDSA: {"Ed25519"}, jwt.Ed25519: {"Ed25519"},
		jwt.MLDSA44: {"ML-DSA-44"}, jwt.MLDSA65: {"ML-DSA-65"}, jwt.MLDSA87: {"ML-DSA-87"},
		"ES256K": nil, "Ed448": nil, "HS256": nil, "none": nil, "": nil,
	}
	for _, algorithm := range jwt.Algorithms() {
		if fit[algorithm] == nil {
			t.Errorf("nothing is tried for %s", algorithm)
		}
	}
	for algorithm, fits := range fit {
		for name, public := range all {
			key, err := keys.New(algorithm, public, "arn")
			if (err == nil) != slices.Contains(fits, name) {
				t.Errorf("%s for %q: %v", name, algorithm, err)
			}
			if err == nil && (key.Algorithm != algorithm || key.Reference != "arn" || key.ID == "") {
				t.Errorf("%s for %q: %+v", name, algorithm, key)
			}
		}
	}
}

func TestFirst(t *testing.T) {
	one, two := newKey(t, "arn:one"), newKey(t, "arn:two")
	pss := two
	pss.Algorithm = jwt.PS256
	foreign := one
	foreign.Algorithm = jwt.PS256
	for name, test := range map[string]struct {
		before []store.SigningKey
		lose   int
		added  bool
		err    error
	}{
		"no key":                                     {nil, 0, true, nil},
		"the same, active":                           {[]store.SigningKey{entry(t, one, store.KeyActive)}, 0, false, nil},
		"the same, retired since":                    {[]store.SigningKey{entry(t, one, store.KeyRetired), entry(t, two, store.KeyActive)}, 0, false, nil},
		"the same, revoked since":                    {[]store.SigningKey{entry(t, one, store.KeyRevoked), entry(t, two, store.KeyActive)}, 0, false, nil},
		"the same, revoked, no other":                {[]store.SigningKey{entry(t, one, store.KeyRevoked)}, 0, false, keys.ErrNoKey},
		"another, active":                            {[]store.SigningKey{entry(t, two, store.KeyActive)}, 0, false, keys.ErrOther},
		"another's algorithm, active":                {[]store.SigningKey{entry(t, pss, store.KeyActive)}, 0, true, nil},
		"the same, revoked, and another's algorithm": {[]store.SigningKey{entry(t, one, store.KeyRevoked), entry(t, pss, store.KeyActive)}, 0, false, keys.ErrNoKey},
		"another, revoked":                           {[]store.SigningKey{entry(t, two, store.KeyRevoked)}, 0, true, nil},
		"no key, but the answer is lost":             {nil, 1, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := &registry{lose: test.lose}
			r.set(test.before...)
			version := r.kept.Version
			added, err := keys.First(t.Context(), r, one, epoch)
			if added != test.added || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("got %v, %v", added, err)
			}
			written := test.added || test.lose > 0
			if (r.writes == 1) != written || r.kept.Version != version+int64(r.writes) {
				t.Errorf("%d writes, version %d", r.writes, r.kept.Version)
			}
			if written {
				if want := append(slices.Clone(test.before), entry(t, one, store.KeyActive)); !slices.Equal(r.kept.Keys, want) {
					t.Errorf("registry %+v", r.kept.Keys)
				}
			}
		})
	}
	// A key has one algorithm.
	r := &registry{}
	r.set(entry(t, foreign, store.KeyActive))
	if added, err := keys.First(t.Context(), r, one, epoch); added || err == nil || errors.Is(err, keys.ErrOther) || r.writes != 0 {
		t.Errorf("a key for two algorithms: %v, %v", added, err)
	}
	busy := &registry{fail: store.ErrBusy}
	if _, err := keys.First(t.Context(), busy, one, epoch); !errors.Is(err, store.ErrBusy) {
		t.Error(err)
	}
}

func TestFirstRace(t *testing.T) {
	r := &registry{}
	candidates := []jwt.Key{newKey(t, "arn:one"), newKey(t, "arn:two")}
	var all sync.WaitGroup
	var mu sync.Mutex
	added := map[string]int{}
	for i := range 32 {
		all.Go(func() {
			key := candidates[i%2]
			did, err := keys.First(context.Background(), r, key, epoch)
			mu.Lock()
			defer mu.Unlock()
			if did {
				added[key.ID]++
			}
			if err != nil && !errors.Is(err, keys.ErrOther) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(added) != 1 || added[r.kept.Keys[0].ID] != 1 || len(r.kept.Keys) != 1 || r.writes != 1 {
		t.Errorf("added %v, registry %+v", added, r.kept)
	}
}

// Which keys sign, count and are published, by their state.
func TestStates(t *testing.T) {
	next, active, retired, revoked := newKey(t, "arn:next"), newKey(t, "arn:active"), newKey(t, "arn:retired"), newKey(t, "arn:revoked")
	renamed := entry(t, newKey(t, "arn:renamed"), store.KeyActive)
	renamed.ID = "alias/signing"
	unreadable := entry(t, newKey(t, "arn:unreadable"), store.KeyActive)
	unreadable.JWK = `{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`
	unknown := entry(t, newKey(t, "arn:unknown"), "paused")
	pss := entry(t, newKey(t, "arn:pss"), store.KeyActive)
	pss.Algorithm = jwt.PS256
	newer := entry(t, newKey(t, "arn:newer"), store.KeyNext)
	newer.Algorithm = "PS512"
	unfit := entry(t, newKey(t, "arn:unfit"), store.KeyActive)
	unfit.Algorithm = jwt.ES256

	r := &registry{}
	r.set(entry(t, retired, store.KeyRetired), entry(t, next, store.KeyNext), renamed, unreadable, unknown, pss, newer, unfit,
		entry(t, revoked, store.KeyRevoked), entry(t, active, store.KeyActive))
	ring := &keys.Ring{Registry: cached(r)}
	signs, err := ring.SigningKey(t.Context(), jwt.Choice{})
	if err != nil || signs.ID != active.ID || signs.Reference != "arn:active" {
		t.Errorf("%+v signs: %v", signs, err)
	}
	want := []string{active.ID, pss.ID, next.ID, newer.ID, retired.ID}
	set, err := ring.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var published []string
	for _, jwk := range set.Keys {
		published = append(published, jwk.ID)
		if text, err := json.Marshal(jwk); err != nil || !strings.Contains(string(text), `"use":"sig"`) || jwk.Algorithm == "" {
			t.Errorf("published %s: %v", text, err)
		}
	}
	if !slices.Equal(published, want) {
		t.Errorf("published %v, want %v", published, want)
	}
	counting, err := ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(ids(counting)); !slices.Equal(got, want) {
		t.Errorf("counting %v, want %v", got, want)
	}

	// What is next or retired is published, and nobody is told that it signs.
	if algorithms, err := ring.Algorithms(t.Context()); err != nil || !slices.Equal(algorithms, []string{jwt.RS256, jwt.PS256}) {
		t.Errorf("signs by %v: %v", algorithms, err)
	}

	for name, entries := range map[string][]store.SigningKey{
		"nothing":      nil,
		"only others":  {entry(t, next, store.KeyNext), entry(t, retired, store.KeyRetired), entry(t, revoked, store.KeyRevoked), pss},
		"only renamed": {renamed, unreadable, unfit},
	} {
		r := &registry{}
		r.set(entries...)
		if _, err := (&keys.Ring{Registry: cached(r)}).SigningKey(t.Context(), jwt.Choice{}); !errors.Is(err, keys.ErrNoKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ids(from []jwt.Key) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, k := range from {
			if !yield(k.ID) {
				return
			}
		}
	}
}

// A private key in the registry is nobody's to publish.
func TestPrivateJWKIsNotPublished(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, &private.PublicKey, "arn")
	if err != nil {
		t.Fatal(err)
	}
	leaked := entry(t, key, store.KeyActive)
	text, err := json.Marshal(jose.JSONWebKey{Key: private, KeyID: key.ID, Algorithm: key.Algorithm, Use: "sig"})
	if err != nil || !strings.Contains(string(text), `"d"`) {
		t.Fatal("the test makes no private JWK")
	}
	leaked.JWK = string(text)
	r := &registry{}
	r.set(leaked)
	set, err := (&keys.Ring{Registry: cached(r)}).JWKS(t.Context())
	if err != nil || len(set.Keys) != 0 {
		t.Errorf("published %d keys: %v", len(set.Keys), err)
	}
	if text, _ := json.Marshal(set); string(text) != `{"keys":[]}` {
		t.Errorf("an empty set is %s", text)
	}
}

func TestParsedOnce(t *testing.T) {
	r := &registry{}
	one, two := newKey(t, "arn:one"), newKey(t, "arn:two")
	r.set(entry(t, one, store.KeyActive))
	cache := cached(r)
	ring := &keys.Ring{Registry: cache}
	get := func() []jwt.Key {
		got, err := ring.Keys(t.Context())
		if err != nil || len(got) == 0 {
			t.Fatal(got, err)
		}
		return got
	}
	first := get()
	if again := get(); &again[0] != &first[0] || r.reads != 1 {
		t.Error("parsed or read once more")
	}
	// Another registry under the same version, as after a restore.
	r.kept.Keys = []store.SigningKey{entry(t, two, store.KeyActive)}
	cache.Forget()
	if got := get(); got[0].ID != two.ID {
		t.Error("the old registry is still in use")
	}
	r.fail = store.ErrBusy
	cache.Forget()
	if _, err := ring.JWKS(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Error(err)
	}
	if _, err := ring.Algorithms(t.Context()); !errors.Is(err, store.ErrBusy) {
		t.Error(err)
	}
}

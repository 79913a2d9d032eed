package kms_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
)

// Made once: an RSA key takes its time.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var digest = sha256.Sum256([]byte("header.payload"))

// setup starts a server that holds rsaKey, and returns the key's name.
func setup(t *testing.T) (*kmstest.Server, aws.Config, jwt.Key) {
	t.Helper()
	s := kmstest.New()
	arn, err := s.Add("11111111-1111-4111-8111-111111111111", rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region:       kmstest.Region,
		BaseEndpoint: &server.URL,
		Credentials:  credentials.NewStaticCredentialsProvider("a", "b", ""),
	}
	return s, cfg, jwt.Key{Algorithm: jwt.RS256, Reference: arn}
}

func TestSign(t *testing.T) {
	s, cfg, key := setup(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := s.Add("22222222-2222-4222-8222-222222222222", ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		key    jwt.Key
		verify func(signature []byte) bool
	}{
		{key, func(b []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey().PublicKey, crypto.SHA256, digest[:], b) == nil
		}},
		{jwt.Key{Algorithm: jwt.PS256, Reference: key.Reference}, func(b []byte) bool {
			return rsa.VerifyPSS(&rsaKey().PublicKey, crypto.SHA256, digest[:], b, &rsa.PSSOptions{SaltLength: 32}) == nil
		}},
		{jwt.Key{Algorithm: jwt.ES256, Reference: curve}, func(b []byte) bool {
			return len(b) == 64 && ecdsa.Verify(&ec.PublicKey, digest[:], new(big.Int).SetBytes(b[:32]), new(big.Int).SetBytes(b[32:]))
		}},
	} {
		calls := s.Calls("Sign")
		signature, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), test.key, digest[:])
		if err != nil || !test.verify(signature) {
			t.Errorf("%s: %x %v", test.key.Algorithm, signature, err)
		}
		if s.Calls("Sign") != calls+1 || s.Calls("GetPublicKey") != 0 {
			t.Errorf("%s: a signature costs more than one call", test.key.Algorithm)
		}
	}
}

// How KMS is asked: as its key policies say, see Policy.
func TestHowItIsSigned(t *testing.T) {
	asked := map[string]string{}
	for algorithm, want := range map[string][2]string{
		jwt.RS256: {"RSASSA_PKCS1_V1_5_SHA_256", "DIGEST"}, jwt.RS384: {"RSASSA_PKCS1_V1_5_SHA_384", "DIGEST"}, jwt.RS512: {"RSASSA_PKCS1_V1_5_SHA_512", "DIGEST"},
		jwt.PS256: {"RSASSA_PSS_SHA_256", "DIGEST"}, jwt.PS384: {"RSASSA_PSS_SHA_384", "DIGEST"}, jwt.PS512: {"RSASSA_PSS_SHA_512", "DIGEST"},
		jwt.ES256: {"ECDSA_SHA_256", "DIGEST"}, jwt.ES384: {"ECDSA_SHA_384", "DIGEST"}, jwt.ES512: {"ECDSA_SHA_512", "DIGEST"},
		jwt.EdDSA: {"ED25519_SHA_512", "RAW"}, jwt.Ed25519: {"ED25519_SHA_512", "RAW"},
		jwt.MLDSA44: {"ML_DSA_SHAKE_256", "EXTERNAL_MU"}, jwt.MLDSA65: {"ML_DSA_SHAKE_256", "EXTERNAL_MU"}, jwt.MLDSA87: {"ML_DSA_SHAKE_256", "EXTERNAL_MU"},
	} {
		clear(asked)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(`{"Signature": "MAYCAQECAQI="}`)) // r 1, s 2
		}))
		_, cfg, key := setup(t)
		cfg.BaseEndpoint, key.Algorithm = &server.URL, algorithm
		signature, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
		server.Close()
		if err != nil || asked["SigningAlgorithm"] != want[0] || asked["MessageType"] != want[1] || asked["KeyId"] != key.Reference ||
			asked["Message"] != base64.StdEncoding.EncodeToString(digest[:]) {
			t.Errorf("%s: %v %v", algorithm, asked, err)
		}
		// ECDSA's DER becomes r and s; whatever else KMS gives stays.
		if want := map[string]int{jwt.ES256: 64, jwt.ES384: 96, jwt.ES512: 132}[algorithm]; len(signature) != cmp.Or(want, 8) {
			t.Errorf("%s: a signature of %d bytes", algorithm, len(signature))
		}
		policy, err := kms.Policy("root", nil, algorithm)
		if err != nil || policy[2].Condition["StringNotEquals"]["kms:MessageType"][0] != want[1] || policy[3].Condition["StringNotEquals"]["kms:SigningAlgorithm"][0] != want[0] {
			t.Errorf("%s: its policy is %+v, %v", algorithm, policy, err)
		}
	}
}

// ECDSA's DER becomes r and s, each as long as the order of the curve, and nothing else
// passes for it.
func TestFixed(t *testing.T) {
	all := strings.Repeat("ff", 32)
	zeros := func(n int) string { return strings.Repeat("00", n) }
	p384, p521 := strings.Repeat("ff", 48), "01"+strings.Repeat("ff", 65)
	others := map[string]string{"of P-384": jwt.ES384, "too long for P-384": jwt.ES384, "small, of P-384": jwt.ES384,
		"of P-521": jwt.ES512, "a bit too long for P-521": jwt.ES512, "small, of P-521": jwt.ES512}
	for name, test := range map[string]struct {
		der, want string // "" refuses
	}{
		"of P-384":                   {"3066023100" + p384 + "023100" + p384, p384 + p384},
		"small, of P-384":            {"3006020101020102", zeros(47) + "01" + zeros(47) + "02"},
		"too long for P-384":         {"3036023101" + p384 + "020101", ""},
		"of P-521":                   {"3081880242" + p521 + "0242" + p521, p521 + p521},
		"small, of P-521":            {"3006020101020102", zeros(65) + "01" + zeros(65) + "02"},
		"a bit too long for P-521":   {"30470242" + "02" + strings.Repeat("ff", 65) + "020101", ""},
		"the smallest":               {"3006020101020102", zeros(31) + "01" + zeros(31) + "02"},
		"a leading bit":              {"3046022100" + all + "022100" + all, all + all},
		"lengths that differ":        {"3026022100" + all + "020101", all + zeros(31) + "01"},
		"nothing":                    {"", ""},
		"no sequence":                {"0206020101020102", ""},
		"raw already":                {all + all, ""},
		"r alone":                    {"3003020101", ""},
		"cut off":                    {"300602010102", ""},
		"bytes after it":             {"300602010102010200", ""},
		"a third number":             {"3009020101020102020103", ""},
		"a zero":                     {"3006020100020101", ""},
		"a negative":                 {"30060201ff020101", ""},
		"a longer form of a length":  {"308106020101020102", ""},
		"a longer form of a number":  {"300702020001020102", ""},
		"a number of 33 bytes":       {"3026022101" + all + "020101", ""},
		"a text in place of r":       {"3006040101020102", ""},
		"a length without its bytes": {"3006020101020902", ""},
	} {
		der, err := hex.DecodeString(test.der)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"Signature": der})
		}))
		_, cfg, key := setup(t)
		cfg.BaseEndpoint, key.Algorithm = &server.URL, cmp.Or(others[name], jwt.ES256)
		got, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
		server.Close()
		if hex.EncodeToString(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %x %v", name, got, err)
		}
	}
}

// What a failing Sign means: is another key needed, another time, or neither?
func TestSignFails(t *testing.T) {
	t.Parallel()
	throttled, internal := kmstest.Fault{Error: kmstest.Throttled}, kmstest.Fault{Error: kmstest.Internal}
	late := kmstest.Fault{Delay: time.Minute}
	state := func(state string) func(*kmstest.Server, *jwt.Key) error {
		return func(s *kmstest.Server, k *jwt.Key) error { return s.SetState(k.Reference, state) }
	}
	faults := func(faults ...kmstest.Fault) func(*kmstest.Server, *jwt.Key) error {
		return func(s *kmstest.Server, _ *jwt.Key) error { s.Next("Sign", faults...); return nil }
	}
	create := func(spec string) func(*kmstest.Server, *jwt.Key) error {
		return func(s *kmstest.Server, k *jwt.Key) (err error) { k.Reference, err = s.Create(spec); return err }
	}
	other := errors.New("neither")
	for name, test := range map[string]struct {
		prepare func(*kmstest.Server, *jwt.Key) error
		want    error
		calls   int
	}{
		"enabled":              {state(kmstest.Enabled), nil, 1},
		"disabled":             {state(kmstest.Disabled), jwt.ErrKeyUnusable, 1},
		"to be deleted":        {state(kmstest.PendingDeletion), jwt.ErrKeyUnusable, 1},
		"deleted":              {func(s *kmstest.Server, k *jwt.Key) error { return s.Remove(k.Reference) }, jwt.ErrKeyUnusable, 1},
		"of another kind":      {create(kmstest.P256), jwt.ErrKeyUnusable, 1},
		"for another use":      {create(kmstest.HMAC256), jwt.ErrKeyUnusable, 1},
		"another algorithm":    {func(_ *kmstest.Server, k *jwt.Key) error { k.Algorithm = jwt.ES256; return nil }, jwt.ErrKeyUnusable, 1},
		"an unknown algorithm": {func(_ *kmstest.Server, k *jwt.Key) error { k.Algorithm = "HS256"; return nil }, other, 0},
		"throttled once":       {faults(throttled), nil, 2},
		"throttled":            {faults(throttled, throttled), jwt.ErrBusy, 2},
		"ill once":             {faults(internal), nil, 2},
		"ill":                  {faults(internal, internal), jwt.ErrBusy, 2},
		"unavailable":          {faults(kmstest.Fault{Error: kmstest.Unavailable}, kmstest.Fault{Error: kmstest.Unavailable}), jwt.ErrBusy, 2},
		"timed out inside":     {faults(kmstest.Fault{Error: kmstest.TimedOut}, kmstest.Fault{Error: kmstest.TimedOut}), jwt.ErrBusy, 2},
		"late once":            {faults(late), nil, 2},
		"late":                 {faults(late, late), jwt.ErrBusy, 2},
		"dropped before once":  {faults(kmstest.Fault{Drop: kmstest.Before}), nil, 2},
		"answer dropped once":  {faults(kmstest.Fault{Drop: kmstest.After}), nil, 2},
		"dropped":              {faults(kmstest.Fault{Drop: kmstest.Before}, kmstest.Fault{Drop: kmstest.After}), jwt.ErrBusy, 2},
		"throttled, then late": {faults(throttled, late), jwt.ErrBusy, 2},
		"denied":               {faults(kmstest.Fault{Error: kmstest.AccessDenied}), other, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, cfg, key := setup(t)
			if err := test.prepare(s, &key); err != nil {
				t.Fatal(err)
			}
			_, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
			check(t, err, test.want)
			if s.Calls("Sign") != test.calls {
				t.Errorf("%d calls, want %d", s.Calls("Sign"), test.calls)
			}
		})
	}
}

// check tells errors apart; a want that is neither sentinel allows neither.
func check(t *testing.T, err, want error) {
	t.Helper()
	busy, unusable := errors.Is(err, jwt.ErrBusy), errors.Is(err, jwt.ErrKeyUnusable)
	if (err == nil) != (want == nil) || busy != (want == jwt.ErrBusy) || unusable != (want == jwt.ErrKeyUnusable) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestSignEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s, cfg, key := setup(t)
	signer := kms.Signer{Client: kms.NewClient(cfg)}
	s.Always("Sign", kmstest.Fault{Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := signer.Sign(ctx, key, digest[:])
	check(t, err, jwt.ErrBusy)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = signer.Sign(ctx, key, digest[:])
	check(t, err, context.Canceled)
	if s.Calls("Sign") != 2 {
		t.Errorf("%d calls: it was tried again", s.Calls("Sign"))
	}
}

func TestNobodyListens(t *testing.T) {
	_, cfg, key := setup(t)
	cfg.BaseEndpoint = aws.String("http://127.0.0.1:1")
	_, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
	check(t, err, jwt.ErrBusy)
}

func TestTheTimeoutHoldsForTheClientOfTheConfiguration(t *testing.T) {
	t.Parallel()
	s, cfg, key := setup(t)
	cfg.HTTPClient = awshttp.NewBuildableClient()
	s.Always("Sign", kmstest.Fault{Delay: time.Minute})
	_, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
	check(t, err, jwt.ErrBusy)
}

func TestPublicKey(t *testing.T) {
	s, cfg, key := setup(t)
	signer := kms.Signer{Client: kms.NewClient(cfg)}
	public, err := signer.PublicKey(t.Context(), key.Reference)
	if err != nil || !rsaKey().PublicKey.Equal(public) {
		t.Errorf("%v %v", public, err)
	}
	for spec, algorithm := range map[string]string{
		kmstest.RSA3072: jwt.RS384, kmstest.P384: jwt.ES384, kmstest.P521: jwt.ES512, kmstest.Edwards: jwt.Ed25519,
		kmstest.MLDSA44: jwt.MLDSA44, kmstest.MLDSA65: jwt.MLDSA65, kmstest.MLDSA87: jwt.MLDSA87,
	} {
		arn, err := s.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		public, err := signer.PublicKey(t.Context(), arn)
		if err != nil || jwt.CheckKey(algorithm, public) != nil || jwt.CheckKey(jwt.ES256, public) == nil {
			t.Errorf("%s: %T %v", spec, public, err)
		}
	}
	mac, err := s.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	_, err = signer.PublicKey(t.Context(), mac)
	check(t, err, errors.New("neither"))
	if err := s.Remove(mac); err != nil {
		t.Fatal(err)
	}
	_, err = signer.PublicKey(t.Context(), mac)
	check(t, err, jwt.ErrKeyUnusable)
}

func setupMAC(t *testing.T) (*kmstest.Server, *kms.MAC, []byte) {
	t.Helper()
	s, cfg, _ := setup(t)
	secret := bytes.Repeat([]byte{7}, 32)
	arn, err := s.Add("33333333-3333-4333-8333-333333333333", secret)
	if err != nil {
		t.Fatal(err)
	}
	return s, &kms.MAC{Client: kms.NewClient(cfg), Key: arn}, secret
}

func TestHourlyKey(t *testing.T) {
	s, mac, secret := setupMAC(t)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("login\x00\x00\x00\x00\x00\x00\x00\x05"))
	seen := map[string]string{}
	for range 3 {
		for _, purpose := range []string{"login", "nonce"} {
			for hour := int64(4); hour < 6; hour++ {
				key, err := mac.HourlyKey(t.Context(), purpose, hour)
				if err != nil {
					t.Fatal(err)
				}
				if purpose == "login" && hour == 5 && !hmac.Equal(key, h.Sum(nil)) {
					t.Error("not HMAC-SHA256(key, purpose || hour)")
				}
				name := fmt.Sprint(purpose, hour)
				if other, ok := seen[string(key)]; ok && other != name {
					t.Errorf("%s and %s have the same key", name, other)
				}
				seen[string(key)] = name
			}
		}
	}
	if len(seen) != 4 || s.Calls("GenerateMac") != 4 {
		t.Errorf("%d keys by %d calls, want 4 by 4", len(seen), s.Calls("GenerateMac"))
	}
}

func TestHourlyKeyFails(t *testing.T) {
	s, mac, _ := setupMAC(t)
	throttled := kmstest.Fault{Error: kmstest.Throttled}
	s.Next("GenerateMac", throttled, throttled)
	_, err := mac.HourlyKey(t.Context(), "login", 1)
	check(t, err, jwt.ErrBusy)
	// A failure is not remembered.
	_, err = mac.HourlyKey(t.Context(), "login", 1)
	check(t, err, nil)
	if err := s.SetState(mac.Key, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	_, err = mac.HourlyKey(t.Context(), "login", 1)
	check(t, err, nil)
	_, err = mac.HourlyKey(t.Context(), "login", 2)
	check(t, err, jwt.ErrKeyUnusable)
}

func TestHourlyKeyIsBoundedAndRaceFree(t *testing.T) {
	s, mac, _ := setupMAC(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for hour := range int64(100) {
				if _, err := mac.HourlyKey(context.Background(), "login", hour); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	before := s.Calls("GenerateMac")
	if _, err := mac.HourlyKey(t.Context(), "login", 0); err != nil || s.Calls("GenerateMac") != before+1 {
		t.Errorf("the first of 100 hours is still in memory (%v)", err)
	}
}

package kms_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
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
	signature, err := kms.Signer{Client: kms.NewClient(cfg)}.Sign(t.Context(), key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&rsaKey().PublicKey, crypto.SHA256, digest[:], signature); err != nil {
		t.Error(err)
	}
	if s.Calls("Sign") != 1 || s.Calls("GetPublicKey") != 0 {
		t.Error("a signature costs more than one call")
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
		"another algorithm":    {func(_ *kmstest.Server, k *jwt.Key) error { k.Algorithm = "ES256"; return nil }, other, 0},
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

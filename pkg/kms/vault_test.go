package kms_test

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
)

// setupVault starts a server with a key to encrypt with.
func setupVault(t *testing.T) (*kmstest.Server, kms.Vault) {
	t.Helper()
	s, cfg, _ := setup(t)
	arn, err := s.Create(kmstest.Symmetric)
	if err != nil {
		t.Fatal(err)
	}
	return s, kms.Vault{Client: kms.NewClient(cfg), Key: arn}
}

func TestVault(t *testing.T) {
	s, vault := setupVault(t)
	sealed, err := vault.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := vault.Seal(t.Context(), "one", "a secret"); err != nil || again == sealed {
		t.Errorf("twice the same, or %v", err)
	}
	other, err := s.Create(kmstest.Symmetric)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := kms.Vault{Client: vault.Client, Key: other}
	foreign, err := elsewhere.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	changed := []byte(sealed)
	if i := len(changed) - 8; changed[i] == 'A' {
		changed[i] = 'B'
	} else {
		changed[i] = 'A'
	}
	neither := errors.New("neither")
	for name, test := range map[string]struct {
		client, text string
		want         error
		calls        int
	}{
		"as it was":      {"one", sealed, nil, 1},
		"another client": {"two", sealed, neither, 1},
		"no client":      {"", sealed, neither, 1},
		"another key":    {"one", foreign, neither, 1},
		"changed":        {"one", string(changed), neither, 1},
		"no ciphertext":  {"one", base64.StdEncoding.EncodeToString([]byte("secret")), neither, 1},
		"no base64":      {"one", "?", neither, 0},
	} {
		calls := s.Calls("Decrypt")
		secret, err := vault.Unseal(t.Context(), test.client, test.text)
		check(t, err, test.want)
		if (secret == "a secret") != (test.want == nil) || s.Calls("Decrypt") != calls+test.calls {
			t.Errorf("%s: %d calls, %v", name, s.Calls("Decrypt")-calls, err)
		}
	}
}

func TestVaultFails(t *testing.T) {
	t.Parallel()
	throttled, denied := kmstest.Fault{Error: kmstest.Throttled}, kmstest.Fault{Error: kmstest.AccessDenied}
	faults := func(faults ...kmstest.Fault) func(*kmstest.Server, *kms.Vault) error {
		return func(s *kmstest.Server, _ *kms.Vault) error {
			s.Next("Encrypt", faults...)
			s.Next("Decrypt", faults...)
			return nil
		}
	}
	for name, test := range map[string]struct {
		prepare func(*kmstest.Server, *kms.Vault) error
		want    error
	}{
		"well":           {faults(), nil},
		"throttled once": {faults(throttled), nil},
		"throttled":      {faults(throttled, throttled), jwt.ErrBusy},
		"late":           {faults(kmstest.Fault{Delay: time.Minute}, kmstest.Fault{Delay: time.Minute}), jwt.ErrBusy},
		"denied":         {faults(denied), errors.New("neither")},
		"disabled":       {func(s *kmstest.Server, v *kms.Vault) error { return s.SetState(v.Key, kmstest.Disabled) }, jwt.ErrKeyUnusable},
		"none":           {func(_ *kmstest.Server, v *kms.Vault) error { v.Key = ""; return nil }, jwt.ErrKeyUnusable},
		"gone":           {func(s *kmstest.Server, v *kms.Vault) error { return s.Remove(v.Key) }, jwt.ErrKeyUnusable},
		"a key for MACs": {func(s *kmstest.Server, v *kms.Vault) (err error) { v.Key, err = s.Create(kmstest.HMAC256); return err }, jwt.ErrKeyUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, vault := setupVault(t)
			sealed, err := vault.Seal(t.Context(), "one", "a secret")
			if err != nil {
				t.Fatal(err)
			}
			if err := test.prepare(s, &vault); err != nil {
				t.Fatal(err)
			}
			_, err = vault.Seal(t.Context(), "one", "a secret")
			check(t, err, test.want)
			_, err = vault.Unseal(t.Context(), "one", sealed)
			check(t, err, test.want)
		})
	}
}

package kms_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
)

// setupVault makes a vault, and one that has it all to unseal yet.
func setupVault(t *testing.T) (s *kmstest.Server, vault, cold *kms.Vault) {
	t.Helper()
	s, cfg, _ := setup(t)
	arn, err := s.Create(kmstest.Symmetric)
	if err != nil {
		t.Fatal(err)
	}
	return s, &kms.Vault{Client: kms.NewClient(cfg), Key: arn}, &kms.Vault{Client: kms.NewClient(cfg), Key: arn}
}

func TestVault(t *testing.T) {
	s, vault, cold := setupVault(t)
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
	elsewhere := &kms.Vault{Client: vault.Client, Key: other}
	foreign, err := elsewhere.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	changed := []byte(sealed)
	changed[len(changed)-8] ^= 1
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
		vault := &kms.Vault{Client: cold.Client, Key: cold.Key}
		secret, err := vault.Unseal(t.Context(), test.client, test.text)
		check(t, err, test.want)
		if (secret == "a secret") != (test.want == nil) || s.Calls("Decrypt") != calls+test.calls {
			t.Errorf("%s: %d calls, %v", name, s.Calls("Decrypt")-calls, err)
		}
	}
}

// A secret is asked for once, and only for its own client.
func TestVaultRemembers(t *testing.T) {
	s, vault, _ := setupVault(t)
	sealed, err := vault.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if secret, err := vault.Unseal(t.Context(), "one", sealed); err != nil || secret != "a secret" {
			t.Error(err)
		}
	}
	if s.Calls("Decrypt") != 1 {
		t.Errorf("%d calls", s.Calls("Decrypt"))
	}
	if secret, err := vault.Unseal(t.Context(), "two", sealed); err == nil || secret != "" || s.Calls("Decrypt") != 2 {
		t.Errorf("another client's, out of memory: %v", err)
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
		"gone":           {func(s *kmstest.Server, v *kms.Vault) error { return s.Remove(v.Key) }, jwt.ErrKeyUnusable},
		"a key for MACs": {func(s *kmstest.Server, v *kms.Vault) (err error) { v.Key, err = s.Create(kmstest.HMAC256); return err }, jwt.ErrKeyUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, vault, cold := setupVault(t)
			sealed, err := vault.Seal(t.Context(), "one", "a secret")
			if err != nil {
				t.Fatal(err)
			}
			if err := test.prepare(s, cold); err != nil {
				t.Fatal(err)
			}
			_, err = cold.Seal(t.Context(), "one", "a secret")
			check(t, err, test.want)
			_, err = cold.Unseal(t.Context(), "one", sealed)
			check(t, err, test.want)
			if test.want == jwt.ErrBusy { // not remembered
				_, err = cold.Unseal(t.Context(), "one", sealed)
				check(t, err, nil)
			}
		})
	}
}

func TestVaultIsBoundedAndRaceFree(t *testing.T) {
	s, vault, _ := setupVault(t)
	sealed, err := vault.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Unseal(t.Context(), "one", sealed); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 130 {
				client := fmt.Sprint(worker, " ", i)
				sealed, err := vault.Seal(context.Background(), client, "a secret")
				if err != nil {
					t.Error(err)
					return
				}
				if secret, err := vault.Unseal(context.Background(), client, sealed); err != nil || secret != "a secret" {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	before := s.Calls("Decrypt")
	if _, err := vault.Unseal(t.Context(), "one", sealed); err != nil || s.Calls("Decrypt") != before+1 {
		t.Errorf("the first of 1,041 secrets is still in memory (%v)", err)
	}
}

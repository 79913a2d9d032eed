package localkey_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kmint/pkg/jwt"
	"kmint/pkg/localkey"
)

func TestOpenMakesKeysOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var all sync.WaitGroup
	opened := make([]*localkey.Keys, 4)
	for i := range opened {
		all.Go(func() {
			var err error
			if opened[i], err = localkey.Open(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	sealed, err := opened[0].Seal(t.Context(), "client", "secret")
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{} // thumbprints
	var firstMAC []byte
	for _, k := range opened {
		for _, reference := range localkey.References() {
			id := thumbprint(t, k, reference)
			if first[reference] == "" {
				first[reference] = id
			}
			if first[reference] != id {
				t.Errorf("two that started together use different keys as %s", reference)
			}
		}
		mac, err := k.HourlyKey(t.Context(), "login", 1)
		if err != nil {
			t.Fatal(err)
		}
		if firstMAC == nil {
			firstMAC = mac
		}
		if secret, err := k.Unseal(t.Context(), "client", sealed); err != nil || secret != "secret" || !slices.Equal(firstMAC, mac) {
			t.Errorf("two that started together use different keys: %v", err)
		}
	}
	if len(first) != 3 || first[localkey.Reference] == first["local-ps256"] {
		t.Errorf("keys %v", first)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("%v %v", entries, err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", entry.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func thumbprint(t *testing.T, k *localkey.Keys, reference string) string {
	t.Helper()
	public, err := k.PublicKey(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	id, err := jwt.Thumbprint(public)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A folder from before there was more than one key keeps the one that it has.
func TestOpenAddsKeys(t *testing.T) {
	dir := t.TempDir()
	before, err := localkey.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"signing-key-ps256.pem", "signing-key-es256.pem", "secrets-key"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	after, err := localkey.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for reference, same := range map[string]bool{localkey.Reference: true, "local-ps256": false, "local-es256": false} {
		if (thumbprint(t, before, reference) == thumbprint(t, after, reference)) != same {
			t.Errorf("%s: want the same: %v", reference, same)
		}
	}
}

// Keys for more algorithms are made where they are asked for, and stay.
func TestOpenMore(t *testing.T) {
	dir := t.TempDir()
	usual := []string{jwt.RS256, jwt.PS256, jwt.ES256}
	more := append(slices.Clone(usual), jwt.ES512, jwt.Ed25519, jwt.MLDSA44)
	var ids []string
	for i, want := range [][]string{usual, more, more} {
		asked := want
		if i == 2 {
			asked = nil
		}
		k, err := localkey.Open(dir, asked...)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Algorithms(); !slices.Equal(got, want) {
			t.Errorf("at the %d. start it has keys for %v, want %v", i+1, got, want)
		}
		var now []string
		for _, algorithm := range want {
			now = append(now, thumbprint(t, k, localkey.ReferenceOf(algorithm)))
		}
		if !slices.Equal(now[:len(ids)], ids) {
			t.Errorf("at the %d. start the keys are others", i+1)
		}
		ids = now
	}
}

// Package keys has the contract that every signature fulfils.
func TestSign(t *testing.T) {
	k, err := localkey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("header.payload"))
	for algorithm, reference := range localkey.References() {
		id := thumbprint(t, k, reference)
		for name, test := range map[string]struct {
			key      jwt.Key
			digest   []byte
			good     bool
			unusable bool
		}{
			"its key":              {jwt.Key{ID: id, Algorithm: algorithm, Reference: reference}, digest[:], true, false},
			"another key":          {jwt.Key{ID: "x", Algorithm: algorithm, Reference: reference}, digest[:], false, true},
			"a key in KMS":         {jwt.Key{ID: id, Algorithm: algorithm, Reference: "arn:aws:kms:us-east-1:000000000000:key/x"}, digest[:], false, true},
			"by RS512":             {jwt.Key{ID: id, Algorithm: "RS512", Reference: reference}, digest[:], false, false},
			"a digest of 31 bytes": {jwt.Key{ID: id, Algorithm: algorithm, Reference: reference}, digest[:31], false, false},
		} {
			signature, err := k.Sign(t.Context(), test.key, test.digest)
			if (err == nil) != test.good || (len(signature) > 0) != test.good || errors.Is(err, jwt.ErrKeyUnusable) != test.unusable {
				t.Errorf("%s, %s: %v", algorithm, name, err)
			}
		}
		// A key signs by its own algorithm alone.
		for other := range localkey.References() {
			if _, err := k.Sign(t.Context(), jwt.Key{ID: id, Algorithm: other, Reference: reference}, digest[:]); (err == nil) != (other == algorithm) {
				t.Errorf("the %s key signs by %s: %v", algorithm, other, err)
			}
		}
	}
	if _, err := k.PublicKey(t.Context(), "other"); !errors.Is(err, jwt.ErrKeyUnusable) {
		t.Error(err)
	}
}

func TestSeal(t *testing.T) {
	k, err := localkey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := localkey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(t.Context(), "one", "a secret")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := k.Seal(t.Context(), "one", "a secret"); err != nil || again == sealed {
		t.Errorf("twice the same, or %v", err)
	}
	changed := []byte(sealed)
	changed[20] ^= 1
	for name, test := range map[string]struct {
		by           *localkey.Keys
		client, text string
		good         bool
	}{
		"as it was":      {k, "one", sealed, true},
		"another client": {k, "two", sealed, false},
		"another key":    {other, "one", sealed, false},
		"changed":        {k, "one", string(changed), false},
		"cut off":        {k, "one", sealed[:len(sealed)-4], false},
		"too short":      {k, "one", "AAAA", false},
		"nothing":        {k, "one", "", false},
		"no base64":      {k, "one", "?", false},
	} {
		secret, err := test.by.Unseal(t.Context(), test.client, test.text)
		if (err == nil) != test.good || (secret == "a secret") != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key file that is broken is named, and never replaced.
func TestOpenRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(small)
	if err != nil {
		t.Fatal(err)
	}
	var good []string
	for _, generate := range []func() (any, error){
		func() (any, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		func() (any, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		func() (any, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	} {
		private, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		good = append(good, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	for name, test := range map[string]struct{ file, content string }{
		"no PEM":                      {"signing-key.pem", "key"},
		"empty":                       {"signing-key.pem", ""},
		"broken PKCS #8":              {"signing-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der[1:]}))},
		"a short key":                 {"signing-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))},
		"a short key for PS256":       {"signing-key-ps256.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))},
		"an RSA key for ES256":        {"signing-key-es256.pem", good[0]},
		"an EC key for RS256":         {"signing-key.pem", good[1]},
		"a key for ES256 on P-384":    {"signing-key-es256.pem", good[2]},
		"a short MAC key":             {"mac-key", "0123"},
		"a short key to encrypt with": {"secrets-key", strings.Repeat("x", 16)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, test.file)
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := localkey.Open(dir); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			if kept, err := os.ReadFile(path); err != nil || string(kept) != test.content {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := localkey.Open(file); err == nil {
		t.Error("a file was taken for a folder")
	}
}

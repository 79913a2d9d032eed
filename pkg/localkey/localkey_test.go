package localkey_test

import (
	"crypto"
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
	var first crypto.PublicKey
	var firstMAC []byte
	for _, k := range opened {
		public, err := k.PublicKey(t.Context(), localkey.Reference)
		if err != nil {
			t.Fatal(err)
		}
		mac, err := k.HourlyKey(t.Context(), "login", 1)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, firstMAC = public, mac
		}
		if !first.(*rsa.PublicKey).Equal(public) || !slices.Equal(firstMAC, mac) {
			t.Error("two that started together use different keys")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
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

func TestSign(t *testing.T) {
	k, err := localkey.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey(t.Context(), localkey.Reference)
	if err != nil {
		t.Fatal(err)
	}
	id, err := jwt.Thumbprint(public)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("header.payload"))
	key := jwt.Key{ID: id, Algorithm: jwt.RS256, Reference: localkey.Reference}
	signature, err := k.Sign(t.Context(), key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
		t.Error(err)
	}
	for name, other := range map[string]jwt.Key{
		"another key":  {ID: "x", Algorithm: jwt.RS256, Reference: localkey.Reference},
		"a key in KMS": {ID: id, Algorithm: jwt.RS256, Reference: "arn:aws:kms:us-east-1:000000000000:key/x"},
	} {
		if _, err := k.Sign(t.Context(), other, digest[:]); !errors.Is(err, jwt.ErrKeyUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key.Algorithm = "ES256"
	if _, err := k.Sign(t.Context(), key, digest[:]); err == nil {
		t.Error("signed by ES256")
	}
	key.Algorithm = jwt.RS256
	if _, err := k.Sign(t.Context(), key, digest[:31]); err == nil {
		t.Error("signed a digest of 31 bytes")
	}
	if _, err := k.PublicKey(t.Context(), "other"); !errors.Is(err, jwt.ErrKeyUnusable) {
		t.Error(err)
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
	for name, test := range map[string]struct{ file, content string }{
		"no PEM":          {"signing-key.pem", "key"},
		"empty":           {"signing-key.pem", ""},
		"broken PKCS #8":  {"signing-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der[1:]}))},
		"a short key":     {"signing-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))},
		"a short MAC key": {"mac-key", "0123"},
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

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/config"
	"kmint/pkg/jwt"
	"kmint/pkg/localkey"
	"kmint/pkg/store"
)

// Three algorithms, and those that are asked for, have a key from the first start on,
// the same at the next, whether they are asked for again or not.
func TestHouseHasAllKeys(t *testing.T) {
	dir := t.TempDir()
	open := func(algorithms ...string) (*house, error) {
		return openHouse(t.Context(), config.Local{DataDir: dir}, slog.New(slog.DiscardHandler), algorithms...)
	}
	algorithms := []string{jwt.RS256, jwt.PS256, jwt.ES256, jwt.Ed25519, jwt.MLDSA65}
	var before []store.SigningKey
	for again, asked := range [][]string{algorithms, nil} {
		h, err := open(asked...)
		if err != nil {
			t.Fatal(err)
		}
		registry, err := h.store.Registry(t.Context())
		h.Close()
		if err != nil || len(registry.Keys) != len(algorithms) {
			t.Fatalf("%+v %v", registry, err)
		}
		for i, algorithm := range algorithms {
			k := registry.Keys[i]
			if k.Algorithm != algorithm || k.Reference != localkey.ReferenceOf(algorithm) || k.State != store.KeyActive {
				t.Errorf("%s: %+v", algorithm, k)
			}
		}
		if again > 0 && !slices.Equal(registry.Keys, before) {
			t.Errorf("at the next start %+v, was %+v", registry.Keys, before)
		}
		before = registry.Keys
	}
	// A key whose file is gone is not made anew: the store knows the old one.
	if err := os.Remove(filepath.Join(dir, "signing-key-ps256.pem")); err != nil {
		t.Fatal(err)
	}
	h, err := open()
	if err == nil {
		h.Close()
	}
	if want := "the key for PS256 in " + dir + " is not the one that its store knows; delete the folder to begin anew"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

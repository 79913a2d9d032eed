package store_test

import (
	"strings"
	"testing"

	"kmint/pkg/store"
)

func TestPassword(t *testing.T) {
	hash, err := store.HashPassword("correct horse")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("hash %q, %v", hash, err)
	}
	if another, err := store.HashPassword("correct horse"); err != nil || another == hash {
		t.Errorf("two hashes of one password are equal, %v", err)
	}
	if match, err := store.MatchPassword("correct horse", hash); !match || err != nil {
		t.Errorf("the right password: %v, %v", match, err)
	}
	if match, err := store.MatchPassword("correct horse ", hash); match || err != nil {
		t.Errorf("a wrong password: %v, %v", match, err)
	}
	if match, err := store.MatchPassword("", ""); match || err == nil {
		t.Errorf("no hash: %v, %v", match, err)
	}
	if !store.CurrentPasswordHash(hash) {
		t.Error("a new hash is not current")
	}
	for _, old := range []string{"", strings.Replace(hash, "t=2", "t=1", 1), strings.Replace(hash, "m=19456", "m=9216", 1)} {
		if store.CurrentPasswordHash(old) {
			t.Errorf("%q is current", old)
		}
	}
}

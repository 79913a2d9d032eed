package bolt_test

import (
	"path/filepath"
	"testing"

	"kmint/pkg/bolt"
	"kmint/pkg/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		s := open(t, filepath.Join(t.TempDir(), "kmint.db"))
		return storetest.Stores{
			Clients: s, APIs: s, Server: s, Issuers: s, Config: s, Registries: s, Users: s, Logins: s, People: s,
			Sessions: s, Joined: s, Listings: s, Consents: s, Attempts: s, Codes: s, Reader: s, Grants: s,
			Revocations: s, Revoked: s, Uses: s, Opaque: s, Documents: s,
		}
	})
}

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

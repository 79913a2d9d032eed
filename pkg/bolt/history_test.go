package bolt_test

import (
	"path/filepath"
	"testing"

	"kmint/pkg/store/storetest/history"
)

const histories = 20_000

func TestHistories(t *testing.T) {
	history.Run(t, histories, func(t *testing.T) history.Stores {
		s := open(t, filepath.Join(t.TempDir(), "kmint.db"))
		s.Unsynced()
		return history.Local(history.Stores{Codes: s, Reader: s, Grants: s, Revocations: s})
	})
}

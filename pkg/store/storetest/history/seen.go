package history

import (
	"fmt"
	"sync"
	"testing"
)

// seen counts what the histories held: those that hold too little prove nothing.
type seen struct {
	mu     sync.Mutex
	counts map[string]int
}

// What must have been in some of Few histories.
var wanted = []string{
	"minted", "refused", "denied", "busy", "silent", "revoked", "wrong", "late copies",
	"minted after a fault", "given back", "the same successor again", "a second use that ended it", "refused after its time",
}

func (s *seen) add(h *history) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	m := h.model()
	for _, u := range m.all {
		if u.kind != "exchange" && u.kind != "revoke" {
			continue
		}
		alive, _ := m.lives(u)
		exchanged := u.kind == "exchange" && u.answer == minted
		for what, is := range map[string]bool{
			string(u.answer):             u.kind == "exchange",
			"revoked":                    u.kind == "revoke" && u.answer == minted,
			"wrong":                      u.wrong != "",
			"late copies":                u.late > 0,
			"minted after a fault":       exchanged && u.fault,
			"given back":                 u.undone > 0 && !u.dirty,
			"the same successor again":   exchanged && m.spent(u.token, u.start),
			"a second use that ended it": u.answer == declined && m.replay(u),
			"refused after its time":     u.answer == declined && u.wrong == "" && !alive,
		} {
			if is {
				s.counts[what]++
			}
		}
	}
}

func (s *seen) String() string { return fmt.Sprint(s.counts) }

func (s *seen) enough(t *testing.T) {
	t.Helper()
	for _, what := range wanted {
		if s.counts[what] == 0 {
			t.Errorf("no history had %q", what)
		}
	}
}

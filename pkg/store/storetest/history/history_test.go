package history_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/store/storetest/history"
)

// budget is within how many histories a defect must be found.
const budget = 20_000

// A memory is a store with the defects that are set.
type memory struct {
	// noBy: nobody remembers who wrote.
	noBy bool
	// undoesAll: what is given back may be another's.
	undoesAll bool
	// mineFirst: whoever finds their own By is served, revoked or not.
	mineFirst bool
	// lenient: within leeway a token is good though its successor was used.
	lenient bool
	// forgetful: a second use of a code that has expired is no replay.
	forgetful bool

	mu     sync.Mutex
	grants map[string]store.Grant
	older  map[oauth.Digest]store.Grant // the grant that each token made
}

func (m *memory) PutGrant(_ context.Context, g store.Grant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grants[g.ID] = g
	return nil
}

func (m *memory) Grant(_ context.Context, id string) (store.Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.grants[id]
	if !ok {
		return store.Grant{}, store.ErrNotFound
	}
	return g, nil
}

func (m *memory) SpendCode(ctx context.Context, s store.Spend) (store.Grant, error) {
	g, err := m.Grant(ctx, s.GrantID)
	if err != nil {
		return store.Grant{}, err
	}
	verdict := s.Judge(g)
	switch {
	case m.mineFirst && errors.Is(verdict, store.ErrRevoked) && s.Done(g):
		return g, nil
	case m.forgetful && errors.Is(verdict, store.ErrReplayed) && !s.Now.Before(g.CodeExpires):
		return store.Grant{}, store.ErrExpired
	}
	return m.decide(ctx, g, verdict, s.Done(g), s.Now, s.Apply)
}

func (m *memory) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	g, err := m.Grant(ctx, r.GrantID)
	if err != nil {
		return store.Grant{}, err
	}
	verdict := r.Judge(g)
	made, ok := m.older[r.Presented]
	switch {
	case m.mineFirst && errors.Is(verdict, store.ErrRevoked) && g.By == r.By && g.Previous == r.Presented:
		return g, nil
	case m.lenient && errors.Is(verdict, store.ErrReplayed) && ok && r.Now.Before(made.Rotated.Add(r.Leeway)):
		return made, nil
	}
	g, err = m.decide(ctx, g, verdict, r.Settled(g), r.Now, r.Apply)
	if err == nil {
		m.older[r.Presented] = g
	}
	return g, err
}

func (m *memory) decide(
	ctx context.Context, g store.Grant, verdict error, settled bool, now time.Time, apply func(store.Grant) store.Grant,
) (store.Grant, error) {
	switch {
	case errors.Is(verdict, store.ErrReplayed):
		g.Revoked = now
		return store.Grant{}, errors.Join(verdict, m.PutGrant(ctx, g))
	case verdict != nil:
		return store.Grant{}, verdict
	case settled:
		return g, nil
	}
	g = apply(g)
	if m.noBy {
		g.By = ""
	}
	return g, m.PutGrant(ctx, g)
}

func (m *memory) ReopenCode(ctx context.Context, id, by string) error {
	return m.undo(ctx, id, by, store.UndoSpend)
}

func (m *memory) ReopenRotation(ctx context.Context, id, by string) error {
	return m.undo(ctx, id, by, store.UndoRotation)
}

func (m *memory) undo(ctx context.Context, id, by string, apply func(store.Grant, string) (store.Grant, bool)) error {
	g, err := m.Grant(ctx, id)
	if err != nil {
		return err
	}
	if m.undoesAll && g.By != "" {
		g.By = by
	}
	if g, ok := apply(g, by); ok {
		return m.PutGrant(ctx, g)
	}
	return nil
}

func (m *memory) RevokeGrant(ctx context.Context, r store.Revocation) error {
	g, err := m.Grant(ctx, r.GrantID)
	if err != nil {
		return err
	}
	if err := r.Judge(g); err != nil || !g.Revoked.IsZero() {
		return err
	}
	g.Revoked = r.Now
	return m.PutGrant(ctx, g)
}

func (m *memory) RevokeToken(context.Context, string, time.Time) error { return nil }

func (m *memory) stores() history.Stores {
	m.grants, m.older = map[string]store.Grant{}, map[oauth.Digest]store.Grant{}
	return history.Local(history.Stores{Codes: m, Reader: m, Grants: m, Revocations: m})
}

func TestHealthyStore(t *testing.T) {
	history.Run(t, budget, func(*testing.T) history.Stores { return new(memory).stores() })
}

// A history is its number.
func TestSameHistoryAgain(t *testing.T) {
	s := new(memory).stores()
	logs := map[string]bool{}
	for n := range 200 {
		first, _ := history.Play(s, n)
		if again, _ := history.Play(s, n); again != first {
			t.Fatalf("history %d:\n%s\nand again:\n%s", n, first, again)
		}
		logs[first] = true
	}
	if len(logs) < 190 {
		t.Errorf("of 200 histories %d differ", len(logs))
	}
}

// The model is worth something: it objects to each of these stores.
func TestPlantedDefects(t *testing.T) {
	for name, defect := range map[string]*memory{
		"no by":                                      {noBy: true},
		"an undo without a condition":                {undoesAll: true},
		"one's own by is judged before revoked":      {mineFirst: true},
		"leeway after the successor's use":           {lenient: true},
		"the replay of an expired code ends nothing": {forgetful: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := defect.stores()
			for n := range budget {
				if _, objection := history.Play(s, n); objection != nil {
					t.Logf("history %d: %v", n, objection)
					return
				}
			}
			t.Errorf("no objection in %d histories", budget)
		})
	}
}

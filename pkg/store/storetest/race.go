package storetest

import (
	"testing"

	"kmint/pkg/store"
)

func testSpendRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := fresh(t, s)
		spends := make([]store.Spend, racers)
		errs, _ := race(func(i int) error {
			spends[i] = spend(g)
			_, err := s.Grants.SpendCode(ctx, spends[i])
			return err
		})
		winner := onlyOne(t, errs)
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		if got.Revoked.IsZero() {
			t.Error("the grant is not revoked")
		}
		want := spends[winner].Apply(g)
		want.Revoked, want.Undone = got.Revoked, got.Undone
		same(t, "the winner's grant", got, want)
	}
}

func testRotateRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := refreshing(t, s)
		rotations := make([]store.Rotation, racers)
		errs, _ := race(func(i int) error {
			rotations[i] = rotate(g)
			_, err := s.Grants.RotateRefreshToken(ctx, rotations[i])
			return err
		})
		winner := onlyOne(t, errs)
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		if got.Revoked.IsZero() {
			t.Error("the grant is not revoked")
		}
		want := rotations[winner].Apply(g)
		want.Revoked, want.Undone = got.Revoked, got.Undone
		same(t, "the winner's grant", got, want)
	}
}

// onlyOne returns which racer won, and fails unless it is one, at least one other
// was a replay, and all others came after that.
func onlyOne(t *testing.T, errs []error) (winner int) {
	t.Helper()
	counts := count(t, errs, store.ErrReplayed, store.ErrRevoked)
	if counts[nil] != 1 || counts[store.ErrReplayed] < 1 {
		t.Fatalf("%d won, %d were replays", counts[nil], counts[store.ErrReplayed])
	}
	for i, err := range errs {
		if err == nil {
			winner = i
		}
	}
	return winner
}

// One spends and gives back, over and over, while others try: whoever is told
// that theirs is a replay has revoked; and unless somebody was, one is left with
// the code or nobody is.
func testReopenCodeRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := fresh(t, s)
		var kept [racers]string
		errs, _ := race(func(i int) error {
			mine := spend(g)
			_, err := s.Grants.SpendCode(ctx, mine)
			if err == nil && i%2 == 0 {
				return s.Grants.ReopenCode(ctx, g.ID, mine.By)
			}
			if err == nil {
				kept[i] = mine.By
			}
			return err
		})
		counts := count(t, errs, store.ErrReplayed, store.ErrRevoked)
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		keepers := 0
		for _, by := range kept {
			if by != "" {
				keepers++
			}
			if by != "" && (got.Spent.IsZero() || got.By != by) {
				t.Error("one who has the code is not the one stored")
			}
		}
		if keepers > 1 {
			t.Errorf("%d have the code", keepers)
		}
		if revoked := counts[store.ErrReplayed] > 0; revoked != !got.Revoked.IsZero() {
			t.Errorf("%d replays, revoked %v", counts[store.ErrReplayed], got.Revoked)
		}
		if got.Revoked.IsZero() && keepers != 1 && !got.Spent.IsZero() {
			t.Error("spent, and nobody has it")
		}
	}
}

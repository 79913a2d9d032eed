package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

const randomCases = 400

// seed makes the random cases the same each time, so that one that fails can be
// looked at.
const seed = 7636

func testSpendEqualsJudge(t *testing.T, s Stores) {
	ctx, random := t.Context(), rand.New(rand.NewPCG(seed, 0))
	seen := map[string]int{}
	for i := range randomCases {
		g, by := randomGrant(random)
		must(t, s.Codes.PutGrant(ctx, g))
		spend := store.Spend{
			GrantID: g.ID, ClientID: mostly(random, g.ClientID, "other"),
			RedirectURI: mostly(random, g.RedirectURI, "", "https://other.example.com/cb"),
			Challenge:   mostly(random, g.Challenge, "", "other"),
			Scope:       subset(random, "openid", "a", "b", "c"), Audience: subset(random, "x", "y"),
			Now: g.Created.Add(moment(random)), By: by, Family: digest(), Current: digest(), Idle: time.Minute,
		}
		verdict := spend.Judge(g)
		got, err := s.Grants.SpendCode(ctx, spend)
		seen[outcome(verdict, spend.Done(g))]++
		judged(t, fmt.Sprintf("case %d: %+v of %+v", i, spend, g), s, g, got, err, verdict, spend.Done(g), spend.Now, spend.Apply)
		if t.Failed() {
			return
		}
	}
	everyOutcome(t, seen, store.ErrOtherClient, store.ErrRedirectURI, store.ErrVerifier, store.ErrOtherKey, store.ErrScope, store.ErrAudience,
		store.ErrRevoked, store.ErrReplayed, store.ErrUndone, store.ErrExpired)
}

func testRotateEqualsJudge(t *testing.T, s Stores) {
	ctx, random, binds := t.Context(), rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 5))
	seen := map[string]int{}
	for i := range randomCases {
		g, by := randomGrant(random)
		must(t, s.Codes.PutGrant(ctx, g))
		r := store.Rotation{
			GrantID: g.ID, ClientID: mostly(random, g.ClientID, "other"), Family: mostly(random, g.Family, "", "other"),
			Presented: likely(random, g.Current, g.Previous, g.Previous, "older"), Next: digest(), Salt: "new salt",
			Scope: subset(random, "openid", "a", "b", "c"), Audience: subset(random, "x", "y"),
			Now: g.Created.Add(moment(random)), By: by, Idle: time.Minute,
			Leeway: likely(random, 0, time.Minute, time.Hour),
			Key:    mostly(random, keyOf(g), "", "key", store.AnyKey, "other"), Static: random.IntN(4) == 0,
			Bind: likely(binds, "", "key", "other", store.AnyKey),
		}
		verdict := r.Judge(g)
		got, err := s.Grants.RotateRefreshToken(ctx, r)
		seen[outcome(verdict, r.Settled(g))]++
		if r.Static && verdict == nil {
			seen["static, "+outcome(verdict, r.Settled(g))]++
		}
		judged(t, fmt.Sprintf("case %d: %+v of %+v", i, r, g), s, g, got, err, verdict, r.Settled(g), r.Now, r.Apply)
		if t.Failed() {
			return
		}
	}
	everyOutcome(t, seen, store.ErrOtherClient, store.ErrNotFound, store.ErrOtherKey, store.ErrScope, store.ErrAudience,
		store.ErrRevoked, store.ErrReplayed, store.ErrUndone, store.ErrExpired)
	for _, settled := range []bool{false, true} {
		if name := "static, " + outcome(nil, settled); seen[name] == 0 {
			t.Errorf("no random case was %q: %v", name, seen)
		}
	}
}

// keyOf is a key that the grant takes.
func keyOf(g store.Grant) string {
	if g.RefreshKey == store.AnyKey {
		return "any"
	}
	return g.RefreshKey
}

func testRevokeEqualsJudge(t *testing.T, s Stores) {
	ctx, random := t.Context(), rand.New(rand.NewPCG(seed, 4))
	seen := map[string]int{}
	for i := range randomCases {
		g, _ := randomGrant(random)
		must(t, s.Codes.PutGrant(ctx, g))
		r := store.Revocation{
			GrantID: g.ID, ClientID: mostly(random, g.ClientID, "other"), Family: mostly(random, g.Family, "", "other"),
			Subject: likely(random, "", mostly(random, g.Subject, "other")), Now: g.Created.Add(moment(random)),
		}
		verdict, what := r.Judge(g), fmt.Sprintf("case %d: %+v of %+v", i, r, g)
		seen[outcome(verdict, !g.Revoked.IsZero())]++
		is(t, what, s.Revocations.RevokeGrant(ctx, r), verdict)
		if verdict == nil && g.Revoked.IsZero() {
			g.Revoked = r.Now
		}
		stored(t, s, what, g)
		if t.Failed() {
			return
		}
	}
	everyOutcome(t, seen, store.ErrOtherClient, store.ErrNotFound)
}

func testReopenCodeEqualsUndo(t *testing.T, s Stores) {
	undoneAs(t, s, 2, s.Grants.ReopenCode, store.UndoSpend)
}

func testReopenRotationEqualsUndo(t *testing.T, s Stores) {
	undoneAs(t, s, 3, s.Grants.ReopenRotation, store.UndoRotation)
}

// undoneAs fails unless reopen leaves random grants as the pure function does.
func undoneAs(
	t *testing.T, s Stores, stream uint64,
	reopen func(ctx context.Context, id, by string) error, undo func(store.Grant, string) (store.Grant, bool),
) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, stream))
	seen := map[string]int{}
	for i := range randomCases {
		g, by := randomGrant(random)
		must(t, s.Codes.PutGrant(t.Context(), g))
		want, ok := undo(g, by)
		if !ok {
			want = g
		}
		seen[fmt.Sprintf("%v, given back %v", ok, want.By != g.By)]++
		what := fmt.Sprintf("case %d: by %s of %+v", i, by, g)
		is(t, what, reopen(t.Context(), g.ID, by), nil)
		stored(t, s, what, want)
		if t.Failed() {
			return
		}
	}
	for _, name := range []string{"true, given back true", "true, given back false", "false, given back false"} {
		if seen[name] == 0 {
			t.Errorf("no random case was %q: %v", name, seen)
		}
	}
}

// judged fails unless the store did what the verdict says.
func judged(
	t *testing.T, what string, s Stores, before, got store.Grant, err, verdict error,
	settled bool, now time.Time, apply func(store.Grant) store.Grant,
) {
	t.Helper()
	is(t, what, err, verdict)
	switch {
	case errors.Is(verdict, store.ErrReplayed):
		ended(t, s, what, before, now)
	case verdict != nil || settled:
		stored(t, s, what, before)
	default:
		stored(t, s, what, apply(before))
	}
	want := store.Grant{}
	if verdict == nil && settled {
		want = before
	} else if verdict == nil {
		want = apply(before)
	}
	same(t, what, got, want)
}

func outcome(verdict error, settled bool) string {
	if verdict != nil {
		return verdict.Error()
	}
	return fmt.Sprintf("allowed, settled %v", settled)
}

// everyOutcome fails if the random cases missed one: they would prove too little.
func everyOutcome(t *testing.T, seen map[string]int, refusals ...error) {
	t.Helper()
	names := []string{outcome(nil, false), outcome(nil, true)}
	for _, refusal := range refusals {
		names = append(names, outcome(refusal, false))
	}
	for _, name := range names {
		if seen[name] == 0 {
			t.Errorf("no random case was %q: %v", name, seen)
		}
	}
}

// randomGrant is a grant in any state, and the By of a request that may be the
// one in it.
func randomGrant(r *rand.Rand) (g store.Grant, by string) {
	g = unspent()
	by = string(digest())
	maybe := func(of int, do func()) {
		if r.IntN(of) == 0 {
			do()
		}
	}
	g.Requested, g.Scope = append(oauth.Scope{"a"}, subset(r, "openid", "b", "c")...), nil
	g.Audience = subset(r, "x", "x", "y")
	maybe(3, func() { g.RedirectSent = false })
	maybe(3, func() { g.Challenge = "" })
	maybe(3, func() { g.CodeKey = "key" })
	maybe(3, func() { g.RefreshKey = likely(r, "key", store.AnyKey) })
	maybe(3, func() { g.Online, g.AccessClaims = true, nil })
	maybe(4, func() {
		g.Undone = likely(r, [3]string{by}, [3]string{"someone"}, [3]string{"someone", by}, [3]string{"someone", "else", by})
	})
	maybe(2, func() {
		g.Spent, g.By = g.Created.Add(instant(r)), likely(r, "someone", by)
	})
	maybe(8, func() { g.Revoked = g.Created.Add(instant(r)) })
	if g.Family = likely(r, oauth.Digest("family"), ""); g.Family != "" {
		g.Family, g.Current, g.IdleExpires = "family", "current", g.Created.Add(instant(r))
		maybe(2, func() {
			g.Previous, g.Salt, g.Generation, g.Rotated = "previous", "salt", r.Int64N(9)+1, g.Created.Add(instant(r))
			maybe(3, func() { g.Reopened = true })
		})
	}
	g.End = g.Created.Add(2 * instant(r))
	return g, by
}

// instant is one of few, so that equal ones meet.
func instant(r *rand.Rand) time.Duration {
	return []time.Duration{time.Millisecond, time.Minute, time.Minute + time.Millisecond, time.Hour}[r.IntN(4)]
}

// moment is an instant, or within the millisecond after it: clocks are finer than
// what is stored.
func moment(r *rand.Rand) time.Duration {
	return instant(r) + likely(r, 0, 1, time.Millisecond-1)
}

// likely is the first half of the time.
func likely[T any](r *rand.Rand, first T, others ...T) T {
	if r.IntN(2) > 0 {
		return first
	}
	return others[r.IntN(len(others))]
}

// mostly is hardly ever another than the first, lest nothing else is judged.
func mostly[T any](r *rand.Rand, first T, others ...T) T {
	if r.IntN(8) > 0 {
		return first
	}
	return others[r.IntN(len(others))]
}

// subset is mostly empty.
func subset(r *rand.Rand, values ...string) []string {
	var some []string
	for _, value := range values {
		if r.IntN(8) == 0 {
			some = append(some, value)
		}
	}
	return some
}

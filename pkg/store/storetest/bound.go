package storetest

import (
	"fmt"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A refresh token that is bound to a key is good with a proof by that key alone
// (RFC 9449 §5), and whoever has it without the key changes nothing.
func testBound(t *testing.T, s Stores) {
	ctx := t.Context()
	for _, test := range []struct {
		bind    string
		allowed []string
		refused []string
	}{
		{"", []string{"", "key"}, nil},
		{"key", []string{"key"}, []string{"", "other", "ke", store.AnyKey}},
		{store.AnyKey, []string{"key", "other"}, []string{""}},
	} {
		for _, static := range []bool{false, true} {
			t.Run(fmt.Sprintf("bound to %q, static %v", test.bind, static), func(t *testing.T) {
				g := fresh(t, s)
				first := spend(g)
				first.Key, first.Bind = "key", test.bind
				g, err := s.Grants.SpendCode(ctx, first)
				must(t, err)
				previous := g
				for i := range 2 {
					for _, key := range test.refused {
						for _, g := range []store.Grant{g, previous} {
							wrong := rotate(g)
							wrong.Key, wrong.Static = key, static
							_, err := s.Grants.RotateRefreshToken(ctx, wrong)
							is(t, "a proof by "+key, err, store.ErrOtherKey)
						}
						stored(t, s, "a proof by "+key, g)
					}
					right := rotate(g)
					right.Key, right.Static = test.allowed[i%len(test.allowed)], static
					got, err := s.Grants.RotateRefreshToken(ctx, right)
					is(t, "a proof by "+right.Key, err, nil)
					same(t, "a proof by "+right.Key, got, right.Apply(g))
					previous, g = g, right.Apply(g)
					same(t, "the bind stays", g.RefreshKey, test.bind)
				}
			})
		}
	}

	// RFC 9449 §5 speaks of every refresh token that is issued, not of the first alone.
	for _, test := range []struct{ before, bind, after string }{
		{"", "", ""},
		{"", "key", "key"},
		{"", store.AnyKey, store.AnyKey},
		{store.AnyKey, "key", "key"},
		{store.AnyKey, store.AnyKey, store.AnyKey},
		{"key", store.AnyKey, "key"},
		{"key", "", "key"},
	} {
		for _, static := range []bool{false, true} {
			t.Run(fmt.Sprintf("bound to %q, then to %q, static %v", test.before, test.bind, static), func(t *testing.T) {
				g := unspent()
				g = spend(g).Apply(g)
				g.RefreshKey = test.before
				must(t, s.Codes.PutGrant(ctx, g))
				wrong := rotate(g)
				wrong.Key, wrong.Bind, wrong.Static, wrong.Scope = "key", test.bind, static, oauth.Scope{"email"}
				_, err := s.Grants.RotateRefreshToken(ctx, wrong)
				is(t, "refused", err, store.ErrScope)
				stored(t, s, "refused", g)
				right := wrong
				right.Scope = nil
				got, err := s.Grants.RotateRefreshToken(ctx, right)
				is(t, "RotateRefreshToken", err, nil)
				same(t, "the key", got.RefreshKey, test.after)
				stored(t, s, "stored", right.Apply(g))
				if test.after == "" {
					return
				}
				bare := rotate(got)
				_, err = s.Grants.RotateRefreshToken(ctx, bare)
				is(t, "without a proof", err, store.ErrOtherKey)
			})
		}
	}

	t.Run("order", func(t *testing.T) {
		g := unspent()
		g = spend(g).Apply(g)
		g.RefreshKey = "key"
		must(t, s.Codes.PutGrant(ctx, g))
		wrong := rotate(g)
		wrong.ClientID, wrong.Family, wrong.Key = "other", digest(), "other"
		wrong.Presented, wrong.Scope = digest(), oauth.Scope{"email"}
		for _, step := range []struct {
			want  error
			right func()
		}{
			{store.ErrOtherClient, func() { wrong.ClientID = g.ClientID }},
			{store.ErrNotFound, func() { wrong.Family = g.Family }},
			{store.ErrOtherKey, func() { wrong.Key = "key" }},
			{store.ErrScope, func() { wrong.Scope = nil }},
		} {
			_, err := s.Grants.RotateRefreshToken(ctx, wrong)
			is(t, "RotateRefreshToken", err, step.want)
			stored(t, s, "after the refusal", g)
			step.right()
		}
		_, err := s.Grants.RotateRefreshToken(ctx, wrong)
		is(t, "an old token, with the key", err, store.ErrReplayed)
	})

	t.Run("given back, the code binds anew", func(t *testing.T) {
		g := fresh(t, s)
		first := spend(g)
		first.Key, first.Bind = "key", "key"
		_, err := s.Grants.SpendCode(ctx, first)
		must(t, err)
		must(t, s.Grants.ReopenCode(ctx, g.ID, first.By))
		g.Undone[0] = first.By
		stored(t, s, "given back", g)
		next := spend(g)
		got, err := s.Grants.SpendCode(ctx, next)
		is(t, "without a key", err, nil)
		same(t, "without a key", got.RefreshKey, "")
		_, err = s.Grants.RotateRefreshToken(ctx, rotate(got))
		is(t, "its refresh token", err, nil)
	})
}

// A token that is not rotated stays the same (FAPI 2.0 Security Profile §5.3.2.1).
func testStatic(t *testing.T, s Stores) {
	ctx := t.Context()
	static := func(g store.Grant) store.Rotation {
		r := rotate(g)
		r.Static = true
		return r
	}
	g := refreshing(t, s)
	first := g
	for i := range 3 {
		r := static(g)
		r.Now = r.Now.Add(time.Duration(i) * time.Minute)
		for range 2 { // a copy leaves the same
			got, err := s.Grants.RotateRefreshToken(ctx, r)
			is(t, "RotateRefreshToken", err, nil)
			same(t, "returned", got, r.Apply(g))
			stored(t, s, "stored", r.Apply(g))
		}
		g = r.Apply(g)
		if g.Current != first.Current || g.By != first.By || g.Generation != 0 || g.Claims != nil || g.AccessClaims != nil || !g.IdleExpires.After(first.IdleExpires) {
			t.Errorf("after a use: %+v", g)
		}
	}

	for _, test := range []struct {
		name   string
		change func(*store.Rotation)
		want   error
	}{
		{"another client", func(r *store.Rotation) { r.ClientID = "other" }, store.ErrOtherClient},
		{"another family", func(r *store.Rotation) { r.Family = digest() }, store.ErrNotFound},
		{"a scope beyond", func(r *store.Rotation) { r.Scope = oauth.Scope{"email"} }, store.ErrScope},
		{"an audience beyond", func(r *store.Rotation) { r.Audience = []string{"https://third.example.com/"} }, store.ErrAudience},
		{"unused for too long", func(r *store.Rotation) { r.Now = g.IdleExpires }, store.ErrExpired},
		{"after the end", func(r *store.Rotation) { r.Now = g.End }, store.ErrExpired},
	} {
		wrong := static(g)
		test.change(&wrong)
		_, err := s.Grants.RotateRefreshToken(ctx, wrong)
		is(t, test.name, err, test.want)
		stored(t, s, test.name, g)
	}
	_, err := s.Grants.RotateRefreshToken(ctx, static(g))
	is(t, "the right use after them", err, nil)

	t.Run("of a client that was registered anew", func(t *testing.T) {
		g := refreshing(t, s)
		before := g
		g, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		must(t, err)
		r := static(g)
		g, err = s.Grants.RotateRefreshToken(ctx, r)
		is(t, "no longer rotated", err, nil)
		again := static(before)
		_, err = s.Grants.RotateRefreshToken(ctx, again)
		is(t, "the token before", err, store.ErrReplayed)
		ended(t, s, "the token before", g, again.Now)

		g = refreshing(t, s)
		g, err = s.Grants.RotateRefreshToken(ctx, static(g))
		must(t, err)
		r = rotate(g)
		got, err := s.Grants.RotateRefreshToken(ctx, r)
		is(t, "rotated from now on", err, nil)
		same(t, "rotated from now on", got, r.Apply(g))
	})

	// It is a use of the successor, after which the token before yields that no more.
	t.Run("within the leeway of a rotation, or one that was reopened", func(t *testing.T) {
		for _, reopened := range []bool{false, true} {
			g := refreshing(t, s)
			before := rotate(g)
			before.Leeway = time.Hour
			g, err := s.Grants.RotateRefreshToken(ctx, before)
			must(t, err)
			if reopened {
				must(t, s.Grants.ReopenRotation(ctx, g.ID, before.By))
			}
			before.By = string(digest())
			_, err = s.Grants.RotateRefreshToken(ctx, before)
			is(t, "while the successor is unused", err, nil)
			g, err = s.Grants.RotateRefreshToken(ctx, static(g))
			must(t, err)
			_, err = s.Grants.RotateRefreshToken(ctx, before)
			is(t, "after its use", err, store.ErrReplayed)
			ended(t, s, "after its use", g, before.Now)
		}
	})

	t.Run("nothing is given back", func(t *testing.T) {
		g := refreshing(t, s)
		r := static(g)
		g, err := s.Grants.RotateRefreshToken(ctx, r)
		must(t, err)
		must(t, s.Grants.ReopenCode(ctx, g.ID, r.By))
		// by did not write, so it is marked, and no more.
		g.Undone[0] = r.By
		stored(t, s, "ReopenCode", g)
		_, err = s.Grants.RotateRefreshToken(ctx, static(g))
		is(t, "the token", err, nil)
	})

	t.Run("revoked", func(t *testing.T) {
		g := refreshing(t, s)
		must(t, s.Revocations.RevokeGrant(ctx, revocation(g)))
		_, err := s.Grants.RotateRefreshToken(ctx, static(g))
		is(t, "RotateRefreshToken", err, store.ErrRevoked)
	})
}

func testStaticRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := refreshing(t, s)
		errs, _ := race(func(int) error {
			r := rotate(g)
			r.Static = true
			_, err := s.Grants.RotateRefreshToken(ctx, r)
			return err
		})
		if n := count(t, errs)[nil]; n != racers {
			t.Errorf("%d of %d were answered", n, racers)
		}
		r := rotate(g)
		r.Static = true
		stored(t, s, "all alike", r.Apply(g))
	}
}

// With leeway all who come side by side get the one same successor.
func testLeewayRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := refreshing(t, s)
		salts := make([]string, racers)
		errs, _ := race(func(i int) error {
			r := rotate(g)
			r.Leeway = time.Minute
			got, err := s.Grants.RotateRefreshToken(ctx, r)
			salts[i] = got.Salt
			return err
		})
		if n := count(t, errs)[nil]; n != racers {
			t.Errorf("%d of %d were answered", n, racers)
		}
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		for _, salt := range salts {
			same(t, "the successor", salt, got.Salt)
		}
		if got.Generation != 1 || !got.Revoked.IsZero() {
			t.Errorf("after %d uses: %+v", racers, got)
		}
		_, err = s.Grants.RotateRefreshToken(ctx, rotate(got))
		is(t, "the successor", err, nil)
	}
}

// A condition has room for so many values, and no more: around that number the
// answer is the same.
func testManyScopes(t *testing.T, s Stores) {
	ctx := t.Context()
	many := make(oauth.Scope, 300)
	for i := range many {
		many[i] = fmt.Sprintf("read:%d", i)
	}
	for _, n := range []int{63, 64, 65, 299} {
		for _, key := range []string{"", "key"} {
			t.Run(fmt.Sprintf("%d, key %q", n, key), func(t *testing.T) {
				g := unspent()
				g.Requested, g.CodeKey = many, key
				must(t, s.Codes.PutGrant(ctx, g))
				first := spend(g)
				first.Scope, first.Key, first.Bind = append(many[1:n:n], "read:300"), key, key
				_, err := s.Grants.SpendCode(ctx, first)
				is(t, "SpendCode, one beyond", err, store.ErrScope)
				stored(t, s, "refused", g)
				first.Scope = many[:n]
				spent, err := s.Grants.SpendCode(ctx, first)
				is(t, "SpendCode", err, nil)
				same(t, "SpendCode", spent, first.Apply(g))
				for _, static := range []bool{true, false} {
					r := rotate(spent)
					r.Scope, r.Key, r.Static = append(many[1:n:n], "read:300"), key, static
					_, err = s.Grants.RotateRefreshToken(ctx, r)
					is(t, "RotateRefreshToken, one beyond", err, store.ErrScope)
					stored(t, s, "refused", spent)
					r.Scope = many[:n]
					got, err := s.Grants.RotateRefreshToken(ctx, r)
					is(t, "RotateRefreshToken", err, nil)
					same(t, "RotateRefreshToken", got, r.Apply(spent))
					spent = r.Apply(spent)
				}
				again := first
				again.By = string(digest())
				_, err = s.Grants.SpendCode(ctx, again)
				is(t, "again", err, store.ErrReplayed)
				again.GrantID = string(digest())
				_, err = s.Grants.SpendCode(ctx, again)
				is(t, "of no grant", err, store.ErrNotFound)
				_, err = s.Reader.Grant(ctx, again.GrantID)
				is(t, "no grant, still", err, store.ErrNotFound)
			})
		}
	}
}

package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func testRotate(t *testing.T, s Stores) {
	ctx := t.Context()

	t.Run("a chain", func(t *testing.T) {
		g := refreshing(t, s)
		for range 4 {
			r := rotate(g)
			r.Scope, r.Audience = oauth.Scope{"write:x"}, []string{"https://api.example.com/"}
			got, err := s.Grants.RotateRefreshToken(ctx, r)
			must(t, err)
			same(t, "returned", got, r.Apply(g))
			g = r.Apply(g)
			stored(t, s, "stored", g)
			if g.Claims != nil {
				t.Error("the claims were kept")
			}
		}
	})

	t.Run("in the last millisecond", func(t *testing.T) {
		g := refreshing(t, s)
		r := rotate(g)
		r.Now, r.Idle = g.IdleExpires.Add(-1), 48*time.Hour // nanosecond
		g, err := s.Grants.RotateRefreshToken(ctx, r)
		must(t, err)
		r = rotate(g)
		r.Now = g.End.Add(-1)
		_, err = s.Grants.RotateRefreshToken(ctx, r)
		is(t, "RotateRefreshToken", err, nil)
	})

	refused := []struct {
		name   string
		grant  func(*store.Grant)
		change func(*store.Rotation)
		want   error
	}{
		{"another grant", nil, func(r *store.Rotation) { r.GrantID = string(digest()) }, store.ErrNotFound},
		{"a long id", nil, func(r *store.Rotation) { r.GrantID = strings.Repeat("x", 5000) }, store.ErrNotFound},
		{"another client", nil, func(r *store.Rotation) { r.ClientID = "other" }, store.ErrOtherClient},
		{"another family", nil, func(r *store.Rotation) { r.Family = digest() }, store.ErrNotFound},
		{"no family", nil, func(r *store.Rotation) { r.Family = "" }, store.ErrNotFound},
		{"another family and an old token", nil, func(r *store.Rotation) { r.Family, r.Presented = digest(), digest() }, store.ErrNotFound},
		{"a scope beyond", nil, func(r *store.Rotation) { r.Scope = oauth.Scope{"email"} }, store.ErrScope},
		{"part of a scope value", nil, func(r *store.Rotation) { r.Scope = oauth.Scope{"open"} }, store.ErrScope},
		{"an audience beyond", nil, func(r *store.Rotation) { r.Audience = []string{"https://third.example.com/"} }, store.ErrAudience},
		{"revoked", func(g *store.Grant) { g.Revoked = g.Created }, nil, store.ErrRevoked},
		{"an old token of a revoked grant", func(g *store.Grant) { g.Revoked = g.Created },
			func(r *store.Rotation) { r.Presented = digest() }, store.ErrRevoked},
		{"unused for too long", nil, func(r *store.Rotation) { r.Now = r.Now.Add(time.Hour) }, store.ErrExpired},
		{"at the idle expiry", func(g *store.Grant) { g.IdleExpires = g.Created.Add(time.Minute) }, nil, store.ErrExpired},
		{"at the end", func(g *store.Grant) { g.End = g.Created.Add(time.Minute) }, nil, store.ErrExpired},
	}
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			g := unspent()
			g = spend(g).Apply(g)
			if test.grant != nil {
				test.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			wrong := rotate(g)
			if test.change != nil {
				test.change(&wrong)
			}
			got, err := s.Grants.RotateRefreshToken(ctx, wrong)
			is(t, "RotateRefreshToken", err, test.want)
			same(t, "returned", got, store.Grant{})
			stored(t, s, "after the refusal", g)
			if test.grant == nil {
				_, err = s.Grants.RotateRefreshToken(ctx, rotate(g))
				is(t, "the right use after it", err, nil)
			}
		})
	}

	t.Run("the token of a code that was not spent", func(t *testing.T) {
		g := fresh(t, s)
		for _, family := range []oauth.Digest{"", digest()} {
			r := rotate(g)
			r.Family = family
			_, err := s.Grants.RotateRefreshToken(ctx, r)
			is(t, "RotateRefreshToken", err, store.ErrNotFound)
			stored(t, s, "after the refusal", g)
		}
	})

	t.Run("order", func(t *testing.T) {
		g := unspent()
		g = spend(g).Apply(g)
		must(t, s.Codes.PutGrant(ctx, g))
		wrong := rotate(g)
		wrong.ClientID, wrong.Family, wrong.Presented = "other", digest(), digest()
		wrong.Scope, wrong.Audience, wrong.Now = oauth.Scope{"email"}, []string{"x"}, g.End
		for _, step := range []struct {
			want  error
			right func()
		}{
			{store.ErrOtherClient, func() { wrong.ClientID = g.ClientID }},
			{store.ErrNotFound, func() { wrong.Family = g.Family }},
			{store.ErrScope, func() { wrong.Scope = nil }},
			{store.ErrAudience, func() { wrong.Audience = nil }},
		} {
			_, err := s.Grants.RotateRefreshToken(ctx, wrong)
			is(t, "RotateRefreshToken", err, step.want)
			stored(t, s, "after the refusal", g)
			step.right()
		}
		_, err := s.Grants.RotateRefreshToken(ctx, wrong)
		is(t, "an old token, expired", err, store.ErrReplayed)
		ended(t, s, "an old token, expired", g, wrong.Now)
	})

	t.Run("a second use revokes", func(t *testing.T) {
		for age := range 3 {
			for _, late := range []bool{false, true} {
				g := refreshing(t, s)
				used := rotate(g)
				for range age + 1 {
					var err error
					g, err = s.Grants.RotateRefreshToken(ctx, rotate(g))
					must(t, err)
				}
				used.By, used.Now = string(digest()), g.Rotated
				if late {
					used.Now = g.End.Add(time.Minute)
				}
				what := fmt.Sprintf("a token %d before the current one, late %v", age+1, late)
				_, err := s.Grants.RotateRefreshToken(ctx, used)
				is(t, what, err, store.ErrReplayed)
				ended(t, s, what, g, used.Now)
				_, err = s.Grants.RotateRefreshToken(ctx, rotate(g))
				is(t, "the current token after it", err, store.ErrRevoked)
				_, err = s.Grants.SpendCode(ctx, spend(g))
				is(t, "the code after it", err, store.ErrRevoked)
				ended(t, s, "the first revocation stays", g, used.Now)
			}
		}
	})

	t.Run("a lost answer", func(t *testing.T) {
		g := refreshing(t, s)
		mine := rotate(g)
		first, err := s.Grants.RotateRefreshToken(ctx, mine)
		must(t, err)
		again := mine
		again.Next, again.Salt, again.Now = digest(), "another salt", g.End.Add(time.Minute)
		for _, r := range []store.Rotation{mine, again} {
			second, err := s.Grants.RotateRefreshToken(ctx, r)
			is(t, "my own again", err, nil)
			same(t, "my own again", second, first)
		}
		stored(t, s, "my own again", first)
		mine.By = string(digest())
		_, err = s.Grants.RotateRefreshToken(ctx, mine)
		is(t, "another's", err, store.ErrReplayed)
		ended(t, s, "another's", first, mine.Now)
	})
}

func testLeeway(t *testing.T, s Stores) {
	ctx := t.Context()
	const leeway = 5 * time.Second
	// rotated is a grant after one rotation, and the same use of the previous token.
	rotated := func(t *testing.T) (store.Grant, store.Rotation) {
		g := refreshing(t, s)
		used := rotate(g)
		used.Leeway = leeway
		g, err := s.Grants.RotateRefreshToken(ctx, used)
		must(t, err)
		used.By, used.Next, used.Salt = string(digest()), digest(), string(digest())
		return g, used
	}

	t.Run("the same successor, as often as it is asked for", func(t *testing.T) {
		g, used := rotated(t)
		for _, after := range []time.Duration{0, time.Second, leeway - 1} {
			used.Now, used.By = g.Rotated.Add(after), string(digest())
			got, err := s.Grants.RotateRefreshToken(ctx, used)
			is(t, "RotateRefreshToken", err, nil)
			same(t, "the grant, salt included", got, g)
			stored(t, s, "nothing written", g)
		}
		_, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		is(t, "the successor", err, nil)
	})

	for _, test := range []struct {
		name   string
		change func(g store.Grant, r *store.Rotation)
		want   error
	}{
		{"after the leeway", func(g store.Grant, r *store.Rotation) { r.Now = g.Rotated.Add(leeway) }, store.ErrReplayed},
		{"no leeway, by a clock that is behind", func(g store.Grant, r *store.Rotation) {
			r.Now, r.Leeway = g.Rotated.Add(-time.Second), 0
		}, store.ErrReplayed},
		{"no leeway", func(_ store.Grant, r *store.Rotation) { r.Leeway = 0 }, store.ErrReplayed},
		{"an older token", func(_ store.Grant, r *store.Rotation) { r.Presented = digest() }, store.ErrReplayed},
		{"another client", func(_ store.Grant, r *store.Rotation) { r.ClientID = "other" }, store.ErrOtherClient},
		{"another family", func(_ store.Grant, r *store.Rotation) { r.Family = digest() }, store.ErrNotFound},
		{"a scope beyond", func(_ store.Grant, r *store.Rotation) { r.Scope = oauth.Scope{"email"} }, store.ErrScope},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, used := rotated(t)
			used.Now = g.Rotated.Add(time.Second)
			test.change(g, &used)
			_, err := s.Grants.RotateRefreshToken(ctx, used)
			is(t, "RotateRefreshToken", err, test.want)
			if test.want == store.ErrReplayed {
				ended(t, s, "revoked", g, used.Now)
			} else {
				stored(t, s, "unchanged", g)
			}
		})
	}

	t.Run("once the successor is used", func(t *testing.T) {
		g, used := rotated(t)
		next := rotate(g)
		next.Now, next.Leeway = g.Rotated.Add(time.Second), leeway
		g, err := s.Grants.RotateRefreshToken(ctx, next)
		must(t, err)
		used.Now = g.Rotated
		_, err = s.Grants.RotateRefreshToken(ctx, used)
		is(t, "RotateRefreshToken", err, store.ErrReplayed)
		ended(t, s, "revoked", g, used.Now)
	})
}

func testReopenRotation(t *testing.T, s Stores) {
	ctx := t.Context()
	g := refreshing(t, s)
	mine := rotate(g)
	before := g
	g, err := s.Grants.RotateRefreshToken(ctx, mine)
	must(t, err)
	is(t, "by nobody", s.Grants.ReopenRotation(ctx, g.ID, ""), nil)
	stored(t, s, "by nobody", g)

	for range 2 {
		must(t, s.Grants.ReopenRotation(ctx, g.ID, mine.By))
		g.Reopened, g.By, g.Undone = true, "", [3]string{mine.By}
		stored(t, s, "reopened, once", g)
	}
	_, err = s.Grants.RotateRefreshToken(ctx, mine)
	is(t, "a late copy", err, store.ErrUndone)
	stored(t, s, "a late copy", g)

	// Whatever the leeway, the previous token yields the same successor.
	for _, by := range []string{string(digest()), string(digest())} {
		again := rotate(before)
		again.By, again.Now = by, g.Rotated.Add(30*time.Minute)
		got, err := s.Grants.RotateRefreshToken(ctx, again)
		is(t, "the previous token", err, nil)
		same(t, "the previous token", got, g)
		stored(t, s, "the previous token", g)
	}

	t.Run("until the successor is used", func(t *testing.T) {
		next, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		must(t, err)
		if next.Reopened {
			t.Error("the mark outlived the next rotation")
		}
		again := rotate(before)
		_, err = s.Grants.RotateRefreshToken(ctx, again)
		is(t, "the token before the previous one", err, store.ErrReplayed)
		ended(t, s, "the token before the previous one", next, again.Now)
	})

	t.Run("before the rotation is carried out", func(t *testing.T) {
		g := refreshing(t, s)
		mine, retry := rotate(g), rotate(g)
		for _, by := range []string{mine.By, retry.By, retry.By} {
			must(t, s.Grants.ReopenRotation(ctx, g.ID, by))
		}
		g.Undone = [3]string{retry.By, mine.By}
		stored(t, s, "marked, each once", g)
		for _, late := range []store.Rotation{mine, retry} {
			_, err := s.Grants.RotateRefreshToken(ctx, late)
			is(t, "a late copy", err, store.ErrUndone)
			stored(t, s, "a late copy", g)
		}
		last := rotate(g)
		rotated, err := s.Grants.RotateRefreshToken(ctx, last)
		is(t, "another attempt", err, nil)
		same(t, "another attempt", rotated, last.Apply(g))
		_, err = s.Grants.RotateRefreshToken(ctx, mine)
		is(t, "a late copy after another attempt", err, store.ErrUndone)
		stored(t, s, "a late copy after another attempt", rotated)
		again := rotate(g)
		_, err = s.Grants.RotateRefreshToken(ctx, again)
		is(t, "a second use", err, store.ErrReplayed)
		ended(t, s, "a second use", rotated, again.Now)
		is(t, "once revoked", s.Grants.ReopenRotation(ctx, g.ID, string(digest())), nil)
		ended(t, s, "once revoked", rotated, again.Now)
	})

	t.Run("of an attempt that was undone", func(t *testing.T) {
		for _, test := range []struct {
			name   string
			change func(*store.Rotation)
			want   error
		}{
			{"by another client", func(r *store.Rotation) { r.ClientID = "other" }, store.ErrOtherClient},
			{"of another family", func(r *store.Rotation) { r.Family = digest() }, store.ErrNotFound},
			{"with a scope beyond", func(r *store.Rotation) { r.Scope = oauth.Scope{"email"} }, store.ErrScope},
			{"expired", func(r *store.Rotation) { r.Now = g.End }, store.ErrUndone},
			{"with an older token", func(r *store.Rotation) { r.Presented = digest() }, store.ErrUndone},
		} {
			g := refreshing(t, s)
			late := rotate(g)
			must(t, s.Grants.ReopenRotation(ctx, g.ID, late.By))
			g.Undone = [3]string{late.By}
			test.change(&late)
			_, err := s.Grants.RotateRefreshToken(ctx, late)
			is(t, test.name, err, test.want)
			stored(t, s, test.name, g)
		}
	})

	t.Run("expired", func(t *testing.T) {
		g := refreshing(t, s)
		mine := rotate(g)
		rotated, err := s.Grants.RotateRefreshToken(ctx, mine)
		must(t, err)
		must(t, s.Grants.ReopenRotation(ctx, g.ID, mine.By))
		again := rotate(g)
		again.Now = rotated.IdleExpires
		_, err = s.Grants.RotateRefreshToken(ctx, again)
		is(t, "the previous token", err, store.ErrReplayed)
	})

	t.Run("an older token", func(t *testing.T) {
		g := refreshing(t, s)
		oldest := rotate(g)
		g, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		must(t, err)
		mine := rotate(g)
		g, err = s.Grants.RotateRefreshToken(ctx, mine)
		must(t, err)
		must(t, s.Grants.ReopenRotation(ctx, g.ID, mine.By))
		g.Reopened, g.By, g.Undone = true, "", [3]string{mine.By}
		_, err = s.Grants.RotateRefreshToken(ctx, oldest)
		is(t, "RotateRefreshToken", err, store.ErrReplayed)
		ended(t, s, "RotateRefreshToken", g, oldest.Now)
	})

	t.Run("revoked meanwhile", func(t *testing.T) {
		g := refreshing(t, s)
		mine := rotate(g)
		rotated, err := s.Grants.RotateRefreshToken(ctx, mine)
		must(t, err)
		again := rotate(g)
		_, err = s.Grants.RotateRefreshToken(ctx, again)
		is(t, "a replay", err, store.ErrReplayed)
		is(t, "ReopenRotation", s.Grants.ReopenRotation(ctx, g.ID, mine.By), nil)
		ended(t, s, "ReopenRotation", rotated, again.Now)
	})
}

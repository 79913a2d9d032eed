package storetest

import (
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func testSpendCode(t *testing.T, s Stores) {
	ctx := t.Context()

	accepted := []struct {
		name   string
		grant  func(*store.Grant)
		change func(*store.Spend)
	}{
		{"all as it was asked for", nil, nil},
		{"scope and audience narrowed", nil, func(s *store.Spend) {
			s.Scope, s.Audience = oauth.Scope{"read:x"}, []string{"https://other.example.com/"}
		}},
		{"a scope asked for and not granted", nil, func(s *store.Spend) { s.Scope = oauth.Scope{"write:x", "openid"} }},
		{"no redirect_uri where none was sent", func(g *store.Grant) { g.RedirectSent = false }, func(s *store.Spend) { s.RedirectURI = "" }},
		{"the redirect_uri where none was sent", func(g *store.Grant) { g.RedirectSent = false }, nil},
		{"no verifier where there was no challenge", func(g *store.Grant) { g.Challenge = "" }, nil},
		{"a proof by the code's key", func(g *store.Grant) { g.CodeKey = "key" }, func(s *store.Spend) { s.Key, s.Bind = "key", "key" }},
		{"a proof by any key where the code has none", nil, func(s *store.Spend) { s.Key, s.Bind = "key", store.AnyKey }},
		{"a bind that it was not written with", func(g *store.Grant) { g.RefreshKey = "key" }, nil},
		{"in the last millisecond", nil, func(s *store.Spend) { s.Now = s.Now.Add(59*time.Second + 999999*time.Nanosecond) }},
	}
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			g := unspent()
			if test.grant != nil {
				test.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			spend := spend(g)
			if test.change != nil {
				test.change(&spend)
			}
			got, err := s.Grants.SpendCode(ctx, spend)
			must(t, err)
			same(t, "returned", got, spend.Apply(g))
			stored(t, s, "stored", spend.Apply(g))
		})
	}

	refused := []struct {
		name   string
		grant  func(*store.Grant)
		change func(*store.Spend)
		want   error
	}{
		{"another grant", nil, func(s *store.Spend) { s.GrantID = string(digest()) }, store.ErrNotFound},
		{"a long id", nil, func(s *store.Spend) { s.GrantID = strings.Repeat("x", 5000) }, store.ErrNotFound},
		{"another client", nil, func(s *store.Spend) { s.ClientID = "other" }, store.ErrOtherClient},
		{"another redirect_uri", nil, func(s *store.Spend) { s.RedirectURI += "/" }, store.ErrRedirectURI},
		{"no redirect_uri though one was sent", nil, func(s *store.Spend) { s.RedirectURI = "" }, store.ErrRedirectURI},
		{"another redirect_uri where none was sent", func(g *store.Grant) { g.RedirectSent = false },
			func(s *store.Spend) { s.RedirectURI += "/" }, store.ErrRedirectURI},
		{"another verifier", nil, func(s *store.Spend) { s.Challenge = oauth.Challenge(digest()) }, store.ErrVerifier},
		{"no verifier", nil, func(s *store.Spend) { s.Challenge = "" }, store.ErrVerifier},
		{"a verifier where there was no challenge", func(g *store.Grant) { g.Challenge = "" },
			func(s *store.Spend) { s.Challenge = oauth.Challenge(digest()) }, store.ErrVerifier},
		{"a proof by another key", func(g *store.Grant) { g.CodeKey = "key" }, func(s *store.Spend) { s.Key = "other" }, store.ErrOtherKey},
		{"no proof though the code has a key", func(g *store.Grant) { g.CodeKey = "key" }, func(s *store.Spend) { s.Key = "" }, store.ErrOtherKey},
		{"any key though the code has one", func(g *store.Grant) { g.CodeKey = "key" }, func(s *store.Spend) { s.Key = store.AnyKey }, store.ErrOtherKey},
		{"a scope beyond", nil, func(s *store.Spend) { s.Scope = oauth.Scope{"openid", "email"} }, store.ErrScope},
		{"part of a scope value", nil, func(s *store.Spend) { s.Scope = oauth.Scope{"read:"} }, store.ErrScope},
		{"an audience beyond", nil, func(s *store.Spend) { s.Audience = []string{"https://third.example.com/"} }, store.ErrAudience},
		{"part of an audience", nil, func(s *store.Spend) { s.Audience = []string{"https://api.example.com"} }, store.ErrAudience},
		{"an audience where none was granted", func(g *store.Grant) { g.Audience = nil },
			func(s *store.Spend) { s.Audience = []string{"https://api.example.com/"} }, store.ErrAudience},
		{"revoked", func(g *store.Grant) { g.Revoked = g.Created }, nil, store.ErrRevoked},
		{"expired", nil, func(s *store.Spend) { s.Now = s.Now.Add(59*time.Second + time.Millisecond) }, store.ErrExpired},
		{"long expired", nil, func(s *store.Spend) { s.Now = s.Now.Add(time.Hour) }, store.ErrExpired},
	}
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			g := unspent()
			if test.grant != nil {
				test.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			wrong := spend(g)
			if test.change != nil {
				test.change(&wrong)
			}
			got, err := s.Grants.SpendCode(ctx, wrong)
			is(t, "SpendCode", err, test.want)
			same(t, "returned", got, store.Grant{})
			stored(t, s, "after the refusal", g)
			if !g.Revoked.IsZero() {
				return
			}
			// A wrong guess does not burn the code.
			_, err = s.Grants.SpendCode(ctx, spend(g))
			is(t, "the right use after it", err, nil)
		})
	}

	// Each wrong thing is said before any later one, and before the code is judged.
	t.Run("order", func(t *testing.T) {
		for _, state := range []struct {
			name  string
			grant func(*store.Grant)
			last  error
		}{
			{"revoked", func(g *store.Grant) { g.Revoked, g.Spent = g.Created, g.Created }, store.ErrRevoked},
			{"spent", func(g *store.Grant) { g.Spent, g.By = g.Created, "other" }, store.ErrReplayed},
			{"expired", nil, store.ErrExpired},
		} {
			g := unspent()
			g.CodeKey = "key"
			if state.grant != nil {
				state.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			wrong := spend(g)
			wrong.Now = g.CodeExpires
			wrong.ClientID, wrong.RedirectURI, wrong.Challenge, wrong.Key = "other", "", "", "other"
			wrong.Scope, wrong.Audience = oauth.Scope{"email"}, []string{"x"}
			for _, step := range []struct {
				want  error
				right func()
			}{
				{store.ErrOtherClient, func() { wrong.ClientID = g.ClientID }},
				{store.ErrRedirectURI, func() { wrong.RedirectURI = g.RedirectURI }},
				{store.ErrVerifier, func() { wrong.Challenge = g.Challenge }},
				{store.ErrOtherKey, func() { wrong.Key = g.CodeKey }},
				{store.ErrScope, func() { wrong.Scope = nil }},
				{store.ErrAudience, func() { wrong.Audience = nil }},
			} {
				_, err := s.Grants.SpendCode(ctx, wrong)
				is(t, state.name, err, step.want)
				stored(t, s, state.name, g)
				step.right()
			}
			_, err := s.Grants.SpendCode(ctx, wrong)
			is(t, state.name, err, state.last)
		}
	})

	t.Run("a second use revokes", func(t *testing.T) {
		for _, test := range []struct {
			name string
			at   func(g store.Grant) time.Time
		}{
			{"at once", func(g store.Grant) time.Time { return g.Spent }},
			{"after the code expired", func(g store.Grant) time.Time { return g.CodeExpires.Add(time.Minute) }},
			{"after the grant ended", func(g store.Grant) time.Time { return g.End.Add(time.Minute) }},
		} {
			g := refreshing(t, s)
			again := spend(g)
			again.Now = test.at(g)
			_, err := s.Grants.SpendCode(ctx, again)
			is(t, test.name, err, store.ErrReplayed)
			ended(t, s, test.name, g, again.Now)
			third := spend(g)
			_, err = s.Grants.SpendCode(ctx, third)
			is(t, "a third", err, store.ErrRevoked)
			_, err = s.Grants.RotateRefreshToken(ctx, rotate(g))
			is(t, "its refresh token", err, store.ErrRevoked)
			ended(t, s, "the first revocation stays", g, again.Now)
		}

		g := refreshing(t, s)
		g, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		must(t, err)
		again := spend(g)
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "after a rotation", err, store.ErrReplayed)
		ended(t, s, "after a rotation", g, again.Now)

		// By another client it is no second use: it proves nothing about the first.
		g = refreshing(t, s)
		again = spend(g)
		again.ClientID = "other"
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "by another client", err, store.ErrOtherClient)
		stored(t, s, "by another client", g)
	})

	t.Run("a lost answer", func(t *testing.T) {
		g := fresh(t, s)
		mine := spend(g)
		first, err := s.Grants.SpendCode(ctx, mine)
		must(t, err)
		late := mine
		late.Now = g.CodeExpires.Add(time.Minute)
		for _, spend := range []store.Spend{mine, late} {
			second, err := s.Grants.SpendCode(ctx, spend)
			is(t, "my own again", err, nil)
			same(t, "my own again", second, first)
		}
		stored(t, s, "my own again", first)
		mine.By = string(digest())
		_, err = s.Grants.SpendCode(ctx, mine)
		is(t, "another's", err, store.ErrReplayed)
	})
}

func testReopenCode(t *testing.T, s Stores) {
	ctx := t.Context()
	g := fresh(t, s)
	mine := spend(g)

	is(t, "by nobody", s.Grants.ReopenCode(ctx, g.ID, ""), nil)
	stored(t, s, "by nobody", g)

	spent, err := s.Grants.SpendCode(ctx, mine)
	must(t, err)
	is(t, "by nobody", s.Grants.ReopenCode(ctx, g.ID, ""), nil)
	stored(t, s, "by nobody", spent)
	is(t, "as a rotation", s.Grants.ReopenRotation(ctx, g.ID, mine.By), nil)
	stored(t, s, "as a rotation", spent)

	must(t, s.Grants.ReopenCode(ctx, g.ID, mine.By))
	undone := g
	undone.Undone = [3]string{mine.By}
	stored(t, s, "reopened", undone)
	is(t, "reopened again", s.Grants.ReopenCode(ctx, g.ID, mine.By), nil)
	stored(t, s, "reopened again", undone)

	// A late copy of the attempt must not spend what was given back.
	_, err = s.Grants.SpendCode(ctx, mine)
	is(t, "a late copy", err, store.ErrUndone)
	stored(t, s, "a late copy", undone)
	stale := rotate(spent)
	_, err = s.Grants.RotateRefreshToken(ctx, stale)
	is(t, "the refresh token of the attempt", err, store.ErrNotFound)
	stored(t, s, "the refresh token of the attempt", undone)

	next := spend(g)
	spent, err = s.Grants.SpendCode(ctx, next)
	is(t, "another attempt", err, nil)
	same(t, "another attempt", spent, next.Apply(undone))
	_, err = s.Grants.SpendCode(ctx, mine)
	is(t, "a late copy after another attempt", err, store.ErrUndone)
	stored(t, s, "a late copy after another attempt", spent)
	again := spend(g)
	_, err = s.Grants.SpendCode(ctx, again)
	is(t, "a second use", err, store.ErrReplayed)
	ended(t, s, "a second use", spent, again.Now)

	t.Run("before the spend is carried out", func(t *testing.T) {
		g := fresh(t, s)
		mine, retry := spend(g), spend(g)
		for range 2 {
			must(t, s.Grants.ReopenCode(ctx, g.ID, mine.By))
			g.Undone = [3]string{mine.By}
			stored(t, s, "marked, once", g)
		}
		_, err := s.Grants.SpendCode(ctx, mine)
		is(t, "a late copy", err, store.ErrUndone)
		stored(t, s, "a late copy", g)

		// The retry is undone too, and the late copies are kept out as before.
		_, err = s.Grants.SpendCode(ctx, retry)
		is(t, "the retry", err, nil)
		must(t, s.Grants.ReopenCode(ctx, g.ID, retry.By))
		g.Undone = [3]string{retry.By, mine.By}
		stored(t, s, "the retry, undone", g)
		for _, late := range []store.Spend{mine, retry} {
			_, err = s.Grants.SpendCode(ctx, late)
			is(t, "a late copy of either", err, store.ErrUndone)
			stored(t, s, "a late copy of either", g)
		}

		last := spend(g)
		spent, err := s.Grants.SpendCode(ctx, last)
		is(t, "another attempt", err, nil)
		same(t, "another attempt", spent, last.Apply(g))
		again := spend(g)
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "a second use", err, store.ErrReplayed)
		ended(t, s, "a second use", spent, again.Now)
		is(t, "once revoked", s.Grants.ReopenCode(ctx, g.ID, string(digest())), nil)
		ended(t, s, "once revoked", spent, again.Now)
	})

	t.Run("after another has spent it", func(t *testing.T) {
		g := fresh(t, s)
		mine, other := spend(g), spend(g)
		spent, err := s.Grants.SpendCode(ctx, other)
		must(t, err)
		must(t, s.Grants.ReopenCode(ctx, g.ID, mine.By))
		spent.Undone = [3]string{mine.By}
		stored(t, s, "what the other has stays", spent)
		_, err = s.Grants.SpendCode(ctx, mine)
		is(t, "a late copy", err, store.ErrUndone)
		stored(t, s, "a late copy", spent)
		must(t, s.Grants.ReopenCode(ctx, g.ID, other.By))
		_, err = s.Grants.SpendCode(ctx, mine)
		is(t, "a late copy, once the other has given it back", err, store.ErrUndone)
		_, err = s.Grants.SpendCode(ctx, spend(g))
		is(t, "a third", err, nil)
	})

	t.Run("the last three", func(t *testing.T) {
		g := fresh(t, s)
		spends := []store.Spend{spend(g), spend(g), spend(g), spend(g)}
		for _, spend := range spends {
			must(t, s.Grants.ReopenCode(ctx, g.ID, spend.By))
		}
		g.Undone = [3]string{spends[3].By, spends[2].By, spends[1].By}
		stored(t, s, "marked", g)
		for _, spend := range spends[1:] {
			_, err := s.Grants.SpendCode(ctx, spend)
			is(t, "one of the last three", err, store.ErrUndone)
		}
		_, err := s.Grants.SpendCode(ctx, spends[0])
		is(t, "one before", err, nil)
	})

	t.Run("what was not spent by a request", func(t *testing.T) {
		unspent, nobody := unspent(), unspent()
		unspent.By = "by"
		nobody.Spent = nobody.Created
		must(t, s.Codes.PutGrant(ctx, unspent))
		must(t, s.Codes.PutGrant(ctx, nobody))
		is(t, "unspent", s.Grants.ReopenCode(ctx, unspent.ID, "by"), nil)
		stored(t, s, "unspent", unspent)
		is(t, "by nobody", s.Grants.ReopenCode(ctx, nobody.ID, ""), nil)
		stored(t, s, "by nobody", nobody)
	})

	t.Run("expired meanwhile", func(t *testing.T) {
		g := fresh(t, s)
		mine := spend(g)
		_, err := s.Grants.SpendCode(ctx, mine)
		must(t, err)
		must(t, s.Grants.ReopenCode(ctx, g.ID, mine.By))
		late := spend(g)
		late.Now = g.CodeExpires
		_, err = s.Grants.SpendCode(ctx, late)
		is(t, "SpendCode", err, store.ErrExpired)
	})

	t.Run("revoked meanwhile", func(t *testing.T) {
		g := fresh(t, s)
		mine := spend(g)
		spent, err := s.Grants.SpendCode(ctx, mine)
		must(t, err)
		again := spend(g)
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "a replay", err, store.ErrReplayed)
		is(t, "ReopenCode", s.Grants.ReopenCode(ctx, g.ID, mine.By), nil)
		ended(t, s, "ReopenCode", spent, again.Now)
	})

	t.Run("after a rotation", func(t *testing.T) {
		g := refreshing(t, s)
		r := rotate(g)
		rotated, err := s.Grants.RotateRefreshToken(ctx, r)
		must(t, err)
		for _, by := range []string{g.By, r.By} {
			is(t, "ReopenCode", s.Grants.ReopenCode(ctx, g.ID, by), nil)
			stored(t, s, "ReopenCode", rotated)
		}
	})
}

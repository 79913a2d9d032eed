package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// unspent is a grant as /authorize writes it.
func unspent() store.Grant {
	now := now()
	return store.Grant{
		ID: string(digest()), ClientID: "demo", Subject: "ada",
		RedirectURI: "https://app.example.com/cb", RedirectSent: true,
		Challenge: oauth.Challenge(digest()), Nonce: "n-0S6_WzA2Mj",
		Scope: oauth.Scope{"openid", "read:x"}, Requested: oauth.Scope{"openid", "write:x", "read:x"},
		Audience: []string{"https://api.example.com/", "https://other.example.com/"},
		AuthTime: now.Add(-time.Minute + 5*time.Millisecond), SessionID: "sid",
		Claims:  map[string]any{"name": "Ada", "updated_at": 1.5e9, "https://example.com/roles": []any{"admin"}},
		Created: now, CodeExpires: now.Add(time.Minute + time.Millisecond),
		End: now.Add(24*time.Hour + 2*time.Millisecond), Kept: now.Add(25*time.Hour + 3*time.Millisecond),
	}
}

// spend is a right use of its code.
func spend(g store.Grant) store.Spend {
	return store.Spend{
		GrantID: g.ID, ClientID: g.ClientID, RedirectURI: g.RedirectURI, Challenge: g.Challenge,
		Now: g.Created.Add(time.Second), By: string(digest()), Family: digest(), Current: digest(), Idle: time.Hour,
	}
}

// rotate is a right use of the grant's current refresh token.
func rotate(g store.Grant) store.Rotation {
	return store.Rotation{
		GrantID: g.ID, ClientID: g.ClientID, Family: g.Family, Presented: g.Current, Next: digest(), Salt: string(digest()),
		Now: g.Created.Add(time.Minute + time.Duration(g.Generation)*time.Second), By: string(digest()), Idle: time.Hour,
	}
}

// fresh writes an unspent grant.
func fresh(t *testing.T, s Stores) store.Grant {
	t.Helper()
	g := unspent()
	must(t, s.Codes.PutGrant(t.Context(), g))
	return g
}

// refreshing writes a grant and spends its code.
func refreshing(t *testing.T, s Stores) store.Grant {
	t.Helper()
	g := fresh(t, s)
	g, err := s.Grants.SpendCode(t.Context(), spend(g))
	must(t, err)
	return g
}

// stored fails unless the grant is stored as it is here.
func stored(t *testing.T, s Stores, what string, want store.Grant) {
	t.Helper()
	got, err := s.Reader.Grant(t.Context(), want.ID)
	must(t, err)
	same(t, what, got, want)
}

// ended fails unless the grant is stored with this one difference: it is revoked.
func ended(t *testing.T, s Stores, what string, g store.Grant, at time.Time) {
	t.Helper()
	g.Revoked = at
	stored(t, s, what, g)
}

func testGrant(t *testing.T, s Stores) {
	ctx := t.Context()
	_, err := s.Reader.Grant(ctx, string(digest()))
	is(t, "a grant that nobody wrote", err, store.ErrNotFound)
	_, err = s.Reader.Grant(ctx, strings.Repeat("x", 5000))
	is(t, "a long id", err, store.ErrNotFound)

	g := fresh(t, s)
	stored(t, s, "as written", g)
	other := unspent()
	other.ID = g.ID
	is(t, "the same id again", s.Codes.PutGrant(ctx, other), store.ErrConflict)
	stored(t, s, "after the second write", g)

	bare := store.Grant{ID: string(digest()), CodeExpires: g.CodeExpires, Kept: g.Kept}
	must(t, s.Codes.PutGrant(ctx, bare))
	stored(t, s, "a bare one", bare)

	full := unspent()
	full.Spent, full.Revoked, full.By, full.Undone = full.Created, full.End, "by", "undone"
	full.Family, full.Current, full.Previous, full.Salt = digest(), digest(), digest(), "salt"
	full.Generation, full.Rotated, full.IdleExpires, full.Reopened = 1<<40, full.Created, full.End, true
	must(t, s.Codes.PutGrant(ctx, full))
	stored(t, s, "every field", full)

	endless := unspent()
	endless.Kept = time.Time{}
	is(t, "a grant that would stay for ever", s.Codes.PutGrant(ctx, endless), store.ErrNoEnd)
	endless = unspent()
	endless.CodeExpires = time.Time{}
	is(t, "a code that would stay for ever", s.Codes.PutGrant(ctx, endless), store.ErrNoEnd)
	_, err = s.Reader.Grant(ctx, endless.ID)
	is(t, "what was refused", err, store.ErrNotFound)
}

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

	many := make(oauth.Scope, 300)
	for i := range many {
		many[i] = fmt.Sprintf("read:%d", i)
	}
	t.Run("more scope values than one condition holds", func(t *testing.T) {
		g := unspent()
		g.Requested = many
		must(t, s.Codes.PutGrant(ctx, g))
		spend := spend(g)
		spend.Scope = append(many[1:300:300], "read:300")
		_, err := s.Grants.SpendCode(ctx, spend)
		is(t, "one too many", err, store.ErrScope)
		stored(t, s, "refused", g)
		spend.Scope = many
		got, err := s.Grants.SpendCode(ctx, spend)
		must(t, err)
		same(t, "allowed", got, spend.Apply(g))
		again := spend
		again.By = string(digest())
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "again", err, store.ErrReplayed)
		again.GrantID = string(digest())
		_, err = s.Grants.SpendCode(ctx, again)
		is(t, "of no grant", err, store.ErrNotFound)
		_, err = s.Reader.Grant(ctx, again.GrantID)
		is(t, "no grant, still", err, store.ErrNotFound)
	})

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
			if state.grant != nil {
				state.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			wrong := spend(g)
			wrong.Now = g.CodeExpires
			wrong.ClientID, wrong.RedirectURI, wrong.Challenge = "other", "", ""
			wrong.Scope, wrong.Audience = oauth.Scope{"email"}, []string{"x"}
			for _, step := range []struct {
				want  error
				right func()
			}{
				{store.ErrOtherClient, func() { wrong.ClientID = g.ClientID }},
				{store.ErrRedirectURI, func() { wrong.RedirectURI = g.RedirectURI }},
				{store.ErrVerifier, func() { wrong.Challenge = g.Challenge }},
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

	is(t, "before any spend", s.Grants.ReopenCode(ctx, g.ID, mine.By), nil)
	is(t, "by nobody", s.Grants.ReopenCode(ctx, g.ID, ""), nil)
	stored(t, s, "before any spend", g)

	spent, err := s.Grants.SpendCode(ctx, mine)
	must(t, err)
	for _, by := range []string{"other", ""} {
		is(t, "by another", s.Grants.ReopenCode(ctx, g.ID, by), nil)
		stored(t, s, "by another", spent)
	}
	is(t, "as a rotation", s.Grants.ReopenRotation(ctx, g.ID, mine.By), nil)
	stored(t, s, "as a rotation", spent)

	must(t, s.Grants.ReopenCode(ctx, g.ID, mine.By))
	undone := g
	undone.Undone = mine.By
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
	is(t, "a late copy after another attempt", err, store.ErrReplayed)

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
	is(t, "before any rotation", s.Grants.ReopenRotation(ctx, g.ID, mine.By), nil)
	stored(t, s, "before any rotation", g)
	g, err := s.Grants.RotateRefreshToken(ctx, mine)
	must(t, err)
	for _, by := range []string{"", "other", before.By} {
		is(t, "by another", s.Grants.ReopenRotation(ctx, g.ID, by), nil)
		stored(t, s, "by another", g)
	}

	must(t, s.Grants.ReopenRotation(ctx, g.ID, mine.By))
	g.Reopened, g.By = true, ""
	stored(t, s, "reopened", g)
	is(t, "reopened again", s.Grants.ReopenRotation(ctx, g.ID, mine.By), nil)

	// Whatever the leeway, the previous token yields the same successor.
	for _, by := range []string{mine.By, string(digest()), string(digest())} {
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
		g.Reopened, g.By = true, ""
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

// No moment makes an item: not of a grant that never was, nor of one that has
// gone since it was read.
func testNoZombies(t *testing.T, s Stores) {
	ctx, g := t.Context(), unspent()
	_, err := s.Grants.SpendCode(ctx, spend(g))
	is(t, "SpendCode", err, store.ErrNotFound)
	_, err = s.Grants.RotateRefreshToken(ctx, rotate(g))
	is(t, "RotateRefreshToken", err, store.ErrNotFound)
	is(t, "ReopenCode", s.Grants.ReopenCode(ctx, g.ID, "by"), nil)
	is(t, "ReopenRotation", s.Grants.ReopenRotation(ctx, g.ID, "by"), nil)
	_, err = s.Reader.Grant(ctx, g.ID)
	is(t, "Grant", err, store.ErrNotFound)

	session := digest()
	is(t, "RenewSession", s.Sessions.RenewSession(ctx, session, g.End), store.ErrNotFound)
	_, err = s.Sessions.Session(ctx, session, g.Created)
	is(t, "Session", err, store.ErrNotFound)

	// Whoever comes later finds the place free.
	is(t, "PutGrant", s.Codes.PutGrant(ctx, g), nil)
	is(t, "PutSession", s.Sessions.PutSession(ctx, store.Session{Digest: session, Expires: g.End, IdleExpires: g.End}), nil)
}

func testSpendRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := fresh(t, s)
		spends := make([]store.Spend, racers)
		for i := range spends {
			spends[i] = spend(g)
		}
		winner := onlyOne(t, race(func(i int) error {
			_, err := s.Grants.SpendCode(ctx, spends[i])
			return err
		}))
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		if got.Revoked.IsZero() {
			t.Error("the grant is not revoked")
		}
		want := spends[winner].Apply(g)
		want.Revoked = got.Revoked
		same(t, "the winner's grant", got, want)
	}
}

func testRotateRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := refreshing(t, s)
		rotations := make([]store.Rotation, racers)
		for i := range rotations {
			rotations[i] = rotate(g)
		}
		winner := onlyOne(t, race(func(i int) error {
			_, err := s.Grants.RotateRefreshToken(ctx, rotations[i])
			return err
		}))
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		if got.Revoked.IsZero() {
			t.Error("the grant is not revoked")
		}
		want := rotations[winner].Apply(g)
		want.Revoked = got.Revoked
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
		errs := race(func(i int) error {
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
		counts := count(t, errs, store.ErrReplayed, store.ErrRevoked, store.ErrBusy)
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
			GrantID: g.ID, ClientID: likely(random, g.ClientID, "other"),
			RedirectURI: likely(random, g.RedirectURI, "", "https://other.example.com/cb"),
			Challenge:   likely(random, g.Challenge, "", "other"),
			Scope:       subset(random, "openid", "a", "b", "c"), Audience: subset(random, "x", "y"),
			Now: g.Created.Add(instant(random)), By: by, Family: digest(), Current: digest(), Idle: time.Minute,
		}
		verdict := spend.Judge(g)
		got, err := s.Grants.SpendCode(ctx, spend)
		seen[outcome(verdict, spend.Done(g))]++
		judged(t, fmt.Sprintf("case %d: %+v of %+v", i, spend, g), s, g, got, err, verdict, spend.Done(g), spend.Now, spend.Apply)
	}
	everyOutcome(t, seen, store.ErrOtherClient, store.ErrRedirectURI, store.ErrVerifier, store.ErrScope, store.ErrAudience,
		store.ErrRevoked, store.ErrReplayed, store.ErrUndone, store.ErrExpired)
}

func testRotateEqualsJudge(t *testing.T, s Stores) {
	ctx, random := t.Context(), rand.New(rand.NewPCG(seed, 1))
	seen := map[string]int{}
	for i := range randomCases {
		g, by := randomGrant(random)
		must(t, s.Codes.PutGrant(ctx, g))
		r := store.Rotation{
			GrantID: g.ID, ClientID: likely(random, g.ClientID, "other"), Family: likely(random, g.Family, "", "other"),
			Presented: likely(random, g.Current, g.Previous, "older"), Next: digest(), Salt: "new salt",
			Scope: subset(random, "openid", "a", "b", "c"), Audience: subset(random, "x", "y"),
			Now: g.Created.Add(instant(random)), By: by, Idle: time.Minute,
			Leeway: likely(random, 0, time.Minute, time.Hour),
		}
		verdict := r.Judge(g)
		got, err := s.Grants.RotateRefreshToken(ctx, r)
		seen[outcome(verdict, r.Settled(g))]++
		judged(t, fmt.Sprintf("case %d: %+v of %+v", i, r, g), s, g, got, err, verdict, r.Settled(g), r.Now, r.Apply)
	}
	everyOutcome(t, seen, store.ErrOtherClient, store.ErrNotFound, store.ErrScope, store.ErrAudience,
		store.ErrRevoked, store.ErrReplayed, store.ErrExpired)
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
	maybe(4, func() { g.Undone = likely(r, by, "someone") })
	maybe(2, func() {
		g.Spent, g.By = g.Created.Add(instant(r)), likely(r, "someone", by)
	})
	maybe(8, func() { g.Revoked = g.Created.Add(instant(r)) })
	if maybe(2, func() { g.Family = "family" }); g.Family != "" || !g.Spent.IsZero() {
		g.Family, g.Current, g.IdleExpires = "family", "current", g.Created.Add(instant(r))
		maybe(2, func() {
			g.Previous, g.Salt, g.Generation, g.Rotated = "previous", "salt", r.Int64N(9)+1, g.Created.Add(instant(r))
			maybe(3, func() { g.Reopened, g.By = true, "" })
		})
	}
	g.End = g.Created.Add(2 * instant(r))
	return g, by
}

// instant is one of few, so that equal ones meet.
func instant(r *rand.Rand) time.Duration {
	return []time.Duration{time.Millisecond, time.Minute, time.Minute + time.Millisecond, time.Hour}[r.IntN(4)] +
		likely(r, 0, 1, time.Microsecond-1)
}

// likely is mostly the first.
func likely[T any](r *rand.Rand, first T, others ...T) T {
	if r.IntN(4) > 0 {
		return first
	}
	return others[r.IntN(len(others))]
}

// subset is mostly empty.
func subset(r *rand.Rand, values ...string) []string {
	var some []string
	for _, value := range values {
		if r.IntN(5) == 0 {
			some = append(some, value)
		}
	}
	return some
}

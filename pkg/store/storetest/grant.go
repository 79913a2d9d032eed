package storetest

import (
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
		ID: string(digest()), ClientID: "demo", Subject: "ada", Parent: string(digest()),
		RedirectURI: "https://app.example.com/cb", RedirectSent: true,
		Challenge: oauth.Challenge(digest()), Nonce: "n-0S6_WzA2Mj",
		Scope: oauth.Scope{"openid", "read:x"}, Requested: oauth.Scope{"openid", "write:x", "read:x"},
		Audience: []string{"https://api.example.com/", "https://other.example.com/"},
		AuthTime: now.Add(-time.Minute + 5*time.Millisecond), SessionID: "sid",
		Claims:       map[string]any{"name": "Ada", "updated_at": 1.5e9, "https://example.com/roles": []any{"admin"}},
		AccessClaims: map[string]any{"https://example.com/team": "a", "https://example.com/level": 3.0},
		Created:      now, CodeExpires: now.Add(time.Minute + time.Millisecond),
		End: now.Add(24*time.Hour + 2*time.Millisecond), Kept: now.Add(25*time.Hour + 3*time.Millisecond),
	}
}

// spend is a right use of its code.
func spend(g store.Grant) store.Spend {
	return store.Spend{
		GrantID: g.ID, ClientID: g.ClientID, RedirectURI: g.RedirectURI, Challenge: g.Challenge, Key: g.CodeKey,
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
	full.Spent, full.Revoked, full.By, full.Undone = full.Created, full.End, "by", [3]string{"undone", "earlier", "earliest"}
	full.Family, full.Current, full.Previous, full.Salt = digest(), digest(), digest(), "salt"
	full.Generation, full.Rotated, full.IdleExpires, full.Reopened = 1<<40, full.Created, full.End, true
	full.Online, full.CodeKey, full.RefreshKey = true, "a key", store.AnyKey
	full.Asked, full.Front = `{"userinfo":{"name":null}}`, true
	everyMember(t, full)
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

// A grant for which there was no code is born spent.
func testBornSpent(t *testing.T, s Stores) {
	ctx := t.Context()
	born := func() store.Grant {
		g := unspent()
		g.RedirectURI, g.RedirectSent, g.Challenge, g.Nonce, g.CodeExpires = "", false, "", "", time.Time{}
		g.Claims, g.AccessClaims = nil, nil
		g.Spent, g.By, g.Family, g.Current, g.IdleExpires = g.Created, string(digest()), digest(), digest(), g.Created.Add(time.Hour)
		g.RefreshKey = "key"
		return g
	}
	g := born()
	must(t, s.Codes.PutGrant(ctx, g))
	stored(t, s, "as written", g)

	r := rotate(g)
	_, err := s.Grants.RotateRefreshToken(ctx, r)
	is(t, "without the key", err, store.ErrOtherKey)
	stored(t, s, "without the key", g)
	r.Key = "key"
	got, err := s.Grants.RotateRefreshToken(ctx, r)
	is(t, "its refresh token", err, nil)
	same(t, "its refresh token", got, r.Apply(g))
	again := r
	again.By = string(digest())
	_, err = s.Grants.RotateRefreshToken(ctx, again)
	is(t, "its refresh token again", err, store.ErrReplayed)
	ended(t, s, "its refresh token again", r.Apply(g), again.Now)

	t.Run("given back", func(t *testing.T) {
		g := born()
		must(t, s.Codes.PutGrant(ctx, g))
		is(t, "by another", s.Grants.ReopenCode(ctx, g.ID, "another"), nil)
		r := rotate(g)
		r.Key = g.RefreshKey
		marked := g
		marked.Undone[0] = "another"
		stored(t, s, "by another", marked)
		must(t, s.Grants.ReopenCode(ctx, g.ID, g.By))
		undone, _ := store.UndoSpend(marked, g.By)
		stored(t, s, "by its own", undone)
		_, err := s.Grants.RotateRefreshToken(ctx, r)
		is(t, "its refresh token", err, store.ErrNotFound)
	})

	t.Run("never to go away", func(t *testing.T) {
		g := born()
		g.Kept = time.Time{}
		is(t, "PutGrant", s.Codes.PutGrant(ctx, g), store.ErrNoEnd)
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
	static := rotate(g)
	static.Static = true
	_, err = s.Grants.RotateRefreshToken(ctx, static)
	is(t, "RotateRefreshToken, static", err, store.ErrNotFound)
	is(t, "RevokeGrant", s.Revocations.RevokeGrant(ctx, revocation(g)), store.ErrNotFound)
	_, err = s.Reader.Grant(ctx, g.ID)
	is(t, "Grant", err, store.ErrNotFound)

	session := digest()
	is(t, "RenewSession", s.Sessions.RenewSession(ctx, session, g.End), store.ErrNotFound)
	is(t, "JoinSession", s.Joined.JoinSession(ctx, session, "demo", g.End), store.ErrNotFound)
	_, err = s.Sessions.Session(ctx, session, g.Created)
	is(t, "Session", err, store.ErrNotFound)

	// Whoever comes later finds the place free.
	is(t, "PutGrant", s.Codes.PutGrant(ctx, g), nil)
	is(t, "PutSession", s.Sessions.PutSession(ctx, store.Session{Digest: session, Expires: g.End, IdleExpires: g.End}), nil)
}

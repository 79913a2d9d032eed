package storetest

import (
	"strings"
	"testing"
	"time"

	"kmint/pkg/store"
)

// revocation is a right one of the grant.
func revocation(g store.Grant) store.Revocation {
	return store.Revocation{GrantID: g.ID, ClientID: g.ClientID, Family: g.Family, Now: g.Created.Add(5 * time.Minute)}
}

// Whoever has ever held a refresh token may end the grant (RFC 7009 §2.1), and
// nothing brings it back.
func testRevokeGrant(t *testing.T, s Stores) {
	ctx := t.Context()

	for _, test := range []struct {
		name   string
		change func(*store.Revocation)
		want   error
	}{
		{"another grant", func(r *store.Revocation) { r.GrantID = string(digest()) }, store.ErrNotFound},
		{"a long id", func(r *store.Revocation) { r.GrantID = strings.Repeat("x", 5000) }, store.ErrNotFound},
		{"another client", func(r *store.Revocation) { r.ClientID = "other" }, store.ErrOtherClient},
		{"another client and family", func(r *store.Revocation) { r.ClientID, r.Family = "other", digest() }, store.ErrOtherClient},
		{"another family", func(r *store.Revocation) { r.Family = digest() }, store.ErrNotFound},
		{"no family", func(r *store.Revocation) { r.Family = "" }, store.ErrNotFound},
	} {
		g := refreshing(t, s)
		wrong := revocation(g)
		test.change(&wrong)
		is(t, test.name, s.Revocations.RevokeGrant(ctx, wrong), test.want)
		stored(t, s, test.name, g)
		_, err := s.Grants.RotateRefreshToken(ctx, rotate(g))
		is(t, test.name+": the refresh token", err, nil)
	}

	t.Run("a code that nobody has spent", func(t *testing.T) {
		g := fresh(t, s)
		for _, r := range []store.Revocation{revocation(g), {GrantID: g.ID, ClientID: g.ClientID, Family: digest(), Now: g.Created}} {
			is(t, "RevokeGrant", s.Revocations.RevokeGrant(ctx, r), store.ErrNotFound)
			stored(t, s, "RevokeGrant", g)
		}
	})

	for _, test := range []struct {
		name  string
		grant func(*store.Grant)
		late  time.Duration
	}{
		{"as it is", nil, 0},
		{"bound to a key", func(g *store.Grant) { g.RefreshKey = "key" }, 0},
		{"expired", func(g *store.Grant) { g.IdleExpires = g.Created }, 0},
		{"long over", nil, 48 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := unspent()
			g = spend(g).Apply(g)
			if test.grant != nil {
				test.grant(&g)
			}
			must(t, s.Codes.PutGrant(ctx, g))
			r := revocation(g)
			r.Now = r.Now.Add(test.late)
			is(t, "RevokeGrant", s.Revocations.RevokeGrant(ctx, r), nil)
			ended(t, s, "RevokeGrant", g, r.Now)
			again := r
			again.Now = r.Now.Add(time.Hour)
			is(t, "again", s.Revocations.RevokeGrant(ctx, again), nil)
			ended(t, s, "the first time stays", g, r.Now)
		})
	}

	// It wins over everything that would be answered otherwise.
	t.Run("what was answered before", func(t *testing.T) {
		g := refreshing(t, s)
		previous := g
		mine := rotate(g)
		mine.Leeway = time.Hour
		g, err := s.Grants.RotateRefreshToken(ctx, mine)
		must(t, err)
		must(t, s.Grants.ReopenRotation(ctx, g.ID, mine.By))
		next := rotate(g)
		g, err = s.Grants.RotateRefreshToken(ctx, next)
		must(t, err)
		r := revocation(g)
		must(t, s.Revocations.RevokeGrant(ctx, r))
		for name, use := range map[string]store.Rotation{
			"the current token": rotate(g), "a late copy": next, "an undone copy": mine, "an old token": rotate(previous),
		} {
			use.Leeway = time.Hour
			_, err := s.Grants.RotateRefreshToken(ctx, use)
			is(t, name, err, store.ErrRevoked)
		}
		_, err = s.Grants.SpendCode(ctx, spend(g))
		is(t, "the code", err, store.ErrRevoked)
		is(t, "ReopenRotation", s.Grants.ReopenRotation(ctx, g.ID, next.By), nil)
		is(t, "ReopenCode", s.Grants.ReopenCode(ctx, g.ID, next.By), nil)
		ended(t, s, "all refused", g, r.Now)
	})

	t.Run("the attempt that spent the code", func(t *testing.T) {
		g := fresh(t, s)
		mine := spend(g)
		spent, err := s.Grants.SpendCode(ctx, mine)
		must(t, err)
		r := revocation(spent)
		must(t, s.Revocations.RevokeGrant(ctx, r))
		_, err = s.Grants.SpendCode(ctx, mine)
		is(t, "once more", err, store.ErrRevoked)
		is(t, "ReopenCode", s.Grants.ReopenCode(ctx, g.ID, mine.By), nil)
		ended(t, s, "given back", spent, r.Now)
	})
}

// Some refresh with leeway while one revokes: all that come later are refused.
func testRevokeRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for range raceRounds {
		g := refreshing(t, s)
		r := revocation(g)
		errs, _ := race(func(i int) error {
			if i%8 == 0 {
				return s.Revocations.RevokeGrant(ctx, r)
			}
			use := rotate(g)
			use.Leeway = time.Minute
			got, err := s.Grants.RotateRefreshToken(ctx, use)
			if err == nil && !got.Revoked.IsZero() {
				t.Error("a revoked grant was given")
			}
			return err
		})
		for i := 0; i < racers; i += 8 {
			is(t, "RevokeGrant", errs[i], nil)
		}
		count(t, errs, store.ErrRevoked)
		got, err := s.Reader.Grant(ctx, g.ID)
		must(t, err)
		same(t, "revoked", got.Revoked, r.Now)
		_, err = s.Grants.RotateRefreshToken(ctx, rotate(got))
		is(t, "after the race", err, store.ErrRevoked)
	}
}

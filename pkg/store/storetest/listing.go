package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// What is listed is the person's and alive; what is ended, over or another's is not.
func testListSessions(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	const ada = "ada"
	begin := func(subject string, change func(*store.Session)) store.Session {
		session := store.Session{
			Digest: digest(), ID: "sid", Subject: subject, AuthTime: now, Device: "Firefox, Linux",
			Expires: now.Add(2 * time.Hour), IdleExpires: now.Add(time.Hour), Clients: []string{"web"},
		}
		if change != nil {
			change(&session)
		}
		must(t, s.Sessions.PutSession(ctx, session))
		return session
	}
	list := func(subject string, at time.Time) []store.Session {
		t.Helper()
		page, next, err := s.Listings.SessionsOf(ctx, subject, at, "")
		must(t, err)
		if next != "" {
			t.Errorf("another page of %d", len(page))
		}
		return page
	}
	empty := func(what string, page []store.Session) {
		t.Helper()
		if len(page) > 0 {
			t.Errorf("%s: %+v", what, page)
		}
	}
	empty("before anybody came", list(ada, now))
	first := begin(ada, nil)
	for _, other := range []string{"ad", "ada2", "", "session#ada", "ada.web"} {
		begin(other, nil)
	}
	same(t, "the one", list(ada, now), []store.Session{first})
	empty("of nobody", list("eve", now))

	begin(ada, func(s *store.Session) { s.IdleExpires = now.Add(time.Minute) })
	if got := list(ada, now); len(got) != 2 {
		t.Errorf("%d sessions, want 2", len(got))
	}
	same(t, "one lies unused", list(ada, now.Add(time.Minute)), []store.Session{first})
	empty("the other as well", list(ada, first.IdleExpires))

	// What has happened to it since is seen: it is read itself.
	first.IdleExpires, first.Clients = now.Add(90*time.Minute), []string{"spa", "web"}
	must(t, s.Joined.JoinSession(ctx, first.Digest, "spa", first.IdleExpires))
	got := list(ada, now.Add(time.Hour))
	for i := range got {
		slices.Sort(got[i].Clients)
	}
	same(t, "used since", got, []store.Session{first})
	empty("over", list(ada, first.Expires))

	_, err := s.Joined.EndSession(ctx, first.Digest)
	must(t, err)
	empty("ended", list(ada, now.Add(time.Minute)))
	second := begin(ada, nil)
	must(t, s.Sessions.DeleteSession(ctx, second.Digest))
	empty("deleted", list(ada, now.Add(time.Minute)))
}

// Whoever has more than a page holds sees each once.
func testListPages(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	const many = 2*store.PageSize + 3
	var sessions, grants []string
	for range many {
		session := store.Session{Digest: digest(), Subject: "ada", Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour)}
		must(t, s.Sessions.PutSession(ctx, session))
		sessions = append(sessions, string(session.Digest))
		grants = append(grants, fresh(t, s).ID)
	}
	slices.Sort(sessions)
	slices.Sort(grants)
	for name, page := range map[string]func(from string) ([]string, string, error){
		"sessions": func(from string) ([]string, string, error) {
			page, next, err := s.Listings.SessionsOf(ctx, "ada", now, oauth.Digest(from))
			var digests []string
			for _, session := range page {
				digests = append(digests, string(session.Digest))
			}
			return digests, string(next), err
		},
		"grants": func(from string) ([]string, string, error) {
			return s.Listings.GrantsOf(ctx, "ada", "demo", from)
		},
	} {
		var seen []string
		from := ""
		for pages := 1; pages == 1 || from != ""; pages++ {
			found, next, err := page(from)
			must(t, err)
			if len(found) > store.PageSize || pages > 5 {
				t.Fatalf("%s: page %d has %d", name, pages, len(found))
			}
			seen, from = append(seen, found...), next
		}
		slices.Sort(seen)
		want := map[string][]string{"sessions": sessions, "grants": grants}[name]
		if !slices.Equal(seen, want) {
			t.Errorf("%s: %d seen, want the %d", name, len(seen), len(want))
		}
		// A beginning that nobody gave out begins somewhere, among the same.
		found, _, err := page(string(digest()))
		must(t, err)
		for _, one := range found {
			if !slices.Contains(want, one) {
				t.Errorf("%s: another's from a made-up beginning", name)
			}
		}
	}
}

// A person ends what a client holds for them, before its code is spent and after, and
// nothing else; what somebody has ended is not listed.
func testListGrants(t *testing.T, s Stores) {
	ctx := t.Context()
	grant := func(subject, client string) store.Grant {
		g := unspent()
		g.Subject, g.ClientID = subject, client
		must(t, s.Codes.PutGrant(ctx, g))
		return g
	}
	list := func(what, subject, client string, want ...string) {
		t.Helper()
		ids, next, err := s.Listings.GrantsOf(ctx, subject, client, "")
		must(t, err)
		slices.Sort(ids)
		slices.Sort(want)
		if !slices.Equal(ids, want) || next != "" {
			t.Errorf("%s: %q, %q, want %q", what, ids, next, want)
		}
	}
	code := grant("ada", "demo")
	offline := refreshing(t, s)
	list("both", "ada", "demo", code.ID, offline.ID)
	others := []store.Grant{grant("ada", "demo2"), grant("ada.demo", "x"), grant("ad", "ademo"), grant("", "demo"), grant("eve", "demo")}
	for _, g := range others {
		list(fmt.Sprintf("of %q and %q", g.Subject, g.ClientID), g.Subject, g.ClientID, g.ID)
	}
	list("both still", "ada", "demo", code.ID, offline.ID)
	next, err := s.Grants.RotateRefreshToken(ctx, rotate(offline))
	must(t, err)
	list("rotated", "ada", "demo", code.ID, offline.ID)

	for _, test := range []struct {
		name   string
		change func(*store.Revocation)
		want   error
	}{
		{"another person", func(r *store.Revocation) { r.Subject = "eve" }, store.ErrNotFound},
		{"another client", func(r *store.Revocation) { r.ClientID = "demo2" }, store.ErrOtherClient},
		{"another grant", func(r *store.Revocation) { r.GrantID = string(digest()) }, store.ErrNotFound},
		{"nobody", func(r *store.Revocation) { r.Subject = "" }, store.ErrNotFound},
	} {
		for _, g := range []store.Grant{code, next} {
			r := store.Revocation{GrantID: g.ID, ClientID: "demo", Subject: "ada", Now: g.Created}
			test.change(&r)
			is(t, test.name, s.Revocations.RevokeGrant(ctx, r), test.want)
			stored(t, s, test.name, g)
		}
	}
	list("nothing ended", "ada", "demo", code.ID, offline.ID)

	for _, g := range []store.Grant{code, next} {
		r := store.Revocation{GrantID: g.ID, ClientID: "demo", Subject: "ada", Now: g.Created.Add(time.Second)}
		is(t, "RevokeGrant", s.Revocations.RevokeGrant(ctx, r), nil)
		ended(t, s, "RevokeGrant", g, r.Now)
		again := r
		again.Now = r.Now.Add(time.Hour)
		is(t, "again", s.Revocations.RevokeGrant(ctx, again), nil)
		ended(t, s, "the first time stays", g, r.Now)
	}
	_, err = s.Grants.SpendCode(ctx, spend(code))
	is(t, "the code", err, store.ErrRevoked)
	_, err = s.Grants.RotateRefreshToken(ctx, rotate(next))
	is(t, "the refresh token", err, store.ErrRevoked)
	list("ended", "ada", "demo")

	// Whoever ends it, it is gone from the list: the client, and a replay.
	given, replayed := refreshing(t, s), refreshing(t, s)
	list("two more", "ada", "demo", given.ID, replayed.ID)
	must(t, s.Revocations.RevokeGrant(ctx, revocation(given)))
	_, err = s.Grants.SpendCode(ctx, spend(replayed))
	is(t, "the code again", err, store.ErrReplayed)
	list("given back and replayed", "ada", "demo")
	born := unspent()
	born.Revoked = born.Created
	must(t, s.Codes.PutGrant(ctx, born))
	list("written as revoked", "ada", "demo")
	for _, g := range others {
		list("of others", g.Subject, g.ClientID, g.ID)
	}
}

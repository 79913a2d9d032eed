package storetest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func testUse(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	mine := store.Use{Key: digest(), Until: now.Add(time.Minute), By: "me"}
	other := mine
	other.By = "another"
	take := func(what string, u store.Use, at time.Time, want error) {
		t.Helper()
		is(t, what, s.Uses.UseOnce(ctx, u, at), want)
	}
	take("the first use", mine, now, nil)
	take("another's", other, now, store.ErrUsed)
	take("my own again, the answer was lost", mine, now, nil)
	take("another's, still", other, now, store.ErrUsed)
	elsewhere := other
	elsewhere.Key = digest()
	take("something else", elsewhere, now, nil)

	is(t, "another's to forget", s.Uses.ForgetUse(ctx, other), nil)
	take("what another could not give back", other, now, store.ErrUsed)
	is(t, "mine to forget", s.Uses.ForgetUse(ctx, mine), nil)
	take("what I gave back", other, now, nil)
	take("mine, now that another has it", mine, now, store.ErrUsed)
	is(t, "mine to forget, late", s.Uses.ForgetUse(ctx, mine), nil)
	take("mine, still", mine, now, store.ErrUsed)
	nothing := store.Use{Key: digest(), By: "me"}
	is(t, "nothing to forget", s.Uses.ForgetUse(ctx, nothing), nil)

	later := mine
	later.By, later.Until = "later", now.Add(2*time.Minute)
	take("in the last millisecond", later, other.Until.Add(-1), store.ErrUsed)
	take("once its time is over", later, other.Until, nil)
	take("the time of the one before", mine, other.Until, store.ErrUsed)

	// What is finer than a millisecond does not end early.
	fine := store.Use{Key: digest(), Until: now.Add(time.Minute + time.Microsecond), By: "me"}
	take("a fine one", fine, now, nil)
	fine.By = "another"
	take("a fine one, just before its time is over", fine, now.Add(time.Minute), store.ErrUsed)
}

// Of those who use one jti one wins.
func testUseRace(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	for range raceRounds {
		key := digest()
		uses := make([]store.Use, racers)
		errs, _ := race(func(i int) error {
			// Whoever comes again after a busy store is a new request.
			uses[i] = store.Use{Key: key, Until: now.Add(time.Minute), By: string(digest())}
			return s.Uses.UseOnce(ctx, uses[i], now)
		})
		if n := count(t, errs, store.ErrUsed)[nil]; n != 1 {
			t.Fatalf("%d of %d used it", n, racers)
		}
		for i, err := range errs {
			want := store.ErrUsed
			if err == nil {
				want = nil
			}
			is(t, "again", s.Uses.UseOnce(ctx, uses[i], now), want)
		}
	}
}

func testRevokeToken(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	expires := now.Add(time.Hour)
	revoked := func(what, jti string, at time.Time, want bool) {
		t.Helper()
		got, err := s.Revoked.TokenRevoked(ctx, jti, at)
		is(t, what, err, nil)
		same(t, what, got, want)
	}
	revoked("before", "jti", now, false)
	for range 2 {
		must(t, s.Revocations.RevokeToken(ctx, "jti", expires))
		revoked("ended", "jti", now, true)
		revoked("ended, just before it expires", "jti", expires.Add(-1), true)
		revoked("once expired", "jti", expires, false)
	}
	for _, other := range []string{"", "JTI", "jti ", string(oauth.DigestOf("jti")), strings.Repeat("x", 5000)} {
		revoked("another", other, now, false)
	}
	long := strings.Repeat("x", 5000)
	must(t, s.Revocations.RevokeToken(ctx, long, expires))
	revoked("a long one", long, now, true)
	revoked("one that starts so", long[:4999], now, false)
}

func testOpaqueToken(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	token := store.OpaqueToken{Digest: digest(), Claims: `{"sub":"ada","n":1.50}`, Expires: now.Add(time.Hour + time.Millisecond)}
	_, err := s.Opaque.Token(ctx, token.Digest, now)
	is(t, "before", err, store.ErrNotFound)
	must(t, s.Opaque.PutToken(ctx, token))
	other := token
	other.Claims = `{"sub":"eve"}`
	is(t, "the same digest again", s.Opaque.PutToken(ctx, other), store.ErrConflict)
	for _, at := range []time.Time{now, token.Expires.Add(-1)} {
		got, err := s.Opaque.Token(ctx, token.Digest, at)
		is(t, "Token", err, nil)
		same(t, "Token", got, token)
	}
	got, err := s.Opaque.Token(ctx, token.Digest, token.Expires)
	is(t, "once expired", err, store.ErrNotFound)
	same(t, "once expired", got, store.OpaqueToken{})
	for _, other := range []oauth.Digest{digest(), "", oauth.Digest(strings.Repeat("x", 5000))} {
		_, err := s.Opaque.Token(ctx, other, now)
		is(t, "another", err, store.ErrNotFound)
	}
}

func testDocument(t *testing.T, s Stores) {
	ctx, now := t.Context(), now()
	const url = "https://client.example.com/jwks"
	kept := func(what, url string, want []byte, at time.Time, is bool) {
		t.Helper()
		body, fetched, found, err := s.Documents.Document(ctx, url)
		must(t, err)
		if !bytes.Equal(body, want) || !fetched.Equal(at) || found != is {
			t.Errorf("%s: %.40q of %s, %v; want %.40q of %s, %v", what, body, fetched, found, want, at, is)
		}
	}
	kept("before", url, nil, time.Time{}, false)
	for i, body := range [][]byte{[]byte("{\"keys\":[\"\x00\xff\"]}"), nil, bytes.Repeat([]byte{0xfe}, 64<<10), []byte("{}")} {
		at := now.Add(time.Duration(i) * time.Millisecond)
		must(t, s.Documents.PutDocument(ctx, url, body, at, now.Add(time.Hour)))
		kept("kept", url, body, at, true)
	}
	kept("another", url+"/", nil, time.Time{}, false)
	long := url + strings.Repeat("x", 5000)
	must(t, s.Documents.PutDocument(ctx, long, []byte("long"), now, now.Add(time.Hour)))
	kept("a long one", long, []byte("long"), now, true)
	kept("one that starts so", long[:5000], nil, time.Time{}, false)
}

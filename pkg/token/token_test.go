package token_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

const issuer = "https://auth.example.com/"

// server answers with the one issuer.
type server struct{}

func (server) Issuer(context.Context) (string, error) { return issuer, nil }

// signer is a key in memory that counts, and fails when told to.
type signer struct {
	private *rsa.PrivateKey
	signed  atomic.Int64
	err     error
}

func newSigner(t *testing.T) *signer {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{private: private}
}

func (s *signer) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	id, err := jwt.Thumbprint(&s.private.PublicKey)
	return jwt.Key{ID: id, Algorithm: jwt.RS256, Public: &s.private.PublicKey}, err
}

func (s *signer) Sign(_ context.Context, _ jwt.Key, digest []byte) ([]byte, error) {
	s.signed.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	return s.private.Sign(rand.Reader, digest, crypto.SHA256)
}

func (s *signer) Keys(ctx context.Context) ([]jwt.Key, error) {
	key, err := s.SigningKey(ctx, jwt.Choice{})
	return []jwt.Key{key}, err
}

var now = time.Unix(1_700_000_000, 0)

func person(claims map[string]any, err error) *token.Person {
	return &token.Person{
		AuthTime: now.Add(-time.Minute), Nonce: "n", SessionID: "s",
		Facts: func(context.Context) (token.Facts, error) { return token.Facts{IDToken: claims}, err },
	}
}

func TestIssueForAClient(t *testing.T) {
	s := newSigner(t)
	i := token.Issuer{Issuers: server{}, Signer: s, Now: func() time.Time { return now }}
	response, err := i.Issue(t.Context(), token.Authorization{
		ClientID: "c", Subject: "c", Scope: oauth.Scope{"read"}, Audience: []string{"https://api/"}, Format: token.Format{Lifetime: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	if response.IDToken != "" || response.ExpiresIn != 3600 || response.TokenType != "Bearer" || response.Scope != "read" || s.signed.Load() != 1 {
		t.Errorf("%+v after %d signatures", response, s.signed.Load())
	}
	var access token.AccessToken
	want := jwt.Expected{Type: jwt.TypAccessToken, Issuer: issuer, Audience: "https://api/", Now: now}
	if err := jwt.Verify(t.Context(), s, response.AccessToken, want, &access); err != nil {
		t.Fatal(err)
	}
	if access.Subject != "c" || access.Expiry != now.Add(time.Hour).Unix() || access.IssuedAt != now.Unix() || access.ID == "" || access.AuthTime != 0 {
		t.Errorf("%+v", access)
	}
	// The twins: each thing that Verify compares, changed.
	for name, other := range map[string]jwt.Expected{
		"as an ID token":       {Type: jwt.TypIDToken, Issuer: issuer, Audience: "https://api/", Now: now},
		"of another issuer":    {Type: jwt.TypAccessToken, Issuer: "https://other/", Audience: "https://api/", Now: now},
		"for another audience": {Type: jwt.TypAccessToken, Issuer: issuer, Audience: issuer + "userinfo", Now: now},
		"an hour later":        {Type: jwt.TypAccessToken, Issuer: issuer, Audience: "https://api/", Now: now.Add(time.Hour)},
	} {
		if err := jwt.Verify(t.Context(), s, response.AccessToken, other, &access); err == nil {
			t.Errorf("verified %s", name)
		}
	}
	if err := jwt.Verify(t.Context(), newSigner(t), response.AccessToken, want, &access); err == nil {
		t.Error("verified under another key")
	}
}

func TestIssueForAPerson(t *testing.T) {
	s := newSigner(t)
	i := token.Issuer{Issuers: server{}, Signer: s, Now: func() time.Time { return now }}
	a := token.Authorization{
		GrantID: "g", ClientID: "c", Subject: "u", Scope: oauth.Scope{"openid", "email"}, Audience: []string{"https://api/"}, Format: token.Format{Lifetime: time.Hour},
		// A profile can never speak for the protocol.
		Person: person(map[string]any{"email": "u@example.com", "sub": "forged", "iss": "forged", "aud": "forged", "exp": 1}, nil),
	}
	response, err := i.Issue(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var access token.AccessToken
	if err := jwt.Verify(t.Context(), s, response.AccessToken, jwt.Expected{Type: jwt.TypAccessToken, Issuer: issuer, Audience: issuer + "userinfo", Now: now}, &access); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(access.Audience, []string{"https://api/", issuer + "userinfo"}) || access.GrantID != "g" || access.AuthTime != now.Add(-time.Minute).Unix() {
		t.Errorf("%+v", access)
	}
	var id map[string]any
	if err := jwt.Verify(t.Context(), s, response.IDToken, jwt.Expected{Type: jwt.TypIDToken, Issuer: issuer, Audience: "c", Now: now}, &id); err != nil {
		t.Fatal(err)
	}
	if id["sub"] != "u" || id["email"] != "u@example.com" || id["nonce"] != "n" || id["sid"] != "s" || s.signed.Load() != 2 {
		t.Errorf("%v after %d signatures", id, s.signed.Load())
	}
	if len(a.Audience) != 1 {
		t.Error("the authorization was changed")
	}
}

func TestWithoutOpenIDThereIsNoIDToken(t *testing.T) {
	s := newSigner(t)
	i := token.Issuer{Issuers: server{}, Signer: s, Now: func() time.Time { return now }}
	a := token.Authorization{ClientID: "c", Subject: "u", Scope: oauth.Scope{"read"}, Audience: []string{"https://api/"}, Person: person(nil, nil)}
	response, err := i.Issue(t.Context(), a)
	if err != nil || response.IDToken != "" {
		t.Errorf("%+v, %v", response, err)
	}
	// One who has gone gets nothing, ID token or not.
	a.Person = person(nil, oauth.InvalidGrant.Errorf("gone"))
	if response, err = i.Issue(t.Context(), a); err == nil || response.AccessToken != "" {
		t.Errorf("%+v, %v", response, err)
	}
}

func TestAFailedSignatureYieldsNothing(t *testing.T) {
	s := newSigner(t)
	s.err = errors.New("throttled")
	i := token.Issuer{Issuers: server{}, Signer: s, Now: func() time.Time { return now }}
	a := token.Authorization{ClientID: "c", Subject: "u", Scope: oauth.Scope{"openid"}, Person: person(nil, nil)}
	if response, err := i.Issue(t.Context(), a); err == nil || response != (oauth.TokenResponse{}) {
		t.Errorf("%+v, %v", response, err)
	}
}

func TestUserClaims(t *testing.T) {
	u := store.User{
		Subject: "u",
		Profile: map[string]any{"name": "N", "email": "e@example.com", "email_verified": true, "phone_number": "+1", "address": map[string]any{"country": "CH"}},
		Claims:  map[string]any{"https://example.com/tier": "gold"},
	}
	for scope, want := range map[string][]string{
		"openid":                        {"https://example.com/tier"},
		"openid profile":                {"https://example.com/tier", "name"},
		"openid email":                  {"email", "email_verified", "https://example.com/tier"},
		"openid phone address":          {"address", "https://example.com/tier", "phone_number"},
		"profile email":                 nil, // without openid there is no person to speak of
		"openid unknown offline_access": {"https://example.com/tier"},
	} {
		asked, err := oauth.ParseScope(scope)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for name := range token.UserClaims(u, asked) {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", scope, got, want)
		}
	}
}

// Package token answers: what does an authorization become?
//
// The Issuer signs what an Authorization allows: an access token (RFC 9068) and,
// with openid, an ID token (OpenID Connect Core 1.0 §2). Nothing else in kmint
// mints. It keeps nothing and decides nothing: whoever made the Authorization
// has spent what had to be spent.
package token

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// An Authorization is what every grant yields: who may do what, where, for how
// long.
type Authorization struct {
	// GrantID names the grant the tokens can be revoked by, "" for none.
	GrantID  string
	ClientID string
	// Subject is the person, or the client itself.
	Subject string
	Scope   oauth.Scope
	// Audience lists the APIs; the userinfo endpoint comes by openid.
	Audience []string
	// Lifetime is the access token's.
	Lifetime time.Duration
	// Person is nil where the client acts in its own name.
	Person *Person
}

// A Person is what an ID token says of a login.
type Person struct {
	AuthTime  time.Time
	Nonce     string
	SessionID string
	// Claims returns what the token shows of the person, in wire form, sub left
	// out. It may read a store; the access token is signed meanwhile.
	Claims func(ctx context.Context) (map[string]any, error)
}

// An Issuer signs tokens.
type Issuer struct {
	// Issuers knows the iss.
	Issuers store.Issuers
	Signer  jwt.Signer
	Now     func() time.Time
}

// Issue signs the access token and, with openid, the ID token, side by side.
// The optional at_hash is left out, so neither has to wait for the other.
func (i Issuer) Issue(ctx context.Context, a Authorization) (oauth.TokenResponse, error) {
	iss, err := i.Issuers.Issuer(ctx)
	if err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("token: issuer: %w", err)
	}
	now := i.Now()
	response := oauth.TokenResponse{
		TokenType: oauth.Bearer,
		ExpiresIn: int64(a.Lifetime / time.Second),
		Scope:     a.Scope.String(),
	}
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		response.AccessToken, err = jwt.Sign(ctx, i.Signer, jwt.TypAccessToken, accessToken(iss, a, now))
		return err
	})
	if a.Person != nil {
		// The person is looked at even where no ID token is due: one who has gone
		// gets nothing.
		work.Go(func() error {
			claims, err := a.Person.Claims(ctx)
			if err != nil || !a.Scope.Has(oauth.OpenID) {
				return err
			}
			response.IDToken, err = jwt.Sign(ctx, i.Signer, jwt.TypIDToken, idToken(iss, a, claims, now))
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return oauth.TokenResponse{}, err
	}
	return response, nil
}

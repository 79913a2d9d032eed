// Package token answers: what does an authorization become?
//
// The Issuer signs what an Authorization allows: an access token (RFC 9068, or in
// another dialect) and, with openid, an ID token (OpenID Connect Core 1.0 §2).
// Nothing else in kmint mints. It keeps nothing, save what an opaque token would
// say, and decides nothing: whoever made the Authorization has spent what had to be
// spent. The Reader is the way back, and the only one: what tells an access token
// from an ID token is written here, beside what makes them.
package token

import (
	"context"
	"errors"
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
	// GrantType is the grant_type of the request.
	GrantType string
	// Subject is the person, or the client itself.
	Subject string
	Scope   oauth.Scope
	// Audience lists the APIs; the userinfo endpoint comes by openid.
	Audience []string
	// Key is the thumbprint of the key that the access token is bound to (RFC 9449
	// §6), "" for a bearer token.
	Key string
	// Actor is the act claim (RFC 8693 §4.1), nil for none.
	Actor map[string]any
	// Claims are the owner's own claims in the access token that no person has to
	// be read for.
	Claims map[string]any
	// NotAfter ends every token, however long such a token lives otherwise; zero for
	// no such end.
	NotAfter time.Time
	// Person is nil where nobody has logged in.
	Person *Person
	// Only is the one type of token to mint (RFC 8693 §3), "" for the access token
	// and, with openid, the ID token.
	Only string
	// Format is what its APIs say of the access token.
	Format Format
	// IDTokenAlgorithm is the JWS alg of the ID token, "" for RS256.
	IDTokenAlgorithm string
	// Front says that the tokens leave by the authorization endpoint, so that the ID
	// token holds the hash of what leaves beside it: of the access token, and of Code,
	// "" for none.
	Front bool
	Code  oauth.Secret
}

// A Format is what an access token looks like, and how long it lives.
type Format struct {
	// Dialect is one of package store's, "" for RFC 9068.
	Dialect  string
	Key      jwt.Choice
	Lifetime time.Duration
}

// A Person is what tokens say of a login.
type Person struct {
	AuthTime time.Time
	Nonce    string
	// SessionID is the sid. Online says that the tokens end with the session.
	SessionID string
	Online    bool
	// Asked is the claims parameter of the authorization request, "" for none.
	Asked string
	// Facts returns what the tokens show of the person. It may read a store; the
	// access token is signed meanwhile, unless it Waits for what it is to show.
	Facts func(ctx context.Context) (Facts, error)
	Waits bool
}

// Facts are claims about a person, in wire form, sub left out.
type Facts struct {
	IDToken     map[string]any
	AccessToken map[string]any
}

// An Issuer signs tokens.
type Issuer struct {
	// Issuers knows the iss.
	Issuers store.Issuers
	Signer  jwt.Signer
	// Opaque keeps the tokens that say nothing themselves.
	Opaque store.OpaqueWriter
	Now    func() time.Time
}

// Issue mints the access token and, with openid, the ID token, side by side. The
// optional at_hash is left out, so neither has to wait for the other; it is not
// optional in Front, where the ID token comes second. Where Only
// one is wanted, it is the access_token of the response, whatever its type (RFC
// 8693 §2.2.1); a refresh token is the caller's to add.
func (i Issuer) Issue(ctx context.Context, a Authorization) (oauth.TokenResponse, error) {
	iss, err := i.Issuers.Issuer(ctx)
	if err != nil {
		return oauth.TokenResponse{}, fmt.Errorf("token: issuer: %w", err)
	}
	if a.Only == oauth.IDTokenType && a.Person == nil {
		return oauth.TokenResponse{}, oauth.InvalidRequest.Errorf("Nobody has logged in whom an ID token could speak of.")
	}
	now := i.Now()
	var accessToken, idToken string
	signed := make(chan struct{})
	access := func(ctx context.Context, facts Facts) error {
		if !a.wantsAccess() {
			return nil
		}
		custom, err := bounded(a.Claims, facts.AccessToken)
		if err == nil {
			accessToken, err = i.access(ctx, iss, a, custom, now)
		}
		if err == nil {
			close(signed)
		}
		return err
	}
	id := func(ctx context.Context, facts Facts) error {
		if !a.wantsID() {
			return nil
		}
		person, err := visible(facts.IDToken, a.Scope, a.Person.Asked)
		if err != nil {
			return err
		}
		var beside string
		if a.Front && a.wantsAccess() {
			select {
			case <-signed:
				beside = accessToken
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		idToken, err = i.id(ctx, iss, a, person, beside, now)
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	waits := a.Person != nil && a.Person.Waits
	if !waits {
		work.Go(func() error { return access(ctx, Facts{}) })
	}
	if a.Person != nil {
		// The person is looked at even where nothing is said of them: for one who has
		// gone there is nothing.
		work.Go(func() error {
			facts, err := a.Person.Facts(ctx)
			if err != nil {
				return err
			}
			if waits {
				work.Go(func() error { return access(ctx, facts) })
			}
			return id(ctx, facts)
		})
	}
	if err := work.Wait(); err != nil {
		// A nonce or a scope may be the reason, which the client has chosen.
		if errors.Is(err, jwt.ErrTooLong) {
			err = oauth.InvalidRequest.Errorf("The token would be longer than its algorithm can sign.").Because(err)
		}
		return oauth.TokenResponse{}, err
	}
	return a.response(accessToken, idToken, now), nil
}

// lifetime is the whole seconds that a token of that lifetime has.
func (a Authorization) lifetime(of time.Duration, now time.Time) time.Duration {
	if !a.NotAfter.IsZero() {
		of = min(of, a.NotAfter.Sub(now))
	}
	return of.Truncate(time.Second)
}

func (a Authorization) wantsAccess() bool {
	return a.Only == "" || a.Only == oauth.AccessTokenType || a.Only == oauth.JWTType
}

func (a Authorization) wantsID() bool {
	return a.Person != nil && (a.Only == "" && a.Scope.Has(oauth.OpenID) || a.Only == oauth.IDTokenType)
}

func (a Authorization) response(access, id string, now time.Time) oauth.TokenResponse {
	response := oauth.TokenResponse{
		AccessToken: access,
		TokenType:   oauth.Bearer,
		ExpiresIn:   int64(a.lifetime(a.Format.Lifetime, now) / time.Second),
		IDToken:     id,
		Scope:       a.Scope.String(),
	}
	switch {
	case a.Only == oauth.IDTokenType:
		response.AccessToken, response.IDToken = id, ""
		response.TokenType, response.ExpiresIn = oauth.NA, int64(a.lifetime(IDTokenLifetime, now)/time.Second)
	case !a.wantsAccess():
		response.TokenType, response.ExpiresIn = oauth.NA, 0
	case a.Key != "":
		response.TokenType = oauth.DPoP
	}
	return response
}

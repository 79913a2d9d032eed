// The refresh token grant (RFC 6749 §6, RFC 9700 §4.14.2).

package grant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// RefreshToken serves refresh_token. A use rotates the token, but for clients that
// policy lets keep theirs; a second use of an old one shows that two hold it, and
// ends the grant.
type RefreshToken struct {
	Grants store.Grants
	// Reads finds the grant that an exchange made another of, and Clients whose that is.
	Reads   store.GrantReader
	Clients store.Clients
	Users   store.Users
	// Sessions are those that online grants end with.
	Sessions store.SessionReader
	Now      func() time.Time
}

var _ Grant = RefreshToken{}

// Spends is true.
func (RefreshToken) Spends() bool { return true }

// Authorize rotates the token. The person is read while the access token is
// signed: what an ID token says is fresh, and one who has gone gets nothing.
func (g RefreshToken) Authorize(ctx context.Context, r Request) (Result, error) {
	if r.Get("refresh_token") == "" {
		return Result{}, oauth.InvalidRequest.Errorf("The refresh_token is missing.")
	}
	asked, err := oauth.ParseScope(r.Get("scope"))
	if err != nil {
		return Result{}, err
	}
	presented, ok := oauth.ParseRefreshHandle(r.Get("refresh_token"))
	if !ok {
		return Result{}, refreshRefused(errors.New("the refresh token is malformed"))
	}
	web.Annotate(ctx, slog.String("grant", presented.GrantID))
	by, salt := oauth.NewID(), oauth.NewID()
	successor, err := presented.Successor(salt)
	if err != nil {
		return Result{}, err
	}
	grant, err := g.Grants.RotateRefreshToken(ctx, store.Rotation{
		GrantID:   presented.GrantID,
		ClientID:  r.Client.ID,
		Family:    presented.Family.Digest(),
		Presented: presented.Rotating.Digest(),
		Next:      successor.Rotating.Digest(),
		Salt:      salt,
		Static:    !policy.Rotates(r.Client),
		Key:       r.Key,
		Bind:      bind(r),
		Scope:     asked,
		Audience:  r.Audience,
		Now:       g.Now(),
		By:        by,
		Idle:      time.Duration(r.Client.Refresh.IdleLifetime) * time.Second,
		Leeway:    time.Duration(r.Client.Refresh.Leeway) * time.Second,
	})
	if err != nil {
		if errors.Is(err, store.ErrScope) || errors.Is(err, store.ErrAudience) {
			return Result{}, beyondGrant(err)
		}
		if errors.Is(err, store.ErrOtherKey) {
			return Result{}, oauth.InvalidDPoPProof.Errorf("The refresh token is bound to another key.").Because(err)
		}
		if refusal(err) {
			return Result{}, refreshRefused(err)
		}
		return Result{}, err
	}
	// The store may have kept the token itself, or the successor of an earlier attempt.
	if successor = presented; !grant.Current.Equal(presented.Rotating.Digest()) {
		if successor, err = presented.Successor(grant.Salt); err != nil {
			return Result{}, err
		}
	}
	result := Result{
		Authorization: authorization(grant, asked, r.Audience),
		RefreshToken:  successor.Token(),
	}
	// The same successor once more is no rotation of this request's.
	if grant.By == by {
		result.Undo = func(ctx context.Context) error { return g.Grants.ReopenRotation(ctx, grant.ID, by) }
	}
	// OpenID Connect Core 1.0 §12.2: "it SHOULD NOT have a nonce Claim".
	result.Authorization.Person.Nonce = ""
	result.Authorization.Person.Facts = g.facts(grant, r, result.Authorization.Scope)
	result.Authorization.Person.Waits = token.Waits(r.Settings.Claims)
	return result, nil
}

// facts reads the person, the session of an online grant, and the grant that this one
// was made of by exchange, side by side.
func (g RefreshToken) facts(grant store.Grant, r Request, scope oauth.Scope) func(context.Context) (token.Facts, error) {
	return func(ctx context.Context) (token.Facts, error) {
		var user store.User
		work, ctx := errgroup.WithContext(ctx)
		work.Go(func() (err error) { user, err = g.Users.User(ctx, grant.Subject); return err })
		if grant.Online {
			work.Go(func() error {
				_, err := g.Sessions.Session(ctx, oauth.Digest(grant.SessionID), g.Now())
				return err
			})
		}
		if grant.Parent != "" {
			work.Go(func() error { return g.parent(ctx, grant, r) })
		}
		switch err := work.Wait(); {
		case errors.Is(err, store.ErrNotFound):
			return token.Facts{}, refreshRefused(errors.New("the user is gone, or the session has ended"))
		case err != nil:
			return token.Facts{}, fmt.Errorf("grant: user: %w", err)
		case user.Blocked:
			return token.Facts{}, refreshRefused(errors.New("the user is blocked")).Named(oauth.CaseBlocked)
		case user.Ended(grant.AuthTime):
			return token.Facts{}, refreshRefused(errors.New("the login was ended"))
		}
		request, err := token.ParseClaimsRequest(grant.Asked)
		if err != nil {
			return token.Facts{}, fmt.Errorf("grant: %w", err)
		}
		facts := token.FactsOf(user, r.Client, r.Settings.Claims, scope)
		facts.IDToken = request.IDTokenClaims(user, facts.IDToken)
		return facts, nil
	}
}

// parent looks at the grant that this one was made of, whose client is not the one
// that refreshes where an API exchanged the token that it was called with.
func (g RefreshToken) parent(ctx context.Context, grant store.Grant, r Request) error {
	parent, err := g.Reads.Grant(ctx, grant.Parent)
	var client store.Client
	if err == nil {
		client, err = g.Clients.Client(ctx, parent.ClientID)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refreshRefused(errors.New("the grant before, or its client, is gone"))
	case err != nil:
		return fmt.Errorf("grant: the grant before: %w", err)
	case !parent.Revoked.IsZero():
		return refreshRefused(errors.New("the grant before is revoked"))
	case policy.LoginEnded(client, r.Settings, parent.AuthTime):
		return refreshRefused(errors.New("the client of the grant before has ended the login"))
	default:
		return nil
	}
}

// refreshRefused says the same of every token. auth0-spa-js looks for the words
// "invalid refresh token" before it falls back to a silent login.
func refreshRefused(cause error) *oauth.Error {
	return oauth.InvalidGrant.Errorf("Unknown or invalid refresh token.").Named(oauth.CaseRefreshToken).Because(cause)
}

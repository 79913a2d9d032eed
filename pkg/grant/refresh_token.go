// The refresh token grant (RFC 6749 §6, RFC 9700 §4.14.2).

package grant

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// RefreshToken serves refresh_token. Every use rotates the token; a second use
// of an old one shows that two hold it, and ends the grant.
type RefreshToken struct {
	Grants store.Grants
	Users  store.Users
	Now    func() time.Time
}

var _ Grant = RefreshToken{}

// Authorize rotates the token. The person is read while the access token is
// signed: what an ID token says is fresh, and one who has gone gets nothing.
func (g RefreshToken) Authorize(ctx context.Context, client store.Client, r oauth.Request) (Result, error) {
	if r.Get("refresh_token") == "" {
		return Result{}, oauth.InvalidRequest.Errorf("The refresh_token is missing.")
	}
	asked, err := oauth.ParseScope(r.Get("scope"))
	if err != nil {
		return Result{}, err
	}
	presented, ok := parseRefreshToken(r.Get("refresh_token"))
	if !ok {
		return Result{}, refreshRefused(errors.New("the refresh token is malformed"))
	}
	web.Annotate(ctx, slog.String("grant", presented.grantID))
	by, salt := oauth.NewID(), oauth.NewID()
	successor, err := presented.successor(salt)
	if err != nil {
		return Result{}, err
	}
	grant, err := g.Grants.RotateRefreshToken(ctx, store.Rotation{
		GrantID:   presented.grantID,
		ClientID:  client.ID,
		Family:    presented.family.Digest(),
		Presented: presented.rotating.Digest(),
		Next:      successor.rotating.Digest(),
		Salt:      salt,
		Scope:     asked,
		Audience:  r.Targets(),
		Now:       g.Now(),
		By:        by,
		Idle:      time.Duration(client.Refresh.IdleLifetime) * time.Second,
		Leeway:    time.Duration(client.Refresh.Leeway) * time.Second,
	})
	if err != nil {
		if errors.Is(err, store.ErrScope) || errors.Is(err, store.ErrAudience) {
			return Result{}, beyondGrant(err)
		}
		if refusal(err) {
			return Result{}, refreshRefused(err)
		}
		return Result{}, err
	}
	// The store may have kept the successor of an earlier attempt.
	if successor, err = presented.successor(grant.Salt); err != nil {
		return Result{}, err
	}
	result := Result{
		Authorization: authorization(grant, asked, r.Targets()),
		RefreshToken:  successor.token(),
	}
	// The same successor once more is no rotation of this request's.
	if grant.By == by {
		result.Undo = func(ctx context.Context) error { return g.Grants.ReopenRotation(ctx, grant.ID, by) }
	}
	// OpenID Connect Core 1.0 §12.2: "it SHOULD NOT have a nonce Claim".
	result.Authorization.Person.Nonce = ""
	result.Authorization.Person.Claims = g.person(grant, result.Authorization.Scope)
	return result, nil
}

func (g RefreshToken) person(grant store.Grant, scope oauth.Scope) func(context.Context) (map[string]any, error) {
	return func(ctx context.Context) (map[string]any, error) {
		user, err := g.Users.User(ctx, grant.Subject)
		if errors.Is(err, store.ErrNotFound) {
			return nil, refreshRefused(errors.New("the user is gone"))
		}
		if err != nil {
			return nil, fmt.Errorf("grant: user: %w", err)
		}
		return token.UserClaims(user, scope), nil
	}
}

// refreshRefused says the same of every token. auth0-spa-js looks for the words
// "invalid refresh token" before it falls back to a silent login.
func refreshRefused(cause error) error {
	return oauth.InvalidGrant.Errorf("Unknown or invalid refresh token.").Because(cause)
}

// A refreshToken is prefix.grant.family.rotating. The grant's id finds the item;
// the family secret never changes and tells an old token of this grant from a
// guess; the rotating secret is good once.
type refreshToken struct {
	grantID          string
	family, rotating oauth.Secret
}

func newRefreshToken(grantID string) refreshToken {
	return refreshToken{grantID, oauth.NewHandle(""), oauth.NewHandle("")}
}

func parseRefreshToken(s string) (refreshToken, bool) {
	rest, ok := strings.CutPrefix(s, oauth.RefreshPrefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return refreshToken{}, false
	}
	for _, p := range parts {
		if !oauth.IsID(p) {
			return refreshToken{}, false
		}
	}
	return refreshToken{parts[0], oauth.Secret(parts[1]), oauth.Secret(parts[2])}, true
}

func (t refreshToken) token() oauth.Secret {
	return oauth.Secret(oauth.RefreshPrefix + t.grantID + "." + t.family.Reveal() + "." + t.rotating.Reveal())
}

// successor derives the next token by HKDF (RFC 5869) from the one presented and
// a salt that each rotation draws anew: whoever presents the same token again
// can be given the same successor, though no token is stored. The salt alone
// yields nothing. No generation has to go into the derivation, which would mean
// to read it first: the secret presented was good for one generation only.
func (t refreshToken) successor(salt string) (refreshToken, error) {
	key, err := hkdf.Key(sha256.New, []byte(t.token().Reveal()), []byte(salt), t.grantID, sha256.Size)
	if err != nil {
		return refreshToken{}, fmt.Errorf("grant: successor: %w", err)
	}
	return refreshToken{t.grantID, t.family, oauth.Secret(base64.RawURLEncoding.EncodeToString(key))}, nil
}

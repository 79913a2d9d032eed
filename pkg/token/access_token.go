// Access tokens (RFC 9068), and those that Auth0 makes.

package token

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// AccessToken holds the claims of RFC 9068 §2.2, whatever the dialect that the
// token itself is written in.
type AccessToken struct {
	Issuer string `json:"iss"`
	// Subject is the person, or the client's own id, to which Auth0's dialect adds
	// "@clients".
	Subject  string       `json:"sub"`
	Audience jwt.Audience `json:"aud"`
	Expiry   int64        `json:"exp"`
	IssuedAt int64        `json:"iat"`
	ID       string       `json:"jti"`
	// ClientID is written as azp in Auth0's dialect.
	ClientID string `json:"client_id"`
	Scope    string `json:"scope,omitempty"`
	// AuthTime is that of the login (RFC 9068 §2.2.1), 0 where nobody logged in.
	AuthTime int64 `json:"auth_time,omitempty"`
	// GrantID names the grant whose revocation ends this token, "" for none.
	GrantID string `json:"grant_id,omitempty"`
	// SessionID is the sid of the session that this token ends with, "" for none.
	SessionID string `json:"sid,omitempty"`
	// Confirmation names the key that the token is bound to (RFC 9449 §6.1).
	Confirmation Confirmation `json:"cnf,omitzero"`
	// Actor is who acts for the subject (RFC 8693 §4.1), nil for nobody.
	Actor map[string]any `json:"act,omitempty"`
}

// A Confirmation is the cnf claim (RFC 7800 §3.1).
type Confirmation struct {
	// Key is the RFC 7638 thumbprint, "" for a bearer token.
	Key string `json:"jkt,omitempty"`
}

// MachineSuffix is what Auth0 adds to the client_id where that is the sub.
const MachineSuffix = "@clients"

// Machine reports whether the token speaks for its client, and for no person.
func (t AccessToken) Machine() bool {
	return t.AuthTime == 0 && t.GrantID == "" && (t.Subject == t.ClientID || t.Subject == t.ClientID+MachineSuffix)
}

// Party is whom the token speaks for: a person's sub, or a client_id.
func (t AccessToken) Party() string {
	if t.Machine() {
		return t.ClientID
	}
	return t.Subject
}

func accessToken(iss string, a Authorization, now time.Time) AccessToken {
	claims := AccessToken{
		Issuer:       iss,
		Subject:      a.Subject,
		Audience:     slices.Clone(a.Audience),
		Expiry:       now.Add(a.lifetime(a.Format.Lifetime, now)).Unix(),
		IssuedAt:     now.Unix(),
		ID:           oauth.NewID(),
		ClientID:     a.ClientID,
		Scope:        a.Scope.String(),
		GrantID:      a.GrantID,
		Confirmation: Confirmation{Key: a.Key},
		Actor:        a.Actor,
	}
	if a.Person != nil {
		claims.AuthTime = a.Person.AuthTime.Unix()
		if a.Person.Online {
			claims.SessionID = a.Person.SessionID
		}
	}
	// OpenID Connect Core 1.0 §5.3: the token works at the userinfo endpoint.
	if a.Scope.Has(oauth.OpenID) {
		claims.Audience = append(claims.Audience, UserinfoAudience(iss))
	}
	return claims
}

// access mints the access token in the dialect of its APIs. custom are the owner's
// own claims.
func (i Issuer) access(ctx context.Context, iss string, a Authorization, custom map[string]any, now time.Time) (string, error) {
	t := accessToken(iss, a, now)
	dialect := cmp.Or(a.Format.Dialect, store.RFC9068)
	typ := jwt.TypAccessToken
	if dialect == store.Auth0Dialect {
		typ = jwt.TypAuth0
	}
	claims, err := t.in(dialect, a, custom)
	if err != nil {
		return "", err
	}
	switch dialect {
	case store.RFC9068, store.Auth0Dialect:
		return jwt.Sign(ctx, i.Signer, a.Format.Key, typ, claims)
	case store.Opaque:
		// RFC 8693 §3: the type "urn:ietf:params:oauth:token-type:jwt" says that "the
		// token is a JWT", which the API's owner does not want.
		if a.Only == oauth.JWTType {
			return "", oauth.InvalidTarget.Errorf("The tokens of the API are opaque: there are no JWTs for it.")
		}
		return i.opaque(ctx, t, claims)
	default:
		return "", fmt.Errorf("token: dialect %q", dialect)
	}
}

// in is what the token says in a dialect.
func (t AccessToken) in(dialect string, a Authorization, custom map[string]any) (map[string]any, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	protocol := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &protocol); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	claims := maps.Clone(custom)
	if claims == nil {
		claims = map[string]any{}
	}
	// What the protocol says stands above what an owner says.
	for name, value := range protocol {
		claims[name] = value
	}
	if dialect == store.Auth0Dialect {
		inAuth0(claims, t, a)
	}
	return claims, nil
}

// inAuth0 renames what Auth0's "access_token_authz" dialect names otherwise. What
// that has no word for keeps that of RFC 9068: its verifiers ignore it.
func inAuth0(claims map[string]any, t AccessToken, a Authorization) {
	delete(claims, "client_id")
	claims["azp"] = t.ClientID
	if a.Person == nil && a.Subject == a.ClientID {
		claims["sub"] = t.Subject + MachineSuffix
	}
	if gty := gty(a.GrantType); gty != "" {
		claims["gty"] = gty
	}
	permissions := []string{} // as Auth0 writes none
	for _, value := range a.Scope {
		if !oauth.IdentityScope().Has(value) && value != oauth.OfflineAccess && value != oauth.OnlineAccess {
			permissions = append(permissions, value)
		}
	}
	claims["permissions"] = permissions
}

// gty is Auth0's name of a grant type, "" for those of the authorization endpoint,
// which it leaves out.
func gty(grantType string) string {
	switch grantType {
	case oauth.AuthorizationCode, oauth.Implicit:
		return ""
	case oauth.ClientCredentials:
		return "client-credentials"
	case oauth.PasswordRealm:
		return "password"
	default:
		return grantType
	}
}

// opaque keeps what a JWT would say under the digest of a handle.
func (i Issuer) opaque(ctx context.Context, t AccessToken, claims map[string]any) (string, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("token: claims: %w", err)
	}
	handle := oauth.NewHandle(oauth.AccessPrefix)
	err = i.Opaque.PutToken(ctx, store.OpaqueToken{Digest: handle.Digest(), Claims: string(text), Expires: time.Unix(t.Expiry, 0)})
	if err != nil {
		return "", fmt.Errorf("token: opaque: %w", err)
	}
	return handle.Reveal(), nil
}

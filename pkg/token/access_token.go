// Access tokens (RFC 9068).

package token

import (
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// AccessToken holds the claims of RFC 9068 §2.2.
type AccessToken struct {
	Issuer   string       `json:"iss"`
	Subject  string       `json:"sub"`
	Audience jwt.Audience `json:"aud"`
	Expiry   int64        `json:"exp"`
	IssuedAt int64        `json:"iat"`
	ID       string       `json:"jti"`
	ClientID string       `json:"client_id"`
	Scope    string       `json:"scope,omitempty"`
	// AuthTime is that of the login (RFC 9068 §2.2.1).
	AuthTime int64 `json:"auth_time,omitempty"`
	// GrantID names the grant whose revocation ends this token.
	GrantID string `json:"grant_id,omitempty"`
}

func accessToken(iss string, a Authorization, now time.Time) AccessToken {
	claims := AccessToken{
		Issuer:   iss,
		Subject:  a.Subject,
		Audience: slices.Clone(a.Audience),
		Expiry:   now.Add(a.Format.Lifetime).Unix(),
		IssuedAt: now.Unix(),
		ID:       oauth.NewID(),
		ClientID: a.ClientID,
		Scope:    a.Scope.String(),
		GrantID:  a.GrantID,
	}
	if a.Person != nil {
		claims.AuthTime = a.Person.AuthTime.Unix()
	}
	// OpenID Connect Core 1.0 §5.3: the token works at the userinfo endpoint.
	if a.Scope.Has(oauth.OpenID) {
		claims.Audience = append(claims.Audience, UserinfoAudience(iss))
	}
	return claims
}

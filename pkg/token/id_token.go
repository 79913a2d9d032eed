// ID tokens (OpenID Connect Core 1.0 §2).

package token

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"time"

	"kmint/pkg/jwt"
)

// IDTokenLifetime is how long a client may accept an ID token as news of a
// login.
const IDTokenLifetime = time.Hour

// An IDToken is what one of ours says of a login. It never has a jti: by that it
// is told from an access token in Auth0's dialect, which has the same typ.
type IDToken struct {
	Issuer   string       `json:"iss"`
	Subject  string       `json:"sub"`
	Audience jwt.Audience `json:"aud"` // the client
	Expiry   int64        `json:"exp"`
	IssuedAt int64        `json:"iat"`
	AuthTime int64        `json:"auth_time"`
	// SessionID is the sid, "" for none.
	SessionID string `json:"sid"`
	// Actor is who acts for the subject (RFC 8693 §4.1), nil for nobody.
	Actor map[string]any `json:"act"`
}

// id mints the ID token. beside is the access token that leaves beside it by the
// authorization endpoint, "" for none.
func (i Issuer) id(ctx context.Context, iss string, a Authorization, person map[string]any, beside string, now time.Time) (string, error) {
	claims := idToken(iss, a, person, now)
	algorithm := cmp.Or(a.IDTokenAlgorithm, jwt.RS256)
	if beside != "" {
		claims["at_hash"] = halfHash(algorithm, beside)
	}
	if a.Code != "" {
		claims["c_hash"] = halfHash(algorithm, a.Code.Reveal())
	}
	return jwt.Sign(ctx, i.Signer, jwt.Choice{Algorithm: algorithm}, jwt.TypIDToken, claims)
}

// halfHash is "the base64url encoding of the left-most half of the hash of the octets
// of the ASCII representation" (OpenID Connect Core 1.0 §3.3.2.11), by the hash of the
// ID token's alg.
func halfHash(algorithm, text string) string {
	sum := jwt.Hash(algorithm, []byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func idToken(iss string, a Authorization, person map[string]any, now time.Time) map[string]any {
	claims := map[string]any{}
	maps.Copy(claims, person)
	// What the protocol says stands above what a profile says.
	claims["iss"] = iss
	claims["sub"] = a.Subject
	claims["aud"] = a.ClientID
	claims["exp"] = now.Add(a.lifetime(IDTokenLifetime, now)).Unix()
	claims["iat"] = now.Unix()
	claims["auth_time"] = a.Person.AuthTime.Unix()
	if a.Person.Nonce != "" {
		claims["nonce"] = a.Person.Nonce
	}
	if a.Person.SessionID != "" {
		claims["sid"] = a.Person.SessionID
	}
	// RFC 8693 §4.1: whoever is told of the subject is told of the actor too.
	if a.Actor != nil {
		claims["act"] = a.Actor
	}
	return claims
}

// ID tokens (OpenID Connect Core 1.0 §2).

package token

import (
	"maps"
	"time"
)

// IDTokenLifetime is how long a client may accept an ID token as news of a
// login.
const IDTokenLifetime = time.Hour

func idToken(iss string, a Authorization, person map[string]any, now time.Time) map[string]any {
	claims := map[string]any{}
	maps.Copy(claims, person)
	// What the protocol says stands above what a profile says.
	claims["iss"] = iss
	claims["sub"] = a.Subject
	claims["aud"] = a.ClientID
	claims["exp"] = now.Add(IDTokenLifetime).Unix()
	claims["iat"] = now.Unix()
	claims["auth_time"] = a.Person.AuthTime.Unix()
	if a.Person.Nonce != "" {
		claims["nonce"] = a.Person.Nonce
	}
	if a.Person.SessionID != "" {
		claims["sid"] = a.Person.SessionID
	}
	return claims
}

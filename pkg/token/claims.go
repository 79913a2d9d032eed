// Claims about a person (OpenID Connect Core 1.0 §5.1, §5.4).

package token

import (
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// scopeClaims says which claims each scope value asks for (§5.4).
var scopeClaims = map[string][]string{
	oauth.Profile: {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
		"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	oauth.Email:   {"email", "email_verified"},
	oauth.Address: {"address"},
	oauth.Phone:   {"phone_number", "phone_number_verified"},
}

// Supported lists the claims that discovery announces.
func Supported() []string {
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid"}
	for _, scope := range []string{oauth.Profile, oauth.Email, oauth.Address, oauth.Phone} {
		claims = append(claims, scopeClaims[scope]...)
	}
	return claims
}

// UserClaims is what the scope lets a client see of a person, sub left out: the
// standard claims by scope, and the owner's own claims, which are named by URIs
// and so cannot stand for a standard one. Without openid it is empty.
func UserClaims(u store.User, scope oauth.Scope) map[string]any {
	claims := map[string]any{}
	if !scope.Has(oauth.OpenID) {
		return claims
	}
	for _, value := range scope {
		for _, name := range scopeClaims[value] {
			if v, ok := u.Profile[name]; ok {
				claims[name] = v
			}
		}
	}
	for name, v := range u.Claims {
		claims[name] = v
	}
	return claims
}

// FactsOf is what the tokens show of a person to a client: the claims that the
// scope lets it see, and what the claims map adds.
func FactsOf(u store.User, c store.Client, rules []store.ClaimRule, scope oauth.Scope) Facts {
	return Facts{IDToken: UserClaims(u, scope)}
}

// Waits reports whether access tokens show something of the person.
func Waits(rules []store.ClaimRule) bool {
	return slices.ContainsFunc(rules, func(r store.ClaimRule) bool { return r.AccessToken && strings.HasPrefix(r.From, "user.") })
}

// UserinfoAudience is the aud of a token that the userinfo endpoint accepts: the
// endpoint's address.
func UserinfoAudience(issuer string) string { return oauth.Endpoint(issuer, "/userinfo") }

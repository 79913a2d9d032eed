// Package policy answers: is this allowed?
//
// Its functions are pure. They see records and requests, never a store, a clock
// or a connection, so that a reviewer can read every rule here and a test can
// try it without a server.
package policy

import (
	"cmp"
	"slices"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// CodeLifetime is how long a code may be exchanged. RFC 6749 §4.1.2: "A maximum
// authorization code lifetime of 10 minutes is RECOMMENDED."
const CodeLifetime = 60 * time.Second

// MayUseGrant lets a client use the grant types it is registered for (RFC 7591
// §2). RFC 9700 §2.4: "The resource owner password credentials grant [...] MUST NOT
// be used": it needs the server's leave too.
func MayUseGrant(c store.Client, settings store.Settings, grantType string) error {
	legacy := grantType == oauth.Password || grantType == oauth.PasswordRealm
	if !slices.Contains(c.GrantTypes, grantType) || legacy && !settings.LegacyPassword {
		return oauth.UnauthorizedClient.Errorf("The client is not allowed to use the grant type %s.", grantType).Named(oauth.CaseGrantType)
	}
	return nil
}

// Audience decides which APIs a request is for: those asked for (RFC 8707 §2),
// else the only one the client has a grant for, else the server's default, else
// the userinfo endpoint, which is none and needs openid.
func Audience(c store.Client, asked []string, settings store.Settings, scope oauth.Scope) ([]string, error) {
	switch {
	case len(asked) > 0:
		return asked, nil
	case len(c.APIGrants) == 1:
		for only := range c.APIGrants {
			return []string{only}, nil
		}
	case settings.DefaultAudience != "":
		return []string{settings.DefaultAudience}, nil
	case scope.Has(oauth.OpenID):
		return nil, nil
	}
	return nil, oauth.InvalidTarget.Errorf("The request names no audience, and none is the default.")
}

// ClientScope is what a client gets in its own name: what it asked for, or,
// where it asked for nothing, all that its grants for the APIs hold.
func ClientScope(c store.Client, apis []store.API, asked oauth.Scope) (oauth.Scope, error) {
	var granted oauth.Scope
	for _, api := range apis {
		scope, ok := c.APIGrants[api.Identifier]
		if !ok {
			return nil, oauth.InvalidTarget.Errorf("The client has no grant for the audience %s.", api.Identifier)
		}
		granted = append(granted, scope...)
	}
	if len(asked) == 0 {
		return granted, nil
	}
	if !asked.Within(granted) {
		return nil, oauth.InvalidScope.Errorf("The scope goes beyond the client's grant for the audience.")
	}
	return asked, nil
}

// UserScope is what a client gets in a person's name. OpenID Connect Core 1.0
// §3.1.2.1: "Scope values used that are not understood by an implementation
// SHOULD be ignored." No API is where the token is for userinfo alone.
func UserScope(c store.Client, apis []store.API, asked oauth.Scope) (oauth.Scope, error) {
	identity := oauth.IdentityScope()
	var granted oauth.Scope
	for _, value := range asked {
		known := identity.Has(value)
		if value == oauth.OfflineAccess {
			known = offline(c, apis)
		}
		for _, api := range apis {
			_, ofAPI := api.Scopes[value]
			known = known || ofAPI
		}
		if known {
			granted = append(granted, value)
		}
	}
	return granted, nil
}

// offline lets a refresh token be issued: the client uses the grant, and every API
// allows it.
func offline(c store.Client, apis []store.API) bool {
	return slices.Contains(c.GrantTypes, oauth.RefreshToken) &&
		!slices.ContainsFunc(apis, func(api store.API) bool { return !api.AllowOfflineAccess })
}

// A Format is what the APIs of a token say of it.
type Format struct {
	Dialect, Algorithm, KeyID string
}

// FormatOf is the one format that all the APIs want: a token cannot have two.
func FormatOf(apis []store.API) (Format, error) {
	var format Format
	for i, api := range apis {
		f := Format{cmp.Or(api.Dialect, store.RFC9068), api.Algorithm, api.KeyID}
		if i > 0 && f != format {
			return Format{}, oauth.InvalidTarget.Errorf("The APIs want tokens of different kinds; ask for one at a time.")
		}
		format = f
	}
	return format, nil
}

// TokenLifetime is that of an access token: the shortest that its APIs allow.
func TokenLifetime(apis []store.API) time.Duration {
	shortest := int64(store.DefaultTokenLifetime)
	for i, api := range apis {
		if lifetime := cmp.Or(api.TokenLifetime, store.DefaultTokenLifetime); i == 0 || lifetime < shortest {
			shortest = lifetime
		}
	}
	return time.Duration(shortest) * time.Second
}

// longestLifetime is that of the token that lives longest, whichever of the APIs
// it is for.
func longestLifetime(apis []store.API) time.Duration {
	longest := TokenLifetime(nil)
	for _, api := range apis {
		longest = max(longest, TokenLifetime([]store.API{api}))
	}
	return longest
}

// GrantEnds says until when a grant made at now may yield tokens, and until
// when its item must be kept: as long as the last of them lives, so that a late
// replay is seen and can still revoke them.
func GrantEnds(c store.Client, apis []store.API, scope oauth.Scope, now time.Time) (end, kept time.Time) {
	end = now.Add(CodeLifetime)
	if scope.Has(oauth.OfflineAccess) || scope.Has(oauth.OnlineAccess) {
		end = now.Add(time.Duration(c.Refresh.Lifetime) * time.Second)
	}
	return end, end.Add(longestLifetime(apis))
}

// RequireChallenge makes public clients use PKCE. RFC 9700 §2.1.1: "Public
// clients MUST use PKCE [...] to this end"; for confidential ones it is
// recommended.
func RequireChallenge(c store.Client) bool { return c.Public() }

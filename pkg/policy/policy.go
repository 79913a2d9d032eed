// Package policy answers: is this allowed?
//
// Its functions are pure. They see records and requests, never a store, a clock
// or a connection, so that a reviewer can read every rule here and a test can
// try it without a server.
package policy

import (
	"slices"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// CodeLifetime is how long a code may be exchanged. RFC 6749 §4.1.2: "A maximum
// authorization code lifetime of 10 minutes is RECOMMENDED."
const CodeLifetime = 60 * time.Second

// MayUseGrant lets a client use the grant types it is registered for (RFC 7591
// §2).
func MayUseGrant(c store.Client, grantType string) error {
	if !slices.Contains(c.GrantTypes, grantType) {
		return oauth.UnauthorizedClient.Errorf("The client is not allowed to use the grant type %s.", grantType)
	}
	return nil
}

// Audience decides which API a request is for: the one asked for, else the only
// one the client has a grant for, else the server's default, else the userinfo
// endpoint, which is "" and needs openid. A token is for one API: to ask for
// several is an invalid_target (RFC 8707 §2), and never a token for another.
func Audience(c store.Client, asked []string, settings store.Settings, scope oauth.Scope) (string, error) {
	switch {
	case len(asked) > 1:
		return "", oauth.InvalidTarget.Errorf("The request names more than one API.")
	case len(asked) == 1:
		return asked[0], nil
	case len(c.APIGrants) == 1:
		for only := range c.APIGrants {
			return only, nil
		}
	case settings.DefaultAudience != "":
		return settings.DefaultAudience, nil
	case scope.Has(oauth.OpenID):
		return "", nil
	}
	return "", oauth.InvalidTarget.Errorf("The request names no audience, and none is the default.")
}

// ClientScope is what a client gets in its own name: what it asked for, or,
// where it asked for nothing, all that its grant for the API holds.
func ClientScope(c store.Client, api store.API, asked oauth.Scope) (oauth.Scope, error) {
	granted, ok := c.APIGrants[api.Identifier]
	if !ok {
		return nil, oauth.InvalidTarget.Errorf("The client has no grant for the audience %s.", api.Identifier)
	}
	if len(asked) == 0 {
		return granted, nil
	}
	if !asked.Within(granted) {
		return nil, oauth.InvalidScope.Errorf("The scope goes beyond the client's grant for the audience %s.", api.Identifier)
	}
	return asked, nil
}

// UserScope is what a client gets in a person's name. OpenID Connect Core 1.0
// §3.1.2.1: "Scope values used that are not understood by an implementation
// SHOULD be ignored." api is nil where the token is for userinfo alone.
func UserScope(c store.Client, api *store.API, asked oauth.Scope) oauth.Scope {
	identity := oauth.IdentityScope()
	var granted oauth.Scope
	for _, value := range asked {
		known := identity.Has(value)
		if value == oauth.OfflineAccess {
			known = offline(c, api)
		} else if api != nil {
			_, ofAPI := api.Scopes[value]
			known = known || ofAPI
		}
		if known {
			granted = append(granted, value)
		}
	}
	return granted
}

// offline lets a refresh token be issued: the client uses the grant, and the
// API, if there is one, allows it.
func offline(c store.Client, api *store.API) bool {
	return slices.Contains(c.GrantTypes, oauth.RefreshToken) && (api == nil || api.AllowOfflineAccess)
}

// TokenLifetime is that of an access token; api is nil for userinfo alone.
func TokenLifetime(api *store.API) time.Duration {
	if api == nil || api.TokenLifetime == 0 {
		return store.DefaultTokenLifetime * time.Second
	}
	return time.Duration(api.TokenLifetime) * time.Second
}

// GrantEnds says until when a grant made at now may yield tokens, and until
// when its item must be kept: as long as the last of them lives, so that a late
// replay is seen and can still revoke them.
func GrantEnds(c store.Client, api *store.API, scope oauth.Scope, now time.Time) (end, kept time.Time) {
	end = now.Add(CodeLifetime)
	if scope.Has(oauth.OfflineAccess) {
		end = now.Add(time.Duration(c.Refresh.Lifetime) * time.Second)
	}
	return end, end.Add(TokenLifetime(api))
}

// RequireChallenge makes public clients use PKCE. RFC 9700 §2.1.1: "Public
// clients MUST use PKCE [...] to this end"; for confidential ones it is
// recommended.
func RequireChallenge(c store.Client) bool { return c.Public() }

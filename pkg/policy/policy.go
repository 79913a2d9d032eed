// Package policy answers: is this allowed?
//
// Its functions are pure. They see records and requests, never a store, a clock
// or a connection, so that a reviewer can read every rule here and a test can
// try it without a server.
package policy

import (
	"cmp"
	"maps"
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
		return oauth.UnauthorizedClient.Errorf("The client is not allowed to use the grant type %s.", grantType).Named(oauth.CaseGrantType).About(grantType)
	}
	return nil
}

// MayUseResponseType lets a client use the response types it is registered for, and
// with them the grant types that OpenID Connect Dynamic Client Registration 1.0 §2
// pairs them with. One that is registered for none has code (RFC 7591 §2).
func MayUseResponseType(c store.Client, settings store.Settings, t oauth.ResponseType) error {
	registered := c.ResponseTypes
	if len(registered) == 0 {
		registered = []string{"code"}
	}
	if !slices.Contains(registered, t.String()) {
		return oauth.UnauthorizedClient.Errorf("The client is not registered for the response_type %s.", t)
	}
	for _, grantType := range t.GrantTypes() {
		if err := MayUseGrant(c, settings, grantType); err != nil {
			return err
		}
	}
	// RFC 9449 §5.2: the client "always uses DPoP for token requests". Here is no
	// proof that a token could be bound by.
	if t.Token && c.DPoPBound {
		return oauth.UnauthorizedClient.Errorf("The client's tokens are bound to a key, and a token from the authorization endpoint could not be.")
	}
	return nil
}

// Audience decides which APIs a request is for: those asked for (RFC 8707 §2),
// else the only one the client has a grant for, else the server's default, else
// the userinfo endpoint, which is none and needs openid. asked is nil where nothing
// was named, and empty where the userinfo endpoint was, by its address.
func Audience(c store.Client, asked []string, settings store.Settings, scope oauth.Scope) ([]string, error) {
	switch {
	case len(asked) > 0:
		return asked, nil
	case asked != nil && scope.Has(oauth.OpenID):
		return asked, nil
	case asked != nil:
		return nil, oauth.InvalidTarget.Errorf("The userinfo endpoint needs the scope openid.")
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
// where it asked for nothing, all that its grants for the APIs hold. Where an API
// allows all clients, one may ask for each of its scope values, but is given
// nothing unasked that the owner has not written down for it.
func ClientScope(c store.Client, apis []store.API, asked oauth.Scope) (oauth.Scope, error) {
	var all leaves
	var unasked oauth.Scope
	for _, api := range apis {
		l, err := clientLeave(c, api)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		unasked = append(unasked, c.APIGrants[api.Identifier]...)
	}
	if len(asked) == 0 {
		return all.within(unasked), nil
	}
	if !asked.Within(all.within(asked)) {
		return nil, oauth.InvalidScope.Errorf("The scope goes beyond what the client may have of the audience.")
	}
	return asked, nil
}

// UserScope is what a client gets in a person's name. OpenID Connect Core 1.0
// §3.1.2.1: "Scope values used that are not understood by an implementation
// SHOULD be ignored." No API is where the token is for userinfo alone.
func UserScope(c store.Client, apis []store.API, asked oauth.Scope) (oauth.Scope, error) {
	var all leaves
	for _, api := range apis {
		l, err := userLeave(c, api)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return personal(c, apis, asked, all), nil
}

// personal adds to what the APIs give what no API does: identity, and refresh
// tokens.
func personal(c store.Client, apis []store.API, asked oauth.Scope, all leaves) oauth.Scope {
	var granted oauth.Scope
	for _, value := range asked {
		var known bool
		switch {
		case oauth.IdentityScope().Has(value):
			known = true
		case value == oauth.OfflineAccess:
			known = offline(c, apis)
		case value == oauth.OnlineAccess:
			// It ends with the session, so no API has to agree to it.
			known = refreshes(c)
		default:
			known = all.gives(value)
		}
		if known && !granted.Has(value) {
			granted = append(granted, value)
		}
	}
	return granted
}

// A leave is what one API gives a client.
type leave struct {
	api   store.API
	scope oauth.Scope
}

type leaves []leave

// gives reports whether a token for all the APIs may hold the scope value. One of
// them gives it, and none that has such a value refuses it: each API takes a value
// in the token for its own, whichever of the others it was given by.
func (all leaves) gives(value string) bool {
	given := false
	for _, l := range all {
		_, known := l.api.Scopes[value]
		switch {
		case l.scope.Has(value):
			given = true
		case known:
			return false
		}
	}
	return given
}

// within is what the APIs give of the scope, each value once.
func (all leaves) within(asked oauth.Scope) oauth.Scope {
	var granted oauth.Scope
	for _, value := range asked {
		if all.gives(value) && !granted.Has(value) {
			granted = append(granted, value)
		}
	}
	return granted
}

// clientLeave is what the API's policy for clients gives.
func clientLeave(c store.Client, api store.API) (leave, error) {
	return leaveOf(api, cmp.Or(api.ClientPolicy, store.RequireGrant), c.APIGrants)
}

// userLeave is what the API's policy for people gives.
func userLeave(c store.Client, api store.API) (leave, error) {
	return leaveOf(api, cmp.Or(api.UserPolicy, store.AllowAll), c.UserAPIGrants)
}

// leaveOf: RFC 8693 §2.2.2 has invalid_target where the server is "unwilling or
// unable to issue a token for any target service indicated", and RFC 8707 §2 the
// same code for other grants.
func leaveOf(api store.API, policy string, grants map[string][]string) (leave, error) {
	granted, ok := grants[api.Identifier]
	switch {
	case policy == store.AllowAll:
		return leave{api, valuesOf(api)}, nil
	case policy == store.RequireGrant && ok:
		return leave{api, valuesOf(api).Intersect(granted)}, nil
	default:
		return leave{}, oauth.InvalidTarget.Errorf("The client may not have tokens for the audience %s.", api.Identifier).
			Named(oauth.CaseClientGrant).About(api.Identifier)
	}
}

func valuesOf(api store.API) oauth.Scope { return slices.Sorted(maps.Keys(api.Scopes)) }

// refreshes reports whether the client uses refresh tokens at all.
func refreshes(c store.Client) bool { return slices.Contains(c.GrantTypes, oauth.RefreshToken) }

// offline lets a refresh token be issued: the client uses the grant, and every API
// allows it.
func offline(c store.Client, apis []store.API) bool {
	return refreshes(c) && !slices.ContainsFunc(apis, func(api store.API) bool { return !api.AllowOfflineAccess })
}

// MayRefresh reports whether a refresh token for the APIs may be handed out,
// whatever the scope that the tokens beside it have: an online one ends with the
// session.
func MayRefresh(c store.Client, apis []store.API, online bool) bool {
	if online {
		return refreshes(c)
	}
	return offline(c, apis)
}

// Refreshable reports whether the scope brings a refresh token.
func Refreshable(scope oauth.Scope) bool {
	return scope.Has(oauth.OfflineAccess) || scope.Has(oauth.OnlineAccess)
}

// LoginEnded reports whether the not_before of the client, or of the server, ends
// what a login at authTime began. That of the person is the person's own: see
// store.User.Ended.
func LoginEnded(c store.Client, settings store.Settings, authTime time.Time) bool {
	before := func(t time.Time) bool { return !t.IsZero() && authTime.UnixMilli() < t.UnixMilli() }
	return before(c.NotBefore) || before(settings.NotBefore)
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
	if Refreshable(scope) {
		end = now.Add(time.Duration(c.Refresh.Lifetime) * time.Second)
	}
	return end, end.Add(longestLifetime(apis))
}

// Rotates reports whether each use of a refresh token yields another. RFC 9700
// §2.2.2: "Refresh tokens for public clients MUST be sender-constrained or use
// refresh token rotation".
func Rotates(c store.Client) bool {
	return !c.Refresh.NonRotating || c.Public() && !c.DPoPBound
}

// RequireChallenge makes public clients use PKCE. RFC 9700 §2.1.1: "Public
// clients MUST use PKCE [...] to this end"; for confidential ones it is
// recommended.
func RequireChallenge(c store.Client) bool { return c.Public() }

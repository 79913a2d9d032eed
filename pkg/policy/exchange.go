// What a token exchange may give (RFC 8693 §2.1).

package policy

import (
	"slices"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A Subject is what a subject_token allows.
//
// A token bounds what is made of it by what it says itself. An access token or a
// refresh token says what may be done, and where; an ID token, or the JWT of a
// foreign issuer, says who, and nothing of what may be done.
type Subject struct {
	// Scope and Audience are the token's; of an Identity they mean nothing.
	Scope    oauth.Scope
	Audience []string
	// Identity is a token that says only who.
	Identity bool
	// Machine is one that speaks for a client in its own name, and for no person.
	Machine bool
}

// MayExchange needs the owner's leave. RFC 8693 §1.1 tells impersonation, where
// whoever exchanges cannot be told from the subject, from delegation, where an
// actor is named beside it.
func MayExchange(c store.Client, delegation bool) error {
	switch {
	case delegation && !c.Exchange.Delegation:
		return oauth.UnauthorizedClient.Errorf("The client is not allowed to exchange tokens with an actor_token.")
	case !delegation && !c.Exchange.Impersonation:
		return oauth.UnauthorizedClient.Errorf("The client is not allowed to exchange tokens without an actor_token.")
	default:
		return nil
	}
}

// ExchangeAudience decides which APIs the new token is for: those asked for, as in
// Audience, else those of the subject_token, else, where that is for none, the only
// one that the owner has written down for the client, or the server's default.
func ExchangeAudience(c store.Client, s Subject, asked []string, settings store.Settings, scope oauth.Scope) ([]string, error) {
	switch {
	case asked == nil && !s.Identity:
		return s.Audience, nil
	case asked == nil && len(c.UserAPIGrants) == 1:
		for only := range c.UserAPIGrants {
			return []string{only}, nil
		}
	}
	c.APIGrants = nil // they are for the client's own name
	return Audience(c, asked, settings, scope)
}

// ExchangeScope is what the client gets of a subject_token for the APIs. It only
// narrows: of the scope of the subject_token, what policy gives this client there.
//
// Where an API is one that the subject_token is not for, as in a call onward to
// another, its scope values mean other things than they did, and nobody is asked
// again. So a policy that allows all clients is not enough: the owner must have
// written down this client for that API, and which scope values. And it still has
// to be a value that the subject_token has: a person who is to reach a second API
// by the first is asked for both at the authorization endpoint (RFC 8707 §2), and
// the token of both is narrowed here.
//
// Of a subject_token that says only who, nothing can be narrowed: it yields what
// the owner has written down, and openid.
//
// Where nothing is asked for, refresh tokens are left out.
func ExchangeScope(c store.Client, s Subject, apis []store.API, asked oauth.Scope) (oauth.Scope, error) {
	ceiling := s.Scope
	if s.Identity {
		ceiling = oauth.Scope{oauth.OpenID}
	}
	var all leaves
	for _, api := range apis {
		l, err := exchangeLeave(c, s, api)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
		if s.Identity {
			ceiling = append(ceiling, l.scope...)
		}
	}
	if !asked.Within(ceiling) {
		return nil, oauth.InvalidScope.Errorf("The scope goes beyond that of the subject_token.")
	}
	granted := asked
	if len(asked) == 0 {
		granted = ceiling.Without(oauth.OfflineAccess, oauth.OnlineAccess)
		if s.Identity {
			granted = granted.Without(oauth.OpenID)
		}
	}
	if s.Machine {
		granted = all.within(granted)
	} else {
		granted = personal(c, apis, granted, all)
	}
	switch {
	case len(asked) > 0 && len(granted) == 0:
		return nil, oauth.InvalidScope.Errorf("The client may have nothing of the scope.")
	case len(apis) == 0 && !granted.Has(oauth.OpenID):
		return nil, oauth.InvalidTarget.Errorf("The token would be for nothing: name an audience, or ask for openid.")
	}
	return granted, nil
}

func exchangeLeave(c store.Client, s Subject, api store.API) (leave, error) {
	of, grants := userLeave, c.UserAPIGrants
	if s.Machine {
		of, grants = clientLeave, c.APIGrants
	}
	if !s.Identity && slices.Contains(s.Audience, api.Identifier) {
		return of(c, api)
	}
	l, err := of(c, api)
	if err != nil {
		return leave{}, err
	}
	written, err := leaveOf(api, store.RequireGrant, grants)
	if err != nil {
		return leave{}, err
	}
	l.scope = l.scope.Intersect(written.scope)
	return l, nil
}

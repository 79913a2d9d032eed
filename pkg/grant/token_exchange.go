// Token exchange (RFC 8693).

package grant

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// TokenExchange serves urn:ietf:params:oauth:grant-type:token-exchange.
//
// What comes out is never more than what was given: not in scope and audience (see
// policy.ExchangeScope), not in time, and not in who may present it. A token that
// is bound to a key yields bound ones alone, to the key of the proof that comes with
// the request. It keeps the grant of the token it was made of, so that whoever ends
// that ends both; only a refresh token has to have a grant of its own, which ends no
// later, and with the one before: whoever has stolen a refresh token would else
// exchange it for another, of which no replay of the first tells.
type TokenExchange struct {
	Parties Parties
	APIs    store.APIs
	Codes   store.Codes
	Now     func() time.Time
}

var _ Grant = TokenExchange{}

// Spends is true: it may write a grant.
func (TokenExchange) Spends() bool { return true }

// Authorize reads the tokens and narrows what they allow. RFC 8693 §2.2.2: where
// "either the subject_token or actor_token are invalid for any reason, or are
// unacceptable based on policy", the code is invalid_request.
func (g TokenExchange) Authorize(ctx context.Context, r Request) (Result, error) {
	wanted, asked, err := exchangeRequest(r)
	if err != nil {
		return Result{}, err
	}
	subject, err := g.Parties.read(ctx, r, "subject_token")
	if err != nil {
		return Result{}, err
	}
	var actor *party
	if r.Get("actor_token") != "" {
		a, err := g.Parties.read(ctx, r, "actor_token")
		if err != nil {
			return Result{}, err
		}
		// The chain of actors is the subject's, and cannot have a second end.
		if a.actor != nil {
			return Result{}, invalidParty("actor_token", errors.New("somebody acts for the actor"))
		}
		// That would be an impersonation that calls itself a delegation (§1.1).
		if a.subject == subject.subject {
			return Result{}, invalidParty("actor_token", errors.New("the actor is the subject"))
		}
		actor = &a
	}
	act, err := g.actor(ctx, r, subject, actor)
	if err != nil {
		return Result{}, err
	}
	scope, apis, err := g.narrow(ctx, r, subject, act != nil, wanted, asked)
	if err != nil {
		return Result{}, err
	}
	if err := g.Parties.alive(ctx, r, &subject, actor); err != nil {
		return Result{}, err
	}
	// So a grant has one before it at most, and what it hangs on is read at once.
	if policy.Refreshable(scope) && subject.grant.Parent != "" {
		return Result{}, oauth.InvalidScope.Errorf("A refresh token that was made by exchange yields no other.")
	}
	if subject.user == nil && (scope.Has(oauth.OpenID) || wanted == oauth.IDTokenType) {
		return Result{}, oauth.InvalidScope.Errorf("There is no user here whose identity the token could give.")
	}
	end := subject.expires
	if actor != nil && actor.expires.Before(end) {
		end = actor.expires
	}
	now := g.Now()
	if end.Sub(now) < time.Second {
		return Result{}, invalidParty("subject_token", errors.New("it is about to expire"))
	}
	result := Result{
		IssuedTokenType: wanted,
		Authorization: token.Authorization{
			GrantID: subject.grantID, ClientID: r.Client.ID, Subject: subject.subject,
			Scope: scope, Actor: act, NotAfter: end, Only: wanted,
		},
	}
	a := &result.Authorization
	for _, api := range apis {
		a.Audience = append(a.Audience, api.Identifier)
	}
	if subject.user == nil {
		return result, nil
	}
	facts := token.FactsOf(*subject.user, r.Client, r.Settings.Claims, scope)
	a.Person = &token.Person{
		AuthTime: subject.authTime, SessionID: subject.sessionID, Online: subject.online || scope.Has(oauth.OnlineAccess),
		Facts: func(context.Context) (token.Facts, error) { return facts, nil },
		Waits: true, // for what is here already
	}
	if a.GrantID == "" || policy.Refreshable(scope) {
		err = g.bear(ctx, r, apis, &result, now)
	}
	return result, err
}

// bear writes a grant of the exchange's own.
func (g TokenExchange) bear(ctx context.Context, r Request, apis []store.API, result *Result, now time.Time) error {
	a := &result.Authorization
	grant, refresh := born(r, a.Subject, now, policy.Refreshable(a.Scope))
	grant.Scope, grant.Requested, grant.Audience, grant.Parent = a.Scope, a.Scope, a.Audience, a.GrantID
	grant.AuthTime, grant.SessionID, grant.Online = a.Person.AuthTime, a.Person.SessionID, a.Person.Online
	grant.End, grant.Kept = policy.GrantEnds(r.Client, apis, a.Scope, now)
	if grant.End.After(a.NotAfter) {
		grant.End = a.NotAfter
	}
	a.GrantID, result.RefreshToken = grant.ID, refresh
	if a.Only == oauth.RefreshTokenType {
		a.NotAfter = grant.End
	}
	return put(ctx, g.Codes, grant)
}

// exchangeRequest reads what needs no token, and returns the type of the token that
// is wanted, and the scope.
func exchangeRequest(r Request) (wanted string, asked oauth.Scope, err error) {
	delegation := r.Get("actor_token") != ""
	if err := policy.MayExchange(r.Client, delegation); err != nil {
		return "", nil, err
	}
	switch {
	case r.Get("subject_token") == "" || r.Get("subject_token_type") == "":
		return "", nil, oauth.InvalidRequest.Errorf("The subject_token or the subject_token_type is missing.")
	// RFC 8693 §2.1: actor_token_type "is REQUIRED when the actor_token parameter is
	// present in the request but MUST NOT be included otherwise."
	case delegation != (r.Get("actor_token_type") != ""):
		return "", nil, oauth.InvalidRequest.Errorf("The actor_token and the actor_token_type go together.")
	}
	switch wanted = r.Get("requested_token_type"); wanted {
	case "":
		wanted = oauth.AccessTokenType
	case oauth.AccessTokenType, oauth.JWTType, oauth.IDTokenType:
	case oauth.RefreshTokenType:
		// It would go on to act when the actor is long gone.
		if delegation {
			return "", nil, oauth.InvalidRequest.Errorf("There is no refresh token where there is an actor_token.")
		}
	default:
		return "", nil, oauth.InvalidRequest.Errorf("The requested_token_type is not supported.")
	}
	asked, err = oauth.ParseScope(r.Get("scope"))
	return wanted, asked, err
}

// narrow finds the APIs and the scope that the new token is for. The type that is
// wanted asks for a scope value too.
func (g TokenExchange) narrow(ctx context.Context, r Request, s party, delegated bool, wanted string, asked oauth.Scope) (oauth.Scope, []store.API, error) {
	has := s.allows.Scope
	switch {
	case wanted == oauth.RefreshTokenType && (delegated || !policy.Refreshable(has)):
		return nil, nil, oauth.InvalidScope.Errorf("The subject_token allows no refresh token.")
	case wanted == oauth.RefreshTokenType && !policy.Refreshable(asked):
		if len(asked) == 0 {
			asked = has
		} else {
			asked = append(asked, has.Intersect(oauth.Scope{oauth.OfflineAccess, oauth.OnlineAccess})...)
		}
	case wanted == oauth.IDTokenType && !asked.Has(oauth.OpenID) && (len(asked) > 0 || s.allows.Identity):
		asked = append(asked, oauth.OpenID)
	}
	audience, err := policy.ExchangeAudience(r.Client, s.allows, r.Audience, r.Settings, asked)
	if err != nil {
		return nil, nil, err
	}
	apis, err := findAPIs(ctx, g.APIs, audience)
	if err != nil {
		return nil, nil, err
	}
	scope, err := policy.ExchangeScope(r.Client, s.allows, apis, asked)
	if err != nil {
		return nil, nil, err
	}
	if delegated || wanted == oauth.IDTokenType {
		scope = scope.Without(oauth.OfflineAccess, oauth.OnlineAccess)
	}
	switch {
	case len(asked) > 0 && len(scope) == 0,
		wanted == oauth.RefreshTokenType && !policy.Refreshable(scope),
		wanted == oauth.IDTokenType && !scope.Has(oauth.OpenID):
		return nil, nil, oauth.InvalidScope.Errorf("The subject_token and the client's policy do not allow that type of token.")
	}
	return scope, apis, nil
}

// maxDepth bounds a chain of actors.
const maxDepth = 4

// actor is the act claim: the actor now, and within it those before. RFC 8693 §4.1:
// "The outermost act claim represents the current actor while nested act claims
// represent prior actors."
func (g TokenExchange) actor(ctx context.Context, r Request, subject party, actor *party) (map[string]any, error) {
	issuer, err := g.Parties.Tokens.Issuers.Issuer(ctx)
	if err != nil {
		return nil, err
	}
	// §4.4: may_act names who may become the actor. Where no actor is presented it is
	// the client that wants to stand in for the subject.
	who := party{issuer: issuer, name: r.Client.ID, clientID: r.Client.ID}
	if actor != nil {
		who = *actor
	}
	if err := subject.lets(who, issuer); err != nil {
		return nil, invalidParty("subject_token", err)
	}
	act := subject.actor
	if actor != nil {
		act = map[string]any{"sub": actor.subject}
		if subject.actor != nil {
			act["act"] = subject.actor
		}
	}
	if depth(act) > maxDepth {
		return nil, oauth.InvalidRequest.Errorf("Delegation chain (`act` claim) depth exceeds the maximum allowed limit of %d", maxDepth)
	}
	return act, nil
}

func depth(act map[string]any) int {
	if act == nil {
		return 0
	}
	within, _ := act["act"].(map[string]any)
	return 1 + depth(within)
}

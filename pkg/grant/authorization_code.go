// The authorization code grant (RFC 6749 §4.1.3, RFC 7636 §4.5).

package grant

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// AuthorizationCode serves authorization_code.
type AuthorizationCode struct {
	Grants store.Grants
	Now    func() time.Time
}

var _ Grant = AuthorizationCode{}

// Spends is true.
func (AuthorizationCode) Spends() bool { return true }

// Authorize spends the code. One conditional write checks everything that binds
// it and stores the digests of the first refresh token, which is handed out only
// if the person granted offline_access: so nothing has to be read first.
func (g AuthorizationCode) Authorize(ctx context.Context, r Request) (Result, error) {
	if r.Get("code") == "" {
		return Result{}, oauth.InvalidRequest.Errorf("The code is missing.")
	}
	var challenge oauth.Challenge
	if verifier := r.Get("code_verifier"); verifier != "" {
		var err error
		if challenge, err = oauth.ChallengeOf(verifier); err != nil {
			return Result{}, err
		}
	}
	asked, err := oauth.ParseScope(r.Get("scope"))
	if err != nil {
		return Result{}, err
	}
	id := oauth.DigestOf(r.Get("code"))
	web.Annotate(ctx, slog.String("grant", string(id)))
	first := oauth.NewRefreshHandle(string(id))
	by := oauth.NewID()
	grant, err := g.Grants.SpendCode(ctx, store.Spend{
		GrantID:     string(id),
		ClientID:    r.Client.ID,
		RedirectURI: r.Get("redirect_uri"),
		Challenge:   challenge,
		Key:         r.Key,
		Bind:        bind(r),
		Scope:       asked,
		Audience:    r.Audience,
		Now:         g.Now(),
		By:          by,
		Family:      first.Family.Digest(),
		Current:     first.Rotating.Digest(),
		Idle:        time.Duration(r.Client.Refresh.IdleLifetime) * time.Second,
	})
	if err != nil {
		return Result{}, codeRefused(err)
	}
	result := Result{
		Authorization: authorization(grant, asked, r.Audience),
		Undo:          func(ctx context.Context) error { return g.Grants.ReopenCode(ctx, grant.ID, by) },
	}
	facts := token.Facts{IDToken: grant.Claims, AccessToken: narrowed(grant.AccessClaims, r.Settings.Claims, result.Authorization.Scope)}
	result.Authorization.Person.Facts = func(context.Context) (token.Facts, error) { return facts, nil }
	result.Authorization.Person.Waits = true // for what is here already
	if policy.Refreshable(result.Authorization.Scope) {
		result.RefreshToken = first.Token()
	}
	return result, nil
}

// narrowed leaves of a snapshot what the claims map shows under the scope.
func narrowed(claims map[string]any, rules []store.ClaimRule, scope oauth.Scope) map[string]any {
	kept := maps.Clone(claims)
	for _, rule := range rules {
		if rule.Scope != "" && !scope.Has(rule.Scope) {
			delete(kept, rule.Claim)
		}
	}
	return kept
}

// bind is what a refresh token of this request is bound to, the first or a later
// one. RFC 9449 §5: one that is issued "to a public client that presents a valid DPoP
// proof at the token endpoint [...] MUST be bound to the respective public key"; a
// confidential one may change its key, but needs one.
func bind(r Request) string {
	if r.Key == "" || r.Client.Public() {
		return r.Key
	}
	return store.AnyKey
}

// authorization is what a grant allows, narrowed to what was asked for.
func authorization(grant store.Grant, asked oauth.Scope, audience []string) token.Authorization {
	scope := grant.Scope
	if len(asked) > 0 {
		scope = asked.Intersect(grant.Scope)
	}
	if audience == nil {
		audience = grant.Audience
	}
	return token.Authorization{
		GrantID:  grant.ID,
		ClientID: grant.ClientID,
		Subject:  grant.Subject,
		Scope:    scope,
		Audience: audience,
		Person: &token.Person{
			AuthTime:  grant.AuthTime,
			Nonce:     grant.Nonce,
			SessionID: grant.SessionID,
			Online:    grant.Online,
			Asked:     grant.Asked,
		},
	}
}

// codeRefused puts the reason into words. Who presents a code of another client,
// or one that was spent, learns no more than who presents a wrong one.
func codeRefused(err error) error {
	switch {
	case errors.Is(err, store.ErrVerifier):
		return oauth.InvalidGrant.Errorf("The code_verifier does not answer the code_challenge of the authorization request.").Named(oauth.CaseVerifier).Because(err)
	case errors.Is(err, store.ErrOtherKey):
		return oauth.InvalidDPoPProof.Errorf("The proof is not by the key that the authorization request named.").Because(err)
	case errors.Is(err, store.ErrRedirectURI):
		return oauth.InvalidGrant.Errorf("The redirect_uri is not the one of the authorization request.").Named(oauth.CaseCode).Because(err)
	case errors.Is(err, store.ErrScope), errors.Is(err, store.ErrAudience):
		return beyondGrant(err)
	case refusal(err):
		return oauth.InvalidGrant.Errorf("The authorization code is invalid, expired or already used.").Named(oauth.CaseCode).Because(err)
	default:
		return err
	}
}

func beyondGrant(err error) error {
	if errors.Is(err, store.ErrScope) {
		return oauth.InvalidScope.Errorf("The scope goes beyond what was granted.").Because(err)
	}
	return oauth.InvalidTarget.Errorf("The audience goes beyond what was granted.").Because(err)
}

// refusal reports whether the store decided against the request, rather than
// failed.
func refusal(err error) bool {
	for _, r := range []error{
		store.ErrNotFound, store.ErrOtherClient, store.ErrRevoked, store.ErrReplayed, store.ErrExpired, store.ErrUndone,
	} {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

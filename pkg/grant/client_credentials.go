// The client credentials grant (RFC 6749 §4.4).

package grant

import (
	"context"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// ClientCredentials serves client_credentials. It spends nothing and stores
// nothing; RFC 6749 §4.4.3: "A refresh token SHOULD NOT be included."
type ClientCredentials struct {
	APIs store.APIs
}

var _ Grant = ClientCredentials{}

// Spends is false: the jti of an assertion is used up while the token is signed.
func (ClientCredentials) Spends() bool { return false }

// Authorize grants the client what it has been given for the APIs.
func (g ClientCredentials) Authorize(ctx context.Context, r Request) (Result, error) {
	// RFC 6749 §4.4: the grant "MUST only be used by confidential clients".
	if r.Client.Public() {
		return Result{}, oauth.UnauthorizedClient.Errorf("A public client cannot use the grant type client_credentials.").
			Named(oauth.CaseGrantType).About(oauth.ClientCredentials)
	}
	asked, err := oauth.ParseScope(r.Get("scope"))
	if err != nil {
		return Result{}, err
	}
	// No scope is passed on: openid speaks of a person, and there is none.
	audience, err := policy.Audience(r.Client, r.Audience, r.Settings, nil)
	if err != nil {
		return Result{}, err
	}
	apis, err := findAPIs(ctx, g.APIs, audience)
	if err != nil {
		return Result{}, err
	}
	scope, err := policy.ClientScope(r.Client, apis, asked)
	if err != nil {
		return Result{}, err
	}
	return Result{Authorization: token.Authorization{
		ClientID: r.Client.ID,
		// RFC 9068 §2.2: "In cases of access tokens obtained through grants where no
		// resource owner is involved [...] the value of "sub" SHOULD correspond to an
		// identifier the authorization server uses to indicate the client application."
		Subject:  r.Client.ID,
		Scope:    scope,
		Audience: audience,
	}}, nil
}

// Package grant answers: what does the token endpoint give for a grant?
//
// A request walks one way (RFC 6749 §3.2): it is read once, after which nobody
// sees net/http; the client is identified, so that its scripts may read even a
// refusal, and authenticated; its grant type is allowed; the one Grant finds,
// checks and spends, which yields an Authorization; the issuer signs what that
// allows. Grants are spent before anything is signed: two requests that race
// can never both be answered. If signing fails afterwards, what was spent is
// given back, so that the client may try again.
//
// Every step that all grants share stands in the endpoint, where a new grant
// cannot forget it. A new grant type is one file with one struct, and one line
// in package server.
package grant

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/clientauth"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// A Grant serves one grant_type.
type Grant interface {
	// Authorize finds, checks and spends what the request presents.
	Authorize(ctx context.Context, client store.Client, r oauth.Request) (Result, error)
}

// A Result is what a grant yields.
type Result struct {
	Authorization token.Authorization
	// RefreshToken goes out with the tokens, "" for none.
	RefreshToken oauth.Secret
	// Undo gives back what was spent; nil where nothing was.
	Undo func(ctx context.Context) error
}

// An Endpoint is the token endpoint.
type Endpoint struct {
	Clients clientauth.Authenticator
	APIs    store.APIs
	// Grants are the grant types served, by their name on the wire.
	Grants map[string]Grant
	Issuer token.Issuer
}

// Serve answers one token request. It is a web.Handler.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	response, err := e.serve(w, r)
	if err != nil {
		return web.Busy(err, store.ErrBusy, jwt.ErrBusy)
	}
	return web.JSON(w, http.StatusOK, response)
}

func (e Endpoint) serve(w http.ResponseWriter, r *http.Request) (oauth.TokenResponse, error) {
	ctx := r.Context()
	web.AllowOrigin(w, "", nil) // the answer varies by origin even before a client is known
	request, unread := oauth.ReadRequest(r)
	claim, unknown := e.Clients.Identify(ctx, request)
	if unknown == nil {
		// A refusal too, even of a request at fault in another parameter, may be read
		// by the scripts of the client that it is for.
		web.Annotate(ctx, slog.String("client_id", claim.Client.ID))
		web.AllowOrigin(w, request.Origin, claim.Client.WebOrigins)
	}
	if err := cmp.Or(unread, unknown); err != nil {
		return oauth.TokenResponse{}, err
	}
	client, err := e.Clients.Authenticate(claim)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	grant, err := e.grant(client, request.Get("grant_type"))
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	web.Annotate(ctx, slog.String("grant_type", request.Get("grant_type")))
	result, err := grant.Authorize(ctx, client, request)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	web.Annotate(ctx, slog.String("sub", result.Authorization.Subject))
	return e.issue(ctx, request, result)
}

func (e Endpoint) grant(client store.Client, grantType string) (Grant, error) {
	if grantType == "" {
		return nil, oauth.InvalidRequest.Errorf("The grant_type is missing.")
	}
	grant, ok := e.Grants[grantType]
	if !ok {
		return nil, oauth.UnsupportedGrantType.Errorf("The grant_type is not supported.")
	}
	return grant, policy.MayUseGrant(client, grantType)
}

// undoTimeout bounds the giving back, which outlives the request's deadline.
const undoTimeout = 2 * time.Second

// issue signs, or gives back what was spent.
func (e Endpoint) issue(ctx context.Context, r oauth.Request, result Result) (oauth.TokenResponse, error) {
	// RFC 6749 §3.3: the server processes the request with a scope, "or fails the
	// request indicating an invalid scope". How much was granted is known only once
	// it is spent.
	if r.Get("scope") != "" && len(result.Authorization.Scope) == 0 {
		err := oauth.InvalidScope.Errorf("Nothing of the scope was granted.")
		return oauth.TokenResponse{}, errors.Join(err, giveBack(ctx, result))
	}
	response, err := e.sign(ctx, result)
	// A refusal keeps it spent: only what failed on our side may be tried again.
	if refusal := (*oauth.Error)(nil); err == nil || errors.As(err, &refusal) && refusal.Code.Status() < http.StatusInternalServerError {
		return response, err
	}
	return response, errors.Join(err, giveBack(ctx, result))
}

func giveBack(ctx context.Context, result Result) error {
	if result.Undo == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return result.Undo(ctx)
}

func (e Endpoint) sign(ctx context.Context, result Result) (oauth.TokenResponse, error) {
	authorization := result.Authorization
	lifetime, err := e.lifetime(ctx, authorization.Audience)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	authorization.Lifetime = lifetime
	response, err := e.Issuer.Issue(ctx, authorization)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	response.RefreshToken = result.RefreshToken.Reveal()
	return response, nil
}

// lifetime is the shortest that the APIs allow.
func (e Endpoint) lifetime(ctx context.Context, audience []string) (time.Duration, error) {
	lifetime := policy.TokenLifetime(nil)
	for i, identifier := range audience {
		api, err := findAPI(ctx, e.APIs, identifier)
		if err != nil {
			return 0, err
		}
		if l := policy.TokenLifetime(&api); i == 0 || l < lifetime {
			lifetime = l
		}
	}
	return lifetime, nil
}

func findAPI(ctx context.Context, apis store.APIs, identifier string) (store.API, error) {
	api, err := apis.API(ctx, identifier)
	if errors.Is(err, store.ErrNotFound) {
		return store.API{}, oauth.InvalidTarget.Errorf("There is no API %.256s.", identifier).Because(err)
	}
	return api, err
}

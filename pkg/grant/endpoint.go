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
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/clientauth"
	"kmint/pkg/dpop"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/once"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/trust"
	"kmint/pkg/web"
)

// A Grant serves one grant_type.
type Grant interface {
	// Spends reports whether Authorize writes. What else the request uses up, the
	// jti of an assertion or a proof, is then used up first: a request that is sent
	// twice must not spend twice.
	Spends() bool
	// Authorize finds, checks and spends what the request presents.
	Authorize(ctx context.Context, r Request) (Result, error)
}

// A Request is one that comes from a client that has proven itself.
type Request struct {
	oauth.Request
	Client   store.Client
	Settings store.Settings
	// Audience lists the APIs that the request names: nil where it names nothing, and
	// empty where it names the userinfo endpoint alone.
	Audience []string
	// Key is the thumbprint of the key that the request was proven by (RFC 9449),
	// "" for none.
	Key string
}

// A Result is what a grant yields.
type Result struct {
	Authorization token.Authorization
	// RefreshToken goes out with the tokens, "" for none.
	RefreshToken oauth.Secret
	// IssuedTokenType is from RFC 8693 §2.2.1, "" where it is no token exchange.
	IssuedTokenType string
	// Undo gives back what was spent; nil where nothing was.
	Undo func(ctx context.Context) error
}

// An Endpoint is the token endpoint.
type Endpoint struct {
	Clients  clientauth.Authenticator
	APIs     store.APIs
	Settings store.ServerSettings
	Issuers  store.Issuers
	DPoP     dpop.Verifier
	Uses     store.Uses
	// Grants are the grant types served, by their name on the wire.
	Grants map[string]Grant
	Issuer token.Issuer
	Now    func() time.Time
}

// Serve answers one token request. It is a web.Handler.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	response, profile, err := e.serve(w, r)
	if err != nil {
		return oauth.InProfile(web.Busy(err, store.ErrBusy, jwt.ErrBusy, trust.ErrUnavailable), profile)
	}
	return web.JSON(w, http.StatusOK, response)
}

// serve returns the error profile beside the answer: which one it is depends on
// the client.
func (e Endpoint) serve(w http.ResponseWriter, r *http.Request) (response oauth.TokenResponse, profile string, err error) {
	ctx := r.Context()
	web.AllowOrigin(w, "", nil) // the answer varies by origin even before a client is known
	request, unread := oauth.ReadRequest(r)
	defer func() { became(ctx, request.Get("grant_type"), response != oauth.TokenResponse{}, err) }()
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return oauth.TokenResponse{}, "", err
	}
	claim, unknown := e.Clients.Identify(ctx, request)
	profile = cmp.Or(claim.Client.ErrorProfile, settings.ErrorProfile)
	if unknown == nil {
		// A refusal too, even of a request at fault in another parameter, may be read
		// by the scripts of the client that it is for.
		web.Annotate(ctx, slog.String("client_id", claim.Client.ID))
		web.AllowOrigin(w, request.Origin, claim.Client.WebOrigins)
	}
	if err := cmp.Or(unread, unknown); err != nil {
		return oauth.TokenResponse{}, profile, err
	}
	response, err = e.answer(ctx, w, claim, settings, request)
	return response, profile, err
}

func (e Endpoint) answer(ctx context.Context, w http.ResponseWriter, claim clientauth.Claim, settings store.Settings, request oauth.Request) (oauth.TokenResponse, error) {
	authenticated, err := e.Clients.Authenticate(ctx, claim)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	grantType := request.Get("grant_type")
	grant, err := e.grant(authenticated.Client, settings, grantType)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	web.Annotate(ctx, slog.String("grant_type", grantType))
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	r := Request{Request: request, Client: authenticated.Client, Settings: settings, Audience: audience(request, issuer)}
	proof, err := e.proof(ctx, w, issuer, r)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	r.Key = proof.Key
	uses := &once.Batch{Uses: e.Uses, Now: e.Now}
	uses.Add(clientauth.Replayed(), authenticated.Uses...)
	uses.Add(dpop.Replayed(), proof.Use)
	response, err := e.walk(ctx, grant, r, uses)
	return response, uses.After(ctx, err)
}

// walk is everything that uses something up.
func (e Endpoint) walk(ctx context.Context, grant Grant, r Request, uses *once.Batch) (oauth.TokenResponse, error) {
	if grant.Spends() {
		if err := uses.Take(ctx); err != nil {
			return oauth.TokenResponse{}, err
		}
	}
	result, err := grant.Authorize(ctx, r)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	a := &result.Authorization
	web.Annotate(ctx, slog.String("sub", a.Subject))
	audit.Note(ctx, slog.String("grant", a.GrantID))
	if a.Person != nil {
		audit.Note(ctx, slog.String("sid", a.Person.SessionID))
	}
	a.Key, a.GrantType, a.IDTokenAlgorithm = r.Key, r.Get("grant_type"), r.Client.IDTokenAlgorithm
	return e.issue(ctx, r, result, uses)
}

// audience is what the request names, but the userinfo endpoint, which is no API:
// nil for nothing, empty for that endpoint alone.
func audience(r oauth.Request, issuer string) []string {
	named := r.Targets()
	return slices.DeleteFunc(named, func(name string) bool { return name == token.UserinfoAudience(issuer) })
}

func (e Endpoint) grant(client store.Client, settings store.Settings, grantType string) (Grant, error) {
	if grantType == "" {
		return nil, oauth.InvalidRequest.Errorf("The grant_type is missing.")
	}
	grant, ok := e.Grants[grantType]
	if !ok {
		return nil, oauth.UnsupportedGrantType.Errorf("The grant_type is not supported.")
	}
	return grant, policy.MayUseGrant(client, settings, grantType)
}

// proof checks the DPoP proof, if there is one or must be (RFC 9449 §5, §5.2, §8).
func (e Endpoint) proof(ctx context.Context, w http.ResponseWriter, issuer string, r Request) (dpop.Proof, error) {
	if len(r.DPoP) == 0 && !r.Client.DPoPBound {
		return dpop.Proof{}, nil
	}
	if len(r.DPoP) == 0 {
		return dpop.Proof{}, oauth.InvalidDPoPProof.Errorf("The client's tokens are bound to a key: the request needs a DPoP proof.")
	}
	nonce := r.Client.DPoPNonce || r.Settings.DPoPNonce
	if nonce {
		// RFC 9449 §8.2: a server "MAY supply the new nonce in the same way that the
		// initial one is supplied: by using a DPoP-Nonce HTTP header in the response".
		fresh, err := e.DPoP.Nonce(ctx)
		if err != nil {
			return dpop.Proof{}, err
		}
		w.Header().Set("DPoP-Nonce", fresh)
	}
	return e.DPoP.Verify(ctx, r.DPoP, dpop.Expected{
		Method: r.Method, URL: oauth.Endpoint(issuer, r.Path), Nonce: nonce,
	})
}

// issue signs, or gives back what was spent.
func (e Endpoint) issue(ctx context.Context, r Request, result Result, uses *once.Batch) (oauth.TokenResponse, error) {
	if person := result.Authorization.Person; person != nil && policy.LoginEnded(r.Client, r.Settings, person.AuthTime) {
		return oauth.TokenResponse{}, loginEnded(r)
	}
	// Even a refusal gives back: the client may ask for less.
	if err := e.complete(ctx, r, &result); err != nil {
		return oauth.TokenResponse{}, errors.Join(err, giveBack(ctx, result))
	}
	response, err := e.mint(ctx, result, uses)
	// From here on one keeps it spent: only what failed on our side may be tried again.
	if err == nil || !oauth.AsError(err).Ours() {
		return response, err
	}
	return response, errors.Join(err, giveBack(ctx, result))
}

// loginEnded refuses what came of a login before the not_before of the client or
// the server, like what has been revoked.
func loginEnded(r Request) error {
	cause := errors.New("the not_before of the client, or of the server, is after the login")
	switch r.Get("grant_type") {
	case oauth.AuthorizationCode:
		return codeRefused(fmt.Errorf("%w: %w", store.ErrRevoked, cause))
	case oauth.RefreshToken:
		return refreshRefused(cause)
	default:
		return oauth.InvalidRequest.Errorf("The login has ended.").Because(cause)
	}
}

// complete finds the APIs, and takes from them what the tokens are to be.
func (e Endpoint) complete(ctx context.Context, r Request, result *Result) error {
	a := &result.Authorization
	apis, err := findAPIs(ctx, e.APIs, a.Audience)
	if err != nil {
		return err
	}
	format, err := policy.FormatOf(apis)
	if err != nil {
		return err
	}
	a.Format = token.Format{
		Dialect:  format.Dialect,
		Key:      jwt.Choice{Algorithm: format.Algorithm, KeyID: format.KeyID},
		Lifetime: policy.TokenLifetime(apis),
	}
	if a.Person != nil {
		if a.Scope, err = allowed(r, apis, a.Scope); err != nil {
			return err
		}
		// Not by the scope of these tokens, which the request may have narrowed.
		if result.RefreshToken != "" && !policy.MayRefresh(r.Client, apis, a.Person.Online) {
			if a.Only == oauth.RefreshTokenType {
				return oauth.InvalidScope.Errorf("The APIs allow no refresh token.")
			}
			result.RefreshToken = "" // the client, or an API, allows it no more
		}
	}
	a.Claims = token.ClientClaims(r.Client, r.Settings.Claims, a.Scope)
	return nil
}

// allowed leaves of a person's scope what policy allows at the APIs today: a grant
// may be older than a change of the configuration, and narrower APIs have fewer
// scope values.
func allowed(r Request, apis []store.API, scope oauth.Scope) (oauth.Scope, error) {
	scope, err := policy.UserScope(r.Client, apis, scope)
	switch {
	case err != nil:
		return nil, err
	// RFC 6749 §3.3: the server processes the request with a scope, "or fails the
	// request indicating an invalid scope". How much was granted is known only once
	// it is spent.
	case r.Get("scope") != "" && len(scope) == 0:
		return nil, oauth.InvalidScope.Errorf("Nothing of the scope was granted.")
	case len(apis) == 0 && !scope.Has(oauth.OpenID):
		return nil, oauth.InvalidScope.Errorf("Without openid and without an API the token would be for nothing.")
	default:
		return scope, nil
	}
}

func giveBack(ctx context.Context, result Result) error {
	if result.Undo == nil {
		return nil
	}
	ctx, cancel := store.GivingBack(ctx)
	defer cancel()
	return result.Undo(ctx)
}

// mint signs, and meanwhile takes what is not yet used up.
func (e Endpoint) mint(ctx context.Context, result Result, uses *once.Batch) (oauth.TokenResponse, error) {
	var response oauth.TokenResponse
	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { return uses.Take(ctx) })
	work.Go(func() (err error) {
		response, err = e.Issuer.Issue(workCtx, result.Authorization)
		return err
	})
	if err := work.Wait(); err != nil {
		return oauth.TokenResponse{}, err
	}
	response.RefreshToken = result.RefreshToken.Reveal()
	if result.IssuedTokenType == oauth.RefreshTokenType {
		// RFC 8693 §2.2.1: the name access_token is "for historical reasons [...] even
		// though it is not necessarily an OAuth access token".
		response.AccessToken, response.RefreshToken = response.RefreshToken, ""
		response.ExpiresIn = int64(result.Authorization.NotAfter.Sub(e.Now()) / time.Second)
	}
	response.IssuedTokenType = result.IssuedTokenType
	return response, nil
}

func findAPI(ctx context.Context, apis store.APIs, identifier string) (store.API, error) {
	api, err := apis.API(ctx, identifier)
	if errors.Is(err, store.ErrNotFound) {
		return store.API{}, oauth.InvalidTarget.Errorf("There is no API %.256s.", identifier).Named(oauth.CaseUnknownAudience).About(identifier).Because(err)
	}
	return api, err
}

func findAPIs(ctx context.Context, apis store.APIs, identifiers []string) ([]store.API, error) {
	var found []store.API
	for _, identifier := range identifiers {
		api, err := findAPI(ctx, apis, identifier)
		if err != nil {
			return nil, err
		}
		found = append(found, api)
	}
	return found, nil
}

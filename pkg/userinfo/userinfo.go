// Package userinfo answers: who is this access token about?
//
// It is the UserInfo endpoint (OpenID Connect Core 1.0 §5.3), a resource that
// takes bearer tokens (RFC 6750). The token is verified by its signature; then
// the grant it came of and the person are read side by side, so that a revoked
// grant ends it at once.
package userinfo

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// An Endpoint is the UserInfo endpoint.
type Endpoint struct {
	Issuers store.Issuers
	Keys    jwt.KeySet
	Clients store.Clients
	Grants  store.GrantReader
	Users   store.Users
	Now     func() time.Time
}

// Serve answers with the claims that the token's scope lets its client see. It
// is a web.Handler.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	claims, err := e.serve(w, r)
	if err != nil {
		return challenge(w, web.Busy(err, store.ErrBusy, jwt.ErrBusy))
	}
	return web.JSON(w, http.StatusOK, claims)
}

func (e Endpoint) serve(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	ctx := r.Context()
	web.AllowOrigin(w, "", nil)
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return nil, err
	}
	bearer, err := bearerToken(request)
	if err != nil {
		return nil, err
	}
	// A token that has expired still says whose scripts may read that it has.
	access, err := e.verify(ctx, bearer)
	if err != nil {
		return nil, err
	}
	web.Annotate(ctx, slog.String("client_id", access.ClientID), slog.String("sub", access.Subject), slog.String("grant", access.GrantID))
	client, err := e.Clients.Client(ctx, access.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, invalid(errors.New("the client is gone"))
	}
	if err != nil {
		return nil, err
	}
	web.AllowOrigin(w, request.Origin, client.WebOrigins)
	if e.Now().Unix() >= access.Expiry {
		return nil, invalid(errors.New("the token has expired"))
	}

	scope, err := oauth.ParseScope(access.Scope)
	if err != nil {
		return nil, invalid(err)
	}
	if !scope.Has(oauth.OpenID) {
		return nil, oauth.InsufficientScope.Errorf("The access token was not granted the scope openid.")
	}
	user, err := e.person(ctx, access)
	if err != nil {
		return nil, err
	}
	claims := token.UserClaims(user, scope)
	// OpenID Connect Core 1.0 §5.3.2: "The sub (subject) Claim MUST always be
	// returned in the UserInfo Response."
	claims["sub"] = user.Subject
	return claims, nil
}

// verify checks everything about the token but its age.
func (e Endpoint) verify(ctx context.Context, bearer oauth.Secret) (token.AccessToken, error) {
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return token.AccessToken{}, err
	}
	var access token.AccessToken
	err = jwt.Verify(ctx, e.Keys, bearer.Reveal(), jwt.Expected{
		Type:         jwt.TypAccessToken,
		Issuer:       issuer,
		Audience:     token.UserinfoAudience(issuer),
		Now:          e.Now(),
		AllowExpired: true, // serve looks at that
	}, &access)
	if errors.Is(err, jwt.ErrKeySet) {
		return token.AccessToken{}, err
	}
	if err != nil {
		return token.AccessToken{}, invalid(err)
	}
	return access, nil
}

// person reads the grant and the user side by side.
func (e Endpoint) person(ctx context.Context, access token.AccessToken) (store.User, error) {
	var (
		grant store.Grant
		user  store.User
	)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) { grant, err = e.Grants.Grant(ctx, access.GrantID); return err })
	work.Go(func() (err error) { user, err = e.Users.User(ctx, access.Subject); return err })
	err := work.Wait()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.User{}, invalid(errors.New("the grant or the user is gone"))
	case err != nil:
		return store.User{}, err
	case !grant.Revoked.IsZero():
		return store.User{}, invalid(errors.New("the grant is revoked"))
	case grant.Subject != access.Subject || grant.ClientID != access.ClientID:
		return store.User{}, invalid(errors.New("the grant is another's"))
	}
	return user, nil
}

// errNoToken is answered by a bare challenge.
var errNoToken = oauth.InvalidToken.Errorf("The request has no access token.")

// bearerToken finds the token in the header (RFC 6750 §2.1) or in the form body
// of a POST (§2.2). RFC 6750 §2: "Clients MUST NOT use more than one method to
// transmit the token in each request."
func bearerToken(r oauth.Request) (oauth.Secret, error) {
	inHeader := r.Authorization != ""
	parameter := r.Get("access_token")
	switch {
	case inHeader && parameter != "":
		return "", oauth.InvalidRequest.Errorf("The request sends the access token by two methods.")
	case inHeader:
		// RFC 6750 §3.1: one who "attempted using an unsupported authentication method"
		// is told no more than one who sent nothing.
		bearer, ok := oauth.BearerToken(r.Authorization)
		if !ok {
			return "", errNoToken
		}
		return bearer, nil
	case parameter != "" && r.Method != http.MethodPost:
		// RFC 9700 §2.6 and OAuth 2.1 drop the query method of RFC 6750 §2.3: a URL
		// ends up in logs.
		return "", oauth.InvalidRequest.Errorf("An access token must not be sent in the URL; send it in the Authorization header.")
	case parameter != "":
		return oauth.Secret(parameter), nil
	default:
		return "", errNoToken
	}
}

func invalid(cause error) error {
	return oauth.InvalidToken.Errorf("The access token is invalid, expired or revoked.").Because(cause)
}

// challenge sets WWW-Authenticate (RFC 6750 §3). "If the request lacks any
// authentication information [...], the resource server SHOULD NOT include an
// error code or other error information" (§3.1).
func challenge(w http.ResponseWriter, err error) error {
	e := oauth.AsError(err)
	value := `Bearer realm="kmint"`
	switch {
	case e == errNoToken:
	case e.Code == oauth.InsufficientScope:
		value += `, error="insufficient_scope", error_description="` + e.Description + `", scope="openid"`
	case e.Code == oauth.InvalidToken || e.Code == oauth.InvalidRequest:
		value += `, error="` + string(e.Code) + `", error_description="` + e.Description + `"`
	default:
		return err
	}
	w.Header().Set("WWW-Authenticate", value)
	return err
}

// Package userinfo answers: who is this access token about?
//
// It is the UserInfo endpoint (OpenID Connect Core 1.0 §5.3), a resource that
// takes bearer tokens (RFC 6750) and those that are bound to a key (RFC 9449 §7),
// in every dialect that we make. The token is verified by itself; then all that may
// have ended it and the person are read side by side, so that a revoked grant, an
// ended session or a blocked person ends it at once.
package userinfo

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/dpop"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/once"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// An Endpoint is the UserInfo endpoint.
type Endpoint struct {
	Issuers  store.Issuers
	Clients  store.Clients
	Settings store.ServerSettings
	// Tokens reads access tokens.
	Tokens   token.Reader
	Grants   store.GrantReader
	Users    store.Users
	Sessions store.SessionReader
	Revoked  store.RevokedTokens
	DPoP     dpop.Verifier
	Uses     store.Uses
	Now      func() time.Time
}

// Serve answers with the claims that the token's scope lets its client see. It
// is a web.Handler.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	claims, err := e.serve(w, r)
	if err != nil {
		return refuse(w, r, web.Busy(err, store.ErrBusy, jwt.ErrBusy))
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
	presented, err := accessToken(request)
	if err != nil {
		return nil, err
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return nil, err
	}
	url := token.UserinfoAudience(issuer)
	// A token that has expired still says whose scripts may read that it has.
	access, err := e.Tokens.Access(ctx, presented, url, true)
	if errors.Is(err, token.ErrNotOurs) {
		return nil, invalid(err)
	}
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
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if e.Now().Unix() >= access.Expiry {
		return nil, invalid(errors.New("the token has expired"))
	}
	proof, err := e.proof(ctx, w, request, dpop.Expected{
		Method: request.Method, URL: url, Token: presented, Nonce: client.DPoPNonce || settings.DPoPNonce,
	}, access)
	if err != nil {
		return nil, err
	}
	scope, err := oauth.ParseScope(access.Scope)
	if err != nil {
		return nil, invalid(err)
	}
	if !scope.Has(oauth.OpenID) {
		return nil, oauth.InsufficientScope.Errorf("The access token was not granted the scope openid.")
	}
	var user store.User
	var grant store.Grant
	uses := &once.Batch{Uses: e.Uses, Now: e.Now}
	uses.Add(dpop.Replayed(), proof.Use)
	err = uses.Then(ctx, func() (err error) {
		user, grant, err = e.person(ctx, access, client, settings)
		return err
	})
	if err != nil {
		return nil, err
	}
	claims := token.FactsOf(user, client, settings.Claims, scope).IDToken
	// What one client has asked for is not shown to another, which has got its token by
	// an exchange.
	if grant.ClientID == access.ClientID {
		asked, err := token.ParseClaimsRequest(grant.Asked)
		if err != nil {
			return nil, err
		}
		claims = asked.UserinfoClaims(user, claims)
	}
	// OpenID Connect Core 1.0 §5.3.2: "The sub (subject) Claim MUST always be
	// returned in the UserInfo Response."
	claims["sub"] = user.Subject
	return claims, nil
}

// person reads all that the token hangs on, side by side, and returns whom it is
// about, and the grant that it came of, if of one.
func (e Endpoint) person(ctx context.Context, access token.AccessToken, client store.Client, settings store.Settings) (store.User, store.Grant, error) {
	// A client that acts in its own name is nobody, whatever people are called.
	if access.Machine() {
		return store.User{}, store.Grant{}, invalid(errors.New("the token speaks for no person"))
	}
	var (
		grant   store.Grant
		user    store.User
		session store.Session
		revoked bool
	)
	request := ctx
	work, ctx := errgroup.WithContext(ctx)
	// A token that was exchanged for another need not hang on a grant.
	if access.GrantID != "" {
		work.Go(func() (err error) { grant, err = e.Grants.Grant(ctx, access.GrantID); return err })
	}
	if access.SessionID != "" {
		work.Go(func() (err error) {
			session, err = e.Sessions.Session(ctx, oauth.Digest(access.SessionID), e.Now())
			return err
		})
	}
	work.Go(func() (err error) { user, err = e.Users.User(ctx, access.Subject); return err })
	work.Go(func() (err error) { revoked, err = e.Revoked.TokenRevoked(ctx, access.ID, e.Now()); return err })
	err := work.Wait()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.User{}, store.Grant{}, invalid(errors.New("the grant, the session or the user is gone"))
	case err != nil:
		return store.User{}, store.Grant{}, err
	case revoked:
		return store.User{}, store.Grant{}, invalid(errors.New("the token is revoked"))
	case access.GrantID != "" && grant.Subject != access.Subject,
		access.SessionID != "" && session.Subject != access.Subject:
		return store.User{}, store.Grant{}, invalid(errors.New("the grant or the session is another's"))
	}
	// The login; where it was elsewhere, the issuing. The grant knows the millisecond.
	begun := time.Unix(cmp.Or(access.AuthTime, access.IssuedAt), 0)
	if access.GrantID != "" {
		begun = grant.AuthTime
	}
	if user.Ended(begun) || policy.LoginEnded(client, settings, begun) {
		return store.User{}, store.Grant{}, invalid(errors.New("the user is blocked, or the login was ended"))
	}
	if access.GrantID == "" {
		return user, grant, nil
	}
	return user, grant, e.stands(request, settings, grant, access.ClientID)
}

// errNoToken is answered by a bare challenge.
var errNoToken = oauth.InvalidToken.Errorf("The request has no access token.")

// accessToken finds the token in the header (RFC 6750 §2.1, RFC 9449 §7.1) or in the
// form body of a POST (RFC 6750 §2.2). RFC 6750 §2: "Clients MUST NOT use more than
// one method to transmit the token in each request."
func accessToken(r oauth.Request) (oauth.Secret, error) {
	inHeader := r.Authorization != ""
	parameter := r.Get("access_token")
	switch {
	case inHeader && parameter != "":
		return "", oauth.InvalidRequest.Errorf("The request sends the access token by two methods.")
	case inHeader:
		// RFC 6750 §3.1: one who "attempted using an unsupported authentication method"
		// is told no more than one who sent nothing.
		presented, ok := oauth.BearerToken(r.Authorization)
		if !ok {
			presented, ok = dpopToken(r.Authorization)
		}
		if !ok {
			return "", errNoToken
		}
		return presented, nil
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

// Package introspect answers: does this token count, and what does it say (RFC
// 7662)?
//
// Who asks is a confidential client. One that is an API sees the tokens that are
// for it, and of each only what is for it; every one sees its own. All else is
// inactive without a word more: a token of others, of nobody, or none. So is one
// that was revoked, or whose grant, session, person or client has ended, which is
// what a JWT itself cannot say: these are read side by side, each time.
package introspect

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/clientauth"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/once"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// An Endpoint is the introspection endpoint.
type Endpoint struct {
	Authenticator clientauth.Authenticator
	Clients       store.Clients
	APIs          store.APIs
	Settings      store.ServerSettings
	// Tokens reads access tokens.
	Tokens   token.Reader
	Grants   store.GrantReader
	Users    store.Users
	Sessions store.SessionReader
	Revoked  store.RevokedTokens
	Uses     store.Uses
	Now      func() time.Time
}

// A Response is that of RFC 7662 §2.2. A token that does not count has Active
// alone: "the authorization server [...] SHOULD NOT include any additional
// information about an inactive token, including why the token is inactive."
type Response struct {
	Active   bool         `json:"active"`
	Scope    string       `json:"scope,omitempty"`
	ClientID string       `json:"client_id,omitempty"`
	Type     string       `json:"token_type,omitempty"` // none for a refresh token
	Expiry   int64        `json:"exp,omitempty"`
	IssuedAt int64        `json:"iat,omitempty"`
	AuthTime int64        `json:"auth_time,omitempty"` // RFC 9470 §6.2
	Subject  string       `json:"sub,omitempty"`
	Audience jwt.Audience `json:"aud,omitempty"`
	Issuer   string       `json:"iss,omitempty"`
	ID       string       `json:"jti,omitempty"`
	// Confirmation is from RFC 9449 §6.2.
	Confirmation token.Confirmation `json:"cnf,omitzero"`
	Actor        map[string]any     `json:"act,omitempty"` // RFC 8693 §4.1
}

// errInactive is the cause that the log reads, and nobody else.
var errInactive = errors.New("introspect: inactive")

func inactive(cause string) error { return errors.Join(errInactive, errors.New(cause)) }

// Serve answers one request. It is a web.Handler, for an edge that forbids caching.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	response, profile, err := e.serve(r)
	if err != nil {
		if oauth.AsError(err).Code == oauth.InvalidClient {
			audit.Happened(r.Context(), audit.ClientAuthFailed)
		}
		return oauth.InProfile(web.Busy(err, store.ErrBusy, jwt.ErrBusy), profile)
	}
	return web.JSON(w, http.StatusOK, response)
}

// serve returns the error profile of the client beside the answer.
func (e Endpoint) serve(r *http.Request) (Response, string, error) {
	ctx := r.Context()
	request, unread := oauth.ReadRequest(r)
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return Response{}, "", err
	}
	claim, unknown := e.Authenticator.Identify(ctx, request)
	profile := cmp.Or(claim.Client.ErrorProfile, settings.ErrorProfile)
	if unknown == nil {
		web.Annotate(ctx, slog.String("client_id", claim.Client.ID))
	}
	if err := cmp.Or(unread, unknown); err != nil {
		return Response{}, profile, err
	}
	authenticated, err := e.Authenticator.Authenticate(ctx, claim)
	if err != nil {
		return Response{}, profile, err
	}
	// RFC 7662 §2.1: "To prevent token scanning attacks, the endpoint MUST also
	// require some form of authorization to access this endpoint".
	if authenticated.Client.Public() {
		return Response{}, profile, oauth.UnauthorizedClient.Errorf("A public client cannot introspect tokens.")
	}
	if request.Get("token") == "" {
		return Response{}, profile, oauth.InvalidRequest.Errorf("The token is missing.")
	}
	var response Response
	uses := &once.Batch{Uses: e.Uses, Now: e.Now}
	uses.Add(clientauth.Replayed(), authenticated.Uses...)
	err = uses.Then(ctx, func() (err error) {
		response, err = e.introspect(ctx, authenticated.Client, settings, oauth.Secret(request.Get("token")))
		return err
	})
	return response, profile, err
}

// introspect needs no token_type_hint: what kind the token is of can be read from
// it.
func (e Endpoint) introspect(ctx context.Context, client store.Client, settings store.Settings, presented oauth.Secret) (Response, error) {
	var response Response
	var err error
	if handle, ok := oauth.ParseRefreshHandle(presented.Reveal()); ok {
		response, err = e.refreshToken(ctx, client, settings, handle)
	} else {
		response, err = e.accessToken(ctx, client, settings, presented)
	}
	if errors.Is(err, errInactive) || errors.Is(err, token.ErrNotOurs) {
		web.Annotate(ctx, slog.Bool("active", false), slog.String("cause", err.Error()))
		return Response{}, nil
	}
	if err == nil {
		web.Annotate(ctx, slog.Bool("active", true), slog.String("sub", response.Subject))
	}
	return response, err
}

func (e Endpoint) accessToken(ctx context.Context, client store.Client, settings store.Settings, presented oauth.Secret) (Response, error) {
	t, err := e.Tokens.Access(ctx, presented, "", false)
	if err != nil {
		return Response{}, err
	}
	own := t.ClientID == client.ID
	if !own && (client.ResourceServer == "" || !slices.Contains(t.Audience, client.ResourceServer)) {
		return Response{}, inactive("the token is neither the client's nor for it")
	}
	if err := e.alive(ctx, settings, t); err != nil {
		return Response{}, err
	}
	response := Response{
		Active:       true,
		Scope:        t.Scope,
		ClientID:     t.ClientID,
		Type:         oauth.Bearer,
		Expiry:       t.Expiry,
		IssuedAt:     t.IssuedAt,
		AuthTime:     t.AuthTime,
		Subject:      t.Subject,
		Audience:     t.Audience,
		Issuer:       t.Issuer,
		ID:           t.ID,
		Confirmation: t.Confirmation,
		Actor:        t.Actor,
	}
	if t.Confirmation.Key != "" {
		response.Type = oauth.DPoP
	}
	if own {
		return response, nil
	}
	return e.narrowed(ctx, response, client.ResourceServer)
}

// narrowed leaves of the response what is for the API. RFC 7662 §2.2: the server
// "MAY limit which scopes from a given token are returned for each protected
// resource to prevent a protected resource from learning more about the larger
// network than is necessary for its function."
func (e Endpoint) narrowed(ctx context.Context, response Response, identifier string) (Response, error) {
	api, err := e.APIs.API(ctx, identifier)
	if errors.Is(err, store.ErrNotFound) {
		return Response{}, inactive("the API is gone")
	}
	if err != nil {
		return Response{}, err
	}
	scope, err := oauth.ParseScope(response.Scope)
	if err != nil {
		return Response{}, err
	}
	scope = slices.DeleteFunc(scope, func(value string) bool { _, has := api.Scopes[value]; return !has })
	response.Scope, response.Audience = scope.String(), jwt.Audience{identifier}
	return response, nil
}

// alive reads, side by side, all that may have ended the token.
func (e Endpoint) alive(ctx context.Context, settings store.Settings, t token.AccessToken) error {
	client, err := e.Clients.Client(ctx, t.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return inactive("the client is gone")
	}
	if err != nil {
		return err
	}
	// What a not_before is compared with: the login, or, where there was none, the
	// issuing.
	begun := time.Unix(cmp.Or(t.AuthTime, t.IssuedAt), 0)
	// One who logged in elsewhere, and whose token was exchanged here, need not be
	// one of our users.
	foreign := t.AuthTime == 0 && t.GrantID == ""
	var grant store.Grant
	var user store.User
	read, readCtx := errgroup.WithContext(ctx)
	if t.GrantID != "" {
		read.Go(func() (err error) { grant, err = e.Grants.Grant(readCtx, t.GrantID); return gone(err, "grant") })
	}
	if !t.Machine() {
		read.Go(func() (err error) {
			user, err = e.Users.User(readCtx, t.Subject)
			if foreign && errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return gone(err, "user")
		})
	}
	if foreign && !t.Machine() {
		read.Go(func() error { return e.exchanged(readCtx, settings, t) })
	}
	if t.SessionID != "" {
		read.Go(func() error { return e.session(readCtx, t.SessionID) })
	}
	read.Go(func() error {
		revoked, err := e.Revoked.TokenRevoked(readCtx, t.ID, e.Now())
		if revoked {
			return inactive("the token is revoked")
		}
		return err
	})
	if err := read.Wait(); err != nil {
		return err
	}
	if t.GrantID != "" {
		begun = grant.AuthTime // to the millisecond
	}
	if t.GrantID != "" && grant.Subject != t.Subject {
		return inactive("the grant is another's")
	}
	if err := ended(begun, user, client, settings); err != nil || t.GrantID == "" {
		return err
	}
	return e.stands(ctx, settings, grant, t.ClientID)
}

// exchanged judges a token that another client was given for a machine's own, if it is
// one: then the machine's client_id is its sub.
func (e Endpoint) exchanged(ctx context.Context, settings store.Settings, t token.AccessToken) error {
	client, err := e.Clients.Client(ctx, t.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return ended(time.Unix(t.IssuedAt, 0), store.User{}, client, settings)
}

// ended compares what began then with all that ends older things.
func ended(begun time.Time, user store.User, client store.Client, settings store.Settings) error {
	switch {
	case user.Ended(begun):
		return inactive("the user is blocked, or the login was ended")
	case policy.LoginEnded(client, settings, begun):
		return inactive("the older tokens of the client, or all, were ended")
	default:
		return nil
	}
}

// stands judges a grant that a token of the client hangs on, and the one that it was
// made of by exchange. It may be another client's, whose token this one was exchanged
// for.
func (e Endpoint) stands(ctx context.Context, settings store.Settings, grant store.Grant, clientID string) error {
	if !grant.Revoked.IsZero() {
		return inactive("the grant is revoked")
	}
	if grant.ClientID != clientID {
		client, err := e.Clients.Client(ctx, grant.ClientID)
		if err != nil {
			return gone(err, "client of the grant")
		}
		if err := ended(grant.AuthTime, store.User{}, client, settings); err != nil {
			return err
		}
	}
	if grant.Parent == "" {
		return nil
	}
	parent, err := e.Grants.Grant(ctx, grant.Parent)
	if err != nil {
		return gone(err, "grant before")
	}
	return e.stands(ctx, settings, parent, grant.ClientID)
}

func (e Endpoint) session(ctx context.Context, sid string) error {
	_, err := e.Sessions.Session(ctx, oauth.Digest(sid), e.Now())
	return gone(err, "session")
}

func gone(err error, what string) error {
	if errors.Is(err, store.ErrNotFound) {
		return inactive("the " + what + " is gone")
	}
	return err
}

// refreshToken finds the client's own, if it is the current one. The person is
// known from the grant alone, which is why that is read first.
func (e Endpoint) refreshToken(ctx context.Context, client store.Client, settings store.Settings, handle oauth.RefreshHandle) (Response, error) {
	issuer, err := e.Tokens.Issuers.Issuer(ctx)
	if err != nil {
		return Response{}, err
	}
	grant, err := e.Grants.Grant(ctx, handle.GrantID)
	if err != nil {
		return Response{}, gone(err, "grant")
	}
	now := e.Now()
	switch {
	case grant.ClientID != client.ID:
		return Response{}, inactive("the grant is another client's")
	case !grant.Family.Equal(handle.Family.Digest()) || !grant.Current.Equal(handle.Rotating.Digest()):
		return Response{}, inactive("the refresh token is not the current one")
	case !now.Before(grant.End) || !now.Before(grant.IdleExpires):
		return Response{}, inactive("the refresh token has expired")
	}
	var user store.User
	read, readCtx := errgroup.WithContext(ctx)
	read.Go(func() (err error) { user, err = e.Users.User(readCtx, grant.Subject); return gone(err, "user") })
	read.Go(func() error { return e.stands(readCtx, settings, grant, client.ID) })
	if grant.Online {
		read.Go(func() error { return e.session(readCtx, grant.SessionID) })
	}
	if err := read.Wait(); err != nil {
		return Response{}, err
	}
	if err := ended(grant.AuthTime, user, client, settings); err != nil {
		return Response{}, err
	}
	response := Response{
		Active:   true,
		Scope:    grant.Scope.String(),
		ClientID: grant.ClientID,
		Expiry:   grant.End.Unix(),
		AuthTime: grant.AuthTime.Unix(),
		Subject:  grant.Subject,
		Audience: grant.Audience,
		Issuer:   issuer,
	}
	if grant.IdleExpires.Before(grant.End) {
		response.Expiry = grant.IdleExpires.Unix()
	}
	if grant.RefreshKey != store.AnyKey {
		response.Confirmation.Key = grant.RefreshKey
	}
	return response, nil
}

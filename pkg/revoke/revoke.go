// Package revoke answers: what does a client give back (RFC 7009)?
//
// A refresh token, of whichever generation, ends its grant, and all tokens that
// came of it: who has ever held one may end the grant, never use it. An access
// token ends alone. A client ends what is its own; everything else is answered
// alike, so that nobody learns by it which tokens there are.
package revoke

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/clientauth"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/once"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// An Endpoint is the revocation endpoint.
type Endpoint struct {
	Clients  clientauth.Authenticator
	Settings store.ServerSettings
	// Tokens reads access tokens.
	Tokens      token.Reader
	Revocations store.Revocations
	Uses        store.Uses
	Now         func() time.Time
}

// Serve answers one request: 200 without a body. It is a web.Handler.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	profile, err := e.serve(w, r)
	if err != nil {
		if oauth.AsError(err).Code == oauth.InvalidClient {
			audit.Happened(r.Context(), audit.ClientAuthFailed)
		}
		return oauth.InProfile(web.Busy(err, store.ErrBusy, jwt.ErrBusy), profile)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// serve returns the error profile of the client.
func (e Endpoint) serve(w http.ResponseWriter, r *http.Request) (string, error) {
	ctx := r.Context()
	web.AllowOrigin(w, "", nil)
	request, unread := oauth.ReadRequest(r)
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return "", err
	}
	claim, unknown := e.Clients.Identify(ctx, request)
	profile := cmp.Or(claim.Client.ErrorProfile, settings.ErrorProfile)
	if unknown == nil {
		web.Annotate(ctx, slog.String("client_id", claim.Client.ID))
		web.AllowOrigin(w, request.Origin, claim.Client.WebOrigins)
	}
	if err := cmp.Or(unread, unknown); err != nil {
		return profile, err
	}
	authenticated, err := e.Clients.Authenticate(ctx, claim)
	if err != nil {
		return profile, err
	}
	if request.Get("token") == "" {
		return profile, oauth.InvalidRequest.Errorf("The token is missing.")
	}
	uses := &once.Batch{Uses: e.Uses, Now: e.Now}
	uses.Add(clientauth.Replayed(), authenticated.Uses...)
	return profile, uses.Then(ctx, func() error {
		return e.revoke(ctx, authenticated.Client, oauth.Secret(request.Get("token")))
	})
}

// revoke ends what the token is, if it is the client's. What kind it is of can be
// read from it: RFC 7009 §2.1, a server "MAY ignore" the token_type_hint. §2.2:
// "invalid tokens do not cause an error response since the client cannot handle
// such an error in a reasonable way."
func (e Endpoint) revoke(ctx context.Context, client store.Client, presented oauth.Secret) error {
	if handle, ok := oauth.ParseRefreshHandle(presented.Reveal()); ok {
		return e.grant(ctx, client, handle)
	}
	access, err := e.Tokens.Access(ctx, presented, "", false)
	switch {
	case errors.Is(err, token.ErrNotOurs):
		return nothing(ctx, err)
	case err != nil:
		return err
	case access.ClientID != client.ID:
		return nothing(ctx, store.ErrOtherClient)
	}
	web.Annotate(ctx, slog.String("revoked", "access_token"), slog.String("sub", access.Subject))
	err = e.Revocations.RevokeToken(ctx, access.ID, time.Unix(access.Expiry, 0))
	if err == nil {
		audit.Happened(ctx, audit.TokenRevoked, slog.String("jti", access.ID), slog.String("grant", access.GrantID))
	}
	return err
}

func (e Endpoint) grant(ctx context.Context, client store.Client, handle oauth.RefreshHandle) error {
	web.Annotate(ctx, slog.String("grant", handle.GrantID))
	err := e.Revocations.RevokeGrant(ctx, store.Revocation{
		GrantID: handle.GrantID, ClientID: client.ID, Family: handle.Family.Digest(), Now: e.Now(),
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrOtherClient) {
		return nothing(ctx, err)
	}
	if err == nil {
		web.Annotate(ctx, slog.String("revoked", "refresh_token"))
		audit.Happened(ctx, audit.GrantRevoked)
	}
	return err
}

// nothing tells the log alone why nothing was revoked.
func nothing(ctx context.Context, cause error) error {
	web.Annotate(ctx, slog.String("revoked", "nothing"), slog.String("cause", cause.Error()))
	return nil
}

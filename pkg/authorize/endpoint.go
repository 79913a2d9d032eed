// Package authorize answers: what may this client have for the person at this
// browser?
//
// It is the authorization endpoint (RFC 6749 §3.1, OpenID Connect Core 1.0
// §3.1.2). A request walks one way:
//
//	step      a login form or a consent form that comes back: is it ours? It carries the request it was shown for.
//	          One that is too old is shown once more, or begins anew at the client, and nothing of it is used
//	target    client known, redirect URI registered? Until then an error is a page, never a redirect.
//	          What a request object says counts from here on
//	validate  the rest of the request; from here on an error is sent to the target
//	decide    session, prompt, max_age, id_token_hint, password: who is the person, or show the login page;
//	          consent: has the person let the client have it, or show the consent page
//	grant     one write of the code's digest and all that may come of it; then, where the client
//	          is registered for it, what leaves from here is signed
//	respond   by response mode
//
// A target is a value that exists only once the redirect URI is known to be the
// client's own, and nothing but a target can redirect: there is no open redirect
// to forget about.
//
// The login page is no detour with an address and a state of its own. Its form
// comes back here, carries the authorization request in a hidden field, and
// walks the same way from the start: whatever was checked before the page was
// shown is checked again, with the client as it is now. That is why nothing is
// written for a visitor who has not logged in, though a pending request kept
// behind the cookie might look more usual: what a crawler asks for costs us no
// write. What keeps the field honest is a seal (package session) over this
// browser and this very request. Name and password are never carried.
package authorize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/consent"
	"kmint/pkg/jwt"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// An Endpoint is the authorization endpoint.
type Endpoint struct {
	Issuers  store.Issuers
	Settings store.ServerSettings
	// Keys are those that ID tokens are signed with.
	Keys    jwt.KeySet
	Clients store.Clients
	APIs    store.APIs
	Codes   store.Codes
	// Tokens mints what leaves from here, nil where nothing is signed.
	Tokens *token.Issuer
	// Trust knows the keys of clients, nil where there are no request objects.
	Trust    Prover
	Login    login.Authenticator
	Sessions session.Keeper
	// Consents are those to clients that are not the owner's own.
	Consents consent.Keeper
	Seal     session.Sealer
	Now      func() time.Time
}

// Serve answers one authorization request, or one form of ours. An error that it
// could send to the client it has sent when it returns it: it is for the log.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	became := outcome{event: audit.AuthorizeFailed} // until it is known, and after a panic
	defer func() { became.record(ctx) }()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("authorize: issuer: %w", err))
	}
	b := readBrowser(r, issuer)
	request, filled, err := e.step(ctx, request, b)
	if errors.Is(err, session.ErrSeal) {
		became.page() // whose form was refused
		return busy(e.showAgain(ctx, w, issuer, request, b, err))
	}
	if err != nil {
		return busy(err)
	}
	t, request, err := e.target(ctx, issuer, request)
	if err != nil {
		return busy(err)
	}
	t.seen = b.state
	a, err := e.validate(ctx, t, request)
	became.silent = a.silent
	if err != nil {
		return t.refuse(w, b, busy(err))
	}
	p, err := e.decide(ctx, t, a, b, filled)
	if needed := (*loginNeeded)(nil); errors.As(err, &needed) {
		err = e.showLogin(ctx, w, t, request, b, needed)
		if err == nil {
			became.page()
			return needed.reason()
		}
	}
	if needed := (*consentNeeded)(nil); errors.As(err, &needed) {
		web.Annotate(ctx, slog.String("sub", p.user.Subject))
		err = e.showConsent(ctx, w, t, a, request, b, p, needed)
		if err == nil {
			became.page()
			return needed.reason()
		}
	}
	if err != nil {
		return t.refuse(w, b, busy(err))
	}
	web.Annotate(ctx, slog.String("sub", p.user.Subject))
	answer, err := e.grant(ctx, t, a, p)
	if err != nil {
		return t.refuse(w, b, busy(err))
	}
	became.event = audit.Authorized
	audit.Note(ctx, slog.String("sid", p.session.ID))
	t.seen = b.keepSession(w, t, p)
	return t.send(w, answer)
}

// An outcome is what a request became, for those who ask later.
type outcome struct {
	event  audit.Event
	silent bool
}

// page says that a page goes on with it: nothing has been decided.
func (o *outcome) page() { o.event = "" }

func (o *outcome) record(ctx context.Context) {
	codes := map[audit.Event]string{audit.Authorized: audit.SilentOK, audit.AuthorizeFailed: audit.SilentFailed}
	switch {
	case o.event == "":
	case o.silent:
		audit.Happened(ctx, o.event, slog.String("auth0", codes[o.event]))
	default:
		audit.Happened(ctx, o.event)
	}
}

// busy maps load to the answer that asks to come again.
func busy(err error) error { return web.Busy(err, store.ErrBusy, jwt.ErrBusy) }

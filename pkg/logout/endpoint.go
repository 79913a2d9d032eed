// Package logout answers: does this browser's person want to leave, and who has to
// hear of it?
//
// It is the logout endpoint (OpenID Connect RP-Initiated Logout 1.0 §2), the same at
// the address that Auth0's clients know, and what follows when a session ends: back-
// and front-channel logout (OpenID Connect Back-Channel Logout 1.0, Front-Channel
// Logout 1.0). A request walks one way:
//
//	step    a form of ours that comes back? It carries the request that it was shown for
//	wish    who asks, where to go on: an address is followed only if the client has registered it
//	find    the browser's own session: no other ever ends, whoever is named
//	ask     unless the ID token of this very session says that its client asks, a page does
//	end     tell the clients, delete the session, take the cookie
//	leave   to the client, or a page that says that it is done
//
// What is wrong with a request never keeps a person logged in: the page then says
// what is wrong, logs out all the same, and leads nowhere.
//
// The clients are put into the queue before the session is deleted. The other way
// round, a fault in between would leave them uninformed for good; this way it leaves
// a person to press the button again.
package logout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// Path is that of the endpoint, and Auth0Path its older one.
const (
	Path      = "/oidc/logout"
	Auth0Path = "/v2/logout"
)

// An Endpoint is the logout endpoint.
type Endpoint struct {
	Issuers store.Issuers
	// Keys are those that ID tokens are signed with.
	Keys     jwt.KeySet
	Clients  store.Clients
	Settings store.ServerSettings
	Sessions session.Keeper
	// Seal has the purpose session.Logout.
	Seal  session.Sealer
	Queue Queue
	Now   func() time.Time
}

// Serve answers /oidc/logout.
func (e Endpoint) Serve(w http.ResponseWriter, r *http.Request) error {
	return noted(r.Context(), e.answer(w, r))
}

// noted records what has gone wrong.
func noted(ctx context.Context, err error) error {
	if err != nil {
		audit.Happened(ctx, audit.LogoutFailed)
	}
	return err
}

func (e Endpoint) answer(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("logout: issuer: %w", err))
	}
	b := readBrowser(r, issuer)
	request, form, err := e.step(ctx, request, b)
	if err != nil {
		return busy(err)
	}
	web.Prefer(ctx, request.Get(uiLocales))
	// A form of the client's own site brings no cookie along (SameSite=Lax), a link
	// does.
	if r.Method == http.MethodPost && form == none && b.session == "" {
		if query := request.Encode(); len(query) <= maxQuery {
			w.Header().Set("Location", oauth.Endpoint(issuer, Path)+"?"+query)
			w.WriteHeader(http.StatusSeeOther)
			return nil
		}
	}
	asked, wrong := e.wish(ctx, issuer, request)
	if wrong != nil && !faulty(wrong) {
		return busy(wrong)
	}
	return e.serve(w, r, visit{issuer: issuer, browser: b, form: form, wish: asked, wrong: wrong, request: request})
}

// maxQuery is the longest query that we send a browser on with: API Gateway takes
// 10,240 bytes of request line and headers.
const maxQuery = 6000

// faulty reports whether the error is one of the request and not of ours.
func faulty(err error) bool {
	var e *oauth.Error
	return errors.As(err, &e) && e.Status() < http.StatusInternalServerError
}

// A visit is one request to be logged out.
type visit struct {
	issuer  string
	browser browser
	form    form
	wish    wish
	// wrong is what is wrong with the request; nil for nothing.
	wrong error
	// request is what a form of ours is to carry.
	request oauth.Request
	// trusted says that it is known without an ID token that the client asks.
	trusted bool
}

func (e Endpoint) serve(w http.ResponseWriter, r *http.Request, v visit) error {
	ctx := r.Context()
	if v.wish.client.ID != "" {
		web.Annotate(ctx, slog.String("client_id", v.wish.client.ID))
	}
	s, u, err := e.Sessions.Find(ctx, v.browser.session)
	switch {
	// A form that brings no cookie says nothing of who is there; one of ours would.
	case errors.Is(err, session.ErrNone) && r.Method == http.MethodPost && v.form != confirmed && v.browser.session == "":
		return busy(e.ask(ctx, w, v, ""))
	case errors.Is(err, session.ErrNone) && v.wrong != nil:
		return v.wrong
	case errors.Is(err, session.ErrNone):
		v.browser.leave(w)
		return e.leave(w, r, v, nil)
	case err != nil:
		return busy(err)
	}
	web.Annotate(ctx, slog.String("sub", u.Subject))
	if v.form != confirmed && (v.wrong != nil || !v.trusted && !v.wish.means(s)) {
		return busy(e.ask(ctx, w, v, u.Username))
	}
	told, err := e.end(ctx, s)
	if err != nil {
		return busy(err)
	}
	audit.Happened(ctx, audit.Logout, slog.String("sid", s.ID))
	v.browser.leave(w)
	return e.leave(w, r, v, told.frames(v.issuer, s.ID))
}

// end tells the clients that want to hear of it, and ends the session. Whoever joined
// between is told too.
func (e Endpoint) end(ctx context.Context, s store.Session) (parties, error) {
	before, err := e.parties(ctx, s.Clients)
	if err != nil {
		return nil, err
	}
	if err := e.notify(ctx, before, s); err != nil {
		return nil, err
	}
	ids, err := e.Sessions.End(ctx, s)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(s.Clients, id) })
	late, err := e.parties(ctx, ids)
	if err != nil {
		return nil, err
	}
	if err := e.notify(ctx, late, s); err != nil {
		return nil, err
	}
	return append(before, late...), nil
}

// leave sends the browser on, or says that it is done.
func (e Endpoint) leave(w http.ResponseWriter, r *http.Request, v visit, frames []string) error {
	target := v.wish.address()
	if len(frames) > 0 || target == "" {
		return showDone(w, v.wish, frames)
	}
	// No body, and after a POST never a 307.
	w.Header().Set("Location", target)
	w.WriteHeader(map[bool]int{true: http.StatusSeeOther, false: http.StatusFound}[r.Method == http.MethodPost])
	return nil
}

// busy maps load to the answer that asks to come again.
func busy(err error) error { return web.Busy(err, store.ErrBusy, jwt.ErrBusy) }

// The login form: shown, and come back (RFC 9700 §4.7, cross-site request
// forgery; OpenID Connect Core 1.0 §3.1.2.3).

package authorize

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"strconv"
	"time"

	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

//go:embed login.html
var loginBody string

var loginPage = web.NewMarkup("login", loginBody)

// The form's fields. request carries the authorization request; a parameter of
// that name in an authorization request itself is a request object, of which the
// form carries what it says, and no more itself.
const (
	fieldUsername = "username"
	fieldPassword = "password"
	fieldRequest  = "request"
	fieldSeal     = "seal"
)

// A form is a login form, or a consent form, that came back with a seal that holds.
type form struct {
	username string
	password oauth.Secret
	// shown and consent are those of a consent form: what it was shown for, "" for a
	// login form, and the answer.
	shown, consent string
}

// answers reports whether it is a consent form.
func (f *form) answers() bool { return f != nil && f.shown != "" }

// step tells an authorization request, which it returns as it is, from a login
// form or a consent form, of which it returns the request that the form was shown for. Of a form that
// was not shown to this browser, or too long ago, nothing gets further: the error is
// session.ErrSeal.
func (e Endpoint) step(ctx context.Context, r oauth.Request, b browser) (oauth.Request, *form, error) {
	if r.Method != http.MethodPost || r.Get(fieldSeal) == "" && r.Get(fieldPassword) == "" {
		return r, nil, nil
	}
	carried := r.Get(fieldRequest)
	shown := r.Get(fieldShown)
	var err error
	if shown == "" {
		err = e.Seal.Check(ctx, r.Get(fieldSeal), b.key, carried)
	} else {
		err = e.consentSeal().Check(ctx, r.Get(fieldSeal), b.key, sealedConsent(carried, shown))
	}
	if errors.Is(err, session.ErrSeal) {
		return r, nil, oauth.InvalidRequest.Errorf(string(foreign)).Because(err)
	}
	if err != nil {
		return r, nil, err
	}
	original, err := r.With(carried)
	if err != nil {
		return r, nil, err
	}
	return original, &form{r.Get(fieldUsername), oauth.Secret(r.Get(fieldPassword)), shown, r.Get(fieldConsent)}, nil
}

// outdated is what the login page says to a form whose seal does not hold, and foreign
// what an error page says to one where there is no login page to show.
const (
	outdated words.Phrase = "This page was open too long. Please log in again."
	foreign  words.Phrase = "This form is too old, or was not shown in this browser. Nothing has happened: start again from the application, and let your browser accept cookies from here."
)

// showAgain answers a form whose seal does not hold, for which refusal is the error.
// Such a form may have lain open for hours, and its browser then still has the key
// that forms are sealed for: it gets the login page for the request that the form
// carries, sealed anew. Nothing else is done, and nothing that was typed is used, so
// that a form that was forged is worth no more than a link to that page. Where there is
// no page to show for it any more, it begins anew at the client. A browser that keeps no
// cookie or sent none along, which a form of another site does not, is shown the refusal:
// it would go round in circles.
func (e Endpoint) showAgain(ctx context.Context, w http.ResponseWriter, issuer string, r oauth.Request, b browser, refusal error) error {
	if _, fresh := session.Browser(b.key); fresh {
		return refusal
	}
	carried, err := r.With(r.Get(fieldRequest))
	if err != nil {
		return refusal
	}
	t, whole, err := e.target(ctx, issuer, carried)
	if err != nil {
		return e.startOver(ctx, w, issuer, carried, refusal)
	}
	a, err := e.validate(ctx, t, whole)
	if err != nil || a.silent {
		return e.startOver(ctx, w, issuer, carried, refusal)
	}
	again := &loginNeeded{status: http.StatusBadRequest, problem: outdated, username: whole.Get("login_hint"), cause: session.ErrSeal}
	if err := e.showLogin(ctx, w, t, whole, b, again); err != nil {
		return err
	}
	return again.reason()
}

// loginView is what login.html shows.
type loginView struct {
	Client, Request, Seal, Username string
	Problem                         words.Phrase
}

// showLogin shows the login page. An error says that nothing was written.
func (e Endpoint) showLogin(ctx context.Context, w http.ResponseWriter, t target, r oauth.Request, b browser, n *loginNeeded) error {
	key, fresh := session.Browser(b.key)
	view := loginView{
		Client:   t.name(),
		Request:  r.Without(fieldUsername, fieldPassword, fieldSeal).Encode(),
		Username: n.username,
		Problem:  n.problem,
	}
	if n.cause == nil {
		view.Username = r.Get("login_hint")
	}
	if len(view.Username) > login.MaxName {
		view.Username = ""
	}
	var err error
	if view.Seal, err = e.Seal.Seal(ctx, key, view.Request); err != nil {
		return err
	}
	if fresh {
		b.keepKey(w, key)
	}
	if n.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(store.LockedDuration/time.Second)))
	}
	return web.WritePage(w, n.status, web.Page{Title: "Log in", Body: loginPage, Data: view, FormTargets: t.formTargets()})
}

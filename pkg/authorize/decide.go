// Who is the person (OpenID Connect Core 1.0 §3.1.2.3)?

package authorize

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// A person is who is at the browser, and the session that says so.
type person struct {
	user    store.User
	session store.Session
	// handle is that of a session yet to be written, "" for one that stands; old
	// is the one that the browser had before.
	handle, old oauth.Secret
	// allowed is what the person lets the client have; nil for nothing, and where the
	// client is the owner's own.
	allowed store.Consent
}

// loginNeeded is the decision to show the login page, with a problem to tell the
// person about or without.
type loginNeeded struct {
	status  int
	problem words.Phrase
	// username is what was typed.
	username string
	cause    error
}

func (n *loginNeeded) Error() string { return "authorize: login needed: " + string(n.problem) }

// reason is what the log says of the page: nothing where it is shown for the
// first time.
func (n *loginNeeded) reason() error {
	if n.cause == nil {
		return nil
	}
	return oauth.AccessDenied.Errorf("%s", n.problem).Because(n.cause)
}

// decide returns the person, or loginNeeded, or beside the person consentNeeded, or
// what the client is to be told.
func (e Endpoint) decide(ctx context.Context, t target, a ask, b browser, filled *form) (person, error) {
	if filled.answers() && filled.consent != allow {
		audit.Happened(ctx, audit.ConsentDenied)
		return person{}, oauth.AccessDenied.Errorf("The person did not allow it.")
	}
	p, err := e.identify(ctx, t, a, b, filled)
	if err != nil {
		return person{}, err
	}
	return p, e.consented(ctx, t, a, p, filled)
}

// identify returns the person, and what they have allowed.
func (e Endpoint) identify(ctx context.Context, t target, a ask, b browser, filled *form) (person, error) {
	if filled != nil && !filled.answers() {
		p, err := e.logIn(ctx, a, b, filled)
		if err != nil || t.client.FirstParty {
			return p, err
		}
		all, err := e.Consents.Of(ctx, p.user.Subject)
		p.allowed = all[t.client.ID]
		return p, err
	}
	p, err := e.resume(ctx, t, a, b, filled)
	// "If none is specified, the Authorization Server MUST NOT display any
	// authentication or consent user interface pages."
	if needed := (*loginNeeded)(nil); errors.As(err, &needed) && a.silent {
		return person{}, oauth.LoginRequired.Errorf("Nobody is logged in, or somebody else, or not recently enough.")
	}
	return p, err
}

// resume takes the person from the browser's session. A consent form that was shown in
// this very session came after the login that the request asks for: it is not asked for
// again.
func (e Endpoint) resume(ctx context.Context, t target, a ask, b browser, filled *form) (person, error) {
	first := &loginNeeded{status: http.StatusOK}
	if a.relogin && !filled.answers() {
		return person{}, first
	}
	p, err := e.find(ctx, t, b.handle(t, a))
	s, u := p.session, p.user
	loggedIn := filled.answers() && filled.shown == a.shown(p)
	switch {
	case errors.Is(err, session.ErrNone):
		return person{}, first
	case err != nil:
		return person{}, err
	case !loggedIn && (a.relogin || tooOld(s, a.maxAge, e.Now())) || !a.means(u):
		return person{}, first
	// One who is blocked is told so by whoever asks for the password, and not here: the
	// browser may be another's by now.
	case u.Ended(s.AuthTime) || policy.LoginEnded(t.client, a.settings, s.AuthTime):
		return person{}, first
	}
	return p, nil
}

// find reads side by side the session, its person, and, of a client that is not the
// owner's own, what the person lets it have. The errors are those of session.Find.
func (e Endpoint) find(ctx context.Context, t target, handle oauth.Secret) (person, error) {
	if t.client.FirstParty {
		s, u, err := e.Sessions.Find(ctx, handle)
		return person{user: u, session: s}, err
	}
	p, all, err := e.remembered(ctx, handle)
	p.allowed = all[t.client.ID]
	return p, err
}

// means: the server "MUST NOT reply with an ID Token or Access Token for a
// different user, even if they have an active session with the Authorization
// Server. Such a request can be made either using an id_token_hint parameter or by
// requesting a specific Claim Value" (OpenID Connect Core 1.0 §3.1.2.2).
func (a ask) means(u store.User) bool {
	return (a.hinted == "" || a.hinted == u.Subject) &&
		a.claims.IDToken["sub"].Accepts(u.Subject) && a.claims.Userinfo["sub"].Accepts(u.Subject)
}

// tooOld: "If the elapsed time is greater than this value, the OP MUST attempt to
// actively re-authenticate the End-User." 0 is as good as prompt=login.
func tooOld(s store.Session, maxAge time.Duration, now time.Time) bool {
	return maxAge == 0 || maxAge > 0 && now.Sub(s.AuthTime) > maxAge
}

// What the login page says. A name that is unknown and a password that is wrong
// sound alike, and only who has the password hears that somebody is blocked.
const (
	incomplete words.Phrase = "Enter your username and your password."
	wrong      words.Phrase = "Wrong username or password."
	blocked    words.Phrase = "This account is blocked."
	locked     words.Phrase = "Too many attempts with this username. Wait 15 minutes, then try again."
)

// logIn takes the person from the login form. A refusal shows the page again, in
// a status that is no success, so that password managers do not offer to keep
// what was typed. It is 400 and not 401, which would need a challenge that
// browsers answer by a window of their own (RFC 9110 §15.5.2).
//
// Who proves to be somebody else than the one hinted at does not get the page
// again, which could not say whom it waits for. §3.1.2.1: "If the End-User
// identified by the ID Token is logged in or is logged in by the request, then the
// Authorization Server returns a positive response; otherwise, it SHOULD return an
// error, such as login_required."
func (e Endpoint) logIn(ctx context.Context, a ask, b browser, f *form) (person, error) {
	if f.username == "" || f.password == "" {
		return person{}, &loginNeeded{http.StatusBadRequest, incomplete, f.username, errors.New("no username or no password")}
	}
	// By the digest, which is that of the attempts item too, attempts at one name can
	// be told together without the name in the log.
	web.Annotate(ctx, slog.String("login", string(oauth.DigestOf(store.LoginName(f.username)))))
	u, err := e.Login.Authenticate(ctx, f.username, f.password.Reveal())
	switch {
	case errors.Is(err, login.ErrRefused):
		return person{}, &loginNeeded{http.StatusBadRequest, wrong, f.username, err}
	case errors.Is(err, store.ErrLocked):
		return person{}, &loginNeeded{http.StatusTooManyRequests, locked, f.username, err}
	case err != nil:
		return person{}, err
	case u.Ended(e.Now()):
		audit.Happened(ctx, audit.LoginFailed, slog.String("sub", u.Subject))
		return person{}, &loginNeeded{http.StatusForbidden, blocked, f.username, errors.New("the user " + u.Subject + " is blocked")}
	case !a.means(u):
		return person{}, oauth.LoginRequired.Errorf("Somebody else has logged in than the request names.")
	}
	s, handle := e.Sessions.New(u.Subject)
	s.Device = b.device
	audit.Happened(ctx, audit.LoginSucceeded, slog.String("sub", u.Subject), slog.String("sid", s.ID))
	return person{user: u, session: s, handle: handle, old: b.session}, nil
}

// What a browser brings and keeps: cookies (RFC 6265bis §4.1).

package authorize

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
)

// A browser is known by its cookies.
type browser struct {
	// secure says that the issuer is https: what the request came over, behind a
	// proxy, says nothing.
	secure bool
	// session is the handle of a login session, silent the same as it comes along from
	// other sites, key the secret that login forms are sealed for; "" for none.
	session, silent, key oauth.Secret
	// device is the kind of browser, as package session has it.
	device string
	// state is what scripts of ours see of the session.
	state string
}

func readBrowser(r *http.Request, issuer string) browser {
	b := browser{secure: strings.HasPrefix(issuer, "https:"), device: session.Device(r.UserAgent())}
	if c, err := r.Cookie(session.CookieName(b.secure)); err == nil {
		b.session = oauth.Secret(c.Value)
	}
	if c, err := r.Cookie(session.SilentCookieName); err == nil && b.secure {
		b.silent = oauth.Secret(c.Value)
	}
	if c, err := r.Cookie(session.BrowserCookieName(b.secure)); err == nil {
		b.key = oauth.Secret(c.Value)
	}
	if c, err := r.Cookie(session.StateCookieName(b.secure)); err == nil {
		b.state = c.Value
	}
	return b
}

// keepSession lets the browser hold a new session as long as it can live, over a
// restart too, and beside it, where the client has pages on other sites, the cookie by
// which they hear who is there. It returns the state of the session, which the browser
// holds from now on.
func (b browser) keepSession(w http.ResponseWriter, t target, p person) string {
	handle := b.session
	if p.handle != "" {
		handle = p.handle
		b.keep(w, session.CookieName(b.secure), handle, session.Lifetime, http.SameSiteLaxMode)
	}
	// One that was set for another client is kept right.
	wanted := t.crossesSites() || b.silent != "" && p.handle != ""
	if wanted && b.secure && handle != "" && handle != b.silent {
		b.keep(w, session.SilentCookieName, handle, session.Lifetime, http.SameSiteNoneMode)
	}
	if handle == "" { // the person was found by the other cookie
		handle = b.silent
	}
	state := session.State(handle)
	if state != b.state {
		b.keepState(w, state)
	}
	return state
}

// keepState lets scripts see the state as long as the session can live: in a frame on a
// page of another site too, but over plain http, where a browser takes no such cookie, and
// all ports of localhost are one site.
func (b browser) keepState(w http.ResponseWriter, state string) {
	sites := http.SameSiteLaxMode
	if b.secure {
		sites = http.SameSiteNoneMode
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be, and for scripts
		Name: session.StateCookieName(b.secure), Value: state, Path: "/", MaxAge: int(session.Lifetime / time.Second),
		Secure: b.secure, SameSite: sites,
	})
}

// keepKey lets the browser hold its key until it is closed.
func (b browser) keepKey(w http.ResponseWriter, key oauth.Secret) {
	b.keep(w, session.BrowserCookieName(b.secure), key, 0, http.SameSiteLaxMode)
}

// keep sets a cookie. Lax, not Strict: the request that looks for it comes from
// the client's site. No other site can POST with it. Over plain http, on
// localhost, Secure would make Safari drop it.
func (b browser) keep(w http.ResponseWriter, name string, value oauth.Secret, lifetime time.Duration, sites http.SameSite) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be
		Name: name, Value: value.Reveal(), Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: b.secure, SameSite: sites,
	})
}

// crossesSites reports whether scripts of the client run on other sites than ours.
func (t target) crossesSites() bool {
	return slices.ContainsFunc(t.client.WebOrigins, func(origin string) bool { return !session.SameSite(origin, t.issuer) })
}

// elsewhere reports whether the answer goes to such a script.
func (t target) elsewhere() bool {
	origin := oauth.Origin(t.redirectURI)
	return slices.Contains(t.client.WebOrigins, origin) && !session.SameSite(origin, t.issuer)
}

// handle is that of the browser's session, as far as it counts for the request. What
// comes along from any site counts only for the question who is there, of a page that
// the client has registered and that alone gets the answer.
func (b browser) handle(t target, a ask) oauth.Secret {
	if b.session == "" && a.silent && t.elsewhere() {
		return b.silent
	}
	return b.session
}

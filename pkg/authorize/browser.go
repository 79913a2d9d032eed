// What a browser brings and keeps: cookies (RFC 6265bis §4.1).

package authorize

import (
	"net/http"
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
	// session is the handle of a login session, key the secret that login forms
	// are sealed for; "" for none.
	session, key oauth.Secret
}

func readBrowser(r *http.Request, issuer string) browser {
	b := browser{secure: strings.HasPrefix(issuer, "https:")}
	if c, err := r.Cookie(session.CookieName(b.secure)); err == nil {
		b.session = oauth.Secret(c.Value)
	}
	if c, err := r.Cookie(session.BrowserCookieName(b.secure)); err == nil {
		b.key = oauth.Secret(c.Value)
	}
	return b
}

// keepSession lets the browser hold the session as long as it can live, over a
// restart too.
func (b browser) keepSession(w http.ResponseWriter, handle oauth.Secret) {
	b.keep(w, session.CookieName(b.secure), handle, session.Lifetime)
}

// keepKey lets the browser hold its key until it is closed.
func (b browser) keepKey(w http.ResponseWriter, key oauth.Secret) {
	b.keep(w, session.BrowserCookieName(b.secure), key, 0)
}

// keep sets a cookie. Lax, not Strict: the request that looks for it comes from
// the client's site. No other site can POST with it. Over plain http, on
// localhost, Secure would make Safari drop it.
func (b browser) keep(w http.ResponseWriter, name string, value oauth.Secret, lifetime time.Duration) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be
		Name: name, Value: value.Reveal(), Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: b.secure, SameSite: http.SameSiteLaxMode,
	})
}

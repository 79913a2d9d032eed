// What a browser brings, and what is taken from it (RFC 6265bis §4.1).

package logout

import (
	"net/http"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
)

// A browser is known by its cookies.
type browser struct {
	// secure says that the issuer is https.
	secure bool
	// session is the handle of a login session, key the secret that forms are sealed
	// for; "" for none.
	session, key oauth.Secret
	// silent says that the session's other cookie is there, which comes along from
	// other sites, and state that the one is that scripts read. They end nothing.
	silent, state bool
}

func readBrowser(r *http.Request, issuer string) browser {
	b := browser{secure: strings.HasPrefix(issuer, "https:")}
	if c, err := r.Cookie(session.CookieName(b.secure)); err == nil {
		b.session = oauth.Secret(c.Value)
	}
	if _, err := r.Cookie(session.SilentCookieName); err == nil {
		b.silent = true
	}
	if _, err := r.Cookie(session.StateCookieName(b.secure)); err == nil {
		b.state = true
	}
	if c, err := r.Cookie(session.BrowserCookieName(b.secure)); err == nil {
		b.key = oauth.Secret(c.Value)
	}
	return b
}

// leave takes the session's cookies, by one of which clients see that it has ended. The
// browser's key stays: other tabs may show forms that are sealed for it.
func (b browser) leave(w http.ResponseWriter) {
	if b.session != "" {
		b.set(w, session.CookieName(b.secure), "", -1, http.SameSiteLaxMode)
	}
	if b.silent && b.secure {
		b.set(w, session.SilentCookieName, "", -1, http.SameSiteNoneMode)
	}
	if b.state {
		sites := map[bool]http.SameSite{true: http.SameSiteNoneMode, false: http.SameSiteLaxMode}[b.secure]
		b.set(w, session.StateCookieName(b.secure), "", -1, sites)
	}
}

// keepKey lets the browser hold its key until it is closed.
func (b browser) keepKey(w http.ResponseWriter, key oauth.Secret) {
	b.set(w, session.BrowserCookieName(b.secure), key, 0, http.SameSiteLaxMode)
}

func (b browser) set(w http.ResponseWriter, name string, value oauth.Secret, maxAge int, sites http.SameSite) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be
		Name: name, Value: value.Reveal(), Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: b.secure, SameSite: sites,
	})
}

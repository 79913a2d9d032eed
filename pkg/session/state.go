// How a client's page sees that a login has changed (OpenID Connect Session Management
// 1.0 §2, §3.2).

package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"

	"kmint/pkg/oauth"
)

// StateCookieName is the name of the cookie by which a script of ours in a client's
// page sees whose login the browser has. It crosses sites where it can (SameSite=None),
// and opens nothing.
func StateCookieName(secure bool) string { return hostPrefix(secure) + "kmint_state" }

// Nobody is what that cookie holds where there is no session: another one for each
// browser. Were it the same for all, any page could find out who is logged in, by a
// session_state that it makes up.
func Nobody() string { return oauth.NewID() }

// State is what that cookie holds: another one for each session, "" for none. It says
// nothing of the person, and neither the handle nor its digest can be had from it.
func State(handle oauth.Secret) string {
	if handle == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("state " + handle.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SessionState is the session_state that a client gets at the redirect URI, of a browser
// with this state: "a salted cryptographic hash of Client ID, origin URL, and OP User
// Agent state". A new salt each time keeps two answers from looking alike.
func SessionState(clientID, redirectURI, state string) string {
	salt := rand.Text()
	sum := sha256.Sum256([]byte(clientID + " " + origin(redirectURI) + " " + state + " " + salt))
	return hex.EncodeToString(sum[:]) + "." + salt
}

// origin is the origin as browsers write it (RFC 6454 §6.2): in lower case, and without
// the port that goes without saying.
func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return "null"
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"https": ":443", "http": ":80"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return u.Scheme + "://" + host
}

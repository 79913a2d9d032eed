// Redirect URIs (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1, OpenID Connect
// Core 1.0 §3.1.2.1).

package oauth

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MatchRedirect returns whether requested is one of the registered URIs. RFC
// 9700 §2.1: "authorization servers MUST utilize exact string matching except
// for port numbers in localhost redirection URIs of native apps".
//
// RFC 8252 §7.3: "The authorization server MUST allow any port to be specified
// at the time of the request for loopback IP redirect URIs". That is for the IP
// literals; the name localhost may resolve elsewhere (§8.3) and stays exact.
func MatchRedirect(registered []string, requested string, applicationType string) bool {
	for _, r := range registered {
		if r == requested {
			return true
		}
		if applicationType == Native && sameButPort(r, requested) {
			return true
		}
	}
	return false
}

// sameButPort compares everything but the port, as text: what a parser would
// forgive is refused. The host must be a loopback IP literal.
func sameButPort(registered, requested string) bool {
	a, okA := cutLoopback(registered)
	b, okB := cutLoopback(requested)
	return okA && okB && a == b
}

type loopback struct{ host, rest string }

func cutLoopback(uri string) (loopback, bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return loopback{}, false
	}
	end := strings.IndexAny(after, "/?")
	if end < 0 {
		end = len(after)
	}
	authority, rest := after[:end], after[end:]
	host, port, err := net.SplitHostPort(authority)
	if err != nil { // no port
		host, port = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]"), ""
	}
	if host != "127.0.0.1" && host != "::1" {
		return loopback{}, false
	}
	if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || strconv.FormatUint(number, 10) != port) {
		return loopback{}, false
	}
	// What was requested must also be a URI that we may send a browser to.
	if CheckRedirect(uri, Native) != nil {
		return loopback{}, false
	}
	return loopback{host, rest}, true
}

// CheckRedirect says why uri cannot be registered as a redirect URI, or nil.
func CheckRedirect(uri, applicationType string) error {
	for i := range len(uri) {
		if c := uri[i]; c <= 0x20 || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return errors.New("it contains a character that no URI has (RFC 3986 §2)")
		}
	}
	// RFC 6749 §3.1.2: "The endpoint URI MUST NOT include a fragment component."
	if strings.Contains(uri, "#") {
		return errors.New("it has a fragment (RFC 6749 §3.1.2)")
	}
	if strings.Contains(uri, "*") {
		return errors.New("it has a wildcard; redirect URIs match exactly (RFC 9700 §2.1)")
	}
	u, err := url.Parse(uri)
	if err != nil {
		return errors.New("it is not a URI")
	}
	if u.User != nil {
		return errors.New("it has user information")
	}
	switch {
	case u.Scheme == "https" && u.Hostname() != "":
		return nil
	case u.Scheme == "http" && IsLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http" && u.Hostname() != "":
		return errors.New("it is plain http to another host than localhost; use https")
	case applicationType == Native && privateUse(u.Scheme):
		return nil
	case u.Scheme == "":
		return errors.New("it is not absolute")
	default:
		return errors.New("its scheme is not https; a native application may register a private-use scheme with a dot in it (RFC 8252 §7.1)")
	}
}

// privateUse obeys RFC 8252 §7.1 and §8.4: the scheme is a reversed domain
// name, "at a minimum, any private-use URI scheme that doesn't contain a period
// character SHOULD be rejected". That also keeps out javascript: and data:.
func privateUse(scheme string) bool { return strings.Contains(scheme, ".") }

// IsLoopback reports whether a host is this very machine: plain http to it never
// leaves it.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Origin is the origin of a URI (RFC 6454 §4), or scheme: for a URI without a
// host: what a Content-Security-Policy lists as a source.
func Origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

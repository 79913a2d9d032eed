// Sites (the HTML standard's schemefully same site), and the cookie that crosses them
// (RFC 6265bis §5.6.7).

package session

import (
	"net/url"

	"golang.org/x/net/publicsuffix"
)

// SilentCookieName is the name of a second cookie that holds the handle. It is
// SameSite=None, so that a page of another site whose frame asks who is there can be
// answered, and must count for nothing else. There is none over plain http, where
// browsers take no such cookie.
const SilentCookieName = "__Host-kmint_silent"

// SameSite reports whether browsers take two URLs for the same site: by scheme and
// registrable domain, whatever the port.
func SameSite(one, other string) bool {
	a, err := url.Parse(one)
	if err != nil || a.Hostname() == "" {
		return false
	}
	b, err := url.Parse(other)
	if err != nil {
		return false
	}
	return a.Scheme == b.Scheme && site(a.Hostname()) == site(b.Hostname())
}

// site is the registrable domain of a host, or the host where it has none, as an
// address and a public suffix.
func site(host string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return host
	}
	return domain
}

// The response mode query (OAuth 2.0 Multiple Response Type Encoding Practices
// §2.1; RFC 6749 §4.1.2).

package authorize

import (
	"net/http"
	"net/url"
	"strings"
)

// A mode sends the parameters of a response to a redirect URI. Each has a file of
// its own, and a line in modeOf.
type mode func(w http.ResponseWriter, status int, redirectURI string, parameters url.Values)

// modeOf finds a mode by its response_mode. For the response type code, query is
// the default.
func modeOf(name string) (mode, bool) {
	switch name {
	case "", "query":
		return query, true
	default:
		return nil, false
	}
}

// query adds the parameters to the redirect URI's query. RFC 6749 §3.1.2: "The
// endpoint URI MAY include an [...] query component [...], which MUST be
// retained when adding additional query parameters." It is added to as text:
// what a parser would put together again might be another URI.
func query(w http.ResponseWriter, status int, redirectURI string, parameters url.Values) {
	separator := "?"
	if strings.Contains(redirectURI, "?") {
		separator = "&"
	}
	// No body: one would hold the code a second time.
	w.Header().Set("Location", redirectURI+separator+parameters.Encode())
	w.WriteHeader(status)
}

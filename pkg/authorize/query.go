// The response mode query (OAuth 2.0 Multiple Response Type Encoding Practices
// §2.1; RFC 6749 §4.1.2).

package authorize

import (
	"net/http"
	"net/url"
	"strings"

	"kmint/pkg/oauth"
)

// query adds the parameters to the redirect URI's query. RFC 6749 §3.1.2: "The
// endpoint URI MAY include an [...] query component [...], which MUST be
// retained when adding additional query parameters." It is added to as text:
// what a parser would put together again might be another URI.
var query = mode{name: "query", bars: noToken, send: func(w http.ResponseWriter, t target, parameters url.Values) error {
	separator := "?"
	if strings.Contains(t.redirectURI, "?") {
		separator = "&"
	}
	t.redirect(w, separator+parameters.Encode())
	return nil
}}

// noToken: "the query encoding MUST NOT be used" for what returns a token or an ID
// token (OAuth 2.0 Multiple Response Type Encoding Practices §3, §5): a query ends up
// in logs.
func noToken(t target) error {
	if t.asked.Front() {
		return oauth.InvalidRequest.Errorf("The response_mode query is not for a response_type that returns a token; use fragment or form_post.")
	}
	return nil
}

// redirect has no body: one would hold the answer a second time.
func (t target) redirect(w http.ResponseWriter, answer string) {
	w.Header().Set("Location", t.redirectURI+answer)
	w.WriteHeader(t.status)
}

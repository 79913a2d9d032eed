// The response mode fragment (OAuth 2.0 Multiple Response Type Encoding Practices
// §2.1; RFC 6749 §4.2.2).

package authorize

import (
	"net/http"
	"net/url"
)

// fragment puts the parameters where a browser keeps them to itself. No redirect URI
// has a fragment of its own (RFC 6749 §3.1.2).
var fragment = mode{name: "fragment", bars: anyTarget, send: func(w http.ResponseWriter, t target, parameters url.Values) error {
	t.redirect(w, "#"+parameters.Encode())
	return nil
}}

// Cross-origin requests (the Fetch standard's CORS protocol).

package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"kmint/pkg/audit"
)

// Preflight answers an OPTIONS request for any origin: it carries no
// credentials and names no client, so there is nothing yet to decide. The
// answer to the request itself decides who may read it.
func Preflight(h Handler, methods string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodOptions {
			return h(w, r)
		}
		header := w.Header()
		header.Add("Vary", "Origin")
		header.Add("Vary", "Access-Control-Request-Headers")
		if origin := r.Header.Get("Origin"); origin != "" {
			header.Set("Access-Control-Allow-Origin", origin)
			header.Set("Access-Control-Allow-Methods", methods)
			// Whatever the script wants to add, as the Auth0 SDKs do: a header that
			// nobody reads decides nothing. The Lambda adapter splits a list at its
			// commas.
			allowed := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", ")
			if allowed == "" {
				allowed = "authorization, content-type, dpop"
			}
			header.Set("Access-Control-Allow-Headers", allowed)
			header.Set("Access-Control-Max-Age", "86400")
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// AllowOrigin lets scripts of origin read the answer if it is one of the
// client's web origins.
func AllowOrigin(w http.ResponseWriter, origin string, webOrigins []string) {
	header := w.Header()
	if !slices.Contains(header.Values("Vary"), "Origin") {
		header.Add("Vary", "Origin")
	}
	if origin != "" && slices.Contains(webOrigins, origin) {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, DPoP-Nonce")
	} else if out, ok := w.(*recorder); ok && origin != "" {
		out.event.trail.Add(audit.CORSRefused, slog.String("origin", fmt.Sprintf("%.256s", origin)))
	}
}

// AllowAnyOrigin lets every script read a public document.
func AllowAnyOrigin(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
}

// Package checksession answers: is it still the same login that the client was told of?
//
// It is the OP iframe (OpenID Connect Session Management 1.0 §3.2). A client's page shows
// it in a frame that nobody sees, posts its client_id and the session_state of its last
// answer into it, and is told whether that is still right. A client may ask every few
// seconds: all that is needed is in the browser, and no request is made.
//
// The page is the same for everybody, and knows nothing but what a cookie says, which
// the authorization endpoint sets and logout takes away. So it stands with the
// discovery documents: in the function that may read nothing of anybody's, and for
// caches to keep. Any page may frame it. Who has not got a session_state from us learns
// nothing there: its hash holds the client, the origin that asks, a salt, and a state that
// nobody can guess, which a browser has too that nobody is logged in with.
package checksession

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"

	"kmint/pkg/session"
)

// Path is that of the page.
const Path = "/oidc/check_session"

// age is how many seconds caches may keep it.
const age = "3600"

//go:embed frame.js
var source string

// Serve serves the page. It is a web.Handler.
func Serve(w http.ResponseWriter, _ *http.Request) error {
	script := strings.NewReplacer("SECURE", session.StateCookieName(true), "PLAIN", session.StateCookieName(false)).Replace(source)
	sum := sha256.Sum256([]byte(script))
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "public, max-age="+age)
	header.Del("Pragma")
	// Without frame-ancestors: any page may frame it.
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; form-action 'none'; base-uri 'none'")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Session</title>\n<script>" + script + "</script>\n</html>\n"))
	return nil
}

package logout_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/logout"
)

// FuzzServe asks for a logout by anything: with the client's ID token or without, by a
// link, a form, or the address that Auth0's clients know. Whatever is asked, no answer is
// a fault of ours, none leads where no client has registered, and without the ID token
// nobody is logged out.
func FuzzServe(f *testing.F) {
	for way := range uint8(6) {
		for _, query := range []string{
			"", words("client_id", "web", "post_logout_redirect_uri", bye, "state", "s", "ui_locales", "de").Encode(),
			words("client_id", "cli", "post_logout_redirect_uri", "com.example.app:/out", "logout_hint", "x").Encode(),
			words("client_id", "web", "returnTo", bye+"?a=1").Encode(), words("returnTo", "https://evil.example/", "post_logout_redirect_uri", "//evil.example").Encode(),
			words("request", "client_id=web", "seal", "x").Encode(), "id_token_hint=e30.e30.e30", "client_id=web&client_id=spa", "%zz",
		} {
			f.Add(query, way)
		}
	}
	registered := []string{bye, bye + "?a=1", "http://localhost:8080/out", "com.example.app:/out"}
	f.Fuzz(func(t *testing.T, query string, way uint8) {
		h := newHouse(t)
		v := h.logIn("web")
		hinted, auth0, post := way%2 == 1, way/2%3 == 1, way/2%3 == 2
		if hinted {
			query += "&id_token_hint=" + v.hint("web")
		}
		if _, err := url.Parse("/?" + query); err != nil || strings.ContainsAny(query, "\x00\r\n \x7f#") {
			return // it is no request line
		}
		path := logout.Path
		if auth0 {
			path = logout.Auth0Path
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.URL.RawQuery = query
		if post {
			r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(query))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := v.send(r)
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("%d %s", w.Code, h.log.String())
		}
		if v.ended() && (!hinted || auth0) {
			t.Fatalf("somebody is logged out: %d to %s", w.Code, w.Header().Get("Location"))
		}
		location := w.Header().Get("Location")
		there := func(uri string) bool {
			rest, ok := strings.CutPrefix(location, uri)
			return ok && (rest == "" || strings.HasPrefix(rest, "?state=") || strings.HasPrefix(rest, "&state="))
		}
		if location != "" && !slices.ContainsFunc(registered, there) {
			t.Fatalf("to %s", location)
		}
		if policy := w.Header().Get("Content-Security-Policy"); location == "" && !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Fatalf("a page with the policy %s", policy)
		}
	})
}

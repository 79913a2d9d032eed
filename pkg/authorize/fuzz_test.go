package authorize_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/oauth"
)

// FuzzServe asks for anything with the cookies of a person who is logged in. Whatever
// is asked, no answer is a fault of ours, none leads elsewhere than a client has
// registered, and no token is in a query.
func FuzzServe(f *testing.F) {
	for _, responseType := range oauth.ResponseTypes() {
		for _, mode := range []string{"", "query", "fragment", "form_post", "web_message"} {
			f.Add(forFront(responseType, "response_mode", mode).Encode())
		}
	}
	none := `{"alg":"none"}`
	for _, object := range []string{
		`{"state":"in","claims":{"id_token":{"sub":{"value":"u1"}}}}`, `{"redirect_uri":"https://elsewhere.example.com/"}`,
		`{"response_type":"token","resource":["` + api + `"]}`, `{"max_age":1e99}`, `[]`, `{"":""}`,
	} {
		f.Add(forFront("code", "client_id", "plain", "request", unsignedJWT(none, object)).Encode())
	}
	f.Add(forFront("id_token", "claims", `{"id_token":{"acr":{"essential":true,"values":["x"]},"email":null}}`, "prompt", "none", "max_age", "9").Encode())
	f.Add(forFront("code", "redirect_uri", "https://front.example.com.evil.example/cb?keep=1").Encode())
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := url.Parse("/authorize?" + query); err != nil || strings.ContainsAny(query, "\x00\r\n \x7f#") {
			return // it is no request line
		}
		h, v := withObjects(t)
		r := httptest.NewRequest(http.MethodGet, "/authorize", nil)
		r.URL.RawQuery = query
		a := v.send(r)
		if a.Code >= http.StatusInternalServerError {
			t.Fatalf("%d %s", a.Code, h.log.String())
		}
		location := a.Header().Get("Location")
		if location == "" {
			if policy := a.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Fatalf("a page with the policy %s", policy)
			}
			return
		}
		registered := []string{
			"https://front.example.com/cb?keep=1", "com.example.front:/cb", "https://app.example.com/cb", "https://app.example.com/cb?keep=1",
			"http://localhost:8080/cb", "https://APP.example.com:8443/cb", "com.example.app:/cb", "com.example.app://host/cb",
			"https://service.example.com/cb", "https://third.example.com/cb",
		}
		there := func(uri string) bool {
			rest, ok := strings.CutPrefix(location, uri)
			return ok && (strings.HasPrefix(rest, "#") || strings.HasPrefix(rest, "?") || strings.HasPrefix(rest, "&"))
		}
		if !slices.ContainsFunc(registered, there) && !strings.HasPrefix(location, "http://127.0.0.1") && !strings.HasPrefix(location, "http://[::1]") {
			t.Fatalf("to %s", location)
		}
		if asked, _, _ := strings.Cut(location, "#"); strings.Contains(asked, "_token=") {
			t.Fatalf("a token in the query: %s", location)
		}
	})
}

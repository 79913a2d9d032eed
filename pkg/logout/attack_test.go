package logout_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostile are words that would be markup, a header, a template or a script, if they were
// not shown as text.
var hostile = []string{
	`"><script>alert(1)</script><img src=x onerror=alert(1)>`, `'><b x='`, "x\r\nX-Evil: 1\r\n\r\n<h1>Evil</h1>", "%0d%0aX-Evil:%201",
	`</title></style></script><svg onload=alert(1)>`, `{{.Request}}{{say "x"}}*%1**b*<b>`, `javascript:alert(1)//"'<>`, "\u2028<\u202e>", `<!--`,
}

var inStyle = regexp.MustCompile(`(?s)<style>.*?</style>`)

// shape is the status, what makes markup of text, and the headers by name.
func shape(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var headers []string
	for name, values := range w.Header() {
		headers = append(headers, name)
		if strings.ContainsAny(strings.Join(values, ""), "\r\n<>\"") {
			t.Errorf("header %s: %q", name, values)
		}
	}
	slices.Sort(headers)
	body := inStyle.ReplaceAllString(w.Body.String(), "")
	return fmt.Sprintf("%d, %d< %d> %d\" %d' %v", w.Code, strings.Count(body, "<"), strings.Count(body, ">"), strings.Count(body, `"`), strings.Count(body, "'"), headers)
}

// Whatever stands in a parameter of a logout, the page has the markup of one in which
// nothing hostile stands.
func TestHostileWords(t *testing.T) {
	for _, path := range []string{"/oidc/logout", "/v2/logout"} {
		for _, parameter := range []string{
			"id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "returnTo", "state", "ui_locales", "federated", "error",
			"error_description", "request", "seal", "sid", "iss", "unknown",
		} {
			t.Run(path+" "+parameter, func(t *testing.T) {
				h := newHouse(t)
				v := h.logIn("web")
				v.get("/oidc/logout", nil) // the browser gets its key
				ask := func(value string) map[string]string {
					shapes := map[string]string{}
					for name, more := range map[string]url.Values{"alone": nil, "of a client": words("client_id", "web"), "back to it": words("client_id", "web", "post_logout_redirect_uri", bye, "returnTo", bye)} {
						parameters := url.Values{}
						for name, values := range more {
							parameters[name] = values
						}
						parameters.Set(parameter, value)
						shapes[name] = shape(t, v.get(path, parameters, "Sec-Fetch-Site", "cross-site"))
						if path == "/oidc/logout" {
							shapes[name+", posted"] = shape(t, v.post(parameters))
						}
					}
					return shapes
				}
				// The twin: an innocent word in its place.
				benign := ask("x")
				for _, value := range hostile {
					for name, got := range ask(value) {
						if got != benign[name] {
							t.Errorf("%s with %s: %s, want %s", name, value, got, benign[name])
						}
					}
				}
				if v.ended() {
					t.Error("the session has ended")
				}
			})
		}
	}
}

// Logout leads nowhere but to what the client has registered, as it stands there.
func TestRedirectTricks(t *testing.T) {
	h := newHouse(t)
	v := h.logIn("web", "spa", "cli")
	for client, tricks := range map[string][]string{
		"web": {
			"https://app.example.com/bye/", "https://app.example.com/bye?", "https://app.example.com/bye#", "https://app.example.com//bye", "https://app.example.com/./bye",
			"https://app.example.com/%62ye", "https://app.example.com:443/bye", "https://app.example.com./bye", "https://me@app.example.com/bye", "HTTPS://app.example.com/bye",
			`https://app.example.com\@evil.example/bye`, "https://app.example.com/bye\r\nX: y", " https://app.example.com/bye", "//app.example.com/bye", "/bye", "https:app.example.com/bye",
			"https://app.example.com/bye?a=1&b=2", "https://evil.example/?https://app.example.com/bye", "data:text/html,x", "http://[::1]/bye",
		},
		"spa": {"http://localhost:8081/out", "http://127.0.0.1:8080/out", "http://[::1]:8080/out", "http://localhost/out", "http://LOCALHOST:8080/out"},
		"cli": {"com.example.app:out", "com.example.app://evil.example/out", "COM.example.app:/out", "com.example.app:/out/../in", "com.example.app:/cb"},
	} {
		for _, trick := range tricks {
			for name, w := range map[string]*httptest.ResponseRecorder{
				"hinted":       v.get("/oidc/logout", words("id_token_hint", v.hint(client), "post_logout_redirect_uri", trick)),
				"by client":    v.get("/oidc/logout", words("client_id", client, "post_logout_redirect_uri", trick)),
				"posted":       v.post(words("id_token_hint", v.hint(client), "post_logout_redirect_uri", trick)),
				"as Auth0 has": v.get("/v2/logout", words("client_id", client, "returnTo", trick), "Sec-Fetch-Site", "none"),
			} {
				if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || v.ended() {
					t.Errorf("%s, %q: %d to %q, ended %v", name, trick, w.Code, w.Header().Get("Location"), v.ended())
				}
			}
		}
	}
	// The twin, in a session that no other client has to hear of.
	v = h.logIn("web")
	if w := v.get("/oidc/logout", words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye)); w.Header().Get("Location") != bye || !v.ended() {
		t.Errorf("%d to %q", w.Code, w.Header().Get("Location"))
	}
}

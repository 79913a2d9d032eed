package authorize_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
)

// registered are where clients of the tests may be answered, but for loopback addresses.
var registered = []string{
	"https://front.example.com/cb?keep=1", "com.example.front:/cb", "https://app.example.com/cb", "https://app.example.com/cb?keep=1",
	"http://localhost:8080/cb", "https://APP.example.com:8443/cb", "com.example.app:/cb", "com.example.app://host/cb",
	"https://service.example.com/cb", "https://third.example.com/cb",
}

// harmless holds an answer to what holds for all of them: it is no fault of ours, leads
// nowhere that no client has registered, and has no token in a query; and a page has a
// policy, and a form or a message only for such an address.
func (h *house) harmless(a answer) {
	h.Helper()
	if a.Code >= http.StatusInternalServerError {
		h.Fatalf("%d %s", a.Code, h.log.String())
	}
	location := a.Header().Get("Location")
	if location == "" {
		policy := a.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "base-uri 'none'") {
			h.Fatalf("a page with the policy %s", policy)
		}
		if _, framed, _ := strings.Cut(policy, "frame-ancestors "); !strings.HasPrefix(framed, "'none'") && !strings.HasPrefix(framed, "https://front.example.com;") {
			h.Fatalf("a page with the policy %s", policy)
		}
		if strings.Contains(strings.ReplaceAll(a.Body.String(), "<script>document.forms[0].submit()</script>", ""), "<script>") && !strings.Contains(a.Body.String(), `data-origin="https://front.example.com"`) {
			h.Fatalf("a script: %s", a.Body)
		}
		return
	}
	there := func(uri string) bool {
		rest, ok := strings.CutPrefix(location, uri)
		return ok && (strings.HasPrefix(rest, "#") || strings.HasPrefix(rest, "?") || strings.HasPrefix(rest, "&"))
	}
	if !slices.ContainsFunc(registered, there) && !strings.HasPrefix(location, "http://127.0.0.1") && !strings.HasPrefix(location, "http://[::1]") {
		h.Fatalf("to %s", location)
	}
	if asked, _, _ := strings.Cut(location, "#"); strings.Contains(asked, "_token=") {
		h.Fatalf("a token in the query: %s", location)
	}
}

// isQuery reports whether the text can stand in a request line.
func isQuery(query string) bool {
	_, err := url.Parse("/authorize?" + query)
	return err == nil && !strings.ContainsAny(query, "\x00\r\n \x7f#")
}

// FuzzServe asks for anything with the cookies of a person who is logged in, by the query
// or by a form, and where there is an object, by that too.
func FuzzServe(f *testing.F) {
	for i, responseType := range oauth.ResponseTypes() {
		for _, mode := range []string{"", "query", "fragment", "form_post", "web_message"} {
			f.Add(forFront(responseType, "response_mode", mode).Encode(), "", i%2 == 0)
		}
	}
	for _, object := range []string{
		`{"state":"in","claims":{"id_token":{"sub":{"value":"u1"}}}}`, `{"redirect_uri":"https://elsewhere.example.com/"}`,
		`{"response_type":"token","resource":["` + api + `"]}`, `{"max_age":1e99}`, `[]`, `{"":""}`, `{"code_challenge":"","response_mode":"query"}`,
		`{"client_id":"plain","aud":"` + overTLS + `","exp":1e10,"nbf":0,"scope":"openid","prompt":"none"}`, `{"redirect_uri":["https://front.example.com/cb?keep=1"]}`,
	} {
		f.Add(forFront("code", "client_id", "plain").Encode(), object, false)
		f.Add(forFront("id_token token", "client_id", "plain", "response_mode", "form_post").Encode(), object, true)
	}
	f.Add(forFront("id_token", "claims", `{"id_token":{"acr":{"essential":true,"values":["x"]},"email":null}}`, "prompt", "none", "max_age", "9", "acr_values", "x").Encode(), "", false)
	f.Add(forFront("code", "redirect_uri", "https://front.example.com.evil.example/cb?keep=1").Encode(), "", false)
	f.Add(with(forThird, "claims", `{"userinfo":{"phone_number":null}}`, "ui_locales", "fr x").Encode(), "", false)
	f.Add(with(forSPA, "client_id", "native", "redirect_uri", "http://[::1]:9/cb").Encode(), "", false)
	f.Fuzz(func(t *testing.T, query, object string, post bool) {
		if object != "" {
			query += "&request=" + unsignedJWT(`{"alg":"none"}`, object)
		}
		h, v := withObjects(t)
		r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(query))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if !post {
			if !isQuery(query) {
				return
			}
			r = httptest.NewRequest(http.MethodGet, "/authorize", nil)
			r.URL.RawQuery = query
		}
		h.harmless(v.send(r))
	})
}

// FuzzForms sends the login form and the consent form back with anything in them, sealed
// as they should be or not. One whose seal does not hold does nothing: nothing is
// written, and nobody logged in.
func FuzzForms(f *testing.F) {
	const unsealed, login, consents = 0, 1, 2
	for _, sealed := range []uint8{unsealed, login, consents} {
		for _, carried := range []string{
			forFront("code").Encode(), forFront("id_token token", "response_mode", "form_post").Encode(), forThird.Encode(), with(forThird, "prompt", "login consent").Encode(),
			forFront("code", "redirect_uri", "https://evil.example/").Encode(), forFront("code", "prompt", "none").Encode(), "", "%zz", "client_id=front&client_id=web",
			forFront("code", "client_id", "plain", "request", unsignedJWT(`{"alg":"none"}`, `{"state":"in"}`)).Encode(),
		} {
			f.Add(carried, "", "demo", "", sealed)
			f.Add(carried, "shown", "demo", "allow", sealed)
		}
	}
	f.Fuzz(func(t *testing.T, carried, shown, username, answer string, sealed uint8) {
		h, v := withObjects(t)
		key := oauth.NewID()
		v.cookies["__Host-kmint_login"] = key
		form := url.Values{"request": {carried}, "shown": {shown}, "username": {username}, "password": {password}, "consent": {answer}, "seal": {"x"}}
		if shown == "" {
			form.Del("shown")
		}
		var err error
		seal := ""
		switch sealed % 3 {
		case login:
			seal, err = h.endpoint.Seal.Seal(t.Context(), oauth.Secret(key), carried)
		case consents:
			seal, err = session.Sealer{Purpose: session.Consent, MAC: h.endpoint.Seal.MAC, Now: h.endpoint.Seal.Now}.Seal(t.Context(), oauth.Secret(key), shown+"\n"+carried)
		}
		if err != nil {
			t.Fatal(err)
		}
		if seal != "" {
			form.Set("seal", seal)
		}
		grants, cookie := len(h.store.grants), v.cookies["__Host-kmint_session"]
		h.store.took()
		a := v.post(form)
		h.harmless(a)
		holds := sealed%3 == login && shown == "" || sealed%3 == consents && shown != ""
		if calls := h.store.took(); !holds && (calls != "" || len(h.store.grants) != grants || v.cookies["__Host-kmint_session"] != cookie || a.location != nil) {
			t.Fatalf("it did something: %s, %d to %s", calls, a.Code, a.location)
		}
	})
}

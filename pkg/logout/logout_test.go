package logout_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

// What an ID token of this session says is done, without a page; whatever it does not
// say is asked about.
func TestWhoIsAsked(t *testing.T) {
	for name, tt := range map[string]struct {
		parameters func(v *visitor) url.Values
		// location is where it goes at once; "" for the page with the status.
		location string
		status   int
		title    string
		// problem is what the page says is wrong.
		problem string
		// after is where the confirmed form leads, "" for the page that says it is done.
		after string
	}{
		"hint": {func(v *visitor) url.Values { return words("id_token_hint", v.hint("web")) }, "", 200, done, "", ""},
		"hint and address": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye)
		}, bye, 302, "", "", ""},
		"hint, address and state": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "state", "a b&c=d\r\nX: y")
		}, bye + "?state=a+b%26c%3Dd%0D%0AX%3A+y", 302, "", "", ""},
		"an address with a query": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye+"?a=1", "state", "s")
		}, bye + "?a=1&state=s", 302, "", "", ""},
		"an application's own scheme": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("cli"), "post_logout_redirect_uri", "com.example.app:/out")
		}, "com.example.app:/out", 302, "", "", ""},
		"hint and its client": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "client_id", "web", "post_logout_redirect_uri", bye)
		}, bye, 302, "", "", ""},
		"hint and its sid": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "logout_hint", v.session.ID, "post_logout_redirect_uri", bye)
		}, bye, 302, "", "", ""},
		"hint by ES256": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, jwt.ES256, jwt.TypIDToken, v.claims("web")), "post_logout_redirect_uri", bye)
		}, bye, 302, "", "", ""},
		"nothing":    {func(*visitor) url.Values { return nil }, "", 200, asks, "", ""},
		"only state": {func(*visitor) url.Values { return words("state", "s") }, "", 200, asks, "", ""},
		"client":     {func(*visitor) url.Values { return words("client_id", "web") }, "", 200, asks, "", ""},
		"client and address": {func(*visitor) url.Values {
			return words("client_id", "web", "post_logout_redirect_uri", bye, "state", "s")
		}, "", 200, asks, "", bye + "?state=s"},
		"sid alone": {func(v *visitor) url.Values {
			return words("logout_hint", v.session.ID, "client_id", "web", "post_logout_redirect_uri", bye)
		}, "", 200, asks, "", bye},
		"hint and another sid": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "logout_hint", "other", "post_logout_redirect_uri", bye)
		}, "", 200, asks, "", bye},
		"hint of another session": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypIDToken, with(v.claims("web"), "sid", "other")), "post_logout_redirect_uri", bye)
		}, "", 200, asks, "", bye},
		"hint of no session": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypIDToken, with(v.claims("web"), "sid", nil)), "post_logout_redirect_uri", bye)
		}, "", 200, asks, "", bye},
		"hint of another person": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypIDToken, with(v.claims("web"), "sub", "u2")), "post_logout_redirect_uri", bye)
		}, "", 200, asks, "", bye},
		"address of nobody": {func(*visitor) url.Values { return words("post_logout_redirect_uri", bye) }, "", 400, asks, "neither an id_token_hint nor a client_id", ""},
		"unknown client":    {func(*visitor) url.Values { return words("client_id", "<b>", "post_logout_redirect_uri", bye) }, "", 400, asks, "not known", ""},
		"address of another client": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("spa"), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "not one that the application has registered", ""},
		"address of nobody at all": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", "https://evil.example/<b>")
		}, "", 400, asks, "not one that the application has registered", ""},
		"a query added": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye+"?foo=bar")
		}, "", 400, asks, "not one that", ""},
		"a path added": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye+"/../x")
		}, "", 400, asks, "not one that", ""},
		"user information added": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", "https://app.example.com@evil.example/bye")
		}, "", 400, asks, "not one that", ""},
		"a fragment added": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye+"#x")
		}, "", 400, asks, "not one that", ""},
		"capitals": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", "https://APP.example.com/bye")
		}, "", 400, asks, "not one that", ""},
		"another port": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("spa"), "post_logout_redirect_uri", "http://localhost:8081/out")
		}, "", 400, asks, "not one that", ""},
		"a script": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", "javascript:alert(1)")
		}, "", 400, asks, "not one that", ""},
		"a redirect URI": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", "https://app.example.com/cb")
		}, "", 400, asks, "not one that", ""},
		"hint of another client": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("spa"), "client_id", "web", "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"hint signed by a stranger": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.strange, "", jwt.TypIDToken, v.claims("web")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"hint that nobody signed": {func(v *visitor) url.Values {
			return words("id_token_hint", unsigned(v.hint("web")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"hint of another issuer": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypIDToken, with(v.claims("web"), "iss", "https://other.example/")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"an access token": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypAccessToken, v.claims("web")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"an access token that says JWT": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypAuth0, with(v.claims("web"), "jti", "x")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"a logout token": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypLogoutToken, v.claims("web")), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"hint for two": {func(v *visitor) url.Values {
			return words("id_token_hint", v.sign(v.ring, "", jwt.TypIDToken, with(v.claims("web"), "aud", []string{"web", "spa"})), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "id_token_hint", ""},
		"no hint at all, but a garbage": {func(*visitor) url.Values { return words("id_token_hint", "<b>", "post_logout_redirect_uri", bye) }, "", 400, asks, "id_token_hint", ""},
		"hint of a client that is gone": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("gone"), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "not known", ""},
		"another locale": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "ui_locales", "de <b>")
		}, bye, 302, "", "", ""},
		"address for a client with none": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("bare"), "post_logout_redirect_uri", bye)
		}, "", 400, asks, "not one that", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			v := h.logIn("web")
			w := v.get("/oidc/logout", tt.parameters(v))
			if tt.title != "" {
				h.isPage(w, tt.status, tt.title)
			} else if w.Code != tt.status || w.Header().Get("Location") != tt.location || w.Body.Len() > 0 {
				t.Fatalf("status %d to %q, want %d to %q", w.Code, w.Header().Get("Location"), tt.status, tt.location)
			}
			asked := tt.title == asks
			if _, kept := v.cookies[cookie]; v.ended() == asked || kept != asked {
				t.Fatalf("asked: %v, ended: %v, cookie kept: %v", asked, v.ended(), kept)
			}
			if !asked {
				return
			}
			if !strings.Contains(w.Body.String(), "Demo &lt;b&gt;") {
				t.Errorf("the page does not say who is there: %s", w.Body)
			}
			if says := strings.Contains(w.Body.String(), `role="alert"`); says != (tt.problem != "") || !strings.Contains(w.Body.String(), tt.problem) {
				t.Errorf("the page does not say %q: %s", tt.problem, w.Body)
			}
			w = v.post(v.form)
			if tt.after == "" {
				h.isPage(w, http.StatusOK, done)
			} else if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.after {
				t.Errorf("confirmed: status %d to %q, want %q", w.Code, w.Header().Get("Location"), tt.after)
			}
			if _, kept := v.cookies[cookie]; !v.ended() || kept {
				t.Errorf("confirmed: ended: %v, cookie kept: %v", v.ended(), kept)
			}
		})
	}
}

// with sets a claim, or takes it away.
func with(claims map[string]any, name string, value any) map[string]any {
	claims[name] = value
	if value == nil {
		delete(claims, name)
	}
	return claims
}

// unsigned is the token with alg none.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	return "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
}

// Nothing ends by a form that another site has made, or that was shown to another
// browser, for something else, or too long ago.
func TestForeignForms(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(v, other *visitor)
		ended  bool
	}{
		"the form":            {func(*visitor, *visitor) {}, true},
		"a tab that lay open": {func(v, _ *visitor) { v.now = v.now.Add(time.Hour) }, true},
		"open too long":       {func(v, _ *visitor) { v.now = v.now.Add(2 * time.Hour) }, false},
		"no seal":             {func(v, _ *visitor) { v.form.Del("seal") }, false},
		"garbage for a seal":  {func(v, _ *visitor) { v.form.Set("seal", "<b>") }, false},
		"another request": {func(v, _ *visitor) {
			v.form.Set("request", "client_id=spa")
		}, false},
		"of another browser": {func(v, other *visitor) { v.form = other.form }, false},
		"a seal of a login form": {func(v, _ *visitor) {
			seal, err := session.Sealer{MAC: mac{}, Now: func() time.Time { return v.now }}.
				Seal(v.Context(), oauth.Secret(v.cookies["__Host-kmint_login"]), v.form.Get("request"))
			v.must(err)
			v.form.Set("seal", seal)
		}, false},
		"without the key's cookie": {func(v, _ *visitor) { delete(v.cookies, "__Host-kmint_login") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			v, other := h.logIn("web"), h.logIn("web")
			for _, each := range []*visitor{v, other} {
				h.isPage(each.get("/oidc/logout", words("client_id", "web")), http.StatusOK, asks)
			}
			tt.change(v, other)
			w := v.post(v.form)
			if title := map[bool]string{true: done, false: asks}[tt.ended]; v.ended() != tt.ended || other.ended() {
				t.Errorf("ended: %v, the other's: %v", v.ended(), other.ended())
			} else {
				h.isPage(w, http.StatusOK, title)
			}
			if tt.ended {
				return
			}
			// What is shown then is good.
			h.isPage(v.post(v.form), http.StatusOK, done)
			if !v.ended() || other.ended() {
				t.Error("the second form did not end it")
			}
		})
	}
}

// Who is in no session is sent on, or told so; nothing is asked.
func TestNobodyIsThere(t *testing.T) {
	for name, tt := range map[string]struct {
		parameters func(v *visitor) url.Values
		location   string
		status     int
		title      string
	}{
		"nothing": {func(*visitor) url.Values { return nil }, "", 200, done},
		"hint": {func(v *visitor) url.Values {
			return words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "state", "s")
		}, bye + "?state=s", 302, ""},
		"client and address": {func(*visitor) url.Values { return words("client_id", "web", "post_logout_redirect_uri", bye) }, bye, 302, ""},
		"another address":    {func(*visitor) url.Values { return words("client_id", "web", "post_logout_redirect_uri", bye+"2") }, "", 400, failed},
		"a strange hint": {func(v *visitor) url.Values {
			return words("id_token_hint", unsigned(v.hint("web")), "post_logout_redirect_uri", bye)
		}, "", 400, failed},
		"address of nobody": {func(*visitor) url.Values { return words("post_logout_redirect_uri", bye) }, "", 400, failed},
		"twice the state":   {func(*visitor) url.Values { return url.Values{"state": {"a", "b"}} }, "", 400, failed},
	} {
		for _, brings := range []string{"no cookie", "the cookie of a session that is over", "a cookie that is none"} {
			t.Run(name+", "+brings, func(t *testing.T) {
				h := newHouse(t)
				v, other := h.logIn("web", "spa"), h.logIn("web", "spa")
				switch brings {
				case "no cookie":
					delete(v.cookies, cookie)
				case "a cookie that is none":
					v.cookies[cookie] = "x"
				default:
					h.must(h.store.DeleteSession(t.Context(), v.session.Digest))
				}
				w := v.get("/oidc/logout", tt.parameters(v))
				if tt.title != "" {
					h.isPage(w, tt.status, tt.title)
				} else if w.Code != tt.status || w.Header().Get("Location") != tt.location {
					t.Errorf("status %d to %q", w.Code, w.Header().Get("Location"))
				}
				if tt.status != 400 && v.cookies[cookie] != "" {
					t.Error("the cookie is left")
				}
				// A session is ended in its own browser alone, whatever a hint says.
				if other.ended() || brings == "no cookie" && v.ended() || h.told() != "" {
					t.Errorf("another's ended: %v; told: %s", other.ended(), h.told())
				}
			})
		}
	}
}

// A form of the client's own site brings no cookie along. It is sent on as a link,
// which does.
func TestPostFromTheClient(t *testing.T) {
	h := newHouse(t)
	v := h.logIn("web")
	kept := v.cookies
	parameters := words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "state", "s")
	v.cookies = map[string]string{}
	w := v.post(parameters)
	to, err := url.Parse(w.Header().Get("Location"))
	h.must(err)
	if w.Code != http.StatusSeeOther || to.Scheme+"://"+to.Host+to.Path != issuer+"oidc/logout" || len(w.Result().Cookies()) > 0 {
		t.Fatalf("status %d to %s", w.Code, to)
	}
	v.cookies = kept
	w = v.get(to.Path, to.Query())
	if w.Code != http.StatusFound || w.Header().Get("Location") != bye+"?state=s" || !v.ended() {
		t.Errorf("status %d to %s", w.Code, w.Header().Get("Location"))
	}

	// With its cookie, from the same site, it needs no detour.
	v = h.logIn("web")
	w = v.post(words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != bye || !v.ended() {
		t.Errorf("status %d to %s", w.Code, w.Header().Get("Location"))
	}

	// What is too long for an address is asked about, and the form brings the cookie.
	v = h.logIn("web")
	kept = v.cookies
	v.cookies = map[string]string{}
	h.isPage(v.post(words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "state", strings.Repeat("s", 7000))), http.StatusOK, asks)
	if v.ended() {
		t.Fatal("ended without its cookie")
	}
	v.cookies[cookie] = kept[cookie]
	w = v.post(v.form)
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), bye+"?state=ss") || !v.ended() {
		t.Errorf("status %d to %.80s", w.Code, w.Header().Get("Location"))
	}
}

// The cookies that come along from other sites end nothing, and go with the session.
func TestSilentCookie(t *testing.T) {
	h := newHouse(t)
	v := h.logIn("web")
	v.cookies[session.SilentCookieName] = v.cookies[cookie]
	v.cookies[session.StateCookieName(true)] = session.State(oauth.Secret(v.cookies[cookie]))
	delete(v.cookies, cookie)
	hint := v.hint("web")
	if w := v.get("/oidc/logout", words("id_token_hint", hint, "post_logout_redirect_uri", bye)); w.Code != http.StatusFound || v.ended() {
		t.Fatalf("by the silent cookie alone: status %d, ended %v", w.Code, v.ended())
	}
	v = h.logIn("web")
	v.cookies[session.SilentCookieName] = v.cookies[cookie]
	v.cookies[session.StateCookieName(true)] = "state"
	v.get("/oidc/logout", words("id_token_hint", v.hint("web")))
	if len(v.cookies) > 0 || !v.ended() {
		t.Errorf("left: %v", v.cookies)
	}
}

// Auth0's older clients hold no ID token out; where the browser comes from has to do.
func TestAuth0(t *testing.T) {
	const evil = "https://evil.example/"
	for name, tt := range map[string]struct {
		parameters url.Values
		header     []string
		location   string
		status     int
		title      string
		after      string
	}{
		"from a web origin":         {words("client_id", "spa", "returnTo", "http://localhost:8080/out"), []string{"Referer", "https://spa.example.com/"}, "http://localhost:8080/out", 302, "", ""},
		"from a redirect URI":       {words("client_id", "web", "returnTo", bye+"?a=1"), []string{"Referer", "https://app.example.com/x"}, bye + "?a=1", 302, "", ""},
		"the first address":         {words("client_id", "web"), []string{"Referer", "https://app.example.com/x"}, bye, 302, "", ""},
		"federated":                 {words("client_id", "web", "federated", "1", "returnTo", bye), []string{"Referer", "https://app.example.com/x"}, bye, 302, "", ""},
		"state is none":             {words("client_id", "web", "state", "s"), []string{"Referer", "https://app.example.com/x"}, bye, 302, "", ""},
		"from no page":              {words("client_id", "web"), []string{"Sec-Fetch-Site", "none"}, bye, 302, "", ""},
		"nothing said":              {words("client_id", "web", "returnTo", bye), nil, "", 200, asks, bye},
		"nothing said, no address":  {words("client_id", "web"), nil, "", 200, asks, bye},
		"from another site":         {words("client_id", "web"), []string{"Referer", evil}, "", 200, asks, bye},
		"from another site, hidden": {words("client_id", "web"), []string{"Sec-Fetch-Site", "cross-site"}, "", 200, asks, bye},
		"from another, as if none":  {words("client_id", "web"), []string{"Referer", evil, "Sec-Fetch-Site", "none"}, "", 200, asks, bye},
		"from one that looks alike": {words("client_id", "web"), []string{"Referer", "https://app.example.com.evil.example/"}, "", 200, asks, bye},
		"from another client":       {words("client_id", "web"), []string{"Referer", "https://spa.example.com/"}, "", 200, asks, bye},
		"nobody's":                  {nil, []string{"Sec-Fetch-Site", "none"}, "", 200, asks, ""},
		"a client with no address":  {words("client_id", "bare"), []string{"Sec-Fetch-Site", "none"}, "", 200, done, ""},
		"address of nobody":         {words("returnTo", bye), []string{"Sec-Fetch-Site", "none"}, "", 400, asks, ""},
		"another address":           {words("client_id", "web", "returnTo", evil), []string{"Referer", "https://app.example.com/"}, "", 400, asks, ""},
		"a query added":             {words("client_id", "web", "returnTo", bye+"?x"), []string{"Referer", "https://app.example.com/"}, "", 400, asks, ""},
		"unknown client":            {words("client_id", "<b>", "returnTo", bye), []string{"Sec-Fetch-Site", "none"}, "", 400, asks, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			v := h.logIn("web")
			w := v.get("/v2/logout", tt.parameters, tt.header...)
			if tt.title != "" {
				h.isPage(w, tt.status, tt.title)
			} else if w.Code != tt.status || w.Header().Get("Location") != tt.location {
				t.Fatalf("status %d to %q, want %d to %q", w.Code, w.Header().Get("Location"), tt.status, tt.location)
			}
			if asked := tt.title == asks; v.ended() == asked {
				t.Fatalf("ended: %v", v.ended())
			} else if !asked {
				return
			}
			w = v.post(v.form)
			if tt.after == "" {
				h.isPage(w, http.StatusOK, done)
			} else if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tt.after {
				t.Errorf("confirmed: status %d to %q", w.Code, w.Header().Get("Location"))
			}
			if !v.ended() {
				t.Error("confirmed, and not ended")
			}
		})
	}
}

// A fault of ours ends nothing, or says so: who comes again finds all as it was.
func TestFaults(t *testing.T) {
	for call, want := range map[string]int{
		"Issuer": 503, "Registry": 503, "Session": 503, "Client web": 503, "Client spa": 503, "EndSession": 503, "queue": 503,
	} {
		t.Run(call, func(t *testing.T) {
			h := newHouse(t)
			v := h.logIn("web", "spa")
			hint := v.hint("web")
			h.store.fail[call] = store.ErrBusy
			if call == "queue" {
				h.queue.err = store.ErrBusy
			}
			parameters := words("id_token_hint", hint, "post_logout_redirect_uri", bye)
			w := v.get("/oidc/logout", parameters)
			h.isPage(w, want, failed)
			if v.ended() || v.cookies[cookie] == "" || w.Header().Get("Retry-After") == "" {
				t.Fatal("something has happened")
			}
			if call != "EndSession" && h.told() != "" {
				t.Errorf("told: %s", h.told())
			}
			clear(h.store.fail)
			h.queue.err = nil
			w = v.get("/oidc/logout", parameters)
			if w.Code != http.StatusFound || !v.ended() || !strings.Contains(h.told(), "spa") {
				t.Errorf("the next time: status %d, told %s", w.Code, h.told())
			}
		})
	}
}

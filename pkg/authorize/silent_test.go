package authorize_test

import (
	"net/http"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

const elsewhere = "https://app.example.org"

// withElsewhere has a client whose pages are on another site, and one of whose are on
// ours.
func withElsewhere(t *testing.T, issuer string) *house {
	t.Helper()
	h := newHouse(t, issuer)
	here := "https://app.example.com"
	for _, c := range []store.Client{
		{ID: "elsewhere", RedirectURIs: []string{elsewhere + "/cb", here + "/cb", "https://other.example.org/cb"}, WebOrigins: []string{elsewhere, here}},
		{ID: "here", RedirectURIs: []string{here + "/cb"}, WebOrigins: []string{here}},
	} {
		c.AuthMethod, c.ApplicationType, c.GrantTypes, c.FirstParty = oauth.None, oauth.Web, []string{oauth.AuthorizationCode}, true
		if err := h.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func silentCookie(a answer) *http.Cookie {
	for _, c := range a.Result().Cookies() {
		if c.Name == session.SilentCookieName {
			return c
		}
	}
	return nil
}

func TestAPageOfAnotherSiteHearsWhoIsThere(t *testing.T) {
	h := withElsewhere(t, overTLS)
	v := h.visitor()
	ask := func(pairs ...string) answer {
		return v.get(with(with(forSPA, "client_id", "elsewhere", "redirect_uri", elsewhere+"/cb"), pairs...))
	}
	ask()
	a := v.fill("demo", password)
	c := silentCookie(a)
	if a.query("code") == "" || c == nil || c.SameSite != http.SameSiteNoneMode || !c.Secure || !c.HttpOnly || c.Path != "/" || c.MaxAge != int(session.Lifetime.Seconds()) {
		t.Fatalf("%d to %s, cookie %v", a.Code, a.location, c)
	}
	lax := v.cookies["__Host-kmint_session"]
	if silentCookie(ask()) != nil {
		t.Error("it is set once more")
	}
	// From a frame on another site the browser sends this cookie alone.
	delete(v.cookies, "__Host-kmint_session")
	for _, tt := range []struct {
		name  string
		pairs []string
		want  string // code, message, page, or an error
	}{
		{"by a message", []string{"prompt", "none", "response_mode", "web_message"}, "message"},
		{"by a redirect", []string{"prompt", "none"}, "code"},
		{"with a page to show", nil, "page"},
		{"for a login", []string{"prompt", "login"}, "page"},
		{"for a page of our own site", []string{"prompt", "none", "redirect_uri", "https://app.example.com/cb"}, "login_required"},
		{"for what is no web origin", []string{"prompt", "none", "redirect_uri", "https://other.example.org/cb"}, "login_required"},
		{"for a client of our own site", []string{"prompt", "none", "client_id", "here", "redirect_uri", "https://app.example.com/cb"}, "login_required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(tt.pairs...)
			if silentCookie(a) != nil {
				t.Error("it sets the cookie")
			}
			switch tt.want {
			case "message":
				if !strings.Contains(a.Body.String(), "&#34;code&#34;:&#34;"+oauth.CodePrefix) {
					t.Errorf("%d %s", a.Code, a.Body)
				}
			case "page":
				h.isLoginPage(a, http.StatusOK)
			case "code":
				if a.query("code") == "" {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			default:
				if a.query("error") != tt.want || a.query("code") != "" {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			}
		})
	}
	// A form that comes with it alone is filled in by somebody who logs in.
	v.cookies["__Host-kmint_session"] = lax
	v.get(with(forSPA, "client_id", "here", "redirect_uri", "https://app.example.com/cb", "prompt", "login"))
	a = v.fill("demo", password)
	if c := silentCookie(a); c == nil || c.Value != v.cookies["__Host-kmint_session"] || c.Value == lax {
		t.Errorf("after another login it is %v", c)
	}
}

func TestNoCookieCrossesSitesUnasked(t *testing.T) {
	h := withElsewhere(t, overTLS)
	v := h.visitor()
	v.get(with(forSPA, "client_id", "here", "redirect_uri", "https://app.example.com/cb"))
	if a := v.fill("demo", password); a.query("code") == "" || silentCookie(a) != nil {
		t.Errorf("%d, %v", a.Code, silentCookie(a))
	}
	// The session that stands gets one when the first client asks that needs it.
	if a := v.get(with(forSPA, "client_id", "elsewhere", "redirect_uri", elsewhere+"/cb")); silentCookie(a) == nil || silentCookie(a).Value != v.cookies["__Host-kmint_session"] {
		t.Errorf("%d, %v", a.Code, silentCookie(a))
	}
	// Browsers take none over plain http, nor do we.
	h = withElsewhere(t, plain)
	v = h.visitor()
	request := with(forSPA, "client_id", "elsewhere", "redirect_uri", elsewhere+"/cb")
	v.get(request)
	if a := v.fill("demo", password); a.query("code") == "" || silentCookie(a) != nil {
		t.Errorf("%d, %v", a.Code, silentCookie(a))
	}
	v.cookies = map[string]string{session.SilentCookieName: v.cookies["kmint_session"]}
	if a := v.get(with(request, "prompt", "none")); a.query("error") != "login_required" {
		t.Errorf("%d to %s", a.Code, a.location)
	}
}

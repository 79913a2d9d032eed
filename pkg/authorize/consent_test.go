package authorize_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

// forThird is a request of a client that is not the owner's own.
var forThird = with(forWeb, "client_id", "third", "redirect_uri", "https://third.example.com/cb")

func (h *house) isConsentPage(a answer, status int) {
	h.Helper()
	h.isPage(a, status)
	if !strings.Contains(a.Body.String(), `name="consent"`) {
		h.Errorf("not the consent page: %s", a.Body)
	}
}

func (h *house) allowed(scope ...string) {
	h.Helper()
	c := store.Consent{}
	for _, value := range scope {
		c[value] = h.now
	}
	if err := h.store.PutConsent(h.Context(), "u1", "third", nil, c); err != nil {
		h.Fatal(err)
	}
}

func TestConsent(t *testing.T) {
	for name, tt := range map[string]struct {
		request url.Values
		// allowed is what the person has allowed before; nil for nothing.
		allowed []string
		want    string
	}{
		"nothing allowed":                     {forThird, nil, "page"},
		"all of it allowed":                   {forThird, []string{"openid", "email"}, "code"},
		"more than that":                      {forThird, []string{"openid", "email", "phone"}, "code"},
		"less than that":                      {forThird, []string{"openid"}, "page"},
		"prompt consent":                      {with(forThird, "prompt", "consent"), []string{"openid", "email"}, "page"},
		"silent, allowed":                     {with(forThird, "prompt", "none"), []string{"openid", "email"}, "code"},
		"silent, nothing":                     {with(forThird, "prompt", "none"), nil, "consent_required"},
		"silent, less":                        {with(forThird, "prompt", "none"), []string{"openid"}, "consent_required"},
		"a claim that no scope value asks":    {with(forThird, "claims", `{"id_token":{"phone_number":null}}`), []string{"openid", "email"}, "page"},
		"a claim at userinfo":                 {with(forThird, "claims", `{"userinfo":{"address":{"essential":true}}}`), []string{"openid", "email"}, "page"},
		"a claim that is allowed":             {with(forThird, "claims", `{"userinfo":{"email":null}}`), []string{"openid", "email"}, "code"},
		"an API":                              {with(forThird, "audience", api), []string{"openid", "email"}, "page"},
		"an API, a value":                     {with(forThird, "audience", api, "scope", "read:orders"), []string{api + " "}, "page"},
		"an API, a value that is allowed":     {with(forThird, "audience", api, "scope", "read:orders"), []string{api + " ", api + " read:orders"}, "code"},
		"a value so called of another API":    {with(forThird, "audience", api, "scope", "read:orders"), []string{stock + " ", stock + " read:orders"}, "page"},
		"an API and no scope, nothing":        {with(forThird, "audience", api, "scope", "-"), nil, "page"},
		"an API and no scope, another record": {with(forThird, "audience", api, "scope", "-"), []string{}, "page"},
		"the owner's own client":              {forWeb, nil, "code"},
		"the owner's own, prompt consent":     {with(forWeb, "prompt", "consent"), nil, "code"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			if tt.allowed != nil {
				h.allowed(tt.allowed...)
			}
			v := h.visitor()
			v.logIn()
			a := v.get(tt.request)
			switch tt.want {
			case "page":
				h.isConsentPage(a, http.StatusOK)
			case "code":
				if a.query("code") == "" {
					t.Errorf("no code: %s %s", a.location, a.Body)
				}
			default:
				if a.query("error") != tt.want || a.query("code") != "" {
					t.Errorf("to %s, want %s", a.location, tt.want)
				}
			}
			if wrote := len(h.store.grants) > 0; wrote != (tt.want == "code") {
				t.Errorf("%d grants", len(h.store.grants))
			}
		})
	}
}

// A login for such a client ends on the consent page, in a session: prompt=login and
// max_age=0 are met by it, and not asked for again.
func TestConsentAfterLogin(t *testing.T) {
	for name, request := range map[string]url.Values{
		"plain": forThird, "prompt login": with(forThird, "prompt", "login consent"), "max_age": with(forThird, "max_age", "0"),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.get(request)
			h.isConsentPage(v.fill("demo", password), http.StatusOK)
			h.now = h.now.Add(time.Minute)
			a := v.post(with(v.form, "consent", "allow"))
			if a.Code != http.StatusSeeOther || a.query("code") == "" {
				t.Fatalf("%d %s", a.Code, a.Body)
			}
			if g := h.store.grants[0]; !g.AuthTime.Equal(h.now.Add(-time.Minute)) {
				t.Errorf("logged in at %s", g.AuthTime)
			}
			all, err := h.store.Consents(t.Context(), "u1")
			if err != nil || len(all["third"]) != 2 || !all["third"]["email"].Equal(h.now) {
				t.Errorf("remembered %v, %v", all, err)
			}
		})
	}
}

// Nothing but the button of the page that was shown, in the browser, the session and
// for the request that it was shown for, gets such a client a code.
func TestForgedConsent(t *testing.T) {
	for name, tt := range map[string]struct {
		forge func(h *house, v *visitor, form url.Values)
		want  string // page: the consent page; login: that one; error: a page that asks nothing
	}{
		"as it should be":       {func(*house, *visitor, url.Values) {}, "code"},
		"denied":                {func(_ *house, _ *visitor, f url.Values) { f.Set("consent", "deny") }, "access_denied"},
		"no answer":             {func(_ *house, _ *visitor, f url.Values) { f.Del("consent") }, "access_denied"},
		"another answer":        {func(_ *house, _ *visitor, f url.Values) { f.Set("consent", "ALLOW") }, "access_denied"},
		"no seal":               {func(_ *house, _ *visitor, f url.Values) { f.Set("seal", "") }, "error"},
		"no binding":            {func(_ *house, _ *visitor, f url.Values) { f.Del("shown") }, "login"},
		"another binding":       {func(_ *house, _ *visitor, f url.Values) { f.Set("shown", oauth.NewID()) }, "login"},
		"another request":       {func(_ *house, _ *visitor, f url.Values) { f.Set("request", f.Get("request")+"&x=1") }, "login"},
		"no cookies":            {func(_ *house, v *visitor, _ url.Values) { clear(v.cookies) }, "error"},
		"another browser's key": {func(_ *house, v *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = oauth.NewID() }, "login"},
		"too old":               {func(h *house, _ *visitor, _ url.Values) { h.now = h.now.Add(2 * time.Hour) }, "login"},
		"nobody logged in":      {func(_ *house, v *visitor, _ url.Values) { delete(v.cookies, "__Host-kmint_session") }, "login"},
		"another login since":   {func(_ *house, v *visitor, _ url.Values) { v.logIn() }, "page"},
		"another person": {func(h *house, v *visitor, _ url.Values) {
			if err := h.store.PutUser(h.Context(), store.User{Subject: "u2", Username: "other"}); err != nil {
				h.Fatal(err)
			}
			s, handle := session.Keeper{Now: func() time.Time { return h.now }}.New("u2")
			if err := h.store.Store.PutSession(h.Context(), s); err != nil {
				h.Fatal(err)
			}
			v.cookies["__Host-kmint_session"] = handle.Reveal()
		}, "page"},
		"other words than were shown": {func(h *house, _ *visitor, _ url.Values) {
			if err := h.store.PutAPI(h.Context(), store.API{Identifier: api, Scopes: map[string]string{"read:orders": "Empty your account"}}); err != nil {
				h.Fatal(err)
			}
		}, "page"},
		"a blocked person": {func(h *house, _ *visitor, _ url.Values) {
			if err := h.store.PutUser(h.Context(), store.User{Subject: "u1", Username: "Demo", Blocked: true}); err != nil {
				h.Fatal(err)
			}
		}, "login"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.logIn()
			h.isConsentPage(v.get(with(forThird, "audience", api, "scope", "openid read:orders")), http.StatusOK)
			form := with(v.form, "consent", "allow")
			tt.forge(h, v, form)
			a := v.post(form)
			switch tt.want {
			case "code":
				if a.query("code") == "" {
					t.Errorf("no code: %s", a.Body)
				}
				return
			case "page":
				h.isConsentPage(a, http.StatusBadRequest)
			case "login":
				if !strings.Contains(a.Body.String(), `name="password"`) {
					t.Errorf("not the login page: %s", a.Body)
				}
			case "error":
				h.isPage(a, http.StatusBadRequest)
			default:
				if a.query("error") != tt.want {
					t.Errorf("to %s", a.location)
				}
			}
			all, err := h.store.Consents(t.Context(), "u1")
			if a.query("code") != "" || len(h.store.grants) > 0 || len(all) > 0 || err != nil {
				t.Errorf("it did something: %s, %d grants, %v, %v", a.location, len(h.store.grants), all, err)
			}
		})
	}
}

// A login form is no consent form, nor the other way round.
func TestSealsAreForOneKindOfForm(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.get(forThird)
	login := v.form
	a := v.post(with(login, "shown", "x", "consent", "allow"))
	h.isLoginPage(a, http.StatusBadRequest)
	h.isConsentPage(v.fill("demo", password), http.StatusOK)
	a = v.post(url.Values{"request": v.form["request"], "seal": v.form["seal"], "username": {"demo"}, "password": {password}})
	h.isLoginPage(a, http.StatusBadRequest)
	if len(h.store.grants) > 0 {
		t.Error("a code was written")
	}
}

// What the page shows is escaped.
func TestConsentPageShowsNoMarkup(t *testing.T) {
	const hostile = `"><script>alert(1)</script>`
	h := newHouse(t, overTLS)
	for _, err := range []error{
		h.store.PutClient(t.Context(), store.Client{
			ID: "third", Name: hostile, AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, GrantTypes: []string{oauth.AuthorizationCode},
			RedirectURIs: []string{"https://third.example.com/cb"},
		}),
		h.store.PutAPI(t.Context(), store.API{Identifier: api, Name: hostile, Scopes: map[string]string{"read:orders": hostile}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	v := h.visitor()
	v.logIn()
	h.isConsentPage(v.get(with(forThird, "audience", api, "scope", "read:orders", "state", hostile)), http.StatusOK)
}

// The consent is read beside the session and the person: no trip more.
func TestConsentCostsNoTrip(t *testing.T) {
	h := newHouse(t, overTLS)
	h.allowed("openid", "email")
	v := h.visitor()
	v.logIn()
	h.store.took()
	if a := v.get(forThird); a.query("code") == "" {
		t.Fatal(a.Body)
	}
	if got := h.store.took(); got != "Consents PutGrant Session User" {
		t.Errorf("it took %s", got)
	}
	if a := v.get(forWeb); a.query("code") == "" {
		t.Fatal(a.Body)
	}
	if got := h.store.took(); got != "PutGrant Session User" {
		t.Errorf("the owner's own client took %s", got)
	}
}

func TestConsentWhereTheStoreFails(t *testing.T) {
	for _, call := range []string{"Consents", "PutConsent"} {
		t.Run(call, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.logIn()
			v.get(forThird)
			h.store.fail = map[string]error{call: store.ErrBusy}
			a := v.post(with(v.form, "consent", "allow"))
			if a.query("error") != string(oauth.TemporarilyUnavailable) || len(h.store.grants) > 0 {
				t.Errorf("%d to %s, %d grants", a.Code, a.location, len(h.store.grants))
			}
		})
	}
}

// Only the person takes back what they allowed.
func TestWithdrawal(t *testing.T) {
	for name, tt := range map[string]struct {
		forge func(h *house, v *visitor, form url.Values)
		want  int
	}{
		"as it should be":       {func(*house, *visitor, url.Values) {}, http.StatusSeeOther},
		"no seal":               {func(_ *house, _ *visitor, f url.Values) { f.Del("seal") }, http.StatusBadRequest},
		"another client":        {func(_ *house, _ *visitor, f url.Values) { f.Set("client", "web") }, http.StatusBadRequest},
		"another browser's key": {func(_ *house, v *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = oauth.NewID() }, http.StatusBadRequest},
		"another login since":   {func(_ *house, v *visitor, _ url.Values) { v.logIn() }, http.StatusBadRequest},
		"too old":               {func(h *house, _ *visitor, _ url.Values) { h.now = h.now.Add(2 * time.Hour) }, http.StatusBadRequest},
		"no cookies":            {func(_ *house, v *visitor, _ url.Values) { clear(v.cookies) }, http.StatusOK}, // the page that says so
		"a login before the server's not_before": {func(h *house, _ *visitor, _ url.Values) {
			if err := h.store.PutSettings(h.Context(), store.Settings{NotBefore: h.now.Add(time.Second)}); err != nil {
				h.Fatal(err)
			}
		}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			h.allowed("openid", "email")
			held := []string{h.holds("third", "u1"), h.holds("web", "u1"), h.holds("third", "u2")}
			v := h.visitor()
			v.logIn()
			h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := h.endpoint.ServeConsents(w, r); err != nil {
					http.Error(w, err.Error(), oauth.AsError(err).Status())
				}
			})
			a := v.send(httptest.NewRequest(http.MethodGet, "/consents", nil))
			for _, part := range []string{"<h2>third</h2>\n<p class=\"since\">Since 15 January 2027</p>\n<ul>\n<li>Know who you are here</li>\n<li>See your email address</li>\n</ul>", `name="client" value="third"`} {
				if !strings.Contains(a.Body.String(), part) {
					t.Fatalf("%s is not on the page: %s", part, a.Body)
				}
			}
			form := with(v.form, "client", "third")
			tt.forge(h, v, form)
			r := httptest.NewRequest(http.MethodPost, "/consents", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			a = v.send(r)
			all, err := h.store.Consents(t.Context(), "u1")
			if a.Code != tt.want || err != nil || (len(all) == 0) != (tt.want == http.StatusSeeOther) {
				t.Errorf("%d, left %v, %v", a.Code, all, err)
			}
			// What the client holds for the person ends with it, and nothing else.
			for i, id := range held {
				g, err := h.store.Grant(t.Context(), id)
				if err != nil || g.Revoked.IsZero() == (i == 0 && tt.want == http.StatusSeeOther) {
					t.Errorf("of %s for %s, revoked at %s, %v", g.ClientID, g.Subject, g.Revoked, err)
				}
			}
		})
	}
}

// holds writes a grant with a refresh token that a client keeps while its person is away.
func (h *house) holds(clientID, subject string) (id string) {
	h.Helper()
	g := store.Grant{
		ID: oauth.NewID(), ClientID: clientID, Subject: subject, Created: h.now, Spent: h.now,
		Family: "f", Current: "c", IdleExpires: h.now.Add(time.Hour), End: h.now.Add(time.Hour), Kept: h.now.Add(time.Hour),
	}
	if err := h.store.Store.PutGrant(h.Context(), g); err != nil {
		h.Fatal(err)
	}
	return g.ID
}

// A withdrawal that is half done can be done again by the same form.
func TestWithdrawalWhereTheStoreFails(t *testing.T) {
	for _, call := range []string{"GrantsOf", "RevokeGrant", "DeleteConsent"} {
		t.Run(call, func(t *testing.T) {
			h := newHouse(t, overTLS)
			h.allowed("openid")
			id := h.holds("third", "u1")
			v := h.visitor()
			v.logIn()
			h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := h.endpoint.ServeConsents(w, r); err != nil {
					http.Error(w, err.Error(), oauth.AsError(err).Status())
				}
			})
			v.send(httptest.NewRequest(http.MethodGet, "/consents", nil))
			form := with(v.form, "client", "third")
			for i, want := range []int{http.StatusServiceUnavailable, http.StatusSeeOther} {
				h.store.fail = map[string]error{}
				if i == 0 {
					h.store.fail[call] = store.ErrBusy
				}
				r := httptest.NewRequest(http.MethodPost, "/consents", strings.NewReader(form.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				a := v.send(r)
				all, err := h.store.Consents(t.Context(), "u1")
				if a.Code != want || err != nil || (all["third"] != nil) != (i == 0) {
					t.Errorf("%d, left %v, %v", a.Code, all, err)
				}
			}
			if g, err := h.store.Grant(t.Context(), id); err != nil || g.Revoked.IsZero() {
				t.Errorf("it goes on: %v, %v", g, err)
			}
		})
	}
}

func TestClaimsAskForScope(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	a := v.get(with(forThird, "scope", "openid", "claims", `{"id_token":{"email":null,"acr":null},"userinfo":{"phone_number":null,"birthdate":null}}`))
	h.isConsentPage(a, http.StatusOK)
	for _, words := range []string{"your email address", "your phone number", "your profile"} {
		if !strings.Contains(a.Body.String(), words) {
			t.Errorf("%q is not on the page", words)
		}
	}
	if slices.ContainsFunc([]string{"postal", "away"}, func(w string) bool { return strings.Contains(a.Body.String(), w) }) {
		t.Error("more is on the page than was asked for")
	}
}

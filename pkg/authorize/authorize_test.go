package authorize_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

func TestALoginYieldsACode(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	a := v.get(with(forWeb, "scope", "openid email offline_access read:orders unknown", "audience", api))
	h.isLoginPage(a, http.StatusOK)
	if calls := h.store.took(); calls != "" {
		t.Errorf("a visitor who has not logged in cost: %s", calls)
	}
	a = v.fill(" DEMO ", password)
	// A POST is answered by 303, and what was registered as the query is kept.
	if location := a.Header().Get("Location"); a.Code != http.StatusSeeOther || !strings.HasPrefix(location, "https://app.example.com/cb?keep=1&code=") {
		t.Fatalf("%d to %s", a.Code, location)
	}
	if a.query("state") != "st-1" || a.query("iss") != overTLS || len(a.location.Query()) != 5 || a.Body.Len() != 0 {
		t.Errorf("answered %s", a.location)
	}
	if calls := h.store.took(); calls != "BeginAttempt ClearAttempts Login PutGrant PutSession User" {
		t.Errorf("a login cost: %s", calls)
	}
	code := a.query("code")
	g, err := h.store.Grant(t.Context(), string(oauth.DigestOf(code)))
	if err != nil || !strings.HasPrefix(code, oauth.CodePrefix) || len(code) != len(oauth.CodePrefix)+43 {
		t.Fatalf("%s: %v", code, err)
	}
	if g.SessionID == "" || strings.Contains(v.cookies["__Host-kmint_session"], g.SessionID) {
		t.Errorf("sid %q", g.SessionID)
	}
	written := h.store.grants[0]
	want := store.Grant{
		ID: g.ID, ClientID: "web", Subject: "u1", RedirectURI: "https://app.example.com/cb?keep=1", RedirectSent: true, Nonce: "no-1",
		Scope:     oauth.Scope{"openid", "email", "offline_access", "read:orders"},
		Requested: oauth.Scope{"openid", "email", "offline_access", "read:orders", "unknown"},
		Audience:  []string{api}, AuthTime: h.now, SessionID: g.SessionID, Claims: map[string]any{"email": "demo@example.com"}, AccessClaims: map[string]any{},
		Created: h.now, CodeExpires: h.now.Add(time.Minute), End: h.now.Add(time.Hour), Kept: h.now.Add(25 * time.Hour),
	}
	if !reflect.DeepEqual(written, want) {
		t.Errorf("wrote\n%+v, want\n%+v", written, want)
	}
}

func TestASessionYieldsACode(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	began := h.now
	h.now = h.now.Add(session.RenewEvery - time.Second)
	a := v.get(forSPA)
	if a.Code != http.StatusFound || !strings.HasPrefix(a.Header().Get("Location"), "http://localhost:8080/cb?code=") || len(a.Result().Cookies()) > 0 {
		t.Fatalf("%d to %v", a.Code, a.Header())
	}
	if calls := h.store.took(); calls != "PutGrant Session User" {
		t.Errorf("a session cost: %s", calls)
	}
	g := h.store.grants[len(h.store.grants)-1]
	if !g.AuthTime.Equal(began) || g.Challenge != challenge || g.Audience != nil || !g.RedirectSent || !g.End.Equal(h.now.Add(time.Minute)) {
		t.Errorf("%+v", g)
	}
	// One more second, and its use is written down; but not twice.
	h.now = h.now.Add(time.Second)
	v.get(forSPA)
	v.get(forSPA)
	if calls := h.store.took(); calls != "PutGrant PutGrant RenewSession Session Session User User" {
		t.Errorf("five minutes later: %s", calls)
	}
	// A POST works as well (OpenID Connect Core 1.0 §3.1.2.1), and yields 303.
	if a := v.post(forSPA); a.Code != http.StatusSeeOther || a.query("code") == "" {
		t.Errorf("a POST: %d %s", a.Code, a.Body)
	}
}

// Two round trips: session beside person, then the code beside the renewal. Each
// of a pair waits for the other, so one after the other they would never end.
func TestWhatCanIsDoneSideBySide(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	h.now = h.now.Add(time.Hour)
	var read, write sync.WaitGroup
	read.Add(2)
	write.Add(2)
	h.store.meet = map[string]*sync.WaitGroup{"Session": &read, "User": &read, "PutGrant": &write, "RenewSession": &write}
	done := make(chan answer, 1)
	go func() { done <- v.get(forWeb) }()
	select {
	case a := <-done:
		if a.query("code") == "" {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("one waits for the other")
	}
}

func TestOnlyARegisteredRedirectURIIsRedirectedTo(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	for _, tt := range []struct {
		name, client, redirectURI string
		allowed                   bool
	}{
		{"as registered", "web", "https://app.example.com/cb?keep=1", true},
		{"another query", "web", "https://app.example.com/cb?keep=2", false},
		{"left out, one registered", "web", "-", true},
		{"left out, two registered", "spa", "-", false},
		{"empty, two registered", "spa", "", false},
		{"the other one", "spa", "https://app.example.com/cb", true},
		{"user information", "spa", "https://app.example.com@evil.example/cb", false},
		{"user information before", "spa", "https://evil.example@app.example.com/cb", false},
		{"a fragment", "spa", "https://app.example.com/cb#x", false},
		{"path traversal", "spa", "https://app.example.com/cb/../x", false},
		{"encoded path traversal", "spa", "https://app.example.com/cb%2f..%2fx", false},
		{"a slash more", "spa", "https://app.example.com/cb/", false},
		{"another case of the host", "spa", "https://APP.example.com/cb", false},
		{"another case of the scheme", "spa", "HTTPS://app.example.com/cb", false},
		{"another case of the path", "spa", "https://app.example.com/CB", false},
		{"the port spelt out", "spa", "https://app.example.com:443/cb", false},
		{"another port", "spa", "http://localhost:8081/cb", false},
		{"a host that begins alike", "spa", "https://app.example.com.evil.example/cb", false},
		{"a backslash", "spa", `https://app.example.com\@evil.example/cb`, false},
		{"a line end", "spa", "https://app.example.com/cb\r\nSet-Cookie: x=1", false},
		{"no scheme", "spa", "//app.example.com/cb", false},
		{"a script", "spa", "javascript:alert(1)", false},
		{"another client's", "spa", "https://service.example.com/cb", false},
		{"native: any port", "native", "http://127.0.0.1:51004/cb", true},
		{"native: any port, IPv6", "native", "http://[::1]:51004/cb", true},
		{"native: a scheme of its own", "native", "com.example.app:/cb", true},
		{"native: another's scheme", "native", "com.example.other:/cb", false},
		{"native: another path", "native", "http://127.0.0.1:51004/x", false},
		{"native: a loopback name", "native", "http://localhost:51004/cb", false},
		{"native: a port and more", "native", "http://127.0.0.1:1@evil.example/cb", false},
		{"native: IPv6 and more", "native", "http://[::1]@evil.example/cb", false},
		{"native: IPv6, another address", "native", "http://[::2]:1/cb", false},
		{"no client", "-", "https://app.example.com/cb", false},
		{"an unknown client", "nobody", "https://app.example.com/cb", false},
		{"markup for a client", "<script>alert(1)</script>", "https://app.example.com/cb", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Whatever else is wrong with it, the page comes first: twice right, and
			// twice with an error that would otherwise go to the client.
			request := with(forSPA, "client_id", tt.client, "redirect_uri", tt.redirectURI)
			for _, request := range []url.Values{request, with(request, "response_type", "nonsense"), with(request, "prompt", "none")} {
				for _, a := range []answer{v.get(request), v.post(request)} {
					if !tt.allowed {
						h.isPage(a, http.StatusBadRequest)
						continue
					}
					want := tt.redirectURI
					if want == "-" {
						want = "https://app.example.com/cb?keep=1"
					}
					if got := a.Header().Get("Location"); !strings.HasPrefix(got, want) || (a.Code != http.StatusFound && a.Code != http.StatusSeeOther) {
						t.Errorf("%d to %q", a.Code, got)
					}
				}
			}
		})
	}
}

func TestALeftOutRedirectURIIsRememberedAsSuch(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	v.get(with(forWeb, "redirect_uri", "-"))
	if g := h.store.grants[len(h.store.grants)-1]; g.RedirectSent || g.RedirectURI != "https://app.example.com/cb?keep=1" {
		t.Errorf("%+v", g)
	}
}

// What the client is told. The twin of each is the request itself, which yields
// a code.
func TestAnErrorGoesToTheTarget(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	other := func(client, redirectURI string) url.Values {
		return with(forWeb, "client_id", client, "redirect_uri", redirectURI)
	}
	for _, tt := range []struct {
		name    string
		request url.Values
		want    oauth.Code
	}{
		{"as it should be", forWeb, ""},
		{"as it should be, with PKCE", forSPA, ""},
		{"unknown parameters", with(forWeb, "foo", "bar", "ui_locales", "fr", "display", "page", "claims", "{}", "acr_values", "1"), ""},
		{"credentials, which are none here", with(forWeb, "username", "demo", "password", "x", "seal", "x"), ""},
		{"no response_type", with(forWeb, "response_type", "-"), oauth.InvalidRequest},
		{"token", with(forWeb, "response_type", "token"), oauth.UnsupportedResponseType},
		{"code and id_token", with(forWeb, "response_type", "code id_token"), oauth.UnsupportedResponseType},
		{"response_mode query", with(forWeb, "response_mode", "query"), ""},
		{"response_mode fragment", with(forWeb, "response_mode", "fragment"), ""},
		{"response_mode web_message of no web origin", with(forWeb, "response_mode", "web_message"), oauth.InvalidRequest},
		{"another response_mode", with(forWeb, "response_mode", "query.jwt"), oauth.InvalidRequest},
		{"request", with(forWeb, "request", "e30.e30."), oauth.RequestNotSupported},
		{"request_uri", with(forWeb, "request_uri", "https://x"), oauth.RequestURINotSupported},
		{"registration", with(forWeb, "registration", "{}"), oauth.RegistrationNotSupported},
		{"a client without the grant", other("service", "https://service.example.com/cb"), oauth.UnauthorizedClient},
		{"a client that needs consent, silently", with(other("third", "https://third.example.com/cb"), "prompt", "none"), oauth.ConsentRequired},
		{"public, no challenge", with(forSPA, "code_challenge", "-", "code_challenge_method", "-"), oauth.InvalidRequest},
		{"a method, no challenge", with(forSPA, "code_challenge", "-"), oauth.InvalidRequest},
		{"confidential: a method, no challenge", with(forWeb, "code_challenge_method", "S256"), oauth.InvalidRequest},
		{"no method, so plain", with(forSPA, "code_challenge_method", "-"), oauth.InvalidRequest},
		{"plain", with(forSPA, "code_challenge_method", "plain"), oauth.InvalidRequest},
		{"s256", with(forSPA, "code_challenge_method", "s256"), oauth.InvalidRequest},
		{"confidential: plain", with(forWeb, "code_challenge", challenge), oauth.InvalidRequest},
		{"confidential: S256", with(forWeb, "code_challenge", challenge, "code_challenge_method", "S256"), ""},
		{"a challenge that is none", with(forSPA, "code_challenge", "short"), oauth.InvalidRequest},
		{"a scope that is none", with(forWeb, "scope", `openid "x"`), oauth.InvalidScope},
		{"a scope with umlauts", with(forWeb, "scope", "öpenid"), oauth.InvalidScope},
		{"an unknown scope is ignored", with(forWeb, "scope", "openid foo"), ""},
		{"an unknown audience", with(forWeb, "audience", "https://nowhere/"), oauth.InvalidTarget},
		{"an audience, no scope", with(forWeb, "audience", api, "scope", "-"), ""},
		{"an unknown audience beside a known one", with(forWeb, "audience", api, "resource", "https://nowhere/"), oauth.InvalidTarget},
		{"two APIs", with(forWeb, "audience", api, "resource", stock), ""},
		{"an API that wants a grant", with(forWeb, "audience", closed), oauth.InvalidTarget},
		{"the userinfo endpoint", with(forWeb, "resource", overTLS+"userinfo"), ""},
		{"the userinfo endpoint beside an API", with(forWeb, "resource", overTLS+"userinfo", "audience", api), ""},
		{"the userinfo endpoint without openid", with(forWeb, "resource", overTLS+"userinfo", "scope", "email"), oauth.InvalidTarget},
		{"offline_access and online_access", with(forWeb, "scope", "openid offline_access online_access"), oauth.InvalidRequest},
		{"dpop_jkt", with(forWeb, "dpop_jkt", challenge), ""},
		{"a dpop_jkt that is none", with(forWeb, "dpop_jkt", "key"), oauth.InvalidRequest},
		{"no audience, no scope", with(forWeb, "scope", "-"), oauth.InvalidTarget},
		{"prompt none", with(forWeb, "prompt", "none"), ""},
		{"prompt none with login", with(forWeb, "prompt", "none login"), oauth.InvalidRequest},
		{"prompt none with consent", with(forWeb, "prompt", "consent none"), oauth.InvalidRequest},
		{"prompt consent", with(forWeb, "prompt", "consent"), ""},
		{"prompt create", with(forWeb, "prompt", "create"), oauth.InvalidRequest},
		{"prompt in another case", with(forWeb, "prompt", "NONE"), oauth.InvalidRequest},
		{"max_age", with(forWeb, "max_age", "1"), ""},
		{"max_age, a fraction", with(forWeb, "max_age", "1.5"), oauth.InvalidRequest},
		{"max_age below zero", with(forWeb, "max_age", "-1"), oauth.InvalidRequest},
		{"max_age, huge", with(forWeb, "max_age", "99999999999999999999"), oauth.InvalidRequest},
		{"max_age, no number", with(forWeb, "max_age", "day"), oauth.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, a := range []answer{v.get(tt.request), v.post(with(tt.request, "password", "-", "seal", "-"))} {
				if want := []int{http.StatusFound, http.StatusSeeOther}[i]; a.Code != want {
					t.Fatalf("status %d, want %d: %s", a.Code, want, a.Body)
				}
				if !strings.HasPrefix(a.Header().Get("Location"), tt.request.Get("redirect_uri")) {
					t.Errorf("to %s", a.location)
				}
				if a.query("error") != string(tt.want) || (a.query("code") == "") != (tt.want != "") || (a.query("error_description") == "") != (tt.want == "") {
					t.Errorf("answered %s", a.location)
				}
				if a.query("state") != "st-1" || a.query("iss") != overTLS {
					t.Errorf("state or iss: %s", a.location)
				}
			}
		})
	}
}

// What does not even say where to go.
func TestAMalformedRequestIsAPage(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	for name, query := range map[string]string{
		"a repeated client_id":     forWeb.Encode() + "&client_id=web",
		"a repeated state":         forWeb.Encode() + "&state=st-1",
		"a repeated redirect_uri":  forWeb.Encode() + "&redirect_uri=https://evil.example/",
		"a repeated unknown":       forWeb.Encode() + "&x=1&x=2",
		"a NUL":                    forWeb.Encode() + "&x=%00",
		"invalid UTF-8":            forWeb.Encode() + "&x=%ff",
		"a broken escape":          forWeb.Encode() + "&x=%zz",
		"nothing":                  "",
		"a repeated response_type": forWeb.Encode() + "&response_type=token",
	} {
		t.Run(name, func(t *testing.T) {
			h.isPage(v.send(httptest.NewRequest(http.MethodGet, "/authorize?"+query, nil)), http.StatusBadRequest)
		})
	}
	r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader("a="+strings.Repeat("x", oauth.MaxBody)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.isPage(v.send(r), http.StatusRequestEntityTooLarge)
	h.isPage(v.send(httptest.NewRequest(http.MethodPut, "/authorize", nil)), http.StatusMethodNotAllowed)
	// The query of a POST is not read: there is no client.
	r = httptest.NewRequest(http.MethodPost, "/authorize?"+forWeb.Encode(), strings.NewReader(""))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.isPage(v.send(r), http.StatusBadRequest)
}

func TestAMissingMethodIsExplained(t *testing.T) {
	h := newHouse(t, overTLS)
	for method, want := range map[string]string{"-": "means plain", "plain": "not supported; use S256"} {
		a := h.visitor().get(with(forSPA, "code_challenge_method", method))
		if !strings.Contains(a.query("error_description"), want) {
			t.Errorf("%s: %s", method, a.location)
		}
	}
}

func TestStateIsEchoedExactly(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	for _, state := range []string{
		"a b+c", "%20&=;", "é€😀", "line\r\nSet-Cookie: x=1", `<script>"'`, "&code=forged&iss=https://evil.example/", "#fragment", strings.Repeat("s", 4000),
	} {
		for name, request := range map[string]url.Values{"code": forWeb, "error": with(forWeb, "scope", "\"")} {
			a := v.get(with(request, "state", state))
			if a.query("state") != state || a.query(name) == "" || a.query("iss") != overTLS || a.location.Fragment != "" {
				t.Errorf("%q came back as %s", state, a.location)
			}
			if got := a.Header().Get("Location"); strings.ContainsAny(got, "\r\n <>\"") {
				t.Errorf("Location: %s", got)
			}
		}
	}
	if a := v.get(with(forWeb, "state", "-")); a.location.Query().Has("state") || a.query("code") == "" {
		t.Errorf("without a state: %s", a.location)
	}
}

// What fails behind us is told to whoever can be told.
func TestFaults(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	for _, tt := range []struct {
		name   string
		call   string
		err    error
		filled bool // the login form comes back
		status int
		want   oauth.Code // on the redirect, "" for a page
	}{
		{"issuer busy", "Issuer", store.ErrBusy, false, 503, ""},
		{"issuer broken", "Issuer", fmt.Errorf("on fire"), false, 500, ""},
		{"client busy", "Client", store.ErrBusy, false, 503, ""},
		{"session busy", "Session", store.ErrBusy, false, 302, oauth.TemporarilyUnavailable},
		{"user busy", "User", store.ErrBusy, false, 302, oauth.TemporarilyUnavailable},
		{"user broken", "User", fmt.Errorf("on fire"), false, 302, oauth.ServerError},
		{"code busy", "PutGrant", store.ErrBusy, false, 302, oauth.TemporarilyUnavailable},
		{"code exists", "PutGrant", store.ErrConflict, false, 302, oauth.ServerError},
		{"renewal busy", "RenewSession", store.ErrBusy, false, 302, ""},
		{"attempts busy", "BeginAttempt", store.ErrBusy, true, 303, oauth.TemporarilyUnavailable},
		{"login name busy", "Login", store.ErrBusy, true, 303, oauth.TemporarilyUnavailable},
		{"success cannot be noted", "ClearAttempts", store.ErrBusy, true, 303, oauth.TemporarilyUnavailable},
		{"session not written", "PutSession", store.ErrBusy, true, 303, oauth.TemporarilyUnavailable},
		{"old session not ended", "DeleteSession", store.ErrBusy, true, 303, oauth.TemporarilyUnavailable},
		{"key busy while checking", "MAC", jwt.ErrBusy, true, 503, ""},
		{"key busy while showing", "MAC", jwt.ErrBusy, false, 302, oauth.TemporarilyUnavailable},
		{"nothing, with a session", "", fmt.Errorf("request"), false, 302, ""},
		{"nothing, with the form", "", fmt.Errorf("request"), true, 303, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.log.Reset()
			v.logIn()
			handle := v.cookies["__Host-kmint_session"]
			h.now = h.now.Add(10 * time.Minute)
			v.get(with(forWeb, "prompt", "login"))
			fail := func() answer {
				if tt.filled {
					return v.fill("demo", password)
				}
				if tt.call == "MAC" {
					return v.get(with(forWeb, "prompt", "login"))
				}
				return v.get(forWeb)
			}
			h.store.fail, h.mac.err = map[string]error{tt.call: tt.err}, nil
			if tt.call == "MAC" {
				h.mac.err = tt.err
			}
			a := fail()
			if a.Code != tt.status || a.query("error") != string(tt.want) {
				t.Errorf("%d to %s", a.Code, a.location)
			}
			if strings.Contains(a.Body.String()+a.Header().Get("Location"), "fire") {
				t.Error("the cause went out")
			}
			if tt.want == "" && a.Code < 400 {
				if a.query("code") == "" {
					t.Errorf("no code: %s", a.location)
				}
			} else if a.query("code") != "" || v.cookies["__Host-kmint_session"] != handle {
				t.Errorf("something was given all the same: %v", a.Header())
			}
			if !strings.Contains(h.log.String(), tt.err.Error()) {
				t.Errorf("the cause is not in the log: %s", &h.log)
			}
			h.store.fail, h.mac.err = nil, nil
		})
	}
}

// The log tells who, and never what would let its reader act for them.
func TestTheLogHoldsNoSecrets(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	var secrets []string
	v.get(with(forWeb, "login_hint", "hint-in-page"))
	secrets = append(secrets, v.form.Get("seal"), v.form.Get("request"), v.cookies["__Host-kmint_login"])
	v.fill("typed-into-the-wrong-field", "wrong-password")
	secrets = append(secrets, "typed-into-the-wrong-field", "wrong-password")
	secrets = append(secrets, v.fill("demo", password).query("code"), password, v.cookies["__Host-kmint_session"])
	secrets = append(secrets, v.get(forWeb).query("code"), "st-1", "no-1")
	v.get(with(forWeb, "scope", `"`))
	v.post(with(v.form, "password", "foreign-password", "seal", "AAAA"))
	secrets = append(secrets, "foreign-password")
	for _, secret := range secrets {
		if secret == "" || strings.Contains(h.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	var lines []string
	for line := range strings.Lines(h.log.String()) {
		if !strings.Contains(line, `"msg":"audit"`) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 6 {
		t.Fatalf("%d lines for 6 requests: %s", len(lines), &h.log)
	}
	for i, want := range []string{`"client_id":"web"`, `the name is unknown`, `"sub":"u1"`, `"grant":"`, `"error":"invalid_scope"`, `the seal does not hold`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d lacks %s: %s", i, want, lines[i])
		}
	}
}

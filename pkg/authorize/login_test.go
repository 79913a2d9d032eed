package authorize_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

func TestWhoHasToLogIn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later time.Duration // after the login
		pairs []string
		want  string // code, page or an error
	}{
		{"a session", 0, nil, "code"},
		{"prompt login", 0, []string{"prompt", "login"}, "page"},
		{"prompt select_account", 0, []string{"prompt", "select_account"}, "page"},
		{"prompt login consent", 0, []string{"prompt", "login consent"}, "page"},
		{"prompt none", 0, []string{"prompt", "none"}, "code"},
		{"max_age not reached", 60 * time.Second, []string{"max_age", "60"}, "code"},
		{"max_age passed", 60*time.Second + time.Millisecond, []string{"max_age", "60"}, "page"},
		{"max_age passed, prompt none", 61 * time.Second, []string{"max_age", "60", "prompt", "none"}, "login_required"},
		{"max_age 0", 0, []string{"max_age", "0"}, "page"},
		{"max_age 0, prompt none", 0, []string{"max_age", "0", "prompt", "none"}, "login_required"},
		{"almost idle", session.IdleLifetime - time.Second, nil, "code"},
		{"idle", session.IdleLifetime, nil, "page"},
		{"idle, prompt none", session.IdleLifetime, []string{"prompt", "none"}, "login_required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.logIn()
			h.now = h.now.Add(tt.later)
			a := v.get(with(forWeb, tt.pairs...))
			switch tt.want {
			case "code":
				if a.query("code") == "" {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			case "page":
				h.isLoginPage(a, http.StatusOK)
				// Who logs in again gets through, whatever made it necessary.
				if a := v.fill("demo", password); a.query("code") == "" || !h.store.grants[len(h.store.grants)-1].AuthTime.Equal(h.now) {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			default:
				if a.Code != http.StatusFound || a.query("error") != tt.want || a.query("state") != "st-1" || a.query("iss") != overTLS {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			}
		})
	}
}

func TestASessionHasAnEnd(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	began := h.now
	for h.now = began; h.now.Before(began.Add(session.Lifetime)); h.now = h.now.Add(24*time.Hour - time.Minute) {
		if a := v.get(forWeb); a.query("code") == "" {
			t.Fatalf("after %s: %d %s", h.now.Sub(began), a.Code, a.Body)
		}
	}
	h.now = began.Add(session.Lifetime - time.Second)
	if a := v.get(forWeb); a.query("code") == "" {
		t.Error("a second too early")
	}
	h.now = began.Add(session.Lifetime)
	h.isLoginPage(v.get(forWeb), http.StatusOK)
}

func TestWhoseSessionIsNone(t *testing.T) {
	h := newHouse(t, overTLS)
	// Written by hand: the people in them are not, or are others.
	write := func(subject, inHandle string) string {
		s, _ := session.Keeper{Now: func() time.Time { return h.now }}.New(subject)
		_, handle := session.Keeper{Now: func() time.Time { return h.now }}.New(inHandle)
		s.Digest = handle.Digest()
		if err := h.store.Store.PutSession(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return handle.Reveal()
	}
	right := write("u1", "u1")
	for name, tt := range map[string]struct {
		handle           string
		alive, malformed bool
	}{
		"its own":                      {right, true, false},
		"of one who is gone":           {write("gone", "gone"), false, false},
		"another person in the handle": {write("gone", "u1"), false, false},
		"another person in the item":   {write("u1", "gone"), false, false},
		"another name put in":          {strings.Replace(right, "dTE", "dTI", 1), false, false},
		"another secret":               {right[:len(right)-4] + "AAAA", false, false},
		// What is no handle is not looked for.
		"a secret too short": {right[:len(right)-1], false, true},
		"no secret":          {oauth.SessionPrefix + "dTE.", false, true},
		"no name":            {oauth.SessionPrefix + "." + oauth.NewID(), false, true},
		"no prefix":          {strings.TrimPrefix(right, oauth.SessionPrefix), false, true},
		"a code's prefix":    {oauth.CodePrefix + strings.TrimPrefix(right, oauth.SessionPrefix), false, true},
		"endless":            {oauth.SessionPrefix + strings.Repeat("dTEx", 5000) + "." + oauth.NewID(), false, true},
		"nothing":            {"", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := h.visitor()
			v.cookies["__Host-kmint_session"] = tt.handle
			h.store.took()
			a := v.get(forWeb)
			if !tt.alive {
				h.isLoginPage(a, http.StatusOK)
				if calls := h.store.took(); tt.malformed == (calls != "") {
					t.Errorf("cost %q", calls)
				}
			} else if a.query("code") == "" {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		})
	}
}

// A form counts only with the seal made for this browser and this request. To a
// browser that was shown a form before, another one is shown; to others a refusal.
// Neither does anything.
func TestAForeignFormIsNone(t *testing.T) {
	h := newHouse(t, overTLS)
	mallory := h.visitor()
	mallory.get(with(forWeb, "state", "of-mallory"))
	const (
		counts = iota
		again
		refused
	)
	for name, tt := range map[string]struct {
		tamper func(v *visitor, form url.Values)
		want   int
	}{
		"as shown":            {func(*visitor, url.Values) {}, counts},
		"within the hour":     {func(v *visitor, _ url.Values) { v.now = v.now.Add(time.Hour) }, counts},
		"hours later":         {func(v *visitor, _ url.Values) { v.now = v.now.Add(2 * time.Hour) }, again},
		"days later":          {func(v *visitor, _ url.Values) { v.now = v.now.Add(48 * time.Hour) }, again},
		"no seal":             {func(_ *visitor, f url.Values) { f.Del("seal") }, again},
		"an empty seal":       {func(_ *visitor, f url.Values) { f.Set("seal", "") }, again},
		"a seal that is none": {func(_ *visitor, f url.Values) { f.Set("seal", "x") }, again},
		"another seal":        {func(_ *visitor, f url.Values) { f.Set("seal", string(oauth.DigestOf("x"))) }, again},
		"no cookie":           {func(v *visitor, _ url.Values) { delete(v.cookies, "__Host-kmint_login") }, refused},
		"no cookie, hours later": {func(v *visitor, _ url.Values) {
			delete(v.cookies, "__Host-kmint_login")
			v.now = v.now.Add(2 * time.Hour)
		}, refused},
		"another cookie":        {func(v *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = oauth.NewID() }, again},
		"a cookie that is none": {func(v *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = "chosen" }, refused},
		"a cookie without its prefix": {func(v *visitor, _ url.Values) {
			v.cookies["kmint_login"] = v.cookies["__Host-kmint_login"]
			delete(v.cookies, "__Host-kmint_login")
		}, refused},
		"an empty cookie": {func(v *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = "" }, refused},
		"another browser's form": {func(_ *visitor, f url.Values) {
			f.Set("seal", mallory.form.Get("seal"))
			f.Set("request", mallory.form.Get("request"))
		}, again},
		"no request":          {func(_ *visitor, f url.Values) { f.Del("request") }, refused},
		"a malformed request": {func(_ *visitor, f url.Values) { f.Set("request", f.Get("request")+"&state=two") }, refused},
		"another state":       {func(_ *visitor, f url.Values) { f.Set("request", with(forWeb, "state", "forged").Encode()) }, again},
		"another client":      {func(_ *visitor, f url.Values) { f.Set("request", forSPA.Encode()) }, again},
		"no client":           {func(_ *visitor, f url.Values) { f.Set("request", with(forWeb, "client_id", "nobody").Encode()) }, refused},
		"another redirect URI": {func(_ *visitor, f url.Values) {
			f.Set("request", with(forWeb, "redirect_uri", "https://evil.example/").Encode())
		}, refused},
		"an error for the client": {func(_ *visitor, f url.Values) { f.Set("request", with(forWeb, "scope", `"`).Encode()) }, refused},
		"a silent request":        {func(_ *visitor, f url.Values) { f.Set("request", with(forWeb, "prompt", "none").Encode()) }, refused},
		"a request in it":         {func(_ *visitor, f url.Values) { f.Set("request", with(forWeb, "request", "e30.e30.").Encode()) }, refused},
		"a parameter more":        {func(_ *visitor, f url.Values) { f.Set("request", f.Get("request")+"&x=1") }, again},
		"written otherwise":       {func(_ *visitor, f url.Values) { f.Set("request", strings.ToLower(f.Get("request"))) }, again},
		"parameters outside":      {func(_ *visitor, f url.Values) { f.Set("client_id", "spa"); f.Set("state", "forged") }, counts},
	} {
		for _, inSession := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in a session %v", name, inSession), func(t *testing.T) {
				h.now = time.Unix(1_800_000_000, 0)
				v := h.visitor()
				v.get(forWeb)
				if inSession { // which does not help
					v.logIn()
				}
				form := with(v.form, "username", "Typed-Name", "password", password)
				if tt.want == counts {
					form.Set("username", "demo")
				}
				tt.tamper(v, form)
				h.store.took()
				a := v.post(form)
				if tt.want == counts {
					if a.query("code") == "" || a.query("state") != "st-1" || !strings.HasPrefix(a.location.String(), "https://app.example.com/cb?keep=1&") {
						t.Errorf("%d to %s", a.Code, a.location)
					}
					return
				}
				h.isPage(a, http.StatusBadRequest)
				body := a.Body.String()
				if calls := h.store.took(); calls != "" || len(a.Result().Cookies()) > 0 || strings.Contains(body, "Typed-Name") || strings.Contains(body, password) {
					t.Errorf("something happened: %s %v %s", calls, a.Header(), body)
				}
				if shown := strings.Contains(body, `name="password"`); shown != (tt.want == again) || shown != strings.Contains(body, "open too long") {
					t.Errorf("shown: %s", body)
				}
			})
		}
	}
}

// Who comes back to a page of yesterday logs in on the one shown then, for the
// request of yesterday.
func TestAFormThatIsTooOldIsShownAgain(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.get(with(forWeb, "login_hint", "hinted@example.com"))
	h.now = h.now.Add(24 * time.Hour)
	h.log.Reset()
	a := v.fill("demo", password)
	h.isLoginPage(a, http.StatusBadRequest)
	if !strings.Contains(a.Body.String(), `role="alert">This page was open too long. Please log in again.<`) || !strings.Contains(a.Body.String(), `value="hinted@example.com"`) {
		t.Errorf("shown: %s", a.Body)
	}
	if !strings.Contains(h.log.String(), `"client_id":"web"`) || !strings.Contains(h.log.String(), "the seal does not hold") {
		t.Errorf("the log: %s", &h.log)
	}
	if a := v.fill("demo", password); a.Code != http.StatusSeeOther || a.query("code") == "" || a.query("state") != "st-1" {
		t.Errorf("%d to %s", a.Code, a.location)
	}
	// Where the key cannot be had there is no page.
	h.now = h.now.Add(24 * time.Hour)
	h.mac.err = jwt.ErrBusy
	h.isPage(v.fill("demo", password), http.StatusServiceUnavailable)
}

func TestACarriedRequestIsCheckedAgain(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.get(forWeb)
	c, err := h.store.Store.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	c.RedirectURIs = []string{"https://moved.example.com/cb"}
	if err := h.store.PutClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	h.store.took()
	a := v.fill("demo", password)
	h.isPage(a, http.StatusBadRequest)
	if calls := h.store.took(); calls != "" || len(a.Result().Cookies()) > 0 {
		t.Errorf("%s, %v", calls, a.Header())
	}
}

func TestTwoTabs(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.get(forWeb)
	first := v.form
	a := v.get(forSPA)
	if len(a.Result().Cookies()) > 0 {
		t.Errorf("the browser's key was replaced: %v", a.Header())
	}
	second := v.form
	for _, form := range []url.Values{first, second} {
		if a := v.post(with(form, "username", "demo", "password", password)); a.query("code") == "" {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	// What is not well-formed is not kept: nobody chooses a browser's key.
	v.cookies["__Host-kmint_login"] = "chosen"
	v.cookies["__Host-kmint_session"] = ""
	if v.get(forWeb); v.cookies["__Host-kmint_login"] == "chosen" {
		t.Error("a chosen key was kept")
	}
}

func TestCredentialsAreNotCarried(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	for _, a := range []answer{
		v.get(with(forWeb, "username", "in-the-url", "password", "in-the-url", "seal", "in-the-url")),
		v.post(with(forWeb, "username", "in-the-url")),
	} {
		h.isLoginPage(a, http.StatusOK)
		if strings.Contains(a.Body.String(), "in-the-url") {
			t.Errorf("carried: %s", a.Body)
		}
	}
	a := v.fill("demo", "wrong-password")
	h.isLoginPage(a, http.StatusBadRequest)
	if strings.Contains(a.Body.String(), "wrong-password") || !strings.Contains(v.form.Get("request"), "state=st-1") {
		t.Errorf("%s", a.Body)
	}
	if again := v.form; again.Get("request") == "" || v.fill("demo", password).query("code") == "" {
		t.Error("the page shown again does not work")
	}
}

func TestARefusedLoginSaysNothingMore(t *testing.T) {
	h := newHouse(t, overTLS)
	if err := h.store.PutUser(t.Context(), store.User{Subject: "u2", Username: "nopassword"}); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]bool{}
	seals := regexp.MustCompile(`name="(seal|request)" value="[^"]*"`)
	for _, username := range []string{"demo", "nobody", "nopassword", strings.Repeat("é", 120), " "} {
		v := h.visitor()
		v.get(forWeb)
		h.store.took()
		a := v.fill(username, "wrong")
		h.isLoginPage(a, http.StatusBadRequest)
		if calls := h.store.took(); calls != "BeginAttempt Login User" {
			t.Errorf("%q cost %s", username, calls)
		}
		if _, loggedIn := v.cookies["__Host-kmint_session"]; loggedIn {
			t.Errorf("%q has a session", username)
		}
		body := seals.ReplaceAllString(a.Body.String(), "")
		bodies[strings.ReplaceAll(body, `value="`+username+`"`, "")] = true
		if !strings.Contains(body, `role="alert"`) || !strings.Contains(body, `aria-describedby="problem"`) {
			t.Errorf("the problem is not tied to the fields: %s", body)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("%d different pages: %v", len(bodies), bodies)
	}
	// A password without a form of ours is none, whatever stands around it.
	stranger := h.visitor()
	h.store.took()
	h.isPage(stranger.post(with(forWeb, "username", "demo", "password", password)), http.StatusBadRequest)
	if calls := h.store.took(); calls != "" || len(stranger.cookies) > 0 {
		t.Errorf("a password without a form cost %s and left %v", calls, stranger.cookies)
	}
	// Nothing typed is no attempt.
	v := h.visitor()
	v.get(forWeb)
	for _, a := range []answer{v.fill("demo", ""), v.fill("", "x"), v.fill("", "")} {
		h.isLoginPage(a, http.StatusBadRequest)
	}
	h.store.took()
	v.fill("demo", "")
	if calls := h.store.took(); calls != "" {
		t.Errorf("no password cost %s", calls)
	}
}

func TestTenFailuresLockAName(t *testing.T) {
	for _, username := range []string{"demo", "nobody"} {
		t.Run(username, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.get(forWeb)
			h.failures(username, store.MaxFailures-2)
			for i := range 2 {
				// Spelt otherwise, from another browser: it is the name that counts.
				h.isLoginPage(v.fill([]string{username, strings.ToUpper(username) + " "}[i%2], "wrong"), http.StatusBadRequest)
				v = h.visitor()
				v.get(forWeb)
			}
			a := v.fill(username, password)
			h.isLoginPage(a, http.StatusTooManyRequests)
			if !strings.Contains(a.Body.String(), "15 minutes") || a.Header().Get("Retry-After") != "900" {
				t.Errorf("%v %s", a.Header(), a.Body)
			}
			// Trying does not extend it, and another name is free.
			h.now = h.now.Add(store.LockedDuration - time.Second)
			h.isLoginPage(v.fill(username, password), http.StatusTooManyRequests)
			h.isLoginPage(v.fill("another", "wrong"), http.StatusBadRequest)
			h.now = h.now.Add(time.Second)
			a = v.fill(username, password)
			if username == "demo" && a.query("code") == "" {
				t.Errorf("after 15 minutes: %d %s", a.Code, a.Body)
			}
		})
	}
}

func TestASuccessForgetsTheFailures(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	for range 2 {
		v.get(with(forWeb, "prompt", "login"))
		h.failures("demo", store.MaxFailures-1)
		if a := v.fill("demo", password); a.query("code") == "" {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
}

// A session that someone put into the browser never becomes the person's own,
// and the one before ends.
func TestSessionFixation(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	v.get(forWeb)
	planted := v.cookies["__Host-kmint_session"]
	sid := h.store.grants[0].SessionID
	v.get(with(forWeb, "prompt", "login"))
	v.fill("demo", password)
	if v.cookies["__Host-kmint_session"] == planted || h.store.grants[1].SessionID == sid {
		t.Fatal("the session is the same")
	}
	if a := v.get(forWeb); a.query("code") == "" {
		t.Error("the new session does not count")
	}
	thief := h.visitor()
	thief.cookies["__Host-kmint_session"] = planted
	h.isLoginPage(thief.get(forWeb), http.StatusOK)
	// A handle that never was one is not looked at.
	v.get(with(forWeb, "prompt", "login"))
	v.cookies["__Host-kmint_session"] = "planted"
	h.store.took()
	v.fill("demo", password)
	if calls := h.store.took(); strings.Contains(calls, "DeleteSession") || v.cookies["__Host-kmint_session"] == "planted" {
		t.Errorf("%s, %v", calls, v.cookies)
	}
}

func TestCookies(t *testing.T) {
	for issuer, want := range map[string]map[string]string{
		overTLS: {
			"__Host-kmint_login":   "Path=/; HttpOnly; Secure; SameSite=Lax",
			"__Host-kmint_session": "Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax",
			"__Host-kmint_state":   "Path=/; Max-Age=604800; Secure; SameSite=None",
		},
		plain: {
			"kmint_login":   "Path=/; HttpOnly; SameSite=Lax",
			"kmint_session": "Path=/; Max-Age=604800; HttpOnly; SameSite=Lax",
			"kmint_state":   "Path=/; Max-Age=604800; SameSite=Lax",
		},
	} {
		h := newHouse(t, issuer)
		v := h.visitor()
		set := append(v.get(forWeb).Header().Values("Set-Cookie"), v.fill("demo", password).Header().Values("Set-Cookie")...)
		got := map[string]string{}
		for _, cookie := range set {
			pair, attributes, _ := strings.Cut(cookie, "; ")
			name, _, _ := strings.Cut(pair, "=")
			got[name] = attributes
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", issuer, got, want)
		}
		// The cookie of plain http is none over https, and the other way round.
		swapped := h.visitor()
		for name, value := range v.cookies {
			other := strings.TrimPrefix(name, "__Host-")
			if other == name {
				other = "__Host-" + name
			}
			swapped.cookies[other] = value
		}
		h.isLoginPage(swapped.get(forWeb), http.StatusOK)
	}
}

func TestInjection(t *testing.T) {
	h := newHouse(t, overTLS)
	const evil = `"><script>alert(1)</script><b x='` + "\r\nX-Evil: 1"
	c, err := h.store.Store.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	c.Name = evil
	if err := h.store.PutClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	answers := map[string]answer{
		"client":        v.get(forWeb),
		"login_hint":    v.get(with(forWeb, "login_hint", evil)),
		"state":         v.get(with(forWeb, "state", evil)),
		"nonce":         v.get(with(forWeb, "nonce", evil)),
		"unknown":       v.get(with(forWeb, evil, evil)),
		"client_id":     v.get(with(forWeb, "client_id", evil)),
		"redirect_uri":  v.get(with(forWeb, "redirect_uri", evil)),
		"repeated":      v.send(httptest.NewRequest(http.MethodGet, "/authorize?"+url.QueryEscape(evil)+"=1&"+url.QueryEscape(evil)+"=2", nil)),
		"response_type": v.get(with(forWeb, "response_type", evil)),
		"response_mode": v.get(with(forWeb, "response_mode", evil)),
		"scope":         v.get(with(forWeb, "scope", evil)),
		"audience":      v.get(with(forWeb, "audience", evil)),
		"prompt":        v.get(with(forWeb, "prompt", evil)),
	}
	v.get(with(forWeb, "state", evil))
	answers["username"] = v.fill(evil, "x")
	for name, a := range answers {
		for _, made := range []string{"<script", "<b "} {
			if strings.Contains(a.Body.String(), made) {
				t.Errorf("%s: markup: %s", name, a.Body)
			}
		}
		for header, values := range a.Header() {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n<>") || header == "X-Evil" {
				t.Errorf("%s: header %s: %q", name, header, values)
			}
		}
	}
	// The twin: it arrives, as text.
	if !strings.Contains(answers["client"].Body.String(), "&lt;script&gt;") || !strings.Contains(answers["username"].Body.String(), `value="&#34;&gt;&lt;script&gt;`) {
		t.Error("nothing was shown")
	}
}

func TestLoginPage(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	body := v.get(forWeb).Body.String()
	for _, want := range []string{
		"Demo web app", `<label for="username">`, `<label for="password">`, `autocomplete="username"`, `autocomplete="current-password"`,
		`<form method="post" action="authorize">`,
	} {
		if strings.Count(body, want) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(body, want), want, body)
		}
	}
	focused := regexp.MustCompile(`<input id="(\w+)"[^>]* autofocus>`)
	focus := func(a answer) string {
		found := focused.FindAllStringSubmatch(a.Body.String(), -1)
		if len(found) != 1 {
			t.Fatalf("%d fields have the focus: %s", len(found), a.Body)
		}
		return found[0][1]
	}
	hinted := v.get(with(forWeb, "login_hint", "demo@example.com"))
	if !strings.Contains(hinted.Body.String(), `value="demo@example.com"`) || focus(hinted) != "password" {
		t.Errorf("login_hint: %s", hinted.Body)
	}
	if endless := v.get(with(forWeb, "login_hint", strings.Repeat("x", 256))); focus(endless) != "username" {
		t.Errorf("a login_hint that is no name: %s", endless.Body)
	}
	if focus(v.get(forWeb)) != "username" || focus(v.fill("demo", "wrong")) != "password" {
		t.Error("the focus is on the wrong field")
	}
	if nameless := v.get(forSPA).Body.String(); !strings.Contains(nameless, "<strong>spa</strong>") || strings.Count(nameless, `type="submit"`) != 1 {
		t.Errorf("a client without a name: %s", nameless)
	}
}

// Chrome applies form-action to the redirects that answer the form: to ours, and
// to those that follow, which lead wherever the client wants.
func TestTheFormMayLeadToTheClient(t *testing.T) {
	h := newHouse(t, overTLS)
	c, err := h.store.Store.Client(t.Context(), "spa")
	if err != nil {
		t.Fatal(err)
	}
	c.WebOrigins = []string{"https://pages.example.com"}
	c.PostLogoutRedirectURIs = []string{"https://bye.example.com/", "https://a;script-src * 'unsafe-inline'/"}
	if err := h.store.PutClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ client, redirectURI, want string }{
		{"native", "http://127.0.0.1:51004/cb", "http://127.0.0.1:51004 http: https:"},
		{"native", "http://[::1]:51004/cb", "http: https:"}, // CSP has no way to write the address
		{"native", "com.example.app:/cb", "com.example.app:"},
		{"native", "com.example.app://host/cb", "com.example.app:"},
		{"native", "https://APP.example.com:8443/cb", "https://APP.example.com:8443 https:"},
		{"spa", "http://localhost:8080/cb", "http://localhost:8080 http: https:"},
		{"spa", "https://app.example.com/cb", "https://app.example.com https:"},
		{"web", "https://app.example.com/cb?keep=1", "https://app.example.com https:"},
	} {
		a := h.visitor().get(with(forSPA, "client_id", tt.client, "redirect_uri", tt.redirectURI))
		h.isLoginPage(a, http.StatusOK)
		// The whole of it: what else the client has registered is nobody's business.
		csp := a.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "; form-action 'self' "+tt.want+"; frame-ancestors 'none'; base-uri 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script") {
			t.Errorf("%s: %s", tt.redirectURI, csp)
		}
	}
	// A page with no form of a client's leads nowhere else.
	a := h.visitor().get(with(forSPA, "redirect_uri", "https://evil.example/"))
	if csp := a.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "; form-action 'self'; ") {
		t.Errorf("the refusal: %s", csp)
	}
}

package logout_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/logout"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

const whereabouts = "Where you are logged in"

// logInAs puts a browser into a session of a person.
func (h *house) logInAs(subject string, change func(*store.Session)) *visitor {
	h.Helper()
	s, handle := session.Keeper{Now: func() time.Time { return h.now }}.New(subject)
	if change != nil {
		change(&s)
	}
	h.must(h.store.PutSession(h.Context(), s))
	return &visitor{h, map[string]string{cookie: handle.Reveal()}, nil, s}
}

var formPattern = regexp.MustCompile(`(?s)<form[^>]*>.*?</form>`)
var inputPattern = regexp.MustCompile(`<input[^>]* name="([^"]*)" value="([^"]*)"`)

// forms returns the page's forms by the session that they end.
func (v *visitor) forms(w *httptest.ResponseRecorder) map[string]url.Values {
	v.Helper()
	found := map[string]url.Values{}
	for _, form := range formPattern.FindAllString(w.Body.String(), -1) {
		fields := url.Values{}
		for _, f := range inputPattern.FindAllStringSubmatch(form, -1) {
			fields.Set(f[1], html.UnescapeString(f[2]))
		}
		found[fields.Get("session")] = fields
	}
	return found
}

func (v *visitor) submit(form url.Values, header ...string) *httptest.ResponseRecorder {
	v.Helper()
	r := httptest.NewRequest(http.MethodPost, logout.SessionsPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return v.send(r)
}

func TestSessionsPage(t *testing.T) {
	h := newHouse(t)
	h.must(h.store.PutUser(t.Context(), store.User{Subject: "u2"}))
	here := h.logInAs("u1", func(s *store.Session) { s.Device, s.Clients = "Firefox, Linux", []string{"web"} })
	h.now = h.now.Add(-24 * time.Hour)
	phone := h.logInAs("u1", func(s *store.Session) { s.Device, s.Clients = "Safari <b>, iPhone", []string{"web", "spa", "gone"} })
	unknown := h.logInAs("u1", func(s *store.Session) { s.IdleExpires = s.Expires })
	h.now = h.now.Add(24 * time.Hour)
	another := h.logInAs("u2", nil)
	over := h.logInAs("u1", func(s *store.Session) { s.IdleExpires = h.now })
	ended := h.logInAs("u1", nil)
	h.must(h.store.PutSettings(t.Context(), store.Settings{NotBefore: h.now.Add(-48 * time.Hour)}))
	ancient := h.logInAs("u1", func(s *store.Session) { s.AuthTime = h.now.Add(-49 * time.Hour) })
	h.must(h.store.DeleteSession(t.Context(), ended.session.Digest))

	w := here.get(logout.SessionsPath, nil)
	h.isPage(w, 200, whereabouts)
	page := w.Body.String()
	for _, part := range []string{
		"You are logged in as <strong>Demo &lt;b&gt;</strong>", "Firefox, Linux (this browser)", "Safari &lt;b&gt;, iPhone", "Another browser",
		"Logged in on 15 January 2027, 08:00 UTC", "Logged in on 14 January 2027, 08:00 UTC", "Last used on 14 January 2027, 08:00 UTC<", "or later",
		`Applications: Web &#34;app&#34; &lt;i&gt;<`, `Applications: Web &#34;app&#34; &lt;i&gt;, gone, spa<`,
		`href="https://auth.example.com/oidc/logout"`, `href="https://auth.example.com/consents"`,
	} {
		if !strings.Contains(page, part) {
			t.Errorf("%q is not on the page: %s", part, page)
		}
	}
	forms := here.forms(w)
	if first, second := strings.Index(page, "this browser"), strings.Index(page, "iPhone"); first < 0 || second < first || len(forms) != 3 {
		t.Errorf("this browser at %d, another at %d; %d forms", first, second, len(forms))
	}
	for _, shown := range []*visitor{phone, unknown} {
		if forms[shown.session.ID] == nil {
			t.Errorf("no form ends %s", shown.session.ID)
		}
	}
	for _, hidden := range []*visitor{here, another, over, ended, ancient} {
		if forms[hidden.session.ID] != nil || strings.Contains(page, hidden.session.ID) {
			t.Errorf("%s is on the page", hidden.session.ID)
		}
	}
	// To itself the other browser is this one.
	forms = phone.forms(phone.get(logout.SessionsPath, nil))
	if forms[here.session.ID] == nil || forms[phone.session.ID] != nil {
		t.Errorf("the phone sees %v", forms)
	}
	w = another.get(logout.SessionsPath, nil)
	if forms := another.forms(w); len(forms) > 0 || !strings.Contains(w.Body.String(), "You are logged in nowhere else.") {
		t.Errorf("whoever is logged in once may end %v: %s", forms, w.Body)
	}
}

// Whoever is not logged in, or not any more, sees nothing.
func TestSessionsPageWithoutALogin(t *testing.T) {
	for name, arrange := range map[string]func(h *house, v *visitor){
		"no cookie":      func(_ *house, v *visitor) { clear(v.cookies) },
		"a made-up one":  func(_ *house, v *visitor) { v.cookies[cookie] = v.cookies[cookie][:20] + oauth.NewID() },
		"an ended one":   func(h *house, v *visitor) { h.must(h.store.DeleteSession(h.Context(), v.session.Digest)) },
		"one that idled": func(h *house, _ *visitor) { h.now = h.now.Add(session.IdleLifetime) },
		"a blocked one": func(h *house, _ *visitor) {
			h.must(h.store.PutUser(h.Context(), store.User{Subject: "u1", Blocked: true}))
		},
		"one before the server's": func(h *house, _ *visitor) {
			h.must(h.store.PutSettings(h.Context(), store.Settings{NotBefore: h.now.Add(time.Second)}))
		},
		"one before then": func(h *house, _ *visitor) {
			h.must(h.store.PutUser(h.Context(), store.User{Subject: "u1", NotBefore: h.now.Add(time.Second)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			v, other := h.logIn(), h.logIn("spa")
			form := v.forms(v.get(logout.SessionsPath, nil))[other.session.ID]
			arrange(h, v)
			for _, w := range []*httptest.ResponseRecorder{v.get(logout.SessionsPath, nil), v.submit(form)} {
				h.isPage(w, 200, whereabouts)
				if !strings.Contains(w.Body.String(), "Nobody is logged in") || len(v.forms(w)) > 0 || strings.Contains(w.Body.String(), "Demo") {
					t.Error(w.Body)
				}
			}
			h.now = other.session.AuthTime
			if other.ended() || h.told() != "" {
				t.Errorf("it has ended, told %q", h.told())
			}
		})
	}
}

// Nothing but a button of the page that was shown, in the browser and the session that it
// was shown in, ends another session.
func TestEndingAnotherSession(t *testing.T) {
	seal := func(h *house, v *visitor, named string) string {
		s, err := session.Sealer{Purpose: session.Elsewhere, MAC: mac{}, Now: func() time.Time { return h.now }}.
			Seal(h.Context(), oauth.Secret(v.cookies["__Host-kmint_login"]), string(v.session.Digest)+" "+named)
		h.must(err)
		return s
	}
	for name, tt := range map[string]struct {
		// forge is given the browser that shows the page, the session that it is to end,
		// and one of another person.
		forge  func(v, other, stranger *visitor, form url.Values)
		status int
		ends   bool
	}{
		"as it should be": {func(_, _, _ *visitor, _ url.Values) {}, 303, true},
		"no seal":         {func(_, _, _ *visitor, f url.Values) { f.Del("seal") }, 400, false},
		"half a seal":     {func(_, _, _ *visitor, f url.Values) { f.Set("seal", f.Get("seal")[:20]) }, 400, false},
		"a made-up seal":  {func(_, _, _ *visitor, f url.Values) { f.Set("seal", oauth.NewID()) }, 400, false},
		"a seal of a logout form": {func(v, _, _ *visitor, f url.Values) {
			v.get(logout.Path, nil)
			f.Set("seal", v.form.Get("seal"))
		}, 400, false},
		"a seal for a logout form": {func(v, o, _ *visitor, f url.Values) {
			s, err := session.Sealer{Purpose: session.Logout, MAC: mac{}, Now: func() time.Time { return v.now }}.
				Seal(v.Context(), oauth.Secret(v.cookies["__Host-kmint_login"]), string(v.session.Digest)+" "+o.session.ID)
			v.must(err)
			f.Set("seal", s)
		}, 400, false},
		"the seal for another session": {func(_, _, s *visitor, f url.Values) { f.Set("session", s.session.ID) }, 400, false},
		"the seal of one for all":      {func(_, _, _ *visitor, f url.Values) { f.Set("session", "others") }, 400, false},
		"another person's, well sealed": {func(v, _, s *visitor, f url.Values) {
			f.Set("session", s.session.ID)
			f.Set("seal", seal(v.house, v, s.session.ID))
		}, 303, false},
		"no session at all, well sealed": {func(v, _, _ *visitor, f url.Values) { f.Set("session", ""); f.Set("seal", seal(v.house, v, "")) }, 303, false},
		"a long one, well sealed": {func(v, _, _ *visitor, f url.Values) {
			f.Set("session", strings.Repeat("x", 5000))
			f.Set("seal", seal(v.house, v, strings.Repeat("x", 5000)))
		}, 303, false},
		"another browser's key":                   {func(v, _, _ *visitor, _ url.Values) { v.cookies["__Host-kmint_login"] = oauth.NewID() }, 400, false},
		"no key":                                  {func(v, _, _ *visitor, _ url.Values) { delete(v.cookies, "__Host-kmint_login") }, 400, false},
		"in another session of the same person":   {func(v, o, _ *visitor, _ url.Values) { v.cookies[cookie] = o.cookies[cookie] }, 400, false},
		"in another person's session":             {func(v, _, s *visitor, _ url.Values) { v.cookies[cookie] = s.cookies[cookie] }, 400, false},
		"from another site, where no cookie goes": {func(v, _, _ *visitor, _ url.Values) { clear(v.cookies) }, 200, false},
		"with the cookie that crosses sites": {func(v, _, _ *visitor, _ url.Values) {
			v.cookies = map[string]string{session.SilentCookieName: v.cookies[cookie]}
		}, 200, false},
		"too old":       {func(v, _, _ *visitor, _ url.Values) { v.now = v.now.Add(2 * time.Hour) }, 400, false},
		"a field twice": {func(_, _, _ *visitor, f url.Values) { f.Add("session", "others") }, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.must(h.store.PutUser(t.Context(), store.User{Subject: "u2"}))
			v, other, stranger := h.logIn("spa"), h.logIn("spa", "cli", "web", "gone"), h.logInAs("u2", func(s *store.Session) { s.Clients = []string{"spa"} })
			form := v.forms(v.get(logout.SessionsPath, nil))[other.session.ID]
			if form == nil {
				t.Fatal("no form")
			}
			tt.forge(v, other, stranger, form)
			w := v.submit(form)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if other.ended() != tt.ends || v.ended() || stranger.ended() {
				t.Errorf("the other has ended: %v; its own: %v; another person's: %v", other.ended(), v.ended(), stranger.ended())
			}
			want := ""
			if tt.ends {
				want = "cli spa"
				if w.Header().Get("Location") != "https://auth.example.com/sessions" || len(v.cookies) != 2 {
					t.Errorf("to %s with %v", w.Header().Get("Location"), v.cookies)
				}
			}
			if h.told() != want {
				t.Errorf("told %q, want %q", h.told(), want)
			}
			if tt.ends && !strings.Contains(h.queue.messages[0], other.session.ID) {
				t.Errorf("told of another session: %s", h.queue.messages)
			}
			// What was done need not be done again, and is no error.
			if w := v.submit(form); tt.ends && (w.Code != 303 || len(h.queue.messages) != 2) {
				t.Errorf("again: %d, %q", w.Code, h.queue.messages)
			}
		})
	}
}

func TestEndingAllOtherSessions(t *testing.T) {
	h := newHouse(t)
	h.must(h.store.PutUser(t.Context(), store.User{Subject: "u2"}))
	v, stranger := h.logIn("spa"), h.logInAs("u2", nil)
	var others []*visitor
	for i := range store.PageSize + 5 { // more than the page shows
		others = append(others, h.logIn([]string{"spa", "web"}[i%2]))
	}
	w := v.get(logout.SessionsPath, words("ui_locales", "de fr"))
	h.isPage(w, 200, "Wo Sie angemeldet sind")
	forms := v.forms(w)
	more := regexp.MustCompile(`href="([^"]*from=[^"]*)"`).FindStringSubmatch(w.Body.String())
	if len(forms) < store.PageSize || more == nil {
		t.Fatalf("%d forms, more at %q", len(forms), more)
	}
	next, err := url.Parse(html.UnescapeString(more[1]))
	h.must(err)
	w = v.get(next.Path, next.Query())
	h.isPage(w, 200, "Wo Sie angemeldet sind")
	for name := range v.forms(w) {
		if forms[name] != nil && name != "others" {
			t.Errorf("%s is on both pages", name)
		}
	}
	seen := len(v.forms(w)) + len(forms) - 2
	if seen != len(others) || !strings.Contains(w.Body.String(), "Dieser Browser") {
		t.Errorf("%d of %d on two pages", seen, len(others))
	}
	for _, from := range []string{"x", strings.Repeat("x", 3000), "grant#x"} {
		h.isPage(v.get(logout.SessionsPath, words("from", from)), 400, failed)
	}

	w = v.submit(forms["others"])
	if w.Code != 303 || w.Header().Get("Location") != "https://auth.example.com/sessions?ui_locales=de+fr" {
		t.Errorf("%d to %s", w.Code, w.Header().Get("Location"))
	}
	for i, other := range others {
		if !other.ended() {
			t.Errorf("%d has not ended", i)
		}
	}
	if v.ended() || stranger.ended() || strings.Count(h.told(), "spa") != (len(others)+1)/2 {
		t.Errorf("its own: %v, another person's: %v, told %q", v.ended(), stranger.ended(), h.told())
	}
	w = v.get(logout.SessionsPath, nil)
	if !strings.Contains(w.Body.String(), "You are logged in nowhere else.") || len(v.forms(w)) > 0 {
		t.Error(w.Body)
	}
	if line := h.log.String(); !strings.Contains(line, fmt.Sprintf(`"ended":%d`, len(others))) {
		t.Error("the log does not say how many")
	}
}

// What cannot be done is told as such, and can be done again.
func TestEndingAnotherSessionWhereSomethingFails(t *testing.T) {
	for name, call := range map[string]string{
		"issuer": "Issuer", "session": "Session", "list": "SessionsOf", "client": "Client spa", "end": "EndSession", "queue": "",
	} {
		for _, named := range []string{"one", "others"} {
			t.Run(name+" "+named, func(t *testing.T) {
				h := newHouse(t)
				v, other, _ := h.logIn(), h.logIn("spa"), h.logIn()
				forms := v.forms(v.get(logout.SessionsPath, nil))
				form := forms["others"]
				if named == "one" {
					form = forms[other.session.ID]
				}
				h.store.fail[call] = store.ErrBusy
				if name == "queue" {
					h.queue.err = store.ErrBusy
				}
				w := v.submit(form)
				reached := name != "list" || named == "others"
				if reached {
					h.isPage(w, 503, failed)
				}
				if other.ended() == reached {
					t.Errorf("ended: %v", other.ended())
				}
				clear(h.store.fail)
				h.queue.err = nil
				if w := v.submit(form); w.Code != 303 || !other.ended() || !slices.Contains(strings.Fields(h.told()), "spa") {
					t.Errorf("again: %d, ended %v, told %q", w.Code, other.ended(), h.told())
				}
			})
		}
	}
}

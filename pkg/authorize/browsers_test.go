package authorize_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

const sessionCookie = "__Host-kmint_session"

// person is who the browser is logged in as, "" for nobody.
func (v *visitor) person() string {
	v.Helper()
	handle := oauth.Secret(v.cookies[sessionCookie])
	s, err := v.store.Store.Session(v.Context(), handle.Digest(), v.now)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		v.Fatal(err)
	}
	return s.Subject
}

// lives reports whether the handle opens a session.
func (h *house) lives(handle string) bool {
	h.Helper()
	_, err := h.store.Store.Session(h.Context(), oauth.Secret(handle).Digest(), h.now)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		h.Fatal(err)
	}
	return err == nil
}

// Whatever is in the browser before a login, and whatever made the login necessary, after
// it there is a session of its own, of whoever has logged in, and what was there opens
// nothing.
func TestALoginKeepsNothingThatWasThere(t *testing.T) {
	for name, prompt := range map[string]string{"because nobody counts": "", "prompt=login": "login", "prompt=select_account": "select_account"} {
		for _, as := range []string{"demo", "other"} {
			for was, plant := range map[string]func(h *house, v *visitor){
				"nothing":                    func(*house, *visitor) {},
				"one's own session":          func(_ *house, v *visitor) { v.logIn() },
				"a planted, living session":  func(h *house, v *visitor) { v.cookies[sessionCookie] = h.begin("u2") },
				"a planted, made-up one":     func(_ *house, v *visitor) { v.cookies[sessionCookie] = oauth.SessionPrefix + "dTE." + oauth.NewID() },
				"a planted, made-up other's": func(_ *house, v *visitor) { v.cookies[sessionCookie] = oauth.SessionPrefix + "dTI." + oauth.NewID() },
				"garbage":                    func(_ *house, v *visitor) { v.cookies[sessionCookie] = "planted" },
			} {
				t.Run(name+", "+was+", as "+as, func(t *testing.T) {
					h := newHouse(t, overTLS)
					h.other()
					v := h.visitor()
					request := with(forWeb, "prompt", prompt)
					if prompt == "" {
						request = with(forWeb, "prompt", "-", "max_age", "0")
					}
					plant(h, v)
					before := v.cookies[sessionCookie]
					h.isLoginPage(v.get(request), http.StatusOK)
					if v.cookies[sessionCookie] != before {
						t.Error("the page has changed who is logged in")
					}
					if a := v.fill(as, password); a.query("code") == "" {
						t.Fatalf("%d %s", a.Code, a.Body)
					}
					want := map[string]string{"demo": "u1", "other": "u2"}[as]
					if got := v.person(); got != want {
						t.Errorf("logged in as %q, want %q", got, want)
					}
					after := v.cookies[sessionCookie]
					if after == before || before != "" && h.lives(before) {
						t.Errorf("kept: %v, lives: %v", after == before, h.lives(before))
					}
					g := h.store.grants[len(h.store.grants)-1]
					if g.Subject != want || g.SessionID != string(oauth.Secret(after).Digest()) {
						t.Errorf("a code of %s in %s", g.Subject, g.SessionID)
					}
				})
			}
		}
	}
}

// A refused login leaves what was there.
func TestARefusedLoginLeavesTheSession(t *testing.T) {
	h := newHouse(t, overTLS)
	h.other()
	v := h.visitor()
	v.logIn()
	before := v.cookies[sessionCookie]
	v.get(with(forWeb, "prompt", "select_account"))
	h.isLoginPage(v.fill("other", "wrong"), http.StatusBadRequest)
	if v.cookies[sessionCookie] != before || v.person() != "u1" {
		t.Errorf("logged in as %q", v.person())
	}
}

// Browsers of one person do not get in each other's way, nor do people who share one.
func TestSeveralBrowsers(t *testing.T) {
	h := newHouse(t, overTLS)
	h.other()
	laptop, phone, library := h.visitor(), h.visitor(), h.visitor()
	logIn := func(v *visitor, username string) {
		t.Helper()
		v.get(with(forWeb, "prompt", "login"))
		if a := v.fill(username, password); a.query("code") == "" {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
	}
	silent := with(forWeb, "prompt", "none")
	here := func(what string, laptopIs, phoneIs, libraryIs string) {
		t.Helper()
		for name, tt := range map[string]struct {
			v    *visitor
			want string
		}{"laptop": {laptop, laptopIs}, "phone": {phone, phoneIs}, "library": {library, libraryIs}} {
			if got := tt.v.person(); got != tt.want {
				t.Errorf("%s: at the %s is %q, want %q", what, name, got, tt.want)
			}
			if a := tt.v.get(silent); (a.query("code") != "") != (tt.want != "") {
				t.Errorf("%s: the %s goes to %s", what, name, a.location)
			}
		}
	}
	logIn(laptop, "demo")
	logIn(phone, "demo")
	logIn(library, "other")
	here("three", "u1", "u1", "u2")
	if laptop.cookies[sessionCookie] == phone.cookies[sessionCookie] {
		t.Error("two browsers share a handle")
	}
	logIn(library, "demo") // where somebody else was
	here("somebody else", "u1", "u1", "u1")
	logIn(laptop, "other")
	here("somebody else at the laptop", "u2", "u1", "u1")
	if err := h.store.DeleteSession(t.Context(), oauth.Secret(phone.cookies[sessionCookie]).Digest()); err != nil {
		t.Fatal(err)
	}
	here("the phone's has ended", "u2", "", "u1")
	h.now = h.now.Add(session.IdleLifetime / 2)
	here("half the idle time", "u2", "", "u1")
	library.cookies[sessionCookie] = ""
	h.now = h.now.Add(session.IdleLifetime / 2)
	here("in use the laptop's lives on", "u2", "", "")
}

// other is a second person, with the same password.
func (h *house) other() {
	h.Helper()
	if err := h.store.PutUser(h.Context(), store.User{Subject: "u2", Username: "other", PasswordHash: passwordHash()}); err != nil {
		h.Fatal(err)
	}
}

// begin begins a session in no browser, and returns its handle.
func (h *house) begin(subject string) string {
	h.Helper()
	k := h.endpoint.Sessions
	s, handle := k.New(subject)
	if err := h.store.Store.PutSession(h.Context(), s); err != nil {
		h.Fatal(err)
	}
	return handle.Reveal()
}

func (w *watched) GrantsOf(ctx context.Context, subject, clientID, from string) ([]string, string, error) {
	if err := w.note("GrantsOf"); err != nil {
		return nil, "", err
	}
	return w.Store.GrantsOf(ctx, subject, clientID, from)
}

func (w *watched) RevokeGrant(ctx context.Context, r store.Revocation) error {
	if err := w.note("RevokeGrant"); err != nil {
		return err
	}
	return w.Store.RevokeGrant(ctx, r)
}

func (w *watched) DeleteConsent(ctx context.Context, subject, clientID string) error {
	if err := w.note("DeleteConsent"); err != nil {
		return err
	}
	return w.Store.DeleteConsent(ctx, subject, clientID)
}

// Of what browsers say of themselves the kind is kept, and nothing else.
func TestTheKindOfBrowserIsKept(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0": "Firefox, Linux",
		"<script>alert(1)</script>": "",
	} {
		h := newHouse(t, overTLS)
		v := h.visitor()
		v.get(forWeb)
		r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(with(v.form, "username", "demo", "password", password).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("User-Agent", agent)
		if a := v.send(r); a.query("code") == "" {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
		s, err := h.store.Store.Session(t.Context(), oauth.Secret(v.cookies[sessionCookie]).Digest(), h.now)
		if err != nil || s.Device != want {
			t.Errorf("kept %q of %q, %v", s.Device, agent, err)
		}
	}
}

package clients

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A leaver is a relying party on a port of its own that hears of the end of sessions,
// by the front and by the back.
type leaver struct {
	url    string
	issuer string
	config *oauth2.Config
	// idTokens are those it was given, front the queries and back the logout tokens
	// that came to it.
	idTokens chan string
	front    chan url.Values
	back     chan string
	// ill is how many logout tokens it will refuse.
	ill atomic.Int32
}

// leavePage asks by a form, and by a link to the older address.
var leavePage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Party</title><h1>Leave</h1>
<form method="post" action="{{.Issuer}}oidc/logout"><input type="hidden" name="id_token_hint" value="{{.Hint}}">
<input type="hidden" name="post_logout_redirect_uri" value="{{.Back}}"><button type="submit">Leave</button></form>
<a href="{{.Issuer}}v2/logout?client_id=demo-web&amp;returnTo={{.Back}}">Leave</a></html>`))

func newLeaver(t *testing.T) (*leaver, *oidc.RemoteKeySet) {
	t.Helper()
	l := &leaver{idTokens: make(chan string, 9), front: make(chan url.Values, 9), back: make(chan string, 9)}
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Party</title><h1>%s</h1>`, text)
	}
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		token, err := l.config.Exchange(r.Context(), r.FormValue("code"))
		if err != nil {
			t.Error(err)
			return
		}
		raw, _ := token.Extra("id_token").(string)
		l.idTokens <- raw
		page(w, "Hello")
	})
	mux.HandleFunc("GET /front", func(w http.ResponseWriter, r *http.Request) {
		l.front <- r.URL.Query()
		page(w, "Gone")
	})
	mux.HandleFunc("POST /back", func(w http.ResponseWriter, r *http.Request) {
		l.back <- r.PostFormValue("logout_token")
		w.Header().Set("Cache-Control", "no-store")
		if l.ill.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /leave", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = leavePage.Execute(w, struct{ Issuer, Hint, Back string }{l.issuer, r.FormValue("hint"), l.url + r.FormValue("back")})
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { page(w, "Bye") })
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	kmint := makeRun(t, "SEED="+exampleWith(t, spaOrigin, l.url, `"client_name": "Demo web app",`,
		`"client_name": "Demo web app", "frontchannel_logout_uri": "`+l.url+`/front?x=1", "backchannel_logout_uri": "`+l.url+`/back",`))
	l.issuer = kmint.issuer
	provider, err := oidc.NewProvider(t.Context(), kmint.issuer)
	if err != nil {
		t.Fatal(err)
	}
	l.config = site{kmint.issuer, provider}.webClient()
	l.config.RedirectURL = l.url + "/callback"
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
		JWKSURI    string `json:"jwks_uri"`
		Front      bool   `json:"frontchannel_logout_supported"`
		Back       bool   `json:"backchannel_logout_supported"`
	}
	if err := provider.Claims(&metadata); err != nil || metadata.EndSession != l.issuer+"oidc/logout" || !metadata.Front || !metadata.Back {
		t.Fatalf("discovery says %+v: %v", metadata, err)
	}
	return l, oidc.NewRemoteKeySet(t.Context(), metadata.JWKSURI)
}

// logIn returns the ID token of a new session.
func (l *leaver) logIn(b *tab) string {
	b.t.Helper()
	b.open(l.config.AuthCodeURL("s"))
	shown(b, l.issuer)
	b.login(username, password)
	if says := b.says(); says != "Hello" {
		b.t.Fatalf("at %s: %s", b.at(), says)
	}
	return <-l.idTokens
}

func soon[T any](b *tab, what string, c chan T) T {
	b.t.Helper()
	var value T
	select {
	case value = <-c:
	case <-time.After(10 * time.Second):
		b.t.Fatalf("%s did not come; at %s: %s", what, b.at(), b.says())
	}
	return value
}

// heard fails the test unless the party has heard, once by each way, of the end of the
// session of the ID token.
func (l *leaver) heard(b *tab, keys *oidc.RemoteKeySet, idToken string) {
	b.t.Helper()
	claims := func(token string) map[string]any {
		payload, err := keys.VerifySignature(b.t.Context(), token)
		var claims map[string]any
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil {
			b.t.Fatal(err)
		}
		return claims
	}
	ended := claims(idToken)
	query := soon(b, "the frame", l.front)
	if query.Get("sid") != ended["sid"] || query.Get("iss") != l.issuer || query.Get("x") != "1" {
		b.t.Errorf("the frame was loaded with %v", query)
	}
	told := claims(soon(b, "the logout token", l.back))
	events, _ := told["events"].(map[string]any)
	if told["sid"] != ended["sid"] || told["sub"] != ended["sub"] || told["aud"] != ended["aud"] || told["iss"] != l.issuer || events["http://schemas.openid.net/event/backchannel-logout"] == nil {
		b.t.Errorf("the logout token says %v", told)
	}
	if len(l.front)+len(l.back) > 0 {
		b.t.Error("it heard twice")
	}
	if at := b.at(); strings.HasPrefix(at, l.issuer) && len(b.cookies()) > 1 {
		b.t.Errorf("cookies are left: %v", b.cookies())
	}
}

func (l *leaver) leaving(pairs ...string) string {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return l.issuer + "oidc/logout?" + query.Encode()
}

// TestBrowserLogout leaves as a person does, and as a client asks.
func TestBrowserLogout(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	l, keys := newLeaver(t)
	b := newTab(t)

	// Asked, by the keyboard's order of things, and then shown that it is done.
	idToken := l.logIn(b)
	if status := b.open(l.leaving()); status != http.StatusOK {
		t.Errorf("the page has status %d", status)
	}
	b.picture("logout")
	want := []string{"RootWebArea Log out?", "main", "heading Log out?", "button Log out"}
	if named := b.named(); !slices.Equal(named, want) || !strings.Contains(b.says(), "You are logged in as "+username) {
		t.Errorf("a screen reader meets %q: %s", named, b.says())
	}
	b.follow(chromedp.Click("button[type=submit]"))
	l.heard(b, keys, idToken)
	b.picture("logged-out")
	if says := b.says(); !strings.HasPrefix(says, "You are logged out") {
		t.Errorf("at %s: %s", b.at(), says)
	}
	b.open(l.config.AuthCodeURL("s"))
	shown(b, l.issuer)

	// By the ID token, through the frames and on to the client; with scripts and without.
	for _, scripts := range []bool{true, false} {
		b := newTab(t)
		idToken = l.logIn(b)
		b.scripts(scripts)
		began := time.Now()
		b.open(l.leaving("id_token_hint", idToken, "post_logout_redirect_uri", l.url+"/", "state", "a b"))
		l.heard(b, keys, idToken)
		for range 1000 {
			if strings.HasPrefix(b.at(), l.url) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if b.at() != l.url+"/?state=a+b" {
			t.Errorf("scripts %v: at %s: %s", scripts, b.at(), b.says())
		}
		if took := time.Since(began); scripts && took > 3*time.Second {
			t.Errorf("it took %s to go on", took)
		}
		b.scripts(true)
	}

	// What is wrong is said, and leads nowhere.
	b = newTab(t)
	idToken = l.logIn(b)
	if status := b.open(l.leaving("id_token_hint", idToken, "post_logout_redirect_uri", "https://evil.example/")); status != http.StatusBadRequest {
		t.Errorf("another address has status %d", status)
	}
	b.picture("logout-wrong")
	if named := b.named(); !slices.ContainsFunc(named, func(n string) bool { return strings.HasPrefix(n, "alert") }) {
		t.Errorf("a screen reader meets %q", named)
	}
	b.follow(chromedp.Click("button[type=submit]"))
	l.heard(b, keys, idToken)
	if !strings.HasPrefix(b.at(), l.issuer) {
		t.Errorf("it leads to %s", b.at())
	}

	// From a page of the client: by a form that holds the ID token, and by the older
	// address, to where the client has registered and nowhere else.
	for _, element := range []string{"button[type=submit]", "a[href]"} {
		b = newTab(t)
		idToken = l.logIn(b)
		b.open(l.url + "/leave?back=/elsewhere&hint=" + idToken)
		b.follow(chromedp.Click(element))
		if named := b.named(); !strings.HasPrefix(b.at(), l.issuer) || !slices.Contains(named, "button Log out") || len(l.front)+len(l.back) > 0 {
			t.Errorf("to elsewhere by %s: at %s: %q", element, b.at(), named)
		}
		b.open(l.url + "/leave?back=/&hint=" + idToken)
		b.follow(chromedp.Click(element))
		l.heard(b, keys, idToken)
		b.arrives(l.url + "/")
	}

	// A client that cannot take its token is told again.
	b = newTab(t)
	l.logIn(b)
	l.ill.Store(1)
	b.open(l.leaving())
	b.follow(chromedp.Click("button[type=submit]"))
	for _, when := range []string{"at first", "again"} {
		if soon(b, "what it is told "+when, l.back) == "" {
			t.Errorf("it is told nothing %s", when)
		}
	}
	soon(b, "the frame", l.front)
	time.Sleep(50 * time.Millisecond)
	if len(l.back) > 0 {
		t.Error("it is told a third time")
	}
}

// TestBrowserForgedLogout is what other sites can try.
func TestBrowserForgedLogout(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	l, _ := newLeaver(t)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		address := l.issuer + r.URL.Query().Get("at")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Prize</title><a href="%s">Win</a><form method="post" action="%[1]s"><input type="hidden" name="seal" value="x"><button type="submit">Win</button></form>`, address)
	}))
	t.Cleanup(evil.Close)
	b := newTab(t)
	l.logIn(b)
	for _, at := range []string{"oidc/logout", "oidc/logout?client_id=demo-web&post_logout_redirect_uri=" + url.QueryEscape(l.url+"/"), "v2/logout?client_id=demo-web"} {
		for _, element := range []string{"a[href]", "button[type=submit]"} {
			if element != "a[href]" && strings.HasPrefix(at, "v2") {
				continue // there is no POST
			}
			b.open(evil.URL + "/?at=" + url.QueryEscape(at))
			b.follow(chromedp.Click(element))
			if !strings.HasPrefix(b.at(), l.issuer) || !b.has("form button") || len(l.back) > 0 {
				t.Errorf("%s by %s: at %s: %s", at, element, b.at(), b.says())
			}
		}
	}
	b.open(l.config.AuthCodeURL("s"))
	if b.says() != "Hello" {
		t.Errorf("the session is gone: at %s: %s", b.at(), b.says())
	}
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A party is a relying party on a port of its own: demo-web, made of x/oauth2 and
// go-oidc as their examples show it.
type party struct {
	URL      string
	site     site
	config   *oauth2.Config
	verifier *oidc.IDTokenVerifier

	mu     sync.Mutex
	logins map[string]pending // by state
	tokens []*oauth2.Token
	// forged is the form at /forged.
	forged forgedForm
	// onward is where the callback leads on to; "" where it shows its own page.
	onward string
}

type pending struct{ nonce, verifier string }

type forgedForm struct{ Action, Username, Password, Request, Seal string }

var pages = template.Must(template.New("").Parse(`
{{define "hello"}}<!doctype html><html lang="en"><title>Party</title><h1>Hello {{.Subject}}</h1><p>{{.Name}} logged in.</p>{{end}}
{{define "problem"}}<!doctype html><html lang="en"><title>Party</title><h1>No</h1><p>{{.}}</p>{{end}}
{{define "forged"}}<!doctype html><html lang="en"><title>Prize</title><h1>Win</h1><form method="post" action="{{.Action}}">
<input type="hidden" name="username" value="{{.Username}}"><input type="hidden" name="password" value="{{.Password}}">
<input type="hidden" name="request" value="{{.Request}}"><input type="hidden" name="seal" value="{{.Seal}}"><button type="submit">Win</button></form>{{end}}
{{define "spa"}}<!doctype html><html lang="en"><title>Spa</title><h1>Spa</h1>{{end}}
{{define "framed"}}<!doctype html><html lang="en"><title>Frame</title><h1>Frame</h1><iframe title="login" src="{{.}}"></iframe>{{end}}`))

// newParty starts a relying party, and a kmint with the example whose clients
// live there.
func newParty(t *testing.T, env ...string) *party {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &party{logins: map[string]pending{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", p.login)
	mux.HandleFunc("GET /callback", p.callback)
	mux.HandleFunc("POST /callback", p.posted)
	mux.HandleFunc("GET /forged", func(w http.ResponseWriter, _ *http.Request) { _ = pages.ExecuteTemplate(w, "forged", p.forged) })
	mux.HandleFunc("GET /framed", func(w http.ResponseWriter, _ *http.Request) {
		_ = pages.ExecuteTemplate(w, "framed", p.config.AuthCodeURL("s"))
	})
	mux.HandleFunc("GET /spa", func(w http.ResponseWriter, _ *http.Request) { _ = pages.ExecuteTemplate(w, "spa", nil) })
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.URL = "http://localhost:" + port

	kmint := makeRun(t, append([]string{"SEED=" + exampleWith(t, spaOrigin, p.URL)}, env...)...)
	provider, err := oidc.NewProvider(t.Context(), kmint.issuer)
	if err != nil {
		t.Fatal(err)
	}
	p.site = site{kmint.issuer, provider}
	p.config = p.site.webClient()
	p.config.RedirectURL = p.URL + "/callback"
	p.verifier = provider.Verifier(&oidc.Config{ClientID: p.config.ClientID})
	return p
}

const stateCookie = "party_state"

func (p *party) login(w http.ResponseWriter, r *http.Request) {
	state := oauth2.GenerateVerifier()
	login := pending{oauth2.GenerateVerifier(), oauth2.GenerateVerifier()}
	p.mu.Lock()
	p.logins[state] = login
	p.mu.Unlock()
	options := []oauth2.AuthCodeOption{oidc.Nonce(login.nonce), oauth2.S256ChallengeOption(login.verifier)}
	for name, values := range r.URL.Query() {
		options = append(options, oauth2.SetAuthURLParam(name, values[0]))
	}
	http.SetCookie(w, &http.Cookie{Name: stateCookie, Value: state, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, p.config.AuthCodeURL(state, options...), http.StatusFound)
}

func (p *party) callback(w http.ResponseWriter, r *http.Request) {
	id, err := p.finish(r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = pages.ExecuteTemplate(w, "problem", err.Error())
		return
	}
	if p.onward != "" {
		http.Redirect(w, r, p.onward, http.StatusFound)
		return
	}
	var claims struct {
		Name string `json:"name"`
	}
	_ = id.Claims(&claims)
	_ = pages.ExecuteTemplate(w, "hello", struct{ Subject, Name string }{id.Subject, claims.Name})
}

// posted is the callback of the response mode form_post.
func (p *party) posted(w http.ResponseWriter, r *http.Request) {
	// Some clients look at it: it must be the issuer's, and not null.
	if origin := r.Header.Get("Origin"); origin+"/" != p.site.issuer {
		http.Error(w, "a form of "+origin, http.StatusBadRequest)
		return
	}
	_ = r.ParseForm()
	r.URL.RawQuery = r.PostForm.Encode()
	p.callback(w, r)
}

func (p *party) finish(r *http.Request) (*oidc.IDToken, error) {
	query := r.URL.Query()
	state := query.Get("state")
	cookie, err := r.Cookie(stateCookie)
	if err != nil || cookie.Value != state {
		return nil, errors.New("another browser's state")
	}
	p.mu.Lock()
	login, ok := p.logins[state]
	delete(p.logins, state)
	p.mu.Unlock()
	switch {
	case !ok:
		return nil, errors.New("a state that is none")
	case query.Get("iss") != p.site.issuer:
		return nil, errors.New("another issuer")
	case query.Get("error") != "":
		return nil, fmt.Errorf("error %s", query.Get("error"))
	}
	token, err := p.config.Exchange(r.Context(), query.Get("code"), oauth2.VerifierOption(login.verifier))
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := p.verifier.Verify(context.WithoutCancel(r.Context()), raw)
	if err != nil {
		return nil, err
	}
	if id.Nonce != login.nonce {
		return nil, errors.New("another nonce")
	}
	p.mu.Lock()
	p.tokens = append(p.tokens, token)
	p.mu.Unlock()
	return id, nil
}

// last is the token of the last login.
func (p *party) last(t *testing.T) *oauth2.Token {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tokens) == 0 {
		t.Fatal("nobody has logged in")
	}
	return p.tokens[len(p.tokens)-1]
}

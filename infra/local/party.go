// The demo relying party: OpenID Connect Core 1.0 §3.1 as an application does
// it, with PKCE (RFC 7636) and the iss parameter (RFC 9207).

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

// demoPath is where the relying party lives. No route of the template is at or
// below it: start makes sure.
const demoPath = "/demo"

//go:embed party.html
var partyHTML string

var partyPage = template.Must(template.New("party").Parse(partyHTML))

//go:embed party.css
var partyCSS []byte

// A party is the demo relying party. It is an application like any other: it
// knows its client and the issuer, and asks the endpoints over HTTP.
type party struct {
	Issuer  string
	Client  seed.Client
	Channel channel
	Now     func() time.Time

	mu     sync.Mutex
	visits map[string]visit
	order  []string
}

// A visit is what the party remembers of one browser.
type visit struct {
	// State, Nonce and Verifier are those of the login under way.
	State, Nonce, Verifier string
	Tokens                 oauth.TokenResponse
	Userinfo               map[string]any
	Problem, Note          string
}

// maxVisits bounds the memory; the oldest is forgotten.
const maxVisits = 1000

const visitCookie = "kmint_demo"

// base is the party's own address, without a slash at the end.
func (p *party) base() string { return oauth.Endpoint(p.Issuer, demoPath) }

// Handler serves everything below demoPath.
func (p *party) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+demoPath, func(w http.ResponseWriter, r *http.Request) {
		_, v := p.load(r)
		var out bytes.Buffer
		if err := partyPage.Execute(&out, p.view(v)); err != nil {
			http.Error(w, "The page could not be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(out.Bytes())
	})
	mux.HandleFunc("GET "+demoPath+"/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(partyCSS)
	})
	mux.HandleFunc("GET "+demoPath+"/login", p.login)
	mux.HandleFunc("GET "+demoPath+"/callback", p.step(p.callback))
	mux.HandleFunc("POST "+demoPath+"/userinfo", p.step(p.userinfo))
	mux.HandleFunc("POST "+demoPath+"/refresh", p.step(p.refresh))
	mux.HandleFunc("POST "+demoPath+"/forget", p.step(func(context.Context, *http.Request, *visit) error { return errForget }))
	// A proxy may hide the host that the browser sees.
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(oauth.Origin(p.Issuer)); err != nil {
		panic(err) // the issuer has been checked
	}
	return protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	}))
}

// login sends the browser to the authorization endpoint.
func (p *party) login(w http.ResponseWriter, r *http.Request) {
	m, err := p.Channel.discover(r.Context(), p.Issuer)
	id, v := p.load(r)
	v.State, v.Nonce, v.Verifier = oauth.NewID(), oauth.NewID(), oauth.NewID()
	challenge, challengeErr := oauth.ChallengeOf(v.Verifier)
	if err = errors.Join(err, challengeErr); err != nil {
		v.Problem = err.Error()
		p.save(w, id, v)
		http.Redirect(w, r, p.base(), http.StatusSeeOther)
		return
	}
	p.save(w, id, v)
	query := url.Values{
		"response_type":         {"code"},
		"client_id":             {p.Client.ID},
		"redirect_uri":          {p.base() + "/callback"},
		"scope":                 {"openid profile email offline_access"},
		"state":                 {v.State},
		"nonce":                 {v.Nonce},
		"code_challenge":        {string(challenge)},
		"code_challenge_method": {oauth.S256},
	}
	if r.URL.Query().Get("prompt") == "login" {
		query.Set("prompt", "login")
	}
	http.Redirect(w, r, m.AuthorizationEndpoint+"?"+query.Encode(), http.StatusFound)
}

// errForget ends a visit.
var errForget = errors.New("forget")

// step runs one step of a visit and goes back to the page, which says how it
// went.
func (p *party) step(run func(ctx context.Context, r *http.Request, v *visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, v := p.load(r)
		v.Problem, v.Note = "", ""
		err := run(r.Context(), r, &v)
		if errors.Is(err, errForget) {
			v = visit{}
		} else if err != nil {
			v.Problem = err.Error()
		}
		p.save(w, id, v)
		http.Redirect(w, r, p.base(), http.StatusSeeOther)
	}
}

// callback takes the authorization response.
func (p *party) callback(ctx context.Context, r *http.Request, v *visit) error {
	query := r.URL.Query()
	state, nonce, verifier := v.State, v.Nonce, v.Verifier
	v.State, v.Nonce, v.Verifier = "", "", ""
	switch {
	case state == "" || query.Get("state") != state:
		return errors.New("The answer does not belong to a login that began in this browser.") //nolint:staticcheck // shown to a person
	// RFC 9207 §2.4: "clients MUST extract the value of the iss parameter from
	// authorization responses they receive if the parameter is present", and
	// "MUST compare the result to the issuer identifier".
	case query.Get("iss") != p.Issuer:
		return errors.New("The answer comes from another issuer.") //nolint:staticcheck // shown to a person
	case query.Get("error") != "":
		return fmt.Errorf("%s: %s", query.Get("error"), query.Get("error_description"))
	}
	tokens, err := p.exchange(ctx, nonce, url.Values{
		"grant_type":    {oauth.AuthorizationCode},
		"code":          {query.Get("code")},
		"redirect_uri":  {p.base() + "/callback"},
		"code_verifier": {verifier},
	})
	if err != nil {
		return err
	}
	v.Tokens, v.Userinfo = tokens, nil
	return nil
}

// exchange asks for tokens and verifies the ID token, if there is one (OpenID
// Connect Core 1.0 §3.1.3.7).
func (p *party) exchange(ctx context.Context, nonce string, form url.Values) (oauth.TokenResponse, error) {
	m, err := p.Channel.discover(ctx, p.Issuer)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	tokens, err := p.Channel.token(ctx, m.TokenEndpoint, p.Client, form)
	if err != nil || tokens.IDToken == "" {
		return tokens, err
	}
	var claims struct {
		Nonce string `json:"nonce"`
	}
	err = jwt.Verify(ctx, p.Channel.keys(m.JWKSURI), tokens.IDToken, jwt.Expected{
		Type: jwt.TypIDToken, Issuer: p.Issuer, Audience: p.Client.ID, Now: p.Now(),
	}, &claims)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	// A refreshed ID token "SHOULD NOT have a nonce Claim" (§12.2).
	if nonce != "" && claims.Nonce != nonce {
		return oauth.TokenResponse{}, errors.New("The ID token carries another nonce than the one that was sent.") //nolint:staticcheck // shown to a person
	}
	return tokens, nil
}

func (p *party) refresh(ctx context.Context, _ *http.Request, v *visit) error {
	if v.Tokens.RefreshToken == "" {
		return errors.New("There is no refresh token; log in first.") //nolint:staticcheck // shown to a person
	}
	tokens, err := p.exchange(ctx, "", url.Values{
		"grant_type":    {oauth.RefreshToken},
		"refresh_token": {v.Tokens.RefreshToken},
	})
	if err != nil {
		return err
	}
	if tokens.IDToken == "" {
		tokens.IDToken = v.Tokens.IDToken
	}
	if tokens.RefreshToken == "" {
		tokens.RefreshToken = v.Tokens.RefreshToken
	}
	v.Tokens, v.Note = tokens, "The tokens are new; the old refresh token is used up."
	return nil
}

func (p *party) userinfo(ctx context.Context, _ *http.Request, v *visit) error {
	m, err := p.Channel.discover(ctx, p.Issuer)
	if err != nil {
		return err
	}
	v.Userinfo = nil
	return p.Channel.get(ctx, m.UserinfoEndpoint, v.Tokens.AccessToken, &v.Userinfo)
}

// load returns the visit of the browser, a new one if it has none.
func (p *party) load(r *http.Request) (id string, v visit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cookie, err := r.Cookie(visitCookie); err == nil {
		if v, ok := p.visits[cookie.Value]; ok {
			return cookie.Value, v
		}
	}
	return oauth.NewID(), visit{}
}

func (p *party) save(w http.ResponseWriter, id string, v visit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.visits == nil {
		p.visits = map[string]visit{}
	}
	if _, known := p.visits[id]; !known {
		p.order = append(p.order, id)
	}
	p.visits[id] = v
	if len(p.order) > maxVisits {
		delete(p.visits, p.order[0])
		p.order = p.order[1:]
	}
	path := demoPath
	if base, err := url.Parse(p.base()); err == nil { // a proxy may put a path before ours
		path = base.EscapedPath()
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure follows the issuer: on plain http browsers drop such a cookie
		Name: visitCookie, Value: id, Path: path, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(p.Issuer, "https:"),
	})
}

// view is what the page shows.
type view struct {
	Base, Issuer, Problem, Note, Name string
	Tokens                            []tokenView
	Userinfo, Response                []row
	CanRefresh                        bool
}

type tokenView struct {
	ID, Title, Explanation, Raw string
	Header, Claims              []row
}

type row struct{ Name, Value, Meaning string }

func (p *party) view(v visit) view {
	out := view{Base: p.base(), Issuer: p.Issuer, Problem: v.Problem, Note: v.Note, CanRefresh: v.Tokens.RefreshToken != ""}
	if v.Tokens.AccessToken == "" {
		return out
	}
	add := func(id, title, explanation, token string) {
		header, claims, err := decode(token)
		if err != nil {
			return
		}
		if name, ok := claims["name"].(string); ok && out.Name == "" {
			out.Name = name
		}
		out.Tokens = append(out.Tokens, tokenView{id, title, explanation, token, p.rows(header), p.rows(claims)})
	}
	add("id-token", "ID token", "It tells this application who you are, and is for nobody else.", v.Tokens.IDToken)
	add("access-token", "Access token", "It opens an API, or userinfo. An application only carries it and need not look inside; this one does, to show you.", v.Tokens.AccessToken)
	if v.Userinfo != nil {
		out.Userinfo = p.rows(v.Userinfo)
	}
	out.Response = p.rows(map[string]any{
		"token_type": v.Tokens.TokenType, "expires_in": v.Tokens.ExpiresIn, "scope": v.Tokens.Scope,
	})
	refresh := row{"refresh_token", "none", "Nothing was granted that could be refreshed."}
	if v.Tokens.RefreshToken != "" {
		refresh.Value = v.Tokens.RefreshToken[:min(len(v.Tokens.RefreshToken), 20)] + "…"
		refresh.Meaning = "Gives new tokens once; its second use would end them all."
	}
	out.Response = append(out.Response, refresh)
	return out
}

// meanings of what stands in tokens, for people who see them for the first time.
var meanings = map[string]string{
	"typ":            "What kind of token it is, so that none can pass for another.",
	"alg":            "How it is signed.",
	"kid":            "Which of the published keys verifies it.",
	"iss":            "Who issued it.",
	"sub":            "Who it is about. It never changes, unlike a name.",
	"aud":            "Whom it is for; anybody else must refuse it.",
	"exp":            "When it expires.",
	"iat":            "When it was issued.",
	"nbf":            "When it begins to count.",
	"auth_time":      "When you last proved who you are.",
	"nonce":          "Ties it to the login that this browser began.",
	"sid":            "Your session at the issuer.",
	"jti":            "Its own number.",
	"client_id":      "The application it was given to.",
	"scope":          "What it allows.",
	"name":           "From your profile.",
	"given_name":     "From your profile.",
	"family_name":    "From your profile.",
	"email":          "From your profile.",
	"email_verified": "Whether the address is known to be yours.",
	"token_type":     "Whoever holds it may use it.",
	"expires_in":     "Seconds that the access token lives.",
}

// rows are sorted by name, with times made readable.
func (p *party) rows(members map[string]any) []row {
	var rows []row
	for name, value := range members {
		text, ok := value.(string)
		if !ok {
			if encoded, err := json.Marshal(value); err == nil {
				text = string(encoded)
			}
		}
		meaning := meanings[name]
		if seconds, ok := value.(float64); ok && slices.Contains([]string{"exp", "iat", "nbf", "auth_time"}, name) {
			text = fmt.Sprintf("%d", int64(seconds))
			at := time.Unix(int64(seconds), 0)
			meaning += " " + at.UTC().Format("2 January 2006, 15:04:05 MST") + "."
		}
		rows = append(rows, row{name, text, meaning})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// decode reads a JWT without verifying it, to show it.
func decode(token string) (header, claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("not a compact JWT")
	}
	for i, dst := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal(text, dst); err != nil {
			return nil, nil, err
		}
	}
	return header, claims, nil
}

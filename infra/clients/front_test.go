package clients

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// TestBrowserFront asks in Chromium for all that a client may ask the authorization
// endpoint for, with a page at the redirect URI that reads the answer, however it comes.
func TestBrowserFront(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	r := newFront(t)
	t.Run("types and modes", r.typesAndModes)
	t.Run("not registered", r.notRegistered)
	t.Run("silent", r.silent)
	t.Run("prompt and max_age", r.prompts)
	t.Run("parameters", r.parameters)
	t.Run("consent", r.consent)
	t.Run("errors", r.errors)
}

// A front is the page, and the clients that it stands for: reads may have everything,
// plain a code alone, and asks is not the owner's own.
type front struct {
	url, issuer string
	provider    *oidc.Provider
}

const readerSecret = "reader-secret-that-is-long-enough-for-kmint"

// responseTypes are those of OAuth 2.0 Multiple Response Type Encoding Practices.
var responseTypes = []string{"code", "token", "id_token", "id_token token", "code token", "code id_token", "code id_token token", "none"}

var readerPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Reader</title><h1>Reader</h1>
<script>
const posted = {{.}}
const read = () => {
	const answer = posted ?? Object.fromEntries(new URLSearchParams(location.hash.slice(1) || location.search))
	return JSON.stringify({by: posted ? "form_post" : location.hash ? "fragment" : "query", answer})
}
const hear = (address, framed, patience) => new Promise((resolve) => {
	addEventListener("message", (e) => {
		const from = framed ? "frame" : "popup"
		if (!framed) { e.source.close() }
		resolve(JSON.stringify({by: e.origin === new URL(address).origin && e.data.type === "authorization_response" ? from : e.origin, answer: e.data.response}))
	}, {once: true})
	setTimeout(() => resolve(JSON.stringify({by: "nothing"})), patience)
	if (!framed) { open(address); return }
	const f = document.createElement("iframe")
	f.title = "silent"
	f.src = address
	document.body.replaceChildren(f)
})
</script></html>`))

// An answer is what the page has read, and the way by which it came.
type answer struct {
	By     string            `json:"by"`
	Answer map[string]string `json:"answer"`
}

func newFront(t *testing.T) *front {
	t.Helper()
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter, posted map[string]string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = readerPage.Execute(w, posted)
	}
	mux.HandleFunc("GET /read", func(w http.ResponseWriter, _ *http.Request) { page(w, nil) })
	mux.HandleFunc("POST /read", func(w http.ResponseWriter, r *http.Request) {
		posted := map[string]string{}
		_ = r.ParseForm()
		for name := range r.PostForm {
			posted[name] = r.PostForm.Get(name)
		}
		page(w, posted)
	})
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	r := &front{url: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}
	client := func(id string, more map[string]any) map[string]any {
		c := map[string]any{
			"client_id": id, "client_name": "The application " + id, "client_secret": readerSecret, "token_endpoint_auth_method": "client_secret_basic",
			"grant_types": []string{"authorization_code", "refresh_token", "implicit"}, "redirect_uris": []string{r.url + "/read"},
			"response_types": responseTypes, "web_origins": []string{r.url}, "first_party": true,
		}
		for name, value := range more {
			c[name] = value
		}
		return c
	}
	person := func(sub, name string) map[string]any {
		return map[string]any{"sub": sub, "username": name, "password": password, "name": "Demo User", "email": name + "@example.com"}
	}
	seed, err := json.Marshal(map[string]any{
		"apis": []any{map[string]any{
			"identifier": "https://orders.example.com/", "name": "Orders", "allow_offline_access": true,
			"scopes": map[string]string{"read:orders": "Read orders", "write:orders": "Change orders"},
		}},
		"server": map[string]any{"default_audience": "https://orders.example.com/"},
		"clients": []any{
			client("reads", map[string]any{"request_object_signing_alg": "none"}),
			client("asks", map[string]any{"first_party": false}),
			client("plain", map[string]any{"response_types": []string{"code"}, "grant_types": []string{"authorization_code"}, "web_origins": []string{}}),
		},
		"users": []any{person("demo-user", username), person("other-user", "other")},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	r.issuer = makeRun(t, "SEED="+path).issuer
	if r.provider, err = oidc.NewProvider(t.Context(), r.issuer); err != nil {
		t.Fatal(err)
	}
	return r
}

const readerState, readerNonce = "its own state", "its own nonce"

// ask is a request for openid and email, with the parameters in pairs beside that or
// instead of it.
func (r *front) ask(client, responseType string, pairs ...string) string {
	query := url.Values{
		"client_id": {client}, "response_type": {responseType}, "redirect_uri": {r.url + "/read"}, "scope": {"openid email"}, "state": {readerState},
	}
	if strings.Contains(responseType, "id_token") {
		query.Set("nonce", readerNonce)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return r.issuer + "authorize?" + query.Encode()
}

// asks opens a request that the page is to get an answer to, and returns it.
func (r *front) asks(b *tab, address string) answer {
	b.t.Helper()
	b.open(address)
	return r.reads(b)
}

// reads waits for the page.
func (r *front) reads(b *tab) answer {
	b.t.Helper()
	var a answer
	for range 1000 {
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`typeof read === "function" ? read() : ""`))
		if err == nil && text != "" { // between two pages there is none to ask
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				b.t.Fatal(err)
			}
			return a
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("no answer; at %s: %s", b.at(), b.says())
	return a
}

// hears asks from the page, in a popup or a frame.
func (r *front) hears(b *tab, address string, framed bool) answer {
	b.t.Helper()
	return r.waits(b, address, framed, 10*time.Second)
}

// waits does so for no longer than it is told.
func (r *front) waits(b *tab, address string, framed bool, patience time.Duration) answer {
	b.t.Helper()
	if !strings.HasPrefix(b.at(), r.url) {
		b.open(r.url + "/read")
	}
	var a answer
	text := run(b, chromedp.Evaluate[string](fmt.Sprintf("hear(%q, %t, %d)", address, framed, patience.Milliseconds()), chromedp.EvalAwaitPromise))
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		b.t.Fatal(err)
	}
	return a
}

// refuses fails the test unless the answer is the error, by that way, and nothing else.
func (r *front) refuses(t *testing.T, what string, a answer, by, code string) {
	t.Helper()
	if a.By != by || a.Answer["error"] != code || a.Answer["state"] != readerState || a.Answer["iss"] != r.issuer ||
		a.Answer["code"]+a.Answer["access_token"]+a.Answer["id_token"] != "" {
		t.Errorf("%s: by %s came %v, want %s by %s", what, a.By, a.Answer, code, by)
	}
}

// logsIn begins a session.
func (r *front) logsIn(b *tab) {
	b.t.Helper()
	b.open(r.ask("reads", "code"))
	shown(b, r.issuer)
	b.login(username, password)
	if a := r.reads(b); a.Answer["code"] == "" {
		b.t.Fatalf("%+v", a)
	}
}

func (r *front) config(client string) *oauth2.Config {
	endpoint := r.provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return &oauth2.Config{ClientID: client, ClientSecret: readerSecret, RedirectURL: r.url + "/read", Endpoint: endpoint}
}

// grants fails the test unless the answer has what the response type says, by that way,
// and each of it is good. It returns the claims of the ID token, nil for none.
func (r *front) grants(t *testing.T, client, responseType string, a answer, by string) map[string]any {
	t.Helper()
	what := fmt.Sprintf("%s for %s", responseType, client)
	asked := strings.Fields(responseType)
	if a.By != by || a.Answer["state"] != readerState || a.Answer["iss"] != r.issuer || a.Answer["error"] != "" {
		t.Errorf("%s: by %s came %v, want it by %s", what, a.By, a.Answer, by)
		return nil
	}
	for word, member := range map[string]string{"code": "code", "token": "access_token", "id_token": "id_token"} {
		if got := a.Answer[member] != ""; got != slices.Contains(asked, word) {
			t.Errorf("%s: %s is there: %v", what, member, got)
			return nil
		}
	}
	if token := a.Answer["access_token"]; token != "" {
		info, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
		if err != nil || info.Subject != "demo-user" || a.Answer["token_type"] != "Bearer" || a.Answer["expires_in"] == "" {
			t.Errorf("%s: %v %+v of %v", what, err, info, a.Answer)
		}
	}
	if code := a.Answer["code"]; code != "" {
		if _, err := r.config(client).Exchange(t.Context(), code); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	raw := a.Answer["id_token"]
	if raw == "" {
		return nil
	}
	return r.idToken(t, what, client, raw, a.Answer["access_token"], a.Answer["code"])
}

// idToken verifies one that came beside the others (OpenID Connect Core 1.0 §3.3.2.11).
func (r *front) idToken(t *testing.T, what, client, raw, accessToken, code string) map[string]any {
	t.Helper()
	id, err := r.provider.Verifier(&oidc.Config{ClientID: client}).Verify(t.Context(), raw)
	if err != nil || id.Nonce != readerNonce {
		t.Errorf("%s: %v, nonce %v", what, err, id)
		return nil
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		t.Error(err)
	}
	half := func(text string) any {
		sum := sha256.Sum256([]byte(text))
		return base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	for hash, of := range map[string]string{"at_hash": accessToken, "c_hash": code} {
		if of != "" && claims[hash] != half(of) || of == "" && claims[hash] != nil {
			t.Errorf("%s: %s is %v", what, hash, claims[hash])
		}
	}
	return claims
}

// typesAndModes: OAuth 2.0 Multiple Response Type Encoding Practices, OAuth 2.0 Form Post
// Response Mode, OAuth 2.0 Web Message Response Mode.
func (r *front) typesAndModes(t *testing.T) {
	b := newTab(t)
	r.logsIn(b)
	for _, responseType := range responseTypes {
		t.Run(responseType, func(t *testing.T) {
			tokens := strings.Contains(responseType, "token")
			byDefault := "query"
			if tokens {
				byDefault = "fragment"
			}
			r.grants(t, "reads", responseType, r.asks(b, r.ask("reads", responseType)), byDefault)
			for _, mode := range []string{"fragment", "form_post"} {
				r.grants(t, "reads", responseType, r.asks(b, r.ask("reads", responseType, "response_mode", mode)), mode)
			}
			message := r.ask("reads", responseType, "response_mode", "web_message")
			r.grants(t, "reads", responseType, r.hears(b, message, false), "popup")
			r.grants(t, "reads", responseType, r.hears(b, message+"&prompt=none", true), "frame")
			query := r.asks(b, r.ask("reads", responseType, "response_mode", "query"))
			if tokens { // §3: nothing else than a code travels in a query
				r.refuses(t, "a token in the query", query, "fragment", "invalid_request")
			} else {
				r.grants(t, "reads", responseType, query, "query")
			}
		})
	}
	// Without scripts a form waits for its button.
	b.scripts(false)
	b.open(r.ask("reads", "code id_token", "response_mode", "form_post"))
	if !b.has("form button[type=submit]") || !strings.HasPrefix(b.at(), r.issuer) {
		t.Fatalf("at %s: %s", b.at(), b.says())
	}
	b.follow(chromedp.Click("button[type=submit]"))
	b.scripts(true)
	b.arrives(r.url + "/read")
}

func (r *front) notRegistered(t *testing.T) {
	b := newTab(t)
	r.logsIn(b)
	for _, responseType := range responseTypes {
		by := "query"
		if strings.Contains(responseType, "token") {
			by = "fragment"
		}
		a := r.asks(b, r.ask("plain", responseType))
		if responseType == "code" {
			r.grants(t, "plain", responseType, a, by)
			continue
		}
		r.refuses(t, responseType, a, by, "unauthorized_client")
		r.refuses(t, responseType+" by a form", r.asks(b, r.ask("plain", responseType, "response_mode", "form_post")), "form_post", "unauthorized_client")
	}
	r.refuses(t, "no such type", r.asks(b, r.ask("reads", "code nonsense")), "query", "unsupported_response_type")
	r.refuses(t, "no such mode", r.asks(b, r.ask("reads", "code", "response_mode", "pigeon")), "query", "invalid_request")
	r.refuses(t, "no origin of the client's", r.asks(b, r.ask("plain", "code", "response_mode", "web_message")), "query", "invalid_request")
	r.refuses(t, "no nonce", r.asks(b, r.ask("reads", "id_token", "nonce", "")), "fragment", "invalid_request")
}

// silent is prompt=none, by each way that an answer may go: from the session, or an error
// that says what a person would have to do, and never a page.
func (r *front) silent(t *testing.T) {
	everywhere := func(b *tab, client string, check func(what string, a answer, by string), pairs ...string) {
		t.Helper()
		pairs = append([]string{"prompt", "none"}, pairs...)
		for _, mode := range []string{"query", "fragment", "form_post"} {
			check(client+" by "+mode, r.asks(b, r.ask(client, "code", append(pairs, "response_mode", mode)...)), mode)
		}
		message := r.ask(client, "code", append(pairs, "response_mode", "web_message")...)
		check(client+" in a frame", r.hears(b, message, true), "frame")
		check(client+" in a popup", r.hears(b, message, false), "popup")
	}
	refused := func(code string) func(string, answer, string) {
		return func(what string, a answer, by string) {
			t.Helper()
			r.refuses(t, what, a, by, code)
		}
	}
	b := newTab(t)
	everywhere(b, "reads", refused("login_required"))
	everywhere(b, "asks", refused("login_required"))
	r.logsIn(b)
	everywhere(b, "reads", func(_ string, a answer, by string) {
		t.Helper()
		r.grants(t, "reads", "code", a, by)
	})
	everywhere(b, "asks", refused("consent_required"))
	everywhere(b, "reads", refused("login_required"), "claims", `{"id_token":{"sub":{"value":"other-user"}}}`)
	everywhere(b, "reads", refused("login_required"), "max_age", "0")
	everywhere(b, "reads", refused("invalid_request"), "prompt", "none login")
	everywhere(b, "reads", refused("invalid_request"), "id_token_hint", "e30.e30.e30")
}

func (r *front) prompts(t *testing.T) {
	b := newTab(t)
	r.logsIn(b)
	since := func(a answer) float64 {
		t.Helper()
		at, _ := r.grants(t, "reads", "id_token", a, "fragment")["auth_time"].(float64)
		return at
	}
	first := since(r.asks(b, r.ask("reads", "id_token", "max_age", "3600")))
	time.Sleep(2100 * time.Millisecond) // in whole seconds the login is older than one now
	r.refuses(t, "silent", r.asks(b, r.ask("reads", "id_token", "max_age", "1", "prompt", "none")), "fragment", "login_required")
	for _, again := range [][]string{{"max_age", "1"}, {"prompt", "login"}, {"prompt", "select_account"}} {
		b.open(r.ask("reads", "id_token", again...))
		shown(b, r.issuer)
		b.login(username, "wrong")
		shown(b, r.issuer)
		b.login(username, password)
		if at := since(r.reads(b)); at <= first {
			t.Errorf("%v: logged in at %v, and before at %v", again, at, first)
		}
	}
	// Another account takes the place of the first.
	b.open(r.ask("reads", "id_token", "prompt", "select_account", "login_hint", "other"))
	shown(b, r.issuer)
	b.login("other", password)
	raw := r.reads(b).Answer["id_token"]
	if claims := r.idToken(t, "another account", "reads", raw, "", ""); claims["sub"] != "other-user" {
		t.Errorf("the account is %v", claims["sub"])
	}
	// Of one who is hinted at, nobody else is told.
	r.refuses(t, "hinted", r.asks(b, r.ask("asks", "code", "prompt", "none", "claims", `{"userinfo":{"sub":{"value":"demo-user"}}}`)), "query", "login_required")
	r.refuses(t, "another client's", r.asks(b, r.ask("plain", "code", "id_token_hint", raw)), "query", "invalid_request")
	b.open(r.ask("reads", "id_token", "prompt", "login", "id_token_hint", raw))
	shown(b, r.issuer)
	b.login(username, password)
	r.refuses(t, "somebody else", r.reads(b), "fragment", "login_required")
}

// parameters are those that change what is answered, and not how.
func (r *front) parameters(t *testing.T) {
	b := newTab(t)
	r.logsIn(b)
	const class = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	tokens := func(pairs ...string) (map[string]any, answer) {
		t.Helper()
		a := r.asks(b, r.ask("reads", "id_token token", append([]string{"scope", "openid"}, pairs...)...))
		return r.grants(t, "reads", "id_token token", a, "fragment"), a
	}
	plain, a := tokens()
	if plain["name"] != nil || plain["acr"] != nil {
		t.Errorf("unasked it says %v", plain)
	}
	hint := a.Answer["id_token"]
	told, a := tokens("claims", `{"id_token":{"name":{"essential":true}},"userinfo":{"email":null}}`)
	info, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: a.Answer["access_token"]}))
	if err != nil || told["name"] != "Demo User" || told["email"] != nil || info.Email != username+"@example.com" {
		t.Errorf("%v: the ID token says %v, userinfo %+v", err, told, info)
	}
	if told, _ := tokens("acr_values", "0 "+class); told["acr"] != class {
		t.Errorf("the acr is %v", told["acr"])
	}
	if told, _ := tokens("claims", `{"id_token":{"acr":{"essential":true,"value":"`+class+`"}}}`); told["acr"] != class {
		t.Errorf("the essential acr is %v", told["acr"])
	}
	tokens("prompt", "none", "id_token_hint", hint)
	_, a = tokens("resource", "https://orders.example.com/", "scope", "openid read:orders")
	if scope := a.Answer["scope"]; scope != "openid read:orders" {
		t.Errorf("the scope is %q", scope)
	}
	// OpenID Connect Core 1.0 §6.1: what the object says counts.
	object := func(claims string) string {
		part := base64.RawURLEncoding.EncodeToString
		return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "."
	}
	r.grants(t, "reads", "code", r.asks(b, r.ask("reads", "code", "state", "another", "request", object(`{"client_id":"reads","state":"`+readerState+`","response_mode":"form_post"}`))), "form_post")

	for _, tt := range []struct {
		what, client, code string
		pairs              []string
	}{
		{"claims that are no object", "reads", "invalid_request", []string{"claims", `["name"]`}},
		{"an acr that nobody has", "reads", "unmet_authentication_requirements", []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"0"}}}`}},
		{"another client's hint", "plain", "invalid_request", []string{"id_token_hint", hint}},
		{"an API that is none", "reads", "invalid_target", []string{"resource", "https://nobody.example.com/"}},
		{"an unknown scope", "reads", "invalid_scope", []string{"scope", "nonsense"}},
		{"an object that is not for this client", "reads", "invalid_request_object", []string{"request", object(`{"client_id":"plain"}`)}},
		{"an object of one who sends none", "plain", "request_not_supported", []string{"request", object(`{"client_id":"plain"}`)}},
		{"an object elsewhere", "reads", "request_uri_not_supported", []string{"request_uri", "https://evil.example/"}},
		{"registration", "reads", "registration_not_supported", []string{"registration", "{}"}},
		{"max_age in words", "reads", "invalid_request", []string{"max_age", "an hour"}},
		{"a prompt that is none of ours", "reads", "invalid_request", []string{"prompt", "create"}},
	} {
		r.refuses(t, tt.what, r.asks(b, r.ask(tt.client, "code", tt.pairs...)), "query", tt.code)
	}

	// A hint is typed for the person; what only says how a page should look shows it.
	b.open(r.ask("reads", "code", "prompt", "login", "login_hint", "other", "display", "popup", "screen_hint", "login", "ui_locales", "de"))
	typed := evaluate[string](b, `document.querySelector("[name=username]").value + " " + document.documentElement.lang`)
	if !strings.HasPrefix(b.at(), r.issuer+"authorize") || typed != "other de" {
		t.Errorf("at %s: %s", b.at(), typed)
	}
}

// asked fails the test unless the consent page is shown, with these lines.
func (r *front) asked(b *tab, lines ...string) {
	b.t.Helper()
	found := evaluate[[]string](b, `[...document.querySelectorAll("main li")].map((e) => e.textContent)`)
	if !strings.HasPrefix(b.at(), r.issuer+"authorize") || !strings.Contains(b.says(), "The application asks") || !slices.Equal(found, lines) {
		b.t.Fatalf("at %s: %q, want %q in %s", b.at(), found, lines, b.says())
	}
	named := b.named()
	for _, want := range []string{"heading Allow access?", "button Allow", "button Do not allow"} {
		if !slices.Contains(named, want) {
			b.t.Errorf("a screen reader meets %q", named)
		}
	}
}

const (
	who    = "Know who you are here"
	email  = "See your email address"
	stay   = "Keep this access while you are away"
	read   = "Orders: Read orders"
	change = "Orders: Change orders"
)

// consent is given, refused, remembered, asked again, and taken back.
func (r *front) consent(t *testing.T) {
	allow := chromedp.Click(`button[value="allow"]`)
	deny := chromedp.Click(`button[value="deny"]`)
	orders := r.ask("asks", "code", "scope", "openid offline_access read:orders")
	b := newTab(t)
	b.open(orders)
	shown(b, r.issuer)
	b.login(username, password)
	r.asked(b, who, stay, read)
	b.scripts(false)
	b.follow(deny)
	b.scripts(true)
	b.open(b.at()) // so that its script runs
	r.refuses(t, "denied", r.reads(b), "query", "access_denied")
	r.refuses(t, "denied, then silent", r.asks(b, orders+"&prompt=none"), "query", "consent_required")
	b.open(orders)
	r.asked(b, who, stay, read)
	b.follow(allow)
	token, err := r.config("asks").Exchange(t.Context(), r.reads(b).Answer["code"])
	if err != nil {
		t.Fatal(err)
	}
	// Remembered for this client, and this much.
	r.grants(t, "asks", "code", r.asks(b, orders), "query")
	r.grants(t, "asks", "code", r.asks(b, orders+"&prompt=none"), "query")
	r.grants(t, "asks", "code", r.hears(b, orders+"&prompt=none&response_mode=web_message", true), "frame")
	more := r.ask("asks", "code", "scope", "openid email read:orders write:orders")
	r.refuses(t, "more", r.asks(b, more+"&prompt=none"), "query", "consent_required")
	b.open(more)
	r.asked(b, who, email, read, change)
	b.follow(deny)
	r.refuses(t, "more is denied", r.reads(b), "query", "access_denied")
	r.grants(t, "asks", "code", r.asks(b, orders), "query")
	b.open(more)
	b.follow(allow)
	r.grants(t, "asks", "code", r.reads(b), "query")
	r.grants(t, "asks", "code", r.asks(b, more+"&prompt=none"), "query")
	b.open(orders + "&prompt=consent")
	r.asked(b, who, stay, read)
	b.follow(allow)
	r.grants(t, "asks", "code", r.reads(b), "query")

	// In another browser of the same person too, and for nobody else.
	same := newTab(t)
	same.open(orders)
	same.login(username, password)
	r.grants(t, "asks", "code", r.reads(same), "query")
	other := newTab(t)
	other.open(orders)
	other.login("other", password)
	r.asked(other, who, stay, read)

	// Taken back, by the person alone.
	nobody := newTab(t)
	if nobody.open(r.issuer + "consents"); nobody.has("form.entry") || !strings.Contains(nobody.says(), "Nobody is logged in") {
		t.Errorf("whoever has no session reads %s", nobody.says())
	}
	b.open(r.url + "/read")
	run(b, chromedp.Evaluate[any](fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({client: "asks", seal: "x"})})`, r.issuer+"consents"), chromedp.EvalAwaitPromise))
	r.grants(t, "asks", "code", r.asks(b, orders+"&prompt=none"), "query")
	if token, err = refresh(t.Context(), r.config("asks"), token.RefreshToken); err != nil {
		t.Fatal(err)
	}
	b.open(r.issuer + "consents")
	if says := b.says(); !strings.Contains(says, "The application asks") || !strings.Contains(says, change) {
		t.Errorf("the page says %s", says)
	}
	b.follow(chromedp.Click("main form.entry button[type=submit]"))
	if says := b.says(); b.at() != r.issuer+"consents" || !strings.Contains(says, "You have allowed nothing.") {
		t.Errorf("at %s: %s", b.at(), says)
	}
	r.refuses(t, "withdrawn", r.asks(b, orders+"&prompt=none"), "query", "consent_required")
	b.open(orders)
	r.asked(b, who, stay, read)
	_, err = refresh(t.Context(), r.config("asks"), token.RefreshToken)
	refused(t, err, http.StatusBadRequest, "invalid_grant")
}

// errors that lead nowhere are a page, for the person and not for whoever asks.
func (r *front) errors(t *testing.T) {
	b := newTab(t)
	r.logsIn(b)
	for name, address := range map[string]string{
		"no such client":       r.ask("nobody", "code"),
		"a foreign address":    r.ask("reads", "code", "redirect_uri", "https://evil.example/"),
		"a repeated parameter": r.ask("reads", "code") + "&state=another",
	} {
		status := b.open(address)
		named := b.named()
		if status != http.StatusBadRequest || !strings.HasPrefix(b.at(), r.issuer) || !slices.ContainsFunc(named, func(n string) bool { return strings.HasPrefix(n, "heading ") }) {
			t.Errorf("%s: %d at %s: %q", name, status, b.at(), named)
		}
		framed := r.waits(b, address+"&response_mode=web_message&prompt=none", true, time.Second)
		if complaints := b.complained(); framed.By != "nothing" || len(complaints) == 0 {
			t.Errorf("%s: in a frame came %v, and Chromium complains: %q", name, framed, complaints)
		}
	}
	r.grants(t, "reads", "code", r.asks(b, r.ask("reads", "code")), "query")
}

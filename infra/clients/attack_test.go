package clients

import (
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

	"github.com/chromedp/chromedp"
)

// TestNodeMixUp is a client of two servers, by openid-client and oauth4webapi.
func TestNodeMixUp(t *testing.T) {
	t.Parallel()
	evil := makeRun(t, "SEED=infra/examples/full.json")
	runNode(t, "mixup.mjs", "buyer", "SEED=infra/examples/full.json", "EVIL="+evil.issuer)
}

// evilWords would be an element, an attribute or a script, were they not shown as text.
const evilWords = `"'><x-evil onclick=pwned=1></x-evil><img src=x onerror=pwned=1><script>pwned=1</script>{{.Seal}}*%1*`

// An attacker has a server of their own, on another port of the same site and, by another
// name, on another site.
type attacker struct {
	// client is where the clients are, evil the attacker's server on the same site, and
	// elsewhere the same on another.
	client, evil, elsewhere string
	kmint                   *process
}

var evilPages = template.Must(template.New("").Parse(`
{{define "frame"}}<!doctype html><html lang="en"><title>Prize</title><h1>Win</h1><iframe title="prize" src="{{.}}"></iframe>{{end}}
{{define "post"}}<!doctype html><html lang="en"><title>Prize</title><h1>Win</h1><form method="post" action="{{.To}}">
{{range $name, $values := .Fields}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}<button type="submit">Win</button></form>{{end}}
{{define "got"}}<!doctype html><html lang="en"><title>Got</title><h1>Got</h1><p id="state">{{.Get "state"}}</p><p id="error">{{.Get "error"}}</p><p id="code">{{.Get "code"}}</p>{{end}}`))

func newAttacker(t *testing.T) *attacker {
	t.Helper()
	a := &attacker{}
	mux := http.NewServeMux()
	page := func(name string, data func(r *http.Request) any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = r.ParseForm()
			_ = evilPages.ExecuteTemplate(w, name, data(r))
		}
	}
	mux.HandleFunc("GET /frame", page("frame", func(r *http.Request) any { return r.Form.Get("at") }))
	mux.HandleFunc("GET /post", page("post", func(r *http.Request) any {
		to := r.Form.Get("to")
		r.Form.Del("to")
		return struct {
			To     string
			Fields url.Values
		}{to, r.Form}
	}))
	mux.HandleFunc("/cb", page("got", func(r *http.Request) any { return r.Form }))
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	party, evil := httptest.NewServer(mux), httptest.NewServer(mux)
	t.Cleanup(party.Close)
	t.Cleanup(evil.Close)
	a.client, a.evil, a.elsewhere = strings.Replace(party.URL, "127.0.0.1", "localhost", 1), strings.Replace(evil.URL, "127.0.0.1", "localhost", 1), evil.URL
	client := func(id string, first bool) map[string]any {
		return map[string]any{
			"client_id": id, "client_name": "App " + evilWords, "first_party": first, "token_endpoint_auth_method": "none",
			"grant_types": []string{"authorization_code"}, "redirect_uris": []string{a.client + "/cb"}, "web_origins": []string{a.client},
			"post_logout_redirect_uris": []string{a.client + "/cb"},
		}
	}
	seed, err := json.Marshal(map[string]any{
		"apis":    []any{map[string]any{"identifier": "https://orders.example.com/", "name": "Orders " + evilWords, "scopes": map[string]string{"read:orders": "Read " + evilWords}}},
		"clients": []any{client("own", true), client("third", false)},
		"users":   []any{map[string]any{"sub": "demo-user", "username": "demo" + evilWords, "password": password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	a.kmint = makeRun(t, "SEED="+path)
	return a
}

// asks is an authorization request.
func (a *attacker) asks(pairs ...string) string {
	query := url.Values{
		"response_type": {"code"}, "client_id": {"own"}, "redirect_uri": {a.client + "/cb"}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	return a.kmint.issuer + "authorize?" + query.Encode()
}

func (a *attacker) asksForThird(pairs ...string) string {
	return a.asks(append([]string{"client_id", "third", "audience", "https://orders.example.com/", "scope", "openid read:orders"}, pairs...)...)
}

func (a *attacker) victim(t *testing.T) *tab {
	t.Helper()
	b := newTab(t)
	b.open(a.asks())
	shown(b, a.kmint.issuer)
	b.login("demo"+evilWords, password)
	if !strings.HasPrefix(b.at(), a.client+"/cb?") {
		t.Fatalf("at %s: %s", b.at(), b.says())
	}
	return b
}

// TestBrowserAttacks is what only a browser can show: what it puts into frames, which
// cookies it sends along, and what becomes of hostile words.
func TestBrowserAttacks(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	a := newAttacker(t)
	t.Run("clickjacking", a.frames)
	t.Run("forged consent", a.forgesConsent)
	t.Run("hostile words", a.says)
}

// frames puts each page of kmint into a frame, where the person is logged in and the
// cookies come along.
func (a *attacker) frames(t *testing.T) {
	b := a.victim(t)
	for name, address := range map[string]string{
		"login":           a.asks("prompt", "login"),
		"consent":         a.asksForThird(),
		"refusal":         a.asks("redirect_uri", "https://evil.example/"),
		"form_post":       a.asks("response_mode", "form_post"),
		"web_message":     a.asks("response_mode", "web_message", "prompt", "none"),
		"consents":        a.kmint.issuer + "consents",
		"sessions":        a.kmint.issuer + "sessions",
		"logout":          a.kmint.issuer + "oidc/logout",
		"Auth0's logout":  a.kmint.issuer + "v2/logout?client_id=own",
		"logout, refused": a.kmint.issuer + "oidc/logout?post_logout_redirect_uri=https://evil.example/",
	} {
		for _, origin := range []string{a.evil, a.elsewhere} {
			if name == "Auth0's logout" && origin == a.elsewhere {
				continue // from there comes no cookie, so nobody is asked
			}
			b.open(origin + "/frame?at=" + url.QueryEscape(address))
			if complaints := b.complained(); !slices.ContainsFunc(complaints, func(c string) bool {
				return strings.Contains(c, "frame-ancestors") || strings.Contains(c, "X-Frame-Options")
			}) {
				t.Errorf("%s is in a frame of %s: %q", name, origin, complaints)
			}
		}
	}
	// An answer by message is shown to the origin that it is for, and to no other.
	message := a.asks("response_mode", "web_message", "prompt", "none")
	b.open(a.client + "/frame?at=" + url.QueryEscape(message))
	if complaints := b.complained(); len(complaints) > 0 {
		t.Errorf("the twin: %q", complaints)
	}
	// The session is as it was.
	b.open(a.asks("prompt", "none"))
	if !b.has("#code:not(:empty)") {
		t.Errorf("at %s: %s", b.at(), b.says())
	}
}

// forgesConsent posts a consent form that the attacker was shown themselves.
func (a *attacker) forgesConsent(t *testing.T) {
	own := newPerson(t, a.kmint.issuer)
	page, at, _, _ := own.open(a.asksForThird())
	page, _, _, status := own.submit(page, at, map[string]string{"username": "demo" + evilWords, "password": password})
	form := url.Values{"to": {a.kmint.issuer + "authorize"}, "consent": {"allow"}}
	for _, input := range elements(page, "input") {
		form.Set(attribute(input, "name"), attribute(input, "value"))
	}
	if status != http.StatusOK || form.Get("shown") == "" || form.Get("seal") == "" {
		t.Fatalf("no consent form: %d %v", status, form)
	}
	b := a.victim(t)
	for name, spoil := range map[string]func(url.Values){
		"the attacker's own": func(url.Values) {},
		"without a seal":     func(f url.Values) { f.Del("seal") },
		"without a binding":  func(f url.Values) { f.Del("shown") },
		"the answer alone": func(f url.Values) {
			f.Del("seal")
			f.Del("shown")
		},
	} {
		for _, origin := range []string{a.evil, a.elsewhere} {
			forged := url.Values{}
			for name, values := range form {
				forged[name] = values
			}
			spoil(forged)
			b.open(origin + "/post?" + forged.Encode())
			status := b.follow(chromedp.Click("button[type=submit]"))
			if status != http.StatusBadRequest || !strings.HasPrefix(b.at(), a.kmint.issuer) {
				t.Errorf("%s from %s: %d at %s: %s", name, origin, status, b.at(), b.says())
			}
			b.complained() // of the cookie that was kept back
			b.open(a.asksForThird("prompt", "none"))
			if got := evaluate[string](b, `document.querySelector("#error").textContent`); got != "consent_required" {
				t.Errorf("%s from %s: afterwards %s", name, origin, b.says())
			}
		}
	}
	// The twin: the button of the page itself.
	b.open(a.asksForThird())
	b.follow(chromedp.Click("button[value=allow]"))
	if !b.has("#code:not(:empty)") {
		t.Errorf("at %s: %s", b.at(), b.says())
	}
}

// clean fails where hostile words have become more than words.
func (b *tab) clean(where string) {
	b.t.Helper()
	if n := evaluate[int](b, `document.querySelectorAll("x-evil, img, [onclick], [onerror], body script[src]").length + (window.pwned ? 100 : 0)`); n > 0 {
		b.t.Errorf("%s: %d of them at %s: %s", where, n, b.at(), b.says())
	}
	if complaints := b.complained(); len(complaints) > 0 {
		b.t.Errorf("%s: Chromium complains: %q", where, complaints)
	}
}

func (a *attacker) says(t *testing.T) {
	b := newTab(t)
	names := []string{"state", "nonce", "login_hint", "ui_locales", "claims_locales", "display", "acr_values", "id_token_hint", "error", "error_description", "screen_hint", evilWords}
	var everywhere []string
	for _, name := range names {
		if name != "id_token_hint" { // it is refused
			everywhere = append(everywhere, name, evilWords)
		}
	}
	text := func(selector string) string {
		t.Helper()
		return evaluate[string](b, fmt.Sprintf("document.querySelector(%q).textContent", selector))
	}
	b.open(a.asks(everywhere...))
	shown(b, a.kmint.issuer)
	b.clean("the login page")
	if hint := evaluate[string](b, `document.querySelector("[name=username]").value`); hint != evilWords || !strings.Contains(b.says(), "App "+evilWords) {
		t.Errorf("the hint is %s: %s", hint, b.says())
	}
	b.login(evilWords, "wrong")
	b.clean("the login page again")
	b.login("demo"+evilWords, password)
	if text("#state") != evilWords {
		t.Errorf("the state came back as %s", text("#state"))
	}
	for _, name := range append(names, "scope", "audience", "response_type", "response_mode", "prompt", "max_age", "claims", "request", "client_id", "redirect_uri") {
		b.open(a.asks(name, evilWords))
		b.clean(name)
		b.open(a.asksForThird(name, evilWords))
		b.clean(name + ", and consent")
		b.open(a.kmint.issuer + "oidc/logout?" + url.Values{"client_id": {"own"}, "logout_hint": {evilWords}, name: {evilWords}}.Encode())
		b.clean(name + ", and logout")
	}
	b.open(a.asksForThird("prompt", "consent"))
	for _, words := range []string{"App " + evilWords, "Read " + evilWords, "demo" + evilWords} {
		if !strings.Contains(b.says(), words) {
			t.Errorf("the consent page does not say %s: %s", words, b.says())
		}
	}
	b.follow(chromedp.Click("button[value=allow]"))
	b.open(a.kmint.issuer + "consents")
	b.clean("what was allowed")
	if !strings.Contains(b.says(), "App "+evilWords) {
		t.Errorf("the page of consents: %s", b.says())
	}
	b.open(a.kmint.issuer + "sessions?" + url.Values{"from": {evilWords}}.Encode())
	b.clean("no page of the sessions")
	b.open(a.kmint.issuer + "sessions?" + url.Values{"ui_locales": {evilWords}, "session": {evilWords}}.Encode())
	b.clean("the sessions")
	if !strings.Contains(b.says(), "demo"+evilWords) {
		t.Errorf("the page of sessions: %s", b.says())
	}
	for _, parameter := range []string{"post_logout_redirect_uri", "state", "ui_locales", "id_token_hint", evilWords} {
		b.open(a.kmint.issuer + "oidc/logout?" + url.Values{parameter: {evilWords}}.Encode())
		b.clean("logout with " + parameter)
		b.open(a.kmint.issuer + "v2/logout?" + url.Values{"client_id": {"own"}, parameter: {evilWords}, "returnTo": {evilWords}}.Encode())
		b.clean("Auth0's logout with " + parameter)
	}
	// By a form, and by a message, it comes back as it was.
	for _, more := range [][]string{nil, {"scope", `"`}} {
		b.open(a.asks(append([]string{"response_mode", "form_post", "state", evilWords}, more...)...))
		b.arrives(a.client + "/cb")
		if text("#state") != evilWords || (text("#error") == "") != (more == nil) {
			t.Errorf("by a form: %s %s", text("#error"), text("#state"))
		}
		message := a.asks(append([]string{"response_mode", "web_message", "state", evilWords}, more...)...)
		got := run(b, chromedp.Evaluate[string](fmt.Sprintf(`new Promise((resolve) => {
			addEventListener("message", (e) => resolve(e.data.response.state))
			setTimeout(() => resolve("nothing"), 3000)
			const f = document.createElement("iframe"); f.title = "silent"; f.src = %q; document.body.append(f)
		})`, message), chromedp.EvalAwaitPromise))
		if got != evilWords {
			t.Errorf("by a message: %s", got)
		}
	}
	b.clean("where it arrived")
}

package clients

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	devtools "github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// TestSPA is auth0-spa-js, unmodified, in an application that has been told nothing
// but another domain.
func TestSPA(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	a := newApplication(t)
	t.Run("by redirect", a.byRedirect)
	t.Run("by popup", a.byPopup)
	for _, client := range []string{"spa-strict", "spa-auth0"} {
		t.Run("refresh "+client, func(t *testing.T) { a.refreshes(t, client) })
	}
	t.Run("DPoP", a.bound)
	t.Run("another site", a.anotherSite)
	t.Run("another origin", a.anotherOrigin)
}

// An application is a page over https, on a port of its own, that has loaded the
// SDK. Over plain http it would be of another site than kmint, whose cookies a frame
// would not bring.
type application struct {
	// URL is that on localhost, elsewhere the same on 127.0.0.1, which is another site.
	URL, elsewhere string
	kmint          *process
}

// applicationPage has the SDK's client in spa, once start is called. What a promise
// comes to is a text.
var applicationPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Application</title><h1>Application</h1>
<script src="/sdk.js"></script>
<script>
const issuer = {{.}}, domain = new URL(issuer).host
let spa, done
const start = (options) => {
	spa = new auth0.Auth0Client({domain, ...options, authorizationParams: {redirect_uri: location.origin + "/app", ...options.authorizationParams}})
}
const comesTo = async (act) => {
	try { return String(await act()) } catch (e) { return (e.error ?? e.name) + ": " + e.message }
}
const claims = (token) => JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")))
const loaded = () => performance.getEntriesByType("resource").filter((e) => e.initiatorType === "iframe" && e.name.startsWith(issuer)).length
// The browser lists a frame once it has loaded, which is after it has spoken.
const frames = async (least = 0) => {
	for (let i = 0; i < 50 && loaded() < least; i++) await new Promise((resolve) => setTimeout(resolve, 100))
	return loaded()
}
</script></html>`))

func newApplication(t *testing.T) *application {
	t.Helper()
	installPackages(t)
	sdk := filepath.Join(root, "infra", "clients", "node_modules", "@auth0", "auth0-spa-js", "dist", "auth0-spa-js.production.js")
	certFile, keyFile := certificate(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := &application{URL: "https://localhost:" + port, elsewhere: "https://127.0.0.1:" + port}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /app", func(w http.ResponseWriter, _ *http.Request) { _ = applicationPage.Execute(w, a.kmint.issuer) })
	mux.HandleFunc("GET /bye", func(w http.ResponseWriter, _ *http.Request) { _ = pages.ExecuteTemplate(w, "spa", nil) })
	mux.HandleFunc("GET /sdk.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, sdk) })
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}}
	server.StartTLS()
	t.Cleanup(server.Close)

	client := func(id, origin string, more map[string]any) map[string]any {
		c := map[string]any{
			"client_id": id, "client_name": "Application", "first_party": true, "token_endpoint_auth_method": "none",
			"grant_types": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{origin + "/app"},
			"post_logout_redirect_uris": []string{origin + "/bye"}, "web_origins": []string{origin},
		}
		for name, value := range more {
			c[name] = value
		}
		return c
	}
	seed, err := json.Marshal(map[string]any{
		"apis": []any{map[string]any{
			"identifier": "https://orders.example.com/", "scopes": map[string]string{"read:orders": "", "write:orders": ""}, "allow_offline_access": true,
		}},
		"clients": []any{
			client("spa-strict", a.URL, nil),
			client("spa-auth0", a.URL, map[string]any{"error_profile": "auth0"}),
			client("spa-dpop", a.URL, map[string]any{"dpop_bound_access_tokens": true, "dpop_nonce_required": true}),
			client("spa-elsewhere", a.elsewhere, nil),
			client("spa-unlisted", a.URL, map[string]any{"web_origins": []string{}}),
		},
		"users": []any{map[string]any{
			"sub": "demo-user", "username": username, "password": password, "name": "Demo User", "email": "demo@example.com", "email_verified": true,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	a.kmint = makeRun(t, "SEED="+path, "TLS_CERT="+certFile, "TLS_KEY="+keyFile)
	return a
}

// starts makes the SDK's client in the page of the application at an origin.
func (a *application) starts(b *tab, origin, options string) {
	b.t.Helper()
	if !strings.HasPrefix(b.at(), origin+"/app") {
		b.open(origin + "/app")
	}
	const loaded = `new Promise((resolve) => document.readyState === "complete" ? resolve() : addEventListener("load", () => resolve()))`
	run(b, chromedp.Evaluate[any](loaded+".then(() => start("+options+"))", chromedp.EvalAwaitPromise))
}

// logsIn is loginWithRedirect, there and back.
func (a *application) logsIn(b *tab, origin, options string) {
	b.t.Helper()
	a.starts(b, origin, options)
	b.follow(acts(`spa.loginWithRedirect({appState: {inbox: 3}})`))
	shown(b, a.kmint.issuer)
	b.login(username, password)
	b.arrives(origin + "/app?")
	a.starts(b, origin, options)
	b.wants("3", `(await spa.handleRedirectCallback()).appState.inbox`)
	b.wants(demoUser, userText)
}

// What the SDK knows of the user, out of the ID token that it has checked.
const (
	demoUser = "demo-user Demo User demo@example.com"
	userText = `spa.getUser().then((u) => u ? [u.sub, u.name, u.email].join(" ") : "nobody")`
)

// comesTo is what a script with the SDK comes to: its value as a text, or its error.
func (b *tab) comesTo(expression string) string {
	b.t.Helper()
	return run(b, chromedp.Evaluate[string]("comesTo(async () => ("+expression+"))", chromedp.EvalAwaitPromise))
}

// acts is a person who clicks, without which browsers open no window. What the script
// comes to is in done.
func acts(expression string) chromedp.Action[chromedp.Void] {
	clicked := func(p *runtime.EvaluateParams) { p.UserGesture = new(true) }
	script := chromedp.Evaluate[any]("done = comesTo(async () => ("+expression+")), null", clicked)
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := script(ctx, t)
		return err
	})
}

func (b *tab) wants(want, expression string) {
	b.t.Helper()
	if got := b.comesTo(expression); got != want {
		b.t.Errorf("%s comes to %q, want %q", expression, got, want)
	}
}

// fails wants an error of the SDK, by its code.
func (b *tab) fails(code, expression string) {
	b.t.Helper()
	if got := b.comesTo(expression); !strings.HasPrefix(got, code+": ") {
		b.t.Errorf("%s comes to %q, want %s", expression, got, code)
	}
}

// logsOut is logout by way of /v2/logout, and back.
func (a *application) logsOut(b *tab, origin string) {
	b.t.Helper()
	b.follow(acts(`spa.logout({logoutParams: {returnTo: location.origin + "/bye"}})`))
	b.arrives(origin + "/bye")
}

const fresh = `{cacheMode: "off"}`

func (a *application) byRedirect(t *testing.T) {
	b := newTab(t)
	options := `{clientId: "spa-strict", authorizationParams: {audience: "https://orders.example.com/", scope: "openid profile email read:orders", max_age: 600}}`
	a.starts(b, a.URL, options)
	b.fails("login_required", `spa.getTokenSilently()`)
	b.wants("false", `spa.isAuthenticated()`)
	a.logsIn(b, a.URL, options)
	b.wants("0", `frames()`)

	// By the session, in a frame.
	const told = `.then((t) => { const c = claims(t); return [[c.aud].flat()[0], c.scope, c.client_id].join(" ") })`
	b.wants("true", `(async () => { const first = await spa.getTokenSilently(); return first !== await spa.getTokenSilently(`+fresh+`) && first.length > 99 })()`)
	b.wants("1", `frames(1)`)
	b.wants("https://orders.example.com/ openid profile email read:orders spa-strict", `spa.getTokenSilently()`+told)
	const more = `{authorizationParams: {audience: "https://orders.example.com/", scope: "openid write:orders"}}`
	b.wants("https://orders.example.com/ openid profile email read:orders write:orders spa-strict", `spa.getTokenSilently(`+more+`)`+told)
	b.wants("2", `frames(2)`)
	b.wants("200 demo-user", `fetch(issuer + "userinfo", {headers: {authorization: "Bearer " + await spa.getTokenSilently()}}).then(async (r) => r.status + " " + (await r.json()).sub)`)
	b.fails("invalid_target", `spa.getTokenSilently({authorizationParams: {audience: "https://nobody.example.com/"}})`)

	// A page that loads again has nothing but the session.
	b.open(a.URL + "/app")
	a.starts(b, a.URL, options)
	b.wants("nobody", userText)
	b.wants("done", `spa.checkSession().then(() => "done")`)
	b.wants(demoUser, userText)
	// Another browser has none.
	other := newTab(t)
	a.starts(other, a.URL, options)
	other.fails("login_required", `spa.getTokenSilently()`)

	// Back to where the client has not registered, nobody is sent, nor logged out
	// unasked.
	b.follow(acts(`spa.logout({logoutParams: {returnTo: location.origin + "/elsewhere"}})`))
	b.arrives(a.kmint.issuer + "v2/logout")
	b.open(a.URL + "/app")
	a.starts(b, a.URL, options)
	b.wants("true", `spa.getTokenSilently().then((t) => t.length > 99)`)
	a.logsOut(b, a.URL)
	a.starts(b, a.URL, options)
	b.wants("nobody", userText)
	b.fails("login_required", `spa.getTokenSilently()`)
}

// popup does what opens a window, and returns that.
func (b *tab) popup() *tab {
	b.t.Helper()
	opened := chromedp.WaitNewTarget(b.ctx, func(i *devtools.Info) bool { return i.Type == "page" })
	run(b, acts(`spa.loginWithPopup()`))
	var id devtools.ID
	select {
	case id = <-opened:
	case <-time.After(10 * time.Second):
		b.t.Fatal("no window has opened")
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
	b.t.Cleanup(cancel)
	return &tab{t: b.t, ctx: ctx}
}

func (a *application) byPopup(t *testing.T) {
	b := newTab(t)
	a.starts(b, a.URL, `{clientId: "spa-strict"}`)
	p := b.popup()
	p.arrives(a.kmint.issuer + "authorize")
	run(p, chromedp.WaitReady("input[name=username]"))
	p.login(username, "wrong")
	shown(p, a.kmint.issuer)
	run(p, chromedp.WaitReady("input[name=username]"))
	run(p, chromedp.Steps(chromedp.SendKeys("input[name=password]", password), chromedp.Click("button[type=submit]")))
	b.wants("undefined", `done`)
	b.wants(demoUser, userText)
	// From the session: no page between.
	b.popup()
	b.wants("undefined", `done`)
	a.logsOut(b, a.URL)
	a.starts(b, a.URL, `{clientId: "spa-strict"}`)
	p = b.popup()
	p.arrives(a.kmint.issuer + "authorize")
	evaluate[any](p, `setTimeout(close), null`)
	b.wants("cancelled: Popup closed", `done`)
	b.wants("nobody", userText)
}

func (a *application) refreshes(t *testing.T, client string) {
	// As by default: the token is in a worker, where no script of the page gets at it.
	b := newTab(t)
	options := fmt.Sprintf(`{clientId: %q, useRefreshTokens: true}`, client)
	a.logsIn(b, a.URL, options)
	for range 2 { // it rotates
		b.wants("true", `(async () => await spa.getTokenSilently() !== await spa.getTokenSilently(`+fresh+`))()`)
	}
	b.wants("0", `frames()`)
	b.wants("undefined", `spa.revokeRefreshToken()`)
	b.fails("missing_refresh_token", `spa.getTokenSilently(`+fresh+`)`)
	a.logsOut(b, a.URL)

	// Where it is kept, it can be made worthless behind the SDK's back.
	const kept = `JSON.parse(Object.entries(localStorage).find(([name]) => name.includes("::openid"))[1]).body.refresh_token`
	const kill = `fetch(issuer + "oauth/revoke", {method: "POST", body: new URLSearchParams({client_id: spa.options.clientId, token: ` + kept + `})}).then((r) => r.status)`
	for _, fallback := range []bool{true, false} {
		b := newTab(t)
		options := fmt.Sprintf(`{clientId: %q, useRefreshTokens: true, cacheLocation: "localstorage", useRefreshTokensFallback: %t}`, client, fallback)
		a.logsIn(b, a.URL, options)
		b.wants("true", `(async () => { const before = `+kept+`; await spa.getTokenSilently(`+fresh+`); return before !== `+kept+` })()`)
		b.wants("200", kill)
		if !fallback {
			b.wants("invalid_grant: Unknown or invalid refresh token.", `spa.getTokenSilently(`+fresh+`)`)
			b.wants("0", `frames()`)
			continue
		}
		b.wants("true", `spa.getTokenSilently(`+fresh+`).then((t) => t.length > 99)`)
		b.wants("1", `frames(1)`)
		b.wants("true", `spa.getTokenSilently(`+fresh+`).then((t) => t.length > 99)`) // by the new one
		b.wants("1", `frames(1)`)
		a.logsOut(b, a.URL)
		a.starts(b, a.URL, options)
		b.fails("login_required", `spa.getTokenSilently(`+fresh+`)`)
	}
}

// bound is DPoP, with nonces, by a key that no script can read.
func (a *application) bound(t *testing.T) {
	b := newTab(t)
	for _, more := range []string{``, `, useRefreshTokens: true`, `, useRefreshTokens: true, refreshTokenMode: "online"`} {
		a.logsIn(b, a.URL, `{clientId: "spa-dpop", useDpop: true`+more+`}`)
		for range 2 {
			b.wants("DPoP true", `spa.getTokenSilently({cacheMode: "off", detailedResponse: true}).then((r) => r.token_type + " " + Boolean(claims(r.access_token).cnf.jkt))`)
		}
		b.wants(fmt.Sprint(more == ``), map[bool]string{true: `frames(1)`, false: `frames()`}[more == ``]+`.then((n) => n > 0)`)
		b.wants("200 demo-user", `spa.createFetcher({dpopNonceId: "kmint", baseUrl: issuer}).fetchWithAuth("/userinfo").then(async (r) => r.status + " " + (await r.json()).sub)`)
		b.wants("401", `fetch(issuer + "userinfo", {headers: {authorization: "Bearer " + await spa.getTokenSilently()}}).then((r) => r.status)`)
		a.logsOut(b, a.URL)
	}
	// The client's tokens are bound, or there are none.
	a.starts(b, a.URL, `{clientId: "spa-dpop", useDpop: false}`)
	b.fails("login_required", `spa.getTokenSilently()`)
	b.follow(acts(`spa.loginWithRedirect()`))
	b.arrives(a.kmint.issuer + "authorize")
	b.login(username, password)
	b.arrives(a.URL + "/app?")
	a.starts(b, a.URL, `{clientId: "spa-dpop", useDpop: false}`)
	b.fails("invalid_dpop_proof", `spa.handleRedirectCallback()`)
}

// anotherSite is a page whose frame brings the cookie alone that is for that, where
// the browser lets it.
func (a *application) anotherSite(t *testing.T) {
	options := `{clientId: "spa-elsewhere"}`
	b := newTab(t)
	call(b, network.SetCookieControls, network.SetCookieControlsParams{EnableThirdPartyCookieRestriction: true})
	a.logsIn(b, a.elsewhere, options)
	b.fails("login_required", `spa.getTokenSilently(`+fresh+`)`)

	b = newTab(t)
	a.starts(b, a.elsewhere, options)
	b.fails("login_required", `spa.getTokenSilently()`)
	a.logsIn(b, a.elsewhere, options)
	b.wants("true", `spa.getTokenSilently(`+fresh+`).then((t) => t.length > 99)`)
	b.wants("1", `frames(1)`)
	a.logsOut(b, a.elsewhere)
	a.starts(b, a.elsewhere, options)
	b.fails("login_required", `spa.getTokenSilently()`)
	b.complained() // of the cookie that stays Lax
}

// anotherOrigin gets no message: neither a page of the client's that is none of its
// web_origins, nor one that names another's address as its own.
func (a *application) anotherOrigin(t *testing.T) {
	b := newTab(t)
	a.logsIn(b, a.URL, `{clientId: "spa-strict"}`)
	b.wants("true", `spa.getTokenSilently(`+fresh+`).then((t) => t.length > 99)`)
	for _, tt := range []struct {
		origin, options string
		barred          bool
	}{
		{a.URL, `{clientId: "spa-unlisted", authorizeTimeoutInSeconds: 3}`, false},
		{a.elsewhere, `{clientId: "spa-strict", authorizeTimeoutInSeconds: 3}`, true},
		{a.elsewhere, `{clientId: "spa-strict", authorizeTimeoutInSeconds: 3, authorizationParams: {redirect_uri: ` + fmt.Sprintf("%q", a.URL+"/app") + `}}`, true},
	} {
		b.open(tt.origin + "/app")
		a.starts(b, tt.origin, tt.options)
		b.wants("timeout: Timeout", `spa.getTokenSilently()`)
		b.wants("1", `frames(1)`)
		complaints := b.complained()
		if barred := slices.ContainsFunc(complaints, func(c string) bool { return strings.Contains(c, "frame-ancestors") }); barred != tt.barred {
			t.Errorf("%s with %s: Chromium complains: %q", tt.origin, tt.options, complaints)
		}
	}
}

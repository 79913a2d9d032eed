package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/oauth2"
)

// TestBrowser is the code flow in Chromium, with a relying party on another port.
func TestBrowser(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	p := newParty(t)
	t.Run("log in", p.logIn)
	t.Run("onward", p.leadsOnward)
	t.Run("without scripts", p.withoutScripts)
	t.Run("a script", p.script)
	t.Run("forged forms", p.forgedForms)
	t.Run("in a frame", p.inFrame)
	t.Run("by keyboard", p.byKeyboard)
	t.Run("pages", p.pages)
}

// shown fails the test where the login page is not shown.
func shown(b *tab, issuer string) {
	b.t.Helper()
	if !strings.HasPrefix(b.at(), issuer+"authorize") || !b.has("input[name=username]") || !b.has("input[name=password]") {
		b.t.Fatalf("no login page at %s: %s", b.at(), b.says())
	}
}

// greeted fails the test where the browser is not back at the relying party.
func (p *party) greeted(b *tab) {
	b.t.Helper()
	if !strings.HasPrefix(b.at(), p.URL+"/callback?") || !strings.Contains(b.says(), "Hello demo-user Demo User logged in.") {
		b.t.Fatalf("at %s: %s", b.at(), b.says())
	}
}

func (p *party) logIn(t *testing.T) {
	b := newTab(t)
	if status := b.open(p.URL + "/login"); status != http.StatusOK {
		t.Errorf("the login page has status %d", status)
	}
	shown(b, p.site.issuer)
	if status := b.login(username, "wrong"); status != http.StatusBadRequest {
		t.Errorf("a wrong password has status %d", status)
	}
	shown(b, p.site.issuer)
	b.focused("password")
	if left := evaluate[string](b, `document.activeElement.value`); !b.has("[role=alert]") || left != "" {
		t.Errorf("after a wrong password the page has %q: %s", left, b.says())
	}
	if typed := evaluate[string](b, `document.querySelector("[name=username]").value`); typed != username {
		t.Errorf("the username is %q now", typed)
	}
	if len(p.tokens) > 0 {
		t.Error("a wrong password was good for tokens")
	}
	b.login(username, password)
	p.greeted(b)
	first := p.last(t)
	if _, err := p.site.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(first)); err != nil {
		t.Error(err)
	}
	b.attributes(false)
	// The frame of OpenID Connect Session Management reads a cookie that says nothing else.
	if document := evaluate[string](b, `document.cookie`); !strings.HasPrefix(document, "kmint_state=") || strings.Contains(document, ";") {
		t.Errorf("a script reads %s", document)
	}

	// Single sign-on: no page between.
	b.open(p.URL + "/login")
	p.greeted(b)
	if p.last(t).AccessToken == first.AccessToken {
		t.Error("there is no new token")
	}
	b.open(p.URL + "/login?prompt=none")
	p.greeted(b)
	b.open(p.URL + "/login?prompt=login")
	shown(b, p.site.issuer)
	b.login(username, password)
	p.greeted(b)

	// Another profile has no session.
	other := newTab(t)
	other.open(p.URL + "/login?prompt=none")
	if says := other.says(); !strings.Contains(says, "error login_required") {
		t.Errorf("another browser: %s", says)
	}
	// A code that is sent again, as by reload, is for nobody; the party's own state
	// is gone too.
	if status := b.follow(chromedp.Reload()); status != http.StatusBadRequest {
		t.Errorf("the answer is good twice: %d", status)
	}
}

// attributes holds what the browser keeps of kmint's cookies.
func (b *tab) attributes(secure bool) {
	b.t.Helper()
	prefix := ""
	if secure {
		prefix = "__Host-"
	}
	cookies := b.cookies()
	for _, name := range []string{prefix + "kmint_session", prefix + "kmint_login"} {
		c, ok := cookies[name]
		if !ok {
			b.t.Errorf("there is no cookie %s: %v", name, cookies)
			continue
		}
		if !c.HTTPOnly || c.Secure != secure || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "localhost" {
			b.t.Errorf("%+v", c)
		}
	}
}

// leadsOnward is a callback that takes the code and redirects to an origin of which
// kmint has never heard. Chromium holds form-action against that redirect too.
func (p *party) leadsOnward(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = pages.ExecuteTemplate(w, "spa", nil)
	}))
	t.Cleanup(elsewhere.Close)
	p.onward = elsewhere.URL + "/welcome"
	defer func() { p.onward = "" }()
	if strings.HasPrefix(elsewhere.URL, p.URL) || strings.HasPrefix(elsewhere.URL, strings.TrimSuffix(p.site.issuer, "/")) {
		t.Fatalf("%s is no other origin", elsewhere.URL)
	}
	b := newTab(t)
	b.open(p.URL + "/login")
	shown(b, p.site.issuer)
	before := len(p.tokens)
	if status := b.login(username, password); status != http.StatusOK || b.at() != p.onward {
		t.Errorf("%d at %s: %s", status, b.at(), b.says())
	}
	if len(p.tokens) != before+1 {
		t.Errorf("%d logins", len(p.tokens)-before)
	}
}

func (p *party) withoutScripts(t *testing.T) {
	b := newTab(t)
	b.scripts(false)
	b.open(p.URL + "/login")
	shown(b, p.site.issuer)
	b.login(username, "wrong")
	shown(b, p.site.issuer)
	b.login(username, password)
	p.greeted(b)
	b.open(p.URL + "/login")
	p.greeted(b)
}

// script is the single-page application: a script fetches from another origin what
// the browser lets it read.
func (p *party) script(t *testing.T) {
	client, verifier := p.site.spaClient(), oauth2.GenerateVerifier()
	client.RedirectURL = p.URL + "/spa"
	b := newTab(t)
	b.open(client.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
	shown(b, p.site.issuer)
	b.login(username, password)
	if !strings.HasPrefix(b.at(), p.URL+"/spa?") {
		t.Fatalf("at %s", b.at())
	}
	const fetches = `async (tokenURL, userinfoURL, verifier) => {
		const read = async (answer) => ({status: answer.status, body: await answer.json()})
		const code = new URLSearchParams(location.search).get("code")
		const first = await read(await fetch(tokenURL, {method: "POST", body: new URLSearchParams({
			grant_type: "authorization_code", client_id: "demo-spa", code, redirect_uri: location.origin + location.pathname, code_verifier: verifier})}))
		const json = (body) => ({method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})
		const second = await read(await fetch(tokenURL, json({grant_type: "refresh_token", client_id: "demo-spa", refresh_token: first.body.refresh_token})))
		const user = await read(await fetch(userinfoURL, {headers: {Authorization: "Bearer " + second.body.access_token}}))
		const refused = await read(await fetch(tokenURL, json({grant_type: "refresh_token", client_id: "demo-spa", refresh_token: "wrong"})))
		return [first.status, second.status, user.status, user.body.sub, refused.status, refused.body.error].join(" ")
	}`
	awaited := func(expression string) string {
		t.Helper()
		return run(b, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	}
	tokenURL, userinfoURL := p.site.issuer+"oauth/token", p.site.issuer+"userinfo"
	if got, want := awaited(fmt.Sprintf("(%s)(%q, %q, %q)", fetches, tokenURL, userinfoURL, verifier)), "200 200 200 demo-user 400 invalid_grant"; got != want {
		t.Errorf("the script reads %s, want %s", got, want)
	}
	if complaints := b.complained(); len(complaints) > 0 {
		t.Errorf("Chromium complains: %q", complaints)
	}
	// Another origin's script may send the same, and reads nothing.
	b.open(strings.Replace(p.URL, "localhost", "127.0.0.1", 1) + "/spa")
	got := awaited(fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams({grant_type: "refresh_token", client_id: "demo-spa", refresh_token: "wrong"})})
		.then(() => "an answer", (e) => e.name)`, tokenURL))
	if complaints := b.complained(); got != "TypeError" || !slices.ContainsFunc(complaints, func(c string) bool { return strings.Contains(c, "CORS") || strings.Contains(c, "Cors") }) {
		t.Errorf("another origin's script reads %s, and Chromium complains: %q", got, complaints)
	}
}

// A page of another origin posts the login form: of another site, which cookies
// do not follow, and of the same site but another port, which they do.
func (p *party) forgedForms(t *testing.T) {
	attacker := newPerson(t, p.site.issuer)
	page, _, _, _ := attacker.open(p.config.AuthCodeURL("s"))
	own := forgedForm{Action: p.site.issuer + "authorize", Username: username, Password: password}
	for _, input := range elements(page, "input") {
		switch attribute(input, "name") {
		case "request":
			own.Request = attribute(input, "value")
		case "seal":
			own.Seal = attribute(input, "value")
		}
	}
	if own.Seal == "" {
		t.Fatal("the attacker's own form has no seal")
	}
	bare := own
	bare.Request, bare.Seal = "", ""
	before := len(p.tokens)
	for name, form := range map[string]forgedForm{"without a seal": bare, "with the attacker's own seal": own} {
		for _, origin := range []string{p.URL, strings.Replace(p.URL, "localhost", "127.0.0.1", 1)} {
			t.Run(name+" from "+strings.Split(origin, ":")[1][2:], func(t *testing.T) {
				b := newTab(t)
				b.open(p.URL + "/login") // so that there is a cookie
				shown(b, p.site.issuer)
				p.forged = form
				b.open(origin + "/forged")
				status := b.follow(chromedp.Click("button[type=submit]"))
				// A form that names a request is taken for one that lay open too long, where
				// the browser sent its cookie along: then the page is shown, and empty.
				again := form.Seal != "" && origin == p.URL
				if status != http.StatusBadRequest || b.has("input[name=password]") != again || !strings.HasPrefix(b.at(), p.site.issuer) {
					t.Errorf("%d at %s: %s", status, b.at(), b.says())
				}
				if again && evaluate[string](b, `document.querySelector("[name=username]").value`) != "" {
					t.Errorf("the page is filled in: %s", b.says())
				}
				// The one thing that Chromium has to say: SameSite kept the cookie back.
				if complaints := b.complained(); strings.Contains(origin, "127.0.0.1") != slices.Equal(complaints, []string{"issue: CookieIssue"}) {
					t.Errorf("Chromium complains: %q", complaints)
				}
				for name := range b.cookies() {
					if strings.Contains(name, "kmint_session") {
						t.Errorf("there is a session now: %s", name)
					}
				}
				b.open(p.URL + "/login?prompt=none")
				if says := b.says(); !strings.Contains(says, "error login_required") {
					t.Errorf("afterwards: %s", says)
				}
			})
		}
	}
	if len(p.tokens) > before {
		t.Error("there were tokens")
	}
}

func (p *party) inFrame(t *testing.T) {
	b := newTab(t)
	b.open(p.URL + "/framed")
	complaints := b.complained()
	if !slices.ContainsFunc(complaints, func(c string) bool {
		return strings.Contains(c, "frame-ancestors") || strings.Contains(c, "X-Frame-Options")
	}) {
		t.Errorf("Chromium shows the login page in a frame: %q", complaints)
	}
}

// byKeyboard logs in without a mouse.
func (p *party) byKeyboard(t *testing.T) {
	b := newTab(t)
	b.open(p.URL + "/login")
	shown(b, p.site.issuer)
	visible := func() {
		t.Helper()
		if outline := evaluate[string](b, `getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth`); strings.HasPrefix(outline, "none") || strings.HasSuffix(outline, " 0px") {
			t.Errorf("the focus cannot be seen: %s", outline)
		}
	}
	for _, want := range []string{"username", "password", "submit"} {
		b.focused(want)
		visible()
		run(b, chromedp.KeyEvent(kb.Tab))
	}
	b.open(p.URL + "/login")
	b.focused("username")
	run(b, chromedp.KeyEvent(username+kb.Tab+"wrong"))
	b.follow(chromedp.KeyEvent(kb.Enter))
	b.focused("password")
	visible()
	run(b, chromedp.KeyEvent(password))
	b.follow(chromedp.KeyEvent(kb.Enter))
	p.greeted(b)
}

// pages are what a person may see, and a screen reader say.
func (p *party) pages(t *testing.T) {
	b := newTab(t)
	fits := func(name string) {
		t.Helper()
		b.picture(name)
		for _, node := range []string{"html[lang=en]", "head title", "main h1", `meta[name=viewport]`} {
			if !b.has(node) {
				t.Errorf("%s has no %s", name, node)
			}
		}
		if n := evaluate[int](b, `document.querySelectorAll("h1").length`); n != 1 {
			t.Errorf("%s has %d h1", name, n)
		}
		for _, width := range []int64{1024, 390, 320} {
			b.size(width, 768)
			if wide := evaluate[int64](b, `document.documentElement.scrollWidth`); wide > width {
				t.Errorf("%s is %d wide on a screen of %d", name, wide, width)
			}
		}
		b.size(1024, 768)
	}
	b.open(p.URL + "/login")
	fits("login")
	want := []string{"RootWebArea Log in", "main", "heading Log in", "textbox Username", "textbox Password", "button Log in"}
	if named := b.named(); !slices.Equal(named, want) {
		t.Errorf("a screen reader meets %q", named)
	}
	b.login(username, "wrong")
	fits("wrong")
	if named := b.named(); !slices.ContainsFunc(named, func(n string) bool { return strings.HasPrefix(n, "alert") }) {
		t.Errorf("a screen reader meets %q", named)
	}
	if problem := evaluate[string](b, `document.getElementById(document.querySelector("[name=password]").getAttribute("aria-describedby")).textContent`); strings.TrimSpace(problem) == "" {
		t.Error("the field does not say what is wrong with it")
	}
	foreign := *p.config
	foreign.RedirectURL = "https://evil.example/"
	if status := b.open(foreign.AuthCodeURL("s")); status != http.StatusBadRequest {
		t.Errorf("a foreign redirect_uri has status %d", status)
	}
	fits("error")
}

// TestBrowserDemo clicks through what a newcomer is shown.
func TestBrowserDemo(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	kmint := makeRun(t)
	demo(t, newTab(t), kmint, "demo")
}

// demo is one visit of the demo relying party.
func demo(t *testing.T, b *tab, kmint *process, name string) {
	t.Helper()
	says := func(want string) {
		t.Helper()
		if text := b.says(); !strings.Contains(text, want) || strings.Contains(text, "did not work") {
			t.Fatalf("at %s: %s", b.at(), text)
		}
	}
	b.open(kmint.field(t, "Demo"))
	says("Log in with kmint")
	b.picture(name + "-before")
	b.follow(chromedp.Click("a.button"))
	shown(b, kmint.issuer)
	b.login(kmint.field(t, "User"), "wrong")
	shown(b, kmint.issuer)
	b.login(kmint.field(t, "User"), kmint.field(t, "Password"))
	says("Hello, Demo User")
	says("Access token")
	b.picture(name + "-after")
	for _, button := range []struct{ action, says string }{{"userinfo", "What the userinfo endpoint says"}, {"refresh", "The tokens are new"}} {
		b.follow(chromedp.Click(`form[action$="` + button.action + `"] button`))
		says(button.says)
	}
	b.follow(chromedp.Click(`a[href$="prompt=login"]`))
	shown(b, kmint.issuer)
	b.login(kmint.field(t, "User"), kmint.field(t, "Password"))
	says("Hello, Demo User")
	b.follow(chromedp.Click(`form[action$="forget"] button`))
	says("Log in with kmint")
	b.follow(chromedp.Click("a.button"))
	says("Hello, Demo User") // the session is kmint's, and stands
}

// TestBrowserTLS is the demo over https, and a relying party in plain beside it.
func TestBrowserTLS(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	cert, key := certificate(t)
	kmint := makeRun(t, "TLS_CERT="+cert, "TLS_KEY="+key)
	if !strings.HasPrefix(kmint.issuer, "https://localhost:") {
		t.Fatalf("the issuer is %s", kmint.issuer)
	}
	b := newTab(t)
	demo(t, b, kmint, "tls")
	b.attributes(true)
}

// certificate writes a certificate for localhost that no authority knows, and its
// key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

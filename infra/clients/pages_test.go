package clients

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// TestBrowserPages walks through every page in every state, and lets axe-core look for
// what keeps people from using it: in light and dark, on a phone and at a desk; and once
// in each language.
func TestBrowserPages(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	installPackages(t)
	axe, err := os.ReadFile(filepath.Join(root, "infra", "clients", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWalk(t, string(axe))
	one, other := []look{{"light", 360}, {"dark", 1280}}, []look{{"dark", 360}, {"light", 1280}}
	for _, language := range []string{"en", "de", "es", "fr", "ja"} {
		t.Run(language, func(t *testing.T) { w.in(t, language, one) })
	}
	t.Run("en otherwise", func(t *testing.T) { w.in(t, "en", other) })
	t.Run("planted", w.planted)
}

// A walk is a kmint with somebody else's client, and one of the owner's, both with long
// names.
type walk struct {
	axe    string
	issuer string
	// home is where the clients are.
	home string
	// web is the client that people are asked about, spa the owner's own.
	web, spa *oauth2.Config
}

const (
	longName = "The Demonstration of an Application with a Name that is Longer than Anybody Would Like, ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ"
	brand    = "Acme, Sons & Daughters"
)

func newWalk(t *testing.T, axe string) *walk {
	t.Helper()
	web := `"first_party": true
    },
    {
      "client_id": "demo-spa",`
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = pages.ExecuteTemplate(w, "spa", nil)
	}))
	t.Cleanup(client.Close)
	home := strings.Replace(client.URL, "127.0.0.1", "localhost", 1)
	p := makeRun(t, "SEED="+exampleWith(t, spaOrigin, home,
		`"default_audience": "https://orders.example.com/"`,
		`"default_audience": "https://orders.example.com/", "brand": {"name": "`+brand+`", "accent_color": "#7a2e8d", "accent_dark_color": "#e2b6ec"}`,
		web, strings.Replace(web, "true", "false", 1),
		`"Demo web app"`, `"`+longName+`"`,
		`"post_logout_redirect_uris": [`, `"frontchannel_logout_uri": "`+home+`/front", "post_logout_redirect_uris": [`))
	provider, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	s := site{p.issuer, provider}
	w := &walk{axe: axe, issuer: p.issuer, home: home + "/", web: s.webClient(), spa: s.spaClient()}
	w.web.RedirectURL, w.spa.RedirectURL = home+"/callback", home+"/spa"
	w.web.Scopes = []string{"openid", "profile", "email", "offline_access", "read:orders"}
	return w
}

// A visit is one walk in one language.
type visit struct {
	*tab
	*walk
	language string
	// looks are those in which each page is looked at.
	looks []look
}

type look struct {
	colours string
	width   int64
}

func (w *walk) in(t *testing.T, language string, looks []look) {
	v := visit{newTab(t), w, language, looks}
	// By Accept-Language, which the browser sends everywhere, the pages without a
	// ui_locales of their own included.
	call(v.tab, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": v.language}})
	verifier := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())

	v.opens(http.StatusOK, w.issuer+"consents")
	v.fine("consents-nobody")
	v.opens(http.StatusOK, w.web.AuthCodeURL("s"))
	v.fine("login")
	for field, want := range map[string]string{"username": "username", "password": "current-password"} {
		if got := evaluate[string](v.tab, `document.querySelector("[name=`+field+`]").autocomplete`); got != want {
			t.Errorf("%s has autocomplete %q", field, got)
		}
	}
	v.login(username, "wrong")
	v.fine("wrong")
	for range 12 {
		if v.login("nobody-"+language, "wrong") == http.StatusTooManyRequests {
			v.fine("locked")
			break
		}
	}
	if !v.has("[role=alert]") {
		t.Error("the name is not locked")
	}
	asking := func(prompt string) string {
		return w.web.AuthCodeURL("s", oauth2.SetAuthURLParam("prompt", prompt))
	}
	v.opens(http.StatusOK, asking("consent"))
	v.login(username, password)
	v.fine("consent")

	// Somebody logs in anew meanwhile, in another window.
	other, cancel := chromedp.NewContext(v.ctx)
	defer cancel()
	second := &tab{t: t, ctx: other}
	second.open(asking("login consent"))
	second.login(username, password)
	cancel()
	v.follow(chromedp.Click("button[value=allow]"))
	v.fine("consent-changed")

	v.follow(chromedp.Click("button[value=allow]"))
	v.opens(http.StatusOK, w.issuer+"consents")
	if !v.has(".entry button") {
		t.Fatalf("nothing was allowed: %s", v.says())
	}
	v.fine("consents")
	newPerson(t, w.issuer).back(w.spa.AuthCodeURL("s", verifier)) // logs in elsewhere
	v.opens(http.StatusOK, w.issuer+"sessions")
	if !v.has("form.entry button") {
		t.Errorf("there is no other session: %s", v.says())
	}
	v.fine("sessions")
	v.opens(http.StatusBadRequest, w.issuer+"authorize?client_id=nobody")
	v.fine("error")

	for _, mode := range []string{"form_post", "web_message"} {
		client := w.web
		if mode == "web_message" {
			client = w.spa
		}
		v.scripts(false) // which would lead on
		v.opens(http.StatusOK, client.AuthCodeURL("s", verifier, oauth2.SetAuthURLParam("response_mode", mode)))
		v.scripts(true)
		v.fine(mode)
	}

	v.opens(http.StatusOK, w.issuer+"oidc/logout?client_id=demo-web&post_logout_redirect_uri="+url.QueryEscape(w.home))
	v.fine("logout")
	v.opens(http.StatusBadRequest, w.issuer+"oidc/logout?client_id=demo-web&post_logout_redirect_uri=http%3A%2F%2Felsewhere.example%2F")
	v.fine("logout-wrong")
	v.opens(http.StatusOK, w.issuer+"oidc/logout")
	v.follow(chromedp.Click("button[type=submit]"))
	if !v.has("iframe") {
		t.Errorf("no frames at %s: %s", v.at(), v.says())
	}
	v.fine("logged-out")
}

// opens opens a page, and holds its status.
func (v visit) opens(status int, address string) {
	v.t.Helper()
	if got := v.open(address); got != status {
		v.t.Errorf("%s has status %d: %s", address, got, v.says())
	}
}

// fine fails the test where there is something about the page that keeps people from
// using it.
func (v visit) fine(name string) {
	v.t.Helper()
	if v.has("[autofocus]") { // a person is slower than that
		run(v.tab, chromedp.WaitReady("input:focus"))
	}
	v.picture(v.language + "-" + name)
	if language := evaluate[string](v.tab, `document.documentElement.lang`); language != v.language {
		v.t.Errorf("%s is in %q", name, language)
	}
	if title := evaluate[string](v.tab, `document.title`); !strings.HasSuffix(title, " · "+brand) || !strings.Contains(v.says(), brand) {
		v.t.Errorf("%s has the title %q", name, title)
	}
	for _, look := range v.looks {
		v.colours(look.colours)
		v.size(look.width, 800)
		for _, fault := range v.faults() {
			v.t.Errorf("%s, %s, %d wide: %s", name, look.colours, look.width, fault)
		}
	}
	v.colours("light")
	v.fits(name)
	if unseen := evaluate[string](v.tab, unseenFocus); unseen != "" {
		v.t.Errorf("%s: the focus cannot be seen, or comes out of turn: %s", name, unseen)
	}
	v.size(1024, 768)
}

// fits fails the test where a page has to be moved sideways: on the narrowest screen
// (WCAG 2.2, 1.4.10), and with letters of twice the size (1.4.4).
func (v visit) fits(name string) {
	v.t.Helper()
	for _, size := range []string{"100%", "200%"} {
		evaluate[string](v.tab, `document.documentElement.style.fontSize = "`+size+`"`)
		v.size(320, 640)
		if wide := evaluate[int64](v.tab, `document.documentElement.scrollWidth`); wide > 320 {
			v.t.Errorf("%s is %d wide on a screen of 320, with letters of %s", name, wide, size)
		}
	}
	evaluate[string](v.tab, `document.documentElement.style.fontSize = ""`)
}

// unseenFocus names what can have the focus and shows none, or would have it out of the
// order of the page.
const unseenFocus = `[...document.querySelectorAll("a[href], button, input:not([type=hidden])")].filter((e) => {
	e.focus({focusVisible: true})
	const style = getComputedStyle(e)
	return document.activeElement !== e || e.tabIndex !== 0 || style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2
}).map((e) => e.outerHTML).join(" ")`

// faults is what axe-core finds.
func (v visit) faults() []string {
	v.t.Helper()
	evaluate[cdp.Empty](v.tab, "if (!window.axe) {"+v.axe+"}; ({})")
	return run(v.tab, chromedp.Evaluate[[]string](`axe.run(document, {iframes: false, resultTypes: ["violations"]})
		.then((found) => found.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")))`, chromedp.EvalAwaitPromise))
}

// planted: what is wrong with a page is found.
func (w *walk) planted(t *testing.T) {
	v := visit{tab: newTab(t), walk: w}
	for want, fault := range map[string]string{
		"label":          `document.querySelector("label").remove()`,
		"color-contrast": `document.querySelector(".lead").style.color = "#bbb"`,
		"html-has-lang":  `document.documentElement.removeAttribute("lang")`,
		"button-name":    `document.querySelector("button").textContent = ""`,
		"document-title": `document.title = ""`,
		"meta-viewport":  `document.querySelector("[name=viewport]").content = "width=device-width, user-scalable=no"`,
		"region":         `document.querySelector("main").outerHTML = document.querySelector("main").innerHTML`,
		"autocomplete":   `document.querySelector("[name=username]").autocomplete = "nonsense"`,
		"heading":        `document.querySelector("h1").outerHTML = "<h3>x</h3>"`,
	} {
		v.open(w.spa.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
		if faults := v.faults(); len(faults) > 0 {
			t.Fatalf("without: %q", faults)
		}
		evaluate[cdp.Empty](v.tab, fault+"; ({})")
		if faults := v.faults(); !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, want) }) {
			t.Errorf("%s is not found, but %q", want, faults)
		}
	}
	v.open(w.spa.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	evaluate[cdp.Empty](v.tab, `document.querySelector("button").style.outline = "none"; ({})`)
	if unseen := evaluate[string](v.tab, unseenFocus); !strings.Contains(unseen, "<button") {
		t.Errorf("a button without outline: %q", unseen)
	}
	evaluate[cdp.Empty](v.tab, `document.querySelector("h1").style.width = "30rem"; ({})`)
	v.size(320, 640)
	if wide := evaluate[int64](v.tab, `document.documentElement.scrollWidth`); wide <= 320 {
		t.Errorf("a page that is too wide is %d wide", wide)
	}
}

package clients

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

// TestBrowserModes sees Chromium carry the answers that are pages.
func TestBrowserModes(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	p := newParty(t)
	t.Run("form_post", p.byForm)
	t.Run("web_message", p.byMessage)
}

// arrives waits until the tab has left for an address: a page of ours leads on by
// itself.
func (b *tab) arrives(prefix string) {
	b.t.Helper()
	for range 1000 {
		at, err := chromedp.Run(b.ctx, chromedp.Location())
		if err == nil && strings.HasPrefix(at, prefix) { // between two pages there is none to ask
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("at %s, and not %s: %s", b.at(), prefix, b.says())
}

// byForm is OAuth 2.0 Form Post Response Mode: by its script, and without one by its
// button.
func (p *party) byForm(t *testing.T) {
	start := p.URL + "/login?response_mode=form_post"
	greeted := func(b *tab) {
		t.Helper()
		b.arrives(p.URL + "/callback")
		if strings.Contains(b.at(), "?") || !strings.Contains(b.says(), "Hello demo-user") {
			t.Errorf("at %s: %s", b.at(), b.says())
		}
	}
	b := newTab(t)
	b.open(start)
	shown(b, p.site.issuer)
	b.login(username, password)
	greeted(b)
	b.open(start) // from the session
	greeted(b)

	b = newTab(t)
	b.scripts(false)
	b.open(start)
	b.login(username, password)
	if !strings.HasPrefix(b.at(), p.site.issuer+"authorize") || !strings.Contains(b.says(), "One moment") {
		t.Fatalf("at %s: %s", b.at(), b.says())
	}
	b.picture("form-post")
	b.follow(chromedp.Click("button[type=submit]"))
	greeted(b)

	// An error comes the same way.
	b = newTab(t)
	b.open(start + "&prompt=none")
	b.arrives(p.URL + "/callback")
	if !strings.Contains(b.says(), "error login_required") {
		t.Errorf("at %s: %s", b.at(), b.says())
	}
}

// byMessage is what auth0-spa-js does: a frame for who is there already, a popup for a
// login.
func (p *party) byMessage(t *testing.T) {
	client := p.site.spaClient()
	client.RedirectURL = p.URL + "/spa"
	ask := func(options ...oauth2.AuthCodeOption) string {
		options = append(options, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("response_mode", "web_message"))
		return client.AuthCodeURL("s", options...)
	}
	silent := ask(oauth2.SetAuthURLParam("prompt", "none"))
	// heard is the message, or that there was none.
	const heard = `(address, how) => new Promise((resolve) => {
		addEventListener("message", (e) => resolve([e.origin + "/", e.data.type, Object.keys(e.data.response).sort().join(","), e.data.response.state, e.data.response.error].join(" ")))
		setTimeout(() => resolve("nothing"), 3000)
		how(address)
	})`
	const inFrame = `(address) => { const f = document.createElement("iframe"); f.title = "silent"; f.src = address; document.body.append(f) }`
	hears := func(b *tab, address, how string) string {
		t.Helper()
		return run(b, chromedp.Evaluate[string](fmt.Sprintf("(%s)(%q, %s)", heard, address, how), chromedp.EvalAwaitPromise))
	}
	b := newTab(t)
	b.open(p.URL + "/spa")
	if got, want := hears(b, silent, inFrame), p.site.issuer+" authorization_response error,error_description,iss,session_state,state s login_required"; got != want {
		t.Errorf("nobody is logged in: %s, want %s", got, want)
	}
	b.open(client.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	b.login(username, password)
	b.arrives(p.URL + "/spa")
	if got, want := hears(b, silent, inFrame), p.site.issuer+" authorization_response code,iss,session_state,state s "; got != want {
		t.Errorf("in a frame: %s, want %s", got, want)
	}
	if got, want := hears(b, ask(), `(address) => window.open(address)`), p.site.issuer+" authorization_response code,iss,session_state,state s "; got != want {
		t.Errorf("in a popup: %s, want %s", got, want)
	}
	if complaints := b.complained(); len(complaints) > 0 {
		t.Errorf("Chromium complains: %q", complaints)
	}
	// Another origin may not frame it, and hears nothing.
	b.open(strings.Replace(p.URL, "localhost", "127.0.0.1", 1) + "/spa")
	got, complaints := hears(b, silent, inFrame), b.complained()
	if got != "nothing" || !slices.ContainsFunc(complaints, func(c string) bool { return strings.Contains(c, "frame-ancestors") }) {
		t.Errorf("another origin: %s, and Chromium complains: %q", got, complaints)
	}
	got, complaints = hears(b, ask(), `(address) => window.open(address)`), b.complained()
	if got != "nothing" {
		t.Errorf("another origin, by a popup: %s, and Chromium complains: %q", got, complaints)
	}
}

// What the person lets the client have (OpenID Connect Core 1.0 §3.1.2.4).

package authorize

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"kmint/pkg/audit"
	"kmint/pkg/consent"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

//go:embed consent.html
var consentBody string

var consentPage = web.NewMarkup("consent", consentBody)

// The fields of the consent form, beside those that it has in common with the login
// form. shown is what the person saw, and in which session.
const (
	fieldConsent = "consent"
	fieldShown   = "shown"
)

// allow is the answer that allows it. Any other does not.
const allow = "allow"

// consentNeeded is the decision to show the consent page, with a problem to tell the
// person about or without.
type consentNeeded struct{ problem words.Phrase }

func (n *consentNeeded) Error() string { return "authorize: consent needed: " + string(n.problem) }

// changed is what the page says to a form that was shown for something else.
const changed words.Phrase = "What is asked for has changed meanwhile, or who is logged in. Please look again."

// shown is what a consent form is bound to beside its request: the session, and with
// it the person, and all that the page says the client would have.
func (a ask) shown(p person) string {
	parts := append([]string{string(p.session.Digest)}, a.wanted...)
	for _, text := range consent.Words(a.wanted, a.apis) {
		parts = append(parts, text.String())
	}
	return string(oauth.DigestOf(strings.Join(parts, "\n")))
}

// consented returns nil where the client may have what it asks for. The owner's own
// clients always may.
func (e Endpoint) consented(ctx context.Context, t target, a ask, p person, f *form) error {
	switch {
	case t.client.FirstParty:
		return nil
	case f.answers() && f.shown != a.shown(p):
		return &consentNeeded{changed}
	case f.answers():
		err := e.Consents.Allow(ctx, p.user.Subject, t.client.ID, p.allowed, a.wanted)
		if err == nil {
			audit.Happened(ctx, audit.ConsentGiven, slog.String("sub", p.user.Subject), slog.String("sid", p.session.ID))
		}
		return err
	case consent.Given(p.allowed, a.wanted) && !a.reconsent:
		return nil
	case a.silent:
		return oauth.ConsentRequired.Errorf("The person has not allowed the client what it asks for.")
	default:
		return &consentNeeded{}
	}
}

// consentSeal seals consent forms.
func (e Endpoint) consentSeal() session.Sealer {
	return session.Sealer{Purpose: session.Consent, MAC: e.Seal.MAC, Now: e.Seal.Now}
}

// consentView is what consent.html shows.
type consentView struct {
	Client, Host, Username string
	Problem                words.Phrase
	Lines                  []words.Text
	Request, Shown, Seal   string
	// Consents is where what is allowed is withdrawn.
	Consents web.URL
}

// showConsent shows the consent page. Who has just logged in is in a session from then
// on: the form that comes back brings no password. An error says that no page was
// written.
func (e Endpoint) showConsent(ctx context.Context, w http.ResponseWriter, t target, a ask, r oauth.Request, b browser, p person, n *consentNeeded) error {
	key, fresh := session.Browser(b.key)
	view := consentView{
		Client: t.name(), Host: hostOf(t.redirectURI), Username: p.user.Username, Problem: n.problem,
		Request: r.Without(fieldSeal, fieldShown, fieldConsent).Encode(), Shown: a.shown(p),
		Lines: consent.Words(a.wanted, a.apis), Consents: web.URL(consentsIn("consents", r.Get(uiLocales))),
	}
	if view.Username == "" {
		view.Username = p.user.Subject
	}
	var err error
	if view.Seal, err = e.consentSeal().Seal(ctx, key, sealedConsent(view.Request, view.Shown)); err != nil {
		return err
	}
	if p.handle != "" {
		if err := e.Sessions.Begin(ctx, p.session, p.old); err != nil {
			return err
		}
	}
	b.keepSession(w, t, p)
	if fresh {
		b.keepKey(w, key)
	}
	status := http.StatusOK
	if n.problem != "" {
		status = http.StatusBadRequest
	}
	return web.WritePage(w, status, web.Page{Title: "Allow access?", Body: consentPage, Data: view, FormTargets: t.formTargets()})
}

// reason is what the log says of the page: nothing where it is shown for the first
// time.
func (n *consentNeeded) reason() error {
	if n.problem == "" {
		return nil
	}
	return oauth.AccessDenied.Errorf("%s", n.problem).Because(errors.New("the consent form was shown for something else"))
}

// sealedConsent is what the seal of a consent form covers. A digest holds no newline.
func sealedConsent(request, shown string) string { return shown + "\n" + request }

// hostOf is the host that an answer goes to; an application of the device has none.
func hostOf(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.Host
}

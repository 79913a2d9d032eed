// What a person has allowed, and how they withdraw it.

package authorize

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/consent"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// ConsentsPath is where people withdraw what they have allowed.
const ConsentsPath = "/consents"

//go:embed consents.html
var consentsBody string

var consentsPage = web.NewMarkup("consents", consentsBody)

const (
	fieldClient = "client"
	uiLocales   = "ui_locales"
)

// consentsIn is the address of the page in the languages.
func consentsIn(address, locales string) string {
	if locales == "" {
		return address
	}
	return address + "?" + url.Values{uiLocales: {locales}}.Encode()
}

// consentsView is what consents.html shows.
type consentsView struct {
	Username string
	Given    []given
}

// given is what a person lets one client have. Locales are those of the page.
type given struct {
	Name, ClientID, Locales, Seal string
	Since                         words.Day
	Lines                         []words.Text
}

// ServeConsents shows the person who is logged in what they have allowed, and
// withdraws what its form names, and with it all that the client holds for them.
func (e Endpoint) ServeConsents(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	web.Prefer(ctx, request.Get(uiLocales))
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("authorize: issuer: %w", err))
	}
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return busy(fmt.Errorf("authorize: settings: %w", err))
	}
	b := readBrowser(r, issuer)
	p, all, err := e.remembered(ctx, b.session)
	if errors.Is(err, session.ErrNone) || err == nil && policy.LoginEnded(store.Client{}, settings, p.session.AuthTime) {
		return web.WritePage(w, http.StatusOK, web.Page{Title: "What you have allowed", Body: consentsPage, Data: consentsView{}})
	}
	if err != nil {
		return busy(err)
	}
	web.Annotate(ctx, slog.String("sub", p.user.Subject))
	if request.Method != http.MethodPost {
		return busy(e.showConsents(ctx, w, b, p, all, request.Get(uiLocales)))
	}
	clientID := request.Get(fieldClient)
	err = e.withdrawalSeal().Check(ctx, request.Get(fieldSeal), b.key, sealedConsent(clientID, string(p.session.Digest)))
	if errors.Is(err, session.ErrSeal) {
		return oauth.InvalidRequest.Errorf(string(stale)).Because(err)
	}
	if err == nil {
		err = e.Consents.Withdraw(ctx, p.user.Subject, clientID)
	}
	if err != nil {
		return busy(err)
	}
	web.Annotate(ctx, slog.String("client_id", clientID))
	audit.Happened(ctx, audit.ConsentWithdrawn, slog.String("sid", p.session.ID))
	w.Header().Set("Location", consentsIn(oauth.Endpoint(issuer, ConsentsPath), request.Get(uiLocales)))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// stale is what an error page says to a form whose seal does not hold.
const stale words.Phrase = "This form is too old, or was not shown in this browser. Nothing has happened."

// remembered returns who is logged in and what they have allowed, read side by side.
// session.ErrNone where nobody is, or somebody whose login has ended.
func (e Endpoint) remembered(ctx context.Context, handle oauth.Secret) (person, map[string]store.Consent, error) {
	var p person
	var all map[string]store.Consent
	read, readCtx := errgroup.WithContext(ctx)
	read.Go(func() (err error) { p.session, p.user, err = e.Sessions.Find(readCtx, handle); return err })
	if subject, ok := session.Subject(handle); ok {
		read.Go(func() (err error) { all, err = e.Consents.Of(readCtx, subject); return err })
	}
	if err := read.Wait(); err != nil {
		return person{}, nil, err
	}
	if p.user.Ended(p.session.AuthTime) {
		return person{}, nil, fmt.Errorf("%w: the login has ended", session.ErrNone)
	}
	return p, all, nil
}

func (e Endpoint) showConsents(ctx context.Context, w http.ResponseWriter, b browser, p person, all map[string]store.Consent, locales string) error {
	key, fresh := session.Browser(b.key)
	view := consentsView{Username: p.user.Username}
	if view.Username == "" {
		view.Username = p.user.Subject
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		entry, err := e.entry(ctx, id, all[id])
		if err != nil {
			return err
		}
		entry.Locales = locales
		if entry.Seal, err = e.withdrawalSeal().Seal(ctx, key, sealedConsent(id, string(p.session.Digest))); err != nil {
			return err
		}
		view.Given = append(view.Given, entry)
	}
	if fresh {
		b.keepKey(w, key)
	}
	return web.WritePage(w, http.StatusOK, web.Page{Title: "What you have allowed", Body: consentsPage, Data: view})
}

// entry says in words what the record says. A client or an API that is gone is named
// by its identifier.
func (e Endpoint) entry(ctx context.Context, clientID string, c store.Consent) (given, error) {
	client, err := e.Clients.Client(ctx, clientID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return given{}, fmt.Errorf("authorize: client: %w", err)
	}
	client.ID = clientID
	var apis []store.API
	for _, identifier := range consent.APIs(c) {
		api, err := e.APIs.API(ctx, identifier)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return given{}, fmt.Errorf("authorize: api: %w", err)
		}
		if err == nil {
			apis = append(apis, api)
		}
	}
	return given{
		Name: target{client: client}.name(), ClientID: clientID,
		Lines: consent.Words(consent.Held(c), apis), Since: words.Day(consent.Since(c)),
	}, nil
}

// withdrawalSeal seals the forms of the page.
func (e Endpoint) withdrawalSeal() session.Sealer {
	return session.Sealer{Purpose: session.Withdrawal, MAC: e.Seal.MAC, Now: e.Seal.Now}
}

// Where a login begins that no application has asked for (OpenID Connect Core 1.0 §4).

package authorize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// LoginPath is the address that people keep, and others link to, to log in to an
// application. Auth0 shows its login page there, and sends who comes back by a bookmark to
// the same place as we do.
const LoginPath = "/login"

// nowhere is what an error page says where no application is named, or one that has not
// said where its logins begin.
const nowhere words.Phrase = "A login does not begin here. Start from the application that you want to use."

// ServeLogin answers /login: client_id, which Auth0's bookmarks call client, login_hint
// and target_link_uri. It sends the person to the client, which comes back with a request
// of its own: only that has a state, a nonce and a challenge, without which a login would
// end at the client with an error.
func (e Endpoint) ServeLogin(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("authorize: issuer: %w", err))
	}
	id := cmp.Or(request.Get("client_id"), request.Get("client"))
	if id == "" {
		return oauth.InvalidRequest.Errorf(string(nowhere)).Because(errors.New("the client_id is missing"))
	}
	client, err := e.client(ctx, id)
	if err != nil {
		return busy(err)
	}
	if client.InitiateLoginURI == "" {
		return oauth.InvalidRequest.Errorf(string(nowhere)).Because(errors.New("client " + client.ID + " has no initiate_login_uri"))
	}
	aim := request.Get("target_link_uri")
	if aim != "" && !onSiteOf(client, aim) {
		return oauth.InvalidRequest.Errorf("The target_link_uri is no address of the application.").
			Because(fmt.Errorf("client %s: target_link_uri %.256q", client.ID, aim))
	}
	initiate(w, http.StatusFound, client, issuer, request.Get("login_hint"), aim)
	return nil
}

// startOver sends whose form is too old, where there is no login page to show for it, to
// where the client's logins begin: by refusal if that is not known. Anybody may link
// there, so that a form that was forged is worth no more.
func (e Endpoint) startOver(ctx context.Context, w http.ResponseWriter, issuer string, carried oauth.Request, refusal error) error {
	client, err := e.Clients.Client(ctx, carried.Get("client_id"))
	if err != nil || client.InitiateLoginURI == "" {
		return refusal
	}
	web.Annotate(ctx, slog.String("client_id", client.ID))
	initiate(w, http.StatusSeeOther, client, issuer, carried.Get("login_hint"), "")
	return refusal // for the log
}

// initiate redirects to the address that the client has registered, and to no other.
func initiate(w http.ResponseWriter, status int, client store.Client, issuer, hint, aim string) {
	// "REQUIRED. Issuer Identifier for the Issuer that the RP is to send the
	// Authentication Request to."
	parameters := url.Values{"iss": {issuer}}
	if hint != "" && len(hint) <= login.MaxName {
		parameters.Set("login_hint", hint)
	}
	if aim != "" {
		parameters.Set("target_link_uri", aim)
	}
	separator := "?"
	if strings.Contains(client.InitiateLoginURI, "?") {
		separator = "&"
	}
	w.Header().Set("Location", client.InitiateLoginURI+separator+parameters.Encode())
	w.WriteHeader(status)
}

// onSiteOf reports whether the client has registered an address of the same origin.
// "RPs MUST verify the value of the target_link_uri to prevent being used as an open
// redirector to external sites"; some will not.
func onSiteOf(client store.Client, aim string) bool {
	if page, _, _ := strings.Cut(aim, "#"); oauth.CheckRedirect(page, oauth.Web) != nil {
		return false
	}
	own := append([]string{client.InitiateLoginURI}, client.RedirectURIs...)
	return slices.ContainsFunc(own, func(uri string) bool { return oauth.Origin(uri) == oauth.Origin(aim) })
}

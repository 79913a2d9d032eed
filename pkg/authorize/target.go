// Where an answer may be sent (RFC 6749 §3.1.2.4, §4.1.2.1; RFC 9700 §4.11).

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

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// A target is a client and a redirect URI that is its own. Only Endpoint.target
// makes one.
type target struct {
	client      store.Client
	redirectURI string
	// named says that the request gave the redirect URI.
	named bool
	state string
	// openid says that the answer is one of OpenID Connect, and seen is the state of the
	// session that the browser holds once it has it.
	openid bool
	seen   string
	// issuer is the iss of the answer (RFC 9207).
	issuer string
	// asked is what was understood of the response_type, and mode how the answer goes.
	asked oauth.ResponseType
	mode  mode
	// status is that of a redirect.
	status int
	// fault is what was found wrong on the way here, nil for nothing: now that there is
	// a target it can be sent.
	fault error
}

// name is what people are told of the client.
func (t target) name() string { return cmp.Or(t.client.Name, t.client.ID) }

// target finds out where the answer goes. RFC 6749 §4.1.2.1: "If the request
// fails due to a missing, invalid, or mismatching redirection URI, or if the
// client identifier is missing or invalid, the authorization server SHOULD
// inform the resource owner of the error and MUST NOT automatically redirect the
// user-agent to the invalid redirection URI."
//
// The request comes back with what its request object says. Where that is not right,
// the error goes where the request itself says.
func (e Endpoint) target(ctx context.Context, issuer string, r oauth.Request) (target, oauth.Request, error) {
	web.Prefer(ctx, r.Get(uiLocales))
	id := r.Get("client_id")
	if id == "" {
		return target{}, r, oauth.InvalidRequest.Errorf("The client_id is missing.")
	}
	client, err := e.client(ctx, id)
	if err != nil {
		return target{}, r, err
	}
	r, fault := e.unfold(ctx, issuer, client, r)
	web.Prefer(ctx, r.Get(uiLocales))
	t := target{
		client:      client,
		redirectURI: r.Get("redirect_uri"),
		named:       r.Get("redirect_uri") != "",
		state:       r.Get("state"),
		openid:      slices.Contains(strings.Fields(r.Get("scope")), oauth.OpenID),
		issuer:      issuer,
		status:      http.StatusFound,
	}
	switch {
	// RFC 6749 §3.1.2.3: the parameter may be left out if exactly one is
	// registered, and in full.
	case !t.named && len(client.RedirectURIs) == 1:
		t.redirectURI = client.RedirectURIs[0]
	case !t.named:
		return target{}, r, oauth.InvalidRequest.Errorf("The redirect_uri is missing.")
	case !oauth.MatchRedirect(client.RedirectURIs, t.redirectURI, client.ApplicationType):
		return target{}, r, oauth.InvalidRequest.Errorf("The redirect_uri is not one that the application has registered.").
			Because(fmt.Errorf("client %s: redirect_uri %.256q is not registered", id, t.redirectURI))
	}
	t.asked, _ = oauth.ParseResponseType(r.Get("response_type"))
	var other error
	t.mode, other = modeFor(r.Get("response_mode"), t)
	t.fault = cmp.Or(fault, other)
	// A browser may answer a 302 to a POST by another POST, and hand the password
	// to the client; RFC 9700 §4.12: 303 "is the only redirect code that
	// unambiguously enforces rewriting the HTTP POST request to an HTTP GET
	// request".
	if r.Method == http.MethodPost {
		t.status = http.StatusSeeOther
	}
	return t, r, nil
}

func (e Endpoint) client(ctx context.Context, id string) (store.Client, error) {
	client, err := e.Clients.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Client{}, oauth.InvalidRequest.Errorf("The application that sent you here is not known: its client_id is wrong.").
			Because(fmt.Errorf("client_id %.64q: %w", id, err))
	}
	if err != nil {
		return store.Client{}, fmt.Errorf("authorize: client: %w", err)
	}
	web.Annotate(ctx, slog.String("client_id", client.ID))
	return client, nil
}

// formTargets are where a form of ours may lead: to the client, by an answer or, where
// the form is too old, to where its logins begin.
func (t target) formTargets() []string {
	var targets []string
	if !t.mode.page { // a page of ours says itself where it leads
		targets = web.FormTargets(t.redirectURI)
	}
	for _, target := range web.FormTargets(t.client.InitiateLoginURI) {
		if !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	return targets
}

// send answers with the parameters, and with state, iss and session_state.
func (t target) send(w http.ResponseWriter, parameters url.Values) error {
	// RFC 6749 §4.1.2: "REQUIRED if the "state" parameter was present in the
	// client authorization request. The exact value received from the client."
	if t.state != "" {
		parameters.Set("state", t.state)
	}
	// RFC 9207 §2: "the authorization server MUST include the issuer identifier",
	// in errors too.
	parameters.Set("iss", t.issuer)
	// OpenID Connect Session Management 1.0 §2: "it MUST also return the Session State
	// as an additional session_state parameter in the Authentication Response and SHOULD
	// also return the Session State [...] in the Authentication Error Response."
	if t.openid {
		parameters.Set("session_state", session.SessionState(t.client.ID, t.redirectURI, t.seen))
	}
	return t.mode.send(w, t, parameters)
}

// refuse sends the error to the client (RFC 6749 §4.1.2.1) and returns it for the
// log. A browser that nobody is logged in with gets a state to be told by.
func (t target) refuse(w http.ResponseWriter, b browser, err error) error {
	if t.openid && t.seen == "" {
		t.seen = session.Nobody()
		b.keepState(w, t.seen)
	}
	body := oauth.AsError(err).Body()
	return errors.Join(err, t.send(w, url.Values{"error": {string(body.Error)}, "error_description": {body.Description}}))
}

// What is asked for (OpenID Connect RP-Initiated Logout 1.0 §2, §3).

package logout

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A wish is a request to be logged out, as far as it is known to be right.
type wish struct {
	// client is who asks; the zero value for nobody known.
	client store.Client
	// target is one of the client's post_logout_redirect_uris, "" for none. state goes
	// along.
	target, state string
	// hint is what the ID token says; hinted, that there was one.
	hint   hint
	hinted bool
	// sid is the logout_hint.
	sid string
}

// A hint is what an ID token says of a session.
type hint struct {
	Subject   string       `json:"sub"`
	SessionID string       `json:"sid"`
	Audience  jwt.Audience `json:"aud"`
}

// means reports whether it is known that a client asks, and for this very session.
// §2: "the OP MUST ask the End-User this question if an id_token_hint was not provided
// or if the supplied ID Token does not belong to the current OP session with the RP
// and/or currently logged in End-User." A logout_hint proves nothing, so one alone is
// asked about.
func (a wish) means(s store.Session) bool {
	return a.hinted && s.ID != "" && a.hint.SessionID == s.ID && a.hint.Subject == s.Subject && (a.sid == "" || a.sid == s.ID)
}

// address is the target with the state. It is added to as text: what a parser would
// put together again might be another URI.
func (a wish) address() string {
	if a.target == "" || a.state == "" {
		return a.target
	}
	separator := "?"
	if strings.Contains(a.target, "?") {
		separator = "&"
	}
	return a.target + separator + url.Values{"state": {a.state}}.Encode()
}

// wish reads the request. The error is an *oauth.Error where the request is wrong;
// what is wrong leads nowhere. §2: "When an OP detects errors in the RP-Initiated
// Logout request, the OP MUST not perform post-logout redirection to an RP."
func (e Endpoint) wish(ctx context.Context, issuer string, r oauth.Request) (wish, error) {
	a := wish{sid: r.Get("logout_hint"), state: r.Get("state")}
	id := r.Get("client_id")
	if token := r.Get("id_token_hint"); token != "" {
		var err error
		if a.hint, err = e.hint(ctx, issuer, token, id); err != nil {
			return wish{}, err
		}
		a.hinted, id = true, a.hint.Audience[0]
	}
	target := r.Get("post_logout_redirect_uri")
	if id == "" {
		if target != "" {
			return wish{}, oauth.InvalidRequest.Errorf("There is a post_logout_redirect_uri, but neither an id_token_hint nor a client_id that says whose it is.")
		}
		return a, nil
	}
	client, err := e.Clients.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return wish{}, oauth.InvalidRequest.Errorf("The application that sent you here is not known: its client_id is wrong.").
			Because(fmt.Errorf("client_id %.64q: %w", id, err))
	}
	if err != nil {
		return wish{}, fmt.Errorf("logout: client: %w", err)
	}
	a.client = client
	// §2: "This URI MUST have been previously registered with the OP"; §3: "the OP
	// MUST NOT perform post-logout redirection if the post_logout_redirect_uri value
	// supplied does not exactly match one of the previously registered
	// post_logout_redirect_uris values."
	if target != "" && !slices.Contains(client.PostLogoutRedirectURIs, target) {
		return wish{}, oauth.InvalidRequest.Errorf("The post_logout_redirect_uri is not one that the application has registered.").
			Because(fmt.Errorf("client %s: post_logout_redirect_uri %.256q is not registered", id, target))
	}
	a.target = target
	return a, nil
}

// hint reads an ID token that we have issued. One that has expired does: it does not
// say that the person is here, but who asks. §2: "If both client_id and id_token_hint
// are present, the OP MUST verify that the Client Identifier matches the one used when
// issuing the ID Token."
func (e Endpoint) hint(ctx context.Context, issuer, token, clientID string) (hint, error) {
	var h struct {
		hint
		// ID and GrantID tell an access token in Auth0's dialect, which has the same typ.
		ID      string `json:"jti"`
		GrantID string `json:"grant_id"`
	}
	err := jwt.Verify(ctx, e.Keys, token, jwt.Expected{
		Type: jwt.TypIDToken, Issuer: issuer, Audience: clientID, AnyAudience: clientID == "", Now: e.Now(), AllowExpired: true,
	}, &h)
	switch {
	case errors.Is(err, jwt.ErrKeySet):
		return hint{}, fmt.Errorf("logout: id_token_hint: %w", err)
	case err == nil && (h.ID != "" || h.GrantID != "" || len(h.Audience) != 1 || h.Subject == ""):
		err = errors.New("it is no ID token")
		fallthrough
	case err != nil:
		return hint{}, oauth.InvalidRequest.Errorf("The id_token_hint is not an ID token that was issued here, to the application that asks.").Because(err)
	}
	return h.hint, nil
}

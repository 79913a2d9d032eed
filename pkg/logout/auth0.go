// The logout endpoint of Auth0's older clients, auth0-spa-js among them.

package logout

import (
	"fmt"
	"net/http"
	"net/url"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// ServeAuth0 answers /v2/logout: client_id, and returnTo, which must be one of the
// client's post_logout_redirect_uris, exactly; the first one where it is left out.
// federated is ignored: nobody logs in here by another provider.
//
// Its clients hold no ID token out, and expect not to be asked about. So anybody could
// log people out by a link. What tells the client's own link from another's is where
// the browser says that it comes from; where it says nothing of the kind, the page
// asks.
func (e Endpoint) ServeAuth0(w http.ResponseWriter, r *http.Request) error {
	return noted(r.Context(), e.answerAuth0(w, r))
}

func (e Endpoint) answerAuth0(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("logout: issuer: %w", err))
	}
	// The same in the words of /oidc/logout, which a form of ours comes back to.
	words := url.Values{}
	for theirs, ours := range map[string]string{"client_id": "client_id", "returnTo": "post_logout_redirect_uri", uiLocales: uiLocales} {
		if value := request.Get(theirs); value != "" {
			words.Set(ours, value)
		}
	}
	v := visit{issuer: issuer, browser: readBrowser(r, issuer)}
	if v.request, err = request.With(words.Encode()); err != nil {
		return err
	}
	if v.wish, v.wrong = e.wish(ctx, issuer, v.request); v.wrong != nil && !faulty(v.wrong) {
		return busy(v.wrong)
	}
	if registered := v.wish.client.PostLogoutRedirectURIs; v.wrong == nil && v.wish.target == "" && len(registered) > 0 {
		v.wish.target = registered[0]
		words.Set("post_logout_redirect_uri", v.wish.target)
		if v.request, err = request.With(words.Encode()); err != nil {
			return err
		}
	}
	v.trusted = v.wrong == nil && fromClient(r, v.wish.client)
	return e.serve(w, r, v)
}

// fromClient reports whether the browser comes from a page of the client, or from no
// page at all: somebody has typed the address, or an application has opened the
// browser (Fetch Metadata Request Headers §2.3).
func fromClient(r *http.Request, c store.Client) bool {
	from := r.Header.Get("Referer")
	if from == "" {
		return c.ID != "" && r.Header.Get("Sec-Fetch-Site") == "none"
	}
	origin := oauth.Origin(from)
	for _, list := range [][]string{c.WebOrigins, c.RedirectURIs, c.PostLogoutRedirectURIs} {
		for _, own := range list {
			if oauth.Origin(own) == origin {
				return true
			}
		}
	}
	return false
}

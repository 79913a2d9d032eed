// The login form: shown, and come back (RFC 9700 §4.7, cross-site request
// forgery; OpenID Connect Core 1.0 §3.1.2.3).

package authorize

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

//go:embed login.html
var loginBody string

var loginPage = web.Template("login", loginBody)

// The form's fields. request carries the authorization request; a parameter of
// that name in an authorization request itself is refused (notSupported).
const (
	fieldUsername = "username"
	fieldPassword = "password"
	fieldRequest  = "request"
	fieldSeal     = "seal"
)

// A form is a login form that came back with a seal that holds.
type form struct {
	username string
	password oauth.Secret
}

// step tells an authorization request, which it returns as it is, from a login
// form, of which it returns the request that the form was shown for. A form that
// was not shown to this browser ends here: not even the client that it speaks of
// is looked at.
func (e Endpoint) step(ctx context.Context, r oauth.Request, b browser) (oauth.Request, *form, error) {
	if r.Method != http.MethodPost || r.Get(fieldSeal) == "" && r.Get(fieldPassword) == "" {
		return r, nil, nil
	}
	carried := r.Get(fieldRequest)
	err := e.Seal.Check(ctx, r.Get(fieldSeal), b.key, carried)
	if errors.Is(err, session.ErrSeal) {
		return r, nil, oauth.InvalidRequest.Errorf("This login form is too old, or was not shown in this browser. " +
			"Nothing has happened: start again from the application, and let your browser accept cookies from here.").Because(err)
	}
	if err != nil {
		return r, nil, err
	}
	original, err := r.With(carried)
	if err != nil {
		return r, nil, err
	}
	return original, &form{r.Get(fieldUsername), oauth.Secret(r.Get(fieldPassword))}, nil
}

// loginView is what login.html shows.
type loginView struct {
	Client, Request, Seal, Username, Problem string
}

// showLogin shows the login page. An error says that nothing was written.
func (e Endpoint) showLogin(ctx context.Context, w http.ResponseWriter, t target, r oauth.Request, b browser, n *loginNeeded) error {
	key, fresh := session.Browser(b.key)
	view := loginView{
		Client:   t.client.Name,
		Request:  r.Without(fieldUsername, fieldPassword, fieldSeal).Encode(),
		Username: n.username,
		Problem:  n.problem,
	}
	if view.Client == "" {
		view.Client = t.client.ID
	}
	if n.cause == nil {
		view.Username = r.Get("login_hint")
	}
	if len(view.Username) > login.MaxName {
		view.Username = ""
	}
	var err error
	if view.Seal, err = e.Seal.Seal(ctx, key, view.Request); err != nil {
		return err
	}
	if fresh {
		b.keepKey(w, key)
	}
	if n.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(store.LockedDuration/time.Second)))
	}
	return web.WritePage(w, n.status, web.Page{
		Title: "Log in", Body: loginPage, Data: view,
		FormTargets: formTargets(t),
	})
}

// formTargets are where the answer to the form may lead: first to the redirect URI,
// and from there on. Chrome holds form-action against every redirect that follows,
// those of the client too, which often takes the code at one origin and shows its
// pages at another. So all origins that the client has registered are listed.
func formTargets(t target) []string {
	targets := []string{source(t.redirectURI)}
	for _, uris := range [][]string{t.client.RedirectURIs, t.client.PostLogoutRedirectURIs, t.client.WebOrigins} {
		for _, uri := range uris {
			if s := source(uri); strings.Contains(s, "//") && !slices.Contains(targets, s) {
				targets = append(targets, s)
			}
		}
	}
	return targets
}

// source is the origin of a URI as a source expression of Content Security Policy
// Level 3 (§2.3.1), whose hosts are letters, digits, hyphens and dots. Where the
// host is written otherwise, as [::1] is, or means nothing, as in an application's
// own scheme, there is nothing narrower than the scheme.
func source(uri string) string {
	u, err := url.Parse(uri)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") && strings.Trim(u.Host, hostCharacters) == "" {
		return oauth.Origin(uri)
	}
	scheme, _, _ := strings.Cut(uri, ":")
	return scheme + ":"
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:"

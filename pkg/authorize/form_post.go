// The response mode form_post (OAuth 2.0 Form Post Response Mode §2).

package authorize

import (
	_ "embed"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/web"
)

//go:embed form_post.html
var formPostBody string

var formPostPage = web.NewMarkup("form_post", formPostBody)

// submit is what the page does when it has loaded. Where no script runs, its button
// does the same.
const submit = "document.forms[0].submit()"

// formPost answers with a page whose form posts the parameters: "the Authorization
// Response parameters are encoded as HTML form values that are auto-submitted in the
// User Agent".
var formPost = mode{name: "form_post", page: true, bars: onWeb, send: func(w http.ResponseWriter, t target, parameters url.Values) error {
	type field struct{ Name, Value string }
	view := struct {
		Client string
		Action web.URL
		Fields []field
	}{Client: t.name(), Action: web.URL(t.redirectURI)}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		view.Fields = append(view.Fields, field{name, parameters.Get(name)})
	}
	// By same-origin, as on our other pages, a browser would send the form with Origin:
	// null, and some clients refuse that. The query, which may hold a state, stays here.
	w.Header().Set("Referrer-Policy", "strict-origin")
	return web.WritePage(w, http.StatusOK, web.Page{
		Title: "One moment", Body: formPostPage, Data: view, Script: submit,
		FormTargets: web.FormTargets(t.redirectURI),
	})
}}

// onWeb: a form is posted to a server, and to no application's own scheme.
func onWeb(t target) error {
	if !strings.HasPrefix(t.redirectURI, "https:") && !strings.HasPrefix(t.redirectURI, "http:") {
		return oauth.InvalidRequest.Errorf("The response_mode is for a redirect_uri with https.")
	}
	return nil
}

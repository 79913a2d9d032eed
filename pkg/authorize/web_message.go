// The response mode web_message (OAuth 2.0 Web Message Response Mode, draft 00, as
// Auth0's SDKs have it).

package authorize

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"kmint/pkg/oauth"
	"kmint/pkg/web"
)

//go:embed web_message.html
var webMessageBody string

var webMessagePage = web.NewMarkup("web_message", webMessageBody)

// post gives the answer to the window that has opened this one, or shows it in a
// frame. A browser delivers it to a page of the origin alone.
const post = `const answer = document.getElementById("answer").dataset;
(window.opener || window.parent).postMessage(JSON.parse(answer.message), answer.origin);`

// webMessage answers with a page that posts the parameters to the page of the client
// that asked. Only that one's origin may show it in a frame.
var webMessage = mode{name: "web_message", page: true, bars: ofWebOrigin, send: func(w http.ResponseWriter, t target, parameters url.Values) error {
	response := map[string]string{}
	for name := range parameters {
		response[name] = parameters.Get(name)
	}
	message, err := json.Marshal(map[string]any{"type": "authorization_response", "response": response})
	if err != nil {
		return fmt.Errorf("authorize: web_message: %w", err)
	}
	origin := oauth.Origin(t.redirectURI)
	return web.WritePage(w, http.StatusOK, web.Page{
		Title: "One moment", Body: webMessagePage, Script: post, Framed: origin,
		Data: struct{ Client, Origin, Message string }{t.name(), origin, string(message)},
	})
}}

// ofWebOrigin: the redirect URI is not gone to, but its origin is that of the page
// which asked, and one of those whose scripts may read our answers. Another of them gets
// nothing, though it is the client's own: where it were to be asked for, anybody could
// choose which of its pages hears.
func ofWebOrigin(t target) error {
	if err := onWeb(t); err != nil {
		return err
	}
	if !slices.Contains(t.client.WebOrigins, oauth.Origin(t.redirectURI)) {
		return oauth.InvalidRequest.Errorf("The origin of the redirect_uri is none of the client's web_origins, to which alone the response_mode web_message may answer.")
	}
	return nil
}

// The pages: asked and done (RFC 9700 §4.7, cross-site request forgery).

package logout

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/web"
)

//go:embed ask.html
var askBody string

//go:embed done.html
var doneBody string

var (
	askPage  = web.NewMarkup("ask", askBody)
	donePage = web.NewMarkup("done", doneBody)
)

// The form's fields. request carries the request that the page was shown for.
const (
	fieldRequest = "request"
	fieldSeal    = "seal"
	uiLocales    = "ui_locales"
)

// A form says what came back.
type form int

const (
	none      form = iota // no form of ours: a request
	confirmed             // one that was shown to this browser
	outdated              // one that was not, or too long ago
)

// step tells a request, which it returns as it is, from a form of ours, of which it
// returns the request that it was shown for. A form whose seal does not hold may have
// lain open for hours: the page is shown once more, and nothing else is done.
func (e Endpoint) step(ctx context.Context, r oauth.Request, b browser) (oauth.Request, form, error) {
	if r.Method != http.MethodPost || r.Get(fieldSeal) == "" {
		return r, none, nil
	}
	carried := r.Get(fieldRequest)
	came := confirmed
	err := e.Seal.Check(ctx, r.Get(fieldSeal), b.key, carried)
	if errors.Is(err, session.ErrSeal) {
		came, err = outdated, nil
	}
	if err != nil {
		return r, none, err
	}
	original, err := r.With(carried)
	if err != nil {
		return r, none, err
	}
	return original, came, nil
}

// askView is what ask.html shows.
type askView struct {
	Client, Username, Problem, Request, Seal string
}

// ask shows the page that asks whether to log out. What is wrong with the request it
// says, and carries nothing of it on but the language.
func (e Endpoint) ask(ctx context.Context, w http.ResponseWriter, v visit, username string) error {
	key, fresh := session.Browser(v.browser.key)
	view := askView{Username: username}
	if v.wish.target != "" {
		view.Client = v.wish.name()
	}
	status := http.StatusOK
	if v.wrong != nil {
		refusal := oauth.AsError(v.wrong)
		status, view.Problem = refusal.Status(), refusal.Description
		if locales := v.request.Get(uiLocales); locales != "" {
			view.Request = url.Values{uiLocales: {locales}}.Encode()
		}
	} else {
		view.Request = v.request.Without(fieldRequest, fieldSeal).Encode()
	}
	var err error
	if view.Seal, err = e.Seal.Seal(ctx, key, view.Request); err != nil {
		return err
	}
	if fresh {
		v.browser.keepKey(w, key)
	}
	err = web.WritePage(w, status, web.Page{
		Title: "Log out?", Body: askPage, Data: view, FormTargets: web.FormTargets(v.wish.target),
	})
	if err != nil {
		return err
	}
	return v.wrong // for the log
}

// name is what the client is called; "" for nobody known.
func (a wish) name() string {
	if a.client.Name != "" {
		return a.client.Name
	}
	return a.client.ID
}

// doneView is what done.html shows.
type doneView struct {
	Client string
	// Target is registered, or "": a scheme of an application's own is well.
	Target web.URL
	Frames []web.URL
}

// onward goes on as soon as the frames have loaded, and does not wait for one that
// hangs. Where no script runs, Refresh goes on.
const onward = `addEventListener("load",go);setTimeout(go,3000);function go(){var a=document.getElementById("onward");if(a)location.replace(a.href)}`

// patience is how many seconds the frames have where no script runs.
const patience = "5"

// showDone shows the page that says that it is done, and loads the frames in which
// clients hear of it.
func showDone(w http.ResponseWriter, a wish, frames []string) error {
	target := a.address()
	page := web.Page{
		Title: "You are logged out", Body: donePage,
	}
	view := doneView{Client: a.name(), Target: web.URL(target)}
	for _, frame := range frames {
		view.Frames = append(view.Frames, web.URL(frame))
		if source := web.FrameSource(frame); !slices.Contains(page.Frames, source) {
			page.Frames = append(page.Frames, source)
		}
	}
	page.Data = view
	if target != "" {
		page.Script = onward
		w.Header().Set("Refresh", patience+"; url="+target)
	}
	return web.WritePage(w, http.StatusOK, page)
}

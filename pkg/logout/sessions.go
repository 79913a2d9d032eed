// Where a person is logged in, and how they end it there.

package logout

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// SessionsPath is where people see where they are logged in, and consentsPath where they
// see what they have allowed, in package authorize.
const (
	SessionsPath = "/sessions"
	consentsPath = "/consents"
)

//go:embed sessions.html
var sessionsBody string

var sessionsPage = web.NewMarkup("sessions", sessionsBody)

const (
	fieldSession = "session"
	// from begins a page of the list.
	from = "from"
	// others names every session but the browser's own.
	others = "others"
	// atOnce is how many sessions are ended side by side.
	atOnce = 8
)

// sessionsTitle is that of the page.
const sessionsTitle words.Phrase = "Where you are logged in"

// sessionsView is what sessions.html shows. Here is the browser's own session and Others
// a form that ends all others, each once or not at all. Alone says that there is no other.
type sessionsView struct {
	Username                string
	Alone                   bool
	Here, Elsewhere, Others []row
	// More is where the list goes on, and Consents the page of what was allowed.
	More, Consents web.URL
}

// A row is one session, Named by its digest.
type row struct {
	Device, Applications string
	Since, Used          words.Minute
	Exact                bool
	// Out leads to the logout of this browser.
	Out                  web.URL
	Named, Seal, Locales string
}

// ServeSessions shows the person who is logged in with this browser where else they are,
// and ends what its form names: another session of theirs, or all of them. The clients
// hear of each by the back channel alone, for the front channel leads by the browser
// whose session it is.
func (e Endpoint) ServeSessions(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := oauth.ReadRequest(r)
	if err != nil {
		return err
	}
	web.Prefer(ctx, request.Get(uiLocales))
	if begin := request.Get(from); begin != "" && !oauth.IsID(begin) {
		return oauth.InvalidRequest.Errorf("There is no such page of the list.")
	}
	issuer, err := e.Issuers.Issuer(ctx)
	if err != nil {
		return busy(fmt.Errorf("logout: issuer: %w", err))
	}
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return busy(fmt.Errorf("logout: settings: %w", err))
	}
	b := readBrowser(r, issuer)
	s, u, err := e.Sessions.Find(ctx, b.session)
	if errors.Is(err, session.ErrNone) || err == nil && (u.Ended(s.AuthTime) || ended(s, settings)) {
		return web.WritePage(w, http.StatusOK, web.Page{Title: sessionsTitle, Body: sessionsPage, Data: sessionsView{}})
	}
	if err != nil {
		return busy(err)
	}
	web.Annotate(ctx, slog.String("sub", u.Subject))
	if r.Method != http.MethodPost {
		return busy(e.showSessions(ctx, w, listing{issuer, settings, b, s, u, request}))
	}
	named := request.Get(fieldSession)
	err = e.elsewhere().Check(ctx, request.Get(fieldSeal), b.key, sealedSession(s, named))
	if errors.Is(err, session.ErrSeal) {
		return oauth.InvalidRequest.Errorf(string(stale)).Because(err)
	}
	if err != nil {
		return busy(err)
	}
	many, err := e.endElsewhere(ctx, s, u, named)
	web.Annotate(ctx, slog.Int("ended", many))
	if err != nil {
		return busy(err)
	}
	w.Header().Set("Location", address(issuer, SessionsPath, "", request.Get(uiLocales)))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// stale is what an error page says to a form whose seal does not hold.
const stale words.Phrase = "This form is too old, or was not shown in this browser. Nothing has happened."

// endElsewhere ends the session that is named, or all but own, and counts them. One that
// has ended meanwhile is none; what is half done is done the next time.
func (e Endpoint) endElsewhere(ctx context.Context, own store.Session, u store.User, named string) (many int, err error) {
	if named != others {
		s, err := e.Sessions.Another(ctx, u, oauth.Digest(named))
		if errors.Is(err, session.ErrNone) {
			return 0, nil
		}
		if err == nil {
			err = e.endOne(ctx, s)
		}
		if err != nil {
			return 0, err
		}
		return 1, nil
	}
	for next := oauth.Digest(""); ; {
		var page []store.Session
		if page, next, err = e.Sessions.Of(ctx, u, next); err != nil {
			return many, err
		}
		page = slices.DeleteFunc(page, func(s store.Session) bool { return s.Digest == own.Digest })
		work, workCtx := errgroup.WithContext(ctx)
		work.SetLimit(atOnce)
		for _, s := range page {
			work.Go(func() error { return e.endOne(workCtx, s) })
		}
		if err = work.Wait(); err != nil {
			return many, err
		}
		if many += len(page); next == "" {
			return many, nil
		}
	}
}

func (e Endpoint) endOne(ctx context.Context, s store.Session) error {
	_, err := e.end(ctx, s)
	if err == nil {
		audit.Happened(ctx, audit.SessionEnded, slog.String("sid", s.ID))
	}
	return err
}

// A listing is one request to see the page.
type listing struct {
	issuer   string
	settings store.Settings
	browser  browser
	own      store.Session
	user     store.User
	request  oauth.Request
}

// ended reports whether the server's not_before has ended a session.
func ended(s store.Session, settings store.Settings) bool {
	return policy.LoginEnded(store.Client{}, settings, s.AuthTime)
}

func (e Endpoint) showSessions(ctx context.Context, w http.ResponseWriter, l listing) error {
	page, next, err := e.Sessions.Of(ctx, l.user, oauth.Digest(l.request.Get(from)))
	if err != nil {
		return err
	}
	page = slices.DeleteFunc(page, func(s store.Session) bool { return s.Digest == l.own.Digest || ended(s, l.settings) })
	names, err := e.names(ctx, append(slices.Clone(page), l.own))
	if err != nil {
		return err
	}
	key, fresh := session.Browser(l.browser.key)
	locales := l.request.Get(uiLocales)
	here := rowOf(l.own, names)
	here.Out = web.URL(address(l.issuer, Path, "", locales))
	view := sessionsView{
		Username: cmp.Or(l.user.Username, l.user.Subject), Here: []row{here},
		Consents: web.URL(address(l.issuer, consentsPath, "", locales)),
	}
	for _, s := range page {
		view.Elsewhere = append(view.Elsewhere, rowOf(s, names))
	}
	view.Alone = len(page) == 0 && next == "" && l.request.Get(from) == ""
	if len(page) > 1 || next != "" || l.request.Get(from) != "" { // of one its own form is enough
		view.Others = []row{{Named: others}}
	}
	for _, rows := range [][]row{view.Elsewhere, view.Others} {
		for i := range rows {
			rows[i].Locales = locales
			if rows[i].Seal, err = e.elsewhere().Seal(ctx, key, sealedSession(l.own, rows[i].Named)); err != nil {
				return err
			}
		}
	}
	if next != "" {
		view.More = web.URL(address(l.issuer, SessionsPath, string(next), locales))
	}
	if fresh {
		l.browser.keepKey(w, key)
	}
	return web.WritePage(w, http.StatusOK, web.Page{Title: sessionsTitle, Body: sessionsPage, Data: view})
}

// names are those of the clients that the sessions have logged in. One that is gone is
// named by its client_id.
func (e Endpoint) names(ctx context.Context, sessions []store.Session) (map[string]string, error) {
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.Clients...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	clients, err := e.parties(ctx, ids)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for i, id := range ids {
		names[id] = cmp.Or(clients[i].Name, id)
	}
	return names, nil
}

func rowOf(s store.Session, names map[string]string) row {
	var applications []string
	for _, id := range s.Clients {
		applications = append(applications, names[id])
	}
	slices.Sort(applications)
	used, exact := session.LastUsed(s)
	return row{
		Device: s.Device, Applications: strings.Join(applications, ", "), Named: string(s.Digest),
		Since: words.Minute(s.AuthTime), Used: words.Minute(used), Exact: exact,
	}
}

// address is that of a page in the languages, from where the list goes on.
func address(issuer, path, begin, locales string) string {
	query := url.Values{}
	for name, value := range map[string]string{from: begin, uiLocales: locales} {
		if value != "" {
			query.Set(name, value)
		}
	}
	whole := oauth.Endpoint(issuer, path)
	if len(query) > 0 {
		whole += "?" + query.Encode()
	}
	return whole
}

// elsewhere seals the forms of the page.
func (e Endpoint) elsewhere() session.Sealer {
	return session.Sealer{Purpose: session.Elsewhere, MAC: e.Seal.MAC, Now: e.Seal.Now}
}

// sealedSession is what a form is sealed for: which session it ends, by the word of whoever
// is logged in by which.
func sealedSession(own store.Session, named string) string { return string(own.Digest) + " " + named }

package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// named takes the issuer from the environment where it stands there: a record
// cannot overrule what the owner has deployed.
type named struct {
	record store.Issuers
	issuer string
}

func (n named) Issuer(ctx context.Context) (string, error) {
	if n.issuer != "" {
		return n.issuer, nil
	}
	issuer, err := n.record.Issuer(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return "", oauth.TemporarilyUnavailable.Errorf("The server is not set up yet: its owner has to run kmint import.").Because(err)
	}
	return issuer, err
}

// newEdge makes the edge. Browsers are told to come by https alone where the
// issuer is https and not this machine: the rule holds for every port of a host.
// Without ISSUER it is the record's, that of an API in AWS.
func newEdge(issuer string, now func() time.Time, log *slog.Logger) web.Edge {
	u, err := url.Parse(issuer)
	local := err == nil && oauth.IsLoopback(u.Hostname())
	return web.Edge{Log: log, Now: now, Secure: !strings.HasPrefix(issuer, "http:") && !local, Warm: &atomic.Bool{}}
}

// branded lets the pages look as the settings say.
func branded(edge web.Edge, settings store.ServerSettings) web.Edge {
	edge.Brand = func(ctx context.Context) (web.Brand, error) {
		s, err := settings.Settings(ctx)
		return web.Brand{
			Name: s.Brand.Name, Logo: web.URL(s.Brand.Logo), LogoDark: web.URL(s.Brand.LogoDark),
			Accent: s.Brand.Accent, AccentDark: s.Brand.AccentDark,
		}, err
	}
	return edge
}

// routes serves whole paths. http.ServeMux would answer a path like //authorize by
// a redirect of its own that makes a browser post a password again.
type routes map[string]http.Handler

// other is the route of every path that has none.
const other = ""

func (r routes) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	h, ok := r[q.URL.Path]
	if !ok {
		h = r[other]
	}
	h.ServeHTTP(w, q)
}

// nowhere is what people and programs are told there.
const nowhere words.Phrase = "There is nothing at this address."

func notFound(http.ResponseWriter, *http.Request) error {
	return oauth.NotFound.Errorf(string(nowhere))
}

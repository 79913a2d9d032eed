package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// named reads the settings, and takes the issuer from the environment where it
// stands there: a record cannot overrule what the owner has deployed.
type named struct {
	store.ServerSettings
	issuer string
}

func (n named) Issuer(ctx context.Context) (string, error) {
	if n.issuer != "" {
		return n.issuer, nil
	}
	return n.ServerSettings.Issuer(ctx)
}

// secure reports whether the issuer is https. Without ISSUER it is the record's,
// which kmint import writes, and that of an API in AWS.
func secure(issuer string) bool { return !strings.HasPrefix(issuer, "http:") }

func newEdge(issuer string, now func() time.Time, log *slog.Logger) web.Edge {
	return web.Edge{Log: log, Now: now, Secure: secure(issuer)}
}

func notFound(http.ResponseWriter, *http.Request) error {
	return oauth.NotFound.Errorf("There is nothing at this address.")
}

package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/keys"
	"kmint/pkg/login"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// Authorize is the authorize function.
type Authorize struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string

	Clients  store.Clients
	APIs     store.APIs
	Settings store.ServerSettings
	Issuers  store.Issuers
	Registry store.RegistryReader
	Users    store.Users
	Logins   store.Logins
	Attempts store.Attempts
	Sessions store.Sessions
	Codes    store.Codes
	MAC      session.MAC

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the authorization endpoint.
func (f Authorize) Handler() http.Handler {
	cache := store.NewCache(f.Clients, f.APIs, f.Settings, f.Issuers, f.Registry, f.Now)
	endpoint := authorize.Endpoint{
		Issuers:  named{cache, f.Issuer},
		Settings: cache,
		Keys:     &keys.Ring{Registry: cache},
		Clients:  cache,
		APIs:     cache,
		Codes:    f.Codes,
		Login:    login.Authenticator{Logins: f.Logins, Users: f.Users, Attempts: f.Attempts, Now: f.Now},
		Sessions: session.Keeper{Sessions: f.Sessions, Users: f.Users, Now: f.Now},
		Seal:     session.Sealer{MAC: f.MAC, Now: f.Now},
		Now:      f.Now,
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	mux["/authorize"] = edge.Page(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost))
	mux[other] = edge.Page(notFound)
	return mux
}

package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/consent"
	"kmint/pkg/fetch"
	"kmint/pkg/keys"
	"kmint/pkg/login"
	"kmint/pkg/logout"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/trust"
	"kmint/pkg/web"
)

// Authorize is the authorize function.
type Authorize struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// AllowLoopback lets the keys of clients be on this very machine: for development
	// alone.
	AllowLoopback bool

	Clients   store.Clients
	APIs      store.APIs
	Settings  store.ServerSettings
	Issuers   store.Issuers
	Registry  store.RegistryReader
	Users     store.Users
	Logins    store.Logins
	Attempts  store.Attempts
	Sessions  store.Sessions
	Joined    store.SessionClients
	Listings  store.Listings
	Ended     store.GrantEnder
	Consents  store.Consents
	Codes     store.Codes
	Opaque    store.OpaqueWriter
	Documents store.Documents
	MAC       session.MAC
	// Queue is where the deliver function takes from.
	Queue logout.Queue
	// PrivateKey is nil where no token leaves by the authorization endpoint.
	PrivateKey keys.PrivateKey

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the authorization endpoint, and the end of a session.
func (f Authorize) Handler() http.Handler {
	cache := store.NewCache(f.Clients, f.APIs, f.Settings, f.Issuers, f.Registry, f.Now)
	issuers := named{cache, f.Issuer}
	ring := &keys.Ring{Registry: cache, Private: f.PrivateKey}
	sessions := session.Keeper{Sessions: f.Sessions, Clients: f.Joined, Listings: f.Listings, Users: f.Users, Now: f.Now}
	endpoint := authorize.Endpoint{
		Issuers:  issuers,
		Settings: cache,
		Keys:     ring,
		Clients:  cache,
		APIs:     cache,
		Codes:    f.Codes,
		Login:    login.Authenticator{Logins: f.Logins, Users: f.Users, Attempts: f.Attempts, Now: f.Now},
		Sessions: sessions,
		Consents: consent.Keeper{Consents: f.Consents, Listings: f.Listings, Grants: f.Ended, Settle: consent.Settle, Now: f.Now},
		Seal:     session.Sealer{MAC: f.MAC, Now: f.Now},
		Trust: &trust.Verifier{
			Documents: &fetch.Fetcher{Cache: f.Documents, AllowLoopback: f.AllowLoopback, Now: f.Now},
		},
		Now: f.Now,
	}
	if f.PrivateKey != nil {
		endpoint.Tokens = &token.Issuer{Issuers: issuers, Signer: ring, Opaque: f.Opaque, Now: f.Now}
	}
	end := logout.Endpoint{
		Issuers: issuers, Keys: ring, Clients: cache, Settings: cache, Sessions: sessions, Queue: f.Queue, Now: f.Now,
		Seal: session.Sealer{Purpose: session.Logout, MAC: f.MAC, Now: f.Now},
	}
	edge := branded(newEdge(f.Issuer, f.Now, f.Log), cache)
	mux := routes{}
	mux["/authorize"] = edge.Page(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost))
	mux[authorize.LoginPath] = edge.Page(web.Methods(endpoint.ServeLogin, http.MethodGet))
	mux[authorize.ConsentsPath] = edge.Page(web.Methods(endpoint.ServeConsents, http.MethodGet, http.MethodPost))
	mux[logout.SessionsPath] = edge.Page(web.Methods(end.ServeSessions, http.MethodGet, http.MethodPost))
	mux[logout.Path] = edge.Page(web.Methods(end.Serve, http.MethodGet, http.MethodPost))
	mux[logout.Auth0Path] = edge.Page(web.Methods(end.ServeAuth0, http.MethodGet))
	mux[other] = edge.Page(notFound)
	return mux
}

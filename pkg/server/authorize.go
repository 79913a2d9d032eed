package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/fetch"
	"kmint/pkg/keys"
	"kmint/pkg/login"
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
	Codes     store.Codes
	Opaque    store.OpaqueTokens
	Documents store.Documents
	MAC       session.MAC
	// PrivateKey is nil where no token leaves by the authorization endpoint.
	PrivateKey keys.PrivateKey

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the authorization endpoint.
func (f Authorize) Handler() http.Handler {
	cache := store.NewCache(f.Clients, f.APIs, f.Settings, f.Issuers, f.Registry, f.Now)
	issuers := named{cache, f.Issuer}
	ring := &keys.Ring{Registry: cache, Private: f.PrivateKey}
	endpoint := authorize.Endpoint{
		Issuers:  issuers,
		Settings: cache,
		Keys:     ring,
		Clients:  cache,
		APIs:     cache,
		Codes:    f.Codes,
		Login:    login.Authenticator{Logins: f.Logins, Users: f.Users, Attempts: f.Attempts, Now: f.Now},
		Sessions: session.Keeper{Sessions: f.Sessions, Users: f.Users, Now: f.Now},
		Seal:     session.Sealer{MAC: f.MAC, Now: f.Now},
		Trust: &trust.Verifier{
			Documents: &fetch.Fetcher{Cache: f.Documents, AllowLoopback: f.AllowLoopback, Now: f.Now},
		},
		Now: f.Now,
	}
	if f.PrivateKey != nil {
		endpoint.Tokens = &token.Issuer{Issuers: issuers, Signer: ring, Opaque: f.Opaque, Now: f.Now}
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	mux["/authorize"] = edge.Page(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost))
	mux[other] = edge.Page(notFound)
	return mux
}

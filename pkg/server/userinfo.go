package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/dpop"
	"kmint/pkg/keys"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/userinfo"
	"kmint/pkg/web"
)

// Userinfo is the userinfo function.
type Userinfo struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string

	Clients  store.Clients
	Settings store.ServerSettings
	Issuers  store.Issuers
	Registry store.RegistryReader
	Users    store.Users
	Sessions store.SessionReader
	Grants   store.GrantReader
	Uses     store.Uses
	Revoked  store.RevokedTokens
	Opaque   store.OpaqueReader
	MAC      dpop.MAC

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the UserInfo endpoint.
func (f Userinfo) Handler() http.Handler {
	cache := store.NewCache(f.Clients, nil, f.Settings, f.Issuers, f.Registry, f.Now)
	issuers := named{cache, f.Issuer}
	endpoint := userinfo.Endpoint{
		Issuers:  issuers,
		Clients:  cache,
		Settings: cache,
		Tokens:   token.Reader{Issuers: issuers, Keys: &keys.Ring{Registry: cache}, Opaque: f.Opaque, Now: f.Now},
		Grants:   f.Grants,
		Users:    f.Users,
		Sessions: f.Sessions,
		Revoked:  f.Revoked,
		DPoP:     dpop.Verifier{MAC: f.MAC, Now: f.Now},
		Uses:     f.Uses,
		Now:      f.Now,
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	mux["/userinfo"] = edge.JSON(web.Preflight(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost), "GET, POST, OPTIONS"))
	mux[other] = edge.JSON(notFound)
	return mux
}

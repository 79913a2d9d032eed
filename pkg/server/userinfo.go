package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/keys"
	"kmint/pkg/store"
	"kmint/pkg/userinfo"
	"kmint/pkg/web"
)

// Userinfo is the userinfo function.
type Userinfo struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string

	Clients  store.Clients
	Issuers  store.Issuers
	Registry store.RegistryReader
	Grants   store.GrantReader
	Users    store.Users

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the UserInfo endpoint.
func (f Userinfo) Handler() http.Handler {
	cache := store.NewCache(f.Clients, nil, nil, f.Issuers, f.Registry, f.Now)
	endpoint := userinfo.Endpoint{
		Issuers: named{cache, f.Issuer},
		Keys:    &keys.Ring{Registry: cache},
		Clients: cache,
		Grants:  f.Grants,
		Users:   f.Users,
		Now:     f.Now,
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	mux["/userinfo"] = edge.JSON(web.Preflight(web.Methods(endpoint.Serve, http.MethodGet, http.MethodPost), "GET, POST, OPTIONS"))
	mux[other] = edge.JSON(notFound)
	return mux
}

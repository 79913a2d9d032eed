package server

import (
	"log/slog"
	"net/http"
	"slices"
	"time"

	"kmint/pkg/clientauth"
	"kmint/pkg/dpop"
	"kmint/pkg/grant"
	"kmint/pkg/keys"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// Token is the token function.
type Token struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// TokenPath is the owner's own path for the token endpoint.
	TokenPath string

	Clients    store.Clients
	APIs       store.APIs
	Settings   store.ServerSettings
	Issuers    store.Issuers
	Registry   store.RegistryReader
	Grants     store.Grants
	Users      store.Users
	Sessions   store.SessionReader
	Uses       store.Uses
	Opaque     store.OpaqueTokens
	MAC        dpop.MAC
	PrivateKey keys.PrivateKey

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the token endpoint.
func (f Token) Handler() http.Handler {
	cache := store.NewCache(f.Clients, f.APIs, f.Settings, f.Issuers, f.Registry, f.Now)
	endpoint := grant.Endpoint{
		Clients:  clientauth.Authenticator{Clients: cache},
		APIs:     cache,
		Settings: cache,
		Issuers:  named{cache, f.Issuer},
		DPoP:     dpop.Verifier{MAC: f.MAC, Now: f.Now},
		Uses:     f.Uses,
		Now:      f.Now,
		Grants: map[string]grant.Grant{
			oauth.AuthorizationCode: grant.AuthorizationCode{Grants: f.Grants, Now: f.Now},
			oauth.ClientCredentials: grant.ClientCredentials{APIs: cache},
			oauth.RefreshToken:      grant.RefreshToken{Grants: f.Grants, Users: f.Users, Sessions: f.Sessions, Now: f.Now},
		},
		Issuer: token.Issuer{Issuers: named{cache, f.Issuer}, Signer: &keys.Ring{Registry: cache, Private: f.PrivateKey}, Opaque: f.Opaque, Now: f.Now},
	}
	// RFC 6749 §3.2: "The client MUST use the HTTP "POST" method when making
	// access token requests."
	serve := web.Preflight(web.Methods(endpoint.Serve, http.MethodPost), "POST, OPTIONS")

	// Auth0's path, two that clients of other servers have written down, and the
	// owner's.
	paths := []string{"/oauth/token", "/token", "/v1/token"}
	if !slices.Contains(paths, f.TokenPath) {
		paths = append(paths, f.TokenPath)
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	for _, path := range paths {
		mux[path] = edge.JSON(serve)
	}
	mux[other] = edge.JSON(notFound)
	return mux
}

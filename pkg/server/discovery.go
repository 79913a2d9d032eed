package server

import (
	"log/slog"
	"net/http"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/checksession"
	"kmint/pkg/clientauth"
	"kmint/pkg/discovery"
	"kmint/pkg/dpop"
	"kmint/pkg/keys"
	"kmint/pkg/logout"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// Discovery is the discovery function.
type Discovery struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// TokenPath is the path announced for the token endpoint.
	TokenPath string
	// AuthorizeSigns says that tokens leave by the authorization endpoint too.
	AuthorizeSigns bool

	Issuers  store.Issuers
	Registry store.RegistryReader

	Now func() time.Time
	Log *slog.Logger
}

// Handler serves the well-known documents, and the page that clients show in a frame.
func (f Discovery) Handler() http.Handler {
	cache := store.NewCache(nil, nil, nil, f.Issuers, f.Registry, f.Now)
	grantTypes := GrantTypes()
	if f.AuthorizeSigns {
		grantTypes = append(grantTypes, oauth.Implicit)
	}
	endpoint := discovery.Endpoint{
		Issuers:    named{cache, f.Issuer},
		Keys:       &keys.Ring{Registry: cache},
		TokenPath:  f.TokenPath,
		RevokePath: revokePath, IntrospectPath: introspectPath, LogoutPath: logout.Path, CheckSessionPath: checksession.Path,
		ResponseTypes: authorize.ResponseTypes(f.AuthorizeSigns), ResponseModes: authorize.ResponseModes(),
		RequestAlgorithms: authorize.RequestAlgorithms(),
		GrantTypes:        grantTypes, AuthMethods: clientauth.Methods(), AuthAlgorithms: clientauth.Algorithms(),
		ProofAlgorithms: dpop.Algorithms(),
	}
	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	for path, serve := range map[string]web.Handler{
		"/.well-known/openid-configuration":       endpoint.Metadata,
		"/.well-known/oauth-authorization-server": endpoint.Metadata,
		"/.well-known/jwks.json":                  endpoint.JWKS,
	} {
		mux[path] = edge.JSON(web.Preflight(web.Methods(serve, http.MethodGet), "GET, OPTIONS"))
	}
	mux[checksession.Path] = edge.Page(web.Methods(checksession.Serve, http.MethodGet))
	mux[other] = edge.JSON(notFound)
	return mux
}

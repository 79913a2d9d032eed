package server

import (
	"log/slog"
	"net/http"
	"slices"
	"time"

	"kmint/pkg/clientauth"
	"kmint/pkg/dpop"
	"kmint/pkg/fetch"
	"kmint/pkg/grant"
	"kmint/pkg/introspect"
	"kmint/pkg/keys"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/revoke"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/trust"
	"kmint/pkg/web"
)

// Token is the token function: the token endpoint and its neighbours.
type Token struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// TokenPath is the owner's own path for the token endpoint.
	TokenPath string
	// AllowLoopback lets the documents of clients and foreign issuers be on this very
	// machine: for development alone.
	AllowLoopback bool

	Clients     store.Clients
	APIs        store.APIs
	Settings    store.ServerSettings
	Issuers     store.Issuers
	Registry    store.RegistryReader
	Users       store.Users
	Logins      store.Logins
	Attempts    store.Attempts
	Sessions    store.SessionReader
	Codes       store.Codes
	Grants      store.Grants
	Kept        store.GrantReader
	Uses        store.Uses
	Revocations store.Revocations
	Revoked     store.RevokedTokens
	Opaque      store.OpaqueTokens
	Documents   store.Documents
	MAC         dpop.MAC
	Vault       clientauth.Vault
	PrivateKey  keys.PrivateKey

	Now func() time.Time
	Log *slog.Logger
}

// GrantTypes are those that the token function serves, as discovery announces
// them: the legacy ones go without saying.
func GrantTypes() []string {
	return []string{oauth.AuthorizationCode, oauth.ClientCredentials, oauth.RefreshToken, oauth.TokenExchange}
}

// Handler serves the token endpoint, revocation and introspection.
func (f Token) Handler() http.Handler {
	cache := store.NewCache(f.Clients, f.APIs, f.Settings, f.Issuers, f.Registry, f.Now)
	issuers := named{cache, f.Issuer}
	ring := &keys.Ring{Registry: cache, Private: f.PrivateKey}
	tokens := token.Reader{Issuers: issuers, Keys: ring, Opaque: f.Opaque, Now: f.Now}
	foreign := &trust.Verifier{
		Issuers:   trusted{cache},
		Documents: &fetch.Fetcher{Cache: f.Documents, AllowLoopback: f.AllowLoopback, Now: f.Now},
	}
	people := login.Authenticator{Logins: f.Logins, Users: f.Users, Attempts: f.Attempts, Now: f.Now}
	parties := grant.Parties{
		Tokens: tokens, Foreign: foreign, Clients: cache, Grants: f.Grants, Reads: f.Kept,
		Revoked: f.Revoked, Users: f.Users, Sessions: f.Sessions, Now: f.Now,
	}
	clients := clientauth.Authenticator{
		Clients: cache, Issuers: issuers, TokenPaths: f.paths(),
		Vault: clientauth.NewOpenVault(f.Vault, f.Now), Trust: foreign, Now: f.Now,
	}
	endpoint := grant.Endpoint{
		Clients:  clients,
		APIs:     cache,
		Settings: cache,
		Issuers:  issuers,
		DPoP:     dpop.Verifier{MAC: f.MAC, Now: f.Now},
		Uses:     f.Uses,
		Grants: map[string]grant.Grant{
			oauth.AuthorizationCode: grant.AuthorizationCode{Grants: f.Grants, Now: f.Now},
			oauth.ClientCredentials: grant.ClientCredentials{APIs: cache},
			oauth.RefreshToken:      grant.RefreshToken{Grants: f.Grants, Reads: f.Kept, Clients: cache, Users: f.Users, Sessions: f.Sessions, Now: f.Now},
			oauth.Password:          grant.Password{Login: people, APIs: cache, Codes: f.Codes, Now: f.Now},
			oauth.TokenExchange:     grant.TokenExchange{Parties: parties, APIs: cache, Codes: f.Codes, Now: f.Now},
			oauth.PasswordRealm:     grant.Password{Login: people, APIs: cache, Codes: f.Codes, NeedsRealm: true, Now: f.Now},
		},
		Issuer: token.Issuer{Issuers: issuers, Signer: ring, Opaque: f.Opaque, Now: f.Now},
		Now:    f.Now,
	}
	revocation := revoke.Endpoint{
		Clients: clients, Settings: cache, Tokens: tokens, Revocations: f.Revocations, Uses: f.Uses, Now: f.Now,
	}
	introspection := introspect.Endpoint{
		Authenticator: clients, Clients: cache, APIs: cache, Settings: cache, Tokens: tokens,
		Grants: f.Kept, Users: f.Users, Sessions: f.Sessions, Revoked: f.Revoked, Uses: f.Uses, Now: f.Now,
	}

	edge := newEdge(f.Issuer, f.Now, f.Log)
	mux := routes{}
	// RFC 6749 §3.2: "The client MUST use the HTTP "POST" method when making
	// access token requests." RFC 7009 §2.1 and RFC 7662 §2.1 say the same.
	for _, path := range f.paths() {
		mux[path] = edge.JSON(web.Preflight(web.Methods(endpoint.Serve, http.MethodPost), "POST, OPTIONS"))
	}
	mux[revokePath] = edge.JSON(web.Preflight(web.Methods(revocation.Serve, http.MethodPost), "POST, OPTIONS"))
	// No script of a page introspects: it could keep no secret.
	mux[introspectPath] = edge.JSON(web.Methods(introspection.Serve, http.MethodPost))
	mux[other] = edge.JSON(notFound)
	return mux
}

const (
	revokePath     = "/oauth/revoke"
	introspectPath = "/oauth/introspect"
)

// paths are those of the token endpoint: Auth0's, two that clients of other servers
// have written down, and the owner's.
func (f Token) paths() []string {
	paths := []string{"/oauth/token", "/token", "/v1/token"}
	if f.TokenPath != "" && !slices.Contains(paths, f.TokenPath) {
		paths = append(paths, f.TokenPath)
	}
	return paths
}

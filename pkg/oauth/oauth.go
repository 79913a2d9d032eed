// Package oauth answers: what do the words on the wire mean?
//
// It reads a request once, and knows scope, PKCE, redirect URIs, secrets and
// their digests, the error codes and the response body of the token endpoint.
// It imports nothing of kmint, decides nothing about a client or a person, and
// touches no store: what stands here can be read beside the RFCs.
package oauth

import "strings"

// Grant types (RFC 6749 §4, §6).
const (
	AuthorizationCode = "authorization_code"
	ClientCredentials = "client_credentials"
	RefreshToken      = "refresh_token"
	// Implicit is used at the authorization endpoint alone (RFC 6749 §4.2).
	Implicit = "implicit"
	// Password is legacy (RFC 6749 §4.3, RFC 9700 §2.4), and PasswordRealm Auth0's
	// form of it.
	Password      = "password"
	PasswordRealm = "http://auth0.com/oauth/grant-type/password-realm" //nolint:gosec // a name, no password
	// TokenExchange is from RFC 8693 §2.1.
	TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" //nolint:gosec // a name, no token
)

// Token types (RFC 8693 §3).
const (
	AccessTokenType  = "urn:ietf:params:oauth:token-type:access_token"  //nolint:gosec // a name, no token
	RefreshTokenType = "urn:ietf:params:oauth:token-type:refresh_token" //nolint:gosec // a name, no token
	IDTokenType      = "urn:ietf:params:oauth:token-type:id_token"      //nolint:gosec // a name, no token
	JWTType          = "urn:ietf:params:oauth:token-type:jwt"
)

// Client authentication methods (RFC 7591 §2).
const (
	ClientSecretBasic = "client_secret_basic"
	ClientSecretPost  = "client_secret_post"
	None              = "none"
	ClientSecretJWT   = "client_secret_jwt"
	PrivateKeyJWT     = "private_key_jwt"
	// WorkloadIdentity is ours: the client presents, as its assertion, a JWT that a
	// trusted issuer gave to it, such as a Kubernetes service account's.
	WorkloadIdentity = "workload_identity"
)

// AssertionType is the client_assertion_type of RFC 7523 §2.2.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Scope values with a meaning of their own (OpenID Connect Core 1.0 §5.4, §11).
const (
	OpenID        = "openid"
	Profile       = "profile"
	Email         = "email"
	Address       = "address"
	Phone         = "phone"
	OfflineAccess = "offline_access"
	// OnlineAccess is ours and Auth0's: a refresh token that ends with the session.
	OnlineAccess = "online_access"
)

// IdentityScope lists the scope values that ask for a person's identity and claims
// (OpenID Connect Core 1.0 §5.4).
func IdentityScope() Scope { return Scope{OpenID, Profile, Email, Address, Phone} }

// Application types (OpenID Connect Dynamic Client Registration 1.0 §2).
const (
	Web    = "web"
	Native = "native"
)

// Prefixes of the handles we mint. They are readable so that a secret scanner
// finds a handle that was pasted where it does not belong.
const (
	CodePrefix    = "kmint_code."
	RefreshPrefix = "kmint_refresh."
	SessionPrefix = "kmint_session."
	AccessPrefix  = "kmint_access." // of an opaque access token
)

// Endpoint is the address of a path below the issuer, which may or may not end
// with a slash.
func Endpoint(issuer, path string) string {
	return strings.TrimSuffix(issuer, "/") + path
}

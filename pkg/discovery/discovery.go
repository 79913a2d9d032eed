// Package discovery answers: what can a client find out before it asks?
//
// It serves the provider metadata (OpenID Connect Discovery 1.0 §3, RFC 8414 §2)
// under both well-known names, and the public keys (RFC 7517 §5). All are public
// and cacheable, and cost no AWS call in a warm function.
package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
	"kmint/pkg/words"
)

// Metadata holds the members of RFC 8414 §2 and OpenID Connect Discovery 1.0 §3
// that are true of kmint.
type Metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	// EndSessionEndpoint is from OpenID Connect RP-Initiated Logout 1.0 §2.1.
	EndSessionEndpoint string `json:"end_session_endpoint"`
	// CheckSessionIframe is from OpenID Connect Session Management 1.0 §3.3.
	CheckSessionIframe     string   `json:"check_session_iframe"`
	JWKSURI                string   `json:"jwks_uri"`
	ScopesSupported        []string `json:"scopes_supported"`
	ResponseTypesSupported []string `json:"response_types_supported"`
	ResponseModesSupported []string `json:"response_modes_supported"`
	GrantTypesSupported    []string `json:"grant_types_supported"`
	SubjectTypesSupported  []string `json:"subject_types_supported"`
	SigningAlgorithms      []string `json:"id_token_signing_alg_values_supported"`

	AuthMethodsSupported    []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms          []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	// ProofAlgorithms is from RFC 9449 §5.1.
	ProofAlgorithms []string `json:"dpop_signing_alg_values_supported"`

	ACRValuesSupported  []string         `json:"acr_values_supported"`
	UILocalesSupported  []words.Language `json:"ui_locales_supported"`
	ClaimTypesSupported []string         `json:"claim_types_supported"`
	ClaimsSupported     []string         `json:"claims_supported"`
	ChallengeMethods    []string         `json:"code_challenge_methods_supported"`
	// PromptValues is from Initiating User Registration via OpenID Connect 1.0 §3.
	PromptValues []string `json:"prompt_values_supported"`
	// OpenID Connect Back-Channel Logout 1.0 §2.1, Front-Channel Logout 1.0 §3.
	BackchannelLogout   bool `json:"backchannel_logout_supported"`
	BackchannelSession  bool `json:"backchannel_logout_session_supported"`
	FrontchannelLogout  bool `json:"frontchannel_logout_supported"`
	FrontchannelSession bool `json:"frontchannel_logout_session_supported"`
	// IssParameter is from RFC 9207 §3.
	IssParameter              bool `json:"authorization_response_iss_parameter_supported"`
	ClaimsParameterSupported  bool `json:"claims_parameter_supported"`
	RequestParameterSupported bool `json:"request_parameter_supported"`
	// RequestAlgorithms is for request objects, none among them.
	RequestAlgorithms []string `json:"request_object_signing_alg_values_supported"`
	// RequestURISupported would be true if it were left out.
	RequestURISupported bool `json:"request_uri_parameter_supported"`
}

// KeySet knows the keys.
type KeySet interface {
	// JWKS lists the public keys to publish, in a stable order.
	JWKS(ctx context.Context) (jwt.Set, error)
	// Algorithms lists the algorithms that a key signs by now, RS256 first.
	Algorithms(ctx context.Context) ([]string, error)
}

// An Endpoint serves the well-known documents.
type Endpoint struct {
	Issuers store.Issuers
	Keys    KeySet
	// TokenPath is the path announced for the token endpoint; those of its neighbours
	// are RevokePath and IntrospectPath.
	TokenPath      string
	RevokePath     string
	IntrospectPath string
	LogoutPath     string
	// CheckSessionPath is that of the page for clients' frames.
	CheckSessionPath string
	// ResponseTypes and ResponseModes are those of the authorization endpoint.
	ResponseTypes []string
	ResponseModes []string
	// RequestAlgorithms are the algs of request objects there.
	RequestAlgorithms []string
	// GrantTypes are those that the two endpoints serve.
	GrantTypes []string
	// AuthMethods are the ways for clients to prove themselves there, and
	// AuthAlgorithms the JWS algs of their assertions.
	AuthMethods    []string
	AuthAlgorithms []string
	// ProofAlgorithms are the JWS algs of DPoP proofs.
	ProofAlgorithms []string
}

// Metadata serves the provider metadata. It is a web.Handler.
func (e Endpoint) Metadata(w http.ResponseWriter, r *http.Request) error {
	issuer, err := e.Issuers.Issuer(r.Context())
	if err != nil {
		return web.Busy(fmt.Errorf("discovery: issuer: %w", err), store.ErrBusy)
	}
	algorithms, err := e.Keys.Algorithms(r.Context())
	if err != nil {
		return web.Busy(fmt.Errorf("discovery: keys: %w", err), store.ErrBusy)
	}
	return publish(w, r, Metadata{
		Issuer:                 issuer,
		AuthorizationEndpoint:  oauth.Endpoint(issuer, "/authorize"),
		TokenEndpoint:          oauth.Endpoint(issuer, e.TokenPath),
		UserinfoEndpoint:       oauth.Endpoint(issuer, "/userinfo"),
		RevocationEndpoint:     oauth.Endpoint(issuer, e.RevokePath),
		IntrospectionEndpoint:  oauth.Endpoint(issuer, e.IntrospectPath),
		EndSessionEndpoint:     oauth.Endpoint(issuer, e.LogoutPath),
		CheckSessionIframe:     oauth.Endpoint(issuer, e.CheckSessionPath),
		JWKSURI:                oauth.Endpoint(issuer, "/.well-known/jwks.json"),
		ScopesSupported:        append(oauth.IdentityScope(), oauth.OfflineAccess, oauth.OnlineAccess),
		ResponseTypesSupported: e.ResponseTypes,
		ResponseModesSupported: e.ResponseModes,
		GrantTypesSupported:    e.GrantTypes,
		SubjectTypesSupported:  []string{"public"},
		SigningAlgorithms:      signing(algorithms),
		AuthMethodsSupported:   e.AuthMethods,
		AuthAlgorithms:         e.AuthAlgorithms,
		RevocationMethods:      e.AuthMethods,
		RevocationAlgorithms:   e.AuthAlgorithms,
		// RFC 7662 §2.1: "the endpoint MUST also require some form of authorization".
		IntrospectionMethods:    slices.DeleteFunc(slices.Clone(e.AuthMethods), func(m string) bool { return m == oauth.None }),
		IntrospectionAlgorithms: e.AuthAlgorithms,
		ProofAlgorithms:         e.ProofAlgorithms,
		ACRValuesSupported:      oauth.ACRValues(),
		UILocalesSupported:      words.Languages(),
		ClaimTypesSupported:     []string{"normal"},
		ClaimsSupported:         token.Supported(),
		ChallengeMethods:        []string{oauth.S256},
		PromptValues:            []string{"none", "login", "consent", "select_account"},
		BackchannelLogout:       true, BackchannelSession: true, FrontchannelLogout: true, FrontchannelSession: true,
		IssParameter: true,

		ClaimsParameterSupported:  true,
		RequestParameterSupported: true,
		RequestAlgorithms:         e.RequestAlgorithms,
	}, metadataAge)
}

// signing obeys OpenID Connect Discovery 1.0 §3: "The algorithm RS256 MUST be
// included." Before the first key is imported there is none at all.
func signing(algorithms []string) []string {
	const required = "RS256"
	if slices.Contains(algorithms, required) {
		return algorithms
	}
	return append([]string{required}, algorithms...)
}

// JWKS serves the public keys. It is a web.Handler.
func (e Endpoint) JWKS(w http.ResponseWriter, r *http.Request) error {
	set, err := e.Keys.JWKS(r.Context())
	if err != nil {
		return web.Busy(fmt.Errorf("discovery: keys: %w", err), store.ErrBusy)
	}
	// Between a deployment and the import of its first key there is none. A cache
	// must not keep that.
	if len(set.Keys) == 0 {
		return oauth.TemporarilyUnavailable.Errorf("There is no signing key yet: the owner of the server has to run kmint import.")
	}
	return publish(w, r, set, keysAge)
}

// How long caches may keep the documents. The keys change rarely, and the next one
// is published long before it signs; but one that had to be revoked should be gone
// soon.
const (
	metadataAge = "3600"
	keysAge     = "300"
)

// publish writes a public document with an entity tag (RFC 9110 §8.8.3), for
// caches to keep maxAge seconds.
func publish(w http.ResponseWriter, r *http.Request, document any, maxAge string) error {
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	header := w.Header()
	web.AllowAnyOrigin(w)
	header.Set("ETag", tag)
	header.Set("Cache-Control", "public, max-age="+maxAge)
	header.Del("Pragma")
	if unchanged(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
	return nil
}

// unchanged compares entity tags weakly (RFC 9110 §13.1.2): a proxy that
// compresses makes a strong tag weak.
func unchanged(conditions []string, tag string) bool {
	for condition := range strings.SplitSeq(strings.Join(conditions, ","), ",") {
		condition = strings.TrimSpace(condition)
		if condition == "*" || strings.TrimPrefix(condition, "W/") == tag {
			return true
		}
	}
	return false
}

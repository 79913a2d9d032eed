// Protected resource metadata (RFC 9728).

package verify

import (
	"net/http"
	"net/url"

	"kmint/pkg/jwt"
)

// Metadata are the members of RFC 9728 §2 that a Verifier can tell.
type Metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported"`
}

const wellKnown = "/.well-known/oauth-protected-resource"

// MetadataPath is the path at which ServeMetadata has to be reached: the well-known
// name, and after it the path of Resource, if it has one (RFC 9728 §3.1: only the
// "terminating slash (/) following the host component" is removed).
func (v *Verifier) MetadataPath() string {
	u, err := url.Parse(v.Resource)
	if err != nil || u.Path == "/" {
		return wellKnown
	}
	return wellKnown + u.EscapedPath()
}

func (v *Verifier) metadataURL() string {
	u, err := url.Parse(v.Resource)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + v.MetadataPath()
}

// ServeMetadata tells clients where to get a token for this API. It is an
// http.HandlerFunc, needs no token, and answers 404 while Resource is empty.
func (v *Verifier) ServeMetadata(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	switch {
	case v.Resource == "":
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	header.Set("Access-Control-Allow-Origin", "*") // it is public
	header.Set("Cache-Control", "public, max-age=3600")
	write(w, http.StatusOK, Metadata{
		Resource:             v.Resource,
		AuthorizationServers: []string{v.Issuer},
		ScopesSupported:      v.Scopes,
		BearerMethods:        []string{"header"},
		DPoPAlgorithms:       jwt.ProofAlgorithms(),
	})
}

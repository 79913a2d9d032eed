package conformance_test

import (
	"net/http"
	"net/url"
	"strings"

	"kmint/pkg/seed"
)

// register reads a seed of one client whose logins begin at an address. The suite
// registers the client; here the seed is what a client's metadata is read from, and
// refused in.
func (f *flow) register(address string) (seed.Client, error) {
	f.Helper()
	read, err := seed.Read(strings.NewReader(`{"clients": [{"client_id": "conformance-begins", "client_name": "Conformance suite, logins begin there",
		"client_secret": "conformance-begins-secret-used-in-examples-only", "redirect_uris": ["` + f.redirectURI() + `"],
		"initiate_login_uri": "` + address + `"}]}`))
	if err != nil {
		return seed.Client{}, err
	}
	return read.Clients[0], nil
}

// initiateLogin: what a client has registered is what is kept (OpenID Connect Core 1.0
// §4), and where a person is sent.
func initiateLogin(f *flow) {
	address := strings.TrimSuffix(f.redirectURI(), "callback") + "initiate_login"
	registered, err := f.register(address)
	if err != nil {
		f.Fatal(err)
	}
	f.judge("ValidateInitiateLoginUriInRegistrationResponse", registered.InitiateLoginURI == address, registered.InitiateLoginURI)
	f.as("conformance-initiate")
	kept, err := f.house.clients.Client(f.Context(), f.client.ID)
	if err != nil {
		f.Fatal(err)
	}
	f.judge("ValidateInitiateLoginUriInConfigurationResponse", kept.InitiateLoginURI == address, kept.InitiateLoginURI)
	// There is no registration endpoint that clients could read it at.
	f.leave("CheckRegistrationClientEndpointContentTypeHttpStatus200", "CheckRegistrationClientEndpointContentType")
	a := f.browser.visit(http.MethodGet, issuer+"login?"+url.Values{"client_id": {f.client.ID}}.Encode(), nil)
	if a.at != address || a.query.Encode() != (url.Values{"iss": {issuer}}).Encode() {
		f.Errorf("sent to %s with %v", a.at, a.query)
	}
}

// initiateLoginByHTTP: "URI using the https scheme" (OpenID Connect Dynamic Client
// Registration 1.0 §2).
func initiateLoginByHTTP(f *flow) {
	address := strings.TrimSuffix(f.redirectURI(), "callback") + "initiate_login"
	_, err := f.register(strings.Replace(address, "https://", "http://", 1))
	f.judge("CheckErrorFromDynamicRegistrationEndpointIsInvalidClientMetadata",
		err != nil && strings.HasPrefix(err.Error(), "clients[0].initiate_login_uri: "), err)
	f.leave("EnsureContentTypeJson", "EnsureHttpStatusCodeIs400")
}

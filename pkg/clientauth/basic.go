// client_secret_basic (RFC 6749 §2.3.1).

package clientauth

import (
	"encoding/base64"
	"net/url"
	"strings"

	"kmint/pkg/oauth"
)

// basic obeys RFC 6749 §2.3.1: "The client identifier is encoded using the
// "application/x-www-form-urlencoded" encoding algorithm [...] and the encoded
// value is used as the username; the client password is encoded using the same
// algorithm and used as the password."
func basic(r oauth.Request) (credentials, error) {
	scheme, encoded, _ := strings.Cut(r.Authorization.Reveal(), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return credentials{}, refused("the Authorization scheme is not Basic")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return credentials{}, refused("the Basic credentials are not base64")
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return credentials{}, refused("the Basic credentials have no colon")
	}
	id, errID := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	if errID != nil || errSecret != nil || id == "" {
		return credentials{}, refused("the Basic credentials are not form-encoded")
	}
	if r.Get("client_secret") != "" {
		return credentials{}, twoMethods()
	}
	// A client_id that repeats the authenticated one is no second method.
	if other := r.Get("client_id"); other != "" && other != id {
		return credentials{}, oauth.InvalidRequest.Errorf("The client_id is not the authenticated one.")
	}
	return credentials{method: oauth.ClientSecretBasic, clientID: id, secret: oauth.Secret(secret)}, nil
}

// Request objects by value (OpenID Connect Core 1.0 §6.1, RFC 9101 §4).

package authorize

import (
	"bytes"
	"context"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json" // takes names as they are spelled, and no member twice

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// A Prover checks a signature by the keys of a client.
type Prover interface {
	// Prove returns trust.ErrUnavailable where the keys could not be got.
	Prove(ctx context.Context, read jwt.Unproven, from trust.Source) error
}

var _ Prover = (*trust.Verifier)(nil)

// none is the alg of what nobody has signed (RFC 7518 §3.6).
const none = "none"

// RequestAlgorithms lists the algs that discovery announces for request objects.
func RequestAlgorithms() []string { return append(jwt.AsymmetricAlgorithms(), none) }

// unfold returns the request with what its request object says: §6.1, "the
// Authorization Request [...] is assembled from" both, and where both have a
// parameter, the object's counts. Without one it returns the request as it is.
func (e Endpoint) unfold(ctx context.Context, issuer string, client store.Client, r oauth.Request) (oauth.Request, error) {
	text := r.Get("request")
	if text == "" {
		return r, nil
	}
	claims, err := e.opened(ctx, client, text)
	if err != nil {
		return r, err
	}
	malformed := func(cause error) error {
		return oauth.InvalidRequestObject.Errorf("The request object is not one of this client for this server, or not now.").Because(cause)
	}
	if err := fits(claims, issuer, client, e.Now()); err != nil {
		return r, malformed(err)
	}
	parameters, err := url.ParseQuery(r.Without("request").Encode())
	if err != nil {
		return r, malformed(err)
	}
	// §6.1: response_type and client_id "MUST" be in the request itself, and "the values
	// for these parameters MUST match those in the Request Object, if present". Of the
	// client_id that is so in fits.
	said, err := parametersOf(claims)
	if err != nil {
		return r, malformed(err)
	}
	if asked, there := said["response_type"]; there {
		if one, ok := oauth.ParseResponseType(asked[0]); !ok || r.Get("response_type") == "" {
			return r, malformed(errors.New("no response_type, or not beside it"))
		} else if other, _ := oauth.ParseResponseType(r.Get("response_type")); one != other {
			return r, malformed(errors.New("another response_type"))
		}
	}
	for name, values := range said {
		parameters[name] = values
	}
	unfolded, err := r.With(parameters.Encode())
	if err != nil {
		return r, malformed(err)
	}
	return unfolded, nil
}

// opened returns the claims of a request object that counts for the client.
func (e Endpoint) opened(ctx context.Context, client store.Client, text string) (map[string]stdjson.RawMessage, error) {
	registered := client.RequestObjectAlgorithm
	keys := trust.Source{JWKS: client.JWKS, URI: client.JWKSURI}
	if registered != none && keys == (trust.Source{}) || e.Trust == nil {
		return nil, oauth.RequestNotSupported.Errorf("The client has no keys for a request object, and is not registered for one that nobody signs.")
	}
	refused := func(cause error) error {
		return oauth.InvalidRequestObject.Errorf("The request object is not signed as the client is registered to.").Because(cause)
	}
	var claims map[string]stdjson.RawMessage
	if registered == none {
		payload, err := unsigned(text)
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil {
			return nil, refused(err)
		}
		return claims, nil
	}
	algorithms := jwt.AsymmetricAlgorithms()
	if registered != "" {
		algorithms = []string{registered}
	}
	read, err := jwt.Read(text, algorithms)
	if err != nil {
		return nil, refused(err)
	}
	// RFC 9101 §10.8 would have a typ of its own. OpenID Connect has none.
	if !slices.Contains([]string{"", "JWT", "oauth-authz-req+jwt"}, read.Type) {
		return nil, refused(fmt.Errorf("typ is %.64q", read.Type))
	}
	switch err := e.Trust.Prove(ctx, read, keys); {
	case errors.Is(err, trust.ErrUnavailable):
		return nil, oauth.TemporarilyUnavailable.Errorf("The keys of the client could not be got just now.").Because(err)
	case err != nil:
		return nil, refused(err)
	}
	if err := read.Claims(&claims); err != nil {
		return nil, refused(err)
	}
	return claims, nil
}

// unsigned is the payload of a JWS with the alg none and no signature.
func unsigned(text string) ([]byte, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[2] != "" {
		return nil, errors.New("authorize: it is not an unsigned JWT")
	}
	var decoded [2][]byte
	for i := range decoded {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(parts[i]); err != nil {
			return nil, fmt.Errorf("authorize: request object: %w", err)
		}
	}
	var header struct {
		Algorithm string   `json:"alg"`
		Critical  []string `json:"crit"`
	}
	if err := json.Unmarshal(decoded[0], &header); err != nil {
		return nil, fmt.Errorf("authorize: request object: %w", err)
	}
	if header.Algorithm != none || header.Critical != nil {
		return nil, fmt.Errorf("authorize: the alg of a request object is %.64q", header.Algorithm)
	}
	return decoded[1], nil
}

// fits says why what an object says of itself is not right here, or nil. §6.1: "If
// signed, the Request Object SHOULD contain the Claims iss [...] and aud". What is
// there must be right.
func fits(claims map[string]stdjson.RawMessage, issuer string, client store.Client, now time.Time) error {
	var said struct {
		Issuer    *string      `json:"iss"`
		ClientID  *string      `json:"client_id"`
		Audience  jwt.Audience `json:"aud"`
		Expiry    *float64     `json:"exp"`
		NotBefore *float64     `json:"nbf"`
	}
	text, err := stdjson.Marshal(claims)
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	at := float64(now.Unix())
	_, hasSubject := claims["sub"]
	_, hasRequest := claims["request"]
	_, hasURI := claims["request_uri"]
	switch {
	case err != nil:
		return err
	case said.Issuer != nil && *said.Issuer != client.ID, said.ClientID != nil && *said.ClientID != client.ID:
		return errors.New("it is another client's")
	case said.Audience != nil && !slices.Contains(said.Audience, issuer):
		return errors.New("it is for another server")
	case said.Expiry != nil && at >= *said.Expiry+jwt.Skew.Seconds():
		return errors.New("it has expired")
	case said.NotBefore != nil && at+jwt.Skew.Seconds() < *said.NotBefore:
		return errors.New("it is not valid yet")
	// RFC 9101 §10.8: so that an assertion by which the client proves itself (RFC 7523),
	// signed by the same keys, is no request object.
	case hasSubject:
		return errors.New("it has a sub")
	// §6.1: "request and request_uri parameters MUST NOT be included in Request Objects."
	case hasRequest || hasURI:
		return errors.New("it has a request within")
	default:
		return nil
	}
}

// parametersOf are the claims that stand for parameters of the request. A number or a
// truth value stands for its text, an object, as claims is, for its JSON; an array of
// strings is a parameter that is repeated.
func parametersOf(claims map[string]stdjson.RawMessage) (url.Values, error) {
	parameters := url.Values{}
	for name, raw := range claims {
		if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, name) {
			continue
		}
		var list []string
		var one string
		trimmed := bytes.TrimSpace(raw)
		switch {
		case bytes.Equal(trimmed, []byte("null")):
			continue
		case trimmed[0] == '"':
			if err := json.Unmarshal(raw, &one); err != nil {
				return nil, err
			}
			list = []string{one}
		case trimmed[0] == '[':
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, err
			}
		default:
			list = []string{string(trimmed)}
		}
		if len(list) > 0 {
			parameters[name] = list
		}
	}
	return parameters, nil
}

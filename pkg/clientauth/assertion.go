// Assertions (RFC 7521 §4.2, RFC 7523 §2.2 and §3, OpenID Connect Core 1.0 §9,
// draft-ietf-oauth-rfc7523bis §4).

package clientauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

const (
	// maxAssertion is how long an assertion may count.
	maxAssertion = 5 * time.Minute
	// afterwards is how much longer its jti is remembered: longer than a request may
	// take, or one judged just before its end could be taken just after, once more.
	afterwards = time.Minute
)

// asserted finds the client of a client_assertion. RFC 7521 §4.2 on the client_id:
// it "is unnecessary for client assertion authentication because the client is
// identified by the subject within the assertion".
func asserted(r oauth.Request) (credentials, error) {
	token := r.Get("client_assertion")
	switch {
	case token == "":
		return credentials{}, oauth.InvalidRequest.Errorf("The client_assertion is missing.")
	case r.Get("client_assertion_type") == "":
		return credentials{}, oauth.InvalidRequest.Errorf("The client_assertion_type is missing.")
	case r.Get("client_assertion_type") != oauth.AssertionType:
		return credentials{}, oauth.InvalidClient.Errorf("The client_assertion_type is not %s.", oauth.AssertionType).Named(oauth.CaseClient)
	}
	if id := r.Get("client_id"); id != "" {
		return credentials{assertion, id, oauth.Secret(token), true}, nil
	}
	read, err := jwt.Read(token, Algorithms())
	if err != nil {
		return credentials{}, because(err)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := read.Claims(&claims); err != nil {
		return credentials{}, because(err)
	}
	if claims.Subject == "" {
		return credentials{}, refused("the assertion has no sub")
	}
	return credentials{assertion, claims.Subject, oauth.Secret(token), false}, nil
}

// selfIssued checks all of an assertion that the client itself has made, but its
// signature.
func (a Authenticator) selfIssued(ctx context.Context, c Claim, method []string) (jwt.Unproven, []store.Use, error) {
	read, err := jwt.Read(c.presented.secret.Reveal(), algorithms(c.Client, method))
	if err != nil {
		return jwt.Unproven{}, nil, because(err)
	}
	claims, err := read.Registered()
	if err == nil {
		err = checkOwn(c.Client, read.Type, claims, a.Now())
	}
	if err != nil {
		return jwt.Unproven{}, nil, because(err)
	}
	if err := a.checkAudience(ctx, c.Client, claims.Audience); err != nil {
		return jwt.Unproven{}, nil, err
	}
	use := store.Use{
		Key:   oauth.DigestOf(strings.Join([]string{"jti of an assertion", c.Client.ID, claims.ID}, "\x00")),
		Until: claims.Expiry.Add(jwt.Skew + afterwards),
	}
	return read, []store.Use{use}, nil
}

// algorithms are those of the method that the client may use. What it is registered
// for never widens the method: an HMAC whose key is a public key would be anybody's
// (RFC 8725 §2.1).
func algorithms(client store.Client, method []string) []string {
	if len(client.AssertionAlgorithms) == 0 {
		return method
	}
	return slices.DeleteFunc(method, func(a string) bool { return !slices.Contains(client.AssertionAlgorithms, a) })
}

// checkOwn says why claims are not those of the client's own assertion, or nil.
func checkOwn(client store.Client, typ string, claims jwt.Registered, now time.Time) error {
	switch {
	// RFC 7523 §3: "For client authentication, the subject MUST be the "client_id" of
	// the OAuth client." OpenID Connect Core 1.0 §9 says the same of the iss.
	case claims.Issuer != client.ID:
		return fmt.Errorf("iss is %.64q, not the client_id", claims.Issuer)
	case claims.Subject != client.ID:
		return fmt.Errorf("sub is %.64q, not the client_id", claims.Subject)
	// RFC 8725 §3.11: a JWT that the client has made for another purpose is none.
	case !slices.Contains([]string{"", "jwt", "client-authentication+jwt"}, strings.ToLower(typ)):
		return fmt.Errorf("typ is %.64q", typ)
	// OpenID Connect Core 1.0 §9: "jti REQUIRED".
	case claims.ID == "":
		return errors.New("the assertion has no jti")
	default:
		return claims.Check(now, maxAssertion)
	}
}

// checkAudience obeys draft-ietf-oauth-rfc7523bis §4, which has for the aud "the
// issuer identifier of the authorization server as its sole value": an assertion that
// is for others too may come from one of them.
func (a Authenticator) checkAudience(ctx context.Context, client store.Client, audience jwt.Audience) error {
	issuer, err := a.Issuers.Issuer(ctx)
	if err != nil {
		return err
	}
	accepted := []string{issuer}
	if client.TokenEndpointAudience {
		for _, path := range a.TokenPaths {
			accepted = append(accepted, oauth.Endpoint(issuer, path))
		}
	}
	if len(audience) != 1 || !slices.Contains(accepted, audience[0]) {
		return refused(fmt.Sprintf("aud is %.256q, not %q", []string(audience), issuer))
	}
	return nil
}

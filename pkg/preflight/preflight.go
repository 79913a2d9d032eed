// Package preflight answers: does a new version of the functions make tokens, before
// anybody gets one?
//
// CodeDeploy asks before it sends the first request to a version. So the functions are
// called by their version, as API Gateway would call them: the discovery document, the
// keys, a token for an assertion that a KMS key has signed, which must verify against
// those keys, and three requests that must be refused. The client is one of kmint's own,
// which `kmint import` registers, and its token is for an API that nobody serves.
//
// A stack into which nothing was imported yet has no issuer, and no such client. It has
// no tokens either that could break, so it is let through, and why is said.
package preflight

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// ClientID is the client, and Audience the API that its tokens are for, with one scope.
const (
	ClientID = "kmint-preflight"
	Audience = "urn:kmint:preflight"
	Scope    = "preflight"
)

// Algorithm is that of the client's assertions.
const Algorithm = jwt.ES256

// attempts is how often all is tried: a role that has just changed may take some
// seconds until it holds.
const attempts = 3

// Versions calls a function by the ARN of one of its versions: a request to an address,
// with a form as its body, "" for none.
type Versions interface {
	Call(ctx context.Context, version, method, address, form string) (status int, body string, err error)
}

// Registration reads the record of the client. ErrNotFound of package store if there is
// none.
type Registration interface {
	Client(ctx context.Context, id string) (store.Client, error)
}

// A Key signs by the KMS key of this ARN.
type Key interface {
	PublicKey(ctx context.Context, arn string) (crypto.PublicKey, error)
	Sign(ctx context.Context, key jwt.Key, message []byte) ([]byte, error)
}

// ErrNothingToTry says that there is nothing yet that could be tried.
var ErrNothingToTry = errors.New("preflight: nothing to try")

// A Check is what is tried.
type Check struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer       string
	Issuers      store.Issuers
	Registration Registration
	Versions     Versions
	Key          Key
	// KeyARN is that of the client's key, and the others those of the new versions.
	KeyARN                                                            string
	TokenVersion, AuthorizeVersion, UserinfoVersion, DiscoveryVersion string

	// Pause is the time between two attempts.
	Pause time.Duration
	Now   func() time.Time
}

// Run tries everything. An error that is ErrNothingToTry says why there was nothing, and
// any other what is wrong with the versions.
func (c Check) Run(ctx context.Context) error {
	var err error
	for attempt := range attempts {
		if attempt > 0 {
			select {
			case <-time.After(c.Pause):
			case <-ctx.Done():
				return errors.Join(err, ctx.Err())
			}
		}
		if err = c.once(ctx); err == nil || errors.Is(err, ErrNothingToTry) {
			return err
		}
	}
	return err
}

func (c Check) once(ctx context.Context) error {
	issuer, err := c.issuer(ctx)
	if err != nil {
		return err
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return err
	}
	found, keys, err := c.discover(ctx, issuer)
	if err != nil {
		return err
	}
	assertion, err := jwt.Sign(ctx, signer, jwt.Choice{Algorithm: Algorithm}, "client-authentication+jwt", c.claims(issuer))
	if err != nil {
		return fmt.Errorf("preflight: the assertion: %w", err)
	}
	token, err := c.token(ctx, found.TokenEndpoint, assertion)
	if err != nil {
		return err
	}
	var claims struct {
		ClientID string `json:"client_id"`
	}
	want := jwt.Expected{Type: jwt.TypAccessToken, Issuer: issuer, Audience: Audience, Now: c.Now()}
	if err := jwt.Verify(ctx, keys, token, want, &claims); err != nil {
		return fmt.Errorf("preflight: the token does not verify against the published keys: %w", err)
	}
	if claims.ClientID != ClientID {
		return fmt.Errorf("preflight: the token is one for %q", claims.ClientID)
	}
	return c.refusals(ctx, found, assertion, token)
}

func (c Check) issuer(ctx context.Context) (string, error) {
	if c.Issuer != "" {
		return c.Issuer, nil
	}
	issuer, err := c.Issuers.Issuer(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("%w: there is no issuer record; kmint import writes it", ErrNothingToTry)
	case err != nil:
		return "", fmt.Errorf("preflight: the issuer: %w", err)
	}
	return issuer, nil
}

// signer signs with the client's key, if it is the one that is registered: one that a
// deploy has just made is not.
func (c Check) signer(ctx context.Context) (jwt.Signer, error) {
	client, err := c.Registration.Client(ctx, ClientID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("%w: the client %s is not registered; kmint import does it", ErrNothingToTry, ClientID)
	case err != nil:
		return nil, fmt.Errorf("preflight: the client: %w", err)
	}
	public, err := c.Key.PublicKey(ctx, c.KeyARN)
	if err != nil {
		return nil, fmt.Errorf("preflight: the client's key: %w", err)
	}
	kid, err := jwt.Thumbprint(public)
	if err != nil {
		return nil, fmt.Errorf("preflight: the client's key: %w", err)
	}
	var registered jwt.Set
	if err := json.Unmarshal([]byte(client.JWKS), &registered); err != nil {
		return nil, fmt.Errorf("preflight: the client's keys: %w", err)
	}
	for _, key := range registered.Keys {
		if key.ID == kid {
			return signer{jwt.Key{ID: kid, Algorithm: Algorithm, Reference: c.KeyARN, Public: public}, c.Key}, nil
		}
	}
	return nil, fmt.Errorf("%w: another key is registered for the client %s; kmint import registers this one", ErrNothingToTry, ClientID)
}

// signer is the client as a jwt.Signer.
type signer struct {
	key jwt.Key
	Key
}

var _ jwt.Signer = signer{}

func (s signer) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) { return s.key, nil }

// published is what is looked at in the discovery document.
type published struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
	JWKSURI       string `json:"jwks_uri"`
	Authorization string `json:"authorization_endpoint"`
	Userinfo      string `json:"userinfo_endpoint"`
}

// keySet is one that was fetched.
type keySet []jwt.Key

var _ jwt.KeySet = keySet(nil)

func (k keySet) Keys(context.Context) ([]jwt.Key, error) { return k, nil }

func (c Check) discover(ctx context.Context, issuer string) (published, keySet, error) {
	var found published
	if err := c.document(ctx, oauth.Endpoint(issuer, "/.well-known/openid-configuration"), &found); err != nil {
		return published{}, nil, err
	}
	if found.Issuer != issuer {
		return published{}, nil, fmt.Errorf("preflight: the discovery document is that of %q, and not of %q", found.Issuer, issuer)
	}
	var keys jwt.Set
	if err := c.document(ctx, found.JWKSURI, &keys); err != nil {
		return published{}, nil, err
	}
	return found, keys.Keys, nil
}

func (c Check) document(ctx context.Context, address string, dst any) error {
	a, err := c.call(ctx, c.DiscoveryVersion, "GET", address, "")
	if err != nil {
		return err
	}
	if a.status != 200 {
		return unexpected(address, a, "200")
	}
	if err := json.Unmarshal([]byte(a.body), dst); err != nil {
		return fmt.Errorf("preflight: %s: %w", address, err)
	}
	return nil
}

// claims are those of an assertion (RFC 7523 §3).
func (c Check) claims(issuer string) map[string]any {
	now := c.Now().Unix()
	return map[string]any{"iss": ClientID, "sub": ClientID, "aud": issuer, "iat": now, "exp": now + 60, "jti": rand.Text()}
}

func (c Check) token(ctx context.Context, endpoint, assertion string) (string, error) {
	a, err := c.call(ctx, c.TokenVersion, "POST", endpoint, form(assertion))
	if err != nil {
		return "", err
	}
	if a.status != 200 {
		return "", unexpected(endpoint, a, "200")
	}
	var got struct {
		Token string `json:"access_token"`
	}
	if json.Unmarshal([]byte(a.body), &got) != nil || got.Token == "" {
		return "", fmt.Errorf("preflight: %s answers with no access_token", endpoint)
	}
	return got.Token, nil
}

func form(assertion string) string {
	return url.Values{
		"grant_type": {"client_credentials"}, "audience": {Audience}, "scope": {Scope},
		"client_assertion_type": {oauth.AssertionType}, "client_assertion": {assertion},
	}.Encode()
}

// refusals asks for what must not be given.
func (c Check) refusals(ctx context.Context, found published, assertion, token string) error {
	for _, r := range []struct {
		what, version, method, address, form string
		statuses                             []int
		says                                 string
	}{
		{"an assertion that was changed", c.TokenVersion, "POST", found.TokenEndpoint, form(changed(assertion)), []int{400, 401}, "invalid_client"},
		{"an assertion that was used", c.TokenVersion, "POST", found.TokenEndpoint, form(assertion), []int{400, 401}, "invalid_client"},
		{"userinfo without a token", c.UserinfoVersion, "GET", found.Userinfo, "", []int{401}, ""},
		{"an authorization request of nobody", c.AuthorizeVersion, "GET", found.Authorization, "", []int{400}, ""},
	} {
		a, err := c.call(ctx, r.version, r.method, r.address, r.form)
		if err != nil {
			return err
		}
		refused := false
		for _, status := range r.statuses {
			refused = refused || a.status == status
		}
		if !refused || !strings.Contains(a.body, r.says) || strings.Contains(a.body, "access_token") {
			return fmt.Errorf("preflight: %s is not refused: %w", r.what, unexpected(r.address, a, r.says))
		}
	}
	return nil
}

// changed is an assertion whose signature is that of another.
func changed(assertion string) string {
	last := strings.LastIndexByte(assertion, '.')
	first := byte('A')
	if assertion[last+1] == first {
		first = 'B'
	}
	return assertion[:last+1] + string(first) + assertion[last+2:]
}

// An answer is what a version says.
type answer struct {
	status int
	body   string
}

func (c Check) call(ctx context.Context, version, method, address, form string) (answer, error) {
	status, body, err := c.Versions.Call(ctx, version, method, address, form)
	if err != nil {
		return answer{}, fmt.Errorf("preflight: %s: %w", address, err)
	}
	return answer{status, body}, nil
}

// unexpected says what came, and of the body no more than the error that it names: it
// may hold a token.
func unexpected(address string, a answer, want string) error {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal([]byte(a.body), &said) != nil {
		said.Error = "no JSON"
	}
	return fmt.Errorf("%s answers %d (%.64s %.256s), want %s", address, a.status, said.Error, said.Description, want)
}

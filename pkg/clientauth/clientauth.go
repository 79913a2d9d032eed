// Package clientauth answers: which client is this?
//
// One file per method of RFC 7591 §2. A request uses exactly one; RFC 6749 §2.3:
// "The client MUST NOT use more than one authentication method in each
// request."
package clientauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// An Authenticator knows the clients.
type Authenticator struct {
	Clients store.Clients
	// Issuers names us: assertions are for us alone.
	Issuers store.Issuers
	// TokenPaths are those of the token endpoint, for clients that name it.
	TokenPaths []string
	// Vault opens the secrets of client_secret_jwt.
	Vault Vault
	// Trust knows the keys of clients, and foreign issuers.
	Trust *trust.Verifier
	Now   func() time.Time
}

// Methods lists what token_endpoint_auth_methods_supported says (RFC 8414 §2).
func Methods() []string {
	return []string{
		oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.ClientSecretJWT,
		oauth.PrivateKeyJWT, oauth.WorkloadIdentity, oauth.None,
	}
}

// Algorithms lists what token_endpoint_auth_signing_alg_values_supported says (RFC
// 8414 §2).
func Algorithms() []string {
	return append(jwt.AsymmetricAlgorithms(), jwt.SymmetricAlgorithms()...)
}

// credentials are what a request presents, whichever way.
type credentials struct {
	// method is assertion where a JWT is presented: which of the methods that is, only
	// the client's registration says.
	method   string
	clientID string
	secret   oauth.Secret // or the assertion
	// named says that the request has a client_id.
	named bool
}

// assertion stands for the methods of RFC 7521 §4.2.
const assertion = "assertion"

// A Claim is a client that a request says it comes from, and what it presents to
// prove it.
type Claim struct {
	// Client is unproven until Authenticate says so: only what is public may depend
	// on it.
	Client    store.Client
	presented credentials
}

// An Authentication is a client that has proven itself.
type Authentication struct {
	Client store.Client
	// Uses are what the proof used up, if the caller takes them: the jti of an
	// assertion. By is left to the caller.
	Uses []store.Use
}

// Identify finds the client that the request says it comes from.
func (a Authenticator) Identify(ctx context.Context, r oauth.Request) (Claim, error) {
	presented, err := read(r)
	if err != nil {
		return Claim{}, err
	}
	client, err := a.Clients.Client(ctx, presented.clientID)
	if errors.Is(err, store.ErrNotFound) {
		return Claim{}, refused(fmt.Sprintf("unknown client %.64q", presented.clientID))
	}
	return Claim{client, presented}, err
}

// Authenticate proves that the request comes from the client.
//
// Keys that could not be got, and a vault that is busy, prove nothing either way:
// the answer is 503, so that a client does not take a fault of its own server, or of
// ours, for a secret that has changed.
func (a Authenticator) Authenticate(ctx context.Context, c Claim) (Authentication, error) {
	method := c.Client.AuthMethod
	byAssertion := slices.Contains([]string{oauth.ClientSecretJWT, oauth.PrivateKeyJWT, oauth.WorkloadIdentity}, method)
	if c.presented.method != method && (c.presented.method != assertion || !byAssertion) {
		return Authentication{}, refused("the client is registered for " + method + ", not " + c.presented.method)
	}
	var uses []store.Use
	var err error
	switch method {
	case oauth.None:
	case oauth.ClientSecretJWT:
		uses, err = a.clientSecretJWT(ctx, c)
	case oauth.PrivateKeyJWT:
		uses, err = a.privateKeyJWT(ctx, c)
	case oauth.WorkloadIdentity:
		err = a.workloadIdentity(ctx, c)
	default:
		if !knows(c.Client.SecretDigests, c.presented.secret.Digest()) {
			err = refused("wrong secret")
		}
	}
	if err != nil {
		return Authentication{}, err
	}
	return Authentication{c.Client, uses}, nil
}

// knows compares with each of the current secrets.
func knows(current []oauth.Digest, presented oauth.Digest) bool {
	return slices.ContainsFunc(current, presented.Equal)
}

// read finds the one method that the request uses.
func read(r oauth.Request) (credentials, error) {
	byHeader, bySecret := r.Authorization != "", r.Get("client_secret") != ""
	byAssertion := r.Get("client_assertion") != "" || r.Get("client_assertion_type") != ""
	switch {
	case byAssertion && (byHeader || bySecret):
		return credentials{}, twoMethods()
	case byAssertion:
		return asserted(r)
	case byHeader:
		return basic(r)
	case bySecret:
		return post(r)
	default:
		return none(r)
	}
}

func twoMethods() error {
	return oauth.InvalidRequest.Errorf("The request authenticates the client by two methods.")
}

// refused says the same to the caller whatever was wrong: who guesses client
// ids learns nothing.
func refused(cause string) error { return because(errors.New(cause)) }

func because(cause error) error { return failed().Because(cause) }

func failed() *oauth.Error {
	return oauth.InvalidClient.Errorf("Client authentication failed.").Named(oauth.CaseClient)
}

// Replayed refuses an assertion whose jti was used before, like all that proves
// nothing.
func Replayed() *oauth.Error { return failed() }

// unproven tells keys that could not be got, of which the client may be told to come
// again, from a proof that does not hold.
func unproven(err error) error {
	if errors.Is(err, trust.ErrUnavailable) {
		return oauth.TemporarilyUnavailable.Errorf("The keys that prove the client's assertion could not be fetched.").Because(err)
	}
	return because(err)
}

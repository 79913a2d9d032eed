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

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// An Authenticator knows the clients.
type Authenticator struct {
	Clients store.Clients
}

// credentials are what a request presents, whichever way.
type credentials struct {
	method   string
	clientID string
	secret   oauth.Secret
}

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
func (a Authenticator) Authenticate(ctx context.Context, c Claim) (Authentication, error) {
	switch {
	case c.presented.method != c.Client.AuthMethod:
		return Authentication{}, refused("the client is registered for " + c.Client.AuthMethod + ", not " + c.presented.method)
	case c.presented.method != oauth.None && !knows(c.Client.SecretDigests, c.presented.secret.Digest()):
		return Authentication{}, refused("wrong secret")
	default:
		return Authentication{Client: c.Client}, nil
	}
}

// knows compares with each of the current secrets.
func knows(current []oauth.Digest, presented oauth.Digest) bool {
	return slices.ContainsFunc(current, presented.Equal)
}

// read finds the one method that the request uses.
func read(r oauth.Request) (credentials, error) {
	switch {
	case r.Authorization != "":
		return basic(r)
	case r.Get("client_secret") != "":
		return post(r)
	default:
		return none(r)
	}
}

// refused says the same to the caller whatever was wrong: who guesses client
// ids learns nothing.
func refused(cause string) error {
	return oauth.InvalidClient.Errorf("Client authentication failed.").Named(oauth.CaseClient).Because(errors.New(cause))
}

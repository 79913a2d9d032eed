// Package clientauth answers: which client is this?
//
// One file per method of RFC 7591 §2. A request uses exactly one; RFC 6749 §2.3:
// "The client MUST NOT use more than one authentication method in each
// request."
package clientauth

import (
	"context"
	"errors"

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

// Identify returns the client that the request says it comes from, before
// anything is proven: only what is public may depend on it.
func (a Authenticator) Identify(ctx context.Context, r oauth.Request) (store.Client, error) {
	c, err := read(r)
	if err != nil {
		return store.Client{}, err
	}
	client, err := a.Clients.Client(ctx, c.clientID)
	if errors.Is(err, store.ErrNotFound) {
		return store.Client{}, refused("unknown client")
	}
	return client, err
}

// Authenticate proves that the request comes from the client.
func (a Authenticator) Authenticate(client store.Client, r oauth.Request) error {
	c, err := read(r)
	if err != nil {
		return err
	}
	if c.method != client.AuthMethod {
		return refused("the client is registered for " + client.AuthMethod + ", not " + c.method)
	}
	if c.method != oauth.None && !client.SecretDigest.Equal(c.secret.Digest()) {
		return refused("wrong secret")
	}
	return nil
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
	return oauth.InvalidClient.Errorf("Client authentication failed.").Because(errors.New(cause))
}

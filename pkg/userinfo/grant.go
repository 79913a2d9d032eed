// Grants that a token hangs on, its client's or another's (RFC 8693).

package userinfo

import (
	"context"
	"errors"

	"kmint/pkg/policy"
	"kmint/pkg/store"
)

// stands judges a grant that a token of the client hangs on, and the one that it was
// made of by exchange (RFC 8693). It may be another client's, whose token this one was
// exchanged for.
func (e Endpoint) stands(ctx context.Context, settings store.Settings, grant store.Grant, clientID string) error {
	if !grant.Revoked.IsZero() {
		return invalid(errors.New("the grant is revoked"))
	}
	if grant.ClientID != clientID {
		client, err := e.Clients.Client(ctx, grant.ClientID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return invalid(errors.New("the client of the grant is gone"))
		case err != nil:
			return err
		case policy.LoginEnded(client, settings, grant.AuthTime):
			return invalid(errors.New("the client of the grant has ended the login"))
		}
	}
	if grant.Parent == "" {
		return nil
	}
	before, err := e.Grants.Grant(ctx, grant.Parent)
	if errors.Is(err, store.ErrNotFound) {
		return invalid(errors.New("the grant before is gone"))
	}
	if err != nil {
		return err
	}
	return e.stands(ctx, settings, before, grant.ClientID)
}

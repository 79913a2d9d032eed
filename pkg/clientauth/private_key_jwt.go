// private_key_jwt (OpenID Connect Core 1.0 §9).

package clientauth

import (
	"context"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// privateKeyJWT asks for the client's keys last: they may have to be fetched.
func (a Authenticator) privateKeyJWT(ctx context.Context, c Claim) ([]store.Use, error) {
	read, uses, err := a.selfIssued(ctx, c, jwt.AsymmetricAlgorithms())
	if err != nil {
		return nil, err
	}
	if err := a.Trust.Prove(ctx, read, trust.Source{JWKS: c.Client.JWKS, URI: c.Client.JWKSURI}); err != nil {
		return nil, unproven(err)
	}
	return uses, nil
}

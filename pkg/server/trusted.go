package server

import (
	"context"
	"fmt"

	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// trusted are the foreign issuers of the settings.
type trusted struct {
	settings store.ServerSettings
}

var _ trust.Issuers = trusted{}

// TrustedIssuer returns trust.ErrUntrusted for one that the owner has not named.
func (t trusted) TrustedIssuer(ctx context.Context, issuer string) (trust.Issuer, error) {
	settings, err := t.settings.Settings(ctx)
	if err != nil {
		return trust.Issuer{}, fmt.Errorf("server: settings: %w", err)
	}
	for _, i := range settings.TrustedIssuers {
		if i.Issuer == issuer {
			return trust.Issuer{Issuer: i.Issuer, JWKS: i.JWKS, JWKSURI: i.JWKSURI, Algorithms: i.Algorithms}, nil
		}
	}
	return trust.Issuer{}, trust.ErrUntrusted
}

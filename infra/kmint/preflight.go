package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/oauth"
	"kmint/pkg/preflight"
	"kmint/pkg/seed"
	"kmint/pkg/store"
)

// withPreflight adds the client that the preflight function is, and the API that its
// tokens are for, where the stack has such a function. Nobody else may be either.
func (i *importer) withPreflight(ctx context.Context, s seed.Seed, signer kms.Signer) (seed.Seed, error) {
	if slices.ContainsFunc(s.Clients, func(c seed.Client) bool { return c.ID == preflight.ClientID }) ||
		slices.ContainsFunc(s.APIs, func(a store.API) bool { return a.Identifier == preflight.Audience }) {
		return seed.Seed{}, errors.New("the names " + preflight.ClientID + " and " + preflight.Audience + " are the preflight function's own; name yours otherwise")
	}
	if i.PreflightKey == "" {
		return s, nil
	}
	public, err := signer.PublicKey(ctx, i.PreflightKey)
	if err != nil {
		return seed.Seed{}, fmt.Errorf("the public key of %s cannot be read: %w", i.PreflightKey, err)
	}
	key, err := keys.New(preflight.Algorithm, public, i.PreflightKey)
	if err != nil {
		return seed.Seed{}, fmt.Errorf("%s cannot be the preflight function's key: %w", i.PreflightKey, err)
	}
	file, err := json.Marshal(map[string]any{
		"apis": []any{map[string]any{
			"identifier": preflight.Audience, "name": "Nobody's: the preflight function tries new versions by its tokens",
			"scopes": map[string]string{preflight.Scope: "Nothing"}, "token_lifetime": 60,
		}},
		"clients": []any{map[string]any{
			"client_id": preflight.ClientID, "client_name": "The preflight function of kmint",
			"token_endpoint_auth_method": oauth.PrivateKeyJWT, "token_endpoint_auth_signing_alg": preflight.Algorithm, "jwks": jwt.Set{Keys: []jwt.Key{key}},
			"grant_types": []string{oauth.ClientCredentials}, "error_profile": store.Strict, "api_grants": map[string][]string{preflight.Audience: {preflight.Scope}},
		}},
	})
	if err != nil {
		return seed.Seed{}, err
	}
	own, err := seed.Read(bytes.NewReader(file))
	if err != nil {
		return seed.Seed{}, fmt.Errorf("the preflight function's client: %w", err)
	}
	s.APIs, s.Clients = append(slices.Clone(s.APIs), own.APIs...), append(slices.Clone(s.Clients), own.Clients...)
	return s, nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/store"
)

// A want is a key that a configuration needs.
type want struct {
	// member is what in the file asks for it.
	member    string
	algorithm string // "" for the key that encrypts secrets
	keyID     string
}

// wants lists the keys that a configuration needs beside the one for RS256, which
// every stack has.
func wants(s seed.Seed) []want {
	var all []want
	for n, api := range s.APIs {
		algorithm := cmp.Or(api.Algorithm, jwt.RS256)
		if algorithm != jwt.RS256 {
			all = append(all, want{fmt.Sprintf("apis[%d].signing_alg", n), algorithm, ""})
		}
		if api.KeyID != "" {
			all = append(all, want{fmt.Sprintf("apis[%d].signing_key_id", n), algorithm, api.KeyID})
		}
	}
	for n, client := range s.Clients {
		if algorithm := cmp.Or(client.IDTokenAlgorithm, jwt.RS256); algorithm != jwt.RS256 {
			all = append(all, want{fmt.Sprintf("clients[%d].id_token_signed_response_alg", n), algorithm, ""})
		}
		if client.AuthMethod == oauth.ClientSecretJWT {
			all = append(all, want{fmt.Sprintf("clients[%d].token_endpoint_auth_method", n), "", ""})
		}
	}
	return all
}

// parameter is the one of template.yaml that makes the key, and its value.
func (w want) parameter() string {
	if w.algorithm == "" {
		return "ClientSecretJwt=yes"
	}
	spec := map[string]string{
		jwt.ES256: "ECC_NIST_P256", jwt.ES384: "ECC_NIST_P384", jwt.ES512: "ECC_NIST_P521",
		jwt.EdDSA: "ECC_NIST_EDWARDS25519", jwt.Ed25519: "ECC_NIST_EDWARDS25519",
		jwt.MLDSA44: "ML_DSA_44", jwt.MLDSA65: "ML_DSA_65", jwt.MLDSA87: "ML_DSA_87",
	}[w.algorithm]
	return parameterOf(w.algorithm) + "=" + cmp.Or(spec, "RSA_2048")
}

// parameterOf is the parameter of template.yaml that makes a key for an algorithm.
func parameterOf(algorithm string) string { return strings.ReplaceAll(algorithm, "-", "") }

// flag names the key where there is no stack.
func (w want) flag() string {
	if w.algorithm == "" {
		return "--secrets-key"
	}
	return "--key " + w.algorithm + "=ARN"
}

// followed says that the key which is wanted signed once: keys.Ring takes the one that
// has followed it.
func followed(registry store.Registry, w want) bool {
	return slices.ContainsFunc(registry.Keys, func(k store.SigningKey) bool {
		return k.ID == w.keyID && k.Algorithm == w.algorithm && k.State != store.KeyNext
	})
}

// keysFit refuses a configuration for which keys are missing: what it is for would
// fail with every request. first are the keys that are to be registered.
func (i *importer) keysFit(ctx context.Context, s seed.Seed, registries store.RegistryReader, first []jwt.Key) error {
	all := wants(s)
	if len(all) == 0 {
		return nil
	}
	registry, err := registries.Registry(ctx)
	if err != nil {
		return fmt.Errorf("the signing keys cannot be read: %w", err)
	}
	active := slices.DeleteFunc(slices.Clone(registry.Keys), func(k store.SigningKey) bool { return k.State != store.KeyActive })
	for _, k := range first {
		// keys.First makes it active under the same condition.
		if !slices.ContainsFunc(registry.Keys, func(r store.SigningKey) bool {
			return r.ID == k.ID || r.Algorithm == k.Algorithm && r.State == store.KeyActive
		}) {
			active = append(active, store.SigningKey{ID: k.ID, Algorithm: k.Algorithm})
		}
	}
	var missing []error
	for _, w := range all {
		there := i.SecretsKey != ""
		if w.algorithm != "" {
			there = slices.ContainsFunc(active, func(k store.SigningKey) bool {
				return k.Algorithm == w.algorithm && (w.keyID == "" || w.keyID == k.ID || followed(registry, w))
			})
		}
		switch {
		case there:
		case w.keyID != "":
			missing = append(missing, fmt.Errorf("%s: no active key for %s has the kid %s", w.member, w.algorithm, w.keyID))
		case i.Stack != "":
			missing = append(missing, fmt.Errorf("%s: the stack %s has no key for that; deploy it with the parameter %s", w.member, i.Stack, w.parameter()))
		default:
			missing = append(missing, fmt.Errorf("%s: there is no key for that; name one by %s", w.member, w.flag()))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s cannot be imported: %w", i.Seed, errors.Join(missing...))
	}
	return nil
}

// keepsEnded refuses a file whose server has an earlier not_before than the table: what
// that has ended would live again, after a restore too. One that lies ahead may come
// back to now.
func (i *importer) keepsEnded(ctx context.Context, s seed.Seed, db store.ServerSettings) error {
	if s.Settings == nil {
		return nil
	}
	stored, err := db.Settings(ctx)
	if err != nil {
		return fmt.Errorf("the settings of the server cannot be read: %w", err)
	}
	least := stored.NotBefore
	if now := time.Now(); least.After(now) {
		least = now
	}
	if s.Settings.NotBefore.Before(least) {
		return fmt.Errorf("%s cannot be imported: server.not_before: what began before %s has ended, and would live again; write %q there, or later",
			i.Seed, stored.NotBefore.Format(time.RFC3339Nano), least.Truncate(time.Millisecond).UTC().Format(time.RFC3339Nano))
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/seed"
	"kmint/pkg/store"
)

// newStore is the store as an import sees it: the grants are none of its
// business.
func newStore(cfg aws.Config, i *importer) *dynamo.Store {
	return &dynamo.Store{DB: dynamo.NewClient(cfg), ConfigTable: i.ConfigTable, UsersTable: i.UsersTable}
}

func (i *importer) writers(s *dynamo.Store, client *awskms.Client) seed.Writers {
	w := seed.Writers{Issuer: i.Issuer, Clients: s, APIs: s, Settings: s, Config: s, Users: s, Logins: s, People: s}
	if i.SecretsKey != "" {
		w.Vault = kms.Vault{Client: client, Key: i.SecretsKey}
	}
	return w
}

// signingKeys are those that a flag or the stack names.
func (i *importer) signingKeys(ctx context.Context, signer kms.Signer) ([]jwt.Key, error) {
	var named []jwt.Key
	for _, algorithm := range jwt.Algorithms() {
		arn := i.Keys[algorithm]
		if algorithm == jwt.RS256 {
			arn = i.SigningKey
		}
		if arn == "" {
			continue
		}
		public, err := signer.PublicKey(ctx, arn)
		if err != nil {
			return nil, fmt.Errorf("the public key of %s cannot be read: %w", arn, err)
		}
		key, err := keys.New(algorithm, public, arn)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be the %s signing key: %w", arn, algorithm, err)
		}
		named = append(named, key)
	}
	return named, nil
}

// allowLifetimes writes down how long tokens may live, before an API says so: keys
// that have signed them are published as long.
func (i *importer) allowLifetimes(ctx context.Context, s seed.Seed, db *dynamo.Store) error {
	longest := int64(store.DefaultTokenLifetime)
	for _, api := range s.APIs {
		longest = max(longest, api.TokenLifetime)
	}
	if i.DryRun {
		return nil
	}
	if _, err := keys.Allow(ctx, db, time.Duration(longest)*time.Second); err != nil {
		return fmt.Errorf("the lifetime of tokens cannot be written down: %w", err)
	}
	return nil
}

// registerKey makes a key of the stack's the first one of its algorithm. Once
// another one has followed it, that one stays.
func (i *importer) registerKey(ctx context.Context, s *dynamo.Store, key jwt.Key) error {
	var registries store.Registries = s
	if i.DryRun {
		registries = readOnly{s}
	}
	switch created, err := keys.First(ctx, registries, key, time.Now()); {
	case errors.Is(err, keys.ErrOther):
		i.say("unchanged %s signing key: another one than %s is active", key.Algorithm, key.Reference)
		return nil
	case err != nil:
		return fmt.Errorf("the signing key cannot be registered: %w", err)
	case created:
		i.say("created %s signing key %s", key.Algorithm, key.ID)
	default:
		i.say("unchanged %s signing key %s", key.Algorithm, key.ID)
	}
	return nil
}

// readOnly is the registry of a dry run.
type readOnly struct{ store.RegistryReader }

var _ store.Registries = readOnly{}

func (readOnly) ReplaceRegistry(context.Context, store.Registry) error { return nil }

// writeIssuer writes the issuer record if it is another. All tokens of another
// issuer stop counting: it says so.
func (i *importer) writeIssuer(ctx context.Context, s *dynamo.Store) error {
	stored, err := s.Issuer(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		i.say("created issuer %s", i.Issuer)
	case err != nil:
		return fmt.Errorf("the issuer record cannot be read: %w", err)
	case stored == i.Issuer:
		i.say("unchanged issuer %s", i.Issuer)
		return nil
	default:
		i.say("changed issuer from %s to %s; tokens and sessions of the old one end", stored, i.Issuer)
	}
	if i.DryRun {
		return nil
	}
	return s.PutIssuer(ctx, i.Issuer)
}

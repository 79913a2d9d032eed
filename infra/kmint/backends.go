package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kmint/pkg/dynamo"
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

func writers(s *dynamo.Store, issuer string) seed.Writers {
	return seed.Writers{Issuer: issuer, Clients: s, APIs: s, Settings: s, Config: s, Users: s, Logins: s, People: s}
}

// registerKey makes the stack's key the first signing key. Once another one has
// followed it, that one stays.
func (i *importer) registerKey(ctx context.Context, s *dynamo.Store, signer kms.Signer) error {
	public, err := signer.PublicKey(ctx, i.SigningKey)
	if err != nil {
		return fmt.Errorf("the public key of %s cannot be read: %w", i.SigningKey, err)
	}
	key, err := keys.New(public, i.SigningKey)
	if err != nil {
		return fmt.Errorf("%s cannot be the signing key: %w", i.SigningKey, err)
	}
	var registries store.Registries = s
	if i.DryRun {
		registries = readOnly{s}
	}
	switch created, err := keys.First(ctx, registries, key, time.Now()); {
	case errors.Is(err, keys.ErrOther):
		i.say("unchanged signing key: another one than %s is active", i.SigningKey)
		return nil
	case err != nil:
		return fmt.Errorf("the signing key cannot be registered: %w", err)
	case created:
		i.say("created signing key %s", key.ID)
	default:
		i.say("unchanged signing key %s", key.ID)
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

package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/store"
)

var (
	_ store.Clients        = (*Store)(nil)
	_ store.APIs           = (*Store)(nil)
	_ store.ServerSettings = (*Store)(nil)
	_ store.Issuers        = (*Store)(nil)
	_ store.ConfigWriter   = (*Store)(nil)
	_ store.Registries     = (*Store)(nil)
)

const (
	issuerKey   = "issuer"
	settingsKey = "server"
	registryKey = "keys"
)

func clientKey(id string) string      { return "client#" + id }
func apiKey(identifier string) string { return "api#" + identifier }

// Client finds one client.
func (s *Store) Client(_ context.Context, id string) (c store.Client, err error) {
	err = s.config(clientKey(id), &c)
	return c, err
}

// API finds one API.
func (s *Store) API(_ context.Context, identifier string) (a store.API, err error) {
	err = s.config(apiKey(identifier), &a)
	return a, err
}

// Settings reads the settings.
func (s *Store) Settings(_ context.Context) (settings store.Settings, err error) {
	err = optional(s.config(settingsKey, &settings))
	return settings, err
}

// Issuer reads the issuer record.
func (s *Store) Issuer(_ context.Context) (issuer string, err error) {
	err = s.config(issuerKey, &issuer)
	return issuer, err
}

// Registry reads the signing-key registry.
func (s *Store) Registry(_ context.Context) (r store.Registry, err error) {
	err = optional(s.config(registryKey, &r))
	return r, err
}

// PutClient writes a client.
func (s *Store) PutClient(_ context.Context, c store.Client) error {
	return s.putConfig(clientKey(c.ID), c)
}

// PutAPI writes an API.
func (s *Store) PutAPI(_ context.Context, a store.API) error {
	return s.putConfig(apiKey(a.Identifier), a)
}

// PutSettings writes the settings.
func (s *Store) PutSettings(_ context.Context, settings store.Settings) error {
	return s.putConfig(settingsKey, settings)
}

// PutIssuer writes the issuer record.
func (s *Store) PutIssuer(_ context.Context, issuer string) error {
	return s.putConfig(issuerKey, issuer)
}

// ReplaceRegistry writes r if the stored version is the one before.
func (s *Store) ReplaceRegistry(_ context.Context, r store.Registry) error {
	return s.update(configBucket, func(b items) error {
		var stored store.Registry
		if err := optional(b.get(registryKey, &stored)); err != nil {
			return err
		}
		if r.Version < 1 || stored.Version != r.Version-1 {
			return store.ErrConflict
		}
		return b.put(registryKey, r, time.Time{})
	})
}

// config reads a record into value, a pointer.
func (s *Store) config(key string, value any) error {
	return s.view(configBucket, func(b items) error { return b.get(key, value) })
}

func (s *Store) putConfig(key string, value any) error {
	return s.update(configBucket, func(b items) error { return b.put(key, value, time.Time{}) })
}

// optional is the error of reading what need not be there.
func optional(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

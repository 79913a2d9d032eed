package dynamo

import (
	"context"
	"errors"

	"kmint/pkg/store"
)

var (
	_ store.Clients        = (*Store)(nil)
	_ store.APIs           = (*Store)(nil)
	_ store.ServerSettings = (*Store)(nil)
	_ store.Issuers        = (*Store)(nil)
	_ store.ConfigWriter   = (*Store)(nil)
)

const (
	issuerKey   = "issuer"
	settingsKey = "server"
)

func clientKey(id string) string      { return "client#" + id }
func apiKey(identifier string) string { return "api#" + identifier }

// Client finds one client.
func (s *Store) Client(ctx context.Context, id string) (store.Client, error) {
	return config[store.Client](ctx, s, clientKey(id))
}

// API finds one API.
func (s *Store) API(ctx context.Context, identifier string) (store.API, error) {
	return config[store.API](ctx, s, apiKey(identifier))
}

// Settings reads the settings.
func (s *Store) Settings(ctx context.Context) (store.Settings, error) {
	settings, err := config[store.Settings](ctx, s, settingsKey)
	if errors.Is(err, store.ErrNotFound) {
		return store.Settings{}, nil
	}
	return settings, err
}

// Issuer reads the issuer record.
func (s *Store) Issuer(ctx context.Context) (string, error) {
	return config[string](ctx, s, issuerKey)
}

// PutClient writes a client.
func (s *Store) PutClient(ctx context.Context, c store.Client) error {
	return s.putConfig(ctx, clientKey(c.ID), c)
}

// PutAPI writes an API.
func (s *Store) PutAPI(ctx context.Context, a store.API) error {
	return s.putConfig(ctx, apiKey(a.Identifier), a)
}

// PutSettings writes the settings.
func (s *Store) PutSettings(ctx context.Context, settings store.Settings) error {
	return s.putConfig(ctx, settingsKey, settings)
}

// PutIssuer writes the issuer record.
func (s *Store) PutIssuer(ctx context.Context, issuer string) error {
	return s.putConfig(ctx, issuerKey, issuer)
}

func config[T any](ctx context.Context, s *Store, key string) (T, error) {
	it, err := s.get(ctx, s.ConfigTable, key)
	if err != nil {
		var none T
		return none, err
	}
	return unjson[T](it)
}

func (s *Store) putConfig(ctx context.Context, key string, record any) error {
	it, err := jsonItem(key, record)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, s.ConfigTable, it, "", nil)
	return err
}

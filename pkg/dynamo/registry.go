package dynamo

import (
	"context"
	"errors"

	"kmint/pkg/store"
)

var _ store.Registries = (*Store)(nil)

const registryKey = "keys"

// Registry reads the signing-key registry.
func (s *Store) Registry(ctx context.Context) (store.Registry, error) {
	registry, err := config[store.Registry](ctx, s, registryKey)
	if errors.Is(err, store.ErrNotFound) {
		return store.Registry{}, nil
	}
	return registry, err
}

// ReplaceRegistry writes r if the stored version is the one before. If an answer
// was lost and r is there, it was written.
func (s *Store) ReplaceRegistry(ctx context.Context, r store.Registry) error {
	if r.Version < 1 {
		return store.ErrConflict
	}
	it, err := jsonItem(registryKey, r)
	if err != nil {
		return err
	}
	it["version"] = number(r.Version)
	condition, values := "#version = :before", item{":before": number(r.Version - 1)}
	if r.Version == 1 {
		condition, values = "attribute_not_exists(#pk)", nil
	}
	out, err := s.put(ctx, s.ConfigTable, it, condition, values)
	if err != nil || !out.refused || out.lost && out.item.text("json") == it.text("json") {
		return err
	}
	return store.ErrConflict
}

package server

import (
	"context"
	"log/slog"
	"time"

	"kmint/pkg/fetch"
	"kmint/pkg/keys"
	"kmint/pkg/logout"
	"kmint/pkg/store"
)

// Deliver is the deliver function: it tells clients that a session has ended.
type Deliver struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// AllowLoopback lets clients be on this very machine: for development alone.
	AllowLoopback bool

	Clients    store.Clients
	Issuers    store.Issuers
	Registry   store.RegistryReader
	PrivateKey keys.PrivateKey

	Now func() time.Time
	Log *slog.Logger
}

// Handler delivers one message of the queue. After an error it is to be delivered
// again.
func (f Deliver) Handler() func(ctx context.Context, message string) error {
	cache := store.NewCache(f.Clients, nil, nil, f.Issuers, f.Registry, f.Now)
	deliverer := logout.Deliverer{
		Issuers: named{cache, f.Issuer}, Clients: cache,
		Signer: &keys.Ring{Registry: cache, Private: f.PrivateKey},
		Poster: &fetch.Fetcher{AllowLoopback: f.AllowLoopback, Now: f.Now},
		Now:    f.Now,
	}
	return func(ctx context.Context, message string) error {
		clientID, err := deliverer.Deliver(ctx, message)
		level, attrs := slog.LevelInfo, []slog.Attr{slog.String("client_id", clientID)}
		if err != nil {
			level, attrs = slog.LevelWarn, append(attrs, slog.String("reason", err.Error()))
		}
		f.Log.LogAttrs(ctx, level, "logout token", attrs...)
		return err
	}
}

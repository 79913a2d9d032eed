package server

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/fetch"
	"kmint/pkg/keys"
	"kmint/pkg/logout"
	"kmint/pkg/meter"
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
		var m meter.Meter
		var trail audit.Trail
		ctx = meter.With(audit.With(ctx, &trail), &m)
		clientID, err := deliverer.Deliver(ctx, message)
		level, whose := slog.LevelInfo, []slog.Attr{slog.String("client_id", clientID)}
		var why []slog.Attr
		if err != nil {
			level, why = slog.LevelWarn, []slog.Attr{slog.String("reason", err.Error())}
			trail.Add(audit.BackChannelLogoutFailed)
		}
		records, _ := trail.Take()
		for _, record := range records {
			audit.Print(ctx, f.Log, record, whose, why)
		}
		f.Log.LogAttrs(ctx, level, "logout token", slices.Concat(whose, why, m.Attrs(ctx, f.Now()))...)
		return err
	}
}

package server

import (
	"context"
	"log/slog"
	"time"

	"kmint/pkg/keys"
	"kmint/pkg/store"
)

// Rotate is the rotate function: it goes on with the life of the signing keys.
type Rotate struct {
	Registries store.Registries
	Inventory  keys.Inventory
	Keeper     keys.Keeper

	// Period is how long a key signs, Publish how long it is published before.
	Period  time.Duration
	Publish time.Duration

	Now func() time.Time
	Log *slog.Logger
}

// Handler does what is due. There is one log line for each step, and in the end one
// for each algorithm, which says what its keys are like. After an error there is one
// that says so, and it is to be run again.
func (f Rotate) Handler() func(ctx context.Context) error {
	rotation := keys.Rotation{
		Registries: f.Registries, Inventory: f.Inventory, Keeper: f.Keeper,
		Policy: keys.Policy{Period: f.Period, Publish: f.Publish}, Now: f.Now,
	}
	return func(ctx context.Context) error {
		rotation := rotation
		rotation.Done = func(s keys.Step) {
			f.Log.LogAttrs(ctx, slog.LevelInfo, "key "+string(s.Deed),
				slog.String("alg", s.Algorithm), slog.String("kid", s.KeyID), slog.String("reference", s.Reference))
		}
		err := rotation.Run(ctx)
		if err == nil {
			err = f.say(ctx)
		}
		if err != nil {
			f.Log.LogAttrs(ctx, slog.LevelError, "rotation failed", slog.String("reason", err.Error()))
		}
		return err
	}
}

// say logs how old the keys are.
func (f Rotate) say(ctx context.Context) error {
	registry, err := f.Registries.Registry(ctx)
	if err != nil {
		return err
	}
	for _, active := range registry.Keys {
		if active.State != store.KeyActive {
			continue
		}
		next := ""
		retired := 0
		for _, k := range registry.Keys {
			switch {
			case k.Algorithm != active.Algorithm:
			case k.State == store.KeyNext:
				next = k.ID
			case k.State == store.KeyRetired:
				retired++
			}
		}
		f.Log.LogAttrs(ctx, slog.LevelInfo, "signing keys", slog.String("alg", active.Algorithm), slog.String("kid", active.ID),
			slog.Int("age_h", int(f.Now().Sub(active.Since)/time.Hour)), slog.String("next", next), slog.Int("retired", retired))
	}
	return nil
}

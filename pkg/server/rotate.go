package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/keys"
	"kmint/pkg/meter"
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

// Handler does what is due. There is an audit event for each step, and in the end one
// line for each algorithm, which says what its keys are like, and holds the metrics.
// After an error there is one more that says so, and it is to be run again.
func (f Rotate) Handler() func(ctx context.Context) error {
	rotation := keys.Rotation{
		Registries: f.Registries, Inventory: f.Inventory, Keeper: f.Keeper,
		Policy: keys.Policy{Period: f.Period, Publish: f.Publish}, Now: f.Now,
	}
	return func(ctx context.Context) error {
		rotation := rotation
		rotation.Done = func(s keys.Step) {
			audit.Print(ctx, f.Log, audit.Record{Event: deeds[s.Deed]}, []slog.Attr{
				slog.String("alg", s.Algorithm), slog.String("kid", s.KeyID), slog.String("reference", s.Reference),
			}, nil)
		}
		// What the keys are like is said after a failure too: alarms wait for it.
		err := errors.Join(rotation.Run(ctx), f.say(ctx))
		if err != nil {
			why := slog.String("reason", err.Error())
			audit.Print(ctx, f.Log, audit.Record{Event: audit.KeyRotationFailed}, nil, []slog.Attr{why})
			f.Log.LogAttrs(ctx, slog.LevelError, "rotation failed", append([]slog.Attr{why}, f.metrics(ctx, map[meter.Metric]float64{meter.RotationFailed: 1})...)...)
		}
		return err
	}
}

// deeds are the steps as events.
var deeds = map[keys.Deed]audit.Event{
	keys.Published: audit.KeyPublished,
	keys.Activated: audit.KeyActivated,
	keys.Revoked:   audit.KeyRevoked,
	keys.Discarded: audit.KeyDiscarded,
	keys.Forgotten: audit.KeyForgotten,
	keys.Created:   audit.KeyCreated,
	keys.Guarded:   audit.KeyGuarded,
	keys.Disabled:  audit.KeyDisabled,
	keys.Deleted:   audit.KeyDeletionScheduled,
}

func (f Rotate) metrics(ctx context.Context, values map[meter.Metric]float64) []slog.Attr {
	var m meter.Meter
	for _, name := range slices.Sorted(maps.Keys(values)) {
		m.Add(name, values[name])
	}
	return m.Attrs(ctx, f.Now())
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
		age := f.Now().Sub(active.Since)
		missing := 0.0
		if next == "" {
			missing = 1
		}
		f.Log.LogAttrs(ctx, slog.LevelInfo, "signing keys", append([]slog.Attr{
			slog.String("alg", active.Algorithm), slog.String("kid", active.ID),
			slog.Int("age_h", int(age/time.Hour)), slog.String("next", next), slog.Int("retired", retired),
		}, f.metrics(ctx, map[meter.Metric]float64{
			meter.KeyAge: math.Floor(age.Hours() / 24), meter.NextKeyMissing: missing, meter.RotationFailed: 0,
		})...)...)
	}
	return nil
}

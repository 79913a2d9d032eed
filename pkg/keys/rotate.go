package keys

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
)

// An Inventory knows which private keys there are.
type Inventory interface {
	// Held lists those that sign for this server or once did, whether a registry
	// lists them or not. What is gone is not listed.
	Held(ctx context.Context) ([]jwt.Held, error)
	PublicKey(ctx context.Context, reference string) (crypto.PublicKey, error)
}

// A Keeper makes private keys and ends them. Whatever it does may be done twice but
// Create, and each key that Create makes shows in the Inventory.
type Keeper interface {
	// Create makes a key for an algorithm, of the same kind as the one at like.
	Create(ctx context.Context, algorithm, like string) (jwt.Held, error)
	// Guard gives a key the policy that it should have.
	Guard(ctx context.Context, reference, algorithm string) error
	// Disable keeps a key from signing. It can be called off.
	Disable(ctx context.Context, reference string) error
	// Delete lets a disabled key be gone after Pending or more.
	Delete(ctx context.Context, reference string) error
}

// A Deed is what one Step does.
type Deed string

// Deeds. Those of the first group write the registry.
const (
	Published = Deed("published") // a new key is listed as the next
	Activated = Deed("activated")
	Revoked   = Deed("revoked")
	Discarded = Deed("discarded") // a key that nobody listed is listed as revoked
	Forgotten = Deed("forgotten") // a key that is gone is listed no more

	Created  = Deed("created")
	Guarded  = Deed("guarded")
	Disabled = Deed("disabled")
	Deleted  = Deed("scheduled for deletion")

	// Nothing says that all is as it should be.
	Nothing = Deed("")
)

// A Step is one change, of the registry or of one private key.
type Step struct {
	Deed      Deed
	Algorithm string
	// KeyID is "" for a key that is not listed.
	KeyID     string
	Reference string
	// Registry is what is written. Of Published it lacks the new key.
	Registry store.Registry
}

// Decide names the next step that a registry and the keys that there are ask for. It
// looks at nothing else, so that whoever comes after a run that has died goes on where
// that one was.
//
// Of all steps Create alone is done without a write of the registry before it. The key
// that it makes is therefore found by its tags: it is listed as next by this run or
// another, or else discarded, which is written down before the key is touched. So
// what becomes of a key is decided by one conditional write, and two runs at once
// cannot take it for two things.
//
// Where no key is listed at all, none is discarded: the registry is lost, for a rotation
// makes keys only of those that it lists.
func Decide(r store.Registry, held []jwt.Held, p Policy, now time.Time) Step {
	if len(r.Keys) == 0 {
		return Step{}
	}
	byReference := map[string]jwt.Held{}
	for _, h := range held {
		byReference[h.Reference] = h
	}
	// What is written down is done first.
	for _, k := range r.Keys {
		h, there := byReference[k.Reference]
		step := Step{Algorithm: k.Algorithm, KeyID: k.ID, Reference: k.Reference}
		switch revoked := k.State == store.KeyRevoked; {
		case !revoked && there && h.Made && !h.Guarded && h.State != jwt.Deleting:
			step.Deed = Guarded
		case revoked && there && h.State == jwt.Usable:
			step.Deed = Disabled
		// The template's own keys stay disabled: a deployment that changes a key that is
		// gone would fail.
		case revoked && there && h.State == jwt.Disabled && h.Made:
			step.Deed = Deleted
		case revoked && !there && !now.Before(k.Since.Add(Pending)):
			step.Deed = Forgotten
			step.Registry = r
			step.Registry.Version++
			step.Registry.Keys = slices.DeleteFunc(slices.Clone(r.Keys), func(o store.SigningKey) bool {
				return o.State == store.KeyRevoked && o.Reference == k.Reference
			})
		default:
			continue
		}
		return step
	}
	for _, k := range r.Keys {
		if k.State != store.KeyRetired {
			continue
		}
		if next, err := Revoke(r, k.ID, "", now); err == nil {
			return Step{Revoked, k.Algorithm, k.ID, k.Reference, next}
		}
	}
	return advance(r, held, byReference, p, now)
}

// advance goes on with the lines: each has one key that signs and one that is next.
func advance(r store.Registry, held []jwt.Held, byReference map[string]jwt.Held, p Policy, now time.Time) Step {
	var unlisted []jwt.Held
	for _, h := range held {
		if h.Made && h.State != jwt.Deleting && !slices.ContainsFunc(r.Keys, func(k store.SigningKey) bool { return k.Reference == h.Reference }) {
			unlisted = append(unlisted, h)
		}
	}
	slices.SortFunc(unlisted, func(a, b jwt.Held) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Reference, b.Reference))
	})
	coming := map[string]bool{} // the algorithms that a new key is there for
	for _, h := range unlisted {
		step := Step{Algorithm: h.Algorithm, Reference: h.Reference}
		l := lineOf(r, h.Algorithm)
		if h.State == jwt.Usable && l.first(store.KeyActive) != nil && l.first(store.KeyNext) == nil && !coming[h.Algorithm] {
			coming[h.Algorithm] = true
			switch {
			case now.Before(h.Created.Add(Settle)): // another run's matter
				continue
			case !h.Guarded:
				step.Deed = Guarded
			default:
				step.Deed, step.Registry = Published, r
			}
			return step
		}
		step.Deed, step.Registry = Discarded, discard(r, h, now)
		return step
	}
	for _, k := range r.Keys {
		if k.State != store.KeyActive {
			continue
		}
		next := lineOf(r, k.Algorithm).first(store.KeyNext)
		if next != nil && byReference[next.Reference].State == "" {
			continue // Unusable says so: perhaps it is only not to be seen
		}
		switch {
		case next == nil && !coming[k.Algorithm]:
			return Step{Deed: Created, Algorithm: k.Algorithm, Reference: k.Reference}
		case next == nil:
		case byReference[next.Reference].State != jwt.Usable:
			if without, err := Revoke(r, next.ID, "", now); err == nil {
				return Step{Revoked, k.Algorithm, next.ID, next.Reference, without}
			}
		case !now.Before(SignsFrom(*next, p.Publish)) && !now.Before(k.Since.Add(p.Period)):
			return Step{Activated, k.Algorithm, next.ID, next.Reference, swap(r, *next, now)}
		}
	}
	return Step{}
}

// discard lists a key that nobody has listed as revoked.
func discard(r store.Registry, h jwt.Held, now time.Time) store.Registry {
	r.Version++
	r.Keys = append(slices.Clone(r.Keys), tombstone(h.Reference, h.Algorithm, now))
	return r
}

// Unusable says which key that signs cannot, and which one that is to sign is not there.
// That is nothing a step mends: whoever did it may have meant it, or the role may see
// too little. Nor is a registry that is lost.
func Unusable(r store.Registry, held []jwt.Held) error {
	var wrong []error
	for _, h := range held {
		if len(r.Keys) == 0 && h.Made && h.State != jwt.Deleting {
			wrong = append(wrong, fmt.Errorf("keys: no key is listed, and %s is there, which was: the registry is lost", h.Reference))
		}
	}
	for _, k := range r.Keys {
		i := slices.IndexFunc(held, func(h jwt.Held) bool { return h.Reference == k.Reference })
		state := "not there"
		if i >= 0 {
			state = held[i].State
		}
		if k.State == store.KeyActive && state != jwt.Usable || k.State == store.KeyNext && i < 0 {
			wrong = append(wrong, fmt.Errorf("keys: the %s key %s for %s is %s: %s", k.State, k.ID, k.Algorithm, state, k.Reference))
		}
	}
	return errors.Join(wrong...)
}

// A Rotation goes on with the life of all keys.
type Rotation struct {
	Registries store.Registries
	Inventory  Inventory
	Keeper     Keeper
	Policy     Policy
	Now        func() time.Time
	// Done hears of each step that was done.
	Done func(Step)

	decide func(store.Registry, []jwt.Held, Policy, time.Time) Step // nil for Decide
}

const (
	// maxSteps ends a run that does not come to an end.
	maxSteps = 200
	// maxConflicts is how often other runs may have come first.
	maxConflicts = 20
)

// Run does what is due, step by step. It may be run by two at once, and die anywhere.
// The first error ends it, and the next run goes on.
func (o Rotation) Run(ctx context.Context) error {
	if err := o.Policy.Check(); err != nil {
		return err
	}
	held, err := o.Inventory.Held(ctx)
	if err != nil {
		return err
	}
	decide := o.decide
	if decide == nil {
		decide = Decide
	}
	conflicts := 0
	for range maxSteps {
		r, err := o.Registries.Registry(ctx)
		if err != nil {
			return fmt.Errorf("keys: registry: %w", err)
		}
		now := o.Now()
		step := decide(r, held, o.Policy, now)
		if step.Deed == Nothing {
			return Unusable(r, held)
		}
		err = o.inTime(ctx, &step, &held, now)
		switch {
		case errors.Is(err, store.ErrConflict) && conflicts < maxConflicts:
			conflicts++
		case err != nil:
			return fmt.Errorf("keys: %s for %s is not %s: %w", cmp.Or(step.KeyID, step.Reference), step.Algorithm, step.Deed, err)
		case o.Done != nil:
			o.Done(step)
		}
	}
	return errors.New("keys: there is no end of what is to be done")
}

// inTime does one step: what was right at now is not done much later.
func (o Rotation) inTime(ctx context.Context, step *Step, held *[]jwt.Held, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, Late)
	defer cancel()
	return o.do(ctx, step, held, now)
}

// do does one step, and notes in held what has become of the key.
func (o Rotation) do(ctx context.Context, step *Step, held *[]jwt.Held, now time.Time) error {
	note := func(change func(h *jwt.Held)) {
		for i := range *held {
			if (*held)[i].Reference == step.Reference {
				change(&(*held)[i])
			}
		}
	}
	switch step.Deed {
	case Created:
		made, err := o.Keeper.Create(ctx, step.Algorithm, step.Reference)
		if err != nil {
			return err
		}
		step.Reference = made.Reference
		*held = append(*held, made)
	case Guarded:
		if err := o.Keeper.Guard(ctx, step.Reference, step.Algorithm); err != nil {
			return err
		}
		note(func(h *jwt.Held) { h.Guarded = true })
	case Disabled:
		if err := o.Keeper.Disable(ctx, step.Reference); err != nil {
			return err
		}
		note(func(h *jwt.Held) { h.State = jwt.Disabled })
	case Deleted:
		if err := o.Keeper.Delete(ctx, step.Reference); err != nil {
			return err
		}
		note(func(h *jwt.Held) { h.State = jwt.Deleting })
	case Published:
		if err := o.publish(ctx, step, now); err != nil {
			return err
		}
		return o.Registries.ReplaceRegistry(ctx, step.Registry)
	default:
		return o.Registries.ReplaceRegistry(ctx, step.Registry)
	}
	return nil
}

// publish completes a step. A key that cannot sign for its algorithm is discarded.
func (o Rotation) publish(ctx context.Context, step *Step, now time.Time) error {
	public, err := o.Inventory.PublicKey(ctx, step.Reference)
	if err != nil {
		return err
	}
	fit := jwt.CheckKey(step.Algorithm, public) == nil
	if !fit {
		step.Deed, step.Registry = Discarded, discard(step.Registry, jwt.Held{Reference: step.Reference, Algorithm: step.Algorithm}, now)
		return nil
	}
	key, err := New(step.Algorithm, public, step.Reference)
	if err != nil {
		return err
	}
	step.KeyID = key.ID
	step.Registry, err = publish(step.Registry, key, now)
	return err
}

package keys_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/store"
)

// The property of rotation: whatever runs of the rotate function, its owner and the
// faults of AWS do, in whatever order, within the limits that package keys names,
//
//   - each algorithm has exactly one active key, in every version of the registry;
//   - every token verifies, until it expires, against the key set as any verifier may
//     have it, which got it up to two hours ago from a cache that had it for up to five
//     minutes from a function whose registry was up to a minute old;
//   - a key can sign as long as any function may want it to;
//   - in the end every key that KMS holds is listed, or about to be deleted;
//   - rotation goes on.
//
// Cache ages are not drawn: what must hold for all of them is computed.

// A defect is planted in a world, to see that it is found.
type defect struct {
	name string
	// decide takes the place of keys.Decide.
	decide func(store.Registry, []jwt.Held, keys.Policy, time.Time) keys.Step
	// twice makes two writes of each change.
	twice bool
	// uncounted lets APIs have longer lifetimes without keys.Allow.
	uncounted bool
}

// shifted lets Decide think that the keys of a state have been so for longer.
func shifted(state string, by time.Duration) func(store.Registry, []jwt.Held, keys.Policy, time.Time) keys.Step {
	shift := func(r store.Registry, by time.Duration) store.Registry {
		r.Keys = slices.Clone(r.Keys)
		for i := range r.Keys {
			if r.Keys[i].State == state {
				r.Keys[i].Since = r.Keys[i].Since.Add(by)
			}
		}
		return r
	}
	return func(r store.Registry, held []jwt.Held, p keys.Policy, now time.Time) keys.Step {
		step := keys.Decide(shift(r, -by), held, p, now)
		step.Registry = shift(step.Registry, by)
		return step
	}
}

var defects = []defect{
	{name: "a key signs as soon as it is published", decide: shifted(store.KeyNext, 48*time.Hour)},
	{name: "a key signs two minutes early", decide: func(r store.Registry, held []jwt.Held, p keys.Policy, now time.Time) keys.Step {
		p.Publish = 0
		return shifted(store.KeyNext, 4*time.Minute)(r, held, p, now)
	}},
	{name: "a retired key is not published for long enough", decide: shifted(store.KeyRetired, 3*time.Hour)},
	{name: "a change takes two writes", twice: true},
	{name: "nobody keeps count of lifetimes", uncounted: true},
	{name: "nobody looks for what a run left behind", decide: func(r store.Registry, held []jwt.Held, p keys.Policy, now time.Time) keys.Step {
		known := slices.DeleteFunc(slices.Clone(held), func(h jwt.Held) bool {
			return now.Sub(h.Created) > time.Hour && !slices.ContainsFunc(r.Keys, func(k store.SigningKey) bool { return k.Reference == h.Reference })
		})
		return keys.Decide(r, known, p, now)
	}},
	{name: "a retired key cannot sign", decide: func(r store.Registry, held []jwt.Held, p keys.Policy, now time.Time) keys.Step {
		for _, k := range r.Keys {
			if k.State == store.KeyRetired && slices.ContainsFunc(held, func(h jwt.Held) bool { return h.Reference == k.Reference && h.State == jwt.Usable }) {
				return keys.Step{Deed: keys.Disabled, Algorithm: k.Algorithm, KeyID: k.ID, Reference: k.Reference}
			}
		}
		return keys.Decide(r, held, p, now)
	}},
	{name: "a revoked key stays as it is", decide: func(r store.Registry, held []jwt.Held, p keys.Policy, now time.Time) keys.Step {
		visible := slices.DeleteFunc(slices.Clone(held), func(h jwt.Held) bool {
			return slices.ContainsFunc(r.Keys, func(k store.SigningKey) bool { return k.Reference == h.Reference && k.State == store.KeyRevoked })
		})
		return keys.Decide(r, visible, p, now)
	}},
}

func TestRotationHoldsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := history(t, defect{}); err != nil {
			t.Fatal(err)
		}
	})
}

// Each planted defect breaks a promise.
func TestRotationFindsDefects(t *testing.T) {
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			for seed := range 400 {
				if err := rapid.Custom(func(t *rapid.T) error { return history(t, d) }).Example(seed); err != nil {
					t.Logf("found in history %d: %v", seed+1, err)
					return
				}
			}
			t.Error("no history finds it")
		})
	}
}

var (
	algorithms = []string{jwt.ES256, jwt.ES384}
	curves     = map[string]elliptic.Curve{jwt.ES256: elliptic.P256(), jwt.ES384: elliptic.P384()}
)

// What a world's limits are. Its clocks are up to skew beside the true one, so that no
// two are further apart than keys.Skew.
const (
	skew   = keys.Skew / 2
	period = keys.MinPeriod
)

var policy = keys.Policy{Period: period, Publish: 2 * time.Hour}

// A world is a registry, a KMS and a clock, with all that was.
type world struct {
	now      time.Time
	defect   defect
	versions []version
	held     map[string]*kept
	made     int
	// lifetimes are those that tokens had, from when on.
	lifetimes []lifetime
	runs      []*run
}

type version struct {
	at        time.Time
	registry  store.Registry
	published []jwt.Key
}

type lifetime struct {
	at time.Time
	of time.Duration
}

type kept struct {
	jwt.Held
	public crypto.PublicKey
	// unusable is since when it cannot sign.
	unusable time.Time
	gone     time.Time
}

func (w *world) add(algorithm string, made bool) *kept {
	private, err := ecdsa.GenerateKey(curves[algorithm], rand.Reader)
	if err != nil {
		panic(err)
	}
	w.made++
	k := &kept{Held: jwt.Held{
		Reference: fmt.Sprintf("key-%d", w.made), Algorithm: algorithm, State: jwt.Usable, Created: w.now, Made: made, Guarded: made,
	}, public: &private.PublicKey}
	w.held[k.Reference] = k
	return k
}

func newWorld(d defect) (*world, error) {
	w := &world{now: epoch, defect: d, held: map[string]*kept{}, lifetimes: []lifetime{{epoch, 24 * time.Hour}}}
	if _, err := keys.Allow(context.Background(), direct{w}, 24*time.Hour); err != nil {
		return nil, err
	}
	for _, algorithm := range algorithms {
		k := w.add(algorithm, false)
		key, err := keys.New(algorithm, k.public, k.Reference)
		if err != nil {
			return nil, err
		}
		if _, err := keys.First(context.Background(), direct{w}, key, w.now); err != nil {
			return nil, err
		}
	}
	// What was before all lines had begun is nobody's matter.
	w.versions = w.versions[len(w.versions)-1:]
	return w, nil
}

func (w *world) registry() store.Registry {
	if len(w.versions) == 0 {
		return store.Registry{}
	}
	r := w.versions[len(w.versions)-1].registry
	r.Keys = slices.Clone(r.Keys)
	return r
}

func (w *world) replace(r store.Registry) error {
	if r.Version != w.registry().Version+1 {
		return store.ErrConflict
	}
	published, err := (&keys.Ring{Registry: fixed(r)}).Keys(context.Background())
	w.versions = append(w.versions, version{w.now, r, published})
	return err
}

// direct is the registry without faults: the owner's.
type direct struct{ w *world }

var _ store.Registries = direct{}

func (d direct) Registry(context.Context) (store.Registry, error)          { return d.w.registry(), nil }
func (d direct) ReplaceRegistry(_ context.Context, r store.Registry) error { return d.w.replace(r) }

// What becomes of one call of a run.
type verdict int

const (
	good verdict = iota
	refused
	lost      // it was done, and the run hears that it failed
	died      // before it
	diedAfter // after it
)

var (
	errRefused = errors.New("refused")
	errLost    = errors.New("no answer")
	errDied    = errors.New("died")
)

// A run is one of the rotate function, which stops before each call and goes on when
// it is told.
type run struct {
	w       *world
	skew    time.Duration
	looked  time.Time // true time of its last look at the clock
	dead    bool
	asks    chan string
	answers chan verdict
	done    chan error
}

func (w *world) start(skew time.Duration) {
	o := &run{w: w, skew: skew, looked: w.now, asks: make(chan string), answers: make(chan verdict), done: make(chan error, 1)}
	w.runs = append(w.runs, o)
	rotation := keys.Rotation{Registries: o, Inventory: o, Keeper: o, Policy: policy, Now: func() time.Time {
		o.looked = w.now
		return w.now.Add(o.skew)
	}}
	if w.defect.decide != nil {
		rotation = rotation.Deciding(w.defect.decide)
	}
	go func() { o.done <- rotation.Run(context.Background()) }()
	o.wait()
}

// wait lets the run come to its next call, or to its end.
func (o *run) wait() {
	select {
	case <-o.asks:
	case err := <-o.done:
		o.done <- err
		o.w.runs = slices.DeleteFunc(o.w.runs, func(r *run) bool { return r == o })
	}
}

// step lets the call be done that the run waits with.
func (o *run) step(v verdict) {
	o.answers <- v
	o.wait()
}

// end lets the run die.
func (o *run) end() {
	for slices.Contains(o.w.runs, o) {
		o.step(died)
	}
}

// finish lets a run end well, if it can.
func (o *run) finish() error {
	for slices.Contains(o.w.runs, o) {
		o.step(good)
	}
	return <-o.done
}

func (o *run) call(name string, do func() error) error {
	if o.dead {
		return errDied
	}
	o.asks <- name
	v := <-o.answers
	// What comes later than this is not sent.
	if v == good && o.w.now.Sub(o.looked) > keys.Late {
		v = refused
	}
	switch v {
	case refused:
		return errRefused
	case died:
		o.dead = true
		return errDied
	}
	err := do()
	switch v {
	case lost:
		return errLost
	case diedAfter:
		o.dead = true
		return errDied
	}
	return err
}

func (o *run) Registry(context.Context) (r store.Registry, err error) {
	err = o.call("Registry", func() error { r = o.w.registry(); return nil })
	return r, err
}

func (o *run) ReplaceRegistry(_ context.Context, r store.Registry) error {
	if o.w.defect.twice {
		before := o.w.registry()
		half := r
		half.Keys = slices.DeleteFunc(slices.Clone(r.Keys), func(k store.SigningKey) bool {
			return k.State == store.KeyActive && !slices.Contains(before.Keys, k)
		})
		if len(half.Keys) < len(r.Keys) {
			if err := o.call("ReplaceRegistry", func() error { return o.w.replace(half) }); err != nil {
				return err
			}
			r.Version++
		}
	}
	return o.call("ReplaceRegistry", func() error { return o.w.replace(r) })
}

func (o *run) Held(context.Context) (held []jwt.Held, err error) {
	err = o.call("Held", func() error {
		for _, k := range o.w.held {
			if k.gone.IsZero() || o.w.now.Before(k.gone) {
				held = append(held, k.Held)
			}
		}
		return nil
	})
	return held, err
}

func (o *run) PublicKey(_ context.Context, reference string) (public crypto.PublicKey, err error) {
	err = o.call("PublicKey", func() error { public = o.w.held[reference].public; return nil })
	return public, err
}

func (o *run) Create(_ context.Context, algorithm, _ string) (h jwt.Held, err error) {
	err = o.call("Create", func() error { h = o.w.add(algorithm, true).Held; return nil })
	return h, err
}

func (o *run) Guard(_ context.Context, reference, _ string) error {
	return o.call("Guard", func() error { o.w.held[reference].Guarded = true; return nil })
}

func (o *run) Disable(_ context.Context, reference string) error {
	return o.call("Disable", func() error {
		if k := o.w.held[reference]; k.State == jwt.Usable {
			k.State, k.unusable = jwt.Disabled, o.w.now
		}
		return nil
	})
}

func (o *run) Delete(_ context.Context, reference string) error {
	return o.call("Delete", func() error {
		if k := o.w.held[reference]; k.State == jwt.Disabled {
			k.State, k.gone = jwt.Deleting, o.w.now.Add(keys.Pending)
		}
		return nil
	})
}

var (
	_ store.Registries = (*run)(nil)
	_ keys.Inventory   = (*run)(nil)
	_ keys.Keeper      = (*run)(nil)
)

// history lets a world live, and says which promise was broken.
func history(t *rapid.T, d defect) error {
	w, err := newWorld(d)
	if err != nil {
		return err
	}
	for range rapid.IntRange(5, 80).Draw(t, "steps") {
		w.act(t)
	}
	for len(w.runs) > 0 {
		w.runs[0].end()
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.check()
}

func (w *world) act(t *rapid.T) {
	switch what := rapid.SampledFrom([]string{"run", "two", "start", "step", "step", "fault", "seconds", "hours", "days", "due", "due", "owner", "lifetime"}).Draw(t, "what"); what {
	case "run":
		w.start(w.drawSkew(t))
		if n := len(w.runs); n > 0 {
			_ = w.runs[n-1].finish()
		}
	case "two":
		w.start(w.drawSkew(t))
		w.start(w.drawSkew(t))
		for len(w.runs) > 0 {
			rapid.SampledFrom(w.runs).Draw(t, "run").step(rapid.SampledFrom([]verdict{good, good, good, good, good, good, good, good, lost, diedAfter}).Draw(t, "verdict"))
		}
	case "start":
		if len(w.runs) < 2 {
			w.start(w.drawSkew(t))
		}
	case "step", "fault":
		if len(w.runs) == 0 {
			return
		}
		o, v := rapid.SampledFrom(w.runs).Draw(t, "run"), good
		if what == "fault" {
			v = rapid.SampledFrom([]verdict{refused, lost, died, diedAfter}).Draw(t, "verdict")
		}
		o.step(v)
	case "seconds":
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	case "hours", "days":
		for len(w.runs) > 0 { // none lives that long
			w.runs[0].end()
		}
		unit, most := time.Minute, 5*60
		if what == "days" {
			unit, most = time.Hour, 10*24
		}
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, most).Draw(t, what)) * unit)
	case "due":
		w.due(t)
	case "owner":
		w.owner(t)
	case "lifetime":
		of := rapid.SampledFrom([]time.Duration{time.Hour, 24 * time.Hour, 3 * 24 * time.Hour, 20 * 24 * time.Hour}).Draw(t, "of")
		if !w.defect.uncounted {
			if _, err := keys.Allow(context.Background(), direct{w}, of); err != nil {
				t.Fatal(err)
			}
		}
		w.lifetimes = append(w.lifetimes, lifetime{w.now, of})
	}
}

// due goes to about when something is due, and lets the function run.
func (w *world) due(t *rapid.T) {
	r := w.registry()
	k := rapid.SampledFrom(r.Keys).Draw(t, "key")
	var at time.Time
	switch k.State {
	case store.KeyNext:
		at = keys.SignsFrom(k, policy.Publish)
	case store.KeyActive:
		at = k.Since.Add(period)
	case store.KeyRetired:
		at = keys.EndsFrom(k, keys.Longest(r))
	}
	at = at.Add(rapid.SampledFrom([]time.Duration{-2*time.Hour - time.Minute, -4 * time.Minute, -2 * time.Minute, -time.Minute, 0}).Draw(t, "before"))
	at = at.Add(time.Duration(rapid.IntRange(-30, 30).Draw(t, "seconds")) * time.Second)
	if !at.After(w.now) {
		return
	}
	for len(w.runs) > 0 { // none lives that long
		w.runs[0].end()
	}
	w.now = at
	w.start(w.drawSkew(t))
	if len(w.runs) > 0 {
		_ = w.runs[0].finish()
	}
}

func (w *world) drawSkew(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(-int(skew/time.Second), int(skew/time.Second)).Draw(t, "skew")) * time.Second
}

// owner does what `kmint key` can, without force. What is refused is not done.
func (w *world) owner(t *rapid.T) {
	r, algorithm, now := w.registry(), rapid.SampledFrom(algorithms).Draw(t, "algorithm"), w.now.Add(w.drawSkew(t))
	var next store.Registry
	var err error
	switch command := rapid.SampledFrom([]string{"rotate", "rollback", "revoke"}).Draw(t, "command"); command {
	case "rotate":
		next, err = keys.Activate(r, algorithm, now)
	case "rollback":
		next, err = keys.Rollback(r, algorithm, now)
	default:
		next, err = keys.Revoke(r, rapid.SampledFrom(r.Keys).Draw(t, "key").ID, "", now)
	}
	if err == nil {
		if err := w.replace(next); err != nil {
			t.Fatal(err)
		}
	}
}

// settle lets the function run without faults until nothing of before is left.
func (w *world) settle() error {
	for range 100 {
		w.now = w.now.Add(24 * time.Hour)
		for range 2 { // what is created is published by the next run
			w.now = w.now.Add(keys.Settle)
			w.start(0)
			if len(w.runs) > 0 {
				if err := w.runs[0].finish(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *world) check() error {
	for i, v := range w.versions {
		until := w.now
		if i+1 < len(w.versions) {
			until = w.versions[i+1].at
		}
		for _, algorithm := range algorithms {
			var active []store.SigningKey
			for _, k := range v.registry.Keys {
				if k.Algorithm == algorithm && k.State == store.KeyActive {
					active = append(active, k)
				}
			}
			if len(active) != 1 {
				return fmt.Errorf("%d keys for %s are active in version %d", len(active), algorithm, v.registry.Version)
			}
			if err := w.checkActive(active[0], v.at, until); err != nil {
				return err
			}
		}
	}
	return w.checkEnd()
}

// checkActive holds that whatever a key signs that is active from one time until
// another counts until it expires, wherever it is shown.
func (w *world) checkActive(k store.SigningKey, from, until time.Time) error {
	lastSigned := until.Add(keys.CacheAge)
	if h := w.held[k.Reference]; !h.unusable.IsZero() && h.unusable.Before(lastSigned) {
		return fmt.Errorf("%s cannot sign since %s, and may be asked to until %s", k.Reference, h.unusable, lastSigned)
	}
	longest := time.Duration(0)
	for i, l := range w.lifetimes {
		if (i+1 == len(w.lifetimes) || w.lifetimes[i+1].at.After(from.Add(-keys.CacheAge))) && !l.at.After(lastSigned) {
			longest = max(longest, l.of)
		}
	}
	first, last := from.Add(-keys.SetAge-keys.EdgeAge-keys.CacheAge), lastSigned.Add(longest+keys.Skew)
	for i, v := range w.versions {
		ended := i+1 < len(w.versions) && !w.versions[i+1].at.After(first)
		if ended || v.at.After(last) {
			continue
		}
		if !slices.ContainsFunc(v.published, func(p jwt.Key) bool { return p.ID == k.ID }) {
			return fmt.Errorf("%s signs from %s to %s, and a verifier may know the keys as they were from %s on, when it was not published", k.Reference, from, lastSigned, v.at)
		}
	}
	return nil
}

// fixed is a registry that does not change.
type fixed store.Registry

func (f fixed) Registry(context.Context) (store.Registry, error) { return store.Registry(f), nil }
func (fixed) Forget()                                            {}

// checkEnd holds that no key was left behind, and that rotation has gone on.
func (w *world) checkEnd() error {
	r := w.registry()
	for _, k := range w.held {
		i := slices.IndexFunc(r.Keys, func(l store.SigningKey) bool { return l.Reference == k.Reference })
		switch {
		case k.State == jwt.Deleting, i >= 0 && r.Keys[i].State != store.KeyRevoked:
		case i >= 0 && !k.Made && k.State == jwt.Disabled: // the template's
		default:
			return fmt.Errorf("%s for %s is left %s", k.Reference, k.Algorithm, k.State)
		}
	}
	for _, algorithm := range algorithms {
		next := 0
		for _, k := range r.Keys {
			switch {
			case k.Algorithm != algorithm:
			case k.State == store.KeyNext:
				next++
			case k.State == store.KeyActive && w.now.Sub(k.Since) > period+2*24*time.Hour:
				return fmt.Errorf("the active key for %s signs since %s", algorithm, k.Since)
			}
		}
		if next != 1 {
			return fmt.Errorf("%d keys for %s are next", next, algorithm)
		}
	}
	return nil
}

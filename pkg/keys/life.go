package keys

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
)

// How old what others know may be. Every wait below is made of these.
const (
	// CacheAge is how old the registry may be that a function goes by.
	CacheAge = time.Minute
	// SetAge is how old the key set may be that a verifier goes by: API Gateway's
	// JWT authorizer keeps it for two hours.
	SetAge = 2 * time.Hour
	// EdgeAge is how old the key set may be that a verifier is given by a cache in
	// between, such as CloudFront: as long as it says itself that it may be kept.
	EdgeAge = 5 * time.Minute
	// Skew is how far two clocks may be apart.
	Skew = time.Minute
	// Late is how long a step may take from its look at the clock to its write.
	Late = time.Minute
)

const (
	// Settle is how long IAM may take to see the tags of a new KMS key (AWS KMS
	// Developer Guide, "ABAC for AWS KMS": "it might take up to five minutes").
	Settle = 5 * time.Minute
	// Pending is how long a KMS key that is to be deleted can still be saved.
	Pending = 30 * 24 * time.Hour
	// maxRegistry is in bytes of JSON. An item of DynamoDB holds 400 KB.
	maxRegistry = 300_000
)

// A Policy says how long the keys of a line take for their life.
type Policy struct {
	// Period is how long a key signs.
	Period time.Duration
	// Publish is how long a key is published before it signs. It is never less than
	// SetAge.
	Publish time.Duration
}

// Bounds of a Policy.
const (
	MinPeriod      = 7 * 24 * time.Hour
	DefaultPeriod  = 90 * 24 * time.Hour
	DefaultPublish = 24 * time.Hour
)

// Check says what is wrong with a policy.
func (p Policy) Check() error {
	switch {
	case p.Publish < SetAge:
		return fmt.Errorf("keys: a key published for %s signs before all verifiers know it; they may hold a JWKS for %s", p.Publish, SetAge)
	case p.Period < MinPeriod, p.Period < p.Publish:
		return fmt.Errorf("keys: a key cannot be replaced every %s; the least is %s, or as long as the next is published", p.Period, MinPeriod)
	}
	return nil
}

// TooEarly refuses a change that would break verifiers. It says why, and from when
// on the change is right.
type TooEarly struct {
	Why      string
	Earliest time.Time
}

func (e *TooEarly) Error() string {
	return e.Why + "; earliest " + e.Earliest.UTC().Format(time.RFC3339)
}

// Longest is the longest lifetime that a token of ours may have. Where nobody has
// kept count, it is the longest that any configuration can ask for.
func Longest(r store.Registry) time.Duration {
	seconds := cmp.Or(r.LongestLifetime, int64(store.MaxTokenLifetime))
	return time.Duration(max(seconds, int64(store.DefaultTokenLifetime))) * time.Second
}

// SignsFrom is when a key that is next may sign: by then everybody knows it who has
// looked at the key set no longer ago than they may.
func SignsFrom(next store.SigningKey, publish time.Duration) time.Time {
	return next.Since.Add(max(publish, SetAge) + EdgeAge + CacheAge + Skew + Late)
}

// EndsFrom is when a retired key may be revoked: by then its last token has
// expired, which a function with an old registry has signed a little later.
func EndsFrom(retired store.SigningKey, longest time.Duration) time.Time {
	return retired.Since.Add(longest + SetAge + Skew)
}

// The changes. Each makes the registry that one conditional write puts in the place
// of the one it was made of.

func change(r store.Registry, do func(k *store.SigningKey)) store.Registry {
	r.Version++
	r.Keys = slices.Clone(r.Keys)
	for i := range r.Keys {
		do(&r.Keys[i])
	}
	return r
}

// A line is the keys of one algorithm, each the successor of another.
type line []store.SigningKey

func lineOf(r store.Registry, algorithm string) line {
	return slices.DeleteFunc(slices.Clone(r.Keys), func(k store.SigningKey) bool { return k.Algorithm != algorithm })
}

// first is the first key in a state, nil for none.
func (l line) first(state string) *store.SigningKey {
	if i := slices.IndexFunc(l, func(k store.SigningKey) bool { return k.State == state }); i >= 0 {
		return &l[i]
	}
	return nil
}

// last is the key that was retired last.
func (l line) last() *store.SigningKey {
	var last *store.SigningKey
	for i := range l {
		if l[i].State == store.KeyRetired && (last == nil || l[i].Since.After(last.Since)) {
			last = &l[i]
		}
	}
	return last
}

// Activate lets the next key of an algorithm sign, and retires the one that does.
// *TooEarly where it was not published for as long as verifiers may hold a JWKS.
func Activate(r store.Registry, algorithm string, now time.Time) (store.Registry, error) {
	l := lineOf(r, algorithm)
	next := l.first(store.KeyNext)
	switch {
	case l.first(store.KeyActive) == nil:
		return r, fmt.Errorf("%w for %s", ErrNoKey, algorithm)
	case next == nil:
		return r, fmt.Errorf("keys: no key for %s is published to sign next; the rotate function publishes one", algorithm)
	case now.Before(SignsFrom(*next, SetAge)):
		return r, &TooEarly{
			fmt.Sprintf("the key %s was published %s ago; verifiers may hold a JWKS for %s", next.ID, age(now, next.Since), SetAge),
			SignsFrom(*next, SetAge),
		}
	}
	return swap(r, *next, now), nil
}

// swap makes to the active key of its algorithm, and retires the one that is.
func swap(r store.Registry, to store.SigningKey, now time.Time) store.Registry {
	return change(r, func(k *store.SigningKey) {
		switch {
		case k.Algorithm != to.Algorithm:
		case k.State == store.KeyActive:
			k.State, k.Since = store.KeyRetired, now
		case k.ID == to.ID && k.State == to.State:
			k.State, k.Since = store.KeyActive, now
		}
	})
}

// Rollback lets the key sign again that did before the active one, while it is
// published. A key that is next stays so.
func Rollback(r store.Registry, algorithm string, now time.Time) (store.Registry, error) {
	l := lineOf(r, algorithm)
	previous := l.last()
	switch {
	case l.first(store.KeyActive) == nil:
		return r, fmt.Errorf("%w for %s", ErrNoKey, algorithm)
	case previous == nil:
		return r, fmt.Errorf("keys: no key for %s that has signed before is published still", algorithm)
	}
	return swap(r, *previous, now), nil
}

// Revoke ends trust in a key. One that is next has signed nothing. One that is
// retired is revoked once its last token has expired, *TooEarly before. With
// compromised, which says what happened, it is revoked at once, and if it is the
// active one, the next takes its place however long it was published: no token of
// the other is worth anything.
func Revoke(r store.Registry, kid, compromised string, now time.Time) (store.Registry, error) {
	i := slices.IndexFunc(r.Keys, func(k store.SigningKey) bool { return k.ID == kid && kid != "" })
	if i < 0 {
		return r, fmt.Errorf("keys: %s is not listed", kid)
	}
	revoked := r.Keys[i]
	switch {
	case revoked.State == store.KeyRevoked:
		return r, fmt.Errorf("keys: %s is revoked since %s", kid, revoked.Since.UTC().Format(time.RFC3339))
	case revoked.State == store.KeyActive && compromised == "":
		return r, fmt.Errorf("keys: %s signs; rotate first, or say that it is compromised", kid)
	case revoked.State == store.KeyActive:
		next := lineOf(r, revoked.Algorithm).first(store.KeyNext)
		if next == nil {
			return r, fmt.Errorf("keys: %s signs, and no key is published to take its place; the rotate function publishes one", kid)
		}
		r = swap(r, *next, now)
		r.Version-- // one write
	case revoked.State == store.KeyRetired && compromised == "" && now.Before(EndsFrom(revoked, Longest(r))):
		return r, &TooEarly{
			fmt.Sprintf("the key %s signed until %s ago; its tokens live for up to %s", kid, age(now, revoked.Since), Longest(r)),
			EndsFrom(revoked, Longest(r)),
		}
	}
	return change(r, func(k *store.SigningKey) {
		if k.ID == kid {
			*k = tombstone(k.Reference, k.Algorithm, now)
			k.ID, k.Reason = kid, compromised
		}
	}), nil
}

// tombstone is what is listed of a key until it is gone. Its public half is not.
func tombstone(reference, algorithm string, now time.Time) store.SigningKey {
	return store.SigningKey{Reference: reference, Algorithm: algorithm, State: store.KeyRevoked, Since: now}
}

// publish lists a new key as the next of its algorithm.
func publish(r store.Registry, key jwt.Key, now time.Time) (store.Registry, error) {
	entry, err := listed(key, store.KeyNext, now)
	if err != nil {
		return r, err
	}
	r.Version++
	r.Keys = append(slices.Clone(r.Keys), entry)
	if text, err := json.Marshal(r); err != nil || len(text) > maxRegistry {
		return r, fmt.Errorf("keys: the registry would have %d bytes, and may have %d: %d keys are too many", len(text), maxRegistry, len(r.Keys))
	}
	return r, nil
}

// listed is the key as the registry lists it.
func listed(key jwt.Key, state string, now time.Time) (store.SigningKey, error) {
	jwk, err := json.Marshal(key)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("keys: %w", err)
	}
	return store.SigningKey{
		ID: key.ID, Reference: key.Reference, Algorithm: key.Algorithm, JWK: string(jwk), State: state, Since: now,
	}, nil
}

// age is a time span as people say it.
func age(now, then time.Time) time.Duration {
	d := now.Sub(then)
	if d >= time.Hour {
		return d.Truncate(time.Minute)
	}
	return d.Truncate(time.Second)
}

// Allow lets tokens live as long as lifetime from now on: a key that has signed such
// a token stays published for as long. To be called before an API is written that
// asks for it. The longest is never made shorter, for nobody knows when the last token
// of that lifetime was signed. It reports whether it has written.
func Allow(ctx context.Context, registries store.Registries, lifetime time.Duration) (bool, error) {
	seconds := int64((lifetime + time.Second - 1) / time.Second)
	for range 3 {
		r, err := registries.Registry(ctx)
		if err != nil {
			return false, fmt.Errorf("keys: registry: %w", err)
		}
		// An old registry that has no count allows everything.
		if r.Version > 0 && r.LongestLifetime == 0 || r.LongestLifetime >= seconds {
			return false, nil
		}
		r.Version++
		r.LongestLifetime = seconds
		if err = registries.ReplaceRegistry(ctx, r); err == nil {
			return true, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return false, fmt.Errorf("keys: registry: %w", err)
		}
	}
	return false, fmt.Errorf("keys: registry: %w", store.ErrConflict)
}

package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/store"
)

// A source counts what is read from it.
type source struct {
	clients  map[string]store.Client
	settings store.Settings
	issuer   string
	registry store.Registry
	err      error
	// during runs within each read.
	during func()
	reads  int
}

func (s *source) read() error {
	s.reads++
	if s.during != nil {
		s.during()
	}
	return s.err
}

func (s *source) Client(_ context.Context, id string) (store.Client, error) {
	c, ok := s.clients[id]
	if err := s.read(); err != nil {
		return store.Client{}, err
	}
	if !ok {
		return store.Client{}, fmt.Errorf("wrapped: %w", store.ErrNotFound)
	}
	return c, nil
}

func (s *source) API(ctx context.Context, identifier string) (store.API, error) {
	c, err := s.Client(ctx, identifier)
	return store.API{Identifier: c.ID}, err
}

func (s *source) Settings(context.Context) (store.Settings, error) {
	if err := s.read(); err != nil {
		return store.Settings{}, err
	}
	return s.settings, nil
}

func (s *source) Registry(context.Context) (store.Registry, error) {
	registry := s.registry // as it was when the read began
	if err := s.read(); err != nil {
		return store.Registry{}, err
	}
	return registry, nil
}

func (s *source) Issuer(context.Context) (string, error) {
	err := s.read()
	if err == nil && s.issuer == "" {
		err = store.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return s.issuer, nil
}

func TestCache(t *testing.T) {
	ctx := t.Context()
	for _, test := range []struct {
		name string
		// fill puts something into the source, change something else.
		fill, change func(s *source)
		// get returns what distinguishes the two, "" for nothing.
		get func(c *store.Cache) (string, error)
	}{
		{
			"Client",
			func(s *source) { s.clients["x"] = store.Client{ID: "x", Name: "first"} },
			func(s *source) { s.clients["x"] = store.Client{ID: "x", Name: "second"} },
			func(c *store.Cache) (string, error) { client, err := c.Client(ctx, "x"); return client.Name, err },
		},
		{
			"API",
			func(s *source) { s.clients["x"] = store.Client{ID: "first"} },
			func(s *source) { s.clients["x"] = store.Client{ID: "second"} },
			func(c *store.Cache) (string, error) { api, err := c.API(ctx, "x"); return api.Identifier, err },
		},
		{
			"Settings",
			func(s *source) { s.settings.DefaultAudience = "first" },
			func(s *source) { s.settings.DefaultAudience = "second" },
			func(c *store.Cache) (string, error) {
				settings, err := c.Settings(ctx)
				return settings.DefaultAudience, err
			},
		},
		{
			"Issuer",
			func(s *source) { s.issuer = "first" },
			func(s *source) { s.issuer = "second" },
			func(c *store.Cache) (string, error) { return c.Issuer(ctx) },
		},
		{
			"Registry",
			func(s *source) { s.registry = store.Registry{Version: 1, Keys: []store.SigningKey{{ID: "first"}}} },
			func(s *source) { s.registry = store.Registry{Version: 2, Keys: []store.SigningKey{{ID: "second"}}} },
			func(c *store.Cache) (string, error) {
				r, err := c.Registry(ctx)
				if err != nil || r.Version == 0 {
					return "", err
				}
				return r.Keys[0].ID, nil
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Unix(1_900_000_000, 0)
			s := &source{clients: map[string]store.Client{}}
			c := store.NewCache(s, s, s, s, s, func() time.Time { return now })
			want := func(what, value string, reads int) {
				t.Helper()
				got, err := test.get(c)
				missing := errors.Is(err, store.ErrNotFound)
				if got != value || err != nil && !missing || s.reads != reads {
					t.Errorf("%s: %q, %v after %d reads; want %q after %d", what, got, err, s.reads, value, reads)
				}
			}
			want("nothing", "", 1)
			test.fill(s)
			now = now.Add(store.MaxMissAge - 1)
			want("a miss is remembered", "", 1)
			now = now.Add(1)
			want("but not for long", "first", 2)
			test.change(s)
			now = now.Add(store.MaxAge - 1)
			want("what was found is remembered", "first", 2)
			now = now.Add(1)
			want("but not for ever", "second", 3)

			now = now.Add(store.MaxAge)
			s.err = store.ErrBusy
			for range 2 {
				if got, err := test.get(c); !errors.Is(err, store.ErrBusy) || got != "" {
					t.Errorf("busy: %q, %v", got, err)
				}
			}
			s.err = nil
			want("an error is not remembered", "second", 6)
			now = now.Add(-time.Hour)
			want("the clock was set back", "second", 7)
			c.Forget()
			if test.name == "Registry" {
				want("forgotten", "second", 8)
			} else {
				want("forgetting is for the registry", "second", 7)
			}
		})
	}
}

// Settings that hold lists alone are settings: it is not taken for a miss that any
// were written.
func TestCacheKeepsSettingsOfLists(t *testing.T) {
	now := time.Now()
	s := &source{settings: store.Settings{Claims: []store.ClaimRule{{Claim: "https://example.com/x"}}}}
	c := store.NewCache(nil, nil, s, nil, nil, func() time.Time { return now })
	for range 2 {
		if settings, err := c.Settings(t.Context()); err != nil || len(settings.Claims) != 1 || s.reads != 1 {
			t.Errorf("%+v, %v after %d reads", settings, err, s.reads)
		}
		now = now.Add(store.MaxAge - 1)
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	s := &source{clients: map[string]store.Client{"x": {ID: "x"}}}
	c := store.NewCache(s, nil, nil, nil, nil, func() time.Time { return now })
	ask := func(id string) {
		_, _ = c.Client(t.Context(), id) // the count alone matters here
	}
	reads := func(what string, want int, do func()) {
		t.Helper()
		before := s.reads
		do()
		if got := s.reads - before; got != want {
			t.Errorf("%s: %d reads, want %d", what, got, want)
		}
	}
	ask("x")
	reads("made-up names", 5000, func() {
		for i := range 5000 {
			ask(fmt.Sprint("made-up ", i))
		}
	})
	reads("a real one after them", 0, func() { ask("x") })
	reads("the last made-up ones", 0, func() { ask("made-up 4999") })
	reads("the first made-up ones", 1, func() { ask("made-up 0") })
	long := strings.Repeat("x", 256)
	reads("a name that nobody can have, twice", 2, func() { ask(long); ask(long) })
	for i := range 1000 {
		id := fmt.Sprint("client ", i)
		s.clients[id] = store.Client{ID: id}
		ask(id)
	}
	reads("the oldest of too many", 1, func() { ask("x") })
}

// What was being read while it was forgotten is not remembered.
func TestCacheForgetsWhatIsBeingRead(t *testing.T) {
	s := &source{registry: store.Registry{Version: 1}}
	c := store.NewCache(nil, nil, nil, nil, s, time.Now)
	s.during = func() {
		s.during = nil
		s.registry.Version = 2
		c.Forget()
	}
	for i, want := range []int64{1, 2, 2} {
		if r, err := c.Registry(t.Context()); err != nil || r.Version != want {
			t.Errorf("read %d: version %d, %v; want %d", i, r.Version, err, want)
		}
	}
	if s.reads != 2 {
		t.Errorf("%d reads, want 2", s.reads)
	}
}

// The age counts from before the read.
func TestCacheAge(t *testing.T) {
	now := time.Now()
	s := &source{issuer: "first"}
	c := store.NewCache(nil, nil, s, s, nil, func() time.Time { return now })
	s.during = func() { now = now.Add(store.MaxAge - 1) }
	for _, step := range []struct {
		passes time.Duration
		reads  int
	}{{0, 1}, {0, 1}, {1, 2}} {
		now = now.Add(step.passes)
		if _, err := c.Issuer(t.Context()); err != nil || s.reads != step.reads {
			t.Errorf("%d reads, %v; want %d", s.reads, err, step.reads)
		}
	}
}

type locked struct {
	sync.Mutex
	source
}

func (l *locked) Client(ctx context.Context, id string) (store.Client, error) {
	l.Lock()
	defer l.Unlock()
	return l.source.Client(ctx, id)
}

func (l *locked) Registry(ctx context.Context) (store.Registry, error) {
	l.Lock()
	defer l.Unlock()
	return l.source.Registry(ctx)
}

func TestCacheRace(t *testing.T) {
	s := &locked{source: source{clients: map[string]store.Client{"x": {ID: "x"}}, registry: store.Registry{Version: 1}}}
	c := store.NewCache(s, nil, nil, nil, s, time.Now)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for j := range 100 {
				if client, err := c.Client(t.Context(), "x"); err != nil || client.ID != "x" {
					t.Errorf("Client: %+v, %v", client, err)
				}
				if _, err := c.Client(t.Context(), fmt.Sprint(i*j)); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("Client: %v", err)
				}
				if j%10 == 0 {
					c.Forget()
				}
				if r, err := c.Registry(t.Context()); err != nil || r.Version != 1 {
					t.Errorf("Registry: %+v, %v", r, err)
				}
			}
		})
	}
	all.Wait()
}

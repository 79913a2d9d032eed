package store

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of the cache. What has changed in the table is seen after MaxAge at the
// latest: a deleted client, an old secret, a revoked key.
const (
	// MaxAge is how long what was read is remembered.
	MaxAge = time.Minute
	// MaxMissAge is how long it is remembered that there was nothing.
	MaxMissAge = 10 * time.Second

	maxRecords = 1000
	// maxName bounds the names of which it is remembered that nobody has them:
	// they come from whoever asks. No client_id or identifier is longer.
	maxName = 255
)

// A Cache remembers configuration in memory for at most MaxAge. What it returns
// is shared, and not to be changed.
//
// It never serves what is older, not even when the store is busy: an answer then
// would stretch the bound that SECURITY.md promises for just as long as somebody
// can keep the store busy. Errors are not remembered.
type Cache struct {
	clients  Clients
	apis     APIs
	server   ServerSettings
	issuers  Issuers
	registry RegistryReader

	client   *memory[Client]
	api      *memory[API]
	settings *memory[Settings]
	issuer   *memory[string]
	keys     *memory[Registry]
}

var (
	_ Clients        = (*Cache)(nil)
	_ APIs           = (*Cache)(nil)
	_ ServerSettings = (*Cache)(nil)
	_ Issuers        = (*Cache)(nil)
	_ RegistryReader = (*Cache)(nil)
)

// NewCache makes a cache in front of the readers. One that its caller never asks
// for may be nil. now is the clock.
func NewCache(clients Clients, apis APIs, server ServerSettings, issuers Issuers, registry RegistryReader, now func() time.Time) *Cache {
	return &Cache{
		clients: clients, apis: apis, server: server, issuers: issuers, registry: registry,
		client:   newMemory[Client](maxRecords, now),
		api:      newMemory[API](maxRecords, now),
		settings: newMemory[Settings](1, now),
		issuer:   newMemory[string](1, now),
		keys:     newMemory[Registry](1, now),
	}
}

// Client finds one client.
func (c *Cache) Client(ctx context.Context, id string) (Client, error) {
	return c.client.get(id, func() (Client, error) { return c.clients.Client(ctx, id) }, nil)
}

// API finds one API.
func (c *Cache) API(ctx context.Context, identifier string) (API, error) {
	return c.api.get(identifier, func() (API, error) { return c.apis.API(ctx, identifier) }, nil)
}

// Settings reads the settings. None written is a miss.
func (c *Cache) Settings(ctx context.Context) (Settings, error) {
	return c.settings.get("", func() (Settings, error) { return c.server.Settings(ctx) },
		func(s Settings) bool { return reflect.ValueOf(s).IsZero() })
}

// Issuer reads the issuer record.
func (c *Cache) Issuer(ctx context.Context) (string, error) {
	return c.issuer.get("", func() (string, error) { return c.issuers.Issuer(ctx) }, nil)
}

// Registry reads the signing-key registry. None written is a miss.
func (c *Cache) Registry(ctx context.Context) (Registry, error) {
	return c.keys.get("", func() (Registry, error) { return c.registry.Registry(ctx) },
		func(r Registry) bool { return r.Version == 0 })
}

// Forget lets the next Registry be read anew: a key has turned out to be gone.
func (c *Cache) Forget() { c.keys.forget() }

// A memory holds what was found, and apart from it what was not, so that made-up
// names cannot push out the real ones.
type memory[T any] struct {
	now func() time.Time
	// found and missed are safe for use side by side; generation, which counts
	// calls of forget, is not, so mu guards it with the writing of either.
	found, missed *lru.Cache[string, remembered[T]]
	mu            sync.Mutex
	generation    int
}

type remembered[T any] struct {
	value T
	err   error
	at    time.Time
}

func newMemory[T any](size int, now func() time.Time) *memory[T] {
	found, _ := lru.New[string, remembered[T]](size) // fails for a size below 1 alone
	missed, _ := lru.New[string, remembered[T]](size)
	return &memory[T]{now: now, found: found, missed: missed}
}

// get returns what is remembered under name, or reads it. empty says of a value
// that it stands for there being none.
func (m *memory[T]) get(name string, read func() (T, error), empty func(T) bool) (T, error) {
	// The age counts from before the read: what is read may change right after it.
	at := m.now()
	for _, kept := range []struct {
		in  *lru.Cache[string, remembered[T]]
		age time.Duration
	}{{m.found, MaxAge}, {m.missed, MaxMissAge}} {
		if r, ok := kept.in.Get(name); ok && !at.Before(r.at) && at.Before(r.at.Add(kept.age)) {
			return r.value, r.err
		}
	}
	m.mu.Lock()
	generation := m.generation
	m.mu.Unlock()
	value, err := read()
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation != m.generation { // read before it was to be forgotten
		return value, err
	}
	switch missing := errors.Is(err, ErrNotFound) || err == nil && empty != nil && empty(value); {
	case missing && len(name) <= maxName:
		m.found.Remove(name)
		m.missed.Add(name, remembered[T]{value, err, at})
	case missing:
		m.found.Remove(name)
	case err == nil:
		m.missed.Remove(name)
		m.found.Add(name, remembered[T]{value, nil, at})
	}
	return value, err
}

func (m *memory[T]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	m.found.Purge()
	m.missed.Purge()
}

package property

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/store/storetest"
)

// A memory is the store in maps: no disk slows the thousands of histories that the
// tests here live through. What is to happen in a moment the functions of package
// store say.
type memory struct {
	mu        sync.Mutex
	clients   map[string]store.Client
	apis      map[string]store.API
	settings  store.Settings
	issuer    string
	registry  store.Registry
	users     map[string]store.User
	logins    map[string]string
	attempts  map[oauth.Digest]store.FailureCount
	sessions  map[oauth.Digest]store.Session
	grants    map[string]store.Grant
	uses      map[oauth.Digest]store.Use
	ended     map[string]time.Time // by jti
	opaque    map[oauth.Digest]store.OpaqueToken
	documents map[string]document
	consents  map[string]map[string]store.Consent // by person and client
}

type document struct {
	body    []byte
	fetched time.Time
}

func newMemory() *memory {
	return &memory{
		clients: map[string]store.Client{}, apis: map[string]store.API{},
		users: map[string]store.User{}, logins: map[string]string{}, attempts: map[oauth.Digest]store.FailureCount{},
		sessions: map[oauth.Digest]store.Session{}, grants: map[string]store.Grant{}, uses: map[oauth.Digest]store.Use{},
		ended: map[string]time.Time{}, opaque: map[oauth.Digest]store.OpaqueToken{}, documents: map[string]document{},
		consents: map[string]map[string]store.Consent{},
	}
}

// clone makes a memory that goes its own way from here.
func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{
		clients: maps.Clone(m.clients), apis: maps.Clone(m.apis), settings: m.settings, issuer: m.issuer, registry: m.registry,
		users: maps.Clone(m.users), logins: maps.Clone(m.logins), attempts: maps.Clone(m.attempts),
		sessions: maps.Clone(m.sessions), grants: maps.Clone(m.grants), uses: maps.Clone(m.uses),
		ended: maps.Clone(m.ended), opaque: maps.Clone(m.opaque), documents: maps.Clone(m.documents),
		consents: maps.Clone(m.consents),
	}
}

func find[K comparable, V any](m *memory, in map[K]V, key K) (V, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := in[key]
	if !ok {
		return v, store.ErrNotFound
	}
	return v, nil
}

func put[K comparable, V any](m *memory, in map[K]V, key K, v V) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in[key] = v
	return nil
}

// add puts what must not be there yet.
func add[K comparable, V any](m *memory, in map[K]V, key K, v V) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := in[key]; ok {
		return store.ErrConflict
	}
	in[key] = v
	return nil
}

func (m *memory) Client(_ context.Context, id string) (store.Client, error) {
	return find(m, m.clients, id)
}
func (m *memory) API(_ context.Context, identifier string) (store.API, error) {
	return find(m, m.apis, identifier)
}
func (m *memory) User(_ context.Context, subject string) (store.User, error) {
	return find(m, m.users, subject)
}
func (m *memory) Login(_ context.Context, name string) (string, error) {
	return find(m, m.logins, name)
}
func (m *memory) Grant(_ context.Context, id string) (store.Grant, error) {
	return find(m, m.grants, id)
}

func (m *memory) PutClient(_ context.Context, c store.Client) error {
	return put(m, m.clients, c.ID, c)
}
func (m *memory) PutAPI(_ context.Context, a store.API) error {
	return put(m, m.apis, a.Identifier, a)
}

func (m *memory) Settings(context.Context) (store.Settings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settings, nil
}

func (m *memory) PutSettings(_ context.Context, s store.Settings) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = s
	return nil
}

func (m *memory) Issuer(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.issuer == "" {
		return "", store.ErrNotFound
	}
	return m.issuer, nil
}

func (m *memory) PutIssuer(_ context.Context, issuer string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issuer = issuer
	return nil
}

func (m *memory) Registry(context.Context) (store.Registry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.registry, nil
}

func (m *memory) ReplaceRegistry(_ context.Context, r store.Registry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.registry.Version != r.Version-1 {
		return store.ErrConflict
	}
	r.Keys = slices.Clone(r.Keys)
	m.registry = r
	return nil
}

func (m *memory) PutUser(_ context.Context, u store.User) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := store.LoginName(u.Username)
	if name != "" {
		if owner, ok := m.logins[name]; ok && owner != u.Subject {
			return store.ErrConflict
		}
	}
	delete(m.logins, store.LoginName(m.users[u.Subject].Username))
	if name != "" {
		m.logins[name] = u.Subject
	}
	m.users[u.Subject] = u
	return nil
}

func (m *memory) BeginAttempt(_ context.Context, name oauth.Digest, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	count, err := m.attempts[name].Next(now)
	if err == nil {
		m.attempts[name] = count
	}
	return err
}

func (m *memory) ClearAttempts(_ context.Context, name oauth.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.attempts, name)
	return nil
}

func (m *memory) Session(_ context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	s, err := find(m, m.sessions, digest)
	if err == nil && !s.Alive(now) {
		return store.Session{}, store.ErrNotFound
	}
	return s, err
}

func (m *memory) PutSession(_ context.Context, s store.Session) error {
	return add(m, m.sessions, s.Digest, s)
}

func (m *memory) RenewSession(_ context.Context, digest oauth.Digest, idleExpires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[digest]
	if !ok {
		return store.ErrNotFound
	}
	s.IdleExpires = idleExpires
	m.sessions[digest] = s
	return nil
}

func (m *memory) JoinSession(_ context.Context, digest oauth.Digest, clientID string, idleExpires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[digest]
	if !ok {
		return store.ErrNotFound
	}
	if !slices.Contains(s.Clients, clientID) {
		s.Clients = append(slices.Clone(s.Clients), clientID)
	}
	s.IdleExpires = idleExpires
	m.sessions[digest] = s
	return nil
}

func (m *memory) EndSession(_ context.Context, digest oauth.Digest) (store.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.sessions[digest]
	if !ok {
		return store.Session{}, store.ErrNotFound
	}
	delete(m.sessions, digest)
	return s, nil
}

func (m *memory) DeleteSession(_ context.Context, digest oauth.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, digest)
	return nil
}

func (m *memory) PutGrant(_ context.Context, g store.Grant) error {
	if _, err := g.Until(); err != nil {
		return err
	}
	return add(m, m.grants, g.ID, g)
}

func (m *memory) SpendCode(_ context.Context, s store.Spend) (store.Grant, error) {
	return m.decide(s.GrantID, s.Now, s.Judge, s.Done, s.Apply)
}

func (m *memory) RotateRefreshToken(_ context.Context, r store.Rotation) (store.Grant, error) {
	return m.decide(r.GrantID, r.Now, r.Judge, r.Settled, r.Apply)
}

func (m *memory) decide(
	id string, now time.Time,
	judge func(store.Grant) error, settled func(store.Grant) bool, apply func(store.Grant) store.Grant,
) (store.Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.grants[id]
	if !ok {
		return store.Grant{}, store.ErrNotFound
	}
	switch err := judge(g); {
	case errors.Is(err, store.ErrReplayed):
		g.Revoked = now
		m.grants[id] = g
		return store.Grant{}, err
	case err != nil:
		return store.Grant{}, err
	case !settled(g):
		g = apply(g)
		m.grants[id] = g
	}
	return g, nil
}

func (m *memory) ReopenCode(_ context.Context, id, by string) error {
	return m.undo(id, by, store.UndoSpend)
}

func (m *memory) ReopenRotation(_ context.Context, id, by string) error {
	return m.undo(id, by, store.UndoRotation)
}

func (m *memory) undo(id, by string, apply func(store.Grant, string) (store.Grant, bool)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.grants[id]; ok {
		if undone, ok := apply(g, by); ok {
			m.grants[id] = undone
		}
	}
	return nil
}

func (m *memory) RevokeGrant(_ context.Context, r store.Revocation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.grants[r.GrantID]
	if !ok {
		return store.ErrNotFound
	}
	if err := r.Judge(g); err != nil || !g.Revoked.IsZero() {
		return err
	}
	g.Revoked = r.Now
	m.grants[r.GrantID] = g
	return nil
}

func (m *memory) SessionsOf(_ context.Context, subject string, now time.Time, from oauth.Digest) ([]store.Session, oauth.Digest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pageOf(m.sessions, from, func(s store.Session) bool { return s.Subject == subject && s.Alive(now) })
	return page, next, nil
}

func (m *memory) GrantsOf(_ context.Context, subject, clientID, from string) (ids []string, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pageOf(m.grants, from, func(g store.Grant) bool {
		return g.Subject == subject && g.ClientID == clientID && g.Revoked.IsZero()
	})
	for _, g := range page {
		ids = append(ids, g.ID)
	}
	return ids, next, nil
}

// pageOf are the records after from that are wanted.
func pageOf[K ~string, V any](all map[K]V, from K, wanted func(V) bool) (page []V, next K) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key <= from || !wanted(all[key]) {
			continue
		}
		if len(page) == store.PageSize {
			return page, next
		}
		page, next = append(page, all[key]), key
	}
	return page, ""
}

func (m *memory) RevokeToken(_ context.Context, jti string, expires time.Time) error {
	return put(m, m.ended, jti, expires)
}

func (m *memory) TokenRevoked(_ context.Context, jti string, now time.Time) (bool, error) {
	expires, err := find(m, m.ended, jti)
	return err == nil && now.Before(expires), nil
}

func (m *memory) UseOnce(_ context.Context, u store.Use, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept, ok := m.uses[u.Key]; ok && kept.By != u.By && now.Before(kept.Until) {
		return store.ErrUsed
	}
	m.uses[u.Key] = u
	return nil
}

func (m *memory) ForgetUse(_ context.Context, u store.Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses[u.Key].By == u.By {
		delete(m.uses, u.Key)
	}
	return nil
}

func (m *memory) PutToken(_ context.Context, t store.OpaqueToken) error {
	return add(m, m.opaque, t.Digest, t)
}

func (m *memory) Token(_ context.Context, digest oauth.Digest, now time.Time) (store.OpaqueToken, error) {
	t, err := find(m, m.opaque, digest)
	if err == nil && !now.Before(t.Expires) {
		return store.OpaqueToken{}, store.ErrNotFound
	}
	return t, err
}

func (m *memory) Document(_ context.Context, url string) ([]byte, time.Time, bool, error) {
	d, err := find(m, m.documents, url)
	return d.body, d.fetched, err == nil, nil
}

func (m *memory) PutDocument(_ context.Context, url string, body []byte, fetched, _ time.Time) error {
	return put(m, m.documents, url, document{body, fetched})
}

func (m *memory) Consents(_ context.Context, subject string) (map[string]store.Consent, error) {
	all, _ := find(m, m.consents, subject)
	return all, nil
}

func (m *memory) PutConsent(_ context.Context, subject, clientID string, before, next store.Consent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, there := m.consents[subject][clientID]
	if there != (before != nil) || !maps.Equal(kept, before) {
		return store.ErrConflict
	}
	all := maps.Clone(m.consents[subject]) // whoever reads may hold the old one
	if all == nil {
		all = map[string]store.Consent{}
	}
	all[clientID] = next
	m.consents[subject] = all
	return nil
}

func (m *memory) DeleteConsent(_ context.Context, subject, clientID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(m.consents[subject])
	delete(all, clientID)
	m.consents[subject] = all
	return nil
}

// TestMemory: a store that let through what others refuse would prove nothing.
func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Stores {
		m := newMemory()
		return storetest.Stores{
			Clients: m, APIs: m, Server: m, Issuers: m, Config: m, Registries: m,
			Users: m, Logins: m, People: m, Sessions: m, Joined: m, Listings: m, Consents: m, Attempts: m,
			Codes: m, Reader: m, Grants: m, Revocations: m, Revoked: m,
			Uses: m, Opaque: m, Documents: m,
		}
	})
}

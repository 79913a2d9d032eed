package property

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// grantTypes are those that clients are registered for.
var grantTypes = []string{
	oauth.ClientCredentials, oauth.AuthorizationCode, oauth.RefreshToken, oauth.Password, oauth.TokenExchange,
}

// scopeValues are those of APIs. shared is one that every API knows, each as its
// own.
var scopeValues = []string{"read", "write", "shared"}

func one[V any](t *rapid.T, name string, of ...V) V { return rapid.SampledFrom(of).Draw(t, name) }

// oneIn is true once in n times.
func oneIn(t *rapid.T, n int, name string) bool { return rapid.IntRange(1, n).Draw(t, name) == n }

// some is a part of a list, maybe all or nothing, never nil.
func some(t *rapid.T, name string, of []string) []string {
	part := []string{}
	for _, v := range of {
		if rapid.Bool().Draw(t, name+" has "+v) {
			part = append(part, v)
		}
	}
	return part
}

func apiName(i int) string    { return fmt.Sprintf("https://api%d.example.com/", i) }
func clientName(i int) string { return fmt.Sprintf("client%d", i) }
func userName(i int) string   { return fmt.Sprintf("user%d", i) }

// configure draws APIs, clients, people and settings.
func (w *world) configure(t *rapid.T) {
	for i := range rapid.IntRange(1, 3).Draw(t, "APIs") {
		w.drawAPI(t, apiName(i))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "clients") {
		w.drawClient(t, clientName(i))
	}
	for i := range 2 {
		must(w.PutUser(context.Background(), store.User{Subject: userName(i), Username: userName(i) + "@example.com", PasswordHash: cheapHash}))
	}
	w.settings = store.Settings{
		DefaultAudience: one(t, "default audience", "", apiName(0)),
		LegacyPassword:  !oneIn(t, 4, "no passwords"),
		DPoPNonce:       oneIn(t, 6, "nonces for all"),
	}
	w.restart()
}

func (w *world) drawAPI(t *rapid.T, identifier string) {
	api := store.API{
		Identifier:         identifier,
		Scopes:             map[string]string{"shared": ""},
		AllowOfflineAccess: !oneIn(t, 4, "no offline access"),
		TokenLifetime:      one[int64](t, "lifetime", 0, 60, 3600, day, 2*day),
		Dialect:            one(t, "dialect", "", "", store.RFC9068, store.Auth0Dialect, store.Opaque),
		Algorithm:          one(t, "algorithm", "", "", "ES256", "PS256"),
		UserPolicy:         one(t, "user policy", "", store.AllowAll, store.RequireGrant, store.RequireGrant, store.DenyAll),
		ClientPolicy:       one(t, "client policy", "", store.AllowAll, store.RequireGrant, store.RequireGrant, store.DenyAll),
	}
	for _, value := range some(t, "API", []string{"read", "write"}) {
		api.Scopes[value] = ""
	}
	w.apis[identifier] = api
}

func (w *world) drawClient(t *rapid.T, id string) {
	c := store.Client{
		ID:              id,
		AuthMethod:      one(t, "method", oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.None),
		ApplicationType: oauth.Web,
		APIGrants:       map[string][]string{},
		UserAPIGrants:   map[string][]string{},
		Refresh: store.RefreshPolicy{
			Lifetime:     one[int64](t, "refresh lifetime", 600, 30*day),
			IdleLifetime: one[int64](t, "idle lifetime", 300, day),
			Leeway:       one[int64](t, "leeway", 0, 0, 30),
			NonRotating:  oneIn(t, 5, "does not rotate"),
		},
		DPoPBound: oneIn(t, 5, "bound"),
		DPoPNonce: oneIn(t, 5, "nonces"),
		Exchange: store.ExchangePolicy{
			Impersonation: !oneIn(t, 4, "no impersonation"), Delegation: rapid.Bool().Draw(t, "delegation"),
		},
	}
	if rapid.Bool().Draw(t, "is an API") {
		c.ResourceServer = rapid.SampledFrom(w.named()).Draw(t, "which")
	}
	for _, grantType := range grantTypes {
		if !oneIn(t, 4, "no "+grantType) {
			c.GrantTypes = append(c.GrantTypes, grantType)
		}
	}
	if c.AuthMethod != oauth.None {
		c.SecretDigests = []oauth.Digest{oauth.DigestOf(secretOf(id))}
	}
	for _, identifier := range w.named() {
		if rapid.Bool().Draw(t, "own grant for "+identifier) {
			c.APIGrants[identifier] = some(t, "own", scopeValues)
		}
		if rapid.Bool().Draw(t, "person's grant for "+identifier) {
			c.UserAPIGrants[identifier] = some(t, "person's", scopeValues)
		}
	}
	w.clients[id] = c
}

// named lists the APIs.
func (w *world) named() []string { return slices.Sorted(maps.Keys(w.apis)) }

func (w *world) anyClient(t *rapid.T) store.Client {
	return w.clients[rapid.SampledFrom(slices.Sorted(maps.Keys(w.clients))).Draw(t, "client")]
}

func anyProver(t *rapid.T) *prover {
	i := rapid.IntRange(-1, len(provers)-1).Draw(t, "prover")
	if i < 0 {
		return nil
	}
	return &provers[i]
}

// wants draws what a request says of scope and targets. scopes and targets are what
// it has to choose from. It returns them as the oracle wants them.
func (w *world) wants(t *rapid.T, params url.Values, scopes, targets []string) (asked, named []string) {
	if oneIn(t, 4, "names a scope") {
		if asked = some(t, "asks for", scopes); len(asked) == 0 {
			asked = nil
		} else {
			params.Set("scope", oauth.Scope(asked).String())
		}
	}
	if oneIn(t, 3, "names a target") {
		if named = some(t, "for", targets); len(named) == 0 {
			return asked, nil
		}
		// audience may be there once, resource as often as one likes (RFC 8707 §2).
		if len(named) == 1 && rapid.Bool().Draw(t, "by audience") {
			params.Set("audience", named[0])
		} else {
			params["resource"] = named
		}
	}
	return asked, named
}

// everything is all scope values that a person may be asked for, and one that
// nobody knows.
func everything() []string {
	return slices.Concat([]string{oauth.OpenID, oauth.Profile, oauth.OfflineAccess, oauth.OnlineAccess, "unknown"}, scopeValues)
}

// later lets time pass.
func (w *world) later(t *rapid.T) {
	w.now = w.now.Add(time.Duration(one(t, "seconds", 1, 1, 10, 45, 200, 4000, 90000)) * time.Second)
}

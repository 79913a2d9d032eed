package storetest

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func testConfig(t *testing.T, s Stores) {
	ctx := t.Context()

	t.Run("nothing written", func(t *testing.T) {
		_, err := s.Clients.Client(ctx, "demo")
		is(t, "Client", err, store.ErrNotFound)
		_, err = s.APIs.API(ctx, "https://api.example.com/")
		is(t, "API", err, store.ErrNotFound)
		_, err = s.Issuers.Issuer(ctx)
		is(t, "Issuer", err, store.ErrNotFound)
		settings, err := s.Server.Settings(ctx)
		is(t, "Settings", err, nil)
		same(t, "Settings", settings, store.Settings{})
	})

	began := now().Add(5 * time.Millisecond)
	client := store.Client{
		ID: "demo", Name: "Demo <é>", SecretDigests: []oauth.Digest{digest(), digest()}, SealedSecrets: []string{"AQID", "BAUG"},
		JWKS: `{"keys":[{"kty":"RSA"}]}`, JWKSURI: "https://a.example.com/jwks", AssertionAlgorithms: []string{"RS256", "ES256"}, TokenEndpointAudience: true,
		Workload: &store.Workload{
			Issuer: "https://token.actions.githubusercontent.com", Audience: "kmint", Subject: "repo:a/b:*", Claims: map[string]string{"ref": "refs/heads/*"},
		},
		AuthMethod: "client_secret_basic", ApplicationType: "web",
		GrantTypes: []string{"refresh_token", "authorization_code"}, ResponseTypes: []string{"code"},
		RedirectURIs: []string{"https://b.example.com/cb", "https://a.example.com/cb"}, PostLogoutRedirectURIs: []string{"https://a.example.com/out"}, WebOrigins: []string{"https://a.example.com"},
		BackchannelLogoutURI: "https://a.example.com/back", FrontchannelLogoutURI: "https://a.example.com/front", InitiateLoginURI: "https://a.example.com/login",
		FirstParty: true, APIGrants: map[string][]string{"https://api.example.com/": {"write:x", "read:x"}, "https://none.example.com/": {}},
		UserAPIGrants: map[string][]string{"https://api.example.com/": {"read:x"}}, ResourceServer: "https://api.example.com/",
		DPoPBound: true, DPoPNonce: true, IDTokenAlgorithm: "ES256", RequestObjectAlgorithm: "PS256",
		DefaultMaxAge: new(int64), DefaultACRValues: []string{"urn:b", "urn:a"}, RequireAuthTime: true,
		Exchange:     store.ExchangePolicy{Impersonation: true, Delegation: true, SubjectIssuers: []string{"https://other.example.com"}},
		ErrorProfile: store.Auth0, Metadata: map[string]any{"tier": "gold", "seats": 7.0, "flags": []any{true, nil}},
		Refresh:   store.RefreshPolicy{Lifetime: 3600, IdleLifetime: 60, Leeway: 5, NonRotating: true},
		NotBefore: began,
	}
	api := store.API{
		Identifier: "https://api.example.com/", Name: "API", Scopes: map[string]string{"read:x": "Read \"x\"", "write:x": ""},
		AllowOfflineAccess: true, TokenLifetime: 600, Dialect: store.Auth0Dialect, Algorithm: "PS256", KeyID: "kid",
		UserPolicy: store.RequireGrant, ClientPolicy: store.DenyAll,
	}
	settings := store.Settings{
		Brand:           store.Brand{Name: "Acme <é>", Logo: "https://a.example.com/l.svg", LogoDark: "https://a.example.com/d.svg", Accent: "#005f73", AccentDark: "#94d2bd"},
		DefaultAudience: api.Identifier, ErrorProfile: store.Strict, DPoPNonce: true, LegacyPassword: true,
		TrustedIssuers: []store.TrustedIssuer{
			{Issuer: "https://other.example.com", JWKS: `{"keys":[]}`, Algorithms: []string{"RS256"}, SubjectPrefix: "other|"},
			{Issuer: "https://third.example.com", JWKSURI: "https://third.example.com/jwks", Audience: "kmint", Subject: "a*", Claims: map[string]string{"hd": "example.com"}},
		},
		Claims: []store.ClaimRule{
			{Claim: "https://example.com/tier", From: "client.metadata.tier", AccessToken: true},
			{Claim: "https://example.com/team", From: "user.attributes.team", IDToken: true, Scope: "profile"},
		},
		NotBefore: began,
	}
	t.Run("every member is set", func(t *testing.T) {
		everyMember(t, client)
		everyMember(t, api)
		everyMember(t, settings)
	})

	t.Run("what is written is read", func(t *testing.T) {
		must(t, s.Config.PutClient(ctx, client))
		got, err := s.Clients.Client(ctx, client.ID)
		must(t, err)
		same(t, "Client", got, client)

		must(t, s.Config.PutAPI(ctx, api))
		gotAPI, err := s.APIs.API(ctx, api.Identifier)
		must(t, err)
		same(t, "API", gotAPI, api)

		must(t, s.Config.PutSettings(ctx, settings))
		gotSettings, err := s.Server.Settings(ctx)
		must(t, err)
		same(t, "Settings", gotSettings, settings)

		must(t, s.Config.PutIssuer(ctx, "https://id.example.com/"))
		issuer, err := s.Issuers.Issuer(ctx)
		must(t, err)
		same(t, "Issuer", issuer, "https://id.example.com/")
	})

	t.Run("written again, all is replaced", func(t *testing.T) {
		bare := store.Client{ID: "demo", AuthMethod: "none", ApplicationType: "native", GrantTypes: []string{"authorization_code"}}
		must(t, s.Config.PutClient(ctx, bare))
		got, err := s.Clients.Client(ctx, "demo")
		must(t, err)
		same(t, "Client", got, bare)
		must(t, s.Config.PutSettings(ctx, store.Settings{}))
		settings, err := s.Server.Settings(ctx)
		must(t, err)
		same(t, "Settings", settings, store.Settings{})
	})

	t.Run("another name finds nothing", func(t *testing.T) {
		for _, id := range []string{"", "Demo", "demo ", api.Identifier, "client#demo", strings.Repeat("x", 5000)} {
			_, err := s.Clients.Client(ctx, id)
			is(t, "Client "+id[:min(len(id), 20)], err, store.ErrNotFound)
		}
		for _, identifier := range []string{"", "https://api.example.com", "demo", strings.Repeat("x", 5000)} {
			_, err := s.APIs.API(ctx, identifier)
			is(t, "API "+identifier[:min(len(identifier), 20)], err, store.ErrNotFound)
		}
	})
}

// everyMember fails if a member of the record is zero: its round trip would prove
// nothing.
func everyMember(t *testing.T, record any) {
	t.Helper()
	v := reflect.ValueOf(record)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%T: %s is not set", record, v.Type().Field(i).Name)
		}
	}
}

func registry(version int64) store.Registry {
	return store.Registry{Version: version, Keys: []store.SigningKey{{
		ID: "kid", Reference: "arn:aws:kms:us-east-1:111122223333:key/1", Algorithm: "RS256", JWK: `{"kty":"RSA"}`,
		State: store.KeyActive, Since: now().Add(time.Duration(version) * time.Millisecond),
	}}}
}

func testRegistry(t *testing.T, s Stores) {
	ctx := t.Context()
	got, err := s.Registries.Registry(ctx)
	is(t, "Registry", err, nil)
	same(t, "before any", got, store.Registry{})

	is(t, "a second version first", s.Registries.ReplaceRegistry(ctx, registry(2)), store.ErrConflict)
	is(t, "version 0", s.Registries.ReplaceRegistry(ctx, registry(0)), store.ErrConflict)
	first, second := registry(1), registry(2)
	must(t, s.Registries.ReplaceRegistry(ctx, first))
	is(t, "the first version twice", s.Registries.ReplaceRegistry(ctx, registry(1)), store.ErrConflict)
	is(t, "a version left out", s.Registries.ReplaceRegistry(ctx, registry(3)), store.ErrConflict)
	is(t, "version 0", s.Registries.ReplaceRegistry(ctx, registry(0)), store.ErrConflict)
	got, err = s.Registries.Registry(ctx)
	must(t, err)
	same(t, "after refusals", got, first)
	must(t, s.Registries.ReplaceRegistry(ctx, second))
	got, err = s.Registries.Registry(ctx)
	must(t, err)
	same(t, "the second version", got, second)
}

func testRegistryRace(t *testing.T, s Stores) {
	ctx := t.Context()
	for version := int64(1); version <= raceRounds; version++ {
		written := make([]store.Registry, racers)
		errs, _ := race(func(i int) error {
			written[i] = registry(version)
			written[i].Keys[0].ID = string(digest())
			return s.Registries.ReplaceRegistry(ctx, written[i])
		})
		if n := count(t, errs, store.ErrConflict)[nil]; n != 1 {
			t.Fatalf("%d of %d replaced version %d", n, racers, version-1)
		}
		got, err := s.Registries.Registry(ctx)
		must(t, err)
		for i, err := range errs {
			if err == nil {
				same(t, "the winner's registry", got, written[i])
			}
		}
	}
}

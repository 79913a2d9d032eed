package seed

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Keys of nobody.
const (
	ecKey   = `"kty":"EC","crv":"P-256","x":"c2OgRM0k0VuPfqzvjJC_PfZbwJAl_XYPTYO1Rzo_2m8","y":"BZOpGIfQl6ldRCntU4dvJiZfVSGIQ3J549OOjIIxol4"`
	p384Key = `"kty":"EC","crv":"P-384","x":"lMhyL9cUuB7F9zPNRZuXgv8rzn2YTL7CfhXpnF-1zj7NghlZZs0Q2jfUYZHIvt-S","y":"oXhImxuSm47vucLdmotA0tCcAf4ypZsEANVyBPiC950rsEk6enjkh8p4dBe_-sBo"`
	edKey   = `"kty":"OKP","crv":"Ed25519","x":"80vmz0vb2i4roNX4DRqX184Cpcry7NvUVoYMW3y8pNU"`
	rsaKey  = `"kty":"RSA","n":"p3ZDbQ7QsywGP9Hjyq15UmKdnNkLfFb6uc023UGB5JBt8QUdepYhfFVqXB9Hw8-gatz3phh-UaWe3GllMLELO54dn9GwMwT6wwutIIVvkGWA-7LG6gWu1E33TgQF7l-_klitek2F7-ZD8aHi57D9RWKasVMf0I0X6gwl_N5mCT6FjYMMCy8Yasj4JOWrbOcX87_rAndq0MYqDvjriFa782BlNp3-9wKEK0U2W4CubhBq9b-HuAbWrndO7luERGI87tVUU8TzU47ADLzpfPX4VtDp-wn2gKb-plVUjIgmXhE956ocbbsaTLQAgoFNnju5h9_kSXbo9RMfIKTtl0freQ","e":"AQAB"`
	weakKey = `"kty":"RSA","n":"41_OZx5yUzIV7kg6c2Q9GgAt7hu1ZExMqXyM3Qu-yb3rqN7FmA0XJ-H_TmNGMPDrcJvd2Zw71Rcbbs7oQ_ZW8id4lU52fHD-zckp--PtkLO-qZTuHPnhGG5pIhLsBcYfvVqPTAWPOaVdchBg684m3CK-VG-r3TYugJjKx_VI5kk","e":"AQAB"`
)

const (
	aSecret  = "0123456789abcdef0123456789abcdef"
	kubeName = "https://kubernetes.example/"
)

// A whole is a file that is right, with room for members of one client, one API, one
// user and the server.
type whole struct{ server, api, client, user string }

func (w whole) file() string {
	comma := func(members string) string {
		if members == "" {
			return ""
		}
		return ", " + members
	}
	client := w.client
	if client == "" {
		client = `"client_secret": "` + aSecret + `", "grant_types": ["client_credentials"]`
	}
	return `{
		"server": {"trusted_issuers": [{"issuer": "` + kubeName + `", "audience": "us"}, {"issuer": "https://open.example/"}]` + comma(w.server) + `},
		"apis": [{"identifier": "https://api.example/", "scopes": {"read": "Read"}` + comma(w.api) + `}],
		"clients": [{"client_id": "app", ` + client + `}],
		"users": [{"sub": "u1", "username": "anna"` + comma(w.user) + `}]
	}`
}

func full(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile("../../infra/examples/full.json")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFullExample(t *testing.T) {
	s := read(t, string(full(t)))
	clients := map[string]Client{}
	for _, c := range s.Clients {
		clients[c.ID] = c
	}
	file, err := os.ReadFile("../../infra/examples/private-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var private jose.JSONWebKeySet
	if err := json.Unmarshal(file, &private); err != nil {
		t.Fatal(err)
	}
	for kid, public := range map[string]string{
		"demo-backend-key-used-in-examples-only":   clients["demo-backend"].JWKS,
		"demo-workloads-key-used-in-examples-only": s.Settings.TrustedIssuers[0].JWKS,
	} {
		keys, err := jwt.ReadKeySet([]byte(public))
		if err != nil {
			t.Fatal(err)
		}
		half, ok := private.Key(kid)[0].Key.(*ecdsa.PrivateKey)
		if !ok || keys[0].KeyID != kid || !half.PublicKey.Equal(keys[0].Key) {
			t.Errorf("the halves of %s do not belong together", kid)
		}
	}
	if got := clients["demo-batch"]; got.Secret != "demo-batch-new-secret-used-in-examples-only" ||
		got.OtherSecret != "demo-batch-old-secret-used-in-examples-only" || got.SecretDigests != nil {
		t.Errorf("%+v", got.Client)
	}
	if got := clients["demo-job"].Workload; !reflect.DeepEqual(got, &store.Workload{
		Issuer: "https://workloads.example.com/", Audience: "https://login.example.com/", Subject: "system:serviceaccount:demo:*",
		Claims: map[string]string{"environment": "production"},
	}) {
		t.Errorf("%+v", got)
	}
	if got := s.APIs[3]; got.UserPolicy != store.RequireGrant || got.ClientPolicy != store.RequireGrant || got.Algorithm != jwt.ES256 {
		t.Errorf("%+v", got)
	}
	text, err := s.RevealJSON()
	if err != nil {
		t.Fatal(err)
	}
	if again := read(t, string(text)); !reflect.DeepEqual(again, s) {
		t.Errorf("read again:\n%+v, want\n%+v", again, s)
	}
}

// Every member, as it is stored.
func TestMembers(t *testing.T) {
	jwks := `{"keys":[{` + ecKey + `}]}`
	client := func(c store.Client) store.Client {
		c.ID, c.ApplicationType = "app", "web"
		if c.AuthMethod == "" {
			c.AuthMethod, c.SecretDigests = oauth.ClientSecretBasic, []oauth.Digest{oauth.DigestOf(aSecret)}
		}
		if c.GrantTypes == nil {
			c.GrantTypes = []string{"client_credentials"}
		}
		if c.Refresh.Lifetime == 0 {
			c.Refresh.Lifetime, c.Refresh.IdleLifetime = DefaultLifetime, DefaultIdleLifetime
		}
		return c
	}
	const (
		machine = `"grant_types": ["client_credentials"]`
		basic   = `"client_secret": "` + aSecret + `", `
		exact   = basic + machine
	)
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		whole
		want store.Client
	}{
		"two secrets": {whole{client: `"client_secrets": ["` + aSecret + `", "x` + aSecret + `"], ` + machine},
			client(store.Client{AuthMethod: oauth.ClientSecretBasic, SecretDigests: []oauth.Digest{oauth.DigestOf(aSecret), oauth.DigestOf("x" + aSecret)}})},
		"a list of one secret": {whole{client: `"client_secrets": ["` + aSecret + `"], ` + machine}, client(store.Client{})},
		"client_secret_jwt": {whole{client: exact + `, "token_endpoint_auth_method": "client_secret_jwt"`},
			client(store.Client{AuthMethod: oauth.ClientSecretJWT, AssertionAlgorithms: []string{"HS256"}})},
		"private_key_jwt": {whole{client: machine + `, "token_endpoint_auth_method": "private_key_jwt", "jwks": ` + jwks},
			client(store.Client{AuthMethod: oauth.PrivateKeyJWT, AssertionAlgorithms: []string{"RS256", "PS256", "ES256"}, JWKS: sorted(t, jwks)})},
		"one algorithm": {whole{client: machine + `, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "EdDSA", "jwks": {"keys": [{` + edKey + `}]}`},
			client(store.Client{AuthMethod: oauth.PrivateKeyJWT, AssertionAlgorithms: []string{"EdDSA"}, JWKS: sorted(t, `{"keys":[{`+edKey+`}]}`)})},
		"several algorithms and keys": {whole{client: machine + `, "token_endpoint_auth_method": "private_key_jwt", "assertion_algs": ["ES384", "PS512"], "assertion_aud_token_endpoint": true, "jwks": {"keys": [{"kid": "a", "ext": true, ` + p384Key + `}, {"kid": "b", "alg": "PS512", ` + rsaKey + `}]}`},
			client(store.Client{AuthMethod: oauth.PrivateKeyJWT, AssertionAlgorithms: []string{"ES384", "PS512"}, TokenEndpointAudience: true,
				JWKS: sorted(t, `{"keys":[{"kid":"a","ext":true,`+p384Key+`},{"kid":"b","alg":"PS512",`+rsaKey+`}]}`)})},
		"keys somewhere else": {whole{client: machine + `, "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example/keys?v=1"`},
			client(store.Client{AuthMethod: oauth.PrivateKeyJWT, AssertionAlgorithms: []string{"RS256", "PS256", "ES256"}, JWKSURI: "https://app.example/keys?v=1"})},
		"a workload": {whole{client: machine + `, "token_endpoint_auth_method": "workload_identity", "workload": {"issuer": "` + kubeName + `", "audience": "us", "subject": "repo:me/*", "claims": {"/a/b": "c*"}}`},
			client(store.Client{AuthMethod: oauth.WorkloadIdentity, Workload: &store.Workload{Issuer: kubeName, Audience: "us", Subject: "repo:me/*", Claims: map[string]string{"/a/b": "c*"}}})},
		"an API": {whole{client: basic + `"grant_types": [], "resource_server_identifier": "https://api.example/"`},
			client(store.Client{GrantTypes: []string{}, ResourceServer: "https://api.example/"})},
		"grants in a person's name": {whole{api: `"user_policy": "require_grant"`, client: exact + `, "user_api_grants": {"https://api.example/": ["read"]}`},
			client(store.Client{UserAPIGrants: map[string][]string{"https://api.example/": {"read"}}})},
		"DPoP, a confidential client": {whole{client: exact + `, "dpop_bound_access_tokens": true, "dpop_nonce_required": true`},
			client(store.Client{DPoPBound: true, DPoPNonce: true, Refresh: store.RefreshPolicy{Lifetime: DefaultLifetime, IdleLifetime: DefaultIdleLifetime, NonRotating: true}})},
		"DPoP, and rotation all the same": {whole{client: exact + `, "dpop_bound_access_tokens": true, "refresh_token": {"rotation": true, "leeway": 5}`},
			client(store.Client{DPoPBound: true, Refresh: store.RefreshPolicy{Lifetime: DefaultLifetime, IdleLifetime: DefaultIdleLifetime, Leeway: 5}})},
		"no rotation": {whole{client: exact + `, "refresh_token": {"rotation": false}`},
			client(store.Client{Refresh: store.RefreshPolicy{Lifetime: DefaultLifetime, IdleLifetime: DefaultIdleLifetime, NonRotating: true}})},
		"token exchange": {whole{client: basic + `"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange", "refresh_token"], "token_exchange": {"impersonation": true, "delegation": true, "subject_issuers": ["` + kubeName + `"]}`},
			client(store.Client{GrantTypes: []string{oauth.TokenExchange, oauth.RefreshToken}, Exchange: store.ExchangePolicy{Impersonation: true, Delegation: true, SubjectIssuers: []string{kubeName}}})},
		"the password grant": {whole{server: `"legacy_password_grant": true`, client: basic + `"grant_types": ["password", "http://auth0.com/oauth/grant-type/password-realm", "refresh_token"]`},
			client(store.Client{GrantTypes: []string{oauth.Password, oauth.PasswordRealm, oauth.RefreshToken}})},
		"every login": {whole{client: basic + `"redirect_uris": ["https://app.example/cb"], "default_max_age": 0, "require_auth_time": true, "default_acr_values": ["` + oauth.PasswordClass + `"]`},
			client(store.Client{GrantTypes: []string{oauth.AuthorizationCode}, ResponseTypes: []string{"code"}, RedirectURIs: []string{"https://app.example/cb"},
				DefaultMaxAge: new(int64), DefaultACRValues: []string{oauth.PasswordClass}, RequireAuthTime: true})},
		"the rest": {whole{client: exact + `, "id_token_signed_response_alg": "ES256", "error_profile": "auth0", "metadata": {"a": {"b": [1]}}, "not_before": "2026-01-31T14:00:00.0009+02:00"`},
			client(store.Client{IDTokenAlgorithm: "ES256", ErrorProfile: store.Auth0, Metadata: map[string]any{"a": map[string]any{"b": []any{1.0}}}, NotBefore: noon})},
		"not_before in milliseconds": {whole{client: exact + `, "not_before": 1769860800000`}, client(store.Client{NotBefore: noon})},
	} {
		t.Run(name, func(t *testing.T) {
			s := read(t, test.file())
			if got := s.Clients[0].Client; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			text, err := s.RevealJSON()
			if err != nil {
				t.Fatal(err)
			}
			if again := read(t, string(text)); !reflect.DeepEqual(again, s) {
				t.Errorf("read again:\n%+v, want\n%+v", again, s)
			}
		})
	}
}

// sorted is JSON with the members of each object in order.
func sorted(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestOtherMembers(t *testing.T) {
	s := read(t, whole{
		server: `"error_profile": "auth0", "dpop_nonce_required": true, "legacy_password_grant": true, "not_before": "2026-01-31T12:00:00Z",
			"claims": [{"claim": "https://me.example/plan", "from": "user.attributes.plan", "id_token": true, "scope": "read"},
				{"claim": "urn:me:team", "from": "client.metadata.team", "access_token": true, "scope": "openid"}]`,
		api:  `"token_dialect": "auth0", "signing_alg": "PS256", "signing_key_id": "` + oauth.NewID() + `", "subject_type_authorization": {"user": {"policy": "require_client_grant"}, "client": {"policy": "deny_all"}}`,
		user: `"attributes": {"plan": "gold"}, "blocked": true, "not_before": 1769860800000`,
	}.file())
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	kube := store.TrustedIssuer{Issuer: kubeName, Audience: "us", Algorithms: []string{"RS256"}, SubjectPrefix: kubeName + "|"}
	open := store.TrustedIssuer{Issuer: "https://open.example/", Algorithms: []string{"RS256"}, SubjectPrefix: "https://open.example/|"}
	if want := (store.Settings{
		ErrorProfile: store.Auth0, DPoPNonce: true, LegacyPassword: true, NotBefore: noon,
		TrustedIssuers: []store.TrustedIssuer{kube, open},
		Claims: []store.ClaimRule{
			{Claim: "https://me.example/plan", From: "user.attributes.plan", IDToken: true, Scope: "read"},
			{Claim: "urn:me:team", From: "client.metadata.team", AccessToken: true, Scope: "openid"},
		},
	}); !reflect.DeepEqual(*s.Settings, want) {
		t.Errorf("got  %+v\nwant %+v", *s.Settings, want)
	}
	if got := s.APIs[0]; got.Dialect != store.Auth0Dialect || got.Algorithm != "PS256" || !oauth.IsID(got.KeyID) || got.UserPolicy != store.RequireGrant || got.ClientPolicy != store.DenyAll {
		t.Errorf("%+v", got)
	}
	if got := s.Users[0]; !reflect.DeepEqual(got.Attributes, map[string]any{"plan": "gold"}) || !got.Blocked || !got.NotBefore.Equal(noon) {
		t.Errorf("%+v", got)
	}
	text, err := s.RevealJSON()
	if err != nil {
		t.Fatal(err)
	}
	if again := read(t, string(text)); !reflect.DeepEqual(again, s) {
		t.Errorf("read again:\n%+v, want\n%+v", again, s)
	}
}

// An issuer that serves everybody tells by the subject alone, or by a claim, whose
// workload it is.
func TestWorkloadsOfAnybody(t *testing.T) {
	const github, gitlab = "https://token.actions.githubusercontent.com", "https://gitlab.com"
	for _, test := range []struct {
		issuer, subject, claims string
		refused                 bool
	}{
		{github, "repo:me/app:ref:refs/heads/main", "", false},
		{github, "repo:me/*", "", false},
		{github, "repo:me/app:ref:refs/tags/v*", "", false},
		{github, "repo:*", "", true},
		{github, "repo:me*", "", true},
		{github, "repo:*", `"ref": "refs/heads/main"`, true},
		{github, "repo:*", `"repository_owner_id": "6501"`, false},
		{github, "repo:*", `"repository_owner": "me*"`, true},
		{gitlab, "project_path:*", "", true},
		{gitlab, "project_path:me/*", "", false},
		{gitlab, "project_path:*", `"namespace_id": "7"`, false},
		{kubeName, "system:serviceaccount:*", "", false},
	} {
		file := `{"server": {"trusted_issuers": [{"issuer": "` + test.issuer + `"}]}, "clients": [{
			"client_id": "job", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "workload_identity",
			"workload": {"issuer": "` + test.issuer + `", "audience": "us", "subject": "` + test.subject + `", "claims": {` + test.claims + `}}}]}`
		want := ""
		if test.refused {
			want = "clients[0].workload.subject: " + test.issuer + " gives anybody a JWT for any audience, and others' begin like that too: name the owner, to the slash after it, before the *"
		}
		got := ""
		if _, err := Read(strings.NewReader(file)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s %s: %s", test.subject, test.claims, got)
		}
	}
}

// Each mistake stands in a file that is right but for it.
func TestMembersRefused(t *testing.T) {
	const (
		machine  = `"grant_types": ["client_credentials"]`
		basic    = `"client_secret": "` + aSecret + `", `
		exact    = basic + machine
		pkj      = machine + `, "token_endpoint_auth_method": "private_key_jwt"`
		csj      = machine + `, "token_endpoint_auth_method": "client_secret_jwt"`
		wi       = machine + `, "token_endpoint_auth_method": "workload_identity"`
		workload = `"issuer": "` + kubeName + `", "audience": "us", "subject": "me"`
		exchange = basic + `"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]`
		spa      = `"token_endpoint_auth_method": "none", "first_party": true, "redirect_uris": ["https://app.example/cb"]`
	)
	keys := func(members ...string) string {
		return pkj + `, "jwks": {"keys": [{` + strings.Join(members, "}, {") + `}]}`
	}
	notAlg := func(list string) string { return "is not supported; it may be " + list }
	const ours = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, ML-DSA-44, ML-DSA-65, ML-DSA-87"
	const asymmetric = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519"
	moment := "it is neither a date such as 2026-01-31T12:00:00Z (RFC 3339) nor a whole number of milliseconds since 1970"
	for _, right := range []whole{
		{}, {client: exact}, {client: keys(ecKey)}, {client: basic + csj}, {client: wi + `, "workload": {` + workload + `}`},
		{client: exchange + `, "token_exchange": {"impersonation": true}`}, {client: spa},
	} {
		read(t, right.file())
	}
	cases := []struct {
		name string
		whole
		want string
	}{
		{"both forms of a secret", whole{client: exact + `, "client_secrets": ["x` + aSecret + `"]`}, "clients[0].client_secrets: there is a client_secret already"},
		{"no secret in the list", whole{client: machine + `, "client_secrets": []`}, "clients[0].client_secrets: it has one secret, or two while one takes the place of the other"},
		{"three secrets", whole{client: machine + `, "client_secrets": ["` + aSecret + `", "x` + aSecret + `", "y` + aSecret + `"]`}, "clients[0].client_secrets: it has one secret, or two while one takes the place of the other"},
		{"one secret twice", whole{client: machine + `, "client_secrets": ["` + aSecret + `", "` + aSecret + `"]`}, "clients[0].client_secrets[1]: it is there twice"},
		{"a short second secret", whole{client: machine + `, "client_secrets": ["` + aSecret + `", "short"]`}, "clients[0].client_secrets[1]: it is shorter than 32 characters; it is kept as a plain SHA-256, which is safe only for a long random secret"},
		{"a secret that is a number", whole{client: machine + `, "client_secrets": [1]`}, "clients[0].client_secrets[0]: it is a number, not a string"},
		{"secrets that are no list", whole{client: machine + `, "client_secrets": "x"`}, "clients[0].client_secrets: it is a string, not an array"},
		{"client_secret_jwt without a secret", whole{client: csj}, "clients[0]: it has no client_secret; one without is public and has token_endpoint_auth_method none"},
		{"client_secret_jwt, HS512 with a short secret", whole{client: basic + csj + `, "token_endpoint_auth_signing_alg": "HS512"`}, "clients[0].client_secret: it is shorter than 64 characters, which HS512 needs (RFC 7518 §3.2)"},
		{"client_secret_jwt by RS256", whole{client: basic + csj + `, "token_endpoint_auth_signing_alg": "RS256"`}, `clients[0].token_endpoint_auth_signing_alg: "RS256" ` + notAlg("HS256, HS384, HS512")},
		{"private_key_jwt by HS256", whole{client: keys(ecKey) + `, "assertion_algs": ["ES256", "HS256"]`}, `clients[0].assertion_algs[1]: "HS256" ` + notAlg(asymmetric)},
		{"private_key_jwt by none", whole{client: keys(ecKey) + `, "assertion_algs": ["ES256", "none"]`}, `clients[0].assertion_algs[1]: "none" ` + notAlg(asymmetric)},
		{"both forms of the algorithm", whole{client: keys(ecKey) + `, "assertion_algs": ["ES256"], "token_endpoint_auth_signing_alg": "ES256"`}, "clients[0].token_endpoint_auth_signing_alg: there is assertion_algs already"},
		{"an algorithm without an assertion", whole{client: exact + `, "assertion_algs": ["ES256"]`}, "clients[0].assertion_algs: a client with token_endpoint_auth_method client_secret_basic sends no assertion of its own"},
		{"an algorithm of a workload", whole{client: wi + `, "workload": {` + workload + `}, "assertion_algs": ["RS256"]`}, "clients[0].assertion_algs: the algs of its trusted issuer say so"},
		{"the token endpoint without an assertion", whole{client: exact + `, "assertion_aud_token_endpoint": true`}, "clients[0].assertion_aud_token_endpoint: it is for the assertions of client_secret_jwt and private_key_jwt"},
		{"private_key_jwt with a secret", whole{client: basic + keys(ecKey)}, "clients[0].client_secret: a client with token_endpoint_auth_method private_key_jwt has no secret"},
		{"private_key_jwt without keys", whole{client: pkj}, "clients[0]: it has neither jwks nor jwks_uri, and private_key_jwt needs one"},
		{"keys twice", whole{client: keys(ecKey) + `, "jwks_uri": "https://app.example/keys"`}, `clients[0].jwks_uri: there is a jwks already (RFC 7591 §2: they "MUST NOT both be present")`},
		{"keys over http", whole{client: pkj + `, "jwks_uri": "http://app.example/keys"`}, "clients[0].jwks_uri: it is not an https URL"},
		{"keys with a password", whole{client: pkj + `, "jwks_uri": "https://u:p@app.example/keys"`}, "clients[0].jwks_uri: it has user information or a fragment"},
		{"keys of another method", whole{client: exact + `, "jwks": {"keys": [{"alg": "ES256", ` + ecKey + `}]}`}, "clients[0].jwks: only a client with token_endpoint_auth_method private_key_jwt or a request_object_signing_alg has keys"},
		{"keys as text", whole{client: pkj + `, "jwks": "{}"`}, "clients[0].jwks: it is a string, not an object\nclients[0].jwks: it has no keys (RFC 7517 §5)"},
		{"no keys", whole{client: pkj + `, "jwks": {"keys": []}`}, "clients[0].jwks.keys: it is empty: nothing could be verified"},
		{"another member of the set", whole{client: pkj + `, "jwks": {"keys": [{` + ecKey + `}], "key": 1}`}, "clients[0].jwks.key: it is not a member that kmint knows"},
		{"a private key", whole{client: keys(ecKey + `, "d": "eHh4"`)}, "clients[0].jwks.keys[0].d: it is a secret or private part of a key; here stand public keys alone (RFC 7518 §6)"},
		{"a prime of an RSA key", whole{client: keys(rsaKey + `, "p": "eHh4"`)}, "clients[0].jwks.keys[0].p: it is a secret or private part of a key; here stand public keys alone (RFC 7518 §6)"},
		{"a symmetric key", whole{client: keys(`"kty": "oct", "k": "eHh4"`)}, "clients[0].jwks.keys[0].k: it is a secret or private part of a key; here stand public keys alone (RFC 7518 §6)"},
		{"a symmetric key without one", whole{client: keys(`"kty": "oct"`)}, "clients[0].jwks.keys[0]: it is no RSA key, no EC key on P-256, P-384 or P-521, and no Ed25519 key"},
		{"a key on secp256k1", whole{client: keys(strings.Replace(ecKey, "P-256", "secp256k1", 1))}, "clients[0].jwks.keys[0]: it is no RSA key, no EC key on P-256, P-384 or P-521, and no Ed25519 key"},
		{"a point off the curve", whole{client: keys(strings.Replace(ecKey, `"y":"BZ`, `"y":"AZ`, 1))}, "clients[0].jwks.keys[0]: it is not a valid EC public key (RFC 7518 §6)"},
		{"a weak RSA key", whole{client: keys(weakKey)}, "clients[0].jwks.keys[0]: its modulus has less than 2048 or more than 8192 bits (RFC 7518 §3.3)"},
		{"a key for encryption", whole{client: keys(ecKey + `, "use": "enc"`)}, `clients[0].jwks.keys[0].use: it is "enc": such a key verifies no signature`},
		{"a key of another algorithm", whole{client: keys(p384Key)}, "clients[0].jwks.keys[0]: it is for ES384, and only RS256, PS256, ES256 count"},
		{"a key that says another algorithm", whole{client: keys(ecKey + `, "alg": "RS256"`)}, `clients[0].jwks.keys[0].alg: it is "RS256", and the key is for ES256`},
		{"a key whose algorithm does not count", whole{client: keys(rsaKey + `, "alg": "RS512"`)}, `clients[0].jwks.keys[0].alg: it is "RS512", and only RS256, PS256, ES256 count`},
		{"two keys of one kid", whole{client: keys(`"kid": "a", `+ecKey, `"kid": "a", `+rsaKey)}, "clients[0].jwks.keys[1].kid: another key has it"},
		{"two keys, one without kid", whole{client: keys(`"kid": "a", `+ecKey, rsaKey)}, "clients[0].jwks.keys: with more than one key, each needs a kid: it tells which one signed"},
		{"a workload of no client", whole{client: exact + `, "workload": {` + workload + `}`}, "clients[0].workload: it is for a client with token_endpoint_auth_method workload_identity"},
		{"no workload", whole{client: wi}, "clients[0]: it has no workload, and workload_identity needs one"},
		{"a workload with a secret", whole{client: basic + wi + `, "workload": {` + workload + `}`}, "clients[0].client_secret: a client with token_endpoint_auth_method workload_identity has no secret"},
		{"a workload without a subject", whole{client: wi + `, "workload": {"issuer": "` + kubeName + `", "audience": "us"}`}, "clients[0].workload: it has no subject"},
		{"a workload without an audience", whole{client: wi + `, "workload": {"issuer": "` + kubeName + `", "subject": "me"}`}, "clients[0].workload: it has no audience"},
		{"a workload of an issuer that is not trusted", whole{client: wi + `, "workload": {` + strings.Replace(workload, kubeName, "https://other.example/", 1) + `}`}, `clients[0].workload.issuer: no trusted issuer of this file is "https://other.example/"`},
		{"a workload whoever it is", whole{client: wi + `, "workload": {` + strings.Replace(workload, `"me"`, `"*"`, 1) + `}`}, "clients[0].workload.subject: a * alone is met by everybody"},
		{"a * in the middle", whole{client: wi + `, "workload": {` + strings.Replace(workload, `"me"`, `"a*b"`, 1) + `}`}, "clients[0].workload.subject: a * stands at the end alone"},
		{"two *", whole{client: wi + `, "workload": {` + workload + `, "claims": {"ref": "a**"}}`}, "clients[0].workload.claims.ref: a * stands at the end alone"},
		{"another member of a workload", whole{client: wi + `, "workload": {` + workload + `, "sub": "x"}`}, "clients[0].workload.sub: it is not a member that kmint knows"},
		{"an API of another file", whole{client: exact + `, "resource_server_identifier": "https://other.example/"`}, "clients[0].resource_server_identifier: no API of this file has this identifier"},
		{"an API that anybody could be", whole{client: spa + `, "resource_server_identifier": "https://api.example/"`}, "clients[0].resource_server_identifier: a client with token_endpoint_auth_method none could be anybody"},
		{"grants in a person's name that change nothing", whole{client: exact + `, "user_api_grants": {"https://api.example/": ["read"]}`}, `clients[0].user_api_grants["https://api.example/"]: it would change nothing: the user_policy of the API is allow_all, and not require_grant`},
		{"grants in a person's name of an unknown scope", whole{api: `"user_policy": "require_grant"`, client: exact + `, "user_api_grants": {"https://api.example/": ["write"]}`}, `clients[0].user_api_grants["https://api.example/"][0]: the API has no scope "write"`},
		{"grants that are denied", whole{api: `"client_policy": "deny_all"`, client: exact + `, "api_grants": {"https://api.example/": ["read"]}`}, `clients[0].api_grants["https://api.example/"]: the client_policy of the API is deny_all`},
		{"bound as text", whole{client: exact + `, "dpop_bound_access_tokens": "yes"`}, "clients[0].dpop_bound_access_tokens: it is a string, not true or false"},
		{"a nonce as text", whole{client: exact + `, "dpop_nonce_required": 1`}, "clients[0].dpop_nonce_required: it is a number, not true or false"},
		{"ID tokens by HS256", whole{client: exact + `, "id_token_signed_response_alg": "HS256"`}, `clients[0].id_token_signed_response_alg: "HS256" ` + notAlg(ours)},
		{"ID tokens by none", whole{client: exact + `, "id_token_signed_response_alg": "none"`}, `clients[0].id_token_signed_response_alg: "none" ` + notAlg(ours)},
		{"another profile", whole{client: exact + `, "error_profile": "okta"`}, `clients[0].error_profile: "okta" ` + notAlg("strict, auth0")},
		{"metadata that is a list", whole{client: exact + `, "metadata": []`}, "clients[0].metadata: it is an array, not an object"},
		{"exchange without a policy", whole{client: exchange}, "clients[0]: it has the grant type of token exchange, but no token_exchange that says what it may do"},
		{"exchange of nothing", whole{client: exchange + `, "token_exchange": {}`}, "clients[0].token_exchange: it has neither impersonation nor delegation true: the client could exchange nothing"},
		{"a policy without exchange", whole{client: exact + `, "token_exchange": {"impersonation": true}`}, "clients[0].token_exchange: it needs the grant type urn:ietf:params:oauth:grant-type:token-exchange"},
		{"exchange by anybody", whole{client: `"token_endpoint_auth_method": "none", "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"], "token_exchange": {"impersonation": true}`}, "clients[0].grant_types: token exchange is not for a public client: whoever has somebody's token could exchange it"},
		{"exchange of an issuer that is not trusted", whole{client: exchange + `, "token_exchange": {"impersonation": true, "subject_issuers": ["https://other.example/"]}`}, `clients[0].token_exchange.subject_issuers[0]: no trusted issuer of this file is "https://other.example/"`},
		{"exchange of JWTs made for others", whole{client: exchange + `, "token_exchange": {"impersonation": true, "subject_issuers": ["https://open.example/"]}`}, "clients[0].token_exchange.subject_issuers[0]: the trusted issuer has no audience: a JWT that it made for somebody else would count (RFC 7523 §3)"},
		{"password, and the server says nothing", whole{client: basic + `"grant_types": ["password"]`}, "clients[0].grant_types[0]: password shows the client a person's password, and so RFC 9700 §2.4 says that it MUST NOT be used; if you have to, set server.legacy_password_grant true"},
		{"password-realm, and the server says no", whole{server: `"legacy_password_grant": false`, client: basic + `"grant_types": ["client_credentials", "http://auth0.com/oauth/grant-type/password-realm"]`}, "clients[0].grant_types[1]: http://auth0.com/oauth/grant-type/password-realm shows the client a person's password, and so RFC 9700 §2.4 says that it MUST NOT be used; if you have to, set server.legacy_password_grant true"},
		{"refresh tokens of a machine", whole{client: basic + `"grant_types": ["client_credentials", "refresh_token"]`}, "clients[0].grant_types: refresh_token needs authorization_code, password or token exchange: no other grant type gives a refresh token"},
		{"no rotation for a public client", whole{client: spa + `, "refresh_token": {"rotation": false}`}, "clients[0].refresh_token.rotation: the refresh tokens of a public client rotate, or it has dpop_bound_access_tokens true (RFC 9700 §2.2.2)"},
		{"leeway without rotation", whole{client: exact + `, "dpop_bound_access_tokens": true, "refresh_token": {"leeway": 5}`}, "clients[0].refresh_token.leeway: its refresh tokens do not rotate, so there is none"},
		{"rotation as text", whole{client: exact + `, "refresh_token": {"rotation": "off"}`}, "clients[0].refresh_token.rotation: it is a string, not true or false"},
		{"the stored name of rotation", whole{client: exact + `, "refresh_token": {"non_rotating": true}`}, "clients[0].refresh_token.non_rotating: it is not a member that kmint knows"},
		{"the stored name of secrets", whole{client: exact + `, "secret_digests": []`}, "clients[0].secret_digests: it is not a member that kmint knows"},
		{"the stored name of sealed secrets", whole{client: exact + `, "sealed_secrets": []`}, "clients[0].sealed_secrets: it is not a member that kmint knows"},
		{"not_before in seconds", whole{client: exact + `, "not_before": 1769860800`}, "clients[0].not_before: " + moment},
		{"not_before without a zone", whole{client: exact + `, "not_before": "2026-01-31T12:00:00"`}, "clients[0].not_before: " + moment},
		{"not_before null", whole{client: exact + `, "not_before": null`}, "clients[0].not_before: " + moment},

		{"another dialect", whole{api: `"token_dialect": "jwt"`}, `apis[0].token_dialect: "jwt" ` + notAlg("rfc9068, auth0, opaque")},
		{"signed by HS256", whole{api: `"signing_alg": "HS256"`}, `apis[0].signing_alg: "HS256" ` + notAlg(ours)},
		{"a key that is none", whole{api: `"signing_key_id": "arn:aws:kms:key"`}, "apis[0].signing_key_id: it is not a kid of kmint: the RFC 7638 thumbprint, 43 characters"},
		{"opaque and signed", whole{api: `"token_dialect": "opaque", "signing_alg": "RS256"`}, "apis[0].signing_alg: an opaque token is not signed"},
		{"another policy", whole{api: `"user_policy": "require_client_grant"`}, `apis[0].user_policy: "require_client_grant" ` + notAlg("allow_all, require_grant, deny_all")},
		{"another policy for clients", whole{api: `"client_policy": "allow"`}, `apis[0].client_policy: "allow" ` + notAlg("allow_all, require_grant, deny_all")},
		{"a policy twice", whole{api: `"user_policy": "deny_all", "subject_type_authorization": {"user": {"policy": "allow_all"}}`}, "apis[0].subject_type_authorization.user: there is a user_policy already"},
		{"another nested policy", whole{api: `"subject_type_authorization": {"client": {"policy": "none"}}`}, `apis[0].subject_type_authorization.client.policy: "none" ` + notAlg("allow_all, require_grant, require_client_grant, deny_all")},
		{"another subject type", whole{api: `"subject_type_authorization": {"users": {}}`}, "apis[0].subject_type_authorization.users: it is not a member that kmint knows"},
		{"another member of a policy", whole{api: `"subject_type_authorization": {"user": {"policies": "x"}}`}, "apis[0].subject_type_authorization.user.policies: it is not a member that kmint knows"},

		{"another profile of the server", whole{server: `"error_profile": "Auth0"`}, `server.error_profile: "Auth0" ` + notAlg("strict, auth0")},
		{"a nonce of the server as text", whole{server: `"dpop_nonce_required": "true"`}, "server.dpop_nonce_required: it is a string, not true or false"},
		{"not_before of the server", whole{server: `"not_before": "now"`}, "server.not_before: " + moment},
		{"a claim without namespace", whole{server: `"claims": [{"claim": "plan", "from": "user.name", "id_token": true}]`}, "server.claims[0].claim: the name of a claim of your own is a URI, such as https://example.com/plan, so that it can never be taken for a standard claim (RFC 7519 §4.2)"},
		{"a claim in place of a reserved one", whole{server: `"claims": [{"claim": "permissions", "from": "user.attributes.p", "access_token": true}]`}, "server.claims[0].claim: the name of a claim of your own is a URI, such as https://example.com/permissions, so that it can never be taken for a standard claim (RFC 7519 §4.2)"},
		{"a claim from the password", whole{server: `"claims": [{"claim": "urn:a:b", "from": "user.password_hash", "id_token": true}]`}, `server.claims[0].from: "user.password_hash" is not supported; it may be user. or client. and a name: user.email or another standard claim, user.sub, user.username, user.attributes.x, client.client_id, client.client_name, client.metadata.x`},
		{"a claim that stands nowhere", whole{server: `"claims": [{"claim": "urn:a:b", "from": "user.email"}]`}, "server.claims[0]: it has neither access_token nor id_token true: it would stand nowhere"},
		{"a claim of an unknown scope", whole{server: `"claims": [{"claim": "urn:a:b", "from": "user.email", "id_token": true, "scope": "write"}]`}, `server.claims[0].scope: no API of this file has the scope "write", and it is not reserved`},
		{"a claim twice", whole{server: `"claims": [{"claim": "urn:a:b", "from": "user.email", "id_token": true}, {"claim": "urn:a:b", "from": "user.name", "id_token": true}]`}, "server.claims[1].claim: another rule has it"},
		{"a claim from nothing", whole{server: `"claims": [{"claim": "urn:a:b", "id_token": true}]`}, "server.claims[0]: it has no from"},

		{"blocked as text", whole{user: `"blocked": "no"`}, "users[0].blocked: it is a string, not true or false"},
		{"attributes that are a list", whole{user: `"attributes": ["gold"]`}, "users[0].attributes: it is an array, not an object"},
		{"not_before of a user", whole{user: `"not_before": true`}, "users[0].not_before: " + moment},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(test.file()))
			if err == nil {
				t.Fatalf("accepted: %s", test.file())
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestTrustedIssuersRefused(t *testing.T) {
	const right = `"issuer": "https://a.example/"`
	file := func(issuers ...string) string {
		return `{"server": {"trusted_issuers": [{` + strings.Join(issuers, "}, {") + `}]}}`
	}
	read(t, file(right))
	read(t, file(`"issuer": "https://a.example"`, `"issuer": "https://a.example/b", "algs": ["ES384", "EdDSA"], "jwks_uri": "https://b.example/k", "subject": "x*", "claims": {"c": "d"}, "subject_prefix": "b:"`))
	for _, test := range []struct{ name, file, want string }{
		{"no issuer", file(`"audience": "x"`), "server.trusted_issuers[0]: it has no issuer"},
		{"plain http", file(`"issuer": "http://a.example/"`), "server.trusted_issuers[0].issuer: it is not an https URL"},
		{"a query", file(`"issuer": "https://a.example/?a"`), "server.trusted_issuers[0].issuer: it has a query (RFC 8414 §2)"},
		{"twice", file(right, right+`, "subject_prefix": "other|"`), "server.trusted_issuers[1].issuer: another trusted issuer has it"},
		{"HS256", file(right + `, "algs": ["RS256", "HS256"]`), `server.trusted_issuers[0].algs[1]: "HS256" is not supported; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519`},
		{"no algs", file(right + `, "algs": []`), "server.trusted_issuers[0].algs: it is empty: no JWT would count"},
		{"a key of another algorithm", file(right + `, "jwks": {"keys": [{` + ecKey + `}]}`), "server.trusted_issuers[0].jwks.keys[0]: it is for ES256, and only RS256 count"},
		{"both forms of keys", file(right + `, "algs": ["ES256"], "jwks": {"keys": [{` + ecKey + `}]}, "jwks_uri": "https://a.example/k"`), `server.trusted_issuers[0].jwks_uri: there is a jwks already (RFC 7591 §2: they "MUST NOT both be present")`},
		{"any subject", file(right + `, "subject": "*"`), "server.trusted_issuers[0].subject: a * alone is met by everybody; leave it out for any subject"},
		{"a claim pattern", file(right + `, "claims": {"c": "*d"}`), "server.trusted_issuers[0].claims.c: a * stands at the end alone"},
		{"an empty prefix", file(right + `, "subject_prefix": ""`), "server.trusted_issuers[0].subject_prefix: it is empty; leave it out"},
		{"a prefix with a space", file(right + `, "subject_prefix": "a b"`), "server.trusted_issuers[0]: its subject_prefix has 255 bytes or more, or a character that is not printable ASCII"},
		{"prefixes that begin alike", file(right+`, "subject_prefix": "a"`, `"issuer": "https://b.example/", "subject_prefix": "a|b"`), `server.trusted_issuers[1].subject_prefix: "a|b" and "a" begin alike: somebody of one issuer could be taken for somebody of the other`},
		{"another member", file(right + `, "aud": "x"`), "server.trusted_issuers[0].aud: it is not a member that kmint knows"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(test.file)); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// A vault numbers what it seals, so that two times give two texts.
type vault struct {
	sealed map[string]string // text -> client and secret
	seals  int
	err    error
}

func (v *vault) Seal(_ context.Context, clientID string, secret oauth.Secret) (string, error) {
	v.seals++
	text := fmt.Sprintf("sealed %d", v.seals)
	v.sealed[text] = clientID + " " + secret.Reveal()
	return text, v.err
}

func (v *vault) Unseal(_ context.Context, clientID, text string) (oauth.Secret, error) {
	secret, ok := strings.CutPrefix(v.sealed[text], clientID+" ")
	if v.err != nil || !ok {
		return "", errors.Join(v.err, errors.New("not sealed here"))
	}
	return oauth.Secret(secret), nil
}

func TestWriteSealed(t *testing.T) {
	ctx := t.Context()
	m, v := newMemory(), &vault{sealed: map[string]string{}}
	w := m.writers()
	w.Vault = v
	file := whole{client: `"client_secrets": ["` + aSecret + `", "x` + aSecret + `"], "grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_jwt"`}.file()
	write := func(file string) string {
		t.Helper()
		s := read(t, file)
		writes, seals := m.writes, v.seals
		dry, err := s.DryRun(ctx, w)
		if err != nil || m.writes != writes || v.seals != seals {
			t.Fatalf("the dry run made %d writes and sealed %d secrets: %v", m.writes-writes, v.seals-seals, err)
		}
		changes, err := s.Write(ctx, w)
		if err != nil || !slices.Equal(lines(dry), lines(changes)) {
			t.Fatalf("written %v, dry run %v: %v", changes, dry, err)
		}
		return changes[1].String()
	}
	if got := write(file); got != "created client app" {
		t.Error(got)
	}
	first := m.clients["app"]
	if !slices.Equal(first.SealedSecrets, []string{"sealed 1", "sealed 2"}) || first.SecretDigests != nil || v.sealed["sealed 2"] != "app x"+aSecret {
		t.Errorf("%+v %v", first, v.sealed)
	}
	m.writes = 0
	if got := write(file); got != "unchanged client app" || m.writes != 0 {
		t.Errorf("%s, %d writes", got, m.writes)
	}
	// One secret goes, another comes: what stays keeps its text.
	changed := strings.Replace(file, `["`+aSecret+`", "x`, `["y`+aSecret+`", "x`, 1)
	if got := write(changed); got != "changed client app (client_secret)" {
		t.Error(got)
	}
	if got := m.clients["app"].SealedSecrets; !slices.Equal(got, []string{"sealed 3", "sealed 2"}) {
		t.Error(got)
	}
	// What was sealed under another key is sealed anew.
	delete(v.sealed, "sealed 2")
	if got := write(changed); got != "changed client app (client_secret)" || !slices.Equal(m.clients["app"].SealedSecrets, []string{"sealed 3", "sealed 4"}) {
		t.Error(got, m.clients["app"].SealedSecrets)
	}
	// Another method leaves nothing sealed behind.
	if got := write(strings.Replace(changed, "client_secret_jwt", "client_secret_post", 1)); got != "changed client app (assertion_algs, client_secret, token_endpoint_auth_method)" {
		t.Error(got)
	}
	if got := m.clients["app"]; got.SealedSecrets != nil || len(got.SecretDigests) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestWriteSealedRefused(t *testing.T) {
	file := whole{client: `"client_secret": "` + aSecret + `", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_jwt"`}.file()
	s := read(t, file)
	m, v := newMemory(), &vault{sealed: map[string]string{}}
	w := m.writers()
	want := "clients[0].token_endpoint_auth_method: client_secret_jwt needs a key that the client's secret is encrypted under, and there is none here"
	for _, write := range []func(context.Context, Writers) ([]Change, error){s.Write, s.DryRun} {
		if _, err := write(t.Context(), w); err == nil || err.Error() != want || m.writes != 0 {
			t.Errorf("without a vault: %v, %d writes", err, m.writes)
		}
	}
	w.Vault = v
	if _, err := s.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	m.writes = 0
	// A vault that is busy says nothing of what it has sealed.
	v.err = jwt.ErrBusy
	for _, write := range []func(context.Context, Writers) ([]Change, error){s.Write, s.DryRun} {
		if _, err := write(t.Context(), w); !errors.Is(err, jwt.ErrBusy) || m.writes != 0 {
			t.Errorf("busy: %v, %d writes", err, m.writes)
		}
	}
	// One that refuses leaves the record as it is.
	v.err = errors.New("no such key")
	if _, err := s.Write(t.Context(), w); !errors.Is(err, v.err) || strings.Contains(err.Error(), aSecret) || m.writes != 0 {
		t.Errorf("refused: %v, %d writes", err, m.writes)
	}
}

func TestOwnIssuerIsNotTrusted(t *testing.T) {
	s := read(t, `{"server": {"trusted_issuers": [{"issuer": "https://issuer.example"}]}}`)
	m := newMemory()
	if _, err := s.Write(t.Context(), m.writers()); err == nil || err.Error() != "server.trusted_issuers[0].issuer: it is the issuer itself" || m.writes != 0 {
		t.Errorf("%v, %d writes", err, m.writes)
	}
}

// A change of each new member is seen, and named as the file names it.
func TestChangedMembers(t *testing.T) {
	ctx := t.Context()
	m := newMemory()
	w := m.writers()
	w.Vault = &vault{sealed: map[string]string{}}
	if _, err := read(t, string(full(t))).Write(ctx, w); err != nil {
		t.Fatal(err)
	}
	m.writes = 0
	changes, err := read(t, strings.NewReplacer(
		`"audience": "https://login.example.com/"`, `"audience": "https://other.example.com/"`,
		`"delegation": true,`, ``,
		`"leeway": 30`, `"leeway": 30, "rotation": true`, // as it is
		`"blocked": true`, `"blocked": false`,
		`"plan": "gold"`, `"plan": "silver"`,
		`"token_dialect": "auth0",`, ``,
		`"team": "billing"`, `"team": "books"`,
		`"legacy_password_grant": true,`, `"legacy_password_grant": true, "not_before": "2026-01-31T12:00:00Z",`,
	).Replace(string(full(t)))).Write(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for _, change := range changes {
		if change.What != Unchanged {
			changed = append(changed, change.String())
		}
	}
	want := []string{
		"changed api https://billing.example.com/ (token_dialect)", "changed client demo-backend (metadata)", "changed client demo-job (workload)",
		"changed client demo-orders-api (token_exchange)", "changed user demo-buyer (attributes)", "changed user demo-blocked (blocked)",
		"changed server (not_before)",
	}
	if !slices.Equal(changed, want) || m.writes != len(want) {
		t.Errorf("%d writes:\n%s", m.writes, strings.Join(changed, "\n"))
	}
}

func TestPublished(t *testing.T) {
	for _, example := range []string{string(example(t)), string(full(t))} {
		if err := read(t, example).Published(); err == nil {
			t.Error("an example passes")
		}
	}
	own := strings.NewReplacer("-used-in-examples-only", "-of-mine-and-nobody-elses", "correct horse battery staple", "as long as it is mine").Replace(string(full(t)))
	if err := read(t, own).Published(); err != nil {
		t.Error(err)
	}
	for what, want := range map[string]string{
		"demo-batch-old-secret": "the client_secret of demo-batch is published with kmint; make one of your own: openssl rand -hex 32",
		"demo-backend-key":      "the private half of the key demo-backend-key-used-in-examples-only of demo-backend is published with kmint; make a key of your own",
		"demo-workloads-key":    "the private half of the key demo-workloads-key-used-in-examples-only of https://workloads.example.com/ is published with kmint; name an issuer of your own",
	} {
		again := strings.Replace(own, what+"-of-mine-and-nobody-elses", what+"-used-in-examples-only", 1)
		if err := read(t, again).Published(); err == nil || err.Error() != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := read(t, strings.Replace(own, "as long as it is mine", "correct horse battery staple", 1)).Published(); err == nil || err.Error() != "the password of buyer is published with kmint" {
		t.Error(err)
	}
}

package seed

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func example(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile("../../infra/examples/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t testing.TB, file string) Seed {
	t.Helper()
	s, err := Read(strings.NewReader(file))
	if err != nil {
		t.Fatalf("%v\nin %s", err, file)
	}
	return s
}

func TestExample(t *testing.T) {
	s := read(t, string(example(t)))
	if s.Settings == nil || s.Settings.DefaultAudience != "https://orders.example.com/" {
		t.Errorf("settings = %v", s.Settings)
	}
	wantAPI := store.API{
		Identifier: "https://orders.example.com/", Name: "Orders", AllowOfflineAccess: true, TokenLifetime: 86400,
		Scopes: map[string]string{"read:orders": "Read orders", "write:orders": "Change orders"},
	}
	if !reflect.DeepEqual(s.APIs, []store.API{wantAPI}) {
		t.Errorf("apis = %+v", s.APIs)
	}
	refresh := store.RefreshPolicy{Lifetime: 2592000, IdleLifetime: 1296000}
	wantClients := []Client{{
		Client: store.Client{
			ID: "demo-service", Name: "Demo service", ApplicationType: "web",
			SecretDigests: []oauth.Digest{oauth.DigestOf("demo-service-secret-used-in-examples-only")},
			AuthMethod:    "client_secret_basic", GrantTypes: []string{"client_credentials"},
			APIGrants: map[string][]string{"https://orders.example.com/": {"read:orders"}}, Refresh: refresh,
		},
		Secret: "demo-service-secret-used-in-examples-only",
	}, {
		Client: store.Client{
			ID: "demo-web", Name: "Demo web app", ApplicationType: "web",
			SecretDigests: []oauth.Digest{oauth.DigestOf("demo-web-secret-used-in-examples-only")},
			AuthMethod:    "client_secret_basic", GrantTypes: []string{"authorization_code", "refresh_token"},
			ResponseTypes: []string{"code"}, RedirectURIs: []string{"http://localhost:8080/callback"},
			PostLogoutRedirectURIs: []string{"http://localhost:8080/"}, FirstParty: true, Refresh: refresh,
		},
		Secret: "demo-web-secret-used-in-examples-only",
	}, {
		Client: store.Client{
			ID: "demo-spa", Name: "Demo single-page app", ApplicationType: "web", AuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
			RedirectURIs: []string{"http://localhost:8080/spa"}, WebOrigins: []string{"http://localhost:8080"},
			FirstParty: true, Refresh: refresh,
		},
	}}
	if !reflect.DeepEqual(s.Clients, wantClients) {
		t.Errorf("clients =\n%+v, want\n%+v", s.Clients, wantClients)
	}
	wantUser := User{
		User: store.User{
			Subject: "demo-user", Username: "demo",
			Profile: map[string]any{
				"email": "demo@example.com", "email_verified": true,
				"name": "Demo User", "given_name": "Demo", "family_name": "User",
			},
			Claims: map[string]any{"https://example.com/tier": "gold"},
		},
		Password: "correct horse battery staple",
	}
	if !reflect.DeepEqual(s.Users, []User{wantUser}) {
		t.Errorf("users = %+v", s.Users)
	}
}

func TestDefaults(t *testing.T) {
	s := read(t, `{
		"apis": [{"identifier": "https://api.example/"}],
		"clients": [{
			"client_id": "app", "client_secret": "0123456789abcdef0123456789abcdef",
			"redirect_uris": ["https://app.example/cb"], "first_party": true,
			"refresh_token": {"lifetime": 60}
		}]
	}`)
	if got := s.APIs[0].TokenLifetime; got != 86400 {
		t.Errorf("token_lifetime = %d", got)
	}
	c := s.Clients[0]
	if c.AuthMethod != "client_secret_basic" || c.ApplicationType != "web" ||
		!slices.Equal(c.GrantTypes, []string{"authorization_code"}) || !slices.Equal(c.ResponseTypes, []string{"code"}) {
		t.Errorf("client = %+v", c)
	}
	if c.Refresh != (store.RefreshPolicy{Lifetime: 60, IdleLifetime: 60}) {
		t.Errorf("refresh_token = %+v", c.Refresh)
	}
	if s.Settings != nil || s.Users != nil {
		t.Errorf("what the file does not say: %+v %+v", s.Settings, s.Users)
	}
}

// Each mistake stands in a file that is right but for it.
func TestRefused(t *testing.T) {
	const (
		api     = `"identifier": "https://api.example/", "scopes": {"read": "Read"}`
		web     = `"client_id": "app", "client_secret": "0123456789abcdef0123456789abcdef", "redirect_uris": ["https://app.example/cb"], "first_party": true`
		user    = `"sub": "u1", "username": "anna"`
		service = `"client_id": "service", "client_secret": "0123456789abcdef0123456789abcdef", "grant_types": ["client_credentials"]`
		secret  = `"client_secret": "0123456789abcdef0123456789abcdef"`
	)
	a := func(members string) string { return `{"apis": [{` + members + `}]}` }
	c := func(members string) string { return `{"apis": [{` + api + `}], "clients": [{` + members + `}]}` }
	u := func(members string) string { return `{"users": [{` + members + `}]}` }
	for _, right := range []string{`{}`, a(api), c(web), u(user)} {
		read(t, right)
	}
	cases := []struct{ name, file, want string }{
		{"nothing", ``, "it is not JSON: line 1, column 1: unexpected end of JSON input"},
		{"no JSON", "{\n  \"apis\": [,]\n}", "it is not JSON: line 2, column 12: invalid character ',' looking for beginning of value"},
		{"two values", `{} {}`, "it is not JSON: line 1, column 4: invalid character '{' after top-level value"},
		{"no object", `[]`, "it is an array, not an object"},
		{"invalid UTF-8", "{\"\xff\": 1}", "it is not valid UTF-8"},
		{"unknown member", `{"client": []}`, "client: it is not a member that kmint knows"},
		{"unknown member below", c(web + `, "redirect_url": "x"`), "clients[0].redirect_url: it is not a member that kmint knows"},
		{"names are case-sensitive", c(web + `, "Client_Name": "x"`), "clients[0].Client_Name: it is not a member that kmint knows"},
		{"repeated member", c(web + `, "client_id": "app"`), "clients[0].client_id: the member is there more than once"},
		{"null", c(web + `, "client_name": null`), "clients[0].client_name: it is null, not a string"},
		{"not a list", `{"clients": {}}`, "clients: it is an object, not an array"},
		{"not an object", `{"clients": ["app"]}`, "clients[0]: it is a string, not an object"},
		{"too deep", u(user + `, "claims": {"urn:a:b": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}`), `users[0].claims["urn:a:b"][0][0][0][0][0][0][0][0][0][0][0][0]: it is nested deeper than 16 levels`},

		{"API without identifier", a(`"name": "x"`), "apis[0]: it has no identifier"},
		{"identifier with a space", a(`"identifier": "my api"`), "apis[0].identifier: it contains a space or another character that is not printable ASCII"},
		{"two APIs of one identifier", `{"apis": [{` + api + `}, {` + api + `}]}`, "apis[1].identifier: another API has it"},
		{"scope with a space", a(`"identifier": "x", "scopes": {"read it": "x"}`), `apis[0].scopes["read it"]: it contains a character that no scope value has (RFC 6749 §3.3)`},
		{"reserved scope", a(`"identifier": "x", "scopes": {"openid": "x"}`), "apis[0].scopes.openid: this scope value is reserved, and belongs to no API (OpenID Connect Core 1.0 §5.4, §11)"},
		{"reserved scope of ours", a(`"identifier": "x", "scopes": {"online_access": "x"}`), "apis[0].scopes.online_access: this scope value is reserved, and belongs to no API (OpenID Connect Core 1.0 §5.4, §11)"},
		{"lifetime zero", a(api + `, "token_lifetime": 0`), "apis[0].token_lifetime: it is not a whole number of seconds from 1 to 2592000"},
		{"lifetime too long", a(api + `, "token_lifetime": 2592001`), "apis[0].token_lifetime: it is not a whole number of seconds from 1 to 2592000"},
		{"lifetime of half a second", a(api + `, "token_lifetime": 1.5`), "apis[0].token_lifetime: it is not a whole number of seconds from 1 to 2592000"},
		{"lifetime as text", a(api + `, "token_lifetime": "60"`), "apis[0].token_lifetime: it is a string, not a number of seconds"},
		{"default of no API", `{"server": {"default_audience": "https://api.example/"}}`, `server.default_audience: no API of this file has the identifier "https://api.example/"`},

		{"client without id", c(strings.Replace(web, `"client_id": "app", `, "", 1)), "clients[0]: it has no client_id"},
		{"two clients of one id", c(web + `}, {` + web), "clients[1].client_id: another client has it"},
		{"client_id of an API", c(strings.Replace(web, `"app"`, `"https://api.example/"`, 1)), "clients[0].client_id: it is also the identifier of an API"},
		{"no secret", c(strings.Replace(web, secret+", ", "", 1)), "clients[0]: it has no client_secret; one without is public and has token_endpoint_auth_method none"},
		{"short secret", c(strings.Replace(web, "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcde", 1)), "clients[0].client_secret: it is shorter than 32 characters; it is kept as a plain SHA-256, which is safe only for a long random secret"},
		{"secret of a public client", c(web + `, "token_endpoint_auth_method": "none"`), "clients[0].client_secret: a client with token_endpoint_auth_method none has no secret"},
		{"unsupported method", c(web + `, "token_endpoint_auth_method": "tls_client_auth"`), `clients[0].token_endpoint_auth_method: "tls_client_auth" is not supported; it may be client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, workload_identity, none`},
		{"no redirect_uris", c(`"client_id": "app", ` + secret + `, "first_party": true`), "clients[0]: it has the grant type authorization_code, but no redirect_uris"},
		{"redirect with fragment", c(strings.Replace(web, "/cb", "/cb#x", 1)), "clients[0].redirect_uris[0]: it has a fragment (RFC 6749 §3.1.2)"},
		{"redirect over http", c(strings.Replace(web, "https://app", "http://app", 1)), "clients[0].redirect_uris[0]: it is plain http to another host than localhost; use https"},
		{"redirect twice", c(strings.Replace(web, `"https://app.example/cb"`, `"https://app.example/cb", "https://app.example/cb"`, 1)), `clients[0].redirect_uris[1]: "https://app.example/cb" is there twice`},
		{"post-logout redirect", c(web + `, "post_logout_redirect_uris": ["/"]`), "clients[0].post_logout_redirect_uris[0]: it is not absolute"},
		{"private-use scheme of a web client", c(strings.Replace(web, "https://app.example/cb", "com.example.app:/cb", 1)), "clients[0].redirect_uris[0]: its scheme is not https; a native application may register a private-use scheme with a dot in it (RFC 8252 §7.1)"},
		{"grant type", c(web + `, "grant_types": ["authorization_code", "device"]`), `clients[0].grant_types[1]: "device" is not supported; it may be authorization_code, implicit, client_credentials, refresh_token, password, http://auth0.com/oauth/grant-type/password-realm, urn:ietf:params:oauth:grant-type:token-exchange`},
		{"no grant type", c(web + `, "grant_types": []`), "clients[0].grant_types: it is empty: the client could do nothing"},
		{"refresh alone", c(web + `, "grant_types": ["refresh_token"]`), "clients[0].grant_types: refresh_token needs authorization_code, password or token exchange: no other grant type gives a refresh token"},
		{"public client_credentials", c(`"client_id": "app", "token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]`), "clients[0].grant_types: client_credentials is not for a public client, which has token_endpoint_auth_method none (RFC 6749 §4.4)"},
		{"response type", c(web + `, "response_types": ["code", "tokens"]`), `clients[0].response_types[1]: "tokens" is not supported; it may be code, none, token, id_token, id_token token, code token, code id_token, code id_token token`},
		{"response type twice", c(web + `, "grant_types": ["authorization_code", "implicit"], "response_types": ["code token", "token code"]`), `clients[0].response_types[1]: it is there twice`},
		{"no response type", c(web + `, "response_types": []`), "clients[0].response_types: none of them needs the grant type authorization_code, which the client has (OpenID Connect Dynamic Client Registration 1.0 §2)"},
		{"implicit by default", c(web + `, "grant_types": ["authorization_code", "implicit"]`), "clients[0].response_types: none of them needs the grant type implicit, which the client has (OpenID Connect Dynamic Client Registration 1.0 §2)"},
		{"response type of a grant type more", c(web + `, "response_types": ["code", "token id_token"]`), "clients[0].response_types: id_token token needs the grant type implicit (OpenID Connect Dynamic Client Registration 1.0 §2)"},
		{"response type without grant", c(`"client_id": "app", ` + secret + `, "grant_types": ["client_credentials"], "response_types": ["code"]`), "clients[0].response_types: code needs the grant type authorization_code (OpenID Connect Dynamic Client Registration 1.0 §2)"},
		{"none without a login", c(`"client_id": "app", ` + secret + `, "grant_types": ["client_credentials"], "response_types": ["none"]`), "clients[0].response_types: none needs the grant type authorization_code or implicit"},
		{"a token that could not be bound", c(web + `, "grant_types": ["implicit"], "response_types": ["token"], "dpop_bound_access_tokens": true`), "clients[0].response_types: token gives a token without a proof, and the client has dpop_bound_access_tokens true"},
		{"request objects of no login", c(`"client_id": "app", ` + secret + `, "grant_types": ["client_credentials"], "request_object_signing_alg": "none"`), "clients[0].request_object_signing_alg: it needs the grant type authorization_code or implicit"},
		{"request objects by a secret", c(web + `, "request_object_signing_alg": "HS256"`), `clients[0].request_object_signing_alg: "HS256" is not supported; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, none`},
		{"request objects without keys", c(web + `, "request_object_signing_alg": "ES256"`), "clients[0]: it has neither jwks nor jwks_uri, and the request_object_signing_alg ES256 needs one"},
		{"application type", c(web + `, "application_type": "spa"`), `clients[0].application_type: "spa" is not supported; it may be web, native`},
		{"grant of an unknown API", c(web + `, "api_grants": {"https://other.example/": []}`), `clients[0].api_grants["https://other.example/"]: no API of this file has this identifier`},
		{"grant of an unknown scope", c(web + `, "api_grants": {"https://api.example/": ["read", "write"]}`), `clients[0].api_grants["https://api.example/"][1]: the API has no scope "write"`},
		{"idle beyond the lifetime", c(web + `, "refresh_token": {"lifetime": 60, "idle_lifetime": 61}`), "clients[0].refresh_token.idle_lifetime: it is longer than the lifetime"},
		{"negative leeway", c(web + `, "refresh_token": {"leeway": -1}`), "clients[0].refresh_token.leeway: it is not a whole number of seconds from 0 to 60"},

		{"user without sub", u(`"username": "anna"`), "users[0]: it has no sub"},
		{"user without username", u(`"sub": "u1"`), "users[0]: it has no username"},
		{"two users of one sub", u(user + `}, {"sub": "u1", "username": "berta"`), "users[1].sub: another user has it"},
		{"two users of one name", u(user + `}, {"sub": "u2", "username": " Ａnna "`), "users[1].username: another user has it; the case of letters and the form of characters make no difference"},
		{"sub of a client", `{"clients": [{` + service + `}], "users": [{"sub": "service", "username": "anna"}]}`, "users[0].sub: it is also a client_id: the person could be taken for the client"},
		{"sub of a client, as Auth0 writes it", `{"clients": [{` + service + `}], "users": [{"sub": "service@clients", "username": "anna"}]}`, "users[0].sub: it is also a client_id: the person could be taken for the client"},
		{"client_id that a trusted issuer can name", `{"server": {"trusted_issuers": [{"issuer": "https://a.example/", "subject_prefix": "ser"}]}, "clients": [{` + service + `}]}`, `server.trusted_issuers[0].subject_prefix: the client_id "service" begins with it: somebody of the issuer could be taken for the client (RFC 9068 §5)`},
		{"username of space", u(`"sub": "u1", "username": "  "`), "users[0].username: it is nothing but space"},
		{"empty password", u(user + `, "password": ""`), "users[0].password: it is empty; leave it out"},
		{"name", u(user + `, "name": 1`), "users[0].name: it is a number, not a string"},
		{"email_verified", u(user + `, "email_verified": "true"`), "users[0].email_verified: it is a string, not true or false"},
		{"email", u(user + `, "email": "Anna <anna@example.com>"`), "users[0].email: it is not an e-mail address (RFC 5322 §3.4.1)"},
		{"picture", u(user + `, "picture": "javascript:alert(1)"`), "users[0].picture: it is not an http or https URL"},
		{"birthdate", u(user + `, "birthdate": "1.2.1990"`), "users[0].birthdate: it is neither YYYY-MM-DD nor YYYY"},
		{"address", u(user + `, "address": "Here"`), "users[0].address: it is a string, not an object (OpenID Connect Core 1.0 §5.1.1)"},
		{"address member", u(user + `, "address": {"city": "X"}`), `users[0].address: "city" is not supported; it may be formatted, street_address, locality, region, postal_code, country`},
		{"updated_at", u(user + `, "updated_at": "now"`), "users[0].updated_at: it is not a whole number of seconds since 1970"},
		{"custom claim beside sub", u(user + `, "https://example.com/tier": "gold"`), `users[0]["https://example.com/tier"]: it is not a member that kmint knows`},
		{"claim without namespace", u(user + `, "claims": {"tier": "gold"}`), "users[0].claims.tier: the name of a claim of your own is a URI, such as https://example.com/tier, so that it can never be taken for a standard claim (RFC 7519 §4.2)"},
		{"claim in place of a standard one", u(user + `, "claims": {"sub": "u2"}`), "users[0].claims.sub: the name of a claim of your own is a URI, such as https://example.com/sub, so that it can never be taken for a standard claim (RFC 7519 §4.2)"},
		{"number beyond 2^53", u(user + `, "claims": {"urn:a:b": 9007199254740993}`), `users[0].claims["urn:a:b"]: not every reader takes the number 9007199254740993 for the same; write it as a string (RFC 7493 §2.2)`},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(test.file))
			if err == nil {
				t.Fatalf("accepted: %s", test.file)
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	for origin, want := range map[string]bool{
		"https://app.example":       true,
		"https://app.example:8443":  true,
		"http://localhost:8080":     true,
		"http://localhost":          true,
		"http://127.0.0.1:3000":     true,
		"http://[::1]:3000":         true,
		"https://app.example/":      false,
		"https://app.example/x":     false,
		"https://app.example?x":     false,
		"https://app.example#x":     false,
		"https://u@app.example":     false,
		"https://App.example":       false,
		"https://app.example:443":   false,
		"https://app.example:":      false,
		"http://localhost:80":       false,
		"http://app.example":        false,
		"https://*.example":         false,
		"*":                         false,
		"null":                      false,
		"":                          false,
		"app.example":               false,
		"com.example.app://x":       false,
		"https://a.example;b.examp": false,
	} {
		if err := checkOrigin(origin); (err == nil) != want {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestClaimNames(t *testing.T) {
	for name, want := range map[string]bool{
		"https://example.com/tier": true,
		"http://example.com/tier":  true,
		"urn:example:tier":         true,
		"URN:example:tier":         true,
		"tier":                     false,
		"example.com/tier":         false,
		"https:tier":               false,
		"https:///tier":            false,
		"urn:example":              false,
		"urn::x":                   false,
		"":                         false,
		"https://example.com/a b":  false,
	} {
		if got := namespaced(name); got != want {
			t.Errorf("%q = %v", name, got)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Read(strings.NewReader(`{
		"server": {"default_audience": "x"},
		"apis": [{"identifier": "https://api.example/", "token_lifetime": 0}],
		"clients": [{"client_id": "a"}, {"client_id": "b", "client_secret": "short"}],
		"users": [{"sub": "u", "username": "u", "emial": "x"}]
	}`))
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%T: %v", err, err)
	}
	for _, path := range []string{"server.default_audience", "apis[0].token_lifetime", "clients[0]", "clients[1].client_secret", "users[0].emial"} {
		if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Path == path }) {
			t.Errorf("nothing about %s in:\n%v", path, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(problems) {
		t.Errorf("%d lines for %d problems", lines, len(problems))
	}
}

func TestRevealJSON(t *testing.T) {
	s := read(t, string(example(t)))
	text, err := s.RevealJSON()
	if err != nil {
		t.Fatal(err)
	}
	if again := read(t, string(text)); !reflect.DeepEqual(again, s) {
		t.Errorf("read again:\n%+v, want\n%+v", again, s)
	}
	if bytes.Contains(text, []byte("secret_digest")) {
		t.Errorf("it holds a digest:\n%s", text)
	}
}

func TestWrite(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	s := read(t, string(example(t)))

	dry, err := s.DryRun(ctx, m.writers())
	if err != nil {
		t.Fatal(err)
	}
	if m.writes != 0 {
		t.Fatalf("a dry run made %d writes", m.writes)
	}
	first, err := s.Write(ctx, m.writers())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"created api https://orders.example.com/", "created client demo-service", "created client demo-web",
		"created client demo-spa", "created user demo-user", "changed server (default_audience)",
	}
	if got := lines(first); !slices.Equal(got, want) || !slices.Equal(lines(dry), want) {
		t.Errorf("written:\n%v\ndry run:\n%v\nwant:\n%v", got, lines(dry), want)
	}
	user := m.users["demo-user"]
	if match, err := store.MatchPassword("correct horse battery staple", user.PasswordHash); !match || err != nil {
		t.Errorf("the password does not open %q: %v", user.PasswordHash, err)
	}
	if !strings.HasPrefix(user.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash = %s", user.PasswordHash)
	}

	m.writes = 0
	second, err := s.Write(ctx, m.writers())
	if err != nil {
		t.Fatal(err)
	}
	if m.writes != 0 {
		t.Errorf("the second time made %d writes: %v", m.writes, lines(second))
	}
	for _, change := range second {
		if change.What != Unchanged {
			t.Errorf("the second time: %v", change)
		}
	}
}

func TestWriteChanges(t *testing.T) {
	ctx := context.Background()
	m := newMemory()
	if _, err := read(t, string(example(t))).Write(ctx, m.writers()); err != nil {
		t.Fatal(err)
	}
	hash := m.users["demo-user"].PasswordHash
	m.writes = 0
	changed := strings.NewReplacer(
		"demo-service-secret-used-in-examples-only", "another-service-secret-used-in-examples",
		`"name": "Demo User",`, `"nickname": "Dem", "email_verified": false,`,
		`"email_verified": true,`, ``,
		`"password": "correct horse battery staple",`, ``,
		`"demo-spa"`, `"demo-other-spa"`,
	).Replace(string(example(t)))
	changes, err := read(t, changed).Write(ctx, m.writers())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"unchanged api https://orders.example.com/", "changed client demo-service (client_secret)", "unchanged client demo-web",
		"created client demo-other-spa", "changed user demo-user (email_verified, name, nickname)", "unchanged server",
	}
	if got := lines(changes); !slices.Equal(got, want) {
		t.Errorf("got:\n%v\nwant:\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if m.writes != 3 {
		t.Errorf("%d writes", m.writes)
	}
	if _, kept := m.clients["demo-spa"]; !kept {
		t.Error("a client that the file no longer names was pruned")
	}
	if m.users["demo-user"].PasswordHash != hash {
		t.Error("a file without the password took it away")
	}
	other := strings.Replace(string(example(t)), "correct horse", "incorrect horse", 1)
	if _, err := read(t, other).Write(ctx, m.writers()); err != nil {
		t.Fatal(err)
	}
	if match, _ := store.MatchPassword("incorrect horse battery staple", m.users["demo-user"].PasswordHash); !match {
		t.Error("the new password does not open")
	}
}

func TestWriteRefused(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct{ name, file, want string }{
		{"issuer", `{"apis": [{"identifier": "https://issuer.example"}]}`, "apis[0].identifier: it is the issuer"},
		{"userinfo", `{"apis": [{"identifier": "https://issuer.example/userinfo"}]}`, "apis[0].identifier: it is the userinfo endpoint"},
		{"client in the store", `{"apis": [{"identifier": "demo-web"}]}`, "apis[0].identifier: it is also the client_id of a client in the store"},
		{"API in the store", `{"clients": [{"client_id": "https://orders.example.com/", "client_secret": "0123456789abcdef0123456789abcdef", "grant_types": ["client_credentials"]}]}`, "clients[0].client_id: it is also the identifier of an API in the store"},
		{"sub in the store", `{"clients": [{"client_id": "demo-user", "client_secret": "0123456789abcdef0123456789abcdef", "grant_types": ["client_credentials"]}]}`, "clients[0].client_id: it is also the sub of a user in the store"},
		{"client of a sub in the store", `{"users": [{"sub": "demo-web", "username": "x"}]}`, "users[0].sub: it is also the client_id of a client in the store"},
		{"user in the store", `{"users": [{"sub": "other", "username": "DEMO"}]}`, `users[0].username: it is the login name of another user in the store, whose sub is "demo-user"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory()
			if _, err := read(t, string(example(t))).Write(ctx, m.writers()); err != nil {
				t.Fatal(err)
			}
			m.writes = 0
			s := read(t, test.file)
			_, err := s.Write(ctx, m.writers())
			if _, dry := s.DryRun(ctx, m.writers()); err == nil || dry == nil || err.Error() != test.want || dry.Error() != test.want {
				t.Errorf("got %v, dry run %v", err, dry)
			}
			if m.writes != 0 {
				t.Errorf("%d writes", m.writes)
			}
		})
	}
}

func lines(changes []Change) []string {
	var out []string
	for _, change := range changes {
		out = append(out, change.String())
	}
	return out
}

// FuzzRead: reading never panics, and what is read, written and read again is
// equal.
func FuzzRead(f *testing.F) {
	f.Add(example(f))
	f.Add(full(f))
	f.Add([]byte(`{"server": {}, "apis": [{"identifier": "x", "scopes": {"a": ""}, "token_lifetime": 1e3}]}`))
	f.Add([]byte(`{"clients": [{"client_id": "x", "client_secret": "<0123456789abcdef0123456789abcdef>", "grant_types": ["client_credentials"], "api_grants": {}}]}`))
	f.Add([]byte(`{"users": [{"sub": "x", "username": "\ud800", "address": {"country": "X"}, "updated_at": 1, "profile": "https://x", "claims": {"urn:a:b": [1.5, -0, null, {"c": true}]}}]}`))
	f.Add([]byte(`{"a": {"a": 1, "a": 2}, "": [[[[]]]]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := Read(bytes.NewReader(file))
		if err != nil {
			return
		}
		text, err := s.RevealJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%v\nin\n%s", err, text)
		}
		if !reflect.DeepEqual(again, s) {
			t.Fatalf("got  %+v\nwant %+v\nfrom %s", again, s, text)
		}
	})
}

// memory is a store of maps that counts writes.
type memory struct {
	writes   int
	clients  map[string]store.Client
	apis     map[string]store.API
	users    map[string]store.User
	settings store.Settings
}

func newMemory() *memory {
	return &memory{clients: map[string]store.Client{}, apis: map[string]store.API{}, users: map[string]store.User{}}
}

func (m *memory) writers() Writers {
	return Writers{Issuer: "https://issuer.example/", Clients: m, APIs: m, Settings: m, Config: m, Users: m, Logins: m, People: m}
}

func found[V any](m map[string]V, key string) (V, error) {
	v, ok := m[key]
	if !ok {
		return v, store.ErrNotFound
	}
	return v, nil
}

func (m *memory) Client(_ context.Context, id string) (store.Client, error) {
	return found(m.clients, id)
}
func (m *memory) API(_ context.Context, id string) (store.API, error)   { return found(m.apis, id) }
func (m *memory) User(_ context.Context, id string) (store.User, error) { return found(m.users, id) }
func (m *memory) Settings(context.Context) (store.Settings, error)      { return m.settings, nil }
func (m *memory) Issuer(context.Context) (string, error)                { return "", store.ErrNotFound }

func (m *memory) Login(_ context.Context, name string) (string, error) {
	for _, u := range m.users {
		if store.LoginName(u.Username) == name {
			return u.Subject, nil
		}
	}
	return "", store.ErrNotFound
}

func (m *memory) PutClient(_ context.Context, c store.Client) error {
	m.writes++
	m.clients[c.ID] = c
	return nil
}

func (m *memory) PutAPI(_ context.Context, a store.API) error {
	m.writes++
	m.apis[a.Identifier] = a
	return nil
}

func (m *memory) PutSettings(_ context.Context, s store.Settings) error {
	m.writes++
	m.settings = s
	return nil
}

func (m *memory) PutIssuer(context.Context, string) error { m.writes++; return nil }

func (m *memory) PutUser(_ context.Context, u store.User) error {
	m.writes++
	m.users[u.Subject] = u
	return nil
}

// People are asked about a client that is not the owner's own; it may log them in all
// the same.
func TestNotFirstParty(t *testing.T) {
	s, err := Read(strings.NewReader(`{"clients": [{"client_id": "app", "client_secret": "0123456789abcdef0123456789abcdef",
		"grant_types": ["authorization_code", "implicit"], "response_types": ["code id_token"], "redirect_uris": ["https://app.example/cb"]}]}`))
	if err != nil || s.Clients[0].FirstParty {
		t.Errorf("%+v, %v", s, err)
	}
}

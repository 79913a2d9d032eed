package token_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// shelf keeps opaque tokens, and fails when told to.
type shelf struct {
	mu   sync.Mutex
	kept map[oauth.Digest]store.OpaqueToken
	err  error
}

func (s *shelf) PutToken(_ context.Context, t store.OpaqueToken) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[oauth.Digest]store.OpaqueToken{}
	}
	s.kept[t.Digest] = t
	return s.err
}

func (s *shelf) Token(_ context.Context, digest oauth.Digest, now time.Time) (store.OpaqueToken, error) {
	t, ok := s.kept[digest]
	if s.err == nil && (!ok || !now.Before(t.Expires)) {
		return store.OpaqueToken{}, store.ErrNotFound
	}
	return t, s.err
}

// A mint is an issuer and the reader of its tokens.
type mint struct {
	token.Issuer
	token.Reader
	key   *signer
	shelf *shelf
}

func newMint(t *testing.T) mint {
	s, kept := newSigner(t), &shelf{}
	clock := func() time.Time { return now }
	return mint{
		token.Issuer{Issuers: server{}, Signer: s, Opaque: kept, Now: clock},
		token.Reader{Issuers: server{}, Keys: s, Opaque: kept, Now: clock},
		s, kept,
	}
}

// part decodes the header or the payload of a JWT.
func part(t interface{ Fatal(...any) }, compact string, i int) map[string]any {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatal("not a JWT: ", compact)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

var (
	ofPerson = token.Authorization{
		GrantID: "g", ClientID: "c", GrantType: oauth.AuthorizationCode, Subject: "u",
		Scope: oauth.Scope{"openid", "read", "offline_access"}, Audience: []string{"https://api/"}, Key: "thumb",
		Actor:  map[string]any{"sub": "agent"},
		Person: &token.Person{AuthTime: now.Add(-time.Minute), SessionID: "s", Online: true, Facts: func(context.Context) (token.Facts, error) { return token.Facts{}, nil }},
	}
	ofMachine = token.Authorization{
		ClientID: "c", GrantType: oauth.ClientCredentials, Subject: "c", Scope: oauth.Scope{"read", "write"}, Audience: []string{"https://api/"},
		Claims: map[string]any{"https://example.com/plan": "gold"},
	}
)

func in(a token.Authorization, dialect string) token.Authorization {
	a.Format = token.Format{Dialect: dialect, Lifetime: time.Hour}
	return a
}

// with changes one part of an authorization.
func with(a token.Authorization, change func(*token.Authorization)) token.Authorization {
	change(&a)
	return a
}

func TestDialects(t *testing.T) {
	exp, iat := now.Add(time.Hour).Unix(), now.Unix()
	both := `["https://api/","https://auth.example.com/userinfo"]`
	tests := []struct {
		name string
		a    token.Authorization
		typ  string
		want map[string]string // each as JSON; jti is looked at apart
	}{
		{"RFC 9068, a person", in(ofPerson, ""), "at+jwt", map[string]string{
			"sub": `"u"`, "aud": both, "client_id": `"c"`, "scope": `"openid read offline_access"`, "grant_id": `"g"`, "sid": `"s"`,
			"auth_time": "1699999940", "cnf": `{"jkt":"thumb"}`, "act": `{"sub":"agent"}`,
		}},
		{"RFC 9068, offline and bearer", with(in(ofPerson, store.RFC9068), func(a *token.Authorization) {
			a.Key, a.Actor, a.Scope = "", nil, oauth.Scope{"read"}
			offline := *a.Person
			offline.Online = false
			a.Person = &offline
		}), "at+jwt", map[string]string{
			"sub": `"u"`, "aud": `"https://api/"`, "client_id": `"c"`, "scope": `"read"`, "grant_id": `"g"`, "auth_time": "1699999940",
		}},
		{"RFC 9068, a machine", in(ofMachine, store.RFC9068), "at+jwt", map[string]string{
			"sub": `"c"`, "aud": `"https://api/"`, "client_id": `"c"`, "scope": `"read write"`, "https://example.com/plan": `"gold"`,
		}},
		{"Auth0, a person", in(ofPerson, store.Auth0Dialect), "JWT", map[string]string{
			"sub": `"u"`, "aud": both, "azp": `"c"`, "scope": `"openid read offline_access"`, "permissions": `["read"]`, "grant_id": `"g"`, "sid": `"s"`,
			"auth_time": "1699999940", "cnf": `{"jkt":"thumb"}`, "act": `{"sub":"agent"}`,
		}},
		{"Auth0, a machine", in(ofMachine, store.Auth0Dialect), "JWT", map[string]string{
			"sub": `"c@clients"`, "aud": `"https://api/"`, "azp": `"c"`, "scope": `"read write"`, "gty": `"client-credentials"`,
			"permissions": `["read","write"]`, "https://example.com/plan": `"gold"`,
		}},
		{"Auth0, a machine without scope", with(in(ofMachine, store.Auth0Dialect), func(a *token.Authorization) { a.Scope, a.Claims = nil, nil }), "JWT", map[string]string{
			"sub": `"c@clients"`, "aud": `"https://api/"`, "azp": `"c"`, "gty": `"client-credentials"`, "permissions": `[]`,
		}},
	}
	for grantType, gty := range map[string]string{
		oauth.Password: "password", oauth.PasswordRealm: "password", oauth.RefreshToken: "refresh_token", oauth.TokenExchange: oauth.TokenExchange,
	} {
		tests = append(tests, struct {
			name string
			a    token.Authorization
			typ  string
			want map[string]string
		}{"Auth0, " + grantType, with(in(ofPerson, store.Auth0Dialect), func(a *token.Authorization) {
			a.GrantType, a.Key, a.Actor, a.Scope = grantType, "", nil, nil
		}), "JWT", map[string]string{
			"sub": `"u"`, "aud": `"https://api/"`, "azp": `"c"`, "gty": `"` + gty + `"`, "permissions": `[]`, "grant_id": `"g"`, "sid": `"s"`, "auth_time": "1699999940",
		}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMint(t)
			response, err := m.Issue(t.Context(), tt.a)
			if err != nil {
				t.Fatal(err)
			}
			if typ := part(t, response.AccessToken, 0)["typ"]; typ != tt.typ {
				t.Errorf("typ %v", typ)
			}
			got := part(t, response.AccessToken, 1)
			if id, _ := got["jti"].(string); !oauth.IsID(id) {
				t.Errorf("jti %q", id)
			}
			if got["iss"] != issuer || got["exp"] != float64(exp) || got["iat"] != float64(iat) {
				t.Errorf("%v", got)
			}
			for _, name := range []string{"jti", "iss", "exp", "iat"} {
				delete(got, name)
			}
			text, _ := json.Marshal(got)
			want := map[string]any{}
			for name, value := range tt.want {
				want[name] = json.RawMessage(value)
			}
			if wanted, _ := json.Marshal(want); string(text) != string(wanted) {
				t.Errorf("%s\nwant %s", text, wanted)
			}
			// The way back says the same of each dialect.
			read, err := m.Access(t.Context(), oauth.Secret(response.AccessToken), "https://api/", false)
			if err != nil || read.ClientID != "c" || read.Scope != tt.a.Scope.String() || read.Confirmation.Key != tt.a.Key || read.Machine() != (tt.a.Person == nil) {
				t.Errorf("%+v, %v", read, err)
			}
			if m.key.signed.Load() != 1 && response.IDToken == "" {
				t.Errorf("%d signatures", m.key.signed.Load())
			}
		})
	}
}

func TestOpaque(t *testing.T) {
	m := newMint(t)
	response, err := m.Issue(t.Context(), with(in(ofPerson, store.Opaque), func(a *token.Authorization) { a.Scope = oauth.Scope{"read"} }))
	if err != nil || m.key.signed.Load() != 0 || response.TokenType != oauth.DPoP {
		t.Fatalf("%+v, %v after %d signatures", response, err, m.key.signed.Load())
	}
	presented := oauth.Secret(response.AccessToken)
	if !strings.HasPrefix(response.AccessToken, oauth.AccessPrefix) || len(m.shelf.kept) != 1 || strings.Contains(m.shelf.kept[presented.Digest()].Claims, response.AccessToken) {
		t.Errorf("%+v", m.shelf.kept)
	}
	read, err := m.Access(t.Context(), presented, "https://api/", false)
	if err != nil || read.Subject != "u" || read.GrantID != "g" || read.SessionID != "s" || read.Confirmation.Key != "thumb" || read.Scope != "read" || read.ID == "" {
		t.Errorf("%+v, %v", read, err)
	}
	later := m.Reader
	later.Now = func() time.Time { return now.Add(time.Hour) }
	other := m.Reader
	other.Issuers = elsewhere{}
	for name, try := range map[string]func() (token.AccessToken, error){
		"for another API":   func() (token.AccessToken, error) { return m.Access(t.Context(), presented, "https://other/", false) },
		"an hour later":     func() (token.AccessToken, error) { return later.Access(t.Context(), presented, "", false) },
		"of another issuer": func() (token.AccessToken, error) { return other.Access(t.Context(), presented, "", false) },
		"cut short": func() (token.AccessToken, error) {
			return m.Access(t.Context(), presented[:len(presented)-1], "", false)
		},
		"unknown": func() (token.AccessToken, error) {
			return m.Access(t.Context(), oauth.NewHandle(oauth.AccessPrefix), "", false)
		},
	} {
		if read, err := try(); !errors.Is(err, token.ErrNotOurs) || read.Subject != "" {
			t.Errorf("%s: %+v, %v", name, read, err)
		}
	}
	// What cannot be looked at is not judged, and what cannot be kept is not handed out.
	m.shelf.err = store.ErrBusy
	if _, err := m.Access(t.Context(), presented, "", false); !errors.Is(err, store.ErrBusy) || errors.Is(err, token.ErrNotOurs) {
		t.Errorf("%v", err)
	}
	if response, err := m.Issue(t.Context(), in(ofMachine, store.Opaque)); !errors.Is(err, store.ErrBusy) || response.AccessToken != "" {
		t.Errorf("%+v, %v", response, err)
	}
}

type elsewhere struct{}

func (elsewhere) Issuer(context.Context) (string, error) { return "https://other.example.com/", nil }

// unread is a key set that cannot be read.
type unread struct{}

func (unread) Keys(context.Context) ([]jwt.Key, error) { return nil, errors.New("down") }

func TestOneKindOfTokenIsNeverTakenForTheOther(t *testing.T) {
	m := newMint(t)
	for _, dialect := range []string{store.RFC9068, store.Auth0Dialect} {
		response, err := m.Issue(t.Context(), in(ofPerson, dialect))
		if err != nil {
			t.Fatal(err)
		}
		access, id := oauth.Secret(response.AccessToken), oauth.Secret(response.IDToken)
		if _, err := m.Access(t.Context(), access, "", false); err != nil {
			t.Errorf("%s: %v", dialect, err)
		}
		if read, err := m.ID(t.Context(), id, "c", false); err != nil || read.Subject != "u" || read.SessionID != "s" || read.AuthTime != now.Add(-time.Minute).Unix() {
			t.Errorf("%s: %+v, %v", dialect, read, err)
		}
		for _, audience := range []string{"", "c", "https://api/", issuer + "userinfo"} {
			if _, err := m.Access(t.Context(), id, audience, true); !errors.Is(err, token.ErrNotOurs) {
				t.Errorf("%s: an ID token is an access token for %q: %v", dialect, audience, err)
			}
			if _, err := m.ID(t.Context(), access, audience, true); !errors.Is(err, token.ErrNotOurs) {
				t.Errorf("%s: an access token is an ID token for %q: %v", dialect, audience, err)
			}
		}
		if _, err := m.ID(t.Context(), id, "d", false); !errors.Is(err, token.ErrNotOurs) {
			t.Errorf("another client's ID token: %v", err)
		}
	}
	// Nor where a stored record names an API like a client, as none may be named.
	response, err := m.Issue(t.Context(), with(in(ofPerson, store.Auth0Dialect), func(a *token.Authorization) { a.Audience = []string{"c"} }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Access(t.Context(), oauth.Secret(response.AccessToken), "c", false); !errors.Is(err, token.ErrNotOurs) {
		t.Errorf("%v", err)
	}
	if _, err := m.ID(t.Context(), oauth.Secret(response.AccessToken), "c", false); !errors.Is(err, token.ErrNotOurs) {
		t.Errorf("%v", err)
	}
	// A key set that cannot be read says nothing about a token.
	blind := m.Reader
	blind.Keys = unread{}
	if _, err := blind.Access(t.Context(), oauth.Secret(response.AccessToken), "", false); !errors.Is(err, jwt.ErrKeySet) || errors.Is(err, token.ErrNotOurs) {
		t.Errorf("%v", err)
	}
}

// Of a machine's token the client is the party, whatever it is called and whoever
// else is called alike.
func TestParty(t *testing.T) {
	for _, tt := range []struct {
		subject, client string
		login           int64
		want            string
	}{
		{"c", "c", 0, "c"},
		{"c@clients", "c", 0, "c"},
		{"c@clients", "c@clients", 0, "c@clients"},
		{"c@clients@clients", "c@clients", 0, "c@clients"},
		{"c@clients", "other", 0, "c@clients"},
		{"c@clients", "c", 1, "c@clients"},
		{"u", "c", 1, "u"},
	} {
		got := token.AccessToken{Subject: tt.subject, ClientID: tt.client, AuthTime: tt.login}.Party()
		if got != tt.want {
			t.Errorf("%s of %s: %s", tt.subject, tt.client, got)
		}
	}
}

func TestForeignTokens(t *testing.T) {
	m := newMint(t)
	sign := func(by jwt.Signer, typ string, change ...any) oauth.Secret {
		claims := map[string]any{
			"iss": issuer, "sub": "u", "aud": "https://api/", "exp": now.Unix() + 60, "iat": now.Unix(), "jti": "j", "client_id": "c",
		}
		for i := 0; i < len(change); i += 2 {
			claims[change[i].(string)] = change[i+1]
			if change[i+1] == nil {
				delete(claims, change[i].(string))
			}
		}
		compact, err := jwt.Sign(t.Context(), by, jwt.Choice{}, typ, claims)
		if err != nil {
			t.Fatal(err)
		}
		return oauth.Secret(compact)
	}
	good := sign(m.key, jwt.TypAccessToken)
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + strings.Split(good.Reveal(), ".")[1] + "."
	for name, tt := range map[string]struct {
		presented oauth.Secret
		expired   bool
		ours      bool
	}{
		"ours":                         {good, false, true},
		"ours, in Auth0's dialect":     {sign(m.key, jwt.TypAuth0, "azp", "c", "client_id", nil), false, true},
		"expired":                      {sign(m.key, jwt.TypAccessToken, "exp", now.Unix()), false, false},
		"expired, and allowed":         {sign(m.key, jwt.TypAccessToken, "exp", now.Unix()), true, true},
		"another issuer's":             {sign(m.key, jwt.TypAccessToken, "iss", "https://other/"), false, false},
		"by another key":               {sign(newSigner(t), jwt.TypAccessToken), false, false},
		"alg none":                     {oauth.Secret(unsigned), false, false},
		"a proof":                      {sign(m.key, "dpop+jwt"), false, false},
		"without jti":                  {sign(m.key, jwt.TypAccessToken, "jti", nil), false, false},
		"without client":               {sign(m.key, jwt.TypAccessToken, "client_id", nil), false, false},
		"without subject":              {sign(m.key, jwt.TypAccessToken, "sub", nil), false, false},
		"azp in RFC 9068":              {sign(m.key, jwt.TypAccessToken, "azp", "c", "client_id", nil), false, false},
		"client_id in Auth0's dialect": {sign(m.key, jwt.TypAuth0), false, false},
		"not yet":                      {sign(m.key, jwt.TypAccessToken, "nbf", now.Unix()+60), false, false},
		"a line break":                 {good + "\n", false, false},
		"nothing":                      {"", false, false},
		"a refresh token":              {oauth.NewRefreshHandle(oauth.NewID()).Token(), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			read, err := m.Access(t.Context(), tt.presented, "", tt.expired)
			if (err == nil) != tt.ours || err != nil && !errors.Is(err, token.ErrNotOurs) || tt.ours && read.Subject != "u" {
				t.Errorf("%+v, %v", read, err)
			}
		})
	}
}

func TestOnly(t *testing.T) {
	bearer := with(in(ofPerson, ""), func(a *token.Authorization) { a.Key = "" })
	tests := []struct {
		name            string
		a               token.Authorization
		tokenType, typ  string
		expiresIn       int64
		access, id, err bool
	}{
		{"both", bearer, oauth.Bearer, "at+jwt", 3600, true, true, false},
		{"access token", with(bearer, func(a *token.Authorization) { a.Only = oauth.AccessTokenType }), oauth.Bearer, "at+jwt", 3600, true, false, false},
		{"JWT", with(bearer, func(a *token.Authorization) { a.Only = oauth.JWTType; a.Key = "k" }), oauth.DPoP, "at+jwt", 3600, true, false, false},
		{"ID token", with(bearer, func(a *token.Authorization) { a.Only = oauth.IDTokenType; a.Key = "k" }), oauth.NA, "JWT", 3600, true, false, false},
		{"refresh token", with(bearer, func(a *token.Authorization) { a.Only = oauth.RefreshTokenType }), oauth.NA, "", 0, false, false, false},
		{"ID token of a machine", with(in(ofMachine, ""), func(a *token.Authorization) { a.Only = oauth.IDTokenType }), "", "", 0, false, false, true},
		{"JWT where tokens are opaque", with(in(bearer, store.Opaque), func(a *token.Authorization) { a.Only = oauth.JWTType }), "", "", 0, false, false, true},
		{"an unknown dialect", in(bearer, "saml"), "", "", 0, false, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMint(t)
			r, err := m.Issue(t.Context(), tt.a)
			if (err != nil) != tt.err || (r.AccessToken != "") != tt.access || (r.IDToken != "") != tt.id || r.TokenType != tt.tokenType || r.ExpiresIn != tt.expiresIn {
				t.Fatalf("%+v, %v", r, err)
			}
			if tt.access && part(t, r.AccessToken, 0)["typ"] != tt.typ {
				t.Errorf("typ %v", part(t, r.AccessToken, 0))
			}
			if err != nil && len(m.shelf.kept) != 0 {
				t.Error("kept all the same")
			}
		})
	}
}

func TestAlgorithms(t *testing.T) {
	asked := make(chan jwt.Choice, 2)
	m := newMint(t)
	m.Signer = choosy{m.key, asked}
	a := in(ofPerson, "")
	a.Format.Key, a.IDTokenAlgorithm = jwt.Choice{Algorithm: jwt.PS256, KeyID: "k"}, jwt.ES256
	if _, err := m.Issue(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	got := []jwt.Choice{<-asked, <-asked}
	if !slices.Contains(got, a.Format.Key) || !slices.Contains(got, jwt.Choice{Algorithm: jwt.ES256}) {
		t.Errorf("%v", got)
	}
}

type choosy struct {
	*signer
	asked chan jwt.Choice
}

func (c choosy) SigningKey(ctx context.Context, choice jwt.Choice) (jwt.Key, error) {
	c.asked <- choice
	return c.signer.SigningKey(ctx, choice)
}

func TestClaimsMap(t *testing.T) {
	u := store.User{
		Subject: "u", Username: "name", Profile: map[string]any{"email": "e@example.com", "locale": nil},
		Attributes: map[string]any{"team": []any{"a", "b"}, "a.b": 1.5},
	}
	c := store.Client{ID: "c", Name: "App", Metadata: map[string]any{"plan": map[string]any{"tier": "gold"}}}
	for from, want := range map[string]string{
		"user.email": `"e@example.com"`, "user.attributes.team": `["a","b"]`, "user.attributes.a.b": "1.5", "user.sub": `"u"`, "user.username": `"name"`,
		"client.client_id": `"c"`, "client.client_name": `"App"`, "client.metadata.plan": `{"tier":"gold"}`,
		// what is not there, or not to be shown
		"user.locale": "", "user.attributes.none": "", "user.password_hash": "", "user.": "", "user": "", "": "", "user.metadata.plan": "",
		"client.metadata.none": "", "client.secret_digests": "", "client.attributes.team": "", "server.x": "",
	} {
		rule := store.ClaimRule{Claim: "https://example.com/x", From: from, AccessToken: true, IDToken: true}
		scope := oauth.Scope{"openid", "read"}
		facts := token.FactsOf(u, c, []store.ClaimRule{rule}, scope)
		for where, claims := range map[string]map[string]any{"access": facts.AccessToken, "id": facts.IDToken} {
			value, there := claims["https://example.com/x"]
			if text, _ := json.Marshal(value); there != (want != "") || there && string(text) != want {
				t.Errorf("%s, %s token: %s", from, where, text)
			}
		}
		_, there := token.ClientClaims(c, []store.ClaimRule{rule}, scope)["https://example.com/x"]
		if there != (want != "" && strings.HasPrefix(from, "client.")) {
			t.Errorf("%s: of the client alone: %v", from, there)
		}
	}
	rule := store.ClaimRule{Claim: "urn:x:plan", From: "client.client_id", AccessToken: true, IDToken: true, Scope: "read"}
	for name, tt := range map[string]struct {
		rule            store.ClaimRule
		scope           oauth.Scope
		access, id, own bool
	}{
		"granted":             {rule, oauth.Scope{"openid", "read"}, true, true, true},
		"not granted":         {rule, oauth.Scope{"openid", "write"}, false, false, false},
		"without openid":      {rule, oauth.Scope{"read"}, true, false, true},
		"for ID tokens alone": {store.ClaimRule{Claim: "urn:x:plan", From: "client.client_id", IDToken: true}, oauth.Scope{"openid"}, false, true, false},
		"not a URI":           {store.ClaimRule{Claim: "plan", From: "client.client_id", AccessToken: true, IDToken: true}, oauth.Scope{"openid"}, false, false, false},
	} {
		facts := token.FactsOf(u, c, []store.ClaimRule{tt.rule}, tt.scope)
		_, access := facts.AccessToken["urn:x:plan"]
		_, id := facts.IDToken["urn:x:plan"]
		_, own := token.ClientClaims(c, []store.ClaimRule{tt.rule}, tt.scope)["urn:x:plan"]
		if access != tt.access || id != tt.id || own != tt.own || facts.AccessToken["plan"] != nil || facts.IDToken["plan"] != nil {
			t.Errorf("%s: %+v, %v", name, facts, own)
		}
	}
	for from, waits := range map[string]bool{"user.email": true, "client.client_id": false} {
		if token.Waits([]store.ClaimRule{{From: from, AccessToken: true}}) != waits || token.Waits([]store.ClaimRule{{From: from, IDToken: true}}) {
			t.Errorf("%s waits wrongly", from)
		}
	}
}

func TestTooManyClaimsMakeNoToken(t *testing.T) {
	fits := strings.Repeat("x", token.MaxClaims-len(`{"urn:x:y":""}`))
	for name, a := range map[string]func(string) token.Authorization{
		"of the client": func(s string) token.Authorization {
			return with(in(ofMachine, ""), func(a *token.Authorization) { a.Claims = map[string]any{"urn:x:y": s} })
		},
		"of the person, in the access token": func(s string) token.Authorization {
			return with(in(ofPerson, store.Opaque), func(a *token.Authorization) {
				a.Person = waiting(token.Facts{AccessToken: map[string]any{"urn:x:y": s}})
			})
		},
		"of the person, in the ID token": func(s string) token.Authorization {
			return with(in(ofPerson, ""), func(a *token.Authorization) {
				a.Person = waiting(token.Facts{IDToken: map[string]any{"urn:x:y": s}})
			})
		},
	} {
		m := newMint(t)
		if _, err := m.Issue(t.Context(), a(fits)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r, err := m.Issue(t.Context(), a(fits+"x")); !errors.Is(err, token.ErrClaims) || r != (oauth.TokenResponse{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func waiting(f token.Facts) *token.Person {
	return &token.Person{AuthTime: now, Waits: true, Facts: func(context.Context) (token.Facts, error) { return f, nil }}
}

// Whatever the records say, no claim of the protocol is anybody else's to give, and
// a bound token is bound.
func TestProtocolClaimsAreNobodysToGive(t *testing.T) {
	reserved := []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "azp", "gty", "permissions", "act", "may_act", "cnf", "sid",
		"auth_time", "nonce", "acr", "amr", "at_hash", "c_hash", "grant_id", "events", "entitlements", "roles", "groups", "org_id", "authorization_details",
	}
	m := newMint(t)
	names := rapid.OneOf(rapid.SampledFrom(reserved), rapid.Map(rapid.SampledFrom(reserved), strings.ToUpper), rapid.SampledFrom([]string{"urn:x:y", "https://x/y"}), rapid.String())
	forged := rapid.MapOf(names, rapid.Just[any]("forged"))
	rapid.Check(t, func(t *rapid.T) {
		a := ofPerson
		if rapid.Bool().Draw(t, "machine") {
			a = ofMachine
		}
		a.Format = token.Format{Dialect: rapid.SampledFrom([]string{"", store.RFC9068, store.Auth0Dialect, store.Opaque}).Draw(t, "dialect"), Lifetime: time.Minute}
		a.Key = rapid.SampledFrom([]string{"", "key"}).Draw(t, "key")
		a.Claims = forged.Draw(t, "claims")
		if a.Person != nil {
			rules := []store.ClaimRule{}
			for name := range forged.Draw(t, "rules") {
				rules = append(rules, store.ClaimRule{Claim: name, From: "user.attributes.x", AccessToken: true, IDToken: true})
			}
			u := store.User{Subject: "u", Profile: forged.Draw(t, "profile"), Claims: forged.Draw(t, "own"), Attributes: map[string]any{"x": "forged"}}
			facts := token.FactsOf(u, store.Client{}, rules, a.Scope)
			// As an older version, or a hand, may have stored it.
			maps.Copy(facts.AccessToken, forged.Draw(t, "stored"))
			maps.Copy(facts.IDToken, forged.Draw(t, "stored too"))
			a.Person = waiting(facts)
		}
		r, err := m.Issue(context.Background(), a)
		if err != nil {
			t.Fatal(err)
		}
		said := func(name string, claims map[string]any) {
			for _, value := range claims {
				if value == "forged" {
					for claim := range claims {
						if claims[claim] == "forged" && !strings.Contains(claim, ":") {
							t.Fatalf("the %s says %s: %v", name, claim, claims)
						}
					}
				}
			}
		}
		if a.Format.Dialect != store.Opaque {
			said("access token", part(t, r.AccessToken, 1))
		}
		if r.IDToken != "" {
			said("ID token", part(t, r.IDToken, 1))
		}
		read, err := m.Access(context.Background(), oauth.Secret(r.AccessToken), "https://api/", false)
		if err != nil {
			t.Fatal(err)
		}
		if read.Confirmation.Key != a.Key || (r.TokenType == oauth.DPoP) != (a.Key != "") {
			t.Fatalf("bound to %q, not %q", read.Confirmation.Key, a.Key)
		}
		if read.Expiry != now.Add(time.Minute).Unix() || read.ClientID != a.ClientID || read.Scope != a.Scope.String() || read.GrantID != a.GrantID {
			t.Fatalf("%+v", read)
		}
	})
}

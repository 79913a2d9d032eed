package userinfo_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/dpop"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/userinfo"
	"kmint/pkg/web"
)

const (
	issuer  = "https://auth.example.com/"
	address = issuer + "userinfo"
	origin  = "https://app.example.com"
)

var now = time.Unix(1_700_000_000, 0)

// parts are all that the endpoint asks, with an answer for each.
type parts struct {
	private  crypto.Signer
	alg      string
	keysErr  error
	client   store.Client
	other    store.Client // of the grant that a token was exchanged from
	settings store.Settings
	grant    store.Grant
	parent   store.Grant // of grant
	user     store.User
	session  store.Session
	opaque   store.OpaqueToken
	revoked  []string
	busy     string // what does not answer

	mu    sync.Mutex
	uses  map[oauth.Digest]string
	calls []string
}

// call counts, and fails for what is busy.
func (p *parts) call(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, name)
	if p.busy == name {
		return store.ErrBusy
	}
	return nil
}

func (p *parts) Issuer(context.Context) (string, error)           { return issuer, nil }
func (p *parts) Settings(context.Context) (store.Settings, error) { return p.settings, nil }
func (p *parts) Client(_ context.Context, id string) (store.Client, error) {
	switch id {
	case p.client.ID:
		return p.client, nil
	case p.other.ID:
		return p.other, nil
	default:
		return store.Client{}, store.ErrNotFound
	}
}

func (p *parts) Grant(_ context.Context, id string) (store.Grant, error) {
	switch id {
	case p.grant.ID:
		return p.grant, p.call("grant")
	case p.parent.ID:
		return p.parent, p.call("parent")
	default:
		return store.Grant{}, missing(p.call("grant"))
	}
}

func (p *parts) User(_ context.Context, sub string) (store.User, error) {
	if sub != p.user.Subject {
		return store.User{}, missing(p.call("user"))
	}
	return p.user, p.call("user")
}

func (p *parts) Session(_ context.Context, digest oauth.Digest, now time.Time) (store.Session, error) {
	if digest != p.session.Digest || !p.session.Alive(now) {
		return store.Session{}, missing(p.call("session"))
	}
	return p.session, p.call("session")
}

func (p *parts) TokenRevoked(_ context.Context, jti string, _ time.Time) (bool, error) {
	return slices.Contains(p.revoked, jti), p.call("revoked")
}

func (p *parts) Token(_ context.Context, digest oauth.Digest, now time.Time) (store.OpaqueToken, error) {
	if digest != p.opaque.Digest || !now.Before(p.opaque.Expires) {
		return store.OpaqueToken{}, missing(p.call("opaque"))
	}
	return p.opaque, p.call("opaque")
}

func (p *parts) UseOnce(_ context.Context, u store.Use, _ time.Time) error {
	if err := p.call("use"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if by, ok := p.uses[u.Key]; ok && by != u.By {
		return store.ErrUsed
	}
	p.uses[u.Key] = u.By
	return nil
}

func (p *parts) ForgetUse(ctx context.Context, u store.Use) error {
	if err := errors.Join(ctx.Err(), p.call("forget")); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses[u.Key] == u.By {
		delete(p.uses, u.Key)
	}
	return nil
}

func (p *parts) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(purpose), uint64(hour)))
	return sum[:], p.call("mac")
}

func missing(err error) error { return errors.Join(store.ErrNotFound, err) }

func (p *parts) Keys(context.Context) ([]jwt.Key, error) {
	key, err := p.SigningKey(context.Background(), jwt.Choice{})
	return []jwt.Key{key}, errors.Join(err, p.keysErr)
}

func (p *parts) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) {
	id, err := jwt.Thumbprint(p.private.Public())
	return jwt.Key{ID: id, Algorithm: p.alg, Public: p.private.Public()}, err
}

func (p *parts) Sign(_ context.Context, _ jwt.Key, digest []byte) ([]byte, error) {
	switch key := p.private.(type) {
	case *rsa.PrivateKey:
		if p.alg == jwt.PS256 {
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	default:
		return nil, errors.New("no such key")
	}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// ecKey is the client's key, and the server's where it signs by ES256.
var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

var otherKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func good() *parts {
	return &parts{
		private: rsaKey(), alg: jwt.RS256,
		client:  store.Client{ID: "c", WebOrigins: []string{origin}},
		other:   store.Client{ID: "d"},
		grant:   store.Grant{ID: "g", ClientID: "c", Subject: "u", AuthTime: now.Add(-time.Minute + 500*time.Millisecond)},
		user:    store.User{Subject: "u", Profile: map[string]any{"email": "u@example.com"}, Attributes: map[string]any{"tier": "gold"}},
		session: store.Session{Digest: "s", ID: "s", Subject: "u", Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour)},
		uses:    map[oauth.Digest]string{},
	}
}

type members = map[string]any

func changed(base, change members) members {
	m := maps.Clone(base)
	for name, v := range change {
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	return m
}

// claims are those of a good token of RFC 9068.
func claims(change members) members {
	return changed(members{
		"iss": issuer, "sub": "u", "aud": []string{"https://api/", address}, "exp": now.Unix() + 1, "iat": now.Unix() - 60, "jti": "j",
		"client_id": "c", "scope": "openid email", "grant_id": "g", "auth_time": now.Unix() - 60,
	}, change)
}

func (p *parts) sign(typ string, claims members) string {
	return must(jwt.Sign(context.Background(), p, jwt.Choice{}, typ, claims))
}

func (p *parts) serve(r *http.Request) *httptest.ResponseRecorder {
	clock := func() time.Time { return now }
	e := userinfo.Endpoint{
		Issuers: p, Clients: p, Settings: p, Tokens: token.Reader{Issuers: p, Keys: p, Opaque: p, Now: clock},
		Grants: p, Users: p, Sessions: p, Revoked: p, DPoP: dpop.Verifier{MAC: p, Now: clock}, Uses: p, Now: clock,
	}
	w := httptest.NewRecorder()
	web.Edge{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: clock}.JSON(e.Serve).ServeHTTP(w, r)
	return w
}

func (p *parts) ask(authorization string, proofs ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/userinfo", nil)
	r.Host = "evil.example.com"
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Origin", origin)
	r.Header["Dpop"] = proofs
	return p.serve(r)
}

// code is the error of an answer, "" for none.
func code(w *httptest.ResponseRecorder) string {
	var body struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &body)
	return body.Error
}

func TestUserinfo(t *testing.T) {
	same := func(*parts) {}
	// begun is a grant that an exchange made the token's own of.
	begun := func(change func(*parts)) func(*parts) {
		return func(p *parts) {
			p.parent = store.Grant{ID: "h", ClientID: "d", Subject: "u", AuthTime: p.grant.AuthTime}
			p.grant.Parent = "h"
			change(p)
		}
	}
	for name, tt := range map[string]struct {
		change func(*parts)
		claims members
		status int
		error  string
		// read says that the client's scripts may read the answer.
		read bool
	}{
		"a good token":                {same, claims(nil), 200, "", true},
		"by PS256":                    {func(p *parts) { p.alg = jwt.PS256 }, claims(nil), 200, "", true},
		"by ES256":                    {func(p *parts) { p.private, p.alg = ecKey(), jwt.ES256 }, claims(nil), 200, "", true},
		"of a living session":         {same, claims(members{"sid": "s"}), 200, "", true},
		"exchanged, without a grant":  {same, claims(members{"grant_id": nil}), 200, "", true},
		"exchanged, of no login here": {same, claims(members{"grant_id": nil, "auth_time": nil}), 200, "", true},
		"with an actor":               {same, claims(members{"act": members{"sub": "x"}}), 200, "", true},
		"another client's grant":      {func(p *parts) { p.grant.ClientID = "d" }, claims(nil), 200, "", true}, // exchanged from it
		"a grant made of another's":   {begun(same), claims(nil), 200, "", true},
		"a not_before at the login":   {func(p *parts) { p.user.NotBefore = p.grant.AuthTime }, claims(nil), 200, "", true},
		"a not_before at the issuing": {func(p *parts) { p.user.NotBefore = now.Add(-time.Minute) }, claims(members{"grant_id": nil, "auth_time": nil}), 200, "", true},
		"another token is revoked":    {func(p *parts) { p.revoked = []string{"k"} }, claims(nil), 200, "", true},

		"expired":                     {same, claims(members{"exp": now.Unix()}), 401, "invalid_token", true},
		"without openid":              {same, claims(members{"scope": "email"}), 403, "insufficient_scope", true},
		"for an API alone":            {same, claims(members{"aud": "https://api/"}), 401, "invalid_token", false},
		"of another issuer":           {same, claims(members{"iss": "https://other/"}), 401, "invalid_token", false},
		"without a jti":               {same, claims(members{"jti": nil}), 401, "invalid_token", false},
		"of a client that is gone":    {same, claims(members{"client_id": "gone"}), 401, "invalid_token", false},
		"of a gone client's grant":    {func(p *parts) { p.grant.ClientID = "e" }, claims(nil), 401, "invalid_token", true},
		"of a grant its client ended": {func(p *parts) { p.grant.ClientID, p.other.NotBefore = "d", now }, claims(nil), 401, "invalid_token", true},
		"the grant before is revoked": {begun(func(p *parts) { p.parent.Revoked = now }), claims(nil), 401, "invalid_token", true},
		"the grant before is gone":    {begun(func(p *parts) { p.parent.ID = "i" }), claims(nil), 401, "invalid_token", true},
		"the grant before was ended":  {begun(func(p *parts) { p.other.NotBefore = now }), claims(nil), 401, "invalid_token", true},
		"while that before is busy":   {begun(func(p *parts) { p.busy = "parent" }), claims(nil), 503, "temporarily_unavailable", true},
		"of a revoked grant":          {func(p *parts) { p.grant.Revoked = now }, claims(nil), 401, "invalid_token", true},
		"of another's grant":          {func(p *parts) { p.grant.Subject = "v" }, claims(nil), 401, "invalid_token", true},
		"of a grant that is gone":     {same, claims(members{"grant_id": "h"}), 401, "invalid_token", true},
		"of a user who is gone":       {func(p *parts) { p.user.Subject = "v" }, claims(nil), 401, "invalid_token", true},
		"the same, without a grant":   {func(p *parts) { p.user.Subject = "v" }, claims(members{"grant_id": nil}), 401, "invalid_token", true},
		"of a blocked user":           {func(p *parts) { p.user.Blocked = true }, claims(nil), 401, "invalid_token", true},
		"blocked, without a grant":    {func(p *parts) { p.user.Blocked = true }, claims(members{"grant_id": nil}), 401, "invalid_token", true},
		"of a login that was ended":   {func(p *parts) { p.user.NotBefore = p.grant.AuthTime.Add(time.Millisecond) }, claims(nil), 401, "invalid_token", true},
		"ended, without a grant":      {func(p *parts) { p.user.NotBefore = now.Add(-59 * time.Second) }, claims(members{"grant_id": nil}), 401, "invalid_token", true},
		"ended, of no login here":     {func(p *parts) { p.user.NotBefore = now.Add(-59 * time.Second) }, claims(members{"grant_id": nil, "auth_time": nil}), 401, "invalid_token", true},
		"of a client's older login":   {func(p *parts) { p.client.NotBefore = now }, claims(nil), 401, "invalid_token", true},
		"of an older login":           {func(p *parts) { p.settings.NotBefore = now }, claims(nil), 401, "invalid_token", true},
		"revoked":                     {func(p *parts) { p.revoked = []string{"j"} }, claims(nil), 401, "invalid_token", true},
		"revoked, without a grant":    {func(p *parts) { p.revoked = []string{"j"} }, claims(members{"grant_id": nil}), 401, "invalid_token", true},
		"of a session that is gone":   {same, claims(members{"sid": "t"}), 401, "invalid_token", true},
		"of a session that has ended": {func(p *parts) { p.session.IdleExpires = now }, claims(members{"sid": "s"}), 401, "invalid_token", true},
		"of another's session":        {func(p *parts) { p.session.Subject = "v" }, claims(members{"sid": "s"}), 401, "invalid_token", true},
		"of the client itself":        {func(p *parts) { p.user.Subject = "c" }, claims(members{"sub": "c", "grant_id": nil, "auth_time": nil}), 401, "invalid_token", true},
		"while the grants are busy":   {func(p *parts) { p.busy = "grant" }, claims(nil), 503, "temporarily_unavailable", true},
		"while the users are busy":    {func(p *parts) { p.busy = "user" }, claims(nil), 503, "temporarily_unavailable", true},
		"while the sessions are busy": {func(p *parts) { p.busy = "session" }, claims(members{"sid": "s"}), 503, "temporarily_unavailable", true},
		"while revocations are busy":  {func(p *parts) { p.busy = "revoked" }, claims(nil), 503, "temporarily_unavailable", true},
		"while the keys are busy":     {func(p *parts) { p.keysErr = store.ErrBusy }, claims(nil), 503, "temporarily_unavailable", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			tt.change(p)
			w := p.ask("Bearer " + p.sign(jwt.TypAccessToken, tt.claims))
			if w.Code != tt.status || code(w) != tt.error {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if tt.status == 200 && strings.TrimSpace(w.Body.String()) != `{"email":"u@example.com","sub":"u"}` {
				t.Errorf("%s", w.Body)
			}
			if tt.status == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer realm="kmint", error="invalid_token"`) {
				t.Errorf("challenge %s", w.Header().Get("WWW-Authenticate"))
			}
			if got := w.Header().Get("Access-Control-Allow-Origin") == origin; got != tt.read {
				t.Errorf("readable: %v", got)
			}
		})
	}
}

// TestClaimsMap holds that userinfo shows what the ID token shows.
func TestClaimsMap(t *testing.T) {
	const tier = "https://example.com/tier"
	p := good()
	p.settings.Claims = []store.ClaimRule{
		{Claim: tier, From: "user.attributes.tier", IDToken: true, Scope: "email"},
		{Claim: "https://example.com/api", From: "user.attributes.tier", AccessToken: true},
	}
	if w := p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(nil))); strings.TrimSpace(w.Body.String()) != `{"email":"u@example.com","`+tier+`":"gold","sub":"u"}` {
		t.Errorf("%s", w.Body)
	}
	if w := p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(members{"scope": "openid"}))); strings.TrimSpace(w.Body.String()) != `{"sub":"u"}` {
		t.Errorf("%s", w.Body)
	}
}

// TestDialects takes a token in each, and nothing that only looks like one.
func TestDialects(t *testing.T) {
	auth0 := func(change members) members {
		return changed(claims(members{"client_id": nil, "azp": "c", "permissions": []string{}}), change)
	}
	// An ID token, and one whose owner called a client by the endpoint's address.
	id := members{"iss": issuer, "sub": "u", "aud": "c", "exp": now.Unix() + 1, "iat": now.Unix(), "auth_time": now.Unix(), "nonce": "n", "sid": "s"}
	for name, tt := range map[string]struct {
		typ    string
		claims members
		ok     bool
	}{
		"Auth0's":                         {jwt.TypAuth0, auth0(nil), true},
		"Auth0's for another API":         {jwt.TypAuth0, auth0(members{"aud": "https://api/"}), false},
		"Auth0's, with no client":         {jwt.TypAuth0, auth0(members{"azp": nil}), false},
		"Auth0's, with no jti":            {jwt.TypAuth0, auth0(members{"jti": nil}), false},
		"Auth0's, revoked grant":          {jwt.TypAuth0, auth0(members{"grant_id": "gone"}), false},
		"an ID token":                     {jwt.TypIDToken, id, false},
		"an ID token with a scope":        {jwt.TypIDToken, changed(id, members{"scope": "openid", "azp": "c", "grant_id": "g", "jti": "j"}), false},
		"an ID token for this address":    {jwt.TypIDToken, changed(id, members{"aud": address, "scope": "openid"}), false},
		"an ID token for it and a client": {jwt.TypIDToken, changed(id, members{"aud": []string{"c", address}, "scope": "openid", "azp": "c", "grant_id": "g", "jti": "j"}), false},
		"another typ":                     {"logout+jwt", claims(nil), false},
		"a proof's typ":                   {jwt.TypProof, claims(nil), false},
	} {
		p := good()
		if w := p.ask("Bearer " + p.sign(tt.typ, tt.claims)); (w.Code == 200) != tt.ok || !tt.ok && code(w) != "invalid_token" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}

	opaque := oauth.NewHandle(oauth.AccessPrefix)
	for name, tt := range map[string]struct {
		presented oauth.Secret
		claims    members
		change    func(*parts)
		status    int
	}{
		"opaque":                  {opaque, claims(nil), nil, 200},
		"another opaque one":      {oauth.NewHandle(oauth.AccessPrefix), claims(nil), nil, 401},
		"opaque, malformed":       {oauth.AccessPrefix + "x", claims(nil), nil, 401},
		"opaque, expired":         {opaque, claims(nil), func(p *parts) { p.opaque.Expires = now }, 401},
		"opaque, for another API": {opaque, claims(members{"aud": "https://api/"}), nil, 401},
		"opaque, of another iss":  {opaque, claims(members{"iss": "https://other/"}), nil, 401},
		"opaque, revoked":         {opaque, claims(nil), func(p *parts) { p.revoked = []string{"j"} }, 401},
		"opaque, of a dead grant": {opaque, claims(nil), func(p *parts) { p.grant.Revoked = now }, 401},
		"opaque, bound":           {opaque, claims(members{"cnf": members{"jkt": "x"}}), nil, 401},
		"opaque, but broken":      {opaque, nil, func(p *parts) { p.opaque.Claims = "{" }, 500},
		"opaque, the store busy":  {opaque, claims(nil), func(p *parts) { p.busy = "opaque" }, 503},
		"a refresh token":         {oauth.NewRefreshHandle(oauth.NewID()).Token(), claims(nil), nil, 401},
	} {
		p := good()
		p.opaque = store.OpaqueToken{Digest: opaque.Digest(), Claims: string(must(json.Marshal(tt.claims))), Expires: now.Add(time.Second)}
		if tt.change != nil {
			tt.change(p)
		}
		if w := p.ask("Bearer " + tt.presented.Reveal()); w.Code != tt.status || strings.Contains(w.Body.String(), opaque.Reveal()) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestBudget counts what a request costs: which calls, and whether those that need
// nothing of each other are made in one round trip.
func TestBudget(t *testing.T) {
	p := good()
	opaque := oauth.NewHandle(oauth.AccessPrefix)
	for name, tt := range map[string]struct {
		ask  func() *httptest.ResponseRecorder
		want []string // those of one round trip sorted
	}{
		"a JWT": {func() *httptest.ResponseRecorder { return p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(nil))) }, []string{"grant", "revoked", "user"}},
		"without a grant": {func() *httptest.ResponseRecorder {
			return p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(members{"grant_id": nil})))
		}, []string{"revoked", "user"}},
		"of a session": {func() *httptest.ResponseRecorder {
			return p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(members{"sid": "s"})))
		}, []string{"grant", "revoked", "session", "user"}},
		"opaque":   {func() *httptest.ResponseRecorder { return p.ask("Bearer " + opaque.Reveal()) }, []string{"opaque", "grant", "revoked", "user"}},
		"bound":    {func() *httptest.ResponseRecorder { return p.askBound("", nil) }, []string{"use", "grant", "revoked", "user"}},
		"no token": {func() *httptest.ResponseRecorder { return p.ask("") }, nil},
		"of another issuer": {func() *httptest.ResponseRecorder {
			return p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(members{"iss": "x"})))
		}, nil},
		"without openid": {func() *httptest.ResponseRecorder {
			return p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(members{"scope": "email"})))
		}, nil},
	} {
		p = good()
		p.opaque = store.OpaqueToken{Digest: opaque.Digest(), Claims: string(must(json.Marshal(claims(nil)))), Expires: now.Add(time.Second)}
		tt.ask()
		first := 0
		if len(p.calls) > 0 && (p.calls[0] == "use" || p.calls[0] == "opaque") {
			first = 1
		}
		slices.Sort(p.calls[first:])
		if !slices.Equal(p.calls, tt.want) {
			t.Errorf("%s: %v, not %v", name, p.calls, tt.want)
		}
	}
}

// bound is a token for the client's key.
func (p *parts) bound(change members) string {
	return p.sign(jwt.TypAccessToken, changed(claims(members{"cnf": members{"jkt": must(jwt.Thumbprint(ecKey().Public()))}}), change))
}

// prove makes a proof for a token.
func prove(key *ecdsa.PrivateKey, presented string, change members) string {
	sum := sha256.Sum256([]byte(presented))
	claims := changed(members{
		"jti": oauth.NewID(), "htm": "GET", "htu": address, "iat": now.Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}, change)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")))
	return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

func (p *parts) askBound(nonce string, change members) *httptest.ResponseRecorder {
	presented := p.bound(nil)
	if nonce != "" {
		change = changed(members{"nonce": nonce}, change)
	}
	return p.ask("DPoP "+presented, prove(ecKey(), presented, change))
}

func TestDPoP(t *testing.T) {
	p := good()
	bearer, bound := p.sign(jwt.TypAccessToken, claims(nil)), p.bound(nil)
	for name, tt := range map[string]struct {
		authorization string
		proofs        []string
		status        int
		error         string
		// challenges are how the challenges begin.
		challenges []string
	}{
		"a token and its proof":         {"DPoP " + bound, []string{prove(ecKey(), bound, nil)}, 200, "", nil},
		"the scheme in small letters":   {"dpop  " + bound, []string{prove(ecKey(), bound, nil)}, 200, "", nil},
		"a needless nonce":              {"DPoP " + bound, []string{prove(ecKey(), bound, members{"nonce": "x"})}, 200, "", nil},
		"a bearer token and a proof":    {"Bearer " + bearer, []string{"x"}, 200, "", nil},
		"as a bearer token":             {"Bearer " + bound, nil, 401, "invalid_token", []string{"Bearer", "DPoP"}},
		"as a bearer token, with proof": {"Bearer " + bound, []string{prove(ecKey(), bound, nil)}, 401, "invalid_token", []string{"Bearer", "DPoP"}},
		"a bearer token as DPoP":        {"DPoP " + bearer, []string{prove(ecKey(), bearer, nil)}, 401, "invalid_token", []string{"DPoP"}},
		"no token of ours":              {"DPoP x", []string{prove(ecKey(), "x", nil)}, 401, "invalid_token", []string{"DPoP"}},
		"no proof":                      {"DPoP " + bound, nil, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"two proofs":                    {"DPoP " + bound, []string{prove(ecKey(), bound, nil), prove(ecKey(), bound, nil)}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"another's proof":               {"DPoP " + bound, []string{prove(otherKey(), bound, nil)}, 401, "invalid_token", []string{"DPoP"}},
		"a proof for another token":     {"DPoP " + bound, []string{prove(ecKey(), bearer, nil)}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"a proof for no token":          {"DPoP " + bound, []string{prove(ecKey(), bound, members{"ath": nil})}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"a proof for the Host":          {"DPoP " + bound, []string{prove(ecKey(), bound, members{"htu": "https://evil.example.com/userinfo"})}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"a proof for POST":              {"DPoP " + bound, []string{prove(ecKey(), bound, members{"htm": "POST"})}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"an old proof":                  {"DPoP " + bound, []string{prove(ecKey(), bound, members{"iat": now.Unix() - 120})}, 401, "invalid_dpop_proof", []string{"DPoP"}},
		"the scheme alone":              {"DPoP ", nil, 401, "invalid_token", []string{"Bearer", "DPoP"}},
		"without openid":                {"DPoP " + p.bound(members{"scope": "email"}), nil, 403, "insufficient_scope", []string{"DPoP"}},
	} {
		if name == "without openid" {
			tt.proofs = []string{prove(ecKey(), strings.TrimPrefix(tt.authorization, "DPoP "), nil)}
		}
		p := good()
		w := p.ask(tt.authorization, tt.proofs...)
		if w.Code != tt.status || code(w) != tt.error || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		challenges := w.Header().Values("WWW-Authenticate")
		for i, scheme := range tt.challenges {
			if len(challenges) != len(tt.challenges) || !strings.HasPrefix(challenges[i], scheme+` realm="kmint"`) ||
				strings.Contains(challenges[i], `algs="ES256 `) != (scheme == "DPoP") ||
				strings.Contains(challenges[i], `error="`+tt.error+`"`) != (i == 0 && name != "the scheme alone") {
				t.Errorf("%s: %q", name, challenges)
			}
		}
		if w.Header().Get("DPoP-Nonce") != "" {
			t.Errorf("%s: a nonce that nobody needs", name)
		}
		if !strings.Contains(strings.Join(p.calls, " "), "use") && tt.status == 200 && strings.EqualFold(tt.authorization[:4], "DPoP") {
			t.Errorf("%s: the proof was not used up", name)
		}
	}
}

func TestReplay(t *testing.T) {
	p := good()
	bound := p.bound(nil)
	proof := prove(ecKey(), bound, nil)
	answers := map[int]int{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() {
			w := p.ask("DPoP "+bound, proof)
			mu.Lock()
			defer mu.Unlock()
			answers[w.Code]++
			if w.Code == 401 && code(w) != "invalid_dpop_proof" {
				t.Errorf("%s", w.Body)
			}
		})
	}
	wait.Wait()
	if answers[200] != 1 || answers[401] != 31 {
		t.Errorf("%v", answers)
	}
	// The twin: each with a proof of its own.
	for range 2 {
		if w := p.askBound("", nil); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// TestGiveBack holds that a proof may be sent again after a failure of ours, and
// after no refusal.
func TestGiveBack(t *testing.T) {
	for _, busy := range []string{"use", "user", "grant", "revoked"} {
		p := good()
		bound := p.bound(nil)
		proof := prove(ecKey(), bound, nil)
		p.busy = busy
		if w := p.ask("DPoP "+bound, proof); w.Code != 503 {
			t.Errorf("%s: %d %s", busy, w.Code, w.Body)
		}
		p.busy = ""
		if w := p.ask("DPoP "+bound, proof); w.Code != 200 {
			t.Errorf("%s, again: %d %s", busy, w.Code, w.Body)
		}
	}
	p := good()
	bound := p.bound(nil)
	proof := prove(ecKey(), bound, nil)
	p.user.Blocked = true
	if w := p.ask("DPoP "+bound, proof); code(w) != "invalid_token" {
		t.Errorf("%s", w.Body)
	}
	p.user.Blocked = false
	if w := p.ask("DPoP "+bound, proof); code(w) != "invalid_dpop_proof" {
		t.Errorf("a refusal gives it back: %s", w.Body)
	}
}

// TestNonce holds that where one is needed every answer to a bound token has a
// newer one, and that it is all that a client has to add.
func TestNonce(t *testing.T) {
	for name, change := range map[string]func(*parts){
		"the client": func(p *parts) { p.client.DPoPNonce = true },
		"all":        func(p *parts) { p.settings.DPoPNonce = true },
	} {
		p := good()
		change(p)
		w := p.askBound("", nil)
		nonce := w.Header().Get("DPoP-Nonce")
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != 401 || code(w) != "use_dpop_nonce" || nonce == "" || !strings.HasPrefix(challenge, `DPoP realm="kmint", error="use_dpop_nonce"`) || !strings.Contains(challenge, `algs="ES256 `) {
			t.Errorf("%s: %d %s %s", name, w.Code, w.Body, challenge)
		}
		if !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
			t.Errorf("%s: scripts cannot read it", name)
		}
		if slices.Contains(p.calls, "use") || slices.Contains(p.calls, "user") {
			t.Errorf("%s: %v", name, p.calls)
		}
		if w = p.askBound(nonce, nil); w.Code != 200 || w.Header().Get("DPoP-Nonce") == "" {
			t.Errorf("%s, with it: %d %s", name, w.Code, w.Body)
		}
		if w = p.askBound("other", nil); code(w) != "use_dpop_nonce" {
			t.Errorf("%s, with another: %s", name, w.Body)
		}
		if w = p.askBound(nonce, members{"htm": "POST"}); code(w) != "invalid_dpop_proof" {
			t.Errorf("%s, with another fault: %s", name, w.Body)
		}
		// Who sends no proof needs none.
		if w = p.ask("Bearer " + p.sign(jwt.TypAccessToken, claims(nil))); w.Code != 200 || w.Header().Get("DPoP-Nonce") != "" {
			t.Errorf("%s, a bearer token: %d %v", name, w.Code, w.Header())
		}
		p.busy = "mac"
		if w = p.askBound(nonce, nil); w.Code != 503 {
			t.Errorf("%s, the MAC busy: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestWays holds that a bound token comes by its header alone.
func TestWays(t *testing.T) {
	p := good()
	post := func(presented string, proofs ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/userinfo", strings.NewReader("access_token="+presented))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header["Dpop"] = proofs
		return p.serve(r)
	}
	if w := post(p.sign(jwt.TypAccessToken, claims(nil))); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	bound := p.bound(nil)
	if w := post(bound, prove(ecKey(), bound, members{"htm": "POST"})); code(w) != "invalid_token" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// FuzzServe sends any headers and body: what is no token of ours is refused, and
// nothing fails.
func FuzzServe(f *testing.F) {
	p := good()
	bound := p.bound(nil)
	f.Add("DPoP "+bound, "x", "access_token=x")
	f.Add("Bearer "+bound, prove(ecKey(), bound, nil), "")
	f.Add("DPoP "+oauth.AccessPrefix, "", "access_token="+oauth.AccessPrefix)
	f.Fuzz(func(t *testing.T, authorization, proof, body string) {
		r := httptest.NewRequest(http.MethodPost, "/userinfo", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", authorization)
		r.Header.Set("DPoP", proof)
		w := good().serve(r)
		if w.Code < 400 || w.Code >= 500 || strings.ContainsAny(strings.Join(w.Header().Values("WWW-Authenticate"), ""), "\r\n\x00") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

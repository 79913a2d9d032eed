package clientauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/clientauth"
	"kmint/pkg/fetch"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const us = "https://login.example.com/"

// The keys of the tests, made once: RSA keys take long.
var keys = sync.OnceValue(func() (k struct {
	rsa, otherRSA *rsa.PrivateKey
	p256, p384    *ecdsa.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.otherRSA, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	return k
})

func public(keys ...jose.JSONWebKey) string {
	for i := range keys {
		if signer, ok := keys[i].Key.(crypto.Signer); ok {
			keys[i].Key = signer.Public()
		}
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// A signature is how an assertion is signed.
type signature struct {
	algorithm string
	key       any
	kid       string
	typ       string
}

func (s signature) sign(t testing.TB, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if s.typ != "" {
		options.WithType(jose.ContentType(s.typ))
	}
	key := s.key
	if s.kid != "" {
		key = jose.JSONWebKey{Key: key, KeyID: s.kid}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.algorithm), Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claimsOf are those of a client's own assertion, changed; nil takes a member away.
func claimsOf(client string, changes map[string]any) map[string]any {
	c := map[string]any{"iss": client, "sub": client, "aud": us, "jti": "once", "iat": now.Unix(), "exp": now.Unix() + 60}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

type issuer string

func (i issuer) Issuer(context.Context) (string, error) { return string(i), nil }

// A vault holds secrets under their sealed names, and counts.
type vault struct {
	secrets map[string]oauth.Secret
	err     error
	asked   int
}

func (v *vault) Unseal(_ context.Context, clientID, sealed string) (oauth.Secret, error) {
	v.asked++
	if secret, ok := v.secrets[clientID+" "+sealed]; ok {
		return secret, nil
	}
	return "", v.err
}

var _ clientauth.Vault = (*vault)(nil)

// A getter finds no document, or one, and counts.
type getter struct {
	documents map[string]string
	err       error
	asked     int
}

func (g *getter) Get(_ context.Context, url string) ([]byte, error) {
	g.asked++
	if body, ok := g.documents[url]; ok {
		return []byte(body), nil
	}
	return nil, g.err
}

func (g *getter) Refresh(ctx context.Context, url string) ([]byte, error) { return g.Get(ctx, url) }

var (
	newSecret = oauth.Secret(strings.Repeat("new", 22))
	oldSecret = oauth.Secret(strings.Repeat("old", 22))
)

func asserting() clients {
	k := keys()
	inline := func(id string, more func(*store.Client)) store.Client {
		c := store.Client{ID: id, AuthMethod: oauth.PrivateKeyJWT, JWKS: public(
			jose.JSONWebKey{Key: k.rsa, KeyID: "rsa"}, jose.JSONWebKey{Key: k.p256, KeyID: "p256"})}
		if more != nil {
			more(&c)
		}
		return c
	}
	all := clients{
		"hmac":  {ID: "hmac", AuthMethod: oauth.ClientSecretJWT, SealedSecrets: []string{"new", "old"}},
		"hs512": {ID: "hs512", AuthMethod: oauth.ClientSecretJWT, SealedSecrets: []string{"new"}, AssertionAlgorithms: []string{"HS512"}},
		"bare":  {ID: "bare", AuthMethod: oauth.ClientSecretJWT},
		"wide":  {ID: "wide", AuthMethod: oauth.ClientSecretJWT, SealedSecrets: []string{"new"}, AssertionAlgorithms: []string{"HS256", "RS256", "none"}, JWKS: public(jose.JSONWebKey{Key: k.rsa, KeyID: "rsa"})},
	}
	for _, c := range []store.Client{
		inline("own", nil),
		inline("ps256", func(c *store.Client) { c.AssertionAlgorithms = []string{"PS256"} }),
		inline("loose", func(c *store.Client) { c.AssertionAlgorithms = []string{"HS256", "none", "RS256"} }),
		inline("urls", func(c *store.Client) { c.TokenEndpointAudience = true }),
		inline("no keys", func(c *store.Client) { c.JWKS = "" }),
		inline("bad keys", func(c *store.Client) { c.JWKS = "{" }),
		inline("by uri", func(c *store.Client) { c.JWKS, c.JWKSURI = "", "https://keys" }),
		inline("gone", func(c *store.Client) { c.JWKS, c.JWKSURI = "", "https://gone" }),
	} {
		all[c.ID] = c
	}
	maps.Copy(all, known)
	return all
}

// A request is the form of one, by what differs from a plain one.
func send(t testing.TB, a clientauth.Authenticator, authorization string, form url.Values) (clientauth.Authentication, error) {
	t.Helper()
	hr := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		hr.Header.Set("Authorization", authorization)
	}
	r, err := oauth.ReadRequest(hr)
	if err != nil {
		return clientauth.Authentication{}, err
	}
	claim, err := a.Identify(t.Context(), r)
	if err != nil {
		return clientauth.Authentication{}, err
	}
	return a.Authenticate(t.Context(), claim)
}

type temporary struct{}

func (temporary) Error() string   { return "no network" }
func (temporary) Temporary() bool { return true }

type guarded struct{}

func (guarded) Error() string   { return "the guard refuses" }
func (guarded) Temporary() bool { return false }

func TestAssertions(t *testing.T) {
	k := keys()
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	none := func(client string) string {
		encode := base64.RawURLEncoding.EncodeToString
		payload, _ := json.Marshal(claimsOf(client, nil))
		return encode([]byte(`{"alg":"none"}`)) + "." + encode(payload) + "."
	}
	hs := func(algorithm string, secret oauth.Secret) signature {
		return signature{algorithm: algorithm, key: []byte(secret.Reveal())}
	}
	rs := signature{algorithm: "RS256", key: k.rsa, kid: "rsa"}
	typed := func(typ string) signature { s := rs; s.typ = typ; return s }
	with := func(name string, value any) map[string]any { return map[string]any{name: value} }

	for name, test := range map[string]struct {
		client  string
		by      signature
		changes map[string]any
		raw     string // instead of the signed claims
		form    url.Values
		header  string
		refused oauth.Code
		why     string // a part of the error; "" for what is refused by the words alone
		asked   int    // how often the vault and the getter were
	}{
		"HS256":                    {client: "hmac", by: hs("HS256", newSecret), asked: 1},
		"HS384":                    {client: "hmac", by: hs("HS384", newSecret), asked: 1},
		"HS512":                    {client: "hmac", by: hs("HS512", newSecret), asked: 1},
		"HMAC by the older secret": {client: "hmac", by: hs("HS256", oldSecret), asked: 2},
		"HMAC by neither":          {client: "hmac", by: hs("HS256", newSecret[1:]+"x"), refused: oauth.InvalidClient, why: "error in cryptographic primitive", asked: 2},
		"HMAC of another client":   {client: "hs512", by: hs("HS512", oldSecret), refused: oauth.InvalidClient, why: "error in cryptographic primitive", asked: 1},
		"HMAC without a secret":    {client: "bare", by: hs("HS256", newSecret), refused: oauth.InvalidClient, why: "has no secret"},
		"HMAC by the sealed text":  {client: "hmac", by: signature{algorithm: "HS256", key: []byte(strings.Repeat("sealed", 10))}, refused: oauth.InvalidClient, why: "error in cryptographic primitive", asked: 2},
		"the alg registered":       {client: "hs512", by: hs("HS512", newSecret), asked: 1},
		"an alg not registered":    {client: "hs512", by: hs("HS256", newSecret), refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"RSA by a client of HMAC":  {client: "hmac", by: rs, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"RSA registered for HMAC":  {client: "wide", by: rs, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"none registered for HMAC": {client: "wide", raw: none("wide"), refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"none by a client of HMAC": {client: "hmac", raw: none("hmac"), refused: oauth.InvalidClient, why: "unexpected signature algorithm"},

		"RS256":                       {client: "own", by: rs},
		"PS256":                       {client: "own", by: signature{algorithm: "PS256", key: k.rsa, kid: "rsa"}},
		"ES256":                       {client: "own", by: signature{algorithm: "ES256", key: k.p256, kid: "p256"}},
		"no kid":                      {client: "own", by: signature{algorithm: "ES256", key: k.p256}},
		"another's key":               {client: "own", by: signature{algorithm: "RS256", key: k.otherRSA, kid: "rsa"}, refused: oauth.InvalidClient, why: "no key with kid"},
		"another's key, no kid":       {client: "own", by: signature{algorithm: "RS256", key: k.otherRSA}, refused: oauth.InvalidClient, why: "no such key"},
		"an unknown kid":              {client: "own", by: signature{algorithm: "RS256", key: k.rsa, kid: "x"}, refused: oauth.InvalidClient, why: "no such key"},
		"the only alg registered":     {client: "ps256", by: signature{algorithm: "PS256", key: k.rsa, kid: "rsa"}},
		"not the alg registered":      {client: "ps256", by: rs, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"none":                        {client: "own", raw: none("own"), refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"none registered":             {client: "loose", raw: none("loose"), refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"the public key as secret":    {client: "own", by: signature{algorithm: "HS256", key: pemKey}, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"the public key, DER":         {client: "own", by: signature{algorithm: "HS256", key: der}, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"HMAC registered for keys":    {client: "loose", by: signature{algorithm: "HS256", key: pemKey}, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"no keys":                     {client: "no keys", by: rs, refused: oauth.InvalidClient, why: "there are no keys"},
		"keys that are none":          {client: "bad keys", by: rs, refused: oauth.InvalidClient, why: "key set"},
		"keys at a URI":               {client: "by uri", by: rs, asked: 1},
		"keys that the guard refuses": {client: "gone", by: rs, refused: oauth.InvalidClient, why: "the guard refuses", asked: 1},

		"no typ":                            {client: "own", by: typed("")},
		"typ JWT":                           {client: "own", by: typed("JWT")},
		"typ jwt":                           {client: "own", by: typed("jwt")},
		"typ client-authentication+jwt":     {client: "own", by: typed("client-authentication+jwt")},
		"typ dpop+jwt":                      {client: "own", by: typed("dpop+jwt"), refused: oauth.InvalidClient, why: "typ is"},
		"typ of a request object":           {client: "own", by: typed("oauth-authz-req+jwt"), refused: oauth.InvalidClient, why: "typ is"},
		"typ at+jwt":                        {client: "own", by: typed("at+jwt"), refused: oauth.InvalidClient, why: "typ is"},
		"iss of another":                    {client: "own", by: rs, changes: with("iss", "ps256"), refused: oauth.InvalidClient, why: "iss is"},
		"no iss":                            {client: "own", by: rs, changes: with("iss", nil), refused: oauth.InvalidClient, why: "iss is"},
		"sub of another":                    {client: "own", by: rs, changes: with("sub", "ps256"), form: url.Values{"client_id": {"own"}}, refused: oauth.InvalidClient, why: "sub is"},
		"no sub":                            {client: "own", by: rs, changes: with("sub", nil), refused: oauth.InvalidClient, why: "no sub"},
		"no sub, but a client_id":           {client: "own", by: rs, changes: with("sub", nil), form: url.Values{"client_id": {"own"}}, refused: oauth.InvalidClient, why: "sub is"},
		"sub that is nobody":                {client: "own", by: rs, changes: with("sub", "nobody"), refused: oauth.InvalidClient, why: "unknown client"},
		"sub that is no text":               {client: "own", by: rs, changes: with("sub", 7), refused: oauth.InvalidClient, why: "claims"},
		"aud in a list":                     {client: "own", by: rs, changes: with("aud", []string{us})},
		"aud with another":                  {client: "own", by: rs, changes: with("aud", []string{us, "https://other.example"}), refused: oauth.InvalidClient, why: "aud is"},
		"aud twice":                         {client: "own", by: rs, changes: with("aud", []string{us, us}), refused: oauth.InvalidClient, why: "aud is"},
		"aud empty":                         {client: "own", by: rs, changes: with("aud", []string{}), refused: oauth.InvalidClient, why: "aud is"},
		"no aud":                            {client: "own", by: rs, changes: with("aud", nil), refused: oauth.InvalidClient, why: "aud is"},
		"aud without the slash":             {client: "own", by: rs, changes: with("aud", strings.TrimSuffix(us, "/")), refused: oauth.InvalidClient, why: "aud is"},
		"aud of another server":             {client: "own", by: rs, changes: with("aud", "https://other.example/"), refused: oauth.InvalidClient, why: "aud is"},
		"aud is the token endpoint":         {client: "own", by: rs, changes: with("aud", us+"oauth/token"), refused: oauth.InvalidClient, why: "aud is"},
		"the token endpoint, where allowed": {client: "urls", by: rs, changes: with("aud", us+"oauth/token")},
		"its other name, where allowed":     {client: "urls", by: rs, changes: with("aud", us+"token")},
		"the issuer, where both are":        {client: "urls", by: rs},
		"both at once":                      {client: "urls", by: rs, changes: with("aud", []string{us, us + "oauth/token"}), refused: oauth.InvalidClient, why: "aud is"},
		"another endpoint":                  {client: "urls", by: rs, changes: with("aud", us+"oauth/revoke"), refused: oauth.InvalidClient, why: "aud is"},
		"no exp":                            {client: "own", by: rs, changes: with("exp", nil), refused: oauth.InvalidClient, why: "no exp"},
		"expired":                           {client: "own", by: rs, changes: with("exp", now.Unix()-60), refused: oauth.InvalidClient, why: "expired"},
		"just made, by a clock behind":      {client: "own", by: rs, changes: map[string]any{"iat": now.Unix() - 60, "exp": now.Unix()}},
		"a second before that":              {client: "own", by: rs, changes: map[string]any{"iat": now.Unix() - 119, "exp": now.Unix() - 59}},
		"five minutes":                      {client: "own", by: rs, changes: with("exp", now.Unix()+300)},
		"a second more":                     {client: "own", by: rs, changes: with("exp", now.Unix()+301), refused: oauth.InvalidClient, why: "made for more"},
		"five minutes and skew, no iat":     {client: "own", by: rs, changes: map[string]any{"iat": nil, "exp": now.Unix() + 360}},
		"a second more, no iat":             {client: "own", by: rs, changes: map[string]any{"iat": nil, "exp": now.Unix() + 361}, refused: oauth.InvalidClient, why: "from now"},
		"an old one that goes on":           {client: "own", by: rs, changes: map[string]any{"iat": now.Unix() - 3600}, refused: oauth.InvalidClient, why: "made for more"},
		"a clock that is a bit ahead":       {client: "own", by: rs, changes: map[string]any{"iat": now.Unix() + 60, "nbf": now.Unix() + 60}},
		"iat in the future":                 {client: "own", by: rs, changes: with("iat", now.Unix()+61), refused: oauth.InvalidClient, why: "in the future"},
		"nbf in the future":                 {client: "own", by: rs, changes: with("nbf", now.Unix()+61), refused: oauth.InvalidClient, why: "not valid yet"},
		"no jti":                            {client: "own", by: rs, changes: with("jti", nil), refused: oauth.InvalidClient, why: "no jti"},
		"an empty jti":                      {client: "own", by: rs, changes: with("jti", ""), refused: oauth.InvalidClient, why: "no jti"},
		"a jti that is no text":             {client: "own", by: rs, changes: with("jti", 7), refused: oauth.InvalidClient, why: "claims"},

		"the client_id too":             {client: "own", by: rs, form: url.Values{"client_id": {"own"}}},
		"the client_id of another":      {client: "own", by: rs, form: url.Values{"client_id": {"ps256"}}, refused: oauth.InvalidClient, why: "unexpected signature algorithm"},
		"another with the same keys":    {client: "own", by: rs, form: url.Values{"client_id": {"urls"}}, refused: oauth.InvalidClient, why: "iss is"},
		"the client_id of nobody":       {client: "own", by: rs, form: url.Values{"client_id": {"nobody"}}, refused: oauth.InvalidClient, why: "unknown client"},
		"no type":                       {client: "own", by: rs, form: url.Values{"client_assertion_type": nil}, refused: oauth.InvalidRequest, why: "client_assertion_type is missing"},
		"another type":                  {client: "own", by: rs, form: url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}}, refused: oauth.InvalidClient, why: "client_assertion_type is not"},
		"a type alone":                  {client: "own", by: rs, form: url.Values{"client_assertion": nil, "client_id": {"own"}}, refused: oauth.InvalidRequest, why: "client_assertion is missing"},
		"a secret too":                  {client: "own", by: rs, form: url.Values{"client_secret": {"x"}}, refused: oauth.InvalidRequest, why: "two methods"},
		"Basic too":                     {client: "own", by: rs, header: header("own", "x"), refused: oauth.InvalidRequest, why: "two methods"},
		"a type and Basic":              {client: "own", by: rs, header: header("basic", "the+right+secret"), form: url.Values{"client_assertion": nil}, refused: oauth.InvalidRequest, why: "two methods"},
		"a type and a secret":           {client: "own", by: rs, form: url.Values{"client_assertion": nil, "client_id": {"post"}, "client_secret": {"the right secret"}}, refused: oauth.InvalidRequest, why: "two methods"},
		"by a client of Basic":          {client: "basic", by: hs("HS256", newSecret), refused: oauth.InvalidClient, why: "registered for client_secret_basic"},
		"by a client of post":           {client: "post", by: hs("HS256", newSecret), refused: oauth.InvalidClient, why: "registered for client_secret_post"},
		"by a public client":            {client: "none", by: rs, refused: oauth.InvalidClient, why: "registered for none"},
		"Basic by a client of HMAC":     {header: header("hmac", newSecret.Reveal()), refused: oauth.InvalidClient, why: "registered for client_secret_jwt"},
		"post by a client of HMAC":      {form: url.Values{"client_id": {"hmac"}, "client_secret": {newSecret.Reveal()}}, refused: oauth.InvalidClient, why: "registered for client_secret_jwt"},
		"post by a client of keys":      {form: url.Values{"client_id": {"own"}, "client_secret": {"x"}}, refused: oauth.InvalidClient, why: "registered for private_key_jwt"},
		"no proof by a client of keys":  {form: url.Values{"client_id": {"own"}}, refused: oauth.InvalidClient, why: "registered for private_key_jwt"},
		"not a JWT":                     {client: "own", raw: "kmint_refresh.x", refused: oauth.InvalidClient, why: "jwt"},
		"not a JWT, with the client_id": {client: "own", raw: "x", form: url.Values{"client_id": {"own"}}, refused: oauth.InvalidClient, why: "jwt"},
		"a member twice":                {client: "own", raw: twice(t, rs, "own"), refused: oauth.InvalidClient, why: "duplicate key"},
		"too long":                      {client: "own", by: rs, changes: with("x", strings.Repeat("x", 20<<10)), refused: oauth.InvalidClient, why: "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{}
			if test.client != "" {
				token := test.raw
				if token == "" {
					token = test.by.sign(t, claimsOf(test.client, test.changes))
				}
				form = url.Values{"client_assertion": {token}, "client_assertion_type": {oauth.AssertionType}}
			}
			maps.Copy(form, test.form)
			v := &vault{secrets: map[string]oauth.Secret{"hmac new": newSecret, "hmac old": oldSecret, "hs512 new": newSecret, "wide new": newSecret}}
			g := &getter{documents: map[string]string{"https://keys": public(jose.JSONWebKey{Key: k.rsa, KeyID: "rsa"})}, err: guarded{}}
			a := clientauth.Authenticator{
				Clients: asserting(), Issuers: issuer(us), TokenPaths: []string{"/oauth/token", "/token"},
				Vault: v, Trust: &trust.Verifier{Documents: g}, Now: func() time.Time { return now },
			}
			got, err := send(t, a, test.header, form)
			if v.asked+g.asked != test.asked {
				t.Errorf("asked %d times", v.asked+g.asked)
			}
			if test.refused != "" {
				checkRefusal(t, err, test.refused, test.why)
				return
			}
			if err != nil || got.Client.ID != test.client {
				t.Fatalf("got %q, %v", got.Client.ID, err)
			}
			exp, _ := claimsOf(test.client, test.changes)["exp"].(int64)
			if len(got.Uses) != 1 || !got.Uses[0].Until.Equal(time.Unix(exp, 0).Add(2*time.Minute)) || got.Uses[0].Key == "" || got.Uses[0].By != "" {
				t.Errorf("uses %+v", got.Uses)
			}
		})
	}
}

// checkRefusal looks at the code, at the words that all are told, and at the cause.
func checkRefusal(t *testing.T, err error, code oauth.Code, why string) {
	t.Helper()
	var e *oauth.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want %s with %q", err, code, why)
		return
	}
	spoken := strings.Contains(e.Description, "client_assertion")
	if code == oauth.InvalidClient && !spoken && (e.Description != "Client authentication failed." || e.Case != oauth.CaseClient) {
		t.Errorf("the caller is told %q", e.Description)
	}
}

// twice signs claims with two sub.
func twice(t *testing.T, by signature, client string) string {
	t.Helper()
	payload, _ := json.Marshal(claimsOf(client, nil))
	return by.sign(t, json.RawMessage(strings.Replace(string(payload), `{`, `{"sub":"ps256",`, 1)))
}

// Two assertions use the same thing up exactly where client and jti are the same.
func TestWhatIsUsedUp(t *testing.T) {
	a := clientauth.Authenticator{Clients: asserting(), Issuers: issuer(us), Trust: &trust.Verifier{}, Now: func() time.Time { return now }}
	use := func(client, jti string, exp int64) store.Use {
		token := signature{algorithm: "RS256", key: keys().rsa}.sign(t, claimsOf(client, map[string]any{"jti": jti, "exp": exp}))
		got, err := send(t, a, "", url.Values{"client_assertion": {token}, "client_assertion_type": {oauth.AssertionType}})
		if err != nil {
			t.Fatal(err)
		}
		return got.Uses[0]
	}
	first := use("own", "1", now.Unix()+60)
	if again := use("own", "1", now.Unix()+61); again.Key != first.Key {
		t.Error("another life is another use")
	}
	if use("own", "2", now.Unix()+60).Key == first.Key || use("urls", "1", now.Unix()+60).Key == first.Key {
		t.Error("another jti or client is the same use")
	}
	// A request that was judged in the last moment may wait for keys before it takes.
	if late := now.Add(60*time.Second + jwt.Skew + 30*time.Second); !late.Before(first.Until) {
		t.Errorf("free again at %v, of an exp of %v", first.Until, now.Add(time.Minute))
	}
}

func TestUnavailable(t *testing.T) {
	k := keys()
	rs := signature{algorithm: "RS256", key: k.rsa, kid: "rsa"}
	hs := signature{algorithm: "HS256", key: []byte(oldSecret.Reveal())}
	for name, test := range map[string]struct {
		client string
		by     signature
		vault  vault
		getter getter
		want   error
		code   oauth.Code
	}{
		"keys that cannot be got": {client: "by uri", by: rs, getter: getter{err: temporary{}}, want: trust.ErrUnavailable, code: oauth.TemporarilyUnavailable},
		"keys that are refused":   {client: "by uri", by: rs, getter: getter{err: guarded{}}, want: guarded{}, code: oauth.InvalidClient},
		"a busy vault":            {client: "hmac", by: hs, vault: vault{err: jwt.ErrBusy}, want: jwt.ErrBusy},
		"a vault that fails":      {client: "hmac", by: hs, vault: vault{err: context.Canceled}, want: context.Canceled},
		// The secret that can be opened is the one that is right.
		"a vault that fails at the other": {client: "hmac", by: hs, vault: vault{secrets: map[string]oauth.Secret{"hmac old": oldSecret}, err: jwt.ErrBusy}},
		// It may be the other that is right.
		"a vault that fails at one": {client: "hmac", by: hs, vault: vault{secrets: map[string]oauth.Secret{"hmac new": newSecret}, err: jwt.ErrBusy}, want: jwt.ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			a := clientauth.Authenticator{
				Clients: asserting(), Issuers: issuer(us), Vault: &test.vault,
				Trust: &trust.Verifier{Documents: &test.getter}, Now: func() time.Time { return now },
			}
			token := test.by.sign(t, claimsOf(test.client, nil))
			_, err := send(t, a, "", url.Values{"client_assertion": {token}, "client_assertion_type": {oauth.AssertionType}})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			var e *oauth.Error
			if is := errors.As(err, &e); is != (test.code != "") || is && e.Code != test.code {
				t.Errorf("got %v, want the code %q", err, test.code)
			}
		})
	}
}

func TestOpenVault(t *testing.T) {
	at := now
	under := &vault{secrets: map[string]oauth.Secret{"a 1": "one", "a 2": "two"}, err: jwt.ErrBusy}
	v := clientauth.NewOpenVault(under, func() time.Time { return at })
	step := func(what, client, sealed string, want oauth.Secret, asked int) {
		t.Helper()
		got, err := v.Unseal(t.Context(), client, sealed)
		if got != want || (err != nil) != (want == "") || under.asked != asked {
			t.Errorf("%s: %v, asked %d times", what, err, under.asked)
		}
	}
	step("the first", "a", "1", "one", 1)
	step("remembered", "a", "1", "one", 1)
	step("another text", "a", "2", "two", 2)
	step("another client", "b", "1", "", 3)
	step("a failure is not remembered", "b", "1", "", 4)
	at = now.Add(store.MaxAge - 1)
	step("the last moment", "a", "1", "one", 4)
	at = now.Add(store.MaxAge)
	delete(under.secrets, "a 1")
	step("forgotten, and gone", "a", "1", "", 5)
	at = now.Add(-1)
	step("a clock that was set back", "a", "2", "two", 6)
}

func TestWhatIsAnnounced(t *testing.T) {
	if got := clientauth.Algorithms(); slices.Contains(got, "none") || !slices.Contains(got, "RS256") || !slices.Contains(got, "HS256") {
		t.Errorf("algorithms %v", got)
	}
	for _, method := range clientauth.Methods() {
		a := clientauth.Authenticator{Clients: clients{"x": {ID: "x", AuthMethod: method}}, Issuers: issuer(us), Trust: &trust.Verifier{}, Now: time.Now}
		_, err := send(t, a, header("x", "y"), nil)
		if err == nil || method != oauth.ClientSecretBasic && !strings.Contains(err.Error(), "registered for "+method) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// Over the network: a client's jwks_uri on a server of its own.
func TestKeysAtAURI(t *testing.T) {
	k := keys()
	served := public(jose.JSONWebKey{Key: k.rsa, KeyID: "first"})
	asked := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write([]byte(served))
	}))
	t.Cleanup(s.Close)
	at := now
	clock := func() time.Time { return at }
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	f := &fetch.Fetcher{Roots: pool, AllowLoopback: true, Now: clock}
	a := clientauth.Authenticator{
		Clients: clients{"c": {ID: "c", AuthMethod: oauth.PrivateKeyJWT, JWKSURI: s.URL + "/jwks"}},
		Issuers: issuer(us), Trust: &trust.Verifier{Documents: f}, Now: clock,
	}
	try := func(kid string, key any) error {
		token := signature{algorithm: "RS256", key: key, kid: kid}.sign(t, claimsOf("c", map[string]any{"iat": at.Unix(), "exp": at.Unix() + 60}))
		_, err := send(t, a, "", url.Values{"client_assertion": {token}, "client_assertion_type": {oauth.AssertionType}})
		return err
	}
	for range 3 {
		if err := try("first", k.rsa); err != nil || asked != 1 {
			t.Fatalf("%v, asked %d times", err, asked)
		}
	}
	served = public(jose.JSONWebKey{Key: k.otherRSA, KeyID: "second"})
	if err := try("second", k.otherRSA); err == nil || asked != 1 {
		t.Errorf("a new key within the pause: %v, asked %d times", err, asked)
	}
	at = at.Add(fetch.Pause)
	if err := try("second", k.otherRSA); err != nil || asked != 2 {
		t.Errorf("a new key after it: %v, asked %d times", err, asked)
	}
	if err := try("first", k.rsa); err == nil || asked != 2 {
		t.Errorf("the old key: %v, asked %d times", err, asked)
	}
	f2 := &fetch.Fetcher{Roots: pool, Now: clock}
	a.Trust = &trust.Verifier{Documents: f2}
	checkRefusal(t, try("second", k.otherRSA), oauth.InvalidClient, "no public address")
	s.Close()
	a.Trust = &trust.Verifier{Documents: &fetch.Fetcher{Roots: pool, AllowLoopback: true, Now: clock}}
	checkRefusal(t, try("second", k.otherRSA), oauth.TemporarilyUnavailable, "could not be got")
}

func FuzzAssertion(f *testing.F) {
	k := keys()
	by := signature{algorithm: "RS256", key: k.rsa, kid: "rsa"}
	f.Add(by.sign(f, claimsOf("own", nil)), "", oauth.AssertionType)
	f.Add(signature{algorithm: "HS256", key: []byte(newSecret.Reveal())}.sign(f, claimsOf("hmac", nil)), "hmac", oauth.AssertionType)
	f.Add("a.b.c", "own", "x")
	f.Add(strings.Repeat("[", 1000), "", oauth.AssertionType)
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","jwk":{"kty":"oct","k":"AA"}}`))+".e30.AA", "", oauth.AssertionType)
	a := clientauth.Authenticator{
		Clients: asserting(), Issuers: issuer(us), TokenPaths: []string{"/oauth/token"},
		Vault: &vault{secrets: map[string]oauth.Secret{"hmac new": newSecret, "hmac old": oldSecret}, err: errors.New("no such secret")},
		Trust: &trust.Verifier{Documents: &getter{err: guarded{}}}, Now: func() time.Time { return now },
	}
	f.Fuzz(func(t *testing.T, token, client, kind string) {
		got, err := send(t, a, "", url.Values{"client_assertion": {token}, "client_id": {client}, "client_assertion_type": {kind}})
		var e *oauth.Error
		switch {
		case err == nil && len(got.Uses) != 1 && got.Client.AuthMethod != oauth.None:
			t.Errorf("%s without a use", got.Client.ID)
		case err != nil && (!errors.As(err, &e) || e.Status() >= 500):
			t.Errorf("bad input is answered by %v", err)
		}
	})
}

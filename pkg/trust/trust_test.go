package trust_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/trust"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// A key signs as an issuer does.
type key struct {
	id      string
	private *ecdsa.PrivateKey
}

func newKey(t *testing.T, id string) key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{id, private}
}

func (k key) sign(t *testing.T, typ string, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, options)
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

func set(t *testing.T, keys ...key) string {
	t.Helper()
	var s jose.JSONWebKeySet
	for _, k := range keys {
		s.Keys = append(s.Keys, jose.JSONWebKey{KeyID: k.id, Key: k.private.Public()})
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fault is an error as a Getter tells it.
type fault struct{ temporary bool }

func (f fault) Error() string   { return "fault" }
func (f fault) Temporary() bool { return f.temporary }

// documents are what Get and Refresh find, and count.
type documents struct {
	old, fresh map[string]string
	// failed and freshFailed are what the two fail by.
	failed, freshFailed error
	gets, refreshes     int
}

var _ trust.Getter = (*documents)(nil)

func (d *documents) Get(_ context.Context, url string) ([]byte, error) {
	d.gets++
	return find(d.old, url, d.failed)
}

func (d *documents) Refresh(_ context.Context, url string) ([]byte, error) {
	d.refreshes++
	return find(d.fresh, url, d.freshFailed)
}

func find(in map[string]string, url string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if body, ok := in[url]; ok {
		return []byte(body), nil
	}
	return nil, fault{false}
}

type issuers map[string]trust.Issuer

func (i issuers) TrustedIssuer(_ context.Context, issuer string) (trust.Issuer, error) {
	if issuer == "https://ill/" {
		return trust.Issuer{}, errors.New("on fire")
	}
	if found, ok := i[issuer]; ok {
		return found, nil
	}
	return trust.Issuer{}, trust.ErrUntrusted
}

const idp = "https://idp.example/tenant"

func claims(changes map[string]any) map[string]any {
	c := map[string]any{"iss": idp, "aud": "us", "sub": "someone", "iat": now.Unix(), "exp": now.Unix() + 60, "jti": "1"}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func expected(more func(*trust.Expected)) trust.Expected {
	e := trust.Expected{Issuer: idp, Audience: "us", Now: now}
	if more != nil {
		more(&e)
	}
	return e
}

// kind says what an error tells the caller.
func kind(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, trust.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, trust.ErrUntrusted):
		return "untrusted"
	default:
		return err.Error()
	}
}

func TestVerify(t *testing.T) {
	k := newKey(t, "k")
	for name, test := range map[string]struct {
		changes map[string]any
		want    func(*trust.Expected)
		why     string // "" accepts; else a part of the error
	}{
		"as expected":                  {nil, nil, ""},
		"one of several audiences":     {map[string]any{"aud": []string{"a", "us"}}, nil, ""},
		"no sub":                       {map[string]any{"sub": nil}, nil, ""},
		"the audience is the caller's": {map[string]any{"aud": nil}, func(e *trust.Expected) { e.Audience = "" }, ""},
		"another issuer":               {map[string]any{"iss": idp + "/"}, nil, "iss is"},
		"no issuer":                    {map[string]any{"iss": nil}, nil, "iss is"},
		"no issuer, none expected":     {map[string]any{"iss": nil}, func(e *trust.Expected) { e.Issuer = "" }, "iss is"},
		"an issuer that is not named":  {map[string]any{"iss": "https://x"}, func(e *trust.Expected) { e.Issuer = "https://x" }, "untrusted"},
		"the issuers are not there":    {nil, func(e *trust.Expected) { e.Issuer = "https://ill/" }, "unavailable"},
		"another audience":             {map[string]any{"aud": "u"}, nil, "aud does not name"},
		"no audience":                  {map[string]any{"aud": nil}, nil, "aud does not name"},
		"no exp":                       {map[string]any{"exp": nil}, nil, "no exp"},
		"expired":                      {map[string]any{"exp": now.Unix() - 60}, nil, "expired"},
		"a second before that":         {map[string]any{"iat": now.Unix() - 119, "exp": now.Unix() - 59}, nil, ""},
		"not yet":                      {map[string]any{"nbf": now.Unix() + 61}, nil, "not valid yet"},
		"soon":                         {map[string]any{"nbf": now.Unix() + 30}, nil, ""},
		"from the future":              {map[string]any{"iat": now.Unix() + 61}, nil, "in the future"},
		"too long":                     {map[string]any{"exp": now.Unix() + 3601}, func(e *trust.Expected) { e.MaxLifetime = time.Hour }, "made for more"},
		"as long as may be":            {map[string]any{"exp": now.Unix() + 3600}, func(e *trust.Expected) { e.MaxLifetime = time.Hour }, ""},
		"what the caller refuses":      {nil, func(e *trust.Expected) { e.Check = func(trust.Token) error { return errors.New("not mine") } }, "not mine"},
		"what the caller takes":        {nil, func(e *trust.Expected) { e.Check = func(trust.Token) error { return nil } }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &documents{old: map[string]string{"https://keys": set(t, k)}}
			v := &trust.Verifier{Issuers: issuers{idp: {Issuer: idp, JWKSURI: "https://keys"}, "": {JWKSURI: "https://keys"}}, Documents: d}
			got, err := v.Verify(t.Context(), k.sign(t, "JWT", claims(test.changes)), expected(test.want))
			if test.why != "" {
				if !strings.Contains(kind(err), test.why) {
					t.Errorf("got %v, want %q", err, test.why)
				}
				if d.gets != 0 {
					t.Error("keys were got for a token that cannot count")
				}
				return
			}
			if err != nil || got.Type != "JWT" || got.Issuer != idp || got.ID != "1" || got.Claims["iss"] != idp {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// Where the keys are, and what it means if they are not.
func TestKeys(t *testing.T) {
	old, fresh, other := newKey(t, "old"), newKey(t, "new"), newKey(t, "old")
	const discovery = idp + "/.well-known/openid-configuration"
	metadata := func(issuer, uri string) string {
		text, _ := json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": uri})
		return string(text)
	}
	discovered := trust.Issuer{Issuer: idp}
	atURI := trust.Issuer{Issuer: idp, JWKSURI: "https://keys"}
	both := map[string]string{"https://keys": set(t, old)}
	for name, test := range map[string]struct {
		issuer    trust.Issuer
		by        key
		documents documents
		why       string
		gets      int
		refreshes int
	}{
		"fixed":                       {issuer: trust.Issuer{Issuer: idp, JWKS: set(t, old)}, by: old},
		"fixed, another key":          {issuer: trust.Issuer{Issuer: idp, JWKS: set(t, old)}, by: fresh, why: "no such key"},
		"fixed, another's key":        {issuer: trust.Issuer{Issuer: idp, JWKS: set(t, old)}, by: other, why: "has made the"},
		"fixed, no keys":              {issuer: trust.Issuer{Issuer: idp, JWKS: `{"keys":[]}`}, by: old, why: "no key that can verify"},
		"fixed, the URI is not asked": {issuer: trust.Issuer{Issuer: idp, JWKS: set(t, old), JWKSURI: "https://keys"}, by: old},

		"at a URI":                          {issuer: atURI, by: old, documents: documents{old: both}, gets: 1},
		"at a URI, another's key":           {issuer: atURI, by: other, documents: documents{old: both}, gets: 1, why: "has made the"},
		"at a URI, a new key":               {issuer: atURI, by: fresh, documents: documents{old: both, fresh: map[string]string{"https://keys": set(t, old, fresh)}}, gets: 1, refreshes: 1},
		"at a URI, no such key":             {issuer: atURI, by: fresh, documents: documents{old: both, fresh: both}, gets: 1, refreshes: 1, why: "no such key"},
		"at a URI, the new cannot be got":   {issuer: atURI, by: fresh, documents: documents{old: both, freshFailed: fault{true}}, gets: 1, refreshes: 1, why: "unavailable"},
		"at a URI, the new is refused":      {issuer: atURI, by: fresh, documents: documents{old: both, freshFailed: fault{false}}, gets: 1, refreshes: 1, why: "fault"},
		"at a URI, not to be got":           {issuer: atURI, by: old, documents: documents{failed: fault{true}}, gets: 1, why: "unavailable"},
		"at a URI, refused":                 {issuer: atURI, by: old, documents: documents{failed: fault{false}}, gets: 1, why: "trust: fault"},
		"at a URI, an error without a word": {issuer: atURI, by: old, documents: documents{failed: context.DeadlineExceeded}, gets: 1, why: "unavailable"},
		"at a URI, no key set":              {issuer: atURI, by: old, documents: documents{old: map[string]string{"https://keys": `{}`}}, gets: 1, why: "no key that can verify"},

		"discovered":                          {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: metadata(idp, "https://keys"), "https://keys": set(t, old)}}, gets: 2},
		"discovered, a new key":               {issuer: discovered, by: fresh, documents: documents{old: map[string]string{discovery: metadata(idp, "https://keys"), "https://keys": set(t, old)}, fresh: map[string]string{"https://keys": set(t, fresh)}}, gets: 2, refreshes: 1},
		"discovered, another issuer's":        {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: metadata(idp+"/", "https://keys"), "https://keys": set(t, old)}}, gets: 1, why: "the metadata of"},
		"discovered, nobody's":                {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: `{"jwks_uri":"https://keys"}`, "https://keys": set(t, old)}}, gets: 1, why: "the metadata of"},
		"discovered, members of another case": {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: `{"Issuer":"` + idp + `","jwks_uri":"https://keys"}`, "https://keys": set(t, old)}}, gets: 1, why: "the metadata of"},
		"discovered, no jwks_uri":             {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: metadata(idp, "")}}, gets: 1, why: "names no jwks_uri"},
		"discovered, no metadata":             {issuer: discovered, by: old, documents: documents{old: map[string]string{discovery: `7`}}, gets: 1, why: "the metadata of"},
		"discovered, not to be got":           {issuer: discovered, by: old, documents: documents{failed: fault{true}}, gets: 1, why: "unavailable"},
		"discovered, refused":                 {issuer: discovered, by: old, documents: documents{failed: fault{false}}, gets: 1, why: "trust: fault"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &trust.Verifier{Issuers: issuers{idp: test.issuer}, Documents: &test.documents}
			_, err := v.Verify(t.Context(), test.by.sign(t, "", claims(nil)), expected(nil))
			if why := kind(err); (err == nil) != (test.why == "") || !strings.Contains(why, test.why) {
				t.Errorf("got %q, want %q", why, test.why)
			}
			if test.documents.gets != test.gets || test.documents.refreshes != test.refreshes {
				t.Errorf("%d gets and %d refreshes", test.documents.gets, test.documents.refreshes)
			}
		})
	}
}

// OpenID Connect Discovery 1.0 §4: "If the Issuer value contains a path component,
// any terminating / MUST be removed before appending /.well-known/openid-configuration."
func TestDiscoveryOfAnIssuerWithASlash(t *testing.T) {
	k := newKey(t, "k")
	d := &documents{old: map[string]string{
		"https://idp.example/.well-known/openid-configuration": `{"issuer":"https://idp.example/","jwks_uri":"https://keys"}`,
		"https://keys": set(t, k),
	}}
	v := &trust.Verifier{Issuers: issuers{"https://idp.example/": {Issuer: "https://idp.example/"}}, Documents: d}
	token := k.sign(t, "", claims(map[string]any{"iss": "https://idp.example/"}))
	if _, err := v.Verify(t.Context(), token, expected(func(e *trust.Expected) { e.Issuer = "https://idp.example/" })); err != nil {
		t.Error(err)
	}
}

func TestAlgorithms(t *testing.T) {
	k := newKey(t, "k")
	token := k.sign(t, "", claims(nil))
	for name, test := range map[string]struct {
		algorithms []string
		want       bool
	}{
		"all":                  {nil, true},
		"the one":              {[]string{"ES256"}, true},
		"another":              {[]string{"RS256"}, false},
		"none of a public key": {[]string{"HS256", "none"}, false},
	} {
		v := &trust.Verifier{Issuers: issuers{idp: {Issuer: idp, JWKS: set(t, k), Algorithms: test.algorithms}}}
		if _, err := v.Verify(t.Context(), token, expected(nil)); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A fixed key set with a secret makes nobody's MAC count.
	secret := []byte("0123456789abcdef0123456789abcdef")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(claims(nil))
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	v := &trust.Verifier{Issuers: issuers{idp: {Issuer: idp, JWKS: `{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`, Algorithms: []string{"HS256"}}}}
	if _, err := v.Verify(t.Context(), forged, expected(nil)); err == nil {
		t.Error("a MAC counts")
	}
}

func TestProve(t *testing.T) {
	k := newKey(t, "k")
	read, err := jwt.Read(k.sign(t, "", claims(nil)), jwt.AsymmetricAlgorithms())
	if err != nil {
		t.Fatal(err)
	}
	v := &trust.Verifier{Documents: &documents{old: map[string]string{"https://keys": set(t, k)}}}
	for range 2 {
		if err := v.Prove(t.Context(), read, trust.Source{JWKS: set(t, k)}); err != nil {
			t.Error(err)
		}
		if err := v.Prove(t.Context(), read, trust.Source{URI: "https://keys"}); err != nil {
			t.Error(err)
		}
	}
	if err := v.Prove(t.Context(), read, trust.Source{}); err == nil {
		t.Error("proven by nothing")
	}
	// What was read is remembered as long as the document is the same.
	v.Documents.(*documents).old["https://keys"] = set(t, newKey(t, "k"))
	if err := v.Prove(t.Context(), read, trust.Source{URI: "https://keys"}); err == nil {
		t.Error("proven by keys that are gone")
	}
}

func TestIssuerOf(t *testing.T) {
	k := newKey(t, "k")
	for token, want := range map[string]string{
		k.sign(t, "", claims(nil)):                        idp,
		k.sign(t, "", claims(map[string]any{"iss": nil})): "",
		k.sign(t, "", claims(map[string]any{"iss": 7})):   "",
		"": "", "a.b.c": "", "kmint_refresh.x": "",
	} {
		if got := trust.IssuerOf(token); got != want {
			t.Errorf("%.20s: %q", token, got)
		}
	}
}

func TestText(t *testing.T) {
	var token trust.Token
	if err := json.Unmarshal([]byte(`{"text":"a","empty":"","whole":12,"long":9007199254740993,"part":1.5,"yes":true,"nothing":null,"list":["a"],
		"kubernetes.io":{"namespace":"n","pod":{"name":"p"}},"https://sts.amazonaws.com/":{"aws_account":"1"},"a~b":{"":"e"},"/odd":"o"}`), &token.Claims); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"text": "a", "whole": "12", "yes": "true", "empty": "",
		"/text": "a", "/kubernetes.io/namespace": "n", "/kubernetes.io/pod/name": "p",
		"/https:~1~1sts.amazonaws.com~1/aws_account": "1", "/a~0b/": "e", "/~1odd": "o",
	} {
		if got, ok := token.Text(name); !ok || got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"", "/", "missing", "nothing", "list", "long", "part", "kubernetes.io", "/kubernetes.io", "/kubernetes.io/x", "/text/x",
		"/list/0", "/odd", "kubernetes.io/namespace", "/https://sts.amazonaws.com//aws_account", "TEXT",
	} {
		if got, ok := token.Text(name); ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}

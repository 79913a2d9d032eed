package lambda

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the checks of this package let through, they must be able to refuse.

func encode(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }

// published makes a key and what a JWK set says of it.
func published(t *testing.T) (*rsa.PrivateKey, keySet, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
	sum := sha256.Sum256([]byte(`{"e":"AQAB","kty":"RSA","n":"` + n + `"}`))
	kid := base64.RawURLEncoding.EncodeToString(sum[:])
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":%q,"n":%q,"e":"AQAB"}]}`, kid, n)
	keys, err := readKeySet(readTree(t, []byte(set)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readKeySet(readTree(t, []byte(strings.Replace(set, kid, "another", 1)))); err == nil {
		t.Error("a kid that is not the thumbprint is taken")
	}
	return key, keys, kid
}

func TestVerifyRefuses(t *testing.T) {
	key, keys, kid := published(t)
	sign := func(header, claims string) string {
		signed := encode(header) + "." + encode(claims)
		digest := sha256.Sum256([]byte(signed))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + encode(string(signature))
	}
	header := fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid)
	ofPSS := fmt.Sprintf(`{"alg":"PS256","kid":%q}`, kid)
	good := sign(header, `{"sub":"a"}`)
	if _, err := keys.verify(good); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"other claims":   encode(header) + "." + encode(`{"sub":"b"}`) + good[strings.LastIndex(good, "."):],
		"another key":    sign(`{"alg":"RS256","kid":"another"}`, `{"sub":"a"}`),
		"another alg":    sign(ofPSS, `{"sub":"a"}`),
		"no algorithm":   sign(fmt.Sprintf(`{"alg":"none","kid":%q}`, kid), `{"sub":"a"}`),
		"no signature":   good[:strings.LastIndex(good, ".")+1],
		"two parts":      good[:strings.LastIndex(good, ".")],
		"padded base64":  good + "==",
		"not claims":     sign(header, `"a"`),
		"not a JWS":      "a",
		"nothing at all": "",
	} {
		if _, err := keys.verify(token); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

func TestKindsRefuse(t *testing.T) {
	_, keys, kid := published(t)
	now := time.Now()
	code := "kmint_code." + strings.Repeat("a", 43)
	sum := sha256.Sum256([]byte(code))
	grant := base64.RawURLEncoding.EncodeToString(sum[:])
	at := func(d time.Duration) json.Number { return json.Number(fmt.Sprint(now.Add(d).Unix())) }
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
	s := sight{
		run: now.Add(-time.Minute), began: now.Add(-time.Second), ended: now.Add(time.Second), id: "1", keys: keys,
		known:     map[string]any{"code.web": code, "sid": strings.Repeat("s", 43), "jti.access_token": strings.Repeat("j", 43), "thumbprint.spa": strings.Repeat("t", 43)},
		presented: map[string]any{"sub": "somebody", "exp": at(time.Minute)},
		tree: readTree(t, []byte(`{"response": {"body": {"access_token": "a.b.c", "expires_in": 86400}},
			"tokens": {"access_token": {"claims": {"grant_id": "`+grant+`", "iat": 1000}}, "id_token": {"claims": {"iat": 1000}}}}`)).(map[string]any),
	}
	part := strings.Repeat("b", 43)
	for name, tt := range map[string]struct{ good, bad any }{
		"access_token.web":  {"a.b.c", "a.b.d"},
		"id_token.web":      {nil, "a.b.c"},
		"hint.web":          {nil, "a.b.c"},
		"code.spa":          {"kmint_code." + part, "kmint_code." + part + "b"},
		"code.again":        {nil, code},
		"session":           {"kmint_session.ZGVtby11c2Vy." + part, "kmint_session." + part},
		"refresh_token.web": {"kmint_refresh." + grant + "." + part + "." + part, "kmint_refresh." + part + "." + part + "." + part},
		"grant_id.web":      {grant, part},
		"grant_id.spa":      {nil, grant},
		"grant_id.person":   {part, "short"},
		"kid.rs256":         {kid, "another"},
		"kid.es256":         {nil, kid},
		"opaque_token.spa":  {"kmint_access." + part, "kmint_access." + part + "b"},
		"assertion.backend": {nil, "a.b.c"},
		"proof.spa":         {nil, "a.b.c"},
		"thumbprint.spa":    {strings.Repeat("t", 43), part},
		"nonce":             {strings.Repeat("n", 32), part},
		"told.sub":          {"somebody", "somebody else"},
		"expires_in":        {json.Number("60"), json.Number("90")},
		"sid":               {strings.Repeat("s", 43), part},
		"jti.id_token":      {part, strings.Repeat("j", 43)},
		"iat.access_token":  {at(0), at(-time.Minute)},
		"auth_time":         {at(-time.Second), at(time.Minute)},
		"exp.access_token":  {json.Number("87400"), json.Number("4600")},
		"exp.id_token":      {json.Number("4600"), json.Number("87400")},
		"login_time":        {at(-time.Second), at(time.Minute)},
		"time":              {stamp(0), stamp(-time.Minute)},
		"ms":                {json.Number("1.5"), json.Number("-1")},
		"request_id":        {"1", "2"},
		"seal":              {part, ""},
		"shown":             {part, ""},
		"etag":              {`"0123456789abcdef"`, `W/"0123456789abcdef"`},
		"whatever":          {nil, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s.kept = map[string]any{name: tt.good}
			if problems := checkKept(s); tt.good != nil && len(problems) > 0 {
				t.Errorf("refused: %v", problems)
			}
			s.kept = map[string]any{name: tt.bad}
			if len(checkKept(s)) == 0 {
				t.Errorf("%v was let through", tt.bad)
			}
		})
	}
}

// TestSecretsAreFound: those of an event, and in a line however they stand in it.
func TestSecretsAreFound(t *testing.T) {
	body := base64.StdEncoding.EncodeToString([]byte("code=the-code&password=two+words&scope=openid&client_assertion=the-assertion&token=the-token"))
	basic := base64.StdEncoding.EncodeToString([]byte("client:the-secret"))
	secrets := secretsOf(t, []byte(`{"headers": {"authorization": "Basic `+basic+`", "dpop": "the-proof"}, "cookies": ["name=the-cookie"],
		"rawQueryString": "state=the-state&client_id=c", "body": "`+body+`", "isBase64Encoded": true}`))
	for _, line := range []string{
		`{"a": "the-code"}`, `{"a": "x=two words"}`, `{"a": "x=two+words"}`, `{"a": "` + basic + `"}`,
		`{"a": "the-secret"}`, `{"a": "the-cookie"}`, `{"a": "state=the-state"}`,
		`{"a": "the-assertion"}`, `{"a": "the-proof"}`, `{"a": "the-token"}`,
	} {
		if leaks([]string{"{}", line}, secrets) == "" {
			t.Errorf("not found in %s", line)
		}
	}
	if line := leaks([]string{`{"client_id": "c", "scope": "openid", "name": "client"}`}, secrets); line != "" {
		t.Errorf("found in %s", line)
	}
}

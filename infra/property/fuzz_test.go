package property

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Where the token function serves something.
const (
	revokePath     = "/oauth/revoke"
	introspectPath = "/oauth/introspect"
)

// FuzzToken sends the token function arbitrary methods, paths, headers and bodies.
// Whatever comes, the fault is never ours, and nothing secret comes back. A header
// is a line, its name and value apart by a colon.
//
// Each request meets the same world, so that what a request does depends on nothing
// but itself.
func FuzzToken(f *testing.F) {
	base := fuzzWorld()
	for _, seed := range base.seeds() {
		method, path, headers, body := taken(seed)
		f.Add(method, path, headers, body)
	}
	f.Fuzz(func(t *testing.T, method, path, headers string, body []byte) {
		w := over(base.clone())
		w.restart()
		r := given(method, path, headers, body)
		a := w.ask(r)
		if a.status >= 500 {
			t.Fatalf("%d %s\n%s", a.status, a.raw, w.log.String())
		}
		if a.status >= 400 {
			if excess := refusal(a); excess != "" {
				t.Fatalf("%s: %d %s", excess, a.status, a.raw)
			}
		}
		if excess := wrong(a); a.ok() && isTokenPath(path) && excess != "" {
			t.Fatalf("%s: %d %s", excess, a.status, a.raw)
		}
		for _, secret := range secretsOf(r.Header, body) {
			// A token that does not rotate is handed out again.
			if strings.Contains(a.raw, secret) && !a.ok() {
				t.Fatalf("the answer to it holds the secret %q: %s", secret, a.raw)
			}
			if strings.Contains(w.log.String(), secret) {
				t.Fatalf("the log holds the secret %q: %s", secret, w.log.String())
			}
		}
	})
}

// TestSeeds: a seed that is refused where it means to be answered leads nowhere.
func TestSeeds(t *testing.T) {
	base := fuzzWorld()
	for _, r := range base.seeds() {
		w := over(base.clone())
		w.restart()
		method, path, headers, body := taken(r)
		if a := w.ask(given(method, path, headers, body)); a.status >= 300 {
			t.Errorf("%s %s: %d %s: %.400s", method, path, a.status, a.raw, body)
		}
	}
}

func isTokenPath(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return slices.Contains([]string{"/oauth/token", "/token", "/v1/token"}, path)
}

// refusal is wrong for the clients of Auth0's error profile too, whose statuses and
// codes are Auth0's.
func refusal(a answer) string {
	code := a.text("error")
	switch {
	case a.body == nil || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json"):
		return "the refusal is not JSON"
	case !slices.Contains(append([]string{"unsupported_token_type", "access_denied", "too_many_attempts"}, codes...), code):
		return "the error is " + code
	case a.text("access_token") != "":
		return "the refusal has a token"
	}
	return ""
}

// given makes a request as the gateway's adapter does.
func given(method, path, headers string, body []byte) *http.Request {
	path, query, _ := strings.Cut(path, "?")
	r := &http.Request{
		Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "auth.example.com", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	for line := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r.WithContext(context.Background())
}

// taken takes a request apart.
func taken(r *http.Request) (method, path, headers string, body []byte) {
	for name, list := range r.Header {
		for _, value := range list {
			headers += name + ": " + value + "\n"
		}
	}
	body, err := io.ReadAll(r.Body)
	must(err)
	return r.Method, r.URL.RequestURI(), headers, body
}

// secretParameters are those whose values are for nobody else.
var secretParameters = []string{
	"client_secret", "password", "code", "code_verifier", "refresh_token", "client_assertion", "subject_token", "actor_token", "token",
}

// secretsOf lists the secrets of a request that it says nowhere else: what it also
// says as an audience may be named in the answer.
func secretsOf(header http.Header, body []byte) []string {
	params, err := url.ParseQuery(string(body))
	if strings.HasPrefix(header.Get("Content-Type"), "application/json") {
		var members map[string]string
		err = json.Unmarshal(body, &members)
		params = url.Values{}
		for name, value := range members {
			params.Set(name, value)
		}
	}
	if err != nil {
		return nil
	}
	var all strings.Builder
	var secrets []string
	for name, list := range params {
		for _, value := range list {
			all.WriteString(name + "=" + value + "\n")
			if slices.Contains(secretParameters, name) && len(value) >= 16 {
				secrets = append(secrets, value)
			}
		}
	}
	for name, list := range header {
		for _, value := range list {
			all.WriteString(name + ": " + value + "\n")
			if credentials, ok := strings.CutPrefix(value, "Basic "); ok && name == "Authorization" && len(credentials) >= 16 {
				secrets = append(secrets, credentials)
			}
		}
	}
	return slices.DeleteFunc(secrets, func(s string) bool { return strings.Count(all.String(), s) > 1 })
}

// What the seeds present. The clock stands still, so nothing expires.
const (
	fuzzVerifier = "verifier-verifier-verifier-verifier-verifier"
	trusted      = "https://cluster.example.com/"
)

// The parts of the refresh tokens.
var (
	family   = oauth.Secret(base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	rotating = oauth.Secret(base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32)))
)

func fuzzCode(clientID string) string {
	return oauth.CodePrefix + string(oauth.DigestOf("code of "+clientID))
}

func fuzzRefreshToken(clientID string) string {
	return oauth.RefreshPrefix + string(oauth.DigestOf("refresh "+clientID)) + "." + family.Reveal() + "." + rotating.Reveal()
}

// fuzzWorld has a client for each method, each with a code and a refresh token.
func fuzzWorld() *world {
	w := newWorld()
	w.settings = store.Settings{
		DefaultAudience: apiName(0), LegacyPassword: true,
		TrustedIssuers: []store.TrustedIssuer{{
			Issuer: trusted, JWKS: provers[0].jwks(), Algorithms: []string{"ES256"}, Audience: issuer, SubjectPrefix: "cluster|",
		}},
	}
	for i, dialect := range []string{store.RFC9068, store.Auth0Dialect, store.Opaque} {
		w.apis[apiName(i)] = store.API{
			Identifier: apiName(i), Scopes: map[string]string{"read": "", "write": ""}, AllowOfflineAccess: true, TokenLifetime: 3600, Dialect: dialect,
			Algorithm:    "ES256", // quicker to make
			ClientPolicy: store.AllowAll,
		}
	}
	must(w.PutUser(context.Background(), store.User{Subject: "user", Username: "user@example.com", PasswordHash: cheapHash, Profile: map[string]any{"name": "A User"}}))
	for _, method := range []string{
		oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.None, oauth.ClientSecretJWT, oauth.PrivateKeyJWT, oauth.WorkloadIdentity,
	} {
		w.fuzzClient(store.Client{ID: method, AuthMethod: method})
	}
	w.fuzzClient(store.Client{ID: "auth0", AuthMethod: oauth.ClientSecretPost, ErrorProfile: store.Auth0})
	w.fuzzClient(store.Client{ID: "bound", AuthMethod: oauth.None, DPoPBound: true})
	return w
}

func (w *world) fuzzClient(c store.Client) {
	c.ApplicationType, c.IDTokenAlgorithm = oauth.Web, "ES256"
	c.GrantTypes = append([]string{oauth.PasswordRealm}, grantTypes...)
	c.UserAPIGrants = map[string][]string{apiName(0): {"read"}, apiName(1): {"read"}}
	c.Exchange = store.ExchangePolicy{Impersonation: true, Delegation: true, SubjectIssuers: []string{trusted}}
	c.ResourceServer = apiName(0)
	c.Refresh = store.RefreshPolicy{Lifetime: day, IdleLifetime: day}
	switch c.AuthMethod {
	case oauth.ClientSecretBasic, oauth.ClientSecretPost:
		c.SecretDigests = []oauth.Digest{oauth.DigestOf(secretOf(c.ID))}
	case oauth.ClientSecretJWT:
		sealed, err := signing.Seal(context.Background(), c.ID, oauth.Secret(secretOf(c.ID)))
		must(err)
		c.SealedSecrets, c.AssertionAlgorithms = []string{sealed}, []string{"HS256"}
	case oauth.PrivateKeyJWT:
		c.JWKS, c.AssertionAlgorithms = provers[0].jwks(), []string{"ES256"}
	case oauth.WorkloadIdentity:
		c.Workload = &store.Workload{Issuer: trusted, Audience: issuer, Subject: "system:*"}
	}
	w.clients[c.ID] = c
	challenge, err := oauth.ChallengeOf(fuzzVerifier)
	must(err)
	g := store.Grant{
		ID: string(oauth.DigestOf(fuzzCode(c.ID))), ClientID: c.ID, Subject: "user", RedirectURI: "https://client.example.com/back", RedirectSent: true,
		Challenge: challenge, Scope: []string{oauth.OpenID, oauth.OfflineAccess, "read"}, Requested: []string{oauth.OpenID, oauth.OfflineAccess, "read"},
		Audience: []string{apiName(0), apiName(1)}, AuthTime: began, Created: began, CodeExpires: began.Add(time.Minute),
		End: began.Add(24 * time.Hour), Kept: began.Add(48 * time.Hour),
	}
	must(w.PutGrant(context.Background(), g))
	g.ID, g.Spent = string(oauth.DigestOf("refresh "+c.ID)), began
	g.Family, g.Current, g.IdleExpires = family.Digest(), rotating.Digest(), g.End
	must(w.PutGrant(context.Background(), g))
}

// jwks is the key as a client publishes it.
func (p prover) jwks() string {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	must(err)
	return string(text)
}

// assertion is what a client proves itself by, "" where it is no JWT.
func (w *world) assertion(c store.Client) string {
	claims := map[string]any{
		"iss": c.ID, "sub": c.ID, "aud": issuer, "iat": w.now.Unix(), "exp": w.now.Add(time.Minute).Unix(), "jti": "assertion of " + c.ID,
	}
	switch c.AuthMethod {
	case oauth.PrivateKeyJWT:
		return provers[0].sign(map[string]any{"alg": "ES256", "kid": "one", "typ": "JWT"}, claims)
	case oauth.WorkloadIdentity:
		claims["iss"], claims["sub"] = trusted, "system:serviceaccount:default:demo"
		return provers[0].sign(map[string]any{"alg": "ES256", "kid": "one", "typ": "JWT"}, claims)
	case oauth.ClientSecretJWT:
		text, err := json.Marshal(claims)
		must(err)
		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
		mac := hmac.New(sha256.New, []byte(secretOf(c.ID)))
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	default:
		return ""
	}
}

// seeds are requests that are answered: of every grant, by every method, with and
// without a proof.
func (w *world) seeds() []*http.Request {
	foreign := provers[0].sign(map[string]any{"alg": "ES256", "kid": "one"}, map[string]any{
		"iss": trusted, "sub": "somebody", "aud": issuer, "iat": w.now.Unix(), "exp": w.now.Add(time.Minute).Unix(), "jti": "foreign",
	})
	var all []*http.Request
	for i, id := range []string{
		oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.None, oauth.ClientSecretJWT, oauth.PrivateKeyJWT, oauth.WorkloadIdentity, "auth0", "bound",
	} {
		c := w.clients[id]
		for _, params := range []url.Values{
			{"grant_type": {oauth.ClientCredentials}, "audience": {apiName(i % 3)}, "scope": {"read"}},
			{"grant_type": {oauth.AuthorizationCode}, "code": {fuzzCode(id)}, "redirect_uri": {"https://client.example.com/back"}, "code_verifier": {fuzzVerifier}, "resource": {apiName(i % 2)}},
			{"grant_type": {oauth.RefreshToken}, "refresh_token": {fuzzRefreshToken(id)}, "scope": {"openid read"}, "resource": {apiName(1)}},
			{"grant_type": {oauth.Password}, "username": {"user@example.com"}, "password": {password}, "scope": {"openid"}},
			{"grant_type": {oauth.PasswordRealm}, "realm": {"Username-Password-Authentication"}, "username": {"user@example.com"}, "password": {password}},
			{"grant_type": {oauth.TokenExchange}, "subject_token": {fuzzRefreshToken(id)}, "subject_token_type": {oauth.RefreshTokenType}, "resource": {apiName(0)}},
			{"grant_type": {oauth.TokenExchange}, "subject_token": {foreign}, "subject_token_type": {oauth.JWTType}, "audience": {apiName(0)}, "requested_token_type": {oauth.AccessTokenType}},
			{"path": {revokePath}, "token": {fuzzRefreshToken(id)}, "token_type_hint": {"refresh_token"}},
			{"path": {introspectPath}, "token": {fuzzRefreshToken(id)}},
		} {
			if !w.answers(c, params) {
				continue
			}
			all = append(all, w.seed(c, params, i))
		}
	}
	preflight := httptest.NewRequest(http.MethodOptions, tokenPath, nil)
	preflight.Header.Set("Origin", "https://app.example.com")
	preflight.Header.Set("Access-Control-Request-Method", "POST")
	return append(all, preflight)
}

// answers: what is not for public clients.
func (w *world) answers(c store.Client, params url.Values) bool {
	public := c.AuthMethod == oauth.None
	return !public || params.Get("grant_type") != oauth.ClientCredentials && params.Get("path") != introspectPath
}

func (w *world) seed(c store.Client, params url.Values, i int) *http.Request {
	if text := w.assertion(c); text != "" {
		params.Set("client_assertion_type", oauth.AssertionType)
		params.Set("client_assertion", text)
		params.Set("client_id", c.ID)
	}
	f := form{path: params.Get("path"), params: params, client: c, json: i%3 == 1}
	params.Del("path")
	r := f.request()
	if c.DPoPBound || i%4 == 3 {
		r.Header.Set("DPoP", provers[1].proof(r.Method, strings.TrimSuffix(issuer, "/")+r.URL.Path, w.now, ""))
	}
	return r
}

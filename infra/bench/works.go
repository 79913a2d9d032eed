package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"

	"kmint/infra/lambda"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

const (
	api      = "https://orders.example.com/"
	clientID = "web"
	secret   = "a-secret-that-is-long-enough-for-a-client"
	password = "correct horse battery staple"
	redirect = "https://web.example.com/callback"
	verifier = "verifier-verifier-verifier-verifier-verifier"

	cached = "client_credentials, client cached"
)

// A work is a kind of request.
type work struct {
	name, function string
	// bar is in ms, 0 for none.
	bar float64
	// next makes a request, and is told the members of the answer before.
	next func(ctx context.Context, last map[string]any) (request, error)
	// refused says why it cannot be measured, "" if it can.
	refused string
	// warm and events are how many warm a process and how many are measured, 0 for as
	// many as usual.
	warm, events int
	measured     []float64
}

// A request is what a client sends.
type request struct {
	method, path string
	header       map[string]string
	params       url.Values
}

// works lists what is measured, with the bars of those that have one.
func (b *bench) works() []*work {
	return []*work{
		{name: cached, function: "token", bar: 0.55, next: b.clientCredentials},
		{name: "client_credentials, GetItem", function: "token", bar: 0.75, next: b.otherClient},
		{name: "client_credentials, DPoP", function: "token", next: b.proven},
		{name: "authorization_code, 2 signatures", function: "token", bar: 1.3, next: b.code},
		{name: "refresh_token, 2 signatures", function: "token", bar: 1.3, next: b.refresh},
		{name: "token exchange", function: "token", next: b.exchange},
		{name: "password (argon2id and 2 signatures)", function: "token", next: b.password, warm: 5, events: 20},
		{name: "revoke", function: "token", next: b.revoke},
		{name: "introspect", function: "token", bar: 0.40, next: b.introspect},
		{name: "userinfo", function: "userinfo", bar: 0.40, next: b.userinfo},
		{name: "discovery", function: "discovery", bar: 0.18, next: get("/.well-known/openid-configuration")},
		{name: "JWKS", function: "discovery", bar: 0.18, next: get("/.well-known/jwks.json")},
	}
}

// configure writes what the requests need.
func (b *bench) configure(ctx context.Context) error {
	hash, err := store.HashPassword(password)
	if err != nil {
		return err
	}
	steps := []error{
		b.store.PutAPI(ctx, store.API{
			Identifier: api, Scopes: map[string]string{"read:orders": ""}, AllowOfflineAccess: true, TokenLifetime: 3600,
		}),
		b.store.PutSettings(ctx, store.Settings{DefaultAudience: api, LegacyPassword: true}),
		b.store.PutUser(ctx, store.User{
			Subject: "user", Username: "user@example.com", PasswordHash: hash, Profile: map[string]any{"name": "A User", "email": "user@example.com"},
		}),
		b.store.PutClient(ctx, client(clientID)),
	}
	for _, err := range steps {
		if err != nil {
			return err
		}
	}
	return nil
}

func client(id string) store.Client {
	return store.Client{
		ID: id, AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, SecretDigests: []oauth.Digest{oauth.DigestOf(secret)},
		GrantTypes: []string{
			oauth.ClientCredentials, oauth.AuthorizationCode, oauth.RefreshToken, oauth.Password, oauth.TokenExchange,
		},
		RedirectURIs: []string{redirect}, ResponseTypes: []string{"code"}, FirstParty: true,
		APIGrants: map[string][]string{api: {"read:orders"}}, UserAPIGrants: map[string][]string{api: {"read:orders"}},
		ResourceServer: api,
		Exchange:       store.ExchangePolicy{Impersonation: true},
		Refresh:        store.RefreshPolicy{Lifetime: 30 * 24 * 3600, IdleLifetime: 24 * 3600},
	}
}

func form(path, id string, params url.Values) request {
	return request{method: http.MethodPost, path: path, params: params, header: map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret)),
		"content-type":  "application/x-www-form-urlencoded",
	}}
}

func get(path string) func(context.Context, map[string]any) (request, error) {
	return func(context.Context, map[string]any) (request, error) {
		return request{method: http.MethodGet, path: path, header: map[string]string{}}, nil
	}
}

func (b *bench) clientCredentials(context.Context, map[string]any) (request, error) {
	return form("/oauth/token", clientID, url.Values{"grant_type": {oauth.ClientCredentials}}), nil
}

// otherClient is one that no process has asked for before.
func (b *bench) otherClient(ctx context.Context, _ map[string]any) (request, error) {
	b.count++
	id := "client-" + strconv.Itoa(b.count)
	return form("/oauth/token", id, url.Values{"grant_type": {oauth.ClientCredentials}}), b.store.PutClient(ctx, client(id))
}

// proven has a proof (RFC 9449 §4.2).
func (b *bench) proven(context.Context, map[string]any) (request, error) {
	b.count++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return request{}, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return request{}, err
	}
	claims, err := json.Marshal(map[string]any{
		"jti": "proof-" + strconv.Itoa(b.count), "htm": http.MethodPost, "htu": issuer + "oauth/token", "iat": time.Now().Unix(),
	})
	if err != nil {
		return request{}, err
	}
	proof, err := signer.Sign(claims)
	if err != nil {
		return request{}, err
	}
	r := form("/oauth/token", clientID, url.Values{"grant_type": {oauth.ClientCredentials}})
	r.header["dpop"], err = proof.CompactSerialize()
	return r, err
}

// grant is one of the person, with openid and offline_access.
func grant(id string) (store.Grant, error) {
	challenge, err := oauth.ChallengeOf(verifier)
	scope := oauth.Scope{oauth.OpenID, oauth.OfflineAccess, "read:orders"}
	now := time.Now()
	return store.Grant{
		ID: id, ClientID: clientID, Subject: "user", RedirectURI: redirect, RedirectSent: true, Challenge: challenge,
		Scope: scope, Requested: scope, Audience: []string{api}, AuthTime: now, Created: now, CodeExpires: now.Add(time.Minute),
		Claims: map[string]any{"name": "A User"}, End: now.Add(24 * time.Hour), Kept: now.Add(48 * time.Hour),
	}, err
}

// code is a fresh one each time.
func (b *bench) code(ctx context.Context, _ map[string]any) (request, error) {
	code := oauth.NewHandle(oauth.CodePrefix)
	g, err := grant(string(code.Digest()))
	if err == nil {
		err = b.store.PutGrant(ctx, g)
	}
	return form("/oauth/token", clientID, url.Values{
		"grant_type": {oauth.AuthorizationCode}, "code": {code.Reveal()}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}), err
}

// fresh is the first refresh token of a new grant.
func (b *bench) fresh(ctx context.Context) (string, error) {
	id, family, rotating := oauth.NewID(), oauth.NewHandle(""), oauth.NewHandle("")
	g, err := grant(id)
	if err != nil {
		return "", err
	}
	g.Spent, g.Family, g.Current, g.IdleExpires = g.Created, family.Digest(), rotating.Digest(), g.End
	return oauth.RefreshPrefix + strings.Join([]string{id, family.Reveal(), rotating.Reveal()}, "."), b.store.PutGrant(ctx, g)
}

// refresh goes on with the token of the answer before.
func (b *bench) refresh(ctx context.Context, last map[string]any) (request, error) {
	token, _ := last["refresh_token"].(string)
	var err error
	if token == "" {
		token, err = b.fresh(ctx)
	}
	return form("/oauth/token", clientID, url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {token}}), err
}

func (b *bench) password(context.Context, map[string]any) (request, error) {
	return form("/oauth/token", clientID, url.Values{
		"grant_type": {oauth.Password}, "username": {"user@example.com"}, "password": {password}, "scope": {"openid read:orders"},
	}), nil
}

func (b *bench) exchange(ctx context.Context, _ map[string]any) (request, error) {
	token, err := b.accessToken(ctx)
	return form("/oauth/token", clientID, url.Values{
		"grant_type": {oauth.TokenExchange}, "subject_token": {token}, "subject_token_type": {oauth.AccessTokenType},
	}), err
}

func (b *bench) revoke(ctx context.Context, _ map[string]any) (request, error) {
	token, err := b.fresh(ctx)
	return form("/oauth/revoke", clientID, url.Values{"token": {token}}), err
}

func (b *bench) introspect(ctx context.Context, _ map[string]any) (request, error) {
	token, err := b.accessToken(ctx)
	return form("/oauth/introspect", clientID, url.Values{"token": {token}}), err
}

func (b *bench) userinfo(ctx context.Context, _ map[string]any) (request, error) {
	token, err := b.accessToken(ctx)
	return request{method: http.MethodGet, path: "/userinfo", header: map[string]string{"authorization": "Bearer " + token}}, err
}

// accessToken is one of the person, for the API and userinfo, of the token function.
func (b *bench) accessToken(ctx context.Context) (string, error) {
	if b.access != "" {
		return b.access, nil
	}
	e, err := b.start(ctx, "token")
	if err != nil {
		return "", err
	}
	defer func() { _ = e.Close() }()
	r, err := b.code(ctx, nil)
	if err != nil {
		return "", err
	}
	answer, err := invoke(ctx, e, r)
	if err != nil {
		return "", err
	}
	b.access, _ = answer["access_token"].(string)
	return b.access, nil
}

// invoke sends a request as the gateway does, and returns the members of the answer,
// which has to be a good one.
func invoke(ctx context.Context, e *lambda.Environment, r request) (map[string]any, error) {
	body := r.params.Encode()
	headers := map[string]string{
		"accept": "*/*", "content-length": strconv.Itoa(len(body)), "host": "auth.example.com", "user-agent": "curl/8.14.1",
		"x-amzn-trace-id": "Root=1-69b30d3e-000000000000000000000001", "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443", "x-forwarded-proto": "https",
	}
	for name, value := range r.header {
		headers[name] = value
	}
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: r.method + " " + r.path, RawPath: r.path, Headers: headers,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			AccountID: "123456789012", APIID: "abcdef1234", DomainName: "auth.example.com", DomainPrefix: "auth", Stage: "$default",
			RequestID: "aBcDeF000001=", RouteKey: r.method + " " + r.path, Time: "12/Mar/2026:19:03:01 +0000", TimeEpoch: 1773342181000,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.method, Path: r.path, Protocol: "HTTP/1.1", SourceIP: "203.0.113.7", UserAgent: "curl/8.14.1"},
		},
	}
	if r.method == http.MethodPost {
		event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(body)), true
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	if payload, _, err = e.Invoke(ctx, payload); err != nil {
		return nil, err
	}
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(payload, &response); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d: %s", r.path, response.StatusCode, response.Body)
	}
	members := map[string]any{}
	if response.Body == "" {
		return members, nil
	}
	return members, json.Unmarshal([]byte(response.Body), &members)
}

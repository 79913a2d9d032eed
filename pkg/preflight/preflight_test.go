package preflight_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/preflight"
	"kmint/pkg/store"
)

const issuer = "https://auth.example.com/"

// A key is one of ours, and of KMS's if its reference is asked for.
type key struct {
	t       *testing.T
	private *ecdsa.PrivateKey
	key     jwt.Key
}

func newKey(t *testing.T) key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := jwt.Thumbprint(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key{t, private, jwt.Key{ID: kid, Algorithm: jwt.ES256, Reference: "arn:key", Public: private.Public()}}
}

var (
	_ preflight.Key = key{}
	_ jwt.Signer    = key{}
)

func (k key) PublicKey(_ context.Context, arn string) (crypto.PublicKey, error) {
	if arn != k.key.Reference {
		return nil, errors.New("there is no such key")
	}
	return k.key.Public, nil
}

func (k key) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) { return k.key, nil }

func (k key) Sign(_ context.Context, with jwt.Key, digest []byte) ([]byte, error) {
	if with.Reference != k.key.Reference {
		return nil, errors.New("there is no such key")
	}
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest)
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
}

// A server is the four functions, as far as they are asked.
type server struct {
	t            *testing.T
	client, keys key
	used         map[string]bool
	calls        int
	// broken is what is wrong with it.
	broken string
	// busy is how many calls it cannot answer yet.
	busy int
	// stored is what the store says of issuer and client, nil for what is right.
	noIssuer, noClient, otherClient, brokenStore bool
}

func (s *server) Issuer(context.Context) (string, error) {
	switch {
	case s.brokenStore:
		return "", errors.New("the table is gone")
	case s.noIssuer:
		return "", store.ErrNotFound
	}
	return issuer, nil
}

func (s *server) Client(_ context.Context, id string) (store.Client, error) {
	if s.noClient || id != preflight.ClientID {
		return store.Client{}, store.ErrNotFound
	}
	registered := s.client
	if s.otherClient {
		registered = newKey(s.t)
	}
	set, err := json.Marshal(jwt.Set{Keys: []jwt.Key{registered.key}})
	return store.Client{ID: id, JWKS: string(set)}, err
}

func (s *server) Call(ctx context.Context, version, method, address, form string) (int, string, error) {
	s.calls++
	if s.busy > 0 {
		s.busy--
		return 503, `{"error":"temporarily_unavailable"}`, nil
	}
	path, ok := strings.CutPrefix(address, "https://auth.example.com")
	if !ok {
		return 0, "", fmt.Errorf("%s is somebody else's", address)
	}
	answer := func(v any) (int, string, error) {
		text, err := json.Marshal(v)
		return 200, string(text), err
	}
	switch version + " " + method + " " + path {
	case "d GET /.well-known/openid-configuration":
		found := map[string]string{
			"issuer": issuer, "token_endpoint": issuer + "my/token", "jwks_uri": issuer + ".well-known/jwks.json",
			"authorization_endpoint": issuer + "authorize", "userinfo_endpoint": issuer + "userinfo",
		}
		if s.broken == "another issuer" {
			found["issuer"] = "https://auth.example.com"
		}
		if s.broken == "no token endpoint" {
			delete(found, "token_endpoint")
		}
		return answer(found)
	case "d GET /.well-known/jwks.json":
		if s.broken == "other keys" {
			return answer(jwt.Set{Keys: []jwt.Key{newKey(s.t).key}})
		}
		return answer(jwt.Set{Keys: []jwt.Key{s.keys.key}})
	case "t POST /my/token":
		return s.token(ctx, form)
	case "u GET /userinfo":
		if s.broken == "userinfo for all" {
			return 200, `{"sub":"x"}`, nil
		}
		return 401, "", nil
	case "a GET /authorize":
		if s.broken == "no page" {
			return 500, "", nil
		}
		return 400, "<p>client_id</p>", nil
	default:
		return 404, "", nil
	}
}

func (s *server) token(ctx context.Context, form string) (int, string, error) {
	refuse := func() (int, string, error) { return 401, `{"error":"invalid_client","error_description":"no"}`, nil }
	values, err := url.ParseQuery(form)
	if err != nil {
		return 0, "", err
	}
	if values.Get("client_assertion_type") != oauth.AssertionType || values.Get("grant_type") != "client_credentials" {
		return 400, `{"error":"invalid_request"}`, nil
	}
	jws, unreadable := jose.ParseSignedCompact(values.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if unreadable != nil {
		return refuse()
	}
	payload := jws.UnsafePayloadWithoutVerification()
	if _, err := jws.Verify(s.client.key.Public); err != nil && s.broken != "any assertion" {
		return refuse()
	}
	var claims struct {
		Issuer, ID string
		Audience   string `json:"aud"`
		JTI        string `json:"jti"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Audience != issuer {
		return refuse()
	}
	if s.used[claims.JTI] && s.broken != "an assertion twice" && s.broken != "any assertion" {
		return refuse()
	}
	s.used[claims.JTI] = true
	audience, client := values.Get("audience"), preflight.ClientID
	if s.broken == "another audience" {
		audience = "https://orders.example.com/"
	}
	if s.broken == "another client" {
		client = "demo-service"
	}
	now := time.Now().Unix()
	token, err := jwt.Sign(ctx, s.keys, jwt.Choice{}, jwt.TypAccessToken, map[string]any{"iss": issuer, "aud": audience, "client_id": client, "iat": now, "exp": now + 60})
	if err != nil {
		return 0, "", err
	}
	if s.broken == "no token" {
		token = ""
	}
	text, err := json.Marshal(map[string]string{"access_token": token, "token_type": "Bearer"})
	return 200, string(text), err
}

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*server)
		// want is in the error, "" for none; nothing says that there is nothing to try,
		// and calls is how many there were.
		want    string
		nothing bool
		calls   int
	}{
		"all well":                      {func(*server) {}, "", false, 7},
		"all well, in the end":          {func(s *server) { s.busy = 2 }, "", false, 9},
		"no issuer":                     {func(s *server) { s.noIssuer = true }, "there is no issuer record", true, 0},
		"no client":                     {func(s *server) { s.noClient = true }, "kmint-preflight is not registered", true, 0},
		"another key":                   {func(s *server) { s.otherClient = true }, "another key is registered", true, 0},
		"no table":                      {func(s *server) { s.brokenStore = true }, "the table is gone", false, 0},
		"busy":                          {func(s *server) { s.busy = 3 }, "answers 503 (temporarily_unavailable", false, 3},
		"another issuer":                {nil, "is that of \"https://auth.example.com\"", false, 3},
		"no token endpoint":             {nil, "is somebody else's", false, 9},
		"other keys":                    {nil, "does not verify against the published keys", false, 9},
		"no token":                      {nil, "answers with no access_token", false, 9},
		"another audience":              {nil, "does not verify", false, 9},
		"another client":                {nil, "the token is one for \"demo-service\"", false, 9},
		"any assertion":                 {nil, "an assertion that was changed is not refused", false, 12},
		"an assertion twice":            {nil, "an assertion that was used is not refused", false, 15},
		"userinfo for all":              {nil, "userinfo without a token is not refused", false, 18},
		"no page":                       {nil, "an authorization request of nobody is not refused", false, 21},
		"a key that there is not (ARN)": {func(s *server) { s.client.key.Reference = "arn:other" }, "there is no such key", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{t: t, client: newKey(t), keys: newKey(t), used: map[string]bool{}}
			if tt.change != nil {
				tt.change(s)
			} else {
				s.broken = name
			}
			check := preflight.Check{
				Issuers: s, Registration: s, Versions: s, Key: s.client, KeyARN: "arn:key",
				TokenVersion: "t", AuthorizeVersion: "a", UserinfoVersion: "u", DiscoveryVersion: "d", Now: time.Now,
			}
			err := check.Run(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if errors.Is(err, preflight.ErrNothingToTry) != tt.nothing {
				t.Errorf("%v: nothing to try?", err)
			}
			if s.calls != tt.calls {
				t.Errorf("%d calls, want %d", s.calls, tt.calls)
			}
			if err != nil && (strings.Contains(err.Error(), "eyJ") || strings.Contains(err.Error(), "%!")) {
				t.Errorf("the error holds a token, or half a sentence: %v", err)
			}
		})
	}
}

// An issuer of the environment is taken as it is.
func TestNamedIssuer(t *testing.T) {
	s := &server{t: t, client: newKey(t), keys: newKey(t), used: map[string]bool{}, brokenStore: true}
	check := preflight.Check{
		Issuer: issuer, Issuers: s, Registration: s, Versions: s, Key: s.client, KeyARN: "arn:key",
		TokenVersion: "t", AuthorizeVersion: "a", UserinfoVersion: "u", DiscoveryVersion: "d", Now: time.Now,
	}
	if err := check.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who waits for it no longer is not kept waiting.
func TestNoTimeLeft(t *testing.T) {
	s := &server{t: t, client: newKey(t), keys: newKey(t), used: map[string]bool{}, busy: 1}
	check := preflight.Check{
		Issuers: s, Registration: s, Versions: s, Key: s.client, KeyARN: "arn:key", DiscoveryVersion: "d",
		Pause: time.Hour, Now: time.Now,
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := check.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "answers 503") {
		t.Error(err)
	}
}

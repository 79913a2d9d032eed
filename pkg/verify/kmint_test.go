package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/bolt"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/server"
	"kmint/pkg/verify"
)

const audience = "https://orders.example.com/"

// issuer is kmint itself, with the example seed; token is an access token of its
// for read:orders.
var (
	issuer string
	token  string
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kmint")
	if err != nil {
		panic(err)
	}
	kmint := httptest.NewUnstartedServer(nil)
	issuer = "http://" + kmint.Listener.Addr().String() + "/"
	if kmint.Config.Handler, err = build(dir); err != nil {
		panic(err)
	}
	kmint.Start()
	if token, err = mint(); err != nil {
		panic(err)
	}
	code := m.Run()
	kmint.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build makes kmint over one local store.
func build(dir string) (http.Handler, error) {
	ctx := context.Background()
	db, err := bolt.Open(filepath.Join(dir, "kmint.db"))
	if err != nil {
		return nil, err
	}
	local, err := localkey.Open(dir)
	if err != nil {
		return nil, err
	}
	public, err := local.PublicKey(ctx, localkey.Reference)
	if err != nil {
		return nil, err
	}
	key, err := keys.New(jwt.RS256, public, localkey.Reference)
	if err != nil {
		return nil, err
	}
	if _, err := keys.First(ctx, db, key, time.Now()); err != nil {
		return nil, err
	}
	file, err := os.Open("../../infra/examples/seed.json")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	example, err := seed.Read(file)
	if err != nil {
		return nil, err
	}
	if _, err := example.Write(ctx, seed.Writers{Issuer: issuer, Config: db, Clients: db, APIs: db, Settings: db, Users: db, Logins: db, People: db}); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	mux.Handle("/oauth/token", server.Token{
		Issuer: issuer, TokenPath: "/oauth/token",
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: local, Vault: local, PrivateKey: local, Now: time.Now, Log: log,
	}.Handler())
	mux.Handle("/.well-known/", server.Discovery{
		Issuer: issuer, TokenPath: "/oauth/token", Issuers: db, Registry: db, Now: time.Now, Log: log,
	}.Handler())
	return mux, nil
}

func mint() (string, error) {
	request, err := http.NewRequest(http.MethodPost, issuer+"oauth/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("demo-service", "demo-service-secret-used-in-examples-only")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var body oauth.TokenResponse
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return "", err
	}
	if body.AccessToken == "" {
		return "", errors.New(answer.Status)
	}
	return body.AccessToken, nil
}

// now is the time in the tests of forged tokens.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// keyPair makes a test's keys; RSA keys take their time, so there is one.
var keyPair = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// short is a key that RFC 7518 §3.3 does not allow.
var short = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return key
})

var curve = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// A forge is an issuer whose documents and tokens say what a test wants.
type forge struct {
	*httptest.Server
	issuer string

	mu       sync.Mutex
	metadata map[string]any
	set      any
	status   int // of both documents; 0 means 200
	fetches  int // of the keys
	hold     chan struct{}
}

func newForge(t testing.TB) *forge {
	f := &forge{}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	f.issuer = f.URL + "/"
	f.metadata = map[string]any{"issuer": f.issuer, "jwks_uri": f.URL + "/jwks"}
	f.publish(jose.JSONWebKey{Key: &keyPair().PublicKey, KeyID: "rsa", Algorithm: "RS256", Use: "sig"})
	return f
}

func (f *forge) publish(keys ...jose.JSONWebKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = jose.JSONWebKeySet{Keys: keys}
}

func (f *forge) answer(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

func (f *forge) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetches
}

func (f *forge) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hold, status := f.hold, f.status
	var document any
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		document = f.metadata
	case "/jwks":
		f.fetches++
		document = f.set
	default:
		status = http.StatusNotFound
	}
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	if text, ok := document.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	_ = json.NewEncoder(w).Encode(document)
}

func (f *forge) verifier() *verify.Verifier {
	return &verify.Verifier{Issuer: f.issuer, Audience: audience, Now: func() time.Time { return now }}
}

// with changes members; nil leaves one out.
func with(base, change map[string]any) map[string]any {
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

func (f *forge) header(change map[string]any) map[string]any {
	return with(map[string]any{"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}, change)
}

func (f *forge) claims(change map[string]any) map[string]any {
	return with(map[string]any{
		"iss": f.issuer, "sub": "somebody", "aud": audience, "client_id": "app", "jti": "1", "scope": "read:orders openid",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}, change)
}

func segment(v any) string {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// signature is that of RS256.
func signature(input string, key *rsa.PrivateKey) string {
	digest := sha256.Sum256([]byte(input))
	made, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(made)
}

// sign makes a token of a header and claims, each a map or JSON, signed as alg
// says.
func sign(header, claims any, alg string) string {
	input := segment(header) + "." + segment(claims)
	digest := sha256.Sum256([]byte(input))
	var made []byte
	var err error
	switch alg {
	case "RS256":
		return input + "." + signature(input, keyPair())
	case "PS256":
		made, err = rsa.SignPSS(rand.Reader, keyPair(), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256":
		r, s, failed := ecdsa.Sign(rand.Reader, curve(), digest[:])
		if err = failed; err == nil {
			made = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "HS256": // keyed with what everybody can read
		der, failed := x509.MarshalPKIXPublicKey(&keyPair().PublicKey)
		err = failed
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		_, _ = mac.Write([]byte(input))
		made = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(made)
}

func (f *forge) token(header, claims map[string]any) string {
	return sign(f.header(header), f.claims(claims), "RS256")
}

func code(err error) oauth.Code {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

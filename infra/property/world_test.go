package property

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/oauth"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

const (
	issuer    = "https://auth.example.com/"
	tokenPath = "/oauth/token"
	tokenURL  = "https://auth.example.com/oauth/token"
)

// began is when every world begins.
var began = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// What takes its time to make, and is the same in all worlds.
var (
	signing *localkey.Keys
	// provers are the keys of clients' proofs.
	provers []prover
	// cheapHash is one of password, whose parameters are none to use: the tests ask
	// for many.
	cheapHash string
)

const password = "correct horse battery"

func TestMain(m *testing.M) {
	flag.Parse()
	// What shows a failure again is in the log: rapid's seed.
	must(flag.Set("rapid.nofailfile", "true"))
	// More than rapid's hundred, unless told how many.
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "rapid.checks" })
	if !told {
		must(flag.Set("rapid.checks", "500"))
	}
	dir, err := os.MkdirTemp("", "kmint-property")
	must(err)
	signing, err = localkey.Open(dir)
	must(err)
	must(os.RemoveAll(dir))
	for range 2 {
		provers = append(provers, newProver())
	}
	cheapHash, err = argon2id.CreateHash(password, &argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	must(err)
	os.Exit(m.Run())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A world is a token function with everything it lives on.
type world struct {
	*memory
	// Those that a planted defect may stand before.
	grants store.Grants
	lookup store.APIs
	once   store.Uses
	ends   store.RevokedTokens
	kept   store.GrantReader
	asks   func(*http.Request)

	now     time.Time
	log     bytes.Buffer
	handler http.Handler
}

// over is the world over a store.
func over(m *memory) *world {
	return &world{memory: m, grants: m, lookup: m, once: m, ends: m, kept: m, asks: func(*http.Request) {}, now: began}
}

// newWorld makes one without clients.
func newWorld() *world {
	w := over(newMemory())
	for _, algorithm := range signing.Algorithms() {
		reference := localkey.ReferenceOf(algorithm)
		public, err := signing.PublicKey(context.Background(), reference)
		must(err)
		key, err := keys.New(algorithm, public, reference)
		must(err)
		_, err = keys.First(context.Background(), w.memory, key, began)
		must(err)
	}
	w.restart()
	return w
}

// restart starts the function anew, so that it sees the configuration as it is.
func (w *world) restart() { w.handler = w.function() }

// function is the one place that knows what the token function is made of.
func (w *world) function() http.Handler {
	return server.Token{
		Issuer: issuer, TokenPath: tokenPath,
		Clients: w.memory, APIs: w.lookup, Settings: w.memory, Issuers: w.memory, Registry: w.memory,
		Users: w.memory, Logins: w.memory, Attempts: w.memory, Sessions: w.memory,
		Codes: w.memory, Grants: w.grants, Kept: w.kept, Uses: w.once,
		Revocations: w.memory, Revoked: w.ends, Opaque: w.memory, Documents: w.memory,
		MAC: signing, Vault: signing, PrivateKey: signing,
		Now: func() time.Time { return w.now }, Log: slog.New(slog.NewJSONHandler(&w.log, nil)),
	}.Handler()
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) ok() bool { return a.status == http.StatusOK }

func (a answer) text(member string) string {
	s, _ := a.body[member].(string)
	return s
}

// ask sends one request.
func (w *world) ask(r *http.Request) answer {
	recorder := httptest.NewRecorder()
	w.log.Reset()
	w.asks(r)
	w.handler.ServeHTTP(recorder, r)
	a := answer{status: recorder.Code, header: recorder.Header(), raw: recorder.Body.String()}
	_ = json.Unmarshal([]byte(a.raw), &a.body) // whether it is JSON is for the caller to find
	return a
}

// A form is a token request.
type form struct {
	path   string // tokenPath unless set
	params url.Values
	// client proves itself by its own method.
	client store.Client
	// prover is the key of the proof, nil for none.
	prover *prover
	// nonce is that of the proof.
	nonce string
	json  bool
}

func (f form) request() *http.Request {
	params := url.Values{}
	for name, values := range f.params {
		params[name] = values
	}
	secret := secretOf(f.client.ID)
	switch f.client.AuthMethod {
	case oauth.ClientSecretPost:
		params.Set("client_id", f.client.ID)
		params.Set("client_secret", secret)
	case oauth.None:
		params.Set("client_id", f.client.ID)
	}
	path := f.path
	if path == "" {
		path = tokenPath
	}
	body, media := params.Encode(), "application/x-www-form-urlencoded"
	if f.json {
		members := map[string]any{}
		for name, values := range params {
			if members[name] = values; len(values) == 1 {
				members[name] = values[0]
			}
		}
		text, err := json.Marshal(members)
		must(err)
		body, media = string(text), "application/json"
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	if f.client.AuthMethod == oauth.ClientSecretBasic {
		r.SetBasicAuth(url.QueryEscape(f.client.ID), url.QueryEscape(secret))
	}
	return r
}

// post sends a form, with a proof if it has a prover. Where the server asks for a
// nonce it is sent once more with one, as RFC 9449 §8 has clients do.
func (w *world) post(f form) answer {
	send := func(nonce string) answer {
		r := f.request()
		if f.prover != nil {
			r.Header.Set("DPoP", f.prover.proof(r.Method, strings.TrimSuffix(issuer, "/")+r.URL.Path, w.now, nonce))
		}
		return w.ask(r)
	}
	a := send(f.nonce)
	if a.text("error") == "use_dpop_nonce" && f.nonce == "" {
		a = send(a.header.Get("DPoP-Nonce"))
	}
	return a
}

// secretOf is the client's secret.
func secretOf(clientID string) string { return "secret-of-" + clientID + "-that-is-long-enough" }

// A prover makes proofs (RFC 9449 §4.2). It is written out, so that what reads
// them is not tested against itself.
type prover struct {
	key        *ecdsa.PrivateKey
	thumbprint string
}

func newProver() prover {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	must(err)
	return prover{key, base64.RawURLEncoding.EncodeToString(sum)}
}

var proofs atomic.Int64

func (p prover) proof(method, address string, now time.Time, nonce string) string {
	claims := map[string]any{
		"jti": fmt.Sprintf("proof-%d", proofs.Add(1)), "htm": method, "htu": address, "iat": now.Unix(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return p.sign(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": jose.JSONWebKey{Key: p.key.Public()}}, claims)
}

func (p prover) sign(header, claims map[string]any) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		must(err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	must(err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// claims reads one of our tokens: a JWT whose signature counts, or one that says
// nothing and is kept. It returns the typ too, "" for the latter.
func (w *world) claims(token string) (claims map[string]any, typ string, err error) {
	if kept, err := w.Token(context.Background(), oauth.DigestOf(token), w.now); err == nil {
		return claims, "", json.Unmarshal([]byte(kept.Claims), &claims)
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return nil, "", err
	}
	header := parsed.Signatures[0].Protected
	i := slices.IndexFunc(w.registry.Keys, func(k store.SigningKey) bool { return k.ID == header.KeyID && k.Algorithm == header.Algorithm })
	if i < 0 {
		return nil, "", fmt.Errorf("no key %s for %s", header.KeyID, header.Algorithm)
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal([]byte(w.registry.Keys[i].JWK), &key); err != nil {
		return nil, "", err
	}
	payload, err := parsed.Verify(key)
	if err != nil {
		return nil, "", err
	}
	typ, _ = header.ExtraHeaders["typ"].(string)
	return claims, typ, json.Unmarshal(payload, &claims)
}

// convert reads claims as another type.
func convert[T any](claims map[string]any) (v T) {
	text, err := json.Marshal(claims)
	must(err)
	must(json.Unmarshal(text, &v))
	return v
}

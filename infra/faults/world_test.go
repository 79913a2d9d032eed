package faults

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-jose/go-jose/v4"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/oauth"
	"kmint/pkg/server"
	"kmint/pkg/sqs"
	"kmint/pkg/store"
)

const (
	issuer   = "https://auth.example.com/"
	orders   = "https://orders.example.com/"
	reports  = "https://reports.example.com/"
	callback = "https://app.example.com/cb"
	password = "correct horse battery"
	// functionTimeout is the Timeout of the functions in template.yaml, in which all has to be
	// done.
	functionTimeout = 10 * time.Second
	// bounded is what an answer may take.
	bounded = 9800 * time.Millisecond
)

// A rig is what stands behind the functions of all cells.
type rig struct {
	db      *ddb.Local
	tables  ddb.Tables
	kms     *kmstest.Server
	backs   backends
	mac     string
	secrets string
	queue   queue
	party   party
	store   *dynamo.Store // not behind a wire
	ring    *keys.Ring
	hash    string // of password
	client  *ecdsa.PrivateKey
	prover  *ecdsa.PrivateKey
	anyone  store.User // whom a scenario may share
	clean   *process
}

func newRig(t *testing.T) *rig {
	t.Helper()
	prefix := "faults-" + strings.ToLower(rand.Text()[:8])
	r := &rig{
		db: ddb.ForTest(t), kms: kmstest.New(),
		tables: ddb.Tables{Config: prefix + "-config", Users: prefix + "-users", Grants: prefix + "-grants"},
	}
	for handler, service := range map[http.Handler]string{r.kms: "TrentService", &r.queue: "AmazonSQS"} {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		if r.backs == nil {
			r.backs = backends{"DynamoDB_20120810": r.db.URL}
		}
		r.backs[service] = s.URL
	}
	s := httptest.NewServer(&r.party)
	t.Cleanup(s.Close)
	r.party.url = s.URL
	var err error
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(ddb.CreateTables(t.Context(), r.db.Client(), r.tables))
	r.hash, err = argon2id.CreateHash(password, &argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	check(err)
	for key, to := range map[string]*string{kmstest.HMAC256: &r.mac, kmstest.Symmetric: &r.secrets} {
		*to, err = r.kms.Create(key)
		check(err)
	}
	signing, err := r.kms.Create(kmstest.P256) // RSA would sign for most of the time that all this takes
	check(err)
	r.client, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	r.prover, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	r.store = r.table(r.config("DynamoDB_20120810"))
	r.store.Timeout = time.Minute
	key := kms.NewClient(r.config("TrentService"))
	public, err := kms.Signer{Client: key}.PublicKey(t.Context(), signing)
	check(err)
	registered, err := keys.New(jwt.ES256, public, signing)
	check(err)
	_, err = keys.First(t.Context(), r.store, registered, time.Now())
	check(err)
	check(r.store.PutIssuer(t.Context(), issuer))
	r.seed(t, kms.Vault{Client: key, Key: r.secrets})
	r.anyone, err = r.person()
	check(err)
	r.ring = &keys.Ring{Registry: store.NewCache(r.store, r.store, r.store, r.store, r.store, time.Now)}
	r.clean = r.start(nil)
	return r
}

func (r *rig) config(service string) aws.Config {
	config, address := r.db.Config(), r.backs[service]
	config.BaseEndpoint = &address
	return config
}

func (r *rig) table(config aws.Config) *dynamo.Store {
	return &dynamo.Store{DB: dynamo.NewClient(config), ConfigTable: r.tables.Config, UsersTable: r.tables.Users, GrantsTable: r.tables.Grants}
}

// Clients. What their names say is what they are for.
const (
	secret = "a-secret-of-a-client-that-is-long-enough"
)

func (r *rig) seed(t *testing.T, vault kms.Vault) {
	t.Helper()
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: r.client.Public(), KeyID: "client", Algorithm: "ES256"}}})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := vault.Seal(t.Context(), "batch", secret)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string][]string{orders: {"read:orders"}, reports: {"read:reports"}}
	code := []string{oauth.AuthorizationCode, oauth.RefreshToken}
	refresh := store.RefreshPolicy{Lifetime: 3600, IdleLifetime: 3600}
	leeway, static := refresh, refresh
	leeway.Leeway, static.NonRotating = 60, true
	clients := []store.Client{
		{ID: "service", GrantTypes: []string{oauth.ClientCredentials}, APIGrants: own},
		{ID: "service-jwt", AuthMethod: oauth.PrivateKeyJWT, GrantTypes: []string{oauth.ClientCredentials}, APIGrants: own},
		{ID: "batch", AuthMethod: oauth.ClientSecretJWT, SealedSecrets: []string{sealed}, AssertionAlgorithms: []string{"HS256"}, GrantTypes: []string{oauth.ClientCredentials}, APIGrants: own},
		{ID: "service-dpop", DPoPBound: true, GrantTypes: []string{oauth.ClientCredentials}, APIGrants: own},
		{ID: "service-both", AuthMethod: oauth.PrivateKeyJWT, DPoPBound: true, DPoPNonce: true, GrantTypes: []string{oauth.ClientCredentials}, APIGrants: own},
		{ID: "web", Refresh: refresh, BackchannelLogoutURI: r.party.url + "/web"},
		{ID: "web-two", Refresh: refresh, BackchannelLogoutURI: r.party.url + "/two"},
		{ID: "web-leeway", Refresh: leeway},
		{ID: "web-jwt", AuthMethod: oauth.PrivateKeyJWT, Refresh: refresh},
		{ID: "web-both", AuthMethod: oauth.PrivateKeyJWT, DPoPBound: true, Refresh: refresh},
		{ID: "web-static", DPoPBound: true, Refresh: static},
		{ID: "spa", AuthMethod: oauth.None, DPoPBound: true, DPoPNonce: true, Refresh: refresh},
		{ID: "spa-leeway", AuthMethod: oauth.None, DPoPBound: true, Refresh: leeway},
		{ID: "hybrid", Refresh: refresh, GrantTypes: append([]string{oauth.Implicit}, code...), ResponseTypes: []string{"code", "code id_token token", "id_token token"}},
		{ID: "partner", Refresh: refresh},
		{ID: "legacy", GrantTypes: []string{oauth.Password, oauth.RefreshToken}, Refresh: refresh},
		{ID: "api", GrantTypes: []string{oauth.TokenExchange, oauth.RefreshToken}, ResourceServer: orders, Exchange: store.ExchangePolicy{Impersonation: true}, Refresh: refresh},
		{ID: "api-jwt", AuthMethod: oauth.PrivateKeyJWT, GrantTypes: []string{oauth.ClientCredentials}, ResourceServer: orders},
	}
	for _, c := range clients {
		c.ApplicationType, c.FirstParty, c.RedirectURIs, c.IDTokenAlgorithm = oauth.Web, c.ID != "partner", []string{callback}, jwt.ES256
		if c.GrantTypes == nil {
			c.GrantTypes = code
		}
		switch c.AuthMethod {
		case "":
			c.AuthMethod, c.SecretDigests = oauth.ClientSecretBasic, []oauth.Digest{oauth.DigestOf(secret)}
		case oauth.PrivateKeyJWT:
			c.JWKS, c.AssertionAlgorithms = string(jwks), []string{"ES256"}
		}
		if err := r.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		r.store.PutAPI(t.Context(), store.API{Identifier: orders, Scopes: map[string]string{"read:orders": "Read orders"}, AllowOfflineAccess: true, TokenLifetime: 600, Algorithm: jwt.ES256}),
		r.store.PutAPI(t.Context(), store.API{Identifier: reports, Scopes: map[string]string{"read:reports": "Read reports"}, AllowOfflineAccess: true, TokenLifetime: 600, Dialect: store.Opaque}),
		r.store.PutSettings(t.Context(), store.Settings{LegacyPassword: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A queue keeps the messages that it is sent.
type queue struct {
	mu       sync.Mutex
	messages []string
}

func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var batch struct {
		Entries []struct{ ID, MessageBody string }
	}
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(raw, &batch)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var done []string
	for _, e := range batch.Entries {
		q.messages = append(q.messages, e.MessageBody)
		done = append(done, fmt.Sprintf(`{"Id":%q,"MessageId":"m"}`, e.ID))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = fmt.Fprintf(w, `{"Successful":[%s],"Failed":[]}`, strings.Join(done, ","))
}

// told counts the messages that hold both texts.
func (q *queue) told(one, other string) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if strings.Contains(m, one) && strings.Contains(m, other) {
			n++
		}
	}
	return n
}

// A party is a client that is told of the end of sessions.
type party struct {
	url    string
	mu     sync.Mutex
	tokens []string
}

func (p *party) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens = append(p.tokens, r.PostFormValue("logout_token"))
}

// A plant spoils a function: it is the defect that the matrix is to find.
type plant func(*server.Token, *server.Authorize)

// A process is one of every function, with caches that are cold.
type process struct {
	handlers map[string]http.Handler
	mu       sync.Mutex
	log      bytes.Buffer
}

// start starts a process whose calls go through the wire; nil for none, and for a process
// that waits as long as this machine needs.
func (r *rig) start(w *wire, plants ...plant) *process {
	config := func(service string) aws.Config {
		config := r.config(service)
		if w == nil {
			config.HTTPClient = forwarder
		} else {
			config.BaseEndpoint = &w.url
		}
		return config
	}
	p := &process{}
	db, key := r.table(config("DynamoDB_20120810")), kms.NewClient(config("TrentService"))
	if w == nil {
		db.Timeout = time.Minute
	}
	log := slog.New(slog.NewJSONHandler(lines{p}, nil))
	token := server.Token{
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: &kms.MAC{Client: key, Key: r.mac}, Vault: kms.Vault{Client: key, Key: r.secrets},
		PrivateKey: kms.Signer{Client: key}, Now: time.Now, Log: log,
	}
	authorize := server.Authorize{
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db,
		Opaque: db, Documents: db, MAC: &kms.MAC{Client: key, Key: r.mac}, PrivateKey: kms.Signer{Client: key},
		Queue: sqs.Queue{Client: sqs.NewClient(config("AmazonSQS")), URL: "https://sqs.us-east-1.amazonaws.com/123456789012/logout"}, Now: time.Now, Log: log,
	}
	for _, plant := range plants {
		plant(&token, &authorize)
	}
	deliver := server.Deliver{AllowLoopback: true, Clients: db, Issuers: db, Registry: db, PrivateKey: kms.Signer{Client: key}, Now: time.Now, Log: log}.Handler()
	p.handlers = map[string]http.Handler{
		"token": token.Handler(), "authorize": authorize.Handler(),
		"userinfo": server.Userinfo{
			Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
			MAC: &kms.MAC{Client: key, Key: r.mac}, Now: time.Now, Log: log,
		}.Handler(),
		"discovery": server.Discovery{TokenPath: "/oauth/token", AuthorizeSigns: true, Issuers: db, Registry: db, Now: time.Now, Log: log}.Handler(),
		// The queue delivers again after an error, which is its 503.
		"deliver": http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			message, err := io.ReadAll(q.Body)
			if err == nil {
				err = deliver(q.Context(), string(message))
			}
			if err != nil {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(`{"error":"temporarily_unavailable"}`))
			}
		}),
	}
	return p
}

// lines is the log of a process.
type lines struct{ p *process }

func (l lines) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.p.log.Write(b)
}

// take returns what was logged since the last time.
func (p *process) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.TrimSpace(p.log.String())
	p.log.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// A request is one that can be sent again as it is.
type request struct {
	function, method, target string
	header                   http.Header
	body                     string
}

// An answer is what came back.
type answer struct {
	status  int
	header  http.Header
	raw     string
	body    map[string]any
	cookies map[string]string
	log     []string
	took    time.Duration
}

func (a answer) text(member string) string {
	s, _ := a.body[member].(string)
	return s
}

// location is the query of a redirect.
func (a answer) location() url.Values {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return nil
	}
	if u.Fragment != "" {
		values, _ := url.ParseQuery(u.Fragment)
		return values
	}
	return u.Query()
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s%.300s", a.status, a.header.Get("Location"), a.raw)
}

func (p *process) send(ctx context.Context, q request) answer {
	r := httptest.NewRequestWithContext(ctx, q.method, q.target, strings.NewReader(q.body))
	for name, values := range q.header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	began := time.Now()
	p.handlers[q.function].ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String(), cookies: map[string]string{}, took: time.Since(began), log: p.take()}
	_ = json.Unmarshal([]byte(a.raw), &a.body)
	for _, c := range w.Result().Cookies() {
		a.cookies[c.Name] = c.Value
	}
	return a
}

// ask sends to the process that no fault befalls, and whose log nobody reads.
func (r *rig) ask(q request) answer { return r.clean.send(context.Background(), q) }

// A proofs says what a request is proven by beside what it holds.
type proofs struct {
	client string // the client_id
	method string // how it proves itself: client_secret_basic unless set
	dpop   bool
	nonce  bool
	token  string // the access token that the proof goes with
}

// form makes a request to the token function. Assertions and proofs are made anew by
// each call.
func (r *rig) form(path string, p proofs, params url.Values) request {
	values := url.Values{}
	for name, v := range params {
		values[name] = v
	}
	q := request{function: "token", method: http.MethodPost, target: path, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	switch p.method {
	case "":
		q.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(p.client)+":"+url.QueryEscape(secret))))
	case oauth.None:
		values.Set("client_id", p.client)
	case oauth.ClientSecretJWT:
		r.assert(values, p.client, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)})
	default:
		r.assert(values, p.client, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: r.client, KeyID: "client"}})
	}
	q.body = values.Encode()
	if p.dpop {
		r.prove(&q, p)
	}
	return q
}

func (r *rig) assert(values url.Values, client string, by jose.SigningKey) {
	now := time.Now()
	values.Set("client_assertion_type", oauth.AssertionType)
	values.Set("client_assertion", sign(by, (&jose.SignerOptions{}).WithType("JWT"), map[string]any{
		"iss": client, "sub": client, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}))
}

// prove adds a proof (RFC 9449 §4.2), with a nonce that it has asked for first if need
// be.
func (r *rig) prove(q *request, p proofs) {
	r.proveWith(q, p, "")
	if p.nonce {
		r.proveWith(q, p, r.ask(*q).header.Get("DPoP-Nonce"))
	}
}

func (r *rig) proveWith(q *request, p proofs, nonce string) {
	claims := map[string]any{"jti": rand.Text(), "iat": time.Now().Unix(), "htm": q.method, "htu": strings.TrimSuffix(issuer, "/") + q.target}
	if p.token != "" {
		sum := sha256.Sum256([]byte(p.token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	q.header.Set("DPoP", sign(jose.SigningKey{Algorithm: jose.ES256, Key: r.prover}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"), claims))
}

func sign(by jose.SigningKey, options *jose.SignerOptions, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signer, err := jose.NewSigner(by, options)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"io"
	"log"
	"net/http"

	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"time"

	awslambda "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/lambda"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
)

const issuer = "https://auth.example.com/"

// What was measured when the bars were set, in ms: one RS256 signature in Go, and an
// event of a function that does nothing.
const (
	thatDay     = 0.86
	loopThatDay = 0.145
)

// nobody is the function that does nothing: this very program.
const nobody = "nothing"

func nothing() {
	awslambda.Start(gateway.Proxy(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})))
}

// A bench is what stands behind the functions, and where they are.
type bench struct {
	dir      string
	db, keys *httptest.Server
	// store is that of the functions, by their own client.
	store  *dynamo.Store
	env    map[string]string // of every function
	folder string
	count  int    // of what is good once
	access string // accessToken's
	key    *rsa.PrivateKey
}

func newBench(ctx context.Context, dir string) (*bench, error) {
	server := kmstest.New()
	b := &bench{
		dir:  dir,
		db:   serve(&tables{items: map[string]item{}}),
		keys: serve(server),
	}
	var err error
	if b.folder, err = os.MkdirTemp("", "kmint-bench"); err != nil {
		return nil, err
	}
	authority := filepath.Join(b.folder, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.db.Certificate().Raw}) // the same for both
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		return nil, err
	}
	if b.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	arns := map[string]string{}
	for _, spec := range []string{kmstest.RSA2048, kmstest.HMAC256, kmstest.Symmetric} {
		if arns[spec], err = server.Create(spec); err != nil {
			return nil, err
		}
	}
	config := func(s *httptest.Server) aws.Config {
		return aws.Config{
			Region: "us-east-1", BaseEndpoint: &s.URL, HTTPClient: s.Client(),
			Credentials: credentials.NewStaticCredentialsProvider("example", "example", ""),
		}
	}
	b.store = &dynamo.Store{DB: dynamo.NewClient(config(b.db)), ConfigTable: "config", UsersTable: "users", GrantsTable: "grants"}
	public, err := kms.Signer{Client: kms.NewClient(config(b.keys))}.PublicKey(ctx, arns[kmstest.RSA2048])
	if err != nil {
		return nil, err
	}
	key, err := keys.New(jwt.RS256, public, arns[kmstest.RSA2048])
	if err != nil {
		return nil, err
	}
	if _, err := keys.First(ctx, b.store, key, time.Now()); err != nil {
		return nil, err
	}
	b.env = map[string]string{ //nolint:gosec // names of keys
		"ISSUER": issuer, "LOG": "info", "STACK": "kmint", "CONFIG_TABLE": "config", "USERS_TABLE": "users", "GRANTS_TABLE": "grants",
		"MAC_KEY": arns[kmstest.HMAC256], "SECRETS_KEY": arns[kmstest.Symmetric], "TOKEN_PATH": "/oauth/token",
		"LOGOUT_QUEUE":              "https://sqs.us-east-1.amazonaws.com/123456789012/kmint-logout",
		"GOMAXPROCS":                "1", // as when the bars were set
		"AWS_ENDPOINT_URL_DYNAMODB": b.db.URL, "AWS_ENDPOINT_URL_KMS": b.keys.URL, "SSL_CERT_FILE": authority,
	}
	return b, b.configure(ctx)
}

// serve serves over TLS. That a process ends while it connects is no news.
func serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	return s
}

// Close ends the servers.
func (b *bench) Close() {
	b.db.Close()
	b.keys.Close()
	_ = os.RemoveAll(b.folder)
}

func (b *bench) start(ctx context.Context, function string) (*lambda.Environment, error) {
	bootstrap := filepath.Join(b.dir, function, "bootstrap")
	if function == nobody {
		var err error
		if bootstrap, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	return lambda.Start(ctx, lambda.Function{Name: "kmint-" + function, Bootstrap: bootstrap, Env: b.env})
}

// signature is what one RS256 signature takes this process, in ms of processor time.
func (b *bench) signature() (float64, error) {
	runtime.GC() // not in between
	const n = 200
	digest := sha256.Sum256([]byte("kmint"))
	before, err := used()
	if err != nil {
		return 0, err
	}
	for range n {
		if _, err := rsa.SignPKCS1v15(nil, b.key, crypto.SHA256, digest[:]); err != nil {
			return 0, err
		}
	}
	after, err := used()
	return milliseconds(after-before) / n, err
}

// measure adds one round to a work.
func (b *bench) measure(ctx context.Context, w *work) error {
	if w.refused != "" {
		return nil
	}
	var cpu [2]time.Duration
	few, more := cmp.Or(w.warm, few), cmp.Or(w.events, more)
	for i, n := range []int{few, few + more} {
		e, err := b.start(ctx, w.function)
		if err != nil {
			return err
		}
		err = b.ask(ctx, e, w, n)
		if closed := e.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
		cpu[i] = e.CPU()
	}
	w.measured = append(w.measured, milliseconds(cpu[1]-cpu[0])/float64(more))
	return nil
}

// ask sends n events, each made from the answer before.
func (b *bench) ask(ctx context.Context, e *lambda.Environment, w *work, n int) error {
	last := map[string]any{}
	for range n {
		r, err := w.next(ctx, last)
		if err != nil {
			return err
		}
		if last, err = invoke(ctx, e, r); err != nil {
			return err
		}
	}
	return nil
}

// A start is what a cold process takes.
type start struct {
	name     string
	bar      float64
	measured []float64
}

func (b *bench) cold(ctx context.Context) ([]start, error) {
	token, err := b.clientCredentials(ctx, nil)
	if err != nil {
		return nil, err
	}
	next := start{name: "token: start to first event", bar: 8}
	first := start{name: "token: start to first token", bar: 13}
	for range starts {
		e, err := b.start(ctx, "token")
		if err != nil {
			return nil, err
		}
		began := time.Now()
		_, err = invoke(ctx, e, token)
		took := time.Since(began)
		if closed := e.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return nil, err
		}
		next.measured = append(next.measured, milliseconds(e.Init))
		first.measured = append(first.measured, milliseconds(e.Init+took))
	}
	all := []start{next, first}
	for _, function := range []string{"authorize", "userinfo", "discovery"} {
		s := start{name: function + ": start to first event", bar: 8}
		for range starts {
			e, err := b.start(ctx, function)
			if err != nil {
				return nil, err
			}
			if err := e.Close(); err != nil {
				return nil, err
			}
			s.measured = append(s.measured, milliseconds(e.Init))
		}
		all = append(all, s)
	}
	return all, nil
}

// resident is the memory of the token function after many events, in MiB.
func (b *bench) resident(ctx context.Context) (float64, error) {
	e, err := b.start(ctx, "token")
	if err != nil {
		return 0, err
	}
	defer func() { _ = e.Close() }()
	if err := b.ask(ctx, e, &work{next: b.clientCredentials}, long); err != nil {
		return 0, err
	}
	resident, err := e.Resident()
	return float64(resident) / (1 << 20), err
}

// sizes adds those of binaries and zips, and reports whether they are within their
// bars.
func (b *bench) sizes(t *table) (bool, error) {
	within := true
	for _, function := range []string{"token", "authorize", "userinfo", "discovery"} {
		path := filepath.Join(b.dir, function, "bootstrap")
		info, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		zipped, err := zipSize(path)
		if err != nil {
			return false, err
		}
		const MB = 1e6
		t.add(row{name: function + ": binary", unit: "MB", bar: 12, measured: float64(info.Size()) / MB, exact: true})
		t.add(row{name: function + ": zip", unit: "MB", bar: 5, measured: float64(zipped) / MB, exact: true})
		within = within && zipped <= 5*MB
	}
	return within, nil
}

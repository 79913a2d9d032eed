package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/seed"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

const issuer = "https://auth.example.com/"

// keyDir holds one key for all tests: an RSA key takes its time.
var keyDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kmint")
	if err != nil {
		panic(err)
	}
	keyDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build makes the four functions over one local store that holds the example
// seed, behind one handler.
func build(t *testing.T) http.Handler {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	must(err)
	t.Cleanup(func() { _ = db.Close() })
	local, err := localkey.Open(keyDir)
	must(err)
	for algorithm, reference := range localkey.References() {
		public, err := local.PublicKey(t.Context(), reference)
		must(err)
		key, err := keys.New(algorithm, public, reference)
		must(err)
		_, err = keys.First(t.Context(), db, key, time.Now())
		must(err)
	}
	for _, name := range []string{"seed.json", "full.json"} {
		file, err := os.Open("../../infra/examples/" + name)
		must(err)
		example, err := seed.Read(file)
		must(errors.Join(err, file.Close()))
		_, err = example.Write(t.Context(), seed.Writers{
			Issuer: issuer, Config: db, Clients: db, APIs: db, Settings: db, Users: db, Logins: db, People: db, Vault: local,
		})
		must(err)
	}

	// The example has one person; to tell people apart takes two.
	hash, err := store.HashPassword("another long password")
	must(err)
	must(db.PutUser(t.Context(), store.User{Subject: "other-user", Username: "other", PasswordHash: hash}))

	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	mux := http.NewServeMux()
	token := server.Token{
		Issuer: issuer, TokenPath: "/own/path",
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: local, Vault: local, PrivateKey: local, Now: time.Now, Log: log,
	}.Handler()
	for _, path := range []string{"/oauth/token", "/token", "/v1/token", "/own/path", "/oauth/revoke", "/oauth/introspect"} {
		mux.Handle(path, token)
	}
	deliver := server.Deliver{
		Issuer: issuer, AllowLoopback: true, Clients: db, Issuers: db, Registry: db, PrivateKey: local, Now: time.Now, Log: log,
	}.Handler()
	authorize := server.Authorize{
		Issuer:  issuer,
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db,
		Opaque: db, Documents: db, MAC: local, PrivateKey: local, Queue: delivered{deliver}, Now: time.Now, Log: log,
	}.Handler()
	for _, path := range []string{"/authorize", "/login", "/consents", "/sessions", "/oidc/logout", "/v2/logout"} {
		mux.Handle(path, authorize)
	}
	mux.Handle("/userinfo", server.Userinfo{
		Issuer:  issuer,
		Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
		MAC: local, Now: time.Now, Log: log,
	}.Handler())
	discovery := server.Discovery{
		Issuer: issuer, TokenPath: "/own/path", AuthorizeSigns: true, Issuers: db, Registry: db, Now: time.Now, Log: log,
	}.Handler()
	for _, path := range []string{"/.well-known/", "/oidc/check_session"} {
		mux.Handle(path, discovery)
	}
	return mux
}

// delivered is a queue that delivers at once, and to whoever cannot be reached not at
// all.
type delivered struct {
	deliver func(ctx context.Context, message string) error
}

func (d delivered) Send(ctx context.Context, messages []string) error {
	for _, message := range messages {
		_ = d.deliver(ctx, message)
	}
	return nil
}

// given are the variables that transcripts start with.
func given() map[string]string {
	basic := func(id, secret string) string { return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret)) }
	return map[string]string{
		"service": basic("demo-service", "demo-service-secret-used-in-examples-only"),
		"web":     basic("demo-web", "demo-web-secret-used-in-examples-only"),
		"partner": basic("demo-partner", "demo-partner-secret-used-in-examples-only"),
		"hybrid":  basic("demo-hybrid", "demo-hybrid-secret-used-in-examples-only"),
		"careful": basic("demo-careful", "demo-careful-secret-used-in-examples-only"),
		"orders":  basic("demo-orders-api", "demo-orders-api-secret-used-in-examples-only"),
		"wrong":   basic("demo-service", strings.Repeat("wrong", 8)),
	}
}

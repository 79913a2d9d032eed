package server_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/server"
)

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func empty(t *testing.T) *bolt.Store {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Between a deployment and its first import there is neither an issuer nor a key.
// The answer says what to do, and no cache keeps it.
func TestBeforeTheImport(t *testing.T) {
	db, log := empty(t), slog.New(slog.NewTextHandler(io.Discard, nil))
	h := server.Discovery{Issuers: db, Registry: db, TokenPath: "/oauth/token", Now: time.Now, Log: log}.Handler()
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json"} {
		w := ask(h, http.MethodGet, path)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Retry-After") == "" ||
			!strings.Contains(w.Body.String(), "kmint import") {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
	if err := db.PutIssuer(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	h = server.Discovery{Issuers: db, Registry: db, TokenPath: "/oauth/token", Now: time.Now, Log: log}.Handler()
	if w := ask(h, http.MethodGet, "/.well-known/openid-configuration"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), issuer) {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

// A path is served as it is or not at all: a redirect to what it might mean would
// be outside the edge, and make a browser post a password again.
func TestPathsAreWhole(t *testing.T) {
	db, log := empty(t), slog.New(slog.NewTextHandler(io.Discard, nil))
	f := server.Authorize{Issuer: issuer, Clients: db, APIs: db, Settings: db, Issuers: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db, Registry: db, Now: time.Now, Log: log}.Handler()
	for _, path := range []string{"//authorize", "/x/../authorize", "/authorize/", "/other"} {
		w := ask(f, http.MethodPost, path)
		if w.Code != http.StatusNotFound || w.Header().Get("Location") != "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := ask(f, http.MethodGet, "/authorize"); w.Code != http.StatusBadRequest {
		t.Errorf("the path itself: %d", w.Code)
	}
}

// The rule to come by https alone holds for every port of a host, so this machine
// is never told.
func TestStrictTransportSecurity(t *testing.T) {
	db, log := empty(t), slog.New(slog.NewTextHandler(io.Discard, nil))
	for issuer, want := range map[string]string{
		"":                           "max-age=31536000",
		"https://login.example.com/": "max-age=31536000",
		"https://localhost:3000/":    "",
		"https://127.0.0.1:3000/":    "",
		"http://localhost:3000/":     "",
	} {
		h := server.Discovery{Issuer: issuer, Issuers: db, Registry: db, Now: time.Now, Log: log}.Handler()
		if got := ask(h, http.MethodGet, "/.well-known/jwks.json").Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("%q: %q", issuer, got)
		}
	}
}

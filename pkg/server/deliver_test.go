package server_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

// A client on another machine is told by a token that the published keys verify; one
// line of the log says so, without the token. On AWS no client can be on the very
// machine of the function.
func TestDeliver(t *testing.T) {
	db := empty(t)
	local, err := localkey.Open(keyDir)
	if err != nil {
		t.Fatal(err)
	}
	public, err := local.PublicKey(t.Context(), localkey.References()[jwt.RS256])
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, public, localkey.References()[jwt.RS256])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.First(t.Context(), db, key, time.Now()); err != nil {
		t.Fatal(err)
	}
	var got string
	status := http.StatusOK
	party := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.PostFormValue("logout_token")
		w.WriteHeader(status)
	}))
	defer party.Close()
	if err := db.PutClient(t.Context(), store.Client{ID: "app", BackchannelLogoutURI: party.URL + "/back"}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f := server.Deliver{
		Issuer: issuer, AllowLoopback: true, Clients: db, Issuers: db, Registry: db, PrivateKey: local,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	const message = `{"client_id":"app","sub":"u1","sid":"s1"}`
	if err := f.Handler()(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	ring := &keys.Ring{Registry: store.NewCache(nil, nil, nil, db, db, time.Now)}
	var claims struct {
		Subject   string `json:"sub"`
		SessionID string `json:"sid"`
	}
	err = jwt.Verify(t.Context(), ring, got, jwt.Expected{Type: jwt.TypLogoutToken, Issuer: issuer, Audience: "app", Now: time.Now()}, &claims)
	if err != nil || claims.Subject != "u1" || claims.SessionID != "s1" {
		t.Errorf("%+v, %v", claims, err)
	}

	status, got = http.StatusBadRequest, ""
	if err := f.Handler()(t.Context(), message); err == nil || got == "" {
		t.Errorf("refused: %v", err)
	}
	f.AllowLoopback, got = false, ""
	if err := f.Handler()(t.Context(), message); err == nil || got != "" {
		t.Errorf("on this very machine: %v, %q", err, got)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for i, want := range []string{
		"level=INFO msg=audit event=backchannel_logout auth0=oidc_backchannel_logout_succeeded client_id=app sub=u1 sid=s1",
		`level=INFO msg="logout token" client_id=app`,
		"level=WARN msg=audit event=backchannel_logout_failed auth0=oidc_backchannel_logout_failed client_id=app reason=",
		`level=WARN msg="logout token" client_id=app reason=`,
		"level=WARN msg=audit event=backchannel_logout_failed", `level=WARN msg="logout token"`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d lacks %s", i, want)
		}
	}
	if len(lines) != 6 || strings.Contains(log.String(), "eyJ") {
		t.Errorf("the log:\n%s", log.String())
	}
}

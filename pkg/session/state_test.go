package session_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
)

// A state tells sessions apart, and gives nothing of them away.
func TestState(t *testing.T) {
	one, other := oauth.NewHandle(oauth.SessionPrefix+"YQ."), oauth.NewHandle(oauth.SessionPrefix+"YQ.")
	state := session.State(one)
	if state != session.State(one) || state == session.State(other) || session.State("") != "" {
		t.Error("a state is one for a session, another for another, and none for none")
	}
	if state == string(one.Digest()) || strings.Contains(one.Reveal(), state) {
		t.Error("a state is a name of the session, or a part of its handle")
	}
}

// The hash as the pseudo-code of OpenID Connect Session Management 1.0 §3.2 has it.
func TestSessionState(t *testing.T) {
	for uri, want := range map[string]string{
		"https://app.example.com/cb?x=1":  "https://app.example.com",
		"https://App.Example.com:443/cb":  "https://app.example.com",
		"https://app.example.com:8443/cb": "https://app.example.com:8443",
		"https://app.example.com:80/cb":   "https://app.example.com:80",
		"http://localhost:80/cb":          "http://localhost",
		"http://localhost:443/cb":         "http://localhost:443",
		"http://[::1]:8080/cb":            "http://[::1]:8080",
		"com.example.app:/cb":             "null",
	} {
		value := session.SessionState("a client", uri, "state")
		hash, salt, ok := strings.Cut(value, ".")
		sum := sha256.Sum256([]byte("a client " + want + " state " + salt))
		if !ok || hash != hex.EncodeToString(sum[:]) || len(salt) < 26 || strings.ContainsAny(value, " \"\\") {
			t.Errorf("%s: %s is not that of %s", uri, value, want)
		}
		if value == session.SessionState("a client", uri, "state") {
			t.Errorf("%s: twice the same", uri)
		}
	}
}

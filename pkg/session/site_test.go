package session_test

import (
	"testing"

	"kmint/pkg/session"
)

func TestSameSite(t *testing.T) {
	for _, tt := range []struct {
		one, other string
		want       bool
	}{
		{"https://app.example.com", "https://login.example.com/", true},
		{"https://example.com:8443", "https://login.example.com/", true},
		{"https://app.example.com", "https://login.example.org/", false},
		{"http://app.example.com", "https://login.example.com/", false},
		{"https://app.co.uk", "https://login.co.uk/", false},
		{"https://a.b.example.co.uk", "https://login.example.co.uk/", true},
		{"https://one.execute-api.eu-central-1.amazonaws.com", "https://two.execute-api.eu-central-1.amazonaws.com/", false},
		{"https://one.github.io", "https://two.github.io", false},
		{"http://localhost:8080", "http://localhost:3000/", true},
		{"http://127.0.0.1:8080", "http://127.0.0.1:3000/", true},
		{"http://127.0.0.1:8080", "http://128.0.0.1:3000/", false},
		{"http://[::1]:8080", "http://[::1]:3000/", true},
		{"http://127.0.0.1:8080", "http://localhost:3000/", false},
		{"com.example.app:/cb", "https://login.example.com/", false},
		{"", "", false},
	} {
		if got := session.SameSite(tt.one, tt.other); got != tt.want {
			t.Errorf("SameSite(%q, %q) = %v", tt.one, tt.other, got)
		}
	}
}

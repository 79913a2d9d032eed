package web_test

import (
	"slices"
	"testing"

	"kmint/pkg/web"
)

func TestFormTargets(t *testing.T) {
	for uri, want := range map[string][]string{
		"":                                nil,
		"https://app.example.com/cb?x=1":  {"https://app.example.com", "https:"},
		"https://app.example.com:8443/cb": {"https://app.example.com:8443", "https:"},
		"http://localhost:8080/cb":        {"http://localhost:8080", "http:", "https:"},
		"http://[::1]:8080/cb":            {"http:", "https:"},
		"com.example.app:/cb":             {"com.example.app:"},
		"com.example.app://host/cb":       {"com.example.app:"},
		// No client may register these; nothing of them gets into a policy.
		"https://a.example;script-src *": nil,
		"https://a.example,b/":           {"https:"},
		"https://a.example%0d%0a/":       nil,
	} {
		if got := web.FormTargets(uri); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}

func TestFrameSource(t *testing.T) {
	for address, want := range map[string]string{
		"https://app.example.com:8443/out?x=1": "https://app.example.com:8443",
		"http://localhost:8080/out":            "http://localhost:8080",
		"http://[::1]:8080/out":                "http:",
		// Nothing of these gets into a policy.
		"https://a.example;sandbox/out": "https:",
		"https://a.example,b/out":       "https:",
		"https://'self'/out":            "https:",
		"https://a.example%0d%0a/out":   "'none'",
		"":                              "'none'",
	} {
		if got := web.FrameSource(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

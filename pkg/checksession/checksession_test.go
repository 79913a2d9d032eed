package checksession_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kmint/pkg/checksession"
	"kmint/pkg/session"
)

// What the script does is seen in a browser (infra/clients). Here: that it may run, and
// reads the cookies that the authorization endpoint sets.
func TestPage(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Pragma", "no-cache")
	if err := checksession.Serve(w, httptest.NewRequest(http.MethodGet, checksession.Path, nil)); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(w.Body.String(), "<script>")
	script, _, ok := strings.Cut(rest, "</script>")
	sum := sha256.Sum256([]byte(script))
	policy := w.Header().Get("Content-Security-Policy")
	if !ok || !strings.Contains(policy, "script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") {
		t.Errorf("the policy does not let the script run: %s", policy)
	}
	if strings.Contains(policy, "frame-ancestors") || w.Header().Get("X-Frame-Options") != "" || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("who may frame it, and what it may load: %s", policy)
	}
	for _, secure := range []bool{true, false} {
		if !strings.Contains(script, `"`+session.StateCookieName(secure)+`"`) {
			t.Errorf("it does not read %s", session.StateCookieName(secure))
		}
	}
	// What it says goes to whoever asked, and to nobody else.
	if strings.Count(script, "postMessage(") != 1 || !strings.Contains(script, "event.source.postMessage(word, event.origin)") {
		t.Error("it posts to others than who asked")
	}
	if w.Header().Get("Cache-Control") != "public, max-age=3600" || w.Header().Get("Pragma") != "" {
		t.Errorf("caches may not keep it: %v", w.Header())
	}
}

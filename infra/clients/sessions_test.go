package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
)

// TestBrowserSessions ends with one browser what was begun with others.
func TestBrowserSessions(t *testing.T) {
	t.Parallel()
	needsChromium(t)
	l, keys := newLeaver(t)
	laptop, phone, library := newTab(t), newTab(t), newTab(t)

	if status := laptop.open(l.issuer + "sessions"); status != http.StatusOK || !strings.HasPrefix(laptop.says(), "Where you are logged in Nobody is logged in") {
		t.Errorf("status %d: %s", status, laptop.says())
	}
	l.logIn(laptop)
	ended := l.logIn(phone)
	laptop.open(l.issuer + "sessions")
	says := laptop.says()
	if !strings.Contains(says, "Chrome, Linux (this browser)") || strings.Count(says, "Chrome, Linux") != 2 || !strings.Contains(says, "Applications: Demo web app") {
		t.Errorf("it says: %s", says)
	}
	if named := laptop.named(); !slices.ContainsFunc(named, func(n string) bool { return strings.HasPrefix(n, "button Log out there (logged in on ") }) {
		t.Errorf("a screen reader meets %q", named)
	}

	// A page of another site shows none of it in a frame, and its form ends nothing.
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Prize</title><form method="post" action="%ssessions"><input type="hidden" name="session" value="others"><input type="hidden" name="seal" value="x"><button type="submit">Win</button></form>`, l.issuer)
	}))
	t.Cleanup(evil.Close)
	thief := newTab(t)
	l.logIn(thief)
	thief.open(evil.URL)
	thief.follow(chromedp.Click("button[type=submit]"))
	if says := thief.says(); !strings.Contains(says, "Nobody is logged in") || len(l.back) > 0 {
		t.Errorf("the form of another site: at %s: %s", thief.at(), says)
	}
	phone.open(l.config.AuthCodeURL("s"))
	if phone.says() != "Hello" {
		t.Errorf("the phone's session is gone: at %s: %s", phone.at(), phone.says())
	}
	<-l.idTokens

	// The button ends one, and the application hears of that one by the back.
	laptop.open(l.issuer + "sessions")
	buttons := fmt.Sprintf(`form:has(input[value=%q]) button`, sidOf(t, keys, ended))
	if status := laptop.follow(chromedp.Click(buttons)); status != http.StatusOK || laptop.at() != l.issuer+"sessions" {
		t.Errorf("status %d at %s: %s", status, laptop.at(), laptop.says())
	}
	if told := sidOf(t, keys, soon(laptop, "the logout token", l.back)); told != sidOf(t, keys, ended) {
		t.Errorf("told of the session %s", told)
	}
	phone.open(l.config.AuthCodeURL("s"))
	shown(phone, l.issuer)
	laptop.open(l.config.AuthCodeURL("s"))
	if laptop.says() != "Hello" {
		t.Errorf("its own session is gone: at %s: %s", laptop.at(), laptop.says())
	}
	<-l.idTokens

	// One button ends all others, at a page in another language.
	l.logIn(library)
	laptop.open(l.issuer + "sessions?ui_locales=de")
	if status := laptop.follow(chromedp.Click(`form:has(input[value=others]) button`)); status != http.StatusOK || !strings.Contains(laptop.says(), "Sie sind nirgendwo sonst angemeldet.") {
		t.Errorf("status %d at %s: %s", status, laptop.at(), laptop.says())
	}
	for _, other := range []*tab{thief, library} {
		soon(other, "the logout token", l.back)
		other.open(l.config.AuthCodeURL("s"))
		shown(other, l.issuer)
	}
	if len(l.front) > 0 {
		t.Error("the front channel led by a browser that was not its own")
	}
}

// sidOf is the session that a token is of.
func sidOf(t *testing.T, keys *oidc.RemoteKeySet, token string) string {
	t.Helper()
	payload, err := keys.VerifySignature(t.Context(), token)
	var claims struct {
		SessionID string `json:"sid"`
	}
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.SessionID == "" {
		t.Fatalf("no session: %v", err)
	}
	return claims.SessionID
}

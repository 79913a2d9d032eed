package authorize_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"kmint/pkg/session"
)

const stateCookie = "__Host-kmint_state"

// unchanged is what the script in the frame (package checksession) would say to a page
// of the origin.
func (v *visitor) unchanged(clientID, origin, told string) bool {
	_, salt, ok := strings.Cut(told, ".")
	sum := sha256.Sum256([]byte(clientID + " " + origin + " " + v.cookies[stateCookie] + " " + salt))
	return ok && v.cookies[stateCookie] != "" && told == hex.EncodeToString(sum[:])+"."+salt
}

const webOrigin = "https://app.example.com"

func TestSessionState(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()

	// Nobody is there: the client hears when somebody comes.
	a := v.get(with(forWeb, "prompt", "none"))
	nobody := a.query("session_state")
	if a.query("error") != "login_required" || !v.unchanged("web", webOrigin, nobody) {
		t.Fatalf("nobody: %s", a.location)
	}
	// No page can make up what says that nobody is logged in.
	if other := h.visitor(); other.get(with(forWeb, "prompt", "none")).query("error") == "" || other.cookies[stateCookie] == v.cookies[stateCookie] {
		t.Error("two browsers that nobody is logged in with have one state")
	}
	if v.get(with(forWeb, "prompt", "none")).query("session_state") == nobody {
		t.Error("two errors can be told to be of one browser")
	}
	v.get(forWeb)
	a = v.fill("demo", password)
	told := a.query("session_state")
	if a.query("code") == "" || !v.unchanged("web", webOrigin, told) {
		t.Fatalf("a login: %s", a.location)
	}
	if v.unchanged("web", webOrigin, nobody) {
		t.Error("a login changes nothing")
	}
	if strings.ContainsAny(told, " ") || strings.Contains(v.cookies["__Host-kmint_session"], v.cookies[stateCookie]) {
		t.Errorf("it is %q, of %q", told, v.cookies[stateCookie])
	}
	// The twins: another client, another origin.
	if v.unchanged("spa", webOrigin, told) || v.unchanged("web", "https://app.example.org", told) {
		t.Error("it is right for others")
	}

	// The session goes on, and so does its state.
	a = v.get(with(forWeb, "prompt", "none"))
	if again := a.query("session_state"); a.query("code") == "" || again == told || !v.unchanged("web", webOrigin, again) || !v.unchanged("web", webOrigin, told) {
		t.Errorf("once more: %s", a.location)
	}
	if cookies := a.Result().Cookies(); len(cookies) > 0 {
		t.Errorf("once more: it sets %v", cookies)
	}
	// What is refused says so too, and changes nothing.
	a = v.get(with(forWeb, "max_age", "soon"))
	if a.query("error") != "invalid_request" || !v.unchanged("web", webOrigin, a.query("session_state")) {
		t.Errorf("a refusal: %s", a.location)
	}
	// OAuth without OpenID Connect has none.
	for _, pairs := range [][]string{{"scope", "email"}, {"scope", "email", "max_age", "soon"}, {"scope", "-"}} {
		if a := v.get(with(forWeb, pairs...)); a.location == nil || a.location.Query().Has("session_state") {
			t.Errorf("%s: %d to %v", pairs, a.Code, a.location)
		}
	}
	// Somebody logs in again: the others hear of it.
	v.get(with(forWeb, "prompt", "login"))
	a = v.fill("demo", password)
	if v.unchanged("web", webOrigin, told) || !v.unchanged("web", webOrigin, a.query("session_state")) {
		t.Error("another login changes nothing")
	}
}

// A session that has no state yet gets one by its next answer.
func TestStateOfAnOldSession(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	for _, held := range []string{"", "planted"} {
		v.cookies[stateCookie] = held
		a := v.get(forWeb)
		if a.query("code") == "" || v.cookies[stateCookie] == held || !v.unchanged("web", webOrigin, a.query("session_state")) {
			t.Errorf("%q: %s", held, a.location)
		}
	}
}

// The state is that of the session which the client hears of, by whatever cookie it was
// found, and is there as soon as the session is.
func TestStateOfOtherWays(t *testing.T) {
	h := withElsewhere(t, overTLS)
	v := h.visitor()
	request := with(forSPA, "client_id", "elsewhere", "redirect_uri", elsewhere+"/cb")
	v.get(request)
	v.fill("demo", password)
	state := v.cookies[stateCookie]
	delete(v.cookies, "__Host-kmint_session")
	a := v.get(with(request, "prompt", "none"))
	if a.query("code") == "" || v.cookies[stateCookie] != state || !v.unchanged("elsewhere", elsewhere, a.query("session_state")) {
		t.Errorf("by the other cookie: %s", a.location)
	}
	if a = v.get(with(request, "prompt", "none", "response_mode", "web_message")); !strings.Contains(a.Body.String(), "&#34;session_state&#34;:&#34;") {
		t.Errorf("by a message: %s", a.Body)
	}

	h = newHouse(t, overTLS)
	v = h.visitor()
	v.get(with(forWeb, "client_id", "third", "redirect_uri", "https://third.example.com/cb"))
	a = v.fill("demo", password)
	if a.Code != http.StatusOK || v.cookies[stateCookie] == "" || v.cookies["__Host-kmint_session"] == "" {
		t.Errorf("on the consent page: %d, %v", a.Code, v.cookies)
	}
	if v.cookies[stateCookie] == session.State("") {
		t.Error("it is that of nobody")
	}
}

package logout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/logout"
	"kmint/pkg/store"
)

// All clients that the session has logged in, and want to hear of its end, are told;
// others are not.
func TestWhoIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		clients []string
		told    string
		frames  int
	}{
		"one that wants nothing": {[]string{"web"}, "", 0},
		"one by the back":        {[]string{"web", "spa"}, "spa", 0},
		"one by both":            {[]string{"cli", "web", "spa"}, "cli spa", 1},
		"one that is gone":       {[]string{"gone", "spa"}, "spa", 0},
		"nobody":                 {nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			v := h.logIn(tt.clients...)
			w := v.get("/oidc/logout", words("id_token_hint", v.hint("web")))
			h.isPage(w, http.StatusOK, done)
			if frames := strings.Count(w.Body.String(), "<iframe"); h.told() != tt.told || frames != tt.frames {
				t.Errorf("told %q and %d frames, want %q and %d", h.told(), frames, tt.told, tt.frames)
			}
			for _, message := range h.queue.messages {
				var n map[string]any
				h.must(json.Unmarshal([]byte(message), &n))
				if len(n) != 3 || n["sub"] != "u1" || n["sid"] != v.session.ID {
					t.Errorf("the notice %s", message)
				}
			}
		})
	}
	t.Run("one that joins meanwhile", func(t *testing.T) {
		h := newHouse(t)
		v := h.logIn("web", "spa")
		h.queue.sent = func() {
			h.queue.sent = nil
			h.must(h.store.JoinSession(t.Context(), v.session.Digest, "cli", v.session.IdleExpires))
		}
		w := v.get("/oidc/logout", words("id_token_hint", v.hint("web")))
		if h.told() != "cli spa" || strings.Count(w.Body.String(), "<iframe") != 1 {
			t.Errorf("told %q: %s", h.told(), w.Body)
		}
	})
}

var frame = regexp.MustCompile(`<iframe src="([^"]*)"`)

// OpenID Connect Front-Channel Logout 1.0 §2: the address is loaded with iss and sid,
// and the page may show nothing else in a frame.
func TestFrames(t *testing.T) {
	h := newHouse(t)
	v := h.logIn("cli", "web")
	w := v.get("/oidc/logout", words("id_token_hint", v.hint("web"), "post_logout_redirect_uri", bye, "state", "<b>"))
	h.isPage(w, http.StatusOK, done)
	found := frame.FindAllStringSubmatch(w.Body.String(), -1)
	if len(found) != 1 {
		t.Fatalf("frames: %q", found)
	}
	u, err := url.Parse(html.UnescapeString(found[0][1]))
	h.must(err)
	want := url.Values{"x": {"<1>"}, "iss": {issuer}, "sid": {v.session.ID}}
	if u.Scheme+"://"+u.Host+u.Path != "https://cli.example.com/front" || u.Query().Encode() != want.Encode() {
		t.Errorf("the frame loads %s", u)
	}
	policy := strings.Split(w.Header().Get("Content-Security-Policy"), "; ")
	if !slices.Contains(policy, "frame-src https://cli.example.com") || !slices.Contains(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	if to := w.Header().Get("Refresh"); to != "5; url="+bye+"?state=%3Cb%3E" {
		t.Errorf("it goes on to %q", to)
	}
	if !strings.Contains(w.Body.String(), `href="`+bye+`?state=%3Cb%3E"`) || !strings.Contains(w.Body.String(), "Web &#34;app&#34; &lt;i&gt;") {
		t.Errorf("no link: %s", w.Body)
	}

	// An application's own scheme is a link too.
	v = h.logIn("cli")
	w = v.get("/oidc/logout", words("id_token_hint", v.hint("cli"), "post_logout_redirect_uri", "com.example.app:/out"))
	if !strings.Contains(w.Body.String(), `href="com.example.app:/out"`) {
		t.Errorf("no link: %s", w.Body)
	}
	// Without an address there is nowhere to go, and no script.
	v = h.logIn("cli")
	w = v.get("/oidc/logout", words("id_token_hint", v.hint("cli")))
	if strings.Contains(w.Body.String(), "<script") || w.Header().Get("Refresh") != "" || strings.Contains(w.Body.String(), "href") {
		t.Errorf("it goes on: %s", w.Body)
	}
}

// poster answers for clients.
type poster struct {
	status  int
	err     error
	address string
	form    url.Values
}

func (p *poster) Post(_ context.Context, address string, form url.Values) (int, error) {
	p.address, p.form = address, form
	return p.status, p.err
}

func (h *house) deliverer(p *poster) logout.Deliverer {
	return logout.Deliverer{Issuers: h.store, Clients: h.store, Signer: h.ring, Poster: p, Now: func() time.Time { return h.now }}
}

// OpenID Connect Back-Channel Logout 1.0 §2.4, §2.5.
func TestLogoutToken(t *testing.T) {
	for _, algorithm := range []string{"", jwt.ES256, jwt.PS256} {
		t.Run("by "+algorithm, func(t *testing.T) {
			h := newHouse(t)
			client, err := h.store.Client(t.Context(), "spa")
			h.must(err)
			client.IDTokenAlgorithm = algorithm
			h.must(h.store.PutClient(t.Context(), client))
			v := h.logIn("spa")
			v.get("/oidc/logout", words("id_token_hint", v.hint("spa")))
			h.now = h.now.Add(time.Hour) // the token is as new as its delivery
			var ids []any
			for range 2 {
				p := &poster{status: http.StatusOK}
				id, err := h.deliverer(p).Deliver(t.Context(), h.queue.messages[0])
				if err != nil || id != "spa" || p.address != "https://spa.example.com/back" || len(p.form) != 1 {
					t.Fatalf("%s: %v, %s %v", id, err, p.address, p.form)
				}
				var claims map[string]any
				h.must(jwt.Verify(t.Context(), h.ring, p.form.Get("logout_token"), jwt.Expected{
					Type: "logout+jwt", Issuer: issuer, Audience: "spa", Now: h.now,
				}, &claims))
				ids = append(ids, claims["jti"])
				delete(claims, "jti")
				got, err := json.Marshal(claims)
				h.must(err)
				want := fmt.Sprintf(`{"aud":"spa","events":{"http://schemas.openid.net/event/backchannel-logout":{}},"exp":%d,"iat":%d,"iss":"%s","sid":"%s","sub":"u1"}`,
					h.now.Unix()+120, h.now.Unix(), issuer, v.session.ID)
				if string(got) != want {
					t.Errorf("it says %s, want %s", got, want)
				}
				// It opens nothing, and proves nothing here.
				if jwt.Verify(t.Context(), h.ring, p.form.Get("logout_token"), jwt.Expected{Type: jwt.TypIDToken, Issuer: issuer, Audience: "spa", Now: h.now}, &claims) == nil {
					t.Error("it passes for an ID token")
				}
			}
			if ids[0] == ids[1] || ids[0] == nil {
				t.Errorf("jti %v, and then %v", ids[0], ids[1])
			}
		})
	}
}

// What was not taken comes again; what nobody wants any more does not.
func TestDelivery(t *testing.T) {
	const right = `{"client_id":"spa","sub":"u1","sid":"s"}`
	for name, tt := range map[string]struct {
		message string
		status  int
		err     error
		fail    string
		again   bool
		posted  bool
	}{
		"taken":               {right, 200, nil, "", false, true},
		"taken without words": {right, 204, nil, "", false, true},
		"refused":             {right, 400, nil, "", true, true},
		"a redirect":          {right, 302, nil, "", true, true},
		"another success":     {right, 202, nil, "", true, true},
		"ill":                 {right, 503, nil, "", true, true},
		"not reached":         {right, 0, errors.New("no route"), "", true, true},
		"client gone":         {`{"client_id":"gone","sub":"u1","sid":"s"}`, 200, nil, "", false, false},
		"wants it no more":    {`{"client_id":"web","sub":"u1","sid":"s"}`, 200, nil, "", false, false},
		"no client read":      {right, 200, nil, "Client spa", true, false},
		"no issuer":           {right, 200, nil, "Issuer", true, false},
		"no key":              {right, 200, nil, "Registry", true, false},
		"no JSON":             {"x", 200, nil, "", true, false},
		"of nobody":           {`{"sub":"u1","sid":"s"}`, 200, nil, "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.store.fail[tt.fail] = store.ErrBusy
			p := &poster{status: tt.status, err: tt.err}
			_, err := h.deliverer(p).Deliver(t.Context(), tt.message)
			if (err != nil) != tt.again || (p.form != nil) != tt.posted {
				t.Errorf("error %v, posted %v", err, p.form)
			}
			if err != nil && strings.Contains(err.Error(), "eyJ") {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

// What a client has registered becomes no directive of the page that all others share.
func TestFramesOfStrangeHosts(t *testing.T) {
	for address, want := range map[string]string{
		"https://cli.example.com:8443/out":    "frame-src https://cli.example.com:8443",
		"https://cli.example.com;sandbox/out": "frame-src https:",
		"https://cli.example.com,b/out":       "frame-src https:",
		"http://[::1]:8080/out":               "frame-src http:",
	} {
		h := newHouse(t)
		h.must(h.store.PutClient(t.Context(), store.Client{ID: "strange", FrontchannelLogoutURI: address}))
		v := h.logIn("strange", "web")
		w := v.get("/oidc/logout", words("id_token_hint", v.hint("web")))
		if policy := strings.Split(w.Header().Get("Content-Security-Policy"), "; "); !slices.Contains(policy, want) {
			t.Errorf("%s: the policy is %q", address, policy)
		}
	}
}

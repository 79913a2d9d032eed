package verify_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/oauth"
	"kmint/pkg/verify"
)

// A clock stands still until it is told otherwise.
type clock struct{ ns atomic.Int64 }

func (c *clock) Now() time.Time       { return now.Add(time.Duration(c.ns.Load())) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }
func timed(f *forge, c *clock) *verify.Verifier {
	v := f.verifier()
	v.Now = c.Now
	return v
}

// step verifies a token, and holds what becomes of it and how often the keys have
// been fetched by then.
func step(t *testing.T, f *forge, v *verify.Verifier, token string, want oauth.Code, fetches int) {
	t.Helper()
	if _, err := v.Verify(t.Context(), token); code(err) != want || (err == nil) != (want == "") {
		t.Errorf("%v, want %q", err, want)
	}
	if got := f.count(); got != fetches {
		t.Errorf("the keys were fetched %d times, not %d", got, fetches)
	}
}

const ok = oauth.Code("")

func TestKeysAreKept(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	token := f.token(nil, nil)
	step(t, f, v, token, ok, 1)
	c.pass(5*time.Minute - 1)
	step(t, f, v, token, ok, 1)
	c.pass(1)
	step(t, f, v, token, ok, 2)

	v = timed(f, c)
	v.KeysFor = time.Second
	step(t, f, v, token, ok, 3)
	c.pass(time.Second)
	step(t, f, v, token, ok, 4)

	// The twin: a key that has gone ends with the set that had it.
	f.publish(jose.JSONWebKey{Key: &keyPair().PublicKey, KeyID: "next"})
	step(t, f, v, token, ok, 4)
	c.pass(time.Second)
	step(t, f, v, token, oauth.InvalidToken, 5)
}

func TestUnknownKid(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	next := f.token(map[string]any{"kid": "next"}, nil)
	step(t, f, v, f.token(nil, nil), ok, 1)
	f.publish(jose.JSONWebKey{Key: &keyPair().PublicKey, KeyID: "rsa"}, jose.JSONWebKey{Key: &keyPair().PublicKey, KeyID: "next"})
	step(t, f, v, next, oauth.InvalidToken, 1)
	c.pass(time.Minute - 1)
	step(t, f, v, next, oauth.InvalidToken, 1)
	c.pass(1)
	step(t, f, v, next, ok, 2)

	// Whoever invents names makes one fetch a minute, and keeps nobody waiting.
	for range 10 {
		step(t, f, v, f.token(map[string]any{"kid": "invented"}, nil), oauth.InvalidToken, 2)
	}
	c.pass(time.Minute)
	for range 10 {
		step(t, f, v, f.token(map[string]any{"kid": "invented"}, nil), oauth.InvalidToken, 3)
	}
}

func TestStaleIfError(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	token := f.token(nil, map[string]any{"exp": now.Add(24 * time.Hour).Unix()})
	unknown := f.token(map[string]any{"kid": "next"}, nil)
	step(t, f, v, token, ok, 1)
	f.answer(http.StatusInternalServerError) // of the metadata too, so the keys are not asked for
	c.pass(5 * time.Minute)
	step(t, f, v, token, ok, 1)
	// A kid that is not known may be new: nothing is said of it.
	step(t, f, v, unknown, oauth.TemporarilyUnavailable, 1)

	// It recovers, but is not asked before a minute has gone.
	f.answer(0)
	c.pass(time.Minute - 1)
	step(t, f, v, token, ok, 1)
	c.pass(1)
	step(t, f, v, token, ok, 2)

	// The twin: the end of patience.
	f.answer(http.StatusInternalServerError)
	c.pass(65*time.Minute - 1)
	step(t, f, v, token, ok, 2)
	c.pass(1)
	step(t, f, v, token, oauth.TemporarilyUnavailable, 2)
	f.answer(0)
	c.pass(time.Second)
	step(t, f, v, token, ok, 3)

	strict := timed(f, c)
	strict.StaleFor = -1
	step(t, f, strict, token, ok, 4)
	f.answer(http.StatusInternalServerError)
	c.pass(5 * time.Minute)
	step(t, f, strict, token, oauth.TemporarilyUnavailable, 4)
}

func TestBeforeThereAreKeys(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	f.answer(http.StatusServiceUnavailable)
	if err := v.Load(t.Context()); err == nil {
		t.Error("Load finds nothing")
	}
	f.answer(0)
	step(t, f, v, f.token(nil, nil), oauth.TemporarilyUnavailable, 0)
	c.pass(time.Second)
	step(t, f, v, f.token(nil, nil), ok, 1)
	// A clock that is set back does not keep old keys for ever.
	c.pass(-time.Hour)
	step(t, f, v, f.token(nil, map[string]any{"iat": now.Add(-2 * time.Hour).Unix()}), ok, 2)
}

// TestDocuments holds what is believed of an issuer's documents.
func TestDocuments(t *testing.T) {
	for name, spoil := range map[string]func(*forge){
		"another issuer":             func(f *forge) { f.metadata["issuer"] = "https://evil.example.com/" },
		"the issuer without a slash": func(f *forge) { f.metadata["issuer"] = f.URL },
		"no issuer":                  func(f *forge) { delete(f.metadata, "issuer") },
		"no jwks_uri":                func(f *forge) { delete(f.metadata, "jwks_uri") },
		"jwks_uri by plain http":     func(f *forge) { f.metadata["jwks_uri"] = "http://keys.example.com/jwks" },
		"jwks_uri as a file":         func(f *forge) { f.metadata["jwks_uri"] = "file:///etc/keys" },
		"jwks_uri with a name in it": func(f *forge) { f.metadata["jwks_uri"] = strings.Replace(f.URL, "//", "//a@", 1) + "/jwks" },
		"jwks_uri that is not there": func(f *forge) { f.metadata["jwks_uri"] = f.URL + "/gone" },
		"metadata that is too long":  func(f *forge) { f.metadata["x"] = strings.Repeat("x", 64<<10) },
		"keys with a long end":       func(f *forge) { f.set = string(must(json.Marshal(f.set))) + strings.Repeat(" ", 64<<10) },
		"keys that are too many":     func(f *forge) { f.set = map[string]any{"keys": []any{}, "x": strings.Repeat("x", 64<<10)} },
		"keys that are no JSON":      func(f *forge) { f.set = "<html>" },
		"no keys":                    func(f *forge) { f.set = map[string]any{"keys": []any{}} },
		"no keys that we understand": func(f *forge) { f.set = map[string]any{"keys": []any{map[string]string{"kty": "new", "kid": "rsa"}}} },
		"only a secret":              func(f *forge) { f.publish(jose.JSONWebKey{Key: []byte("secret"), KeyID: "rsa"}) },
		"a key without a name":       func(f *forge) { f.publish(jose.JSONWebKey{Key: &keyPair().PublicKey}) },
	} {
		f := newForge(t)
		spoil(f)
		if err := f.verifier().Load(t.Context()); err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	// One key that is not understood takes nothing from the others.
	f := newForge(t)
	f.set = map[string]any{"keys": []any{
		map[string]string{"kty": "new"}, "a text",
		jose.JSONWebKey{Key: &keyPair().PublicKey, KeyID: "rsa"},
	}}
	if _, err := f.verifier().Verify(t.Context(), f.token(nil, nil)); err != nil {
		t.Error(err)
	}
}

// TestDiscovery holds where the metadata is looked for: RFC 8414 §3.1 puts the
// well-known name before the issuer's path, OpenID Connect behind it.
func TestDiscovery(t *testing.T) {
	for path, want := range map[string]bool{
		"/.well-known/oauth-authorization-server/tenant": true,
		"/tenant/.well-known/openid-configuration":       true,
		"/tenant/.well-known/oauth-authorization-server": false,
		"/.well-known/openid-configuration/tenant":       false,
	} {
		f := newForge(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, `{"issuer":"http://`+r.Host+`/tenant","jwks_uri":"`+f.URL+`/jwks"}`)
		}))
		v := verify.Verifier{Issuer: server.URL + "/tenant", Audience: audience}
		if err := v.Load(t.Context()); want != (err == nil) {
			t.Errorf("%s: %v", path, err)
		}
		server.Close()
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	f := newForge(t)
	server := httptest.NewServer(http.RedirectHandler(f.URL+"/jwks", http.StatusFound))
	defer server.Close()
	f.metadata["jwks_uri"] = server.URL
	followed := false
	v := f.verifier()
	v.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { followed = true; return nil }}
	if err := v.Load(t.Context()); err == nil || followed || f.count() != 0 {
		t.Errorf("%v; asked the client %v; fetched %d", err, followed, f.count())
	}
}

// A transport that never answers shows that a fetch has an end, and that it is not
// the caller's.
type silent struct{ left chan error }

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	deadline, _ := r.Context().Deadline()
	if until := time.Until(deadline); until <= 0 || until > 2*time.Second {
		s.left <- context.Canceled
	}
	<-r.Context().Done()
	s.left <- r.Context().Err()
	return nil, r.Context().Err()
}

func TestPatience(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	v := f.verifier()
	s := silent{make(chan error, 2)}
	v.Client = &http.Client{Transport: s}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(ctx, f.token(nil, nil)); code(err) != oauth.TemporarilyUnavailable {
		t.Errorf("%v", err)
	}
	if err := <-s.left; err != context.DeadlineExceeded {
		t.Errorf("the fetch ended with %v", err)
	}
}

// TestRaceOneFetch sends many requests at once, again and again while keys come and
// go: each is judged, and there is never more than one fetch at a time.
func TestRaceOneFetch(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	good, unknown := f.token(nil, map[string]any{"exp": now.Add(24 * time.Hour).Unix()}), f.token(map[string]any{"kid": "x"}, nil)
	for round := 1; round <= 20; round++ {
		hold := make(chan struct{})
		f.mu.Lock()
		f.hold = hold
		f.mu.Unlock()
		var callers sync.WaitGroup
		for i := range 32 {
			callers.Go(func() {
				token, want := good, ok
				if i%4 == 3 {
					token, want = unknown, oauth.InvalidToken
				}
				if _, err := v.Verify(t.Context(), token); code(err) != want {
					t.Errorf("%v, want %q", err, want)
				}
			})
		}
		time.Sleep(time.Millisecond)
		close(hold)
		callers.Wait()
		if got := f.count(); got != round {
			t.Fatalf("after %d rounds there were %d fetches", round, got)
		}
		c.pass(5 * time.Minute)
	}
}

// TestRaceLoad is the same with Load among them, and a sick issuer.
func TestRaceLoad(t *testing.T) {
	f, c := newForge(t), &clock{}
	v := timed(f, c)
	if err := v.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for i := range 32 {
		callers.Go(func() {
			for range 20 {
				switch i % 4 {
				case 0:
					_ = v.Load(t.Context())
				case 1:
					f.answer([]int{0, http.StatusInternalServerError}[c.Now().Nanosecond()%2])
					c.pass(time.Second + 1)
				default:
					if _, err := v.Verify(t.Context(), f.token(nil, map[string]any{"exp": now.Add(24 * time.Hour).Unix()})); err != nil {
						t.Errorf("%v", err)
					}
				}
			}
		})
	}
	callers.Wait()
}

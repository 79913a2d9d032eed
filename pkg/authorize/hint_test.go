package authorize_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A signer has one key, or none that it can tell of.
type signer struct {
	key     jwt.Key
	private *rsa.PrivateKey
	asked   int // for its public half
	err     error
}

var (
	_ jwt.Signer = (*signer)(nil)
	_ jwt.KeySet = (*signer)(nil)
)

// privateKeys are made once: ours, and another's.
var privateKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func newSigner(private *rsa.PrivateKey) *signer {
	return &signer{key: jwt.Key{ID: "k1", Algorithm: jwt.RS256, Public: &private.PublicKey}, private: private}
}

func (s *signer) SigningKey(context.Context, jwt.Choice) (jwt.Key, error) { return s.key, nil }

func (s *signer) Keys(context.Context) ([]jwt.Key, error) {
	s.asked++
	return []jwt.Key{s.key}, s.err
}

func (s *signer) Sign(_ context.Context, _ jwt.Key, digest []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(rand.Reader, s.private, crypto.SHA256, digest)
}

// hint is an ID token of a person for the client web, issued an hour ago, with
// what is set otherwise; nil takes a claim away.
func (h *house) hint(by jwt.Signer, typ, subject string, pairs ...any) string {
	h.Helper()
	claims := map[string]any{
		"iss": overTLS, "aud": "web", "sub": subject, "iat": h.now.Add(-time.Hour).Unix(), "exp": h.now.Add(time.Minute).Unix(),
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
		if pairs[i+1] == nil {
			delete(claims, pairs[i].(string))
		}
	}
	token, err := jwt.Sign(h.Context(), by, jwt.Choice{}, typ, claims)
	if err != nil {
		h.Fatal(err)
	}
	return token
}

// withTwoPeople is a house in which somebody else lives too.
func withTwoPeople(t *testing.T) *house {
	t.Helper()
	h := newHouse(t, overTLS)
	if err := h.store.PutUser(t.Context(), store.User{Subject: "u2", Username: "other", PasswordHash: passwordHash()}); err != nil {
		t.Fatal(err)
	}
	return h
}

// Who is not the one whom the ID token names gets nothing, logged in or not.
func TestOnlyTheHintedPersonIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		name    string
		session bool // of u1
		hinted  string
		prompt  string
		want    string // code, page or an error
	}{
		{"no hint", true, "", "-", "code"},
		{"the one who is there", true, "u1", "-", "code"},
		{"the one who is there, silently", true, "u1", "none", "code"},
		{"the one who is there, again", true, "u1", "login", "page"},
		{"somebody else", true, "u2", "-", "page"},
		{"somebody else, silently", true, "u2", "none", "login_required"},
		{"somebody who is gone", true, "gone", "-", "page"},
		{"somebody who is gone, silently", true, "gone", "none", "login_required"},
		{"another spelling, silently", true, "U1", "none", "login_required"},
		{"nobody is there", false, "u1", "-", "page"},
		{"nobody is there, silently", false, "u1", "none", "login_required"},
	} {
		for _, age := range []time.Duration{time.Minute, -time.Second, -365 * 24 * time.Hour} {
			t.Run(tt.name+" "+age.String(), func(t *testing.T) {
				h := withTwoPeople(t)
				v := h.visitor()
				if tt.session {
					v.logIn()
				}
				request := with(forWeb, "prompt", tt.prompt)
				if tt.hinted != "" {
					request.Set("id_token_hint", h.hint(h.keys, jwt.TypIDToken, tt.hinted, "exp", h.now.Add(age).Unix()))
				}
				a := v.get(request)
				switch tt.want {
				case "code":
					if a.query("code") == "" || h.store.grants[0].Subject != "u1" {
						t.Errorf("%d to %s", a.Code, a.location)
					}
				case "page":
					h.isLoginPage(a, http.StatusOK)
				default:
					if a.Code != http.StatusFound || a.query("error") != tt.want || a.query("state") != "st-1" || a.query("iss") != overTLS || len(h.store.grants) > 0 {
						t.Errorf("%d to %s", a.Code, a.location)
					}
				}
			})
		}
	}
}

// The password of somebody else is right, and yet yields neither code nor session.
func TestOnlyTheHintedPersonLogsIn(t *testing.T) {
	h := withTwoPeople(t)
	v := h.visitor()
	v.logIn()
	standing := v.cookies["__Host-kmint_session"]
	h.isLoginPage(v.get(with(forWeb, "id_token_hint", h.hint(h.keys, jwt.TypIDToken, "u2"))), http.StatusOK)
	h.isLoginPage(v.fill("other", "wrong"), http.StatusBadRequest)
	h.store.took()
	a := v.fill("demo", password)
	if a.Code != http.StatusSeeOther || a.query("error") != "login_required" || a.query("code") != "" || a.query("state") != "st-1" || a.query("iss") != overTLS {
		t.Errorf("%d to %s", a.Code, a.location)
	}
	if calls := h.store.took(); calls != "BeginAttempt ClearAttempts Login User" || len(a.Result().Cookies()) > 0 {
		t.Errorf("it cost %s and left %v", calls, a.Header())
	}
	if !strings.Contains(h.log.String(), `"error":"login_required"`) {
		t.Errorf("the log: %s", &h.log)
	}
	// The twin: the one who is meant. The other's session ends.
	a = v.fill("other", password)
	if a.query("code") == "" || h.store.grants[0].Subject != "u2" || v.cookies["__Host-kmint_session"] == standing {
		t.Errorf("%d to %s", a.Code, a.location)
	}
	if calls := h.store.took(); !strings.Contains(calls, "DeleteSession") {
		t.Errorf("it cost %s", calls)
	}
	// What is not typed into the form that was shown is no hint of it.
	v.get(with(forWeb, "prompt", "login"))
	if a := v.post(with(v.form, "username", "demo", "password", password, "id_token_hint", "x")); a.query("code") == "" {
		t.Errorf("%d to %s", a.Code, a.location)
	}
}

func TestAHintIsAnIDTokenOfOursForTheClient(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	good := h.hint(h.keys, jwt.TypIDToken, "u1")
	parts := strings.Split(good, ".")
	for name, tt := range map[string]struct {
		hint string
		want oauth.Code
	}{
		"as issued":                 {good, ""},
		"for several":               {h.hint(h.keys, jwt.TypIDToken, "u1", "aud", []string{"x", "web"}), ""},
		"empty, which is none":      {"", ""},
		"garbage":                   {"x", oauth.InvalidRequest},
		"an access token":           {h.hint(h.keys, jwt.TypAccessToken, "u1"), oauth.InvalidRequest},
		"another issuer's":          {h.hint(h.keys, jwt.TypIDToken, "u1", "iss", "https://evil.example/"), oauth.InvalidRequest},
		"another client's":          {h.hint(h.keys, jwt.TypIDToken, "u1", "aud", "spa"), oauth.InvalidRequest},
		"nobody's":                  {h.hint(h.keys, jwt.TypIDToken, "u1", "aud", nil), oauth.InvalidRequest},
		"of nobody":                 {h.hint(h.keys, jwt.TypIDToken, "u1", "sub", nil), oauth.InvalidRequest},
		"signed by another key":     {h.hint(newSigner(privateKeys()[1]), jwt.TypIDToken, "u1"), oauth.InvalidRequest},
		"another's claims":          {parts[0] + "." + strings.Split(h.hint(h.keys, jwt.TypIDToken, "u2"), ".")[1] + "." + parts[2], oauth.InvalidRequest},
		"without a signature":       {parts[0] + "." + parts[1] + ".", oauth.InvalidRequest},
		"by alg none":               {"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".", oauth.InvalidRequest},
		"signed, and not yet valid": {h.hint(h.keys, jwt.TypIDToken, "u1", "nbf", h.now.Unix()+60), oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			for _, prompt := range []string{"none", "-"} {
				a := v.get(with(forWeb, "id_token_hint", tt.hint, "prompt", prompt))
				if a.Code != http.StatusFound || a.query("error") != string(tt.want) || (a.query("code") == "") != (tt.want != "") || a.query("state") != "st-1" {
					t.Errorf("%d to %s", a.Code, a.location)
				}
			}
		})
	}
	if strings.Contains(h.log.String(), good) || strings.Contains(h.log.String(), parts[2]) {
		t.Errorf("a hint is in the log: %s", &h.log)
	}
}

// That the keys cannot be read says nothing about the hint.
func TestKeysThatCannotBeRead(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.logIn()
	hinted := with(forWeb, "id_token_hint", h.hint(h.keys, jwt.TypIDToken, "u1"))
	for want, err := range map[oauth.Code]error{oauth.TemporarilyUnavailable: store.ErrBusy, oauth.ServerError: errors.New("on fire"), "": nil} {
		h.keys.err = err
		if a := v.get(hinted); a.query("error") != string(want) || (a.query("code") == "") != (want != "") {
			t.Errorf("%v: %d to %s", err, a.Code, a.location)
		}
	}
	// Who sends no hint has no need of them.
	h.keys.err, h.keys.asked = errors.New("on fire"), 0
	if a := v.get(forWeb); a.query("code") == "" || h.keys.asked > 0 {
		t.Errorf("%d to %s after %d questions", a.Code, a.location, h.keys.asked)
	}
}

package authorize_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// noted lets the store's list of calls show each signature.
type noted struct {
	*signer
	store *watched
}

func (n noted) Sign(ctx context.Context, key jwt.Key, digest []byte) ([]byte, error) {
	if err := n.store.note("Sign"); err != nil {
		return nil, err
	}
	return n.signer.Sign(ctx, key, digest)
}

func (w *watched) PutToken(ctx context.Context, t store.OpaqueToken) error {
	if err := w.note("PutToken"); err != nil {
		return err
	}
	return w.Store.PutToken(ctx, t)
}

const opaqueAPI = "https://opaque.example.com/"

// newFront is a house whose endpoint signs, with clients for all that it can answer.
func newFront(t *testing.T) (*house, *visitor) {
	t.Helper()
	h := newHouse(t, overTLS)
	now := func() time.Time { return h.now }
	h.endpoint.Tokens = &token.Issuer{Issuers: h.store, Signer: noted{h.keys, h.store}, Opaque: h.store, Now: now}
	front := store.Client{
		ID: "front", AuthMethod: oauth.ClientSecretBasic, ApplicationType: oauth.Web, FirstParty: true,
		GrantTypes:    []string{oauth.AuthorizationCode, oauth.Implicit, oauth.RefreshToken},
		ResponseTypes: oauth.ResponseTypes(), RedirectURIs: []string{"https://front.example.com/cb?keep=1"},
		WebOrigins: []string{"https://front.example.com"}, Refresh: store.RefreshPolicy{Lifetime: 3600},
	}
	bound, registered, hybrid, app := front, front, front, front
	bound.ID, bound.DPoPBound = "bound", true
	registered.ID, registered.ResponseTypes = "registered", []string{"code", "id_token"}
	hybrid.ID, hybrid.GrantTypes = "hybrid", []string{oauth.Implicit}
	app.ID, app.AuthMethod, app.ApplicationType = "app", oauth.None, oauth.Native
	app.RedirectURIs = []string{"com.example.front:/cb"}
	for _, c := range []store.Client{front, bound, registered, hybrid, app} {
		if err := h.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.store.PutAPI(t.Context(), store.API{Identifier: opaqueAPI, Dialect: store.Opaque, Scopes: map[string]string{"read": ""}}); err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	v.logIn()
	// The client is known to the session.
	v.get(forFront("none"))
	h.store.took()
	return h, v
}

func forFront(responseType string, pairs ...string) url.Values {
	return with(url.Values{
		"response_type": {responseType}, "client_id": {"front"}, "redirect_uri": {"https://front.example.com/cb?keep=1"},
		"scope": {"openid email"}, "state": {"st-1"}, "nonce": {"no-1"},
	}, pairs...)
}

// parameters are those of a redirect: of its query, but for what was registered, or of
// its fragment.
func (a answer) parameters() (in string, parameters url.Values) {
	if a.location == nil {
		return "", nil
	}
	if f := a.location.EscapedFragment(); f != "" {
		parameters, _ = url.ParseQuery(f)
		return "fragment", parameters
	}
	parameters = a.location.Query()
	parameters.Del("keep")
	return "query", parameters
}

func names(parameters url.Values) string {
	var all []string
	for name := range parameters {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func claimsOf(t *testing.T, compact string) map[string]any {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", compact)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Exactly what was asked for leaves, and costs what it must: two reads side by side,
// one write, and a signature for each token, the access token's first.
func TestEachResponseType(t *testing.T) {
	for _, tt := range []struct {
		responseType, in, names, calls string
	}{
		{"code", "query", "code iss session_state state", "PutGrant Session User"},
		{"none", "query", "iss session_state state", "Session User"},
		{"token", "fragment", "access_token expires_in iss scope session_state state token_type", "PutGrant Session Sign User"},
		{"id_token", "fragment", "id_token iss session_state state", "PutGrant Session Sign User"},
		{"id_token token", "fragment", "access_token expires_in id_token iss scope session_state state token_type", "PutGrant Session Sign Sign User"},
		{"token id_token", "fragment", "access_token expires_in id_token iss scope session_state state token_type", "PutGrant Session Sign Sign User"},
		{"code token", "fragment", "access_token code expires_in iss scope session_state state token_type", "PutGrant Session Sign User"},
		{"code id_token", "fragment", "code id_token iss session_state state", "PutGrant Session Sign User"},
		{"id_token code token", "fragment", "access_token code expires_in id_token iss scope session_state state token_type", "PutGrant Session Sign Sign User"},
	} {
		t.Run(tt.responseType, func(t *testing.T) {
			h, v := newFront(t)
			before := len(h.store.grants)
			a := v.get(forFront(tt.responseType, "audience", api, "scope", "openid email read:orders offline_access"))
			in, p := a.parameters()
			if a.Code != http.StatusFound || in != tt.in || names(p) != tt.names {
				t.Fatalf("%d in the %s: %v, want in the %s: %s", a.Code, in, p, tt.in, tt.names)
			}
			if calls := h.store.took(); calls != tt.calls {
				t.Errorf("cost %s, want %s", calls, tt.calls)
			}
			if tt.responseType == "none" {
				if len(h.store.grants) != before {
					t.Error("none has written a grant")
				}
				return
			}
			g := h.store.grants[before]
			words := strings.Fields(tt.responseType)
			code, access, id := slices.Contains(words, "code"), slices.Contains(words, "token"), slices.Contains(words, "id_token")
			refreshable := g.Scope.Has(oauth.OfflineAccess)
			if code != g.Spent.IsZero() || code == g.CodeExpires.IsZero() || code != refreshable || g.Front != (code && (access || id)) || g.Subject != "u1" {
				t.Errorf("wrote %+v", g)
			}
			until, err := g.Until()
			if err != nil || (access || id) && !until.Equal(g.Kept) || g.Kept.Before(h.now.Add(10*time.Minute)) {
				t.Errorf("kept until %s, %v", until, err)
			}
			if code && g.ID != string(oauth.DigestOf(p.Get("code"))) {
				t.Error("the grant is not the code's")
			}
			if access {
				c := claimsOf(t, p.Get("access_token"))
				if c["grant_id"] != g.ID || c["scope"] != p.Get("scope") || p.Get("expires_in") != "600" || p.Get("token_type") != "Bearer" || c["client_id"] != "front" {
					t.Errorf("%v", c)
				}
			}
			if !id {
				return
			}
			c := claimsOf(t, p.Get("id_token"))
			for claim, of := range map[string]string{"at_hash": p.Get("access_token"), "c_hash": p.Get("code")} {
				sum := sha256.Sum256([]byte(of))
				want := any(base64.RawURLEncoding.EncodeToString(sum[:16]))
				if of == "" {
					want = nil
				}
				if c[claim] != want {
					t.Errorf("%s is %v, want %v", claim, c[claim], want)
				}
			}
			if c["nonce"] != "no-1" || c["aud"] != "front" || c["email"] != "demo@example.com" || c["auth_time"] == nil || c["sid"] != g.SessionID {
				t.Errorf("%v", c)
			}
		})
	}
}

// Who is refused, by which error, and where that goes. The twin of each is in
// TestEachResponseType.
func TestWhatLeavesFromHereIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request url.Values
		in      string
		want    oauth.Code
	}{
		{"not registered", forFront("code token", "client_id", "registered"), "fragment", oauth.UnauthorizedClient},
		{"without the grant type", forFront("code id_token", "client_id", "hybrid"), "fragment", oauth.UnauthorizedClient},
		{"a token that could not be bound", forFront("token", "client_id", "bound"), "fragment", oauth.UnauthorizedClient},
		{"an ID token is bound to nothing", forFront("id_token", "client_id", "bound"), "fragment", ""},
		{"a token beside a bound code", forFront("code token", "dpop_jkt", challenge), "fragment", oauth.InvalidRequest},
		{"an ID token beside a bound code", forFront("code id_token", "dpop_jkt", challenge), "fragment", ""},
		{"no nonce", forFront("id_token", "nonce", "-"), "fragment", oauth.InvalidRequest},
		{"no nonce, with a code", forFront("code id_token token", "nonce", "-"), "fragment", oauth.InvalidRequest},
		{"no nonce, and no ID token from here", forFront("code token", "nonce", "-"), "fragment", ""},
		{"no openid", forFront("id_token", "scope", "read:orders", "audience", api), "fragment", oauth.InvalidScope},
		{"no openid, and no ID token", forFront("token", "scope", "read:orders", "audience", api), "fragment", ""},
		{"in the query", forFront("token", "response_mode", "query"), "fragment", oauth.InvalidRequest},
		{"an ID token in the query", forFront("code id_token", "response_mode", "query"), "fragment", oauth.InvalidRequest},
		{"none in the query", forFront("none", "response_mode", "query"), "query", ""},
		{"a code in the fragment", forFront("code", "response_mode", "fragment"), "fragment", ""},
		{"twice", forFront("token token"), "fragment", oauth.UnsupportedResponseType},
		{"none with code", forFront("none code"), "query", oauth.UnsupportedResponseType},
		{"another word", forFront("id_token device"), "fragment", oauth.UnsupportedResponseType},
		{"two spaces", forFront("code  token"), "fragment", oauth.UnsupportedResponseType},
		{"nobody to refresh", forFront("token", "scope", "offline_access", "audience", api), "fragment", oauth.InvalidScope},
		{"APIs of two kinds", forFront("token", "audience", api, "resource", opaqueAPI), "fragment", oauth.InvalidTarget},
		{"public, and no challenge", forFront("code id_token", "client_id", "app", "redirect_uri", "-"), "fragment", oauth.InvalidRequest},
		{"public, and no code", forFront("id_token", "client_id", "app", "redirect_uri", "-"), "fragment", ""},
		{"a form to a private scheme", forFront("id_token", "client_id", "app", "redirect_uri", "-", "response_mode", "form_post"), "fragment", oauth.InvalidRequest},
		{"a message to a private scheme", forFront("code", "client_id", "app", "redirect_uri", "-", "response_mode", "web_message"), "query", oauth.InvalidRequest},
		{"prompt=none, and somebody is there", forFront("id_token", "prompt", "none"), "fragment", ""},
		{"prompt=none, and nobody is", forFront("id_token", "prompt", "none", "max_age", "0"), "fragment", oauth.LoginRequired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, v := newFront(t)
			before := len(h.store.grants)
			a := v.get(tt.request)
			in, p := a.parameters()
			if in != tt.in || p.Get("error") != string(tt.want) || p.Get("state") != "st-1" || p.Get("iss") != overTLS {
				t.Fatalf("%d in the %s: %v", a.Code, in, p)
			}
			if tt.want != "" && (p.Has("code") || p.Has("access_token") || p.Has("id_token") || len(h.store.grants) != before || strings.Contains(h.store.took(), "Sign")) {
				t.Errorf("something left, or was written: %v", p)
			}
			if in == "fragment" && (a.location.Query().Has("error") || a.location.Query().Has("state")) {
				t.Errorf("in the query too: %s", a.location)
			}
		})
	}
}

// Where nothing signs, nothing but a code leaves, whatever the client is registered for.
func TestNothingSigns(t *testing.T) {
	h, v := newFront(t)
	h.endpoint.Tokens = nil
	for _, responseType := range oauth.ResponseTypes() {
		_, p := v.get(forFront(responseType)).parameters()
		want := string(oauth.UnsupportedResponseType)
		if responseType == "code" || responseType == "none" {
			want = ""
		}
		if p.Get("error") != want {
			t.Errorf("%s: %v", responseType, p)
		}
	}
}

// What fails leaves nothing behind that anybody could use.
func TestFrontFaults(t *testing.T) {
	for _, tt := range []struct {
		call  string
		err   error
		want  oauth.Code
		signs bool
	}{
		{"Sign", jwt.ErrBusy, oauth.TemporarilyUnavailable, true},
		{"Sign", errors.New("broken"), oauth.ServerError, true},
		{"PutGrant", store.ErrBusy, oauth.TemporarilyUnavailable, false},
	} {
		h, v := newFront(t)
		h.store.fail = map[string]error{tt.call: tt.err}
		a := v.get(forFront("code id_token token"))
		in, p := a.parameters()
		if in != "fragment" || p.Get("error") != string(tt.want) || names(p) != "error error_description iss session_state state" {
			t.Errorf("%s: %d in the %s: %v", tt.call, a.Code, in, p)
		}
		if signed := strings.Contains(h.store.took(), "Sign"); signed != tt.signs {
			t.Errorf("%s: signed %v", tt.call, signed)
		}
		if log := h.log.String(); strings.Contains(log, oauth.CodePrefix) || strings.Contains(log, "eyJ") {
			t.Errorf("the log has %s", log)
		}
	}
}

func TestAnOpaqueTokenLeavesFromHere(t *testing.T) {
	h, v := newFront(t)
	_, p := v.get(forFront("id_token token", "audience", opaqueAPI, "scope", "openid read")).parameters()
	if !strings.HasPrefix(p.Get("access_token"), oauth.AccessPrefix) || claimsOf(t, p.Get("id_token"))["at_hash"] == nil {
		t.Errorf("%v", p)
	}
	if calls := h.store.took(); calls != "PutGrant PutToken Session Sign User" {
		t.Errorf("cost %s", calls)
	}
}

// Pages that answer in place of a redirect.
func TestPagesThatAnswer(t *testing.T) {
	_, v := newFront(t)
	const form, message = "form_post", "web_message"
	const evil = `"></form><script>alert(1)</script>`
	for _, tt := range []struct {
		name  string
		mode  string
		pairs []string
		want  []string
	}{
		{"a code", form, nil, []string{`name="code" value="kmint_code.`, `name="state" value="st-1"`, `action="https://front.example.com/cb?keep=1"`}},
		{"an error", form, []string{"prompt", "none", "max_age", "0"}, []string{`name="error" value="login_required"`, `name="state" value="st-1"`}},
		{"markup", form, []string{"state", evil}, []string{`value="&#34;&gt;&lt;/form&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`}},
		{"a code", message, nil, []string{`&#34;code&#34;:&#34;kmint_code.`, `data-origin="https://front.example.com"`}},
		{"an error", message, []string{"prompt", "none", "max_age", "0"}, []string{`&#34;error&#34;:&#34;login_required&#34;`}},
		{"markup", message, []string{"state", evil}, []string{`\u003cscript\u003e`}},
	} {
		t.Run(tt.mode+" with "+tt.name, func(t *testing.T) {
			a := v.get(forFront("code", append(tt.pairs, "response_mode", tt.mode)...))
			if a.Code != http.StatusOK || a.location != nil || a.Header().Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %v", a.Code, a.Header())
			}
			body := a.Body.String()
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %s in %s", want, body)
				}
			}
			if strings.Contains(body, "alert(1)</script>") || strings.Count(body, "<script>") != 1 {
				t.Errorf("markup: %s", body)
			}
			// The one script is the one that the policy lets through.
			_, script, _ := strings.Cut(body, "<script>")
			script, _, _ = strings.Cut(script, "</script>")
			sum := sha256.Sum256([]byte(script))
			policy := a.Header().Get("Content-Security-Policy")
			if !strings.HasSuffix(policy, fmt.Sprintf("script-src 'sha256-%s'", base64.StdEncoding.EncodeToString(sum[:]))) {
				t.Errorf("%s is not for %s", policy, script)
			}
			framed := strings.Contains(policy, "frame-ancestors https://front.example.com;")
			if framed != (tt.mode == message) || (a.Header().Get("X-Frame-Options") == "") != framed {
				t.Errorf("%s, X-Frame-Options %s", policy, a.Header().Get("X-Frame-Options"))
			}
			if leads := strings.Contains(policy, "form-action 'self' https://front.example.com https:;"); leads != (tt.mode == form) {
				t.Errorf("form-action: %s", policy)
			}
		})
	}

}

package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kmint/pkg/verify"
)

// seen answers with who asked, and with the body that it could read.
var seen = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, ok := verify.FromContext(r.Context())
	if !ok {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	_, _ = io.WriteString(w, claims.ClientID+" ")
	_, _ = io.Copy(w, r.Body)
})

func TestAnswers(t *testing.T) {
	api := &verify.Verifier{Issuer: issuer, Audience: audience}
	realm := `Bearer realm="https://orders.example.com/"`
	read, write := api.Require(seen, "read:orders"), api.Require(seen, "read:orders", "write:orders")
	get := func(address string, authorization ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, address, nil)
		r.Header["Authorization"] = authorization
		return r
	}
	post := func(kind, body string, authorization ...string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(body))
		r.Header["Authorization"] = authorization
		r.Header.Set("Content-Type", kind)
		return r
	}
	const form = "application/x-www-form-urlencoded"
	good := "Bearer " + token
	const urlOnly = `, error="invalid_request", error_description="An access token must not be sent in the URL; send it in the Authorization header."`
	const two = `, error="invalid_request", error_description="The request sends the access token by two methods."`
	for name, c := range map[string]struct {
		handler   http.Handler
		request   *http.Request
		status    int
		challenge string
		body      string
	}{
		"a token":                        {read, get("/orders", good), 200, "", "demo-service "},
		"a token, no scope needed":       {api.Require(seen), get("/orders", good), 200, "", "demo-service "},
		"the scheme in small letters":    {read, get("/orders", "bearer  "+token), 200, "", "demo-service "},
		"a form":                         {read, post(form, "a=b", good), 200, "", "demo-service a=b"},
		"a long form":                    {read, post(form, "a="+strings.Repeat("b", 100<<10), good), 200, "", "demo-service a=" + strings.Repeat("b", 100<<10)},
		"JSON with such a word":          {read, post("application/json", `access_token=`, good), 200, "", "demo-service access_token="},
		"no token":                       {read, get("/orders"), 401, realm, ""},
		"another scheme":                 {read, get("/orders", "Basic YTpi"), 401, realm, ""},
		"a scheme alone":                 {read, get("/orders", "Bearer"), 401, realm, ""},
		"a scheme and a space":           {read, get("/orders", "Bearer "), 401, realm, ""},
		"a token in the form alone":      {read, post(form, "access_token="+token), 401, realm, ""},
		"no JWT":                         {read, get("/orders", "Bearer x"), 401, realm + `, error="invalid_token", error_description="The access token is refused: it is not a signed JWT."`, "invalid_token"},
		"two in one header":              {read, get("/orders", good+", "+good), 401, realm + `, error="invalid_token", error_description="The access token is refused: it is not a signed JWT."`, "invalid_token"},
		"a token as DPoP":                {read, get("/orders", "DPoP "+token), 401, realm + `, error="invalid_token", error_description="The access token is refused: this API takes no tokens that are bound to a key."`, "invalid_token"},
		"too little scope":               {write, get("/orders", good), 403, realm + `, error="insufficient_scope", error_description="The access token was not granted the scope write:orders.", scope="read:orders write:orders"`, "insufficient_scope"},
		"in the URL":                     {read, get("/orders?access_token=" + token), 400, realm + urlOnly, "invalid_request"},
		"in the URL, empty":              {read, get("/orders?access_token="), 400, realm + urlOnly, "invalid_request"},
		"in the URL, its name encoded":   {read, get("/orders?a=%zz&access%5Ftoken=" + token), 400, realm + urlOnly, "invalid_request"},
		"in the header and the URL":      {read, get("/orders?access_token="+token, good), 400, realm + two, "invalid_request"},
		"in the header and the form":     {read, post(form+";charset=utf-8", "access_token="+token, good), 400, realm + two, "invalid_request"},
		"in two headers":                 {read, get("/orders", good, good), 400, realm + two, "invalid_request"},
		"another scheme and the URL":     {read, get("/orders?access_token="+token, "Basic YTpi"), 400, realm + two, "invalid_request"},
		"an issuer that does not answer": {(&verify.Verifier{Issuer: "http://127.0.0.1:1/", Audience: audience}).Require(seen), get("/orders", good), 503, "", "temporarily_unavailable"},
		"an API that is set up wrongly":  {(&verify.Verifier{Issuer: issuer}).Require(seen), get("/orders", good), 500, "", "server_error"},
	} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, c.request)
		if w.Code != c.status {
			t.Errorf("%s: status %d, not %d", name, w.Code, c.status)
		}
		if got := w.Header().Get("WWW-Authenticate"); got != c.challenge {
			t.Errorf("%s: challenge\n%s, not\n%s", name, got, c.challenge)
		}
		if c.status == http.StatusOK {
			if w.Body.String() != c.body {
				t.Errorf("%s: body of %d bytes", name, w.Body.Len())
			}
			continue
		}
		var body struct {
			Error string `json:"error"`
		}
		if _ = json.Unmarshal(w.Body.Bytes(), &body); body.Error != c.body {
			t.Errorf("%s: body %s", name, w.Body)
		}
		if w.Header().Get("Cache-Control") != "no-store" || (w.Header().Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
}

func TestClaimsComeByRequireAlone(t *testing.T) {
	if _, ok := verify.FromContext(context.Background()); ok {
		t.Error("claims out of nothing")
	}
}

func TestScopesThatCannotBe(t *testing.T) {
	api := &verify.Verifier{Issuer: issuer, Audience: audience}
	for _, scope := range []string{"", "two words", `a"b`} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q can be required", scope)
				}
			}()
			api.Require(seen, scope)
		}()
	}
	api.Require(seen, "read:orders") // the twin
}

// TestLog holds that a refusal says why, and never shows a token.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	api := &verify.Verifier{Issuer: issuer, Audience: "https://bills.example.com/", Log: slog.New(slog.NewTextHandler(&out, nil))}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	api.Require(seen).ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(out.String(), "it is not for this API") || strings.Contains(out.String(), token[:20]) {
		t.Error(out.String())
	}
}

func TestResourceMetadata(t *testing.T) {
	for resource, want := range map[string]struct{ path, address string }{
		"https://orders.example.com":    {"/.well-known/oauth-protected-resource", "https://orders.example.com/.well-known/oauth-protected-resource"},
		"https://orders.example.com/":   {"/.well-known/oauth-protected-resource", "https://orders.example.com/.well-known/oauth-protected-resource"},
		"https://example.com:8443/v1/x": {"/.well-known/oauth-protected-resource/v1/x", "https://example.com:8443/.well-known/oauth-protected-resource/v1/x"},
		"https://example.com/v1/":       {"/.well-known/oauth-protected-resource/v1/", "https://example.com/.well-known/oauth-protected-resource/v1/"},
		"http://localhost:8080/orders":  {"/.well-known/oauth-protected-resource/orders", "http://localhost:8080/.well-known/oauth-protected-resource/orders"},
	} {
		api := &verify.Verifier{Issuer: issuer, Audience: audience, Resource: resource, Scopes: []string{"read:orders"}}
		if api.MetadataPath() != want.path {
			t.Errorf("%s: %s", resource, api.MetadataPath())
		}
		w := httptest.NewRecorder()
		api.Require(seen).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := w.Header().Get("WWW-Authenticate"); got != `Bearer realm="https://orders.example.com/", resource_metadata="`+want.address+`"` {
			t.Errorf("%s: %s", resource, got)
		}
		w = httptest.NewRecorder()
		api.ServeMetadata(w, httptest.NewRequest(http.MethodGet, want.path, nil))
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" ||
			strings.TrimSpace(w.Body.String()) != `{"resource":"`+resource+`","authorization_servers":["`+issuer+`"],"scopes_supported":["read:orders"],"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256","ES384","ES512","EdDSA","Ed25519","PS256","PS384","PS512","RS256","RS384","RS512"]}` {
			t.Errorf("%s: %d %v %s", resource, w.Code, w.Header(), w.Body)
		}
		w = httptest.NewRecorder()
		api.ServeMetadata(w, httptest.NewRequest(http.MethodPost, want.path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: POST answers %d", resource, w.Code)
		}
	}
	// The twin: without an address there is nothing to serve or to name.
	api := &verify.Verifier{Issuer: issuer, Audience: audience}
	w := httptest.NewRecorder()
	api.ServeMetadata(w, httptest.NewRequest(http.MethodGet, api.MetadataPath(), nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// FuzzRequest sends any Authorization header, query and form.
func FuzzRequest(f *testing.F) {
	forge := newForge(f)
	api := forge.verifier()
	api.Resource = audience
	handler := api.Require(seen, "read:orders")
	f.Add("Bearer "+forge.token(nil, nil), "a=b", "c=d")
	f.Add("DPoP x", "access_token=x", "access_token=y")
	f.Add("Bearer a.b.c", "%zz", "%")
	f.Fuzz(func(t *testing.T, authorization, query, form string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code >= 500 || (challenge == "") != (w.Code == http.StatusOK) || strings.ContainsAny(challenge, "\r\n\x00") {
			t.Errorf("%d %q", w.Code, challenge)
		}
	})
}

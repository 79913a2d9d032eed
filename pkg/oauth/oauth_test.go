package oauth_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"encoding/json"

	"kmint/pkg/oauth"
)

func post(contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

const form, jsonType = "application/x-www-form-urlencoded", "application/json"

func codeOf(err error) oauth.Code {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestReadRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		request *http.Request
		want    string // the parameters, encoded again
		refused oauth.Code
	}{
		"a form":                         {post(form, "a=1&b=x+y"), "a=1&b=x+y", ""},
		"a form with a charset":          {post(form+"; charset=UTF-8", "a=1"), "a=1", ""},
		"a value left empty is left out": {post(form, "a=&b=1"), "b=1", ""},
		"resource may be repeated":       {post(form, "resource=x&resource=y"), "resource=x&resource=y", ""},
		"JSON":                           {post(jsonType, `{"a":"1","n":10,"t":true,"o":{"x":1},"z":null}`), "a=1&n=10&t=true", ""},
		"JSON, a list of resources":      {post(jsonType, `{"resource":["x","y"]}`), "resource=x&resource=y", ""},
		"audience in a token exchange":   {post(form, exchange+"&audience=x&audience=y"), "audience=x&audience=y&" + exchange, ""},
		"the same in JSON":               {post(jsonType, `{"audience":["x","y"],"grant_type":"`+oauth.TokenExchange+`"}`), "audience=x&audience=y&" + exchange, ""},
		"the query of a POST is not read": {func() *http.Request {
			r := post(form, "a=1")
			r.URL.RawQuery = "client_secret=x"
			return r
		}(), "a=1", ""},
		"the query of a GET":              {httptest.NewRequest(http.MethodGet, "/authorize?a=1&b=2", nil), "a=1&b=2", ""},
		"no body at all":                  {post("", ""), "", ""},
		"a repeated parameter":            {post(form, "a=1&a=1"), "", oauth.InvalidRequest},
		"a repeated parameter, one empty": {post(form, "a=1&a="), "", oauth.InvalidRequest},
		"a repeated query parameter":      {httptest.NewRequest(http.MethodGet, "/authorize?a=1&a=2", nil), "", oauth.InvalidRequest},
		"audience elsewhere":              {post(form, "grant_type=client_credentials&audience=x&audience=y"), "", oauth.InvalidRequest},
		"audience elsewhere, in JSON":     {post(jsonType, `{"audience":["x","y"]}`), "", oauth.InvalidRequest},
		"audience, and two grant_types":   {post(form, exchange+"&grant_type=password&audience=x&audience=y"), "", oauth.InvalidRequest},
		"two JSON lists of resources":     {post(jsonType, `{"resource":["x"],"resource":["y"]}`), "", oauth.InvalidRequest},
		"a repeated JSON member":          {post(jsonType, `{"a":"1","a":"2"}`), "", oauth.InvalidRequest},
		"a repeated JSON member, escaped": {post(jsonType, `{"a":"1","\u0061":"2"}`), "", oauth.InvalidRequest},
		"a JSON list of another name":     {post(jsonType, `{"a":["1","2"]}`), "", oauth.InvalidRequest},
		"a JSON array":                    {post(jsonType, `["a"]`), "", oauth.InvalidRequest},
		"two JSON values":                 {post(jsonType, `{"a":"1"}{"b":"2"}`), "", oauth.InvalidRequest},
		"JSON cut off":                    {post(jsonType, `{"a":"1"`), "", oauth.InvalidRequest},
		"a NUL":                           {post(form, "a=%00"), "", oauth.InvalidRequest},
		"invalid UTF-8":                   {post(form, "a=%ff"), "", oauth.InvalidRequest},
		"invalid UTF-8 in JSON":           {post(jsonType, "{\"a\":\"\xff\"}"), "", oauth.InvalidRequest},
		"a semicolon is a character":      {post(form, "a=1;b=2"), "a=1%3Bb%3D2", ""},
		"an empty body of any type":       {post("text/plain", ""), "", ""},
		"a broken escape":                 {post(form, "a=%zz"), "", oauth.InvalidRequest},
		"another media type":              {post("text/plain", "a=1"), "", oauth.UnsupportedMediaType},
		"no media type":                   {post("", "a=1"), "", oauth.UnsupportedMediaType},
		"64 KiB":                          {post(form, "a="+strings.Repeat("x", oauth.MaxBody-2)), "a=" + strings.Repeat("x", oauth.MaxBody-2), ""},
		"over 64 KiB":                     {post(form, "a="+strings.Repeat("x", oauth.MaxBody-1)), "", oauth.RequestTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := oauth.ReadRequest(tt.request)
			if codeOf(err) != tt.refused || (err != nil && tt.refused == "") {
				t.Fatalf("got %v, want %q", err, tt.refused)
			}
			if got := r.Encode(); err == nil && got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
		})
	}
}

// exchange is the grant_type of a token exchange, encoded.
var exchange = url.Values{"grant_type": {oauth.TokenExchange}}.Encode()

// What stands beside the parameters is read with them.
func TestRequestHeaders(t *testing.T) {
	r := post(form, "audience=x&resource=y")
	r.Header.Add("DPoP", "first")
	r.Header.Add("DPoP", "second")
	r.Header.Set("Origin", "https://app.example.com")
	got, err := oauth.ReadRequest(r)
	if err != nil || got.Path != "/oauth/token" || got.Method != http.MethodPost || got.Origin != "https://app.example.com" {
		t.Errorf("%s %s from %s, %v", got.Method, got.Path, got.Origin, err)
	}
	// Which of two proofs counts is not decided here.
	if !slices.Equal(got.DPoP, []string{"first", "second"}) {
		t.Errorf("DPoP: %q", got.DPoP)
	}
	if printed := fmt.Sprintf("%+v", got); strings.Contains(printed, "first") {
		t.Errorf("printed: %s", printed)
	}
}

func TestTargets(t *testing.T) {
	for body, want := range map[string][]string{
		"":                      nil,
		"audience=":             nil,
		"audience=x":            {"x"},
		"resource=x&resource=y": {"x", "y"},
		"resource=x&audience=y": {"y", "x"},
		"resource=x&audience=x": {"x"},
		exchange + "&audience=x&audience=y&audience=x&resource=z": {"x", "y", "z"},
	} {
		r, err := oauth.ReadRequest(post(form, body))
		if got := r.Targets(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
}

func TestTwoAuthorizationHeaders(t *testing.T) {
	r := post(form, "")
	r.Header.Add("Authorization", "Basic a")
	r.Header.Add("Authorization", "Basic b")
	if _, err := oauth.ReadRequest(r); codeOf(err) != oauth.InvalidRequest {
		t.Errorf("got %v", err)
	}
}

// What is read, written and read again is equal; nothing panics; whatever is
// accepted holds no repeat, NUL or broken text.
func FuzzReadRequest(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a=1&a=2", "resource=x&resource=y", exchange + "&audience=x&audience=y", `{"a":"1","a":"2"}`, `{"a":[1,"x",{}]}`, "a=%00", "a=%ff&", "%zz"} {
		f.Add(true, seed)
		f.Add(false, seed)
	}
	f.Fuzz(func(t *testing.T, asForm bool, body string) {
		media := jsonType
		if asForm {
			media = form
		}
		first, err := oauth.ReadRequest(post(media, body))
		if err != nil {
			if codeOf(err) == "" || codeOf(err) == oauth.ServerError {
				t.Fatalf("not an OAuth error: %v", err)
			}
			return
		}
		again, err := oauth.ReadRequest(post(form, first.Encode()))
		if len(first.Encode()) <= oauth.MaxBody {
			if err != nil {
				t.Fatalf("what was accepted is refused when written again: %v", err)
			}
			if first.Encode() != again.Encode() {
				t.Fatalf("%q became %q", first.Encode(), again.Encode())
			}
		}
		values, err := url.ParseQuery(first.Encode())
		if err != nil {
			t.Fatal(err)
		}
		for name, list := range values {
			if len(list) > 1 && name != "resource" && (name != "audience" || values.Get("grant_type") != oauth.TokenExchange) {
				t.Fatalf("%q is repeated", name)
			}
			if strings.ContainsRune(strings.Join(list, "")+name, 0) {
				t.Fatalf("%q holds a NUL", name)
			}
		}
	})
}

func TestMatchRedirect(t *testing.T) {
	registered := []string{"https://app.example.com/cb", "http://127.0.0.1/cb", "http://[::1]:1234/cb?a=1", "com.example.app:/cb", "http://localhost:8080/cb"}
	for name, tt := range map[string]struct {
		requested, application string
		want                   bool
	}{
		"exactly":                                {"https://app.example.com/cb", oauth.Web, true},
		"another path":                           {"https://app.example.com/cb/", oauth.Web, false},
		"path traversal":                         {"https://app.example.com/x/../cb", oauth.Web, false},
		"a query added":                          {"https://app.example.com/cb?x=1", oauth.Web, false},
		"a fragment added":                       {"https://app.example.com/cb#", oauth.Web, false},
		"host in another case":                   {"https://APP.example.com/cb", oauth.Web, false},
		"the default port":                       {"https://app.example.com:443/cb", oauth.Web, false},
		"user information":                       {"https://app.example.com@evil.example/cb", oauth.Web, false},
		"a subdomain":                            {"https://app.example.com.evil.example/cb", oauth.Web, false},
		"plain http":                             {"http://app.example.com/cb", oauth.Web, false},
		"native: any port on 127.0.0.1":          {"http://127.0.0.1:51004/cb", oauth.Native, true},
		"native: any port on ::1":                {"http://[::1]:51004/cb?a=1", oauth.Native, true},
		"native: no port on ::1":                 {"http://[::1]/cb?a=1", oauth.Native, true},
		"native: private-use scheme":             {"com.example.app:/cb", oauth.Native, true},
		"web: any port on 127.0.0.1":             {"http://127.0.0.1:51004/cb", oauth.Web, false},
		"native: another path":                   {"http://127.0.0.1:51004/other", oauth.Native, false},
		"native: another query":                  {"http://[::1]:51004/cb?a=2", oauth.Native, false},
		"native: localhost is exact":             {"http://localhost:8081/cb", oauth.Native, false},
		"native: another loopback address":       {"http://127.0.0.2:51004/cb", oauth.Native, false},
		"native: loopback as user information":   {"http://127.0.0.1:1@evil.example/cb", oauth.Native, false},
		"native: loopback as a host's beginning": {"http://127.0.0.1.evil.example/cb", oauth.Native, false},
		"native: backslash":                      {`http://127.0.0.1\@evil.example/cb`, oauth.Native, false},
		"native: a port that is none":            {"http://127.0.0.1:99999x/cb", oauth.Native, false},
		"native: a port with a zero before":      {"http://127.0.0.1:08080/cb", oauth.Native, false},
		"native: a port beyond 65535":            {"http://127.0.0.1:99999/cb", oauth.Native, false},
		"native: https loopback is exact":        {"https://127.0.0.1:51004/cb", oauth.Native, false},
		"empty":                                  {"", oauth.Web, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := oauth.MatchRedirect(registered, tt.requested, tt.application); got != tt.want {
				t.Errorf("MatchRedirect(%q) = %v", tt.requested, got)
			}
		})
	}
}

// Whatever matches goes to a registered host, by the eyes of a URL parser.
func FuzzMatchRedirect(f *testing.F) {
	registered := []string{"https://app.example.com/cb", "http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb"}
	for _, seed := range append(registered, "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1:8/cb", "http://[::1]:1/cb", `http://127.0.0.1\@e/cb`) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, requested string) {
		if !oauth.MatchRedirect(registered, requested, oauth.Native) {
			return
		}
		u, err := url.Parse(requested)
		if err != nil {
			t.Fatalf("%q matches and does not parse: %v", requested, err)
		}
		switch h := u.Hostname(); {
		case u.User != nil || u.Fragment != "":
			t.Fatalf("%q matches with user information or a fragment", requested)
		case u.Scheme == "https" && h == "app.example.com" && u.Port() == "":
		case u.Scheme == "http" && (h == "127.0.0.1" || h == "::1") && u.Path == "/cb":
		case u.Scheme == "com.example.app" && h == "":
		default:
			t.Fatalf("%q goes to %q", requested, h)
		}
	})
}

func TestCheckRedirect(t *testing.T) {
	for uri, ok := range map[string]map[string]bool{
		oauth.Web: {
			"https://app.example.com/cb": true, "http://localhost:8080/cb": true, "http://127.0.0.1/cb": true,
			"http://app.example.com/cb": false, "https://app.example.com/cb#x": false, "https://*.example.com/cb": false,
			"https://user@example.com/": false, "/cb": false, "": false, "com.example.app:/cb": false,
			"javascript:alert(1)": false, "https://example.com/a b": false, "https://example.com/\n": false, "https:///cb": false,
		},
		oauth.Native: {
			"com.example.app:/cb": true, "http://127.0.0.1/cb": true, "myapp:/cb": false, "javascript:alert(1)": false, "data:text/html,x": false,
		},
	} {
		for u, want := range ok {
			if got := oauth.CheckRedirect(u, uri) == nil; got != want {
				t.Errorf("CheckRedirect(%q, %s) = %v", u, uri, got)
			}
		}
	}
}

// RFC 7636 appendix B.
func TestChallenge(t *testing.T) {
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if got, err := oauth.ChallengeOf(verifier); err != nil || got != challenge {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := oauth.ParseChallenge(challenge); err != nil || got != challenge {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "short", verifier[:42], strings.Repeat("a", 129), verifier + "!", verifier + "é"} {
		if _, err := oauth.ChallengeOf(bad); codeOf(err) != oauth.InvalidGrant {
			t.Errorf("verifier %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", challenge[:42], challenge + "=", challenge + "\n", challenge[:42] + "n", challenge + "A"} {
		if _, err := oauth.ParseChallenge(bad); codeOf(err) != oauth.InvalidRequest {
			t.Errorf("challenge %q: %v", bad, err)
		}
	}
}

func TestScope(t *testing.T) {
	s, err := oauth.ParseScope("  openid read:x  openid ")
	if err != nil || s.String() != "openid read:x" {
		t.Errorf("got %q, %v", s, err)
	}
	for _, bad := range []string{strings.Repeat("x ", 100) + "x", strings.Repeat("x", 4097), "a\"b", `a\b`, "é", "a\tb"} {
		if _, err := oauth.ParseScope(bad); codeOf(err) != oauth.InvalidScope {
			t.Errorf("scope %q: %v", bad, err)
		}
	}
	if !s.Within(oauth.Scope{"read:x", "openid", "z"}) || s.Within(oauth.Scope{"openid"}) {
		t.Error("Within is wrong")
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const hidden = "do-not-print-me"
	secret := oauth.Secret(hidden)
	req, err := oauth.ReadRequest(post(form, "client_secret="+hidden))
	if err != nil {
		t.Fatal(err)
	}
	req.Authorization = secret
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", secret, "in", struct{ S oauth.Secret }{secret})
	for _, printed := range []string{
		fmt.Sprint(secret), fmt.Sprintf("%v %s %q %#v %+v %x", secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", req, req, &req), fmt.Sprintf("%+v", struct{ R oauth.Request }{req}), log.String(),
	} {
		if strings.Contains(printed, hidden) || strings.Contains(printed, fmt.Sprintf("%x", hidden)) {
			t.Errorf("printed: %s", printed)
		}
	}
	if _, err := json.Marshal(secret); err == nil {
		t.Error("a Secret was encoded")
	}
	if secret.Reveal() != hidden {
		t.Error("Reveal does not")
	}
}

// What a caller names is said again in WWW-Authenticate, and all headers of an answer
// together have 10,240 bytes at Amazon API Gateway.
func TestErrorWordsStayShort(t *testing.T) {
	name := strings.Repeat("a", 20000)
	for _, tt := range []struct{ contentType, body string }{
		{"application/x-www-form-urlencoded", name + "=1&" + name + "=2"},
		{"application/x-www-form-urlencoded", name + "=%00"},
		{"application/x-www-form-urlencoded", name + "=%ff"},
		{"application/json", `{"` + name + `":"1","` + name + `":"2"}`},
		{"application/" + name, "x"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		_, err := oauth.ReadRequest(r)
		refusal := (*oauth.Error)(nil)
		if !errors.As(err, &refusal) || len(refusal.Description) > 256 {
			t.Errorf("%.40s: %.300v", tt.body, err)
		}
	}
}

func TestErrorWordsStayPrintable(t *testing.T) {
	e := oauth.InvalidRequest.Errorf("the parameter %s", "a\"b\r\nSet-Cookie: x\\é")
	for _, c := range e.Description {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			t.Errorf("%q", e.Description)
		}
	}
	hidden := oauth.AsError(errors.New("password of the database"))
	if hidden.Code != oauth.ServerError || strings.Contains(hidden.Description, "database") || !strings.HasSuffix(hidden.Reason(), " password of the database") {
		t.Errorf("%+v", hidden)
	}
}

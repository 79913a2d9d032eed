package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"kmint/pkg/audit"
	"kmint/pkg/meter"
	"kmint/pkg/oauth"
	"kmint/pkg/web"
)

func edge(log *bytes.Buffer) web.Edge {
	return web.Edge{Log: slog.New(slog.NewJSONHandler(log, nil)), Now: time.Now, Secure: true}
}

func run(h http.Handler, method string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "/x?state=do-not-log", nil))
	return w
}

func fails(err error) web.Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func TestErrorsLeaveOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		handler web.Handler
		status  int
		code    oauth.Code
		logged  string
	}{
		"an OAuth error keeps its cause to itself": {
			fails(oauth.InvalidGrant.Errorf("The code is wrong.").Because(errors.New("spent at noon"))), 400, oauth.InvalidGrant, "spent at noon"},
		"any other error says nothing": {
			fails(errors.New("table on fire")), 500, oauth.ServerError, "table on fire"},
		"a panic neither": {
			func(http.ResponseWriter, *http.Request) error { panic("table on fire") }, 500, oauth.ServerError, "table on fire"},
		"busy asks to come again": {
			fails(web.Busy(errors.New("throttled"), http.ErrHandlerTimeout)), 500, oauth.ServerError, "throttled"},
		"really busy": {
			fails(web.Busy(http.ErrHandlerTimeout, http.ErrHandlerTimeout)), 503, oauth.TemporarilyUnavailable, http.ErrHandlerTimeout.Error()},
		"a method that is not allowed is an invalid_request": {
			web.Methods(fails(nil), "POST"), 405, oauth.InvalidRequest, "not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := run(edge(&log).JSON(tt.handler), http.MethodGet)
			var body oauth.ErrorResponse
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || body.Error != tt.code {
				t.Errorf("answered %d %s", w.Code, body.Error)
			}
			if strings.Contains(w.Body.String(), "noon") || strings.Contains(w.Body.String(), "fire") {
				t.Errorf("the cause went out: %s", w.Body)
			}
			if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), tt.logged) {
				t.Errorf("%d lines: %s", lines, &log)
			}
			if strings.Contains(log.String(), "do-not-log") {
				t.Errorf("the query was logged: %s", &log)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %s", got)
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (tt.status == 503) {
				t.Errorf("Retry-After: %q", retry)
			}
		})
	}
}

func TestErrorPageEscapes(t *testing.T) {
	var log bytes.Buffer
	w := run(edge(&log).Page(fails(oauth.InvalidRequest.Errorf("<script>alert(1)</script>"))), http.MethodGet)
	if w.Code != 400 || strings.Contains(w.Body.String(), "<script>") || !strings.Contains(w.Body.String(), "&lt;script&gt;") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	csp := w.Header().Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, directive) {
			t.Errorf("the policy lacks %s: %s", directive, csp)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		t.Errorf("the policy is loose: %s", csp)
	}
}

// What is for people is told in their language, what is for developers in English.
func TestErrorPagesSpeak(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"a fault of ours":    {errors.New("table on fire"), "<p>Der Server konnte die Anfrage nicht abschließen.</p>"},
		"busy":               {web.Busy(http.ErrHandlerTimeout, http.ErrHandlerTimeout), "<p>Der Server ist ausgelastet. Versuchen Sie es gleich noch einmal.</p>"},
		"a developer's":      {oauth.InvalidRequest.Errorf("The client_id is missing."), `<p lang="en">The client_id is missing.</p>`},
		"a phrase, and more": {oauth.InvalidRequest.Errorf("The server is busy. Try again in a moment. <b>"), `<p lang="en">The server is busy. Try again in a moment. &lt;b&gt;</p>`},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/x?ui_locales=de", nil)
			edge(&bytes.Buffer{}).Page(fails(tt.err)).ServeHTTP(w, r)
			for _, part := range []string{`<html lang="de">`, "<h1>Das hat nicht geklappt</h1>", tt.want} {
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("%s is not in %s", part, w.Body)
				}
			}
			if got := w.Header(); got.Get("Content-Language") != "de" || got.Get("Vary") != "Accept-Language" {
				t.Errorf("%v", got)
			}
		})
	}
}

// What a handler has found counts before the URL, and both before the browser's.
func TestPrefer(t *testing.T) {
	body := web.NewMarkup("x", `<p>{{say "Log in"}}</p>`)
	for name, tt := range map[string]struct{ path, preferred, accepted, want string }{
		"the handler's":          {"/?ui_locales=de", "ja", "fr", "ja"},
		"the URL's":              {"/?ui_locales=de", "", "fr", "de"},
		"the browser's":          {"/", "", "fr", "fr"},
		"none that there is":     {"/?ui_locales=sv", "tlh", "nb", "en"},
		"a URL that is no query": {"/?%zz", "", "fr", "fr"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, tt.path, nil)
		r.Header.Set("Accept-Language", tt.accepted)
		edge(&bytes.Buffer{}).Page(func(w http.ResponseWriter, r *http.Request) error {
			web.Prefer(r.Context(), tt.preferred)
			return web.WritePage(w, http.StatusOK, web.Page{Title: "Log in", Body: body})
		}).ServeHTTP(w, r)
		if got := w.Header().Get("Content-Language"); got != tt.want || !strings.Contains(w.Body.String(), `<html lang="`+tt.want+`">`) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A page has its owner's name, picture and colours, and its policy lets these through and
// nothing else.
func TestBrand(t *testing.T) {
	page := web.Page{Title: "Log in", Body: web.NewMarkup("x", "<p>x</p>")}
	whole := web.Brand{Name: "Acme & Sons", Logo: "https://cdn.example/a.svg?x=1&y=2", LogoDark: "https://dark.example/b.svg", Accent: "#8a1c5b", AccentDark: "#F5B7D0"}
	for name, tt := range map[string]struct {
		brand func(context.Context) (web.Brand, error)
		has   []string
		not   []string
		img   string
	}{
		"none": {nil, []string{"<title>Log in</title>", `class="mark"`}, []string{"<img", "<span"}, ""},
		"whole": {
			func(context.Context) (web.Brand, error) { return whole, nil },
			[]string{
				"<title>Log in · Acme &amp; Sons</title>", `<img src="https://cdn.example/a.svg?x=1&amp;y=2" alt="Acme &amp; Sons"`,
				`<source srcset="https://dark.example/b.svg"`,
				"light){:root{--accent:#8a1c5b}}", "dark){:root{--accent:#F5B7D0}}",
			},
			[]string{`class="mark"`}, "; img-src https://cdn.example https://dark.example",
		},
		"a name": {
			func(context.Context) (web.Brand, error) { return web.Brand{Name: "Acme"}, nil },
			[]string{`class="mark"`, "<span>Acme</span>"}, []string{"<img"}, "",
		},
		"colours that nobody has checked": {
			func(context.Context) (web.Brand, error) {
				return web.Brand{Name: "Acme", Accent: "red}</style>", AccentDark: "#fff"}, nil
			},
			[]string{"<span>Acme</span>"}, []string{"red}", "{--accent:#fff}"}, "",
		},
		"settings that cannot be read": {
			func(context.Context) (web.Brand, error) { return whole, errors.New("table on fire") },
			[]string{"<title>Log in</title>"}, []string{"Acme", "<img"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			on := edge(&log)
			on.Brand = tt.brand
			w := run(on.Page(func(w http.ResponseWriter, _ *http.Request) error { return web.WritePage(w, http.StatusOK, page) }), http.MethodGet)
			body, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
			for _, part := range tt.has {
				if !strings.Contains(body, part) {
					t.Errorf("%s is not in %s", part, body)
				}
			}
			for _, part := range tt.not {
				if strings.Contains(body, part) {
					t.Errorf("%s is in %s", part, body)
				}
			}
			_, style, _ := strings.Cut(body, "<style>")
			style, _, _ = strings.Cut(style, "</style>")
			sum := sha256.Sum256([]byte(style))
			if hash := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"; !strings.Contains(policy, hash) {
				t.Errorf("no %s in %s", hash, policy)
			}
			_, img, _ := strings.Cut(policy, "; img-src")
			if img = strings.TrimSuffix("; img-src"+img, "; img-src"); img != tt.img || strings.Contains(policy, "unsafe") {
				t.Errorf("the policy is %s", policy)
			}
			if burnt := strings.Contains(log.String(), "table on fire"); burnt != (name == "settings that cannot be read") {
				t.Errorf("logged %s", &log)
			}
		})
	}
}

func TestAHandlerThatWritesNothingHasAStatus(t *testing.T) {
	var log bytes.Buffer
	if w := run(edge(&log).JSON(fails(nil)), http.MethodGet); w.Code != http.StatusNoContent {
		t.Errorf("status %d", w.Code)
	}
}

func TestAnnotationsAreOnTheOneLine(t *testing.T) {
	var log bytes.Buffer
	run(edge(&log).JSON(func(w http.ResponseWriter, r *http.Request) error {
		web.Annotate(r.Context(), slog.String("client_id", "c"), slog.Any("secret", oauth.Secret("do-not-log")))
		w.WriteHeader(http.StatusOK)
		return nil
	}), http.MethodGet)
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["client_id"] != "c" || line["secret"] != "[redacted]" || line["status"] != float64(200) || line["path"] != "/x" {
		t.Errorf("%v", line)
	}
}

func TestPreflight(t *testing.T) {
	h := edge(&bytes.Buffer{}).JSON(web.Preflight(func(w http.ResponseWriter, r *http.Request) error {
		web.AllowOrigin(w, r.Header.Get("Origin"), []string{"https://app.example.com"})
		w.WriteHeader(http.StatusOK)
		return nil
	}, "POST"))
	ask := func(method, origin string) http.Header {
		r := httptest.NewRequest(method, "/oauth/token", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Header()
	}
	for _, tt := range []struct{ method, origin, want string }{
		{http.MethodOptions, "https://any.example", "https://any.example"}, // it names no client yet
		{http.MethodPost, "https://app.example.com", "https://app.example.com"},
		{http.MethodPost, "https://any.example", ""},
		{http.MethodPost, "https://app.example.com.any.example", ""},
		{http.MethodPost, "null", ""},
	} {
		got := ask(tt.method, tt.origin)
		if got.Get("Access-Control-Allow-Origin") != tt.want {
			t.Errorf("%s from %s may be read by %q", tt.method, tt.origin, got.Get("Access-Control-Allow-Origin"))
		}
		if got.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("credentials are allowed")
		}
		if !strings.Contains(strings.Join(got.Values("Vary"), ","), "Origin") {
			t.Errorf("no Vary: %v", got)
		}
	}
}

// What scripts of the Auth0 SDKs send and read (their cross-origin requests carry
// auth0-client and dpop, and look for a nonce).
func TestScriptsMayReadNonces(t *testing.T) {
	h := edge(&bytes.Buffer{}).JSON(web.Preflight(func(w http.ResponseWriter, r *http.Request) error {
		web.AllowOrigin(w, r.Header.Get("Origin"), []string{"https://app.example.com"})
		w.Header().Set("DPoP-Nonce", "n")
		return oauth.UseDPoPNonce.Errorf("Authorization server requires nonce in DPoP proof")
	}, "POST, OPTIONS"))
	ask := func(method, origin, headers string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/oauth/token", nil)
		r.Header.Set("Origin", origin)
		if headers != "" {
			r.Header.Set("Access-Control-Request-Headers", headers)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for asked, want := range map[string]string{
		"auth0-client,content-type,dpop": "auth0-client,content-type,dpop",
		"":                               "authorization, content-type, dpop",
	} {
		got := ask(http.MethodOptions, "https://app.example.com", asked)
		if got.Code != http.StatusNoContent || got.Header().Get("Access-Control-Allow-Headers") != want || got.Header().Get("Access-Control-Allow-Methods") != "POST, OPTIONS" {
			t.Errorf("%q: %d %v", asked, got.Code, got.Header())
		}
	}
	// A refusal can be read, and its nonce.
	got := ask(http.MethodPost, "https://app.example.com", "")
	exposed := strings.Split(got.Header().Get("Access-Control-Expose-Headers"), ", ")
	for _, name := range []string{"DPoP-Nonce", "WWW-Authenticate", "Retry-After"} {
		if !slices.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %v", name, exposed)
		}
	}
	if got.Code != http.StatusBadRequest || got.Header().Get("DPoP-Nonce") != "n" || got.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	if got := ask(http.MethodPost, "https://other.example.com", "").Header(); got.Get("Access-Control-Expose-Headers") != "" || got.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", got)
	}
}

// RFC 9449 §5 and §8 have both faults of a proof in a 400 at the token endpoint; a 401
// alone is challenged (RFC 6749 §5.2), whichever profile it is in.
func TestChallenges(t *testing.T) {
	refusedClient := oauth.InvalidClient.Errorf("Client authentication failed.").Named(oauth.CaseClient)
	for name, tt := range map[string]struct {
		err       error
		status    int
		challenge string
	}{
		"a wrong proof":                   {oauth.InvalidDPoPProof.Errorf("The DPoP proof is invalid."), 400, ""},
		"a proof without nonce":           {oauth.UseDPoPNonce.Errorf("A nonce is needed."), 400, ""},
		"a proof without nonce, by Auth0": {oauth.InProfile(oauth.UseDPoPNonce.Errorf("A nonce is needed.").Named(oauth.CaseDPoPNonce), oauth.Auth0), 400, ""},
		"a wrong client":                  {refusedClient, 401, `Basic realm="kmint"`},
		"a wrong client, by Auth0":        {oauth.InProfile(refusedClient, oauth.Auth0), 401, `Basic realm="kmint"`},
		"a locked name, by Auth0":         {oauth.InProfile(oauth.InvalidGrant.Errorf("Locked.").Named(oauth.CaseTooManyAttempts), oauth.Auth0), 429, ""},
	} {
		w := run(edge(&bytes.Buffer{}).JSON(fails(tt.err)), http.MethodPost)
		if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: %d %q", name, w.Code, w.Header().Get("WWW-Authenticate"))
		}
	}
	// An endpoint with challenges of its own keeps them.
	w := run(edge(&bytes.Buffer{}).JSON(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		return oauth.InvalidToken.Errorf("No.")
	}), http.MethodPost)
	if got := w.Header().Values("WWW-Authenticate"); w.Code != 401 || len(got) != 1 || !strings.HasPrefix(got[0], "DPoP ") {
		t.Errorf("%d %q", w.Code, got)
	}
}

// What has happened is printed once, before the request's line, and counted, whatever
// becomes of the request.
func TestAuditIsPrinted(t *testing.T) {
	defined := map[meter.Metric]bool{}
	for _, d := range meter.Metrics() {
		defined[d.Name] = true
	}
	for event, kind := range audit.Kinds() {
		for _, metric := range kind.Metrics {
			if !defined[meter.Metric(metric)] {
				t.Errorf("%s counts for %s, which there is not", event, metric)
			}
		}
	}
	for name, end := range map[string]func() error{
		"an answer": func() error { return nil },
		"an error":  func() error { return errors.New("table on fire") },
		"a panic":   func() error { panic("table on fire") },
	} {
		var log bytes.Buffer
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "r1"})
		ctx = context.WithValue(ctx, "x-amzn-trace-id", "Root=1-2-3;Parent=4;Sampled=0") //nolint:revive,staticcheck // as package lambda does
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/x", nil)
		r.RemoteAddr = "2001:db8::7"
		r.Header.Set("X-Forwarded-For", "192.0.2.66")
		r.Header.Set("X-Amzn-Trace-Id", "Root=of-the-caller")
		edge(&log).JSON(func(w http.ResponseWriter, r *http.Request) error {
			audit.Happened(r.Context(), audit.CodeReplayed)
			web.AllowOrigin(w, "https://evil.example", []string{"https://app.example"})
			web.Annotate(r.Context(), slog.String("client_id", "web"), slog.String("revoked", "nothing"))
			audit.Note(r.Context(), slog.String("sid", "s1"))
			return end()
		}).ServeHTTP(httptest.NewRecorder(), r)
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		same := `"request_id":"r1","trace_id":"1-2-3",`
		whose := `"ip":"2001:db8::7","client_id":"web","sid":"s1"`
		for i, want := range []string{
			`"level":"WARN","msg":"audit","event":"code_replayed","auth0":"feacft",` + same + whose,
			`"level":"WARN","msg":"audit","event":"cors_refused","auth0":"fco",` + same + whose,
			same + `"client_id":"web","revoked":"nothing"`,
		} {
			if len(lines) != 3 || !strings.Contains(lines[i], want) {
				t.Fatalf("%s: line %d of %d lacks %s:\n%s", name, i, len(lines), want, &log)
			}
		}
		failed := name != "an answer"
		if strings.Contains(lines[0], "table on fire") != failed || strings.Contains(log.String(), "192.0.2.66") || strings.Contains(log.String(), "of-the-caller") ||
			!strings.Contains(lines[2], `"msg":"request"`) || !strings.Contains(lines[2], `"token_failed":1,"replays":1,"_aws":`) {
			t.Errorf("%s:\n%s", name, &log)
		}
	}
}

// A text of somebody else's is cut, wherever it is logged, and a short one is not.
func TestLongTextsAreCut(t *testing.T) {
	var log bytes.Buffer
	long, short := strings.Repeat("x", 1<<17), strings.Repeat("y", 2000)
	run(edge(&log).JSON(func(_ http.ResponseWriter, r *http.Request) error {
		web.Annotate(r.Context(), slog.String("cause", long), slog.String("client_id", short), slog.String("sub", long))
		audit.Happened(r.Context(), audit.TokenRevoked)
		return oauth.InvalidRequest.Errorf("%s", long).Because(errors.New(long))
	}), http.MethodGet)
	if lines := strings.Count(log.String(), "\n"); lines != 2 || log.Len() > 20000 || strings.Count(log.String(), `"`+short+`"`) != 2 {
		t.Errorf("%d lines of %d bytes: %.500s", lines, log.Len(), &log)
	}
}

package server_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/gateway"
)

// A transcript is a flow as a client developer would read it: what goes out,
// what comes back, and why a header matters. testdata/*.txt are run twice,
// against the bare handlers and through the Lambda adapter.
//
//	# a remark
//	> POST /oauth/token              a request: the line,
//	> Authorization: Basic ${x}      its headers,
//	>
//	> grant_type=refresh_token       and its form, a field on each line, encoded here
//	>| {"a": 1}                      or its raw body
//	< 200                            the status, which ends the request and sends it
//	< Cache-Control: no-store        a header, compared whole
//	< !Location                      a header that must not be there
//	< ~Location: ^https://           a header, by a pattern
//	< header name => variable        keeps a header
//	< body ~ pattern                 the body, by a pattern
//	< json name = value              a member of the JSON body; "-" for none
//	< json name => variable          keeps it
//	< query name => variable         keeps a parameter of the Location header; also =
//	< fragment name => variable      likewise, of its fragment
//	< field name => variable         keeps a form's hidden field
//	< cookie => variable             keeps the name=value of each Set-Cookie, to send as Cookie
//	! proof, jwt, thumbprint         what a client makes with a key (forge_test.go)
//	< claim variable name = value    a claim of a JWT that was kept (signatures are verified elsewhere)
//
// ${name} stands for what was kept, or for what the test gives.
type transcript struct {
	t       *testing.T
	name    string
	line    int
	send    func(*http.Request) *http.Response
	vars    map[string]string
	request []string
	raw     string
	answer  *http.Response
	body    string
	keys    map[string]jose.JSONWebKey
}

func (s *transcript) run(file io.Reader) {
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		s.line++
		line := s.expand(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, ">| "):
			s.raw = line[3:]
		case line == ">" || strings.HasPrefix(line, "> "):
			s.request = append(s.request, strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
		case strings.HasPrefix(line, "! "):
			s.forge(line[2:])
		case strings.HasPrefix(line, "< "):
			s.expect(line[2:])
		default:
			s.failf("not a line of a transcript: %s", line)
		}
	}
	if len(s.request) > 0 {
		s.failf("the last request expects no answer")
	}
}

func (s *transcript) failf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s:%d: %s", s.name, s.line, fmt.Sprintf(format, args...))
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

func (s *transcript) expand(line string) string {
	return variable.ReplaceAllStringFunc(line, func(v string) string {
		value, ok := s.vars[v[2:len(v)-1]]
		if !ok {
			s.failf("%s was not kept", v)
		}
		return value
	})
}

// exchange sends the request that was gathered.
func (s *transcript) exchange() {
	method, target, _ := strings.Cut(s.request[0], " ")
	headers, form := s.request[1:], []string(nil)
	for i, line := range headers {
		if line == "" {
			headers, form = headers[:i], headers[i+1:]
			break
		}
	}
	body := s.raw
	if form != nil {
		var pairs []string
		for _, field := range form {
			name, value, _ := strings.Cut(field, "=")
			pairs = append(pairs, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
		body = strings.Join(pairs, "&")
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	s.answer = s.send(r)
	read, err := io.ReadAll(s.answer.Body)
	if err != nil {
		s.failf("%v", err)
	}
	s.body, s.request, s.raw = string(read), nil, ""
}

func (s *transcript) expect(want string) {
	if status, err := strconv.Atoi(want); err == nil {
		if len(s.request) == 0 {
			s.failf("an answer without a request")
		}
		s.exchange()
		if s.answer.StatusCode != status {
			s.failf("status %d, want %d: %s", s.answer.StatusCode, status, s.body)
		}
		return
	}
	if s.answer == nil {
		s.failf("nothing was answered yet")
	}
	word, rest, _ := strings.Cut(want, " ")
	switch word {
	case "json", "query", "fragment", "field", "cookie", "claim", "header":
		s.value(word, rest)
	case "body":
		s.match("the body", strings.TrimPrefix(rest, "~ "), s.body)
	default:
		s.header(want)
	}
}

func (s *transcript) header(want string) {
	if name, ok := strings.CutPrefix(want, "!"); ok {
		if got := s.answer.Header.Values(name); len(got) > 0 {
			s.failf("%s is there: %q", name, got)
		}
		return
	}
	name, value, ok := strings.Cut(want, ": ")
	if !ok {
		s.failf("not an expectation: %s", want)
	}
	pattern, isPattern := strings.CutPrefix(name, "~")
	got := strings.Join(s.answer.Header.Values(pattern), ", ")
	if isPattern {
		s.match(pattern, value, got)
	} else if got != value {
		s.failf("%s is %q, want %q", name, got, value)
	}
}

func (s *transcript) match(what, pattern, got string) {
	ok, err := regexp.MatchString(pattern, got)
	if err != nil {
		s.failf("%v", err)
	}
	if !ok {
		s.failf("%s does not match %s: %s", what, pattern, got)
	}
}

// value compares or keeps a part of the answer.
func (s *transcript) value(kind, rest string) {
	if name, ok := strings.CutPrefix(rest, "=> "); ok && kind == "cookie" {
		var pairs []string
		for _, c := range s.answer.Cookies() {
			if c.MaxAge >= 0 {
				pairs = append(pairs, c.Name+"="+c.Value)
			}
		}
		s.vars[name] = strings.Join(pairs, "; ")
		return
	}
	path, want, compare := strings.Cut(rest, " = ")
	path, keep, kept := strings.Cut(path, " => ")
	got, found := s.find(kind, path)
	switch {
	case kept && !found:
		s.failf("there is no %s %s: %s", kind, path, s.body)
	case kept:
		s.vars[keep] = got
	case compare && want == "-":
		if found {
			s.failf("%s %s is %q", kind, path, got)
		}
	case compare && (!found || got != want):
		s.failf("%s %s is %q, want %q: %s", kind, path, got, want, s.body)
	case !compare:
		s.failf("not an expectation: %s %s", kind, rest)
	}
}

func (s *transcript) find(kind, path string) (string, bool) {
	switch kind {
	case "header":
		return s.answer.Header.Get(path), s.answer.Header.Get(path) != ""
	case "query":
		location, err := url.Parse(s.answer.Header.Get("Location"))
		if err != nil {
			s.failf("%v", err)
		}
		return location.Query().Get(path), location.Query().Has(path)
	case "fragment":
		_, fragment, _ := strings.Cut(s.answer.Header.Get("Location"), "#")
		parameters, err := url.ParseQuery(fragment)
		if err != nil {
			s.failf("%v", err)
		}
		return parameters.Get(path), parameters.Has(path)
	case "field":
		found := regexp.MustCompile(`name="` + path + `" value="([^"]*)"`).FindStringSubmatch(s.body)
		if found == nil {
			return "", false
		}
		return html.UnescapeString(found[1]), true
	case "claim":
		name, claim, _ := strings.Cut(path, " ")
		parts := strings.Split(s.vars[name], ".")
		if len(parts) != 3 {
			s.failf("%s is no JWT", name)
		}
		part := parts[1]
		if header, ok := strings.CutPrefix(claim, "header."); ok {
			part, claim = parts[0], header
		}
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			s.failf("%v", err)
		}
		return s.member(raw, claim)
	default:
		return s.member([]byte(s.body), path)
	}
}

func (s *transcript) member(document []byte, name string) (string, bool) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		s.failf("not JSON: %s", document)
	}
	raw, ok := members[name]
	if text := ""; json.Unmarshal(raw, &text) == nil {
		return text, ok
	}
	return string(raw), ok
}

// bare sends to the handler itself.
func bare(h http.Handler) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
}

// adapted sends through API Gateway's payload 2.0 and the Lambda adapter.
func adapted(t *testing.T, h http.Handler) func(*http.Request) *http.Response {
	proxy := gateway.Proxy(h)
	return func(r *http.Request) *http.Response {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		event := events.APIGatewayV2HTTPRequest{
			Version: "2.0", RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery,
			Headers: map[string]string{"host": "auth.example.com"},
			Body:    base64.StdEncoding.EncodeToString(body), IsBase64Encoded: true,
			RequestContext: events.APIGatewayV2HTTPRequestContext{
				Stage: "$default", DomainName: "auth.example.com",
				HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.Method, Path: r.URL.Path},
			},
		}
		for name, values := range r.Header {
			if name == "Cookie" {
				event.Cookies = strings.Split(strings.Join(values, "; "), "; ")
				continue
			}
			event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
		answer, err := proxy(t.Context(), event)
		if err != nil {
			t.Fatal(err)
		}
		out := &http.Response{StatusCode: answer.StatusCode, Header: http.Header{}}
		for name, value := range answer.Headers {
			out.Header.Set(name, value)
		}
		for name, values := range answer.MultiValueHeaders {
			out.Header[http.CanonicalHeaderKey(name)] = values
		}
		for _, c := range answer.Cookies {
			out.Header.Add("Set-Cookie", c)
		}
		text := answer.Body
		if answer.IsBase64Encoded {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			text = string(raw)
		}
		out.Body = io.NopCloser(strings.NewReader(text))
		return out
	}
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range files {
		for _, door := range []string{"bare", "lambda"} {
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txt")+"/"+door, func(t *testing.T) {
				file, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = file.Close() }()
				house := build(t)
				s := &transcript{t: t, name: filepath.Base(path), send: bare(house), vars: given()}
				if door == "lambda" {
					s.send = adapted(t, house)
				}
				s.run(file)
			})
		}
	}
}

package lambda

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// queues is an Amazon SQS that takes messages.
type queues struct {
	mu       sync.Mutex
	messages []string
}

func (q *queues) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var batch struct {
		Entries []struct{ ID, MessageBody string }
	}
	if err := json.Unmarshal(raw, &batch); err != nil || r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var taken []string
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range batch.Entries {
		q.messages = append(q.messages, e.MessageBody)
		taken = append(taken, fmt.Sprintf(`{"Id":%q,"MessageId":"m"}`, e.ID))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = fmt.Fprintf(w, `{"Successful":[%s]}`, strings.Join(taken, ","))
}

// A surfer is a browser before API Gateway.
type surfer struct {
	t        *testing.T
	function *Environment
	cookies  map[string]string
}

func (s *surfer) ask(method, path string, query, form url.Values) events.APIGatewayV2HTTPResponse {
	s.t.Helper()
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RawPath: path, RawQueryString: query.Encode(), Headers: map[string]string{"host": "auth.example.com"}, Body: form.Encode(),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			Stage: "$default", DomainName: "auth.example.com", HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: method, Path: path},
		},
	}
	if form != nil {
		e.Headers["content-type"] = "application/x-www-form-urlencoded"
	}
	for name, value := range s.cookies {
		e.Cookies = append(e.Cookies, name+"="+value)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		s.t.Fatal(err)
	}
	payload, _, err := s.function.Invoke(s.t.Context(), raw)
	if err != nil {
		s.t.Fatal(err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(payload, &answer); err != nil {
		s.t.Fatal(err)
	}
	for _, line := range answer.Cookies {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			s.t.Fatal(err)
		}
		if s.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		}
	}
	return answer
}

// form is the hidden fields of a page.
func form(page string) url.Values {
	fields := url.Values{}
	for _, f := range regexp.MustCompile(`name="(request|seal)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		fields.Set(f[1], html.UnescapeString(f[2]))
	}
	return fields
}

// TestLogout leaves through the built functions: the clients of the session, which is
// an item of DynamoDB Local, are put into the queue, and what takes them out again
// answers message by message. No client can be on the function's own machine.
func TestLogout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := &queues{}
	sqs := httptest.NewServer(q)
	t.Cleanup(sqs.Close)
	run := func(function string, more map[string]string) *Environment {
		env := r.env(function)
		maps.Copy(env, more)
		e, err := Start(t.Context(), Function{Name: "kmint-" + function, Bootstrap: buildFunction(t, function), Env: env})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	s := &surfer{t, run("authorize", map[string]string{"AWS_ENDPOINT_URL_SQS": sqs.URL}), map[string]string{}}
	ask := func(client, redirect string) url.Values {
		return url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"openid"}}
	}
	login := form(s.ask(http.MethodGet, "/authorize", ask("demo-web", "http://localhost:8080/callback"), nil).Body)
	login.Set("username", "demo")
	login.Set("password", "correct horse battery staple")
	if a := s.ask(http.MethodPost, "/authorize", nil, login); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("the login: %+v", a)
	}
	if a := s.ask(http.MethodGet, "/authorize", ask("demo-hybrid", "http://localhost:8080/hybrid"), nil); a.StatusCode != http.StatusFound || !strings.Contains(a.Headers["Location"], "code=") {
		t.Fatalf("the second client: %+v", a)
	}
	asked := s.ask(http.MethodGet, "/oidc/logout", nil, nil)
	if asked.StatusCode != http.StatusOK || !strings.Contains(asked.Body, "<h1>Log out?</h1>") || len(q.messages) > 0 {
		t.Fatalf("nobody is asked: %+v", asked)
	}
	kept := maps.Clone(s.cookies)
	left := s.ask(http.MethodPost, "/oidc/logout", nil, form(asked.Body))
	if left.StatusCode != http.StatusOK || !strings.Contains(left.Body, `<iframe src="http://localhost:8080/hybrid/logged-out?iss=`) {
		t.Errorf("not logged out: %+v", left)
	}
	// The session is gone, and not only its cookie.
	s.cookies = kept
	query := ask("demo-web", "http://localhost:8080/callback")
	query.Set("prompt", "none")
	if a := s.ask(http.MethodGet, "/authorize", query, nil); !strings.Contains(a.Headers["Location"], "error=login_required") {
		t.Errorf("afterwards: %+v", a)
	}
	var notice map[string]string
	if len(q.messages) != 1 || json.Unmarshal([]byte(q.messages[0]), &notice) != nil || notice["client_id"] != "demo-hybrid" || notice["sub"] != "demo-user" || len(notice["sid"]) != 43 {
		t.Fatalf("in the queue: %q", q.messages)
	}

	deliver := run("deliver", map[string]string{"AWS_ENDPOINT_URL_KMS": r.kmsURL})
	batch := events.SQSEvent{}
	for id, body := range []string{q.messages[0], `{"client_id":"gone","sub":"u","sid":"s"}`, `{"client_id":"demo-web","sub":"u","sid":"s"}`, "garbage"} {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: fmt.Sprint("m", id), Body: body, EventSource: "aws:sqs"})
	}
	raw, err := json.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := deliver.Invoke(t.Context(), raw)
	if want := `{"batchItemFailures":[{"itemIdentifier":"m0"},{"itemIdentifier":"m3"}]}`; err != nil || string(payload) != want {
		t.Errorf("%s %v, want %s", payload, err, want)
	}
	lines, err := deliver.Log()
	if err != nil || len(lines) != 4 || !slices.ContainsFunc(lines, func(l string) bool {
		return strings.Contains(l, "is refused: the address is not https") && strings.Contains(l, `"client_id":"demo-hybrid"`)
	}) || strings.Contains(strings.Join(lines, ""), "eyJ") {
		t.Errorf("the log: %v\n%s", err, strings.Join(lines, "\n"))
	}
}

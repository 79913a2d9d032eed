package lambda

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"go.yaml.in/yaml/v3"

	"kmint/infra/rig/ddb"
)

const root = "../.."

// A stand-in is ${kind} or ${kind.which}: what an earlier answer gave, or what an
// answer may differ in.
var standIn = regexp.MustCompile(`\$\{([a-z_]+(?:\.[a-z0-9_]+)?)\}`)

// expand puts values in place of the stand-ins.
func expand(text string, values map[string]any, escape func(string) string) (string, error) {
	var missing error
	text = standIn.ReplaceAllStringFunc(text, func(name string) string {
		value, ok := values[name[2:len(name)-1]].(string)
		if !ok {
			missing = errors.Join(missing, fmt.Errorf("nothing was kept for %s", name))
		}
		return escape(value)
	})
	return text, missing
}

func plain(s string) string { return s }

func inJSON(s string) string {
	quoted, _ := json.Marshal(s) // a string never fails
	return string(quoted[1 : len(quoted)-1])
}

// fill replaces the stand-ins of an event, each escaped as its place asks for: in a
// form, a query, a header, or a message, which is JSON.
func fill(event []byte, values map[string]any) ([]byte, error) {
	var e map[string]any
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	var problems []error
	place := func(text any, escape func(string) string) string {
		filled, err := expand(text.(string), values, escape)
		problems = append(problems, err)
		return filled
	}
	if records, ok := e["Records"].([]any); ok {
		for _, record := range records {
			message := record.(map[string]any)
			message["body"] = place(message["body"], inJSON)
		}
		if err := errors.Join(problems...); err != nil {
			return nil, err
		}
		return json.Marshal(e)
	}
	headers := e["headers"].(map[string]any)
	for name, value := range headers {
		headers[name] = place(value, plain)
	}
	if cookies, ok := e["cookies"].([]any); ok {
		for i := range cookies {
			cookies[i] = place(cookies[i], plain)
		}
	}
	e["rawQueryString"] = place(e["rawQueryString"], url.QueryEscape)
	if parameters, ok := e["queryStringParameters"].(map[string]any); ok {
		for name, value := range parameters {
			parameters[name] = place(value, plain)
		}
	}
	if body, ok := e["body"].(string); ok {
		escape := inJSON
		if e["isBase64Encoded"] == true {
			raw, err := base64.StdEncoding.DecodeString(body)
			if err != nil {
				return nil, err
			}
			body, escape = string(raw), url.QueryEscape
		}
		body = place(body, escape)
		headers["content-length"] = strconv.Itoa(len(body))
		if e["isBase64Encoded"] == true {
			body = base64.StdEncoding.EncodeToString([]byte(body))
		}
		e["body"] = body
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// secretParameters are those whose values no log may hold.
var secretParameters = []string{
	"access_token", "actor_token", "client_assertion", "client_secret", "code", "code_verifier", "id_token_hint", "password",
	"refresh_token", "request", "seal", "state", "subject_token", "token",
}

// secretsOf lists the values in an event that no log may hold.
func secretsOf(t *testing.T, raw []byte) []string {
	t.Helper()
	e := decode[events.APIGatewayV2HTTPRequest](t, raw)
	var secrets []string
	if scheme, credentials, ok := strings.Cut(e.Headers["authorization"], " "); ok {
		secrets = append(secrets, credentials)
		if scheme == "Basic" {
			pair, err := base64.StdEncoding.DecodeString(credentials)
			if err != nil {
				t.Fatal(err)
			}
			_, password, _ := strings.Cut(string(pair), ":")
			secrets = append(secrets, password)
		}
	}
	secrets = append(secrets, e.Headers["dpop"])
	for _, cookie := range e.Cookies {
		_, value, _ := strings.Cut(cookie, "=")
		secrets = append(secrets, value)
	}
	parameters := []string{e.RawQueryString}
	switch {
	case e.IsBase64Encoded:
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		parameters = append(parameters, string(body))
	case e.Body != "":
		members := decode[map[string]any](t, []byte(e.Body))
		for _, name := range secretParameters {
			if text, ok := members[name].(string); ok {
				secrets = append(secrets, text)
			}
		}
	}
	for _, encoded := range parameters {
		values, err := url.ParseQuery(encoded)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range secretParameters {
			secrets = append(secrets, values[name]...)
		}
	}
	return secrets
}

// presented are the claims of the JWT that a request asks about or exchanges, nil
// for none. Where it comes with an actor's, they have the exp of the one that ends
// first.
func presented(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	e := decode[events.APIGatewayV2HTTPRequest](t, raw)
	body, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil || !e.IsBase64Encoded {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, cmp.Or(form.Get("token"), form.Get("subject_token")))
	if actor := claimsOf(t, form.Get("actor_token")); actor != nil && claims != nil {
		first, errFirst := seconds(claims["exp"])
		other, errOther := seconds(actor["exp"])
		if err := errors.Join(errFirst, errOther); err != nil {
			t.Fatal(err)
		}
		if other < first {
			claims["exp"] = actor["exp"]
		}
	}
	return claims
}

// claimsOf are those of a JWT, nil where it is none.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	return readTree(t, payload).(map[string]any)
}

// eventFiles lists every event below events/, as token/client_credentials.
func eventFiles(t *testing.T) (names []string) {
	t.Helper()
	dir := filepath.Join(root, "events")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name, isJSON := strings.CutSuffix(filepath.ToSlash(name), ".json")
		if !isJSON && name != "README.md" {
			return fmt.Errorf("%s is no event", path)
		}
		if !isJSON {
			return nil
		}
		if event, isGolden := strings.CutSuffix(name, ".golden"); isGolden {
			if _, err := os.Stat(eventPath(event)); err != nil {
				return fmt.Errorf("%s is the answer to nothing: %w", path, err)
			}
			return nil
		}
		names = append(names, name)
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%d events: %v", len(names), err)
	}
	return names
}

func eventPath(name string) string {
	return filepath.Join(root, "events", filepath.FromSlash(name)+".json")
}

func goldenPath(name string) string { return eventPath(name + ".golden") }

func readEvent(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(eventPath(name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// unrouted are events that template.yaml routes to no function: what a function
// answers should somebody route ANY to it.
var unrouted = []string{"discovery/jwks_post"}

// TestEventsAreThoseOfTheGateway holds the events against what "Create AWS Lambda
// proxy integrations for HTTP APIs in API Gateway" says of payload format 2.0, and
// against the routes of template.yaml.
func TestEventsAreThoseOfTheGateway(t *testing.T) {
	routes := templateRoutes(t)
	for _, name := range eventFiles(t) {
		t.Run(name, func(t *testing.T) {
			raw := readEvent(t, name)
			function, _, _ := strings.Cut(name, "/")
			strict := json.NewDecoder(bytes.NewReader(raw))
			strict.DisallowUnknownFields()
			switch function {
			case "deliver":
				checkMessages(t, strict)
				return
			case "rotate":
				checkSchedule(t, strict)
				return
			}
			var e events.APIGatewayV2HTTPRequest
			if err := strict.Decode(&e); err != nil {
				t.Fatal(err)
			}
			c := e.RequestContext
			method, path, _ := strings.Cut(e.RouteKey, " ")
			if routed := routes[e.RouteKey] == function; routed == slices.Contains(unrouted, name) {
				t.Errorf("the route %s leads to %q", e.RouteKey, routes[e.RouteKey])
			}
			if own, greedy := e.PathParameters["proxy"]; greedy {
				path = strings.ReplaceAll(path, "{proxy+}", own)
			}
			if e.Version != "2.0" || c.RouteKey != e.RouteKey || c.HTTP.Method != method || c.HTTP.Path != e.RawPath || e.RawPath != path {
				t.Errorf("route, method and path differ: %s, %+v, %s", e.RouteKey, c.HTTP, e.RawPath)
			}
			if c.Stage != "$default" || e.Headers["host"] != c.DomainName || !strings.HasPrefix(c.DomainName, c.DomainPrefix+".") ||
				e.Headers["user-agent"] != c.HTTP.UserAgent || e.Headers["x-forwarded-for"] != c.HTTP.SourceIP {
				t.Errorf("context and headers differ: %+v, %v", c, e.Headers)
			}
			for header := range e.Headers {
				if header != strings.ToLower(header) || header == "cookie" {
					t.Errorf("the header %s", header)
				}
			}
			checkQuery(t, e)
			checkBody(t, e)
		})
	}
}

// checkMessages holds a batch against what "Using Lambda with Amazon SQS" shows.
func checkMessages(t *testing.T, d *json.Decoder) {
	t.Helper()
	var e events.SQSEvent
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range e.Records {
		if m.EventSource != "aws:sqs" || m.EventSourceARN == "" || m.AWSRegion == "" || m.ReceiptHandle == "" || m.MessageId == "" || seen[m.MessageId] {
			t.Errorf("%+v", m)
		}
		seen[m.MessageId] = true
	}
	if len(seen) == 0 {
		t.Error("there is no message")
	}
}

// checkSchedule holds an event against what "Using AWS Lambda with Amazon EventBridge"
// shows.
func checkSchedule(t *testing.T, d *json.Decoder) {
	t.Helper()
	var e events.EventBridgeEvent
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	if e.DetailType != "Scheduled Event" || e.Source != "aws.events" || string(e.Detail) != "{}" || len(e.Resources) != 1 {
		t.Errorf("%+v", e)
	}
}

// checkQuery: "Duplicate query strings are combined with commas and included in
// the queryStringParameters field."
func checkQuery(t *testing.T, e events.APIGatewayV2HTTPRequest) {
	t.Helper()
	values, err := url.ParseQuery(e.RawQueryString)
	if err != nil {
		t.Fatal(err)
	}
	joined := map[string]string{}
	for name, list := range values {
		joined[name] = strings.Join(list, ",")
	}
	if !maps.Equal(joined, e.QueryStringParameters) {
		t.Errorf("the query is %v, parsed %v", joined, e.QueryStringParameters)
	}
}

// checkBody: only text, JSON, JavaScript and XML are not encoded.
func checkBody(t *testing.T, e events.APIGatewayV2HTTPRequest) {
	t.Helper()
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			t.Fatal(err)
		}
	}
	if length := e.Headers["content-length"]; len(body) > 0 && length != strconv.Itoa(len(body)) {
		t.Errorf("content-length is %s for %d bytes", length, len(body))
	}
	if len(body) == 0 {
		return
	}
	media, _, err := mime.ParseMediaType(e.Headers["content-type"])
	if err != nil {
		t.Fatal(err)
	}
	if text := media == "application/json" || strings.HasPrefix(media, "text/"); text == e.IsBase64Encoded {
		t.Errorf("%s and isBase64Encoded %v", media, e.IsBase64Encoded)
	}
}

// A samTemplate is what these tests read of template.yaml.
type samTemplate struct {
	Globals struct {
		Function samProperties `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]struct {
		Properties samProperties `yaml:"Properties"`
	} `yaml:"Resources"`
}

type samProperties struct {
	Environment struct {
		Variables map[string]yaml.Node `yaml:"Variables"`
	} `yaml:"Environment"`
	Events map[string]struct {
		Type       string `yaml:"Type"`
		Properties struct {
			Method string `yaml:"Method"`
			Path   string `yaml:"Path"`
		} `yaml:"Properties"`
	} `yaml:"Events"`
}

func readTemplate(t *testing.T) (template samTemplate) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	return template
}

// templateRoutes maps each route of template.yaml to the folder of its function.
func templateRoutes(t *testing.T) map[string]string {
	t.Helper()
	routes := map[string]string{}
	for id, resource := range readTemplate(t).Resources {
		for _, e := range resource.Properties.Events {
			if e.Type == "HttpApi" {
				routes[e.Properties.Method+" "+e.Properties.Path] = strings.ToLower(strings.TrimSuffix(id, "Function"))
			}
		}
	}
	return routes
}

// The functions of these tests get the variables of template.yaml: not one more, on
// which what is deployed could not rely, and not one less.
func TestEnvironmentIsThatOfTheTemplate(t *testing.T) {
	template := readTemplate(t)
	for _, function := range []string{"authorize", "deliver", "discovery", "rotate", "token", "userinfo"} {
		declared := slices.Collect(maps.Keys(template.Globals.Function.Environment.Variables))
		id := strings.ToUpper(function[:1]) + function[1:] + "Function"
		declared = slices.AppendSeq(declared, maps.Keys(template.Resources[id].Properties.Environment.Variables))
		slices.Sort(declared)
		env := (&rig{db: &ddb.Local{}}).env(function)
		if given := slices.Sorted(maps.Keys(env)); !slices.Equal(given, declared) {
			t.Errorf("%s gets %q, and the template declares %q", function, given, declared)
		}
	}
}

func TestFillEscapes(t *testing.T) {
	event := []byte(`{"headers": {"authorization": "Bearer ${a}", "content-length": "0"}, "cookies": ["c=${a}"],
		"rawQueryString": "q=${a}", "queryStringParameters": {"q": "${a}"}, "isBase64Encoded": true,
		"body": "` + base64.StdEncoding.EncodeToString([]byte("x=1&b=${b.two}")) + `"}`)
	filled, err := fill(event, map[string]any{"a": "1&2", "b.two": `3="4"`})
	if err != nil {
		t.Fatal(err)
	}
	e := decode[events.APIGatewayV2HTTPRequest](t, filled)
	body, _ := base64.StdEncoding.DecodeString(e.Body)
	if e.Headers["authorization"] != "Bearer 1&2" || e.Cookies[0] != "c=1&2" || e.RawQueryString != "q=1%262" ||
		e.QueryStringParameters["q"] != "1&2" || string(body) != "x=1&b=3%3D%224%22" || e.Headers["content-length"] != "17" {
		t.Errorf("%s\n%s", filled, body)
	}
	if _, err := fill(event, map[string]any{"a": "1"}); err == nil || !strings.Contains(err.Error(), "${b.two}") {
		t.Errorf("a value that is missing: %v", err)
	}
}

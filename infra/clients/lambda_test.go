package clients

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"go.yaml.in/yaml/v3"

	"kmint/infra/lambda"
	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
)

// TestBootstraps is the example's clients at what is deployed: the same file goes
// through `kmint import` into DynamoDB and KMS, and the built functions answer
// behind a gateway. No function is told its issuer: it is the one that the import
// wrote.
func TestBootstraps(t *testing.T) {
	t.Parallel()
	local := ddb.ForTest(t)
	tables := ddb.Tables{Config: "clients-config", Users: "clients-users", Grants: "clients-grants"}
	if err := ddb.CreateTables(t.Context(), local.Client(), tables); err != nil {
		t.Fatal(err)
	}
	keys := kmstest.New()
	kms := httptest.NewServer(keys)
	t.Cleanup(kms.Close)
	signingKey, err := keys.Create(kmstest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	macKey, err := keys.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://localhost:" + port + "/"
	endpoints := map[string]string{"STACK": "kmint", "AWS_ENDPOINT_URL_DYNAMODB": local.URL, "AWS_ENDPOINT_URL_KMS": kms.URL}

	importer := func() string {
		t.Helper()
		program, err := buildImport()
		if err != nil {
			t.Fatal(err)
		}
		command := exec.Command(program, "import", "--config-table", tables.Config, "--users-table", tables.Users,
			"--signing-key", signingKey, "--issuer", issuer, "--seed", filepath.Join("infra", "examples", "seed.json"))
		command.Dir = root
		command.Env = []string{"HOME=" + t.TempDir(), "AWS_REGION=" + kmstest.Region, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local"}
		for name, value := range endpoints {
			command.Env = append(command.Env, name+"="+value)
		}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("kmint import: %v\n%s", err, out)
		}
		return string(out)
	}
	if first := importer(); !strings.Contains(first, "created") {
		t.Errorf("the first import:\n%s", first)
	}
	changes, _, _ := strings.Cut(importer(), "\n\n")
	for line := range strings.Lines(changes) {
		if !strings.HasPrefix(line, "unchanged ") {
			t.Errorf("the second import: %s", line)
		}
	}

	g := &gateway{t: t, routes: templateRoutes(t), functions: map[string]*lambda.Environment{}}
	for name, env := range map[string]map[string]string{
		"token":     {"CONFIG_TABLE": tables.Config, "USERS_TABLE": tables.Users, "GRANTS_TABLE": tables.Grants, "MAC_KEY": macKey, "TOKEN_PATH": "/oauth2/token"},
		"authorize": {"CONFIG_TABLE": tables.Config, "USERS_TABLE": tables.Users, "GRANTS_TABLE": tables.Grants, "MAC_KEY": macKey, "LOGOUT_QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/kmint-logout"},
		"userinfo":  {"CONFIG_TABLE": tables.Config, "USERS_TABLE": tables.Users, "GRANTS_TABLE": tables.Grants, "MAC_KEY": macKey},
		"discovery": {"CONFIG_TABLE": tables.Config, "TOKEN_PATH": "/oauth/token"},
	} {
		bootstrap, err := build("bootstrap-"+name, "./functions/"+name, "-trimpath", "-tags", "lambda.norpc")
		if err != nil {
			t.Fatal(err)
		}
		for variable, value := range endpoints {
			env[variable] = value
		}
		function, err := lambda.Start(t.Context(), lambda.Function{Name: name, Bootstrap: bootstrap, Env: env})
		if err != nil {
			t.Fatal(err)
		}
		g.functions[name] = function
		t.Cleanup(func() {
			if lines, err := function.Log(); t.Failed() {
				t.Logf("%s (%s, %s): %v\n%s", name, runtime.GOARCH, function.Init, err, strings.Join(lines, "\n"))
			}
			if err := function.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	server := &http.Server{Handler: g}
	go func() { _ = server.Serve(listener) }() // until Close
	t.Cleanup(func() { _ = server.Close() })

	flows(t, issuer)
}

// A gateway is what an HTTP API of API Gateway is to a function: it sends it each
// request as an event in payload format 2.0, and the answer to the client.
type gateway struct {
	t         *testing.T
	routes    map[string]string // "GET /authorize" to "authorize"
	functions map[string]*lambda.Environment
}

var _ http.Handler = (*gateway)(nil)

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Path
	name, ok := g.routes[key]
	if !ok {
		key = r.Method + " /{proxy+}"
		name, ok = g.routes[key]
	}
	if !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"Not Found"}`)
		return
	}
	response, err := g.invoke(name, key, r)
	if err != nil {
		g.t.Errorf("%s: %v", key, err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	for name, value := range response.Headers {
		w.Header().Set(name, value)
	}
	for _, cookie := range response.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	body := []byte(response.Body)
	if response.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(response.Body); err != nil {
			g.t.Errorf("%s: %v", key, err)
		}
	}
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(body)
}

func (g *gateway) invoke(name, key string, r *http.Request) (events.APIGatewayV2HTTPResponse, error) {
	var response events.APIGatewayV2HTTPResponse
	event, err := eventOf(key, r)
	if err != nil {
		return response, err
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return response, err
	}
	answer, _, err := g.functions[name].Invoke(r.Context(), payload)
	if err != nil {
		return response, err
	}
	if err := json.Unmarshal(answer, &response); err != nil || response.StatusCode == 0 {
		return response, fmt.Errorf("the answer is %s: %w", answer, err)
	}
	return response, nil
}

// eventOf is the request as "Create AWS Lambda proxy integrations for HTTP APIs in
// API Gateway" shapes it: headers in lower case and joined by commas, cookies
// apart, everything but text in base64.
func eventOf(key string, r *http.Request) (events.APIGatewayV2HTTPRequest, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return events.APIGatewayV2HTTPRequest{}, err
	}
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: key, RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{"host": r.Host, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"},
		Body:    string(body),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: key, AccountID: kmstest.Account, Stage: "$default", RequestID: "JKJaXmPLvHcESHA=", APIID: "api-id",
			DomainName: "id.execute-api.us-east-1.amazonaws.com", DomainPrefix: "id",
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: "127.0.0.1", UserAgent: r.UserAgent(),
			},
		},
	}
	for name, values := range r.Header {
		if name == "Cookie" {
			for _, line := range values {
				event.Cookies = append(event.Cookies, strings.Split(line, "; ")...)
			}
			continue
		}
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	if query := r.URL.Query(); len(query) > 0 {
		event.QueryStringParameters = map[string]string{}
		for name, values := range query {
			event.QueryStringParameters[name] = strings.Join(values, ",")
		}
	}
	if _, rest, greedy := strings.Cut(key, "{proxy+}"); greedy {
		event.PathParameters = map[string]string{"proxy": strings.TrimPrefix(r.URL.Path, "/") + rest}
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if len(body) > 0 {
		event.Headers["content-length"] = fmt.Sprint(len(body))
		if media != "application/json" && !strings.HasPrefix(media, "text/") {
			event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
		}
	}
	return event, nil
}

// templateRoutes maps each route of template.yaml to its function.
func templateRoutes(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]struct {
			Properties struct {
				Events map[string]struct {
					Properties struct {
						Method string `yaml:"Method"`
						Path   string `yaml:"Path"`
					} `yaml:"Properties"`
				} `yaml:"Events"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &template); err != nil {
		t.Fatal(err)
	}
	routes := map[string]string{}
	for id, resource := range template.Resources {
		for _, event := range resource.Properties.Events {
			routes[event.Properties.Method+" "+event.Properties.Path] = strings.ToLower(strings.TrimSuffix(id, "Function"))
		}
	}
	return routes
}

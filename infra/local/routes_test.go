package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

const small = `
Parameters:
  TokenPath: {Type: String, Default: /oauth2/token}
Resources:
  Table: {Type: AWS::DynamoDB::Table, Properties: {TableName: !Sub "${X}"}}
  TokenFunction:
    Type: AWS::Serverless::Function
    Properties:
      Environment: {Variables: {A: !If [X, !Ref Y, !Ref "AWS::NoValue"]}}
      Events:
        Post: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: post, Path: /token}}
        Own: {Type: HttpApi, Properties: {Method: POST, Path: "/{own+}"}}
        Tick: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
  UserinfoFunction:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Get: {Type: HttpApi, Properties: {Method: GET, Path: /userinfo}}
`

func TestReadTemplate(t *testing.T) {
	read, err := readTemplate([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(read.Routes, func(a, b route) int { return strings.Compare(a.Path, b.Path) })
	want := []route{{"POST", "/token", "TokenFunction"}, {"GET", "/userinfo", "UserinfoFunction"}, {"POST", "/{own+}", "TokenFunction"}}
	if !slices.Equal(read.Routes, want) || read.TokenPath != "/oauth2/token" {
		t.Errorf("got %+v", read)
	}
	for _, wrong := range []string{
		"",
		"{",
		strings.ReplaceAll(small, "HttpApi", "Api"),
		strings.Replace(small, "Path: /token", "Path: /token/{id}", 1),
		strings.Replace(small, "Path: /token", "Path: token", 1),
		strings.Replace(small, "Method: post", "Method: any", 1),
		strings.Replace(small, "Method: post, ", "", 1),
		strings.Replace(small, "Path: /token", "Path: !Ref TokenPath", 1),
	} {
		if read, err := readTemplate([]byte(wrong)); err == nil {
			t.Errorf("accepted as %+v:\n%s", read, wrong)
		}
	}
}

func TestOwnTemplate(t *testing.T) {
	text, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	read, err := readTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []route{
		{"POST", "/oauth/token", "TokenFunction"}, {"GET", "/authorize", "AuthorizeFunction"},
		{"GET", "/userinfo", "UserinfoFunction"}, {"GET", "/.well-known/jwks.json", "DiscoveryFunction"},
	} {
		if !slices.Contains(read.Routes, want) {
			t.Errorf("no route %+v", want)
		}
	}
}

// Full match first, then greedy; what is left is API Gateway's own 404.
func TestGateway(t *testing.T) {
	read, err := readTemplate([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]http.Handler{}
	for _, name := range []string{"TokenFunction", "UserinfoFunction"} {
		functions[name] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
	}
	g, err := newGateway(read.Routes, functions)
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"POST /token":    "TokenFunction",
		"GET /userinfo":  "UserinfoFunction",
		"POST /userinfo": "TokenFunction",
		"POST /a/b":      "TokenFunction",
		"POST /":         `{"message":"Not Found"}`,
		"GET /token":     `{"message":"Not Found"}`,
		"GET /userinfo/": `{"message":"Not Found"}`,
		"HEAD /userinfo": `{"message":"Not Found"}`,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if got := w.Body.String(); got != want || (w.Code == http.StatusNotFound) != strings.HasPrefix(want, "{") {
			t.Errorf("%s: %d %s", request, w.Code, got)
		}
	}
	delete(functions, "UserinfoFunction")
	if _, err := newGateway(read.Routes, functions); err == nil {
		t.Error("a route without its function was accepted")
	}
	if _, err := newGateway([]route{{"POST", "/token", "TokenFunction"}, {"POST", "/token", "TokenFunction"}}, functions); err == nil {
		t.Error("a route that is there twice was accepted")
	}
}

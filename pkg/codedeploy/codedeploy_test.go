package codedeploy_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/pkg/codedeploy"
)

const version = "arn:aws:lambda:us-east-1:000000000000:function:kmint-token:7"

func config(t *testing.T, h http.HandlerFunc) aws.Config {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("x", "x", "")}
}

func TestCall(t *testing.T) {
	var got events.APIGatewayV2HTTPRequest
	answer, header := "", ""
	status := http.StatusOK
	versions := codedeploy.NewVersions(config(t, func(w http.ResponseWriter, r *http.Request) {
		got = events.APIGatewayV2HTTPRequest{}
		if r.Method != http.MethodPost || r.URL.Path != "/2015-03-31/functions/"+version+"/invocations" || r.Header.Get("X-Amz-Invocation-Type") == "Event" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		if header != "" {
			w.Header().Set("X-Amz-Function-Error", header)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	for name, tt := range map[string]struct {
		method, address, form string
		answer, header        string
		status                int
		wantStatus            int
		want, wantError       string
	}{
		"a page":          {"GET", "https://a.example/x?y=1", "", `{"statusCode":400,"body":"no"}`, "", 200, 400, "no", ""},
		"a form":          {"POST", "https://a.example/x", "a=b&c=d", `{"statusCode":200,"body":"b2s=","isBase64Encoded":true}`, "", 200, 200, "ok", ""},
		"it fails":        {"GET", "https://a.example/x", "", `{"errorMessage":"oh"}`, "Unhandled", 200, 0, "", "Unhandled"},
		"it is not there": {"GET", "https://a.example/x", "", `{}`, "", 404, 0, "", "404"},
		"no answer":       {"GET", "https://a.example/x", "", `null and void`, "", 200, 0, "", "invalid character"},
		"no base64":       {"GET", "https://a.example/x", "", `{"statusCode":200,"body":"?","isBase64Encoded":true}`, "", 200, 0, "", "base64"},
		"no address":      {"GET", "/x", "", ``, "", 200, 0, "", "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, header, status = tt.answer, tt.header, tt.status
			code, body, err := versions.Call(t.Context(), version, tt.method, tt.address, tt.form)
			if tt.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantError) {
					t.Errorf("%d %q %v", code, body, err)
				}
				return
			}
			if err != nil || code != tt.wantStatus || body != tt.want {
				t.Errorf("%d %q %v", code, body, err)
			}
			form, err := base64.StdEncoding.DecodeString(got.Body)
			if err != nil || string(form) != tt.form || got.IsBase64Encoded != (tt.form != "") || (got.Headers["content-type"] != "") != (tt.form != "") {
				t.Errorf("%v %+v", err, got)
			}
			if got.Version != "2.0" || got.RequestContext.HTTP.Method != tt.method || got.RawPath != "/x" || got.RequestContext.DomainName != "a.example" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestReport(t *testing.T) {
	var target, told string
	status := http.StatusOK
	deployments := codedeploy.NewDeployments(config(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		target, told = r.Header.Get("X-Amz-Target"), string(body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{}`)
	}))
	for good, want := range map[bool]string{true: `"status":"Succeeded"`, false: `"status":"Failed"`} {
		if err := deployments.Report(t.Context(), "d-1", "hook-1", good); err != nil {
			t.Error(err)
		}
		if target != "CodeDeploy_20141006.PutLifecycleEventHookExecutionStatus" || !strings.Contains(told, want) ||
			!strings.Contains(told, `"deploymentId":"d-1"`) || !strings.Contains(told, `"lifecycleEventHookExecutionId":"hook-1"`) {
			t.Errorf("%s %s", target, told)
		}
	}
	status = http.StatusBadRequest
	if err := deployments.Report(t.Context(), "d-1", "hook-1", true); err == nil {
		t.Error("CodeDeploy refuses, and that is no error")
	}
}

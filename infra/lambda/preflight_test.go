package lambda

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/iam"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/kms"
)

// A cloud is as much of Lambda and CodeDeploy as the preflight function asks: Lambda
// invokes versions, which run here, and CodeDeploy keeps what it was told.
type cloud struct {
	t  *testing.T
	mu sync.Mutex
	// versions serve by the ARN of a version, and called counts it.
	versions map[string]func(payload []byte) ([]byte, error)
	called   map[string]int
	told     []map[string]string
	// deaf lets CodeDeploy fail.
	deaf bool
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		if target != "CodeDeploy_20141006.PutLifecycleEventHookExecutionStatus" || c.deaf {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		told := map[string]string{}
		if err := json.Unmarshal(body, &told); err != nil {
			c.t.Error(err)
		}
		c.told = append(c.told, told)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = w.Write([]byte(`{}`))
		return
	}
	// Invoke in the AWS Lambda API Reference.
	name, ok := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
	name, invoked := strings.CutSuffix(name, "/invocations")
	version, err := url.PathUnescape(name)
	if !ok || !invoked || err != nil || r.Method != http.MethodPost || c.versions[version] == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	c.called[version]++
	payload, err := c.versions[version](body)
	if err != nil {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		payload = []byte(`{"errorMessage":"` + err.Error() + `"}`)
	}
	_, _ = w.Write(payload)
}

// reported is what CodeDeploy was told since it was last asked.
func (c *cloud) reported() []map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told
	c.told = nil
	return told
}

// The preflight function, built and run, on CodeDeploy's event: the versions that it
// calls are the built functions.
func TestPreflight(t *testing.T) {
	r := newRig(t)
	c := &cloud{t: t, versions: map[string]func([]byte) ([]byte, error){}, called: map[string]int{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	arn := func(name string) string {
		return "arn:aws:lambda:us-east-1:000000000000:function:kmint-" + name + ":7"
	}
	for _, name := range []string{"token", "authorize", "userinfo", "discovery"} {
		f := r.start(t, name)
		c.versions[arn(name)] = func(payload []byte) ([]byte, error) {
			answer, _, err := f.Invoke(t.Context(), payload)
			return answer, err
		}
	}
	c.versions[arn("broken")] = func([]byte) ([]byte, error) {
		return []byte(`{"statusCode":503,"headers":{},"body":"{\"error\":\"temporarily_unavailable\"}"}`), nil
	}
	key := r.preflightKey(t)
	bootstrap := r.build(t, "preflight")
	r.made["PreflightKey"] = key
	proxy, guarded := r.guard(t, r.stack(t, nil), "preflight")
	proxy.Lambda, proxy.CodeDeploy, proxy.DeploymentGroup = server.URL, server.URL, "arn:aws:codedeploy:us-east-1:"+kmstest.Account+":deploymentgroup:kmint/kmint-TokenFunctionDeploymentGroup"
	start := func(change map[string]string) *Environment {
		t.Helper()
		env := map[string]string{
			"LOG": "info", "STACK": "kmint", "CONFIG_TABLE": r.tables.Config, "PREFLIGHT_KEY": key,
			"TOKEN_VERSION": arn("token"), "AUTHORIZE_VERSION": arn("authorize"), "USERINFO_VERSION": arn("userinfo"), "DISCOVERY_VERSION": arn("discovery"),
			"AWS_ENDPOINT_URL_DYNAMODB": r.db.URL, "AWS_ENDPOINT_URL_KMS": r.kmsURL,
			"AWS_ENDPOINT_URL_LAMBDA": server.URL, "AWS_ENDPOINT_URL_CODEDEPLOY": server.URL,
		}
		if change == nil { // what is of no stack, the role knows nothing of
			for name := range env {
				if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
					env[name] = guarded
				}
			}
		}
		maps.Copy(env, change)
		e, err := Start(t.Context(), Function{Name: "CodeDeployHook_kmint", Bootstrap: bootstrap, Env: env})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	// try runs it, and says what was reported and the reason in the log.
	try := func(e *Environment) (status, reason string) {
		t.Helper()
		payload, _, err := e.Invoke(t.Context(), []byte(`{"DeploymentId":"d-1","LifecycleEventHookExecutionId":"hook-1"}`))
		if err != nil || string(payload) != "null" {
			t.Fatalf("%s %v", payload, err)
		}
		lines, err := e.Log()
		if err != nil || len(lines) != 1 {
			t.Fatalf("%v %q", err, lines)
		}
		told := c.reported()
		if len(told) != 1 || told[0]["deploymentId"] != "d-1" || told[0]["lifecycleEventHookExecutionId"] != "hook-1" {
			t.Fatalf("CodeDeploy was told %v", told)
		}
		if strings.Contains(lines[0], "eyJ") {
			t.Errorf("the log holds a token: %s", lines[0])
		}
		reason, _ = readTree(t, []byte(lines[0])).(map[string]any)["reason"].(string)
		return told[0]["status"], reason
	}

	// The first deploy: nothing was imported yet, or by an import before there was such
	// a function.
	empty := ddb.Tables{Config: r.tables.Config + "-empty", Users: r.tables.Users + "-empty", Grants: r.tables.Grants + "-empty"}
	if err := ddb.CreateTables(t.Context(), r.db.Client(), empty); err != nil {
		t.Fatal(err)
	}
	if status, reason := try(start(map[string]string{"CONFIG_TABLE": empty.Config})); status != "Succeeded" || !strings.Contains(reason, "there is no issuer record") {
		t.Errorf("nothing imported: %s, %s", status, reason)
	}
	if status, reason := try(start(nil)); status != "Succeeded" || !strings.Contains(reason, "kmint-preflight is not registered") {
		t.Errorf("not registered: %s, %s", status, reason)
	}
	if len(c.called) > 0 {
		t.Errorf("called %v", c.called)
	}

	r.importPreflight(t, key)
	before := r.kms.Calls("Sign")
	e := start(nil)
	for range 2 { // each time with an assertion of its own
		if status, reason := try(e); status != "Succeeded" || reason != "" {
			t.Errorf("%s, %s", status, reason)
		}
	}
	// Two documents; the token, and two that are refused.
	if want := map[string]int{arn("discovery"): 4, arn("token"): 6, arn("userinfo"): 2, arn("authorize"): 2}; !maps.Equal(c.called, want) {
		t.Errorf("called %v, want %v", c.called, want)
	}
	// An assertion, a token, and one that is thrown away: client_credentials signs while it
	// finds that an assertion was used.
	if n := r.kms.Calls("Sign") - before; n != 6 {
		t.Errorf("KMS signed %d times", n)
	}
	if refusals := proxy.Refusals(); len(refusals) > 0 {
		t.Errorf("its role refuses %q", refusals)
	}
	r.exact(t, r.stack(t, nil), map[string][]iam.Call{"PreflightFunction": proxy.Calls()}, nil)
	r.checkWidened(t, map[string][]iam.Call{"PreflightFunction": proxy.Calls()}, map[string]widening{
		"any client":      {`"client#kmint-preflight", issuer`, `"client#*", issuer`, "PreflightFunction", "PreflightRole.ReadWhoItIs allows dynamodb:GetItem "},
		"any function":    {"${TokenFunction.Arn}:*", "arn:aws:lambda:us-east-1:000000000000:function:*", "PreflightFunction", "PreflightRole.CallVersions allows lambda:InvokeFunction "},
		"keys for tokens": {"aws:ResourceTag/kmint:use: preflight\n                    kms:MessageType", "aws:ResourceTag/kmint:use: sign\n                    kms:MessageType", "PreflightFunction", "PreflightRole.SignAssertions allows kms:Sign "},
	})

	// The twins.
	if status, reason := try(start(map[string]string{"TOKEN_VERSION": arn("broken")})); status != "Failed" || !strings.Contains(reason, "answers 503 (temporarily_unavailable") {
		t.Errorf("a broken version: %s, %s", status, reason)
	}
	if c.called[arn("broken")] != 3 {
		t.Errorf("it was tried %d times", c.called[arn("broken")])
	}
	other, err := r.kms.Create(kmstest.P256)
	if err != nil {
		t.Fatal(err)
	}
	if status, reason := try(start(map[string]string{"PREFLIGHT_KEY": other})); status != "Succeeded" || !strings.Contains(reason, "another key is registered") {
		t.Errorf("a new key: %s, %s", status, reason)
	}
	c.deaf = true
	if payload, _, err := e.Invoke(t.Context(), []byte(`{"DeploymentId":"d-1","LifecycleEventHookExecutionId":"hook-1"}`)); err == nil {
		t.Errorf("nothing was reported, and it answers %s", payload)
	}
}

// preflightKey makes the key, with its tags.
func (r *rig) preflightKey(t *testing.T) string {
	t.Helper()
	key, err := r.kms.Create(kmstest.P256)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{kms.TagStack: "kmint", kms.TagUse: "preflight"} {
		if err := r.kms.Tag(key, name, value); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// importPreflight registers the key, twice: the second time there is nothing to do.
func (r *rig) importPreflight(t *testing.T, key string) {
	t.Helper()
	for _, want := range []string{"created client kmint-preflight\n", "unchanged client kmint-preflight\n"} {
		command := exec.CommandContext(t.Context(), r.kmint, "import",
			"--config-table", r.tables.Config, "--users-table", r.tables.Users, "--signing-key", r.signingKey, "--issuer", issuer, "--preflight-key", key)
		command.Env = []string{
			"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=example", "AWS_SECRET_ACCESS_KEY=example",
			"AWS_ENDPOINT_URL_DYNAMODB=" + r.db.URL, "AWS_ENDPOINT_URL_KMS=" + r.kmsURL,
		}
		out, err := command.CombinedOutput()
		if err != nil || !slices.Contains(slices.Collect(strings.Lines(string(out))), want) {
			t.Fatalf("kmint import: %v\n%s", err, out)
		}
	}
}

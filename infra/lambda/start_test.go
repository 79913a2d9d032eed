package lambda

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A function with the variables that it needs starts. With several that are wrong or
// missing it says all of that, in one line of its log and to Lambda, and is gone, as
// often as it is started.
func TestAFunctionWithWrongVariables(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:000000000000:key/1"
	common := map[string]string{"STACK": "kmint", "CONFIG_TABLE": "config", "ISSUER": issuer}
	people := map[string]string{"USERS_TABLE": "users", "GRANTS_TABLE": "grants", "MAC_KEY": key}
	// Wrong in every function.
	wrong := map[string]string{"STACK": "", "ISSUER": "http://auth.example.com/", "LOG": "loud", "CONFIG_TABLE": "a table", "AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
	names := []string{
		"STACK is not set", `ISSUER "http://auth.example.com/" is not https`, `LOG "loud" is not one of`, `CONFIG_TABLE "a table" is not`, "AWS_REGION is not set",
	}
	functions := map[string]struct {
		right []map[string]string
		wrong map[string]string // "unset" for none
		names []string
	}{
		"token": {
			[]map[string]string{people},
			map[string]string{"USERS_TABLE": "unset", "GRANTS_TABLE": "", "MAC_KEY": "alias/mac", "SECRETS_KEY": "secret", "TOKEN_PATH": "token"},
			[]string{"USERS_TABLE is not set", "GRANTS_TABLE is not set", `MAC_KEY "alias/mac" is not`, `SECRETS_KEY "secret" is not`, `TOKEN_PATH "token" is not`},
		},
		"authorize": {
			[]map[string]string{people, {"LOGOUT_QUEUE": "https://sqs.us-east-1.amazonaws.com/1/logout"}},
			map[string]string{"MAC_KEY": "unset", "LOGOUT_QUEUE": "logout", "AUTHORIZE_SIGNS": "perhaps"},
			[]string{"MAC_KEY is not set", `LOGOUT_QUEUE "logout" is not`, `AUTHORIZE_SIGNS "perhaps" is not a truth value`},
		},
		"userinfo": {
			[]map[string]string{people}, map[string]string{"USERS_TABLE": "a b", "MAC_KEY": ""},
			[]string{`USERS_TABLE "a b" is not`, "MAC_KEY is not set"},
		},
		"discovery": {
			nil, map[string]string{"TOKEN_PATH": "/authorize", "AUTHORIZE_SIGNS": "perhaps"},
			[]string{`TOKEN_PATH "/authorize" is the path of another`, `AUTHORIZE_SIGNS "perhaps" is not a truth value`},
		},
		"deliver": {},
		"rotate": {
			[]map[string]string{{"SIGNERS": "arn:aws:iam::000000000000:role/kmint"}},
			map[string]string{"SIGNERS": "kmint", "ROTATION_DAYS": "often", "PUBLISH_HOURS": "1"},
			[]string{`SIGNERS has "kmint"`, `ROTATION_DAYS "often" is not a number`, "PUBLISH_HOURS 1 is not"},
		},
		"preflight": {
			[]map[string]string{{"PREFLIGHT_KEY": key, "TOKEN_VERSION": "arn:t", "AUTHORIZE_VERSION": "arn:a", "USERINFO_VERSION": "arn:u", "DISCOVERY_VERSION": "arn:d"}},
			map[string]string{"PREFLIGHT_KEY": "", "TOKEN_VERSION": "unset"},
			[]string{"PREFLIGHT_KEY is not set", "TOKEN_VERSION is not set"},
		},
	}
	sources, err := filepath.Glob(filepath.Join(root, "functions", "*", "main.go"))
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	for _, source := range sources {
		name := filepath.Base(filepath.Dir(source))
		t.Run(name, func(t *testing.T) {
			f, known := functions[name]
			if !known {
				t.Fatal("nobody knows what it needs")
			}
			right := maps.Clone(common)
			for _, more := range f.right {
				maps.Copy(right, more)
			}
			bootstrap := buildFunction(t, name)
			e, err := Start(t.Context(), Function{Name: name, Bootstrap: bootstrap, Env: right})
			if err != nil {
				t.Fatal(err)
			}
			if lines, err := e.Log(); err != nil || len(lines) != 0 {
				t.Errorf("%q, %v", lines, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			bad := maps.Clone(right)
			maps.Copy(bad, wrong)
			maps.Copy(bad, f.wrong)
			maps.DeleteFunc(bad, func(_, value string) bool { return value == "unset" })
			want := slices.Concat(names, f.names)
			for range 2 { // as the next invocation does
				began := time.Now()
				_, err := Start(t.Context(), Function{Name: name, Bootstrap: bootstrap, Env: bad})
				if err == nil || time.Since(began) > initTimeout/2 {
					t.Fatalf("after %s: %v", time.Since(began), err)
				}
				saidToLambdaAndLogged(t, err, name, want)
			}
		})
	}
}

func saidToLambdaAndLogged(t *testing.T, err error, name string, want []string) {
	t.Helper()
	var told *FunctionError
	if !errors.As(err, &told) || told.Type != "Runtime.ConfigInvalid" {
		t.Fatalf("Lambda is not told: %v", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "the process exited") {
		t.Errorf("it is not gone: %v", err)
	}
	var logged []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "{") {
			logged = append(logged, line)
		}
	}
	if len(logged) != 1 {
		t.Fatalf("%d lines: %q", len(logged), logged)
	}
	line := decode[struct {
		Level, Msg, Version, Function, Remedy string
		Problems                              []string
	}](t, []byte(logged[0]))
	if line.Level != "ERROR" || line.Msg != "not started" || line.Version != version || line.Function != name || !strings.Contains(line.Remedy, "deploy") {
		t.Errorf("%+v", line)
	}
	if told.Message != strings.Join(append(slices.Clone(line.Problems), line.Remedy), "\n") {
		t.Errorf("Lambda is told something else: %s", told.Message)
	}
	if len(line.Problems) != len(want) {
		t.Errorf("%d problems, not %d: %q", len(line.Problems), len(want), line.Problems)
	}
	for _, one := range want {
		if n := strings.Count(strings.Join(line.Problems, "\n"), one); n != 1 {
			t.Errorf("%q is said %d times: %q", one, n, line.Problems)
		}
	}
}

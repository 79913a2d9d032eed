package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// own is the example with secrets of its owner's.
func own(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("-used-in-examples-only"), []byte("-of-mine-and-nobody-elses"))
	text = bytes.ReplaceAll(text, []byte("correct horse battery staple"), []byte("a password of mine"))
	return write(t, string(text))
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// There is no AWS here: not even a region.
func TestCheck(t *testing.T) {
	file := own(t)
	if out := good(t, "check", "--seed", file); out != file+" passes every check that needs no AWS\n" {
		t.Error(out)
	}
	missing := filepath.Join(t.TempDir(), "none.json")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check"}, 2, "kmint: name the --seed\n"},
		{[]string{"check", file}, 2, fmt.Sprintf("kmint: %q is no flag\n", file)},
		{[]string{"check", "--seed", missing}, 1, "kmint: open " + missing + ": no such file or directory\n"},
		{[]string{"check", "--seed", write(t, `{"clints": []}`)}, 1, "is refused: clints: it is not a member that kmint knows\n"},
		{[]string{"check", "--seed", example}, 1, "kmint: " + example + " is refused: the client_secret of demo-service is published with kmint; make one of your own: openssl rand -hex 32\n"},
	} {
		if code, out, errs := try(t, test.args...); code != test.code || out != "" || !strings.HasSuffix(errs, test.want) {
			t.Errorf("%q: exit %d\n%s%s", test.args, code, out, errs)
		}
	}
	if code, _, errs := try(t, "check", "--help"); code != 0 || !strings.Contains(errs, "kmint check --seed FILE") {
		t.Errorf("--help: exit %d\n%s", code, errs)
	}
}

// TestDeploy runs `make deploy` with a sam that only writes down how it is called,
// and fails to deploy: what is wrong before that is said before anything is built.
func TestDeploy(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		// called is what sam was called for.
		called []string
		want   string
	}{
		{"default", []string{"SEED=" + own(t)}, []string{
			"build --config-env default --parameter-overrides Arch=arm64", "deploy --config-env default --stack-name kmint",
		}, "passes every check"},
		{"production", nil, []string{
			"build --config-env production --parameter-overrides Arch=arm64", "deploy --config-env production --stack-name kmint-production",
		}, ""},
		{"production", []string{"STACK=mine"}, []string{
			"build --config-env production --parameter-overrides Arch=arm64", "deploy --config-env production --stack-name mine",
		}, ""},
		{"prodution", nil, nil, "samconfig.toml has no [prodution.deploy.parameters]; ENVIRONMENT can be default, production"},
		{"", nil, nil, "samconfig.toml has no [.deploy.parameters]; ENVIRONMENT can be default, production"},
		{"local", nil, nil, "samconfig.toml has no [local.deploy.parameters]; ENVIRONMENT can be default, production"},
		{"production", []string{"DEPLOY_STACK="}, nil, "samconfig.toml names no stack_name in [production.global.parameters]"},
		{"default", []string{"SEED=infra/examples/seed.json"}, nil, "is published with kmint"},
		{"default", []string{"SEED=none.json"}, nil, "kmint: open none.json: no such file or directory"},
	} {
		t.Run(test.name+strings.Join(test.args, " "), func(t *testing.T) {
			dir := t.TempDir()
			sam, calls := filepath.Join(dir, "sam"), filepath.Join(dir, "calls")
			script := "#!/bin/sh\necho \"$*\" >> '" + calls + "'\n[ \"$1\" = build ]\n"
			if err := os.WriteFile(sam, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			command := exec.Command("make", append([]string{"deploy", "SAM=" + sam, "ENVIRONMENT=" + test.name}, test.args...)...)
			command.Dir = filepath.Join("..", "..")
			command.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
			out, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("%v\n%s", err, out)
			}
			called, _ := os.ReadFile(calls)
			if got, want := string(called), strings.Join(append(test.called, ""), "\n"); got != want {
				t.Errorf("sam was called for\n%swant\n%s\n%s", got, want, out)
			}
		})
	}
}

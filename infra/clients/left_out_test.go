package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeftOut holds what `make test` says that it leaves out: on a machine with
// nothing but a shell, and on one that is made of stand-ins.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "dirname"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	said := func(environment ...string) string {
		t.Helper()
		command := exec.Command(filepath.Join(bin, "sh"), "infra/tools/left-out.sh", "sam")
		command.Dir = root
		command.Env = append([]string{"PATH=" + bin, "DYNAMODB_LOCAL_DIR=" + bin}, environment...)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	holds := func(out string, want ...string) {
		t.Helper()
		if strings.Count(out, "\n") != len(want) {
			t.Errorf("%d lines, want %d:\n%s", strings.Count(out, "\n"), len(want), out)
		}
		for _, word := range want {
			if !strings.Contains(out, word) {
				t.Errorf("nothing of %s in\n%s", word, out)
			}
		}
	}
	holds(said(), "Java", "Chromium", "Node.js", "curl", "has expired")
	holds(said("CI=true"))
	put := func(tools ...string) {
		t.Helper()
		for _, tool := range tools {
			if err := os.WriteFile(filepath.Join(bin, tool), []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("java", "mvn", "chromium", "curl")
	holds(said(), "SAM CLI", "Node.js", "has expired")
	put("sam", "podman", "node", "npm")
	holds(said(), "busybox-static", "has expired")
	put("busybox")
	holds(said(), "has expired")
	holds(said("DYNAMODB=none"), "DYNAMODB=none", "has expired")
}

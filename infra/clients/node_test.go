package clients

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNode is the example's clients by openid-client and oauth4webapi. They want a
// newer Node.js than Debian 12 brings.
func TestNode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(root, "infra", "clients")
	node, err := exec.LookPath("node")
	if err != nil {
		leftOut(t, "there is no node")
	}
	if err := exec.Command(node, "-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)").Run(); err != nil {
		leftOut(t, "node is older than 20")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		leftOut(t, "there is no npm")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err != nil {
		install := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			leftOut(t, "npm ci: "+err.Error()+"\n"+string(out))
		}
	}
	issuer := makeRun(t, example).issuer

	script := exec.Command(node, "openid.mjs", issuer)
	script.Dir = dir
	stderr := &output{}
	script.Stderr = stderr
	stdin, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = script.Process.Kill() })
	done := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if done = lines.Text() == "done"; done {
			break
		}
		if !strings.HasPrefix(lines.Text(), issuer) {
			t.Errorf("openid.mjs: %s", lines.Text())
			continue
		}
		if _, err := stdin.Write([]byte(newPerson(t, issuer).back(lines.Text()).String() + "\n")); err != nil {
			t.Error(err)
		}
	}
	if err := script.Wait(); err != nil || !done {
		t.Errorf("openid.mjs: %v\n%s", err, stderr)
	}
}

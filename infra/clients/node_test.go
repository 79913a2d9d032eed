package clients

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestNode is the example's clients by openid-client and oauth4webapi.
func TestNode(t *testing.T) {
	t.Parallel()
	runNode(t, "openid.mjs", username, example)
}

// TestNodeFrontChannel is the hybrid and the implicit flow, and forms, by openid-client.
func TestNodeFrontChannel(t *testing.T) {
	t.Parallel()
	runNode(t, "front.mjs", "buyer", "SEED=infra/examples/full.json")
}

// TestNodeBackChannel is those of the full example: DPoP with nonces, assertions,
// refresh, revocation, introspection and token exchange, by each of the two.
func TestNodeBackChannel(t *testing.T) {
	for _, script := range []string{"openid-client.mjs", "oauth4webapi.mjs"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			runNode(t, script, "buyer", "SEED=infra/examples/full.json")
		})
	}
}

// TestAuth0 is the full example by Auth0's SDK, which speaks https alone.
func TestAuth0(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t)
	runNode(t, "auth0.mjs", "", "SEED=infra/examples/full.json", "TLS_CERT="+certFile, "TLS_KEY="+keyFile, "NODE_EXTRA_CA_CERTS="+certFile)
}

var installed sync.Mutex

// installPackages installs what package-lock.json names, and returns where Node.js
// is. The libraries want a newer one than Debian 12 brings.
func installPackages(t *testing.T) (node string) {
	t.Helper()
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
	installed.Lock()
	defer installed.Unlock()
	if !newer(filepath.Join(dir, "node_modules", ".package-lock.json"), filepath.Join(dir, "package-lock.json")) {
		install := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			leftOut(t, "npm ci: "+err.Error()+"\n"+string(out))
		}
	}
	return node
}

// newer reports whether there is a file, and it is not older than another.
func newer(file, other string) bool {
	a, err := os.Stat(file)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && !a.ModTime().Before(b.ModTime())
}

// runNode runs a script against `make run`: each line that it writes is an
// authorization request, and it is told where that leads back to.
func runNode(t *testing.T, name, user string, env ...string) {
	t.Helper()
	node := installPackages(t)
	issuer := makeRun(t, env...).issuer

	script := exec.Command(node, name, issuer)
	script.Dir = filepath.Join(root, "infra", "clients")
	script.Env = append(os.Environ(), env...)
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
			t.Errorf("%s: %s", name, lines.Text())
			continue
		}
		who := newPerson(t, issuer)
		who.name = user
		if _, err := stdin.Write([]byte(who.back(lines.Text()).String() + "\n")); err != nil {
			t.Error(err)
		}
	}
	if err := script.Wait(); err != nil || !done {
		t.Errorf("%s: %v\n%s", name, err, stderr)
	}
}

// Package clients answers: does kmint work with parts that nobody here wrote?
//
// The relying parties are golang.org/x/oauth2 and coreos/go-oidc, the browser is
// Chromium, a second JOSE library checks the signatures of the first. They are
// the reason for a module of its own: what kmint is tried with is no dependency
// of kmint. kmint itself is always the real thing, started as its owner starts
// it: a process for `make run`, the bootstraps of `make build` behind a gateway.
package clients

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// root is the working tree of kmint.
var root = func() string {
	path, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return path
}()

// built is where programs are built to, for as long as the tests run.
var built string

func TestMain(m *testing.M) {
	// kmint's test rigs look around themselves for the working tree.
	if err := os.Chdir(root); err != nil {
		panic(err)
	}
	var err error
	if built, err = os.MkdirTemp("", "kmint-clients"); err != nil {
		panic(err)
	}
	code := m.Run()
	endChromium()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

var (
	buildLocal  = sync.OnceValues(func() (string, error) { return build("local", "./infra/local") })
	buildImport = sync.OnceValues(func() (string, error) { return build("kmint", "./infra/kmint") })
)

// build compiles a package of the working tree, and returns the program's path.
func build(name, pkg string, flags ...string) (string, error) {
	path := filepath.Join(built, name)
	command := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return path, nil
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// leftOut leaves a test out, and says why. Where nothing may be left out, it
// fails.
func leftOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("left out: %s", why)
	}
	t.Skipf("left out: %s", why)
}

// A process is one `make run` that has printed its page.
type process struct {
	page   string
	issuer string
	stderr *output
}

// output is what a process writes, to be read while it writes more.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// makeRun starts what `make run` starts, on a free port and an empty folder,
// and ends it with the test.
func makeRun(t *testing.T, env ...string) *process {
	t.Helper()
	program, err := buildLocal()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{stderr: &output{}}
	command := exec.Command(program)
	command.Dir = root
	command.Env = append(append(os.Environ(), "PORT=0", "DATA_DIR="+t.TempDir(), "SEED=", "ISSUER=", "NO_COLOR=1"), env...)
	command.Stderr = p.stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		for range lines { // until its output ends
		}
		if err := command.Wait(); err != nil {
			t.Errorf("make run ended with %v", err)
		}
		if t.Failed() {
			t.Logf("make run printed:\n%s\nand logged:\n%s", p.page, p.stderr)
		}
	})
	deadline := time.After(30 * time.Second)
	for !strings.Contains(p.page, "Ctrl-C ends.") {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("make run ended: %s", p.stderr)
			}
			p.page += line + "\n"
		case <-deadline:
			t.Fatalf("make run printed no page in 30 seconds: %s", p.page)
		}
	}
	p.issuer = p.field(t, "Issuer")
	return p
}

// field is a value on the page.
func (p *process) field(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(p.page) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return words[1]
		}
	}
	t.Fatalf("make run printed no %s:\n%s", name, p.page)
	return ""
}

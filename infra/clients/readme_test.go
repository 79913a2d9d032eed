package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// TestReadme does what README.md says: the lines of its blocks marked sh run one
// after the other in the working tree, on a port and a folder of the test's own.
// A line that starts `make run` goes on running, until the next one or the end.
// Blocks marked console or bash need an AWS account, and are only read.
func TestReadme(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		leftOut(t, err.Error())
	}
	r := reader{t: t, port: freePort(t), dir: t.TempDir()}
	text := string(raw)
	ran := 0
	for _, block := range blocks(text, "sh") {
		for _, command := range commands(block) {
			if command == "make test" { // is who runs this
				continue
			}
			r.do(command)
			ran++
		}
	}
	if ran == 0 || !r.started || r.tokens == 0 {
		t.Errorf("%d commands of README.md ran, kmint among them %v, with %d tokens", ran, r.started, r.tokens)
	}
	r.links(text)
	r.end()
	claims(t, text)
}

var fence = regexp.MustCompile("(?ms)^[ \t]*```([a-z]*)[ \t]*\n(.*?)^[ \t]*```[ \t]*$")

// blocks are the fenced blocks of a language.
func blocks(text, language string) []string {
	var found []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	return found
}

// commands splits a block where a shell would.
func commands(block string) []string {
	var found []string
	open := ""
	for line := range strings.Lines(block) {
		open += line
		trimmed := strings.TrimSpace(open)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") && !strings.Contains(trimmed, "\n") {
			open = ""
			continue
		}
		if strings.HasSuffix(trimmed, `\`) || exec.Command("sh", "-n", "-c", open).Run() != nil {
			continue
		}
		found = append(found, trimmed)
		open = ""
	}
	if open != "" {
		found = append(found, strings.TrimSpace(open)) // for the shell to refuse
	}
	return found
}

// A reader types what it reads.
type reader struct {
	t       *testing.T
	port    string
	dir     string
	running *exec.Cmd
	output  *output
	started bool
	tokens  int
}

var makesRun = regexp.MustCompile(`(^|\s)make( -\S+)* run(\s|$)`)

func (r *reader) do(command string) {
	r.t.Helper()
	line := strings.ReplaceAll(command, "localhost:3000", "localhost:"+r.port)
	process := exec.Command("sh", "-c", line)
	process.Dir = root
	process.Env = append(os.Environ(), "PORT="+r.port, "DATA_DIR="+r.dir, "SEED=", "ISSUER=", "NO_COLOR=1")
	if makesRun.MatchString(command) {
		r.end()
		r.run(process)
		return
	}
	out, err := process.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		r.t.Errorf("README.md says\n%s\nwhich ends with %v\n%s", command, err, out)
		return
	}
	if bytes.Contains(out, []byte("access_token")) {
		r.token(command, out)
	}
}

// run starts kmint, and waits until its port answers.
func (r *reader) run(process *exec.Cmd) {
	r.t.Helper()
	r.output = &output{}
	process.Stdout, process.Stderr = r.output, r.output
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // make, go and kmint end together
	if err := process.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.running = process
	r.t.Cleanup(r.end)
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(r.output.String(), "Ctrl-C ends."); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s did not start kmint:\n%s", process, r.output)
		}
	}
	connection, err := net.Dial("tcp", "localhost:"+r.port)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = connection.Close()
	r.started = true
}

// end is Ctrl-C at a terminal: it goes to all that the line started.
func (r *reader) end() {
	if r.running == nil {
		return
	}
	_ = syscall.Kill(-r.running.Process.Pid, syscall.SIGINT)
	_ = r.running.Wait() // make says that it was interrupted
	r.running = nil
}

// token holds what a curl printed.
func (r *reader) token(command string, out []byte) {
	r.t.Helper()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	_, object, _ := bytes.Cut(out, []byte("{"))
	if err := json.NewDecoder(io.MultiReader(strings.NewReader("{"), bytes.NewReader(object))).Decode(&answer); err != nil {
		r.t.Errorf("README.md says\n%s\nwhich prints %s: %v", command, out, err)
		return
	}
	provider, err := oidc.NewProvider(r.t.Context(), "http://localhost:"+r.port+"/")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{SkipClientIDCheck: true}).Verify(r.t.Context(), answer.AccessToken); err != nil || answer.ExpiresIn == 0 {
		r.t.Errorf("README.md says\n%s\nwhich prints %s: %v", command, out, err)
		return
	}
	r.tokens++
}

var local = regexp.MustCompile(`http://localhost:3000[^\s)<>"'` + "`" + `]*`)

// links opens every address at kmint that README.md names.
func (r *reader) links(text string) {
	r.t.Helper()
	for _, link := range slices.Compact(slices.Sorted(slices.Values(local.FindAllString(text, -1)))) {
		link = strings.TrimRight(link, ".,;:\\")
		u := strings.ReplaceAll(link, "localhost:3000", "localhost:"+r.port)
		response, err := http.Get(u)
		if err != nil {
			r.t.Errorf("README.md names %s: %v", link, err)
			continue
		}
		response.Body.Close()
		// The issuer is a name, and nothing need be there.
		if response.StatusCode == http.StatusNotFound && strings.TrimRight(link, "/") != "http://localhost:3000" {
			r.t.Errorf("README.md names %s, which is not there", link)
		}
	}
}

var (
	target = regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	quoted = regexp.MustCompile("`([^`\n]+)`|\\]\\(([^)#\\s]+)[^)]*\\)")
)

// claims holds what README.md names against what is there: targets of make, and
// files.
func claims(t *testing.T, text string) {
	t.Helper()
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		for _, name := range target.FindAllStringSubmatch(block[2], -1) {
			checkTarget(t, name[1])
		}
	}
	prose := fence.ReplaceAllString(text, "")
	for _, name := range quoted.FindAllStringSubmatch(prose, -1) {
		code, link := name[1], name[2]
		for _, name := range target.FindAllStringSubmatch(code, -1) {
			checkTarget(t, name[1])
		}
		path := link
		if first, _, _ := strings.Cut(code, "/"); path == "" && slices.Contains([]string{"functions", "pkg", "infra", "events"}, first) &&
			!strings.ContainsAny(code, " <>{*") {
			path = code
		}
		if path == "" || strings.Contains(path, "://") || strings.HasPrefix(path, "mailto:") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(path, "/..."))); err != nil {
			t.Errorf("README.md names %s, which is not there", path)
		}
	}
}

func checkTarget(t *testing.T, name string) {
	t.Helper()
	command := exec.Command("make", "-n", name)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("README.md names make %s: %s", name, out)
	}
}

// TestReadmeIsRead tries the reading on a text of its own.
func TestReadmeIsRead(t *testing.T) {
	text := "# A\n```sh\n# a remark\nPORT=1 make run\ncurl a \\\n  -d b\n\necho 'x\ny'\n```\n```console\n$ rm -rf /\n```\n  ```sh\n  true\n  ```\n"
	var found []string
	for _, block := range blocks(text, "sh") {
		found = append(found, commands(block)...)
	}
	want := []string{"PORT=1 make run", "curl a \\\n  -d b", "echo 'x\ny'", "true"}
	if !slices.Equal(found, want) {
		t.Errorf("%q, want %q", found, want)
	}
	for command, want := range map[string]bool{"make run": true, "SEED=a make run": true, "make -s run": true, "make runner": false, "echo make": false} {
		if makesRun.MatchString(command) != want {
			t.Errorf("%q starts kmint: %v", command, !want)
		}
	}
}

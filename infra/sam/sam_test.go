package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"kmint/infra/files"
	"kmint/infra/rig/ddb"
)

// TestSAMLocal runs the built functions in Lambda's container, against DynamoDB
// Local and the KMS test server, by the very lines that `make sam-local` prints.
func TestSAMLocal(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil && exec.Command("docker", "info").Run() != nil {
		leaveOut(t, errNoEngine)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	root := workingTree(t)
	t.Chdir(root)
	t.Cleanup(func() { noneLeft(t, root) })
	invokeLine, startLine, later := printed(t, ctx)

	invoke := func(t *testing.T, function, event string) response {
		t.Helper()
		// The same line for each function: only what is invoked differs.
		line := strings.Replace(invokeLine, "TokenFunction -e events/token/client_credentials.json", function+" -e "+event, 1)
		if !strings.Contains(line, function+" -e "+event+" ") && !strings.HasSuffix(line, function+" -e "+event) {
			t.Fatalf("it printed %s", invokeLine)
		}
		cmd := terminal(ctx, t, line)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var r response
		if err := json.Unmarshal(bytes.TrimSpace(out), &r); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		return r
	}
	var keys jose.JSONWebKeySet
	decode(t, invoke(t, "DiscoveryFunction", "events/discovery/jwks.json"), &keys)

	t.Run("a token", func(t *testing.T) {
		r := invoke(t, "TokenFunction", "events/token/client_credentials.json")
		if r.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", r.StatusCode, r.Body)
		}
		verify(t, keys, []byte(r.Body))
	})
	t.Run("no token for a wrong secret", func(t *testing.T) {
		r := invoke(t, "TokenFunction", "events/token/wrong_secret.json")
		if r.StatusCode != http.StatusUnauthorized || !strings.Contains(body(t, r), `"invalid_client"`) {
			t.Errorf("status %d: %s", r.StatusCode, r.Body)
		}
	})
	t.Run("a login page", func(t *testing.T) {
		r := invoke(t, "AuthorizeFunction", "events/authorize/login_page.json")
		if r.StatusCode != http.StatusOK || !strings.Contains(body(t, r), `name="password"`) || len(r.Cookies) == 0 {
			t.Errorf("status %d, cookies %q: %s", r.StatusCode, r.Cookies, r.Body)
		}
	})
	t.Run("an answer to the client", func(t *testing.T) {
		r := invoke(t, "AuthorizeFunction", "events/authorize/no_session.json")
		location := http.Header{}
		for name, value := range r.Headers {
			location.Set(name, value)
		}
		want := "http://localhost:8080/callback?"
		if r.StatusCode != http.StatusFound || !strings.HasPrefix(location.Get("Location"), want) || !strings.Contains(location.Get("Location"), "error=login_required") {
			t.Errorf("status %d, headers %q: %s", r.StatusCode, r.Headers, r.Body)
		}
	})
	t.Run("no answer to a foreign redirect_uri", func(t *testing.T) {
		r := invoke(t, "AuthorizeFunction", "events/authorize/foreign_redirect_uri.json")
		if r.StatusCode != http.StatusBadRequest || !strings.Contains(body(t, r), "<html") {
			t.Errorf("status %d, headers %q: %s", r.StatusCode, r.Headers, r.Body)
		}
	})
	t.Run("start-api", func(t *testing.T) {
		// Port 3000 may be taken where this runs.
		port := freePort(t)
		api := terminal(ctx, t, startLine+" --port "+port)
		api.Stdout = &testLog{t}
		if err := api.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed, it leaves its containers, as it sometimes does when it is only
		// interrupted: noneLeft sees whether the program removes them.
		defer func() { _ = errors.Join(syscall.Kill(-api.Process.Pid, syscall.SIGKILL), api.Wait()) }()

		status, answer := post(t, ctx, "http://127.0.0.1:"+port+"/oauth/token", "demo-service-secret-used-in-examples-only")
		if status != http.StatusOK {
			t.Fatalf("status %d: %s", status, answer)
		}
		verify(t, keys, answer)
		status, answer = post(t, ctx, "http://127.0.0.1:"+port+"/oauth/token", "not-the-secret-that-is-in-the-seed")
		if status != http.StatusUnauthorized {
			t.Errorf("a wrong secret: status %d: %s", status, answer)
		}
		// Whoever logs out of a client that wants to be told puts it into the queue.
		logOut(t, ctx, "http://127.0.0.1:"+port)
		var line string
		select {
		case line = <-later:
		case <-time.After(10 * time.Second):
			t.Fatal("no line came for what is in the queue")
		}
		out, err := terminal(ctx, t, line).Output()
		// The client is on this machine, where no function goes: it is to come again.
		if again := failures(t, out); err != nil || !strings.Contains(line, " DeliverFunction ") || again != 1 {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	})
	t.Run("nothing to deliver", func(t *testing.T) {
		line := strings.Replace(invokeLine, "TokenFunction -e events/token/client_credentials.json", "DeliverFunction -e events/deliver/no_address.json", 1)
		out, err := terminal(ctx, t, line).Output()
		if again := failures(t, out); err != nil || again != 0 {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	})
}

// failures counts what is to come again, by the answer of the deliver function.
func failures(t *testing.T, answer []byte) int {
	t.Helper()
	var a struct {
		Failures []any `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(answer), &a); err != nil || a.Failures == nil {
		t.Fatalf("%v in %s", err, answer)
	}
	return len(a.Failures)
}

// logOut logs in to the example's client that wants to be told, and out again.
func logOut(t *testing.T, ctx context.Context, origin string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, path string, form url.Values) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, method, origin+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		page, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(page)
	}
	fields := func(page string) url.Values {
		form := url.Values{}
		for _, field := range regexp.MustCompile(`name="(request|seal)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			form.Set(field[1], html.UnescapeString(field[2]))
		}
		return form
	}
	_, page := ask(http.MethodGet, "/authorize?response_type=code&client_id=demo-hybrid&redirect_uri=http%3A%2F%2Flocalhost%3A8080%2Fhybrid&scope=openid", nil)
	login := fields(page)
	login.Set("username", "demo")
	login.Set("password", "correct horse battery staple")
	if status, page := ask(http.MethodPost, "/authorize", login); status != http.StatusSeeOther {
		t.Fatalf("the login: status %d: %s", status, page)
	}
	_, page = ask(http.MethodGet, "/oidc/logout", nil)
	if status, page := ask(http.MethodPost, "/oidc/logout", fields(page)); status != http.StatusOK || !strings.Contains(page, "/hybrid/logged-out?iss=") {
		t.Fatalf("the logout: status %d: %s", status, page)
	}
}

// A response is what a function answers (payload format 2.0).
type response struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// workingTree is a copy, so that nothing that a developer has built or runs is
// touched. The tools in .tmp are those of the original.
func workingTree(t *testing.T) string {
	t.Helper()
	root, err := files.Root()
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && slices.Contains([]string{".git", ".tmp", ".aws-sam", ".kmint", "node_modules"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(tree, below), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tree, below), content, 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.Mkdir(filepath.Join(tree, ".tmp"), 0o755),
		os.Symlink(filepath.Join(root, ".tmp", "venv-sam"), filepath.Join(tree, ".tmp", "venv-sam")),
	); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("DYNAMODB_LOCAL_DIR") == "" {
		t.Setenv("DYNAMODB_LOCAL_DIR", filepath.Join(root, ".tmp", "ddb"))
	}
	return tree
}

// printed runs the program until the test ends, and returns its two lines, and what
// is a line of later ones.
func printed(t *testing.T, ctx context.Context) (invoke, startAPI string, later <-chan string) {
	t.Helper()
	running, end := context.WithCancel(ctx)
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(running, write, &testLog{t})
		_ = write.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() { end(); <-ended })
	lines := bufio.NewScanner(read)
	for lines.Scan() {
		line, indented := strings.CutPrefix(lines.Text(), "  ")
		switch {
		case indented && strings.Contains(line, " invoke "):
			invoke = line
		case indented && strings.Contains(line, " start-api"):
			startAPI = line
		case strings.HasPrefix(line, "Ctrl-C"):
			if invoke == "" || startAPI == "" {
				t.Fatalf("it printed %q and %q", invoke, startAPI)
			}
			more := make(chan string, 9)
			go func() {
				for lines.Scan() {
					if line, indented := strings.CutPrefix(lines.Text(), "  "); indented {
						more <- line
					}
				}
			}()
			return invoke, startAPI, more
		}
	}
	leaveOut(t, lines.Err())
	t.Fatal("it printed no lines")
	return "", "", nil
}

// noneLeft holds that no container runs the functions of the tree any more.
func noneLeft(t *testing.T, root string) {
	t.Helper()
	program := "podman"
	if exec.Command("docker", "info").Run() == nil {
		program = "docker"
	}
	ids, err := exec.Command(program, "ps", "--all", "--quiet").Output()
	if err != nil {
		t.Error(err)
	}
	for _, id := range strings.Fields(string(ids)) {
		// One of somebody else's may be gone meanwhile.
		if of, _ := exec.Command(program, "inspect", id).Output(); bytes.Contains(of, []byte(root)) {
			t.Errorf("a container is left: %s", id)
		}
	}
}

// terminal is another terminal, in the folder of the working tree, into which a
// line is pasted. It has nothing of the program's environment.
func terminal(ctx context.Context, t *testing.T, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = environment()
	cmd.Stderr = &testLog{t}
	// Ctrl-C goes to all that the line started: sam removes its containers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	return cmd
}

// start-api without a port of its own listens on that of the issuer: the tokens
// name the address that they come from.
func TestPortIsTheIssuers(t *testing.T) {
	text, err := os.ReadFile("../../samconfig.toml")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split("\n"+string(text), "\n[")
	served := 0
	for _, section := range sections {
		if !strings.Contains(section, ".local_start_api.parameters]") {
			continue
		}
		served++
		port := "3000" // sam's own default
		for line := range strings.Lines(section) {
			if name, value, _ := strings.Cut(line, "="); strings.TrimSpace(name) == "port" {
				port = strings.TrimSpace(value)
			}
		}
		if "http://127.0.0.1:"+port+"/" != issuer {
			t.Errorf("port %s in\n[%s", port, section)
		}
	}
	if served == 0 {
		t.Error("samconfig.toml has no section for start-api")
	}
}

func TestLine(t *testing.T) {
	e := engine{Environment: []string{"DOCKER_HOST=unix:///tmp/a b/s"}, Flags: []string{"--invoke-image", "x"}}
	for program, want := range map[string]string{
		"/tree/.tmp/venv-sam/bin/sam": "SAM_CLI_TELEMETRY=0 DOCKER_HOST='unix:///tmp/a b/s' .tmp/venv-sam/bin/sam local start-api --invoke-image x",
		"/usr/bin/sam":                "SAM_CLI_TELEMETRY=0 DOCKER_HOST='unix:///tmp/a b/s' /usr/bin/sam local start-api --invoke-image x",
	} {
		if got := (cli{Root: "/tree", Program: program}).Line(e, "start-api"); got != want {
			t.Errorf("%s", got)
		}
	}
}

// leaveOut skips the test where a tool is missing. In CI none may be.
func leaveOut(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") != "true" && (errors.Is(err, errNoSAM) || errors.Is(err, errNoEngine) || errors.Is(err, ddb.ErrLeftOut)):
		t.Skipf("left out: %v", err)
	default:
		t.Fatal(err)
	}
}

// verify checks the access token of a token response under the published keys.
func verify(t *testing.T, keys jose.JSONWebKeySet, response []byte) {
	t.Helper()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(response, &tokens); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(tokens.AccessToken, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.Claims(keys, &claims); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: issuer, Subject: "demo-service", Time: time.Now()}); err != nil {
		t.Errorf("%v in %+v", err, claims)
	}
}

func post(t *testing.T, ctx context.Context, url, secret string) (int, []byte) {
	t.Helper()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("demo-service", secret)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(request)
		if errors.As(err, new(*net.OpError)) && ctx.Err() == nil {
			time.Sleep(200 * time.Millisecond) // sam is still starting
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, content
	}
}

func decode(t *testing.T, r response, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body(t, r)), into); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v: %s", r.StatusCode, err, r.Body)
	}
}

func body(t *testing.T, r response) string {
	t.Helper()
	if !r.IsBase64Encoded {
		return r.Body
	}
	decoded, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(decoded)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
}

// A testLog shows what sam says where the test fails.
type testLog struct{ t *testing.T }

func (l *testLog) Write(line []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(line), "\n"))
	return len(line), nil
}

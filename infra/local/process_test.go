package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
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

	"kmint/pkg/jwt"
)

// binary is this command, built once for all tests of the file: they start it as
// its owner does.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kmint-local")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "local")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// A process is one `make run` that has printed its page.
type process struct {
	cmd    *exec.Cmd
	page   string
	stderr *bytes.Buffer
	ended  bool
}

func command(env ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(binary)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "PORT=0"}, env...)
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr
}

func start(t *testing.T, env ...string) *process {
	t.Helper()
	cmd, stderr := command(env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stderr: stderr}
	t.Cleanup(func() {
		if !p.ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // and so stderr is whole
		}
		if t.Failed() {
			t.Logf("the page:\n%s\nstderr:\n%s", p.page, stderr)
		}
	})
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, open := <-lines:
			p.page += line + "\n"
			if !open {
				_ = cmd.Wait()
				p.ended = true
				t.Fatalf("it ended: %s", stderr)
			}
			if strings.Contains(line, "Ctrl-C ends.") {
				go func() {
					for range lines {
					}
				}()
				return p
			}
		case <-deadline:
			t.Fatal("it printed no page in 30 seconds")
		}
	}
}

// end is what Ctrl-C does.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		p.ended = true
		if err != nil {
			t.Errorf("Ctrl-C: %v\n%s", err, p.stderr)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Ctrl-C did not end it")
	}
}

// field is a value on the page.
func (p *process) field(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(p.page) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return words[1]
		}
	}
	t.Fatalf("the page has no %s:\n%s", name, p.page)
	return ""
}

var jwtForm = regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+`)

// refused starts what must end by itself, and returns its one sentence.
func refused(t *testing.T, env ...string) string {
	t.Helper()
	cmd, stderr := command(env...)
	stdout := &bytes.Buffer{}
	cmd.Stdout = stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %d, stdout %s", cmd.ProcessState.ExitCode(), stdout)
	}
	if stdout.Len() > 0 || strings.Contains(stderr.String(), "goroutine") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	return strings.TrimSuffix(stderr.String(), "\n")
}

func get(t *testing.T, client *http.Client, address string, dst any) {
	t.Helper()
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(dst); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", address, response.StatusCode, err)
	}
}

func TestFirstAndSecondStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "down")
	first := start(t, "DATA_DIR="+dir)
	issuer := first.field(t, "Issuer")
	if !regexp.MustCompile(`^http://localhost:\d+/$`).MatchString(issuer) {
		t.Errorf("issuer = %s", issuer)
	}
	if strings.Contains(first.page, "\x1b") {
		t.Errorf("colours, though this is no terminal:\n%q", first.page)
	}
	var m metadata
	get(t, http.DefaultClient, first.field(t, "Discovery"), &m)
	if m.Issuer != issuer || m.TokenEndpoint != issuer+"oauth/token" {
		t.Errorf("metadata = %+v", m)
	}
	// The token on the page is good for the API of the demo, and for nobody else.
	token := jwtForm.FindString(first.page)
	keys := newChannel(issuer, strings.TrimSuffix(issuer, "/"), nil).keys(m.JWKSURI)
	var claims map[string]any
	want := jwt.Expected{Type: jwt.TypAccessToken, Issuer: issuer, Audience: demoAPI, Now: time.Now()}
	if err := jwt.Verify(t.Context(), keys, token, want, &claims); err != nil {
		t.Errorf("%v in %q", err, token)
	}
	want.Audience = "https://other.example/"
	if err := jwt.Verify(t.Context(), keys, token, want, &claims); err == nil {
		t.Error("it is good for another API too")
	}
	for _, shown := range []string{`"typ": "at+jwt"`, `"iss": "` + issuer + `"`, `"scope": "read:demo"`} {
		if !strings.Contains(first.page, shown) {
			t.Errorf("the decoded token does not show %s", shown)
		}
	}
	// Both loopback addresses answer, and a path that is no route is API Gateway's.
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		u, _ := url.Parse(issuer)
		response, err := http.Post("http://"+host+":"+u.Port()+"/", "text/plain", nil)
		if err != nil {
			if host == "[::1]" && !hasIPv6() {
				continue
			}
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound || string(body) != `{"message":"Not Found"}` {
			t.Errorf("%s: %d %s", host, response.StatusCode, body)
		}
	}
	pasted(t, first.page)

	if sentence := refused(t, "DATA_DIR="+dir); !strings.Contains(sentence, "in use") || strings.Contains(sentence, "\n") {
		t.Errorf("a second one on the same folder: %q", sentence)
	}
	first.end(t)
	if first.stderr.Len() > 0 {
		t.Errorf("stderr: %s", first.stderr)
	}

	second := start(t, "DATA_DIR="+dir)
	for _, name := range []string{"Client", "Secret", "User", "Password"} {
		if got, want := second.field(t, name), first.field(t, name); got != want {
			t.Errorf("%s is %s now, and was %s", name, got, want)
		}
	}
	header, _, _ := decode(token)
	again, _, err := decode(jwtForm.FindString(second.page))
	if err != nil || again["kid"] != header["kid"] {
		t.Errorf("kid was %v and is %v, %v", header["kid"], again["kid"], err)
	}
	second.end(t)
	info, err := os.Stat(filepath.Join(dir, "demo.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("demo.json: %v %v", info.Mode(), err)
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// pasted runs the curl on the page, if there is one on this machine.
func pasted(t *testing.T, page string) {
	t.Helper()
	_, after, _ := strings.Cut(page, "  curl ")
	script, _, _ := strings.Cut("curl -sS "+after, "\n\n")
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Log("there is no curl on this machine; the line was not tried")
		return
	}
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil || !jwtForm.Match(out) {
		t.Errorf("%v\n%s\n%s", err, script, out)
	}
}

// A browser keeps cookies and follows redirects, and trusts any certificate.
type browser struct {
	*http.Client
	t *testing.T
}

func newBrowser(t *testing.T) browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return browser{&http.Client{Jar: jar, Transport: transport}, t}
}

func (b browser) read(response *http.Response, err error) (page string, at *url.URL) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body), response.Request.URL
}

func (b browser) open(address string) (string, *url.URL) {
	b.t.Helper()
	return b.read(b.Get(address))
}

var (
	inputs = regexp.MustCompile(`<input[^>]*>`)
	named  = regexp.MustCompile(`name="([^"]*)"`)
	valued = regexp.MustCompile(`value="([^"]*)"`)
)

// submit fills the page's one form.
func (b browser) submit(page string, at *url.URL, fill map[string]string) (string, *url.URL) {
	b.t.Helper()
	form := url.Values{}
	for _, input := range inputs.FindAllString(page, -1) {
		if name := named.FindStringSubmatch(input); name != nil {
			value := ""
			if v := valued.FindStringSubmatch(input); v != nil {
				value = html.UnescapeString(v[1])
			}
			form.Set(name[1], value)
		}
	}
	for name, value := range fill {
		if !form.Has(name) {
			b.t.Fatalf("the form has no %s:\n%s", name, page)
		}
		form.Set(name, value)
	}
	target := *at
	if action := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(page); action != nil {
		parsed, err := at.Parse(html.UnescapeString(action[1]))
		if err != nil {
			b.t.Fatal(err)
		}
		target = *parsed
	}
	return b.read(b.PostForm(target.String(), form))
}

// tryDemo logs in at the demo relying party as a person does, and uses all that
// it offers.
func tryDemo(t *testing.T, demo, username, password string) {
	t.Helper()
	b := newBrowser(t)
	page, _ := b.open(demo)
	if !strings.Contains(page, "Log in with kmint") {
		t.Fatalf("the demo shows:\n%s", page)
	}
	page, at := b.open(demo + "/login")
	wrong, _ := b.submit(page, at, map[string]string{"username": username, "password": "wrong " + password})
	if strings.Contains(wrong, "Hello") {
		t.Fatalf("a wrong password was good:\n%s", wrong)
	}
	page, at = b.submit(page, at, map[string]string{"username": username, "password": password})
	if at.String() != demo || !strings.Contains(page, "<h1>Hello, Demo User</h1>") {
		t.Fatalf("after the login, at %s:\n%s", at, page)
	}
	for _, shown := range []string{"ID token", "Access token", "auth_time", "signature, issuer, audience, expiry and nonce are right"} {
		if !strings.Contains(page, shown) {
			t.Errorf("the page does not show %s:\n%s", shown, page)
		}
	}
	page, _ = b.read(b.PostForm(demo+"/userinfo", nil))
	if !strings.Contains(page, `<h2 id="userinfo">`) || strings.Contains(page, "did not work") {
		t.Errorf("userinfo:\n%s", page)
	}
	page, _ = b.read(b.PostForm(demo+"/refresh", nil))
	if !strings.Contains(page, "The tokens are new") || strings.Contains(page, "did not work") {
		t.Errorf("refresh:\n%s", page)
	}
	if page, _ = b.open(demo + "/login?prompt=login"); !strings.Contains(page, `name="password"`) {
		t.Errorf("log in again asked for no password:\n%s", page)
	}
	// Single sign-on: without prompt no form is shown.
	if page, at = b.open(demo + "/login"); at.String() != demo || !strings.Contains(page, "Hello, Demo User") {
		t.Errorf("logging in with a session ends at %s:\n%s", at, page)
	}
	if page, _ = b.open(demo + "/callback?state=other&code=x"); !strings.Contains(page, "does not belong to a login") {
		t.Errorf("a foreign answer:\n%s", page)
	}
	request, _ := http.NewRequest(http.MethodPost, demo+"/forget", nil)
	request.Header.Set("Origin", "https://other.example")
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	if response, err := b.Do(request); err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("another site's form: %v %v", response, err)
	}
	if page, _ = b.read(b.PostForm(demo+"/forget", nil)); !strings.Contains(page, "Log in with kmint") {
		t.Errorf("forget:\n%s", page)
	}
}

func TestDemo(t *testing.T) {
	p := start(t, "DATA_DIR="+t.TempDir())
	demo := p.field(t, "Demo")
	tryDemo(t, demo, p.field(t, "User"), p.field(t, "Password"))
	response, err := http.Get(demo)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if csp := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self';") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	if cookies := response.Header.Values("Set-Cookie"); len(cookies) > 0 {
		t.Errorf("a look sets cookies: %v", cookies)
	}
}

func TestSeed(t *testing.T) {
	dir, example := t.TempDir(), filepath.Join("infra", "examples", "seed.json")
	start(t, "DATA_DIR="+dir).end(t)
	for range 2 {
		p := start(t, "DATA_DIR="+dir, "SEED="+example)
		if c, s := p.field(t, "Client"), p.field(t, "Secret"); c != "demo-service" || s != "demo-service-secret-used-in-examples-only" {
			t.Errorf("client %s, secret %s", c, s)
		}
		if !strings.Contains(p.page, "correct horse battery staple") || strings.Contains(p.page, "lacks") {
			t.Errorf("the page:\n%s", p.page)
		}
		_, claims, err := decode(jwtForm.FindString(p.page))
		if err != nil || claims["aud"] != "https://orders.example.com/" || claims["scope"] != "read:orders" {
			t.Errorf("claims = %v, %v", claims, err)
		}
		pasted(t, p.page)
		tryDemo(t, p.field(t, "Demo"), "demo", "correct horse battery staple")
		p.end(t)
	}
	start(t, "DATA_DIR="+dir).end(t)
}

func TestSeedThatLacks(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(seed, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "DATA_DIR="+t.TempDir(), "SEED="+seed)
	for _, lack := range []string{"The seed lacks a client with", "The seed lacks a user"} {
		if !strings.Contains(p.page, lack) {
			t.Errorf("the page does not say %q", lack)
		}
	}
	if strings.Contains(p.page, "curl") || jwtForm.MatchString(p.page) {
		t.Error("the page shows a client all the same")
	}
	p.field(t, "Demo")
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("file", "")
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name string
		env  []string
		want string
	}{
		{"used port", []string{"PORT=" + portOf(taken)}, "kmint: port " + portOf(taken) + " is in use"},
		{"no port", []string{"PORT=http"}, `kmint: PORT "http" is not a number`},
		{"no folder", []string{"DATA_DIR=" + file}, "kmint: the folder " + file + " cannot be written"},
		{"no folder below", []string{"DATA_DIR=" + filepath.Join(file, "x")}, "kmint: the folder " + filepath.Join(file, "x") + " cannot be written"},
		{"no seed", []string{"SEED=" + filepath.Join(dir, "none.json")}, "kmint: the seed cannot be used: open " + filepath.Join(dir, "none.json") + ": no such file or directory"},
		{"broken seed", []string{"SEED=" + write("broken.json", `{"clients": [`)}, "kmint: the seed cannot be used: " + filepath.Join(dir, "broken.json") + " is refused: it is not JSON: line 1"},
		{"wrong seed", []string{"SEED=" + write("wrong.json", `{"clints": []}`)}, "kmint: the seed cannot be used: " + filepath.Join(dir, "wrong.json") + " is refused: clints: it is not a member that kmint knows"},
		{"the demo's client", []string{"SEED=" + write("demo.json", `{"clients": [{"client_id": "kmint-demo-relying-party", "client_secret": "0123456789abcdef0123456789abcdef", "grant_types": ["client_credentials"]}]}`)}, "kmint: the seed cannot be used: " + filepath.Join(dir, "demo.json") + " has a client kmint-demo-relying-party"},
		{"foreign issuer", []string{"ISSUER=http://example.com/"}, `kmint: ISSUER "http://example.com/" is not https`},
		{"no certificate", []string{"TLS_CERT=" + file, "TLS_KEY=" + file}, "kmint: TLS_CERT and TLS_KEY cannot be used: "},
		{"half a certificate", []string{"TLS_CERT=" + file}, "kmint: TLS_CERT and TLS_KEY go together"},
		{"token path of the demo", []string{"TOKEN_PATH=/demo/token"}, "kmint: the path /demo/token is where the demo relying party lives"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sentence := refused(t, append([]string{"DATA_DIR=" + filepath.Join(t.TempDir(), "data")}, test.env...)...)
			if !strings.HasPrefix(sentence, test.want) || strings.Contains(sentence, "\n") {
				t.Errorf("got  %q\nwant %q", sentence, test.want)
			}
		})
	}
}

// What lies in the folder is damaged, or from another day: one sentence says so,
// and what to delete. After that it starts.
func TestDamagedFolder(t *testing.T) {
	for _, test := range []struct {
		file string
		size int64
		want string
		// remedy is what the sentence says to delete.
		remedy string
	}{
		{"store.db", 20000, "kmint: the store cannot be opened: bolt: DIR/store.db is damaged; delete it, and an empty one is made", "store.db"},
		{"store.db", 100, "kmint: the store cannot be opened: bolt: DIR/store.db is damaged; delete it, and an empty one is made", "store.db"},
		{"signing-key.pem", 0, "kmint: the key cannot be used; delete the folder DIR to begin anew: localkey: DIR/signing-key.pem holds no private key", "."},
		{"signing-key.pem", 500, "kmint: the key cannot be used; delete the folder DIR to begin anew: localkey: DIR/signing-key.pem holds no private key", "."},
		{"mac-key", 5, "kmint: the key cannot be used; delete the folder DIR to begin anew: localkey: DIR/mac-key has 5 bytes", "."},
		{"demo.json", 0, "kmint: DIR/demo.json is not a demo that this version of kmint wrote; delete it, and a new one is made: ", "demo.json"},
		{"demo.json", 300, "kmint: DIR/demo.json is not a demo that this version of kmint wrote; delete it, and a new one is made: ", "demo.json"},
	} {
		t.Run(fmt.Sprintf("%s of %d", test.file, test.size), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			start(t, "DATA_DIR="+dir).end(t)
			if err := os.Truncate(filepath.Join(dir, test.file), test.size); err != nil {
				t.Fatal(err)
			}
			if got, want := refused(t, "DATA_DIR="+dir), strings.ReplaceAll(test.want, "DIR", dir); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if err := os.RemoveAll(filepath.Join(dir, test.remedy)); err != nil {
				t.Fatal(err)
			}
			start(t, "DATA_DIR="+dir).end(t)
		})
	}
}

func TestSeveralProblems(t *testing.T) {
	got := refused(t, "DATA_DIR="+t.TempDir(), "LOG=loud", "PORT=http", "ISSUER=http://example.com/", "TLS_CERT=x", "TLS_KEY=y")
	want := `kmint: PORT "http" is not a number from 0 to 65535
kmint: ISSUER "http://example.com/" is not https; plain http is for localhost alone (RFC 8414 §2)
kmint: LOG "loud" is not one of debug, info, warn, error, off`
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestTokenPath(t *testing.T) {
	p := start(t, "DATA_DIR="+t.TempDir(), "TOKEN_PATH=/my/token")
	var m metadata
	get(t, http.DefaultClient, p.field(t, "Discovery"), &m)
	if want := p.field(t, "Issuer") + "my/token"; m.TokenEndpoint != want || !strings.Contains(p.page, "curl "+want) {
		t.Errorf("token_endpoint = %s", m.TokenEndpoint)
	}
	pasted(t, p.page)
	plain := start(t, "DATA_DIR="+t.TempDir())
	for path, want := range map[string]int{"my/token": http.StatusNotFound, "oauth2/token": http.StatusUnauthorized} {
		response, err := http.PostForm(plain.field(t, "Issuer")+path, url.Values{"grant_type": {"client_credentials"}, "client_id": {"x"}, "client_secret": {"y"}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("without TOKEN_PATH, %s answers %d", path, response.StatusCode)
		}
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, "DATA_DIR="+dir, "TLS_CERT="+certFile, "TLS_KEY="+keyFile)
	if issuer := p.field(t, "Issuer"); !strings.HasPrefix(issuer, "https://localhost:") {
		t.Errorf("issuer = %s", issuer)
	}
	if !jwtForm.MatchString(p.page) {
		t.Errorf("no first token")
	}
	pasted(t, p.page)
	tryDemo(t, p.field(t, "Demo"), p.field(t, "User"), p.field(t, "Password"))
}

// Behind a proxy that ends TLS, addresses and cookies are those of the issuer.
func TestProxy(t *testing.T) {
	var target *url.URL
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	defer proxy.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(l)
	l.Close()
	target = &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}
	p := start(t, "DATA_DIR="+t.TempDir(), "PORT="+port, "ISSUER="+proxy.URL+"/")
	if !jwtForm.MatchString(p.page) {
		t.Errorf("no first token")
	}
	b := newBrowser(t)
	var m metadata
	get(t, b.Client, p.field(t, "Discovery"), &m)
	for _, address := range []string{m.Issuer, m.AuthorizationEndpoint, m.TokenEndpoint, m.UserinfoEndpoint, m.JWKSURI, p.field(t, "Demo")} {
		if !strings.HasPrefix(address, proxy.URL+"/") {
			t.Errorf("address %s", address)
		}
	}
	tryDemo(t, p.field(t, "Demo"), p.field(t, "User"), p.field(t, "Password"))

	page, at := b.open(p.field(t, "Demo") + "/login")
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := url.Values{}
	for _, input := range inputs.FindAllString(page, -1) {
		name, value := named.FindStringSubmatch(input), valued.FindStringSubmatch(input)
		if name != nil && value != nil {
			form.Set(name[1], html.UnescapeString(value[1]))
		}
	}
	form.Set("username", p.field(t, "User"))
	form.Set("password", p.field(t, "Password"))
	at.RawQuery = ""
	response, err := b.PostForm(at.String(), form)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if !slices.ContainsFunc(response.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(c.Name, "__Host-") && c.Secure && c.HttpOnly
	}) {
		t.Errorf("%d, cookies: %v", response.StatusCode, response.Header.Values("Set-Cookie"))
	}
}

// Whoever ends it with SIGTERM gets the same end as by Ctrl-C.
func TestTerminate(t *testing.T) {
	p := start(t, "DATA_DIR="+t.TempDir())
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		p.ended = true
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("it did not end")
	}
}

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"kmint/infra/rig/ddb"
)

// TestSAMLocal runs the built functions in Lambda's container, against DynamoDB
// Local and the KMS test server.
func TestSAMLocal(t *testing.T) {
	log := &testLog{t}
	c, err := findCLI(log)
	leaveOut(t, err)
	if _, err := exec.LookPath("podman"); err != nil && exec.Command("docker", "info").Run() != nil {
		leaveOut(t, errNoEngine)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	s, err := start(ctx, c)
	leaveOut(t, err)
	t.Cleanup(s.Stop)

	// Beside what a developer has built.
	dir := t.TempDir()
	file := filepath.Join(dir, "env.json")
	if err := s.WriteVariables(file); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(dir, "build")
	if err := c.Build(ctx, built); err != nil {
		t.Fatal(err)
	}
	invoke := func(t *testing.T, function, event string) response {
		t.Helper()
		r, err := c.Invoke(ctx, s.Engine, built, function, event, file)
		if err != nil {
			t.Fatal(err)
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
		port := freePort(t)
		serving, stop := context.WithCancel(ctx)
		api, err := c.StartAPI(serving, s.Engine, built, port, file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { stop(); _ = api.Wait() }()

		status, answer := post(t, ctx, "http://127.0.0.1:"+port+"/oauth/token", "demo-service-secret-used-in-examples-only")
		if status != http.StatusOK {
			t.Fatalf("status %d: %s", status, answer)
		}
		verify(t, keys, answer)
		status, answer = post(t, ctx, "http://127.0.0.1:"+port+"/oauth/token", "not-the-secret-that-is-in-the-seed")
		if status != http.StatusUnauthorized {
			t.Errorf("a wrong secret: status %d: %s", status, answer)
		}
	})
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

package lambda

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/infra/rig/sqstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
)

const (
	issuer  = "https://auth.example.com/"
	version = "v0.0.0-test"
)

// A rig is what stands behind the functions: DynamoDB Local, a KMS and a queue, set
// up as an owner does, by `kmint import`.
type rig struct {
	db     *ddb.Local
	tables ddb.Tables
	kms    *kmstest.Server
	kmsURL string
	sqsURL string
	queue  *queue
	// kmint is the command line, bootstraps are the built functions, by name.
	kmint      string
	bootstraps map[string]string
	// made are keys that the stack has beside those below, by logical id.
	made map[string]string
	// keys by purpose
	signingKey, ps256Key, es256Key, macKey, secretsKey string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	prefix := "kmint-" + strings.ToLower(rand.Text()[:8])
	r := &rig{
		db:     ddb.ForTest(t),
		tables: ddb.Tables{Config: prefix + "-config", Users: prefix + "-users", Grants: prefix + "-grants"},
		kms:    kmstest.New(),
		queue:  &queue{},

		bootstraps: map[string]string{}, made: map[string]string{},
	}
	server := httptest.NewServer(r.kms)
	t.Cleanup(server.Close)
	r.kmsURL = server.URL
	sqs := httptest.NewServer(&sqstest.Server{Took: r.queue.put})
	t.Cleanup(sqs.Close)
	r.sqsURL = sqs.URL
	if err := ddb.CreateTables(t.Context(), r.db.Client(), r.tables); err != nil {
		t.Fatal(err)
	}
	for key, spec := range map[*string]string{
		&r.signingKey: kmstest.RSA2048, &r.ps256Key: kmstest.RSA2048, &r.es256Key: kmstest.P256,
		&r.macKey: kmstest.HMAC256, &r.secretsKey: kmstest.Symmetric,
	} {
		var err error
		if *key, err = r.kms.Create(spec); err != nil {
			t.Fatal(err)
		}
	}
	r.seed(t)
	return r
}

// seed runs `kmint import` over both examples, twice: the second time must find
// nothing to do.
func (r *rig) seed(t testing.TB) {
	t.Helper()
	r.kmint = goBuild(t, "infra/kmint", "kmint")
	for _, file := range []string{"seed.json", "full.json"} {
		r.importFile(t, file, false)
		r.importFile(t, file, true)
	}
}

func (r *rig) importFile(t testing.TB, file string, again bool) {
	t.Helper()
	out := r.runImport(t, filepath.Join(root, "infra/examples", file), "PS256="+r.ps256Key, "ES256="+r.es256Key)
	changes, _, _ := strings.Cut(out, "\n\n")
	for change := range strings.Lines(changes) {
		// The second file finds the keys and the issuer of the first.
		if known := strings.HasPrefix(change, "unchanged "); again && !known || !again && known && file == "seed.json" {
			t.Errorf("kmint import of %s, again: %v, says %s", file, again, change)
		}
	}
}

// runImport runs `kmint import` of a seed file, with the first keys beside that for RS256.
func (r *rig) runImport(t testing.TB, file string, keys ...string) string {
	t.Helper()
	arguments := []string{
		"import", "--config-table", r.tables.Config, "--users-table", r.tables.Users,
		"--signing-key", r.signingKey, "--secrets-key", r.secretsKey, "--issuer", issuer, "--seed", file,
	}
	for _, key := range keys {
		arguments = append(arguments, "--key", key)
	}
	command := exec.CommandContext(t.Context(), r.kmint, arguments...)
	command.Env = []string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=example", "AWS_SECRET_ACCESS_KEY=example",
		"AWS_ENDPOINT_URL_DYNAMODB=" + r.db.URL, "AWS_ENDPOINT_URL_KMS=" + r.kmsURL,
	}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("kmint import: %v\n%s", err, out)
	}
	return string(out)
}

// env is the function's own environment, as template.yaml gives it.
func (r *rig) env(function string) map[string]string {
	env := map[string]string{
		"ISSUER":                    issuer,
		"LOG":                       "info",
		"STACK":                     "kmint",
		"CONFIG_TABLE":              r.tables.Config,
		"AWS_ENDPOINT_URL_DYNAMODB": r.db.URL,
	}
	people := map[string]string{"USERS_TABLE": r.tables.Users, "GRANTS_TABLE": r.tables.Grants}
	switch function {
	case "token":
		maps.Copy(env, people)
		maps.Copy(env, map[string]string{"TOKEN_PATH": "/oauth2/token", "MAC_KEY": r.macKey, "SECRETS_KEY": r.secretsKey, "AWS_ENDPOINT_URL_KMS": r.kmsURL})
	case "authorize":
		maps.Copy(env, people)
		maps.Copy(env, map[string]string{
			"MAC_KEY": r.macKey, "AUTHORIZE_SIGNS": "true", "AWS_ENDPOINT_URL_KMS": r.kmsURL,
			"LOGOUT_QUEUE": sqstest.URL, "AWS_ENDPOINT_URL_SQS": r.sqsURL,
		})
	case "userinfo":
		maps.Copy(env, people)
		maps.Copy(env, map[string]string{"MAC_KEY": r.macKey, "AWS_ENDPOINT_URL_KMS": r.kmsURL})
	case "deliver":
		env["AWS_ENDPOINT_URL_KMS"] = r.kmsURL
	case "rotate":
		maps.Copy(env, map[string]string{
			"SIGNERS": "arn:aws:iam::000000000000:role/kmint-TokenRole", "ROTATION_DAYS": "90", "PUBLISH_HOURS": "24",
			"AWS_ENDPOINT_URL_KMS": r.kmsURL,
		})
	case "discovery":
		maps.Copy(env, map[string]string{"TOKEN_PATH": "/oauth/token", "AUTHORIZE_SIGNS": "true"})
	}
	return env
}

// A queue is what was put into it and not yet taken.
type queue struct {
	mu       sync.Mutex
	messages []string
}

func (q *queue) put(messages []string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, messages...)
	return nil
}

func (q *queue) take() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	messages := q.messages
	q.messages = nil
	return messages
}

// build builds a function as the Makefile does, but for this machine, once for the rig. t
// is the test that made it, or one within.
func (r *rig) build(t testing.TB, function string) string {
	t.Helper()
	if r.bootstraps[function] == "" {
		r.bootstraps[function] = buildFunction(t, function)
	}
	return r.bootstraps[function]
}

func buildFunction(t testing.TB, function string) string {
	t.Helper()
	return goBuild(t, "functions/"+function, "bootstrap",
		"-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -X main.version="+version)
}

// goBuild builds a program of the module, without cgo, for this machine.
func goBuild(t testing.TB, dir, name string, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	command := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", program}, flags...), "./"+dir)...)
	command.Dir = root
	command.Env = append(command.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("go build ./%s: %w\n%s", dir, err, out))
	}
	return program
}

func (r *rig) kmsConfig() aws.Config {
	config := r.db.Config()
	config.BaseEndpoint = &r.kmsURL
	return config
}

func (r *rig) sqsConfig() aws.Config {
	config := r.db.Config()
	config.BaseEndpoint = &r.sqsURL
	return config
}

// A signer signs with the one key.
type signer struct {
	kms.Signer
	arn string
}

var _ jwt.Signer = signer{}

func (s signer) SigningKey(ctx context.Context, _ jwt.Choice) (jwt.Key, error) {
	public, err := s.PublicKey(ctx, s.arn)
	if err != nil {
		return jwt.Key{}, err
	}
	return keys.New(jwt.RS256, public, s.arn)
}

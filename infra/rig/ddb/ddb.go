// Package ddb answers: which DynamoDB do the tests write to?
//
// The real one, as far as it can be had without an account: Amazon's DynamoDB
// Local, whose conditions, races and TTL are those of the service. Other emulators
// do not serve: of one two racers win, another never deletes. Its licence asks for
// an AWS account in good standing and forbids passing it on, so it is fetched from
// Maven Central on the machine that runs it, and kept in the working tree's .tmp.
//
// It needs Java and Maven. Without them, or with DYNAMODB=none, tests that want it
// are left out; with CI=true they fail instead.
package ddb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// ErrLeftOut says that DynamoDB Local cannot run here, or is not wanted. The error
// says which.
var ErrLeftOut = errors.New("ddb: DynamoDB Local is left out")

const (
	jar = "DynamoDBLocal-2.6.1.jar"
	// startup bounds a start, on a machine with other things to do.
	startup = time.Minute
)

// A Local is a running DynamoDB Local, empty at first and all in memory.
type Local struct {
	// URL is its address on this machine. It listens on all interfaces, and cannot
	// be told otherwise.
	URL string

	leash  io.Closer
	exited chan struct{}
	output bytes.Buffer // to be read once it has exited
}

// ForTest returns the one that all tests of the process share. It ends with the
// process.
func ForTest(t testing.TB) *Local {
	t.Helper()
	local, err := shared()
	switch {
	case errors.Is(err, ErrLeftOut) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return local
}

// A JVM takes seconds to start: one serves all tests of a process.
var shared = sync.OnceValues(Start)

// Start runs DynamoDB Local on a free port, and fetches it first if need be. It
// ends when Stop is called, and when this process ends, however that happens.
func Start() (*Local, error) {
	if os.Getenv("DYNAMODB") == "none" {
		return nil, fmt.Errorf("%w: DYNAMODB=none", ErrLeftOut)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("%w: there is no java", ErrLeftOut)
	}
	dir, err := fetch()
	if err != nil {
		return nil, err
	}
	for range 3 { // another process may take the port before java does
		var local *Local
		if local, err = start(java, dir); err == nil {
			return local, nil
		}
	}
	return nil, err
}

// Stop ends it.
func (l *Local) Stop() error {
	err := l.leash.Close()
	<-l.exited
	if errors.Is(err, os.ErrClosed) { // it had ended by itself
		return nil
	}
	return err
}

// Config is what a client of it needs. The credentials mean nothing.
func (l *Local) Config() aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &l.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	}
}

// Client is a client of it.
func (l *Local) Client() *dynamodb.Client { return dynamodb.NewFromConfig(l.Config()) }

// Tables names kmint's three tables.
type Tables struct{ Config, Users, Grants string }

// CreateTables makes the three tables as template.yaml does: pk, a string, and on
// grants TTL and the index owner. A name has three characters at least.
func CreateTables(ctx context.Context, client *dynamodb.Client, tables Tables) error {
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	key := func(name string) []types.KeySchemaElement {
		return []types.KeySchemaElement{{AttributeName: &name, KeyType: types.KeyTypeHash}}
	}
	for _, name := range []string{tables.Config, tables.Users, tables.Grants} {
		in := &dynamodb.CreateTableInput{
			TableName:            &name,
			BillingMode:          types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{attribute("pk")},
			KeySchema:            key("pk"),
		}
		if name == tables.Grants {
			in.AttributeDefinitions = append(in.AttributeDefinitions, attribute("owner"))
			in.GlobalSecondaryIndexes = []types.GlobalSecondaryIndex{{
				IndexName: aws.String("owner"), KeySchema: key("owner"),
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			}}
		}
		_, err := client.CreateTable(ctx, in)
		if err != nil {
			return fmt.Errorf("ddb: table %s: %w", name, err)
		}
	}
	_, err := client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &tables.Grants,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)},
	})
	if err != nil {
		return fmt.Errorf("ddb: table %s: %w", tables.Grants, err)
	}
	return nil
}

// start starts java under a shell that reads a pipe which only this process holds
// open: when it ends, so do java and the shell.
func start(java, dir string) (*Local, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	const watch = `exec 3<&0
		"$@" >&2 </dev/null 3<&- & java=$!
		(read -r _ <&3; kill -9 $java) & leash=$!
		wait $java; kill $leash 2>/dev/null`
	process := exec.Command("/bin/sh", "-c", watch, "sh",
		java, "-Xmx256m", "-Djava.library.path="+dir, "-cp", filepath.Join(dir, "*"),
		"com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
		"-inMemory", "-sharedDb", "-disableTelemetry", "-port", strconv.Itoa(port))
	// What is typed at a terminal to end the tests is not for java to see first.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	local := &Local{URL: "http://127.0.0.1:" + strconv.Itoa(port), exited: make(chan struct{})}
	process.Stderr = &local.output
	leash, err := process.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("ddb: %w", err)
	}
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("ddb: %w", err)
	}
	local.leash = leash
	go func() {
		defer close(local.exited)
		_ = process.Wait() // killed, as a rule
	}()
	if err := local.ready(); err != nil {
		return nil, errors.Join(err, local.Stop())
	}
	return local, nil
}

// ready waits until it answers.
func (l *Local) ready() error {
	client := http.Client{Timeout: time.Second}
	for until := time.Now().Add(startup); time.Now().Before(until); {
		select {
		case <-l.exited:
			return fmt.Errorf("ddb: DynamoDB Local ended: %s", l.output.String())
		case <-time.After(50 * time.Millisecond):
		}
		response, err := client.Get(l.URL) // a GET is no request, and answered 400
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.Header.Get("x-amzn-RequestId") != "" {
			return nil
		}
		return fmt.Errorf("ddb: something else answers at %s", l.URL)
	}
	return fmt.Errorf("ddb: DynamoDB Local did not start within %s", startup)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("ddb: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// fetch returns the directory of DynamoDB Local: DYNAMODB_LOCAL_DIR, or .tmp/ddb in
// the working tree. Several test processes may find it missing at once: one
// fetches, the others wait.
func fetch() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := os.Getenv("DYNAMODB_LOCAL_DIR")
	if dir == "" {
		dir = filepath.Join(root, ".tmp", "ddb")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("ddb: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("ddb: %w", err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("ddb: %w", err)
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("ddb: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, jar)); err == nil {
		return dir, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", fmt.Errorf("%w: it is not in %s, and there is no mvn to fetch it", ErrLeftOut, dir)
	}
	// Half of it must not look like the whole.
	unfinished := dir + ".unfinished"
	command := exec.Command("bash", filepath.Join(root, "infra", "tools", "dynamodb-local.sh"))
	command.Env = append(os.Environ(), "DYNAMODB_LOCAL_DIR="+unfinished)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("ddb: %s: %w\n%s", command, err, output)
	}
	_ = os.Remove(dir) // if it is empty; if it is not, it is somebody's
	if err := os.Rename(unfinished, dir); err != nil {
		return "", fmt.Errorf("ddb: %w", err)
	}
	return dir, nil
}

// moduleRoot is the directory of go.mod, above the one that a test runs in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		err = errors.New("there is no go.mod above the working directory")
	}
	return "", fmt.Errorf("ddb: %w", err)
}

package ddb_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"kmint/infra/rig/ddb"
)

func TestTables(t *testing.T) {
	local := ddb.ForTest(t)
	ctx, client := t.Context(), local.Client()
	tables := ddb.Tables{Config: "tables-config", Users: "tables-users", Grants: "tables-grants"}
	if err := ddb.CreateTables(ctx, client, tables); err != nil {
		t.Fatal(err)
	}
	out, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &tables.Grants})
	if err != nil || *out.TimeToLiveDescription.AttributeName != "ttl" {
		t.Errorf("TTL of grants: %+v, %v", out, err)
	}
	if err := ddb.CreateTables(ctx, client, tables); err == nil {
		t.Error("tables of the same names were created twice")
	}
}

func TestStop(t *testing.T) {
	ddb.ForTest(t) // or leave it out
	local, err := ddb.Start()
	if err != nil {
		t.Fatal(err)
	}
	if !answers(local.URL) {
		t.Error("it does not answer")
	}
	if err := local.Stop(); err != nil {
		t.Error(err)
	}
	if answers(local.URL) {
		t.Error("stopped, it answers")
	}
}

// TestOrphan starts this test anew as a process that starts one and is killed.
func TestOrphan(t *testing.T) {
	if os.Getenv("DDB_ORPHAN") != "" {
		local, err := ddb.Start()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(os.Getenv("DDB_ORPHAN"), []byte(local.URL), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // longer than its parent lets it live
		return
	}
	ddb.ForTest(t)
	told := filepath.Join(t.TempDir(), "url")
	child := exec.Command(os.Args[0], "-test.run", "^TestOrphan$")
	child.Env = append(os.Environ(), "DDB_ORPHAN="+told)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var url string
	for range 300 {
		if text, err := os.ReadFile(told); err == nil && len(text) > 0 {
			url = string(text)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if url == "" || !answers(url) {
		t.Errorf("it does not answer at %q", url)
	}
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = child.Wait() // killed
	for range 100 {
		if !answers(url) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("it outlived the process that started it")
}

func TestLeftOut(t *testing.T) {
	t.Setenv("DYNAMODB", "none")
	if _, err := ddb.Start(); !errors.Is(err, ddb.ErrLeftOut) || !strings.Contains(err.Error(), "DYNAMODB=none") {
		t.Error(err)
	}
	t.Setenv("DYNAMODB", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := ddb.Start(); !errors.Is(err, ddb.ErrLeftOut) || !strings.Contains(err.Error(), "java") {
		t.Error(err)
	}
}

func answers(url string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}

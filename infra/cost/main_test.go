package main

import (
	"os"
	"strings"
	"testing"

	"kmint/infra/figures"
)

// TestReadme holds the tables of infra/README.md to those that are reckoned now.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(figures.Readme())
	if err != nil {
		t.Fatal(err)
	}
	want, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	got, err := figures.Fenced(string(readme), "cost")
	if err != nil || got != want {
		t.Errorf("infra/README.md is out of date, %v; run `go run ./infra/cost write`. It is now\n%s", err, want)
	}
}

// What the root README says of a million tokens is what comes out here.
func TestTables(t *testing.T) {
	text, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(text, "\n")
	if len(rows) < 5 || !strings.HasPrefix(rows[2], "| `client_credentials` | $1.00 | $0.") || !strings.Contains(rows[2], "| – | $3.00 |") {
		t.Error(text)
	}
}

func TestWatched(t *testing.T) {
	template := "Resources:\n  A:\n    MetricName: x\n  B:\n    - {MetricName: y}\n    - {MetricName: z}\n  Dashboard:\n    MetricName: shown\n"
	if got := watched(template); got != 3 {
		t.Error(got)
	}
}

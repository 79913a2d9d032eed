package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// build makes a function by the Makefile of a tree, with a cache of its own if told so.
func build(t *testing.T, tree, cache string) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "make", "-s", "build-DiscoveryFunction", "ARTIFACTS_DIR="+filepath.Join(dir, "discovery"), "VERSION=v0.0.0-test")
	command.Dir = tree
	command.Env = append(os.Environ(), "GOARCH=arm64", "GOFLAGS=")
	if cache != "" {
		command.Env = append(command.Env, "GOCACHE="+cache)
	}
	if err := os.Mkdir(filepath.Join(dir, "discovery"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// copied is the tree elsewhere, as far as a function is made of it.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"functions", "pkg"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "Makefile", "samconfig.toml"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fake is a cyclonedx-gomod that says when it ran, and how it was asked.
func fake(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cyclonedx-gomod")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const tells = `printf '{\n  "metadata": {\n    "timestamp": "%s",\n    "asked": "%s %s"\n  }\n}\n' "$(date +%N)" "$GOARCH" "$*" | sed 's| /.*/|  |'
`

func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if found[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// Built in two places, once by a compiler that remembers nothing, a release has the same
// bytes. The twin: it has not where the version is another.
func TestTwoBuildsAreEqual(t *testing.T) {
	tool := fake(t, tells)
	var releases []map[string][]byte
	for _, built := range []string{build(t, root, ""), build(t, copied(t), t.TempDir())} {
		out := t.TempDir()
		if err := release(t.Context(), built, out, "v0.0.0-test", "arm64", tool); err != nil {
			t.Fatal(err)
		}
		releases = append(releases, read(t, out))
	}
	if len(releases[0]) != 3 || len(releases[1]) != 3 {
		t.Fatalf("%d and %d files", len(releases[0]), len(releases[1]))
	}
	for name, content := range releases[0] {
		if !bytes.Equal(content, releases[1][name]) {
			t.Errorf("%s differs: %d and %d bytes", name, len(content), len(releases[1][name]))
		}
	}
	if text := string(releases[0]["discovery-arm64.cdx.json"]); strings.Contains(text, "timestamp") || !strings.Contains(text, `"asked": "arm64 bin -json -noserial -std -version v0.0.0-test`) {
		t.Error(text)
	}

	archive, err := zip.NewReader(bytes.NewReader(releases[0]["discovery-arm64.zip"]), int64(len(releases[0]["discovery-arm64.zip"])))
	if err != nil || len(archive.File) != 1 || archive.File[0].Name != "bootstrap" || archive.File[0].Mode() != 0o755 {
		t.Fatalf("%+v %v", archive, err)
	}
	file, err := archive.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(file)
	here, _ := filepath.Abs(root)
	if err != nil || !bytes.Contains(program, []byte("v0.0.0-test")) || bytes.Contains(program, []byte(here)) {
		t.Errorf("%d bytes, %v", len(program), err)
	}

	dir := t.TempDir()
	for name, content := range releases[0] {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func() error {
		command := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
		command.Dir = dir
		return command.Run()
	}
	if err := check(); err != nil {
		t.Errorf("the checksums: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "discovery-arm64.zip"), append(releases[0]["discovery-arm64.zip"], 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(); err == nil {
		t.Error("a zip that was changed has the same checksum")
	}
}

// The bill of a function by the program itself lists what the function is made of, and is
// the same the second time.
func TestBill(t *testing.T) {
	const tool = ".tmp/bin/cyclonedx-gomod-v1.9.0"
	if _, err := os.Stat(filepath.Join(root, tool)); err != nil && os.Getenv("CI") != "true" {
		t.Skip("needs cyclonedx-gomod: make release installs it")
	}
	fetch := exec.CommandContext(t.Context(), "make", "-s", tool)
	fetch.Dir = root
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(build(t, root, ""), "discovery", "bootstrap")
	var texts [][]byte
	for range 2 {
		text, err := bill(t.Context(), filepath.Join(root, tool), path, "v0.0.0-test", "arm64")
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	var b struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Timestamp string
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, PURL string }
	}
	if err := json.Unmarshal(texts[0], &b); err != nil || b.Format != "CycloneDX" || b.Metadata.Timestamp != "" || b.Metadata.Component.Version != "v0.0.0-test" {
		t.Errorf("%v %+v", err, b)
	}
	for _, name := range []string{"github.com/aws/aws-lambda-go", "github.com/go-jose/go-jose/v4", "std"} {
		if !slices.ContainsFunc(b.Components, func(c struct{ Name, PURL string }) bool {
			return c.Name == name && strings.HasSuffix(c.PURL, "goos=linux&goarch=arm64")
		}) {
			t.Errorf("%s is not on the bill", name)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("two bills of one function differ")
	}
}

func TestReleaseRefused(t *testing.T) {
	built := t.TempDir()
	if err := release(t.Context(), built, t.TempDir(), "v", "arm64", fake(t, tells)); err == nil {
		t.Error("nothing is released")
	}
	if err := os.MkdirAll(filepath.Join(built, "token"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(built, "token", "bootstrap"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "dist")
	if err := release(t.Context(), built, out, "v", "arm64", fake(t, "echo no >&2; exit 1\n")); err == nil || !strings.Contains(err.Error(), "no\n") {
		t.Errorf("without a bill: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("half a release is written")
	}
}

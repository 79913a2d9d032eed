package verify_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFewDependencies holds that whoever verifies tokens links no AWS, no store, and
// nothing else that comes along unseen.
func TestFewDependencies(t *testing.T) {
	allowed := []string{
		"kmint/pkg/verify", "kmint/pkg/oauth", "kmint/pkg/jwt",
		"github.com/go-jose/go-jose/v4", "github.com/go-jose/go-jose/v4/cipher", "github.com/go-jose/go-jose/v4/json",
		"filippo.io/mldsa", "filippo.io/mldsa/mldsacrypto", "filippo.io/mldsa/internal/byteorder", "filippo.io/mldsa/internal/constanttime",
		"filippo.io/mldsa/internal/fips140", "filippo.io/mldsa/internal/fips140/mldsa",
	}
	strangers := func(of string) (found []string) {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", of).Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.FieldsSeq(string(out)) {
			if !slices.Contains(allowed, path) {
				found = append(found, path)
			}
		}
		return found
	}
	if found := strangers("."); len(found) > 0 {
		t.Errorf("it links %s", found)
	}
	// The twin: they would be found.
	if found := strangers("../dynamo"); !slices.ContainsFunc(found, func(path string) bool { return strings.Contains(path, "aws") }) {
		t.Errorf("of dynamo only %s is found", found)
	}
}

// TestReadmeProgram builds the program of README.md as somebody else would: in a
// module of its own, that requires kmint from a copy beside it.
func TestReadmeProgram(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(readme, -1)
	if len(programs) != 1 {
		t.Fatalf("README.md has %d programs", len(programs))
	}
	build := func(program string) ([]byte, error) {
		dir := t.TempDir()
		write := func(name, text string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("main.go", program)
		write("go.mod", "module example.com/orders\n\ngo 1.26.0\n\nrequire kmint v0.0.0\n\nreplace kmint => "+root+"\n")
		sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		write("go.sum", string(sums))
		command := exec.Command("go", "build", "-mod=mod", "-o", os.DevNull, ".")
		command.Dir = dir
		// What kmint is built of is on this machine already.
		command.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
		return command.CombinedOutput()
	}
	program := string(programs[0][1])
	if out, err := build(program); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The twin: what is not there is found to be missing.
	if _, err := build(strings.ReplaceAll(program, "api.Require", "api.Demand")); err == nil {
		t.Error("a program that cannot be right is built")
	}
}

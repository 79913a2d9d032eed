package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRoot(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(top, "infra", "deep")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	if root, err := Root(); err == nil {
		t.Errorf("found %s where there is none", root)
	}
	if err := os.WriteFile(filepath.Join(top, "template.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{deep, top} {
		t.Chdir(dir)
		if root, err := Root(); root != top || err != nil {
			t.Errorf("from %s: %s, %v", dir, root, err)
		}
	}
}

func TestSeed(t *testing.T) {
	if s, err := Seed("../examples/seed.json"); err != nil || len(s.Clients) == 0 {
		t.Errorf("the example: %+v, %v", s, err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if _, err := Seed(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{
		`{"x": 1}`:         " is refused: x: it is not a member that kmint knows",
		`{"x": 1, "y": 2}`: " is refused for 2 reasons:\n  x: it is not a member that kmint knows\n  y: it is not a member that kmint knows",
		`{"apis": [`:       " is refused: it is not JSON: ",
		``:                 " is refused: it is not JSON: ",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Seed(path); err == nil || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

package infra_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// developmentOnly are packages, by a part of their path, that no function links:
// the local store and key, what serves tests, and the tests' own.
var developmentOnly = []string{"bbolt", "kmint/pkg/bolt", "kmint/pkg/localkey", "kmint/infra/", "storetest", "testing"}

func links(t *testing.T, packages string) (found []string) {
	t.Helper()
	list := exec.Command("go", "list", "-deps", packages)
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if slices.ContainsFunc(developmentOnly, func(part string) bool { return strings.Contains(path, part) }) {
			found = append(found, path)
		}
	}
	return found
}

func TestFunctionsLinkNoDevelopmentCode(t *testing.T) {
	if found := links(t, "./functions/..."); len(found) > 0 {
		t.Errorf("a function links %s", found)
	}
	// The twin: where there is such code, it is found.
	if found := links(t, "./infra/local"); len(found) == 0 {
		t.Error("make run links no development code, so this test cannot find any")
	}
}

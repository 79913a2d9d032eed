package conformance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An attack is one that servers like this one have met, by the words of attacks.json.
type attack struct {
	Attack string `json:"attack"`
	// Source is where it is described.
	Source string `json:"source"`
	// Variants are the ways to try it, each with the tests that do and see it fail: a
	// package and a test, with a subtest, or a word in it, after a slash.
	Variants map[string][]string `json:"variants"`
}

// attacks are those that have to be in the list, with the variants that have to be there.
var attacks = map[string][]string{
	"open redirect":             nil,
	"mix-up":                    nil,
	"code injection":            nil,
	"CSRF on login":             nil,
	"CSRF on consent":           nil,
	"CSRF on logout":            nil,
	"clickjacking":              {"login", "consent", "logout"},
	"missing state and nonce":   {"no state", "no nonce"},
	"redirect_uri tricks":       {"userinfo", "fragments", "path traversal", "case", "ports", "IPv6 loopback", "custom schemes"},
	"HTML and header injection": {"client_name", "login_hint", "ui_locales", "error_description", "state by a form", "state by a message", "logout_hint"},
	"downgrade":                 {"PKCE left out", "PKCE to plain", "response type to one that is not registered", "response mode to the query"},
}

func readAttacks(t *testing.T) []attack {
	t.Helper()
	file, err := os.Open("attacks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var list []attack
	if err := decoder.Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list
}

// shown reports why there is no such test. A transcript is a file.
func shown(test string) error {
	if name, isTranscript := strings.CutPrefix(test, "kmint/pkg/server TestTranscripts/"); isTranscript {
		_, err := os.Stat(filepath.Join("..", "..", "pkg", "server", "testdata", name+".txt"))
		return err
	}
	return exists(test)
}

// ofAttacks are what is wrong with the list.
func ofAttacks(list []attack, shown func(test string) error) (found []string) {
	problem := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for name, variants := range attacks {
		i := slices.IndexFunc(list, func(a attack) bool { return a.Attack == name })
		if i < 0 {
			problem("the attack %s is missing", name)
			continue
		}
		for _, variant := range variants {
			if _, there := list[i].Variants[variant]; !there {
				problem("%s: the variant %s is missing", name, variant)
			}
		}
	}
	for i, a := range list {
		if a.Source == "" || len(a.Variants) == 0 {
			problem("%s: it has no source, or no variants", a.Attack)
		}
		if slices.ContainsFunc(list[:i], func(b attack) bool { return a.Attack == b.Attack }) {
			problem("%s stands there twice", a.Attack)
		}
		for variant, tests := range a.Variants {
			if len(tests) == 0 {
				problem("%s: %s: no test tries it", a.Attack, variant)
			}
			for _, test := range tests {
				if err := shown(test); err != nil {
					problem("%s: %s: %v", a.Attack, variant, err)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// TestAttacks fails on an attack, or a way to try it, that no test tries, and on a test
// that does not exist.
func TestAttacks(t *testing.T) {
	list := readAttacks(t)
	for _, problem := range ofAttacks(list, shown) {
		t.Error(problem)
	}
	variants := 0
	for _, a := range list {
		variants += len(a.Variants)
	}
	t.Logf("%d attacks are tried in %d ways", len(list), variants)
}

// What pages show of a request is in the list: every parameter that the two endpoints read.
func TestAttacksKnowEveryParameter(t *testing.T) {
	read := regexp.MustCompile(`\.Get\("([a-zA-Z_]+)"\)`)
	for pkg, test := range map[string]string{"authorize": "kmint/pkg/authorize TestHostileWordsAtLogin/", "logout": "kmint/pkg/logout TestHostileWords/"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "pkg", pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, match := range read.FindAllStringSubmatch(string(text), -1) {
				if strings.ToLower(match[1]) != match[1] && match[1] != "returnTo" {
					continue // a header
				}
				names++
				if err := shown(test + match[1]); err != nil {
					t.Errorf("%s reads %s: %v", path, match[1], err)
				}
			}
		}
		if names < 3 {
			t.Errorf("%d parameters in %s", names, pkg)
		}
	}
}

// The twin: each mistake is found.
func TestAttacksFinds(t *testing.T) {
	for want, spoil := range map[string]func(list []attack) []attack{
		"the attack open redirect is missing":           func(l []attack) []attack { return l[1:] },
		"open redirect stands there twice":              func(l []attack) []attack { return append(l, l[0]) },
		"clickjacking: the variant consent is missing":  func(l []attack) []attack { delete(named(l, "clickjacking").Variants, "consent"); return l },
		"mix-up: it has no source":                      func(l []attack) []attack { named(l, "mix-up").Source = ""; return l },
		"mix-up: new: no test tries it":                 func(l []attack) []attack { named(l, "mix-up").Variants["new"] = nil; return l },
		"mix-up: new: no test of that name: TestNobody": tries("new", "kmint/pkg/oauth TestNobody"),
		"mix-up: new: TestScope has no subtest nobody":  tries("new", "kmint/pkg/oauth TestScope/nobody"),
		"mix-up: new: stat ":                            tries("new", "kmint/pkg/server TestTranscripts/nobody"),
		"is no package and test":                        tries("new", "pkg/oauth TestScope"),
	} {
		if found := strings.Join(ofAttacks(spoil(readAttacks(t)), shown), "\n"); !strings.Contains(found, want) {
			t.Errorf("%q is not found, but\n%s", want, found)
		}
	}
}

func named(list []attack, name string) *attack {
	return &list[slices.IndexFunc(list, func(a attack) bool { return a.Attack == name })]
}

func tries(variant, test string) func([]attack) []attack {
	return func(list []attack) []attack { named(list, "mix-up").Variants[variant] = []string{test}; return list }
}

// Package conformance answers: what shows that each module of the OpenID
// Foundation's conformance suite is satisfied?
//
// modules.json names, for each certification plan of an OpenID provider, every
// module with what it sends, what it expects, the condition classes that judge it,
// and where that is shown here: by a test, by a dated run of the suite, or by an
// exception that quotes the specification. A module that waits for something which
// is not built is open, and may be so only as long as discovery does not announce
// that something.
//
// The modules are read as the reading of the specification that they are, and
// written anew: TestModules sends their requests to the server's handlers and
// judges the answers by conditions of the same names. A module judges by exactly
// the conditions that the list gives it, or its test fails.
package conformance_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A list is modules.json.
type list struct {
	// Suite is the commit of the suite that the list was read from.
	Suite struct {
		Repository string `json:"repository"`
		Commit     string `json:"commit"`
		Date       string `json:"date"`
	} `json:"suite"`
	// Groups are conditions that modules share; a module names one by @ and its name.
	Groups  map[string][]string `json:"groups"`
	Modules map[string]module   `json:"modules"`
	Plans   []plan              `json:"plans"`
}

// A module is a test of the suite, by its testName.
type module struct {
	Class   string `json:"class"`
	Sends   string `json:"sends"`
	Expects string `json:"expects"`
	// Conditions are the class names of those that judge it.
	Conditions []string `json:"conditions"`
	// Warns are the conditions that end in a warning, which certification allows,
	// each with why.
	Warns map[string]string `json:"warns"`
}

// A plan is a certification plan, by its testPlanName.
type plan struct {
	Name string `json:"name"`
	// Short names it in the names of tests.
	Short string `json:"short"`
	Rows  []rows `json:"rows"`
}

// Rows are modules of a plan that run in one variant and are shown in one way.
type rows struct {
	ResponseType string `json:"response_type"`
	ResponseMode string `json:"response_mode"`
	ClientAuth   string `json:"client_auth"`
	// Test is the package and the name of the test; each module is a subtest of it.
	Test      string     `json:"test"`
	Run       *ran       `json:"run"`
	Exception *exception `json:"exception"`
	Open      *open      `json:"open"`
	Modules   []string   `json:"modules"`
}

// ran is a run of the suite itself.
type ran struct {
	Date   string `json:"date"`
	Commit string `json:"commit"` // of kmint
	Result string `json:"result"`
}

// An exception is a condition that does not count, because the specification
// says otherwise.
type exception struct {
	Specification string `json:"specification"` // with its section
	Quote         string `json:"quote"`
}

// open is a feature that is not built: a member of the discovery document, and the
// value in it, that are not there; "" for the member itself.
type open struct {
	Member string `json:"member"`
	Value  string `json:"value"`
	Reason string `json:"reason"`
}

// plans are those that have to be in the list.
var plans = []string{
	"oidcc-basic-certification-test-plan",
	"oidcc-implicit-certification-test-plan",
	"oidcc-hybrid-certification-test-plan",
	"oidcc-config-certification-test-plan",
	"oidcc-formpost-basic-certification-test-plan",
	"oidcc-formpost-implicit-certification-test-plan",
	"oidcc-formpost-hybrid-certification-test-plan",
	"oidcc-3rdparty-init-login-certification-test-plan",
	"oidcc-rp-initiated-logout-certification-test-plan",
	"oidcc-backchannel-rp-initiated-logout-certification-test-plan",
	"oidcc-frontchannel-rp-initiated-logout-certification-test-plan",
	"oidcc-session-management-certification-test-plan",
}

// here is the test whose subtests are those of this package.
const here = "kmint/infra/conformance TestModules/"

func readList(t *testing.T) list {
	t.Helper()
	file, err := os.Open("modules.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var l list
	if err := decoder.Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l
}

// conditions are those of a module, its groups among them.
func (l list) conditions(m module) (all []string, err error) {
	for _, name := range m.Conditions {
		group, isGroup := strings.CutPrefix(name, "@")
		switch members, known := l.Groups[group]; {
		case !isGroup:
			all = append(all, name)
		case !known:
			return nil, fmt.Errorf("there is no group %s", name)
		default:
			all = append(all, members...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// variant names the rows in the names of tests.
func (r rows) variant() string {
	if r.ResponseType == "" {
		return "none"
	}
	return strings.ReplaceAll(r.ResponseType, " ", "_")
}

// problems are what is wrong with the list: exists tells which tests there are,
// announced what discovery says.
func (l list) problems(exists func(test string) error, announced func(member, value string) bool) (found []string) {
	problem := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	used := map[string]bool{}
	for _, name := range plans {
		if !slices.ContainsFunc(l.Plans, func(p plan) bool { return p.Name == name }) {
			problem("the plan %s is missing", name)
		}
	}
	for _, p := range l.Plans {
		twice := map[string]bool{}
		for _, r := range p.Rows {
			at := fmt.Sprintf("%s, %s", p.Name, r.variant())
			if len(r.Modules) == 0 {
				problem("%s: rows without a module", at)
			}
			for _, problemOfRow := range r.problems(p, announced) {
				problem("%s: %s", at, problemOfRow)
			}
			for _, name := range r.Modules {
				if twice[r.variant()+r.ResponseMode+r.ClientAuth+name] {
					problem("%s: %s stands there twice", at, name)
				}
				twice[r.variant()+r.ResponseMode+r.ClientAuth+name], used[name] = true, true
				if _, known := l.Modules[name]; !known {
					problem("%s: what %s sends and expects is not said", at, name)
				}
				if r.Test == "" {
					continue
				}
				if err := exists(r.Test + "/" + name); err != nil {
					problem("%s: %s: %v", at, name, err)
				}
			}
		}
	}
	for name, m := range l.Modules {
		all, err := l.conditions(m)
		switch {
		case err != nil:
			problem("%s: %v", name, err)
		case len(all) == 0 || m.Class == "" || m.Sends == "" || m.Expects == "":
			problem("%s: it has no class, no conditions, or nothing that it sends or expects", name)
		case !used[name]:
			problem("%s: no plan has it", name)
		}
		for condition, why := range m.Warns {
			if !slices.Contains(all, condition) || len(why) < 20 {
				problem("%s: the warning %s is none of its conditions, or says not why", name, condition)
			}
		}
	}
	slices.Sort(found)
	return found
}

var commit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// problems of rows: each is shown in exactly one way.
func (r rows) problems(p plan, announced func(member, value string) bool) (found []string) {
	ways := 0
	for _, there := range []bool{r.Test != "", r.Run != nil, r.Exception != nil, r.Open != nil} {
		if there {
			ways++
		}
	}
	if ways != 1 {
		found = append(found, fmt.Sprintf("shown in %d ways, not in one: %s", ways, strings.Join(r.Modules, ", ")))
	}
	if rest, isHere := strings.CutPrefix(r.Test, here); isHere && rest != p.Short+"/"+r.variant() {
		found = append(found, "the test is not called "+here+p.Short+"/"+r.variant())
	}
	if r.Run != nil {
		if _, err := time.Parse(time.DateOnly, r.Run.Date); err != nil || !commit.MatchString(r.Run.Commit) || r.Run.Result == "" {
			found = append(found, "a run has a date, the commit that was run, and its result")
		}
	}
	if r.Exception != nil && (len(r.Exception.Quote) < 20 || !strings.Contains(r.Exception.Specification, "§")) {
		found = append(found, "an exception quotes the specification, and says where")
	}
	if r.Open != nil {
		switch {
		case r.Open.Member == "" || r.Open.Reason == "":
			found = append(found, "what is open waits for a member of the discovery document, and says why")
		case announced(r.Open.Member, r.Open.Value):
			found = append(found, fmt.Sprintf("discovery announces %s %s, so nothing is open there", r.Open.Member, r.Open.Value))
		}
	}
	return found
}

// TestList fails on a row that nothing shows, and on one whose test does not
// exist.
func TestList(t *testing.T) {
	l := readList(t)
	op := build(t, nil)
	for _, problem := range l.problems(exists, op.announces) {
		t.Error(problem)
	}
	if !commit.MatchString(l.Suite.Commit) {
		t.Error("the list does not say which commit of the suite it was read from")
	}
	shown, waiting := 0, map[string]int{}
	for _, p := range l.Plans {
		for _, r := range p.Rows {
			if r.Open == nil {
				shown += len(r.Modules)
				continue
			}
			waiting[strings.TrimSpace(r.Open.Member+" "+r.Open.Value)] += len(r.Modules)
		}
	}
	t.Logf("%d rows are shown", shown)
	for _, feature := range sorted(waiting) {
		t.Logf("%d rows wait for %s", waiting[feature], feature)
	}
}

// The twin: each mistake is found.
func TestListFinds(t *testing.T) {
	never := func(string, string) bool { return false }
	for name, spoil := range map[string]func(l *list){
		"the plan oidcc-config-certification-test-plan is missing": func(l *list) { l.Plans = l.Plans[1:] },
		"shown in 0 ways":           func(l *list) { l.Plans[0].Rows[0].Test = "" },
		"shown in 2 ways":           func(l *list) { l.Plans[0].Rows[0].Open = &open{Member: "x", Reason: "y"} },
		"no test of that name":      func(l *list) { l.Plans[0].Rows[0].Test = "kmint/pkg/oauth TestNothing" },
		"has no subtest":            func(l *list) { l.Plans[0].Rows[0].Test = "kmint/pkg/server TestPathsAreWhole" },
		"no test for it here":       func(l *list) { l.Plans[0].Rows[0].Modules[0] = "oidcc-nothing" },
		"sends and expects is not":  func(l *list) { l.Plans[0].Rows[0].Modules[0] = "oidcc-nothing" },
		"is not called":             func(l *list) { l.Plans[0].Rows[0].Test += "x" },
		"a run has a date":          func(l *list) { l.Plans[0].Rows[0] = rows{Run: &ran{Date: "soon"}, Modules: []string{"m"}} },
		"an exception quotes":       func(l *list) { l.Plans[0].Rows[0] = rows{Exception: &exception{}, Modules: []string{"m"}} },
		"waits for a member":        func(l *list) { l.Plans[0].Rows[0] = rows{Open: &open{}, Modules: []string{"m"}} },
		"rows without a module":     func(l *list) { l.Plans[0].Rows[0].Modules = nil },
		"stands there twice":        func(l *list) { m := &l.Plans[0].Rows[0].Modules; *m = append(*m, (*m)[0]) },
		"there is no group @nobody": func(l *list) { l.Modules["m"] = module{Conditions: []string{"@nobody"}} },
		"no plan has it":            func(l *list) { l.Modules["m"] = l.Modules["oidcc-discovery-endpoint-verification"] },
	} {
		l := readList(t)
		// Config first: it is one row.
		slices.SortStableFunc(l.Plans, func(a, b plan) int { return len(a.Name+"x") - len(b.Name+"x") })
		i := slices.IndexFunc(l.Plans, func(p plan) bool { return p.Short == "config" })
		l.Plans[0], l.Plans[i] = l.Plans[i], l.Plans[0]
		spoil(&l)
		if found := strings.Join(l.problems(exists, never), "\n"); !strings.Contains(found, name) {
			t.Errorf("%q is not found, but\n%s", name, found)
		}
	}
	l := readList(t)
	l.Plans[0].Rows[0] = rows{Open: &open{Member: "issuer", Reason: "none"}, Modules: l.Plans[0].Rows[0].Modules}
	if found := strings.Join(l.problems(exists, build(t, nil).announces), "\n"); !strings.Contains(found, "discovery announces issuer") {
		t.Errorf("what is announced cannot be open: %s", found)
	}
}

// exists reports why there is no such test: "kmint/pkg/logout TestX/y", where y is
// a module. Here the subtests are known; elsewhere y has to stand in the test's
// file as a string.
func exists(test string) error {
	path, name, _ := strings.Cut(test, " ")
	dir, inside := strings.CutPrefix(path, "kmint/")
	if !inside || name == "" {
		return fmt.Errorf("%q is no package and test", test)
	}
	name, sub, _ := strings.Cut(name, "/")
	if strings.HasPrefix(test, here) {
		if _, known := modules[sub[strings.LastIndex(sub, "/")+1:]]; !known {
			return fmt.Errorf("there is no test for it here")
		}
		return nil
	}
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		return err
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			f, isFunc := d.(*ast.FuncDecl)
			return isFunc && f.Recv == nil && f.Name.Name == name
		}) {
			continue
		}
		if sub != "" && !says(file, sub) {
			return fmt.Errorf("%s has no subtest %s", name, sub)
		}
		return nil
	}
	return fmt.Errorf("no test of that name: %s in %s", name, dir)
}

// says reports whether a string of the file is text.
func says(file *ast.File, text string) (found bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if value, err := strconv.Unquote(lit.Value); err == nil && value == text {
				found = true
			}
		}
		return !found
	})
	return found
}

package words_test

import (
	"encoding/json"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmint/pkg/words"
)

func TestChoose(t *testing.T) {
	for name, tt := range map[string]struct {
		locales, accepted string
		want              words.Language
	}{
		"nothing said":                             {"", "", words.English},
		"ui_locales":                               {"de", "", words.German},
		"the first that we have":                   {"sv pt-BR fr-CA de", "", words.French},
		"a region, a script, a variant":            {"de-CH-1901", "", words.German},
		"in any case":                              {"JA-jp", "", words.Japanese},
		"ui_locales before Accept-Language":        {"es", "fr", words.Spanish},
		"English before Accept-Language":           {"en-GB", "fr", words.English},
		"Accept-Language where none is supported":  {"sv nb", "fr", words.French},
		"Accept-Language in its order":             {"", "sv, ja, de", words.Japanese},
		"by weight":                                {"", "de;q=0.7, es;q=0.9, *;q=0.1", words.Spanish},
		"a weight of one, by default":              {"", "de;q=0.9, fr", words.French},
		"what browsers send":                       {"", "fr-CH,fr;q=0.9,en;q=0.8,de;q=0.7,*;q=0.5", words.French},
		"spaces and case":                          {"", " de ; Q=0.5 , es ;q=0.8", words.Spanish},
		"not acceptable":                           {"", "de;q=0, fr;q=0.1", words.French},
		"any but what is less liked":               {"", "*, de;q=0.5", words.English},
		"a language that only begins like ours":    {"deu fra", "jam", words.English},
		"no weight that there is":                  {"", "de;q=2, es;q=x, fr;q=NaN, ja;q=-1", words.English},
		"another parameter":                        {"", "de;level=1, fr;q=0.2", words.French},
		"markup":                                   {`"><script>`, `<de>`, words.English},
		"no more than is sensible, however liked":  {"", strings.Repeat("sv,", 40) + "de", words.English},
		"what is not malformed of what is":         {"", ",,;q=1,;,de", words.German},
		"ui_locales are separated by spaces alone": {"de,fr", "", words.English},
	} {
		t.Run(name, func(t *testing.T) {
			if got := words.Choose(tt.locales, tt.accepted); got != tt.want {
				t.Errorf("%q, %q: %s, want %s", tt.locales, tt.accepted, got, tt.want)
			}
		})
	}
}

func TestSay(t *testing.T) {
	const phrase = words.Phrase("You are logged in as *%1*.")
	for language, want := range map[words.Language]string{
		words.English: "You are logged in as %1*x.", words.German: "Sie sind als %1*x angemeldet.", "sv": "You are logged in as %1*x.",
	} {
		if got := language.Say(phrase, "%1*x"); got != want { // what is put in is no phrase
			t.Errorf("%s: %s", language, got)
		}
	}
	want := []words.Piece{{"Sie sind als ", false}, {"a * b", true}, {" angemeldet.", false}}
	if got := words.German.Pieces(phrase, "a * b"); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := words.German.Say("There is no such phrase: %1", "x"); got != "There is no such phrase: x" {
		t.Error(got)
	}
	if !words.Knows(phrase) || words.Knows("There is no such phrase: %1") {
		t.Error("it does not know its own phrases")
	}
}

func TestDates(t *testing.T) {
	moment := time.Date(2026, 3, 1, 23, 5, 0, 0, time.FixedZone("", -3600))
	for language, want := range map[words.Language][2]string{
		words.English:  {"2 March 2026", "2 March 2026, 00:05 UTC"},
		words.German:   {"2. März 2026", "2. März 2026, 00:05 UTC"},
		words.Spanish:  {"2 de marzo de 2026", "2 de marzo de 2026, 00:05 UTC"},
		words.French:   {"2 mars 2026", "2 mars 2026, 00:05 UTC"},
		words.Japanese: {"2026年3月2日", "2026年3月2日 00:05 UTC"},
	} {
		if got := [2]string{language.Day(moment), language.Minute(moment)}; got != want {
			t.Errorf("%s: %q", language, got)
		}
	}
}

// TestCatalogues: every phrase that a template or a program has is in every catalogue,
// with the same placeholders, and nothing else is.
func TestCatalogues(t *testing.T) {
	used := phrases(t)
	if len(used) < 50 {
		t.Fatalf("%d phrases were found", len(used))
	}
	for _, language := range words.Languages()[1:] {
		text, err := os.ReadFile(string(language) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var catalogue map[string]string
		if err := json.Unmarshal(text, &catalogue); err != nil {
			t.Fatal(err)
		}
		for phrase, where := range used {
			translated, ok := catalogue[phrase]
			switch {
			case !ok:
				t.Errorf("%s.json lacks %q of %s", language, phrase, where)
			case !slices.Equal(marks(phrase), marks(translated)):
				t.Errorf("%s.json has %q for %q", language, translated, phrase)
			case strings.TrimSpace(translated) != translated || translated == "" || strings.Count(translated, "*")%2 != 0:
				t.Errorf("%s.json has %q", language, translated)
			}
			delete(catalogue, phrase)
		}
		for phrase := range catalogue {
			t.Errorf("%s.json has %q, which nobody says", language, phrase)
		}
	}
}

// marks are the placeholders of a phrase, sorted, emphasised or not.
func marks(phrase string) []string {
	found := regexp.MustCompile(`\*?%[1-9]\*?|[<>&"{}]`).FindAllString(phrase, -1)
	slices.Sort(found)
	return found
}

// phrases are those of all templates, and all constants of the type Phrase, with where
// each is.
func phrases(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	templates, err := filepath.Glob("../*/*.html")
	if err != nil || len(templates) < 8 {
		t.Fatalf("%d templates: %v", len(templates), err)
	}
	said := regexp.MustCompile(`\{\{say ("(?:[^"\\]|\\.)*")`)
	for _, path := range templates {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range said.FindAllSubmatch(text, -1) {
			phrase, err := strconv.Unquote(string(match[1]))
			if err != nil {
				t.Fatalf("%s: %s: %v", path, match[1], err)
			}
			found[phrase] = path
		}
	}
	sources := &sources{fset: token.NewFileSet(), read: map[string]*types.Package{}, phrases: found}
	packages, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range packages {
		if _, err := sources.Import("kmint/pkg/" + filepath.Base(dir)); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// sources reads our packages as far as it takes to know which constants are phrases:
// every other package is empty to it, and what is wrong without them does not matter.
type sources struct {
	fset    *token.FileSet
	read    map[string]*types.Package
	phrases map[string]string
}

var _ types.Importer = (*sources)(nil)

func (s *sources) Import(path string) (*types.Package, error) {
	if known, ok := s.read[path]; ok {
		return known, nil
	}
	ours, isOurs := strings.CutPrefix(path, "kmint/pkg/")
	if !isOurs {
		s.read[path] = types.NewPackage(path, filepath.Base(path))
		s.read[path].MarkComplete()
		return s.read[path], nil
	}
	names, err := filepath.Glob("../" + ours + "/*.go")
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(s.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}}
	checked, _ := (&types.Config{Importer: s, Error: func(error) {}}).Check(path, s.fset, files, &info)
	s.read[path] = checked
	add := func(v constant.Value, of types.Type, at token.Pos) {
		if v != nil && v.Kind() == constant.String && of.String() == "kmint/pkg/words.Phrase" && constant.StringVal(v) != "" {
			s.phrases[constant.StringVal(v)] = s.fset.Position(at).String()
		}
	}
	for expression, tv := range info.Types {
		add(tv.Value, tv.Type, expression.Pos())
	}
	for _, object := range info.Defs {
		if c, ok := object.(*types.Const); ok {
			add(c.Val(), c.Type(), c.Pos())
		}
	}
	return checked, nil
}

// The twin: what the test looks for it would find.
func TestPhrasesAreFound(t *testing.T) {
	all := slices.Collect(maps.Keys(phrases(t)))
	for _, phrase := range []string{
		"Wrong username or password.",       // a constant
		"See your email address",            // an entry of a map
		"One moment",                        // a field of a struct of another package
		"%1: %2",                            // in a Text
		"Withdraw: %1",                      // in an attribute
		"to continue to *%1*",               // in a template
		"2 January 2006, 15:04 UTC",         // a layout
		"There is nothing at this address.", // converted
	} {
		if !slices.Contains(all, phrase) {
			t.Errorf("%q is not found", phrase)
		}
	}
}

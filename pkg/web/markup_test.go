package web

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template/parse"
	"time"

	"kmint/pkg/words"
)

// hostile is text that means something to HTML, CSS, JavaScript or a URL.
var hostile = []string{
	"", "plain", `"><script>alert(1)</script>`, "' onmouseover='x", "&amp; &lt", "a&b", "{{.Title}}", "\x00\x7f", "é 漢 \u2028", "</style>", "`",
	"javascript:alert(1)", "+ADw-script+AD4-",
}

var addresses = []string{"https://app.example/cb?a=1&b=%22", "https://app.example/", "http://localhost:8080/cb"}

// trusted is the data as html/template takes it: URLs unasked.
func trusted(data reflect.Value) any {
	switch value := data.Interface().(type) {
	case URL:
		return template.URL(value)
	case words.Text, words.Phrase, words.Day, words.Minute:
		return value
	}
	switch data.Kind() {
	case reflect.Slice:
		var list []any
		for i := range data.Len() {
			list = append(list, trusted(data.Index(i)))
		}
		return list
	case reflect.Struct:
		fields := map[string]any{}
		for i := range data.NumField() {
			fields[data.Type().Field(i).Name] = trusted(data.Field(i))
		}
		return fields
	default:
		return data.Interface()
	}
}

// say is what html/template says for us.
func say(language words.Language) func(phrase any, args ...any) template.HTML {
	return func(phrase any, args ...any) template.HTML {
		text, isText := phrase.(words.Text)
		if !isText {
			text.Phrase = words.Phrase(fmt.Sprint(phrase))
		}
		for _, arg := range args {
			switch arg := arg.(type) {
			case words.Day:
				text.Args = append(text.Args, language.Day(time.Time(arg)))
			case words.Minute:
				text.Args = append(text.Args, language.Minute(time.Time(arg)))
			default:
				text.Args = append(text.Args, fmt.Sprint(arg))
			}
		}
		var b strings.Builder
		for _, piece := range language.Pieces(text.Phrase, text.Args...) {
			open, end := "", ""
			if piece.Strong {
				open, end = "<strong>", "</strong>"
			}
			b.WriteString(open + template.HTMLEscapeString(piece.Text) + end)
		}
		return template.HTML(b.String())
	}
}

// TestMarkupIsHTMLTemplate holds every page that there is against html/template.
func TestMarkupIsHTMLTemplate(t *testing.T) {
	files, err := filepath.Glob("../*/*.html")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d templates: %v", len(files), err)
	}
	for _, path := range files {
		if filepath.Base(path) == "page.html" { // the shell is put together by WritePage
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ours := NewMarkup(path, string(text))
		for i, value := range hostile {
			for _, other := range hostile {
				language := words.Languages()[i%len(words.Languages())]
				theirs := template.Must(template.New(path).Funcs(template.FuncMap{"say": say(language)}).Parse(string(text)))
				data := dataFor(ours, value, other)
				got := writing{language: language}
				var want bytes.Buffer
				if err := got.list(ours.nodes, data); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				if err := theirs.Execute(&want, trusted(data)); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				if plain(got.text.String()) != plain(want.String()) {
					t.Errorf("%s with %q and %q:\n%s\nhtml/template:\n%s", path, value, other, &got.text, &want)
				}
			}
		}
	}
}

// plain makes equal what is two ways to write one character. html/template writes
// U+FFFD for NUL in text, and a + in attributes as an entity.
func plain(s string) string {
	return strings.NewReplacer("&#34;", `"`, "&quot;", `"`, "&#43;", "+", "&#96;", "`", "\x00", "\uFFFD").Replace(s)
}

// dataFor makes a struct with the fields that a template names: texts, and lists of
// two entries.
func dataFor(m *Markup, values ...string) reflect.Value {
	kind := kindOf(m.nodes)
	data := reflect.New(kind).Elem()
	fill(data, values, new(int))
	return data
}

// kindOf is the type that a list shows: a struct of its fields, or what stands for the
// dot alone.
func kindOf(list *parse.ListNode) reflect.Type {
	fields := map[string]reflect.Type{}
	note(list, fields)
	if dot, ok := fields[""]; ok && len(fields) == 1 {
		return dot
	}
	var shown []reflect.StructField
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		shown = append(shown, reflect.StructField{Name: name, Type: fields[name]})
	}
	return reflect.StructOf(shown)
}

// note enters the fields that the list names. What is only asked about is a text.
func note(list *parse.ListNode, fields map[string]reflect.Type) {
	if list == nil {
		return
	}
	enter := func(name string, kind reflect.Type) {
		if known, ok := fields[name]; !ok || known == reflect.TypeFor[string]() {
			fields[name] = kind
		}
	}
	for i, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.ActionNode:
			args, says, _ := sayings(node.Pipe)
			if !says {
				where, _ := standing(list, i)
				name, _, _ := field(node.Pipe)
				enter(name, map[bool]reflect.Type{true: reflect.TypeFor[URL](), false: reflect.TypeFor[string]()}[where == inAddress])
			}
			for i, arg := range args {
				name, err := named(arg)
				switch {
				case err != nil:
				case i > 0 && name == "Since":
					enter(name, reflect.TypeFor[words.Day]())
				case i > 0:
					enter(name, reflect.TypeFor[string]())
				case name == "":
					enter(name, reflect.TypeFor[words.Text]())
				default:
					enter(name, reflect.TypeFor[words.Phrase]())
				}
			}
		case *parse.IfNode:
			name, _, _ := field(node.Pipe)
			enter(name, reflect.TypeFor[string]())
			note(node.List, fields)
			note(node.ElseList, fields)
		case *parse.RangeNode:
			name, _, _ := field(node.Pipe)
			enter(name, reflect.SliceOf(kindOf(node.List)))
		}
	}
}

// fill fills the data with the values in turn.
func fill(data reflect.Value, values []string, turn *int) {
	*turn++
	value := values[*turn%len(values)]
	switch data.Interface().(type) {
	case URL:
		data.SetString(addresses[len(value)%len(addresses)])
	case words.Day:
		data.Set(reflect.ValueOf(words.Day(time.Unix(int64(len(value))*1e7, 0))))
	case words.Phrase:
		data.SetString("%1: %2" + value)
	case words.Text:
		data.Set(reflect.ValueOf(words.Text{Phrase: "%1: *%2*", Args: values}))
	default:
		switch data.Kind() {
		case reflect.String:
			data.SetString(value)
		case reflect.Slice:
			for range len(values) {
				entry := reflect.New(data.Type().Elem()).Elem()
				fill(entry, values, turn)
				data.Set(reflect.Append(data, entry))
			}
		case reflect.Struct:
			for i := range data.NumField() {
				fill(data.Field(i), values, turn)
			}
		}
	}
}

func TestMarkupRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a method with arguments":  `{{.Title "x"}}`,
		"a pipe":                   `{{.Title | printf}}`,
		"a chain":                  `{{.A.B}}`,
		"a variable":               `{{$x := .A}}`,
		"another function":         `{{len .A}}`,
		"a template":               `{{template "x"}}`,
		"a text that is negated":   `{{not .A}}`,
		"a range with else":        `{{range .A}}x{{else}}y{{end}}`,
		"a handler":                `<p onclick="{{.A}}">`,
		"a style":                  `<p style="{{.A}}">`,
		"no quotes":                `<p class={{.A}}>`,
		"single quotes":            `<p class='{{.A}}'>`,
		"a part of an address":     `<a href="https://{{.A}}">`,
		"a script":                 `<script>{{.A}}</script>`,
		"a phrase for an address":  `<a href="{{say "x"}}">`,
		"a phrase for a style":     `<p style="{{say "x"}}">`,
		"nothing to say":           `{{say}}`,
		"two phrases":              `{{say "x" "y"}}`,
		"a phrase by a pipe":       `{{"x" | say}}`,
		"a condition that is said": `{{if say "x"}}y{{end}}`,
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			NewMarkup("x", text)
		})
	}
	var out writing
	for name, data := range map[string]any{
		"no such field": struct{ B string }{},
		"no text":       struct{ A int }{1},
		"no struct":     "x",
		"no URL":        struct{ A URL }{"https://app.example/"},
		"a phrase":      struct{ A words.Phrase }{"it is to be said"},
	} {
		if err := NewMarkup("x", "{{.A}}").render(&out, data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, tt := range map[string]struct {
		text string
		data any
	}{
		"text for a URL":            {`<a href="{{.A}}">`, struct{ A string }{"javascript:x"}},
		"text to be said":           {`{{say .A}}`, struct{ A string }{"See your email address"}},
		"a phrase in a phrase":      {`{{say .A .A}}`, struct{ A words.Phrase }{""}},
		"a URL in a phrase":         {`{{say "%1" .A}}`, struct{ A URL }{"https://app.example/"}},
		"a field that is not there": {`{{say "%1" .B}}`, struct{ A string }{"x"}},
	} {
		if err := NewMarkup("x", tt.text).render(&out, tt.data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Emphasis is for text: an attribute holds no element.
func TestSaid(t *testing.T) {
	data := struct {
		A     string
		Since words.Day
	}{`<A*%1>`, words.Day(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))}
	for text, want := range map[string]string{
		`<p>{{say "to continue to *%1*" .A}}</p>`:          `<p>weiter zu <strong>&lt;A*%1&gt;</strong></p>`,
		`<p title="{{say "to continue to *%1*" .A}}"></p>`: `<p title="weiter zu &lt;A*%1&gt;"></p>`,
		`<p>{{say "Since %1" .Since}}</p>`:                 `<p>Seit dem 2. März 2026</p>`,
	} {
		out := writing{language: words.German}
		if err := NewMarkup("x", text).render(&out, data); err != nil || out.text.String() != want {
			t.Errorf("%s: %s %v", text, &out.text, err)
		}
	}
}

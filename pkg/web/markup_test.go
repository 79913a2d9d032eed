package web

import (
	"bytes"
	"html/template"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// hostile is text that means something to HTML, CSS, JavaScript or a URL.
var hostile = []string{
	"", "plain", `"><script>alert(1)</script>`, "' onmouseover='x", "&amp; &lt", "a&b", "{{.Title}}", "\x00\x7f", "é 漢 \u2028", "</style>", "`",
	"javascript:alert(1)", "+ADw-script+AD4-",
}

var addresses = []string{"https://app.example/cb?a=1&b=%22", "https://app.example/", "http://localhost:8080/cb"}

// trusted is the data with URLs as html/template takes them unasked.
func trusted(data reflect.Value) any {
	fields := map[string]any{}
	for i := range data.NumField() {
		value := data.Field(i).Interface()
		switch kept := value.(type) {
		case URL:
			value = template.URL(kept)
		case []URL:
			var list []template.URL
			for _, address := range kept {
				list = append(list, template.URL(address))
			}
			value = list
		}
		fields[data.Type().Field(i).Name] = value
	}
	return fields
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
		ours, theirs := NewMarkup(path, string(text)), template.Must(template.New(path).Parse(string(text)))
		for _, value := range hostile {
			for _, other := range hostile {
				data := dataFor(string(text), value, other)
				var got, want bytes.Buffer
				if err := render(&got, ours.nodes, data); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				if err := theirs.Execute(&want, trusted(data)); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				if plain(got.String()) != plain(want.String()) {
					t.Errorf("%s with %q and %q:\n%s\nhtml/template:\n%s", path, value, other, &got, &want)
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
func dataFor(text string, values ...string) reflect.Value {
	ranged := map[string]bool{}
	for part := range strings.SplitSeq(text, "{{range .") {
		name, _, _ := strings.Cut(part, "}}")
		ranged[name] = true
	}
	entry := reflect.StructOf([]reflect.StructField{
		{Name: "Name", Type: reflect.TypeFor[string]()}, {Name: "Value", Type: reflect.TypeFor[string]()},
		{Name: "Words", Type: reflect.TypeFor[string]()}, {Name: "Since", Type: reflect.TypeFor[string]()},
		{Name: "Seal", Type: reflect.TypeFor[string]()},
	})
	if strings.Contains(text, `src="{{.}}"`) {
		entry = reflect.TypeFor[URL]()
	}
	var fields []reflect.StructField
	seen := map[string]bool{}
	for _, opening := range []string{"{{.", "{{if .", "{{if not .", "{{range ."} {
		for i, part := range strings.Split(text, opening) {
			name, _, _ := strings.Cut(part, "}}")
			if i == 0 || name == "" || seen[name] {
				continue
			}
			seen[name] = true
			kind := reflect.TypeFor[string]()
			if regexp.MustCompile(`(href|src|action)="{{\.` + name + `}}`).MatchString(text) {
				kind = reflect.TypeFor[URL]()
			}
			if ranged[name] {
				kind = reflect.SliceOf(entry)
			}
			fields = append(fields, reflect.StructField{Name: name, Type: kind})
		}
	}
	data := reflect.New(reflect.StructOf(fields)).Elem()
	for i := range data.NumField() {
		f := data.Field(i)
		if f.Type() == reflect.TypeFor[URL]() {
			f.SetString(addresses[len(values[0])%len(addresses)])
			continue
		}
		if f.Kind() == reflect.String {
			f.SetString(values[i%len(values)])
			continue
		}
		for _, value := range values {
			e := reflect.New(entry).Elem()
			if e.Kind() == reflect.String {
				e.SetString(addresses[len(value)%len(addresses)])
				f.Set(reflect.Append(f, e))
				continue
			}
			e.Field(0).SetString(value)
			for i := 1; i < e.NumField(); i++ {
				e.Field(i).SetString(values[0])
			}
			f.Set(reflect.Append(f, e))
		}
	}
	return data
}

func TestMarkupRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a method with arguments": `{{.Title "x"}}`,
		"a pipe":                  `{{.Title | printf}}`,
		"a chain":                 `{{.A.B}}`,
		"a variable":              `{{$x := .A}}`,
		"another function":        `{{len .A}}`,
		"a template":              `{{template "x"}}`,
		"a text that is negated":  `{{not .A}}`,
		"a range with else":       `{{range .A}}x{{else}}y{{end}}`,
		"a handler":               `<p onclick="{{.A}}">`,
		"a style":                 `<p style="{{.A}}">`,
		"no quotes":               `<p class={{.A}}>`,
		"single quotes":           `<p class='{{.A}}'>`,
		"a part of an address":    `<a href="https://{{.A}}">`,
		"a script":                `<script>{{.A}}</script>`,
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
	var out bytes.Buffer
	for name, data := range map[string]any{
		"no such field": struct{ B string }{},
		"no text":       struct{ A int }{1},
		"no struct":     "x",
		"no URL":        struct{ A URL }{"https://app.example/"},
	} {
		if err := render(&out, NewMarkup("x", "{{.A}}").nodes, reflect.ValueOf(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := render(&out, NewMarkup("x", `<a href="{{.A}}">`).nodes, reflect.ValueOf(struct{ A string }{"javascript:x"})); err == nil {
		t.Error("text for a URL: no error")
	}
}

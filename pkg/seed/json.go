// Strict JSON (RFC 8259, and RFC 7493 for what interoperates), read with the
// path to everything.

package seed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Problem is one reason to refuse the file.
type Problem struct {
	// Path leads to the value, as in clients[1].redirect_uris[0]; "" is the whole
	// file.
	Path   string
	Reason string
}

// Error is one line.
func (p Problem) Error() string {
	if p.Path == "" {
		return p.Reason
	}
	return p.Path + ": " + p.Reason
}

// Problems are all the reasons to refuse a file.
type Problems []Problem

// Error has one line for each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// err keeps the typed nil away from callers.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p *Problems) add(path, format string, args ...any) {
	*p = append(*p, Problem{path, fmt.Sprintf(format, args...)})
}

// maxDepth is well within the 32 levels that a DynamoDB item may have.
const maxDepth = 16

// members are those of a JSON object, in the order of the file.
type members struct {
	names  []string
	values map[string]any
}

// parse reads one JSON value: a string, a float64, a bool, nil, []any or
// members.
func (p *Problems) parse(file []byte) any {
	if !utf8.Valid(file) { // the decoder would mend it silently
		p.add("", "it is not valid UTF-8")
		return nil
	}
	file = bytes.TrimPrefix(file, []byte("\uFEFF")) // some editors write a byte order mark
	var whole json.RawMessage
	if err := json.Unmarshal(file, &whole); err != nil {
		p.add("", "it is not JSON: %s", syntaxError(file, err))
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.UseNumber()
	return p.value(dec, "", 0)
}

func syntaxError(file []byte, err error) string {
	syntax := (*json.SyntaxError)(nil)
	if !errors.As(err, &syntax) {
		return err.Error()
	}
	before := file[:max(0, min(int(syntax.Offset)-1, len(file)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d: %s", line, column, syntax)
}

// value cannot meet a syntax error: parse has looked for one.
func (p *Problems) value(dec *json.Decoder, path string, depth int) any {
	token, err := dec.Token()
	if err != nil {
		p.add(path, "it is not JSON: %v", err)
		return nil
	}
	if _, deeper := token.(json.Delim); deeper && depth == maxDepth {
		p.add(path, "it is nested deeper than %d levels", maxDepth)
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			list := []any{}
			for dec.More() {
				list = append(list, p.value(dec, index(path, len(list)), depth+1))
			}
			_, _ = dec.Token()
			return list
		}
		return p.object(dec, path, depth)
	case json.Number:
		return p.number(path, token)
	default:
		return token
	}
}

func (p *Problems) object(dec *json.Decoder, path string, depth int) members {
	m := members{values: map[string]any{}}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			p.add(path, "it is not JSON: %v", err)
			return m
		}
		name := token.(string)
		at := join(path, name)
		_, again := m.values[name]
		value := p.value(dec, at, depth+1)
		switch {
		case name == "":
			p.add(path, "it has a member without a name")
		case again: // encoding/json would take the last one
			p.add(at, "the member is there more than once")
		default:
			m.names = append(m.names, name)
			m.values[name] = value
		}
	}
	_, _ = dec.Token()
	return m
}

// number keeps what every reader takes for the same number. RFC 7493 §2.2: "an
// I-JSON sender cannot expect a receiver to treat an integer whose absolute
// value is greater than 9007199254740991 [...] as an exact value."
func (p *Problems) number(path string, n json.Number) any {
	f, err := n.Float64()
	if err != nil || math.Abs(f) >= 1<<53 || f != 0 && math.Abs(f) < 1e-99 {
		p.add(path, "not every reader takes the number %s for the same; write it as a string (RFC 7493 §2.2)", n)
		return 0.0
	}
	return f + 0 // no negative zero
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func join(path, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return path + "[" + strconv.Quote(name) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// An object reads the members of one JSON object and remembers which were asked
// for. A wrong type is a problem, and reads as the zero value.
type object struct {
	*Problems
	path  string
	has   members
	asked []string
}

// asObject returns value as an object, empty if it is none.
func (p *Problems) asObject(path string, value any) *object {
	has, ok := value.(members)
	if !ok {
		p.add(path, "it is %s, not an object", kind(value))
	}
	return &object{Problems: p, path: path, has: has}
}

func (o *object) at(name string) string { return join(o.path, name) }

func (o *object) get(name string) (any, bool) {
	o.asked = append(o.asked, name)
	v, ok := o.has.values[name]
	return v, ok
}

func get[T any](o *object, name, want string) (T, bool) {
	v, there := o.get(name)
	t, ok := v.(T)
	if there && !ok {
		o.add(o.at(name), "it is %s, not %s", kind(v), want)
	}
	return t, there && ok
}

// text is a string that is not empty.
func (o *object) text(name string) string {
	s, ok := get[string](o, name, "a string")
	if ok && s == "" {
		o.add(o.at(name), "it is empty; leave it out")
	}
	return s
}

func (o *object) flag(name string) bool {
	b, _ := get[bool](o, name, "true or false")
	return b
}

// seconds is a whole number within the bounds, or byDefault.
func (o *object) seconds(name string, least, most, byDefault int64) int64 {
	f, ok := get[float64](o, name, "a number of seconds")
	if !ok {
		return byDefault
	}
	if n := int64(f); float64(n) == f && least <= n && n <= most {
		return n
	}
	o.add(o.at(name), "it is not a whole number of seconds from %d to %d", least, most)
	return byDefault
}

// list reads an array of strings that differ. check says why one is refused.
func (o *object) list(name string, check func(string) error) []string {
	values, _ := get[[]any](o, name, "an array")
	return o.texts(o.at(name), values, check)
}

func (p *Problems) texts(path string, values []any, check func(string) error) []string {
	var list []string
	for i, v := range values {
		s, ok := v.(string)
		switch at := index(path, i); {
		case !ok:
			p.add(at, "it is %s, not a string", kind(v))
		case slices.Contains(list, s):
			p.add(at, "%q is there twice", s)
		default:
			if err := check(s); err != nil {
				p.add(at, "%v", err)
			}
			list = append(list, s)
		}
	}
	return list
}

// objects calls read with each object of an array.
func (o *object) objects(name string, read func(*object)) {
	values, _ := get[[]any](o, name, "an array")
	for i, v := range values {
		member := o.asObject(index(o.at(name), i), v)
		if _, ok := v.(members); ok {
			read(member)
		}
	}
}

// rest refuses the members that nobody asked for.
func (o *object) rest() {
	for _, name := range o.has.names {
		if !slices.Contains(o.asked, name) {
			o.add(o.at(name), "it is not a member that kmint knows")
		}
	}
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}

// plain turns members back into maps.
func plain(v any) any {
	switch v := v.(type) {
	case members:
		m := map[string]any{}
		for name, value := range v.values {
			m[name] = plain(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, value := range v {
			list[i] = plain(value)
		}
		return list
	default:
		return v
	}
}

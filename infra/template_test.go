package infra_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A call is an intrinsic function of CloudFormation, by its short form.
type call struct {
	// Name is Ref, GetAtt, Sub, If and so on.
	Name string
	// Argument is a string, or a list.
	Argument any
}

// readTemplate reads the file as maps, lists, scalars and calls.
func readTemplate(t *testing.T) string {
	t.Helper()
	return readFile(t, "../template.yaml")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parse reads a template's text.
func parse(text string) (map[string]any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, err
	}
	root, ok := value(document.Content[0]).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the template is no map")
	}
	return root, nil
}

func value(n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = value(n.Content[i+1])
		}
		v = m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, value(item))
		}
		v = list
	case yaml.ScalarNode:
		v = n.Value
	}
	if n.Tag != "" && n.Tag[0] == '!' && (len(n.Tag) < 2 || n.Tag[1] != '!') {
		return call{n.Tag[1:], v}
	}
	return v
}

// at walks a path of keys; nil where it ends early.
func at(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// text is a scalar, "" for anything else.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// texts is a list of scalars, or one.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, text(item))
		}
		return all
	default:
		return nil
	}
}

// list is a list's items.
func list(v any) []any {
	items, _ := v.([]any)
	return items
}

// members is a map's content.
func members(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// indexOf is the index of a table.
var indexOf = regexp.MustCompile(`^\$\{(\w+)\.Arn\}(/index/\w+)$`)

// referred is the logical id in !Ref X or !GetAtt X.Arn, of an index X/index/name, and ""
// for anything else.
func referred(v any) string {
	c, ok := v.(call)
	if !ok {
		return ""
	}
	switch c.Name {
	case "Ref":
		return text(c.Argument)
	case "GetAtt":
		name := text(c.Argument)
		if len(name) > 4 && name[len(name)-4:] == ".Arn" {
			return name[:len(name)-4]
		}
	case "Sub":
		if found := indexOf.FindStringSubmatch(text(c.Argument)); found != nil {
			return found[1] + found[2]
		}
	}
	return ""
}

package web

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template/parse"
)

// A Markup is the body of a page: HTML with fields of its data in it, in the syntax
// of html/template, and of that no more than {{.Field}}, {{if .Field}},
// {{if not .Field}}, {{else}} and {{range .Field}}. A field stands in text or between
// the quotes of an attribute, and is escaped for both. Where the attribute is an
// address it is the whole of it, and a URL: escaping alone would let javascript: in.
//
// html/template would do, and markup_test.go holds each page against it, hostile data
// included. But whoever can call a method by its name, as a template can, makes the
// linker keep every method of everything: the functions that show pages would be
// larger by the half, and start later.
type Markup struct {
	nodes *parse.ListNode
}

// A URL is an address that a page may lead to: a client has registered it, or it is
// ours.
type URL string

// NewMarkup parses a Markup. It panics on what that cannot hold: templates are ours.
func NewMarkup(name, text string) *Markup {
	trees, err := parse.Parse(name, text, "", "", map[string]any{"not": true})
	if err == nil {
		err = known(trees[name].Root)
	}
	if err != nil {
		panic(fmt.Errorf("web: template %s: %w", name, err))
	}
	return &Markup{trees[name].Root}
}

// known refuses whatever render does not know.
func known(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	var problems []error
	for i, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
		case *parse.ActionNode:
			_, not, err := field(node.Pipe)
			if not {
				err = errors.Join(err, fmt.Errorf("%s has a not", node))
			}
			if _, err := addressed(list, i); err != nil {
				problems = append(problems, err)
			}
			problems = append(problems, err)
		case *parse.IfNode:
			_, _, err := field(node.Pipe)
			problems = append(problems, err, known(node.List), known(node.ElseList))
		case *parse.RangeNode:
			_, not, err := field(node.Pipe)
			if not || node.ElseList != nil {
				err = errors.Join(err, fmt.Errorf("%s is more than a range", node))
			}
			problems = append(problems, err, known(node.List))
		default:
			problems = append(problems, fmt.Errorf("%s is not known", node))
		}
	}
	return errors.Join(problems...)
}

var (
	// opened is an attribute whose value has begun, with or without a quote.
	opened  = regexp.MustCompile(`([a-zA-Z-]+)=(["']?)([^"'<>]*)$`)
	address = []string{"href", "src", "action", "formaction"}
)

// addressed reports whether the field at i is the value of an attribute that is an
// address. It refuses a field where escaping would not do.
func addressed(list *parse.ListNode, i int) (bool, error) {
	if i == 0 {
		return false, nil
	}
	before, ok := list.Nodes[i-1].(*parse.TextNode)
	if !ok {
		return false, nil
	}
	refused := fmt.Errorf("%s stands where a field cannot", list.Nodes[i])
	for _, element := range []string{"<script", "<style"} {
		if bytes.Contains(bytes.ToLower(before.Text), []byte(element)) {
			return false, refused
		}
	}
	found := opened.FindSubmatch(before.Text)
	if found == nil {
		return false, nil
	}
	name := strings.ToLower(string(found[1]))
	isAddress := slices.Contains(address, name)
	if string(found[2]) != `"` || strings.HasPrefix(name, "on") || name == "style" || name == "srcdoc" || isAddress && len(found[3]) > 0 {
		return false, refused
	}
	return isAddress, nil
}

// field reads .Field or not .Field; . alone is "".
func field(pipe *parse.PipeNode) (name string, not bool, err error) {
	refused := fmt.Errorf("%s is no field", pipe)
	if len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 {
		return "", false, refused
	}
	args := pipe.Cmds[0].Args
	if word, ok := args[0].(*parse.IdentifierNode); ok && word.Ident == "not" && len(args) == 2 {
		args, not = args[1:], true
	}
	if len(args) != 1 {
		return "", false, refused
	}
	switch arg := args[0].(type) {
	case *parse.DotNode:
		return "", not, nil
	case *parse.FieldNode:
		if len(arg.Ident) == 1 {
			return arg.Ident[0], not, nil
		}
	}
	return "", false, refused
}

// render writes the markup with the fields of data.
func (m *Markup) render(out *bytes.Buffer, data any) error {
	return render(out, m.nodes, reflect.ValueOf(data))
}

// render writes the list with its fields of data, a struct. An error says that the
// template and its data do not fit.
func render(out *bytes.Buffer, list *parse.ListNode, data reflect.Value) error {
	if list == nil {
		return nil
	}
	for i := range list.Nodes {
		if err := renderNode(out, list, i, data); err != nil {
			return err
		}
	}
	return nil
}

func renderNode(out *bytes.Buffer, list *parse.ListNode, i int, data reflect.Value) error {
	switch node := list.Nodes[i].(type) {
	case *parse.TextNode:
		out.Write(node.Text)
		return nil
	case *parse.ActionNode:
		value, _, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		isAddress, err := addressed(list, i)
		if err != nil || value.Kind() != reflect.String || isAddress != (value.Type() == reflect.TypeFor[URL]()) {
			return errors.Join(err, fmt.Errorf("web: %s is no text, or no URL", node))
		}
		out.WriteString(html.EscapeString(value.String()))
		return nil
	case *parse.IfNode:
		value, not, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		empty := value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0
		if empty == not {
			return render(out, node.List, data)
		}
		return render(out, node.ElseList, data)
	case *parse.RangeNode:
		value, _, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		if value.Kind() != reflect.Slice {
			return fmt.Errorf("web: %s is no list", node)
		}
		for i := range value.Len() {
			if err := render(out, node.List, value.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func find(pipe *parse.PipeNode, data reflect.Value) (value reflect.Value, not bool, err error) {
	name, not, err := field(pipe)
	if err != nil || name == "" {
		return data, not, err
	}
	if data.Kind() == reflect.Struct {
		if value = data.FieldByName(name); value.IsValid() {
			return value, not, nil
		}
	}
	return value, not, fmt.Errorf("web: there is no field %s", name)
}

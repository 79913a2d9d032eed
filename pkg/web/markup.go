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
	"time"

	"kmint/pkg/words"
)

// A Markup is the body of a page: HTML with fields of its data in it, in the syntax
// of html/template, and of that no more than {{.Field}}, {{if .Field}},
// {{if not .Field}}, {{else}} and {{range .Field}}. A field stands in text or between
// the quotes of an attribute, and is escaped for both. Where the attribute is an
// address it is the whole of it, and a URL: escaping alone would let javascript: in.
//
// What people read is said in their language (package words): {{say "To *%1*" .Client}}
// has fields for %1 to %9, and <strong> for asterisks, but in an attribute; {{say .Field}}
// says a words.Phrase or a words.Text. A words.Day or a words.Minute in it is a date as
// the language writes it.
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
	trees, err := parse.Parse(name, text, "", "", map[string]any{"not": true, "say": true})
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
			_, says, said := sayings(node.Pipe)
			where, err := standing(list, i)
			if says && where == inAddress {
				said = errors.Join(said, fmt.Errorf("%s is no address", node))
			}
			if !says {
				_, not, wrong := field(node.Pipe)
				if not {
					wrong = errors.Join(wrong, fmt.Errorf("%s has a not", node))
				}
				said = errors.Join(said, wrong)
			}
			problems = append(problems, err, said)
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
	address = []string{"href", "src", "srcset", "action", "formaction"}
)

// A place is where a field stands.
type place int

const (
	inText place = iota
	inAttribute
	inAddress // an attribute that is an address
)

// standing is where the field at i stands. It refuses a field where escaping would
// not do.
func standing(list *parse.ListNode, i int) (place, error) {
	if i == 0 {
		return inText, nil
	}
	before, ok := list.Nodes[i-1].(*parse.TextNode)
	if !ok {
		return inText, nil
	}
	refused := fmt.Errorf("%s stands where a field cannot", list.Nodes[i])
	for _, element := range []string{"<script", "<style"} {
		if bytes.Contains(bytes.ToLower(before.Text), []byte(element)) {
			return inText, refused
		}
	}
	found := opened.FindSubmatch(before.Text)
	if found == nil {
		return inText, nil
	}
	name := strings.ToLower(string(found[1]))
	isAddress := slices.Contains(address, name)
	if string(found[2]) != `"` || strings.HasPrefix(name, "on") || name == "style" || name == "srcdoc" || isAddress && len(found[3]) > 0 {
		return inText, refused
	}
	if isAddress {
		return inAddress, nil
	}
	return inAttribute, nil
}

// sayings are the arguments of a say, the phrase first; says is false where it is none.
func sayings(pipe *parse.PipeNode) (args []parse.Node, says bool, err error) {
	if len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 {
		return nil, false, nil
	}
	args = pipe.Cmds[0].Args
	if word, ok := args[0].(*parse.IdentifierNode); !ok || word.Ident != "say" {
		return nil, false, nil
	}
	refused := fmt.Errorf("%s is no phrase with fields", pipe)
	if args = args[1:]; len(args) == 0 || len(args) > 10 {
		return nil, true, refused
	}
	for i, arg := range args {
		if _, literal := arg.(*parse.StringNode); literal && i == 0 {
			continue
		}
		if _, err := named(arg); err != nil {
			return nil, true, refused
		}
	}
	return args, true, nil
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
	name, err = named(args[0])
	return name, not, err
}

// named reads .Field; . alone is "".
func named(node parse.Node) (string, error) {
	switch node := node.(type) {
	case *parse.DotNode:
		return "", nil
	case *parse.FieldNode:
		if len(node.Ident) == 1 {
			return node.Ident[0], nil
		}
	}
	return "", fmt.Errorf("%s is no field", node)
}

// A writing is a page as it is being written.
type writing struct {
	text     bytes.Buffer
	language words.Language
}

// render writes the markup with the fields of data.
func (m *Markup) render(out *writing, data any) error {
	return out.list(m.nodes, reflect.ValueOf(data))
}

// list writes the list with its fields of data. An error says that the template and
// its data do not fit.
func (w *writing) list(list *parse.ListNode, data reflect.Value) error {
	if list == nil {
		return nil
	}
	for i := range list.Nodes {
		if err := w.node(list, i, data); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) node(list *parse.ListNode, i int, data reflect.Value) error {
	switch node := list.Nodes[i].(type) {
	case *parse.TextNode:
		w.text.Write(node.Text)
		return nil
	case *parse.ActionNode:
		where, err := standing(list, i)
		if err != nil {
			return err
		}
		if args, says, err := sayings(node.Pipe); says {
			return errors.Join(err, w.say(args, where, data))
		}
		value, _, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		isURL := value.Type() == reflect.TypeFor[URL]()
		if value.Kind() != reflect.String || (where == inAddress) != isURL || value.Type() == reflect.TypeFor[words.Phrase]() {
			return fmt.Errorf("web: %s is no text, or no URL", node)
		}
		w.text.WriteString(html.EscapeString(value.String()))
		return nil
	case *parse.IfNode:
		value, not, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		empty := value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0
		if empty == not {
			return w.list(node.List, data)
		}
		return w.list(node.ElseList, data)
	case *parse.RangeNode:
		value, _, err := find(node.Pipe, data)
		if err != nil {
			return err
		}
		if value.Kind() != reflect.Slice {
			return fmt.Errorf("web: %s is no list", node)
		}
		for i := range value.Len() {
			if err := w.list(node.List, value.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// say writes a phrase with its fields.
func (w *writing) say(args []parse.Node, where place, data reflect.Value) error {
	var text words.Text
	for i, arg := range args {
		if literal, ok := arg.(*parse.StringNode); ok {
			text.Phrase = words.Phrase(literal.Text)
			continue
		}
		name, err := named(arg)
		if err != nil {
			return err
		}
		value, err := member(name, data)
		if err != nil {
			return err
		}
		switch value := value.Interface().(type) {
		case words.Phrase:
			text.Phrase = value
		case words.Text:
			text = value
		case words.Day:
			text.Args = append(text.Args, w.language.Day(time.Time(value)))
		case words.Minute:
			text.Args = append(text.Args, w.language.Minute(time.Time(value)))
		case string:
			text.Args = append(text.Args, value)
		default:
			return fmt.Errorf("web: %s cannot be said", arg)
		}
		if said := text.Phrase != ""; i == 0 && !said {
			return fmt.Errorf("web: %s is no phrase", arg)
		}
	}
	for _, piece := range w.language.Pieces(text.Phrase, text.Args...) {
		escaped := html.EscapeString(piece.Text)
		if piece.Strong && where == inText {
			escaped = "<strong>" + escaped + "</strong>"
		}
		w.text.WriteString(escaped)
	}
	return nil
}

func find(pipe *parse.PipeNode, data reflect.Value) (value reflect.Value, not bool, err error) {
	name, not, err := field(pipe)
	if err != nil {
		return data, not, err
	}
	value, err = member(name, data)
	return value, not, err
}

// member is the field of that name, data itself for "".
func member(name string, data reflect.Value) (reflect.Value, error) {
	if name == "" {
		return data, nil
	}
	if data.Kind() == reflect.Struct {
		if value := data.FieldByName(name); value.IsValid() {
			return value, nil
		}
	}
	return data, fmt.Errorf("web: there is no field %s", name)
}

package iam

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Stack is a template with its parameters.
type Stack struct {
	// Name, Region and Account are those of the pseudo parameters.
	Name, Region, Account string
	// Parameters are those that differ from their defaults.
	Parameters map[string]string
	// Names are the physical names of resources, by logical id: what Ref gives, also of
	// those that SAM makes. One that has none here is called as the stack and its logical
	// id.
	Names map[string]string
	// ARNs are those of resources whose ARN does not follow from their name: keys, and a
	// queue elsewhere.
	ARNs map[string]string

	template map[string]any
}

// A call is an intrinsic function, by its short form.
type call struct {
	name     string
	argument any
}

// noValue is what takes a property away.
type noValue struct{}

// Read reads a template's text.
func (s *Stack) Read(text []byte) error {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("iam: template: %w", err)
	}
	if len(document.Content) != 1 {
		return errors.New("iam: the template is empty")
	}
	template, ok := tree(document.Content[0]).(map[string]any)
	if !ok {
		return errors.New("iam: the template is no map")
	}
	s.template = template
	return nil
}

func tree(n *yaml.Node) any {
	var v any
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = tree(n.Content[i+1])
		}
		v = m
		if len(m) == 1 { // the long form of a call
			for name, argument := range m {
				if name, ok := strings.CutPrefix(name, "Fn::"); ok {
					v = call{name, argument}
				} else if name == "Ref" {
					v = call{name, argument}
				}
			}
		}
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, tree(item))
		}
		v = list
	case yaml.AliasNode:
		v = tree(n.Alias)
	default:
		v = n.Value
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
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

// Resources lists the logical ids of a type, those whose condition does not hold left out.
func (s *Stack) Resources(kind string) ([]string, error) {
	var ids []string
	resources, _ := s.template["Resources"].(map[string]any)
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		if at(resources[id], "Type") != kind {
			continue
		}
		there, err := s.there(id)
		if err != nil {
			return nil, err
		}
		if there {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Choices are what a parameter may be, none where anything.
func (s *Stack) Choices(parameter string) []string {
	values, _ := at(s.template, "Parameters", parameter, "AllowedValues").([]any)
	return texts(values)
}

// there reports whether the condition of a resource holds.
func (s *Stack) there(id string) (bool, error) {
	condition, ok := at(s.template, "Resources", id, "Condition").(string)
	if !ok {
		return true, nil
	}
	return s.holds(condition)
}

// Value is a property of a resource, its intrinsic functions resolved: maps, lists and
// texts. nil is one that is not there.
func (s *Stack) Value(path ...string) (any, error) {
	v := at(s.template, "Resources")
	for _, name := range path {
		if c, ok := v.(call); ok {
			var err error
			if v, err = s.call(c); err != nil {
				return nil, fmt.Errorf("iam: %s: %w", strings.Join(path, "."), err)
			}
		}
		v = at(v, name)
	}
	v, err := s.resolve(v)
	if err != nil {
		return nil, fmt.Errorf("iam: %s: %w", strings.Join(path, "."), err)
	}
	if v == (any)(noValue{}) {
		return nil, nil
	}
	return v, nil
}

// Conditions lists those that Value looks at below a property.
func (s *Stack) Conditions(path ...string) []string {
	found := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case call:
			if arguments, ok := v.argument.([]any); ok && v.name == "If" && len(arguments) > 0 {
				found[fmt.Sprint(arguments[0])] = true
			}
			walk(v.argument)
		case map[string]any:
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(at(s.template, append([]string{"Resources"}, path...)...))
	return slices.Sorted(maps.Keys(found))
}

func (s *Stack) resolve(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		resolved := map[string]any{}
		for name, member := range v {
			r, err := s.resolve(member)
			if err != nil {
				return nil, err
			}
			if r != (any)(noValue{}) {
				resolved[name] = r
			}
		}
		return resolved, nil
	case []any:
		resolved := []any{}
		for _, item := range v {
			r, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			if r != (any)(noValue{}) {
				resolved = append(resolved, r)
			}
		}
		return resolved, nil
	case call:
		return s.call(v)
	default:
		return v, nil
	}
}

func (s *Stack) call(c call) (any, error) {
	switch c.name {
	case "If":
		arguments, ok := c.argument.([]any)
		if !ok || len(arguments) != 3 {
			return nil, fmt.Errorf("an If of %v", c.argument)
		}
		holds, err := s.holds(fmt.Sprint(arguments[0]))
		if err != nil {
			return nil, err
		}
		if holds {
			return s.resolve(arguments[1])
		}
		return s.resolve(arguments[2])
	case "Sub":
		return s.substitute(c.argument)
	}
	argument, err := s.resolve(c.argument)
	if err != nil {
		return nil, err
	}
	arguments, _ := argument.([]any)
	switch c.name {
	case "Ref":
		return s.ref(fmt.Sprint(argument))
	case "GetAtt":
		if len(arguments) == 2 {
			argument = fmt.Sprint(arguments[0]) + "." + fmt.Sprint(arguments[1])
		}
		id, attribute, _ := strings.Cut(fmt.Sprint(argument), ".")
		if attribute != "Arn" && attribute != "QueueArn" {
			return nil, fmt.Errorf("GetAtt of %v is not known here", argument)
		}
		return s.ARN(id)
	case "Join":
		if len(arguments) == 2 {
			if items, ok := arguments[1].([]any); ok {
				return strings.Join(texts(items), fmt.Sprint(arguments[0])), nil
			}
		}
	case "Split":
		if len(arguments) == 2 {
			items := []any{}
			for item := range strings.SplitSeq(fmt.Sprint(arguments[1]), fmt.Sprint(arguments[0])) {
				items = append(items, item)
			}
			return items, nil
		}
	case "Select":
		if len(arguments) == 2 {
			items, _ := arguments[1].([]any)
			for i, item := range items {
				if fmt.Sprint(i) == arguments[0] {
					return item, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("the intrinsic function %s of %v is not known here", c.name, c.argument)
}

// substitute fills the ${...} of a text.
func (s *Stack) substitute(argument any) (any, error) {
	own := map[string]any{}
	if arguments, ok := argument.([]any); ok && len(arguments) == 2 {
		resolved, err := s.resolve(arguments[1])
		if err != nil {
			return nil, err
		}
		own, _ = resolved.(map[string]any)
		argument = arguments[0]
	}
	text, ok := argument.(string)
	if !ok {
		return nil, fmt.Errorf("a Sub of %v", argument)
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("a Sub of %q", argument)
		}
		var value any
		var err error
		if v, ok := own[name]; ok {
			value = v
		} else if literal, ok := strings.CutPrefix(name, "!"); ok {
			value = "${" + literal + "}"
		} else if strings.Contains(name, ".") {
			value, err = s.call(call{"GetAtt", name})
		} else {
			value, err = s.ref(name)
		}
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprint(&out, value)
		text = after
	}
}

func (s *Stack) ref(name string) (any, error) {
	switch name {
	case "AWS::NoValue":
		return noValue{}, nil
	case "AWS::Partition":
		return "aws", nil
	case "AWS::URLSuffix":
		return "amazonaws.com", nil
	case "AWS::Region":
		return s.Region, nil
	case "AWS::AccountId":
		return s.Account, nil
	case "AWS::StackName":
		return s.Name, nil
	case "AWS::StackId":
		return "arn:aws:cloudformation:" + s.Region + ":" + s.Account + ":stack/" + s.Name + "/00000000-0000-4000-8000-000000000000", nil
	}
	if parameter := at(s.template, "Parameters", name); parameter != nil {
		value, set := s.Parameters[name]
		if byDefault, ok := at(parameter, "Default").(string); !set && ok {
			value, set = byDefault, true
		}
		if !set {
			return nil, fmt.Errorf("the parameter %s has no value", name)
		}
		return value, nil
	}
	return s.name(name)
}

// name is the physical name of a resource.
func (s *Stack) name(id string) (string, error) {
	if at(s.template, "Resources", id) == nil {
		if name, ok := s.Names[id]; ok {
			return name, nil
		}
		return "", fmt.Errorf("there is no resource %s", id)
	}
	there, err := s.there(id)
	if err != nil {
		return "", err
	}
	if !there {
		return "", fmt.Errorf("the resource %s is not made", id)
	}
	if name, ok := s.Names[id]; ok {
		return name, nil
	}
	return s.Name + "-" + id, nil
}

// ARN is that of a resource.
func (s *Stack) ARN(id string) (string, error) {
	name, err := s.name(id)
	if err != nil {
		return "", err
	}
	if arn, ok := s.ARNs[id]; ok {
		return arn, nil
	}
	place := s.Region + ":" + s.Account + ":"
	switch kind := at(s.template, "Resources", id, "Type"); kind {
	case "AWS::IAM::Role":
		return "arn:aws:iam::" + s.Account + ":role/" + name, nil
	case "AWS::DynamoDB::Table":
		return "arn:aws:dynamodb:" + place + "table/" + name, nil
	case "AWS::KMS::Key":
		return "arn:aws:kms:" + place + "key/" + name, nil
	case "AWS::SQS::Queue":
		return "arn:aws:sqs:" + place + name, nil
	case "AWS::Logs::LogGroup":
		return "arn:aws:logs:" + place + "log-group:" + name + ":*", nil
	case "AWS::Serverless::Function":
		return "arn:aws:lambda:" + place + "function:" + name, nil
	case "AWS::Events::EventBus":
		return "arn:aws:events:" + place + "event-bus/" + name, nil
	case "AWS::KinesisFirehose::DeliveryStream":
		return "arn:aws:firehose:" + place + "deliverystream/" + name, nil
	default:
		return "", fmt.Errorf("what is the ARN of a %v, %s?", kind, id)
	}
}

// holds evaluates a condition of the template.
func (s *Stack) holds(name string) (bool, error) {
	condition := at(s.template, "Conditions", name)
	if condition == nil {
		return false, fmt.Errorf("there is no condition %s", name)
	}
	return s.truth(condition)
}

func (s *Stack) truth(v any) (bool, error) {
	if m, ok := v.(map[string]any); ok && len(m) == 1 && m["Condition"] != nil {
		return s.holds(fmt.Sprint(m["Condition"]))
	}
	c, ok := v.(call)
	if !ok {
		return false, fmt.Errorf("%v is no condition", v)
	}
	if c.name == "Condition" {
		return s.holds(fmt.Sprint(c.argument))
	}
	arguments, _ := c.argument.([]any)
	switch c.name {
	case "Equals":
		if len(arguments) == 2 {
			resolved, err := s.resolve(arguments)
			if err != nil {
				return false, err
			}
			pair := resolved.([]any)
			return len(pair) == 2 && fmt.Sprint(pair[0]) == fmt.Sprint(pair[1]), nil
		}
	case "Not":
		if len(arguments) == 1 {
			holds, err := s.truth(arguments[0])
			return !holds, err
		}
	case "And", "Or":
		for _, argument := range arguments {
			holds, err := s.truth(argument)
			if err != nil || holds == (c.name == "Or") {
				return holds, err
			}
		}
		return c.name == "And", nil
	}
	return false, fmt.Errorf("the condition %s of %v is not known here", c.name, c.argument)
}

// texts are the scalars of a list.
func texts(list []any) []string {
	var all []string
	for _, item := range list {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

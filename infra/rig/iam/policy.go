// Package iam answers: would AWS have let this call through?
//
// It reads the roles and the key policies of template.yaml, with the values that the
// template's parameters have, and decides on calls as "Policy evaluation logic" in the
// IAM User Guide does: what is not allowed is refused, and what is denied anywhere is
// refused whatever allows it. A Proxy stands between a function and DynamoDB, KMS and
// SQS: it makes of each call an action, a resource and the condition keys of the Service
// Authorization Reference, and answers AccessDeniedException itself where the function's
// role does not allow it. The servers behind know no permissions.
//
// It understands as much as template.yaml says, and nothing is skipped: an operator, a
// condition key or an element that it does not know is an error, never an answer.
package iam

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Request is one permission that a call asks for.
type Request struct {
	// Action is as dynamodb:GetItem, Resource an ARN, or * for what is on none.
	Action, Resource string
	// Context holds the condition keys, in lower case. One that is not there is absent.
	Context map[string][]string
}

// A Statement is one of a policy.
type Statement struct {
	// Policy is the role's or the key's it is in, ID its Sid.
	Policy, ID string
	Deny       bool
	// Principals are ARNs, or *; none in a role.
	Principals         []string
	Actions, Resources []string
	Conditions         []Condition
}

// A Condition is one operator on one key.
type Condition struct {
	Operator, Key string
	Values        []string
}

// String says where it is to be found.
func (s Statement) String() string { return s.Policy + "." + s.ID }

// multivalued are the condition keys that have a set of values, and so take a set
// operator.
var multivalued = []string{"dynamodb:leadingkeys", "aws:tagkeys", "kms:encryptioncontextkeys"}

// known are the condition keys of a Request.
var known = append([]string{
	"aws:principalarn", "aws:resourceaccount",
	"kms:messagetype", "kms:signingalgorithm", "kms:macalgorithm", "kms:encryptionalgorithm", "kms:requestalias", "kms:calleraccount", "kms:viaservice",
	"kms:keyusage", "kms:keyspec", "kms:multiregion", "kms:schedulekeydeletionpendingwindowindays",
}, multivalued...)

// families are the beginnings of those that name something.
var families = []string{"aws:resourcetag/", "aws:requesttag/", "kms:encryptioncontext:"}

// statements reads those of a policy document.
func statements(policy string, document any) ([]Statement, error) {
	list, ok := at(document, "Statement").([]any)
	if !ok {
		list = []any{at(document, "Statement")}
	}
	var all []Statement
	for i, item := range list {
		members, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("iam: %s: statement %d is %v", policy, i, item)
		}
		s := Statement{Policy: policy, ID: strconv.Itoa(i)}
		for name, v := range members {
			var err error
			switch name {
			case "Sid":
				s.ID = fmt.Sprint(v)
			case "Effect":
				if s.Deny = v == "Deny"; !s.Deny && v != "Allow" {
					err = fmt.Errorf("the effect %v", v)
				}
			case "Action":
				s.Actions, err = words(v)
			case "Resource":
				s.Resources, err = words(v)
			case "Principal":
				if aws := at(v, "AWS"); aws != nil && len(v.(map[string]any)) == 1 {
					v = aws
				}
				s.Principals, err = words(v)
			case "Condition":
				s.Conditions, err = conditions(v)
			default: // NotAction, NotResource, NotPrincipal
				err = fmt.Errorf("%s is not known here", name)
			}
			if err != nil {
				return nil, fmt.Errorf("iam: %s: %w", s, err)
			}
		}
		if len(s.Actions) == 0 || len(s.Resources) == 0 {
			return nil, fmt.Errorf("iam: %s has no action or no resource", s)
		}
		all = append(all, s)
	}
	return all, nil
}

// words are one text, or a list of them.
func words(v any) ([]string, error) {
	var all []string
	switch v := v.(type) {
	case string:
		all = []string{v}
	case bool:
		all = []string{strconv.FormatBool(v)}
	case []any:
		for _, item := range v {
			one, err := words(item)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
	default:
		return nil, fmt.Errorf("%v is no text", v)
	}
	for _, text := range all {
		if strings.Contains(text, "${") {
			return nil, fmt.Errorf("the policy variable in %q is not known here", text)
		}
	}
	return all, nil
}

func conditions(v any) ([]Condition, error) {
	operators, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the condition %v", v)
	}
	var all []Condition
	for _, operator := range slices.Sorted(maps.Keys(operators)) {
		keys, ok := operators[operator].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the condition %s: %v", operator, operators[operator])
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			values, err := words(keys[key])
			if err != nil {
				return nil, err
			}
			c := Condition{operator, strings.ToLower(key), values}
			if err := c.check(); err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// check refuses what this package would not decide as IAM does.
func (c Condition) check() error {
	if !slices.Contains(known, c.Key) && !slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(c.Key, f) }) {
		return fmt.Errorf("the condition key %s is not known here", c.Key)
	}
	set, base, _ := c.operator()
	if _, ok := operators[base]; !ok && base != "Null" {
		return fmt.Errorf("the operator %s is not known here", c.Operator)
	}
	// "Multivalued context keys require a condition set operator", and with one of a
	// single value such an operator is not to be used.
	if isSet := slices.Contains(multivalued, c.Key); base != "Null" && isSet != (set != "") {
		return fmt.Errorf("%s on %s", c.Operator, c.Key)
	}
	if base == "Null" && (len(c.Values) != 1 || c.Values[0] != "true" && c.Values[0] != "false") {
		return fmt.Errorf("the operator Null of %v", c.Values)
	}
	return nil
}

// operator takes ForAllValues: or ForAnyValue: and IfExists away.
func (c Condition) operator() (set, base string, ifExists bool) {
	base = c.Operator
	for _, prefix := range []string{"ForAllValues:", "ForAnyValue:"} {
		if rest, ok := strings.CutPrefix(base, prefix); ok {
			set, base = prefix, rest
		}
	}
	base, ifExists = strings.CutSuffix(base, "IfExists")
	return set, base, ifExists
}

// operators compare a value of the request with one of the policy. One that begins with
// Not, or has Not after its type, holds where none of the policy's values matches.
var operators = map[string]struct {
	negated bool
	match   func(value, pattern string) bool
}{
	"StringEquals":              {false, func(v, p string) bool { return v == p }},
	"StringNotEquals":           {true, func(v, p string) bool { return v == p }},
	"StringEqualsIgnoreCase":    {false, strings.EqualFold},
	"StringNotEqualsIgnoreCase": {true, strings.EqualFold},
	"StringLike":                {false, glob},
	"StringNotLike":             {true, glob},
	// "ArnEquals and ArnLike behave identically."
	"ArnEquals":                {false, globARN},
	"ArnLike":                  {false, globARN},
	"ArnNotEquals":             {true, globARN},
	"ArnNotLike":               {true, globARN},
	"Bool":                     {false, strings.EqualFold},
	"NumericEquals":            {false, numeric(func(v, p float64) bool { return v == p })},
	"NumericNotEquals":         {true, numeric(func(v, p float64) bool { return v == p })},
	"NumericLessThan":          {false, numeric(func(v, p float64) bool { return v < p })},
	"NumericLessThanEquals":    {false, numeric(func(v, p float64) bool { return v <= p })},
	"NumericGreaterThan":       {false, numeric(func(v, p float64) bool { return v > p })},
	"NumericGreaterThanEquals": {false, numeric(func(v, p float64) bool { return v >= p })},
}

func numeric(compare func(v, p float64) bool) func(string, string) bool {
	return func(value, pattern string) bool {
		v, errV := strconv.ParseFloat(value, 64)
		p, errP := strconv.ParseFloat(pattern, 64)
		return errV == nil && errP == nil && compare(v, p)
	}
}

// holds evaluates the condition on a request of a principal's, by its ARN.
func (c Condition) holds(r Request, principal string) bool {
	values := r.Context[c.Key]
	if c.Key == "aws:principalarn" {
		values = []string{principal}
	}
	set, base, ifExists := c.operator()
	if base == "Null" {
		return (len(values) == 0) == (c.Values[0] == "true")
	}
	o := operators[base]
	matches := func(value string) bool {
		some := slices.ContainsFunc(c.Values, func(pattern string) bool { return o.match(value, pattern) })
		return some != o.negated
	}
	switch {
	// "ForAllValues also returns true if there are no context keys in the request."
	case set == "ForAllValues:":
		return !slices.ContainsFunc(values, func(v string) bool { return !matches(v) })
	case len(values) == 0 && ifExists:
		return true
	case set == "ForAnyValue:":
		return slices.ContainsFunc(values, matches)
	// "If the key that you specify in a policy condition is not present in the request
	// context, the values do not match", and where they must not match, the condition
	// holds.
	case len(values) == 0:
		return o.negated
	default:
		return matches(values[0])
	}
}

// applies reports whether the statement is about the request of a principal's: whether it
// is in a role, or names the principal, is not asked.
func (s Statement) applies(r Request, principal string) bool {
	return slices.ContainsFunc(s.Actions, func(p string) bool {
		return strings.EqualFold(p, r.Action) || strings.ContainsAny(p, "*?") && glob(strings.ToLower(r.Action), strings.ToLower(p))
	}) &&
		slices.ContainsFunc(s.Resources, func(p string) bool { return p == "*" || globARN(r.Resource, p) }) &&
		!slices.ContainsFunc(s.Conditions, func(c Condition) bool { return !c.holds(r, principal) })
}

// ReadKeyPolicy reads a key's policy, in JSON.
func ReadKeyPolicy(name, document string) ([]Statement, error) {
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		return nil, fmt.Errorf("iam: %s: %w", name, err)
	}
	return statements(name, v)
}

// A Role is who asks.
type Role struct {
	ARN    string
	Policy []Statement
}

// root is the account of a role, which stands for all that IAM allows in it.
func (r Role) root() string {
	parts := strings.Split(r.ARN, ":")
	return strings.Join(parts[:5], ":") + ":root"
}

// Decide evaluates a request of the role's. key is the policy of the key that the request
// is on, nil where it is on none. by are the statements of the role that allow it, empty
// where it is refused, and why says then for what reason.
func (r Role) Decide(request Request, key []Statement) (by []Statement, why string) {
	for _, s := range r.Policy {
		if s.applies(request, r.ARN) {
			if s.Deny {
				return nil, "with an explicit deny in " + s.String()
			}
			by = append(by, s)
		}
	}
	if len(by) == 0 {
		return nil, "because no identity-based policy allows the " + request.Action + " action"
	}
	if key == nil {
		return by, ""
	}
	// "A key policy must allow the account, or what IAM allows is without effect."
	inCharge := false
	for _, s := range key {
		ours := slices.ContainsFunc(s.Principals, func(p string) bool { return p == "*" || p == r.ARN || p == r.root() })
		if !ours || !s.applies(request, r.ARN) {
			continue
		}
		if s.Deny {
			return nil, "with an explicit deny in a resource-based policy, " + s.String()
		}
		inCharge = true
	}
	if !inCharge {
		return nil, "because no resource-based policy allows the " + request.Action + " action"
	}
	return by, ""
}

// glob matches * and ? as IAM does.
func glob(value, pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] == '*':
			for j := len(value); j >= 0; j-- {
				if glob(value[j:], pattern[i+1:]) {
					return true
				}
			}
			return false
		case value == "" || pattern[i] != '?' && pattern[i] != value[0]:
			return false
		}
		value = value[1:]
	}
	return value == ""
}

// globARN: "Each of the six colon-delimited components of the ARN is checked separately."
func globARN(value, pattern string) bool {
	v, p := strings.SplitN(value, ":", 6), strings.SplitN(pattern, ":", 6)
	if len(v) != 6 || len(p) != 6 {
		return false
	}
	for i := range v {
		if !glob(v[i], p[i]) {
			return false
		}
	}
	return true
}

package iam

import (
	"strings"
	"testing"
)

// The sentences in quotes are those of the IAM User Guide, "Condition operators" and
// "Single-valued vs. multivalued context keys".
func TestConditionsHold(t *testing.T) {
	for name, tt := range map[string]struct {
		operator, key string
		policy, asked []string
		want          bool
	}{
		"equal":                                {"StringEquals", "kms:MessageType", []string{"RAW", "DIGEST"}, []string{"DIGEST"}, true},
		"equal is no pattern":                  {"StringEquals", "kms:MessageType", []string{"*"}, []string{"DIGEST"}, false},
		"another case":                         {"StringEquals", "kms:MessageType", []string{"digest"}, []string{"DIGEST"}, false},
		"another case, ignored":                {"StringEqualsIgnoreCase", "kms:MessageType", []string{"digest"}, []string{"DIGEST"}, true},
		"absent":                               {"StringEquals", "kms:MessageType", []string{"DIGEST"}, nil, false},
		"absent, if it exists":                 {"StringEqualsIfExists", "kms:MessageType", []string{"DIGEST"}, nil, true},
		"there, if it exists":                  {"StringEqualsIfExists", "kms:MessageType", []string{"DIGEST"}, []string{"RAW"}, false},
		"none of them":                         {"StringNotEquals", "kms:MessageType", []string{"RAW", "DIGEST"}, []string{"EXTERNAL_MU"}, true},
		"one of those it must not be":          {"StringNotEquals", "kms:MessageType", []string{"RAW", "DIGEST"}, []string{"RAW"}, false},
		"absent, and must not be":              {"StringNotEquals", "kms:MessageType", []string{"DIGEST"}, nil, true},
		"like":                                 {"StringLike", "kms:RequestAlias", []string{"alias/km?nt*"}, []string{"alias/kmint/a"}, true},
		"not like":                             {"StringNotLike", "kms:RequestAlias", []string{"alias/*"}, []string{"alias/a"}, false},
		"each item":                            {"ForAllValues:StringLike", "dynamodb:LeadingKeys", []string{"a#*", "b"}, []string{"a#1", "b"}, true},
		"not each item":                        {"ForAllValues:StringLike", "dynamodb:LeadingKeys", []string{"a#*"}, []string{"a#1", "b"}, false},
		"ForAllValues is true of an empty set": {"ForAllValues:StringLike", "dynamodb:LeadingKeys", []string{"a#*"}, nil, true},
		"some item":                            {"ForAnyValue:StringLike", "dynamodb:LeadingKeys", []string{"a#*"}, []string{"b", "a#1"}, true},
		"ForAnyValue is not":                   {"ForAnyValue:StringLike", "dynamodb:LeadingKeys", []string{"a#*"}, nil, false},
		"is there":                             {"Null", "dynamodb:LeadingKeys", []string{"false"}, []string{"a"}, true},
		"is there, but is not":                 {"Null", "dynamodb:LeadingKeys", []string{"false"}, nil, false},
		"is not there":                         {"Null", "dynamodb:LeadingKeys", []string{"true"}, nil, true},
		"is not there, but is":                 {"Null", "dynamodb:LeadingKeys", []string{"true"}, []string{"a"}, false},
		"an ARN":                               {"ArnLike", "aws:PrincipalArn", []string{"arn:aws:iam::1:role/*"}, []string{"arn:aws:iam::1:role/a/b"}, true},
		"an ARN of another account":            {"ArnEquals", "aws:PrincipalArn", []string{"arn:aws:iam::1*:role/a"}, []string{"arn:aws:iam::12:user:role/a"}, false},
		"none of the ARNs":                     {"ArnNotEquals", "aws:PrincipalArn", []string{"arn:aws:iam::1:role/a"}, []string{"arn:aws:iam::1:role/b"}, true},
		"one of the ARNs":                      {"ArnNotEquals", "aws:PrincipalArn", []string{"arn:aws:iam::1:role/b", "arn:aws:iam::1:role/a"}, []string{"arn:aws:iam::1:role/a"}, false},
		"enough days":                          {"NumericGreaterThanEquals", "kms:ScheduleKeyDeletionPendingWindowInDays", []string{"30"}, []string{"30"}, true},
		"too few, and no text":                 {"NumericGreaterThanEquals", "kms:ScheduleKeyDeletionPendingWindowInDays", []string{"30"}, []string{"7"}, false},
		"as many days as nobody says":          {"NumericGreaterThanEquals", "kms:ScheduleKeyDeletionPendingWindowInDays", []string{"30"}, nil, false},
		"a bool":                               {"Bool", "kms:MultiRegion", []string{"true"}, []string{"true"}, true},
		"a tag":                                {"StringEquals", "aws:ResourceTag/kmint:use", []string{"sign"}, []string{"sign"}, true},
	} {
		c := Condition{tt.operator, strings.ToLower(tt.key), tt.policy}
		if err := c.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r := Request{Context: map[string][]string{c.Key: tt.asked}}
		principal := ""
		if c.Key == "aws:principalarn" {
			principal = tt.asked[0]
		}
		if got := c.holds(r, principal); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestUnknownIsAnError(t *testing.T) {
	statement := `{"Sid": "S", "Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": {"StringEquals": {"kms:MessageType": "RAW"}}}`
	if _, err := ReadKeyPolicy("p", `{"Statement": [`+statement+`]}`); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"an operator":                 {"StringEquals", "StringMatches"},
		"a condition key":             {"kms:MessageType", "kms:Phase"},
		"a set operator on one value": {"StringEquals", "ForAllValues:StringEquals"},
		"no set operator on a set":    {"kms:MessageType", "dynamodb:LeadingKeys"},
		"what Null is":                {`"StringEquals"`, `"Null"`},
		"an effect":                   {`"Allow"`, `"Maybe"`},
		"all but an action":           {`"Action"`, `"NotAction"`},
		"all but a resource":          {`"Resource"`, `"NotResource"`},
		"a variable":                  {`"RAW"`, `"${aws:username}"`},
		"no action":                   {`"Action": "a:B",`, ``},
		"an action that is no text":   {`"a:B"`, `{"a": "b"}`},
	} {
		changed := strings.Replace(statement, change[0], change[1], 1)
		if changed == statement {
			t.Errorf("%s: nothing is changed", name)
		}
		if _, err := ReadKeyPolicy("p", `{"Statement": [`+changed+`]}`); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What an allow gives and a deny takes, in the role and in the key's policy.
func TestDecide(t *testing.T) {
	const (
		arn  = "arn:aws:kms:us-east-1:000000000000:key/a"
		role = "arn:aws:iam::000000000000:role/r"
	)
	read := func(statements ...string) []Statement {
		t.Helper()
		policy, err := ReadKeyPolicy("p", `{"Statement": [`+strings.Join(statements, ",")+`]}`)
		if err != nil {
			t.Fatal(err)
		}
		return policy
	}
	const (
		sign      = `{"Effect": "Allow", "Action": "kms:Sign", "Resource": "arn:aws:kms:us-east-1:000000000000:key/*"}`
		elsewhere = `{"Effect": "Allow", "Action": "kms:Sign", "Resource": "arn:aws:kms:us-east-1:000000000000:key/b"}`
		all       = `{"Effect": "Allow", "Action": "KMS:*", "Resource": "*"}`
		denied    = `{"Effect": "Deny", "Action": "kms:Sign", "Resource": "*"}`
		delegated = `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"}`
		described = `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:DescribeKey", "Resource": "*"}`
		foreign   = `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "kms:*", "Resource": "*"}`
		onlyOther = `{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Sign", "Resource": "*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ["arn:aws:iam::000000000000:role/other"]}}}`
		onlyThis  = `{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Sign", "Resource": "*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:role/r"}}}`
	)
	for name, tt := range map[string]struct {
		role, key []Statement
		want      string
	}{
		"nothing":                     {nil, read(delegated), "no identity-based policy"},
		"allowed":                     {read(sign), read(delegated), ""},
		"allowed by a pattern":        {read(all), read(delegated), ""},
		"another key":                 {read(elsewhere), read(delegated), "no identity-based policy"},
		"denied by the role":          {read(sign, denied), read(delegated), "explicit deny in p."},
		"the key leaves out IAM":      {read(sign), read(described), "no resource-based policy"},
		"the key is of others":        {read(sign), read(foreign), "no resource-based policy"},
		"the key denies it":           {read(all), read(delegated, onlyOther), "explicit deny in a resource-based policy"},
		"the key denies it to others": {read(sign), read(delegated, onlyThis), ""},
		"no key":                      {read(sign), nil, ""},
	} {
		by, why := Role{ARN: role, Policy: tt.role}.Decide(Request{Action: "kms:Sign", Resource: arn}, tt.key)
		if tt.want == "" && (why != "" || len(by) == 0) || tt.want != "" && (!strings.Contains(why, tt.want) || len(by) > 0) {
			t.Errorf("%s: %q by %v", name, why, by)
		}
	}
}

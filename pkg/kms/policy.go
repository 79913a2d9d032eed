package kms

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Statement is one of a key's policy, in JSON as IAM reads it.
type Statement struct {
	ID        string                         `json:"Sid"`
	Effect    string                         `json:"Effect"`
	Principal map[string]string              `json:"Principal"`
	Action    string                         `json:"Action"`
	Resource  string                         `json:"Resource"`
	Condition map[string]map[string][]string `json:"Condition,omitempty"`
}

// Policy is that of a key which signs by one algorithm, for these roles. root is the
// account, as arn:aws:iam::111122223333:root; it stays in charge. All else forbids
// signatures: a Deny beats root, so that one of anything else could make a key that
// nobody can administer. Every signing key has this policy, whoever makes it:
// infra/policy_test.go holds template.yaml against it.
func Policy(root string, signers []string, algorithm string) ([]Statement, error) {
	how, known := algorithms[algorithm]
	if !known {
		return nil, fmt.Errorf("kms: no signatures by %q", algorithm)
	}
	deny := func(id, operator, key string, values ...string) Statement {
		return Statement{id, "Deny", map[string]string{"AWS": "*"}, "kms:Sign", "*", map[string]map[string][]string{operator: {key: values}}}
	}
	message := map[string]string{"DIGEST": "OnlyDigests", "RAW": "OnlyMessages", "EXTERNAL_MU": "OnlyMu"}[string(how.message)]
	return []Statement{
		{"TheAccountAdministers", "Allow", map[string]string{"AWS": root}, "kms:*", "*", nil},
		deny("OnlyWhoMakesTokensSigns", "ArnNotEquals", "aws:PrincipalArn", signers...),
		deny(message, "StringNotEquals", "kms:MessageType", string(how.message)),
		deny("Only"+strings.ReplaceAll(algorithm, "-", ""), "StringNotEquals", "kms:SigningAlgorithm", string(how.algorithm)),
	}, nil
}

// document is the policy of the key at an ARN, as KMS is given it.
func document(arn string, signers []string, algorithm string) (string, error) {
	// arn:aws:kms:eu-central-1:111122223333:key/...
	parts := strings.Split(arn, ":")
	if len(parts) != 6 || parts[2] != "kms" {
		return "", fmt.Errorf("kms: %q is not the ARN of a key", arn)
	}
	statements, err := Policy("arn:"+parts[1]+":iam::"+parts[4]+":root", signers, algorithm)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	return string(text), err
}

// same reports whether two policies are one, however they are written.
func same(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(plain(x), plain(y))
}

// plain sorts lists of texts, and makes of one that holds one text that text.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	case []any:
		texts := make([]string, 0, len(v))
		for i := range v {
			v[i] = plain(v[i])
			if text, ok := v[i].(string); ok {
				texts = append(texts, text)
			}
		}
		if len(texts) < len(v) {
			return v
		}
		slices.Sort(texts)
		if len(texts) == 1 {
			return texts[0]
		}
		return texts
	}
	return v
}

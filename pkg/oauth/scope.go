// Scope (RFC 6749 §3.3).

package oauth

import (
	"slices"
	"strings"
)

// A Scope is a list of scope values, in the order asked for, without repeats.
type Scope []string

// Bounds of a scope: far more than anybody asks for, and little enough that
// comparing every value with every other costs nothing.
const (
	maxScopeLength = 4096
	maxScopeValues = 100
)

// ParseScope reads a scope parameter. RFC 6749 §3.3:
// scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
func ParseScope(s string) (Scope, error) {
	if len(s) > maxScopeLength || strings.Count(s, " ") >= maxScopeValues {
		return nil, InvalidScope.Errorf("The scope has more than %d values or %d characters.", maxScopeValues, maxScopeLength)
	}
	var scope Scope
	for token := range strings.SplitSeq(s, " ") {
		if token == "" {
			continue
		}
		if !ScopeToken(token) {
			return nil, InvalidScope.Errorf("The scope contains a character that RFC 6749 does not allow.")
		}
		if !scope.Has(token) {
			scope = append(scope, token)
		}
	}
	return scope, nil
}

// ScopeToken reports whether s may stand as one value of a scope.
func ScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// String is the wire form.
func (s Scope) String() string { return strings.Join(s, " ") }

// Has reports whether the value is in the scope. Scope values are
// case-sensitive.
func (s Scope) Has(value string) bool { return slices.Contains(s, value) }

// Within reports whether every value is in the other scope too.
func (s Scope) Within(other Scope) bool {
	for _, value := range s {
		if !other.Has(value) {
			return false
		}
	}
	return true
}

// Without leaves the values out.
func (s Scope) Without(values ...string) Scope {
	var kept Scope
	for _, value := range s {
		if !slices.Contains(values, value) {
			kept = append(kept, value)
		}
	}
	return kept
}

// Intersect keeps, in order, the values that allowed has too.
func (s Scope) Intersect(allowed Scope) Scope {
	var kept Scope
	for _, value := range s {
		if allowed.Has(value) {
			kept = append(kept, value)
		}
	}
	return kept
}

package store

import "strings"

// A Pattern is text to be met exactly, or, with a * at its end, by its beginning.
// There is no other wildcard: one in the middle would let whoever names a part of
// a subject widen it.
type Pattern string

// Matches reports whether s meets the pattern. The empty pattern meets nothing.
func (p Pattern) Matches(s string) bool {
	if prefix, open := strings.CutSuffix(string(p), "*"); open {
		return prefix != "" && strings.HasPrefix(s, prefix)
	}
	return p != "" && string(p) == s
}

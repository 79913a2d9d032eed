package store

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// LoginName normalises what a person types as their name: without surrounding
// space, in lower case, in Unicode form NFKC, so that two spellings of one name
// are one name.
func LoginName(typed string) string {
	return strings.ToLower(norm.NFKC.String(strings.TrimSpace(typed)))
}

// Which language (OpenID Connect Core 1.0 §3.1.2.1; RFC 9110 §12.5.4; RFC 4647 §3.4).

package words

import (
	"slices"
	"strconv"
	"strings"
)

// Choose returns the first language that ui_locales, "a space-separated list of BCP47
// language tag values, ordered by preference", has with us; else the one that the
// browser likes best; else English. "An error SHOULD NOT result if some or all of the
// requested locales are not supported".
func Choose(uiLocales, acceptLanguage string) Language {
	for tag := range strings.FieldsSeq(uiLocales) {
		if l, ok := lookup(tag); ok {
			return l
		}
	}
	for _, r := range ranges(acceptLanguage) {
		if l, ok := lookup(r.tag); ok {
			return l
		}
		if r.tag == "*" {
			break
		}
	}
	return English
}

// lookup leaves out of the tag what is after its language: all that we have is
// written for every region. RFC 5646 §2.1.1: tags "are to be treated as case
// insensitive".
func lookup(tag string) (Language, bool) {
	primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
	l := Language(primary)
	return l, slices.Contains(Languages(), l)
}

// A weighed is a language range and its weight.
type weighed struct {
	tag    string
	weight float64
}

// most is how many ranges are looked at.
const most = 32

// ranges reads Accept-Language, the best first; one with weight 0 "is not acceptable",
// and one that is malformed is left out.
func ranges(header string) []weighed {
	var found []weighed
	for part := range strings.SplitSeq(header, ",") {
		if len(found) == most {
			break
		}
		tag, parameter, weighs := strings.Cut(part, ";")
		r := weighed{strings.TrimSpace(tag), 1}
		if weighs {
			name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			weight, err := strconv.ParseFloat(value, 64)
			if err != nil || !strings.EqualFold(name, "q") || !(0 < weight && weight <= 1) {
				continue
			}
			r.weight = weight
		}
		if r.tag != "" {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b weighed) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		default:
			return 0
		}
	})
	return found
}

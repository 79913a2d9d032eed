// Response types (RFC 6749 §3.1.1, OAuth 2.0 Multiple Response Type Encoding
// Practices §3 to §5).

package oauth

import "strings"

// A ResponseType is what the authorization endpoint is asked for. The zero value is
// none.
type ResponseType struct {
	Code, IDToken, Token bool
}

// ResponseTypes lists all there are, as String writes them.
func ResponseTypes() []string {
	return []string{
		"code", "none",
		"token", "id_token", "id_token token",
		"code token", "code id_token", "code id_token token",
	}
}

// ParseResponseType reads a response_type. RFC 6749 §3.1.1: "the order of values does
// not matter". ok is false for any other than ResponseTypes, in whatever order; what
// was read of it is returned all the same, for it says where an error goes.
func ParseResponseType(text string) (t ResponseType, ok bool) {
	words := strings.Split(text, " ")
	if len(words) == 1 && words[0] == "none" {
		return ResponseType{}, true
	}
	ok = true
	for _, word := range words {
		var seen *bool
		switch word {
		case "code":
			seen = &t.Code
		case "id_token":
			seen = &t.IDToken
		case "token":
			seen = &t.Token
		default:
			ok = false
			continue
		}
		ok = ok && !*seen
		*seen = true
	}
	return t, ok
}

// Front reports whether a token leaves by the authorization endpoint itself.
func (t ResponseType) Front() bool { return t.IDToken || t.Token }

// GrantTypes lists the grant types that OpenID Connect Dynamic Client Registration 1.0
// §2 pairs with the response type: nil for none.
func (t ResponseType) GrantTypes() []string {
	var types []string
	if t.Code {
		types = append(types, AuthorizationCode)
	}
	if t.Front() {
		types = append(types, Implicit)
	}
	return types
}

// String is the response_type in the usual order of words.
func (t ResponseType) String() string {
	var words []string
	for _, word := range []struct {
		there bool
		text  string
	}{{t.Code, "code"}, {t.IDToken, "id_token"}, {t.Token, "token"}} {
		if word.there {
			words = append(words, word.text)
		}
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, " ")
}

// Where the answer to a form may lead (Content Security Policy Level 3 §2.3.1).

package web

import (
	"net/url"
	"strings"

	"kmint/pkg/oauth"
)

// FormTargets are source expressions for a form whose answer leads to the redirect
// URI, none for "": its origin, and on from there wherever its scheme leads.
//
// Chrome holds form-action against every redirect that follows the form, those of
// the client too, which may take the answer at one origin and show its pages at
// another. Where that was not announced the person stays on our page, without a word,
// when all is done; and only the client knows where it leads. A list of all that it
// has registered would not do, and would show it to every visitor. Little is lost:
// form-action keeps a form that somebody has slipped into a page from taking what is
// typed elsewhere. Into ours nothing gets that is not escaped, and base-uri 'none' keeps
// the form's address our own.
func FormTargets(redirectURI string) []string {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil || redirectURI == "": // no client may register such a one
		return nil
	case u.Scheme != "https" && u.Scheme != "http":
		return []string{u.Scheme + ":"} // an application's own: no host means anything
	case strings.Trim(u.Host, hostCharacters) != "":
		return schemes(u.Scheme) // there is no way to write [::1]
	default:
		return append([]string{oauth.Origin(redirectURI)}, schemes(u.Scheme)...)
	}
}

// FrameSource is a source expression for a page that one of ours shows in a frame: its
// origin, or only its scheme, where there is no way to write the host.
func FrameSource(address string) string {
	if targets := FormTargets(address); len(targets) > 0 {
		return targets[0]
	}
	return "'none'"
}

// schemes are those that a redirect may lead to: not from https to http.
func schemes(from string) []string {
	if from == "http" {
		return []string{"http:", "https:"}
	}
	return []string{"https:"}
}

// hostCharacters are those of a host, and its port, in a source expression.
const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:"

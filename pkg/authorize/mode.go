// How an answer travels (OAuth 2.0 Multiple Response Type Encoding Practices §2.1,
// OAuth 2.0 Form Post Response Mode §2).

package authorize

import (
	"net/http"
	"net/url"

	"kmint/pkg/oauth"
)

// A mode sends the parameters of a response. Each has a file of its own, and a line
// in modes.
type mode struct {
	name string
	// send writes the answer. An error says that nothing was written.
	send func(w http.ResponseWriter, t target, parameters url.Values) error
	// page says that the answer is a page of ours, and no redirect.
	page bool
	// bars says why the mode is not for this target, or nil.
	bars func(t target) error
}

func modes() []mode { return []mode{query, fragment, formPost, webMessage} }

// ResponseModes lists the response modes that discovery announces.
func ResponseModes() []string {
	var names []string
	for _, m := range modes() {
		names = append(names, m.name)
	}
	return names
}

// ResponseTypes lists the response types that discovery announces, where the endpoint
// signs and where it does not.
func ResponseTypes(signs bool) []string {
	var types []string
	for _, text := range oauth.ResponseTypes() {
		if t, _ := oauth.ParseResponseType(text); signs || !t.Front() {
			types = append(types, text)
		}
	}
	return types
}

// modeFor finds the mode by its response_mode. Where that is not to be had, what is
// returned beside the error is the default of the response type, by which the error
// goes.
func modeFor(name string, t target) (mode, error) {
	byDefault := query
	if t.asked.Front() {
		byDefault = fragment
	}
	if name == "" {
		return byDefault, nil
	}
	for _, m := range modes() {
		if m.name == name {
			if err := m.bars(t); err != nil {
				return byDefault, err
			}
			return m, nil
		}
	}
	return byDefault, oauth.InvalidRequest.Errorf("The response_mode is not supported.")
}

// anyTarget is the bars of a mode that is for every target.
func anyTarget(target) error { return nil }

// A request, read once (RFC 6749 §3.1, §3.2; OpenID Connect Core 1.0 §3.1.2.1).

package oauth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxBody is the longest body we read, in bytes.
const MaxBody = 64 << 10

// A Request is what a caller sent, read once. After ReadRequest nobody needs to
// see net/http any more. It prints no values: they may be secrets.
type Request struct {
	Method string
	// Origin is the Origin header (RFC 6454 §7), or "".
	Origin string
	// Path is the path of the URL.
	Path string
	// Authorization is the whole Authorization header.
	Authorization Secret
	// DPoP are the values of the DPoP header (RFC 9449 §4.1).
	DPoP   []string
	params url.Values
}

// Get returns the parameter's value, or "" where it was left out or empty.
// RFC 6749 §3.1: "Parameters sent without a value MUST be treated as if they
// were omitted from the request."
func (r Request) Get(name string) string { return r.params.Get(name) }

// Targets lists the APIs that the request names, by audience or by resource (RFC
// 8707 §2), each once: nil for none.
func (r Request) Targets() []string {
	var named []string
	for _, identifier := range slices.Concat(r.params["audience"], r.params["resource"]) {
		if !slices.Contains(named, identifier) {
			named = append(named, identifier)
		}
	}
	return named
}

// Encode writes the parameters as a query string: reading it again gives an
// equal request.
func (r Request) Encode() string { return r.params.Encode() }

// With returns the request with other parameters: those of an earlier step
// that a later one carries.
func (r Request) With(query string) (Request, error) {
	params, err := readForm(query)
	if err != nil {
		return Request{}, err
	}
	r.params = params
	return r, nil
}

// Without returns the request without the parameters named.
func (r Request) Without(names ...string) Request {
	params := url.Values{}
	for name, values := range r.params {
		if !slices.Contains(names, name) {
			params[name] = values
		}
	}
	r.params = params
	return r
}

// Format keeps the parameters out of every print.
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[request]") }

// ReadRequest reads the parameters of a GET from its query, and of a POST from
// its body alone, which may be a form or a JSON object. It refuses a repeated
// parameter, a NUL, invalid UTF-8, a body over MaxBody and any other media
// type. A request that is refused for a parameter still has the others, so that
// its client can be told apart.
func ReadRequest(r *http.Request) (Request, error) {
	req := Request{Method: r.Method, Path: r.URL.Path, Origin: r.Header.Get("Origin"), DPoP: r.Header.Values("DPoP")}
	switch values := r.Header.Values("Authorization"); len(values) {
	case 0:
	case 1:
		req.Authorization = Secret(values[0])
	default:
		return Request{}, InvalidRequest.Errorf("There is more than one Authorization header.")
	}
	var err error
	req.params, err = readParams(r)
	return req, err
}

func readParams(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return readForm(r.URL.RawQuery)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) || len(body) > MaxBody {
		return nil, RequestTooLarge.Errorf("The request body is longer than %d bytes.", MaxBody)
	}
	if err != nil {
		return nil, InvalidRequest.Errorf("The request body could not be read.").Because(err)
	}
	if len(body) == 0 {
		return url.Values{}, nil
	}
	contentType := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, UnsupportedMediaType.Errorf("The Content-Type is missing or malformed; send application/x-www-form-urlencoded or application/json.").Because(err)
	}
	switch media {
	case "application/x-www-form-urlencoded":
		return readForm(string(body))
	case "application/json":
		return readJSON(body)
	default:
		return nil, UnsupportedMediaType.Errorf("The Content-Type %.64s is not supported; send application/x-www-form-urlencoded or application/json.", media)
	}
}

func readForm(s string) (url.Values, error) {
	// Browsers leave a semicolon as it is (the URL standard's
	// application/x-www-form-urlencoded parsing); url.ParseQuery would refuse it.
	values, err := url.ParseQuery(strings.ReplaceAll(s, ";", "%3B"))
	if err != nil {
		return nil, InvalidRequest.Errorf("The parameters are not correctly form-encoded.").Because(err)
	}
	return check(values)
}

// readJSON takes the members of one object. A number or a truth value stands
// for its text; what is an object or null is no parameter we know, and unknown
// ones are ignored.
func readJSON(body []byte) (url.Values, error) {
	malformed := func(cause error) error {
		return InvalidRequest.Errorf("The request body is not a JSON object.").Because(cause)
	}
	if !utf8.Valid(body) { // the decoder would mend it silently
		return nil, InvalidRequest.Errorf("The request body is not valid UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, malformed(err)
	}
	values, seen := url.Values{}, map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, malformed(err)
		}
		key := name.(string)
		// encoding/json would take the last of two equal members.
		if seen[key] {
			return nil, repeated(key)
		}
		seen[key] = true
		var value any
		if err := dec.Decode(&value); err != nil {
			return nil, malformed(err)
		}
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, v := range list {
			if text, ok := scalar(v); ok {
				values.Add(key, text)
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, malformed(errors.New("data after the object"))
	}
	return check(values)
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	default:
		return "", false
	}
}

// check obeys RFC 6749 §3.1 and §3.2: "Request and response parameters MUST NOT
// be included more than once." RFC 8707 §2 lets resource be repeated, and RFC
// 8693 §2.1 audience in a token exchange.
func check(values url.Values) (url.Values, error) {
	exchange := slices.Equal(values["grant_type"], []string{TokenExchange})
	kept := url.Values{}
	var refused error
	for _, name := range slices.Sorted(maps.Keys(values)) { // the same fault is named each time
		list := values[name]
		if err := checkOne(name, list, exchange); err != nil {
			refused = cmp.Or(refused, err)
			continue
		}
		for _, v := range list {
			if v != "" {
				kept.Add(name, v)
			}
		}
	}
	return kept, refused
}

func checkOne(name string, list []string, exchange bool) error {
	if len(list) > 1 && name != "resource" && (!exchange || name != "audience") {
		return repeated(name)
	}
	text := name + strings.Join(list, "")
	switch {
	case !utf8.ValidString(text):
		return InvalidRequest.Errorf("The parameter %.64s is not valid UTF-8.", name)
	case strings.ContainsRune(text, 0):
		return InvalidRequest.Errorf("The parameter %.64s contains a NUL.", name)
	default:
		return nil
	}
}

// repeated names the parameter, and no more of it than a header has room for: the
// userinfo endpoint says it in one.
func repeated(name string) error {
	return InvalidRequest.Errorf("The parameter %.64s is included more than once.", name)
}

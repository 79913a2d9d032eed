package lambda

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A golden file is what a step is to look like as a tree: the answer, the tokens
// in it, the log. Text may hold stand-ins; what stood there is kept, and each kind
// is checked (variables_test.go).

func readTree(t *testing.T, raw []byte) any {
	t.Helper()
	var tree any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return tree
}

// match compares what was seen with what is wanted, keeps what stands at the
// stand-ins, and returns one line for each difference.
func match(at string, want, got any, kept map[string]any) []string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			break
		}
		var differences []string
		for _, name := range slices.Sorted(maps.Keys(want)) {
			value, ok := got[name]
			if !ok {
				differences = append(differences, fmt.Sprintf("%s.%s is missing", at, name))
				continue
			}
			differences = append(differences, match(at+"."+name, want[name], value, kept)...)
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[name]; !ok {
				differences = append(differences, fmt.Sprintf("%s.%s is not expected: %s", at, name, show(got[name])))
			}
		}
		return differences
	case []any:
		if text, isText := got.(string); isText { // a body of many lines
			return matchText(at, joinLines(want), text, kept)
		}
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			break
		}
		var differences []string
		for i := range want {
			differences = append(differences, match(fmt.Sprintf("%s.%d", at, i), want[i], got[i], kept)...)
		}
		return differences
	case string:
		if name := standIn.FindStringSubmatch(want); name != nil && name[0] == want {
			return keep(at, name[1], got, kept)
		}
		if text, ok := got.(string); ok {
			return matchText(at, want, text, kept)
		}
	}
	if !reflect.DeepEqual(want, got) {
		return []string{fmt.Sprintf("%s is %s, want %s", at, show(got), show(want))}
	}
	return nil
}

func matchText(at, want, got string, kept map[string]any) []string {
	pattern, last := "(?s)^", 0
	var names []string
	for _, place := range standIn.FindAllStringSubmatchIndex(want, -1) {
		pattern += regexp.QuoteMeta(want[last:place[0]]) + "(.*?)"
		names = append(names, want[place[2]:place[3]])
		last = place[1]
	}
	found := regexp.MustCompile(pattern + regexp.QuoteMeta(want[last:]) + "$").FindStringSubmatch(got)
	if found == nil {
		return []string{fmt.Sprintf("%s is\n%s\nwant\n%s", at, got, want)}
	}
	var differences []string
	for i, name := range names {
		value := found[i+1]
		if strings.Contains(want, "</html>") {
			value = html.UnescapeString(value)
		}
		differences = append(differences, keep(at, name, value, kept)...)
	}
	return differences
}

func keep(at, name string, value any, kept map[string]any) []string {
	if earlier, ok := kept[name]; ok && !reflect.DeepEqual(earlier, value) {
		return []string{fmt.Sprintf("%s is %s for ${%s}, which was %s", at, show(value), name, show(earlier))}
	}
	kept[name] = value
	return nil
}

func show(v any) string {
	raw, _ := json.Marshal(v) // it came from JSON
	return string(raw)
}

func joinLines(lines []any) string {
	var text []string
	for _, line := range lines {
		text = append(text, fmt.Sprint(line))
	}
	return strings.Join(text, "\n")
}

// A place says where an answer differs from one run to the next. It matters to
// the writing of golden files alone: a run that compares goes by what stands in
// them.
type place struct {
	// at matches step:path.
	at *regexp.Regexp
	// part is what differs of a text, as its one group; nil for the whole value.
	part *regexp.Regexp
	// name is the stand-in's. A dot at its end is followed by the step's own word.
	name string
}

func at(path, part, name string) place {
	p := place{at: regexp.MustCompile("^" + path + "$"), name: name}
	if part != "" {
		p.part = regexp.MustCompile(part)
	}
	return p
}

var places = []place{
	at(`.*:response\.body\.(access|id)_token`, `^(eyJ.*)$`, "${1}_token."),
	at(`.*:response\.body\.access_token`, `^(kmint_access\..*)$`, "opaque_token."),
	at(`.*:response\.body\.(?:access|refresh)_token`, `^(kmint_refresh\..*)$`, "refresh_token."),
	at(`discovery/jwks:response\.body\.keys\.0\.kid`, "", "kid.rs256"),
	at(`discovery/jwks:response\.body\.keys\.1\.kid`, "", "kid.ps256"),
	at(`discovery/jwks:response\.body\.keys\.2\.kid`, "", "kid.es256"),
	at(`discovery/jwks:response\.body\.keys\.0\.n`, "", "modulus.rs256"),
	at(`discovery/jwks:response\.body\.keys\.1\.n`, "", "modulus.ps256"),
	at(`discovery/jwks:response\.body\.keys\.2\.(x|y)`, "", "coordinate.${1}"),
	at(`discovery/jwks.*:response\.headers\.Etag`, "", "etag"),
	at(`.*:response\.headers\.Location`, `[?&#]code=([^&]+)`, "code."),
	at(`.*:response\.headers\.Location`, `[&#]access_token=([^&]+)`, "access_token."),
	at(`.*:response\.headers\.Location`, `[&#]id_token=([^&]+)`, "id_token."),
	at(`.*:response\.headers\.Location`, `[?&#]session_state=([^&]+)`, "session_state"),
	at(`.*:response\.body`, `name="session_state" value="([^"]*)"`, "session_state"),
	at(`.*:response\.body`, `&#34;session_state&#34;:&#34;([^&]+)&#34;`, "session_state"),
	at(`.*:response\.body`, `name="code" value="([^"]*)"`, "code."),
	at(`.*:response\.body`, `&#34;code&#34;:&#34;([^&]+)&#34;`, "code."),
	at(`authorize/.*:response\.headers\.Content-Security-Policy`, `'sha256-([^']+)'`, "style_hash"),
	at(`.*:response\.body`, `<style>((?s:.*?))</style>`, "style"),
	at(`.*:response\.body`, `name="id_token" value="([^"]*)"`, "id_token."),
	at(`.*:response\.body`, `logged-out\?[^"]*sid=([^"&]*)`, "sid."),
	at(`.*:response\.headers\.Location`, `[?&]id_token_hint=([^&]+)`, "hint.leaving"),
	at(`.*:queue\.\d+\.sid`, "", "sid."),
	at(`authorize/leaving:tokens\.\w+\.claims\.(auth_time|sid)`, "", "${1}."),
	at(`.*:response\.body`, `name="request" value="([^"]*)"`, "request."),
	at(`.*:response\.body`, `name="seal" value="([^"]*)"`, "seal."),
	at(`.*:response\.body`, `name="shown" value="([^"]*)"`, "shown"),
	at(`.*:response\.body`, `name="session" value="([^"]*)"`, "elsewhere"),
	at(`authorize/sessions:response\.body`, `\(this browser\)</h2>\n<p class="since">Logged in on ([^<]+)`, "minute.here"),
	at(`authorize/sessions:response\.body`, `(?s)<form.*?Logged in on ([^<]+)`, "minute.there"),
	at(`authorize/sessions:response\.body`, `Last used on ([^<]+)`, "minute.used"),
	at(`authorize/sessions:response\.body`, `\(logged in on ([^)]+)\)`, "minute.there"),
	at(`authorize/consents:response\.body`, `Since ([^<]+)`, "day"),
	at(`.*:response\.cookies\.\d+`, `^__Host-kmint_login=([^;]+)`, "login_cookie"),
	at(`.*:response\.cookies\.\d+`, `^__Host-kmint_session=([^;]+)`, "session"),
	at(`.*:response\.cookies\.\d+`, `^__Host-kmint_silent=([^;]+)`, "silent"),
	at(`.*:response\.cookies\.\d+`, `^__Host-kmint_state=([^;]+)`, "state_cookie"),
	at(`.*:tokens\.\w+\.header\.kid`, "", "kid"),
	at(`token/exchange(?:_old_secret|_delegation|_nested|_person|_bound)?:response\.body\.expires_in`, "", "expires_in"),
	at(`token/introspect.*:response\.body\.(exp|iat|jti|auth_time)`, "", "told.${1}"),
	at(`.*:response\.headers\.Dpop-Nonce`, "", "nonce"),
	at(`.*:(?:response\.body|tokens\.\w+\.claims)\.cnf\.jkt`, "", "thumbprint."),
	at(`.*:tokens\.(\w+)\.claims\.(exp|iat|jti)`, "", "${2}.${1}"),
	at(`token/(?:password|exchange_person).*:tokens\.\w+\.claims\.auth_time`, "", "login_time"),
	at(`.*:tokens\.\w+\.claims\.(auth_time|sid)`, "", "${1}"),
	at(`.*:tokens\.\w+\.claims\.(at_hash|c_hash)`, "", "${1}."),
	at(`.*:tokens\.\w+\.claims\.grant_id`, "", "grant_id."),
	at(`.*:log\.grant`, "", "grant_id."),
	at(`.*:log\.(time|ms|request_id)`, "", "${1}"),
	at(`.*:log\.(\d+)\.(time|ms|request_id)`, "", "${2}.${1}"),
}

// template puts stand-ins where the places are. A value that stays, and was kept
// before, goes by the name that it has.
func template(step, which, path string, got any, known map[string]any) any {
	switch got := got.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range got {
			out[name] = template(step, which, join(path, name), value, known)
		}
		return out
	case []any:
		out := []any{}
		for i, value := range got {
			out = append(out, template(step, which, join(path, strconv.Itoa(i)), value, known))
		}
		return out
	}
	text, isText := got.(string)
	for _, p := range places {
		where := step + ":" + path
		found := p.at.FindStringSubmatchIndex(where)
		if found == nil || got == "" {
			continue
		}
		name := string(p.at.ExpandString(nil, p.name, where, found))
		stand := func(value any) string {
			kind, _, _ := strings.Cut(name, ".")
			for _, earlier := range slices.Sorted(maps.Keys(known)) {
				if k, _, _ := strings.Cut(earlier, "."); k == kind && kinds[k].stable && reflect.DeepEqual(known[earlier], value) {
					return "${" + earlier + "}"
				}
			}
			if strings.HasSuffix(name, ".") {
				return "${" + strings.TrimSuffix(name+which, ".") + "}"
			}
			return "${" + name + "}"
		}
		if p.part == nil {
			return stand(got)
		}
		if part := p.part.FindStringSubmatchIndex(text); isText && part != nil {
			text = text[:part[2]] + stand(html.UnescapeString(text[part[2]:part[3]])) + text[part[3]:]
		}
	}
	if lines := strings.Split(text, "\n"); isText && len(lines) > 1 {
		return lines
	}
	if isText {
		return text
	}
	return got
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func writeGolden(t *testing.T, name string, tree any) {
	t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(tree); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenPath(name), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		want, got string
		kept      map[string]any
		differs   string
	}{
		"equal":                {`{"a": [1, "x", null]}`, `{"a": [1, "x", null]}`, map[string]any{}, ""},
		"another number":       {`{"a": 1}`, `{"a": 2}`, nil, "a is 2, want 1"},
		"a member too few":     {`{"a": 1}`, `{}`, nil, ".a is missing"},
		"a member too many":    {`{}`, `{"a": 1}`, nil, ".a is not expected: 1"},
		"one more in a list":   {`[1]`, `[1, 2]`, nil, "is [1,2], want [1]"},
		"another type":         {`"1"`, `1`, nil, `is 1, want "1"`},
		"a stand-in":           {`{"a": "${code.web}"}`, `{"a": "x"}`, map[string]any{"code.web": "x"}, ""},
		"a part of a text":     {`"u?code=${code}&s=1"`, `"u?code=x&s=1"`, map[string]any{"code": "x"}, ""},
		"the rest of a text":   {`"u?code=${code}&s=1"`, `"u?code=x&s=2"`, nil, "want"},
		"something after it":   {`"u?code=x"`, `"u?code=xy"`, nil, "want"},
		"twice and not equal":  {`["${code}", "${code}"]`, `["x", "y"]`, nil, "which was"},
		"lines of a text":      {`["a", "${style}", "b"]`, `"a\n1\n2\nb"`, map[string]any{"style": "1\n2"}, ""},
		"no stand-in for none": {`{"a": "${code}"}`, `{}`, nil, ".a is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := map[string]any{}
			differences := strings.Join(match("", readTree(t, []byte(tt.want)), readTree(t, []byte(tt.got)), kept), "; ")
			if (tt.differs == "") != (differences == "") || !strings.Contains(differences, tt.differs) {
				t.Errorf("differs by %q, want %q", differences, tt.differs)
			}
			if tt.kept != nil && !reflect.DeepEqual(kept, tt.kept) {
				t.Errorf("kept %v, want %v", kept, tt.kept)
			}
		})
	}
}

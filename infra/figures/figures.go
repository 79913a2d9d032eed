// Package figures answers: what is a request made of, and by which numbers is it
// reckoned?
//
// What is counted, calls and their weight, comes from the budgets that tests hold the
// functions to. What somebody else says, a price or a quota, and what was measured once,
// stands in figures.json with its source and its date. infra/cost and infra/scale reckon
// with both; neither has a number of its own.
package figures

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"kmint/infra/lambda"
)

// A Figure is one number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Per is how many the value is for, 0 where it is no price.
	Per    float64 `json:"per"`
	Source string  `json:"source"`
	// Date is when the source was read, or when it was measured.
	Date string `json:"date"`
}

//go:embed figures.json
var file []byte

// A Book has all that is reckoned with.
type Book struct {
	figures map[string]Figure
	budgets map[string]lambda.Cost
	sizes   map[string]lambda.Size
}

// Read reads it, strictly.
func Read() (*Book, error) {
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	var all []Figure
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("figures.json: %w", err)
	}
	b := &Book{figures: map[string]Figure{}, budgets: lambda.Budgets(), sizes: lambda.Sizes()}
	for _, f := range all {
		if _, twice := b.figures[f.Name]; twice || f.Name == "" || f.Value <= 0 || f.Unit == "" || f.Source == "" || f.Date == "" {
			return nil, fmt.Errorf("figures.json: %q is there twice, or lacks something", f.Name)
		}
		b.figures[f.Name] = f
	}
	return b, nil
}

// Value is that of a figure, of a price for one. What is asked for is known when the
// program is written: it panics where there is no such figure.
func (b *Book) Value(name string) float64 {
	f, ok := b.figures[name]
	if !ok {
		panic("there is no figure " + strconv.Quote(name))
	}
	if f.Per != 0 {
		return f.Value / f.Per
	}
	return f.Value
}

// A Request is a kind of request, or several that belong together.
type Request struct {
	Name string
	// Steps are budgets, and CPU the figures of each, in the same order.
	Steps []string
	CPU   []string
	// Signed is how many of the trips wait for a signature.
	Signed int
}

// Requests lists what is reckoned. What make bench does not measure has the figure of
// what does as much.
func Requests() []Request {
	const code = "token/authorization_code_pkce"
	return []Request{
		{Name: "`client_credentials`", Steps: []string{"token/client_credentials"}, CPU: []string{"cpu client_credentials"}, Signed: 1},
		{Name: "the same by `private_key_jwt`", Steps: []string{"token/private_key_jwt"}, CPU: []string{"cpu dpop"}, Signed: 1},
		{Name: "the same with DPoP", Steps: []string{"token/dpop_client_credentials"}, CPU: []string{"cpu dpop"}, Signed: 1},
		{Name: "`authorization_code`", Steps: []string{code}, CPU: []string{"cpu authorization_code"}, Signed: 1},
		{Name: "`refresh_token`", Steps: []string{"token/refresh_token_narrowed"}, CPU: []string{"cpu refresh_token"}, Signed: 1},
		{Name: "the same with an ID token", Steps: []string{"token/refresh_token"}, CPU: []string{"cpu refresh_token"}, Signed: 2},
		{Name: "token exchange", Steps: []string{"token/exchange"}, CPU: []string{"cpu exchange"}, Signed: 1},
		{Name: "introspection", Steps: []string{"token/introspect"}, CPU: []string{"cpu introspect"}},
		{Name: "revocation", Steps: []string{"token/revoke_access_token"}, CPU: []string{"cpu revoke"}},
		{Name: "UserInfo", Steps: []string{"userinfo/get"}, CPU: []string{"cpu userinfo"}},
		{Name: "JWKS or discovery", Steps: []string{"discovery/jwks"}, CPU: []string{"cpu jwks"}},
		{
			Name: "a login: page, password, code, tokens", Steps: []string{"authorize/no_session", "authorize/login_elsewhere", code},
			CPU: []string{"cpu jwks", "cpu password", "cpu authorization_code"}, Signed: 1,
		},
		{
			Name: "single sign-on: code, tokens", Steps: []string{"authorize/web_message", code},
			CPU: []string{"cpu authorization_code", "cpu authorization_code"}, Signed: 1,
		},
		{
			Name: "the same, the first time in a session", Steps: []string{"authorize/session", code},
			CPU: []string{"cpu authorization_code", "cpu authorization_code"}, Signed: 1,
		},
	}
}

// A Sum is what a request comes to.
type Sum struct {
	lambda.Cost
	lambda.Size
	// Requests is how many HTTP requests it is, MS how long their functions run, each
	// rounded up as Lambda bills it, LogBytes what they log, Lambda and API Gateway
	// included.
	Requests int
	MS       float64
	LogBytes float64
}

// Sum adds up a request.
func (b *Book) Sum(r Request, memory float64) (Sum, error) {
	var s Sum
	if len(r.Steps) != len(r.CPU) {
		return s, fmt.Errorf("%s: %d steps and %d figures", r.Name, len(r.Steps), len(r.CPU))
	}
	signed := r.Signed
	for n, step := range r.Steps {
		cost, known := b.budgets[step]
		size, weighed := b.sizes[step]
		if !known || !weighed {
			return s, fmt.Errorf("%s: %s has no budget, or no size", r.Name, step)
		}
		here := min(signed, cost.Trips, cost.Signs)
		signed -= here
		// Less memory than a core has is as much of its time.
		ms := b.Value(r.CPU[n])/min(1, memory/b.Value("vCPU")) +
			float64(cost.Trips-here)*b.Value("dynamodb call") + float64(here)*b.Value("kms signature")
		s.Requests++
		s.MS += float64(int(ms) + 1)
		s.Trips += cost.Trips
		s.Cost.Reads += cost.Reads
		s.Cost.Writes += cost.Writes
		s.Signs += cost.Signs
		s.MACs += cost.MACs
		s.Decrypts += cost.Decrypts
		s.Sends += cost.Sends
		s.Size.Reads += size.Reads
		s.Size.Writes += size.Writes
		s.Logged += size.Logged
		// The function's own line and the audit's, Lambda's three, and the API's.
		s.LogBytes += float64(size.Logged) + b.Value("platform lines") + b.Value("access log line") + 6*b.Value("log line overhead")
	}
	if signed != 0 || s.Signs > 0 && r.Signed == 0 {
		return s, fmt.Errorf("%s: its signatures are not as many as it waits for", r.Name)
	}
	return s, nil
}

// Setting is the default of a parameter of template.yaml, a number.
func Setting(name string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(root(), "template.yaml"))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "\n  "+name+":\n")
	_, rest, defaulted := strings.Cut(rest, "    Default: ")
	line, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if !found || !defaulted || err != nil {
		return 0, fmt.Errorf("template.yaml has no number as default of %s", name)
	}
	return value, nil
}

// root is the folder of the module.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..")
}

// Readme is infra/README.md.
func Readme() string { return filepath.Join(root(), "infra", "README.md") }

// Table is one in Markdown. The first row is its head; columns of numbers stand to the
// right.
func Table(rows [][]string) string {
	var out strings.Builder
	for n, row := range rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		if n > 0 {
			continue
		}
		out.WriteString("|")
		for column := range row {
			line := " --- |"
			if len(rows) > 1 && strings.IndexAny(rows[1][column], "$–0123456789") == 0 {
				line = " ---: |"
			}
			out.WriteString(line)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// Count writes a number without its fraction, and with commas.
func Count(x float64) string {
	text := strconv.FormatInt(int64(x), 10)
	for n := len(text) - 3; n > 0; n -= 3 {
		text = text[:n] + "," + text[n:]
	}
	return text
}

// Fenced is a block of a README that a program writes.
func Fenced(text, name string) (string, error) {
	_, rest, began := strings.Cut(text, "<!-- "+name+" -->\n")
	block, _, ended := strings.Cut(rest, "<!-- /"+name+" -->\n")
	if !began || !ended {
		return "", errors.New("there is no place marked " + name)
	}
	return block, nil
}

// Main is what both programs do: print, or, told `write`, put it into infra/README.md.
func Main(args []string, name, text string) error {
	if len(args) == 0 {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	if !slices.Equal(args, []string{"write"}) {
		return fmt.Errorf("usage: go run ./infra/%s [write]", name)
	}
	readme, err := os.ReadFile(Readme())
	if err != nil {
		return err
	}
	old, err := Fenced(string(readme), name)
	if err != nil {
		return err
	}
	mark := "<!-- " + name + " -->\n"
	changed := strings.Replace(string(readme), mark+old, mark+text, 1)
	return os.WriteFile(Readme(), []byte(changed), 0o600)
}

// Command scale answers: at which rate of tokens does what break first, and which setting
// moves it?
//
//	go run ./infra/scale
//
// prints a table and a plot, up to 10,000 tokens a second; with `write` it puts them into
// infra/README.md. It is a model on paper: quotas and latencies are those of
// infra/figures, what a request asks of whom is what tests count, and what make bench
// measured is what a function takes.
package main

import (
	"cmp"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strings"

	"kmint/infra/figures"
)

const (
	// most is how far the model looks, in tokens a second.
	most = 10_000
	// slow is when the alarm KmsLatency is raised, in ms.
	slow = 250.0
)

func main() {
	log.SetFlags(0)
	text, err := model()
	if err == nil {
		err = figures.Main(os.Args[1:], "scale", text)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A load is what clients do: how many of all requests are of each kind.
type load struct {
	name  string
	parts map[string]float64
}

// A token is an answer of the token endpoint with an access token, whatever else is in
// it.
var loads = []load{
	{"services: `client_credentials` alone", map[string]float64{"`client_credentials`": 1}},
	{"an app: one login, nine single sign-ons, ninety refreshes", map[string]float64{
		"a login: page, password, code, tokens": 0.01, "single sign-on: code, tokens": 0.09, "`refresh_token`": 0.9,
	}},
	{"a morning: everybody logs in", map[string]float64{"a login: page, password, code, tokens": 1}},
}

// A limit is what a load meets.
type limit struct {
	name string
	// has is what there is, uses what one token takes of it, both in the limit's unit a
	// second, or at once.
	has, uses float64
	// moves is the setting, or the quota, that moves it.
	moves string
}

// breaks is the rate of tokens from which on something is turned away.
func (l limit) breaks() float64 {
	if l.uses == 0 {
		return math.Inf(1)
	}
	return l.has / l.uses
}

// A house is what the limits are reckoned from.
type house struct {
	*figures.Book
	memory, kms, concurrency, tokenRate, defaultRate float64
}

func newHouse() (*house, error) {
	book, err := figures.Read()
	if err != nil {
		return nil, err
	}
	h := &house{Book: book}
	for name, to := range map[string]*float64{
		"Memory": &h.memory, "KMSQuota": &h.kms, "LambdaConcurrency": &h.concurrency, "TokenRate": &h.tokenRate, "DefaultRate": &h.defaultRate,
	} {
		if *to, err = figures.Setting(name); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// limits lists what a load meets, what breaks first first.
func (h *house) limits(l load) ([]limit, error) {
	var whole figures.Sum
	var tokens, pages float64
	busy, waits := 0.0, 0.0 // seconds of functions, and how often they wait for KMS
	known := 0
	for _, r := range figures.Requests() {
		share, asked := l.parts[r.Name]
		if !asked {
			continue
		}
		known++
		s, err := h.Sum(r, h.memory)
		if err != nil {
			return nil, err
		}
		busy += share * s.MS / 1000
		waits += share * float64(r.Signed)
		whole.Size.Reads += share * s.Size.Reads
		whole.Size.Writes += share * s.Size.Writes
		tokens += share
		pages += share * float64(s.Requests-1)
	}
	if known != len(l.parts) {
		return nil, fmt.Errorf("%s: a kind of request is not known", l.name)
	}
	signs, err := h.signs(l)
	if err != nil {
		return nil, err
	}
	requests := tokens + pages
	// A process reads what it keeps in memory anew once a minute, the registry among it.
	const fresh = 60.0
	all := []limit{
		{"the token route's throttle", h.tokenRate, tokens, "`TokenRate`"},
		{"the throttle of /authorize, and of /login", h.defaultRate, h.perRoute(l), "`DefaultRate`"},
		{"KMS: signatures by RSA", h.kms, signs, "the quota of KMS, then `KMSQuota` and `TokenRate`"},
		{"Lambda: executions side by side", h.concurrency, busy, "the quota of Lambda, then `LambdaConcurrency`; `Memory`"},
		{"Lambda: the same, while KMS takes " + fmt.Sprintf("%.0f", slow) + " ms", h.concurrency, busy + waits*(slow-h.Value("kms signature"))/1000, "the same"},
		{"Lambda: requests", h.concurrency * h.Value("lambda rate"), requests, "the quota of Lambda"},
		{"API Gateway: requests of the account", h.Value("api rate"), requests, "the quota of API Gateway"},
		{"DynamoDB: writes of a new `grants` table", h.Value("new table writes"), whole.Size.Writes, "it doubles within half an hour; or warm throughput beforehand"},
		{"DynamoDB: writes of a table", h.Value("table units"), whole.Size.Writes, "the quota of DynamoDB"},
		{"DynamoDB: reads of a table", h.Value("table units"), whole.Size.Reads, "the quota of DynamoDB"},
		{"DynamoDB: reads of the item with the keys", h.Value("item reads") * fresh, busy, "nothing has to: it is read once a minute by each process"},
	}
	slices.SortStableFunc(all, func(a, b limit) int { return cmp.Compare(a.breaks(), b.breaks()) })
	return all, nil
}

// signs is how many signatures one token of a load takes.
func (h *house) signs(l load) (float64, error) {
	n := 0.0
	for _, r := range figures.Requests() {
		s, err := h.Sum(r, h.memory)
		if err != nil {
			return 0, err
		}
		n += l.parts[r.Name] * float64(s.Signs)
	}
	return n, nil
}

// perRoute is how many requests one token of a load sends to the busiest route that is no
// token route: /authorize has one of each login and single sign-on.
func (h *house) perRoute(l load) float64 {
	n := 0.0
	for _, r := range figures.Requests() {
		if slices.ContainsFunc(r.Steps, func(step string) bool { return strings.HasPrefix(step, "authorize/") }) {
			n += l.parts[r.Name]
		}
	}
	return n
}

// model is the table and the plot of each load.
func model() (string, error) {
	h, err := newHouse()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, l := range loads {
		limits, err := h.limits(l)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "**%s**\n\n", strings.ToUpper(l.name[:1])+l.name[1:])
		rows := [][]string{{"what breaks", "at, in tokens a second", "what moves it"}}
		for _, limit := range limits {
			if limit.breaks() <= most {
				rows = append(rows, []string{limit.name, rate(limit.breaks()), limit.moves})
			}
		}
		out.WriteString(figures.Table(rows))
		if over := len(limits) + 1 - len(rows); over > 0 {
			fmt.Fprintf(&out, "\nNot up to %s: %s.\n", rate(most), strings.Join(names(limits[len(rows)-1:]), "; "))
		}
		out.WriteString("\n" + plot(limits) + "\n")
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func names(limits []limit) []string {
	var all []string
	for _, l := range limits {
		all = append(all, l.name)
	}
	return all
}

// plot draws each limit over rates on a logarithmic scale: a line for as long as it
// holds, and a cross where it breaks.
func plot(limits []limit) string {
	const from, width = 10.0, 48 // sixteen columns for each power of ten
	column := func(rate float64) int {
		return int(math.Round(math.Log10(rate/from) / math.Log10(most/from) * width))
	}
	longest := 0
	for _, l := range limits {
		longest = max(longest, len(plain(l.name)))
	}
	var out strings.Builder
	out.WriteString("```text\n")
	for _, l := range limits {
		line := strings.Repeat("-", width)
		if at := l.breaks(); at <= most {
			n := min(max(column(at), 0), width-1)
			line = strings.Repeat("-", n) + "x"
		}
		fmt.Fprintf(&out, "%*s |%s\n", longest, plain(l.name), line)
	}
	fmt.Fprintf(&out, "%*s +%s\n", longest, "", strings.Repeat(strings.Repeat(" ", 15)+"+", 3))
	fmt.Fprintf(&out, "%*s %-16s%-15s%-15s%s\n```\n", longest, "tokens a second", "10", "100", "1,000", "10,000")
	return out.String()
}

func plain(name string) string { return strings.ReplaceAll(name, "`", "") }

// rate writes a rate in three figures, rounded down.
func rate(x float64) string {
	if x >= 100 {
		magnitude := math.Pow(10, math.Floor(math.Log10(x))-2)
		x = math.Floor(x/magnitude) * magnitude
	}
	return figures.Count(x)
}

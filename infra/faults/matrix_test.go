package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// A verdict is what came of a cell.
type verdict int

const (
	held    verdict = iota // as if nothing had happened
	renewed                // the very same assertion or proof was refused; a new one was not
	apart                  // no answer came, and the second request was a replay
)

// A cell is one fault at one call of a scenario.
type cell struct {
	scenario scenario
	at       planned
}

func (c cell) String() string {
	return c.scenario.name + " / " + c.at.call.String() + " / " + c.at.fault.String()
}

// busy says whether an answer asks to come again, and what is wrong with it, if it is
// no success and asks for nothing.
func busy(a answer) (bool, error) {
	switch e := a.location().Get("error"); {
	case e == "temporarily_unavailable":
		return true, nil
	case e != "":
		return false, fmt.Errorf("the client is told %s: %s", e, a)
	case a.status < http.StatusBadRequest:
		return false, nil
	case a.status != http.StatusServiceUnavailable:
		return false, fmt.Errorf("answered %s", a)
	case a.header.Get("Retry-After") == "":
		return false, fmt.Errorf("a 503 without Retry-After: %s", a)
	case a.text("error") != "temporarily_unavailable" && !strings.Contains(a.raw, "temporarily_unavailable"):
		return false, fmt.Errorf("a 503 that is no OAuth error: %s", a)
	}
	return true, nil
}

// logged looks at the log of one request: one line, beside those of the audit, which
// names the cause of what went wrong.
func logged(a answer, tellsWhy bool) error {
	lines := slices.DeleteFunc(slices.Clone(a.log), func(line string) bool { return strings.Contains(line, `"msg":"audit"`) })
	if len(lines) != 1 {
		return fmt.Errorf("%d lines are logged: %q", len(lines), lines)
	}
	if line := lines[0]; tellsWhy && (!strings.Contains(line, `"reason"`) || !strings.Contains(line, "dynamo: ") && !strings.Contains(line, "kms: ") && !strings.Contains(line, "sqs: ")) {
		return fmt.Errorf("the log does not name the cause: %s", line)
	}
	return nil
}

// errUnfired says that the call which a fault was to befall was not made.
var errUnfired = errors.New("did not fire")

// runFired runs a cell, and again where its fault did not fire and a call was made twice:
// a machine that has too much to do takes longer for an answer than an attempt may last,
// and the request ends there. What was found of a fault that fired stays.
func (r *rig) runFired(c cell) (v verdict, calls []callID, err error) {
	for range 3 {
		v, calls, err = r.run(c)
		if !errors.Is(err, errUnfired) || !slices.ContainsFunc(calls, func(call callID) bool { return call.time > 1 }) {
			break
		}
	}
	return v, calls, err
}

// run runs a cell.
func (r *rig) run(c cell, plants ...plant) (verdict, []callID, error) {
	a, err := c.scenario.start(r)
	if err != nil {
		return held, nil, fmt.Errorf("before the request: %w", err)
	}
	plan := slices.Clone(c.scenario.first)
	none := planned{}
	if c.at != none && c.at.fault.kind != answerLost {
		plan = append(plan, c.at)
	}
	w := newWire(r.backs, plan...)
	defer w.close()
	process := r.start(w, plants...)
	q := a.make()
	ctx, cancel := context.WithTimeout(context.Background(), functionTimeout)
	defer cancel()
	w.die = cancel
	first := process.send(ctx, q)
	w.mu.Lock()
	calls, dead := slices.Clone(w.calls), w.dead
	for _, p := range plan {
		if !w.fired[p] {
			err = errors.Join(err, fmt.Errorf("the fault %s at %s %w: %v", p.fault, p.call, errUnfired, calls))
		}
	}
	w.mu.Unlock()
	w.answered()
	if err != nil {
		return held, calls, err
	}
	if c.at != none && c.at.fault.noAnswer() {
		v, err := r.unanswered(a, q)
		return v, calls, err
	}
	if dead {
		return held, calls, errors.New("the process has died")
	}
	v, err := r.answered(c, a, q, process, first)
	return v, calls, err
}

// answered goes on as a client that is told to come again: with the very same request.
func (r *rig) answered(c cell, a attempt, q request, process *process, got answer) (verdict, error) {
	v := held
	for range 8 {
		if got.took > bounded {
			return v, fmt.Errorf("the answer took %s", got.took)
		}
		again, err := busy(got)
		if wrong := logged(got, again); wrong != nil {
			return v, wrong
		}
		// A copy of the use of a jti that comes when it was given back takes it again: who
		// sends the same once more is refused, and nobody is let in.
		if used := got.text("error"); err != nil && v == held && c.copies() && (used == "invalid_client" || used == "invalid_dpop_proof") {
			v, q = renewed, a.make()
			got = process.send(context.Background(), q)
			continue
		}
		if err != nil {
			return v, err
		}
		if !again {
			return v, a.done(got, q)
		}
		if strings.Contains(got.raw, "eyJ") {
			return v, fmt.Errorf("a refusal with a token: %s", got)
		}
		if c.at.fault.kind == pause {
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithTimeout(context.Background(), functionTimeout)
		got = process.send(ctx, q)
		cancel()
	}
	return v, fmt.Errorf("it is busy for ever: %s", got)
}

// copies reports whether a copy of a call may come after the answer.
func (c cell) copies() bool { return c.at.fault.kind == late || c.at.fault.kind == pause }

// unanswered goes on as a client that hears nothing: with the same request, and then,
// if an assertion or a proof of it is used up, with new ones. It is another process
// that answers.
func (r *rig) unanswered(a attempt, q request) (verdict, error) {
	replay := false
	if a.replay != nil {
		var err error
		if replay, err = a.replay(); err != nil {
			return held, err
		}
	}
	v := held
	process := r.start(nil)
	got := process.send(context.Background(), q)
	if used := got.text("error"); used == "invalid_client" || used == "invalid_dpop_proof" {
		v, q = renewed, a.make()
		got = process.send(context.Background(), q)
	}
	if !replay {
		if again, err := busy(got); again || err != nil {
			return v, fmt.Errorf("what nobody has used up is refused: %s", got)
		}
		return v, a.done(got, q)
	}
	if got.text("error") != "invalid_grant" {
		return apart, fmt.Errorf("what is used up is taken: %s", got)
	}
	g, err := r.store.Grant(context.Background(), a.grant)
	if err == nil && g.Revoked.IsZero() {
		err = errors.New("a replay has not ended the grant")
	}
	return apart, err
}

// record makes the request undisturbed but for what the scenario itself brings, and
// returns its calls. The same read twice is two that began at once and found the cache
// empty, as may happen or not: it is one call.
func (r *rig) record(s scenario) ([]callID, error) {
	_, calls, err := r.run(cell{scenario: s})
	return slices.DeleteFunc(calls, func(c callID) bool { return c.time > 1 }), err
}

// cells are a scenario's: each of its calls and each fault; of one that begins with a
// fault, those calls that follow from it, and faults that come once: two that last are
// more than is promised.
func cells(s scenario, calls, before []callID) []cell {
	var out []cell
	for _, call := range calls {
		if slices.Contains(before, call) {
			continue
		}
		for _, f := range all() {
			if s.first != nil && (f.always || f.kind == pause) {
				continue
			}
			out = append(out, cell{s, planned{call, f}})
		}
	}
	if s.first == nil {
		out = append(out, cell{s, planned{fault: fault{kind: answerLost}}})
	}
	return out
}

// side is how many cells run at once: most of them wait.
const side = 64

// TestMatrix runs every cell, or those of scenarios in whose name SCENARIO is.
func TestMatrix(t *testing.T) {
	r := newRig(t)
	var todo []cell
	known := map[string]bool{}
	recorded := map[string][]callID{}
	for _, s := range scenarios() {
		if !strings.Contains(s.name, os.Getenv("SCENARIO")) {
			continue
		}
		calls, err := r.record(s)
		if err != nil {
			t.Errorf("%s, undisturbed: %v", s.name, err)
			continue
		}
		recorded[s.name] = calls
		all := cells(s, calls, recorded[s.of])
		for _, call := range calls {
			known[call.name] = true
		}
		if len(all) == 0 {
			t.Errorf("%s: nothing follows", s.name)
		}
		todo = append(todo, all...)
	}
	if os.Getenv("FAULTS") != "all" {
		todo = sample(todo)
	}
	slices.SortStableFunc(todo, func(a, b cell) int { return a.at.fault.weight() - b.at.fault.weight() })

	type result struct {
		cell    cell
		verdict verdict
		calls   []callID
		err     error
	}
	results := make([]result, len(todo))
	var work sync.WaitGroup
	slots := make(chan struct{}, side)
	for i, c := range todo {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			v, calls, err := r.runFired(c)
			results[i] = result{c, v, calls, err}
		})
	}
	work.Wait()
	r.whole(t)

	table := map[string]map[verdict]int{}
	broken, strange := map[string]int{}, map[string]bool{}
	var separate []string
	for _, one := range results {
		f := names[one.cell.at.fault.kind]
		if table[f] == nil {
			table[f] = map[verdict]int{}
		}
		if one.err != nil {
			broken[f]++
			t.Errorf("%s: %v", one.cell, one.err)
			continue
		}
		table[f][one.verdict]++
		if one.verdict == apart {
			separate = append(separate, one.cell.String())
		}
		for _, call := range one.calls {
			if !known[call.name] {
				strange[call.name] = true
			}
		}
	}
	for name := range strange {
		t.Errorf("a fault brings %s about, and no cell has a fault at that", name)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "fault\theld\twith a new proof\tapart: no answer, then a replay\tbroken")
	total := map[verdict]int{}
	for _, f := range slices.Sorted(maps.Keys(table)) {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", f, table[f][held], table[f][renewed], table[f][apart], broken[f])
		for v, n := range table[f] {
			total[v] += n
		}
	}
	_ = w.Flush()
	sum := 0
	for _, calls := range recorded {
		sum += len(calls)
	}
	slices.Sort(separate)
	fmt.Printf("\n%d calls of %d requests, %d cells: %d held, %d of them with a new proof, %d counted apart\n%s\ncounted apart:\n  %s\n",
		sum, len(recorded), len(todo), total[held]+total[renewed], total[renewed], total[apart], &b, strings.Join(separate, "\n  "))
}

// whole looks at all that is left in grants: no write has made half an item, or one that
// never goes away.
func (r *rig) whole(t *testing.T) {
	t.Helper()
	pages := dynamodb.NewScanPaginator(r.db.Client(), &dynamodb.ScanInput{TableName: &r.tables.Grants})
	count := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			count++
			key := item["pk"].(*types.AttributeValueMemberS).Value
			needs := []string{"v", "ttl"}
			if strings.HasPrefix(key, "grant#") {
				needs = append(needs, "client_id", "sub", "scope", "audience", "end", "kept", "created")
			}
			for _, name := range needs {
				if item[name] == nil {
					t.Errorf("%s has no %s", key, name)
				}
			}
		}
	}
	if count == 0 {
		t.Error("nothing was ever written")
	}
}

// weight sorts what takes long to the front.
func (f fault) weight() int {
	if i := slices.Index(all(), f); i >= 0 {
		return i
	}
	return len(all())
}

// sample is what a run of all tests of the repository can wait for: of each fault that
// takes no time some cells.
func sample(todo []cell) []cell {
	var out []cell
	seen := map[string]int{}
	for _, c := range todo {
		switch c.at.fault.kind {
		case pause, timeoutAfter, timeoutBefore, late:
			continue
		}
		name := c.at.call.name
		if seen[name]++; seen[name] <= 2 {
			out = append(out, c)
		}
	}
	return out
}

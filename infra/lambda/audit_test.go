package lambda

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/audit"
	metrics "kmint/pkg/meter"
)

// auditFile says which audit events and which counts come of each step, and of nothing
// else: a line for a step, of each event its name, Auth0's code, and what else is known.
const auditFile = "testdata/audit.txt"

// always are on every line of the log, the request's and those of its events.
var always = []string{"time", "level", "msg", "version", "stack", "request_id", "trace_id"}

// apart takes from the lines of a step those of the audit, and from the others the
// metrics, and holds both to the audit file.
func (h *house) apart(t *testing.T, name string, s sight, lines []string) (rest []string) {
	t.Helper()
	var events []string
	counts := map[string]string{}
	for _, line := range lines {
		tree := readTree(t, []byte(line)).(map[string]any)
		if tree["msg"] == audit.Message {
			events = append(events, h.event(t, s, tree))
			continue
		}
		for _, m := range metrics.Metrics() {
			value, ok := tree[string(m.Name)]
			delete(tree, string(m.Name))
			if times, isList := value.([]any); ok && m.Unit == metrics.Milliseconds != isList || isList && len(times) == 0 {
				t.Errorf("the metric %s is %v", m.Name, value)
			}
			// How often AWS is called is the budgets' matter, and what was cold nobody's.
			if ok && m.Unit == metrics.Count && m.Name != metrics.ColdStart {
				counts[string(m.Name)] = show(value)
			}
		}
		if stack, ok := tree["stack"]; ok && stack != any("kmint") {
			t.Errorf("the stack is %v", stack)
		}
		for _, member := range []string{"_aws", "stack", "trace_id"} {
			delete(tree, member)
		}
		text, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		rest = append(rest, string(text))
	}
	slices.Sort(events) // those of a batch come in any order
	got := name + ":"
	for _, e := range events {
		got += " " + e
	}
	for _, metric := range slices.Sorted(maps.Keys(counts)) {
		got += " " + metric + "=" + counts[metric]
	}
	h.audited = append(h.audited, got)
	if last := script[len(script)-1]; name == last[0] {
		h.checkAudit(t)
	}
	if os.Getenv(rewrite) == "write" {
		return rest
	}
	if !slices.Contains(auditLines(t), got) {
		t.Errorf("%s has no such line; %s=write writes it:\n%s", auditFile, rewrite, got)
	}
	return rest
}

// event is an audit event as the file has it.
func (h *house) event(t *testing.T, s sight, tree map[string]any) string {
	t.Helper()
	kind, known := audit.Kinds()[audit.Event(fmt.Sprint(tree["event"]))]
	level := "INFO"
	if kind.Failure {
		level = "WARN"
	}
	if !known || tree["level"] != any(level) {
		t.Errorf("the event %v: %v", tree["event"], tree)
	}
	if id, ok := tree["request_id"]; ok && id != any(s.id) {
		t.Errorf("the event is of the request %v, not %s", id, s.id)
	}
	if ip, ok := tree["ip"]; ok && ip != any("203.0.113.7") {
		t.Errorf("the event comes from %v", ip)
	}
	var more []string
	for _, member := range slices.Sorted(maps.Keys(tree)) {
		if !slices.Contains(append([]string{"event", "auth0", "ip"}, always...), member) {
			more = append(more, member)
		}
	}
	return fmt.Sprintf("%s(%s) {%s}", tree["event"], tree["auth0"], strings.Join(more, " "))
}

func auditLines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(auditFile))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// checkAudit: the file has a line for each step and no other, and every event there is
// happens, but those of the rotate function.
func (h *house) checkAudit(t *testing.T) {
	t.Helper()
	if os.Getenv(rewrite) == "write" {
		slices.Sort(h.audited)
		if err := os.WriteFile(filepath.FromSlash(auditFile), []byte(strings.Join(h.audited, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	lines := auditLines(t)
	if len(lines) != len(script) {
		t.Errorf("%s has %d lines for %d steps", auditFile, len(lines), len(script))
	}
	text := strings.Join(lines, "\n")
	for event := range audit.Kinds() {
		// No client of the example can be told, and nobody is locked out here: the tests of
		// the deliver function and of the alarms have those.
		elsewhere := event == audit.BackChannelLogout || event == audit.LoginLocked
		if !elsewhere && !strings.HasPrefix(string(event), "key_") && !strings.Contains(text, " "+string(event)+"(") {
			t.Errorf("no step has the event %s", event)
		}
	}
}

package main

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"kmint/infra/figures"
)

// TestReadme holds the tables and plots of infra/README.md to those that are reckoned now.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(figures.Readme())
	if err != nil {
		t.Fatal(err)
	}
	want, err := model()
	if err != nil {
		t.Fatal(err)
	}
	got, err := figures.Fenced(string(readme), "scale")
	if err != nil || got != want {
		t.Errorf("infra/README.md is out of date, %v; run `go run ./infra/scale write`. It is now\n%s", err, want)
	}
}

// What a setting moves is moved by it, and nothing else is; TokenRate's default keeps
// KMS from being what breaks first.
func TestSettingsMoveWhatTheySay(t *testing.T) {
	at := func(change func(*house)) map[string]float64 {
		t.Helper()
		h, err := newHouse()
		if err != nil {
			t.Fatal(err)
		}
		change(h)
		limits, err := h.limits(loads[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(limits, func(a, b limit) int { return int(math.Copysign(1, a.breaks()-b.breaks())) }) {
			t.Error("what breaks first does not come first")
		}
		found := map[string]float64{}
		for _, l := range limits {
			found[l.name] = l.breaks()
		}
		return found
	}
	before := at(func(*house) {})
	if throttle, keys := before["the token route's throttle"], before["KMS: signatures by RSA"]; throttle >= keys {
		t.Errorf("KMS breaks at %v, before the throttle at %v", keys, throttle)
	}
	for name, tt := range map[string]struct {
		change func(*house)
		moved  []string
	}{
		"TokenRate":   {func(h *house) { h.tokenRate *= 2 }, []string{"the token route's throttle"}},
		"DefaultRate": {func(h *house) { h.defaultRate *= 2 }, []string{"the throttle of /authorize, and of /login"}},
		"KMSQuota":    {func(h *house) { h.kms *= 2 }, []string{"KMS: signatures by RSA"}},
		"LambdaConcurrency": {func(h *house) { h.concurrency *= 2 }, []string{
			"Lambda: executions side by side", "Lambda: the same, while KMS takes 250 ms", "Lambda: requests",
		}},
	} {
		for limit, rate := range at(tt.change) {
			want := before[limit]
			if slices.Contains(tt.moved, limit) {
				want *= 2
			}
			if math.Abs(rate-want) > 1e-6*want {
				t.Errorf("%s moves %s from %v to %v, want %v", name, limit, before[limit], rate, want)
			}
		}
	}
	// More memory is more of a core, as long as it is less than one.
	if more := at(func(h *house) { h.memory *= 2 })["Lambda: executions side by side"]; more <= before["Lambda: executions side by side"] {
		t.Errorf("with more memory %v", more)
	}
}

func TestLoads(t *testing.T) {
	h, err := newHouse()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loads {
		sum := 0.0
		for _, share := range l.parts {
			sum += share
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s adds up to %v", l.name, sum)
		}
	}
	if _, err := h.limits(load{"another", map[string]float64{"nothing": 1}}); err == nil {
		t.Error("a kind of request that is not known is reckoned with")
	}
}

func TestPlot(t *testing.T) {
	text := plot([]limit{{name: "a", has: 100, uses: 1}, {name: "`b`", has: 1, uses: 0}, {name: "c", has: 1, uses: 1}, {name: "d", has: most, uses: 1}})
	lines := strings.Split(text, "\n")
	if len(lines) != 9 || lines[1] != "a |----------------x" || strings.Contains(lines[2], "x") || lines[3] != "c |x" || len(lines[4]) != len("d |")+48 {
		t.Error(text)
	}
}

func TestRate(t *testing.T) {
	for x, want := range map[float64]string{9.9: "9", 571.4: "571", 3333.3: "3,330", 10000: "10,000", 123456: "123,000"} {
		if got := rate(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}

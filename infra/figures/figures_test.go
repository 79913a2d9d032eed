package figures

import (
	"strings"
	"testing"
	"time"

	"kmint/infra/lambda"
)

func TestRead(t *testing.T) {
	b, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.figures {
		if _, err := time.Parse(time.DateOnly, f.Date); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if strings.HasPrefix(f.Unit, "dollars") != (f.Per != 0) {
			t.Errorf("%s: %v for %v", f.Name, f.Unit, f.Per)
		}
	}
	used := map[string]bool{}
	for _, r := range Requests() {
		if _, err := b.Sum(r, 512); err != nil {
			t.Error(err)
		}
		for _, step := range r.Steps {
			used[step] = true
		}
	}
	for step := range b.sizes {
		if !used[step] {
			t.Errorf("%s is weighed, and no request has it", step)
		}
	}
}

// A request whose numbers do not fit together is refused.
func TestSum(t *testing.T) {
	b := &Book{
		figures: map[string]Figure{
			"cpu": {Value: 2}, "vCPU": {Value: 1000}, "dynamodb call": {Value: 5}, "kms signature": {Value: 20},
			"platform lines": {Value: 100}, "access log line": {Value: 200}, "log line overhead": {Value: 1},
		},
		budgets: map[string]lambda.Cost{"code": {Trips: 2, Writes: 1, Signs: 2}, "page": {}},
		sizes:   map[string]lambda.Size{"code": {Writes: 3, Logged: 50}, "page": {Logged: 30}},
	}
	s, err := b.Sum(Request{Steps: []string{"page", "code"}, CPU: []string{"cpu", "cpu"}, Signed: 1}, 500)
	// Half a core: 4 ms each. Then one call of DynamoDB, and one wait for signatures.
	if err != nil || s.MS != 5+30 || s.Requests != 2 || s.Signs != 2 || s.Size.Writes != 3 || s.Cost.Writes != 1 || s.LogBytes != 80+2*306 {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := b.Sum(Request{Steps: []string{"page"}, CPU: []string{"cpu"}}, 2000); err != nil || s.MS != 3 {
		t.Errorf("more than a core: %+v %v", s, err)
	}
	for name, r := range map[string]Request{
		"another step":         {Steps: []string{"login"}, CPU: []string{"cpu"}},
		"no figure for a step": {Steps: []string{"page"}},
		"signatures for free":  {Steps: []string{"code"}, CPU: []string{"cpu"}},
		"more than there are":  {Steps: []string{"page"}, CPU: []string{"cpu"}, Signed: 1},
	} {
		if s, err := b.Sum(r, 512); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestSetting(t *testing.T) {
	if memory, err := Setting("Memory"); err != nil || memory < 128 {
		t.Errorf("%v %v", memory, err)
	}
	for _, name := range []string{"Issuer", "LogLevel", "Nothing"} {
		if value, err := Setting(name); err == nil {
			t.Errorf("%s: %v", name, value)
		}
	}
}

func TestTable(t *testing.T) {
	want := "| a | b | c |\n| --- | ---: | --- |\n| x | $1 | y |\n"
	if got := Table([][]string{{"a", "b", "c"}, {"x", "$1", "y"}}); got != want {
		t.Error(got)
	}
}

func TestFenced(t *testing.T) {
	text := "a\n<!-- b -->\nc\n<!-- /b -->\nd\n"
	if got, err := Fenced(text, "b"); err != nil || got != "c\n" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := Fenced(text, "c"); err == nil {
		t.Errorf("%q", got)
	}
}

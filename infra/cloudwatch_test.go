package infra_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What CloudWatch makes of log lines, and of metrics, as far as our alarms need it:
// "Specification: Embedded metric format", "Evaluating an alarm" and "Using math
// expressions with CloudWatch metrics" in the Amazon CloudWatch User Guide.

// A sample is one value of a metric.
type sample struct {
	at time.Time
	// metric is namespace and name, and then each dimension: kmint/replays stack=kmint.
	metric string
	unit   string
	value  float64
}

// units are those that the embedded metric format knows and we use.
var units = []string{"", "Milliseconds", "Count"}

// extract reads a line in the embedded metric format as CloudWatch Logs does: nil for
// one that is none, and an error where CloudWatch would drop it.
func extract(line string) ([]sample, error) {
	var root map[string]any
	if err := json.Unmarshal([]byte(line), &root); err != nil {
		return nil, err
	}
	if root["_aws"] == nil {
		return nil, nil
	}
	var aws struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	}
	text, err := json.Marshal(root["_aws"])
	if err != nil {
		return nil, err
	}
	strict := json.NewDecoder(strings.NewReader(string(text)))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&aws); err != nil {
		return nil, err
	}
	var samples []sample
	for _, d := range aws.CloudWatchMetrics {
		if d.Namespace == "" || len(d.Dimensions) == 0 || len(d.Metrics) == 0 || len(d.Metrics) > 100 {
			return nil, fmt.Errorf("a directive of %+v", d)
		}
		for _, set := range d.Dimensions {
			name := d.Namespace + "/%s"
			for _, dimension := range set {
				value, ok := root[dimension].(string)
				if !ok || value == "" {
					return nil, fmt.Errorf("the dimension %s is not in the line", dimension)
				}
				name += " " + dimension + "=" + value
			}
			for _, m := range d.Metrics {
				values, err := numbers(root[m.Name])
				if err != nil || !slices.Contains(units, m.Unit) {
					return nil, fmt.Errorf("the metric %s in %q: %w", m.Name, m.Unit, err)
				}
				for _, v := range values {
					samples = append(samples, sample{time.UnixMilli(aws.Timestamp), fmt.Sprintf(name, m.Name), m.Unit, v})
				}
			}
		}
	}
	return samples, nil
}

// numbers: "MUST be a numeric value or an array of numeric values", of which there may be
// 100.
func numbers(v any) ([]float64, error) {
	switch v := v.(type) {
	case float64:
		return []float64{v}, nil
	case []any:
		var all []float64
		for _, item := range v {
			n, ok := item.(float64)
			if !ok {
				return nil, fmt.Errorf("%v is no number", item)
			}
			all = append(all, n)
		}
		if len(all) == 0 || len(all) > 100 {
			return nil, fmt.Errorf("%d values", len(all))
		}
		return all, nil
	default:
		return nil, fmt.Errorf("%v is no number", v)
	}
}

// statistic is that of the samples of a period; NaN where there are none.
func statistic(name string, values []float64) (float64, error) {
	if len(values) == 0 {
		return math.NaN(), nil
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	switch name {
	case "Sum":
		return sum, nil
	case "SampleCount":
		return float64(len(values)), nil
	case "Average":
		return sum / float64(len(values)), nil
	case "Maximum":
		return slices.Max(values), nil
	case "Minimum":
		return slices.Min(values), nil
	}
	percent, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
	if err != nil || name[0] != 'p' || percent <= 0 || percent > 100 {
		return 0, fmt.Errorf("no statistic is %q", name)
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(percent/100*float64(len(sorted))))-1], nil
}

// A query is a metric or an expression of an alarm.
type query struct {
	id, metric, stat, expression string
	returned                     bool
	period                       time.Duration
}

// An alarm is what its resource says, with every parameter in its place.
type alarm struct {
	queries   []query
	operator  string
	threshold float64
	periods   int
	// needed is DatapointsToAlarm.
	needed  int
	missing string
}

// readAlarm reads the properties of an AWS::CloudWatch::Alarm. given are parameters.
func readAlarm(properties any, given map[string]string) (alarm, error) {
	resolved, err := resolve(properties, given)
	if err != nil {
		return alarm{}, err
	}
	number := func(name string) (int, error) { return strconv.Atoi(text(at(resolved, name))) }
	a := alarm{operator: text(at(resolved, "ComparisonOperator")), missing: text(at(resolved, "TreatMissingData"))}
	if a.periods, err = number("EvaluationPeriods"); err != nil {
		return alarm{}, err
	}
	if a.needed = a.periods; at(resolved, "DatapointsToAlarm") != nil {
		if a.needed, err = number("DatapointsToAlarm"); err != nil {
			return alarm{}, err
		}
	}
	if a.threshold, err = strconv.ParseFloat(text(at(resolved, "Threshold")), 64); err != nil {
		return alarm{}, err
	}
	if at(resolved, "Metrics") == nil {
		q, err := readQuery(resolved, resolved, text(at(resolved, "Statistic"))+text(at(resolved, "ExtendedStatistic")))
		q.returned = true
		a.queries = []query{q}
		return a, err
	}
	for _, m := range list(at(resolved, "Metrics")) {
		q := query{expression: text(at(m, "Expression"))}
		if q.expression == "" {
			if q, err = readQuery(at(m, "MetricStat", "Metric"), at(m, "MetricStat"), text(at(m, "MetricStat", "Stat"))); err != nil {
				return alarm{}, err
			}
		}
		q.id, q.returned = text(at(m, "Id")), text(at(m, "ReturnData")) != "false"
		a.queries = append(a.queries, q)
	}
	return a, nil
}

func readQuery(metric, period any, stat string) (query, error) {
	seconds, err := strconv.Atoi(text(at(period, "Period")))
	name := text(at(metric, "Namespace")) + "/" + text(at(metric, "MetricName"))
	for _, d := range list(at(metric, "Dimensions")) {
		name += " " + text(at(d, "Name")) + "=" + text(at(d, "Value"))
	}
	return query{metric: name, stat: stat, period: time.Duration(seconds) * time.Second}, err
}

// resolve puts parameters in the place of Ref and Sub. Conditions are left as they are:
// nothing that is evaluated hangs on one.
func resolve(v any, given map[string]string) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, item := range v {
			if strings.HasSuffix(name, "Actions") {
				continue
			}
			var err error
			if out[name], err = resolve(item, given); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		var out []any
		for _, item := range v {
			resolved, err := resolve(item, given)
			if err != nil {
				return nil, err
			}
			out = append(out, resolved)
		}
		return out, nil
	case call:
		argument := text(v.Argument)
		if v.Name == "Ref" {
			argument = "${" + argument + "}"
		}
		for name, value := range given {
			argument = strings.ReplaceAll(argument, "${"+name+"}", value)
		}
		if v.Name != "Ref" && v.Name != "Sub" || strings.Contains(argument, "${") {
			return nil, fmt.Errorf("%s of %v is not known", v.Name, v.Argument)
		}
		return argument, nil
	default:
		return v, nil
	}
}

// States of an alarm.
const (
	inAlarm      = "ALARM"
	fine         = "OK"
	insufficient = "INSUFFICIENT_DATA"
)

// state is that of the alarm when it has just seen all samples until then.
func (a alarm) state(samples []sample, now time.Time) (string, error) {
	breaching, present := 0, 0
	for i := range a.periods {
		v, err := a.value(samples, now, i)
		if err != nil {
			return "", err
		}
		switch {
		case !math.IsNaN(v):
			present++
			breaches, err := a.breaches(v)
			if err != nil {
				return "", err
			}
			if breaches {
				breaching++
			}
		case a.missing == "breaching":
			present++
			breaching++
		case a.missing == "notBreaching":
			present++
		}
	}
	switch {
	case present == 0:
		return insufficient, nil
	// "missing": what is not there decides nothing, and what is there decides alone.
	case breaching >= min(a.needed, present):
		return inAlarm, nil
	default:
		return fine, nil
	}
}

func (a alarm) breaches(v float64) (bool, error) {
	switch a.operator {
	case "GreaterThanThreshold":
		return v > a.threshold, nil
	case "GreaterThanOrEqualToThreshold":
		return v >= a.threshold, nil
	case "LessThanThreshold":
		return v < a.threshold, nil
	case "LessThanOrEqualToThreshold":
		return v <= a.threshold, nil
	default:
		return false, fmt.Errorf("no operator is %q", a.operator)
	}
}

// value is that of the period that ended so many periods ago; NaN for none.
func (a alarm) value(samples []sample, now time.Time, ago int) (float64, error) {
	known := map[string]float64{}
	result, expression := math.NaN(), ""
	for _, q := range a.queries {
		if q.expression != "" {
			if q.returned {
				expression = q.expression
			}
			continue
		}
		end := now.Truncate(q.period).Add(q.period * time.Duration(1-ago))
		var values []float64
		for _, s := range samples {
			if s.metric == q.metric && s.at.Before(end) && !s.at.Before(end.Add(-q.period)) {
				values = append(values, s.value)
			}
		}
		v, err := statistic(q.stat, values)
		if err != nil {
			return 0, err
		}
		known[q.id] = v
		if q.returned {
			result = v
		}
	}
	if expression == "" {
		return result, nil
	}
	return calculate(expression, known)
}

// calculate evaluates an expression of metric math for one period. What has a missing
// operand is missing; functions of a list pass over what is missing in it.
func calculate(expression string, known map[string]float64) (float64, error) {
	m := &mathematics{known: known}
	for expression = strings.TrimSpace(expression); expression != ""; expression = strings.TrimSpace(expression) {
		size := 1
		switch {
		case strings.ContainsRune(".0123456789", rune(expression[0])):
			size = len(expression) - len(strings.TrimLeft(expression, ".0123456789"))
		case word(expression[0]):
			for size < len(expression) && word(expression[size]) {
				size++
			}
		case len(expression) > 1 && slices.Contains([]string{">=", "<=", "==", "!=", "&&", "||"}, expression[:2]):
			size = 2
		}
		m.tokens = append(m.tokens, expression[:size])
		expression = expression[size:]
	}
	v := m.or()
	if m.wrong == nil && len(m.tokens) > 0 {
		m.wrong = fmt.Errorf("%q is left over", m.tokens)
	}
	return v, m.wrong
}

func word(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

type mathematics struct {
	tokens []string
	known  map[string]float64
	wrong  error
}

func (m *mathematics) take(of ...string) string {
	if len(m.tokens) > 0 && slices.Contains(of, m.tokens[0]) {
		token := m.tokens[0]
		m.tokens = m.tokens[1:]
		return token
	}
	return ""
}

func (m *mathematics) need(token string) {
	if m.take(token) == "" && m.wrong == nil {
		m.wrong = fmt.Errorf("%s is not at %q", token, m.tokens)
	}
}

func (m *mathematics) or() float64 {
	return m.chain(m.and, "OR", "||")
}

func (m *mathematics) and() float64 { return m.chain(m.compare, "AND", "&&") }

func (m *mathematics) compare() float64 {
	return m.chain(m.sum, ">=", "<=", "==", "!=", ">", "<")
}

func (m *mathematics) sum() float64 { return m.chain(m.product, "+", "-") }

func (m *mathematics) product() float64 { return m.chain(m.one, "*", "/") }

func (m *mathematics) chain(operand func() float64, operators ...string) float64 {
	v := operand()
	for {
		operator := m.take(operators...)
		if operator == "" {
			return v
		}
		v = apply(operator, v, operand())
	}
}

func apply(operator string, a, b float64) float64 {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.NaN()
	}
	truth := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	switch operator {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	case ">=":
		return truth(a >= b)
	case "<=":
		return truth(a <= b)
	case "==":
		return truth(a == b)
	case "!=":
		return truth(a != b)
	case ">":
		return truth(a > b)
	case "<":
		return truth(a < b)
	case "AND", "&&":
		return truth(a != 0 && b != 0)
	default:
		return truth(a != 0 || b != 0)
	}
}

func (m *mathematics) one() float64 {
	if len(m.tokens) == 0 {
		m.wrong = fmt.Errorf("it ends too early")
		return 0
	}
	token := m.tokens[0]
	m.tokens = m.tokens[1:]
	if n, err := strconv.ParseFloat(token, 64); err == nil {
		return n
	}
	if v, ok := m.known[token]; ok {
		return v
	}
	switch token {
	case "(":
		v := m.or()
		m.need(")")
		return v
	case "IF":
		m.need("(")
		condition := m.or()
		m.need(",")
		yes := m.or()
		m.need(",")
		no := m.or()
		m.need(")")
		switch {
		case math.IsNaN(condition):
			return math.NaN()
		case condition != 0:
			return yes
		default:
			return no
		}
	case "FILL":
		m.need("(")
		v := m.or()
		m.need(",")
		otherwise := m.or()
		m.need(")")
		if math.IsNaN(v) {
			return otherwise
		}
		return v
	case "SUM", "MAX", "MIN", "AVG":
		m.need("(")
		m.need("[")
		var present []float64
		for {
			if v := m.or(); !math.IsNaN(v) {
				present = append(present, v)
			}
			if m.take(",") == "" {
				break
			}
		}
		m.need("]")
		m.need(")")
		v, err := statistic(map[string]string{"SUM": "Sum", "MAX": "Maximum", "MIN": "Minimum", "AVG": "Average"}[token], present)
		m.wrong = first(m.wrong, err)
		return v
	default:
		m.wrong = first(m.wrong, fmt.Errorf("%q is not known", token))
		return math.NaN()
	}
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func TestExtract(t *testing.T) {
	line := func(directive, members string) string {
		return `{"msg":"request","stack":"kmint","_aws":{"Timestamp":1000,"CloudWatchMetrics":[` + directive + `]}` + members + `}`
	}
	const good = `{"Namespace":"kmint","Dimensions":[["stack"]],"Metrics":[{"Name":"a","Unit":"Milliseconds"},{"Name":"b"}]}`
	got, err := extract(line(good, `,"a":[1.5,2],"b":3`))
	at := time.UnixMilli(1000)
	want := []sample{{at, "kmint/a stack=kmint", "Milliseconds", 1.5}, {at, "kmint/a stack=kmint", "Milliseconds", 2}, {at, "kmint/b stack=kmint", "", 3}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := extract(`{"msg":"request"}`); err != nil || got != nil {
		t.Errorf("a line without metrics: %v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"no JSON":              `x`,
		"a metric that is not": line(good, `,"a":1`),
		"one that is text":     line(good, `,"a":1,"b":"2"`),
		"too many values":      line(good, `,"b":1,"a":[0`+strings.Repeat(",0", 100)+`]`),
		"another dimension":    line(strings.ReplaceAll(good, "stack", "function"), `,"a":1,"b":1`),
		"another unit":         line(strings.ReplaceAll(good, "Milliseconds", "ms"), `,"a":1,"b":1`),
		"no namespace":         line(strings.ReplaceAll(good, "Namespace", "Name"), `,"a":1,"b":1`),
	} {
		if got, err := extract(bad); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCalculate(t *testing.T) {
	known := map[string]float64{"a": 3, "b": 4, "none": math.NaN()}
	for expression, want := range map[string]float64{
		"a + b * 2 - 1": 10, "(a + b) * 2": 14, "100 * a / b": 75, "a + none": math.NaN(), "SUM([a, none, b])": 7, "SUM([none])": math.NaN(),
		"MAX([a, b])": 4, "MIN([a, b * 0])": 0, "AVG([a, b])": 3.5, "FILL(none, 0)": 0, "FILL(a, 0)": 3, "IF(a >= 3 AND b < 4, 1, 2)": 2,
		"IF(a > 3 OR b == 4, 1, 2)": 1, "IF(none > 1, 1, 2)": math.NaN(), "IF(SUM([a, b]) >= 7, 100 * SUM([none, a * 0]) / SUM([a, b]), 100)": 0,
	} {
		if got, err := calculate(expression, known); err != nil || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s = %v, %v", expression, got, err)
		}
	}
	for _, expression := range []string{"", "a +", "a b", "SUM(a)", "IF(a, b)", "c", "RATE(a)", "(a"} {
		if got, err := calculate(expression, known); err == nil {
			t.Errorf("%q = %v", expression, got)
		}
	}
}

func TestState(t *testing.T) {
	now := time.Unix(100_000*300, 0)
	back := func(minutes int, value float64) sample {
		return sample{now.Add(-time.Duration(minutes) * time.Minute), "kmint/m stack=kmint", "Count", value}
	}
	for name, tt := range map[string]struct {
		change  map[string]any
		samples []sample
		want    string
	}{
		"nothing":                      {nil, nil, fine},
		"nothing is bad":               {map[string]any{"TreatMissingData": "breaching"}, nil, inAlarm},
		"nothing says nothing":         {map[string]any{"TreatMissingData": "missing"}, nil, insufficient},
		"enough":                       {nil, []sample{back(0, 3), back(0, 2)}, inAlarm},
		"too little":                   {nil, []sample{back(0, 4)}, fine},
		"enough, before":               {nil, []sample{back(5, 5)}, fine},
		"two of two":                   {map[string]any{"EvaluationPeriods": "2"}, []sample{back(0, 5), back(5, 5)}, inAlarm},
		"one of two":                   {map[string]any{"EvaluationPeriods": "2"}, []sample{back(0, 5), back(5, 4)}, fine},
		"one of two is enough":         {map[string]any{"EvaluationPeriods": "2", "DatapointsToAlarm": "1"}, []sample{back(5, 5)}, inAlarm},
		"two of two, one not there":    {map[string]any{"EvaluationPeriods": "2", "TreatMissingData": "missing"}, []sample{back(5, 5)}, inAlarm},
		"the greatest":                 {map[string]any{"Statistic": "Maximum"}, []sample{back(0, 3), back(0, 4)}, fine},
		"a percentile":                 {map[string]any{"Statistic": nil, "ExtendedStatistic": "p50"}, []sample{back(0, 1), back(0, 2), back(0, 9)}, fine},
		"a higher percentile":          {map[string]any{"Statistic": nil, "ExtendedStatistic": "p95"}, []sample{back(0, 1), back(0, 2), back(0, 9)}, inAlarm},
		"less than":                    {map[string]any{"ComparisonOperator": "LessThanThreshold"}, []sample{back(0, 4)}, inAlarm},
		"of another stack":             {map[string]any{"Dimensions": []any{map[string]any{"Name": "stack", "Value": "other"}}}, []sample{back(0, 9)}, fine},
		"of another stack by its name": {map[string]any{"Dimensions": []any{map[string]any{"Name": "stack", "Value": call{"Ref", "Stack"}}}}, []sample{back(0, 9)}, inAlarm},
	} {
		properties := map[string]any{
			"Namespace": "kmint", "MetricName": "m", "Dimensions": []any{map[string]any{"Name": "stack", "Value": "kmint"}}, "Period": "300", "Statistic": "Sum",
			"ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": "5", "EvaluationPeriods": "1", "TreatMissingData": "notBreaching",
		}
		for member, value := range tt.change {
			properties[member] = value
		}
		a, err := readAlarm(properties, map[string]string{"Stack": "kmint"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.state(tt.samples, now); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tt.want)
		}
	}
}

// Package meter answers: how often, and how long?
//
// A request's numbers are gathered in a Meter that its context carries, and leave in
// the log line that it has anyway, in CloudWatch's embedded metric format: CloudWatch
// Logs makes metrics of such a line, so that they cost no call and no time.
//
// Metrics lists all there are. CloudWatch asks for $0.30 a month for each name and set
// of dimensions that was written in a month, so there are as few as alarms and the
// dashboard need, with one dimension, the stack; a number that is zero is not written,
// unless an alarm waits for it. Which function it was, the log group says.
//
// How often AWS was called is no metric of its own: a time is written for each call,
// and CloudWatch counts them (the statistic SampleCount).
package meter

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Namespace is that of the metrics, and Dimension their only dimension: the name of
// the stack, which the log line must have as a member of that name.
const (
	Namespace = "kmint"
	Dimension = "stack"
)

// A Metric is the name of one, as it stands in the log line.
type Metric string

// What each request writes of the calls that it made.
const (
	KMSTime           = Metric("kms_ms")
	KMSThrottled      = Metric("kms_throttled")
	DynamoDBTime      = Metric("ddb_ms")
	DynamoDBThrottled = Metric("ddb_throttled")
	ColdStart         = Metric("cold_start")
)

// What is counted of audit events: package audit names it.
const (
	TokenOK       = Metric("token_ok")
	TokenFailed   = Metric("token_failed")
	Replays       = Metric("replays")
	RefreshReused = Metric("refresh_reused")
	InvalidClient = Metric("invalid_client")
	LoginOK       = Metric("login_ok")
	LoginFailed   = Metric("login_failed")
)

// What the rotate function writes at every run, zero too: an alarm may wait for it.
const (
	KeyAge         = Metric("key_age_days")
	NextKeyMissing = Metric("next_key_missing")
	RotationFailed = Metric("rotation_failed")
)

// A Definition is what CloudWatch is told of a metric.
type Definition struct {
	Name Metric
	// Unit is one of CloudWatch's. Of Milliseconds each value is written, and of
	// others the sum.
	Unit string `json:",omitempty"`
}

// Units, as CloudWatch names them.
const (
	Milliseconds = "Milliseconds"
	Count        = "Count"
)

// Metrics are all there are.
func Metrics() []Definition { return append([]Definition(nil), metrics...) }

var metrics = []Definition{
	{KMSTime, Milliseconds}, {KMSThrottled, Count}, {DynamoDBTime, Milliseconds}, {DynamoDBThrottled, Count}, {ColdStart, Count},
	{TokenOK, Count}, {TokenFailed, Count}, {Replays, Count}, {RefreshReused, Count}, {InvalidClient, Count}, {LoginOK, Count}, {LoginFailed, Count},
	{KeyAge, ""}, {NextKeyMissing, Count}, {RotationFailed, Count},
}

func unitOf(m Metric) string {
	for _, d := range metrics {
		if d.Name == m {
			return d.Unit
		}
	}
	return ""
}

// A Meter holds the numbers of one request, or one run. It is safe for use side by
// side, and not to be copied.
type Meter struct {
	mu       sync.Mutex
	readings []reading
}

type reading struct {
	Definition
	sum    float64
	values []float64
}

// most is how many values CloudWatch takes of one metric in one line. A request that
// has made more calls counts as one of so many.
const most = 100

// Add adds to a metric.
func (m *Meter) Add(name Metric, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.readings {
		if m.readings[i].Name == name {
			m.readings[i].add(value)
			return
		}
	}
	m.readings = append(m.readings, reading{Definition: Definition{name, unitOf(name)}})
	m.readings[len(m.readings)-1].add(value)
}

func (r *reading) add(value float64) {
	r.sum += value
	if r.Unit == Milliseconds && len(r.values) < most {
		r.values = append(r.values, value)
	}
}

type key struct{}

// With returns a context in which Add and Called write to m.
func With(ctx context.Context, m *Meter) context.Context { return context.WithValue(ctx, key{}, m) }

// Called notes a call of AWS that took so long, and whether it was throttled. Each
// attempt is one. Where the context has no Meter nothing is noted.
func Called(ctx context.Context, times, throttles Metric, took time.Duration, throttled bool) {
	m, ok := ctx.Value(key{}).(*Meter)
	if !ok {
		return
	}
	m.Add(times, float64(took.Microseconds())/1000)
	if throttled {
		m.Add(throttles, 1)
	}
}

// embedded is the member _aws of "Specification: Embedded metric format" in the Amazon
// CloudWatch User Guide.
type embedded struct {
	// Timestamp is in milliseconds since 1970.
	Timestamp         int64
	CloudWatchMetrics []directive
}

type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []Definition
}

// Attrs are the members of the log line by which CloudWatch is told the numbers: nil
// where there is none, and outside of Lambda, where nobody reads them.
func (m *Meter) Attrs(ctx context.Context, now time.Time) []slog.Attr {
	if _, ok := lambdacontext.FromContext(ctx); !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.readings) == 0 {
		return nil
	}
	d := directive{Namespace: Namespace, Dimensions: [][]string{{Dimension}}}
	attrs := make([]slog.Attr, 0, len(m.readings)+1)
	for _, r := range m.readings {
		d.Metrics = append(d.Metrics, r.Definition)
		if r.Unit == Milliseconds {
			attrs = append(attrs, slog.Any(string(r.Name), append([]float64(nil), r.values...)))
		} else {
			attrs = append(attrs, slog.Float64(string(r.Name), r.sum))
		}
	}
	return append(attrs, slog.Any("_aws", embedded{now.UnixMilli(), []directive{d}}))
}

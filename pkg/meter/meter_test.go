package meter_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"kmint/pkg/meter"
)

func TestAttrs(t *testing.T) {
	lambda := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{})
	var m meter.Meter
	now := time.UnixMilli(1_700_000_000_123)
	if got := m.Attrs(lambda, now); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	ctx := meter.With(lambda, &m)
	meter.Called(ctx, meter.KMSTime, meter.KMSThrottled, 1500*time.Microsecond, true)
	meter.Called(ctx, meter.KMSTime, meter.KMSThrottled, 2*time.Millisecond, false)
	m.Add(meter.TokenOK, 1)
	m.Add(meter.TokenOK, 1)
	m.Add(meter.KeyAge, 0)
	if got := m.Attrs(t.Context(), now); got != nil {
		t.Errorf("outside of Lambda: %v", got)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).LogAttrs(ctx, slog.LevelInfo, "request", m.Attrs(ctx, now)...)
	const want = `"msg":"request","kms_ms":[1.5,2],"kms_throttled":1,"token_ok":2,"key_age_days":0,` +
		`"_aws":{"Timestamp":1700000000123,"CloudWatchMetrics":[{"Namespace":"kmint","Dimensions":[["stack"]],"Metrics":[` +
		`{"Name":"kms_ms","Unit":"Milliseconds"},{"Name":"kms_throttled","Unit":"Count"},{"Name":"token_ok","Unit":"Count"},{"Name":"key_age_days"}]}]}}`
	if !strings.Contains(log.String(), want) {
		t.Errorf("%s, want %s", &log, want)
	}
}

// CloudWatch takes 100 values of a metric; calls are made side by side, and without a
// Meter too.
func TestCalledSideBySide(t *testing.T) {
	var m meter.Meter
	lambda := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{})
	ctx := meter.With(lambda, &m)
	var calls sync.WaitGroup
	for range 200 {
		calls.Go(func() { meter.Called(ctx, meter.DynamoDBTime, meter.DynamoDBThrottled, time.Millisecond, true) })
	}
	calls.Wait()
	meter.Called(t.Context(), meter.DynamoDBTime, meter.DynamoDBThrottled, time.Millisecond, true)
	attrs := m.Attrs(ctx, time.Now())
	if times := attrs[0].Value.Any().([]float64); len(times) != 100 || attrs[1].Value.Float64() != 200 {
		t.Errorf("%d values, %v", len(times), attrs[1])
	}
}

func TestMetrics(t *testing.T) {
	seen := map[meter.Metric]bool{}
	for _, d := range meter.Metrics() {
		if seen[d.Name] || d.Unit != "" && d.Unit != meter.Milliseconds && d.Unit != meter.Count {
			t.Errorf("%+v", d)
		}
		seen[d.Name] = true
	}
}

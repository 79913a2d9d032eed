package lambda

import (
	"testing"
	"time"

	"kmint/infra/rig/ddb"
)

// BenchmarkColdStart is the time from the start of the process until it asks for
// its first event: what a cold start costs beyond what Lambda itself takes. No
// function calls AWS in it.
func BenchmarkColdStart(b *testing.B) {
	r := &rig{
		db: &ddb.Local{URL: "http://127.0.0.1:9"}, kmsURL: "http://127.0.0.1:9", macKey: "none",
		tables: ddb.Tables{Config: "config", Users: "users", Grants: "grants"},
	}
	for _, name := range []string{"discovery", "token", "authorize", "userinfo"} {
		b.Run(name, func(b *testing.B) {
			f := Function{Name: name, Bootstrap: buildFunction(b, name), Env: r.env(name)}
			var wall, cpu time.Duration
			for b.Loop() {
				e, err := Start(b.Context(), f)
				if err != nil {
					b.Fatal(err)
				}
				wall += e.Init
				if err := e.Close(); err != nil {
					b.Fatal(err)
				}
				cpu += e.CPU()
			}
			b.ReportMetric(milliseconds(wall, b.N), "ms/init")
			b.ReportMetric(milliseconds(cpu, b.N), "cpu-ms/init")
		})
	}
}

// BenchmarkClientCredentials is what one warm token costs the token function: the
// time of an invocation, of which most is the KMS server's, and the processor time
// of the function alone.
func BenchmarkClientCredentials(b *testing.B) {
	r := newRig(b)
	idle := r.start(b, "token")
	if err := idle.Close(); err != nil {
		b.Fatal(err)
	}
	e := r.start(b, "token")
	event := readEvent(b, "token/client_credentials")
	for b.Loop() {
		if _, _, err := e.Invoke(b.Context(), event); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(milliseconds(e.CPU()-idle.CPU(), b.N), "cpu-ms/op")
}

func milliseconds(d time.Duration, n int) float64 {
	return float64(d.Microseconds()) / 1000 / float64(n)
}

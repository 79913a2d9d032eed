// Command bench answers: what do the deployed functions cost, and is that within
// the bars?
//
//	bench DIR
//
// DIR holds the built functions, DIR/token/bootstrap and so on; `make bench` builds
// them and runs this.
//
// Each function runs as on Lambda: a process of its own, which speaks to a Runtime
// API, and by the SDK's clients over TLS to servers that answer as DynamoDB and KMS
// do. Those, and whoever sends the events, live in this process, so what is measured
// is the function's alone: the processor time that the system says it used (getrusage)
// when it ends. A run is two processes, of which the second answers more events; the
// difference is theirs, and neither start nor warming counts.
//
// The bars were set on another machine, or on another day of this one. Two things that
// were measured then are measured here too, in each round, in between the rest: one
// RS256 signature made in Go, and an event of a function that does nothing. A
// function's work is made of the like of the second, many short waits for an answer,
// and so every bar of time is scaled by it. What counts of all rounds is the median.
//
// It fails if something cannot be measured, or a zip is too large: sizes are exact.
// Times are not, so a bar that does not hold is only told.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

const (
	rounds = 3
	// few events warm a process, and more are measured.
	few, more = 100, 300
	// starts of a cold process.
	starts = 21
	// events before the memory is looked at.
	long = 10000
)

func main() {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		nothing()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		log.Fatal("usage: bench DIR")
	}
	within, err := run(ctx, os.Args[1], os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	if !within {
		os.Exit(1)
	}
}

// run measures everything and prints it. It reports whether the sizes are within
// their bars.
func run(ctx context.Context, dir string, out io.Writer) (bool, error) {
	b, err := newBench(ctx, dir)
	if err != nil {
		return false, err
	}
	defer b.Close()
	loop, works := &work{name: "an event of a function that does nothing", function: nobody, next: get("/")}, b.works()
	var signatures []float64
	for range rounds {
		signature, err := b.signature()
		if err != nil {
			return false, err
		}
		signatures = append(signatures, signature)
		for _, w := range append([]*work{loop}, works...) {
			if err := b.measure(ctx, w); err != nil {
				return false, fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	baseline := median(signatures)
	cold, err := b.cold(ctx)
	if err != nil {
		return false, err
	}
	t := table{scale: median(loop.measured) / loopThatDay}
	t.add(row{name: "one RS256 signature in this process", unit: "CPU-ms", measured: baseline, note: fmt.Sprintf("%.2f when the bars were set", thatDay)})
	t.add(row{name: loop.name, unit: "CPU-ms", measured: median(loop.measured), note: fmt.Sprintf("%.3f when the bars were set", loopThatDay)})
	for _, w := range works {
		t.add(row{name: w.name, unit: "CPU-ms", bar: w.bar, measured: median(w.measured), baseline: baseline, note: w.refused})
		if w.name == cached {
			t.add(row{name: "  against that one signature", unit: "CPU-ms", bar: baseline, measured: median(w.measured), baseline: baseline, exact: true})
		}
	}
	for _, c := range cold {
		t.add(row{name: c.name, unit: "ms", bar: c.bar, measured: median(c.measured)})
	}
	resident, err := b.resident(ctx)
	if err != nil {
		return false, err
	}
	t.add(row{name: fmt.Sprintf("token: memory after %d events", long), unit: "MiB", bar: 24, measured: resident, exact: true})
	within, err := b.sizes(&t)
	if err != nil {
		return false, err
	}
	return within, t.print(out)
}

// A row is one line of the table.
type row struct {
	name, unit string
	// bar is the most it may be, 0 for no bar.
	bar, measured float64
	// baseline is what it is compared with, 0 for nothing.
	baseline float64
	// exact bars are not scaled.
	exact bool
	note  string
}

type table struct {
	// scale is how much slower this machine is now than that of the bars.
	scale float64
	rows  []row
}

func (t *table) add(r row) { t.rows = append(t.rows, r) }

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tunit\tmeasured\tof a signature\tbar\tbar here\tholds\t\n")
	for _, r := range t.rows {
		ratio, bar, here, holds := "", "", "", ""
		if r.baseline > 0 && r.note == "" {
			ratio = fmt.Sprintf("%.2f", r.measured/r.baseline)
		}
		if r.bar > 0 {
			most := r.bar
			if !r.exact {
				most *= t.scale
			}
			bar, here, holds = fmt.Sprintf("%.2f", r.bar), fmt.Sprintf("%.2f", most), "yes"
			if r.measured > most {
				holds = "NO"
			}
		}
		measured := fmt.Sprintf("%.3f", r.measured)
		if r.note != "" && r.measured == 0 {
			measured, holds = "-", ""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, r.unit, measured, ratio, bar, here, holds, r.note)
	}
	return w.Flush()
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

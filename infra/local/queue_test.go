package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// What cannot be delivered comes again, and is given up in the end.
func TestQueue(t *testing.T) {
	for name, tt := range map[string]struct {
		failures, attempts int
		gaveUp             bool
	}{
		"at once":        {0, 1, false},
		"the third time": {2, 3, false},
		"the last time":  {3, 4, false},
		"never":          {9, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			var attempts int
			var log bytes.Buffer
			q := newQueue(func(context.Context, string) error {
				if attempts++; attempts <= tt.failures {
					return errors.New("no")
				}
				return nil
			}, slog.New(slog.NewTextHandler(&log, nil)))
			q.pauses = []time.Duration{1, 1, 1}
			if err := q.Send(t.Context(), []string{"x"}); err != nil {
				t.Fatal(err)
			}
			q.pending.Wait()
			if attempts != tt.attempts || strings.Contains(log.String(), "given up") != tt.gaveUp {
				t.Errorf("%d attempts, log %q", attempts, log.String())
			}
			q.Close()
		})
	}
}

// It ends with the process, whatever is left.
func TestQueueEnds(t *testing.T) {
	var once sync.Once
	tried := make(chan struct{})
	q := newQueue(func(context.Context, string) error {
		once.Do(func() { close(tried) })
		return errors.New("no")
	}, slog.New(slog.DiscardHandler))
	q.pauses = []time.Duration{time.Hour}
	// The request that brought the message is over long before.
	request, cancel := context.WithCancel(t.Context())
	if err := q.Send(request, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-tried
	q.Close()
}

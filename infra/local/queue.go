package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kmint/pkg/logout"
)

// A queue stands for the one in SQS: what cannot be delivered comes again, and is
// given up in the end. What is in it goes with the process.
type queue struct {
	deliver func(ctx context.Context, message string) error
	log     *slog.Logger
	// pauses are before the second attempt, the third and so on; after as many it is
	// given up.
	pauses []time.Duration

	ctx     context.Context //nolint:containedctx // of the process: a message outlives its request
	end     context.CancelFunc
	pending sync.WaitGroup
}

var _ logout.Queue = (*queue)(nil)

func newQueue(deliver func(ctx context.Context, message string) error, log *slog.Logger) *queue {
	q := &queue{deliver: deliver, log: log, pauses: []time.Duration{time.Second, 5 * time.Second, 20 * time.Second}}
	q.ctx, q.end = context.WithCancel(context.Background())
	return q
}

// Send delivers the messages while the request goes on.
func (q *queue) Send(_ context.Context, messages []string) error {
	for _, message := range messages {
		q.pending.Go(func() { q.carry(message) })
	}
	return nil
}

func (q *queue) carry(message string) {
	for _, pause := range q.pauses {
		if q.deliver(q.ctx, message) == nil {
			return
		}
		select {
		case <-q.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	if err := q.deliver(q.ctx, message); err != nil {
		q.log.Error("a logout token is given up", slog.String("reason", err.Error()))
	}
}

// Close gives up what is not delivered yet.
func (q *queue) Close() {
	q.end()
	q.pending.Wait()
}

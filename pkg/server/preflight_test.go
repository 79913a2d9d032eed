package server_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"kmint/pkg/server"
)

// A hung world answers nothing, and hears reports.
type hung struct {
	reports []bool
}

func (h *hung) Issuer(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func (h *hung) Report(ctx context.Context, _, _ string, good bool) error {
	if ctx.Err() == nil {
		h.reports = append(h.reports, good)
	}
	return ctx.Err()
}

// Where the function's time is not enough, there is some left to say so.
func TestPreflightReportsBeforeItsTimeIsUp(t *testing.T) {
	world := &hung{}
	f := server.Preflight{Issuers: world, Deployments: world, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := f.Handler()(ctx, server.Deployment{ID: "d-1", Execution: "e"}); err != nil {
		t.Error(err)
	}
	if len(world.reports) != 1 || world.reports[0] {
		t.Errorf("%v, want one no", world.reports)
	}
}

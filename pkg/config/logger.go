package config

import (
	"log/slog"
	"os"
)

// Logger writes JSON lines to standard output, where Lambda picks them up, each
// with the version of the code and the stack, which is the dimension of the metrics.
func (c Common) Logger(version string) *slog.Logger {
	handler := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: c.Level()})
	return slog.New(handler).With(slog.String("version", version), slog.String("stack", c.Stack))
}

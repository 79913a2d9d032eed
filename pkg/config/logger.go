package config

import (
	"log/slog"
	"os"
)

// Logger writes JSON lines to standard output, where Lambda picks them up, each with
// Attrs.
func (c Common) Logger(version string) *slog.Logger {
	handler := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: c.Level()})
	return slog.New(handler).With(c.Attrs(version)...)
}

// Attrs are in each line: the version of the code, and the stack, which is the dimension
// of the metrics.
func (c Common) Attrs(version string) []any {
	return []any{slog.String("version", version), slog.String("stack", c.Stack)}
}

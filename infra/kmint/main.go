// Command kmint sets up a kmint that was deployed.
//
//	kmint import --stack NAME --seed FILE [--dry-run]
//
// registers the stack's first signing key, writes the issuer record and imports
// a configuration file. Instead of a stack, or to differ from it, tables, key and
// issuer can be named; the SDK's own variables name region, credentials and, for
// other endpoints than AWS, AWS_ENDPOINT_URL_DYNAMODB and the like.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: kmint import [flags]

Registers the first signing key, writes the issuer record and imports a
configuration file. Done twice, the second time writes nothing.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, terminal)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0, 1 for what went wrong, 2 for how it was called.
func run(ctx context.Context, args []string, out, errs io.Writer, terminal bool) int {
	if len(args) == 0 || args[0] != "import" {
		_, _ = fmt.Fprint(errs, usage)
		return 2
	}
	i, err := parseImport(args[1:], errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	i.Out, i.Terminal = out, terminal
	if err := i.run(ctx); err != nil {
		_, _ = fmt.Fprintf(errs, "kmint: %v\n", err)
		return 1
	}
	return 0
}

// Command kmint sets up a kmint that was deployed.
//
//	kmint check --seed FILE
//
// says whether a configuration file is in order, as far as that can be known
// without AWS.
//
//	kmint import --stack NAME --seed FILE [--dry-run]
//
// registers the stack's signing keys, one for each algorithm, writes the issuer
// record and imports a configuration file. Instead of a stack, or to differ from it,
// tables, keys and issuer can be named; the SDK's own variables name region, credentials and, for
// other endpoints than AWS, AWS_ENDPOINT_URL_DYNAMODB and the like.
//
//	kmint key list|rotate|rollback --stack NAME [--algorithm ALG]
//	kmint key revoke KID --stack NAME [--force WHAT]
//
// is for whoever cannot wait for the rotate function. It does nothing that would
// break verifiers, and says from when on it would not. A key that is compromised is
// revoked at once, by force.
//
//	kmint restore --stack NAME [--from-config TABLE] [--from-users TABLE]
//
// ends everything that came of a login until now, so that nothing which a backup
// revives can be used, and brings back from tables that DynamoDB has restored what is
// missing in those of the stack.
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
       kmint check --seed FILE
       kmint key list|rotate|rollback [flags]
       kmint key revoke KID [flags]
       kmint restore [flags]

import registers the signing keys, writes the issuer record and imports a
configuration file. Done twice, the second time writes nothing. check looks at
such a file, and needs no AWS. key lists the signing keys, lets the next one sign,
lets the one before sign again, or ends trust in one. restore ends what came of every
login until now, and brings back from a restored table what is missing.
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
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	var do func() error
	var err error
	switch command {
	case "import":
		var i *importer
		if i, err = parseImport(args[1:], errs); err == nil {
			i.Out, i.Terminal = out, terminal
			do = func() error { return i.run(ctx) }
		}
	case "check":
		var path string
		path, err = parseCheck(args[1:], errs)
		do = func() error { return check(path, out) }
	case "key":
		var k *keyCommand
		if k, err = parseKey(args[1:], errs); err == nil {
			k.Out = out
			do = func() error { return k.run(ctx) }
		}
	case "restore":
		var r *restorer
		if r, err = parseRestore(args[1:], errs); err == nil {
			r.Out = out
			do = func() error { return r.run(ctx) }
		}
	default:
		_, _ = fmt.Fprint(errs, usage)
		return 2
	}
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if err := do(); err != nil {
		_ = complain(errs, err.Error())
		return 1
	}
	return 0
}

func newFlags(command string, errs io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		_, _ = fmt.Fprint(errs, usage+"\n")
		flags.PrintDefaults()
	}
	return flags
}

// complain writes what is wrong, and returns it.
func complain(errs io.Writer, why string) error {
	_, _ = fmt.Fprintf(errs, "kmint: %s\n", why)
	return errors.New(why)
}

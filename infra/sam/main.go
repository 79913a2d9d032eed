// Command sam answers: how do the built functions run in Lambda's own container,
// on this machine?
//
// It builds the functions for this machine, starts DynamoDB Local and the KMS and
// SQS test servers, seeded, and prints the `sam local` commands that now work; it ends
// them when it is interrupted. Where there is no Docker it starts podman, on a
// base image that it makes itself.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"kmint/infra/rig/sqstest"
)

// variables is the file of variables that samconfig.toml names.
const variables = ".tmp/sam-local/env.json"

// issuer is what `sam local start-api` listens on, unless it is told otherwise.
const issuer = "http://127.0.0.1:3000/"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "sam-local:", err)
		os.Exit(1)
	}
}

// run prints the commands on out once they work, and ends with ctx.
func run(ctx context.Context, out, errs io.Writer) error {
	c, err := findCLI(errs)
	if err != nil {
		return err
	}
	s, err := start(ctx, c, out)
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := s.WriteVariables(filepath.Join(c.Root, variables)); err != nil {
		return err
	}
	if err := c.Build(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, `
DynamoDB Local and the KMS and SQS test servers are up, seeded from infra/examples.
In another terminal, in this folder, one function once:

  %s

or the whole API, on %s:

  %s

Ctrl-C ends them.
`, c.Line(s.Engine, "invoke", "TokenFunction", "-e", "events/token/client_credentials.json"), issuer, c.Line(s.Engine, "start-api"))
	<-ctx.Done()
	return nil
}

// A setup is everything that runs beside sam.
type setup struct {
	Engine engine
	// Variables are set in each function that declares them.
	Variables map[string]string
	stops     []func() error
}

// Stop ends all of it, the last first.
func (s *setup) Stop() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		if err := s.stops[i](); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "sam-local:", err)
		}
	}
}

// start starts the engine and the seeded backends. What comes into the queue is told
// on out.
func start(ctx context.Context, c cli, out io.Writer) (_ *setup, err error) {
	s := &setup{}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	scratch, err := os.MkdirTemp("", "kmint-sam-")
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, func() error { return os.RemoveAll(scratch) })
	if s.Engine, err = findEngine(ctx, c.Built(), scratch); err != nil {
		return nil, err
	}
	s.stops = append(s.stops, s.Engine.Stop)
	q := &queue{
		Root: c.Root, Out: out,
		Line: func(event string) string { return c.Line(s.Engine, "invoke", "DeliverFunction", "-e", event) },
	}
	b, err := startBackends(ctx, c.Root, q.Take)
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, b.Stop)
	s.Variables = map[string]string{
		"CONFIG_TABLE": b.Tables.Config,
		"USERS_TABLE":  b.Tables.Users,
		"GRANTS_TABLE": b.Tables.Grants,
		"MAC_KEY":      b.MACKey,
		"SECRETS_KEY":  b.SecretsKey,
		"LOGOUT_QUEUE": sqstest.URL,
	}
	for variable, service := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": b.DynamoDB, "AWS_ENDPOINT_URL_KMS": b.KMS, "AWS_ENDPOINT_URL_SQS": b.SQS,
	} {
		address, stop, err := expose(service, s.Engine)
		if err != nil {
			return nil, err
		}
		s.stops = append(s.stops, stop)
		s.Variables[variable] = address
	}
	return s, nil
}

// WriteVariables writes the file for --env-vars.
func (s *setup) WriteVariables(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	content, err := json.MarshalIndent(map[string]any{"Parameters": s.Variables}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}

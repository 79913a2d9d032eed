// Command local is `make run`: every endpoint of kmint in one process, on a
// store in a file and a key of its own, routed by the events of template.yaml.
// It is for development: the functions that run on AWS link none of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"kmint/infra/paste"
	"kmint/pkg/config"
	"kmint/pkg/oauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	err := run(ctx, newPrinter(os.Stdout))
	stop()
	if err != nil {
		complain(os.Stderr, err)
		os.Exit(1)
	}
}

// complain writes what is wrong. Each of several things has a line; those that
// are indented belong to the one above.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, " ") {
			line = "kmint: " + line
		}
		_, _ = fmt.Fprintln(w, line)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, page printer) error {
	cfg, err := config.Read[config.Local]()
	if err != nil {
		return err
	}
	s, err := prepare(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	failed := s.serve()
	present(ctx, page, s)
	select {
	case err := <-failed:
		return fmt.Errorf("serving ended: %w", err)
	case <-ctx.Done():
	}
	page.line("\nEnding.")
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// present prints what a newcomer needs, and a first token.
func present(ctx context.Context, page printer, running *service) {
	cfg, s := running.cfg, running.shown
	page.line("%s", page.paint("1;32", "kmint is running."))
	page.line("")
	page.field("Issuer", cfg.Issuer, "")
	page.field("Discovery", oauth.Endpoint(cfg.Issuer, "/.well-known/openid-configuration"), "")
	page.field("Demo", oauth.Endpoint(cfg.Issuer, demoPath), "log in there and see the tokens")
	page.line("")
	if s.Client != nil {
		page.field("Client", s.Client.ID, "")
		page.field("Secret", s.Client.Secret.Reveal(), "")
	}
	if s.User != nil {
		page.field("User", s.User.Username, "")
		page.field("Password", s.User.Password.Reveal(), "")
	}
	for _, lack := range s.Lacks {
		page.line("  The seed lacks %s.", lack)
	}

	if s.Client != nil {
		request := paste.TokenRequest{
			Endpoint: oauth.Endpoint(cfg.Issuer, cfg.AnnouncedTokenPath()), Client: *s.Client, Audience: s.Audience, Certificate: cfg.TLSCert,
		}
		page.heading("Get a token")
		page.line("  %s", request.Curl())

		page.heading("A first token, just obtained that way")
		form := url.Values{"grant_type": {oauth.ClientCredentials}}
		if s.Audience != "" {
			form.Set("audience", s.Audience)
		}
		if response, err := running.channel.token(ctx, request.Endpoint, *s.Client, form); err != nil {
			page.line("  %s", page.paint("31", "There is none: "+err.Error()))
		} else {
			page.token(response.AccessToken)
		}
	}

	kept := "The store, the key and the demo are kept in " + filepath.Clean(cfg.DataDir)
	if running.given != nil {
		kept += ", with " + cfg.Seed
	}
	page.line("\n%s", page.paint("2", kept+". Ctrl-C ends."))
}

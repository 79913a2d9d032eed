// Command local is `make run`: every endpoint of kmint in one process, on a
// store in a file and a key of its own, routed by the events of template.yaml.
// It is for development: the functions that run on AWS link none of it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kmint/infra/paste"
	"kmint/pkg/config"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	err := run(ctx, newPrinter(os.Stdout))
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kmint: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, page printer) error {
	cfg, err := config.Read[config.Local]()
	if err != nil {
		return err
	}
	template, err := ownTemplate(cfg)
	if err != nil {
		return err
	}
	var given *seed.Seed
	if cfg.Seed != "" {
		s, err := parseSeed(cfg.Seed)
		if err != nil {
			return fmt.Errorf("the seed cannot be used: %w", err)
		}
		if slices.ContainsFunc(s.Clients, func(c seed.Client) bool { return c.ID == demoParty }) {
			return fmt.Errorf("the seed cannot be used: %s has a client %s, which is the one that the demo relying party keeps for itself", cfg.Seed, demoParty)
		}
		given = &s
	}
	var certificate *tls.Certificate
	if cfg.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("TLS_CERT and TLS_KEY cannot be used: %w", err)
		}
		certificate = &pair
	}
	listeners, err := listen(ctx, cfg.Listen, cfg.Port)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	scheme := "http"
	if certificate != nil {
		scheme = "https"
	}
	if cfg.Issuer == "" {
		cfg.Issuer = scheme + "://localhost:" + portOf(listeners[0]) + "/"
	}
	own := scheme + "://" + net.JoinHostPort(ownHost(cfg.Listen), portOf(listeners[0]))

	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.Level()}))
	house, err := openHouse(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer house.Close()
	redirectURI := oauth.Endpoint(cfg.Issuer, demoPath+"/callback")
	demo, err := readDemo(cfg.DataDir, redirectURI)
	if err != nil {
		return err
	}
	seeded := demo
	if given != nil {
		seeded = *given
		if _, err := seeded.Write(ctx, house.writers()); err != nil {
			return fmt.Errorf("the seed %s cannot be written to the store: %w", cfg.Seed, err)
		}
		demo = partyOnly(demo)
	}
	if _, err := demo.Write(ctx, house.writers()); err != nil {
		return fmt.Errorf("the demo cannot be written to the store: %w", err)
	}

	api, err := newGateway(template.Routes, house.functions(template.TokenPath))
	if err != nil {
		return fmt.Errorf("template.yaml cannot be used: %w", err)
	}
	channel := newChannel(cfg.Issuer, own, certificate)
	relyingParty := &party{Issuer: cfg.Issuer, Client: demo.Clients[len(demo.Clients)-1], Channel: channel, Now: time.Now}
	server := &http.Server{
		Handler:           besides(api, relyingParty.Handler()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		// API Gateway's own limit for the request line and headers.
		MaxHeaderBytes: 10240,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			if certificate != nil {
				failed <- server.ServeTLS(l, "", "")
				return
			}
			failed <- server.Serve(l)
		}()
	}

	present(ctx, page, cfg, given != nil, show(seeded), channel)
	select {
	case err := <-failed:
		return fmt.Errorf("serving ended: %w", err)
	case <-ctx.Done():
	}
	page.line("\nEnding.")
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// ownTemplate reads template.yaml, and sets its TokenPath to the owner's.
func ownTemplate(cfg config.Local) (sam, error) {
	path, err := findTemplate()
	if err != nil {
		return sam{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return sam{}, err
	}
	t, err := readTemplate(text)
	if err != nil {
		return sam{}, fmt.Errorf("%s cannot be used: %w", path, err)
	}
	if cfg.TokenPath != "" {
		t.TokenPath = cfg.TokenPath
	}
	for _, p := range t.paths() {
		if p == demoPath || strings.HasPrefix(p, demoPath+"/") {
			return sam{}, fmt.Errorf("the path %s is where the demo relying party lives; choose another", p)
		}
	}
	return t, nil
}

// besides gives the demo its path and all else to the endpoints.
func besides(endpoints, demo http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == demoPath || strings.HasPrefix(r.URL.Path, demoPath+"/") {
			demo.ServeHTTP(w, r)
			return
		}
		endpoints.ServeHTTP(w, r)
	})
}

// ownHost is where this process reaches itself.
func ownHost(listen string) string {
	switch listen {
	case "localhost", "0.0.0.0", "::", "":
		return "127.0.0.1"
	default:
		return listen
	}
}

// present prints what a newcomer needs, and a first token.
func present(ctx context.Context, page printer, cfg config.Local, seeded bool, s shown, c channel) {
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
		if response, err := c.token(ctx, request.Endpoint, *s.Client, form); err != nil {
			page.line("  %s", page.paint("31", "There is none: "+err.Error()))
		} else {
			page.token(response.AccessToken)
		}
	}

	kept := "The store, the key and the demo are kept in " + filepath.Clean(cfg.DataDir)
	if seeded {
		kept += ", with " + cfg.Seed
	}
	page.line("\n%s", page.paint("2", kept+". Ctrl-C ends."))
}

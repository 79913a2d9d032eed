package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kmint/infra/files"
	"kmint/pkg/config"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

// A service has all that it needs, and has answered nothing yet.
type service struct {
	// cfg has the Issuer set.
	cfg config.Local
	// given is the owner's seed, or nil.
	given *seed.Seed
	// shown is of that seed, or else of the demo.
	shown shown

	certificate *tls.Certificate // nil for plain http
	listeners   []net.Listener
	house       *house
	channel     channel
	server      *http.Server
}

// prepare finds out all that can be wrong. What the environment names comes first:
// until that is known to be well, nothing is opened and nothing written.
func prepare(ctx context.Context, cfg config.Local) (_ *service, err error) {
	template, err := ownTemplate(cfg)
	if err != nil {
		return nil, err
	}
	given, err := ownSeed(cfg)
	if err != nil {
		return nil, err
	}
	certificate, err := ownCertificate(cfg)
	if err != nil {
		return nil, err
	}
	s := &service{given: given, certificate: certificate}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.listeners, err = listen(ctx, cfg.Listen, cfg.Port); err != nil {
		return nil, err
	}
	scheme, port := "http", portOf(s.listeners[0])
	if certificate != nil {
		scheme = "https"
	}
	if cfg.Issuer == "" {
		cfg.Issuer = scheme + "://localhost:" + port + "/"
	}
	s.cfg = cfg
	s.channel = newChannel(cfg.Issuer, scheme+"://"+net.JoinHostPort(ownHost(cfg.Listen), port), certificate)

	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.Level()}))
	var algorithms []string
	if given != nil {
		algorithms = given.Algorithms()
	}
	if s.house, err = openHouse(ctx, cfg, log, algorithms...); err != nil {
		return nil, err
	}
	client, err := s.furnish(ctx)
	if err != nil {
		return nil, err
	}
	api, err := newGateway(template.Routes, s.house.functions(template.TokenPath))
	if err != nil {
		return nil, fmt.Errorf("template.yaml cannot be used: %w", err)
	}
	relyingParty := &party{Issuer: cfg.Issuer, Client: client, Channel: s.channel, Now: time.Now}
	s.server = &http.Server{
		Handler:           besides(api, relyingParty.Handler()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		// API Gateway's own limit for the request line and headers.
		MaxHeaderBytes: 10240,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if certificate != nil {
		s.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	return s, nil
}

// furnish writes seed and demo to the store, and returns the client of the demo
// relying party.
func (s *service) furnish(ctx context.Context) (seed.Client, error) {
	demo, err := readDemo(s.cfg.DataDir, oauth.Endpoint(s.cfg.Issuer, demoPath+"/callback"))
	if err != nil {
		return seed.Client{}, err
	}
	s.shown = show(demo)
	if s.given != nil {
		s.shown = show(*s.given)
		if _, err := s.given.Write(ctx, s.house.writers()); err != nil {
			return seed.Client{}, fmt.Errorf("the seed %s cannot be written to the store: %w", s.cfg.Seed, err)
		}
		demo = partyOnly(demo)
	}
	if _, err := demo.Write(ctx, s.house.writers()); err != nil {
		return seed.Client{}, fmt.Errorf("the demo cannot be written to the store: %w", err)
	}
	return demo.Clients[len(demo.Clients)-1], nil
}

// serve answers requests. What ends it is sent, once for each listener.
func (s *service) serve() <-chan error {
	failed := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		go func() {
			if s.certificate != nil {
				failed <- s.server.ServeTLS(l, "", "")
				return
			}
			failed <- s.server.Serve(l)
		}()
	}
	return failed
}

// Close gives back what prepare has opened.
func (s *service) Close() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	if s.house != nil {
		s.house.Close()
	}
}

// ownTemplate reads template.yaml, and sets its TokenPath to the owner's.
func ownTemplate(cfg config.Local) (sam, error) {
	root, err := files.Root()
	if err != nil {
		return sam{}, err
	}
	path := filepath.Join(root, "template.yaml")
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

// ownSeed reads SEED; nil if there is none.
func ownSeed(cfg config.Local) (*seed.Seed, error) {
	if cfg.Seed == "" {
		return nil, nil
	}
	s, err := files.Seed(cfg.Seed)
	if err != nil {
		return nil, fmt.Errorf("the seed cannot be used: %w", err)
	}
	if slices.ContainsFunc(s.Clients, func(c seed.Client) bool { return c.ID == demoParty }) {
		return nil, fmt.Errorf("the seed cannot be used: %s has a client %s, which is the one that the demo relying party keeps for itself", cfg.Seed, demoParty)
	}
	return &s, nil
}

// ownCertificate reads TLS_CERT and TLS_KEY; nil if they are not set.
func ownCertificate(cfg config.Local) (*tls.Certificate, error) {
	if cfg.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT and TLS_KEY cannot be used: %w", err)
	}
	return &pair, nil
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

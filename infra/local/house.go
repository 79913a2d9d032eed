package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/config"
	"kmint/pkg/keys"
	"kmint/pkg/localkey"
	"kmint/pkg/seed"
	"kmint/pkg/server"
)

// A house is what lies in DATA_DIR, and the functions that live on it.
type house struct {
	cfg   config.Local
	log   *slog.Logger
	store *bolt.Store
	keys  *localkey.Keys
	queue *queue
}

// openHouse opens store and keys, and makes what is not there yet. algorithms are
// those of keys that the seed asks for.
func openHouse(ctx context.Context, cfg config.Local, log *slog.Logger, algorithms ...string) (*house, error) {
	if err := writable(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("the folder %s cannot be written, choose another with DATA_DIR: %w", cfg.DataDir, err)
	}
	store, err := bolt.Open(filepath.Join(cfg.DataDir, "store.db"))
	if err != nil {
		return nil, fmt.Errorf("the store cannot be opened: %w", err)
	}
	h := &house{cfg: cfg, log: log, store: store}
	if err := h.openKeys(ctx, algorithms); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	h.queue = newQueue(server.Deliver{
		Issuer: cfg.Issuer, AllowLoopback: true,
		Clients: store, Issuers: store, Registry: store, PrivateKey: h.keys, Now: time.Now, Log: log,
	}.Handler(), log)
	return h, nil
}

func (h *house) openKeys(ctx context.Context, algorithms []string) error {
	var err error
	h.keys, err = localkey.Open(h.cfg.DataDir, algorithms...)
	switch {
	case errors.As(err, new(*fs.PathError)): // the key may be well
		return fmt.Errorf("the key cannot be opened: %w", err)
	case err != nil:
		// A new key alone would not do: the store knows the old one.
		return fmt.Errorf("the key cannot be used; delete the folder %s to begin anew: %w", h.cfg.DataDir, err)
	}
	for _, algorithm := range h.keys.Algorithms() {
		if err := h.registerKey(ctx, algorithm, localkey.ReferenceOf(algorithm)); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) registerKey(ctx context.Context, algorithm, reference string) error {
	public, err := h.keys.PublicKey(ctx, reference)
	if err != nil {
		return err
	}
	key, err := keys.New(algorithm, public, reference)
	if err != nil {
		return err
	}
	_, err = keys.First(ctx, h.store, key, time.Now())
	if errors.Is(err, keys.ErrOther) {
		return fmt.Errorf("the key for %s in %s is not the one that its store knows; delete the folder to begin anew", algorithm, h.cfg.DataDir)
	}
	return err
}

// Close closes the queue and the store.
func (h *house) Close() {
	h.queue.Close()
	_ = h.store.Close()
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, "probe.*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (h *house) writers() seed.Writers {
	s := h.store
	return seed.Writers{Issuer: h.cfg.Issuer, Clients: s, APIs: s, Settings: s, Config: s, Users: s, Logins: s, People: s, Vault: h.keys}
}

// functions are those of the template by their logical ids, each filled as its
// main does it on AWS.
func (h *house) functions(tokenPath string) map[string]http.Handler {
	issuer, s, now, log := h.cfg.Issuer, h.store, time.Now, h.log
	return map[string]http.Handler{
		"TokenFunction": server.Token{
			Issuer: issuer, TokenPath: tokenPath, AllowLoopback: true,
			Clients: s, APIs: s, Settings: s, Issuers: s, Registry: s, Users: s, Logins: s, Attempts: s, Sessions: s,
			Codes: s, Grants: s, Kept: s, Uses: s, Revocations: s, Revoked: s, Opaque: s, Documents: s,
			MAC: h.keys, Vault: h.keys, PrivateKey: h.keys,
			Now: now, Log: log,
		}.Handler(),
		"AuthorizeFunction": server.Authorize{
			Issuer: issuer, AllowLoopback: true,
			Clients: s, APIs: s, Settings: s, Issuers: s, Registry: s, Users: s, Logins: s, Attempts: s, Sessions: s, Joined: s, Listings: s, Ended: s, Consents: s, Codes: s,
			Opaque: s, Documents: s, MAC: h.keys, PrivateKey: h.keys, Queue: h.queue,
			Now: now, Log: log,
		}.Handler(),
		"UserinfoFunction": server.Userinfo{
			Issuer:  issuer,
			Clients: s, Settings: s, Issuers: s, Registry: s, Users: s, Sessions: s, Grants: s, Uses: s, Revoked: s, Opaque: s,
			MAC: h.keys,
			Now: now, Log: log,
		}.Handler(),
		"DiscoveryFunction": server.Discovery{
			Issuer: issuer, TokenPath: h.cfg.AnnouncedTokenPath(), AuthorizeSigns: true,
			Issuers: s, Registry: s,
			Now: now, Log: log,
		}.Handler(),
	}
}

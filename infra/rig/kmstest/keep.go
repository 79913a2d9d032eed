package kmstest

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/mldsa/x509"
)

// file is where a kept server keeps everything.
const file = "kms.json"

type keptServer struct {
	Keys    []keptKey         `json:"keys"`
	Aliases map[string]string `json:"aliases"`
}

type keptKey struct {
	ID          string    `json:"id"`
	State       string    `json:"state"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	Deletion    time.Time `json:"deletion,omitzero"`
	Tags        []tag     `json:"tags,omitempty"`
	Policy      string    `json:"policy,omitempty"`
	MultiRegion bool      `json:"multi_region,omitempty"`
	// PKCS8, Secret or AES is the key itself.
	PKCS8  []byte `json:"pkcs8,omitempty"`
	Secret []byte `json:"secret,omitempty"`
	AES    AES    `json:"aes,omitempty"`
}

// Open makes a server that keeps its keys, in the clear, in a file under dir.
func Open(dir string) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := New()
	s.dir = dir
	text, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var kept keptServer
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("kmstest: %s: %w", filepath.Join(dir, file), err)
	}
	for _, k := range kept.Keys {
		var material any = k.Secret
		switch {
		case k.AES != nil:
			material = k.AES
		case k.PKCS8 != nil:
			if material, err = x509.ParsePKCS8PrivateKey(k.PKCS8); err != nil {
				return nil, fmt.Errorf("kmstest: key %s: %w", k.ID, err)
			}
		}
		held, err := s.hold(k.ID, material)
		if err != nil {
			return nil, err
		}
		held.state, held.description, held.created, held.deletion, held.tags = k.State, k.Description, k.Created, k.Deletion, k.Tags
		held.policy, held.multiRegion = k.Policy, k.MultiRegion
		s.keys[k.ID] = held
	}
	for name, id := range kept.Aliases {
		s.aliases[name] = id
	}
	return s, nil
}

// save writes everything, if the server keeps anything. The caller holds mu.
func (s *Server) save() error {
	if s.dir == "" {
		return nil
	}
	kept := keptServer{Aliases: s.aliases}
	for _, k := range s.keys {
		keep := keptKey{ID: k.id, State: k.state, Description: k.description, Created: k.created, Deletion: k.deletion, Tags: k.tags, Policy: k.policy, MultiRegion: k.multiRegion, Secret: k.secret, AES: k.aes}
		if k.signer != nil {
			der, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(k.signer))
			if err != nil {
				return err
			}
			keep.PKCS8 = der
		}
		kept.Keys = append(kept.Keys, keep)
	}
	text, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(s.dir, file+".new")
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(s.dir, file))
}

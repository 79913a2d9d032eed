package seed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"kmint/pkg/store"
)

// RevealJSON writes the file: reading it again gives an equal Seed. It holds the
// secrets and passwords in clear.
func (s Seed) RevealJSON() ([]byte, error) {
	var file struct {
		Server  *settingsFile    `json:"server,omitempty"`
		APIs    []store.API      `json:"apis,omitempty"`
		Clients []clientFile     `json:"clients,omitempty"`
		Users   []map[string]any `json:"users,omitempty"`
	}
	file.APIs = s.APIs
	if s.Settings != nil {
		file.Server = &settingsFile{Settings: *s.Settings}
		for _, t := range s.Settings.TrustedIssuers {
			file.Server.TrustedIssuers = append(file.Server.TrustedIssuers, issuerFile{t, json.RawMessage(t.JWKS)})
		}
	}
	for _, c := range s.Clients {
		file.Clients = append(file.Clients, c.file())
	}
	for _, u := range s.Users {
		file.Users = append(file.Users, u.file())
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(file); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	return out.Bytes(), nil
}

// settingsFile, issuerFile and clientFile are records as the file has them: what
// the file says otherwise hides the record's own.
type settingsFile struct {
	store.Settings
	TrustedIssuers []issuerFile `json:"trusted_issuers,omitempty"`
}

type issuerFile struct {
	store.TrustedIssuer
	JWKS json.RawMessage `json:"jwks,omitempty"`
}

type clientFile struct {
	store.Client
	SecretDigests *string         `json:"secret_digests,omitempty"`
	SealedSecrets *string         `json:"sealed_secrets,omitempty"`
	Secret        string          `json:"client_secret,omitempty"`
	Secrets       []string        `json:"client_secrets,omitempty"`
	JWKS          json.RawMessage `json:"jwks,omitempty"`
	Refresh       refreshFile     `json:"refresh_token"`
}

type refreshFile struct {
	store.RefreshPolicy
	NonRotating *bool `json:"non_rotating,omitempty"`
	Rotation    bool  `json:"rotation"`
}

func (c Client) file() clientFile {
	file := clientFile{
		Client: c.Client, JWKS: json.RawMessage(c.JWKS),
		Refresh: refreshFile{RefreshPolicy: c.Refresh, Rotation: !c.Refresh.NonRotating},
	}
	if c.OtherSecret == "" {
		file.Secret = c.Secret.Reveal()
		return file
	}
	for _, secret := range c.secrets() {
		file.Secrets = append(file.Secrets, secret.Reveal())
	}
	return file
}

func (u User) file() map[string]any {
	file := maps.Clone(u.Profile)
	if file == nil {
		file = map[string]any{}
	}
	file["sub"], file["username"] = u.Subject, u.Username
	if u.Password != "" {
		file["password"] = u.Password.Reveal()
	}
	if len(u.Claims) > 0 {
		file["claims"] = u.Claims
	}
	if len(u.Attributes) > 0 {
		file["attributes"] = u.Attributes
	}
	if u.Blocked {
		file["blocked"] = true
	}
	if !u.NotBefore.IsZero() {
		file["not_before"] = u.NotBefore.Format(time.RFC3339Nano)
	}
	return file
}

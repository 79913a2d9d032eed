package seed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Writers is a store as an import sees it: what is there is read, so that only
// what differs is written.
type Writers struct {
	// Issuer is the issuer whose tokens the configuration is for.
	Issuer   string
	Clients  store.Clients
	APIs     store.APIs
	Settings store.ServerSettings
	Config   store.ConfigWriter
	Users    store.Users
	Logins   store.Logins
	People   store.UserWriter
	// Vault encrypts the secrets of client_secret_jwt; nil where there is no key for
	// that, and then no client may use the method.
	Vault Sealer
}

// A Sealer encrypts secrets for the store. The errors are its own; one that is
// jwt.ErrBusy says nothing of what was sealed.
type Sealer interface {
	// Seal encrypts a client's secret as text. Two times give two texts.
	Seal(ctx context.Context, clientID string, secret oauth.Secret) (string, error)
	// Unseal decrypts what Seal made for the same client.
	Unseal(ctx context.Context, clientID, sealed string) (oauth.Secret, error)
}

// What a Change does to a record.
const (
	Created   = "created"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// A Change is what writing did, or would do, to one record.
type Change struct {
	// Kind is api, client, user or server.
	Kind string
	// Name is the record's identifier, client_id or sub.
	Name string
	What string
	// Members that differ, by the names of the file, where What is Changed.
	Members []string
}

// String is one line.
func (c Change) String() string {
	line := c.What + " " + c.Kind
	if c.Name != "" {
		line += " " + c.Name
	}
	if len(c.Members) > 0 {
		line += " (" + strings.Join(c.Members, ", ") + ")"
	}
	return line
}

// Write brings the store to what the seed says, and never takes away what it
// does not name. Done twice, the second time writes nothing. Problems say that
// seed and store do not fit together; then nothing was written.
func (s Seed) Write(ctx context.Context, w Writers) ([]Change, error) {
	steps, err := s.plan(ctx, w)
	if err != nil {
		return nil, err
	}
	var done []Change
	for _, step := range steps {
		if step.What != Unchanged {
			if err := step.write(ctx); err != nil {
				return done, fmt.Errorf("seed: %s %s: %w", step.Kind, step.Name, err)
			}
		}
		done = append(done, step.Change)
	}
	return done, nil
}

// DryRun says what Write would do, and writes nothing.
func (s Seed) DryRun(ctx context.Context, w Writers) ([]Change, error) {
	steps, err := s.plan(ctx, w)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, step := range steps {
		changes = append(changes, step.Change)
	}
	return changes, nil
}

// A step is one change and the one write that makes it.
type step struct {
	Change
	write func(ctx context.Context) error
}

// plan reads the store. APIs come before the clients that name them.
func (s Seed) plan(ctx context.Context, w Writers) ([]step, error) {
	if err := s.fits(ctx, w); err != nil {
		return nil, err
	}
	var steps []step
	for _, api := range s.APIs {
		stored, err := w.APIs.API(ctx, api.Identifier)
		change, err := compare("api", api.Identifier, stored, api, err)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{change, func(ctx context.Context) error { return w.Config.PutAPI(ctx, api) }})
	}
	for _, client := range s.Clients {
		stored, err := w.Clients.Client(ctx, client.ID)
		record, unsealed := client.record(ctx, w.Vault, stored)
		if unsealed != nil {
			return nil, unsealed
		}
		change, err := compare("client", client.ID, stored, record, err)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{change, func(ctx context.Context) error { return client.put(ctx, w, record) }})
	}
	for _, user := range s.Users {
		stored, err := w.Users.User(ctx, user.Subject)
		record, hashErr := user.record(stored)
		if hashErr != nil {
			return nil, hashErr
		}
		change, err := compare("user", user.Subject, stored, record, err)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{change, func(ctx context.Context) error { return w.People.PutUser(ctx, record) }})
	}
	if s.Settings != nil {
		stored, err := w.Settings.Settings(ctx)
		change, err := compare("server", "", stored, *s.Settings, err)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{change, func(ctx context.Context) error { return w.Config.PutSettings(ctx, *s.Settings) }})
	}
	return steps, nil
}

// record is the client as it is to be stored. A secret of client_secret_jwt that the
// stored record has keeps its text, as another one would be another record each
// time; the text of a new one is "", which put replaces.
func (c Client) record(ctx context.Context, vault Sealer, stored store.Client) (store.Client, error) {
	record := c.Client
	if c.AuthMethod != oauth.ClientSecretJWT {
		return record, nil
	}
	kept := map[oauth.Secret]string{}
	for _, text := range stored.SealedSecrets {
		// What cannot be unsealed, under a key that is no longer the one, is sealed anew.
		secret, err := vault.Unseal(ctx, c.ID, text)
		if errors.Is(err, jwt.ErrBusy) || ctx.Err() != nil {
			return store.Client{}, fmt.Errorf("seed: client %s: %w", c.ID, cmp.Or(err, ctx.Err()))
		}
		if err == nil {
			kept[secret] = text
		}
	}
	for _, secret := range c.secrets() {
		record.SealedSecrets = append(record.SealedSecrets, kept[secret])
	}
	return record, nil
}

// put seals what is not yet sealed, and writes.
func (c Client) put(ctx context.Context, w Writers, record store.Client) error {
	record.SealedSecrets = slices.Clone(record.SealedSecrets)
	for i, text := range record.SealedSecrets {
		if text != "" {
			continue
		}
		sealed, err := w.Vault.Seal(ctx, c.ID, c.secrets()[i])
		if err != nil {
			return fmt.Errorf("the client_secret cannot be encrypted: %w", err)
		}
		record.SealedSecrets[i] = sealed
	}
	return w.Config.PutClient(ctx, record)
}

// record is the user as it is to be stored. A password that the stored hash
// answers keeps that hash, unless new hashes are made differently now; without a
// password in the file the stored hash stays, so that a file can be kept without
// passwords once they were imported.
func (u User) record(stored store.User) (store.User, error) {
	record := u.User
	record.PasswordHash = stored.PasswordHash
	if u.Password == "" {
		return record, nil
	}
	if stored.PasswordHash != "" && store.CurrentPasswordHash(stored.PasswordHash) {
		match, err := store.MatchPassword(u.Password.Reveal(), stored.PasswordHash)
		if err == nil && match {
			return record, nil
		}
	}
	hash, err := store.HashPassword(u.Password.Reveal())
	if err != nil {
		return store.User{}, err
	}
	record.PasswordHash = hash
	return record, nil
}

// fits checks what the file alone cannot know: the issuer, and what the store
// holds already.
func (s Seed) fits(ctx context.Context, w Writers) error {
	var problems Problems
	for i, api := range s.APIs {
		at := index("apis", i) + ".identifier"
		// A token for an API must not pass for one for userinfo, nor for one that
		// is addressed to the server itself.
		if issuer := strings.TrimSuffix(w.Issuer, "/"); issuer != "" {
			switch strings.TrimSuffix(api.Identifier, "/") {
			case issuer:
				problems.add(at, "it is the issuer")
			case issuer + "/userinfo":
				problems.add(at, "it is the userinfo endpoint")
			}
		}
		switch _, err := w.Clients.Client(ctx, api.Identifier); {
		case err == nil:
			problems.add(at, "it is also the client_id of a client in the store")
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("seed: %w", err)
		}
	}
	for i, client := range s.Clients {
		at := index("clients", i) + ".client_id"
		if issuer := strings.TrimSuffix(w.Issuer, "/"); issuer != "" && strings.TrimSuffix(client.ID, "/") == issuer {
			problems.add(at, "it is the issuer")
		}
		if client.AuthMethod == oauth.ClientSecretJWT && w.Vault == nil {
			problems.add(index("clients", i)+".token_endpoint_auth_method", "%s needs a key that the client's secret is encrypted under, and there is none here", oauth.ClientSecretJWT)
		}
		switch _, err := w.APIs.API(ctx, client.ID); {
		case err == nil:
			problems.add(at, "it is also the identifier of an API in the store")
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("seed: %w", err)
		}
		switch _, err := w.Users.User(ctx, client.ID); {
		case err == nil:
			problems.add(at, "it is also the sub of a user in the store")
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("seed: %w", err)
		}
	}
	for i, t := range s.set().TrustedIssuers {
		// Our own tokens have rules of their own.
		if w.Issuer != "" && strings.TrimSuffix(t.Issuer, "/") == strings.TrimSuffix(w.Issuer, "/") {
			problems.add(index("server.trusted_issuers", i)+".issuer", "it is the issuer itself")
		}
	}
	for i, user := range s.Users {
		subject, err := w.Logins.Login(ctx, store.LoginName(user.Username))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return fmt.Errorf("seed: %w", err)
		case subject != user.Subject:
			problems.add(index("users", i)+".username", "it is the login name of another user in the store, whose sub is %q", subject)
		}
		switch _, err := w.Clients.Client(ctx, user.Subject); {
		case err == nil:
			problems.add(index("users", i)+".sub", "it is also the client_id of a client in the store")
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("seed: %w", err)
		}
	}
	return problems.err()
}

// compare takes the record as stored and as it is to be, and the error that
// reading gave.
func compare(kind, name string, stored, wanted any, err error) (Change, error) {
	change := Change{Kind: kind, Name: name, What: Created}
	if errors.Is(err, store.ErrNotFound) {
		return change, nil
	}
	if err != nil {
		return change, fmt.Errorf("seed: %s %s: %w", kind, name, err)
	}
	before, err := record(stored)
	if err != nil {
		return change, err
	}
	after, err := record(wanted)
	if err != nil {
		return change, err
	}
	change.What = Unchanged
	for _, member := range sortedKeys(after) {
		if before[member] != after[member] {
			change.Members = append(change.Members, member)
		}
	}
	for _, member := range sortedKeys(before) {
		if _, there := after[member]; !there {
			change.Members = append(change.Members, member)
		}
	}
	if len(change.Members) > 0 {
		change.What = Changed
		slices.Sort(change.Members)
	}
	return change, nil
}

// record is a record as JSON members, by the names of the file. What is empty
// is left out: stores differ in how they give it back.
func record(v any) (map[string]string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	if profile, ok := all["profile"].(map[string]any); ok {
		if _, isUser := all["sub"]; isUser { // the file has the claims beside sub
			delete(all, "profile")
			for name, value := range profile {
				all[name] = value
			}
		}
	}
	for _, name := range []string{"api_grants", "user_api_grants"} {
		grants, _ := all[name].(map[string]any)
		for identifier, scopes := range grants {
			if scopes == nil {
				grants[identifier] = []any{}
			}
		}
	}
	named := map[string]string{"secret_digests": "client_secret", "sealed_secrets": "client_secret", "password_hash": "password"}
	members := map[string]string{}
	for name, value := range all {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("seed: %w", err)
		}
		if s := string(text); s == "null" || s == "[]" || s == "{}" || s == `""` {
			continue
		}
		if inFile, ok := named[name]; ok {
			name = inFile
		}
		members[name] = string(text)
	}
	return members, nil
}

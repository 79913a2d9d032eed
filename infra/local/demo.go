package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kmint/infra/files"
	"kmint/infra/paste"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/store"
)

// Names of the demo. They are unlikely in anybody's seed, which may be imported
// into the same store.
const (
	demoAPI      = "https://demo-api.kmint.example/"
	demoService  = "kmint-demo-service"
	demoParty    = "kmint-demo-relying-party"
	demoSubject  = "kmint-demo-user"
	demoUsername = "demo@kmint.example"
)

// readDemo returns the demo, which is a seed of its own, kept in a file beside
// the store: its secrets are made on the first start and shown again on each
// later one.
func readDemo(dir, redirectURI string) (seed.Seed, error) {
	path := filepath.Join(dir, "demo.json")
	demo, err := files.Seed(path)
	if err == nil && !isDemo(demo) {
		err = errors.New("it is another seed")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		demo = makeDemo(redirectURI)
	case errors.As(err, new(*fs.PathError)):
		return seed.Seed{}, err
	case err != nil:
		return seed.Seed{}, fmt.Errorf("%s is not a demo that this version of kmint wrote; delete it, and a new one is made: %w", path, err)
	}
	// The relying party lives below the issuer, which may be another today.
	demo.Clients[1].RedirectURIs = []string{redirectURI}
	text, err := demo.RevealJSON()
	if err != nil {
		return seed.Seed{}, err
	}
	if kept, err := os.ReadFile(path); err == nil && bytes.Equal(kept, text) {
		return demo, nil
	}
	return demo, replaceFile(path, text)
}

func isDemo(s seed.Seed) bool {
	return len(s.Clients) == 2 && s.Clients[0].ID == demoService && s.Clients[1].ID == demoParty &&
		len(s.Users) == 1 && s.Users[0].Subject == demoSubject && s.Users[0].Password != ""
}

// replaceFile puts a whole file, which its owner alone can read, in the place of
// another: whoever is interrupted leaves the old one.
func replaceFile(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func makeDemo(redirectURI string) seed.Seed {
	refresh := store.RefreshPolicy{Lifetime: seed.DefaultLifetime, IdleLifetime: seed.DefaultIdleLifetime}
	client := func(c store.Client) seed.Client {
		secret := oauth.NewHandle("kmint_secret.")
		c.SecretDigests, c.AuthMethod, c.ApplicationType, c.Refresh = []oauth.Digest{secret.Digest()}, oauth.ClientSecretBasic, oauth.Web, refresh
		return seed.Client{Client: c, Secret: secret}
	}
	return seed.Seed{
		APIs: []store.API{{
			Identifier:         demoAPI,
			Name:               "Demo API",
			Scopes:             map[string]string{"read:demo": "Read the demo"},
			AllowOfflineAccess: true,
			TokenLifetime:      store.DefaultTokenLifetime,
		}},
		Clients: []seed.Client{
			client(store.Client{
				ID:         demoService,
				Name:       "Demo service",
				GrantTypes: []string{oauth.ClientCredentials},
				APIGrants:  map[string][]string{demoAPI: {"read:demo"}},
			}),
			client(store.Client{
				ID:            demoParty,
				Name:          "Demo relying party",
				GrantTypes:    []string{oauth.AuthorizationCode, oauth.RefreshToken},
				ResponseTypes: []string{"code"},
				RedirectURIs:  []string{redirectURI},
				FirstParty:    true,
			}),
		},
		Users: []seed.User{{
			User: store.User{
				Subject:  demoSubject,
				Username: demoUsername,
				Profile: map[string]any{
					"name": "Demo User", "given_name": "Demo", "family_name": "User",
					"email": demoUsername, "email_verified": true,
				},
				Claims: map[string]any{"https://kmint.example/demo": true},
			},
			Password: newPassword(),
		}},
	}
}

// newPassword is 80 random bits in four groups that can be typed.
func newPassword() oauth.Secret {
	text := strings.ToLower(rand.Text()[:16])
	return oauth.Secret(strings.Join([]string{text[:4], text[4:8], text[8:12], text[12:]}, "-"))
}

// partyOnly is the demo without what a seed brings: the relying party keeps its
// own client.
func partyOnly(demo seed.Seed) seed.Seed {
	return seed.Seed{Clients: demo.Clients[1:]}
}

// A shown is what the page shows of a seed: the first client that fits, the first
// user who can log in, and what is lacking.
type shown struct {
	Client *seed.Client
	// Audience is what a token request of the client must name, "" for nothing.
	Audience string
	User     *seed.User
	Lacks    []string
}

func show(s seed.Seed) shown {
	var out shown
	if client, audience, ok := paste.Service(s); ok {
		out.Client, out.Audience = &client, audience
	}
	for i, u := range s.Users {
		if u.Password != "" {
			out.User = &s.Users[i]
			break
		}
	}
	if out.Client == nil {
		out.Lacks = append(out.Lacks, "a client with the grant type client_credentials and an API in api_grants, so there is no first token")
	}
	if out.User == nil {
		out.Lacks = append(out.Lacks, "a user with a password, so whoever logs in must be known from an earlier seed")
	}
	return out
}

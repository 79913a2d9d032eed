package seed

import (
	"encoding/json"
	"fmt"
	"strings"
)

// published ends every secret, and the kid of every key, in infra/examples.
const published = "-used-in-examples-only"

// Published says which secret of the file everybody knows, as it is one of
// infra/examples: nil for none. Nothing on the internet may be configured with such
// a one.
func (s Seed) Published() error {
	for _, c := range s.Clients {
		for _, secret := range c.secrets() {
			if strings.HasSuffix(secret.Reveal(), published) {
				return fmt.Errorf("the client_secret of %s is published with kmint; make one of your own: openssl rand -hex 32", c.ID)
			}
		}
		if kid := publishedKey(c.JWKS); kid != "" {
			return fmt.Errorf("the private half of the key %s of %s is published with kmint; make a key of your own", kid, c.ID)
		}
	}
	for _, t := range s.set().TrustedIssuers {
		if kid := publishedKey(t.JWKS); kid != "" {
			return fmt.Errorf("the private half of the key %s of %s is published with kmint; name an issuer of your own", kid, t.Issuer)
		}
	}
	for _, u := range s.Users {
		if u.Password == "correct horse battery staple" {
			return fmt.Errorf("the password of %s is published with kmint", u.Username)
		}
	}
	return nil
}

func publishedKey(jwks string) string {
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if json.Unmarshal([]byte(jwks), &set) != nil {
		return ""
	}
	for _, key := range set.Keys {
		if strings.HasSuffix(key.ID, published) {
			return key.ID
		}
	}
	return ""
}

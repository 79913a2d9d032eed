// Package paste answers: what can be pasted into a shell to get a token?
//
// `make run` and `kmint import` both end with such a line.
package paste

import (
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

// Service returns the first client of a seed that gets a token in its own name
// by a secret that curl can send, and the audience that it must ask for, "" where it need not.
func Service(s seed.Seed) (c seed.Client, audience string, ok bool) {
	for _, c := range s.Clients {
		if !slices.Contains(c.GrantTypes, oauth.ClientCredentials) || len(c.APIGrants) == 0 || c.DPoPBound ||
			c.AuthMethod != oauth.ClientSecretBasic && c.AuthMethod != oauth.ClientSecretPost {
			continue
		}
		if len(c.APIGrants) > 1 {
			for identifier := range c.APIGrants {
				if audience == "" || identifier < audience {
					audience = identifier
				}
			}
		}
		return c, audience, true
	}
	return seed.Client{}, "", false
}

// A TokenRequest is a client_credentials request (RFC 6749 §4.4.2).
type TokenRequest struct {
	Endpoint string
	Client   seed.Client
	// Audience is "" where the request need not name one.
	Audience string
	// SecretFrom names a variable of the shell that holds the secret as the owner
	// has it, for output that others may read. "" shows the secret.
	SecretFrom string
	// Certificate is the file of a certificate that no authority signed, or "".
	Certificate string
}

// Curl is the request as a command.
func (r TokenRequest) Curl() string {
	lines := []string{"curl " + Quote(r.Endpoint)}
	if r.Certificate != "" {
		lines = append(lines, "--cacert "+Quote(r.Certificate))
	}
	secret := r.Client.Secret.Reveal()
	if r.Client.AuthMethod == oauth.ClientSecretPost {
		lines = append(lines, "--data-urlencode "+Quote("client_id="+r.Client.ID), "--data-urlencode "+r.with("client_secret=", secret))
	} else {
		// RFC 6749 §2.3.1: both are form-encoded first.
		lines = append(lines, "-u "+r.with(url.QueryEscape(r.Client.ID)+":", url.QueryEscape(secret)))
	}
	lines = append(lines, "-d grant_type="+oauth.ClientCredentials)
	if r.Audience != "" {
		lines = append(lines, "--data-urlencode "+Quote("audience="+r.Audience))
	}
	return strings.Join(lines, " \\\n    ")
}

// with puts the secret, as it is to be sent, behind a word.
func (r TokenRequest) with(before, secret string) string {
	switch {
	case r.SecretFrom == "":
		return Quote(before + secret)
	case secret == r.Client.Secret.Reveal():
		return Quote(before) + `"$` + r.SecretFrom + `"`
	default:
		return Quote(before) + `"$(printf %s "$` + r.SecretFrom + `" | ` + formEncode + `)"`
	}
}

// formEncode encodes what curl's -u does not: each byte becomes %XX.
const formEncode = `od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'`

// Quote makes one word of a POSIX shell.
func Quote(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-._:/=+%@,", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

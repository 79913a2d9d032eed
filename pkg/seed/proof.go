// How a client proves itself (RFC 7591 §2, RFC 7523 §3).

package seed

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// byJWT are the methods by which a client signs an assertion of its own.
func byJWT(method string) bool {
	return method == oauth.ClientSecretJWT || method == oauth.PrivateKeyJWT
}

// bySecret are the methods by which it shares a secret with us.
func bySecret(method string) bool {
	return method == oauth.ClientSecretBasic || method == oauth.ClientSecretPost || method == oauth.ClientSecretJWT
}

// proof reads the method, and what belongs to it.
func (o *object) proof(c *Client) {
	// RFC 7591 §2: "If unspecified or omitted, the default is
	// "client_secret_basic"".
	c.AuthMethod = o.oneOf("token_endpoint_auth_method", oauth.ClientSecretBasic,
		oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.ClientSecretJWT, oauth.PrivateKeyJWT, oauth.WorkloadIdentity, oauth.None)
	c.AssertionAlgorithms = o.algorithms(c.AuthMethod)
	o.secrets(c)
	if c.AuthMethod != oauth.ClientSecretJWT { // a store sees the others' digests alone
		for _, secret := range c.secrets() {
			c.SecretDigests = append(c.SecretDigests, secret.Digest())
		}
	}
	o.publicKeys(c)
	o.workload(c)
	c.TokenEndpointAudience = o.flag("assertion_aud_token_endpoint")
	if c.TokenEndpointAudience && !byJWT(c.AuthMethod) {
		o.add(o.at("assertion_aud_token_endpoint"), "it is for the assertions of %s and %s", oauth.ClientSecretJWT, oauth.PrivateKeyJWT)
	}
}

// algorithms reads the algorithms of assertions: one by the name that OpenID Connect
// Dynamic Client Registration 1.0 §2 gives it, or a list by ours.
func (o *object) algorithms(method string) []string {
	allowed, byDefault := jwt.AsymmetricAlgorithms(), []string{jwt.RS256, jwt.PS256, jwt.ES256}
	if method == oauth.ClientSecretJWT {
		allowed, byDefault = jwt.SymmetricAlgorithms(), []string{"HS256"}
	}
	const one, several = "token_endpoint_auth_signing_alg", "assertion_algs"
	_, hasOne := o.has.values[one]
	_, hasSeveral := o.has.values[several]
	named := o.list(several, supported(allowed...))
	if hasOne {
		named = []string{o.oneOf(one, "", allowed...)}
	}
	name := several
	if hasOne {
		name = one
	}
	switch {
	case !hasOne && !hasSeveral && byJWT(method):
		return byDefault
	case !hasOne && !hasSeveral:
		return nil
	case hasOne && hasSeveral:
		o.add(o.at(one), "there is %s already", several)
	case method == oauth.WorkloadIdentity:
		o.add(o.at(name), "the algs of its trusted issuer say so")
	case !byJWT(method):
		o.add(o.at(name), "a client with token_endpoint_auth_method %s sends no assertion of its own", method)
	case len(named) == 0:
		o.add(o.at(name), "it is empty: no assertion would count")
	}
	return named
}

// secrets reads client_secret, or client_secrets where one takes the place of
// another.
func (o *object) secrets(c *Client) {
	one, hasOne := o.get("client_secret")
	several, hasSeveral := o.get("client_secrets")
	at := o.at("client_secrets")
	switch {
	case !hasOne && !hasSeveral:
		if bySecret(c.AuthMethod) {
			o.add(o.path, "it has no client_secret; one without is public and has token_endpoint_auth_method none")
		}
		return
	case hasOne && hasSeveral:
		o.add(at, "there is a client_secret already")
		return
	case hasOne:
		c.Secret = o.secret(o.at("client_secret"), one, c)
		return
	}
	list, ok := several.([]any)
	if !ok {
		o.add(at, "it is %s, not an array", kind(several))
		return
	}
	if len(list) < 1 || len(list) > 2 {
		o.add(at, "it has one secret, or two while one takes the place of the other")
		return
	}
	c.Secret = o.secret(index(at, 0), list[0], c)
	if len(list) == 2 {
		c.OtherSecret = o.secret(index(at, 1), list[1], c)
		if c.OtherSecret == c.Secret {
			o.add(index(at, 1), "it is there twice")
		}
	}
}

// secret holds the rule that the plain SHA-256 of the record rests on, and
// RFC 6749 §A.2: client-secret = *VSCHAR.
func (o *object) secret(at string, value any, c *Client) oauth.Secret {
	secret, ok := value.(string)
	least := leastSecret(c.AssertionAlgorithms)
	switch {
	case !ok:
		o.add(at, "it is %s, not a string", kind(value))
	case secret == "":
		o.add(at, "it is empty; leave it out")
	case slices.Contains([]string{oauth.None, oauth.PrivateKeyJWT, oauth.WorkloadIdentity}, c.AuthMethod):
		o.add(at, "a client with token_endpoint_auth_method %s has no secret", c.AuthMethod)
	case !visible(secret, 0x20):
		o.add(at, "it contains a character that is not printable ASCII (RFC 6749 §A.2)")
	case len(secret) < least && c.AuthMethod == oauth.ClientSecretJWT:
		o.add(at, "it is shorter than %d characters, which %s needs (RFC 7518 §3.2)", least, strings.Join(c.AssertionAlgorithms, " or "))
	case len(secret) < MinSecret:
		o.add(at, "it is shorter than %d characters; it is kept as a plain SHA-256, which is safe only for a long random secret", MinSecret)
	case len(secret) > maxName:
		o.add(at, "it is longer than %d characters", maxName)
	}
	return oauth.Secret(secret)
}

// leastSecret obeys RFC 7518 §3.2: "A key of the same size as the hash output [...]
// or larger MUST be used".
func leastSecret(algorithms []string) int {
	least := MinSecret
	for _, algorithm := range algorithms {
		least = max(least, map[string]int{"HS384": 48, "HS512": 64}[algorithm])
	}
	return least
}

// publicKeys reads the keys that a client signs with: assertions, or request objects.
func (o *object) publicKeys(c *Client) {
	const member = "request_object_signing_alg"
	c.RequestObjectAlgorithm = o.oneOf(member, "", append(jwt.AsymmetricAlgorithms(), "none")...)
	algorithms := c.AssertionAlgorithms
	signsObjects := slices.Contains(jwt.AsymmetricAlgorithms(), c.RequestObjectAlgorithm)
	if signsObjects && c.AuthMethod == oauth.PrivateKeyJWT {
		algorithms = append(slices.Clone(algorithms), c.RequestObjectAlgorithm)
	} else if signsObjects {
		algorithms = []string{c.RequestObjectAlgorithm}
	}
	if c.AuthMethod == oauth.PrivateKeyJWT || signsObjects {
		c.JWKS, c.JWKSURI = o.jwks(algorithms), o.jwksURI()
		if c.JWKS == "" && c.JWKSURI == "" && signsObjects {
			o.add(o.path, "it has neither jwks nor jwks_uri, and the %s %s needs one", member, c.RequestObjectAlgorithm)
		} else if c.JWKS == "" && c.JWKSURI == "" {
			o.add(o.path, "it has neither jwks nor jwks_uri, and %s needs one", oauth.PrivateKeyJWT)
		}
		return
	}
	for _, name := range []string{"jwks", "jwks_uri"} {
		if _, there := o.get(name); there {
			o.add(o.at(name), "only a client with token_endpoint_auth_method %s or a %s has keys", oauth.PrivateKeyJWT, member)
		}
	}
}

func (o *object) workload(c *Client) {
	value, there := o.get("workload")
	isWorkload := c.AuthMethod == oauth.WorkloadIdentity
	switch {
	case !there && isWorkload:
		o.add(o.path, "it has no workload, and %s needs one", oauth.WorkloadIdentity)
		return
	case !there:
		return
	case !isWorkload:
		o.add(o.at("workload"), "it is for a client with token_endpoint_auth_method %s", oauth.WorkloadIdentity)
	}
	w := o.asObject(o.at("workload"), value)
	c.Workload = &store.Workload{
		Issuer: w.needed("issuer"), Audience: w.needed("audience"), Subject: w.needed("subject"),
	}
	if err := checkPattern(c.Workload.Subject); err != nil && c.Workload.Subject != "" {
		w.add(w.at("subject"), "%v", err)
	}
	c.Workload.Claims = w.patterns("claims")
	if openToAll(*c.Workload) {
		w.add(w.at("subject"), "%s gives anybody a JWT for any audience, and others' begin like that too: name the owner, to the slash after it, before the *", c.Workload.Issuer)
	}
	w.rest()
}

// openToAll reports whether strangers can have a subject that meets the pattern: at
// issuers that serve everybody, and let each choose the audience, the subject and the
// claims alone tell whose workload it is.
func openToAll(w store.Workload) bool {
	owner := map[string][]string{
		// GitHub, "OpenID Connect reference"; GitLab, "ID token payload".
		"https://token.actions.githubusercontent.com": {"repository", "repository_id", "repository_owner", "repository_owner_id"},
		"https://gitlab.com":                          {"project_path", "project_id", "namespace_path", "namespace_id"},
	}[w.Issuer]
	prefix, isOpen := strings.CutSuffix(w.Subject, "*")
	return owner != nil && isOpen && !strings.Contains(prefix, "/") &&
		!slices.ContainsFunc(owner, func(name string) bool {
			return w.Claims[name] != "" && !strings.HasSuffix(w.Claims[name], "*")
		})
}

// needed is text that has to be there.
func (o *object) needed(name string) string {
	text := o.text(name)
	if _, there := o.has.values[name]; !there {
		o.add(o.path, "it has no %s", name)
	}
	if len(text) > maxName {
		o.add(o.at(name), "it is longer than %d bytes", maxName)
	}
	return text
}

// patterns reads an object of store.Patterns.
func (o *object) patterns(name string) map[string]string {
	value, there := o.get(name)
	if !there {
		return nil
	}
	p := o.asObject(o.at(name), value)
	var patterns map[string]string
	for _, claim := range p.has.names {
		pattern := p.text(claim)
		if err := checkPattern(pattern); err != nil && pattern != "" {
			p.add(p.at(claim), "%v", err)
		}
		if patterns == nil {
			patterns = map[string]string{}
		}
		patterns[claim] = pattern
	}
	return patterns
}

// checkPattern: a * elsewhere than at the end would be met by nobody, who wrote it
// meant more; one alone would be met by everybody.
func checkPattern(pattern string) error {
	prefix := strings.TrimSuffix(pattern, "*")
	switch {
	case pattern == "*":
		return errors.New("a * alone is met by everybody")
	case strings.Contains(prefix, "*"):
		return errors.New("a * stands at the end alone")
	case len(pattern) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	default:
		return nil
	}
}

// secrets are the current ones, the first one first.
func (c Client) secrets() []oauth.Secret {
	return slices.DeleteFunc([]oauth.Secret{c.Secret, c.OtherSecret}, func(s oauth.Secret) bool { return s == "" })
}

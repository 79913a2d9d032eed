// Client metadata (RFC 7591 §2, OpenID Connect Dynamic Client Registration 1.0
// §2).

package seed

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func (p *Problems) client(o *object) Client {
	var c Client
	c.ID = o.text("client_id")
	o.id("client_id", c.ID, maxID)
	c.Name = o.text("client_name")
	c.ApplicationType = o.oneOf("application_type", oauth.Web, oauth.Web, oauth.Native)
	c.FirstParty = o.flag("first_party")

	// RFC 7591 §2: "If unspecified or omitted, the default is
	// "client_secret_basic"".
	c.AuthMethod = o.oneOf("token_endpoint_auth_method", oauth.ClientSecretBasic,
		oauth.ClientSecretBasic, oauth.ClientSecretPost, oauth.None)
	c.Secret = o.secret(c.AuthMethod)
	if c.Secret != "" {
		c.SecretDigests = []oauth.Digest{c.Secret.Digest()}
	}

	o.grantTypes(&c)
	redirect := func(uri string) error {
		if len(uri) > maxName {
			return fmt.Errorf("it is longer than %d bytes", maxName)
		}
		return oauth.CheckRedirect(uri, c.ApplicationType)
	}
	c.RedirectURIs = o.list("redirect_uris", redirect)
	if slices.Contains(c.GrantTypes, oauth.AuthorizationCode) && len(c.RedirectURIs) == 0 {
		o.add(o.path, "it has the grant type authorization_code, but no redirect_uris")
	}
	c.PostLogoutRedirectURIs = o.list("post_logout_redirect_uris", redirect)
	c.WebOrigins = o.list("web_origins", checkOrigin)
	c.APIGrants = o.apiGrantsOf()
	c.Refresh = o.refreshPolicy()
	o.rest()
	return c
}

// secret holds the rule that the plain SHA-256 of the record rests on, and
// RFC 6749 §A.2: client-secret = *VSCHAR.
func (o *object) secret(method string) oauth.Secret {
	secret := o.text("client_secret")
	at := o.at("client_secret")
	switch {
	case secret == "" && method != oauth.None:
		o.add(o.path, "it has no client_secret; one without is public and has token_endpoint_auth_method none")
	case secret == "":
	case method == oauth.None:
		o.add(at, "a client with token_endpoint_auth_method none has no secret")
	case !visible(secret, 0x20):
		o.add(at, "it contains a character that is not printable ASCII (RFC 6749 §A.2)")
	case len(secret) < MinSecret:
		o.add(at, "it is shorter than %d characters; it is kept as a plain SHA-256, which is safe only for a long random secret", MinSecret)
	case len(secret) > maxName:
		o.add(at, "it is longer than %d characters", maxName)
	}
	return oauth.Secret(secret)
}

// grantTypes reads grant_types and response_types, which must agree (RFC 7591
// §2.1).
func (o *object) grantTypes(c *Client) {
	c.GrantTypes = o.list("grant_types", supported(oauth.AuthorizationCode, oauth.ClientCredentials, oauth.RefreshToken))
	if _, there := o.has.values["grant_types"]; !there {
		// RFC 7591 §2: "If omitted, the default behavior is that the client will
		// use only the "authorization_code" Grant Type."
		c.GrantTypes = []string{oauth.AuthorizationCode}
	}
	if len(c.GrantTypes) == 0 {
		o.add(o.at("grant_types"), "it is empty: the client could do nothing")
	}
	c.ResponseTypes = o.list("response_types", supported("code"))
	_, there := o.has.values["response_types"]
	code := slices.Contains(c.GrantTypes, oauth.AuthorizationCode)
	switch {
	case code && !there:
		c.ResponseTypes = []string{"code"}
	case code && len(c.ResponseTypes) == 0:
		o.add(o.at("response_types"), "it is empty, but the grant type authorization_code needs code (RFC 7591 §2.1)")
	case !code && len(c.ResponseTypes) > 0:
		o.add(o.at("response_types"), "code needs the grant type authorization_code (RFC 7591 §2.1)")
	}
	if code && !c.FirstParty {
		o.add(o.path, "it has the grant type authorization_code, but not first_party true: nobody can be asked for consent yet, so only the owner's own clients may log people in")
	}
	if !code && slices.Contains(c.GrantTypes, oauth.RefreshToken) {
		o.add(o.at("grant_types"), "refresh_token needs authorization_code: no other grant type gives a refresh token")
	}
	// RFC 6749 §4.4: "The client credentials grant type MUST only be used by
	// confidential clients."
	if c.Public() && slices.Contains(c.GrantTypes, oauth.ClientCredentials) {
		o.add(o.at("grant_types"), "client_credentials is not for a public client, which has token_endpoint_auth_method none (RFC 6749 §4.4)")
	}
}

func (o *object) oneOf(name, byDefault string, allowed ...string) string {
	value := o.text(name)
	if value == "" {
		return byDefault
	}
	if err := supported(allowed...)(value); err != nil {
		o.add(o.at(name), "%v", err)
	}
	return value
}

func supported(allowed ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("%q is not supported; it may be %s", value, strings.Join(allowed, ", "))
		}
		return nil
	}
}

// checkOrigin allows what a browser sends as Origin (RFC 6454 §6.2), over https
// or from this machine.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "":
		return errors.New("it is not an origin, such as https://app.example.com")
	case origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin) || !visible(origin, 0x21):
		return errors.New("it is more than an origin, or written differently: browsers send scheme, host and port in lower case, without a slash at the end")
	case strings.ContainsAny(origin, "*,;'\"<>"):
		return errors.New("it has a wildcard or another character that no origin has")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return errors.New("browsers leave the default port out")
	case len(origin) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	case u.Scheme == "https", u.Scheme == "http" && oauth.IsLoopback(u.Hostname()):
		return nil
	default:
		return errors.New("it is neither https nor http on localhost")
	}
}

func (o *object) apiGrantsOf() map[string][]string {
	value, there := o.get("api_grants")
	if !there {
		return nil
	}
	grants := o.asObject(o.at("api_grants"), value)
	var read map[string][]string
	for _, identifier := range grants.has.names {
		scopes := grants.list(identifier, func(string) error { return nil })
		if scopes == nil {
			scopes = []string{}
		}
		if read == nil {
			read = map[string][]string{}
		}
		read[identifier] = scopes
	}
	return read
}

func (o *object) refreshPolicy() store.RefreshPolicy {
	policy := store.RefreshPolicy{Lifetime: DefaultLifetime, IdleLifetime: DefaultIdleLifetime}
	value, there := o.get("refresh_token")
	if !there {
		return policy
	}
	r := o.asObject(o.at("refresh_token"), value)
	policy.Lifetime = r.seconds("lifetime", 1, MaxLifetime, DefaultLifetime)
	policy.IdleLifetime = r.seconds("idle_lifetime", 1, MaxLifetime, min(DefaultIdleLifetime, policy.Lifetime))
	if policy.IdleLifetime > policy.Lifetime {
		r.add(r.at("idle_lifetime"), "it is longer than the lifetime")
	}
	// A token that yields its successor twice is a replay that nobody sees.
	policy.Leeway = r.seconds("leeway", 0, MaxLeeway, 0)
	r.rest()
	return policy
}

// Client metadata (RFC 7591 §2, OpenID Connect Dynamic Client Registration 1.0
// §2).

package seed

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"kmint/pkg/jwt"
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

	o.proof(&c)
	c.ResourceServer = o.text("resource_server_identifier")
	if c.ResourceServer != "" && c.Public() {
		o.add(o.at("resource_server_identifier"), "a client with token_endpoint_auth_method none could be anybody")
	}
	o.grantTypes(&c)
	redirect := func(uri string) error {
		if len(uri) > maxName {
			return fmt.Errorf("it is longer than %d bytes", maxName)
		}
		return oauth.CheckRedirect(uri, c.ApplicationType)
	}
	c.RedirectURIs = o.list("redirect_uris", redirect)
	if grant := loginGrant(c.GrantTypes); grant != "" && len(c.RedirectURIs) == 0 {
		o.add(o.path, "it has the grant type %s, but no redirect_uris", grant)
	}
	c.PostLogoutRedirectURIs = o.list("post_logout_redirect_uris", redirect)
	c.BackchannelLogoutURI = o.logoutURI("backchannel_logout_uri")
	c.FrontchannelLogoutURI = o.logoutURI("frontchannel_logout_uri")
	// OpenID Connect Front-Channel Logout 1.0 §2: "The domain, port, and scheme of this
	// URL MUST be the same as that of a registered Redirection URI value."
	same := func(redirect string) bool { return oauth.Origin(redirect) == oauth.Origin(c.FrontchannelLogoutURI) }
	if c.FrontchannelLogoutURI != "" && !slices.ContainsFunc(c.RedirectURIs, same) {
		o.add(o.at("frontchannel_logout_uri"), "none of the redirect_uris has its scheme, host and port (OpenID Connect Front-Channel Logout 1.0 §2)")
	}
	c.InitiateLoginURI = o.initiateLoginURI(c)
	c.WebOrigins = o.list("web_origins", checkOrigin)
	c.APIGrants = o.apiGrantsOf("api_grants")
	c.UserAPIGrants = o.apiGrantsOf("user_api_grants")
	c.DPoPBound = o.flag("dpop_bound_access_tokens")
	c.DPoPNonce = o.flag("dpop_nonce_required")
	c.IDTokenAlgorithm = o.oneOf("id_token_signed_response_alg", "", jwt.Algorithms()...)
	o.loginDefaults(&c)
	c.Exchange = o.exchangePolicy(c)
	c.ErrorProfile = o.oneOf("error_profile", "", store.Strict, store.Auth0)
	c.Metadata = o.facts("metadata")
	c.Refresh = o.refreshPolicy(c)
	c.NotBefore = o.moment("not_before")
	o.rest()
	return c
}

// loginDefaults reads what a client wants of every login (OpenID Connect Dynamic Client
// Registration 1.0 §2).
func (o *object) loginDefaults(c *Client) {
	const longest = 1<<32 - 1 // as max_age at the authorization endpoint
	if age := o.seconds("default_max_age", 0, longest, -1); age >= 0 {
		c.DefaultMaxAge = &age
	}
	c.DefaultACRValues = o.list("default_acr_values", supported(oauth.ACRValues()...))
	c.RequireAuthTime = o.flag("require_auth_time")
	if loginGrant(c.GrantTypes) != "" {
		return
	}
	for _, name := range []string{"default_max_age", "default_acr_values", "require_auth_time"} {
		if _, there := o.get(name); there {
			o.add(o.at(name), "it needs the grant type authorization_code or implicit")
		}
	}
}

// initiateLoginURI reads where a login of the client begins. OpenID Connect Dynamic
// Client Registration 1.0 §2: a "URI using the https scheme that a third party can use to
// initiate a login by the RP". That it is https is said of this machine too.
func (o *object) initiateLoginURI(c Client) string {
	const name = "initiate_login_uri"
	uri := o.text(name)
	if uri == "" {
		return ""
	}
	switch err := oauth.CheckRedirect(uri, oauth.Web); {
	case err != nil:
		o.add(o.at(name), "%v", err)
	case !strings.HasPrefix(uri, "https:"):
		o.add(o.at(name), "it is not https (OpenID Connect Dynamic Client Registration 1.0 §2)")
	case len(uri) > maxName:
		o.add(o.at(name), "it is longer than %d bytes", maxName)
	case loginGrant(c.GrantTypes) == "":
		o.add(o.at(name), "it needs the grant type authorization_code or implicit")
	}
	return uri
}

// logoutURI reads where a client hears of the end of a session, and whether it needs
// the sid, which it hears in any case.
func (o *object) logoutURI(name string) string {
	uri := o.text(name)
	required := strings.TrimSuffix(name, "_uri") + "_session_required"
	if o.flag(required) && uri == "" {
		o.add(o.at(required), "there is no %s", name)
	}
	if uri == "" {
		return ""
	}
	if err := oauth.CheckRedirect(uri, oauth.Web); err != nil {
		o.add(o.at(name), "%v", err)
		return uri
	}
	if len(uri) > maxName {
		o.add(o.at(name), "it is longer than %d bytes", maxName)
	}
	return uri
}

// grantTypes reads grant_types and response_types, which must agree (RFC 7591
// §2.1).
func (o *object) grantTypes(c *Client) {
	c.GrantTypes = o.list("grant_types", supported(oauth.AuthorizationCode, oauth.Implicit, oauth.ClientCredentials, oauth.RefreshToken,
		oauth.Password, oauth.PasswordRealm, oauth.TokenExchange))
	if _, there := o.has.values["grant_types"]; !there {
		// RFC 7591 §2: "If omitted, the default behavior is that the client will
		// use only the "authorization_code" Grant Type."
		c.GrantTypes = []string{oauth.AuthorizationCode}
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{}
		if c.ResourceServer == "" { // else it may introspect
			o.add(o.at("grant_types"), "it is empty: the client could do nothing")
		}
	}
	o.responseTypes(c)
	if c.RequestObjectAlgorithm != "" && loginGrant(c.GrantTypes) == "" {
		o.add(o.at("request_object_signing_alg"), "it needs the grant type authorization_code or implicit")
	}
	if slices.Contains(c.GrantTypes, oauth.RefreshToken) && !slices.ContainsFunc(c.GrantTypes, givesRefreshToken) {
		o.add(o.at("grant_types"), "refresh_token needs authorization_code, password or token exchange: no other grant type gives a refresh token")
	}
	// RFC 6749 §4.4: "The client credentials grant type MUST only be used by
	// confidential clients."
	if c.Public() && slices.Contains(c.GrantTypes, oauth.ClientCredentials) {
		o.add(o.at("grant_types"), "client_credentials is not for a public client, which has token_endpoint_auth_method none (RFC 6749 §4.4)")
	}
}

// loginGrant is the first of the grant types for which people log in, "" for none.
func loginGrant(grantTypes []string) string {
	for _, grantType := range []string{oauth.AuthorizationCode, oauth.Implicit} {
		if slices.Contains(grantTypes, grantType) {
			return grantType
		}
	}
	return ""
}

// responseTypes reads response_types, in whatever order their words are.
func (o *object) responseTypes(c *Client) {
	const name, section = "response_types", "(OpenID Connect Dynamic Client Registration 1.0 §2)"
	listed := o.list(name, func(text string) error {
		if _, ok := oauth.ParseResponseType(text); !ok {
			return supported(oauth.ResponseTypes()...)(text)
		}
		return nil
	})
	if _, there := o.has.values[name]; !there && slices.Contains(c.GrantTypes, oauth.AuthorizationCode) {
		listed = []string{"code"}
	}
	var used []string // of the grant types
	for i, text := range listed {
		t, ok := oauth.ParseResponseType(text)
		if !ok {
			return
		}
		if slices.Contains(c.ResponseTypes, t.String()) {
			o.add(index(o.at(name), i), "it is there twice")
		}
		c.ResponseTypes = append(c.ResponseTypes, t.String())
		for _, grantType := range t.GrantTypes() {
			used = append(used, grantType)
			if !slices.Contains(c.GrantTypes, grantType) {
				o.add(o.at(name), "%s needs the grant type %s %s", t, grantType, section)
			}
		}
		// RFC 9449 §5.2: without a proof no token could be bound.
		if t.Token && o.flag("dpop_bound_access_tokens") {
			o.add(o.at(name), "%s gives a token without a proof, and the client has dpop_bound_access_tokens true", t)
		}
	}
	for _, grantType := range []string{oauth.AuthorizationCode, oauth.Implicit} {
		if slices.Contains(c.GrantTypes, grantType) && !slices.Contains(used, grantType) {
			o.add(o.at(name), "none of them needs the grant type %s, which the client has %s", grantType, section)
		}
	}
	if len(listed) > 0 && loginGrant(c.GrantTypes) == "" && used == nil {
		o.add(o.at(name), "none needs the grant type authorization_code or implicit")
	}
}

func legacy(grant string) bool { return grant == oauth.Password || grant == oauth.PasswordRealm }

func givesRefreshToken(grant string) bool {
	return grant == oauth.AuthorizationCode || grant == oauth.TokenExchange || legacy(grant)
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

func (o *object) apiGrantsOf(name string) map[string][]string {
	value, there := o.get(name)
	if !there {
		return nil
	}
	grants := o.asObject(o.at(name), value)
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

func (o *object) exchangePolicy(c Client) store.ExchangePolicy {
	var policy store.ExchangePolicy
	may := slices.Contains(c.GrantTypes, oauth.TokenExchange)
	value, there := o.get("token_exchange")
	if may && c.Public() {
		o.add(o.at("grant_types"), "token exchange is not for a public client: whoever has somebody's token could exchange it")
	}
	if !there {
		if may {
			o.add(o.path, "it has the grant type of token exchange, but no token_exchange that says what it may do")
		}
		return policy
	}
	if !may {
		o.add(o.at("token_exchange"), "it needs the grant type %s", oauth.TokenExchange)
	}
	e := o.asObject(o.at("token_exchange"), value)
	policy.Impersonation, policy.Delegation = e.flag("impersonation"), e.flag("delegation")
	policy.SubjectIssuers = e.list("subject_issuers", func(string) error { return nil })
	if !policy.Impersonation && !policy.Delegation {
		e.add(e.path, "it has neither impersonation nor delegation true: the client could exchange nothing")
	}
	e.rest()
	return policy
}

// facts is an object of the owner's own.
func (o *object) facts(name string) map[string]any {
	value, there := o.get(name)
	if !there {
		return nil
	}
	facts, _ := plain(o.asObject(o.at(name), value).has).(map[string]any)
	if len(facts) == 0 {
		return nil
	}
	return facts
}

func (o *object) refreshPolicy(c Client) store.RefreshPolicy {
	policy := store.RefreshPolicy{Lifetime: DefaultLifetime, IdleLifetime: DefaultIdleLifetime}
	// FAPI 2.0 Security Profile §5.3.2.1: servers "shall not use refresh token
	// rotation except in extraordinary circumstances". That is said of clients that
	// are confidential, and of tokens that are bound.
	policy.NonRotating = !c.Public() && c.DPoPBound
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
	if rotation, ok := get[bool](r, "rotation", "true or false"); ok {
		policy.NonRotating = !rotation
	}
	// RFC 9700 §2.2.2: "Refresh tokens for public clients MUST be sender-constrained
	// or use refresh token rotation".
	if policy.NonRotating && c.Public() && !c.DPoPBound {
		r.add(r.at("rotation"), "the refresh tokens of a public client rotate, or it has dpop_bound_access_tokens true (RFC 9700 §2.2.2)")
	}
	if policy.NonRotating && policy.Leeway > 0 {
		r.add(r.at("leeway"), "its refresh tokens do not rotate, so there is none")
	}
	r.rest()
	return policy
}

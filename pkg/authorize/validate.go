// What an authorization request may ask for (RFC 6749 §4.1.1, RFC 7636 §4.3,
// RFC 9700 §2.1.1, OpenID Connect Core 1.0 §3.1.2.2).

package authorize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kmint/pkg/consent"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// An ask is an authorization request that may be granted, if the right person is
// there.
type ask struct {
	requested oauth.Scope
	// granted is what of it a person's login grants.
	granted oauth.Scope
	// apis are none where the tokens are for the userinfo endpoint alone.
	apis     []store.API
	settings store.Settings
	// key is the dpop_jkt (RFC 9449 §10).
	key       string
	challenge oauth.Challenge
	nonce     string
	// claims is the claims parameter, which is kept as asked.
	claims token.ClaimsRequest
	asked  string
	// format is that of an access token that leaves from here.
	format token.Format
	// hinted is the sub of the one person that the client wants to hear of; ""
	// for whoever is there.
	hinted string
	// wanted is what the person is to allow, as package consent words it.
	wanted []string
	// silent forbids a page (prompt=none), relogin and reconsent ask for one.
	silent, relogin, reconsent bool
	// maxAge bounds the age of the login; none if negative.
	maxAge time.Duration
}

// validate checks everything that needs no browser. ui_locales is for pages; display
// and unknown parameters are ignored, as OpenID Connect Core 1.0 §3.1.2.1 and RFC 6749
// §3.1 let us.
func (e Endpoint) validate(ctx context.Context, t target, r oauth.Request) (a ask, err error) {
	if t.fault != nil {
		return ask{}, t.fault
	}
	if err := notSupported(r); err != nil {
		return ask{}, err
	}
	if err := e.responseType(r.Get("response_type")); err != nil {
		return ask{}, err
	}
	settings, err := e.Settings.Settings(ctx)
	if err != nil {
		return ask{}, fmt.Errorf("authorize: settings: %w", err)
	}
	if err := policy.MayUseResponseType(t.client, settings, t.asked); err != nil {
		return ask{}, err
	}
	if a.challenge, err = challenge(t, r); err != nil {
		return ask{}, err
	}
	// OpenID Connect Core 1.0 §3.2.2.1: "Use of the nonce parameter is REQUIRED for this
	// flow"; §3.3.2.11 says so of an ID token from here beside a code.
	if a.nonce = r.Get("nonce"); a.nonce == "" && t.asked.IDToken {
		return ask{}, oauth.InvalidRequest.Errorf("The nonce is missing, without which an ID token from here could be one that was used before.")
	}
	if err := prompt(r.Get("prompt"), &a); err != nil {
		return ask{}, err
	}
	if a.maxAge, err = maxAge(r.Get("max_age"), t.client); err != nil {
		return ask{}, err
	}
	if a.requested, err = oauth.ParseScope(r.Get("scope")); err != nil {
		return ask{}, err
	}
	// One of them goes on after the session and the other ends with it.
	if a.requested.Has(oauth.OfflineAccess) && a.requested.Has(oauth.OnlineAccess) {
		return ask{}, oauth.InvalidRequest.Errorf("The scope has offline_access together with online_access.")
	}
	if t.asked.IDToken && !a.requested.Has(oauth.OpenID) {
		return ask{}, oauth.InvalidScope.Errorf("An ID token needs the scope openid.")
	}
	if a.key = r.Get("dpop_jkt"); a.key != "" && !oauth.IsID(a.key) {
		return ask{}, oauth.InvalidRequest.Errorf("The dpop_jkt is not a SHA-256 thumbprint in base64url (RFC 9449 section 10).")
	}
	// RFC 9449 §10 binds the code. Beside it there would be a token that is bound to nothing.
	if a.key != "" && t.asked.Token {
		return ask{}, oauth.InvalidRequest.Errorf("With dpop_jkt there is no token from the authorization endpoint, which could not be bound.")
	}
	a.settings = settings
	if err := e.wanted(ctx, t, r, &a); err != nil {
		return ask{}, err
	}
	if err := claims(r.Get("claims"), r.Get("acr_values") != "" || len(t.client.DefaultACRValues) > 0, &a); err != nil {
		return ask{}, err
	}
	// What is asked for claim by claim is no less than what a scope value asks for.
	a.wanted = consent.Wanted(slices.Concat(a.granted, a.claims.Scope().Without(a.granted...)), a.apis)
	if a.hinted, err = e.hinted(ctx, t, r.Get("id_token_hint")); err != nil {
		return ask{}, err
	}
	return a, nil
}

// responseType: RFC 6749 §4.1.2.1 has unsupported_response_type where "the
// authorization server does not support obtaining an authorization code using this
// method".
func (e Endpoint) responseType(text string) error {
	if text == "" {
		return oauth.InvalidRequest.Errorf("The response_type is missing.")
	}
	if asked, ok := oauth.ParseResponseType(text); !ok || asked.Front() && e.Tokens == nil {
		return oauth.UnsupportedResponseType.Errorf("The response_type is not supported here.")
	}
	return nil
}

// wanted finds the APIs, and what of the scope a login grants.
func (e Endpoint) wanted(ctx context.Context, t target, r oauth.Request, a *ask) (err error) {
	if a.apis, err = e.apis(ctx, t, r.Targets(), a.settings, a.requested); err != nil {
		return err
	}
	if a.granted, err = policy.UserScope(t.client, a.apis, a.requested); err != nil {
		return err
	}
	// OpenID Connect Core 1.0 §11: the server "MUST ignore the offline_access request
	// unless the Client is using a response_type value that would result in an
	// Authorization Code being returned".
	if !t.asked.Code {
		a.granted = slices.DeleteFunc(a.granted, func(v string) bool { return v == oauth.OfflineAccess || v == oauth.OnlineAccess })
	}
	// RFC 6749 §3.3: an authorization of nothing "fails the request indicating an
	// invalid scope".
	if len(a.requested) > 0 && len(a.granted) == 0 {
		return oauth.InvalidScope.Errorf("The server knows nothing of the scope.")
	}
	if !t.asked.Token {
		return nil
	}
	format, err := policy.FormatOf(a.apis)
	a.format = token.Format{
		Dialect:  format.Dialect,
		Key:      jwt.Choice{Algorithm: format.Algorithm, KeyID: format.KeyID},
		Lifetime: policy.TokenLifetime(a.apis),
	}
	return err
}

// claims reads the claims parameter (OpenID Connect Core 1.0 §5.5). classed says that the
// acr is asked for besides, by acr_values or by the client's default: which value is
// wanted does not matter, for there is one.
func claims(text string, classed bool, a *ask) (err error) {
	a.claims, err = token.ParseClaimsRequest(text)
	if err == nil && classed {
		if text, err = token.WithACR(text); err == nil {
			a.claims, err = token.ParseClaimsRequest(text)
		}
	}
	if err != nil {
		return oauth.InvalidRequest.Errorf("The claims are not a JSON object as OpenID Connect Core 1.0 section 5.5 has it, or too long.").Because(err)
	}
	if len(a.claims.IDToken)+len(a.claims.Userinfo) > 0 {
		a.asked = text
	}
	// §5.5.1.1: "If this is an Essential Claim and the requirement cannot be met, then the
	// Authorization Server MUST treat that outcome as a failed authentication attempt."
	if acr := a.claims.IDToken["acr"]; acr.Essential && !acr.Accepts(oauth.PasswordClass) {
		return oauth.UnmetRequirements.Errorf("No login here has one of the acr values that the claims ask for.")
	}
	return nil
}

// hinted returns the sub of an ID token that we have issued to this client. An
// expired one does: it does not say that the person is here, but who is meant.
// The keys are read only where there is a hint.
func (e Endpoint) hinted(ctx context.Context, t target, hint string) (string, error) {
	if hint == "" {
		return "", nil
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	err := jwt.Verify(ctx, e.Keys, hint, jwt.Expected{
		Type: jwt.TypIDToken, Issuer: t.issuer, Audience: t.client.ID, Now: e.Now(), AllowExpired: true,
	}, &claims)
	switch {
	case errors.Is(err, jwt.ErrKeySet):
		return "", fmt.Errorf("authorize: id_token_hint: %w", err)
	// To ignore it would be to answer with whoever is there.
	case err != nil:
		return "", oauth.InvalidRequest.Errorf("The id_token_hint is not an ID token that was issued to this client here.").Because(err)
	case claims.Subject == "":
		return "", oauth.InvalidRequest.Errorf("The id_token_hint names nobody.")
	}
	return claims.Subject, nil
}

// notSupported refuses what would change the meaning of the request if it were
// ignored (OpenID Connect Core 1.0 §6.2, §7.2.1).
func notSupported(r oauth.Request) error {
	switch {
	case r.Get("request_uri") != "":
		return oauth.RequestURINotSupported.Errorf("The parameter request_uri is not supported.")
	case r.Get("registration") != "":
		return oauth.RegistrationNotSupported.Errorf("The parameter registration is not supported.")
	default:
		return nil
	}
}

func challenge(t target, r oauth.Request) (oauth.Challenge, error) {
	text, method := r.Get("code_challenge"), r.Get("code_challenge_method")
	switch {
	case text == "" && method != "":
		return "", oauth.InvalidRequest.Errorf("There is a code_challenge_method, but no code_challenge.")
	case text == "" && t.asked.Code && policy.RequireChallenge(t.client):
		return "", oauth.InvalidRequest.Errorf("The code_challenge is missing: a public client must use PKCE with S256.")
	case text == "":
		return "", nil
	// RFC 7636 §4.3: the method "defaults to "plain" if not present in the
	// request". plain shows the verifier to whoever sees the request (RFC 9700
	// §2.1.1).
	case method == "":
		return "", oauth.InvalidRequest.Errorf("The code_challenge_method is missing, which means plain; use S256.")
	case method != oauth.S256:
		return "", oauth.InvalidRequest.Errorf("The code_challenge_method is not supported; use S256.")
	default:
		return oauth.ParseChallenge(text)
	}
}

// prompt reads a list of prompt values (OpenID Connect Core 1.0 §3.1.2.1).
// consent needs nothing from a first-party client; select_account is a login as
// long as a browser has one account.
func prompt(list string, a *ask) error {
	values := strings.Fields(list)
	for _, value := range values {
		switch value {
		case "none":
			a.silent = true
		case "login", "select_account":
			a.relogin = true
		case "consent":
			a.reconsent = true
		// Initiating User Registration via OpenID Connect 1.0 §4.1: a value that
		// is not supported SHOULD be an invalid_request.
		default:
			return oauth.InvalidRequest.Errorf("The prompt has a value that is not supported.")
		}
	}
	// "If this parameter contains none with any other value, an error is
	// returned."
	if a.silent && slices.ContainsFunc(values, func(v string) bool { return v != "none" }) {
		return oauth.InvalidRequest.Errorf("The prompt has none together with another value.")
	}
	return nil
}

// maxAge reads max_age. OpenID Connect Dynamic Client Registration 1.0 §2, of
// default_max_age: "The max_age request parameter overrides this default value."
func maxAge(text string, c store.Client) (time.Duration, error) {
	switch {
	case text == "" && c.DefaultMaxAge != nil:
		return time.Duration(*c.DefaultMaxAge) * time.Second, nil
	case text == "":
		return -1, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, oauth.InvalidRequest.Errorf("The max_age is not a number of seconds.").Because(err)
	}
	return time.Duration(seconds) * time.Second, nil
}

// apis finds the APIs that the tokens are for: none for the userinfo endpoint
// alone.
func (e Endpoint) apis(ctx context.Context, t target, asked []string, settings store.Settings, scope oauth.Scope) ([]store.API, error) {
	// The userinfo endpoint by its address, which our tokens carry as aud, is no API.
	asked = slices.DeleteFunc(asked, func(name string) bool { return name == token.UserinfoAudience(t.issuer) })
	audience, err := policy.Audience(t.client, asked, settings, scope)
	if err != nil {
		return nil, err
	}
	var apis []store.API
	for _, identifier := range audience {
		api, err := e.APIs.API(ctx, identifier)
		if errors.Is(err, store.ErrNotFound) {
			return nil, oauth.InvalidTarget.Errorf("There is no API for the audience.").Named(oauth.CaseUnknownAudience).About(identifier).
				Because(fmt.Errorf("audience %.256q: %w", identifier, err))
		}
		if err != nil {
			return nil, fmt.Errorf("authorize: api: %w", err)
		}
		apis = append(apis, api)
	}
	return apis, nil
}

// Claims about a person (OpenID Connect Core 1.0 §5.1, §5.4).

package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// scopeClaims says which claims each scope value asks for (§5.4).
var scopeClaims = map[string][]string{
	oauth.Profile: {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
		"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	oauth.Email:   {"email", "email_verified"},
	oauth.Address: {"address"},
	oauth.Phone:   {"phone_number", "phone_number_verified"},
}

// Supported lists the claims that discovery announces.
func Supported() []string {
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid", "acr"}
	for _, scope := range []string{oauth.Profile, oauth.Email, oauth.Address, oauth.Phone} {
		claims = append(claims, scopeClaims[scope]...)
	}
	return claims
}

// own reports whether the name of a claim is an owner's to give: a URI, which no
// claim of the protocol is (RFC 7519 §4.2). So iss, sub, aud, exp, iat, nbf, jti,
// client_id, scope, azp, gty, permissions, act, may_act, cnf, sid, auth_time, nonce,
// acr, amr, at_hash, c_hash, grant_id, and whatever will be registered yet, cannot
// be given, in any spelling, whatever a stored record says.
func own(name string) bool { return strings.Contains(name, ":") }

// UserClaims is what the scope lets a client see of a person, sub left out: the
// standard claims by scope, and the owner's own claims, which are named by URIs
// and so cannot stand for a standard one. Without openid it is empty.
func UserClaims(u store.User, scope oauth.Scope) map[string]any {
	claims := map[string]any{}
	if !scope.Has(oauth.OpenID) {
		return claims
	}
	for _, value := range scope {
		for _, name := range scopeClaims[value] {
			if v, ok := u.Profile[name]; ok {
				claims[name] = v
			}
		}
	}
	for name, v := range u.Claims {
		if own(name) {
			claims[name] = v
		}
	}
	return claims
}

// FactsOf is what the tokens show of a person to a client: the claims that the
// scope lets it see, and what the claims map adds. What it says in IDToken, the
// userinfo endpoint says too.
func FactsOf(u store.User, c store.Client, rules []store.ClaimRule, scope oauth.Scope) Facts {
	facts := Facts{IDToken: UserClaims(u, scope), AccessToken: map[string]any{}}
	for _, rule := range rules {
		value, found := attribute(rule, u, c)
		if !found || !granted(rule, scope) {
			continue
		}
		if rule.AccessToken {
			facts.AccessToken[rule.Claim] = value
		}
		if rule.IDToken && scope.Has(oauth.OpenID) {
			facts.IDToken[rule.Claim] = value
		}
	}
	return facts
}

// ClientClaims is what the claims map says of a client in its access tokens, with
// a person or without: an Authorization's Claims.
func ClientClaims(c store.Client, rules []store.ClaimRule, scope oauth.Scope) map[string]any {
	claims := map[string]any{}
	for _, rule := range rules {
		if value, found := attribute(rule, store.User{}, c); found && rule.AccessToken && !ofUser(rule) && granted(rule, scope) {
			claims[rule.Claim] = value
		}
	}
	return claims
}

// granted reports whether the rule counts under the scope.
func granted(rule store.ClaimRule, scope oauth.Scope) bool {
	return own(rule.Claim) && (rule.Scope == "" || scope.Has(rule.Scope))
}

func ofUser(rule store.ClaimRule) bool { return strings.HasPrefix(rule.From, "user.") }

// attribute finds what a rule speaks of. There is none where it is null too: OpenID
// Connect Core 1.0 §5.3.2, a claim without a value "SHOULD be omitted".
func attribute(rule store.ClaimRule, u store.User, c store.Client) (any, bool) {
	var value any
	of, name, _ := strings.Cut(rule.From, ".")
	switch attribute, isOwn := strings.CutPrefix(name, "attributes."); {
	case of == "user" && isOwn:
		value = u.Attributes[attribute]
	case of == "user" && name == "sub" && u.Subject != "":
		value = u.Subject
	case of == "user" && name == "username" && u.Username != "":
		value = u.Username
	case of == "user":
		value = u.Profile[name]
	case of == "client" && name == "client_id":
		value = c.ID
	case of == "client" && name == "client_name" && c.Name != "":
		value = c.Name
	case of == "client":
		if key, isMetadata := strings.CutPrefix(name, "metadata."); isMetadata {
			value = c.Metadata[key]
		}
	}
	return value, value != nil
}

// Waits reports whether access tokens show something of the person.
func Waits(rules []store.ClaimRule) bool {
	return slices.ContainsFunc(rules, func(r store.ClaimRule) bool { return r.AccessToken && ofUser(r) })
}

// MaxClaims is how long the owner's own claims of one token may be, in bytes of
// JSON. An access token travels in a header, and all headers of a request share
// 8 KiB or so at most gateways: 10,240 bytes at Amazon API Gateway, 8,192 at nginx
// and Apache.
const MaxClaims = 4096

// ErrClaims says that they are longer. No token is made: one without some of its
// claims could mean more than one with all of them.
var ErrClaims = fmt.Errorf("token: the owner's own claims are longer than %d bytes", MaxClaims)

// bounded keeps, of claims from wherever, those that the owner may give. Later maps
// stand above earlier ones.
func bounded(all ...map[string]any) (map[string]any, error) {
	kept := map[string]any{}
	for _, claims := range all {
		for name, value := range claims {
			if own(name) {
				kept[name] = value
			}
		}
	}
	if text, err := json.Marshal(kept); err != nil {
		return nil, fmt.Errorf("token: claims: %w", err)
	} else if len(text) > MaxClaims {
		return nil, fmt.Errorf("%w: %d", ErrClaims, len(text))
	}
	return kept, nil
}

// visible keeps, of claims about a person, what an ID token for the scope may say, and
// what the claims request asks for.
func visible(claims map[string]any, scope oauth.Scope, asked string) (map[string]any, error) {
	kept, err := bounded(claims)
	if err != nil {
		return nil, err
	}
	request, err := ParseClaimsRequest(asked)
	if err != nil {
		return nil, err
	}
	for name := range request.IDToken {
		if v, ok := claims[name]; ok && standard(name) {
			kept[name] = v
		}
	}
	for _, value := range scope {
		for _, name := range scopeClaims[value] {
			if v, ok := claims[name]; ok {
				kept[name] = v
			}
		}
	}
	return withClass(kept, request.IDToken), nil
}

// UserinfoAudience is the aud of a token that the userinfo endpoint accepts: the
// endpoint's address.
func UserinfoAudience(issuer string) string { return oauth.Endpoint(issuer, "/userinfo") }

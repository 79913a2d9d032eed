// What the configuration allows, as the comments of package store say it. Nothing
// here calls package policy.

package property

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kmint/pkg/store"
)

// userinfo is the audience of tokens with openid (OpenID Connect Core 1.0 §5.3).
const userinfo = issuer + "userinfo"

// day is how long an access token lives where no API says otherwise, in seconds.
const day = 24 * 60 * 60

// codes are the error codes that a token endpoint may answer with: RFC 6749 §5.2,
// RFC 8707 §2, RFC 9449 §5 and §8.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_target", "invalid_dpop_proof", "use_dpop_nonce",
}

// wrong says what is wrong with an answer, whoever asked what; "" for nothing.
func wrong(a answer) string {
	if a.header.Get("Cache-Control") != "no-store" {
		return "it may be stored"
	}
	if a.ok() {
		if a.text("access_token") == "" || a.text("token_type") == "" || a.body["error"] != nil {
			return "it is no token response (RFC 6749 §5.1)"
		}
		return ""
	}
	code := a.text("error")
	switch {
	case a.status < 400 || a.status > 499:
		return fmt.Sprintf("the status is %d", a.status)
	case !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.body == nil:
		return "the refusal is not JSON"
	case !slices.Contains(codes, code):
		return fmt.Sprintf("the error is %q", code)
	case (a.status == http.StatusUnauthorized) != (code == "invalid_client"):
		return fmt.Sprintf("%s has the status %d", code, a.status)
	}
	for _, member := range []string{"access_token", "refresh_token", "id_token"} {
		if a.body[member] != nil {
			return "the refusal has a token"
		}
	}
	return ""
}

// A claim is what a token says that the oracle looks at.
type claim struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expiry   int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Party    string   `json:"azp"`
	Scope    string   `json:"scope"`
	Allowed  []string `json:"permissions"`
	GrantID  string   `json:"grant_id"`
	Key      struct {
		Thumbprint string `json:"jkt"`
	} `json:"cnf"`
	Actor map[string]any `json:"act"`
}

func (c claim) scope() []string { return strings.Fields(c.Scope) }

func (c claim) client() string {
	if c.ClientID != "" {
		return c.ClientID
	}
	return c.Party
}

type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		*a = []string{""}
		return json.Unmarshal(text, &(*a)[0])
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// A bound is what a token may be at most.
type bound struct {
	client store.Client
	// subject is whose it is; person is false where it is the client's own.
	subject string
	person  bool
	// scope is what was granted, nil for all that policy allows; asked is what the
	// request named, nil for nothing.
	scope, asked []string
	// audience is what was granted or, nil for anything, meant; targets are what the
	// request named, nil for nothing.
	audience, targets []string
	// foreign reports the APIs for which the owner must have written the client down,
	// though their policy is allow_all: those that a subject_token is not for. nil for
	// none.
	foreign func(api string) bool
	// key is the thumbprint of the request's proof, "" for none.
	key string
	// expiry is that of the token which this one is made of, 0 for none.
	expiry int64
	// login is where it comes from, nil for none that is known.
	login *login
}

// exceeds says in what an access token exceeds its bound, "" for nothing.
func (w *world) exceeds(b bound, response answer, c claim, typ string) string {
	scope := c.scope()
	if b.client.DPoPBound && b.key == "" {
		return "the client's tokens are bound, and the request had no proof"
	}
	if c.Key.Thumbprint != b.key {
		return fmt.Sprintf("it is bound to %q, not to %q", c.Key.Thumbprint, b.key)
	}
	if kind := response.text("token_type"); strings.EqualFold(kind, "DPoP") != (b.key != "") {
		return fmt.Sprintf("the token_type is %s", kind)
	}
	if c.Issuer != issuer || c.client() != b.client.ID || c.ID == "" {
		return fmt.Sprintf("it is of %q for the client %q, jti %q", c.Issuer, c.client(), c.ID)
	}
	subjects := []string{b.subject}
	if typ == "JWT" && !b.person {
		subjects = append(subjects, b.subject+"@clients")
	}
	if !slices.Contains(subjects, c.Subject) {
		return fmt.Sprintf("its sub is %q, not %q", c.Subject, b.subject)
	}
	if got := response.text("scope"); got != c.Scope {
		return fmt.Sprintf("the response says scope %q, the token %q", got, c.Scope)
	}
	for _, value := range c.Allowed {
		if !slices.Contains(scope, value) {
			return fmt.Sprintf("the permission %s is not in its scope", value)
		}
	}
	apis := slices.DeleteFunc(slices.Clone(c.Audience), func(a string) bool { return a == userinfo })
	if len(apis) < len(c.Audience) && (!b.person || !slices.Contains(scope, "openid")) {
		return "it is for userinfo, and there is no openid"
	}
	if len(c.Audience) == 0 {
		return "it is for nobody"
	}
	for _, list := range [][]string{b.audience, b.targets} {
		if list != nil && !subset(apis, list) {
			return fmt.Sprintf("its audience %q goes beyond %q", apis, list)
		}
	}
	for _, list := range [][]string{b.scope, b.asked} {
		if list != nil && !subset(scope, list) {
			return fmt.Sprintf("its scope %q goes beyond %q", scope, list)
		}
	}
	if b.expiry > 0 && c.Expiry > b.expiry {
		return fmt.Sprintf("it outlives the subject_token by %d s", c.Expiry-b.expiry)
	}
	if excess := w.beyondPolicy(b, apis, scope); excess != "" {
		return excess
	}
	return w.outlives(response, c, typ, apis)
}

// beyondPolicy: each API decides over the scope values that it knows; any other
// value must be one of those that ask for a person's identity or a refresh token.
func (w *world) beyondPolicy(b bound, apis, scope []string) string {
	given := map[string]bool{}
	for _, identifier := range apis {
		api, ok := w.apis[identifier]
		if !ok {
			return "there is no API " + identifier
		}
		policy, grants := api.ClientPolicy, b.client.APIGrants
		if policy == "" {
			policy = store.RequireGrant
		}
		if b.person {
			if policy, grants = api.UserPolicy, b.client.UserAPIGrants; policy == "" {
				policy = store.AllowAll
			}
		}
		if b.foreign != nil && b.foreign(identifier) && policy == store.AllowAll {
			policy = store.RequireGrant
		}
		granted, has := grants[identifier]
		if policy == store.DenyAll || policy == store.RequireGrant && !has {
			return fmt.Sprintf("policy %s does not let the client have tokens for %s", policy, identifier)
		}
		for _, value := range scope {
			if _, known := api.Scopes[value]; !known {
				continue
			}
			if policy == store.RequireGrant && !slices.Contains(granted, value) {
				return fmt.Sprintf("the client may not have %s of %s", value, identifier)
			}
			given[value] = true
		}
	}
	for _, value := range scope {
		switch {
		case given[value]:
		case !b.person:
			return fmt.Sprintf("no API gives the scope %s", value)
		case slices.Contains([]string{"openid", "profile", "email", "address", "phone"}, value):
		case value == "offline_access" || value == "online_access":
			if !slices.Contains(b.client.GrantTypes, "refresh_token") {
				return "the client has no refresh tokens, and has " + value
			}
			for _, identifier := range apis {
				if value == "offline_access" && !w.apis[identifier].AllowOfflineAccess {
					return identifier + " does not allow offline_access"
				}
			}
		default:
			return fmt.Sprintf("no API gives the scope %s", value)
		}
	}
	return ""
}

func (w *world) outlives(response answer, c claim, typ string, apis []string) string {
	most := int64(day)
	for i, identifier := range apis {
		lifetime := w.apis[identifier].TokenLifetime
		if lifetime == 0 {
			lifetime = day
		}
		if i == 0 || lifetime < most {
			most = lifetime
		}
		want := map[string]string{"": "at+jwt", store.RFC9068: "at+jwt", store.Auth0Dialect: "JWT", store.Opaque: ""}[w.apis[identifier].Dialect]
		if typ != want {
			return fmt.Sprintf("its typ is %q, and %s wants %q", typ, identifier, want)
		}
	}
	if c.IssuedAt != w.now.Unix() || c.Expiry-c.IssuedAt > most || c.Expiry <= c.IssuedAt {
		return fmt.Sprintf("it lives from %d to %d, not from %d for %d s", c.IssuedAt, c.Expiry, w.now.Unix(), most)
	}
	if expiresIn, _ := response.body["expires_in"].(float64); int64(expiresIn) != c.Expiry-c.IssuedAt {
		return fmt.Sprintf("expires_in is %v, and it lives %d s", response.body["expires_in"], c.Expiry-c.IssuedAt)
	}
	return ""
}

func subset(list, of []string) bool {
	return !slices.ContainsFunc(list, func(v string) bool { return !slices.Contains(of, v) })
}

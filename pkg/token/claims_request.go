// The claims parameter (OpenID Connect Core 1.0 §5.5).

package token

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/go-jose/go-jose/v4/json" // takes names as they are spelled, and no member twice

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// MaxClaimsRequest is the longest claims parameter that we keep, in bytes: there is room
// for 4,096, and for what WithACR adds.
const MaxClaimsRequest = 4096 + len(`,"id_token":{"acr":null}`)

// A ClaimsRequest says which claims a client asks for one by one, and where. What is
// not asked for by it may still be by scope.
type ClaimsRequest struct {
	IDToken  map[string]Wish `json:"id_token"`
	Userinfo map[string]Wish `json:"userinfo"`
}

// A Wish is what is asked of one claim; the zero value, null in JSON, that it be
// there.
type Wish struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// ParseClaimsRequest reads the parameter, "" for an empty one. "Other members MAY be
// present. Any members used that are not understood MUST be ignored" (§5.5), and so
// must those of a wish (§5.5.1).
func ParseClaimsRequest(text string) (ClaimsRequest, error) {
	var r ClaimsRequest
	if text == "" {
		return r, nil
	}
	if len(text) > MaxClaimsRequest {
		return r, fmt.Errorf("token: the claims request is longer than %d bytes", MaxClaimsRequest)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return r, fmt.Errorf("token: claims request: %w", err)
	}
	if object == nil {
		return r, errors.New("token: the claims request is no object")
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return ClaimsRequest{}, fmt.Errorf("token: claims request: %w", err)
	}
	return r, nil
}

// WithACR returns the text of a claims request, "" for none, that asks for the acr of
// the ID token too, unless it does already. OpenID Connect Core 1.0 §3.1.2.1, of
// acr_values: "The acr Claim is requested as a Voluntary Claim by this parameter."
func WithACR(text string) (string, error) {
	var request, idToken map[string]stdjson.RawMessage
	if text == "" {
		text = "{}"
	}
	if err := stdjson.Unmarshal([]byte(text), &request); err != nil {
		return "", fmt.Errorf("token: claims request: %w", err)
	}
	if raw, there := request["id_token"]; there {
		if err := stdjson.Unmarshal(raw, &idToken); err != nil {
			return "", fmt.Errorf("token: claims request: %w", err)
		}
	}
	if _, there := idToken["acr"]; there {
		return text, nil
	}
	more := map[string]stdjson.RawMessage{"acr": stdjson.RawMessage("null")}
	maps.Copy(more, idToken)
	raw, err := compact(more)
	if err == nil {
		request["id_token"] = raw
		raw, err = compact(request)
	}
	if err != nil {
		return "", fmt.Errorf("token: claims request: %w", err)
	}
	return string(raw), nil
}

// compact writes the object in no more bytes than it came in: json.Marshal would make
// six of each <, > and &.
func compact(object map[string]stdjson.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	encoder := stdjson.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(object)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Accepts reports whether the value of a claim is one that is asked for: any, where
// none is named.
func (w Wish) Accepts(value any) bool {
	switch {
	case w.Value != nil:
		return reflect.DeepEqual(w.Value, value)
	case len(w.Values) > 0:
		return slices.ContainsFunc(w.Values, func(v any) bool { return reflect.DeepEqual(v, value) })
	default:
		return true
	}
}

// wished are the standard claims of a person that are asked for one by one. One that
// has another value than was asked for is left out, which is no error: §5.5.1, "the
// Authorization Server MUST NOT generate an error when Claims are not returned,
// whether they are Essential or Voluntary".
func wished(u store.User, wishes map[string]Wish) map[string]any {
	claims := map[string]any{}
	for name, wish := range wishes {
		if value, ok := u.Profile[name]; ok && standard(name) && wish.Accepts(value) {
			claims[name] = value
		}
	}
	return claims
}

// withClass adds the acr, if it is asked for, whatever value was: OpenID Connect Core 1.0
// §5.5.1.1, where one that was asked for cannot be had, "the Authorization Server SHOULD
// return the session's current acr". All who come this way have logged in by a password.
func withClass(claims map[string]any, wishes map[string]Wish) map[string]any {
	if _, asked := wishes["acr"]; asked {
		claims["acr"] = oauth.PasswordClass
	}
	return claims
}

// IDTokenClaims adds to what the scope shows of a person in the ID token what the
// request asks for there.
func (r ClaimsRequest) IDTokenClaims(u store.User, shown map[string]any) map[string]any {
	return merged(shown, wished(u, r.IDToken))
}

// UserinfoClaims adds likewise to what the scope shows at the userinfo endpoint.
func (r ClaimsRequest) UserinfoClaims(u store.User, shown map[string]any) map[string]any {
	return withClass(merged(shown, wished(u, r.Userinfo)), r.Userinfo)
}

func merged(shown, more map[string]any) map[string]any {
	all := maps.Clone(shown)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, more)
	return all
}

// Scope lists the scope values that would show the standard claims that are asked for
// one by one: who asks a person for leave can name those.
func (r ClaimsRequest) Scope() oauth.Scope {
	var scope oauth.Scope
	for _, value := range oauth.IdentityScope() {
		for _, name := range scopeClaims[value] {
			_, inIDToken := r.IDToken[name]
			if _, inUserinfo := r.Userinfo[name]; (inIDToken || inUserinfo) && !scope.Has(value) {
				scope = append(scope, value)
			}
		}
	}
	return scope
}

// standard reports whether the claim is one of §5.1 that a scope value asks for.
func standard(name string) bool {
	for _, names := range scopeClaims {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

package conformance_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// discovery: OpenID Connect Discovery 1.0 §3, §4, RFC 8414 §2.
func discovery(f *flow) {
	const wellKnown = issuer + ".well-known/openid-configuration"
	r := f.house.send(http.MethodGet, wellKnown, nil, nil)
	f.stop("EnsureDiscoveryEndpointResponseStatusCodeIs200", r.status == http.StatusOK, r.status, r.body)
	f.judge("CheckDiscoveryEndpointReturnedJsonContentType", r.isJSON(), r.header)
	f.server = r.json()
	f.judge("CheckDiscEndpointDiscoveryUrl", strings.HasPrefix(wellKnown, "https://"))
	f.judge("CheckDiscEndpointIssuer", f.endpoint("issuer") == strings.TrimSuffix(wellKnown, ".well-known/openid-configuration"), f.endpoint("issuer"))
	u, err := url.Parse(f.endpoint("issuer"))
	f.judge("CheckDiscEndpointIssuerIsValidUrl", err == nil && u.Scheme == "https" && u.RawQuery == "" && u.Fragment == "" && u.User == nil, u)

	for name, value := range f.server {
		isURI := strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri") || name == "issuer" || name == "check_session_iframe"
		text, isText := value.(string)
		_, isFlag := value.(bool)
		_, isList := value.([]any)
		switch {
		case isURI:
			u, err := url.Parse(text)
			f.judge("ValidateServerMetadataAgainstSchema", isText && err == nil && u.IsAbs(), name, value)
		case strings.HasSuffix(name, "_parameter_supported"), strings.HasPrefix(name, "require_"), strings.HasSuffix(name, "channel_logout_supported"),
			strings.HasSuffix(name, "logout_session_supported"):
			f.judge("ValidateServerMetadataAgainstSchema", isFlag, name, value)
		default:
			f.judge("ValidateServerMetadataAgainstSchema", isList && len(texts(value)) == len(value.([]any)), name, value)
		}
		if strings.HasSuffix(name, "_endpoint") {
			f.judge("CheckDiscEndpointAllEndpointsAreHttps", strings.HasPrefix(text, "https://"), name, value)
		}
		f.judge("CheckForUnexpectedParametersInServerMetadata", registered.MatchString(name), name)
	}
	list := func(condition, member string, wanted ...string) {
		values := texts(f.server[member])
		holds := len(values) > 0
		for _, one := range wanted {
			holds = holds && slices.Contains(values, one)
		}
		f.judge(condition, holds, member, f.server[member])
	}
	list("OIDCCCheckDiscEndpointResponseTypesSupported", "response_types_supported", "code")
	list("CheckDiscEndpointSubjectTypesSupported", "subject_types_supported", "public")
	list("OIDCCCheckDiscEndpointIdTokenSigningAlgValuesSupported", "id_token_signing_alg_values_supported", "RS256")
	list("OIDCCCheckDiscEndpointClaimsSupported", "claims_supported", "sub", "iss")
	list("OIDCCCheckDiscEndpointGrantTypesSupported", "grant_types_supported", "authorization_code")
	list("CheckDiscEndpointScopesSupportedContainsOpenId", "scopes_supported", "openid")
	list("EnsureServerConfigurationCodeChallengeMethodsSupportedIsAnArray", "code_challenge_methods_supported", "S256")
	for _, value := range texts(f.server["scopes_supported"]) {
		f.judge("CheckDiscEndpointScopesSupportedSyntax", scopeToken.MatchString(value), value)
	}
	https := func(condition, member string) {
		f.judge(condition, strings.HasPrefix(f.endpoint(member), "https://"), member, f.server[member])
	}
	https("CheckDiscEndpointAuthorizationEndpoint", "authorization_endpoint")
	https("CheckDiscEndpointTokenEndpoint", "token_endpoint")
	https("CheckDiscEndpointUserinfoEndpoint", "userinfo_endpoint")
	https("CheckJwksUri", "jwks_uri")
	r = f.house.send(http.MethodGet, f.endpoint("jwks_uri"), nil, nil)
	if err := json.Unmarshal([]byte(r.body), &f.keys); err != nil || len(f.keys.Keys) == 0 {
		f.Fatalf("no keys: %v %s", err, r.body)
	}
	f.judgeKeys()
	for _, member := range []string{"ui_locales_supported", "claims_locales_supported"} {
		for _, tag := range texts(f.server[member]) {
			f.judge("CheckDiscEndpointLocalesSyntax", languageTag.MatchString(strings.ToLower(tag)), tag)
			f.judge("CheckDiscEndpointLocalesCanonicalCasing", canonicalTag.MatchString(tag), tag)
		}
	}
	// What may be there or not has only to say which.
	for condition, member := range map[string]string{
		"CheckDiscEndpointRequestParameterSupported":    "request_parameter_supported",
		"CheckDiscEndpointRequestUriParameterSupported": "request_uri_parameter_supported",
		"CheckDiscEndpointClaimsParameterSupported":     "claims_parameter_supported",
	} {
		_, isFlag := f.server[member].(bool)
		f.judge(condition, isFlag, member, f.server[member])
	}
	if f.server["request_object_signing_alg_values_supported"] != nil {
		list("CheckDiscEndpointRequestObjectSigningAlgValuesSupportedIncludesRS256", "request_object_signing_alg_values_supported", "RS256")
	}
	if f.server["userinfo_signing_alg_values_supported"] != nil {
		list("OIDCCCheckDiscEndpointUserinfoSigningAlgValuesSupported", "userinfo_signing_alg_values_supported")
	}
	if f.server["registration_endpoint"] != nil {
		https("CheckDiscEndpointRegistrationEndpoint", "registration_endpoint")
	}
	f.leave("CheckDiscEndpointRequestObjectSigningAlgValuesSupportedIncludesRS256", "OIDCCCheckDiscEndpointUserinfoSigningAlgValuesSupported",
		"CheckDiscEndpointRegistrationEndpoint", "CheckDiscEndpointLocalesSyntax", "CheckDiscEndpointLocalesCanonicalCasing")
}

// texts are the strings of a list.
func texts(value any) (found []string) {
	values, _ := value.([]any)
	for _, one := range values {
		if text, isText := one.(string); isText {
			found = append(found, text)
		}
	}
	return found
}

var (
	scopeToken   = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	languageTag  = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?$`)
	canonicalTag = regexp.MustCompile(`^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$`)
)

// registered are the members that IANA's registry of OAuth authorization server
// metadata has, as far as kmint may need them.
var registered = regexp.MustCompile(`^(issuer|jwks_uri|(authorization|token|userinfo|revocation|introspection|registration|end_session|` +
	`pushed_authorization_request|device_authorization|backchannel_authentication)_endpoint|` +
	`(scopes|response_types|response_modes|grant_types|subject_types|acr_values|display_values|claim_types|claims|ui_locales|` +
	`claims_locales|prompt_values|code_challenge_methods|authorization_details_types|backchannel_token_delivery_modes)_supported|` +
	`(id_token|userinfo|request_object|authorization)_(signing_alg|encryption_alg|encryption_enc)_values_supported|` +
	`(token|revocation|introspection)_endpoint_auth_(methods|signing_alg_values)_supported|dpop_signing_alg_values_supported|` +
	`(claims_parameter|request_parameter|request_uri_parameter|authorization_response_iss_parameter|backchannel_user_code_parameter)_supported|` +
	`(back|front)channel_logout(_session)?_supported|check_session_iframe|require_request_uri_registration|` +
	`require_signed_request_object|require_pushed_authorization_requests|op_policy_uri|op_tos_uri|service_documentation|` +
	`tls_client_certificate_bound_access_tokens|mtls_endpoint_aliases)$`)

package conformance_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// modules are the tests, by the module's name.
var modules = map[string]func(f *flow){
	"oidcc-server":                    plain,
	"oidcc-server-client-secret-post": clientSecretPost,
	"oidcc-response-type-missing":     responseTypeMissing,
	"oidcc-idtoken-signature":         idTokenSignature,
	"oidcc-idtoken-unsigned":          idTokenUnsigned,
	"oidcc-userinfo-get":              userinfoBy(http.MethodGet),
	"oidcc-userinfo-post-header":      userinfoBy(http.MethodPost),
	"oidcc-userinfo-post-body":        userinfoByBody,

	"oidcc-ensure-request-without-nonce-succeeds-for-code-flow": withoutNonceSucceeds,
	"oidcc-ensure-request-without-nonce-fails":                  withoutNonceFails,

	"oidcc-scope-profile":        scoped("openid profile"),
	"oidcc-scope-email":          scopedEmail(false),
	"oidcc-scope-address":        scoped("openid address"),
	"oidcc-scope-phone":          scoped("openid phone"),
	"oidcc-scope-all":            scoped("openid email phone address profile"),
	"oidcc-alternate-happy-flow": scopedEmail(true),
	"oidcc-claims-essential":     claimsEssential,

	"oidcc-display-page":          with("display", "page"),
	"oidcc-display-popup":         with("display", "popup"),
	"oidcc-login-hint":            with("login_hint", "buffy@auth.example.com"),
	"oidcc-ui-locales":            with("ui_locales", "se"),
	"oidcc-claims-locales":        with("claims_locales", "se"),
	"oidcc-prompt-login":          promptLogin,
	"oidcc-max-age-1":             maxAge1,
	"oidcc-max-age-10000":         maxAge10000,
	"oidcc-prompt-none-logged-in": silently(false),
	"oidcc-id-token-hint":         silently(true),

	"oidcc-prompt-none-not-logged-in":                      promptNoneNotLoggedIn,
	"oidcc-ensure-request-with-unknown-parameter-succeeds": with("extra", "foobar"),
	"oidcc-ensure-request-with-acr-values-succeeds":        acrValues,
	"oidcc-ensure-request-with-valid-pkce-succeeds":        validPKCE,
	"oidcc-ensure-post-request-succeeds":                   byPost,
	"oidcc-ensure-registered-redirect-uri":                 registeredRedirectURI,

	"oidcc-codereuse":           codeReuse(0),
	"oidcc-codereuse-30seconds": codeReuse(30 * time.Second),
	"oidcc-refresh-token":       refreshToken,

	"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported":    requestURI,
	"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": requestObject,
	"oidcc-ensure-request-object-with-redirect-uri":                                requestObjectRedirectURI,

	"oidcc-discovery-endpoint-verification": discovery,

	"oidcc-rp-initiated-logout":          sentOn(nil),
	"oidcc-rp-initiated-logout-no-state": sentOn(without("state")),
	"oidcc-rp-initiated-logout-bad-post-logout-redirect-uri": kept("ExpectPostLogoutRedirectUriNotRegisteredErrorPage", false, func(l leaving) {
		l.Set("post_logout_redirect_uri", strings.TrimSuffix(l.redirectURI(), "callback")+"bad_post_logout_redirect_uri")
	}),
	"oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri": kept("ExpectPostLogoutRedirectUriNotRegisteredErrorPage", false, func(l leaving) { l.Set("post_logout_redirect_uri", l.Get("post_logout_redirect_uri")+"?foo=bar") }),
	"oidcc-rp-initiated-logout-modified-id-token-hint":                  kept("ExpectInvalidIdTokenHintErrorPage", false, unsignedHint),
	"oidcc-rp-initiated-logout-bad-id-token-hint":                       kept("ExpectInvalidIdTokenHintErrorPage", false, foreignHint),
	"oidcc-rp-initiated-logout-no-id-token-hint":                        kept("ExpectIdTokenHintRequiredErrorPage", false, without("id_token_hint")),
	"oidcc-rp-initiated-logout-no-params":                               kept("ExpectSuccessfulLogoutPage", true, without("id_token_hint", "post_logout_redirect_uri", "state")),
	"oidcc-rp-initiated-logout-no-post-logout-redirect-uri":             kept("ExpectSuccessfulLogoutPage", true, without("post_logout_redirect_uri")),
	"oidcc-rp-initiated-logout-only-state":                              kept("ExpectSuccessfulLogoutPage", true, without("id_token_hint", "post_logout_redirect_uri")),
	"oidcc-frontchannel-rp-initiated-logout":                            frontChannel,
	"oidcc-backchannel-rp-initiated-logout":                             backChannel,

	"oidcc-rp-initiated-logout-discovery-endpoint-verification": announced(nil),
	"oidcc-backchannel-logout-discovery-endpoint-verification": announced(map[string]string{
		"CheckDiscEndpointBackchannelLogoutSupported":        "backchannel_logout_supported",
		"CheckDiscEndpointBackchannelLogoutSessionSupported": "backchannel_logout_session_supported",
	}),
	"oidcc-frontchannel-logout-discovery-endpoint-verification": announced(map[string]string{
		"CheckDiscEndpointFrontchannelLogoutSupported":        "frontchannel_logout_supported",
		"CheckDiscEndpointFrontchannelLogoutSessionSupported": "frontchannel_logout_session_supported",
	}),
	"oidcc-session-management-discovery-endpoint-verification": announced(map[string]string{
		"CheckDiscCheckSessionIframe": "check_session_iframe",
	}),
	"oidcc-session-management-rp-initiated-logout": sessionManagement,

	"oidcc-3rd_party-init-login":         initiateLogin,
	"oidcc-3rd_party-init-login-nohttps": initiateLoginByHTTP,
}

// begin reads the server's metadata, as a client with a secret in the header.
func (f *flow) begin() {
	f.Helper()
	f.discover()
	f.secretMethod("EnsureServerConfigurationSupportsClientSecretBasic")
}

func plain(f *flow) {
	f.begin()
	f.idToken = func(t idToken) {
		_, named := t.claims["name"]
		f.judge("EnsureIdTokenDoesNotContainName", !named, t.claims)
		f.hash("ExtractAtHash", "ValidateAtHash", t, "at_hash", t.front && f.includes("token"), t.of.answer.Get("access_token"))
		f.hash("ExtractCHash", "ValidateCHash", t, "c_hash", t.front && f.includes("code"), t.of.code)
	}
	o := f.complete(f.request())
	f.leave("EnsureMinimumAuthorizationCodeLength", "EnsureMinimumAuthorizationCodeEntropy")
	if f.includes("code") {
		f.judge("EnsureMinimumAuthorizationCodeLength", len(o.code)*8 >= 128, len(o.code))
		f.judge("EnsureMinimumAuthorizationCodeEntropy", entropy(o.code) >= 96, entropy(o.code))
	}
	for _, t := range o.idTokens {
		for name := range t.claims {
			f.judge("EnsureIdTokenDoesNotContainNonRequestedClaims", slices.Contains([]string{
				"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "nbf", "jti", "sid", "s_hash",
			}, name), name)
		}
	}
}

// hash judges an at_hash or c_hash: needed in some ID tokens, and right wherever
// it stands. Beside a token of the token endpoint it is that token's, which comes
// last.
func (f *flow) hash(extract, validate string, t idToken, claim string, needed bool, of string) {
	f.Helper()
	value, there := t.claims[claim]
	f.leave(extract, validate)
	if needed {
		f.judge(extract, there, t.claims)
	}
	if !there {
		return
	}
	if !t.front && claim == "at_hash" {
		of = t.of.access()
	}
	f.judge(validate, value == halfHash(of), t.claims)
}

func clientSecretPost(f *flow) {
	f.as("conformance-post")
	f.discover()
	f.secretMethod("EnsureServerConfigurationSupportsClientSecretPost")
	f.complete(f.request())
}

func responseTypeMissing(f *flow) {
	f.begin()
	q := f.request()
	q.Del("response_type")
	a := f.ask(q)
	if a.at == "" {
		f.errorPage("ExpectResponseTypeMissingErrorPage", a)
		f.leave(append(mode, errorConditions...)...)
		f.leave("CheckErrorFromAuthorizationEndpointErrorInvalidRequestOrUnsupportedResponseType")
		return
	}
	f.leave("ExpectResponseTypeMissingErrorPage")
	answer := f.answered(a, false)
	f.judgeError(q, answer)
	f.judge("CheckErrorFromAuthorizationEndpointErrorInvalidRequestOrUnsupportedResponseType",
		slices.Contains([]string{"invalid_request", "unsupported_response_type"}, answer.Get("error")), answer)
}

var errorConditions = []string{
	"CheckStateInAuthorizationResponse", "ValidateIssIfPresentInAuthorizationResponse", "EnsureErrorFromAuthorizationEndpointResponse",
	"RejectAuthCodeInAuthorizationEndpointResponse", "CheckForUnexpectedParametersInErrorResponseFromAuthorizationEndpoint",
	"CheckErrorDescriptionFromAuthorizationEndpointResponseErrorContainsCRLFTAB",
	"ValidateErrorDescriptionFromAuthorizationEndpointResponseError", "ValidateErrorUriFromAuthorizationEndpointResponseError",
}

// errorPage: the person is told, and not sent anywhere. Whoever reads the suite's
// log sees it on a screenshot.
func (f *flow) errorPage(condition string, a arrival) {
	f.Helper()
	f.judge(condition, a.at == "" && a.logins == 0 && a.page.status >= 400 && a.page.status < 500 &&
		strings.HasPrefix(a.page.header.Get("Content-Type"), "text/html"), a.at, a.page.status, a.page.body)
}

func idTokenSignature(f *flow) {
	f.begin()
	f.idToken = func(t idToken) {
		f.judge("EnsureIdTokenContainsKid", t.header.KeyID != "", t.header)
		f.judge("EnsureIdTokenSignatureIsRS256", t.header.Algorithm == "RS256", t.header)
	}
	f.complete(f.request())
}

// An ID token without a signature is not to be had, and discovery says so. The
// suite leaves the module out then.
func idTokenUnsigned(f *flow) {
	f.discover()
	f.judge("OIDCCCheckIdTokenSigningAlgValuesSupportedAlgNone", !f.house.announces("id_token_signing_alg_values_supported", "none"),
		f.server["id_token_signing_alg_values_supported"])
	o := f.complete(f.request())
	f.judge("CheckIdTokenSignatureAlgorithm", o.last().header.Algorithm != "none", o.last().header)
}

func userinfoBy(method string) func(f *flow) {
	return func(f *flow) {
		f.begin()
		o := f.complete(f.request())
		f.userinfoAnswer(f.userinfo(method, o.access()), o)
	}
}

func userinfoByBody(f *flow) {
	f.begin()
	o := f.complete(f.request())
	r := f.house.send(http.MethodPost, f.endpoint("userinfo_endpoint"), nil, url.Values{"access_token": {o.access()}})
	f.judge("UserInfoEndpointWithAccessTokenInBodyNotSupported", r.status == http.StatusOK, r.status, r.body)
	f.userinfoAnswer(r, o)
}

func (f *flow) userinfoAnswer(r response, o outcome) map[string]any {
	f.Helper()
	f.judge("EnsureHttpStatusCodeIs200", r.status == http.StatusOK, r.status, r.body)
	f.judge("EnsureContentTypeJson", r.isJSON(), r.header)
	return f.judgeUserinfo(r, o)
}

func withoutNonceSucceeds(f *flow) {
	f.begin()
	f.ways.codeOnly = true
	q := f.request()
	q.Del("nonce")
	f.complete(q)
}

func withoutNonceFails(f *flow) {
	f.begin()
	q := f.request()
	q.Del("nonce")
	a := f.ask(q)
	if a.at == "" {
		f.errorPage("ExpectRequestMissingNonceErrorPage", a)
		f.leave(append(mode, errorConditions...)...)
		f.leave("CheckErrorFromAuthorizationEndpointErrorInvalidRequest")
		return
	}
	f.leave("ExpectRequestMissingNonceErrorPage")
	answer := f.answered(a, true)
	f.judgeError(q, answer)
	f.judge("CheckErrorFromAuthorizationEndpointErrorInvalidRequest", answer.Get("error") == "invalid_request", answer)
}

func scoped(scope string) func(f *flow) {
	return func(f *flow) {
		f.begin()
		f.scope = scope
		f.claimsCome()
	}
}

// claimsCome: userinfo has what the scope asks for, or the ID token where there is
// no access token.
func (f *flow) claimsCome(more ...string) (claims map[string]any, o outcome) {
	f.Helper()
	for value := range strings.FieldsSeq(f.scope) {
		f.judge("OIDCCCheckScopesSupportedContainScopeTest", f.house.announces("scopes_supported", value), value)
	}
	o = f.complete(f.request(more...))
	f.leave("VerifyScopesReturnedInUserInfoClaims", "VerifyScopesReturnedInAuthorizationEndpointIdToken")
	if f.rows.ResponseType == "id_token" {
		claims = o.last().claims
		f.judge("VerifyScopesReturnedInAuthorizationEndpointIdToken", missing(claims, f.scope) == nil, missing(claims, f.scope))
		f.leave("ExtractUserInfoFromUserInfoEndpointResponse", "ValidateUserInfoStandardClaims", "EnsureUserInfoContainsSub",
			"EnsureUserInfoUpdatedAtValid", "EnsureMemberValuesInClaimNameReferenceToMemberNamesInClaimSources",
			"VerifyUserInfoAndIdTokenInAuthorizationEndpointSameSub", "VerifyUserInfoAndIdTokenInTokenEndpointSameSub")
		return claims, o
	}
	claims = f.judgeUserinfo(f.resource(o.access()), o)
	f.judge("VerifyScopesReturnedInUserInfoClaims", missing(claims, f.scope) == nil, missing(claims, f.scope))
	return claims, o
}

// scopedEmail asks by scope for email; with reordered for the scope and all
// parameters the other way round.
func scopedEmail(reordered bool) func(f *flow) {
	return func(f *flow) {
		f.begin()
		f.scope, f.ways.reordered = "openid email", reordered
		if reordered {
			f.scope = "email openid"
		}
		f.idToken = func(t idToken) {
			_, named := t.claims["name"]
			f.judge("EnsureIdTokenDoesNotContainName", !named, t.claims)
			f.leave("EnsureIdTokenDoesNotContainEmailForScopeEmail")
			if f.includes("code") || f.includes("token") {
				_, email := t.claims["email"]
				f.judge("EnsureIdTokenDoesNotContainEmailForScopeEmail", !email, t.claims)
			}
		}
		claims, _ := f.claimsCome()
		_, named := claims["name"]
		f.judge("EnsureUserInfoDoesNotContainName", !named, claims)
	}
}

func claimsEssential(f *flow) {
	f.begin()
	if f.rows.ResponseType == "id_token" {
		claims, _ := f.claimsCome("claims", `{"id_token":{"name":{"essential":true}}}`)
		_, named := claims["name"]
		f.judge("EnsureIdTokenContainsName", named, claims)
		f.leave("EnsureUserInfoContainsName", "EnsureIdTokenDoesNotContainName")
		return
	}
	claims, o := f.claimsCome("claims", `{"userinfo":{"name":{"essential":true}}}`)
	_, named := claims["name"]
	f.judge("EnsureUserInfoContainsName", named, claims)
	for _, t := range o.idTokens {
		_, named := t.claims["name"]
		f.judge("EnsureIdTokenDoesNotContainName", !named, t.claims)
	}
	f.leave("EnsureIdTokenContainsName")
}

// with sends one parameter more, and everything else has to be as ever.
func with(name, value string) func(f *flow) {
	return func(f *flow) {
		f.begin()
		f.complete(f.request(name, value))
	}
}

func acrValues(f *flow) {
	f.begin()
	asked := "1 2"
	if supported, _ := f.server["acr_values_supported"].([]any); len(supported) > 0 {
		var values []string
		for _, value := range supported {
			values = append(values, value.(string))
		}
		asked = strings.Join(values, " ")
	}
	f.idToken = func(t idToken) {
		f.judge("ValidateIdTokenACRClaimAgainstAcrValuesRequest", slices.Contains(strings.Fields(asked), t.text("acr")), t.claims)
	}
	f.complete(f.request("acr_values", asked))
}

// twice authorizes, and once more by another request.
func (f *flow) twice(first []string, wait time.Duration, second ...string) (a, b outcome) {
	f.Helper()
	a = f.complete(f.request(first...))
	if a.logins != 1 {
		f.Fatalf("the first time the login page came %d times", a.logins)
	}
	f.house.clock.wait(wait)
	if slices.Contains(second, "id_token_hint") {
		second = append(second, a.raw)
	}
	return a, f.complete(f.request(second...))
}

// loggedInAgain: a page has asked for it, and the ID token says when.
func (f *flow) loggedInAgain(a, b outcome) {
	f.Helper()
	f.judge("ExpectSecondLoginPage", b.logins == 1, b.logins)
	first, hasFirst := a.last().number("auth_time")
	second, hasSecond := b.last().number("auth_time")
	f.judge("CheckSecondIdTokenAuthTimeIsLaterIfPresent", !hasFirst || !hasSecond || second > first, first, second)
}

func promptLogin(f *flow) {
	f.begin()
	f.loggedInAgain(f.twice(nil, time.Second, "prompt", "login"))
}

func maxAge1(f *flow) {
	f.begin()
	a, b := f.twice(nil, 2*time.Second, "max_age", "1")
	f.loggedInAgain(a, b)
	for _, t := range b.idTokens {
		at, there := t.number("auth_time")
		f.judge("CheckIdTokenAuthTimeClaimPresentDueToMaxAge", there, t.claims)
		f.judge("CheckIdTokenAuthTimeIsRecentIfPresent", f.house.clock.now().Unix()-int64(at) <= 1, at)
	}
}

// sameLogin: the second time nobody was asked, and it is the same login.
func (f *flow) sameLogin(a, b outcome) {
	f.Helper()
	if b.logins != 0 {
		f.Errorf("the login page came %d times", b.logins)
	}
	first, hasFirst := a.last().number("auth_time")
	second, hasSecond := b.last().number("auth_time")
	f.judge("CheckIdTokenAuthTimeClaimsSameIfPresent", !hasFirst || !hasSecond || first == second, first, second)
	f.judge("CheckIdTokenSubConsistentForSecondAuthorization", a.last().text("sub") == b.last().text("sub"), a.last().claims, b.last().claims)
}

func maxAge10000(f *flow) {
	f.begin()
	a, b := f.twice([]string{"max_age", "15000"}, 5*time.Second, "max_age", "10000")
	for _, t := range append(a.idTokens, b.idTokens...) {
		_, there := t.number("auth_time")
		f.judge("CheckIdTokenAuthTimeClaimPresentDueToMaxAge", there, t.claims)
	}
	f.sameLogin(a, b)
}

// silently authorizes a second time with prompt=none.
func silently(hinted bool) func(f *flow) {
	return func(f *flow) {
		f.begin()
		second := []string{"prompt", "none"}
		if hinted {
			second = append(second, "id_token_hint")
		}
		f.sameLogin(f.twice(nil, 5*time.Second, second...))
	}
}

func promptNoneNotLoggedIn(f *flow) {
	f.begin()
	f.ways.longState = true
	q := f.request("prompt", "none")
	f.interactionNeeded(q, f.ask(q))
}

// interactionNeeded: the server says that it would have to show a page.
func (f *flow) interactionNeeded(q url.Values, a arrival) {
	f.Helper()
	answer := f.answered(a, f.rows.ResponseType != "code")
	f.judgeError(q, answer)
	f.judge("CheckErrorFromAuthorizationEndpointIsOneThatRequiredAUserInterface", a.logins == 0 &&
		slices.Contains([]string{"interaction_required", "login_required", "account_selection_required", "consent_required"}, answer.Get("error")), answer)
}

func validPKCE(f *flow) {
	f.begin()
	f.ways.verifier = rand.Text() + rand.Text()
	f.complete(f.request())
}

func byPost(f *flow) {
	f.begin()
	f.ways.post = true
	o := f.complete(f.request())
	f.judge("ExpectRedirectUriHasBeenCalled", o.answer != nil)
}

func registeredRedirectURI(f *flow) {
	f.begin()
	a := f.ask(f.request("redirect_uri", f.redirectURI()+"/"+rand.Text()[:10]))
	f.errorPage("ExpectRedirectUriErrorPage", a)
}

func codeReuse(wait time.Duration) func(f *flow) {
	return func(f *flow) {
		f.begin()
		o := f.complete(f.request())
		f.house.clock.wait(wait)
		r := f.post(o.exchange)
		if wait == 0 {
			f.judge("ServerAllowedReusingAuthorizationCode", r.status != http.StatusOK, r.status)
		}
		f.judgeRefusal(r, true)
		if wait > 0 {
			r := f.userinfo(http.MethodGet, o.access())
			f.judge("EnsureHttpStatusCodeIs4xx", r.status >= 400 && r.status < 500, r.status, r.body)
		}
	}
}

var visible = regexp.MustCompile(`^[\x20-\x7E]+$`)

// refreshToken refreshes as two clients, and then presents the one's refresh token
// as the other.
func refreshToken(f *flow) {
	f.begin()
	f.judge("EnsureServerConfigurationSupportsRefreshToken", f.house.announces("grant_types_supported", "refresh_token"), f.server["grant_types_supported"])
	f.scope = "openid offline_access"
	var last outcome
	for i, client := range []string{"conformance", "conformance-2"} {
		f.as(client)
		more := []string{"prompt", "consent"}
		if i == 1 {
			more = append(more, "nonce", strings.Repeat(rand.Text(), 2)[:43])
		}
		o := f.complete(f.request(more...))
		f.stop("ExtractRefreshTokenFromTokenResponse", o.refresh != "", o.token.body)
		f.leave("EnsureServerConfigurationDoesNotSupportRefreshToken")
		f.judge("EnsureRefreshTokenContainsAllowedCharactersOnly", visible.MatchString(o.refresh))
		last = f.refreshed(o, i == 0)
		f.resource(last.access())
	}
	f.as("conformance")
	r := f.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {last.refresh}, "scope": {f.scope}})
	f.judgeRefusal(r, false)
}

// refreshed uses the refresh token of o: RFC 6749 §6, OpenID Connect Core 1.0
// §12.2.
func (f *flow) refreshed(o outcome, scope bool) outcome {
	f.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {o.refresh}}
	if scope {
		form.Set("scope", f.scope)
	}
	f.house.clock.wait(time.Second)
	r := f.post(form)
	f.stop("CheckTokenEndpointHttpStatus200", r.status == http.StatusOK, r.status, r.body)
	f.judge("CheckTokenEndpointReturnedJsonContentType", r.isJSON(), r.header)
	f.judge("CheckTokenEndpointCacheHeaders", strings.Contains(r.header.Get("Cache-Control"), "no-store") && strings.Contains(r.header.Get("Pragma"), "no-cache"), r.header)
	body := r.json()
	_, failed := body["error"]
	f.judge("CheckIfTokenEndpointResponseError", !failed, r.body)
	access, _ := body["access_token"].(string)
	f.stop("ExtractAccessTokenFromTokenResponse", access != "", r.body)
	f.judge("CheckTokenTypeIsBearer", body["token_type"] == "Bearer", r.body)
	f.judge("EnsureMinimumAccessTokenEntropy", entropy(access) >= 96, entropy(access))
	f.judge("EnsureAccessTokenContainsAllowedCharactersOnly", visible.MatchString(access))
	f.expiresIn(body)
	f.judge("EnsureAccessTokenValuesAreDifferent", access != o.access())
	o.accesses = append(o.accesses, access)
	f.leave("EnsureMinimumRefreshTokenLength", "EnsureMinimumRefreshTokenEntropy", "CompareIdTokenClaims")
	if refresh, there := body["refresh_token"].(string); there {
		f.judge("EnsureMinimumRefreshTokenLength", len(refresh)*8 >= 128, len(refresh))
		f.judge("EnsureMinimumRefreshTokenEntropy", entropy(refresh) >= 96, entropy(refresh))
		o.refresh = refresh
	}
	if raw, there := body["id_token"].(string); there {
		claims, _, signed := f.decode(raw)
		if !signed {
			f.Errorf("the new ID token is not signed: %s", raw)
		}
		first := o.last().claims
		_, authTime := claims["auth_time"]
		f.judge("CompareIdTokenClaims", first["iss"] == claims["iss"] && first["sub"] == claims["sub"] && first["aud"] == claims["aud"] &&
			first["azp"] == claims["azp"] && first["iat"] != claims["iat"] && (!authTime || first["auth_time"] == claims["auth_time"]), first, claims)
	}
	return o
}

// unsigned makes a request object that nobody has signed (OpenID Connect Core 1.0
// §6.1).
func unsigned(q url.Values) string {
	claims := map[string]string{}
	for name := range q {
		claims[name] = q.Get(name)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode(text) + "."
}

// beside are the parameters that stay beside a request object.
func beside(q url.Values) url.Values {
	left := url.Values{}
	for _, name := range []string{"client_id", "response_type", "scope", "redirect_uri"} {
		left[name] = q[name]
	}
	return left
}

// requestObject: it is obeyed, or refused by the error for that, and never ignored.
func requestObject(f *flow) {
	f.begin()
	q := f.request()
	sent := beside(q)
	sent.Set("request", unsigned(q))
	supported := f.server["request_parameter_supported"] == true
	f.judge("CheckDiscEndpointRequestParameterSupported", supported || f.refusedBy(sent, "request_not_supported"), f.server["request_parameter_supported"])
	if supported {
		f.ways.object = sent
		f.complete(q)
		return
	}
	f.leaveFlow()
}

// requestURI: likewise, by reference.
func requestURI(f *flow) {
	f.begin()
	sent := beside(f.request())
	sent.Set("request_uri", strings.TrimSuffix(f.redirectURI(), "callback")+"requesturi/"+rand.Text())
	f.judge("CheckDiscEndpointRequestUriParameterSupported",
		f.server["request_uri_parameter_supported"] == false && f.refusedBy(sent, "request_uri_not_supported"), f.server["request_uri_parameter_supported"])
	f.leaveFlow()
}

// leaveFlow leaves the rest of a module that ends early.
func (f *flow) leaveFlow() {
	f.leave(mode...)
	f.leave(answerConditions...)
	f.leave(idTokenConditions...)
	f.leave(tokenConditions...)
	f.leave("EnsureHttpStatusCodeIs200")
}

// refusedBy reports whether the client is told so.
func (f *flow) refusedBy(q url.Values, refusal string) bool {
	f.Helper()
	answer := f.refusedIn(f.ask(q))
	return answer.Get("error") == refusal
}

// refusedIn finds the parameters of a refusal, wherever they are.
func (f *flow) refusedIn(a arrival) url.Values {
	f.Helper()
	if a.at != f.redirectURI() {
		f.Fatalf("no answer came back: at %q, %d %s", a.at, a.page.status, a.page.body)
	}
	for _, parameters := range []url.Values{a.query, a.fragment, a.posted} {
		if parameters.Has("error") {
			return parameters
		}
	}
	return a.query
}

// requestObjectRedirectURI: the redirect URI beside the object is wrong. The
// object's counts, or nobody is sent anywhere.
func requestObjectRedirectURI(f *flow) {
	f.begin()
	q := f.request()
	sent := beside(q)
	sent.Set("request", unsigned(q))
	sent.Set("redirect_uri", f.redirectURI()+"_invalid")
	f.leave("EnsureOPDoesNotUseDefaultRedirectUriInCaseOfInvalidRedirectUri", "ExpectRedirectUriErrorPage", "CheckDiscEndpointRequestParameterSupported")
	if f.server["request_parameter_supported"] == true {
		f.ways.object = sent
		f.complete(q)
		return
	}
	a := f.ask(sent)
	f.judge("EnsureOPDoesNotUseDefaultRedirectUriInCaseOfInvalidRedirectUri", a.at == "", a.at, a.query)
	f.errorPage("ExpectRedirectUriErrorPage", a)
	f.leaveFlow()
}

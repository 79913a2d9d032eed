package conformance_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The conditions that modules share.

// answerConditions look at the authorization endpoint's answer.
var answerConditions = []string{
	"CheckMatchingCallbackParameters", "ValidateIssIfPresentInAuthorizationResponse", "CheckIfAuthorizationEndpointError",
	"CheckStateInAuthorizationResponse", "ExtractAuthorizationCodeFromAuthorizationResponse",
	"ExtractAccessTokenFromAuthorizationResponse", "ExtractIdTokenFromAuthorizationResponse",
}

// tokenConditions look at the token endpoint's answer.
var tokenConditions = []string{
	"CheckTokenEndpointHttpStatus200", "CheckIfTokenEndpointResponseError", "CheckForAccessTokenValue",
	"ExtractAccessTokenFromTokenResponse", "ExtractExpiresInFromTokenEndpointResponse", "ValidateExpiresIn",
	"CheckForRefreshTokenValue", "ExtractIdTokenFromTokenResponse", "VerifyIdTokenSubConsistentHybridFlow",
}

// idTokenConditions look at an ID token.
var idTokenConditions = []string{
	"ValidateIdToken", "ValidateIdTokenStandardClaims", "ValidateIdTokenNonce", "ValidateIdTokenACRClaimAgainstRequest",
	"ValidateIdTokenSignature", "CheckForSubjectInIdToken", "EnsureIdTokenUpdatedAtValid", "ValidateEncryptedIdTokenHasKid",
}

// An idToken is a verified ID token.
type idToken struct {
	claims map[string]any
	// header is that of the signature.
	header jose.Header
	// front says that the authorization endpoint gave it.
	front bool
	// of is what came with it.
	of outcome
}

func (t idToken) text(claim string) string { text, _ := t.claims[claim].(string); return text }
func (t idToken) number(claim string) (float64, bool) {
	n, ok := t.claims[claim].(float64)
	return n, ok
}

// decode takes a signed JWT apart: the payload, the header, and whether a key of
// the server has signed it.
func (f *flow) decode(raw string) (claims map[string]any, header jose.Header, signed bool) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return nil, jose.Header{}, false
	}
	header = jws.Signatures[0].Protected
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims) != nil {
		return nil, header, false
	}
	for _, key := range f.keys.Key(header.KeyID) {
		if _, err := jws.Verify(key.Key); err == nil {
			return claims, header, true
		}
	}
	return claims, header, false
}

// judgeIDToken: OpenID Connect Core 1.0 §2, §3.1.3.7.
func (f *flow) judgeIDToken(o outcome, raw string, front bool) idToken {
	f.Helper()
	claims, header, signed := f.decode(raw)
	t := idToken{claims: claims, header: header, front: front, of: o}
	f.judge("ValidateIdTokenSignature", signed, raw)
	now := float64(f.house.clock.now().Unix())
	const skew = 5 * 60
	exp, hasExp := t.number("exp")
	iat, hasIat := t.number("iat")
	audience, isOne := claims["aud"].(string)
	if !isOne {
		list, _ := claims["aud"].([]any)
		for _, one := range list {
			if one == f.client.ID {
				audience = f.client.ID
			}
		}
	}
	f.judge("ValidateIdToken", t.text("iss") == issuer && audience == f.client.ID && hasExp && exp > now-skew && exp < now+50*365*24*3600 &&
		hasIat && math.Abs(now-iat) <= skew, claims)
	if authTime, there := claims["auth_time"]; there {
		at, isNumber := authTime.(float64)
		f.judge("ValidateIdToken", isNumber && at <= now+skew && at > now-365*24*3600, claims)
	}
	if acr, there := claims["acr"]; there {
		text, isText := acr.(string)
		f.judge("ValidateIdToken", isText && text != "", claims)
	}
	f.judge("ValidateIdTokenNonce", t.text("nonce") == o.sent.Get("nonce"), claims)
	f.judge("CheckForSubjectInIdToken", t.text("sub") != "" && len(t.text("sub")) <= 255, claims)
	f.judge("ValidateIdTokenStandardClaims", wrongClaims(claims) == nil, wrongClaims(claims))
	f.judge("EnsureIdTokenUpdatedAtValid", f.updated(claims), claims["updated_at"])
	// No module asks for an essential acr, nor for encryption.
	f.leave("ValidateIdTokenACRClaimAgainstRequest", "ValidateEncryptedIdTokenHasKid")
	if f.idToken != nil {
		f.idToken(t)
	}
	return t
}

// judgeTokens: RFC 6749 §5.1, OpenID Connect Core 1.0 §3.1.3.3.
func (f *flow) judgeTokens(o *outcome) {
	f.Helper()
	r := o.token
	f.stop("CheckTokenEndpointHttpStatus200", r.status == http.StatusOK, r.status, r.body)
	body := r.json()
	_, failed := body["error"]
	f.stop("CheckIfTokenEndpointResponseError", !failed, r.body)
	access, _ := body["access_token"].(string)
	f.stop("CheckForAccessTokenValue", access != "", r.body)
	f.judge("ExtractAccessTokenFromTokenResponse", access != "", r.body)
	o.accesses = append(o.accesses, access)
	f.expiresIn(body)
	// A refresh token may be given or not.
	f.leave("CheckForRefreshTokenValue")
	o.refresh, _ = body["refresh_token"].(string)
	raw, _ := body["id_token"].(string)
	f.stop("ExtractIdTokenFromTokenResponse", raw != "", r.body)
	o.raw = raw
	t := f.judgeIDToken(*o, raw, false)
	o.idTokens = append(o.idTokens, t)
	f.leave("VerifyIdTokenSubConsistentHybridFlow")
	if front, there := o.front(); there {
		f.judge("VerifyIdTokenSubConsistentHybridFlow", front.text("sub") == t.text("sub") && front.text("iss") == t.text("iss"), front.claims, t.claims)
	}
}

func (f *flow) expiresIn(body map[string]any) {
	seconds, isNumber := body["expires_in"].(float64)
	f.judge("ExtractExpiresInFromTokenEndpointResponse", isNumber, body["expires_in"])
	f.judge("ValidateExpiresIn", seconds > 0 && seconds <= 31536000, body["expires_in"])
}

// judgeError: OpenID Connect Core 1.0 §3.1.2.6, RFC 6749 §4.1.2.1.
func (f *flow) judgeError(q, answer url.Values) {
	f.Helper()
	f.judge("CheckStateInAuthorizationResponse", answer.Get("state") == q.Get("state"), answer)
	f.iss(answer)
	f.judge("EnsureErrorFromAuthorizationEndpointResponse", answer.Get("error") != "", answer)
	f.judge("RejectAuthCodeInAuthorizationEndpointResponse", !answer.Has("code"), answer)
	for name := range answer {
		f.judge("CheckForUnexpectedParametersInErrorResponseFromAuthorizationEndpoint",
			slices.Contains([]string{"error", "error_description", "error_uri", "state", "session_state", "iss"}, name), name)
	}
	description := answer.Get("error_description")
	f.judge("CheckErrorDescriptionFromAuthorizationEndpointResponseErrorContainsCRLFTAB", !strings.ContainsAny(description, "\r\n\t"), description)
	f.judge("ValidateErrorDescriptionFromAuthorizationEndpointResponseError", description == "" || errorText.MatchString(description), description)
	f.judge("ValidateErrorUriFromAuthorizationEndpointResponseError", !answer.Has("error_uri") || errorURI.MatchString(answer.Get("error_uri")), answer)
}

// RFC 6749 §4.1.2.1 and §5.2: %x20-21 / %x23-5B / %x5D-7E, without the space in a URI.
var (
	errorText = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)
	errorURI  = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
)

// judgeRefusal: RFC 6749 §5.2, invalid_grant.
func (f *flow) judgeRefusal(r response, texts bool) {
	f.Helper()
	body := r.json()
	text := func(member string) string { s, _ := body[member].(string); return s }
	f.judge("CheckTokenEndpointHttpStatus400", r.status == http.StatusBadRequest, r.status, r.body)
	f.judge("CheckTokenEndpointReturnedJsonContentType", r.isJSON(), r.header)
	f.judge("CheckErrorFromTokenEndpointResponseErrorInvalidGrant", text("error") == "invalid_grant", r.body)
	f.judge("ValidateErrorFromTokenEndpointResponseError", errorText.MatchString(text("error")), r.body)
	if !texts {
		return
	}
	description := text("error_description")
	f.judge("CheckErrorDescriptionFromTokenEndpointResponseErrorContainsCRLFTAB", !strings.ContainsAny(description, "\r\n\t"), description)
	f.judge("ValidateErrorDescriptionFromTokenEndpointResponseError", description == "" || errorText.MatchString(description), description)
	f.judge("ValidateErrorUriFromTokenEndpointResponseError", text("error_uri") == "" || errorURI.MatchString(text("error_uri")), r.body)
}

// judgeUserinfo: OpenID Connect Core 1.0 §5.3.2.
func (f *flow) judgeUserinfo(r response, o outcome) map[string]any {
	f.Helper()
	claims := r.json()
	f.stop("ExtractUserInfoFromUserInfoEndpointResponse", claims != nil, r.body)
	f.judge("ValidateUserInfoStandardClaims", wrongClaims(claims) == nil, wrongClaims(claims))
	sub, _ := claims["sub"].(string)
	f.judge("EnsureUserInfoContainsSub", sub != "", r.body)
	f.judge("EnsureUserInfoUpdatedAtValid", f.updated(claims), claims["updated_at"])
	names, _ := claims["_claim_names"].(map[string]any)
	sources, _ := claims["_claim_sources"].(map[string]any)
	f.leave("EnsureMemberValuesInClaimNameReferenceToMemberNamesInClaimSources")
	for name, source := range names {
		text, _ := source.(string)
		f.judge("EnsureMemberValuesInClaimNameReferenceToMemberNamesInClaimSources", sources[text] != nil, name)
	}
	f.leave("VerifyUserInfoAndIdTokenInAuthorizationEndpointSameSub", "VerifyUserInfoAndIdTokenInTokenEndpointSameSub")
	if front, there := o.front(); there {
		f.judge("VerifyUserInfoAndIdTokenInAuthorizationEndpointSameSub", front.text("sub") == sub, sub)
	}
	if back, there := o.back(); there {
		f.judge("VerifyUserInfoAndIdTokenInTokenEndpointSameSub", back.text("sub") == sub, sub)
	}
	return claims
}

// scopeClaims are those of OpenID Connect Core 1.0 §5.4.
var scopeClaims = map[string]string{
	"openid": "sub",
	"profile": "name given_name family_name middle_name nickname profile picture website gender birthdate zoneinfo locale" +
		" updated_at preferred_username",
	"email":   "email email_verified",
	"address": "address",
	"phone":   "phone_number phone_number_verified",
}

// missing are the claims that the scope asks for and that are not there.
func missing(claims map[string]any, scope string) (none []string) {
	for value := range strings.FieldsSeq(scope) {
		for name := range strings.FieldsSeq(scopeClaims[value]) {
			if _, there := claims[name]; !there {
				none = append(none, name)
			}
		}
	}
	return none
}

var birthdate = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}|\d{4})$`)

// wrongClaims names the claims of OpenID Connect Core 1.0 §5.1 that are not as they
// have to be; nil for none.
func wrongClaims(claims map[string]any) (wrong []string) {
	isText := func(value any) bool {
		text, ok := value.(string)
		return ok && strings.TrimSpace(text) != "" && !strings.EqualFold(text, "null")
	}
	for name, value := range claims {
		right := true
		switch name {
		case "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
			"website", "email", "gender", "zoneinfo", "locale", "phone_number", "sub":
			right = isText(value)
		case "birthdate":
			right = isText(value) && birthdate.MatchString(value.(string))
		case "email_verified", "phone_number_verified":
			_, right = value.(bool)
		case "updated_at":
			_, right = value.(float64)
		case "address":
			address, isObject := value.(map[string]any)
			right = isObject && len(address) > 0
			for _, part := range address {
				right = right && isText(part)
			}
		case "_claim_names", "_claim_sources":
			_, right = value.(map[string]any)
		}
		if !right {
			wrong = append(wrong, name)
		}
	}
	return wrong
}

// updated: an updated_at is neither to come nor older than the web.
func (f *flow) updated(claims map[string]any) bool {
	at, there := claims["updated_at"].(float64)
	return !there || at <= float64(f.house.clock.now().Unix()+300) && at > float64(time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
}

// halfHash is at_hash and c_hash (OpenID Connect Core 1.0 §3.3.2.11) by SHA-256,
// that of RS256, PS256 and ES256.
func halfHash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// entropy is Shannon's, in bits of the whole text.
func entropy(text string) float64 {
	count := map[rune]float64{}
	for _, r := range text {
		count[r]++
	}
	bits := 0.0
	for _, n := range count {
		p := n / float64(len(text))
		bits -= p * math.Log2(p)
	}
	return bits * float64(len(text))
}

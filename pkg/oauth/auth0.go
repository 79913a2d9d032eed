// The statuses and words of Auth0, which its SDKs look for.

package oauth

import (
	"errors"
	"net/http"
	"strings"
)

// A Case is a refusal that Auth0 answers otherwise than RFC 6749 §5.2 says.
type Case string

// The cases.
const (
	CaseCode            Case = "code"              // unknown, spent, another client's, another redirect_uri
	CaseVerifier        Case = "verifier"          // PKCE
	CaseRefreshToken    Case = "refresh token"     // unknown, expired, revoked, reused
	CasePassword        Case = "password"          // wrong name or password
	CaseBlocked         Case = "blocked"           // the user is blocked
	CaseGrantType       Case = "grant type"        // not allowed for the client
	CaseClient          Case = "client"            // client authentication failed
	CaseUnknownAudience Case = "unknown audience"  // there is no such API
	CaseClientGrant     Case = "client grant"      // the client has no grant for the API
	CaseTooManyAttempts Case = "too many attempts" // the login name is locked
	CaseDPoPNonce       Case = "dpop nonce"        // the proof needs a nonce
)

// Auth0 is the name of the profile.
const Auth0 = "auth0"

// answers are those of Auth0. %s is what the refusal is about.
var answers = map[Case]answer{
	CaseCode:         {http.StatusForbidden, InvalidGrant, "Invalid authorization code", ""},
	CaseVerifier:     {http.StatusForbidden, InvalidGrant, "Failed to verify code verifier", ""},
	CaseRefreshToken: {http.StatusForbidden, InvalidGrant, "Unknown or invalid refresh token.", ""},
	CasePassword:     {http.StatusForbidden, InvalidGrant, "Wrong email or password.", ""},
	CaseBlocked:      {http.StatusForbidden, InvalidGrant, "user is blocked", ""},
	CaseGrantType: {http.StatusForbidden, UnauthorizedClient, "Grant type '%s' not allowed for the client.",
		"https://auth0.com/docs/clients/client-grant-types"},
	CaseClient:          {http.StatusUnauthorized, AccessDenied, "Unauthorized", ""},
	CaseUnknownAudience: {http.StatusForbidden, AccessDenied, "Service not enabled within domain: %s", ""},
	CaseClientGrant: {http.StatusForbidden, AccessDenied,
		`Client is not authorized to access "%s". You need to create a "client-grant" associated to this API.`, ""},
	// Auth0 goes on to say that it has sent an e-mail. kmint has not.
	CaseTooManyAttempts: {http.StatusTooManyRequests, TooManyAttempts,
		"Your account has been blocked after multiple consecutive login attempts.", ""},
	CaseDPoPNonce: {http.StatusBadRequest, UseDPoPNonce, "Authorization server requires nonce in DPoP proof", ""},
}

type answer struct {
	status      int
	code        Code
	description string
	uri         string
}

// InProfile returns err as the caller of that error profile is to read it: as it
// is, or, in Auth0's, as the table says. What err was stays, for the log.
func InProfile(err error, profile string) error {
	if err == nil || profile != Auth0 {
		return err
	}
	refusal := (*Error)(nil)
	if !errors.As(err, &refusal) {
		return err
	}
	a, ok := answers[refusal.Case]
	if !ok {
		return err
	}
	if before, after, open := strings.Cut(a.description, "%s"); open {
		// Without it the sentence would say nothing: then our own has to do.
		a.description = before + refusal.about + after
		if refusal.about == "" {
			a.description = refusal.Description
		}
	}
	return &Error{Code: a.code, Description: a.description, Case: refusal.Case, about: refusal.about, status: a.status, uri: a.uri, cause: err}
}

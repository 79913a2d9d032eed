package oauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kmint/pkg/oauth"
)

// The statuses, codes and words are those that Auth0's token endpoint answers with,
// as its SDKs compare them.
func TestProfile(t *testing.T) {
	const hidden = "what-was-presented"
	cause := errors.New("wrong: " + hidden)
	for _, tt := range []struct {
		refusal *oauth.Error
		status  int
		body    string
	}{
		{oauth.InvalidGrant.Errorf("The authorization code is invalid.").Named(oauth.CaseCode), 403,
			`{"error":"invalid_grant","error_description":"Invalid authorization code"}`},
		{oauth.InvalidGrant.Errorf("The code_verifier is wrong.").Named(oauth.CaseVerifier), 403,
			`{"error":"invalid_grant","error_description":"Failed to verify code verifier"}`},
		{oauth.InvalidGrant.Errorf("Unknown or invalid refresh token.").Named(oauth.CaseRefreshToken), 403,
			`{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`},
		{oauth.InvalidGrant.Errorf("The username or the password is wrong.").Named(oauth.CasePassword), 403,
			`{"error":"invalid_grant","error_description":"Wrong email or password."}`},
		{oauth.InvalidGrant.Errorf("Unknown or invalid refresh token.").Named(oauth.CaseBlocked), 403,
			`{"error":"invalid_grant","error_description":"user is blocked"}`},
		{oauth.UnauthorizedClient.Errorf("It may not.").Named(oauth.CaseGrantType).About("client_credentials"), 403,
			`{"error":"unauthorized_client","error_description":"Grant type 'client_credentials' not allowed for the client.","error_uri":"https://auth0.com/docs/clients/client-grant-types"}`},
		{oauth.InvalidClient.Errorf("Client authentication failed.").Named(oauth.CaseClient), 401,
			`{"error":"access_denied","error_description":"Unauthorized"}`},
		{oauth.InvalidTarget.Errorf("There is no such API.").Named(oauth.CaseUnknownAudience).About("https://api.example.com/"), 403,
			`{"error":"access_denied","error_description":"Service not enabled within domain: https://api.example.com/"}`},
		{oauth.InvalidTarget.Errorf("There is no grant.").Named(oauth.CaseClientGrant).About("https://api.example.com/"), 403,
			`{"error":"access_denied","error_description":"Client is not authorized to access \"https://api.example.com/\". You need to create a \"client-grant\" associated to this API."}`},
		{oauth.InvalidGrant.Errorf("Too many attempts.").Named(oauth.CaseTooManyAttempts), 429,
			`{"error":"too_many_attempts","error_description":"Your account has been blocked after multiple consecutive login attempts."}`},
		{oauth.UseDPoPNonce.Errorf("A nonce is needed.").Named(oauth.CaseDPoPNonce), 400,
			`{"error":"use_dpop_nonce","error_description":"Authorization server requires nonce in DPoP proof"}`},
	} {
		t.Run(string(tt.refusal.Case), func(t *testing.T) {
			refusal := tt.refusal.Because(cause)
			for _, strict := range []string{"", "strict"} {
				if got := oauth.InProfile(refusal, strict); got != error(refusal) {
					t.Errorf("%q: %v", strict, got)
				}
			}
			// Whoever gave something back joins what came of that.
			got := oauth.AsError(oauth.InProfile(errors.Join(refusal, nil), oauth.Auth0))
			body, err := json.Marshal(got.Body())
			if err != nil {
				t.Fatal(err)
			}
			if got.Status() != tt.status || string(body) != tt.body {
				t.Errorf("answered %d %s", got.Status(), body)
			}
			if !errors.Is(got, cause) || !strings.Contains(got.Reason(), hidden) || !strings.Contains(got.Reason(), tt.refusal.Description) {
				t.Errorf("the log loses the cause: %s", got.Reason())
			}
		})
	}
}

// What Auth0 has no words for, and what is none of the caller's fault, stays.
func TestProfileLeavesTheRest(t *testing.T) {
	if err := oauth.InProfile(nil, oauth.Auth0); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		errors.New("table on fire"),
		fmt.Errorf("grant: %w", errors.New("table on fire")),
		oauth.TemporarilyUnavailable.Errorf("Busy."),
		oauth.InvalidRequest.Errorf("The grant_type is missing."),
		oauth.InvalidScope.Errorf("Nothing of the scope was granted."),
		oauth.InvalidDPoPProof.Errorf("The DPoP proof is invalid."),
		oauth.InvalidRequest.Errorf("A case of tomorrow.").Named("tomorrow"),
	} {
		if got := oauth.InProfile(err, oauth.Auth0); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// A name comes from the request: it can break neither header nor log, and without it
// the words are our own.
func TestProfileNames(t *testing.T) {
	about := func(name string) string {
		refusal := oauth.InvalidTarget.Errorf("There is no such API.").Named(oauth.CaseUnknownAudience).About(name)
		return oauth.AsError(oauth.InProfile(refusal, oauth.Auth0)).Description
	}
	if got := about("a\"b\r\nSet-Cookie: x\\é%s"); got != "Service not enabled within domain: a'b??Set-Cookie: x???%s" {
		t.Errorf("%q", got)
	}
	if got := about(strings.Repeat("x", 64<<10)); len(got) > 3000 {
		t.Errorf("%d bytes", len(got))
	}
	if got := about(""); got != "There is no such API." {
		t.Errorf("%q", got)
	}
}

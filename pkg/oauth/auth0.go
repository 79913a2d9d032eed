// The statuses and words of Auth0, which its SDKs look for.

package oauth

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

// InProfile returns err as the caller of that error profile is to read it: as it is,
// or, in Auth0's, as the table says.
func InProfile(err error, profile string) error {
	if err == nil || profile != Auth0 {
		return err
	}
	return err
}

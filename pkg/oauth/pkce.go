// Proof Key for Code Exchange (RFC 7636). Only S256: RFC 9700 §2.1.1 asks for a
// challenge that does not expose the verifier in the authorization request.

package oauth

import (
	"crypto/sha256"
	"encoding/base64"
)

// S256 is the one code_challenge_method.
const S256 = "S256"

// A Challenge is a code_challenge made by S256: 43 characters.
type Challenge string

// ParseChallenge checks a code_challenge. RFC 7636 §4.2:
// code_challenge = BASE64URL-ENCODE(SHA256(ASCII(code_verifier))).
func ParseChallenge(s string) (Challenge, error) {
	if !IsID(s) { // 256 bits in the same form
		return "", InvalidRequest.Errorf("The code_challenge is not the base64url form of a SHA-256.")
	}
	return Challenge(s), nil
}

// ChallengeOf computes the challenge that the verifier answers. RFC 7636 §4.1:
// code-verifier = 43*128unreserved.
func ChallengeOf(verifier string) (Challenge, error) {
	if len(verifier) < 43 || len(verifier) > 128 {
		return "", InvalidGrant.Errorf("The code_verifier must have 43 to 128 characters.").Named(CaseVerifier)
	}
	for i := range len(verifier) {
		if !unreserved(verifier[i]) {
			return "", InvalidGrant.Errorf("The code_verifier contains a character that RFC 7636 does not allow.").Named(CaseVerifier)
		}
	}
	sum := sha256.Sum256([]byte(verifier))
	return Challenge(base64.RawURLEncoding.EncodeToString(sum[:])), nil
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

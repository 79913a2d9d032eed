package oauth

import "strings"

// A TokenResponse is the successful response of RFC 6749 §5.1 with the ID token
// of OpenID Connect Core 1.0 §3.1.3.3. It carries secrets: it is written to the
// caller and nowhere else.
type TokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	// ExpiresIn is in seconds.
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	// Scope is what was granted.
	Scope string `json:"scope,omitempty"`
	// IssuedTokenType is from RFC 8693 §2.2.1.
	IssuedTokenType string `json:"issued_token_type,omitempty"`
}

// Values of token_type.
const (
	Bearer = "Bearer" // RFC 6750
	DPoP   = "DPoP"   // RFC 9449 §5
	NA     = "N_A"    // RFC 8693 §2.2.1: the token is no access token
)

// BearerToken takes the token from an Authorization header (RFC 6750 §2.1).
// Scheme names are case-insensitive (RFC 9110 §11.1).
func BearerToken(authorization Secret) (Secret, bool) {
	scheme, token, ok := strings.Cut(authorization.Reveal(), " ")
	if !ok || !strings.EqualFold(scheme, Bearer) || token == "" {
		return "", false
	}
	return Secret(strings.TrimLeft(token, " ")), true
}

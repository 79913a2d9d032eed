// Logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.4).

package token

import (
	"context"
	"fmt"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// LogoutTokenLifetime is how long a logout token is good. §2.4: "preferably at most two
// minutes in the future, to prevent captured Logout Tokens from being replayable".
const LogoutTokenLifetime = 2 * time.Minute

// loggedOut is the event that a logout token tells of.
const loggedOut = "http://schemas.openid.net/event/backchannel-logout"

// A Logout is the end of a session, told to a client.
type Logout struct {
	ClientID  string
	Subject   string
	SessionID string
	// Algorithm is that of the client's ID tokens, "" for RS256.
	Algorithm string
}

// LogoutToken mints the logout token. It says both whose session it was and which, has
// a typ of its own, and never a nonce: it passes for no ID token.
func (i Issuer) LogoutToken(ctx context.Context, l Logout) (string, error) {
	iss, err := i.Issuers.Issuer(ctx)
	if err != nil {
		return "", fmt.Errorf("token: issuer: %w", err)
	}
	now := i.Now()
	return jwt.Sign(ctx, i.Signer, jwt.Choice{Algorithm: l.Algorithm}, jwt.TypLogoutToken, map[string]any{
		"iss": iss, "aud": l.ClientID, "sub": l.Subject, "sid": l.SessionID,
		"iat": now.Unix(), "exp": now.Add(LogoutTokenLifetime).Unix(), "jti": oauth.NewID(),
		"events": map[string]any{loggedOut: map[string]any{}},
	})
}

package grant

import (
	"context"
	"errors"
	"log/slog"

	"kmint/pkg/audit"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// outcomes are what a request for a grant type becomes.
var outcomes = map[string]struct{ given, refused audit.Event }{
	oauth.AuthorizationCode: {audit.CodeExchanged, audit.CodeExchangeFailed},
	oauth.ClientCredentials: {audit.ClientCredentials, audit.ClientCredentialsFailed},
	oauth.RefreshToken:      {audit.Refreshed, audit.RefreshFailed},
	oauth.Password:          {audit.PasswordGrant, audit.PasswordGrantFailed},
	oauth.PasswordRealm:     {audit.PasswordGrant, audit.PasswordGrantFailed},
	oauth.TokenExchange:     {audit.TokenExchange, audit.TokenExchangeFailed},
	"":                      {audit.TokenRequestFailed, audit.TokenRequestFailed},
}

// became records what a request became: not given, and without an error, it has
// panicked. Of a client that has not proven itself it has Auth0's code for the grant
// type that it wanted.
func became(ctx context.Context, grantType string, given bool, err error) {
	if _, known := outcomes[grantType]; !known {
		grantType = ""
	}
	outcome := outcomes[grantType]
	attrs := []slog.Attr{}
	if grantType != "" {
		attrs = append(attrs, slog.String("grant_type", grantType))
	}
	event := outcome.refused
	switch refusal := (*oauth.Error)(nil); {
	case given:
		event = outcome.given
	case errors.As(err, &refusal) && refusal.Code == oauth.InvalidClient:
		event, attrs = audit.ClientAuthFailed, append(attrs, slog.String("auth0", audit.Kinds()[outcome.refused].Auth0))
	case errors.Is(err, store.ErrReplayed) && grantType == oauth.RefreshToken:
		event = audit.RefreshReused
	case errors.Is(err, store.ErrReplayed):
		event = audit.CodeReplayed
	}
	audit.Happened(ctx, event, attrs...)
}

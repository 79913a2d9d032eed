// The authorization code (RFC 6749 §4.1.2).

package authorize

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// putCode writes the grant under the digest of a new code, and beside it what
// becomes of the session: nothing is answered that was not written. The grant
// holds all that the code exchange needs, which reads nothing else.
func (e Endpoint) putCode(ctx context.Context, t target, a ask, p person) (oauth.Secret, error) {
	code := oauth.NewHandle(oauth.CodePrefix)
	now := e.Now()
	end, kept := policy.GrantEnds(t.client, a.apis, a.granted, now)
	facts := token.FactsOf(p.user, t.client, a.settings.Claims, a.granted)
	g := store.Grant{
		ID:           string(code.Digest()),
		ClientID:     t.client.ID,
		Subject:      p.user.Subject,
		RedirectURI:  t.redirectURI,
		RedirectSent: t.named,
		Challenge:    a.challenge,
		Nonce:        a.nonce,
		Scope:        a.granted,
		Requested:    a.requested,
		AuthTime:     p.session.AuthTime,
		SessionID:    p.session.ID,
		Online:       a.granted.Has(oauth.OnlineAccess),
		Claims:       facts.IDToken,
		AccessClaims: facts.AccessToken,
		CodeKey:      a.key,
		Created:      now,
		CodeExpires:  now.Add(policy.CodeLifetime),
		End:          end,
		Kept:         kept,
	}
	for _, api := range a.apis {
		g.Audience = append(g.Audience, api.Identifier)
	}
	write, writeCtx := errgroup.WithContext(ctx)
	write.Go(func() error {
		if err := e.Codes.PutGrant(writeCtx, g); err != nil {
			return fmt.Errorf("authorize: code: %w", err)
		}
		return nil
	})
	write.Go(func() error {
		if p.handle != "" {
			return e.Sessions.Begin(writeCtx, p.session, p.old)
		}
		// A session that is not renewed ends sooner: no reason to refuse the code.
		if err := e.Sessions.Renew(writeCtx, p.session); err != nil {
			web.Annotate(ctx, slog.String("renewal", err.Error()))
		}
		return nil
	})
	if err := write.Wait(); err != nil {
		return "", err
	}
	web.Annotate(ctx, slog.String("grant", g.ID))
	return code, nil
}

// What a login grants: the code (RFC 6749 §4.1.2), and the tokens that leave from here
// (RFC 6749 §4.2.2, OpenID Connect Core 1.0 §3.2.2.5, §3.3.2.5).

package authorize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/session"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// grant writes what is granted, then signs what leaves from here, and returns the
// parameters of the answer: nothing is answered that was not written, so that all of
// it can be revoked.
func (e Endpoint) grant(ctx context.Context, t target, a ask, p person) (url.Values, error) {
	answer := url.Values{}
	var code oauth.Secret
	g := store.Grant{ID: oauth.NewID()}
	if t.asked.Code {
		code = oauth.NewHandle(oauth.CodePrefix)
		g.ID = string(code.Digest())
		answer.Set("code", code.Reveal())
	}
	facts := token.FactsOf(p.user, t.client, a.settings.Claims, a.granted)
	facts.IDToken = a.claims.IDTokenClaims(p.user, facts.IDToken)
	g = e.granted(g, t, a, p, facts)
	// Nothing can come of none: "The Authorization Server SHOULD NOT return an OAuth 2.0
	// Authorization Code, Access Token, Access Token Type, or ID Token" (OAuth 2.0
	// Multiple Response Type Encoding Practices §4).
	if err := e.write(ctx, g, t.asked != oauth.ResponseType{}, p); err != nil {
		return nil, err
	}
	if !t.asked.Front() {
		return answer, nil
	}
	return answer, e.sign(ctx, answer, t, a, g, code, facts)
}

// granted is the grant: unspent under the digest of a code, and born spent where
// there is none. It holds all that the code exchange needs, which reads nothing else.
func (e Endpoint) granted(g store.Grant, t target, a ask, p person, facts token.Facts) store.Grant {
	now := e.Now()
	g.ClientID = t.client.ID
	g.Subject = p.user.Subject
	g.Scope, g.Requested = a.granted, a.requested
	for _, api := range a.apis {
		g.Audience = append(g.Audience, api.Identifier)
	}
	g.AuthTime = p.session.AuthTime
	g.SessionID = p.session.ID
	g.Online = a.granted.Has(oauth.OnlineAccess)
	g.Asked = a.asked
	g.Created = now
	g.End, g.Kept = policy.GrantEnds(t.client, a.apis, a.granted, now)
	if !t.asked.Code {
		g.Spent, g.By = now, oauth.NewID()
		return g
	}
	g.RedirectURI, g.RedirectSent = t.redirectURI, t.named
	g.Challenge, g.CodeKey = a.challenge, a.key
	g.Nonce = a.nonce
	g.Claims, g.AccessClaims = facts.IDToken, facts.AccessToken
	g.CodeExpires = now.Add(policy.CodeLifetime)
	g.Front = t.asked.Front()
	return g
}

// write writes the grant, unless nothing hangs on it, and beside it what becomes of
// the session.
func (e Endpoint) write(ctx context.Context, g store.Grant, needed bool, p person) error {
	write, writeCtx := errgroup.WithContext(ctx)
	if needed {
		web.Annotate(ctx, slog.String("grant", g.ID))
		write.Go(func() error {
			if err := e.Codes.PutGrant(writeCtx, g); err != nil {
				return fmt.Errorf("authorize: grant: %w", err)
			}
			return nil
		})
	}
	write.Go(func() error { return e.keep(writeCtx, p, g.ClientID) })
	return write.Wait()
}

// keep writes what becomes of the session: from now on it knows that it has logged the
// client in, which is to hear of its end.
func (e Endpoint) keep(ctx context.Context, p person, clientID string) error {
	if p.handle != "" {
		p.session.Clients = []string{clientID}
		return e.Sessions.Begin(ctx, p.session, p.old)
	}
	if !slices.Contains(p.session.Clients, clientID) {
		err := e.Sessions.Join(ctx, p.session, clientID)
		if errors.Is(err, session.ErrNone) {
			return oauth.LoginRequired.Errorf("The session has just ended.").Because(err)
		}
		return err
	}
	// A session that is not renewed ends sooner: no reason to refuse the code.
	if err := e.Sessions.Renew(ctx, p.session); err != nil {
		web.Annotate(ctx, slog.String("renewal", err.Error()))
	}
	return nil
}

// sign adds to the answer the tokens that leave from here.
func (e Endpoint) sign(ctx context.Context, answer url.Values, t target, a ask, g store.Grant, code oauth.Secret, facts token.Facts) error {
	authorization := token.Authorization{
		GrantID: g.ID, ClientID: g.ClientID, GrantType: oauth.Implicit, Subject: g.Subject, Scope: g.Scope, Audience: g.Audience,
		Claims: token.ClientClaims(t.client, a.settings.Claims, g.Scope),
		Person: &token.Person{
			AuthTime: g.AuthTime, Nonce: a.nonce, SessionID: g.SessionID, Online: g.Online, Asked: g.Asked,
			Facts: func(context.Context) (token.Facts, error) { return facts, nil },
			Waits: true, // for what is here already
		},
		Format: a.format, IDTokenAlgorithm: t.client.IDTokenAlgorithm,
		Front: true, Code: code,
	}
	switch {
	case !t.asked.IDToken:
		authorization.Only = oauth.AccessTokenType
	case !t.asked.Token:
		authorization.Only = oauth.IDTokenType
	}
	response, err := e.Tokens.Issue(ctx, authorization)
	if err != nil {
		return err
	}
	if !t.asked.Token {
		answer.Set("id_token", response.AccessToken) // the one that was asked for, whatever its type
		return nil
	}
	// RFC 6749 §4.2.2: "The authorization server MUST NOT issue a refresh token."
	answer.Set("access_token", response.AccessToken)
	answer.Set("token_type", response.TokenType)
	answer.Set("expires_in", strconv.FormatInt(response.ExpiresIn, 10))
	if response.Scope != "" {
		answer.Set("scope", response.Scope)
	}
	if response.IDToken != "" {
		answer.Set("id_token", response.IDToken)
	}
	return nil
}

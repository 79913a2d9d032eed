package property

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/oauth"
)

// An accessToken is one that was issued.
type accessToken struct {
	claim
	text string
	// person is false of those that speak for a client in its own name.
	person  bool
	subject string
	// login is where it came from, nil for none that is known.
	login   *login
	revoked bool
}

// ended says why an access token counts no more, "" if it may.
func (h *history) ended(a *accessToken) string {
	user := h.users[a.subject]
	switch {
	case a.revoked:
		return "it is revoked"
	case h.now.Unix() >= a.Expiry:
		return "it has expired"
	case a.login != nil && a.login.revoked:
		return "its grant is revoked"
	case a.person && user.Blocked:
		return "the person is blocked"
	case a.login != nil && !user.NotBefore.IsZero() && a.login.AuthTime.Before(user.NotBefore):
		return "the person's logins were ended"
	case a.login != nil && a.login.AuthTime.Before(h.settings.NotBefore):
		return "all logins were ended"
	}
	return ""
}

func (h *history) anyAccess(t *rapid.T) *accessToken {
	return h.access[len(h.access)-1-rapid.IntRange(0, min(5, len(h.access)-1)).Draw(t, "access token")]
}

func (h *history) password(t *rapid.T) {
	subject := userName(rapid.IntRange(0, 1).Draw(t, "user"))
	right := !oneIn(t, 6, "wrong password")
	params := url.Values{"grant_type": {oauth.Password}, "username": {subject + "@example.com"}, "password": {password}}
	if !right {
		params.Set("password", "a guess")
	}
	asked, targets := h.wants(t, params, everything(), h.named())
	f := h.finishForm(t, form{params: params, client: h.anyClient(t), prover: anyProver(t)})
	a := h.send(t, f)
	if !a.ok() {
		return
	}
	switch {
	case !right:
		t.Fatal("a guess is as good as the password")
	case !h.settings.LegacyPassword:
		t.Fatal("the server does not allow passwords")
	case h.users[subject].Blocked:
		t.Fatal("the person is blocked")
	}
	l := &login{spent: true, bound: f.prover != nil, key: thumbprint(f.prover)}
	if f.client.AuthMethod != oauth.None {
		l.key = ""
	}
	l.ClientID, l.Subject, l.Scope, l.Requested, l.AuthTime = f.client.ID, subject, asked, asked, h.now
	l.End = h.now.Add(time.Duration(f.client.Refresh.Lifetime) * time.Second)
	all, _, err := h.claims(a.text("access_token"))
	if err != nil {
		t.Fatalf("the access token: %v", err)
	}
	c := convert[claim](all)
	l.ID = c.GrantID
	l.Audience = slices.DeleteFunc(c.Audience, func(a string) bool { return a == userinfo })
	if !subset(c.scope(), asked) {
		t.Fatal("there is a scope that nobody asked for")
	}
	h.person(t, l, f, a, asked, targets)
	h.first(l, f, a)
}

// first keeps the first refresh token of a login.
func (h *history) first(l *login, f form, a answer) {
	if text := a.text("refresh_token"); text != "" {
		l.current, l.idle = text, h.now.Add(time.Duration(f.client.Refresh.IdleLifetime)*time.Second)
		h.tokens = append(h.tokens, &refreshToken{l, text})
	}
}

// exchangeToken exchanges an access token (RFC 8693).
func (h *history) exchangeToken(t *rapid.T) {
	if len(h.access) == 0 {
		h.clientCredentials(t)
		return
	}
	subject := h.anyAccess(t)
	params := url.Values{"grant_type": {oauth.TokenExchange}, "subject_token": {subject.text}, "subject_token_type": {oauth.AccessTokenType}}
	wanted := one(t, "wanted", oauth.AccessTokenType, oauth.AccessTokenType, oauth.AccessTokenType, oauth.RefreshTokenType)
	if wanted != oauth.AccessTokenType {
		params.Set("requested_token_type", wanted)
	}
	asked, targets := h.wants(t, params, everything(), h.named())
	c := h.anyClient(t)
	if rapid.Bool().Draw(t, "its own client") {
		c = h.clients[subject.client()]
	}
	f := h.finishForm(t, form{params: params, client: c, prover: proverOf(t, subject.Key.Thumbprint, subject.Key.Thumbprint != "")})
	a := h.send(t, f)
	if !a.ok() {
		return
	}
	if why := h.ended(subject); why != "" {
		t.Fatalf("the subject_token was exchanged: %s", why)
	}
	switch {
	case !c.Exchange.Impersonation:
		t.Fatal("the client may not exchange a subject_token alone")
	case subject.client() != c.ID && (c.ResourceServer == "" || !slices.Contains(subject.Audience, c.ResourceServer)):
		t.Fatal("the subject_token is neither the client's nor for the API that it is")
	case a.text("issued_token_type") != wanted:
		t.Fatalf("the token is %s", a.text("issued_token_type"))
	case subject.Key.Thumbprint != "" && f.prover == nil:
		t.Fatal("a bound token was exchanged without a proof")
	case subject.Key.Thumbprint != "" && c.AuthMethod == oauth.None && f.prover.thumbprint != subject.Key.Thumbprint:
		t.Fatal("a bound token was exchanged by a public client with another key")
	}
	if wanted == oauth.RefreshTokenType {
		h.exchangedRefresh(t, subject, f, a)
		return
	}
	h.mint(t, bound{
		client: c, subject: subject.subject, person: subject.person, scope: subject.scope(), asked: asked, targets: targets, key: thumbprint(f.prover),
		foreign: func(api string) bool { return !slices.Contains(subject.Audience, api) },
		expiry:  subject.Expiry, login: subject.login,
	}, a)
}

// exchangedRefresh uses a refresh token that was made of an access token: what that
// was bound to, and what it might do, is still true of what comes of it.
func (h *history) exchangedRefresh(t *rapid.T, subject *accessToken, f form, a answer) {
	held := subject.scope()
	if !subject.person || !slices.Contains(held, oauth.OfflineAccess) && !slices.Contains(held, oauth.OnlineAccess) {
		t.Fatal("a refresh token was made of a token that allows none")
	}
	h.seen["refresh token that was exchanged for"]++
	params := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {a.text("access_token")}}
	refreshed := form{params: params, client: f.client}
	if f.prover != nil {
		if answer := h.send(t, refreshed); answer.ok() {
			t.Fatal("a refresh token made with a proof is not bound")
		}
		refreshed.prover = f.prover
	}
	answer := h.send(t, refreshed)
	if !answer.ok() {
		return
	}
	h.mint(t, bound{
		client: f.client, subject: subject.subject, person: true, scope: held, key: thumbprint(f.prover),
		foreign: func(api string) bool { return !slices.Contains(subject.Audience, api) }, login: subject.login,
	}, answer)
}

// neighbour asks one of the other endpoints.
func (h *history) neighbour(t *rapid.T, f form) answer {
	a := h.post(f)
	t.Logf("%s %s %v: %d %s", f.path, f.client.ID, f.params, a.status, a.raw)
	if a.status >= 300 {
		if excess := wrong(a); excess != "" {
			t.Fatalf("%s: %d %s", excess, a.status, a.raw)
		}
	}
	return a
}

// revoke ends a token, or not: where it is another's.
func (h *history) revoke(t *rapid.T) {
	if !oneIn(t, 3, "does it") {
		return
	}
	if rapid.Bool().Draw(t, "a refresh token") && len(h.tokens) > 0 {
		token := h.anyToken(t)
		c := h.whoAsks(t, token.login)
		a := h.neighbour(t, form{path: revokePath, client: c, params: url.Values{"token": {token.text}}})
		// RFC 7009 §2.1: one that was rotated is a token of the grant too.
		if a.ok() && c.ID == token.ClientID {
			token.revoked = true
			h.seen["refresh token revoked"]++
		}
		return
	}
	if len(h.access) == 0 {
		h.clientCredentials(t)
		return
	}
	access := h.anyAccess(t)
	c := h.clients[access.client()]
	if oneIn(t, 4, "another client") {
		c = h.anyClient(t)
	}
	a := h.neighbour(t, form{path: revokePath, client: c, params: url.Values{"token": {access.text}}})
	if a.ok() && c.ID == access.client() && h.ended(access) == "" {
		access.revoked = true
		h.seen["access token revoked"]++
	}
}

// introspect: an API sees tokens that are for it, and a client its own, as long as
// they count.
func (h *history) introspect(t *rapid.T) {
	if len(h.access) == 0 {
		h.clientCredentials(t)
		return
	}
	access := h.anyAccess(t)
	c := h.anyClient(t)
	if rapid.Bool().Draw(t, "its own client") {
		c = h.clients[access.client()]
	}
	a := h.neighbour(t, form{path: introspectPath, client: c, params: url.Values{"token": {access.text}}})
	switch {
	case !a.ok():
	case a.body["active"] != true:
		if len(a.body) != 1 {
			t.Fatalf("an inactive token says more: %s", a.raw)
		}
		h.seen["inactive token"]++
	default:
		h.seen["active token"]++
		if why := h.ended(access); why != "" {
			t.Fatalf("a token is active: %s", why)
		}
		if c.ID != access.client() && !slices.Contains(access.Audience, c.ResourceServer) {
			t.Fatal("a token of others is shown")
		}
		if !subset(strings.Fields(a.text("scope")), access.scope()) {
			t.Fatalf("the scope is %q, not %q", a.text("scope"), access.Scope)
		}
		if a.body["cnf"] == nil && access.Key.Thumbprint != "" {
			t.Fatal("introspection does not say that the token is bound")
		}
	}
}

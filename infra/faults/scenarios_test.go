package faults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

// A scenario is one request that goes well unless something is in its way.
type scenario struct {
	name string
	// start makes all that must be there before.
	start func(r *rig) (attempt, error)
	// first befalls the request in every cell; none unless set. The cells are then the
	// calls that follow from it.
	first []planned
	// of is the scenario that it is but for that.
	of string
}

// An attempt is the request of a scenario.
type attempt struct {
	// make makes it, with assertions and proofs that nobody has seen.
	make func() request
	// done looks at what came of it, once it was answered well. q is what was sent.
	done func(a answer, q request) error
	// replay reports whether the request, no answer having come, would be a second use
	// of what is good once; nil for never.
	replay func() (bool, error)
	// grant is the one that a replay ends.
	grant string
}

func scenarios() []scenario {
	web, leeway := proofs{client: "web"}, proofs{client: "web-leeway"}
	webJWT := proofs{client: "web-jwt", method: oauth.PrivateKeyJWT}
	webBoth := proofs{client: "web-both", method: oauth.PrivateKeyJWT, dpop: true}
	spa := proofs{client: "spa", method: oauth.None, dpop: true, nonce: true}
	spaLeeway := proofs{client: "spa-leeway", method: oauth.None, dpop: true}
	static := proofs{client: "web-static", dpop: true}
	api := proofs{client: "api"}
	apiJWT := proofs{client: "api-jwt", method: oauth.PrivateKeyJWT}
	const offline, identified = "read:orders offline_access", "openid profile read:orders offline_access"
	plain := []scenario{
		{name: "client_credentials", start: machine(proofs{client: "service"}, orders)},
		{name: "client_credentials, private_key_jwt", start: machine(proofs{client: "service-jwt", method: oauth.PrivateKeyJWT}, orders)},
		{name: "client_credentials, client_secret_jwt", start: machine(proofs{client: "batch", method: oauth.ClientSecretJWT}, orders)},
		{name: "client_credentials, DPoP", start: machine(proofs{client: "service-dpop", dpop: true}, orders)},
		{name: "client_credentials, private_key_jwt and DPoP with nonce", start: machine(proofs{client: "service-both", method: oauth.PrivateKeyJWT, dpop: true, nonce: true}, orders)},
		{name: "client_credentials, opaque", start: machine(proofs{client: "service"}, reports)},

		{name: "code", start: code(web, "read:orders", orders)},
		{name: "code, openid", start: code(web, identified, orders)},
		{name: "code, private_key_jwt", start: code(webJWT, offline, orders)},
		{name: "code, DPoP with nonce", start: code(spa, identified, orders)},
		{name: "code, private_key_jwt and DPoP", start: code(webBoth, identified, orders)},
		{name: "code, opaque", start: code(web, "openid read:reports offline_access", reports)},

		{name: "refresh", start: refresh(web, offline)},
		{name: "refresh, openid", start: refresh(web, identified)},
		{name: "refresh, online", start: refresh(web, "openid read:orders online_access")},
		{name: "refresh, leeway", start: refresh(leeway, offline)},
		{name: "refresh, leeway, openid", start: refresh(leeway, identified)},
		{name: "refresh, private_key_jwt", start: refresh(webJWT, offline)},
		{name: "refresh, private_key_jwt and DPoP", start: refresh(webBoth, identified)},
		{name: "refresh, DPoP with nonce", start: refresh(spa, identified)},
		{name: "refresh, DPoP, leeway", start: refresh(spaLeeway, identified)},
		{name: "refresh, non-rotating", start: refresh(static, identified)},
		{name: "refresh, exchanged", start: exchangedRefresh(web, api)},

		{name: "password", start: passwordGrant(proofs{client: "legacy"})},
		{name: "exchange", start: exchange(web, api, "")},
		{name: "exchange for a refresh token", start: exchange(web, api, oauth.RefreshTokenType)},

		{name: "revoke a refresh token", start: revoke(web, "refresh_token", orders)},
		{name: "revoke a JWT", start: revoke(web, "access_token", orders)},
		{name: "revoke an opaque token", start: revoke(web, "access_token", reports)},
		{name: "revoke, private_key_jwt", start: revoke(webJWT, "refresh_token", orders)},
		{name: "introspect a JWT", start: introspect(web, api, "access_token", orders)},
		{name: "introspect an opaque token", start: introspect(web, web, "access_token", reports)},
		{name: "introspect a refresh token", start: introspect(web, web, "refresh_token", orders)},
		{name: "introspect, private_key_jwt", start: introspect(web, apiJWT, "access_token", orders)},
		{name: "userinfo", start: userinfo(web, orders)},
		{name: "userinfo, opaque", start: userinfo(web, reports)},
		{name: "userinfo, DPoP with nonce", start: userinfo(spa, orders)},

		{name: "authorize, no session", start: visit},
		{name: "authorize, login", start: logIn(false)},
		{name: "authorize, login once more", start: logIn(true)},
		{name: "authorize, session", start: resume("web", "code", identified)},
		{name: "authorize, silent", start: silent},
		{name: "authorize, hybrid", start: resume("hybrid", "code id_token token", identified)},
		{name: "authorize, implicit", start: resume("hybrid", "id_token token", "openid read:orders")},
		{name: "authorize, consent page", start: consentPage},
		{name: "authorize, consent", start: consentForm},
		{name: "what was allowed", start: consentsPage},
		{name: "what was allowed, withdrawn", start: withdraw},
		{name: "where one is logged in", start: sessionsPage},
		{name: "where one is logged in, ended there", start: endSessions(1)},
		{name: "where one is logged in, ended everywhere else", start: endSessions(2)},

		{name: "logout", start: leave},
		{name: "logout, asked", start: leavePage},
		{name: "logout, confirmed", start: leaveForm},
		{name: "discovery", start: document("/.well-known/openid-configuration", "issuer")},
		{name: "discovery, keys", start: document("/.well-known/jwks.json", "keys")},
		{name: "deliver", start: deliver},
	}
	// What a fault brings about are calls too: those that give back what was spent.
	sign := planned{callID{"kms.Sign", 1, 1}, fault{internal, true}}
	person := planned{callID{"dynamodb.GetItem user#", 1, 1}, fault{internal, true}}
	spent := planned{callID{"dynamodb.UpdateItem grant# SET spent", 1, 1}, fault{resetAfter, true}}
	unspent := planned{callID{"dynamodb.UpdateItem grant# SET spent", 1, 1}, fault{resetBefore, true}}
	rotated := planned{callID{"dynamodb.UpdateItem grant# SET previous", 1, 1}, fault{resetAfter, true}}
	unrotated := planned{callID{"dynamodb.UpdateItem grant# SET previous", 1, 1}, fault{resetBefore, true}}
	taken := planned{callID{"dynamodb.PutItem once#", 1, 1}, fault{resetAfter, true}}
	for _, after := range []struct {
		name  string
		of    []string
		first planned
	}{
		{"no signature", []string{
			"client_credentials, private_key_jwt and DPoP with nonce", "code, openid", "code, private_key_jwt and DPoP",
			"refresh, openid", "refresh, leeway, openid", "refresh, private_key_jwt and DPoP",
		}, sign},
		{"no person", []string{"refresh", "refresh, DPoP with nonce"}, person},
		{"spent, the answer lost", []string{"code", "code, private_key_jwt and DPoP"}, spent},
		{"not spent, the answer lost", []string{"code"}, unspent},
		{"rotated, the answer lost", []string{"refresh", "refresh, leeway", "refresh, private_key_jwt and DPoP"}, rotated},
		{"not rotated, the answer lost", []string{"refresh"}, unrotated},
		{"a jti taken, the answer lost", []string{"client_credentials, DPoP", "code, private_key_jwt and DPoP", "introspect, private_key_jwt"}, taken},
	} {
		for _, of := range after.of {
			i := slices.IndexFunc(plain, func(s scenario) bool { return s.name == of })
			plain = append(plain, scenario{of + "; " + after.name, plain[i].start, []planned{after.first}, of})
		}
	}
	return plain
}

// person makes somebody with a name of their own.
func (r *rig) person() (store.User, error) {
	u := store.User{Subject: oauth.NewID(), PasswordHash: r.hash, Profile: map[string]any{"name": "Demo User"}}
	u.Username = u.Subject + "@example.com"
	return u, r.store.PutUser(context.Background(), u)
}

// browser puts somebody into a session, and returns the handle that their browser holds.
func (r *rig) browser(subject string, clients ...string) (handle string, err error) {
	s, secret := session.Keeper{Now: time.Now}.New(subject)
	s.Clients = clients
	return secret.Reveal(), r.store.PutSession(context.Background(), s)
}

const (
	verifier      = "a-code-verifier-of-sufficient-length-for-everyone"
	sessionCookie = "__Host-kmint_session"
	browserCookie = "__Host-kmint_login"
)

// front is a request to the authorization endpoint.
func front(client, responseType, scope, audience, handle string, more ...string) request {
	challenge, err := oauth.ChallengeOf(verifier)
	if err != nil {
		panic(err)
	}
	q := url.Values{
		"client_id": {client}, "redirect_uri": {callback}, "response_type": {responseType}, "scope": {scope}, "audience": {audience},
		"state": {"s"}, "nonce": {"n"}, "code_challenge": {string(challenge)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	out := request{function: "authorize", method: http.MethodGet, target: "/authorize?" + q.Encode(), header: http.Header{}}
	if handle != "" {
		out.header.Set("Cookie", sessionCookie+"="+handle)
	}
	return out
}

// newCode gets a code for somebody who is in a session.
func (r *rig) newCode(client, scope, audience string) (string, error) {
	handle, err := r.browser(r.anyone.Subject, client)
	if err != nil {
		return "", err
	}
	a := r.ask(front(client, "code", scope, audience, handle))
	code := a.location().Get("code")
	if code == "" {
		return "", fmt.Errorf("no code: %s", a)
	}
	return code, nil
}

func (r *rig) spend(p proofs, code string) request {
	return r.form("/oauth/token", p, url.Values{
		"grant_type": {oauth.AuthorizationCode}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
	})
}

func (r *rig) rotate(p proofs, token string) request {
	return r.form("/oauth/token", p, url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {token}})
}

// newTokens gets tokens for somebody.
func (r *rig) newTokens(p proofs, scope, audience string) (answer, error) {
	code, err := r.newCode(p.client, scope, audience)
	if err != nil {
		return answer{}, err
	}
	a := r.ask(r.spend(p, code))
	if a.status != http.StatusOK {
		return a, fmt.Errorf("no tokens: %s", a)
	}
	return a, nil
}

// counts looks at the tokens of an answer: each counts where it is to.
func (r *rig) counts(p proofs, a answer) error {
	if a.status != http.StatusOK || a.text("access_token") == "" {
		return fmt.Errorf("no tokens: %s", a)
	}
	if err := r.active(p, a.text("access_token"), true); err != nil {
		return err
	}
	if id := a.text("id_token"); id != "" {
		return r.identity(p.client, id)
	}
	return nil
}

func (r *rig) identity(client, token string) error {
	var claims map[string]any
	return jwt.Verify(context.Background(), r.ring, token, jwt.Expected{Type: jwt.TypIDToken, Issuer: issuer, Audience: client, Now: time.Now()}, &claims)
}

// active asks whether a token counts.
func (r *rig) active(p proofs, token string, want bool) error {
	if p.method == oauth.None {
		p = proofs{client: "api"}
	}
	p.dpop = false
	a := r.ask(r.form("/oauth/introspect", p, url.Values{"token": {token}}))
	if got, ok := a.body["active"].(bool); !ok || got != want {
		return fmt.Errorf("is a token active? %s", a)
	}
	return nil
}

// stands returns the grant, which must be spent and count.
func (r *rig) stands(id string) (store.Grant, error) {
	g, err := r.store.Grant(context.Background(), id)
	switch {
	case err != nil:
		return g, err
	case !g.Revoked.IsZero():
		return g, errors.New("the grant is revoked")
	case g.Spent.IsZero():
		return g, errors.New("tokens went out and the grant is not spent")
	}
	return g, nil
}

// holds fails unless the refresh token is the grant's current one.
func holds(g store.Grant, token string) error {
	h, ok := oauth.ParseRefreshHandle(token)
	if !ok || h.GrantID != g.ID || !g.Family.Equal(h.Family.Digest()) || !g.Current.Equal(h.Rotating.Digest()) {
		return errors.New("the refresh token that went out is not the one that is stored")
	}
	return nil
}

// replayed sends what was used up; it must be refused, and end the grant.
func (r *rig) replayed(q request, id string) error {
	if a := r.ask(q); a.status != http.StatusBadRequest || a.text("error") != "invalid_grant" {
		return fmt.Errorf("a second use: %s", a)
	}
	g, err := r.store.Grant(context.Background(), id)
	if err == nil && g.Revoked.IsZero() {
		err = errors.New("a second use has not ended the grant")
	}
	return err
}

// spentProofs sends the very same request once more, whose jti is used up.
func (r *rig) spentProofs(p proofs, q request) error {
	if !p.dpop && p.method != oauth.PrivateKeyJWT && p.method != oauth.ClientSecretJWT {
		return nil
	}
	a := r.ask(q)
	if e := a.text("error"); e != "invalid_client" && e != "invalid_dpop_proof" {
		return fmt.Errorf("an assertion or a proof a second time: %s", a)
	}
	return nil
}

func machine(p proofs, audience string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		return attempt{
			make: func() request {
				return r.form("/oauth/token", p, url.Values{"grant_type": {oauth.ClientCredentials}, "audience": {audience}})
			},
			done: func(a answer, q request) error { return errors.Join(r.counts(p, a), r.spentProofs(p, q)) },
		}, nil
	}
}

func code(p proofs, scope, audience string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		code, err := r.newCode(p.client, scope, audience)
		if err != nil {
			return attempt{}, err
		}
		id := string(oauth.DigestOf(code))
		return attempt{
			make: func() request { return r.spend(p, code) },
			done: func(a answer, q request) error {
				if err := errors.Join(r.counts(p, a), r.spentProofs(p, q)); err != nil {
					return err
				}
				g, err := r.stands(id)
				if err != nil {
					return err
				}
				if token := a.text("refresh_token"); token != "" {
					if err := holds(g, token); err != nil {
						return err
					}
					if next := r.ask(r.rotate(p, token)); next.status != http.StatusOK {
						return fmt.Errorf("logged out: %s", next)
					}
				} else if strings.Contains(scope, "offline_access") && audience == orders {
					return errors.New("there is no refresh token")
				}
				return r.replayed(r.spend(p, code), id)
			},
			replay: func() (bool, error) {
				g, err := r.store.Grant(context.Background(), id)
				return !g.Spent.IsZero(), err
			},
			grant: id,
		}, nil
	}
}

func refresh(p proofs, scope string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		first, err := r.newTokens(p, scope, orders)
		if err != nil {
			return attempt{}, err
		}
		return r.rotation(p, first.text("refresh_token"))
	}
}

func (r *rig) rotation(p proofs, token string) (attempt, error) {
	h, ok := oauth.ParseRefreshHandle(token)
	if !ok {
		return attempt{}, errors.New("no refresh token")
	}
	c, err := r.store.Client(context.Background(), p.client)
	if err != nil {
		return attempt{}, err
	}
	rotates := !c.Refresh.NonRotating
	return attempt{
		make: func() request { return r.rotate(p, token) },
		done: func(a answer, q request) error {
			if err := errors.Join(r.counts(p, a), r.spentProofs(p, q)); err != nil {
				return err
			}
			g, err := r.stands(h.GrantID)
			if err != nil {
				return err
			}
			next := a.text("refresh_token")
			if err := holds(g, next); err != nil {
				return err
			}
			if rotates != (g.Generation == 1) || rotates == (next == token) {
				return fmt.Errorf("%d rotations", g.Generation)
			}
			if c.Refresh.Leeway > 0 {
				if again := r.ask(r.rotate(p, token)); again.text("refresh_token") != next {
					return fmt.Errorf("within the leeway another successor: %s", again)
				}
			}
			if after := r.ask(r.rotate(p, next)); after.status != http.StatusOK {
				return fmt.Errorf("logged out: %s", after)
			}
			if !rotates {
				return nil
			}
			return r.replayed(r.rotate(p, token), h.GrantID)
		},
		replay: func() (bool, error) {
			g, err := r.store.Grant(context.Background(), h.GrantID)
			return c.Refresh.Leeway == 0 && g.Generation > 0 && !g.Reopened, err
		},
		grant: h.GrantID,
	}, nil
}

func exchangeForm(r *rig, api proofs, token, wanted string) request {
	params := url.Values{"grant_type": {oauth.TokenExchange}, "subject_token": {token}, "subject_token_type": {oauth.AccessTokenType}, "audience": {orders}}
	if wanted != "" {
		params.Set("requested_token_type", wanted)
	}
	return r.form("/oauth/token", api, params)
}

func exchange(p, api proofs, wanted string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		first, err := r.newTokens(p, "openid read:orders offline_access", orders)
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			make: func() request { return exchangeForm(r, api, first.text("access_token"), wanted) },
			done: func(a answer, _ request) error {
				if wanted == "" {
					return r.counts(api, a)
				}
				token := a.text("access_token")
				h, _ := oauth.ParseRefreshHandle(token)
				g, err := r.stands(h.GrantID)
				if err != nil {
					return err
				}
				if err := holds(g, token); err != nil {
					return err
				}
				return r.counts(api, r.ask(r.rotate(api, token)))
			},
		}, nil
	}
}

// exchangedRefresh refreshes by a grant that hangs on another.
func exchangedRefresh(p, api proofs) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		first, err := r.newTokens(p, "read:orders offline_access", orders)
		if err != nil {
			return attempt{}, err
		}
		a := r.ask(exchangeForm(r, api, first.text("access_token"), oauth.RefreshTokenType))
		return r.rotation(api, a.text("access_token"))
	}
}

func passwordGrant(p proofs) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		u, err := r.person()
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			make: func() request {
				return r.form("/oauth/token", p, url.Values{
					"grant_type": {oauth.Password}, "username": {u.Username}, "password": {password}, "audience": {orders}, "scope": {"openid read:orders offline_access"},
				})
			},
			done: func(a answer, _ request) error {
				if err := r.counts(p, a); err != nil {
					return err
				}
				token := a.text("refresh_token")
				h, _ := oauth.ParseRefreshHandle(token)
				g, err := r.stands(h.GrantID)
				if err != nil {
					return err
				}
				if err := holds(g, token); err != nil {
					return err
				}
				return r.counts(p, r.ask(r.rotate(p, token)))
			},
		}, nil
	}
}

func revoke(p proofs, member, audience string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		scope := "openid read:orders offline_access"
		if audience == reports {
			scope = "openid read:reports offline_access"
		}
		first, err := r.newTokens(p, scope, audience)
		if err != nil {
			return attempt{}, err
		}
		token := first.text(member)
		return attempt{
			make: func() request { return r.form("/oauth/revoke", p, url.Values{"token": {token}}) },
			done: func(_ answer, q request) error {
				return errors.Join(r.active(p, token, false), r.spentProofs(p, q))
			},
		}, nil
	}
}

func introspect(p, asks proofs, member, audience string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		scope := "openid read:orders offline_access"
		if audience == reports {
			scope = "openid read:reports offline_access"
		}
		first, err := r.newTokens(p, scope, audience)
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			make: func() request {
				return r.form("/oauth/introspect", asks, url.Values{"token": {first.text(member)}})
			},
			done: func(a answer, q request) error {
				if a.body["active"] != true {
					return fmt.Errorf("the token does not count: %s", a)
				}
				return r.spentProofs(asks, q)
			},
		}, nil
	}
}

func userinfo(p proofs, audience string) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		scope := "openid profile read:orders"
		if audience == reports {
			scope = "openid profile read:reports"
		}
		first, err := r.newTokens(p, scope, audience)
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			make: func() request {
				q := request{function: "userinfo", method: http.MethodGet, target: "/userinfo", header: http.Header{}}
				q.header.Set("Authorization", first.text("token_type")+" "+first.text("access_token"))
				if p.dpop {
					r.prove(&q, proofs{dpop: true, nonce: p.nonce, token: first.text("access_token")})
				}
				return q
			},
			done: func(a answer, _ request) error {
				if a.text("sub") == "" || a.text("name") != "Demo User" {
					return fmt.Errorf("nothing of the person: %s", a)
				}
				return nil
			},
		}, nil
	}
}

// visit is the first request of somebody who has no session: the login page.
func visit(*rig) (attempt, error) {
	return attempt{
		make: func() request { return front("web", "code", "openid", orders, "") },
		done: func(a answer, _ request) error {
			if fields(a)["seal"] == "" || a.cookies[browserCookie] == "" {
				return fmt.Errorf("no login page: %s", a)
			}
			return nil
		},
	}, nil
}

var field = regexp.MustCompile(`<input[^>]* name="(request|shown|seal|client|session)" value="([^"]*)"`)

// fields are those that a form of ours carries.
func fields(a answer) map[string]string {
	found := map[string]string{}
	for _, m := range field.FindAllStringSubmatch(a.raw, -1) {
		found[m[1]] = html.UnescapeString(m[2])
	}
	return found
}

// post sends a page's form back, by the browser that it was shown in.
func post(path string, page answer, cookies string, more ...string) request {
	values := url.Values{}
	for name, value := range fields(page) {
		values.Set(name, value)
	}
	for i := 0; i < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	if key := page.cookies[browserCookie]; key != "" {
		cookies = strings.TrimPrefix(cookies+"; "+browserCookie+"="+key, "; ")
	}
	return request{
		function: "authorize", method: http.MethodPost, target: path, body: values.Encode(),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Cookie": {cookies}, "Origin": {strings.TrimSuffix(issuer, "/")}},
	}
}

// redeemed exchanges the code of an answer.
func (r *rig) redeemed(client string, a answer) error {
	code := a.location().Get("code")
	if code == "" {
		return fmt.Errorf("no code: %s", a)
	}
	p := proofs{client: client}
	if err := r.counts(p, r.ask(r.spend(p, code))); err != nil {
		return err
	}
	return r.replayed(r.spend(p, code), string(oauth.DigestOf(code)))
}

// logIn logs somebody in by the form, who may be in a session already.
func logIn(again bool) func(r *rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		u, err := r.person()
		if err != nil {
			return attempt{}, err
		}
		var handle, cookie string
		if again {
			if handle, err = r.browser(r.anyone.Subject, "web"); err != nil {
				return attempt{}, err
			}
			cookie = sessionCookie + "=" + handle
		}
		page := r.ask(front("web", "code", "openid offline_access", orders, handle, "prompt", "login"))
		return attempt{
			make: func() request { return post("/authorize", page, cookie, "username", u.Username, "password", password) },
			done: func(a answer, _ request) error {
				if err := r.redeemed("web", a); err != nil {
					return err
				}
				// The session that the browser was given is one.
				next := r.ask(front("web", "code", "openid", orders, a.cookies[sessionCookie], "prompt", "none"))
				return r.redeemed("web", next)
			},
		}, nil
	}
}

// resume gets an answer for somebody who is in a session that does not know the client
// yet.
func resume(client, responseType, scope string) func(r *rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		handle, err := r.browser(r.anyone.Subject)
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			make: func() request { return front(client, responseType, scope, orders, handle) },
			done: func(a answer, _ request) error {
				if token := a.location().Get("access_token"); strings.Contains(responseType, "token") {
					if err := errors.Join(r.active(proofs{client: client}, token, true), r.identity(client, a.location().Get("id_token"))); err != nil {
						return err
					}
				}
				if !strings.Contains(responseType, "code") {
					return nil
				}
				return r.redeemed(client, a)
			},
		}, nil
	}
}

func silent(r *rig) (attempt, error) {
	handle, err := r.browser(r.anyone.Subject, "web")
	if err != nil {
		return attempt{}, err
	}
	return attempt{
		make: func() request { return front("web", "code", "openid", orders, handle, "prompt", "none") },
		done: func(a answer, _ request) error { return r.redeemed("web", a) },
	}, nil
}

func consentPage(r *rig) (attempt, error) {
	handle, err := r.browser(r.anyone.Subject)
	if err != nil {
		return attempt{}, err
	}
	return attempt{
		make: func() request { return front("partner", "code", "openid read:orders", orders, handle) },
		done: func(a answer, _ request) error {
			if fields(a)["shown"] == "" {
				return fmt.Errorf("no consent page: %s", a)
			}
			return nil
		},
	}, nil
}

func consentForm(r *rig) (attempt, error) {
	u, err := r.person()
	if err != nil {
		return attempt{}, err
	}
	subject := u.Subject
	handle, err := r.browser(subject)
	if err != nil {
		return attempt{}, err
	}
	page := r.ask(front("partner", "code", "openid read:orders", orders, handle))
	return attempt{
		make: func() request { return post("/authorize", page, sessionCookie+"="+handle, "consent", "allow") },
		done: func(a answer, _ request) error {
			all, err := r.store.Consents(context.Background(), subject)
			if err != nil || len(all["partner"]) == 0 {
				return fmt.Errorf("the consent is not remembered: %w", err)
			}
			return r.redeemed("partner", a)
		},
	}, nil
}

// page is a request for a page of the person's own.
func page(path, handle string) request {
	return request{function: "authorize", method: http.MethodGet, target: path, header: http.Header{"Cookie": {sessionCookie + "=" + handle}}}
}

// letting is somebody who lets a client have tokens.
func letting(r *rig) (handle string, tokens answer, err error) {
	u, err := r.person()
	if err != nil {
		return "", answer{}, err
	}
	if handle, err = r.browser(u.Subject); err != nil {
		return "", answer{}, err
	}
	form := r.ask(front("partner", "code", "openid read:orders offline_access", orders, handle))
	a := r.ask(post("/authorize", form, sessionCookie+"="+handle, "consent", "allow"))
	tokens = r.ask(r.spend(proofs{client: "partner"}, a.location().Get("code")))
	if tokens.text("refresh_token") == "" {
		err = fmt.Errorf("no tokens: %s", tokens)
	}
	return handle, tokens, err
}

func consentsPage(r *rig) (attempt, error) {
	handle, _, err := letting(r)
	return attempt{
		make: func() request { return page("/consents", handle) },
		done: func(a answer, _ request) error {
			if fields(a)["client"] != "partner" {
				return fmt.Errorf("nothing is shown: %s", a)
			}
			return nil
		},
	}, err
}

func withdraw(r *rig) (attempt, error) {
	handle, tokens, err := letting(r)
	if err != nil {
		return attempt{}, err
	}
	form := r.ask(page("/consents", handle))
	return attempt{
		make: func() request { return post("/consents", form, sessionCookie+"="+handle) },
		done: func(answer, request) error {
			if a := r.ask(page("/consents", handle)); fields(a)["client"] != "" {
				return fmt.Errorf("it is still allowed: %s", a)
			}
			if a := r.ask(r.rotate(proofs{client: "partner"}, tokens.text("refresh_token"))); a.text("error") != "invalid_grant" {
				return fmt.Errorf("the client goes on: %s", a)
			}
			return r.active(proofs{client: "partner"}, tokens.text("access_token"), false)
		},
	}, nil
}

func sessionsPage(r *rig) (attempt, error) {
	u, err := r.person()
	if err != nil {
		return attempt{}, err
	}
	handle, err := r.browser(u.Subject, "web")
	if err != nil {
		return attempt{}, err
	}
	_, err = r.browser(u.Subject, "web-two")
	return attempt{
		make: func() request { return page("/sessions", handle) },
		done: func(a answer, _ request) error {
			if fields(a)["session"] == "" {
				return fmt.Errorf("the other session is not shown: %s", a)
			}
			return nil
		},
	}, err
}

// endSessions ends so many other sessions: by its own form, if it is one.
func endSessions(many int) func(*rig) (attempt, error) {
	return func(r *rig) (attempt, error) {
		u, err := r.person()
		if err != nil {
			return attempt{}, err
		}
		handle, err := r.browser(u.Subject, "web")
		if err != nil {
			return attempt{}, err
		}
		var others []string
		for range many {
			other, err := r.browser(u.Subject, "web-two")
			if err != nil {
				return attempt{}, err
			}
			others = append(others, other)
		}
		form := r.ask(page("/sessions", handle))
		return attempt{
			make: func() request { return post("/sessions", form, sessionCookie+"="+handle) },
			done: func(answer, request) error {
				for _, other := range others {
					if a := r.ask(front("web", "code", "openid", orders, other, "prompt", "none")); a.location().Get("error") != "login_required" {
						return fmt.Errorf("the session goes on: %s", a)
					}
				}
				if told := r.queue.told(`"web-two"`, u.Subject); told < many {
					return fmt.Errorf("%d notices of %d", told, many)
				}
				return r.redeemed("web", r.ask(front("web", "code", "openid", orders, handle, "prompt", "none")))
			},
		}, nil
	}
}

// leaving is somebody who wants to leave, and what must be true once they have.
func leaving(r *rig) (handle, hint string, left func(a answer, q request) error, err error) {
	u, err := r.person()
	if err != nil {
		return "", "", nil, err
	}
	subject := u.Subject
	if handle, err = r.browser(subject, "web", "web-two"); err != nil {
		return "", "", nil, err
	}
	a := r.ask(front("web", "code", "openid", orders, handle))
	tokens := r.ask(r.spend(proofs{client: "web"}, a.location().Get("code")))
	return handle, tokens.text("id_token"), func(a answer, _ request) error {
		for _, client := range []string{"web", "web-two"} {
			if r.queue.told(`"`+client+`"`, subject) == 0 {
				return fmt.Errorf("%s is not told", client)
			}
		}
		if again := r.ask(front("web", "code", "openid", orders, handle, "prompt", "none")); again.location().Get("error") != "login_required" {
			return fmt.Errorf("the session goes on: %s", again)
		}
		return nil
	}, nil
}

func leaveRequest(handle string, query url.Values) request {
	return request{function: "authorize", method: http.MethodGet, target: "/oidc/logout?" + query.Encode(), header: http.Header{"Cookie": {sessionCookie + "=" + handle}}}
}

func leave(r *rig) (attempt, error) {
	handle, hint, left, err := leaving(r)
	return attempt{
		make: func() request { return leaveRequest(handle, url.Values{"id_token_hint": {hint}}) },
		done: left,
	}, err
}

func leavePage(r *rig) (attempt, error) {
	handle, _, _, err := leaving(r)
	return attempt{
		make: func() request { return leaveRequest(handle, nil) },
		done: func(a answer, _ request) error {
			if fields(a)["seal"] == "" {
				return fmt.Errorf("no page: %s", a)
			}
			return nil
		},
	}, err
}

func leaveForm(r *rig) (attempt, error) {
	handle, _, left, err := leaving(r)
	if err != nil {
		return attempt{}, err
	}
	page := r.ask(leaveRequest(handle, nil))
	return attempt{
		make: func() request { return post("/oidc/logout", page, sessionCookie+"="+handle) },
		done: left,
	}, nil
}

func document(path, member string) func(*rig) (attempt, error) {
	return func(*rig) (attempt, error) {
		return attempt{
			make: func() request {
				return request{function: "discovery", method: http.MethodGet, target: path, header: http.Header{}}
			},
			done: func(a answer, _ request) error {
				if a.body[member] == nil {
					return fmt.Errorf("no %s: %s", member, a)
				}
				return nil
			},
		}, nil
	}
}

func deliver(r *rig) (attempt, error) {
	sid := oauth.NewID()
	message, err := json.Marshal(map[string]string{"client_id": "web", "sub": "ada", "sid": sid})
	return attempt{
		make: func() request {
			return request{function: "deliver", method: http.MethodPost, target: "/", body: string(message)}
		},
		done: func(answer, request) error {
			r.party.mu.Lock()
			defer r.party.mu.Unlock()
			for _, token := range r.party.tokens {
				parts := strings.Split(token, ".")
				claims, _ := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
				if strings.Contains(string(claims), sid) {
					return nil
				}
			}
			return errors.New("the client has not heard of it")
		},
	}, err
}

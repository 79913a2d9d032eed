package property

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// TestPromises holds that no token exceeds what policy allows, that nothing spent
// mints twice, that what is bound never comes out unbound, and that every refusal
// is an error code of an RFC with a status that is the request's fault.
func TestPromises(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, promises(func(*world) {}, seen))
	t.Log(seen)
	// Where nothing is ever given, every promise is kept.
	for _, what := range []string{
		"client_credentials", "client_credentials with a proof", "authorization_code", "authorization_code with a proof",
		"refresh_token", "refresh_token with a proof", "code used again", "old refresh token used again", "proof used again",
		"password", oauth.TokenExchange, oauth.TokenExchange + " with a proof", "refresh token that was exchanged for", "refresh token revoked",
		"access token revoked", "active token", "inactive token",
	} {
		if seen[what] == 0 {
			t.Errorf("in no history there was a %s", what)
		}
	}
}

// promises is the property. plant changes a world before anything happens, and seen
// counts what did.
func promises(plant func(*world), seen map[string]int) func(t *rapid.T) {
	return func(t *rapid.T) {
		h := &history{world: newWorld(), seen: seen}
		h.configure(t)
		plant(h.world)
		h.restart()
		t.Repeat(map[string]func(*rapid.T){
			"ask in the client's own name": h.clientCredentials,
			"log in":                       h.logIn,
			"exchange a code":              h.exchangeCode,
			"exchange a code again":        h.exchangeCode,
			"refresh":                      h.refresh,
			"refresh again":                h.refresh,
			"refresh twice":                h.refreshTwice,
			"log in and exchange the code": h.both,
			"use a proof again":            h.proofAgain,
			"ask with a password":          h.password,
			"exchange a token":             h.exchangeToken,
			"exchange a token again":       h.exchangeToken,
			"revoke":                       h.revoke,
			"introspect":                   h.introspect,
			"time passes":                  h.later,
			"the owner changes an API":     h.changeAPI,
			"the owner ends logins":        h.end,
		})
	}
}

// A history is a world and what was learned from it.
type history struct {
	*world
	logins []*login
	tokens []*refreshToken
	access []*accessToken
	seen   map[string]int
}

// A login is a grant, and what is known of it.
type login struct {
	store.Grant
	code, verifier string
	spent, revoked bool
	// bound says that a code of it was exchanged with a proof; key is that of the one
	// whose proof the refresh tokens need, "" for any.
	bound bool
	key   string
	// current yields the next refresh token. previous may yield it once more: until
	// the time, or, where reopened, until it was used.
	current, previous string
	until, idle       time.Time
	reopened          bool
}

// lost is a successor that was not handed out.
const lost = "lost"

// A refreshToken may be an old one.
type refreshToken struct {
	*login
	text string
}

// send sends a form and judges what holds for every answer.
func (h *history) send(t *rapid.T, f form) answer {
	t.Helper()
	a := h.post(f)
	t.Logf("%s %v: %d %s", f.client.ID, f.params, a.status, a.raw)
	if excess := wrong(a); excess != "" {
		t.Fatalf("%s: %d %s", excess, a.status, a.raw)
	}
	grantType := f.params.Get("grant_type")
	if !a.ok() {
		return a
	}
	// RFC 7591 §2: the client uses no grant type but those it is registered for.
	if !slices.Contains(f.client.GrantTypes, grantType) {
		t.Fatalf("%s used the grant type %s", f.client.ID, grantType)
	}
	if needed := f.client.DPoPNonce || h.settings.DPoPNonce; needed && f.prover != nil && f.nonce != "" {
		t.Fatal("a nonce that nobody made was taken")
	}
	h.seen[grantType]++
	if f.prover != nil {
		h.seen[grantType+" with a proof"]++
	}
	return a
}

// mint is what an answer's access token must be.
func (h *history) mint(t *rapid.T, b bound, a answer) claim {
	t.Helper()
	all, typ, err := h.claims(a.text("access_token"))
	if err != nil {
		t.Fatalf("the access token: %v", err)
	}
	c := convert[claim](all)
	if excess := h.exceeds(b, a, c, typ); excess != "" {
		t.Fatalf("the access token: %s\n%v", excess, all)
	}
	if b.login != nil && c.GrantID != b.login.ID { // an exchange may have made one of its own
		b.login = nil
	}
	h.access = append(h.access, &accessToken{claim: c, text: a.text("access_token"), person: b.person, subject: b.subject, login: b.login})
	return c
}

func (h *history) finishForm(t *rapid.T, f form) form {
	f.json = oneIn(t, 4, "as JSON") && len(f.params["resource"]) < 2
	if f.prover != nil && oneIn(t, 10, "a nonce of its own") {
		f.nonce = "made-up"
	}
	return f
}

func thumbprint(p *prover) string {
	if p == nil {
		return ""
	}
	return p.thumbprint
}

func (h *history) clientCredentials(t *rapid.T) {
	params := url.Values{"grant_type": {oauth.ClientCredentials}}
	asked, targets := h.wants(t, params, append([]string{"unknown"}, scopeValues...), h.named())
	f := h.finishForm(t, form{params: params, client: h.anyClient(t), prover: anyProver(t)})
	a := h.send(t, f)
	if !a.ok() {
		return
	}
	if f.client.AuthMethod == oauth.None {
		t.Fatal("RFC 6749 §4.4: a public client has a token in its own name")
	}
	if a.body["refresh_token"] != nil || a.body["id_token"] != nil {
		t.Fatal("there is nobody whose tokens these are")
	}
	h.mint(t, bound{client: f.client, subject: f.client.ID, asked: asked, targets: targets, key: thumbprint(f.prover)}, a)
}

// logIn writes what the authorization endpoint writes. What it grants is any part of
// what was asked for: the configuration may have been another then.
func (h *history) logIn(t *rapid.T) {
	c := h.anyClient(t)
	verifier := ""
	if c.AuthMethod == oauth.None || rapid.Bool().Draw(t, "PKCE") {
		verifier = strings.Repeat("verifier", 6)
	}
	requested := some(t, "asks for", everything())
	granted := requested
	if oneIn(t, 3, "gets less") {
		granted = some(t, "gets", requested)
	}
	targets := some(t, "for", h.named())
	if len(targets) == 0 && !slices.Contains(granted, oauth.OpenID) {
		targets = []string{apiName(0)}
	}
	l := &login{code: oauth.CodePrefix + fmt.Sprintf("%043d", len(h.logins)), verifier: verifier}
	l.Grant = store.Grant{
		ID: string(oauth.DigestOf(l.code)), ClientID: c.ID, Subject: userName(rapid.IntRange(0, 1).Draw(t, "user")),
		RedirectURI: "https://client.example.com/back", RedirectSent: rapid.Bool().Draw(t, "redirect_uri sent"),
		Scope: granted, Requested: requested, Audience: targets, AuthTime: h.now, Created: h.now, CodeExpires: h.now.Add(time.Minute),
	}
	if verifier != "" {
		challenge, err := oauth.ChallengeOf(verifier)
		must(err)
		l.Challenge = challenge
	}
	if oneIn(t, 4, "names its key") {
		l.CodeKey = one(t, "key", provers...).thumbprint
	}
	if slices.Contains(granted, oauth.OnlineAccess) {
		l.SessionID, l.Online = string(oauth.DigestOf(l.code+"session")), true
		end := h.now.Add(time.Hour)
		must(h.PutSession(context.Background(), store.Session{Digest: oauth.Digest(l.SessionID), ID: l.SessionID, Subject: l.Subject, AuthTime: h.now, Expires: end, IdleExpires: end}))
	}
	l.End = h.now.Add(time.Duration(c.Refresh.Lifetime) * time.Second)
	l.Kept = l.End.Add(2 * day * time.Second)
	must(h.PutGrant(context.Background(), l.Grant))
	h.logins = append(h.logins, l)
}

// whoAsks is mostly the client of the grant.
func (h *history) whoAsks(t *rapid.T, l *login) store.Client {
	if oneIn(t, 10, "another client") {
		return h.anyClient(t)
	}
	return h.clients[l.ClientID]
}

// proverOf is mostly the one that the grant needs.
func proverOf(t *rapid.T, key string, needed bool) *prover {
	i := slices.IndexFunc(provers, func(p prover) bool { return p.thumbprint == key })
	switch {
	case !needed || oneIn(t, 6, "any prover"):
		return anyProver(t)
	case i < 0:
		return &provers[0]
	default:
		return &provers[i]
	}
}

func (h *history) both(t *rapid.T) {
	h.logIn(t)
	h.exchange(t, h.logins[len(h.logins)-1])
}

func (h *history) exchangeCode(t *rapid.T) {
	if len(h.logins) == 0 {
		h.logIn(t)
		return
	}
	h.exchange(t, h.logins[rapid.IntRange(0, len(h.logins)-1).Draw(t, "login")])
}

func (h *history) exchange(t *rapid.T, l *login) {
	params := url.Values{"grant_type": {oauth.AuthorizationCode}, "code": {l.code}}
	if !oneIn(t, 10, "no redirect_uri") {
		params.Set("redirect_uri", l.RedirectURI)
	}
	switch {
	case oneIn(t, 10, "other verifier"):
		params.Set("code_verifier", strings.Repeat("other", 10))
	case l.verifier != "":
		params.Set("code_verifier", l.verifier)
	}
	asked, targets := h.wants(t, params, everything(), h.named())
	f := h.finishForm(t, form{params: params, client: h.whoAsks(t, l), prover: proverOf(t, l.CodeKey, l.CodeKey != "")})
	right := f.client.ID == l.ClientID &&
		(params.Has("redirect_uri") || !l.RedirectSent) &&
		params.Get("code_verifier") == l.verifier &&
		(l.CodeKey == "" || l.CodeKey == thumbprint(f.prover)) &&
		subset(asked, l.Requested) && subset(targets, l.Audience)
	a := h.send(t, f)
	if !a.ok() {
		// RFC 6749 §4.1.2: "If an authorization code is used more than once, the
		// authorization server MUST deny the request and SHOULD revoke [...] all tokens
		// previously issued based on that authorization code."
		if right && l.spent && a.text("error") == "invalid_grant" {
			l.revoked = true
			h.seen["code used again"]++
		}
		return
	}
	switch {
	case !right:
		t.Fatal("a request that is not that of the code's client was answered")
	case l.spent:
		t.Fatal("a code was used twice")
	case l.revoked:
		t.Fatal("the grant is revoked")
	case !h.now.Before(l.CodeExpires):
		t.Fatal("the code has expired")
	}
	l.spent = true
	l.bound = f.prover != nil
	if l.key = thumbprint(f.prover); f.client.AuthMethod != oauth.None {
		l.key = "" // RFC 9449 §5: a confidential client may change its key
	}
	h.person(t, l, f, a, asked, targets)
	h.first(l, f, a)
}

// person judges tokens that speak for a person.
func (h *history) person(t *rapid.T, l *login, f form, a answer, asked, targets []string) {
	t.Helper()
	for _, record := range []time.Time{f.client.NotBefore, h.settings.NotBefore} {
		if !record.IsZero() && l.AuthTime.Before(record) {
			t.Fatal("the owner has ended the login")
		}
	}
	b := bound{
		client: f.client, subject: l.Subject, person: true,
		scope: l.Scope, asked: asked, audience: l.Audience, targets: targets, key: thumbprint(f.prover), login: l,
	}
	c := h.mint(t, b, a)
	held := slices.ContainsFunc(c.scope(), func(v string) bool { return v == oauth.OfflineAccess || v == oauth.OnlineAccess })
	// To a client that is not registered for it, it is of no use.
	if usable := slices.Contains(f.client.GrantTypes, oauth.RefreshToken); a.text("refresh_token") != "" && f.params.Get("grant_type") != oauth.RefreshToken && !held && usable {
		t.Fatal("there is a refresh token, and the scope holds none")
	}
	if c.GrantID != l.ID {
		t.Fatalf("the token names the grant %q", c.GrantID)
	}
	text := a.text("id_token")
	if (text != "") != slices.Contains(c.scope(), oauth.OpenID) {
		t.Fatal("openid and an ID token belong together")
	}
	if text == "" {
		return
	}
	all, typ, err := h.claims(text)
	if err != nil {
		t.Fatalf("the ID token: %v", err)
	}
	if id := convert[claim](all); typ != "JWT" || id.Issuer != issuer || id.Subject != l.Subject || !slices.Equal(id.Audience, []string{f.client.ID}) ||
		id.IssuedAt != h.now.Unix() || id.Expiry <= id.IssuedAt || id.Expiry > id.IssuedAt+day {
		t.Fatalf("the ID token: typ %q, %v", typ, all)
	}
}

func (h *history) refresh(t *rapid.T) {
	if len(h.tokens) == 0 {
		return
	}
	h.use(t, h.anyToken(t))
}

func (h *history) refreshTwice(t *rapid.T) {
	if len(h.tokens) == 0 {
		return
	}
	token := h.anyToken(t)
	h.use(t, token)
	h.use(t, token)
}

func (h *history) anyToken(t *rapid.T) *refreshToken {
	return h.tokens[len(h.tokens)-1-rapid.IntRange(0, min(5, len(h.tokens)-1)).Draw(t, "token")]
}

func (h *history) use(t *rapid.T, token *refreshToken) {
	l := token.login
	params := url.Values{"grant_type": {oauth.RefreshToken}, "refresh_token": {token.text}}
	asked, targets := h.wants(t, params, everything(), h.named())
	f := h.finishForm(t, form{params: params, client: h.whoAsks(t, l), prover: proverOf(t, l.key, l.bound)})
	proven := !l.bound || f.prover != nil && (l.key == "" || l.key == f.prover.thumbprint)
	right := f.client.ID == l.ClientID && proven && subset(asked, l.Requested) && subset(targets, l.Audience)
	old := token.text != l.current
	spared := token.text == l.previous && (l.reopened || h.now.Before(l.until))
	a := h.send(t, f)
	if !a.ok() {
		switch code := a.text("error"); {
		case right && old && !spared && code == "invalid_grant" && f.client.Refresh.Lifetime > 0:
			l.revoked = true
			h.seen["old refresh token used again"]++
		case right && !old && (code == "invalid_scope" || code == "invalid_target"):
			// What was rotated is given back: the token yields its successor until that is
			// used.
			l.reopened, l.previous = true, token.text
			l.binds(f)
		}
		return
	}
	user, _ := h.User(context.Background(), l.Subject)
	_, gone := h.Session(context.Background(), oauth.Digest(l.SessionID), h.now)
	switch {
	case !right:
		t.Fatal("a request that is not that of the token's client and key was answered")
	case l.revoked:
		t.Fatal("the grant is revoked")
	case old && !spared:
		t.Fatal("an old refresh token was used twice")
	case !h.now.Before(l.End):
		t.Fatal("the grant has ended")
	case !h.now.Before(l.idle):
		t.Fatal("the refresh token lay unused for too long")
	case user.Blocked || !user.NotBefore.IsZero() && l.AuthTime.Before(user.NotBefore):
		t.Fatal("the person is blocked, or the login was ended")
	case l.Online && gone != nil:
		t.Fatal("the session has ended")
	}
	h.person(t, l, f, a, asked, targets)
	if !old {
		l.binds(f)
	}
	// RFC 9700 §4.14.2: those of public clients MUST be bound to the sender or rotate.
	static := f.client.Refresh.NonRotating && (f.client.AuthMethod != oauth.None || f.client.DPoPBound)
	next := a.text("refresh_token")
	switch {
	case next == "":
		// An API allows it no more: the successor is nobody's.
		if held := strings.Fields(a.text("scope")); slices.Contains(held, oauth.OfflineAccess) || !slices.Contains(l.Scope, oauth.OfflineAccess) {
			t.Fatal("there is no next refresh token")
		}
		if static {
			return
		}
		next = lost
	case static:
		if next != token.text {
			t.Fatal("a token that does not rotate has")
		}
	case old && l.current == lost:
		l.current = next
		h.tokens = append(h.tokens, &refreshToken{l, next})
		return
	case next == token.text:
		t.Fatal("the refresh token does not rotate")
	}
	if old {
		if next != l.current && next != lost {
			t.Fatal("an old refresh token had another successor")
		}
		return
	}
	if next != token.text {
		l.previous, l.current, l.reopened = token.text, next, l.reopened && l.previous == token.text
		l.until = h.now.Add(time.Duration(f.client.Refresh.Leeway) * time.Second)
		if next != lost {
			h.tokens = append(h.tokens, &refreshToken{l, next})
		}
	}
	l.idle = h.now.Add(time.Duration(f.client.Refresh.IdleLifetime) * time.Second)
}

// binds: a refresh token that is issued with a proof is bound (RFC 9449 §5), the later
// ones like the first.
func (l *login) binds(f form) {
	if f.prover == nil {
		return
	}
	l.bound = true
	if f.client.AuthMethod == oauth.None {
		l.key = f.prover.thumbprint
	}
}

// proofAgain sends one proof twice (RFC 9449 §11.1), with a request that would do
// the second time too.
func (h *history) proofAgain(t *rapid.T) {
	f := form{params: url.Values{"grant_type": {oauth.ClientCredentials}}, client: h.anyClient(t), prover: &provers[0]}
	nonce := ""
	for range 2 { // the first may say which nonce it takes
		r := f.request()
		proof := f.prover.proof(r.Method, tokenURL, h.now, nonce)
		r.Header.Set("DPoP", proof)
		a := h.ask(r)
		if a.text("error") == "use_dpop_nonce" {
			nonce = a.header.Get("DPoP-Nonce")
			continue
		}
		if !a.ok() {
			return
		}
		again := f.request()
		again.Header.Set("DPoP", proof)
		if a = h.ask(again); a.text("error") != "invalid_dpop_proof" {
			t.Fatalf("a proof was used twice: %d %s", a.status, a.raw)
		}
		h.seen["proof used again"]++
		return
	}
}

// changeAPI gives an API another policy, lifetime and scope. Whatever was granted
// before is judged by it from then on.
func (h *history) changeAPI(t *rapid.T) {
	if !oneIn(t, 3, "does it") {
		return
	}
	h.drawAPI(t, rapid.SampledFrom(h.named()).Draw(t, "API"))
	h.restart()
}

// end ends logins: of a person, of a client or of all.
func (h *history) end(t *rapid.T) {
	if !oneIn(t, 5, "does it") {
		return
	}
	user := h.users[userName(rapid.IntRange(0, 1).Draw(t, "user"))]
	switch one(t, "what", "block", "let in", "end the person's", "end the client's", "end all") {
	case "block":
		user.Blocked = true
	case "let in":
		user.Blocked = false
	case "end the person's":
		user.NotBefore = h.now
	case "end the client's":
		c := h.anyClient(t)
		c.NotBefore = h.now
		h.clients[c.ID] = c
	case "end all":
		h.settings.NotBefore = h.now
	}
	must(h.PutUser(context.Background(), user))
	h.restart()
}

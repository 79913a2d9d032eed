package conformance_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// announced: the discovery document says that there is logout, and of which kind.
func announced(flags map[string]string) func(f *flow) {
	return func(f *flow) {
		r := f.house.send(http.MethodGet, "/.well-known/openid-configuration", nil, nil)
		f.server = r.json()
		f.judgeIf("EnsureDiscoveryEndpointResponseStatusCodeIs200", r.status == http.StatusOK, r.status, r.body)
		f.judgeIf("CheckDiscoveryEndpointReturnedJsonContentType", r.isJSON(), r.header)
		for name, value := range f.server {
			if text, _ := value.(string); strings.HasSuffix(name, "_endpoint") {
				f.judgeIf("CheckDiscEndpointAllEndpointsAreHttps", strings.HasPrefix(text, "https://"), name, value)
			}
		}
		f.judge("CheckDiscEndSessionEndpoint", strings.HasPrefix(f.endpoint("end_session_endpoint"), "https://"), f.server["end_session_endpoint"])
		for condition, member := range flags {
			holds := f.server[member] == true
			if member == "check_session_iframe" {
				holds = strings.HasPrefix(f.endpoint(member), "https://")
			}
			f.judge(condition, holds, member, f.server[member])
		}
	}
}

// judgeIf judges by a condition that not all modules alike have.
func (f *flow) judgeIf(condition string, holds bool, got ...any) {
	f.Helper()
	if f.listed[condition] {
		f.judge(condition, holds, got...)
	}
}

// A leaving is a request to the end_session_endpoint.
type leaving struct {
	url.Values
	*flow
	// after is the login that it ends.
	after outcome
}

// logOut logs in as the client, and sends the logout that change has changed.
func (f *flow) logOut(client string, change func(l leaving)) (leaving, arrival) {
	f.Helper()
	f.as(client)
	f.ways.longState = true
	f.begin()
	o := f.complete(f.request())
	l := leaving{url.Values{
		"id_token_hint": {o.raw}, "post_logout_redirect_uri": {f.client.PostLogoutRedirectURIs[0]},
		"state": {strings.Repeat(rand.Text(), 5)[:128]},
	}, f, o}
	if change != nil {
		change(l)
	}
	target := f.endpoint("end_session_endpoint")
	if len(l.Values) > 0 {
		target += "?" + l.Encode()
	}
	return l, f.browser.visit(http.MethodGet, target, nil)
}

// loggedOut: the browser is sent on, and has no session left.
func (l leaving) loggedOut(a arrival) {
	l.Helper()
	if a.at != l.client.PostLogoutRedirectURIs[0] {
		l.Fatalf("not sent on: at %q, %d %s", a.at, a.page.status, a.page.body)
	}
	if l.Has("state") {
		l.judge("CheckPostLogoutState", a.query.Get("state") == l.Get("state"), a.query)
	} else {
		l.judge("CheckNoPostLogoutState", !a.query.Has("state"), a.query)
	}
	l.judge("CheckForUnexpectedParametersInPostLogoutRedirect", len(a.query)-map[bool]int{true: 1}[a.query.Has("state")] == 0, a.query)
	q := l.request("prompt", "none")
	l.interactionNeeded(q, l.ask(q))
}

// withoutSession fails where the browser still has one.
func (f *flow) withoutSession() {
	f.Helper()
	a := f.ask(f.request("prompt", "none"))
	if a.query.Get("error") != "login_required" {
		f.Errorf("still logged in: %q %v", a.at, a.query)
	}
}

// sentOn: a logout that leads back to the client.
func sentOn(change func(l leaving)) func(f *flow) {
	return func(f *flow) {
		l, a := f.logOut("conformance", change)
		l.loggedOut(a)
	}
}

// kept: a logout that leads to a page, and nowhere even if the person presses its
// button. done says that the page is to say that it is done.
func kept(condition string, done bool, change func(l leaving)) func(f *flow) {
	return func(f *flow) {
		_, a := f.logOut("conformance", change)
		last := a
		if a.at == "" && aForm.MatchString(a.page.body) {
			last = f.browser.press(a)
		}
		isPage := func(a arrival) bool {
			return a.at == "" && strings.HasPrefix(a.page.header.Get("Content-Type"), "text/html")
		}
		f.judge(condition, isPage(a) && isPage(last) && (!done || last.page.status == http.StatusOK && !aForm.MatchString(last.page.body)),
			a.at, last.at, last.page.status, last.page.body)
		if done {
			f.withoutSession()
		}
	}
}

func without(names ...string) func(l leaving) {
	return func(l leaving) {
		for _, name := range names {
			l.Del(name)
		}
	}
}

// unsignedHint is the ID token with alg none.
func unsignedHint(l leaving) {
	parts := strings.Split(l.Get("id_token_hint"), ".")
	l.Set("id_token_hint", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))+"."+parts[1]+".")
}

// foreignHint is one that a client has made of its secret.
func foreignHint(l leaving) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(l.client.Secret.Reveal())}, nil)
	if err != nil {
		l.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{"iss":"` + l.client.ID + `","sub":"SubjectID","aud":"` + issuer + `","nonce":"flibble"}`))
	if err != nil {
		l.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		l.Fatal(err)
	}
	l.Set("id_token_hint", text)
}

// frontChannel: a page loads the client's address in a frame, and then goes on.
func frontChannel(f *flow) {
	l, a := f.logOut("conformance-frontchannel", nil)
	address := strings.TrimSuffix(f.redirectURI(), "callback") + "frontchannel_logout"
	if len(a.frames) != 1 {
		f.Fatalf("%d frames: %s", len(a.frames), a.frames)
	}
	u, err := url.Parse(a.frames[0])
	if err != nil {
		f.Fatal(err)
	}
	q := u.Query()
	u.RawQuery = ""
	if u.String() != address {
		f.Fatalf("the frame is %s", a.frames[0])
	}
	for name := range q {
		f.judge("CheckForUnexpectedParametersInFrontchannelLogoutRequest", name == "iss" || name == "sid", q)
	}
	f.judge("ValidateFrontchannelLogoutIss", q.Get("iss") == issuer, q)
	f.judge("CheckIdTokenSidMatchesFrontChannelLogoutRequest", q.Get("sid") != "" && q.Get("sid") == l.after.last().text("sid"), q, l.after.last().claims)
	l.loggedOut(a)
}

// backChannel: the client is told by a logout token (OpenID Connect Back-Channel
// Logout 1.0 §2.4).
func backChannel(f *flow) {
	l, a := f.logOut("conformance-backchannel", nil)
	posts, err := f.house.told.deliver(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if len(posts) != 1 || posts[0].address != strings.TrimSuffix(f.redirectURI(), "callback")+"backchannel_logout" {
		f.Fatalf("told: %v", posts)
	}
	form := posts[0].form
	f.stop("ExtractLogoutTokenFromBackchannelLogoutRequest", form.Get("logout_token") != "", form)
	f.judge("CheckForUnexpectedParametersInBackchannelLogoutRequest", len(form) == 1, form)
	claims, _, signed := f.decode(form.Get("logout_token"))
	f.judge("ValidateLogoutTokenSignature", signed, form)
	t := idToken{claims: claims}
	iat, hasIat := t.number("iat")
	now := float64(f.house.clock.now().Unix())
	events, _ := claims["events"].(map[string]any)
	event, isObject := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
	f.judge("ValidateLogoutTokenClaims", t.text("iss") == issuer && t.text("aud") == f.client.ID && t.text("jti") != "" &&
		hasIat && iat <= now+300 && iat > now-24*3600 && len(events) == 1 && isObject && len(event) == 0, claims)
	f.judge("CheckIdTokenSubMatchesLogoutToken", t.text("sub") == l.after.last().text("sub"), claims)
	f.judge("CheckIdTokenSidMatchesLogoutToken", t.text("sid") == l.after.last().text("sid"), claims)
	_, nonce := claims["nonce"]
	f.judge("CheckLogoutTokenNoNonce", !nonce, claims)
	f.judge("CheckLogoutTokenHasSubOrSid", t.text("sub") != "" || t.text("sid") != "", claims)
	// The channel is that of pkg/fetch, which is not in between here.
	f.leave("EnsureIncomingTls12WithSecureCipherOrTls13", "EnsureIncomingTls13")
	l.loggedOut(a)
}

// sessionManagement: the frame says that nothing has changed, and after a logout that
// something has (OpenID Connect Session Management 1.0 §3.1).
func sessionManagement(f *flow) {
	var told string
	l, a := f.logOut("conformance", func(l leaving) {
		f.judge("CheckDiscCheckSessionIframe", strings.HasPrefix(f.endpoint("check_session_iframe"), "https://"), f.server["check_session_iframe"])
		told = l.after.answer.Get("session_state")
		f.stop("ExtractSessionStateFromAuthorizationResponse", told != "", l.after.answer)
		f.judge("CheckSessionResultIsUnchanged", f.frameSays(told) == "unchanged", f.frameSays(told))
	})
	if a.at != l.client.PostLogoutRedirectURIs[0] {
		f.Fatalf("not sent on: at %q, %d %s", a.at, a.page.status, a.page.body)
	}
	l.judge("CheckPostLogoutState", a.query.Get("state") == l.Get("state"), a.query)
	l.judge("CheckForUnexpectedParametersInPostLogoutRedirect", len(a.query) == 1, a.query)
	f.judge("CheckSecondSessionResultIsChanged", f.frameSays(told) == "changed", f.frameSays(told))
	f.withoutSession()
}

// frameSays is what the frame's script would answer the client's page. A browser runs it
// in infra/clients; here there is none, and this does what the page says.
func (f *flow) frameSays(told string) string {
	f.Helper()
	page := f.house.send(http.MethodGet, f.endpoint("check_session_iframe"), nil, nil)
	if page.status != http.StatusOK || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || page.header.Get("X-Frame-Options") != "" ||
		strings.Contains(page.header.Get("Content-Security-Policy"), "frame-ancestors") {
		f.Fatalf("not a page for a frame: %d %v", page.status, page.header)
	}
	const name = "__Host-kmint_state"
	if !strings.Contains(page.body, `"`+name+`"`) {
		f.Fatalf("it reads another cookie than %s: %s", name, page.body)
	}
	origin, _, _ := strings.Cut(strings.TrimPrefix(f.redirectURI(), "https://"), "/")
	_, salt, _ := strings.Cut(told, ".")
	sum := sha256.Sum256([]byte(f.client.ID + " https://" + origin + " " + f.browser.cookies[name] + " " + salt))
	if told == hex.EncodeToString(sum[:])+"."+salt {
		return "unchanged"
	}
	return "changed"
}

package conformance_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/seed"
)

// A flow is one run of one module.
type flow struct {
	*testing.T
	house   house
	browser *browser
	rows    rows
	module  module
	client  seed.Client
	scope   string
	// server is the discovery document, keys what its jwks_uri serves.
	server map[string]any
	keys   jose.JSONWebKeySet

	// idToken judges each ID token beyond what all modules look at.
	idToken func(t idToken)
	// ways are how the module does things otherwise.
	ways ways

	listed map[string]bool
	judged map[string]bool
	warned map[string]bool
}

// ways are how a module asks.
type ways struct {
	post      bool // by POST
	reordered bool // parameters in another order
	longState bool
	verifier  string     // RFC 7636
	codeOnly  bool       // and exchanges it not
	object    url.Values // what is sent instead: a request object, and what is beside it
}

// judge is one condition, by its class name.
func (f *flow) judge(condition string, holds bool, got ...any) {
	f.Helper()
	f.know(condition)
	if _, lenient := f.module.Warns[condition]; lenient {
		f.warned[condition] = f.warned[condition] || !holds
		return
	}
	if !holds {
		f.Errorf("%s: %s", condition, fmt.Sprint(got...))
	}
}

// leave says that conditions have nothing to judge in this variant.
func (f *flow) leave(conditions ...string) {
	f.Helper()
	for _, condition := range conditions {
		if !f.judged[condition] {
			f.know(condition)
		}
	}
}

func (f *flow) know(condition string) {
	f.Helper()
	if !f.listed[condition] {
		f.Errorf("the list does not name %s", condition)
	}
	f.judged[condition] = true
}

// stop ends the module where nothing more can be judged.
func (f *flow) stop(condition string, holds bool, got ...any) {
	f.Helper()
	f.judge(condition, holds, got...)
	if !holds {
		f.Fatalf("%s: nothing to go on with", condition)
	}
}

func (f *flow) includes(word string) bool {
	return slices.Contains(strings.Fields(f.rows.ResponseType), word)
}

func (f *flow) formPost() bool { return f.rows.ResponseMode == "form_post" }

// TestModules runs each row of the list that is shown here. A module fails that
// judges by other conditions than the list says.
func TestModules(t *testing.T) {
	l := readList(t)
	for _, p := range l.Plans {
		t.Run(p.Short, func(t *testing.T) {
			variants := map[string][]rows{}
			for _, r := range p.Rows {
				if strings.HasPrefix(r.Test, here) {
					variants[r.variant()] = append(variants[r.variant()], r)
				}
			}
			for _, variant := range sorted(variants) {
				t.Run(variant, func(t *testing.T) {
					t.Parallel()
					op := build(t, nil)
					for _, r := range variants[variant] {
						for _, name := range r.Modules {
							t.Run(name, func(t *testing.T) { l.run(t, op, r, name) })
						}
					}
				})
			}
		})
	}
}

func (l list) run(t *testing.T, op house, r rows, name string) {
	conditions, err := l.conditions(l.Modules[name])
	if err != nil {
		t.Fatal(err)
	}
	test, known := modules[name]
	if !known {
		t.Fatal("there is no test for it here")
	}
	f := &flow{
		T: t, house: op, rows: r, module: l.Modules[name], scope: "openid",
		listed: map[string]bool{}, judged: map[string]bool{}, warned: map[string]bool{},
	}
	for _, condition := range conditions {
		f.listed[condition] = true
	}
	f.newBrowser()
	f.as("conformance")
	test(f)
	if t.Failed() {
		return
	}
	for _, condition := range conditions {
		if !f.judged[condition] {
			t.Errorf("the list has %s, by which nothing was judged", condition)
		}
	}
	for condition, holds := range f.warned {
		if !holds {
			t.Errorf("the list says that %s warns, which it does no more", condition)
		}
	}
}

// newBrowser forgets all cookies.
func (f *flow) newBrowser() {
	user := f.house.seed.Users[0]
	f.browser = &browser{T: f.T, house: f.house, username: user.Username, password: user.Password.Reveal()}
}

// as takes another client of the seed.
func (f *flow) as(id string) {
	i := slices.IndexFunc(f.house.seed.Clients, func(c seed.Client) bool { return c.ID == id })
	f.client = f.house.seed.Clients[i]
}

func (f *flow) redirectURI() string { return f.client.RedirectURIs[0] }

// discover reads the metadata and the keys, as every module does at first.
func (f *flow) discover() {
	r := f.house.send(http.MethodGet, "/.well-known/openid-configuration", nil, nil)
	f.server = r.json()
	for _, member := range []string{"authorization_endpoint", "token_endpoint", "issuer"} {
		text, _ := f.server[member].(string)
		f.stop("CheckServerConfiguration", text != "", member, " is missing: ", r.body)
	}
	r = f.house.send(http.MethodGet, f.endpoint("jwks_uri"), nil, nil)
	f.stop("CheckServerKeysIsValid", json.Unmarshal([]byte(r.body), &f.keys) == nil && len(f.keys.Keys) > 0, r.body)
	f.judgeKeys()
	var ids []string
	for _, key := range f.keys.Keys {
		f.judge("CheckForKeyIdInServerJWKs", key.KeyID != "", r.body)
		f.judge("CheckDistinctKeyIdValueInServerJWKs", !slices.Contains(ids, key.KeyID), r.body)
		ids = append(ids, key.KeyID)
	}
}

// judgeKeys looks at what may be published of keys.
func (f *flow) judgeKeys() {
	for _, key := range f.keys.Keys {
		f.judge("EnsureJwksHasNoPrivateOrSymmetricKeyMaterial", key.IsPublic(), key.KeyID)
		f.judge("ValidateJwksStructure", key.Valid(), key.KeyID)
		f.judge("ParseUsableJwksKeys", key.Valid() && key.Use == "sig", key.KeyID)
		f.judge("WarnOnUnusableJwksKeys", slices.Contains([]string{"RS256", "PS256", "ES256"}, key.Algorithm), key.Algorithm)
	}
}

func (f *flow) endpoint(member string) string {
	text, _ := f.server[member].(string)
	return text
}

// secretMethod judges that discovery names how the client proves itself.
func (f *flow) secretMethod(condition string) {
	f.judge(condition, f.house.announces("token_endpoint_auth_methods_supported", f.rows.ClientAuth), f.server["token_endpoint_auth_methods_supported"])
}

// request makes an authorization request.
func (f *flow) request(more ...string) url.Values {
	q := url.Values{
		"client_id": {f.client.ID}, "redirect_uri": {f.redirectURI()}, "scope": {f.scope},
		"state": {rand.Text()[:10]}, "nonce": {rand.Text()[:10]}, "response_type": {f.rows.ResponseType},
	}
	if f.ways.longState {
		q.Set("state", strings.Repeat(rand.Text(), 5)[:128])
	}
	if f.formPost() {
		q.Set("response_mode", "form_post")
	}
	if f.ways.verifier != "" {
		sum := sha256.Sum256([]byte(f.ways.verifier))
		q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
		q.Set("code_challenge_method", "S256")
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

// ask opens the authorization endpoint.
func (f *flow) ask(q url.Values) arrival {
	f.Helper()
	if f.ways.post {
		return f.browser.visit(http.MethodPost, f.endpoint("authorization_endpoint"), q)
	}
	query := q.Encode()
	if f.ways.reordered {
		pairs := strings.Split(query, "&")
		slices.Reverse(pairs)
		query = strings.Join(pairs, "&")
	}
	return f.browser.visit(http.MethodGet, f.endpoint("authorization_endpoint")+"?"+query, nil)
}

// mode are the conditions that look at how the answer has come.
var mode = []string{"CheckCallbackHttpMethodIsPost", "CheckCallbackContentTypeIsFormUrlEncoded", "RejectAuthCodeInUrlQuery", "RejectErrorInUrlQuery"}

// answered takes the parameters from where the response mode puts them.
func (f *flow) answered(a arrival, front bool) url.Values {
	f.Helper()
	if a.at != f.redirectURI() {
		f.Fatalf("no answer came back: at %q, %d %s", a.at, a.page.status, a.page.body)
	}
	notInQuery := func() {
		f.judge("RejectAuthCodeInUrlQuery", !a.query.Has("code"), a.query)
		f.judge("RejectErrorInUrlQuery", !a.query.Has("error"), a.query)
	}
	switch {
	case f.formPost():
		f.stop("CheckCallbackHttpMethodIsPost", a.method == http.MethodPost, a.method, a.query)
		f.judge("CheckCallbackContentTypeIsFormUrlEncoded", a.contentType == "application/x-www-form-urlencoded", a.contentType)
		notInQuery()
		return a.posted
	case !front:
		f.leave(mode...)
		return a.query
	default:
		f.leave(mode...)
		notInQuery()
		if len(a.query) > 0 {
			f.Errorf("in the query: %v", a.query)
		}
		return a.fragment
	}
}

// An outcome is what an authorization has come to.
type outcome struct {
	sent     url.Values
	answer   url.Values
	logins   int
	code     string
	accesses []string // each, in the order in which they came
	idTokens []idToken
	refresh  string
	raw      string // the last ID token
	exchange url.Values
	token    response
}

// front is the ID token of the authorization endpoint, back that of the token
// endpoint, if there is one.
func (o outcome) front() (idToken, bool) { return o.find(true) }
func (o outcome) back() (idToken, bool)  { return o.find(false) }
func (o outcome) find(front bool) (idToken, bool) {
	i := slices.IndexFunc(o.idTokens, func(t idToken) bool { return t.front == front })
	if i < 0 {
		return idToken{}, false
	}
	return o.idTokens[i], true
}
func (o outcome) last() idToken  { return o.idTokens[len(o.idTokens)-1] }
func (o outcome) access() string { return o.accesses[len(o.accesses)-1] }

// complete goes through an authorization to its end: the answer, the ID tokens,
// the code, the tokens, and a protected resource, which is userinfo.
func (f *flow) complete(q url.Values) outcome {
	f.Helper()
	sent := q
	if f.ways.object != nil {
		sent = f.ways.object
	}
	a := f.ask(sent)
	answer := f.answered(a, f.rows.ResponseType != "code")
	o := outcome{sent: q, answer: answer, logins: a.logins}

	registered, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		f.Fatal(err)
	}
	for name := range registered.Query() {
		f.judge("CheckMatchingCallbackParameters", a.query.Get(name) == registered.Query().Get(name), a.query)
	}
	f.leave("CheckMatchingCallbackParameters")
	f.iss(answer)
	f.stop("CheckIfAuthorizationEndpointError", !answer.Has("error"), answer)
	f.judge("CheckStateInAuthorizationResponse", answer.Get("state") == q.Get("state"), answer)

	f.leave("ExtractAuthorizationCodeFromAuthorizationResponse", "ExtractAccessTokenFromAuthorizationResponse", "ExtractIdTokenFromAuthorizationResponse")
	if o.code = answer.Get("code"); f.includes("code") {
		f.stop("ExtractAuthorizationCodeFromAuthorizationResponse", o.code != "", answer)
	}
	if f.includes("token") {
		f.stop("ExtractAccessTokenFromAuthorizationResponse", answer.Get("access_token") != "", answer)
		o.accesses = append(o.accesses, answer.Get("access_token"))
	}
	if f.includes("id_token") {
		f.stop("ExtractIdTokenFromAuthorizationResponse", answer.Get("id_token") != "", answer)
		o.raw = answer.Get("id_token")
		o.idTokens = append(o.idTokens, f.judgeIDToken(o, o.raw, true))
	}
	if f.ways.codeOnly {
		return o
	}
	f.leave("EnsureHttpStatusCodeIs200")
	if f.includes("token") {
		f.resource(o.access())
	}
	if !f.includes("code") {
		f.leave(append(tokenConditions, idTokenConditions...)...)
		return o
	}
	o.exchange = url.Values{"grant_type": {"authorization_code"}, "code": {o.code}, "redirect_uri": {q.Get("redirect_uri")}}
	if f.ways.verifier != "" {
		o.exchange.Set("code_verifier", f.ways.verifier)
	}
	o.token = f.post(o.exchange)
	f.judgeTokens(&o)
	f.resource(o.access())
	return o
}

// iss: RFC 9207.
func (f *flow) iss(answer url.Values) {
	f.judge("ValidateIssIfPresentInAuthorizationResponse", !answer.Has("iss") || answer.Get("iss") == issuer, answer)
}

// post sends to the token endpoint, with the client's proof.
func (f *flow) post(form url.Values) response {
	form = maps.Clone(form)
	header := http.Header{}
	secret := f.client.Secret.Reveal()
	if f.client.AuthMethod == "client_secret_post" {
		form.Set("client_id", f.client.ID)
		form.Set("client_secret", secret)
	} else {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(f.client.ID)+":"+url.QueryEscape(secret))))
	}
	return f.house.send(http.MethodPost, f.endpoint("token_endpoint"), header, form)
}

// resource calls the protected resource.
func (f *flow) resource(token string) response {
	r := f.userinfo(http.MethodGet, token)
	f.judge("EnsureHttpStatusCodeIs200", r.status == http.StatusOK, r.status, r.body)
	return r
}

func (f *flow) userinfo(method, token string) response {
	return f.house.send(method, f.endpoint("userinfo_endpoint"), http.Header{"Authorization": {"Bearer " + token}}, nil)
}

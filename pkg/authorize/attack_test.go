package authorize_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// What attackers have tried with redirect URIs elsewhere. None of it is gone to, by a
// redirect, a form or a message, with an answer or an error, asked for outright or in a
// request object. TestOnlyARegisteredRedirectURIIsRedirectedTo has more, and the twins.
func TestRedirectTricks(t *testing.T) {
	h, v := withObjects(t)
	native, err := h.store.Client(t.Context(), "native")
	if err != nil {
		t.Fatal(err)
	}
	native.WebOrigins, native.RequestObjectAlgorithm = []string{"https://app.example.com:8443", "http://127.0.0.1"}, "none"
	if err := h.store.PutClient(t.Context(), native); err != nil {
		t.Fatal(err)
	}
	for name, tricks := range map[string][]string{
		"userinfo": {
			"http://127.0.0.1@evil.example/cb", "http://me@127.0.0.1:51004/cb", "http://me:x@[::1]/cb", "http://@127.0.0.1/cb",
			"https://me@APP.example.com:8443/cb", "https://APP.example.com:8443@evil.example/cb", "http://127.0.0.1%40evil.example/cb",
		},
		"fragments":      {"http://127.0.0.1/cb#", "http://127.0.0.1/cb#code=x", "http://[::1]:1/cb%23/#", "com.example.app:/cb#x", "https://APP.example.com:8443/cb#@evil.example"},
		"path traversal": {"http://127.0.0.1/cb/../admin", "http://127.0.0.1/x/../cb", "http://127.0.0.1/./cb", "http://127.0.0.1//cb", "http://127.0.0.1/cb/", "http://127.0.0.1/cb/%2e%2e/x", "http://127.0.0.1/%63b", "http://127.0.0.1/cb;x", `http://127.0.0.1/\..\cb`, "com.example.app:/cb/../x", "com.example.app:/x/../cb", "https://APP.example.com:8443/cb/..%2f..%2fx", "https://APP.example.com:8443/cb%00"},
		"case":           {"https://app.example.com:8443/cb", "HTTPS://APP.example.com:8443/cb", "https://APP.example.com:8443/CB", "HTTP://127.0.0.1/cb", "COM.example.app:/cb", "com.example.app:/CB", "com.example.app://HOST/cb"},
		"ports":          {"https://APP.example.com/cb", "https://APP.example.com:443/cb", "https://APP.example.com:08443/cb", "https://APP.example.com:8443:8443/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:-1/cb", "http://127.0.0.1:+80/cb", "http://127.0.0.1:0x50/cb", "http://127.0.0.1:80:80/cb", "http://127.0.0.1:80evil.example/cb", "http://127.0.0.1:８０/cb", "https://127.0.0.1:51004/cb"},
		"IPv6 loopback":  {"http://::1/cb", "http://[::1/cb", "http://::1]/cb", "http://[::1]evil.example/cb", "http://[::1]:1@evil.example/cb", "http://[::1].evil.example/cb", "http://[0:0:0:0:0:0:0:1]:1/cb", "http://[::0001]/cb", "http://[::1%25lo]/cb", "http://[::ffff:127.0.0.1]/cb", "http://[::ffff:7f00:1]/cb", "http://[::2]/cb", "http://[::]/cb", "http://[127.0.0.1]/cb", "http://[127.0.0.1]:1/cb", "http://[::1]:1:1/cb", "http://[[::1]]/cb"},
		"hosts":          {"http://localhost/cb", "http://127.1/cb", "http://127.0.0.2/cb", "http://0.0.0.0/cb", "http://2130706433/cb", "http://0177.0.0.1/cb", "http://127.0.0.1./cb", "http://127.0.0.1.evil.example/cb", "http://127.0.0.1%2eevil.example/cb", "http://127。0。0。1/cb", "http://１２７.0.0.1/cb", "https://APP.example.com.:8443/cb", "https://APP.example.com:8443.evil.example/cb", "https://x.APP.example.com:8443/cb", `https://APP.example.com:8443\.evil.example/cb`},
		"custom schemes": {"com.example.app://evil.example/cb", "com.example.app:cb", "com.example.app:///cb", "com.example.app:/cb?x=1", "com.example.app://host/cb/x", "com.example.app.evil:/cb", "evil:com.example.app:/cb", "app:/cb", "javascript:alert(1)//com.example.app:/cb", "data:text/html,com.example.app:/cb", "intent://host/cb#Intent;scheme=com.example.app;end", "file:///cb", "view-source:http://127.0.0.1/cb", " com.example.app:/cb", "com.example.app:/cb\t", "com.example.app:/cb\r\nLocation: https://evil.example/", "com.example.app\x00:/cb"},
		"queries":        {"http://127.0.0.1/cb?", "http://127.0.0.1/cb?next=https://evil.example/", "http://127.0.0.1?/cb", "http://127.0.0.1/cb&code=x", "https://APP.example.com:8443/cb?code=forged"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, trick := range tricks {
				asked := with(forSPA, "client_id", "native", "redirect_uri", trick)
				object := with(asked, "redirect_uri", "com.example.app:/cb", "request", unsignedJWT(`{"alg":"none"}`, fmt.Sprintf(`{"redirect_uri":%q}`, trick)))
				for _, request := range []url.Values{
					asked, with(asked, "prompt", "none", "max_age", "0"), with(asked, "scope", `"`), with(asked, "response_type", "x"),
					with(asked, "response_mode", "form_post"), with(asked, "response_mode", "web_message"), with(asked, "response_mode", "fragment"), object,
				} {
					for _, a := range []answer{v.get(request), v.post(request)} {
						// Of an object that is no JSON even the redirect URI does not count.
						if request.Get("request") != "" && a.query("error") == string(oauth.InvalidRequestObject) && strings.HasPrefix(a.Header().Get("Location"), "com.example.app:/cb?error=") {
							continue
						}
						if a.Code != http.StatusBadRequest || a.Header().Get("Location") != "" || strings.Contains(a.Body.String(), "<script") || strings.Contains(a.Body.String(), "evil.example") {
							t.Errorf("%q: %d to %q", trick, a.Code, a.Header().Get("Location"))
						}
					}
				}
			}
		})
	}
	// The twins of those that are nearest.
	for _, uri := range append(native.RedirectURIs, "http://127.0.0.1:65535/cb", "http://[::1]:1/cb") {
		if a := v.get(with(forSPA, "client_id", "native", "redirect_uri", uri)); a.query("code") == "" || !strings.HasPrefix(a.Header().Get("Location"), uri+"?") {
			t.Errorf("%s: %d to %q", uri, a.Code, a.Header().Get("Location"))
		}
	}
}

// Nobody on the way makes a request weaker than it was sent: in the form that carries it,
// or by a request object beside it.
func TestDowngrade(t *testing.T) {
	asked := with(forFront("code id_token", "client_id", "plain", "response_mode", "form_post", "prompt", "login"),
		"code_challenge", challenge, "code_challenge_method", "S256")
	for name, pairs := range map[string][]string{
		"PKCE":                  {"code_challenge", "-", "code_challenge_method", "-"},
		"PKCE method":           {"code_challenge_method", "plain"},
		"PKCE challenge":        {"code_challenge", strings.Repeat("A", 43)},
		"response type":         {"response_type", "code"},
		"response type, more":   {"response_type", "code id_token token"},
		"response mode":         {"response_mode", "fragment"},
		"response mode, none":   {"response_mode", "-"},
		"nonce":                 {"nonce", "-"},
		"state":                 {"state", "-"},
		"prompt":                {"prompt", "-"},
		"dpop_jkt of the thief": {"dpop_jkt", challenge},
	} {
		t.Run(name, func(t *testing.T) {
			h, v := withObjects(t)
			h.isPage(v.get(asked), http.StatusOK)
			before := len(h.store.grants)
			// In the form.
			if a := v.post(url.Values{"request": {with(asked, pairs...).Encode()}, "seal": v.form["seal"], "username": {"demo"}, "password": {password}}); a.Code != http.StatusBadRequest || a.location != nil || len(h.store.grants) != before {
				t.Errorf("the form counts: %d to %s", a.Code, a.location)
			}
			// The twin: as it was.
			v.get(asked)
			if a := v.fill("demo", password); len(h.store.grants) != before+1 || !strings.Contains(a.Body.String(), `name="id_token"`) {
				t.Errorf("as it was: %d %s", a.Code, a.Body)
			} else if g := h.store.grants[before]; g.Challenge != challenge || g.Nonce != "no-1" || g.CodeKey != "" {
				t.Errorf("granted: %+v", g)
			}
		})
	}
	public := with(forSPA, "client_id", "public")
	for name, tt := range map[string]struct {
		request url.Values
		object  string
		want    oauth.Code
	}{
		"PKCE, emptied":         {public, `{"code_challenge":"","code_challenge_method":""}`, oauth.InvalidRequest},
		"PKCE, to plain":        {public, `{"code_challenge_method":"plain"}`, oauth.InvalidRequest},
		"PKCE, without method":  {public, `{"code_challenge_method":""}`, oauth.InvalidRequest},
		"PKCE, null is nothing": {public, `{"code_challenge":null,"code_challenge_method":null}`, ""},
		"PKCE, twice":           {public, `{"code_challenge":["` + challenge + `","` + challenge + `"]}`, oauth.InvalidRequestObject},
		"response type":         {public, `{"response_type":"token"}`, oauth.InvalidRequestObject},
		"response type, none":   {public, `{"response_type":"none"}`, oauth.InvalidRequestObject},
		"response mode":         {forFront("id_token", "client_id", "plain"), `{"response_mode":"query"}`, oauth.InvalidRequest},
		"nonce":                 {forFront("id_token", "client_id", "plain"), `{"nonce":""}`, oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			h, v := withObjects(t)
			c, err := h.store.Client(t.Context(), "spa")
			if err == nil {
				c.ID, c.RequestObjectAlgorithm = "public", "none"
				err = h.store.PutClient(t.Context(), c)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := len(h.store.grants)
			a := v.get(with(tt.request, "request", unsignedJWT(`{"alg":"none"}`, tt.object)))
			_, p := a.parameters()
			if p.Get("error") != string(tt.want) || (len(h.store.grants) == before) != (tt.want != "") {
				t.Errorf("%d: %v", a.Code, p)
			}
			if asked, _, _ := strings.Cut(a.Header().Get("Location"), "#"); strings.Contains(asked, "id_token=") {
				t.Errorf("in the query: %s", a.location)
			}
		})
	}
}

// hostile are words that would be markup, a header, a template, a script, or the end of
// one of ours, if they were not shown as text.
var hostile = []string{
	`"><script>alert(1)</script><img src=x onerror=alert(1)>`, `'><b x='`, "x\r\nX-Evil: 1\r\n\r\n<h1>Evil</h1>", "%0d%0aX-Evil:%201",
	`</title></style></script><svg onload=alert(1)>`, `{{.Request}}{{say "x"}}*%1**b*<b>`, `javascript:alert(1)//"'<>`,
	`"}};alert(1)//\u003cscript\u003e`, "\u2028\u2029<\u202e>", `&lt;script&gt;&quot;"`, `<!--`, "]]><", `';alert(1)//`,
}

var (
	inStyle = regexp.MustCompile(`(?s)<style>.*?</style>`)
	inOurs  = regexp.MustCompile(`(?s)<script>.*?</script>`)
)

// marks counts what makes markup of text, outside of our own stylesheet and script,
// which the policy knows by their hashes.
func marks(body string) string {
	body = inOurs.ReplaceAllString(inStyle.ReplaceAllString(body, "<style></style>"), "<script></script>")
	return fmt.Sprintf("%d< %d> %d\" %d'", strings.Count(body, "<"), strings.Count(body, ">"), strings.Count(body, `"`), strings.Count(body, "'"))
}

// shown is what a page has beside its stylesheet.
func shown(a answer) string {
	_, main, _ := strings.Cut(a.Body.String(), "</style>")
	return main
}

// Whatever stands in a parameter, or in a name that the page shows, the page has the
// markup of one in which nothing hostile stands, and the answer no header more.
func TestHostileWords(t *testing.T) {
	h, v := withObjects(t)
	third, err := h.store.Client(t.Context(), "third")
	if err != nil {
		t.Fatal(err)
	}
	names := func(client, apiName, word, username string) {
		t.Helper()
		c, web := third, third
		c.Name = client
		web.ID, web.Name, web.FirstParty, web.WebOrigins = "named", client, true, []string{"https://third.example.com"}
		for _, err := range []error{
			h.store.PutClient(t.Context(), c), h.store.PutClient(t.Context(), web),
			h.store.PutAPI(t.Context(), store.API{Identifier: api, Name: apiName, Scopes: map[string]string{"read:orders": word}}),
			h.store.PutUser(t.Context(), store.User{Subject: "u1", Username: username, PasswordHash: passwordHash()}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	forNamed := with(forThird, "client_id", "named")
	show := map[string]func(pairs ...string) answer{
		"login": func(p ...string) answer { return v.get(with(with(forNamed, "prompt", "login"), p...)) },
		"consent": func(p ...string) answer {
			return v.get(with(with(forThird, "audience", api, "scope", "openid read:orders"), p...))
		},
		"form_post":   func(p ...string) answer { return v.get(with(with(forNamed, "response_mode", "form_post"), p...)) },
		"web_message": func(p ...string) answer { return v.get(with(with(forNamed, "response_mode", "web_message"), p...)) },
		"redirect":    func(p ...string) answer { return v.get(with(forNamed, p...)) },
		"form_post with an error": func(p ...string) answer {
			return v.get(with(with(forNamed, "response_mode", "form_post", "prompt", "none", "max_age", "0"), p...))
		},
		"web_message with an error": func(p ...string) answer {
			return v.get(with(with(forNamed, "response_mode", "web_message", "prompt", "none", "max_age", "0"), p...))
		},
		"refusal": func(p ...string) answer {
			return v.get(with(with(forNamed, "redirect_uri", "https://evil.example/"), p...))
		},
		"wrong password": func(p ...string) answer {
			if a := v.get(with(with(forNamed, "prompt", "login"), p...)); !strings.Contains(a.Body.String(), `name="password"`) {
				return a
			}
			if err := h.store.Store.ClearAttempts(t.Context(), oauth.DigestOf("demo")); err != nil {
				t.Fatal(err)
			}
			return v.fill("demo", "wrong")
		},
		"a form that is too old": func(p ...string) answer {
			if a := v.get(with(with(forNamed, "prompt", "login"), p...)); !strings.Contains(a.Body.String(), `name="password"`) {
				return a
			}
			return v.post(with(v.form, "seal", "x", "username", "demo", "password", "x"))
		},
	}
	// What an answer has: the kind of page, its marks, and its headers by name.
	shape := func(a answer) string {
		var headers []string
		for name, values := range a.Header() {
			headers = append(headers, name)
			if strings.ContainsAny(strings.Join(values, ""), "\r\n") {
				t.Errorf("a header has a line end: %s: %q", name, values)
			}
		}
		slices.Sort(headers)
		return fmt.Sprint(a.Code, " ", marks(a.Body.String()), " ", headers)
	}
	v.logIn()
	benign := map[string]map[string]bool{}
	names("Client", "API", "Word", "demo")
	for page, ask := range show {
		benign[page] = map[string]bool{}
		// A login page with a name in it has the focus elsewhere; a state or a hint may be there or not.
		for _, pairs := range [][]string{nil, {"login_hint", "x"}, {"state", "-"}, {"login_hint", strings.Repeat("x", 300)}} {
			benign[page][shape(ask(pairs...))] = true
		}
	}
	// Nothing of them stands on a page, so another page comes: the answer is an error.
	for page := range show {
		for _, other := range []string{"form_post with an error", "web_message with an error", "redirect", "refusal", "login"} {
			for s := range benign[other] {
				if page != other && benign[page] != nil {
					benign[page][s] = true
				}
			}
		}
	}
	for _, parameter := range []string{
		"state", "nonce", "login_hint", "ui_locales", "claims_locales", "display", "acr_values", "scope", "audience", "resource", "response_type",
		"response_mode", "prompt", "max_age", "claims", "id_token_hint", "request", "request_uri", "registration", "dpop_jkt", "code_challenge",
		"code_challenge_method", "screen_hint", "client_id", "redirect_uri", "error", "error_description", "error_uri", "iss", "unknown",
	} {
		t.Run(parameter, func(t *testing.T) {
			for page, ask := range show {
				if parameter == "prompt" && page != "redirect" || parameter == "max_age" && strings.HasSuffix(page, "error") {
					continue // it makes the page what it is
				}
				for i, words := range hostile {
					if i > 0 && page == "wrong password" {
						break // it takes a password's time
					}
					a := ask(parameter, words)
					if s := shape(a); !benign[page][s] {
						t.Errorf("%s on %s: %s\n%s", words, page, s, shown(a))
					}
					if d := a.query("error_description"); strings.ContainsAny(d, "\"\\<>\r\n") {
						t.Errorf("%s: error_description %q", words, d)
					}
				}
			}
		})
	}
	for name, set := range map[string]func(words string){
		"client_name": func(w string) { names(w, "API", "Word", "demo") },
		"API":         func(w string) { names("Client", w, "Word", "demo") },
		"scope words": func(w string) { names("Client", "API", w, "demo") },
		"username":    func(w string) { names("Client", "API", "Word", w) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, words := range hostile {
				set(words)
				for page, ask := range show {
					if a := ask(); !benign[page][shape(a)] {
						t.Errorf("%s on %s: %s\n%s", words, page, shape(a), shown(a))
					}
				}
			}
		})
	}
	_, begins := withBeginning(t)
	for _, parameter := range []string{"client", "target_link_uri"} {
		t.Run(parameter, func(t *testing.T) {
			refusal := shape(begins("client_id=web&target_link_uri=https%3A%2F%2Fevil.example%2F"))
			for _, words := range hostile {
				query := url.Values{"client": {"web"}}
				query.Set(parameter, words)
				if a := begins(query.Encode()); shape(a) != refusal || a.location != nil {
					t.Errorf("%s: %d to %v\n%s", words, a.Code, a.location, shown(a))
				}
			}
		})
	}
	names("Client", "API", "Word", "demo")
	t.Run("typed username", func(t *testing.T) {
		for _, words := range hostile {
			v.get(with(forNamed, "prompt", "login"))
			a := v.fill(words, "wrong")
			if got, want := shape(a), shape(show["wrong password"]()); got != want {
				t.Errorf("%s: %s, want %s\n%s", words, got, want, shown(a))
			}
		}
	})
	t.Run("Accept-Language", func(t *testing.T) {
		for _, words := range append(hostile, `de"><script>`, "fr\"onload=") {
			r := httptest.NewRequest(http.MethodGet, "/authorize?"+with(forNamed, "prompt", "login").Encode(), nil)
			r.Header["Accept-Language"] = []string{words}
			if a := v.send(r); marks(a.Body.String()) != marks(show["login"]().Body.String()) {
				t.Errorf("%s: %s", words, a.Body)
			}
		}
	})
}

// Where a login begins that nobody has asked for, hostile words make no markup and no
// header, and lead nowhere but to the client, where they arrive as they are.
func TestHostileWordsAtLogin(t *testing.T) {
	_, open := withBeginning(t)
	for _, parameter := range []string{"client_id", "client", "login_hint", "target_link_uri", "iss", "ui_locales", "state"} {
		page := marks(open("client_id=nobody").Body.String())
		for _, words := range hostile {
			query := url.Values{"client_id": {"web"}, parameter: {words}}
			a := open(query.Encode())
			refused := slices.Contains([]string{"client_id", "target_link_uri"}, parameter)
			if location := a.Header().Get("Location"); refused != (location == "") || strings.ContainsAny(location, "\r\n<>\"' ") || location != "" && !strings.HasPrefix(location, begins+"&") {
				t.Errorf("%s %s: %d to %q", parameter, words, a.Code, location)
			}
			if refused && (a.Code != http.StatusBadRequest || marks(a.Body.String()) != page) {
				t.Errorf("%s %s: %d, %s", parameter, words, a.Code, shown(a))
			}
			if parameter == "login_hint" && a.query("login_hint") != words {
				t.Errorf("the hint came as %q", a.query("login_hint"))
			}
		}
	}
}

// The twin: marks finds what was not escaped.
func TestMarksFindsMarkup(t *testing.T) {
	for _, words := range []string{`<b`, `>`, `"`, `'`, `<script>alert(1)</script>`} {
		if marks("<p>x</p>") == marks("<p>"+words+"</p>") {
			t.Errorf("%s is not found", words)
		}
	}
}

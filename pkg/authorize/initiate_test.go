package authorize_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"kmint/pkg/authorize"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

const begins = "https://app.example.com/login?from=kmint"

// withBeginning has logins of web begin at the client, and a way to open /login.
func withBeginning(t *testing.T) (*house, func(query string) answer) {
	t.Helper()
	h := newHouse(t, overTLS)
	c, err := h.store.Store.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	c.InitiateLoginURI = begins
	if err := h.store.PutClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	edge := web.Edge{Log: slog.New(slog.NewJSONHandler(&h.log, nil)), Now: func() time.Time { return h.now }, Secure: true}
	mux := http.NewServeMux()
	mux.Handle("/", h.Handler)
	mux.Handle(authorize.LoginPath, edge.Page(web.Methods(h.endpoint.ServeLogin, http.MethodGet)))
	h.Handler = mux
	return h, func(query string) answer {
		return h.visitor().send(httptest.NewRequest(http.MethodGet, "/login?"+query, nil))
	}
}

// isBeginning fails unless the person is sent to the address that web has registered,
// with these parameters and no others.
func (h *house) isBeginning(a answer, status int, pairs ...string) {
	h.Helper()
	want := url.Values{"from": {"kmint"}, "iss": {overTLS}}
	for i := 0; i+1 < len(pairs); i += 2 {
		want.Set(pairs[i], pairs[i+1])
	}
	if a.Code != status || a.location == nil || a.location.Query().Encode() != want.Encode() || !strings.HasPrefix(a.location.String(), begins+"&") || a.Body.Len() > 0 {
		h.Errorf("%d to %s, want %d with %v; %s", a.Code, a.location, status, want, a.Body)
	}
}

func TestLoginBegins(t *testing.T) {
	h, open := withBeginning(t)
	for query, pairs := range map[string][]string{
		"client_id=web": nil,
		"client=web&state=hKFo2SA&protocol=oauth2":                                       nil, // Auth0's bookmark
		"client_id=web&login_hint=demo%40example.com":                                    {"login_hint", "demo@example.com"},
		"client_id=web&login_hint=" + strings.Repeat("a", 300):                           nil,
		"client_id=web&login_hint=%22%3E%26iss%3Dx":                                      {"login_hint", `">&iss=x`},
		"client_id=web&target_link_uri=https%3A%2F%2Fapp.example.com%2Finbox%3Fa%3D1%23": {"target_link_uri", "https://app.example.com/inbox?a=1#"},
		"client_id=web&iss=https%3A%2F%2Fevil.example%2F&redirect_uri=https%3A%2F%2Fevil.example%2F&initiate_login_uri=https%3A%2F%2Fevil.example%2F": nil,
	} {
		a := open(query)
		h.isBeginning(a, http.StatusFound, pairs...)
		if calls := h.store.took(); calls != "" || len(a.Result().Cookies()) > 0 {
			t.Errorf("%s: cost %s, %v", query, calls, a.Header())
		}
	}
	const here = "A login does not begin here. Start from the application that you want to use."
	for query, says := range map[string]string{
		"":                            here,
		"state=hKFo2SA":               here,
		"client_id=spa":               here,
		"client_id=nobody":            "its client_id is wrong",
		"client_id=web&client_id=web": "client_id",
		"client_id=web&target_link_uri=https%3A%2F%2Fevil.example%2F":                    "The target_link_uri is no address of the application.",
		"client_id=web&target_link_uri=https%3A%2F%2Fapp.example.com%40evil.example%2F":  "The target_link_uri is no address",
		"client_id=web&target_link_uri=https%3A%2F%2Fapp.example.com.evil.example%2F":    "The target_link_uri is no address",
		"client_id=web&target_link_uri=http%3A%2F%2Fapp.example.com%2F":                  "The target_link_uri is no address",
		"client_id=web&target_link_uri=javascript%3Aalert(1)":                            "The target_link_uri is no address",
		"client_id=web&target_link_uri=%2F%2Fevil.example%2F":                            "The target_link_uri is no address",
		"client_id=web&target_link_uri=https%3A%2F%2Fapp.example.com%5C%40evil.example":  "The target_link_uri is no address",
		"client_id=web&target_link_uri=https%3A%2F%2Fapp.example.com%2F%0d%0aSet-Cookie": "The target_link_uri is no address",
	} {
		a := open(query)
		h.isPage(a, http.StatusBadRequest)
		if !strings.Contains(a.Body.String(), says) {
			t.Errorf("%q says %s", query, a.Body)
		}
	}
	// Only by GET: nobody's form is answered.
	a := h.visitor().send(httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("client_id=web")))
	h.isPage(a, http.StatusMethodNotAllowed)
	// A store that fails is a page as well.
	h.store.fail = map[string]error{"Client": store.ErrBusy}
	h.isPage(open("client_id=web"), http.StatusServiceUnavailable)
}

// A form that is too old, and of which the request is not right any more, begins anew.
func TestAFormBeginsAnew(t *testing.T) {
	old := func(t *testing.T, client string, request url.Values) (*house, *visitor) {
		t.Helper()
		h, _ := withBeginning(t)
		v := h.visitor()
		h.isLoginPage(v.get(request), http.StatusOK)
		h.now = h.now.Add(24 * time.Hour)
		c, err := h.store.Store.Client(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		c.RedirectURIs = []string{"https://moved.example.com/cb"}
		if err := h.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return h, v
	}
	h, v := old(t, "web", with(forWeb, "login_hint", "demo"))
	h.log.Reset()
	a := v.fill("demo", password)
	h.isBeginning(a, http.StatusSeeOther, "login_hint", "demo")
	if calls := h.store.took(); calls != "" || len(a.Result().Cookies()) > 0 {
		t.Errorf("it cost %s, %v", calls, a.Header())
	}
	if log := h.log.String(); !strings.Contains(log, `"client_id":"web"`) || !strings.Contains(log, "the seal does not hold") || strings.Contains(log, password) {
		t.Errorf("the log: %s", log)
	}
	// A form of another site brings no cookie, and leads nowhere; nor does one of a browser
	// that keeps none, which would come here again.
	h, v = old(t, "web", forWeb)
	delete(v.cookies, "__Host-kmint_login")
	h.isPage(v.fill("demo", password), http.StatusBadRequest)
	// Nor that of a client which has not said where.
	h, v = old(t, "spa", forSPA)
	h.isPage(v.fill("demo", password), http.StatusBadRequest)
	// One that is not too old is refused as ever: something has changed since.
	h, v = old(t, "web", forWeb)
	h.now = h.now.Add(-24 * time.Hour)
	h.isPage(v.fill("demo", password), http.StatusBadRequest)
}

// Chrome holds the page's policy against where its form leads.
func TestPagesLetAFormBeginAnew(t *testing.T) {
	h, _ := withBeginning(t)
	c, err := h.store.Store.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.InitiateLoginURI, c.RedirectURIs = "apart", "https://start.example.org/login", []string{"https://app.example.com/cb"}
	c.GrantTypes = []string{oauth.AuthorizationCode}
	if err := h.store.PutClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	request := with(forWeb, "client_id", "apart", "redirect_uri", "https://app.example.com/cb")
	for mode, want := range map[string]string{
		"query":     "form-action 'self' https://app.example.com https: https://start.example.org;",
		"form_post": "form-action 'self' https://start.example.org https:;",
	} {
		a := h.visitor().get(with(request, "response_mode", mode))
		if policy := a.Header().Get("Content-Security-Policy"); !strings.Contains(policy, want) {
			t.Errorf("%s: %s, want %s", mode, policy, want)
		}
	}
}

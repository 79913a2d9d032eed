package authorize_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// What a client wants of every login, by its registration (OpenID Connect Dynamic Client
// Registration 1.0 §2), and what a request says instead.
func TestLoginDefaults(t *testing.T) {
	h, v := newFront(t)
	c, err := h.store.Client(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	age := int64(300)
	c.ID, c.DefaultMaxAge, c.RequireAuthTime, c.DefaultACRValues = "careful", &age, true, []string{oauth.PasswordClass}
	never := int64(0)
	always := c
	always.ID, always.DefaultMaxAge = "always", &never
	for _, c := range []store.Client{c, always} {
		if err := h.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(id string, pairs ...string) answer {
		return v.get(with(forFront("id_token"), append([]string{"client_id", id}, pairs...)...))
	}
	for _, tt := range []struct {
		client string
		after  time.Duration
		pairs  []string
		page   bool
		acr    any
	}{
		{"careful", 5 * time.Minute, nil, false, oauth.PasswordClass},
		{"careful", 5*time.Minute + time.Second, nil, true, nil},
		// "The max_age request parameter overrides this default value": both ways.
		{"careful", 6 * time.Minute, []string{"max_age", "360"}, false, oauth.PasswordClass},
		{"careful", 2 * time.Minute, []string{"max_age", "60"}, true, nil},
		{"always", 0, nil, true, nil},
		{"always", time.Second, []string{"max_age", "1"}, false, oauth.PasswordClass},
		// The twin has none of it.
		{"front", 6 * time.Minute, nil, false, nil},
		{"front", 0, []string{"acr_values", "gold"}, false, oauth.PasswordClass},
		{"front", 0, []string{"acr_values", ""}, false, nil},
		{"front", 0, []string{"claims", `{"id_token":{"acr":{"essential":true}}}`}, false, oauth.PasswordClass},
		{"front", 0, []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"` + oauth.PasswordClass + `"}}}`}, false, oauth.PasswordClass},
	} {
		begun := h.now
		h.now = begun.Add(tt.after)
		a := ask(tt.client, tt.pairs...)
		h.now = begun
		if tt.page {
			if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `name="password"`) {
				t.Errorf("%s %v after %s: %d, no login page", tt.client, tt.pairs, tt.after, a.Code)
			}
			continue
		}
		_, parameters := a.parameters()
		if parameters.Get("id_token") == "" {
			t.Errorf("%s %v after %s: %d %v", tt.client, tt.pairs, tt.after, a.Code, parameters)
			continue
		}
		claims := claimsOf(t, parameters.Get("id_token"))
		if _, there := claims["auth_time"]; !there || claims["acr"] != tt.acr {
			t.Errorf("%s %v after %s: auth_time %v, acr %v", tt.client, tt.pairs, tt.after, claims["auth_time"], claims["acr"])
		}
	}
	for name, pairs := range map[string][]string{
		"no page, and too long ago":   {"client_id", "always", "prompt", "none"},
		"another class is demanded":   {"claims", `{"id_token":{"acr":{"essential":true,"values":["gold"]}}}`},
		"another is, by value":        {"claims", `{"id_token":{"acr":{"essential":true,"value":"gold"}}}`, "acr_values", oauth.PasswordClass},
		"no claims request, with acr": {"claims", `[]`, "acr_values", "gold"},
		"it is too long with the acr": {"claims", `{"x":"` + strings.Repeat("x", 4096) + `"}`, "acr_values", "gold"},
	} {
		want := map[string]string{"no page, and too long ago": "login_required", "another class is demanded": "unmet_authentication_requirements",
			"another is, by value": "unmet_authentication_requirements"}[name]
		if want == "" {
			want = "invalid_request"
		}
		if a := v.get(with(forFront("id_token"), pairs...)); a.query("error") != want || a.query("id_token") != "" {
			t.Errorf("%s: %d %s", name, a.Code, a.location)
		}
	}
}

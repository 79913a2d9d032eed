package token_test

import (
	"strings"
	"testing"

	"kmint/pkg/store"
	"kmint/pkg/token"
)

// OpenID Connect Core 1.0 §3.1.2.1, acr_values.
func TestWithACR(t *testing.T) {
	for name, tt := range map[string]struct {
		text, want string
		ok         bool
	}{
		"nothing":              {"", `{"id_token":{"acr":null}}`, true},
		"other claims":         {`{"id_token":{"name":{"value":12345678901234567890}},"userinfo":{"acr":null},"x":1}`, `{"id_token":{"acr":null,"name":{"value":12345678901234567890}},"userinfo":{"acr":null},"x":1}`, true},
		"null":                 {`{"id_token":null}`, `{"id_token":{"acr":null}}`, true},
		"it is asked for":      {`{ "id_token":{"acr":{"essential":true}}}`, `{ "id_token":{"acr":{"essential":true}}}`, true},
		"it is asked for null": {`{"id_token":{"acr":null}}`, `{"id_token":{"acr":null}}`, true},
		// What is longer by it must not be refused: it is asked for as a Voluntary Claim.
		"a long one":      {`{"x":"` + strings.Repeat("<", 4088) + `"}`, `{"id_token":{"acr":null},"x":"` + strings.Repeat("<", 4088) + `"}`, true},
		"no object":       {`[]`, "", false},
		"no object in it": {`{"id_token":[]}`, "", false},
	} {
		got, err := token.WithACR(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if r, err := token.ParseClaimsRequest(got); tt.ok && (err != nil || len(r.IDToken) == 0) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestClaimsRequest(t *testing.T) {
	u := store.User{Subject: "u", Profile: map[string]any{"name": "Ada", "email": "a@example.com", "email_verified": true, "updated_at": float64(7)},
		Claims: map[string]any{"https://c/": 1}, Attributes: map[string]any{"tier": "gold"}}
	for name, tt := range map[string]struct {
		text string
		ok   bool
		id   string // the names that the ID token gets, beside https://shown/
		info string
	}{
		"nothing":                {"", true, "", ""},
		"an empty object":        {"{}", true, "", ""},
		"null of both":           {`{"id_token":null,"userinfo":null}`, true, "", ""},
		"one here, one there":    {`{"id_token":{"name":null},"userinfo":{"email":{"essential":true}}}`, true, "name", "email"},
		"unknown members":        {`{"id_token":{"name":{"purpose":"x"}},"verified":{}}`, true, "name", ""},
		"the value it has":       {`{"id_token":{"name":{"value":"Ada"},"email_verified":{"value":true},"updated_at":{"value":7}}}`, true, "email_verified name updated_at", ""},
		"another value":          {`{"id_token":{"name":{"value":"Eve"},"email_verified":{"value":"true"}}}`, true, "", ""},
		"one of the values":      {`{"id_token":{"name":{"values":["Eve","Ada"]},"email":{"values":["x"]}}}`, true, "name", ""},
		"what is not there":      {`{"id_token":{"address":null}}`, true, "", ""},
		"the class of a login":   {`{"userinfo":{"acr":{"value":"gold"}}}`, true, "", "acr"},
		"what no scope asks for": {`{"id_token":{"tier":null,"https://c/":null,"password_hash":null,"sub":null,"iss":null}}`, true, "", ""},
		"another case":           {`{"ID_TOKEN":{"name":null},"userinfo":{"Name":null}}`, true, "", ""},

		"no JSON":               {`{`, false, "", ""},
		"no object":             {`[]`, false, "", ""},
		"null":                  {`null`, false, "", ""},
		"a list of claims":      {`{"id_token":["name"]}`, false, "", ""},
		"a wish that is a text": {`{"id_token":{"name":"Ada"}}`, false, "", ""},
		"essential is a text":   {`{"id_token":{"name":{"essential":"yes"}}}`, false, "", ""},
		"a claim twice":         {`{"id_token":{"name":null,"name":null}}`, false, "", ""},
		"too long":              {`{"x":"` + strings.Repeat("x", token.MaxClaimsRequest) + `"}`, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := token.ParseClaimsRequest(tt.text)
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}
			shown := map[string]any{"https://shown/": 1}
			for want, got := range map[string]map[string]any{tt.id: r.IDTokenClaims(u, shown), tt.info: r.UserinfoClaims(u, shown)} {
				for _, name := range append(strings.Fields(want), "https://shown/") {
					if _, ok := got[name]; !ok {
						t.Errorf("no %s in %v", name, got)
					}
				}
				if tt.id != tt.info && len(got) != len(strings.Fields(want))+1 {
					t.Errorf("%v, want %s", got, want)
				}
			}
			if len(shown) != 1 {
				t.Error("what was given is changed")
			}
		})
	}
}

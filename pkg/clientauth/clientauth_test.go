package clientauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"kmint/pkg/clientauth"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

type clients map[string]store.Client

func (c clients) Client(_ context.Context, id string) (store.Client, error) {
	if client, ok := c[id]; ok {
		return client, nil
	}
	return store.Client{}, store.ErrNotFound
}

const odd = "s:e+c r%é" + "-0123456789-0123456789-0123456789"

var known = clients{
	"basic": {ID: "basic", AuthMethod: oauth.ClientSecretBasic, SecretDigests: []oauth.Digest{oauth.DigestOf("the right secret")}},
	"o:dd":  {ID: "o:dd", AuthMethod: oauth.ClientSecretBasic, SecretDigests: []oauth.Digest{oauth.DigestOf(odd)}},
	"post":  {ID: "post", AuthMethod: oauth.ClientSecretPost, SecretDigests: []oauth.Digest{oauth.DigestOf("the right secret")}},
	"none":  {ID: "none", AuthMethod: oauth.None},
	"both": {ID: "both", AuthMethod: oauth.ClientSecretBasic, SecretDigests: []oauth.Digest{
		oauth.DigestOf("the new secret"), oauth.DigestOf("the old secret"),
	}},
	"both post": {ID: "both post", AuthMethod: oauth.ClientSecretPost, SecretDigests: []oauth.Digest{
		oauth.DigestOf("the new secret"), oauth.DigestOf("the old secret"),
	}},
}

func header(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestAuthenticate(t *testing.T) {
	for name, tt := range map[string]struct {
		authorization string
		form          url.Values
		want          string
		refused       oauth.Code
	}{
		"basic":                               {header("basic", "the+right+secret"), nil, "basic", ""},
		"basic, escaped otherwise":            {header("basic", "the%20right%20secret"), nil, "basic", ""},
		"basic, the scheme in another case":   {strings.Replace(header("basic", "the+right+secret"), "Basic", "bAsIc", 1), nil, "basic", ""},
		"basic, the client_id repeated":       {header("basic", "the+right+secret"), url.Values{"client_id": {"basic"}}, "basic", ""},
		"basic, all that form-encoding hides": {header(url.QueryEscape("o:dd"), url.QueryEscape(odd)), nil, "o:dd", ""},
		"basic, not form-encoded":             {header("o:dd", odd), nil, "", oauth.InvalidClient},
		"basic, wrong secret":                 {header("basic", "wrong"), nil, "", oauth.InvalidClient},
		"basic, no secret":                    {header("basic", ""), nil, "", oauth.InvalidClient},
		"basic, unknown client":               {header("nobody", "x"), nil, "", oauth.InvalidClient},
		"basic, not base64":                   {"Basic !!!", nil, "", oauth.InvalidClient},
		"another scheme":                      {"Bearer abc", nil, "", oauth.InvalidClient},
		"basic, the new of two":               {header("both", "the+new+secret"), nil, "both", ""},
		"basic, the old of two":               {header("both", "the+old+secret"), nil, "both", ""},
		"basic, neither of two":               {header("both", "the+older+secret"), nil, "", oauth.InvalidClient},
		"post, the new of two":                {"", url.Values{"client_id": {"both post"}, "client_secret": {"the new secret"}}, "both post", ""},
		"post, the old of two":                {"", url.Values{"client_id": {"both post"}, "client_secret": {"the old secret"}}, "both post", ""},
		"post, neither of two":                {"", url.Values{"client_id": {"both post"}, "client_secret": {"the older secret"}}, "", oauth.InvalidClient},
		"basic by a client of post":           {header("post", "the+right+secret"), nil, "", oauth.InvalidClient},
		"two methods":                         {header("basic", "the+right+secret"), url.Values{"client_secret": {"x"}}, "", oauth.InvalidRequest},
		"two clients":                         {header("basic", "the+right+secret"), url.Values{"client_id": {"post"}}, "", oauth.InvalidRequest},
		"post":                                {"", url.Values{"client_id": {"post"}, "client_secret": {"the right secret"}}, "post", ""},
		"post, wrong secret":                  {"", url.Values{"client_id": {"post"}, "client_secret": {"wrong"}}, "", oauth.InvalidClient},
		"post by a client of basic":           {"", url.Values{"client_id": {"basic"}, "client_secret": {"the right secret"}}, "", oauth.InvalidClient},
		"post, no client_id":                  {"", url.Values{"client_secret": {"x"}}, "", oauth.InvalidRequest},
		"none":                                {"", url.Values{"client_id": {"none"}}, "none", ""},
		"none with a secret":                  {"", url.Values{"client_id": {"none"}, "client_secret": {"x"}}, "", oauth.InvalidClient},
		"none by a confidential client":       {"", url.Values{"client_id": {"basic"}}, "", oauth.InvalidClient},
		"nothing at all":                      {"", nil, "", oauth.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			hr := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(tt.form.Encode()))
			hr.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if tt.authorization != "" {
				hr.Header.Set("Authorization", tt.authorization)
			}
			r, err := oauth.ReadRequest(hr)
			if err != nil {
				t.Fatal(err)
			}
			a := clientauth.Authenticator{Clients: known}
			claim, err := a.Identify(t.Context(), r)
			var client store.Client
			if err == nil {
				var proven clientauth.Authentication
				proven, err = a.Authenticate(t.Context(), claim)
				client = proven.Client
				if len(proven.Uses) != 0 {
					t.Errorf("uses %v up", proven.Uses)
				}
			}
			var e *oauth.Error
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused == "" && client.ID != tt.want:
				t.Errorf("took it for %q", client.ID)
			case tt.refused != "" && (!errors.As(err, &e) || e.Code != tt.refused):
				t.Errorf("got %v, want %s", err, tt.refused)
			}
		})
	}
}

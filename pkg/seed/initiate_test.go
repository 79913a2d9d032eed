package seed

import (
	"strings"
	"testing"
)

func TestInitiateLoginURI(t *testing.T) {
	const code = `"client_secret": "` + aSecret + `", "redirect_uris": ["https://app.example/cb"]`
	for name, tt := range map[string]struct{ members, uri, problem string }{
		"an address":        {code + `, "initiate_login_uri": "https://app.example/login?x=1"`, "https://app.example/login?x=1", ""},
		"on this machine":   {code + `, "initiate_login_uri": "https://localhost:8443/login"`, "https://localhost:8443/login", ""},
		"none":              {code, "", ""},
		"empty":             {code + `, "initiate_login_uri": ""`, "", "it is empty"},
		"plain http":        {code + `, "initiate_login_uri": "http://app.example/login"`, "", "plain http"},
		"http on localhost": {code + `, "initiate_login_uri": "http://localhost:8080/login"`, "", "it is not https (OpenID"},
		"a script":          {code + `, "initiate_login_uri": "javascript:alert(1)"`, "", "its scheme is not https"},
		"an application's":  {code + `, "application_type": "native", "initiate_login_uri": "com.example.app:/login"`, "", "its scheme is not https"},
		"a fragment":        {code + `, "initiate_login_uri": "https://app.example/#login"`, "", "fragment"},
		"user information":  {code + `, "initiate_login_uri": "https://auth.example@evil.example/"`, "", "user information"},
		"very long":         {code + `, "initiate_login_uri": "https://app.example/` + strings.Repeat("a", maxName) + `"`, "", "longer than"},
		"a list":            {code + `, "initiate_login_uri": ["https://app.example/login"]`, "", "a string"},
		"nobody logs in":    {`"client_secret": "` + aSecret + `", "grant_types": ["client_credentials"], "initiate_login_uri": "https://app.example/"`, "", "it needs the grant type"},
	} {
		s, err := Read(strings.NewReader(whole{client: tt.members}.file()))
		switch {
		case tt.problem == "" && (err != nil || s.Clients[0].InitiateLoginURI != tt.uri):
			t.Errorf("%s: %v, %v", name, s, err)
		case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), "clients[0].initiate_login_uri: ") || !strings.Contains(err.Error(), tt.problem)):
			t.Errorf("%s: %v, want %s", name, err, tt.problem)
		}
	}
}

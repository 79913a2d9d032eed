package seed

import (
	"strings"
	"testing"
)

// What a client may not want of every login (OpenID Connect Dynamic Client Registration
// 1.0 §2). What it may is in TestMembers.
func TestLoginDefaultsRefused(t *testing.T) {
	const web = `"client_secret": "` + aSecret + `", "redirect_uris": ["https://app.example/cb"], `
	const machine = `"client_secret": "` + aSecret + `", "grant_types": ["client_credentials"], `
	for members, want := range map[string]string{
		web + `"default_max_age": -1`:          "clients[0].default_max_age: it is not a whole number of seconds from 0",
		web + `"default_max_age": 1.5`:         "clients[0].default_max_age: it is not a whole number of seconds from 0",
		web + `"default_max_age": "300"`:       "clients[0].default_max_age: it is a string, not a number of seconds",
		web + `"default_max_age": 4294967296`:  "clients[0].default_max_age: it is not a whole number of seconds from 0",
		web + `"require_auth_time": "yes"`:     "clients[0].require_auth_time: it is a string, not true or false",
		web + `"default_acr_values": ["gold"]`: `clients[0].default_acr_values[0]: "gold" is not supported`,
		web + `"default_acr_values": "gold"`:   "clients[0].default_acr_values: it is a string, not an array",
		machine + `"default_max_age": 300`:     "clients[0].default_max_age: it needs the grant type authorization_code or implicit",
		machine + `"require_auth_time": true`:  "clients[0].require_auth_time: it needs the grant type authorization_code or implicit",
		machine + `"default_acr_values": []`:   "clients[0].default_acr_values: it needs the grant type authorization_code or implicit",
	} {
		_, err := Read(strings.NewReader(whole{client: members}.file()))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", members, err, want)
		}
	}
}

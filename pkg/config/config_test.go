package config

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
)

// tables are what every environment of a function can hold.
func tables(more ...string) env.Options {
	set := map[string]string{"CONFIG_TABLE": "c", "USERS_TABLE": "u", "GRANTS_TABLE": "g", "MAC_KEY": "arn:m", "STACK": "s"}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		set[name] = value
	}
	return env.Options{Environment: set}
}

func TestDefaults(t *testing.T) {
	token, err := read[Token](tables())
	if err != nil {
		t.Fatal(err)
	}
	want := Token{Common: Common{Log: "info", ConfigTable: "c", Stack: "s"}, UsersTable: "u", GrantsTable: "g", MACKey: "arn:m", TokenPath: "/oauth/token"}
	if token != want || !enabled(token.Common, slog.LevelInfo) || enabled(token.Common, slog.LevelDebug) {
		t.Errorf("token = %+v", token)
	}
	// A template cannot leave a variable out; it sets it empty.
	empty, err := read[Token](tables("ISSUER=", "LOG=", "TOKEN_PATH=", "SECRETS_KEY="))
	if err != nil || empty != want {
		t.Errorf("empty variables: %+v, %v", empty, err)
	}
	withSecrets, err := read[Token](tables("SECRETS_KEY=arn:s"))
	if want.SecretsKey = "arn:s"; err != nil || withSecrets != want {
		t.Errorf("token = %+v, %v", withSecrets, err)
	}
	authorize, err := read[Authorize](tables("ISSUER=https://login.example.com/", "LOG=debug", "LOGOUT_QUEUE=https://sqs/q"))
	if err != nil || authorize.MACKey != "arn:m" || authorize.LogoutQueue != "https://sqs/q" || authorize.Issuer != "https://login.example.com/" || !enabled(authorize.Common, slog.LevelDebug) {
		t.Errorf("authorize = %+v, %v", authorize, err)
	}
	if userinfo, err := read[Userinfo](tables()); err != nil || userinfo.MACKey != "arn:m" {
		t.Errorf("userinfo = %+v, %v", userinfo, err)
	}
	if _, err := read[Discovery](tables()); err != nil {
		t.Error(err)
	}
	if _, err := read[Deliver](tables()); err != nil {
		t.Error(err)
	}
	rotate, err := read[Rotate](tables("STACK=kmint", "SIGNERS=arn:aws:iam::1:role/a,arn:aws:iam::1:role/b"))
	if err != nil || len(rotate.Signers) != 2 || rotate.Stack != "kmint" || rotate.Period() != 90*24*time.Hour || rotate.Publish() != 24*time.Hour {
		t.Errorf("rotate = %+v, %v", rotate, err)
	}
	local, err := read[Local](env.Options{Environment: map[string]string{}})
	if err != nil || local != (Local{Port: "3000", Listen: "localhost", DataDir: ".kmint", Log: "warn"}) {
		t.Errorf("local = %+v, %v", local, err)
	}
}

func enabled(c Common, level slog.Level) bool {
	return c.Logger("v1").Enabled(context.Background(), level)
}

func TestRead(t *testing.T) {
	t.Setenv("PORT", "4000")
	t.Setenv("LOG", "off")
	local, err := Read[Local]()
	if err != nil || local.Port != "4000" || local.Level() <= slog.LevelError {
		t.Errorf("local = %+v, %v", local, err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := read[Authorize](env.Options{Environment: map[string]string{"ISSUER": "http://example.com/", "LOG": "loud", "USERS_TABLE": ""}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"ISSUER", "LOG ", "CONFIG_TABLE", "STACK", "USERS_TABLE", "GRANTS_TABLE", "MAC_KEY", "LOGOUT_QUEUE"} {
		if n := strings.Count(err.Error(), name); n != 1 {
			t.Errorf("%s is named %d times in:\n%v", name, n, err)
		}
	}
	_, err = read[Authorize](tables("CONFIG_TABLE=a b", "USERS_TABLE=u#", "GRANTS_TABLE=", "MAC_KEY=alias/mac", "LOGOUT_QUEUE=logout", "AUTHORIZE_SIGNS=perhaps"))
	if err == nil {
		t.Fatal("accepted")
	}
	wrong := []string{
		`GRANTS_TABLE is not set`,
		`AUTHORIZE_SIGNS "perhaps" is not a truth value, true or false`,
		`CONFIG_TABLE "a b" is not the name of a table`,
		`USERS_TABLE "u#" is not the name of a table`,
		`MAC_KEY "alias/mac" is not the ARN of a KMS key`,
		`LOGOUT_QUEUE "logout" is not the URL of a queue`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, wrong) {
		t.Errorf("got %q", got)
	}
	_, token := read[Token](tables("MAC_KEY="))
	_, userinfo := read[Userinfo](tables("MAC_KEY="))
	for _, err := range []error{token, userinfo} {
		if err == nil || !strings.Contains(err.Error(), "MAC_KEY") {
			t.Errorf("without a MAC_KEY: %v", err)
		}
	}
	_, err = read[Local](env.Options{Environment: map[string]string{"PORT": "http", "TLS_CERT": "x", "TOKEN_PATH": "token", "ISSUER": "http://localhost/"}})
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		`PORT "http" is not a number from 0 to 65535`,
		`TOKEN_PATH "token" is not a path such as /oauth2/token`,
		`TLS_CERT and TLS_KEY go together: one of them is not set`,
		`ISSUER "http://localhost/" is plain http, but with TLS_CERT only https is served`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// One variable, one complaint, which names all that is allowed.
func TestRotateProblems(t *testing.T) {
	good := []string{"STACK=kmint", "SIGNERS=arn:aws:iam::1:role/a"}
	for set, want := range map[string]string{
		"ROTATION_DAYS=6":          "ROTATION_DAYS 6 is not a number from 7 to 3650",
		"ROTATION_DAYS=x":          `ROTATION_DAYS "x" is not a number`,
		"PUBLISH_HOURS=1":          "PUBLISH_HOURS 1 is not a number from 2",
		"PUBLISH_HOURS=169":        "PUBLISH_HOURS 169 is not a number from 2",
		"SIGNERS=":                 "SIGNERS",
		"SIGNERS=arn:aws:iam::1:x": `SIGNERS has "arn:aws:iam::1:x", which is not the ARN of a role`,
		"STACK=":                   "STACK",
	} {
		if _, err := read[Rotate](tables(append(slices.Clone(good), set)...)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s alone", set, err, want)
		}
	}
	if _, err := read[Rotate](tables(append(good, "ROTATION_DAYS=7", "PUBLISH_HOURS=2")...)); err != nil {
		t.Error(err)
	}
}

func TestLocalProblems(t *testing.T) {
	for _, test := range []struct {
		set  map[string]string
		want string
	}{
		{map[string]string{"LOG": "loud"}, `LOG "loud" is not one of debug, info, warn, error, off`},
		{map[string]string{"ISSUER": "http://example.com/", "TLS_CERT": "x", "TLS_KEY": "y"}, `ISSUER "http://example.com/" is not https; plain http is for localhost alone (RFC 8414 §2)`},
	} {
		if _, err := read[Local](env.Options{Environment: test.set}); err == nil || err.Error() != test.want {
			t.Errorf("%v: %v", test.set, err)
		}
	}
	for _, level := range []string{"debug", "info", "warn", "error", "off"} {
		if _, err := read[Local](env.Options{Environment: map[string]string{"LOG": level}}); err != nil {
			t.Error(err)
		}
	}
	if _, err := read[Token](tables("LOG=off")); err == nil || err.Error() != `LOG "off" is not one of debug, info, warn, error` {
		t.Errorf("a function: %v", err)
	}
}

func TestIssuer(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://login.example.com/":      true,
		"https://login.example.com":       true,
		"https://login.example.com:8443/": true,
		"https://example.com/tenant/":     false,
		"http://localhost:3000/":          true,
		"http://127.0.0.1:3000/":          true,
		"http://[::1]:3000/":              true,
		"http://login.example.com/":       false,
		"http://10.0.0.1/":                false,
		"https://login.example.com/?a":    false,
		"https://login.example.com/#a":    false,
		"https://login.example.com/?":     false,
		"https://u@login.example.com/":    false,
		"https://Login.example.com/":      false,
		"HTTPS://login.example.com/":      false,
		"https://login.example.com:/":     false,
		"https://":                        false,
		"login.example.com":               false,
		"urn:x:y":                         false,
		"https://a b/":                    false,
	} {
		if err := CheckIssuer(issuer); (err == nil) != want {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

func TestTokenPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/oauth2/token":       true,
		"/x":                  true,
		"oauth2/token":        false,
		"//host/token":        false,
		"/":                   false,
		"/token/":             false,
		"/token?x":            false,
		"/token#x":            false,
		"/{proxy+}":           false,
		"/a%20b":              false,
		"/a b":                false,
		"/../token":           false,
		"/token/..":           false,
		"/authorize":          false,
		"/userinfo":           false,
		"/oauth/revoke":       false,
		"/oauth/introspect":   false,
		"/oidc/logout":        false,
		"/oidc/check_session": false,
		"/login":              false,
		"/v2/logout":          false,
		"/.well-known/x":      false,
		"/oauth/token":        true,
	} {
		if err := checkPath(path); (err == nil) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
}

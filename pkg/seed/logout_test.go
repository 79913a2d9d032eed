package seed

import (
	"strings"
	"testing"
)

// Where a client hears that a session has ended (OpenID Connect Back-Channel Logout 1.0
// §2.2, Front-Channel Logout 1.0 §2).
func TestLogoutMembers(t *testing.T) {
	const web = `"client_secret": "` + aSecret + `", "first_party": true, "redirect_uris": ["https://app.example/cb", "http://localhost:8080/cb"], `
	for name, tt := range map[string]struct {
		members string
		want    string
		// back and front are what is read.
		back, front string
	}{
		"neither":             {`"post_logout_redirect_uris": ["https://app.example/"]`, "", "", ""},
		"both":                {`"backchannel_logout_uri": "https://other.example/back?x=1", "frontchannel_logout_uri": "https://app.example/front?x=1", "backchannel_logout_session_required": true, "frontchannel_logout_session_required": true`, "", "https://other.example/back?x=1", "https://app.example/front?x=1"},
		"on this machine":     {`"backchannel_logout_uri": "http://127.0.0.1:8080/back", "frontchannel_logout_uri": "http://localhost:8080/front"`, "", "http://127.0.0.1:8080/back", "http://localhost:8080/front"},
		"not required":        {`"backchannel_logout_session_required": false`, "", "", ""},
		"required of nobody":  {`"backchannel_logout_session_required": true`, "clients[0].backchannel_logout_session_required: there is no backchannel_logout_uri", "", ""},
		"required of no page": {`"frontchannel_logout_session_required": true`, "clients[0].frontchannel_logout_session_required: there is no frontchannel_logout_uri", "", ""},
		"http":                {`"backchannel_logout_uri": "http://app.example/back"`, "clients[0].backchannel_logout_uri: it is plain http to another host than localhost; use https", "", ""},
		"a script":            {`"backchannel_logout_uri": "javascript:alert(1)"`, "clients[0].backchannel_logout_uri: its scheme is not https", "", ""},
		"a fragment":          {`"backchannel_logout_uri": "https://app.example/back#x"`, "clients[0].backchannel_logout_uri: it has a fragment", "", ""},
		"user information":    {`"backchannel_logout_uri": "https://me@app.example/back"`, "clients[0].backchannel_logout_uri: it has user information", "", ""},
		"too long":            {`"backchannel_logout_uri": "https://app.example/` + strings.Repeat("x", 3000) + `"`, "clients[0].backchannel_logout_uri: it is longer than", "", ""},
		"another site's page": {`"frontchannel_logout_uri": "https://other.example/front"`, "clients[0].frontchannel_logout_uri: none of the redirect_uris has its scheme, host and port", "", ""},
		"another port":        {`"frontchannel_logout_uri": "http://localhost:8081/front"`, "clients[0].frontchannel_logout_uri: none of the redirect_uris has", "", ""},
		"no text":             {`"backchannel_logout_uri": ["https://app.example/back"]`, "clients[0].backchannel_logout_uri:", "", ""},
	} {
		s, err := Read(strings.NewReader(whole{client: web + tt.members}.file()))
		if tt.want != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %s", name, err, tt.want)
			}
			continue
		}
		if err != nil || s.Clients[0].BackchannelLogoutURI != tt.back || s.Clients[0].FrontchannelLogoutURI != tt.front {
			t.Errorf("%s: %+v, %v", name, s.Clients, err)
		}
	}
}

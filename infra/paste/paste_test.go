package paste

import (
	"os/exec"
	"strings"
	"testing"

	"kmint/pkg/seed"
	"kmint/pkg/store"
)

func client(method string) seed.Client {
	return seed.Client{
		Client: store.Client{
			ID: "my client's", AuthMethod: method, GrantTypes: []string{"client_credentials"},
			APIGrants: map[string][]string{"https://b.example/": {}, "https://a.example/": {}},
		},
	}
}

func TestService(t *testing.T) {
	web := seed.Client{Client: store.Client{ID: "web", GrantTypes: []string{"authorization_code"}}}
	idle := seed.Client{Client: store.Client{ID: "idle", GrantTypes: []string{"client_credentials"}}}
	if _, _, ok := Service(seed.Seed{Clients: []seed.Client{web, idle}}); ok {
		t.Error("found one that gets no token")
	}
	c, audience, ok := Service(seed.Seed{Clients: []seed.Client{web, idle, client("client_secret_basic")}})
	if !ok || c.ID != "my client's" || audience != "https://a.example/" {
		t.Errorf("%v %q %v", c.ID, audience, ok)
	}
	c.APIGrants = map[string][]string{"https://b.example/": {}}
	if _, audience, _ := Service(seed.Seed{Clients: []seed.Client{c}}); audience != "" {
		t.Errorf("audience = %q, though there is one API", audience)
	}
}

// A shell splits the command as it was meant.
func TestCurl(t *testing.T) {
	for _, test := range []struct {
		request TokenRequest
		want    []string
	}{
		{
			TokenRequest{Endpoint: "http://localhost:3000/oauth/token", Client: client("client_secret_basic")},
			[]string{"http://localhost:3000/oauth/token", "-u", "my+client%27s:s%3A+%24%26%27%22", "-d", "grant_type=client_credentials"},
		},
		{
			TokenRequest{Endpoint: "https://x/t?a&b", Client: client("client_secret_post"), Audience: "https://a.example/", Certificate: "my cert.pem"},
			[]string{
				"https://x/t?a&b", "--cacert", "my cert.pem", "--data-urlencode", "client_id=my client's", "--data-urlencode", `client_secret=s: $&'"`,
				"-d", "grant_type=client_credentials", "--data-urlencode", "audience=https://a.example/",
			},
		},
		{
			TokenRequest{Endpoint: "https://x/t", Client: client("client_secret_basic"), SecretFrom: "CLIENT_SECRET"},
			[]string{"https://x/t", "-u", "my+client%27s:from the environment", "-d", "grant_type=client_credentials"},
		},
	} {
		test.request.Client.Secret = `s: $&'"`
		if hidden := test.request.SecretFrom != ""; hidden == strings.Contains(test.request.Curl(), "s%3A") && test.request.Client.AuthMethod == "client_secret_basic" {
			t.Errorf("hidden = %v in %s", hidden, test.request.Curl())
		}
		script := `curl() { for word; do echo "$word"; done; }; CLIENT_SECRET='from the environment'; ` + test.request.Curl()
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := string(out), strings.Join(test.want, "\n")+"\n"; got != want {
			t.Errorf("the shell sees\n%swant\n%s", got, want)
		}
	}
}

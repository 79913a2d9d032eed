package paste

import (
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kmint/pkg/oauth"
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
	bound := client("client_secret_basic")
	bound.DPoPBound = true
	others := []seed.Client{web, idle, client("client_secret_jwt"), client("private_key_jwt"), client("workload_identity"), bound}
	if _, _, ok := Service(seed.Seed{Clients: others}); ok {
		t.Error("found one that gets no token by curl")
	}
	c, audience, ok := Service(seed.Seed{Clients: append(others, client("client_secret_basic"))})
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
			[]string{"https://x/t", "-u", "my+client%27s:%68%69%64%64%65%6e", "-d", "grant_type=client_credentials"},
		},
	} {
		test.request.Client.Secret = `s: $&'"`
		if hidden := test.request.SecretFrom != ""; hidden == strings.Contains(test.request.Curl(), "s%3A") && test.request.Client.AuthMethod == "client_secret_basic" {
			t.Errorf("hidden = %v in %s", hidden, test.request.Curl())
		}
		script := `curl() { for word; do echo "$word"; done; }; CLIENT_SECRET=hidden; ` + test.request.Curl()
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := string(out), strings.Join(test.want, "\n")+"\n"; got != want {
			t.Errorf("the shell sees\n%swant\n%s", got, want)
		}
	}
}

// RFC 6749 §2.3.1 wants id and secret form-encoded in Basic, and curl does not do
// it: whatever the secret is, it has to arrive.
func TestAnySecretArrives(t *testing.T) {
	for _, secret := range []oauth.Secret{
		"plain-0123456789", "a+b/c=d%e%41", `s: $&'"\`, "two\nlines", "Grüße", "a-secret+of/base64=that=is=longer=than=one=line=of=od",
	} {
		for _, method := range []string{oauth.ClientSecretBasic, oauth.ClientSecretPost} {
			for _, from := range []string{"", "CLIENT_SECRET"} {
				c := client(method)
				c.Secret = secret
				command := exec.Command("sh", "-c", "curl() { printf '%s\\0' \"$@\"; }; "+TokenRequest{Endpoint: "https://x/t", Client: c, SecretFrom: from}.Curl())
				command.Env = append(os.Environ(), "CLIENT_SECRET="+secret.Reveal())
				out, err := command.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				words := strings.Split(string(out), "\x00")
				got := ""
				if i := slices.Index(words, "-u"); i > 0 {
					_, encoded, _ := strings.Cut(words[i+1], ":")
					got, _ = url.QueryUnescape(encoded)
				}
				if method == oauth.ClientSecretPost { // --data-urlencode encodes it
					i := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "client_secret=") })
					got = strings.TrimPrefix(words[i], "client_secret=")
				}
				if got != secret.Reveal() {
					t.Errorf("%s, from %q: %q arrives as %q", method, from, secret.Reveal(), got)
				}
			}
		}
	}
}

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/store"
)

const example = "../examples/seed.json"

// An account is DynamoDB Local, the KMS test server and three tables, found by
// the SDK through its own variables.
type account struct {
	t     *testing.T
	store *dynamo.Store
	kms   *kmstest.Server
	key   string
}

var accounts atomic.Int64

func newAccount(t *testing.T) account {
	t.Helper()
	local := ddb.ForTest(t)
	n := accounts.Add(1)
	a := account{t: t, kms: kmstest.New(), store: &dynamo.Store{
		DB:          dynamo.NewClient(local.Config()),
		ConfigTable: fmt.Sprintf("kmint-config-%d", n), UsersTable: fmt.Sprintf("kmint-users-%d", n), GrantsTable: fmt.Sprintf("kmint-grants-%d", n),
	}}
	err := ddb.CreateTables(t.Context(), local.Client(), ddb.Tables{Config: a.store.ConfigTable, Users: a.store.UsersTable, Grants: a.store.GrantsTable})
	if err != nil {
		t.Fatal(err)
	}
	if a.key, err = a.kms.Create(kmstest.RSA2048); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.kms)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": local.URL, "AWS_ENDPOINT_URL_KMS": server.URL, "AWS_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	return a
}

func (a account) config() aws.Config {
	a.t.Helper()
	cfg, err := awsconfig.LoadDefaultConfig(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	return cfg
}

// flags name everything.
func (a account) flags(more ...string) []string {
	return append([]string{
		"import", "--config-table", a.store.ConfigTable, "--users-table", a.store.UsersTable,
		"--signing-key", a.key, "--issuer", "https://login.example.com/",
	}, more...)
}

func try(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e, false)
	return code, o.String(), e.String()
}

func good(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := try(t, args...)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	return out
}

func TestImport(t *testing.T) {
	a := newAccount(t)
	ctx := t.Context()
	public, err := kms.Signer{Client: kms.NewClient(a.config())}.PublicKey(ctx, a.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"created RS256 signing key " + key.ID, "created issuer https://login.example.com/", "created api https://orders.example.com/",
		"created client demo-service", "created client demo-web", "created client demo-spa", "created user demo-user",
		"changed server (default_audience)",
	}

	dry := good(t, a.flags("--seed", example, "--dry-run")...)
	if got := strings.Split(strings.TrimSpace(dry), "\n"); !slices.Equal(got, prefixed("dry run: ", want)) {
		t.Errorf("dry run:\n%s", dry)
	}
	if _, err := a.store.Issuer(ctx); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a dry run wrote the issuer: %v", err)
	}
	if registry, err := a.store.Registry(ctx); err != nil || registry.Version != 0 {
		t.Errorf("a dry run wrote the registry: %+v, %v", registry, err)
	}
	if _, err := a.store.Client(ctx, "demo-web"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a dry run wrote a client: %v", err)
	}

	out := good(t, a.flags("--seed", example)...)
	lines, curl, _ := strings.Cut(out, "\n\n")
	if got := strings.Split(lines, "\n"); !slices.Equal(got, want) {
		t.Errorf("import:\n%s", lines)
	}
	wantCurl := `Get a token (CLIENT_SECRET is the client_secret of demo-service):
  curl https://login.example.com/oauth/token \
    -u demo-service:"$CLIENT_SECRET" \
    -d grant_type=client_credentials
`
	if curl != wantCurl {
		t.Errorf("curl:\n%s", curl)
	}
	registry, err := a.store.Registry(ctx)
	if err != nil || registry.Version != 2 || registry.LongestLifetime != store.DefaultTokenLifetime || len(registry.Keys) != 1 || registry.Keys[0].ID != key.ID ||
		registry.Keys[0].Reference != a.key || registry.Keys[0].State != store.KeyActive {
		t.Errorf("registry = %+v, %v", registry, err)
	}
	if issuer, err := a.store.Issuer(ctx); issuer != "https://login.example.com/" || err != nil {
		t.Errorf("issuer = %s, %v", issuer, err)
	}
	user, err := a.store.User(ctx, "demo-user")
	if match, _ := store.MatchPassword("correct horse battery staple", user.PasswordHash); !match || err != nil {
		t.Errorf("user = %+v, %v", user, err)
	}

	again := good(t, a.flags("--seed", example)...)
	lines, _, _ = strings.Cut(again, "\n\n")
	for line := range strings.Lines(lines) {
		if !strings.HasPrefix(line, "unchanged ") {
			t.Errorf("the second time: %s", line)
		}
	}
	if after, err := a.store.User(ctx, "demo-user"); err != nil || after.PasswordHash != user.PasswordHash {
		t.Errorf("the second time the password was hashed anew: %v", err)
	}

	var terminal bytes.Buffer
	if code := run(ctx, a.flags("--seed", example), &terminal, &terminal, true); code != 0 || !strings.Contains(terminal.String(), "-u demo-service:demo-service-secret-used-in-examples-only") {
		t.Errorf("on a terminal: %d\n%s", code, &terminal)
	}

	moved := good(t, slices.Concat(a.flags()[:len(a.flags())-1], []string{"https://id.example.com"})...)
	if !strings.Contains(moved, "changed issuer from https://login.example.com/ to https://id.example.com;") {
		t.Errorf("another issuer:\n%s", moved)
	}
}

func prefixed(prefix string, lines []string) []string {
	var all []string
	for _, line := range lines {
		all = append(all, prefix+line)
	}
	return all
}

// What the stack has of more keys is registered, each for its algorithm; a stack
// without them has no such outputs.
func TestImportKeys(t *testing.T) {
	a := newAccount(t)
	arns := map[string]string{jwt.RS256: a.key}
	specs := map[string]string{
		jwt.RS384: kmstest.RSA2048, jwt.RS512: kmstest.RSA2048, jwt.PS256: kmstest.RSA2048, jwt.PS384: kmstest.RSA2048, jwt.PS512: kmstest.RSA3072,
		jwt.ES256: kmstest.P256, jwt.ES384: kmstest.P384, jwt.ES512: kmstest.P521, jwt.EdDSA: kmstest.Edwards, jwt.Ed25519: kmstest.Edwards,
		jwt.MLDSA44: kmstest.MLDSA44, jwt.MLDSA65: kmstest.MLDSA65, jwt.MLDSA87: kmstest.MLDSA87,
	}
	for algorithm, spec := range specs {
		arn, err := a.kms.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		arns[algorithm] = arn
	}
	base := map[string]string{
		"ConfigTable": a.store.ConfigTable, "UsersTable": a.store.UsersTable, "SigningKeyArn": a.key, "Issuer": "https://login.example.com/",
	}
	more := maps.Clone(base)
	var flags []string
	for algorithm := range specs {
		more[strings.ReplaceAll(algorithm, "-", "")+"KeyArn"] = arns[algorithm]
		flags = append(flags, "--key", algorithm+"="+arns[algorithm])
	}
	swapped := maps.Clone(base)
	swapped["ES256KeyArn"] = arns[jwt.PS256]
	server := httptest.NewServer(stacks(map[string]map[string]string{"first": base, "more": more, "swapped": swapped}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.URL)

	if code, out, errs := try(t, "import", "--stack", "swapped"); code != 1 || out != "" || errs != "kmint: "+arns[jwt.PS256]+" cannot be the ES256 signing key: keys: a key for ES256 is an EC key on P-256\n" {
		t.Errorf("a key of another kind: exit %d\n%s%s", code, out, errs)
	}
	if out := good(t, "import", "--stack", "first"); strings.Count(out, "signing key") != 1 {
		t.Error(out)
	}
	out := good(t, "import", "--stack", "more")
	for _, algorithm := range jwt.Algorithms() {
		did := "created "
		if algorithm == jwt.RS256 {
			did = "unchanged "
		}
		if want := did + algorithm + " signing key "; !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out := good(t, a.flags(flags...)...); strings.Count(out, "unchanged ") != len(jwt.Algorithms())+1 || strings.Contains(out, "created") {
		t.Errorf("named by flags:\n%s", out)
	}
	registry, err := a.store.Registry(t.Context())
	if err != nil || len(registry.Keys) != len(jwt.Algorithms()) || registry.Keys[0].Algorithm != jwt.RS256 {
		t.Fatalf("%+v %v", registry, err)
	}
	for _, k := range registry.Keys {
		if k.Reference != arns[k.Algorithm] || k.State != store.KeyActive {
			t.Errorf("%+v", k)
		}
	}
}

// needy is a configuration that needs all keys that a stack may have.
const needy = `{
  "apis": [{"identifier": "https://api.example.com/", "signing_alg": "ES256"}],
  "clients": [{
    "client_id": "service", "token_endpoint_auth_method": "client_secret_jwt", "client_secret": "0123456789abcdef0123456789abcdef",
    "id_token_signed_response_alg": "PS256", "grant_types": ["client_credentials", "implicit"], "response_types": ["id_token"],
    "redirect_uris": ["https://app.example.com/cb"], "first_party": true
  }]
}`

// A configuration is imported where its keys are there, and refused, before
// anything is written, where one is missing: so the words of check say too.
func TestImportWhatNeedsKeys(t *testing.T) {
	a := newAccount(t)
	file := write(t, needy)
	want := file + ` passes every check that needs no AWS
apis[0].signing_alg needs a stack with the parameter ES256=ECC_NIST_P256
clients[0].id_token_signed_response_alg needs a stack with the parameter PS256=RSA_2048
clients[0].token_endpoint_auth_method needs a stack with the parameter ClientSecretJwt=yes
clients[0].grant_types needs a stack with the parameter AuthorizeSigns=yes
`
	if out := good(t, "check", "--seed", file); out != want {
		t.Error(out)
	}
	keys := map[string]string{"--key=PS256": kmstest.RSA2048, "--key=ES256": kmstest.P256, "--secrets-key": kmstest.Symmetric}
	var all []string
	for flag, spec := range keys {
		arn, err := a.kms.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		keys[flag] = arn
		all = append(all, flag+"="+arn)
	}
	for without := range keys {
		args := a.flags("--seed", file)
		for flag, arn := range keys {
			if flag != without {
				args = append(args, flag+"="+arn)
			}
		}
		name := without
		if algorithm, is := strings.CutPrefix(without, "--key="); is {
			name = "--key " + algorithm + "=ARN"
		}
		code, out, errs := try(t, args...)
		if code != 1 || out != "" || !strings.HasPrefix(errs, "kmint: "+file+" cannot be imported: ") || !strings.HasSuffix(errs, "there is no key for that; name one by "+name+"\n") {
			t.Errorf("without %s: exit %d\n%s%s", without, code, out, errs)
		}
	}
	if registry, err := a.store.Registry(t.Context()); err != nil || registry.Version != 0 {
		t.Errorf("something was written: %+v, %v", registry, err)
	}

	good(t, a.flags(append(all, "--seed", file)...)...)
	client, err := a.store.Client(t.Context(), "service")
	if err != nil || len(client.SealedSecrets) != 1 || len(client.SecretDigests) != 0 {
		t.Fatalf("%+v %v", client, err)
	}
	vault := kms.Vault{Client: kms.NewClient(a.config()), Key: keys["--secrets-key"]}
	if secret, err := vault.Unseal(t.Context(), "service", client.SealedSecrets[0]); err != nil || secret != "0123456789abcdef0123456789abcdef" {
		t.Errorf("the secret: %v", err)
	}
	// It is not encrypted anew.
	out := good(t, a.flags(append(all, "--seed", file)...)...)
	if !strings.Contains(out, "unchanged client service\n") || a.kms.Calls("Encrypt") != 1 {
		t.Errorf("the second time, %d calls:\n%s", a.kms.Calls("Encrypt"), out)
	}
}

// The first key was rotated away: an import leaves what signs now alone.
func TestImportAfterRotation(t *testing.T) {
	a := newAccount(t)
	other, err := a.kms.Create(kmstest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.Signer{Client: kms.NewClient(a.config())}.PublicKey(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(jwt.RS256, public, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.First(t.Context(), a.store, key, time.Now()); err != nil {
		t.Fatal(err)
	}
	if out := good(t, a.flags()...); !strings.HasPrefix(out, "unchanged RS256 signing key: another one than "+a.key+" is active\n") {
		t.Error(out)
	}
	if registry, err := a.store.Registry(t.Context()); err != nil || len(registry.Keys) != 1 || registry.Keys[0].ID != key.ID {
		t.Errorf("registry = %+v, %v", registry, err)
	}
}

// Tables that are named, and not found by a stack, are in AWS all the same, unless
// another endpoint is.
func TestPublishedSecretsAreNothingForAWS(t *testing.T) {
	a := newAccount(t)
	good(t, a.flags("--seed", example)...)
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "")
	code, out, errs := try(t, a.flags("--seed", example)...)
	if code != 1 || out != "" || !strings.Contains(errs, "the client_secret of demo-service is published") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestImportStack(t *testing.T) {
	a := newAccount(t)
	outputs := map[string]string{
		"ConfigTable": a.store.ConfigTable, "UsersTable": a.store.UsersTable, "SigningKeyArn": a.key,
		"Issuer": "https://abc.execute-api.us-east-1.amazonaws.com/", "TokenEndpoint": "https://abc.execute-api.us-east-1.amazonaws.com/my/token",
		"JwksUri": "https://abc.execute-api.us-east-1.amazonaws.com/.well-known/jwks.json",
	}
	server := httptest.NewServer(stacks(map[string]map[string]string{"kmint": outputs, "another": {"Url": "x"}}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.URL)

	// The example's secrets are published; a stack takes them from nobody.
	for _, remedy := range []struct{ secret, want string }{
		{"", "the client_secret of demo-service is published"},
		{"-used-in-examples-only", "the password of demo is published"},
	} {
		text, err := os.ReadFile(example)
		if err != nil {
			t.Fatal(err)
		}
		if remedy.secret != "" {
			text = bytes.ReplaceAll(text, []byte(remedy.secret), []byte("-of-mine-and-nobody-elses"))
		}
		if code, out, errs := try(t, "import", "--stack", "kmint", "--seed", write(t, string(text))); code != 1 || out != "" || !strings.Contains(errs, remedy.want) {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
	}
	out := good(t, "import", "--stack", "kmint", "--seed", own(t))
	for _, want := range []string{"created issuer https://abc.execute-api.us-east-1.amazonaws.com/\n", "curl https://abc.execute-api.us-east-1.amazonaws.com/my/token "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// A flag differs from the stack.
	if out := good(t, "import", "--stack", "kmint", "--issuer", "https://login.example.com/"); !strings.Contains(out, "to https://login.example.com/;") {
		t.Error(out)
	}
	for stack, want := range map[string]string{
		"another": "kmint: the stack another has no output for --config-table, --users-table, --signing-key, --issuer; is it one of kmint's?\n",
		"nowhere": "kmint: the stack nowhere cannot be read: ",
	} {
		if code, out, errs := try(t, "import", "--stack", stack); code != 1 || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("%s: exit %d\n%s%s", stack, code, out, errs)
		}
	}
}

// stacks answers DescribeStacks as CloudFormation does.
func stacks(known map[string]map[string]string) http.Handler {
	type output struct {
		Key   string `xml:"OutputKey"`
		Value string `xml:"OutputValue"`
	}
	type stack struct {
		Name    string   `xml:"StackName"`
		Status  string   `xml:"StackStatus"`
		Created string   `xml:"CreationTime"`
		Outputs []output `xml:"Outputs>member"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		outputs, ok := known[r.FormValue("StackName")]
		if !ok || r.FormValue("Action") != "DescribeStacks" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack does not exist</Message></Error></ErrorResponse>`))
			return
		}
		var answer struct {
			XMLName xml.Name `xml:"DescribeStacksResponse"`
			Stacks  []stack  `xml:"DescribeStacksResult>Stacks>member"`
		}
		s := stack{Name: r.FormValue("StackName"), Status: "CREATE_COMPLETE", Created: "2026-01-01T00:00:00Z"}
		for key, value := range outputs {
			s.Outputs = append(s.Outputs, output{key, value})
		}
		answer.Stacks = []stack{s}
		_ = xml.NewEncoder(w).Encode(answer)
	})
}

func TestImportRefused(t *testing.T) {
	a := newAccount(t)
	mac, err := a.kms.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(flag, value string) []string {
		flags := a.flags()
		flags[slices.Index(flags, flag)+1] = value
		return flags
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no command", nil, 2, "usage: kmint import"},
		{"another command", []string{"export"}, 2, "usage: kmint import"},
		{"unknown flag", []string{"import", "--table", "x"}, 2, "flag provided but not defined: -table"},
		{"argument", a.flags("seed.json"), 2, `kmint: "seed.json" is no flag`},
		{"nothing named", []string{"import"}, 2, "kmint: name the --stack, or else --config-table, --users-table, --signing-key, --issuer"},
		{"no seed", a.flags("--seed", filepath.Join(t.TempDir(), "none.json")), 1, "kmint: open "},
		{"wrong seed", a.flags("--seed", write(t, `{"clients": [{}], "x": 1}`)), 1, "kmint: "},
		{"seed that does not fit", a.flags("--seed", write(t, `{"apis": [{"identifier": "https://login.example.com/userinfo"}]}`)), 1, "kmint: "},
		{"issuer", replaced("--issuer", "http://login.example.com/"), 1, `kmint: the issuer "http://login.example.com/" is not https`},
		{"key for something else", replaced("--signing-key", mac), 1, "kmint: the public key of " + mac + " cannot be read: "},
		{"no table", replaced("--config-table", "nowhere"), 1, "kmint: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := try(t, test.args...)
			if code != test.code || out != "" || !strings.HasPrefix(errs, test.want) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
	if registry, err := a.store.Registry(t.Context()); err != nil || registry.Version != 0 {
		t.Errorf("something was written: %+v, %v", registry, err)
	}
	if _, err := a.store.Issuer(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the issuer was written: %v", err)
	}
	if code, _, errs := try(t, "import", "--help"); code != 0 || !strings.Contains(errs, "-dry-run") {
		t.Errorf("--help: exit %d\n%s", code, errs)
	}
}

// The key of the preflight function becomes a client that may have a token for an API that
// nobody serves, and a new key takes its place.
func TestImportPreflight(t *testing.T) {
	a := newAccount(t)
	key := func(spec string) (arn, kid string) {
		t.Helper()
		arn, err := a.kms.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		public, err := kms.Signer{Client: kms.NewClient(a.config())}.PublicKey(t.Context(), arn)
		if err != nil {
			t.Fatal(err)
		}
		if kid, err = jwt.Thumbprint(public); err != nil {
			t.Fatal(err)
		}
		return arn, kid
	}
	first, firstID := key(kmstest.P256)
	server := httptest.NewServer(stacks(map[string]map[string]string{"kmint": {
		"ConfigTable": a.store.ConfigTable, "UsersTable": a.store.UsersTable, "SigningKeyArn": a.key, "PreflightKeyArn": first,
		"Issuer": "https://login.example.com/", "TokenEndpoint": "https://login.example.com/oauth/token",
	}}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.URL)

	out := good(t, "import", "--stack", "kmint")
	for _, want := range []string{"created api urn:kmint:preflight\n", "created client kmint-preflight\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "curl") { // nobody can ask as this client
		t.Error(out)
	}
	registered := func(kid string) {
		t.Helper()
		client, err := a.store.Client(t.Context(), "kmint-preflight")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(client.JWKS, kid) || client.AuthMethod != "private_key_jwt" || !slices.Equal(client.GrantTypes, []string{"client_credentials"}) ||
			!maps.EqualFunc(client.APIGrants, map[string][]string{"urn:kmint:preflight": {"preflight"}}, slices.Equal) {
			t.Errorf("%+v", client)
		}
	}
	registered(firstID)
	second, secondID := key(kmstest.P256)
	if out := good(t, a.flags("--preflight-key", second)...); !strings.Contains(out, "changed client kmint-preflight (jwks)\n") {
		t.Error(out)
	}
	registered(secondID)

	// Without a key nothing is said of it.
	if out := good(t, a.flags()...); strings.Contains(out, "preflight") {
		t.Error(out)
	}
	for name, c := range map[string]struct{ key, seed, want string }{
		"a key for RSA":     {a.key, "", "cannot be the preflight function's key"},
		"no key of KMS":     {first + "x", "", "cannot be read"},
		"a client so named": {first, `{"clients": [{"client_id": "kmint-preflight", "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": ["https://app.example.com/"]}]}`, "are the preflight function's own"},
		"an API so named":   {"", `{"apis": [{"identifier": "urn:kmint:preflight"}]}`, "are the preflight function's own"},
	} {
		more := []string{"--preflight-key", c.key}
		if c.seed != "" {
			more = append(more, "--seed", write(t, c.seed))
		}
		if code, out, errs := try(t, a.flags(more...)...); code != 1 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d\n%s%s", name, code, out, errs)
		}
	}
	registered(secondID)
}

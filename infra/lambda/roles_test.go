package lambda

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"kmint/infra/rig/iam"
	"kmint/infra/rig/kmstest"
	"kmint/infra/rig/sqstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
)

// Every function runs with the permissions of its role in template.yaml, and no others:
// between it and the servers of the rig stands a proxy that refuses the rest.

var queueARN = sqstest.Event([]string{""}).Records[0].EventSourceARN

// stack is template.yaml with a key for every algorithm, over what the rig has.
func (r *rig) stack(t testing.TB, parameters map[string]string) *iam.Stack {
	t.Helper()
	s := &iam.Stack{
		Name: "kmint", Region: kmstest.Region, Account: kmstest.Account,
		Parameters: map[string]string{"AuthorizeSigns": "yes", "ClientSecretJwt": "yes", "Issuer": issuer},
		Names: map[string]string{
			"ConfigTable": r.tables.Config, "UsersTable": r.tables.Users, "GrantsTable": r.tables.Grants, "LogoutQueue": sqstest.URL,
			"TokenFunction": "kmint-token", "AuthorizeFunction": "kmint-authorize", "UserinfoFunction": "kmint-userinfo", "DiscoveryFunction": "kmint-discovery",
			"ServerlessDeploymentApplication": "kmint",
		},
		ARNs: map[string]string{
			"SigningKey": r.signingKey, "PS256Key": r.ps256Key, "ES256Key": r.es256Key, "MacKey": r.macKey, "SecretsKey": r.secretsKey,
			"LogoutQueue": queueARN,
		},
	}
	for _, name := range []string{"TokenFunction", "AuthorizeFunction", "UserinfoFunction", "DiscoveryFunction"} {
		s.Names[name+".Version"] = "arn:aws:lambda:us-east-1:" + kmstest.Account + ":function:" + s.Names[name] + ":7"
	}
	maps.Copy(s.ARNs, r.made)
	if err := s.Read(templateText(t)); err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range jwt.Algorithms() {
		name := strings.ReplaceAll(algorithm, "-", "")
		for _, spec := range s.Choices(name) {
			if spec != "no" {
				s.Parameters[name] = spec
				break
			}
		}
	}
	maps.Copy(s.Parameters, parameters)
	return s
}

func templateText(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A guarded function may do what its role allows.
type guarded struct {
	*Environment
	proxy *iam.Proxy
}

// start starts a function of the stack whose every parameter allows the most.
func (r *rig) start(t testing.TB, function string) *guarded {
	t.Helper()
	return r.startIn(t, r.stack(t, nil), function)
}

// startIn starts a function of a stack, with the environment that the template gives it.
func (r *rig) startIn(t testing.TB, stack *iam.Stack, function string) *guarded {
	t.Helper()
	proxy, address := r.guard(t, stack, function)
	id := proxy.Function.ID
	variables, err := stack.Value(id, "Properties", "Environment", "Variables")
	if err != nil {
		t.Fatal(err)
	}
	env := r.env(function)
	for name := range env {
		if value, given := variables.(map[string]any)[name].(string); given {
			env[name] = value
		}
		if name == "ISSUER" && stack.Parameters["Issuer"] == "" { // it is in the table
			delete(env, name)
		}
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			env[name] = address
		}
	}
	e, err := Start(t.Context(), Function{Name: "kmint-" + function, Bootstrap: r.build(t, function), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &guarded{e, proxy}
}

// guard starts a proxy with the role that a stack gives a function.
func (r *rig) guard(t testing.TB, stack *iam.Stack, function string) (proxy *iam.Proxy, address string) {
	t.Helper()
	f, err := stack.Function(strings.ToUpper(function[:1]) + function[1:] + "Function")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := stack.Keys()
	if err != nil {
		t.Fatal(err)
	}
	proxy = &iam.Proxy{
		Function: f, Stack: stack, DynamoDB: r.db.URL, KMS: r.kmsURL, SQS: r.sqsURL,
		Key: func(name string) (iam.Key, bool) { return r.key(keys, name) },
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return proxy, server.URL
}

// key finds a key of KMS: of one of the stack's the template says what it is like, of the
// others KMS does.
func (r *rig) key(stack map[string]iam.Key, name string) (iam.Key, bool) {
	if _, alias, ok := strings.Cut(name, "alias/"); ok {
		name = r.kms.Aliased("alias/" + alias)
	}
	for _, s := range r.kms.States() {
		if s.ARN != name && !strings.HasSuffix(s.ARN, "/"+name) {
			continue
		}
		for _, k := range stack {
			if k.ARN == s.ARN {
				return k, true
			}
		}
		policy, err := iam.ReadKeyPolicy(s.ARN, cmp.Or(s.Policy, `{"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::`+kmstest.Account+`:root"}, "Action": "kms:*", "Resource": "*"}}`))
		return iam.Key{ARN: s.ARN, Tags: s.Tags, Policy: policy}, err == nil
	}
	return iam.Key{}, false
}

// ask sends an event, and fails the test of what the role refuses.
func (g *guarded) ask(t *testing.T, event []byte) (payload []byte, id string, lines []string) {
	t.Helper()
	g.proxy.At(t.Name())
	payload, id, err := g.Invoke(t.Context(), event)
	lines, logErr := g.Log()
	for _, refusal := range g.proxy.Refusals() {
		t.Error(refusal)
	}
	if err := errors.Join(err, logErr); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
	}
	return payload, id, lines
}

// unsigned is the authorize function where AuthorizeSigns is no.
const unsigned = "authorize, unsigned"

// signed reports whether an event at the authorize function asks for what is signed there:
// in its query, or in the one that a form carries.
func signed(t *testing.T, raw []byte) bool {
	t.Helper()
	e := decode[events.APIGatewayV2HTTPRequest](t, raw)
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			t.Fatal(err)
		}
	}
	form, _ := url.ParseQuery(string(body)) // what is no form asks for nothing
	for _, encoded := range []string{e.RawQueryString, string(body), form.Get("request")} {
		asked, _ := url.ParseQuery(encoded)
		if slices.ContainsFunc(strings.Fields(asked.Get("response_type")), func(kind string) bool { return kind == "token" || kind == "id_token" }) {
			return true
		}
	}
	return false
}

// asked are the calls of functions, by logical id.
func asked(functions ...*guarded) map[string][]iam.Call {
	calls := map[string][]iam.Call{}
	for _, g := range functions {
		calls[g.proxy.Function.ID] = append(calls[g.proxy.Function.ID], g.proxy.Calls()...)
	}
	return calls
}

// exact holds that a stack's roles allow what the functions asked for, and nothing else.
// but are beginnings of findings that are as they have to be, each with its reason.
func (r *rig) exact(t *testing.T, stack *iam.Stack, calls map[string][]iam.Call, but map[string]string) {
	t.Helper()
	world, functions := r.world(t, stack, calls)
	for id, f := range functions {
		for _, request := range f.Services {
			calls[id] = append(slices.Clip(calls[id]), iam.Call{Function: id, Event: "Lambda", Request: request})
		}
	}
	excepted := map[string]bool{}
	for id, f := range functions {
		wide, err := world.Wide(f.Role, calls[id])
		loose, errLoose := world.Loose(f.Role, calls[id])
		if err := errors.Join(err, errLoose); err != nil {
			t.Fatal(err)
		}
		for kind, findings := range map[string][]string{
			"%s's role is too wide: %s, and no event asks for that":               wide,
			"%s may sign by a key as no event asks for: %s":                       loose,
			"%s's role is too wide: without %s, every event gets all it asks for": iam.Needless(f.Role, calls[id]),
		} {
			for _, finding := range findings {
				excused := false
				for beginning := range but {
					if strings.HasPrefix(finding, beginning) {
						excused, excepted[beginning] = true, true
					}
				}
				if !excused {
					t.Errorf(kind, id, finding)
				}
			}
		}
		for _, c := range calls[id] {
			if _, refused := f.Role.Judge(c); refused != "" {
				t.Errorf("%s: %s may not %s on %s %v: %s", c.Event, id, c.Action, c.Resource, c.Context, refused)
			}
		}
	}
	for beginning := range but {
		if !excepted[beginning] {
			t.Errorf("it is an exception, and not found: %s", beginning)
		}
	}
}

// beside asks the functions for what no event of the script does, of which the roles allow
// it: that they sign by every algorithm and read the issuer from its record, the keys of a
// client from its address, and that they undo what was used once before something failed.
// It answers with those that were asked.
func (h *house) beside(t *testing.T, r *rig) map[string]*guarded {
	t.Helper()
	stack := r.stack(t, nil)
	ids, err := stack.Resources("AWS::KMS::Key")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		spec, err := stack.Value(id, "Properties", "KeySpec")
		if err != nil {
			t.Fatal(err)
		}
		if stack.ARNs[id] == "" {
			if r.made[id], err = r.kms.Create(spec.(string)); err != nil {
				t.Fatal(err)
			}
		}
	}
	stack = r.stack(t, map[string]string{"Issuer": ""})
	var keys []string
	for _, algorithm := range jwt.Algorithms() {
		if algorithm != jwt.RS256 {
			keys = append(keys, algorithm+"="+stack.ARNs[strings.ReplaceAll(algorithm, "-", "")+"Key"])
		}
	}
	r.runImport(t, besideSeed(t), keys...)
	functions := map[string]*guarded{}
	for _, name := range []string{"discovery", "token", "authorize", "userinfo", "deliver"} {
		functions[name] = r.startIn(t, stack, name)
	}
	functions[unsigned] = r.startIn(t, r.stack(t, map[string]string{"Issuer": "", "AuthorizeSigns": "no"}), "authorize")

	ask := func(name, event string, change func(e map[string]any)) map[string]any {
		t.Helper()
		var answer map[string]any
		t.Run("beside/"+name, func(t *testing.T) {
			raw := readEvent(t, event)
			h.forge.forge(t, raw, h.known)
			raw, err := fill(raw, h.known)
			if err != nil {
				t.Fatal(err)
			}
			e := decode[map[string]any](t, raw)
			if change != nil {
				change(e)
			}
			if raw, err = json.Marshal(e); err != nil {
				t.Fatal(err)
			}
			function, _, _ := strings.Cut(event, "/")
			if function == "authorize" && !signed(t, raw) {
				function = unsigned
			}
			payload, _, _ := functions[function].ask(t, raw)
			answer = decode[map[string]any](t, payload)
		})
		return answer
	}
	status := func(name string, answer map[string]any, want float64) {
		t.Helper()
		if answer["statusCode"] != want {
			t.Errorf("%s: %v", name, answer)
		}
	}
	status("discovery", ask("discovery", "discovery/openid_configuration", nil), 200)
	ask("userinfo", "userinfo/client_token", nil)

	login := ask("login", "authorize/login_to_leave_again", nil)
	status("login", login, 303)
	var cookies []any
	for _, cookie := range login["cookies"].([]any) {
		value, _, _ := strings.Cut(cookie.(string), ";")
		cookies = append(cookies, value)
	}
	authorize := func(query url.Values) func(map[string]any) {
		return func(e map[string]any) {
			query.Set("redirect_uri", "http://localhost:8080/beside")
			query.Set("nonce", "n")
			e["rawQueryString"], e["cookies"] = query.Encode(), cookies
		}
	}
	var messages []string
	for _, algorithm := range jwt.Algorithms() {
		form := url.Values{"grant_type": {"client_credentials"}, "audience": {besideAPI(algorithm)}, "client_id": {"beside-" + algorithm}, "client_secret": {besideSecret}}
		status(algorithm, ask("token by "+algorithm, "token/client_credentials", func(e map[string]any) {
			delete(e["headers"].(map[string]any), "authorization")
			e["body"] = base64.StdEncoding.EncodeToString([]byte(form.Encode()))
		}), 200)
		answer := ask("ID token by "+algorithm, "authorize/implicit", authorize(url.Values{"response_type": {"id_token"}, "client_id": {"beside-" + algorithm}, "scope": {"openid"}}))
		if location, _ := answer["headers"].(map[string]any)["Location"].(string); !strings.Contains(location, "#id_token=") {
			t.Errorf("%s: %v", algorithm, answer)
		}
		messages = append(messages, `{"client_id":"beside-`+algorithm+`","sub":"demo-user","sid":"s"}`)
	}
	for batch := range slices.Chunk(messages, 10) {
		raw, err := json.Marshal(sqstest.Event(batch))
		if err != nil {
			t.Fatal(err)
		}
		t.Run("beside/logout tokens", func(t *testing.T) { functions["deliver"].ask(t, raw) })
	}
	answer := ask("an opaque token", "authorize/implicit", authorize(url.Values{"response_type": {"token"}, "client_id": {"beside-RS256"}, "audience": {besideAPI("opaque")}}))
	if location, _ := answer["headers"].(map[string]any)["Location"].(string); !strings.Contains(location, "access_token=kmint_access.") {
		t.Errorf("an opaque token: %v", answer)
	}

	// The address answers nothing, and that is kept too.
	db := &dynamo.Store{DB: dynamo.NewClient(r.db.Config()), ConfigTable: r.tables.Config}
	for _, id := range []string{"demo-backend", "demo-signed"} {
		client, err := db.Client(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		client.JWKS, client.JWKSURI = "", "https://keys.invalid/"+id
		if err := db.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	status("keys at an address", ask("keys at an address", "token/private_key_jwt", nil), 503)
	ask("a request object by such a key", "authorize/request_object", nil)

	functions["token"].proxy.Fail(func(c iam.Call) bool { return c.Action == "kms:Sign" })
	status("no signature", ask("no signature", "token/dpop_client_credentials", nil), 503)
	functions["userinfo"].proxy.Fail(func(c iam.Call) bool {
		return c.Action == "dynamodb:GetItem" && strings.HasSuffix(c.Resource, r.tables.Grants)
	})
	status("no grant", ask("no grant", "userinfo/dpop", nil), 503)
	return functions
}

const besideSecret = "0123456789abcdef0123456789abcdef"

func besideAPI(algorithm string) string {
	return "https://" + strings.ToLower(algorithm) + ".example.com/"
}

// besideSeed is a client and an API for each algorithm.
func besideSeed(t *testing.T) string {
	t.Helper()
	apis := []any{map[string]any{"identifier": besideAPI("opaque"), "token_dialect": "opaque", "scopes": map[string]string{"read": "r"}}}
	var clients []any
	for _, algorithm := range jwt.Algorithms() {
		apis = append(apis, map[string]any{"identifier": besideAPI(algorithm), "signing_alg": algorithm, "scopes": map[string]string{"read": "r"}})
		clients = append(clients, map[string]any{
			"client_id": "beside-" + algorithm, "client_secret": besideSecret, "token_endpoint_auth_method": "client_secret_post",
			"grant_types": []string{"client_credentials", "implicit"}, "response_types": []string{"id_token", "token"}, "first_party": true,
			"redirect_uris": []string{"http://localhost:8080/beside"}, "backchannel_logout_uri": "http://localhost:8080/beside",
			"id_token_signed_response_alg": algorithm, "api_grants": map[string]any{besideAPI(algorithm): []string{"read"}},
		})
	}
	raw, err := json.Marshal(map[string]any{"apis": apis, "clients": clients})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkRoles: what the script and what was asked beside it need is what the roles allow: in
// the stack where authorize signs, in the one where it does not, and where tables have a key
// of their own and functions are traced.
func (r *rig) checkRoles(t *testing.T, functions, others map[string]*guarded) {
	all := asked(slices.Concat(slices.Collect(maps.Values(functions)), slices.Collect(maps.Values(others)))...)
	r.exact(t, r.stack(t, nil), maps.Clone(all), nil)
	r.exact(t, r.stack(t, map[string]string{"Tracing": "yes", "TableKeyArn": "arn:aws:kms:us-east-1:" + kmstest.Account + ":key/of-the-tables"}), maps.Clone(all), nil)
	r.exact(t, r.stack(t, map[string]string{"AuthorizeSigns": "no"}), asked(functions[unsigned], others[unsigned]), nil)
	t.Run("administrator", func(t *testing.T) { r.checkAdministrator(t) })
	t.Run("removed", func(t *testing.T) {
		r.checkRemoved(t, all, removed)
		r.checkFails(t)
	})
	t.Run("widened", func(t *testing.T) { r.checkWidened(t, all, widened) })

	// No function and no condition is left out.
	ids, err := r.stack(t, nil).Resources("AWS::Serverless::Function")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		f, err := r.stack(t, nil).Function(id)
		if err != nil {
			t.Fatal(err)
		}
		if _, ran := all[id]; !ran && id != "RotateFunction" && id != "PreflightFunction" { // see TestRotate, TestPreflight
			t.Errorf("nothing asks %s for anything", id)
		}
		for _, condition := range f.Conditions {
			// A boundary is the owner's, and only takes away.
			if !slices.Contains([]string{"AuthorizeMaySign", "IsTraced", "HasTableKey", "HasBoundary"}, condition) {
				t.Errorf("the role of %s depends on %s, which is not tried both ways", id, condition)
			}
		}
	}
}

// world is what may be asked for in a stack, beside what was.
func (r *rig) world(t *testing.T, stack *iam.Stack, calls map[string][]iam.Call) (*iam.World, map[string]iam.Function) {
	t.Helper()
	world, functions := &iam.World{Stack: stack, Keys: strangers(), Single: []string{"client#kmint-preflight"}}, map[string]iam.Function{}
	inStack, err := stack.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.kms.States() {
		if key, ok := r.key(inStack, s.ARN); ok {
			world.Keys = append(world.Keys, key)
		}
	}
	for id := range calls {
		f, err := stack.Function(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range f.Services {
			if strings.HasPrefix(request.Action, "kms:") { // of a table's key
				world.Keys = append(world.Keys, iam.Key{ARN: request.Resource})
			}
		}
		functions[id] = f
		world.Roles = append(world.Roles, f.Role)
		world.Calls = append(world.Calls, calls[id]...)
	}
	return world, functions
}

// strangers are keys of others in the same account.
func strangers() []iam.Key {
	arn := "arn:aws:kms:us-east-1:" + kmstest.Account + ":key/"
	return []iam.Key{
		{ARN: arn + "a"},
		{ARN: arn + "b", Tags: map[string]string{"kmint:stack": "another", "kmint:use": "sign"}},
		{ARN: arn + "c", Tags: map[string]string{"kmint:stack": "another", "kmint:use": "sign", "kmint:made-by": "rotate"}},
		{ARN: arn + "d", Tags: map[string]string{"kmint:stack": "another", "kmint:use": "seal"}},
	}
}

// checkAdministrator: whoever may do everything in the account signs by none of the keys,
// and has all other power over them, so that no key is lost to its owner.
func (r *rig) checkAdministrator(t *testing.T) {
	everything, err := iam.ReadKeyPolicy("Administrator", `{"Statement": {"Sid": "Everything", "Effect": "Allow", "Action": "*", "Resource": "*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	administrator := iam.Role{ARN: "arn:aws:iam::" + kmstest.Account + ":role/Administrator", Policy: everything}
	keys, err := r.stack(t, nil).Keys()
	if err != nil {
		t.Fatal(err)
	}
	for id, key := range keys {
		for action, allowed := range map[string]bool{
			"kms:Sign": key.Tags["kmint:use"] == "seal", "kms:DescribeKey": true, "kms:PutKeyPolicy": true, "kms:ScheduleKeyDeletion": true, "kms:TagResource": true,
		} {
			_, refused := administrator.Judge(iam.Call{Request: iam.Request{Action: action, Resource: key.ARN}, Key: &key})
			if (refused == "") != allowed {
				t.Errorf("%s of %s by an administrator: %q", action, id, refused)
			}
		}
	}
}

// A removal is one part of a role, and the first event that fails without it.
type removal struct{ function, part, event string }

var removed = []removal{
	{"TokenFunction", "TokenRole.UseOnce: dynamodb:leadingkeys once#*", "token/private_key_jwt"},
	{"TokenFunction", "TokenRole.UseOnce: dynamodb:DeleteItem", "token/password"},
	{"TokenFunction", "TokenRole.ReadUsers: dynamodb:leadingkeys login#*", "token/password_wrong"},
	{"TokenFunction", "TokenRole.Unseal", "token/client_secret_jwt"},
	{"TokenFunction", "TokenRole.Sign: kms:signingalgorithm ECDSA_SHA_256", "token/es256"},
	{"TokenFunction", "TokenRole.SignMu", "beside/token_by_ML-DSA-44"},
	{"AuthorizeFunction", "AuthorizeRole.ListWhatIsOnes: dynamodb:leadingkeys grant#*", "authorize/consents_withdrawn"},
	{"AuthorizeFunction", "AuthorizeRole.TellOfLogouts", "authorize/logout_hint"},
	{"UserinfoFunction", "UserinfoRole.ReadGrants: dynamodb:leadingkeys token#*", "userinfo/opaque"},
	{"DiscoveryFunction", "DiscoveryRole.ReadConfig: dynamodb:leadingkeys keys", "discovery/openid_configuration"},
	{"DeliverFunction", "DeliverRole.Sign", "deliver/not_https"},
}

// checkRemoved takes one thing out of a role at a time.
func (r *rig) checkRemoved(t *testing.T, calls map[string][]iam.Call, removals []removal) {
	t.Helper()
	for _, tt := range removals {
		f, err := r.stack(t, nil).Function(tt.function)
		if err != nil {
			t.Fatal(err)
		}
		event, known := iam.Missed(f.Role, tt.part, calls[tt.function])
		if !known || strings.TrimPrefix(event, "TestEvents/") != tt.event {
			t.Errorf("without %s (%v), %q fails", tt.part, known, event)
		}
	}
}

// checkFails: what is refused is not only noted. Without one read a function has no answer.
func (r *rig) checkFails(t *testing.T) {
	stack := r.stack(t, nil)
	without := strings.Replace(string(templateText(t)), `{"dynamodb:LeadingKeys": [issuer, keys]}`, `{"dynamodb:LeadingKeys": [issuer]}`, 1)
	if err := stack.Read([]byte(without)); err != nil {
		t.Fatal(err)
	}
	discovery := r.startIn(t, stack, "discovery")
	payload, _, err := discovery.Invoke(t.Context(), readEvent(t, "discovery/jwks"))
	if err != nil {
		t.Fatal(err)
	}
	refusals := strings.Join(discovery.proxy.Refusals(), "\n")
	if !strings.Contains(string(payload), `"statusCode":500`) || !strings.Contains(refusals, "role/kmint-DiscoveryRole is not authorized to perform: dynamodb:GetItem") {
		t.Errorf("refused: %q, answered: %s", refusals, payload)
	}
}

// A widening is a change of the template by which a role allows more, and what is found.
type widening struct{ old, new, function, want string }

var widened = map[string]widening{
	"an action more":        {"[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]\n", "[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem]\n", "TokenFunction", "TokenRole.KeepGrants allows dynamodb:DeleteItem "},
	"every action":          {"[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]\n", "dynamodb:*\n", "TokenFunction", "TokenRole.KeepGrants allows dynamodb:DeleteItem "},
	"a kind of item more":   {`["client#*", issuer, server, keys]`, `["client#*", "api#*", issuer, server, keys]`, "UserinfoFunction", "UserinfoRole.ReadConfig allows dynamodb:GetItem "},
	"every item":            {`["grant#*"]`, `["*"]`, "TokenFunction", "TokenRole.KeepGrants allows dynamodb:UpdateItem "},
	"absent keys":           {`"Null": {"dynamodb:LeadingKeys": "false"}`, `"Null": {}`, "TokenFunction", "TokenRole.ReadConfig allows dynamodb:GetItem "},
	"a read as a scan":      {"Action: dynamodb:Query", "Action: [dynamodb:Query, dynamodb:Scan]", "AuthorizeFunction", "AuthorizeRole.ListWhatIsOnes allows dynamodb:Scan "},
	"every index":           {"Resource: !Sub ${GrantsTable.Arn}/index/owner", "Resource: !Sub ${GrantsTable.Arn}/*", "AuthorizeFunction", "AuthorizeRole.ListWhatIsOnes allows dynamodb:Query "},
	"keys of other stacks":  {"                    aws:ResourceTag/kmint:stack: !Ref AWS::StackName\n                    aws:ResourceTag/kmint:use: sign\n                    kms:MessageType: DIGEST\n", "                    aws:ResourceTag/kmint:use: sign\n                    kms:MessageType: DIGEST\n", "TokenFunction", "TokenRole.Sign allows kms:Sign a key aws:resourcetag/kmint:stack=another "},
	"messages too":          {"kms:MessageType: DIGEST\n", "kms:MessageType: [DIGEST, RAW]\n", "TokenFunction", "TokenRole.Sign allows kms:Sign a key "},
	"any secret":            {`ForAllValues:StringEquals: {"kms:EncryptionContextKeys": [client_id]}`, `ForAllValues:StringEquals: {"kms:EncryptionContextKeys": [client_id, another]}`, "TokenFunction", "TokenRole.Unseal allows kms:Decrypt a key "},
	"another hash":          {"StringEquals: {kms:MacAlgorithm: HMAC_SHA_256}", "StringEquals: {kms:MacAlgorithm: [HMAC_SHA_256, HMAC_SHA_512]}", "TokenFunction", "TokenRole.MakeNonces allows kms:GenerateMac "},
	"the queue is read":     {"Action: sqs:SendMessage", "Action: [sqs:SendMessage, sqs:ReceiveMessage]", "AuthorizeFunction", "AuthorizeRole.TellOfLogouts allows sqs:ReceiveMessage "},
	"logs are read":         {"[logs:CreateLogStream, logs:PutLogEvents]", "[logs:CreateLogStream, logs:PutLogEvents, logs:GetLogEvents]", "TokenFunction", "TokenRole.Log allows logs:GetLogEvents "},
	"another service":       {"Action: sqs:SendMessage", "Action: [sqs:SendMessage, ssm:GetParameter]", "AuthorizeFunction", "AuthorizeRole.TellOfLogouts allows ssm:GetParameter "},
	"the other table's key": {"Resource: !GetAtt UsersTable.Arn", "Resource: [!GetAtt UsersTable.Arn, !GetAtt GrantsTable.Arn]", "TokenFunction", "TokenRole.ReadUsers allows dynamodb:GetItem "},
}

// checkWidened changes the template in one place at a time.
func (r *rig) checkWidened(t *testing.T, calls map[string][]iam.Call, widenings map[string]widening) {
	t.Helper()
	for name, tt := range widenings {
		text := string(templateText(t))
		changed := strings.Replace(text, tt.old, tt.new, 1)
		if changed == text {
			t.Errorf("%s: the template has no %q", name, tt.old)
			continue
		}
		stack := r.stack(t, nil)
		if err := stack.Read([]byte(changed)); err != nil {
			t.Fatal(err)
		}
		world, functions := r.world(t, stack, calls)
		f := functions[tt.function]
		wide, err := world.Wide(f.Role, calls[tt.function])
		if err != nil || !slices.ContainsFunc(wide, func(finding string) bool { return strings.HasPrefix(finding, tt.want) }) {
			t.Errorf("%s: %v, found %q", name, err, wide)
		}
	}
}

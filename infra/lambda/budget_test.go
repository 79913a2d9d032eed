package lambda

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"

	"kmint/infra/rig/sqstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/sqs"
	"kmint/pkg/store"
)

// A cost is what a request asks of AWS.
type cost struct {
	// trips is how many calls wait for one another: the longest chain of calls of
	// which each began after the one before had ended.
	trips int
	// reads and writes of DynamoDB; signs and macs of KMS.
	reads, writes, signs, macs, decrypts int
	// sends are calls that put something into the queue.
	sends int
}

// budgets are the costs of every step in warm functions: configuration, key
// registry and the hour's key are in memory. They are exact. What is refused signs
// nothing; all that can be refused without a call is.
var budgets = map[string]cost{
	"discovery/openid_configuration":       {},
	"discovery/oauth_authorization_server": {},
	"discovery/jwks":                       {},
	"discovery/jwks_not_modified":          {},
	"discovery/jwks_post":                  {},
	"discovery/preflight":                  {},
	"discovery/check_session":              {},

	"token/client_credentials":      {trips: 1, signs: 1},
	"token/client_credentials_json": {trips: 1, signs: 1},
	"token/own_path":                {trips: 1, signs: 1},
	"token/unknown_path":            {},
	"token/wrong_secret":            {},
	"token/repeated_parameter":      {},
	"token/oversized_body":          {},
	"token/get":                     {},
	"token/preflight":               {},

	// Spend, then both signatures side by side.
	"token/authorization_code":      {trips: 2, writes: 1, signs: 2},
	"token/authorization_code_pkce": {trips: 2, writes: 1, signs: 2},
	"token/other_client":            {trips: 1, writes: 1},
	"token/wrong_verifier":          {trips: 1, writes: 1},
	// The refused write says why it was; the second one revokes.
	"token/replayed_code": {trips: 2, writes: 2},
	// Rotate, then sign the access token and read the person side by side, then
	// sign the ID token.
	"token/refresh_token": {trips: 3, reads: 1, writes: 1, signs: 2},
	// Without openid too: the claims map shows something of the person in access tokens.
	"token/refresh_token_narrowed": {trips: 3, reads: 1, writes: 1, signs: 1},
	"token/replayed_refresh_token": {trips: 2, writes: 2},
	"token/revoked_refresh_token":  {trips: 1, writes: 1},

	// Grant, person and the token's own revocation, side by side.
	"userinfo/get":           {trips: 1, reads: 3},
	"userinfo/post":          {trips: 1, reads: 3},
	"userinfo/revoked_grant": {trips: 1, reads: 3},
	"userinfo/token_in_url":  {},
	"userinfo/no_token":      {},
	"userinfo/garbage_token": {},
	"userinfo/expired_token": {},
	"userinfo/client_token":  {},
	"userinfo/preflight":     {},

	"authorize/no_session":     {},
	"authorize/initiate_login": {},
	"authorize/login_page":     {},
	"authorize/foreign_form":   {},
	// An attempt is counted before the password is looked at, then the name is
	// found, then the person.
	"authorize/wrong_password": {trips: 3, reads: 2, writes: 1},
	// The same, but that the first write is refused, as there was a failure before,
	// and brings the count along; then the failures are forgotten, and then code and
	// session are written side by side.
	"authorize/login":                {trips: 6, reads: 2, writes: 5},
	"authorize/foreign_redirect_uri": {},
	"authorize/repeated_parameter":   {},
	// Session and person side by side, then the code.
	"authorize/web_message":            {trips: 2, reads: 2, writes: 1},
	"authorize/web_message_no_session": {},
	// Then the access token, then the ID token, which holds the hash of that one.
	"authorize/hybrid":            {trips: 4, reads: 2, writes: 2, signs: 2},
	"authorize/implicit":          {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/implicit_no_nonce": {},
	"authorize/form_post":         {trips: 2, reads: 2, writes: 1},

	// The consent is read beside session and person.
	"authorize/consent_page":       {trips: 1, reads: 3},
	"authorize/consent_denied":     {},
	"authorize/consent_allowed":    {trips: 3, reads: 3, writes: 3},
	"authorize/consent_remembered": {trips: 2, reads: 3, writes: 1},
	"authorize/consent_required":   {trips: 1, reads: 3},

	// Beside it the session learns of a client that it had not logged in before.
	"authorize/session": {trips: 2, reads: 2, writes: 2},

	// The jti is used up beside the signature, which a replay throws away.
	"token/private_key_jwt":                {trips: 1, writes: 1, signs: 1},
	"token/private_key_jwt_replayed":       {trips: 1, writes: 1, signs: 1},
	"token/private_key_jwt_wrong_audience": {},
	"token/private_key_jwt_wrong_key":      {},
	"token/private_key_jwt_expired":        {},
	"token/es256":                          {trips: 1, writes: 1, signs: 1},
	"token/ps256":                          {trips: 1, writes: 1, signs: 1},
	"token/audience_not_granted":           {},
	// An opaque token is written where another is signed. The secrets are in memory.
	"token/client_secret_jwt":               {trips: 1, writes: 2},
	"token/client_secret_jwt_old_secret":    {trips: 1, writes: 2},
	"token/client_secret_jwt_wrong_secret":  {},
	"token/workload_identity":               {trips: 1, signs: 1},
	"token/workload_identity_wrong_subject": {},

	"token/dpop_client_credentials":          {trips: 1, writes: 1, signs: 1},
	"token/dpop_client_credentials_replayed": {trips: 1, writes: 1, signs: 1},
	"token/dpop_expired_proof":               {},
	"authorize/dpop":                         {trips: 2, reads: 2, writes: 2}, // a client that the session does not know
	"token/dpop_no_proof":                    {},
	"token/dpop_without_nonce":               {},
	// The jti is used up before anything is spent.
	"token/dpop_other_key":          {trips: 2, writes: 2},
	"token/dpop_authorization_code": {trips: 3, writes: 2, signs: 2},
	"token/dpop_refresh_no_proof":   {},
	"token/dpop_refresh_other_key":  {trips: 2, writes: 2},
	"token/dpop_refresh_token":      {trips: 4, reads: 1, writes: 2, signs: 2},
	"token/dpop_replayed_proof":     {trips: 1, writes: 1},
	"userinfo/dpop_without_nonce":   {},
	"userinfo/dpop":                 {trips: 2, reads: 3, writes: 1},
	"userinfo/dpop_replayed":        {trips: 1, writes: 1},
	"userinfo/dpop_as_bearer":       {},
	"userinfo/dpop_other_key":       {},

	"token/password_wrong": {trips: 3, reads: 2, writes: 1},
	// As at the login page: one more for the failure before. Then the grant is written,
	// and then both signatures are made side by side.
	"token/password":                     {trips: 7, reads: 2, writes: 4, signs: 2},
	"token/password_realm":               {trips: 6, reads: 2, writes: 3, signs: 2},
	"token/password_realm_unknown":       {},
	"token/password_blocked":             {trips: 4, reads: 2, writes: 2},
	"token/password_not_allowed":         {},
	"token/password_refresh_token_wrong": {},
	"token/password_refresh_token":       {trips: 3, reads: 1, writes: 1, signs: 2},

	"authorize/online_access":         {trips: 2, reads: 2, writes: 1},
	"token/online_authorization_code": {trips: 2, writes: 1, signs: 2},
	// The session is read beside the person.
	"token/online_refresh_token":          {trips: 3, reads: 2, writes: 1, signs: 2},
	"authorize/online_and_offline_access": {},

	"authorize/resources":            {trips: 2, reads: 2, writes: 1},
	"token/resources_beyond":         {trips: 1, writes: 1},
	"token/resources":                {trips: 2, writes: 1, signs: 2},
	"token/resources_narrowed":       {trips: 3, reads: 1, writes: 1, signs: 2},
	"token/resources_refresh_beyond": {trips: 1, writes: 1},
	"authorize/dialects":             {trips: 2, reads: 2, writes: 1},
	// That the two do not fit into one token is found once the code is spent, which is
	// undone.
	"token/dialects_at_once":          {trips: 2, writes: 2},
	"token/dialects":                  {trips: 2, writes: 1, signs: 2},
	"token/dialects_refresh":          {trips: 3, reads: 1, writes: 1, signs: 2},
	"authorize/opaque":                {trips: 2, reads: 2, writes: 1},
	"token/opaque_authorization_code": {trips: 2, writes: 2, signs: 1},
	// What the token says is read first.
	"userinfo/opaque":         {trips: 2, reads: 4},
	"userinfo/opaque_unknown": {trips: 1, reads: 1},

	// All that the token hangs on side by side, then the signature.
	"token/exchange":                           {trips: 2, reads: 4, signs: 1},
	"token/exchange_old_secret":                {trips: 2, reads: 4, signs: 1},
	"token/exchange_wrong_secret":              {},
	"token/exchange_beyond":                    {},
	"token/exchange_other_audience":            {},
	"token/exchange_not_allowed":               {},
	"token/exchange_delegation":                {trips: 2, reads: 5, signs: 1},
	"token/exchange_nested":                    {trips: 2, reads: 5, signs: 1},
	"token/exchange_for_id_token":              {trips: 2, reads: 4, signs: 1},
	"token/exchange_for_refresh_token":         {},
	"token/exchange_actor_of_others":           {},
	"token/exchange_person":                    {trips: 2, reads: 1, signs: 1},
	"token/exchange_person_replayed_elsewhere": {},
	"token/exchange_bound":                     {trips: 3, reads: 3, writes: 1, signs: 1},
	"token/exchange_bound_no_proof":            {},

	"token/introspect":               {trips: 1, reads: 4},
	"token/introspect_bound":         {trips: 1, reads: 3},
	"token/introspect_other_api":     {},
	"token/introspect_unknown_token": {trips: 1, reads: 1},
	"token/introspect_wrong_secret":  {},
	"token/introspect_public_client": {},
	"token/introspect_opaque":        {trips: 2, reads: 4},
	// The jti of the assertion, the token, its revocation.
	"token/introspect_with_assertion":     {trips: 3, reads: 2, writes: 1},
	"token/introspect_assertion_replayed": {trips: 1, writes: 1},
	// The grant, then person and session.
	"token/introspect_refresh_token":           {trips: 2, reads: 3},
	"token/introspect_old_refresh_token":       {trips: 1, reads: 1},
	"token/introspect_refresh_token_of_others": {trips: 1, reads: 1},

	"token/revoke_wrong_secret":      {},
	"token/revoke_token_of_others":   {},
	"token/revoke_unknown_token":     {},
	"token/introspect_unharmed":      {trips: 1, reads: 4},
	"token/revoke_access_token":      {trips: 1, writes: 1},
	"token/introspect_revoked_token": {trips: 1, reads: 4},
	"userinfo/revoked_token":         {trips: 1, reads: 4},
	// The jti of the assertion, the token, its revocation.
	"token/revoke_opaque":              {trips: 3, reads: 1, writes: 2},
	"token/introspect_revoked_opaque":  {trips: 3, reads: 2, writes: 1},
	"token/revoke_old_refresh_token":   {trips: 1, writes: 1},
	"token/revoke_refresh_token_ended": {trips: 1, writes: 1},
	"token/introspect_revoked_grant":   {trips: 1, reads: 3},
	"token/revoke_json":                {trips: 1, writes: 1},
	"token/introspect_revoked_bound":   {trips: 1, reads: 3},
	"token/revoke_preflight":           {},

	// As for a code: what leaves from here is signed once the grant is written, and an ID
	// token that holds the hash of an access token after that one.
	"authorize/type_none":                               {trips: 1, reads: 2}, // nothing leaves
	"authorize/type_token":                              {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/type_id_token_token":                     {trips: 4, reads: 2, writes: 1, signs: 2},
	"authorize/type_code_token":                         {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/type_code_id_token":                      {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/type_none_not_registered":                {},
	"authorize/type_token_not_registered":               {},
	"authorize/type_id_token_not_registered":            {},
	"authorize/type_id_token_token_not_registered":      {},
	"authorize/type_code_token_not_registered":          {},
	"authorize/type_code_id_token_not_registered":       {},
	"authorize/type_code_id_token_token_not_registered": {},
	"authorize/type_unknown":                            {},
	"authorize/mode_query":                              {trips: 2, reads: 2, writes: 1},
	"authorize/mode_query_for_token":                    {},
	"authorize/mode_fragment":                           {trips: 2, reads: 2, writes: 1},
	"authorize/mode_form_post_hybrid":                   {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/mode_form_post_error":                    {},
	"authorize/mode_web_message_no_origin":              {},
	"authorize/mode_unknown":                            {},

	"authorize/prompt_none":             {trips: 2, reads: 2, writes: 1},
	"authorize/prompt_none_login":       {},
	"authorize/prompt_login":            {},
	"authorize/prompt_select_account":   {},
	"authorize/prompt_unknown":          {},
	"authorize/max_age":                 {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/max_age_over":            {trips: 1, reads: 2},
	"authorize/max_age_over_silent":     {trips: 1, reads: 2},
	"authorize/max_age_no_number":       {},
	"authorize/claims":                  {trips: 4, reads: 2, writes: 1, signs: 2},
	"userinfo/claims":                   {trips: 1, reads: 3},
	"authorize/claims_somebody_else":    {trips: 1, reads: 2},
	"authorize/claims_no_object":        {},
	"authorize/acr_values":              {trips: 3, reads: 2, writes: 1, signs: 1},
	"authorize/acr_of_nobody":           {},
	"authorize/login_hint":              {},
	"authorize/id_token_hint":           {trips: 2, reads: 2, writes: 1},
	"authorize/id_token_hint_of_others": {},
	"authorize/id_token_hint_forged":    {},
	// A client that the session does not know.
	"authorize/request_object":                  {trips: 2, reads: 2, writes: 2},
	"authorize/request_object_forged":           {},
	"authorize/request_object_unsigned":         {trips: 2, reads: 2, writes: 1},
	"authorize/request_object_unsigned_refused": {},
	"authorize/request_uri":                     {},
	"authorize/resource_unknown":                {},
	"authorize/dpop_jkt_token":                  {},
	"authorize/silent_cookie":                   {trips: 2, reads: 2, writes: 1},
	"authorize/silent_cookie_page":              {},
	"authorize/silent_cookie_other_client":      {},

	"authorize/consent_grows":       {trips: 1, reads: 3},
	"authorize/consent_forged":      {},
	"authorize/consents_no_session": {},

	// Session and person are read to say who leaves.
	"authorize/logout_wrong_address":           {trips: 1, reads: 2},
	"authorize/logout_hint_of_another_session": {trips: 1, reads: 2},
	"authorize/logout_forged_hint":             {trips: 1, reads: 2},
	"authorize/logout_forged":                  {trips: 1, reads: 2},
	"authorize/logged_out":                     {trips: 1, reads: 2},
	"authorize/login_to_leave":                 {trips: 5, reads: 2, writes: 4},
	"authorize/consent_asked_again":            {trips: 1, reads: 3},
	"authorize/leaving":                        {trips: 3, reads: 2, writes: 2, signs: 1},
	"authorize/logout_post_from_elsewhere":     {},
	// The queue has it before the session is deleted.
	"authorize/logout_hint":                 {trips: 3, reads: 2, writes: 1, sends: 1},
	"authorize/login_to_leave_again":        {trips: 5, reads: 2, writes: 4},
	"authorize/auth0_logout_wrong_address":  {trips: 1, reads: 2},
	"authorize/auth0_logout_from_elsewhere": {trips: 1, reads: 2},
	"authorize/auth0_logout":                {trips: 2, reads: 2, writes: 1},

	"deliver/no_address": {},
	"deliver/gone":       {},
	"deliver/garbage":    {},
	"deliver/not_https":  {trips: 1, signs: 1},
	"deliver/batch":      {trips: 1, signs: 1},

	// The session that was is deleted beside the new one.
	"authorize/login_again":            {trips: 5, reads: 2, writes: 5},
	"token/online_refresh_token_ended": {trips: 2, reads: 2, writes: 1},
	"token/introspect_ended_session":   {trips: 1, reads: 4},

	"authorize/login_elsewhere": {trips: 5, reads: 2, writes: 4},
	// Session and person, then the index, then both sessions, of which the index may be
	// wrong, side by side.
	"authorize/sessions":              {trips: 3, reads: 5},
	"authorize/sessions_foreign_form": {trips: 1, reads: 2},
	// The other session is read before it is ended.
	"authorize/sessions_ended":        {trips: 3, reads: 3, writes: 1},
	"authorize/consents":              {trips: 1, reads: 3},
	"authorize/consents_foreign_form": {trips: 1, reads: 3},
	// The index, then both grants that the client holds, then the record, then the index
	// once more.
	"authorize/consents_withdrawn": {trips: 5, reads: 5, writes: 3},
	"authorize/logout_page":        {trips: 1, reads: 2},
	"authorize/logout":             {trips: 2, reads: 2, writes: 1},
}

// missing are steps about somebody or something that is not there, which is remembered
// for a shorter time.
var missing = []string{"token/exchange_person", "authorize/resource_unknown", "deliver/gone"}

// TestBudgets runs the script twice against handlers in this process, whose
// clients are counted, and holds the second time to the budgets.
func TestBudgets(t *testing.T) {
	checkScript(t)
	if len(budgets) != len(script) { // that each step has one is found below
		t.Errorf("%d budgets for %d steps", len(budgets), len(script))
	}
	r := newRig(t)
	m := &meter{}
	handlers, log := r.handlers(m)
	count := 0
	ask := func(t *testing.T, function string, event []byte) ([]byte, string, []string) {
		count++
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", count)
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: id})
		log.Reset()
		payload, err := lambda.NewHandler(handlers[function]).Invoke(ctx, event)
		if err != nil {
			t.Fatal(err)
		}
		return payload, id, strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	}
	warm := time.Now()
	t.Run("cold", func(t *testing.T) { run(t, r, ask) })
	m.pause = 50 * time.Millisecond
	t.Run("warm", func(all *testing.T) {
		run(all, r, func(t *testing.T, function string, event []byte) ([]byte, string, []string) {
			_, name, _ := strings.Cut(t.Name(), "/warm/")
			m.take()
			payload, id, lines := ask(t, function, event)
			calls := m.take()
			remembered := store.MaxAge // a slow machine fills its caches twice
			if slices.Contains(missing, name) {
				remembered = store.MaxMissAge
			}
			if time.Since(warm) > remembered {
				calls = slices.DeleteFunc(calls, func(c call) bool { return c.fills(r.tables.Config) })
			}
			want, ok := budgets[name]
			if got := sum(t, calls); !ok || got != want {
				all.Errorf("%s costs %+v, want %+v: %v", name, got, want, calls) // the script goes on
			}
			return payload, id, lines
		})
	})
}

// handlers are those of the functions, over counted clients. They take the issuer
// from its record, as without a domain of the owner's, which the built functions
// of TestEvents take from the environment.
func (r *rig) handlers(m *meter) (map[string]any, *bytes.Buffer) {
	counted := func(config aws.Config) aws.Config {
		config.APIOptions = append(config.APIOptions, m.count)
		return config
	}
	db := &dynamo.Store{
		DB:          dynamo.NewClient(counted(r.db.Config())),
		ConfigTable: r.tables.Config, UsersTable: r.tables.Users, GrantsTable: r.tables.Grants,
	}
	keys := kms.NewClient(counted(r.kmsConfig()))
	out := &bytes.Buffer{}
	log := slog.New(slog.NewJSONHandler(out, nil)).With("version", version)
	return map[string]any{
		"token": gateway.Proxy(server.Token{
			TokenPath: "/oauth2/token",
			Clients:   db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
			Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
			MAC: &kms.MAC{Client: keys, Key: r.macKey}, Vault: kms.Vault{Client: keys, Key: r.secretsKey},
			PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
		}.Handler()),
		"authorize": gateway.Proxy(server.Authorize{
			Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db,
			Opaque: db, Documents: db, MAC: &kms.MAC{Client: keys, Key: r.macKey}, PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
			Queue: sqs.Queue{Client: sqs.NewClient(counted(r.sqsConfig())), URL: sqstest.URL},
		}.Handler()),
		"deliver": gateway.Consume(server.Deliver{
			Clients: db, Issuers: db, Registry: db, PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
		}.Handler()),
		"userinfo": gateway.Proxy(server.Userinfo{
			Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
			MAC: &kms.MAC{Client: keys, Key: r.macKey}, Now: time.Now, Log: log,
		}.Handler()),
		"discovery": gateway.Proxy(server.Discovery{
			TokenPath: "/oauth/token", AuthorizeSigns: true, Issuers: db, Registry: db, Now: time.Now, Log: log,
		}.Handler()),
	}, out
}

// A meter sees every attempt of the SDK's clients, just above the wire.
type meter struct {
	// pause makes each call long enough that two which do not wait for one another
	// are seen side by side.
	pause time.Duration

	mu    sync.Mutex
	calls []call
}

type call struct {
	operation    string
	table        string // of a GetItem
	began, ended time.Time
}

func (c call) String() string { return c.operation }

// fills reports whether the call is for what is kept in memory afterwards.
func (c call) fills(configTable string) bool {
	return c.table == configTable || c.operation == "GenerateMac" || c.operation == "Decrypt"
}

// tableKey is that of a read's table in the context of a call.
type tableKey struct{}

func (m *meter) count(stack *middleware.Stack) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("table", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		if read, ok := in.Parameters.(*dynamodb.GetItemInput); ok {
			ctx = middleware.WithStackValue(ctx, tableKey{}, aws.ToString(read.TableName))
		}
		return next.HandleInitialize(ctx, in)
	}), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("meter", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		began := time.Now()
		time.Sleep(m.pause)
		out, metadata, err := next.HandleDeserialize(ctx, in)
		m.mu.Lock()
		defer m.mu.Unlock()
		table, _ := middleware.GetStackValue(ctx, tableKey{}).(string)
		m.calls = append(m.calls, call{awsmiddleware.GetOperationName(ctx), table, began, time.Now()})
		return out, metadata, err
	}), middleware.After)
}

// take returns the calls since it was last asked, in the order of their ends.
func (m *meter) take() []call {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

func sum(t *testing.T, calls []call) (c cost) {
	t.Helper()
	for _, call := range calls {
		switch call.operation {
		case "GetItem", "Query":
			c.reads++
		case "PutItem", "UpdateItem", "DeleteItem":
			c.writes++
		case "Sign":
			c.signs++
		case "GenerateMac":
			c.macs++
		case "Decrypt":
			c.decrypts++
		case "SendMessageBatch":
			c.sends++
		default:
			t.Errorf("a call of %s", call.operation)
		}
	}
	// Whoever takes the call that ends first, again and again, finds the longest
	// chain.
	slices.SortFunc(calls, func(a, b call) int { return a.ended.Compare(b.ended) })
	var free time.Time
	for _, call := range calls {
		if !call.began.Before(free) {
			c.trips++
			free = call.ended
		}
	}
	return c
}

func TestSumFindsTheLongestChain(t *testing.T) {
	at := func(began, ended int) call {
		return call{"Sign", "", time.Unix(int64(began), 0), time.Unix(int64(ended), 0)}
	}
	for name, tt := range map[string]struct {
		calls []call
		trips int
	}{
		"none":                         {nil, 0},
		"one after the other":          {[]call{at(0, 1), at(1, 2), at(3, 4)}, 3},
		"side by side":                 {[]call{at(0, 2), at(1, 3)}, 1},
		"two beside a long one":        {[]call{at(0, 9), at(0, 2), at(3, 5)}, 2},
		"one, then two side by side":   {[]call{at(0, 1), at(1, 3), at(2, 4)}, 2},
		"the one that ends last first": {[]call{at(5, 9), at(0, 1)}, 2},
	} {
		if got := sum(t, tt.calls).trips; got != tt.trips {
			t.Errorf("%s: %d, want %d", name, got, tt.trips)
		}
	}
}

package lambda

import (
	"errors"
	"html"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/kms"
	"kmint/pkg/token"
)

// script is every event, in an order in which each finds what it needs. The
// second word tells values of one kind apart: a code that comes of a step with
// the word web is ${code.web}.
var script = [][2]string{
	{"discovery/openid_configuration"},
	{"discovery/oauth_authorization_server"},
	{"discovery/jwks"},
	{"discovery/jwks_not_modified"},
	{"discovery/jwks_post"},
	{"discovery/preflight"},
	{"discovery/check_session"},

	{"token/client_credentials", "service"},
	{"token/client_credentials_json", "json"},
	{"token/own_path", "own"},
	{"token/unknown_path"},
	{"token/wrong_secret"},
	{"token/repeated_parameter"},
	{"token/oversized_body"},
	{"token/get"},
	{"token/preflight"},

	// A person logs in. Who has no session gets none by asking.
	{"authorize/no_session"},
	{"authorize/initiate_login"},
	{"authorize/login_page"},
	{"authorize/wrong_password"},
	{"authorize/foreign_form"},
	{"authorize/login", "web"},
	{"authorize/foreign_redirect_uri"},
	{"authorize/repeated_parameter"},

	// The code is good once, and only for its client; the second time ends what
	// came of the first.
	{"token/other_client"},
	{"token/authorization_code", "web"},
	{"userinfo/get"},
	{"userinfo/post"},
	{"userinfo/token_in_url"},
	{"token/replayed_code"},
	{"userinfo/revoked_grant"},

	{"userinfo/no_token"},
	{"userinfo/garbage_token"},
	{"userinfo/expired_token"},
	{"userinfo/client_token"},
	{"userinfo/preflight"},

	// The session gives another client a code without a page. A wrong guess at the
	// verifier does not burn it.
	{"authorize/session", "spa"},
	// A frame of its page hears who is there, if somebody is.
	{"authorize/web_message", "message"},
	{"authorize/web_message_no_session"},
	// To a client that is registered for it, tokens leave from here.
	{"authorize/hybrid", "hybrid"},
	{"authorize/implicit", "implicit"},
	{"authorize/implicit_no_nonce"},
	{"authorize/form_post", "form"},
	// A client that is not the owner's own gets nothing before the person says so, and
	// nothing more than that.
	{"authorize/consent_page", "consent"},
	{"authorize/consent_denied"},
	{"authorize/consent_allowed", "partner"},
	{"authorize/consent_remembered", "partner_again"},
	{"authorize/consent_required"},
	{"token/wrong_verifier"},
	{"token/authorization_code_pkce", "spa"},
	{"token/refresh_token", "rotated"},
	{"token/refresh_token_narrowed", "narrowed"},
	{"token/replayed_refresh_token"},
	{"token/revoked_refresh_token"},

	// Clients that prove themselves by a key. Each assertion counts once.
	{"token/private_key_jwt", "backend"},
	{"token/private_key_jwt_replayed"},
	{"token/private_key_jwt_wrong_audience"},
	{"token/private_key_jwt_wrong_key"},
	{"token/private_key_jwt_expired"},
	{"token/es256", "es"},
	{"token/ps256", "ps"},
	{"token/audience_not_granted"},
	{"token/client_secret_jwt", "batch"},
	{"token/client_secret_jwt_old_secret", "batch_old"},
	{"token/client_secret_jwt_wrong_secret"},
	{"token/workload_identity", "job"},
	{"token/workload_identity_wrong_subject"},

	// Tokens that are bound to a key come for a proof by that key, which counts once.
	{"token/dpop_client_credentials", "bound"},
	{"token/dpop_client_credentials_replayed"},
	{"token/dpop_expired_proof"},
	{"authorize/dpop", "dpop"},
	{"token/dpop_no_proof"},
	{"token/dpop_without_nonce"},
	{"token/dpop_other_key"},
	{"token/dpop_authorization_code", "dpop"},
	{"token/dpop_refresh_no_proof"},
	{"token/dpop_refresh_other_key"},
	{"token/dpop_refresh_token", "dpop_rotated"},
	{"token/dpop_replayed_proof"},
	{"userinfo/dpop_without_nonce"},
	{"userinfo/dpop"},
	{"userinfo/dpop_replayed"},
	{"userinfo/dpop_as_bearer"},
	{"userinfo/dpop_other_key"},

	// The client that sees passwords is told in Auth0's words.
	{"token/password_wrong"},
	{"token/password", "password"},
	{"token/password_realm", "realm"},
	{"token/password_realm_unknown"},
	{"token/password_blocked"},
	{"token/password_not_allowed"},
	{"token/password_refresh_token_wrong"},
	{"token/password_refresh_token", "password"},

	// Refresh tokens that end with the session.
	{"authorize/online_access", "online"},
	{"token/online_authorization_code", "online"},
	{"token/online_refresh_token", "online_rotated"},
	{"authorize/online_and_offline_access"},

	// Several APIs: in one token, or, where they want tokens of different kinds, one
	// after the other.
	{"authorize/resources", "resources"},
	{"token/resources_beyond"},
	{"token/resources", "resources"},
	{"token/resources_narrowed", "narrowed_resource"},
	{"token/resources_refresh_beyond"},
	{"authorize/dialects", "dialects"},
	{"token/dialects_at_once"},
	{"token/dialects", "dialects"},
	{"token/dialects_refresh", "dialects_billing"},
	{"authorize/opaque", "opaque"},
	{"token/opaque_authorization_code", "opaque"},
	{"userinfo/opaque"},
	{"userinfo/opaque_unknown"},

	// An API exchanges what it is called with.
	{"token/exchange", "onward"},
	{"token/exchange_old_secret", "onward_again"},
	{"token/exchange_wrong_secret"},
	{"token/exchange_beyond"},
	{"token/exchange_other_audience"},
	{"token/exchange_not_allowed"},
	{"token/exchange_delegation", "delegated"},
	{"token/exchange_nested", "nested"},
	{"token/exchange_actor_of_others"},
	{"token/exchange_for_id_token", "onward"},
	{"token/exchange_for_refresh_token"},
	{"token/exchange_person", "person"},
	{"token/exchange_person_replayed_elsewhere"},
	{"token/exchange_bound", "onward_bound"},
	{"token/exchange_bound_no_proof"},

	// What tokens say to those who may ask.
	{"token/introspect"},
	{"token/introspect_bound"},
	{"token/introspect_other_api"},
	{"token/introspect_unknown_token"},
	{"token/introspect_wrong_secret"},
	{"token/introspect_public_client"},
	{"token/introspect_opaque"},
	{"token/introspect_with_assertion"},
	{"token/introspect_assertion_replayed"},
	{"token/introspect_refresh_token"},
	{"token/introspect_old_refresh_token"},
	{"token/introspect_refresh_token_of_others"},

	// A client ends what is its own, and nothing else.
	{"token/revoke_wrong_secret"},
	{"token/revoke_token_of_others"},
	{"token/revoke_unknown_token"},
	{"token/introspect_unharmed"},
	{"token/revoke_access_token"},
	{"token/introspect_revoked_token"},
	{"userinfo/revoked_token"},
	{"token/revoke_opaque"},
	{"token/introspect_revoked_opaque"},
	{"token/revoke_old_refresh_token"},
	{"token/revoke_refresh_token_ended"},
	{"token/introspect_revoked_grant"},
	{"token/revoke_json"},
	{"token/introspect_revoked_bound"},
	{"token/revoke_preflight"},

	// Every response type goes to the client that is registered for it, and to no other.
	{"authorize/type_none"},
	{"authorize/type_token", "front_token"},
	{"authorize/type_id_token_token", "front_tokens"},
	{"authorize/type_code_token", "code_token"},
	{"authorize/type_code_id_token", "code_id_token"},
	{"authorize/type_none_not_registered"},
	{"authorize/type_token_not_registered"},
	{"authorize/type_id_token_not_registered"},
	{"authorize/type_id_token_token_not_registered"},
	{"authorize/type_code_token_not_registered"},
	{"authorize/type_code_id_token_not_registered"},
	{"authorize/type_code_id_token_token_not_registered"},
	{"authorize/type_unknown"},
	{"authorize/mode_query", "mode_query"},
	{"authorize/mode_query_for_token"},
	{"authorize/mode_fragment", "mode_fragment"},
	{"authorize/mode_form_post_hybrid", "mode_form_post"},
	{"authorize/mode_form_post_error"},
	{"authorize/mode_web_message_no_origin"},
	{"authorize/mode_unknown"},

	// What a request says of who is to be there, and since when.
	{"authorize/prompt_none", "prompt_none"},
	{"authorize/prompt_none_login"},
	{"authorize/prompt_login", "prompt_login"},
	{"authorize/prompt_select_account", "prompt_select_account"},
	{"authorize/prompt_unknown"},
	{"authorize/max_age", "max_age"},
	{"authorize/max_age_over", "max_age_over"},
	{"authorize/max_age_over_silent"},
	{"authorize/max_age_no_number"},
	{"authorize/claims", "claims"},
	{"userinfo/claims"},
	{"authorize/claims_somebody_else"},
	{"authorize/claims_no_object"},
	{"authorize/acr_values", "acr"},
	{"authorize/acr_of_nobody"},
	{"authorize/login_hint", "login_hint"},
	{"authorize/id_token_hint", "id_token_hint"},
	{"authorize/id_token_hint_of_others"},
	{"authorize/id_token_hint_forged"},
	{"authorize/request_object", "request_object"},
	{"authorize/request_object_forged"},
	{"authorize/request_object_unsigned", "request_object_unsigned"},
	{"authorize/request_object_unsigned_refused"},
	{"authorize/request_uri"},
	{"authorize/resource_unknown"},
	{"authorize/dpop_jkt_token"},

	// The cookie that crosses sites says who is there, to a page that is registered, and
	// nothing else.
	{"authorize/silent_cookie", "silent_cookie"},
	{"authorize/silent_cookie_page", "silent_cookie_page"},
	{"authorize/silent_cookie_other_client"},

	// A client that asks for more is asked about again.
	{"authorize/consent_grows", "consent_grows"},
	{"authorize/consent_forged", "consent_forged"},
	{"authorize/consents_no_session"},

	// Whoever logs in again ends the session that was, and what was to end with it.
	{"authorize/login_again", "again"},
	{"token/online_refresh_token_ended"},
	{"token/introspect_ended_session"},

	// With another browser they see where they are logged in and what they have allowed,
	// and end it there. What belongs to the one page counts for nothing at the other.
	{"authorize/login_elsewhere", "elsewhere"},
	{"authorize/consents", "consents"},
	{"authorize/sessions", "sessions"},
	{"authorize/sessions_foreign_form"},
	{"authorize/sessions_ended"},
	{"authorize/consents_foreign_form"},
	{"authorize/consents_withdrawn"},
	{"authorize/logout_page", "logout"},
	{"authorize/logout"},

	// The session is gone, and not only its cookie; what was taken back is asked for again.
	{"authorize/logged_out"},
	{"authorize/login_to_leave", "login_to_leave"},
	{"authorize/consent_asked_again"},
	// People leave. Who only says that they do is asked, and what is wrong leads nowhere.
	{"authorize/logout_wrong_address", "logout_wrong_address"},
	{"authorize/logout_hint_of_another_session", "logout_hint_of_another_session"},
	{"authorize/logout_forged_hint", "logout_forged_hint"},
	{"authorize/logout_forged", "logout_forged"},
	// By the ID token of the session: its clients hear of it, by the browser and by the
	// queue.
	{"authorize/leaving", "leaving"},
	{"authorize/logout_post_from_elsewhere"},
	{"authorize/logout_hint"},
	// By the older address, from a page of the client.
	{"authorize/login_to_leave_again", "login_to_leave_again"},
	{"authorize/auth0_logout_wrong_address", "auth0_logout_wrong_address"},
	{"authorize/auth0_logout_from_elsewhere", "auth0_logout_from_elsewhere"},
	{"authorize/auth0_logout"},

	// What comes out of the queue is delivered, or comes again, each message by itself. No
	// client of the example can be reached: TestDeliver has one.
	{"deliver/no_address"},
	{"deliver/gone"},
	{"deliver/garbage"},
	{"deliver/not_https"},
	{"deliver/batch"},
}

// rewrite is the environment variable by which golden files are written anew.
const rewrite = "GOLDEN"

// TestEvents runs the script. What must be there and is not, or is there and is
// not expected, fails it; golden files are only written with GOLDEN=write, which
// fails it too.
func TestEvents(t *testing.T) {
	checkScript(t)
	r := newRig(t)
	// What needs no signature is asked of one that may not sign, as the template has it
	// where nothing is said of AuthorizeSigns: the same answers come of the narrower role.
	signs, signsNot := r.stack(t, nil), r.stack(t, map[string]string{"AuthorizeSigns": "no"})
	functions := map[string]*guarded{unsigned: r.startIn(t, signsNot, "authorize")}
	for _, name := range []string{"discovery", "token", "authorize", "userinfo", "deliver"} {
		functions[name] = r.startIn(t, signs, name)
	}
	h := run(t, r, func(t *testing.T, function string, event []byte) ([]byte, string, []string) {
		if function == "authorize" && !signed(t, event) {
			function = unsigned
		}
		return functions[function].ask(t, event)
	})
	t.Run("no front channel", func(t *testing.T) {
		for name, want := range map[string]string{
			"authorize/type_code_token": "error=unsupported_response_type", "authorize/type_id_token_token": "error=unsupported_response_type",
			"authorize/no_session": "error=login_required",
		} {
			payload, _, _ := functions[unsigned].ask(t, readEvent(t, name))
			if !strings.Contains(string(payload), want) {
				t.Errorf("%s: %s", name, payload)
			}
		}
	})
	others := h.beside(t, r)
	t.Run("roles", func(t *testing.T) { r.checkRoles(t, functions, others) })
	if os.Getenv(rewrite) == "write" {
		t.Fatal("golden files are written; read them, and run this again without " + rewrite)
	}
}

// run takes every step of the script through a door.
func run(t *testing.T, r *rig, through door) *house {
	t.Helper()
	h := &house{began: time.Now(), door: through, queue: r.queue, forge: newForge(t), known: map[string]any{"expired_token": r.expiredToken(t)}}
	maps.Copy(h.known, h.forge.thumbprints(t))
	for _, step := range script {
		// What comes after a step that failed would fail for want of it.
		if !t.Run(step[0], func(t *testing.T) { h.step(t, step[0], step[1]) }) {
			t.Fatalf("%s failed, and with it the rest", step[0])
		}
	}
	return h
}

// A door leads an event to a function, and gives its answer, the id of the
// request and the log lines.
type door func(t *testing.T, function string, event []byte) (payload []byte, id string, lines []string)

// checkScript: a file that no step uses proves nothing.
func checkScript(t *testing.T) {
	t.Helper()
	files := eventFiles(t)
	var steps []string
	for _, step := range script {
		steps = append(steps, step[0])
	}
	// What a schedule sends has a test of its own.
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasPrefix(name, "rotate/") })
	slices.Sort(files)
	slices.Sort(steps)
	if !slices.Equal(files, steps) {
		t.Fatalf("events/ and the script differ:\n%q\n%q", files, steps)
	}
}

// A house is the functions, and what their answers gave.
type house struct {
	began time.Time
	door  door
	queue *queue
	forge *forge
	keys  keySet
	known map[string]any
	// secrets are those of the events so far.
	secrets []string
	logged  []string
	// audited are lines of the audit file.
	audited []string
}

func (h *house) step(t *testing.T, name, which string) {
	raw := readEvent(t, name)
	h.forge.forge(t, raw, h.known)
	event, err := fill(raw, h.known)
	if err != nil {
		t.Fatal(err)
	}
	function, _, _ := strings.Cut(name, "/")
	s := sight{run: h.began, began: time.Now().Truncate(time.Millisecond), known: h.known, kept: map[string]any{}}
	payload, id, lines := h.door(t, function, event)
	s.ended, s.id = time.Now(), id
	h.logged = append(h.logged, lines...)
	lines = h.apart(t, name, s, lines)
	if function == "deliver" {
		s.tree = seeDelivery(t, payload, lines)
	} else {
		if len(lines) != 1 {
			t.Fatalf("%d log lines:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		s.tree = h.see(t, name, payload, lines[0])
		s.presented = presented(t, event)
		h.secrets = append(h.secrets, secretsOf(t, event)...)
	}
	if sent := h.queue.take(); len(sent) > 0 {
		s.tree["queue"] = readTree(t, []byte("["+strings.Join(sent, ",")+"]"))
	}
	s.keys = h.keys

	h.compare(t, name, which, s)
	maps.Copy(h.known, s.kept)
	if function == "deliver" {
		h.checkDelivery(t, s)
		return
	}
	h.checkLog(t, s, lines[0])
}

// seeDelivery makes the tree of a batch, whose lines come in any order.
func seeDelivery(t *testing.T, payload []byte, lines []string) map[string]any {
	t.Helper()
	log := []any{}
	for _, line := range lines {
		log = append(log, readTree(t, []byte(line)))
	}
	client := func(line any) string { return show(line.(map[string]any)["client_id"]) }
	slices.SortFunc(log, func(a, b any) int { return strings.Compare(client(a), client(b)) })
	return map[string]any{"response": readTree(t, payload), "log": log}
}

// checkDelivery: what is to come again has the cause in the log, and nothing else has.
func (h *house) checkDelivery(t *testing.T, s sight) {
	t.Helper()
	reasons := 0
	for _, line := range s.tree["log"].([]any) {
		if line.(map[string]any)["reason"] != nil {
			reasons++
		}
	}
	if again := s.at("response.batchItemFailures").([]any); len(again) != reasons {
		t.Errorf("%d are to come again, and the log has %d reasons", len(again), reasons)
	}
	h.checkLeaks(t)
}

// see makes the tree that a golden file is compared with.
func (h *house) see(t *testing.T, name string, payload []byte, line string) map[string]any {
	t.Helper()
	response := readTree(t, payload).(map[string]any)
	headers := response["headers"].(map[string]any)
	tokens := map[string]any{}
	if headers["Content-Type"] == "application/json" {
		response["body"] = readTree(t, []byte(response["body"].(string)))
	}
	if name == "discovery/jwks" {
		var err error
		if h.keys, err = readKeySet(response["body"]); err != nil {
			t.Fatal(err)
		}
	}
	members := membersOf(response)
	for _, member := range []string{"access_token", "id_token"} {
		compact, ok := members[member].(string)
		if !ok || strings.HasPrefix(compact, "kmint_") { // no JWT
			continue
		}
		seen, err := h.keys.verify(compact)
		if err != nil {
			t.Fatalf("%s: %v", member, err)
		}
		tokens[member] = seen
	}
	return map[string]any{"response": response, "tokens": tokens, "log": readTree(t, []byte(line))}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)

// membersOf are those of an answer: of a body in JSON, of the fragment that it travels
// in, or of a form.
func membersOf(response map[string]any) map[string]any {
	if members, ok := response["body"].(map[string]any); ok {
		return members
	}
	members := map[string]any{}
	headers, _ := response["headers"].(map[string]any)
	if location, _ := headers["Location"].(string); strings.Contains(location, "#") {
		_, fragment, _ := strings.Cut(location, "#")
		parameters, _ := url.ParseQuery(fragment) // what is not to be read is compared as text
		for name := range parameters {
			members[name] = parameters.Get(name)
		}
	}
	page, _ := response["body"].(string)
	for _, field := range hiddenField.FindAllStringSubmatch(page, -1) {
		members[field[1]] = html.UnescapeString(field[2])
	}
	return members
}

func (h *house) compare(t *testing.T, name, which string, s sight) {
	t.Helper()
	if os.Getenv(rewrite) == "write" {
		writeGolden(t, name, template(name, which, "", s.tree, h.known))
	}
	golden, err := os.ReadFile(goldenPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is no golden file; %s=write writes one", rewrite)
	}
	if err != nil {
		t.Fatal(err)
	}
	if differences := match("", readTree(t, golden), s.tree, s.kept); len(differences) > 0 {
		t.Fatal(strings.Join(differences, "\n"))
	}
	if problems := checkKept(s); len(problems) > 0 {
		t.Fatal(strings.Join(problems, "\n"))
	}
}

// checkLog: the one line is the request's, has the cause of a refusal, and no
// line so far holds a secret of this step or an earlier one.
func (h *house) checkLog(t *testing.T, s sight, line string) {
	t.Helper()
	status := s.at("response.statusCode")
	if s.at("log.status") != status || s.at("log.request_id") != s.id || s.at("log.version") != version {
		t.Errorf("the line is not the request's: %s", line)
	}
	location, _ := s.at("response.headers.Location").(string)
	page, _ := s.at("response.body").(string)
	if refused := show(status) >= "400" || strings.Contains(location, "error=") || strings.Contains(page, "&#34;error&#34;:") || strings.Contains(page, `name="error"`); refused != (s.at("log.reason") != nil) {
		t.Errorf("refused: %v, and the line is %s", refused, line)
	}
	h.checkLeaks(t)
}

// checkLeaks: no line so far holds a secret.
func (h *house) checkLeaks(t *testing.T) {
	t.Helper()
	secrets := slices.Clone(h.secrets)
	for name, value := range h.known {
		kindName, _, _ := strings.Cut(name, ".")
		if text, ok := value.(string); ok && kinds[kindName].secret {
			secrets = append(secrets, text)
		}
	}
	if leak := leaks(h.logged, secrets); leak != "" {
		t.Errorf("the log holds a secret: %s", leak)
	}
}

// leaks returns a line that holds one of the secrets as it is or escaped, or "".
func leaks(lines, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		if secret != "" {
			forms = append(forms, secret, url.QueryEscape(secret), inJSON(secret))
		}
	}
	slices.Sort(forms)
	forms = slices.Compact(forms)
	for _, line := range lines {
		for _, form := range forms {
			if strings.Contains(line, form) {
				return line
			}
		}
	}
	return ""
}

// expiredToken was good once: signed by the real key, and of the right kind.
func (r *rig) expiredToken(t *testing.T) string {
	t.Helper()
	signer := signer{kms.Signer{Client: kms.NewClient(r.kmsConfig())}, r.signingKey}
	expired, err := jwt.Sign(t.Context(), signer, jwt.Choice{}, jwt.TypAccessToken, token.AccessToken{
		Issuer: issuer, Subject: "demo-user", Audience: jwt.Audience{token.UserinfoAudience(issuer)},
		Expiry: 1_700_086_400, IssuedAt: 1_700_000_000, ID: "0000000000000000000000000000000000000000000", ClientID: "demo-web", Scope: "openid",
	})
	if err != nil {
		t.Fatal(err)
	}
	return expired
}

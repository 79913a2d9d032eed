package lambda

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"kmint/pkg/oauth"
	"kmint/pkg/session"
)

// A sight is one step as it was seen.
type sight struct {
	// run is when the script began; began and ended enclose the invocation whose id
	// this is.
	run, began, ended time.Time
	id                string
	tree              map[string]any
	// kept is what stood at this step's stand-ins, known what did at earlier ones.
	kept, known map[string]any
	keys        keySet
	// presented are the claims of the JWT that the request is about, nil for none.
	presented map[string]any
}

// A kind is what may stand at the stand-ins of one name.
type kind struct {
	// secret ones are in no log line, ever.
	secret bool
	// fresh ones were never seen before, stable ones are the same by the same name.
	fresh, stable bool
	// check is told which one it is: web of ${code.web}.
	check func(which string, value any, s sight) error
}

const handle = `[A-Za-z0-9_-]{43}` // 256 bits

var kinds = map[string]kind{
	"access_token":  {secret: true, fresh: true, check: inTokens("access_token")},
	"opaque_token":  {secret: true, fresh: true, check: pattern(`kmint_access\.` + handle)},
	"id_token":      {secret: true, check: inTokens("id_token")}, // two of one second may be equal
	"hint":          {secret: true, check: sentOn},
	"code":          {secret: true, fresh: true, check: pattern(`kmint_code\.` + handle)},
	"session":       {secret: true, fresh: true, check: pattern(`kmint_session\.ZGVtby11c2Vy\.` + handle)},
	"silent":        {secret: true, check: sameSession},
	"state_cookie":  {secret: true, fresh: true, check: stateOfSession},
	"session_state": {secret: true, fresh: true, check: pattern(`[0-9a-f]{64}\.[A-Z2-7]{26}`)},
	"refresh_token": {secret: true, fresh: true, check: refreshToken},
	"request":       {secret: true, stable: true, check: carriedRequest},
	"seal":          {secret: true, check: pattern(handle)},
	"shown":         {secret: true, check: pattern(handle)},
	"elsewhere":     {fresh: true, check: pattern(handle)},
	"minute":        {check: written("2 January 2006, 15:04 MST")},
	"day":           {check: written("2 January 2006")},
	"login_cookie":  {secret: true, stable: true, check: pattern(handle)},
	"assertion":     {secret: true, check: never},
	"proof":         {secret: true, check: never},

	"kid":        {stable: true, check: keyID},
	"modulus":    {stable: true, check: pattern(`[A-Za-z0-9_-]{342}`)}, // 2048 bits
	"coordinate": {stable: true, check: pattern(handle)},
	"thumbprint": {stable: true, check: pattern(handle)}, // stable: that of a key of ours
	"nonce":      {check: pattern(`[A-Za-z0-9_-]{32}`)},
	"etag":       {stable: true, check: pattern(`"[A-Za-z0-9_-]{16}"`)},
	"style":      {stable: true, check: pattern(`(?s)[^<]+`)},
	"style_hash": {stable: true, check: styleHash},

	"iat":        {check: issuedAt},
	"exp":        {check: expires},
	"expires_in": {check: expiresIn},
	"jti":        {fresh: true, check: pattern(handle)},
	"auth_time":  {stable: true, check: authTime},
	"login_time": {check: authTime}, // of a login beside that of the session
	"told":       {check: told},
	"sid":        {stable: true, check: pattern(handle)},
	"at_hash":    {check: halfHash("access_token")},
	"c_hash":     {check: halfHash("code")},
	"grant_id":   {stable: true, check: grantID},

	"time":       {check: logTime},
	"ms":         {check: logDuration},
	"request_id": {check: func(_ string, v any, s sight) error { return equal(v, s.id) }},
}

// checkKept checks everything that stood at a stand-in.
func checkKept(s sight) (problems []string) {
	for name, value := range s.kept {
		kindName, which, _ := strings.Cut(name, ".")
		k, ok := kinds[kindName]
		if !ok {
			problems = append(problems, fmt.Sprintf("nobody knows what ${%s} may be", name))
			continue
		}
		if err := k.check(which, value, s); err != nil {
			problems = append(problems, fmt.Sprintf("${%s} is %s: %v", name, show(value), err))
		}
		for earlier, old := range s.known {
			same := reflect.DeepEqual(value, old)
			if earlierKind, _, _ := strings.Cut(earlier, "."); k.fresh && same && earlierKind == kindName {
				problems = append(problems, fmt.Sprintf("${%s} is not fresh: %s", name, show(value)))
			}
			if k.stable && !same && earlier == name {
				problems = append(problems, fmt.Sprintf("${%s} has changed from %s to %s", name, show(old), show(value)))
			}
		}
	}
	return problems
}

func equal(got, want any) error {
	if got != want {
		return fmt.Errorf("not %v", want)
	}
	return nil
}

// written checks a moment of the run as pages write it.
func written(layout string) func(string, any, sight) error {
	return func(_ string, value any, s sight) error {
		at, err := time.Parse(layout, fmt.Sprint(value))
		if err == nil && (at.Before(s.run.UTC().Truncate(24*time.Hour)) || at.After(s.ended)) {
			err = errors.New("not of this run")
		}
		return err
	}
}

// halfHash checks the hash of what left beside an ID token (OpenID Connect Core 1.0
// §3.3.2.11).
func halfHash(of string) func(string, any, sight) error {
	return func(which string, value any, s sight) error {
		beside, _ := s.kept[of+"."+which].(string)
		sum := sha256.Sum256([]byte(beside))
		return equal(value, any(base64.RawURLEncoding.EncodeToString(sum[:16])))
	}
}

// stateOfSession: the cookie for scripts says which session it is, and does not open it.
// Where an answer begins none, it is random.
func stateOfSession(which string, value any, s sight) error {
	begun, ok := s.kept["session"].(string)
	if !ok {
		return pattern(handle)(which, value, s)
	}
	return equal(value, session.State(oauth.Secret(begun)))
}

// sameSession: the cookie that crosses sites holds what the other one does.
func sameSession(_ string, value any, s sight) error {
	if fresh, ok := s.kept["session"]; ok {
		return equal(value, fresh)
	}
	return equal(value, s.known["session"])
}

// sentOn: the ID token that came with the request.
func sentOn(which string, value any, s sight) error {
	return equal(value, s.known["id_token."+which])
}

func pattern(p string) func(string, any, sight) error {
	whole := regexp.MustCompile("^" + p + "$")
	return func(_ string, value any, _ sight) error {
		if text, ok := value.(string); !ok || !whole.MatchString(text) {
			return fmt.Errorf("not %s", whole)
		}
		return nil
	}
}

// given is a member of the answer.
func (s sight) given(member string) any {
	return membersOf(s.tree["response"].(map[string]any))[member]
}

// inTokens: what the golden file compares there was verified when it was seen.
func inTokens(member string) func(string, any, sight) error {
	return func(_ string, value any, s sight) error {
		if s.at("tokens."+member) == nil {
			return errors.New("not a verified token")
		}
		return equal(value, fmt.Sprint(s.given(member)))
	}
}

func refreshToken(_ string, value any, s sight) error {
	if err := pattern(`kmint_refresh\.`+handle+`\.`+handle+`\.`+handle)("", value, s); err != nil {
		return err
	}
	if s.at("tokens.access_token") == nil { // it came alone
		return nil
	}
	access, ok := s.at("tokens.access_token.claims.grant_id").(string)
	if !ok || strings.Split(value.(string), ".")[1] != access {
		return errors.New("not of the access token's grant")
	}
	return nil
}

// codeless are the grants that come of no code.
var codeless = []string{
	"password", "realm", "person", "onward", "implicit", "front_token", "front_tokens", "claims", "acr", "max_age", "leaving",
}

// grantID: a grant goes by the digest of its code, if there was one.
func grantID(which string, value any, s sight) error {
	if slices.Contains(codeless, which) {
		return pattern(handle)("", value, s)
	}
	code, ok := s.known["code."+which].(string)
	if now, given := s.kept["code."+which].(string); given {
		code, ok = now, true
	}
	if !ok {
		return fmt.Errorf("there is no code.%s", which)
	}
	sum := sha256.Sum256([]byte(code))
	return equal(value, base64.RawURLEncoding.EncodeToString(sum[:]))
}

// carriedRequest: a form carries the parameters of the page it is on, which was shown
// for the event of that name. What is wrong is not carried on.
func carriedRequest(which string, value any, s sight) error {
	text, _ := value.(string)
	carried, err := url.ParseQuery(text)
	if err != nil {
		return err
	}
	if text == "" && show(s.at("response.statusCode")) == "400" {
		return nil
	}
	page := "authorize/" + cmp.Or(which, "login") + "_page"
	if _, err := os.Stat(eventPath(page)); err != nil {
		page = "authorize/" + which
	}
	raw, err := os.ReadFile(eventPath(page))
	if err != nil {
		return err
	}
	var shown events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(raw, &shown); err != nil {
		return err
	}
	query, err := expand(shown.RawQueryString, s.known, url.QueryEscape)
	if err != nil {
		return err
	}
	asked, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	if to, ok := asked["returnTo"]; ok { // Auth0's word for it
		delete(asked, "returnTo")
		asked["post_logout_redirect_uri"] = to
	}
	if !reflect.DeepEqual(carried, asked) {
		return fmt.Errorf("not %s", shown.RawQueryString)
	}
	return nil
}

func styleHash(_ string, value any, s sight) error {
	style, ok := s.kept["style"].(string)
	if !ok {
		return errors.New("there is no style")
	}
	sum := sha256.Sum256([]byte(style))
	return equal(value, base64.StdEncoding.EncodeToString(sum[:]))
}

// idTokenLifetime is in seconds. That of an access token is what the answer says.
const idTokenLifetime = 3600

func expires(token string, value any, s sight) error {
	exp, err := seconds(value)
	if err != nil {
		return err
	}
	iat, err := seconds(s.at("tokens." + token + ".claims.iat"))
	if err != nil {
		return err
	}
	want := int64(idTokenLifetime)
	if token == "access_token" {
		if want, err = strconv.ParseInt(strings.Trim(show(s.given("expires_in")), `"`), 10, 64); err != nil {
			return err
		}
	}
	if exp-iat != want {
		return fmt.Errorf("%d s after iat", exp-iat)
	}
	return nil
}

// expiresIn is where the token that is given ends another early: by its exp.
func expiresIn(_ string, value any, s sight) error {
	in, err := seconds(value)
	if err != nil {
		return err
	}
	exp, err := seconds(s.presented["exp"])
	if err != nil {
		return err
	}
	return between(json.Number(strconv.FormatInt(exp-in, 10)), s.began, s.ended.Add(time.Second)) // in whole seconds
}

// told compares what introspection says with the token itself. What one says that
// cannot be read is looked at for its form.
func told(claim string, value any, s sight) error {
	if s.presented != nil {
		return equal(value, s.presented[claim])
	}
	switch claim {
	case "jti":
		return pattern(handle)("", value, s)
	case "exp":
		return between(value, s.began, s.began.AddDate(1, 0, 0))
	default:
		return authTime("", value, s)
	}
}

// keyID: the key is published for the algorithm that the name says.
func keyID(algorithm string, value any, s sight) error {
	key, err := s.keys.find(value)
	if err != nil {
		return err
	}
	return equal(strings.ToLower(key.algorithm), algorithm)
}

func never(string, any, sight) error { return errors.New("the server must not say it") }

func issuedAt(_ string, value any, s sight) error {
	return between(value, s.began, s.ended)
}

// authTime is of this run, and of a login that was before the code.
func authTime(_ string, value any, s sight) error {
	return between(value, s.run, s.ended)
}

func between(value any, from, to time.Time) error {
	at, err := seconds(value)
	if err != nil {
		return err
	}
	if at < from.Unix() || at > to.Unix() {
		return fmt.Errorf("not between %d and %d", from.Unix(), to.Unix())
	}
	return nil
}

func seconds(value any) (int64, error) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, errors.New("not a number")
	}
	return number.Int64()
}

func logTime(_ string, value any, s sight) error {
	text, _ := value.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return err
	}
	if at.Before(s.began) || at.After(s.ended) {
		return errors.New("not while it ran")
	}
	return nil
}

func logDuration(_ string, value any, s sight) error {
	number, ok := value.(json.Number)
	if !ok {
		return errors.New("not a number")
	}
	ms, err := number.Float64()
	if err != nil || ms < 0 || ms > float64(s.ended.Sub(s.began).Microseconds())/1000 {
		return errors.New("longer than it ran")
	}
	return nil
}

// at finds a value of the tree, or nil.
func (s sight) at(path string) any {
	var value any = s.tree
	for name := range strings.SplitSeq(path, ".") {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[name]
	}
	return value
}

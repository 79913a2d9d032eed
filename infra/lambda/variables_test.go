package lambda

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// A sight is one step as it was seen.
type sight struct {
	// began and ended enclose the invocation whose id this is.
	began, ended time.Time
	id           string
	tree         map[string]any
	// kept is what stood at this step's stand-ins, known what did at earlier ones.
	kept, known map[string]any
	keys        keySet
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
	"id_token":      {secret: true, check: inTokens("id_token")}, // two of one second may be equal
	"code":          {secret: true, fresh: true, check: pattern(`kmint_code\.` + handle)},
	"session":       {secret: true, fresh: true, check: pattern(`kmint_session\.ZGVtby11c2Vy\.` + handle)},
	"refresh_token": {secret: true, fresh: true, check: refreshToken},
	"request":       {secret: true, stable: true, check: carriedRequest},
	"seal":          {secret: true, check: pattern(handle)},
	"login_cookie":  {secret: true, stable: true, check: pattern(handle)},

	"kid":        {stable: true, check: func(_ string, v any, s sight) error { _, err := s.keys.find(v); return err }},
	"modulus":    {stable: true, check: pattern(`[A-Za-z0-9_-]{342}`)}, // 2048 bits
	"etag":       {stable: true, check: pattern(`"[A-Za-z0-9_-]{16}"`)},
	"style":      {stable: true, check: pattern(`(?s)[^<]+`)},
	"style_hash": {stable: true, check: styleHash},

	"iat":       {check: issuedAt},
	"exp":       {check: expires},
	"jti":       {fresh: true, check: pattern(handle)},
	"auth_time": {stable: true, check: authTime},
	"sid":       {stable: true, check: pattern(handle)},
	"grant_id":  {stable: true, check: grantID},

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

func equal(got any, want string) error {
	if got != want {
		return fmt.Errorf("not %s", want)
	}
	return nil
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

// inTokens: what the golden file compares there was verified when it was seen.
func inTokens(member string) func(string, any, sight) error {
	return func(_ string, value any, s sight) error {
		if s.at("tokens."+member) == nil {
			return errors.New("not a verified token")
		}
		return equal(value, fmt.Sprint(s.at("response.body."+member)))
	}
}

func refreshToken(_ string, value any, s sight) error {
	if err := pattern(`kmint_refresh\.`+handle+`\.`+handle+`\.`+handle)("", value, s); err != nil {
		return err
	}
	access, ok := s.at("tokens.access_token.claims.grant_id").(string)
	if !ok || strings.Split(value.(string), ".")[1] != access {
		return errors.New("not of the access token's grant")
	}
	return nil
}

// grantID: a grant goes by the digest of its code.
func grantID(which string, value any, s sight) error {
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

// carriedRequest: the login form carries the parameters of the page it is on.
func carriedRequest(_ string, value any, _ sight) error {
	text, _ := value.(string)
	carried, err := url.ParseQuery(text)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(eventPath("authorize/login_page"))
	if err != nil {
		return err
	}
	var page events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(raw, &page); err != nil {
		return err
	}
	asked, err := url.ParseQuery(page.RawQueryString)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(carried, asked) {
		return fmt.Errorf("not %s", page.RawQueryString)
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

// tokenLifetime of the example's API, and of every ID token.
var tokenLifetime = map[string]int64{"access_token": 86400, "id_token": 3600}

func expires(token string, value any, s sight) error {
	exp, err := seconds(value)
	if err != nil {
		return err
	}
	iat, err := seconds(s.at("tokens." + token + ".claims.iat"))
	if err != nil {
		return err
	}
	if exp-iat != tokenLifetime[token] {
		return fmt.Errorf("%d s after iat", exp-iat)
	}
	return nil
}

func issuedAt(_ string, value any, s sight) error {
	return between(value, s.began, s.ended)
}

// authTime is of this run, and of a login that was before the code.
func authTime(_ string, value any, s sight) error {
	return between(value, s.ended.Add(-time.Minute), s.ended)
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

// A keySet is what a JWK set says, by kid. It is read and used without the
// library that the functions sign with: the standard library alone.
type keySet map[string]*rsa.PublicKey

func readKeySet(tree any) (keySet, error) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kty, Use, Alg, Kid, N, E string }
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	keys := keySet{}
	for _, k := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if errN != nil || errE != nil || k.Kty != "RSA" || k.Alg != "RS256" || k.Use != "sig" {
			return nil, fmt.Errorf("not an RSA key to verify RS256 with: %+v", k)
		}
		// RFC 7638 §3.2: the required members in lexicographic order.
		sum := sha256.Sum256([]byte(`{"e":"` + k.E + `","kty":"RSA","n":"` + k.N + `"}`))
		if k.Kid != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return nil, fmt.Errorf("the kid %s is not the thumbprint", k.Kid)
		}
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key")
	}
	return keys, nil
}

func (k keySet) find(kid any) (*rsa.PublicKey, error) {
	name, _ := kid.(string)
	key, ok := k[name]
	if !ok {
		return nil, errors.New("the key is not published")
	}
	return key, nil
}

// verify checks a compact JWS (RFC 7515 §5.2) with RS256 (RFC 7518 §3.3), and
// returns header and claims.
func (k keySet) verify(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a compact JWS")
	}
	seen := map[string]any{}
	for i, name := range []string{"header", "claims"} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		var members map[string]any
		if err := d.Decode(&members); err != nil {
			return nil, err
		}
		seen[name] = members
	}
	header := seen["header"].(map[string]any)
	if header["alg"] != "RS256" {
		return nil, fmt.Errorf("alg is %v", header["alg"])
	}
	key, err := k.find(header["kid"])
	if err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return seen, rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
}

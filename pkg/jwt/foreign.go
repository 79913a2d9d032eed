// JWTs of others: those that a client or a foreign issuer signs, with a key or a
// secret of its own (RFC 7515, RFC 7517, RFC 8725 §3.1).

package jwt

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // takes names as they are spelled, and no member twice
)

const (
	// MaxForeign is the longest JWT of others that we read, in bytes.
	MaxForeign = 16 << 10
	// Skew is how far two clocks may be apart, that of whoever signs and ours. RFC 7519
	// §4.1.4 and §4.1.5 let an exp and an nbf have "some small leeway, usually no more than
	// a few minutes, to account for clock skew". FAPI 2.0 Security Profile §5.3.2.1 has
	// servers "reject JWTs with an iat or nbf timestamp greater than 60 seconds in the
	// future".
	Skew = time.Minute

	// minRSA is from RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used".
	minRSA = 2048
	// maxRSA bounds what a verification may cost.
	maxRSA = 8192
	// maxTried bounds how many keys a JWT without a kid is tried with.
	maxTried = 16
)

// ErrUnknownKey says that the set has no key of the kid: a newer one may have.
var ErrUnknownKey = errors.New("jwt: no such key")

// SymmetricAlgorithms are those of a shared secret (RFC 7518 §3.2).
func SymmetricAlgorithms() []string { return []string{"HS256", "HS384", "HS512"} }

// AsymmetricAlgorithms are those of others' public keys (RFC 7518 §3.3 to §3.5,
// RFC 8037 §3.1, RFC 9864 §2.2). ML-DSA is none of them: no client is known that
// signs by it, and each of its keys is as long as all others of a set.
func AsymmetricAlgorithms() []string {
	return []string{RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519}
}

// An Unproven is a JWT as it was read. Nothing of it counts before ProveByKeys or
// ProveBySecret has said so.
type Unproven struct {
	Type      string // the typ header, "" for none
	KeyID     string
	Algorithm string

	jws *jose.JSONWebSignature
}

// Read reads a compact JWT that is signed by one of the algorithms: none is never
// one of them.
func Read(token string, algorithms []string) (Unproven, error) {
	if len(token) > MaxForeign {
		return Unproven{}, fmt.Errorf("jwt: the token is longer than %d bytes", MaxForeign)
	}
	for part := range strings.SplitSeq(token, ".") {
		if _, err := decode(part); err != nil {
			return Unproven{}, err
		}
	}
	var allowed []jose.SignatureAlgorithm
	for _, a := range algorithms {
		if slices.Contains(SymmetricAlgorithms(), a) || slices.Contains(AsymmetricAlgorithms(), a) {
			allowed = append(allowed, jose.SignatureAlgorithm(a))
		}
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return Unproven{}, fmt.Errorf("jwt: %w", err)
	}
	header := jws.Signatures[0].Protected
	// RFC 7515 §4.1.11: a list that is critical "MUST NOT be the empty list", and what it
	// names has to be understood. RFC 7797 §7: "JWTs MUST NOT use b64 with a false value".
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, asks := header.ExtraHeaders[name]; asks {
			return Unproven{}, fmt.Errorf("jwt: its header asks for what is not supported by %s", name)
		}
	}
	typ := ""
	if value, set := header.ExtraHeaders[jose.HeaderType]; set {
		text, ok := value.(string)
		if !ok {
			return Unproven{}, errors.New("jwt: typ is no string")
		}
		typ = text
	}
	return Unproven{Type: typ, KeyID: header.KeyID, Algorithm: header.Algorithm, jws: jws}, nil
}

// decode reads base64url (RFC 7515 §2), which has no padding, no line breaks and
// one form for each content; Go's decoder passes over line breaks.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("jwt: a line break in the token")
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return decoded, nil
}

// Claims decodes the claims. A member that is repeated, or that is spelled in
// another case, is not what it looks like: the first is refused, the second another.
func (u Unproven) Claims(dst any) error {
	if err := json.Unmarshal(u.jws.UnsafePayloadWithoutVerification(), dst); err != nil {
		return fmt.Errorf("jwt: claims: %w", err)
	}
	return nil
}

// Registered are the claims of RFC 7519 §4.1.
type Registered struct {
	Issuer   string // "" for none, as the others
	Subject  string
	Audience Audience
	ID       string // the jti
	Period
}

// Registered reads the registered claims. There must be an exp.
func (u Unproven) Registered() (Registered, error) {
	var claims struct {
		Issuer    string   `json:"iss"`
		Subject   string   `json:"sub"`
		Audience  Audience `json:"aud"`
		ID        string   `json:"jti"`
		Expiry    *float64 `json:"exp"`
		NotBefore *float64 `json:"nbf"`
		IssuedAt  *float64 `json:"iat"`
	}
	if err := u.Claims(&claims); err != nil {
		return Registered{}, err
	}
	period, err := periodOf(claims.Expiry, claims.NotBefore, claims.IssuedAt)
	return Registered{claims.Issuer, claims.Subject, claims.Audience, claims.ID, period}, err
}

// A Period is when a JWT counts.
type Period struct {
	Expiry    time.Time // whole seconds, rounded up
	NotBefore time.Time // zero for none
	IssuedAt  time.Time // zero for none
}

// periodOf reads the claims exp, nbf and iat, nil for none: RFC 7519 §2 lets a
// NumericDate be a fraction. There must be an exp.
func periodOf(exp, nbf, iat *float64) (Period, error) {
	if exp == nil {
		return Period{}, errors.New("jwt: there is no exp")
	}
	var p Period
	for _, date := range []struct {
		from *float64
		to   *time.Time
		name string
	}{{exp, &p.Expiry, "exp"}, {nbf, &p.NotBefore, "nbf"}, {iat, &p.IssuedAt, "iat"}} {
		if date.from == nil {
			continue
		}
		// From 1970 to the year 5138.
		if !(*date.from > 0 && *date.from < 1e11) {
			return Period{}, fmt.Errorf("jwt: %s is no date", date.name)
		}
		*date.to = time.Unix(int64(math.Ceil(*date.from)), 0)
	}
	return p, nil
}

// Check says why the period is not now, or is longer than most, or nil. Longer is
// what was made for more, where there is an iat, and what goes on for more; 0 is no
// bound.
func (p Period) Check(now time.Time, most time.Duration) error {
	switch {
	case !now.Before(p.Expiry.Add(Skew)):
		return errors.New("jwt: expired")
	case p.NotBefore.After(now.Add(Skew)):
		return errors.New("jwt: not valid yet")
	case p.IssuedAt.After(now.Add(Skew)):
		return errors.New("jwt: issued in the future")
	case p.IssuedAt.After(p.Expiry):
		return errors.New("jwt: issued after its end")
	case most != 0 && p.Expiry.After(now.Add(most+Skew)):
		return fmt.Errorf("jwt: it counts for more than %v from now", most)
	case most != 0 && !p.IssuedAt.IsZero() && p.Expiry.After(p.IssuedAt.Add(most)):
		return fmt.Errorf("jwt: it was made for more than %v", most)
	default:
		return nil
	}
}

// ProveByKeys checks the signature by the public keys of whoever is to have signed.
//
// A JWT with a kid counts by the keys of that kid alone; ErrUnknownKey if there is
// none. One without is tried with each key of the algorithm's type. In both, a key
// that names an alg counts for that alg only.
func (u Unproven) ProveByKeys(keys []jose.JSONWebKey) error {
	named := slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == u.KeyID })
	if u.KeyID != "" && !named {
		return fmt.Errorf("%w: kid %.64q", ErrUnknownKey, u.KeyID)
	}
	tried := 0
	for _, k := range keys {
		if u.KeyID != "" && k.KeyID != u.KeyID || !fits(k, u.Algorithm) || tried == maxTried {
			continue
		}
		tried++
		if _, err := u.jws.Verify(Verifier(u.Algorithm, k.Key)); err == nil {
			return nil
		}
	}
	if u.KeyID == "" {
		// A newer set may have the key that it does not name.
		return fmt.Errorf("%w: none of %d keys has made the %s signature", ErrUnknownKey, tried, u.Algorithm)
	}
	return fmt.Errorf("jwt: no key with kid %.64q has made the %s signature", u.KeyID, u.Algorithm)
}

// ProveBySecret checks the MAC by a shared secret. RFC 7518 §3.2: "A key of the same
// size as the hash output [...] or larger MUST be used".
func (u Unproven) ProveBySecret(secret []byte) error {
	if !slices.Contains(SymmetricAlgorithms(), u.Algorithm) {
		return fmt.Errorf("jwt: %s takes no secret", u.Algorithm)
	}
	if _, err := u.jws.Verify(secret); err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	return nil
}

// ReadKeySet reads a JWK Set (RFC 7517 §5). Keys that cannot verify a signature are
// passed over: those of a kind we do not know, too short ones, those for
// encryption, and secret and private ones, which prove nothing once they are
// published. It is an error if none is left.
func ReadKeySet(document []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []stdjson.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("jwt: key set: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && (k.Use == "" || k.Use == "sig") &&
			slices.ContainsFunc(AsymmetricAlgorithms(), func(a string) bool { return fits(k, a) }) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("jwt: the key set has no key that can verify")
	}
	return keys, nil
}

// PrivateMembers are those of a JWK that show a private or a secret key (RFC 7518
// §6.2.2, §6.3.2, §6.4.1), whatever its kty says.
func PrivateMembers() []string {
	return []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}
}

// fits reports whether a key may verify by an algorithm.
func fits(k jose.JSONWebKey, algorithm string) bool {
	return (k.Algorithm == "" || k.Algorithm == algorithm) && CheckKey(algorithm, k.Key) == nil
}

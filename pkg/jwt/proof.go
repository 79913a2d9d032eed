// Proofs of possession of a key (RFC 9449 §4).

package jwt

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // member names are case-sensitive, and none may repeat
)

// TypProof is the typ of a proof (RFC 9449 §4.2).
const TypProof = "dpop+jwt"

// Bounds of a proof.
const (
	// proofLife is how long after its iat a proof counts: a minute by a clock that is
	// Skew behind ours. RFC 9449 §11.1 has it be "a relatively brief period (on the order
	// of seconds or minutes)".
	proofLife = time.Minute + Skew
	// afterProof is how much longer it is remembered: two of our own clocks may differ,
	// and a request takes time.
	afterProof = Skew
	// maxProof is in bytes: enough for an RSA key of maxRSA bits.
	maxProof   = 8 << 10
	maxProofID = 256
	maxNonce   = 256
)

// ProofAlgorithms lists the algorithms that proofs may be signed by. RFC 9449
// §4.3: "a registered asymmetric digital signature algorithm".
func ProofAlgorithms() []string {
	return []string{ES256, ES384, ES512, EdDSA, Ed25519, PS256, PS384, PS512, RS256, RS384, RS512}
}

// ExpectedProof is what a proof must be for.
type ExpectedProof struct {
	// Method and URL are those of the request; query and fragment do not count.
	Method string
	URL    string
	// Token is the access token that comes with it, "" where there is none.
	Token string
	Now   time.Time
}

// A Proof shows that a request was made by whoever has a key.
type Proof struct {
	// Key is the RFC 7638 thumbprint.
	Key string
	// Nonce is the server's, as far as the proof knows; "" for none. It is not
	// judged here.
	Nonce string
	// Use names what the proof uses up: its jti, of this key and for this URL. RFC
	// 9449 §11.1 has servers store it "in the context of the target URI".
	Use string
	// Until is when no such proof counts any more, and some time, so that none is
	// judged before and its Use taken after.
	Until time.Time
}

// A ProofError says why a proof does not count.
type ProofError struct {
	// Reason is for whoever made the proof: it tells nothing but what was sent.
	Reason string
	// Cause is for the log, nil for none.
	Cause error
}

// Error gives both.
func (e *ProofError) Error() string {
	if e.Cause != nil {
		return "jwt: proof: " + e.Reason + ": " + e.Cause.Error()
	}
	return "jwt: proof: " + e.Reason
}

// Unwrap returns the cause.
func (e *ProofError) Unwrap() error { return e.Cause }

func badProof(reason string, cause error) error { return &ProofError{reason, cause} }

// VerifyProof judges a proof by RFC 9449 §4.3, all but its nonce, and whether it
// was used before. An error that is no ProofError says nothing of the proof.
func VerifyProof(proof string, want ExpectedProof) (Proof, error) {
	if len(proof) > maxProof {
		return Proof{}, badProof("it is too long", nil)
	}
	public, payload, err := openProof(proof)
	if err != nil {
		return Proof{}, err
	}
	var claims struct {
		ID         string  `json:"jti"`
		Method     string  `json:"htm"`
		URL        string  `json:"htu"`
		IssuedAt   float64 `json:"iat"`
		Expiry     float64 `json:"exp"`
		NotBefore  float64 `json:"nbf"`
		AccessHash string  `json:"ath"`
		Nonce      string  `json:"nonce"`
	}
	if err := strict.Unmarshal(payload, &claims); err != nil {
		return Proof{}, badProof("its claims cannot be read", err)
	}
	target, err := normalURL(want.URL)
	if err != nil {
		return Proof{}, fmt.Errorf("jwt: our own URL: %w", err)
	}
	named, err := normalURL(claims.URL)
	if err != nil {
		return Proof{}, badProof("its htu is not the URL of this request", err)
	}
	now := float64(want.Now.UnixNano()) / 1e9
	issued := math.Floor(claims.IssuedAt)
	switch {
	case claims.ID == "" || len(claims.ID) > maxProofID:
		return Proof{}, badProof("its jti is missing or too long", nil)
	case claims.Method != want.Method:
		return Proof{}, badProof("its htm is not the method of this request", fmt.Errorf("htm is %.32q", claims.Method))
	case named != target:
		return Proof{}, badProof("its htu is not the URL of this request", fmt.Errorf("htu is %.256q, not %.256q", named, target))
	case claims.IssuedAt == 0:
		return Proof{}, badProof("its iat is missing", nil)
	case now >= issued+proofLife.Seconds():
		return Proof{}, badProof("its iat is too long ago", nil)
	case issued > now+Skew.Seconds():
		return Proof{}, badProof("its iat lies ahead", nil)
	// A proof need say neither; one that does is to be believed (RFC 7519 §4.1.4).
	case claims.Expiry != 0 && now >= claims.Expiry+Skew.Seconds(), claims.NotBefore > now+Skew.Seconds():
		return Proof{}, badProof("it has expired, or is not valid yet", nil)
	case len(claims.Nonce) > maxNonce:
		return Proof{}, badProof("its nonce is too long", nil)
	case want.Token != "" && claims.AccessHash != tokenHash(want.Token):
		return Proof{}, badProof("its ath is not that of the access token", nil)
	}
	thumbprint, err := Thumbprint(public)
	if err != nil {
		return Proof{}, err
	}
	return Proof{
		Key:   thumbprint,
		Nonce: claims.Nonce,
		// Neither of the first two can hold the space that ends them.
		Use:   target + " " + thumbprint + " " + claims.ID,
		Until: time.Unix(int64(issued), 0).Add(proofLife + afterProof),
	}, nil
}

// tokenHash is the ath (RFC 9449 §4.2).
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// openProof checks header and signature of a proof, and returns the key and the
// claims.
func openProof(proof string) (public any, payload []byte, err error) {
	var header struct {
		Algorithm string                     `json:"alg"`
		Type      string                     `json:"typ"`
		Key       map[string]json.RawMessage `json:"jwk"`
		Critical  any                        `json:"crit"`
		Base64    any                        `json:"b64"`
	}
	first, _, _ := strings.Cut(proof, ".")
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(first)
	// RFC 7515 §2 has base64url "without the inclusion of any line breaks"; Go's
	// decoder skips them.
	if err != nil || strings.ContainsAny(proof, "\r\n") || strings.Count(proof, ".") != 2 || strict.Unmarshal(decoded, &header) != nil {
		return nil, nil, badProof("it is not a signed JWT", err)
	}
	switch {
	case header.Type != TypProof:
		return nil, nil, badProof("its typ is not "+TypProof, nil)
	case !slices.Contains(ProofAlgorithms(), header.Algorithm):
		return nil, nil, badProof("its alg does not count", fmt.Errorf("alg is %.32q", header.Algorithm))
	// RFC 7515 §4.1.11: what is critical and not understood makes it invalid.
	case header.Critical != nil || header.Base64 != nil:
		return nil, nil, badProof("its header asks for what is not supported", nil)
	}
	// RFC 9449 §4.3: "The jwk JOSE Header Parameter does not contain a private key."
	// go-jose finds one by d alone, which not every private key has.
	for _, private := range PrivateMembers() {
		if _, ok := header.Key[private]; ok {
			return nil, nil, badProof("its jwk shows a private key", nil)
		}
	}
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(header.Algorithm)})
	if err != nil {
		return nil, nil, badProof("its jwk is not a public key", err)
	}
	key := jws.Signatures[0].Protected.JSONWebKey
	if key == nil {
		return nil, nil, badProof("it has no jwk", nil)
	}
	if err := proofKey(key.Key, header.Algorithm); err != nil {
		return nil, nil, err
	}
	payload, err = jws.Verify(Verifier(header.Algorithm, key.Key))
	if err != nil {
		return nil, nil, badProof("its signature is wrong", err)
	}
	return key.Key, payload, nil
}

// proofKey says why a key cannot have signed by the algorithm (RFC 7518 §3.3 to
// §3.5, RFC 8037 §3.1), or nil.
func proofKey(key any, algorithm string) error {
	public, isRSA := key.(*rsa.PublicKey)
	switch {
	case isRSA && (public.N.BitLen() < minRSA || public.N.BitLen() > maxRSA):
		return badProof("its RSA key is too short or too long", fmt.Errorf("it has %d bits", public.N.BitLen()))
	case !fits(jose.JSONWebKey{Key: key}, algorithm):
		return badProof("its jwk is not a key for its alg", nil)
	default:
		return nil
	}
}

// normalURL is the one form of equal URLs, without query and fragment. RFC 9449
// §4.3: "servers SHOULD employ syntax-based normalization (Section 6.2.2 of
// [RFC3986]) and scheme-based normalization (Section 6.2.3 of [RFC3986]) before
// comparing the htu claim."
func normalURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return "", errors.New("it is not an absolute http or https URL")
	case u.User != nil || strings.Contains(u.Host, "%"): // nor a zone of this machine (RFC 6874)
		return "", errors.New("it has user information or a zone")
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return u.Scheme + "://" + host + withoutDots(decodeUnreserved(u.EscapedPath())), nil
}

// decodeUnreserved obeys RFC 3986 §6.2.2.1 and §6.2.2.2: "For consistency,
// percent-encoded octets in the ranges of ALPHA, DIGIT, hyphen, period, underscore,
// or tilde [...] should be decoded", and all others have capital digits.
func decodeUnreserved(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out.WriteByte(path[i])
			continue
		}
		code := path[i : i+3] // url.Parse takes no other
		c, _ := strconv.ParseUint(code[1:], 16, 8)
		if b := byte(c); b < 0x80 && (unicode.IsLetter(rune(b)) || unicode.IsDigit(rune(b)) || strings.IndexByte("-._~", b) >= 0) {
			out.WriteByte(b)
		} else {
			out.WriteString(strings.ToUpper(code))
		}
		i += 2
	}
	return out.String()
}

// withoutDots takes the dot segments away (RFC 3986 §5.2.4). An empty path is a
// slash (§6.2.3).
func withoutDots(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var kept []string
	for i, segment := range segments {
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if i == len(segments)-1 { // what stays is a folder
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// Package jwt answers: is this compact JWT ours, and how is one made?
//
// It is a thin layer over go-jose. A Signer holds the private key, a KeySet the
// public ones; whoever has only a KeySet can never mint. Sign puts typ, alg and
// kid into the header from the key itself, and Verify always compares typ, iss
// and aud, so that a token made for one purpose cannot be used for another
// (RFC 8725 §3.11, §3.12).
//
// A Signer is given what its algorithm signs, ready made, so that whoever holds the
// key need know no JOSE: a digest, the input, or the μ of ML-DSA. That is made here even
// of short inputs, as there is then one way and not two. What kmint signs by ML-DSA it
// verifies itself, at introspection, at userinfo and as a hint, by filippo.io/mldsa,
// which is Go's own code ahead of its standard library: 25 KB of each zipped function.
// To ask KMS would be one more call for each.
package jwt

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Values of the typ header.
const (
	TypAccessToken = "at+jwt" // RFC 9068 §2.1
	TypIDToken     = "JWT"    // RFC 7519 §5.1
	TypAuth0       = "JWT"    // of access tokens as Auth0 makes them

	TypLogoutToken = "logout+jwt" //nolint:gosec // OpenID Connect Back-Channel Logout 1.0 §2.4; no credential
)

// ErrKeyUnusable says that the key cannot sign now or ever again: it is
// disabled, invalid or gone. Another key may.
var ErrKeyUnusable = errors.New("jwt: the signing key cannot be used")

// ErrBusy says that whoever holds the key throttles, is ill or did not answer in
// time. There is no signature; the caller may be told to come again.
var ErrBusy = errors.New("jwt: the signer is busy")

// ErrKeySet says that the public keys could not be read.
var ErrKeySet = errors.New("jwt: the key set cannot be read")

// A Key names one signing key and carries its public half.
type Key struct {
	// ID is the kid: the RFC 7638 thumbprint of the public key.
	ID string
	// Algorithm is one of Algorithms.
	Algorithm string
	// Reference is where the private half lives: the ARN of a KMS key.
	Reference string
	// Public is the public half.
	Public crypto.PublicKey
}

// A Choice says which key is to sign.
type Choice struct {
	// Algorithm is one of Algorithms, "" for RS256.
	Algorithm string
	// KeyID is a kid, "" for whichever key of the algorithm is active.
	KeyID string
}

// A Signer makes signatures with a private key that it does not show.
type Signer interface {
	// SigningKey names the key that signs now.
	SigningKey(ctx context.Context, c Choice) (Key, error)
	// Sign returns the JWS signature of a message, which is what the key's
	// algorithm asks for: the digest of the signing input by SHA-256, SHA-384 or
	// SHA-512 (RFC 7518 §3.3 to §3.5), the input itself for EdDSA, of at most MaxRaw
	// bytes, or the MuSize bytes of μ for ML-DSA. An error that wraps ErrKeyUnusable
	// asks to take SigningKey once more.
	Sign(ctx context.Context, key Key, message []byte) ([]byte, error)
}

// A KeySet holds the public keys whose signatures are accepted.
type KeySet interface {
	Keys(ctx context.Context) ([]Key, error)
}

// Sign makes a compact JWT of the claims. Where the key turns out to be
// unusable, it asks for the signing key once more.
func Sign(ctx context.Context, s Signer, c Choice, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwt: claims: %w", err)
	}
	token, err := sign(ctx, s, c, typ, payload)
	if errors.Is(err, ErrKeyUnusable) {
		token, err = sign(ctx, s, c, typ, payload)
	}
	return token, err
}

func sign(ctx context.Context, s Signer, c Choice, typ string, payload []byte) (string, error) {
	key, err := s.SigningKey(ctx, c)
	if err != nil {
		return "", fmt.Errorf("jwt: signing key: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: opaque{ctx, s, key}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", key.ID),
	)
	if err != nil {
		return "", fmt.Errorf("jwt: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("jwt: %w", err)
	}
	return jws.CompactSerialize()
}

// opaque lends a Signer to go-jose for one signature, which is why it may keep
// the context.
type opaque struct {
	ctx    context.Context
	signer Signer
	key    Key
}

var _ jose.OpaqueSigner = opaque{}

// Public is nothing: go-jose knows not all keys, and the kid alone is wanted.
func (o opaque) Public() *jose.JSONWebKey { return nil }

func (o opaque) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.SignatureAlgorithm(o.key.Algorithm)}
}

func (o opaque) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	m, err := message(o.key, payload)
	if err != nil {
		return nil, err
	}
	return o.signer.Sign(o.ctx, o.key, m)
}

// Expected is what a token must say of itself.
type Expected struct {
	Type     string // the typ header, compared exactly
	Issuer   string
	Audience string // one of the token's aud
	Now      time.Time
	// AnyAudience leaves the aud to the caller: for one who has to say of a token
	// what it is, and lets nobody in by it.
	AnyAudience bool
	// AllowExpired takes a token whose time is over too. Such a token proves
	// nothing of today: only that it was ours, and what it said.
	AllowExpired bool
}

// Verify checks signature, typ, iss, aud, exp and nbf of a compact JWT, and
// decodes its claims into dst. Which key and algorithm count is decided by the
// kid alone: the header's alg must be the one of that key (RFC 8725 §3.1). An
// error that is ErrKeySet says nothing about the token.
func Verify(ctx context.Context, set KeySet, token string, want Expected, dst any) error {
	// RFC 7515 §2 has base64url "without the inclusion of any line breaks,
	// whitespace, or other additional characters"; Go's decoder skips line breaks.
	if strings.ContainsAny(token, "\r\n") {
		return errors.New("jwt: a line break in the token")
	}
	jws, err := jose.ParseSignedCompact(token, Named(Algorithms()))
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	header := jws.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != want.Type {
		return fmt.Errorf("jwt: typ is %q, not %q", typ, want.Type)
	}
	keys, err := set.Keys(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == header.KeyID && k.Algorithm == header.Algorithm })
	if i < 0 {
		return fmt.Errorf("jwt: no key with kid %q", header.KeyID)
	}
	if err := CheckKey(keys[i].Algorithm, keys[i].Public); err != nil {
		return fmt.Errorf("jwt: %s: %w", header.KeyID, err)
	}
	payload, err := jws.Verify(Verifier(keys[i].Algorithm, keys[i].Public))
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	var claims struct {
		Issuer    string   `json:"iss"`
		Audience  Audience `json:"aud"`
		Expiry    int64    `json:"exp"`
		NotBefore int64    `json:"nbf"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return fmt.Errorf("jwt: claims: %w", err)
	}
	switch {
	case claims.Issuer != want.Issuer:
		return fmt.Errorf("jwt: iss is %q, not %q", claims.Issuer, want.Issuer)
	case !slices.Contains(claims.Audience, want.Audience) && !want.AnyAudience:
		return fmt.Errorf("jwt: aud does not name %q", want.Audience)
	case want.Now.Unix() >= claims.Expiry && !want.AllowExpired:
		return errors.New("jwt: expired")
	case want.Now.Unix() < claims.NotBefore:
		return errors.New("jwt: not valid yet")
	}
	if err := json.Unmarshal(payload, dst); err != nil {
		return fmt.Errorf("jwt: claims: %w", err)
	}
	return nil
}

// Audience is the aud claim (RFC 7519 §4.1.3): one string, or an array.
type Audience []string

// MarshalJSON writes a single audience as a string, as most verifiers expect.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON reads both forms.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = Audience{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return err
	}
	*a = many
	return nil
}

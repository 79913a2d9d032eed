// Package jwt answers: is this compact JWT ours, and how is one made?
//
// It is a thin layer over go-jose. A Signer holds the private key, a KeySet the
// public ones; whoever has only a KeySet can never mint. Sign puts typ, alg and
// kid into the header from the key itself, and Verify always compares typ, iss
// and aud, so that a token made for one purpose cannot be used for another
// (RFC 8725 §3.11, §3.12).
package jwt

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms that we sign with (RFC 7518 §3.1). All of them hash with SHA-256.
const (
	// RS256 is RSASSA-PKCS1-v1_5: the algorithm that every OpenID Connect client
	// must know, and the cheapest one in AWS KMS.
	RS256 = "RS256"
	PS256 = "PS256" // RSASSA-PSS
	ES256 = "ES256" // ECDSA on P-256
)

// Algorithms lists them.
func Algorithms() []string { return []string{RS256, PS256, ES256} }

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
	// Algorithm is a JWS alg (RFC 7518 §3.1).
	Algorithm string
	// Reference is where the private half lives: the ARN of a KMS key.
	Reference string
	// Public is the public half.
	Public crypto.PublicKey
}

// JWK is the public key as RFC 7517 writes it.
func (k Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// Thumbprint is the base64url SHA-256 thumbprint of a public key (RFC 7638 §3).
func Thumbprint(public crypto.PublicKey) (string, error) {
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("jwt: thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// A Choice says which key is to sign.
type Choice struct {
	// Algorithm is a JWS alg, "" for RS256.
	Algorithm string
	// KeyID is a kid, "" for whichever key of the algorithm is active.
	KeyID string
}

// A Signer makes signatures with a private key that it does not show.
type Signer interface {
	// SigningKey names the key that signs now.
	SigningKey(ctx context.Context, c Choice) (Key, error)
	// Sign returns the JWS signature (RFC 7518 §3) of a SHA-256 digest. An
	// error that wraps ErrKeyUnusable asks to take SigningKey once more.
	Sign(ctx context.Context, key Key, digest []byte) ([]byte, error)
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
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)),
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

func (o opaque) Public() *jose.JSONWebKey {
	return &jose.JSONWebKey{KeyID: o.key.ID, Algorithm: o.key.Algorithm, Key: o.key.Public}
}

func (o opaque) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.SignatureAlgorithm(o.key.Algorithm)}
}

func (o opaque) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	digest := sha256.Sum256(payload)
	return o.signer.Sign(o.ctx, o.key, digest[:])
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
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
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
	payload, err := jws.Verify(keys[i].Public)
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

// Package trust answers: which foreign issuers' JWTs do we accept?
//
// Those of the issuers that the owner has named, by the keys that each of them
// publishes, or that the owner has written down for it. The keys of a client come
// the same way, by Prove.
//
// Keys that could not be got say nothing about the JWT: that is ErrUnavailable, and
// the caller may be told to come again. Keys that must not be asked for, or are
// none, are a fault of the configuration, and the JWT is refused like one that
// nobody signed.
package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // takes names as they are spelled, and no member twice
	lru "github.com/hashicorp/golang-lru/v2"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

var (
	// ErrUnavailable says that the keys could not be got just now. Nothing was decided
	// about the JWT.
	ErrUnavailable = errors.New("trust: the keys are not available")
	// ErrUntrusted says that nobody has named the issuer.
	ErrUntrusted = errors.New("trust: the issuer is not trusted")
)

const maxKeySets = 256

// An Issuer is one whose JWTs count.
type Issuer struct {
	// Issuer is its iss, exactly.
	Issuer string
	// JWKS is its fixed key set (RFC 7517 §5) as JSON text; else JWKSURI is where it
	// is; else its OpenID Connect discovery document says.
	JWKS    string
	JWKSURI string
	// Algorithms are the JWS algs that count, nil for all of a public key. A secret's
	// never count.
	Algorithms []string
}

// Issuers are those that the owner has named.
type Issuers interface {
	// TrustedIssuer returns ErrUntrusted for any other.
	TrustedIssuer(ctx context.Context, issuer string) (Issuer, error)
}

// A Getter gets documents. An error with a method Temporary() bool that returns true
// says that the document may be there later.
type Getter interface {
	// Get returns the document, which may be some minutes old.
	Get(ctx context.Context, url string) ([]byte, error)
	// Refresh returns it anew, as often as the Getter thinks right.
	Refresh(ctx context.Context, url string) ([]byte, error)
}

// A Verifier checks JWTs of others. It is not to be copied.
type Verifier struct {
	Issuers   Issuers
	Documents Getter

	once sync.Once
	sets *lru.Cache[string, keySet]
}

// A keySet is a document and what was read in it: of a JWKS in the configuration,
// the text is its own name.
type keySet struct {
	document []byte
	keys     []jose.JSONWebKey
	err      error
}

// Expected is what a token must say of itself.
type Expected struct {
	// Issuer is the iss, exactly.
	Issuer string
	// Audience is one of the token's aud, "" to leave it to the caller.
	Audience string
	// MaxLifetime bounds how long the token counts, from its iat if it has one and from
	// now; 0 for no bound.
	MaxLifetime time.Duration
	// Check says why the token is not the one that the caller expects, or nil. It is
	// asked before the keys are; nil for no more to ask. Nothing is proven to it.
	Check func(Token) error
	Now   time.Time
}

// A Token is a JWT that counts. Its typ is the caller's to judge: an access token
// is no ID token (RFC 8725 §3.11).
type Token struct {
	Type string // the typ header, "" for none
	jwt.Registered
	// Claims are all of them, numbers as float64.
	Claims map[string]any
}

// Verify checks signature, iss, aud, exp, nbf and iat of an issuer's JWT.
// ErrUntrusted and ErrUnavailable are what their names say; any other error says
// that the token does not count.
func (v *Verifier) Verify(ctx context.Context, token string, want Expected) (Token, error) {
	issuer, err := v.Issuers.TrustedIssuer(ctx, want.Issuer)
	switch {
	case errors.Is(err, ErrUntrusted):
		return Token{}, fmt.Errorf("%w: %.256q", err, want.Issuer)
	case err != nil:
		return Token{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	algorithms := jwt.AsymmetricAlgorithms()
	if len(issuer.Algorithms) > 0 {
		algorithms = slices.DeleteFunc(algorithms, func(a string) bool { return !slices.Contains(issuer.Algorithms, a) })
	}
	read, err := jwt.Read(token, algorithms)
	if err != nil {
		return Token{}, err
	}
	// What it says costs nothing to look at. It counts only once its signature does.
	found, err := claimed(read, want)
	if err != nil {
		return Token{}, err
	}
	source := Source{JWKS: issuer.JWKS, URI: issuer.JWKSURI}
	if source == (Source{}) {
		if source.URI, err = v.discover(ctx, issuer.Issuer); err != nil {
			return Token{}, err
		}
	}
	if err := v.Prove(ctx, read, source); err != nil {
		return Token{}, err
	}
	return found, nil
}

// IssuerOf is the iss of a token as it says itself, "" for none: it tells which
// issuer to expect, and proves nothing.
func IssuerOf(token string) string {
	read, err := jwt.Read(token, jwt.AsymmetricAlgorithms())
	if err != nil {
		return ""
	}
	claims, err := read.Registered()
	if err != nil {
		return ""
	}
	return claims.Issuer
}

// claimed is what the token says, where that is as expected.
func claimed(read jwt.Unproven, want Expected) (Token, error) {
	registered, err := read.Registered()
	if err != nil {
		return Token{}, err
	}
	switch {
	case want.Issuer == "" || registered.Issuer != want.Issuer:
		return Token{}, fmt.Errorf("trust: iss is %.256q, not %q", registered.Issuer, want.Issuer)
	case want.Audience != "" && !slices.Contains(registered.Audience, want.Audience):
		return Token{}, fmt.Errorf("trust: aud does not name %q", want.Audience)
	}
	if err := registered.Check(want.Now, want.MaxLifetime); err != nil {
		return Token{}, err
	}
	token := Token{Type: read.Type, Registered: registered}
	if err := read.Claims(&token.Claims); err != nil {
		return Token{}, err
	}
	if want.Check != nil {
		return token, want.Check(token)
	}
	return token, nil
}

// A Source is where a key set is: in a text, or at a URL.
type Source struct {
	JWKS string
	URI  string
}

// Prove checks a signature by the keys of a source. Where the set at a URL has not
// the key, it is got anew. ErrUnavailable is what its name says; any other error says
// that the signature does not count.
func (v *Verifier) Prove(ctx context.Context, read jwt.Unproven, from Source) error {
	switch {
	case from.JWKS != "":
		keys, err := v.read(from.JWKS, []byte(from.JWKS))
		if err != nil {
			return err
		}
		return read.ProveByKeys(keys)
	case from.URI == "":
		return errors.New("trust: there are no keys")
	}
	unknown := v.proveBy(ctx, read, from.URI, v.Documents.Get)
	if !errors.Is(unknown, jwt.ErrUnknownKey) {
		return unknown
	}
	return v.proveBy(ctx, read, from.URI, v.Documents.Refresh)
}

func (v *Verifier) proveBy(ctx context.Context, read jwt.Unproven, uri string, get func(context.Context, string) ([]byte, error)) error {
	document, err := get(ctx, uri)
	if err != nil {
		return unavailable(err)
	}
	keys, err := v.read(uri, document)
	if err != nil {
		return err
	}
	return read.ProveByKeys(keys)
}

// read reads a key set, or remembers it.
func (v *Verifier) read(name string, document []byte) ([]jose.JSONWebKey, error) {
	v.once.Do(func() {
		v.sets, _ = lru.New[string, keySet](maxKeySets) // fails for a size below 1 alone
	})
	if set, ok := v.sets.Get(name); ok && bytes.Equal(set.document, document) {
		return set.keys, set.err
	}
	keys, err := jwt.ReadKeySet(document)
	v.sets.Add(name, keySet{document, keys, err})
	return keys, err
}

// discover finds the key set of an issuer (OpenID Connect Discovery 1.0 §4).
func (v *Verifier) discover(ctx context.Context, issuer string) (string, error) {
	document, err := v.Documents.Get(ctx, oauth.Endpoint(issuer, "/.well-known/openid-configuration"))
	if err != nil {
		return "", unavailable(err)
	}
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(document, &metadata); {
	case err != nil:
		return "", fmt.Errorf("trust: the metadata of %s: %w", issuer, err)
	// OpenID Connect Discovery 1.0 §4.3: "The issuer value returned MUST be identical to
	// the Issuer URL that was used as the prefix to /.well-known/openid-configuration".
	case metadata.Issuer != issuer:
		return "", fmt.Errorf("trust: the metadata of %s is that of %.256q", issuer, metadata.Issuer)
	case metadata.JWKSURI == "":
		return "", fmt.Errorf("trust: the metadata of %s names no jwks_uri", issuer)
	default:
		return metadata.JWKSURI, nil
	}
}

// unavailable tells what may be there later from what will not.
func unavailable(err error) error {
	var fault interface{ Temporary() bool }
	if errors.As(err, &fault) && !fault.Temporary() {
		return fmt.Errorf("trust: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Text is a claim as text, for a pattern to be met: a string, or a number or a truth
// value as JSON writes it. Anything else, an array among them, is none.
//
// A name that begins with / is a JSON Pointer (RFC 6901 §3) to a member within:
// /kubernetes.io/namespace, or /https:~1~1sts.amazonaws.com~1/aws_account.
func (t Token) Text(name string) (string, bool) {
	value, ok := t.Claims[name]
	if pointer, is := strings.CutPrefix(name, "/"); is {
		value, ok = any(t.Claims), true
		for token := range strings.SplitSeq(pointer, "/") {
			members, isObject := value.(map[string]any)
			if !isObject {
				return "", false
			}
			value, ok = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]
		}
	}
	if !ok {
		return "", false
	}
	switch value := value.(type) {
	case string:
		return value, true
	case bool:
		return fmt.Sprint(value), true
	case float64:
		// What is longer has lost digits.
		return strconv.FormatFloat(value, 'f', 0, 64), value == math.Trunc(value) && math.Abs(value) < 1<<53
	default:
		return "", false
	}
}

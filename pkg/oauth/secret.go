package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a value that would let whoever reads it act as someone else. It
// cannot be printed, logged or encoded; Reveal is the one way out.
type Secret string

// NewHandle mints a secret of 256 random bits behind a readable prefix.
func NewHandle(prefix string) Secret { return Secret(prefix + NewID()) }

// NewID returns 256 random bits as 43 base64url characters.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// IsID reports whether s looks like what NewID makes. The length is compared too:
// the decoder skips line breaks.
func IsID(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32 && len(s) == 43
}

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Digest is what a store may see of the secret.
func (s Secret) Digest() Digest { return DigestOf(string(s)) }

// Format keeps the secret out of every print.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the secret out of the log.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText refuses: a secret is neither stored nor sent by an encoder.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("oauth: a Secret cannot be encoded")
}

// A Digest is the base64url form of a SHA-256: 43 characters. A plain hash is
// enough for secrets of 256 random bits, and for nothing weaker.
type Digest string

// DigestOf hashes s.
func DigestOf(s string) Digest {
	sum := sha256.Sum256([]byte(s))
	return Digest(base64.RawURLEncoding.EncodeToString(sum[:]))
}

// Equal compares in constant time.
func (d Digest) Equal(other Digest) bool {
	return subtle.ConstantTimeCompare([]byte(d), []byte(other)) == 1
}

// Nonces (RFC 9449 §8, §11.3).

package dpop

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"kmint/pkg/jwt"
)

// A nonce is the time it was made, and what only the server can make of it. So
// every function knows every nonce, and none has to be kept.
const (
	nonceTime = 8  // bytes: seconds since 1970
	nonceTag  = 16 // bytes of an HMAC-SHA-256
	// nonceLife is how long a nonce is good. RFC 9449 §8 leaves it to the server; a
	// client gets a newer one with every answer.
	nonceLife = 5 * time.Minute
	// nonceAhead is how far the clocks of two functions may differ.
	nonceAhead = jwt.Skew
)

// purpose names the key of the nonces: what was sealed for something else is none.
const purpose = "dpop nonce"

// errNonce says that a nonce is missing, not ours, or too old.
var errNonce = errors.New("dpop: the nonce is not one of ours, or too old")

// Nonce is one that proofs may hold from now on, for a few minutes.
func (v Verifier) Nonce(ctx context.Context) (string, error) {
	return v.nonceAt(ctx, v.Now().Unix())
}

func (v Verifier) nonceAt(ctx context.Context, second int64) (string, error) {
	key, err := v.MAC.HourlyKey(ctx, purpose, second/int64(time.Hour/time.Second))
	if err != nil {
		return "", fmt.Errorf("dpop: nonce: %w", err)
	}
	nonce := binary.BigEndian.AppendUint64(nil, uint64(second)) //nolint:gosec // two's complement is as good
	h := hmac.New(sha256.New, key)
	h.Write(nonce)
	return base64.RawURLEncoding.EncodeToString(append(nonce, h.Sum(nil)[:nonceTag]...)), nil
}

// checkNonce returns errNonce for a nonce that is not good. Its age is looked at
// first: so none but the keys of this hour and the one before are ever asked for,
// or, by a clock that is a little ahead, of the next.
func (v Verifier) checkNonce(ctx context.Context, nonce string) error {
	presented, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(presented) != nonceTime+nonceTag {
		return errNonce
	}
	made := int64(binary.BigEndian.Uint64(presented)) //nolint:gosec // what does not fit is not of today
	now := v.Now()
	if made < now.Add(-nonceLife).Unix() || made > now.Add(nonceAhead).Unix() {
		return errNonce
	}
	right, err := v.nonceAt(ctx, made)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(nonce), []byte(right)) {
		return errNonce
	}
	return nil
}

// Package dpop answers: which key signed this request (RFC 9449)?
package dpop

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A MAC derives the keys of nonces.
type MAC interface {
	// HourlyKey is the key, of 32 bytes, for one purpose in one hour (counted
	// since 1970).
	HourlyKey(ctx context.Context, purpose string, hour int64) ([]byte, error)
}

// A Verifier checks proofs and makes nonces.
type Verifier struct {
	MAC MAC
	Now func() time.Time
}

// Expected is what a proof must be for.
type Expected struct {
	// Method and URL are those of the request, the URL without query and fragment.
	Method string
	URL    string
	// Token is the access token that comes with it, "" where there is none.
	Token oauth.Secret
	// Nonce says that the proof must hold one of ours.
	Nonce bool
}

// A Proof shows that the request was made by whoever has a key.
type Proof struct {
	// Key is the RFC 7638 thumbprint, "" where there is no proof.
	Key string
	// Use is what the proof uses up. By is left to the caller.
	Use store.Use
}

// Verify checks the one value of the DPoP header. No value is no Proof and no
// error. The errors are invalid_dpop_proof, and use_dpop_nonce where all but the
// nonce was right.
func (v Verifier) Verify(ctx context.Context, header []string, want Expected) (Proof, error) {
	if len(header) == 0 {
		return Proof{}, nil
	}
	return Proof{}, oauth.InvalidDPoPProof.Errorf("DPoP proofs are not accepted.").Because(errors.New("not built"))
}

// Nonce is one that proofs may hold from now on, for a few minutes.
func (v Verifier) Nonce(ctx context.Context) (string, error) {
	return "", errors.New("dpop: not built")
}

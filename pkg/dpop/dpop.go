// Package dpop answers: which key signed this request (RFC 9449)?
//
// The proof itself is judged by jwt.VerifyProof, as the verifiers of our tokens
// judge it. Here stand the server's part of it: the nonces, which no store
// remembers, and what a proof uses up, which the caller has to take.
package dpop

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/jwt"
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

// Algorithms lists the dpop_signing_alg_values_supported (RFC 9449 §5.1).
func Algorithms() []string { return jwt.ProofAlgorithms() }

// Replayed refuses a proof that was used before.
func Replayed() *oauth.Error {
	return oauth.InvalidDPoPProof.Errorf("The DPoP proof was used before.")
}

// Verify checks the one value of the DPoP header. No value is no Proof and no
// error. The errors are invalid_dpop_proof; use_dpop_nonce where all but the nonce
// was right; and that of the MAC, which says nothing of the proof.
func (v Verifier) Verify(ctx context.Context, header []string, want Expected) (Proof, error) {
	switch len(header) {
	case 0:
		return Proof{}, nil
	case 1:
	default:
		// RFC 9449 §4.3: "There is not more than one DPoP HTTP request header field."
		return Proof{}, oauth.InvalidDPoPProof.Errorf("The request has more than one DPoP header.")
	}
	proof, err := jwt.VerifyProof(header[0], jwt.ExpectedProof{
		Method: want.Method, URL: want.URL, Token: want.Token.Reveal(), Now: v.Now(),
	})
	if err != nil {
		bad := (*jwt.ProofError)(nil)
		if !errors.As(err, &bad) {
			return Proof{}, err
		}
		return Proof{}, oauth.InvalidDPoPProof.Errorf("The DPoP proof is refused: %s.", bad.Reason).Because(err)
	}
	// RFC 9449 §4.3 has the nonce compared "if the server provided a nonce value to
	// the client". Where none is needed we have provided none: one that a client goes
	// on sending, from before a change of its settings, is not looked at. It could not
	// be renewed, as no answer would hold a newer one.
	if want.Nonce {
		if err := v.checkNonce(ctx, proof.Nonce); errors.Is(err, errNonce) {
			// The words are those that RFC 9449 §8 shows, which clients of Auth0 know.
			return Proof{}, oauth.UseDPoPNonce.Errorf("Authorization server requires nonce in DPoP proof").Named(oauth.CaseDPoPNonce).Because(err)
		} else if err != nil {
			return Proof{}, err
		}
	}
	return Proof{Key: proof.Key, Use: store.Use{Key: oauth.DigestOf("dpop " + proof.Use), Until: proof.Until}}, nil
}

// Package kms answers: how is a key used that never leaves AWS KMS?
//
// A Signer has signed what jwt makes of a token for its algorithm: a digest, or the
// μ of ML-DSA, so that a token may be longer than the 4,096 bytes that KMS takes as a
// message, or, since KMS has Ed25519 no other way, a token of up to 4,096 bytes. No
// private key is ever in a function, a table or an environment variable. A MAC derives an hourly key for seals, so that
// sealing costs one call an hour and not one each. A Vault encrypts the secrets
// that a digest would not do for. None decides which key: that is the registry's
// matter, or the caller's, so signing costs one call and no GetPublicKey.
package kms

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"filippo.io/mldsa/x509"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"kmint/pkg/jwt"
	"kmint/pkg/meter"
)

const (
	// callTimeout bounds each attempt, and attempts each call, under the deadline
	// of the request.
	callTimeout = time.Second
	attempts    = 2
	// pause is about how long the second attempt waits.
	pause = 50 * time.Millisecond
	// maxIdle connections stay open: one Lambda uses two at once, a process that
	// serves many requests at once more.
	maxIdle = 32
)

// NewClient makes the client that every function uses. An HTTP client of another
// make than the SDK's that cfg brings stays, and with it its timeout.
func NewClient(cfg aws.Config) *kms.Client {
	return kms.NewFromConfig(cfg, func(o *kms.Options) {
		o.Logger = logging.Nop{} // a request has one log line
		o.Retryer = retryer()
		o.APIOptions = append(o.APIOptions, timed)
		client, ours := cfg.HTTPClient.(*awshttp.BuildableClient)
		if cfg.HTTPClient == nil {
			client, ours = awshttp.NewBuildableClient(), true
		}
		if ours {
			o.HTTPClient = client.
				WithTimeout(callTimeout).
				WithDialerOptions(func(d *net.Dialer) { d.Timeout = callTimeout }).
				WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = maxIdle })
		}
	})
}

// timed notes how long each attempt takes.
func timed(stack *middleware.Stack) error {
	attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		began := time.Now()
		out, metadata, err := next.HandleFinalize(ctx, in)
		throttled := err != nil && retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
		meter.Called(ctx, meter.KMSTime, meter.KMSThrottled, time.Since(began), throttled)
		return out, metadata, err
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("meter", attempt), "Retry", middleware.After) //nolint:wrapcheck // NewClient would fail at its first call
}

// retryer is the SDK's own, with fewer and quicker attempts: the caller waits.
// Every operation used here may be done twice.
func retryer() *retry.Standard {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) {
			return pause/2 + rand.N(pause), nil
		})
	})
}

// A Signer signs with the KMS keys that its caller names.
type Signer struct {
	Client *kms.Client
}

// Sign returns the JWS signature of a message by the key whose ARN is key.Reference.
// An error wraps jwt.ErrKeyUnusable where KMS says that the key is disabled, of
// another kind, to be deleted or gone, and jwt.ErrBusy where KMS throttles, fails or
// does not answer in time.
func (s Signer) Sign(ctx context.Context, key jwt.Key, message []byte) ([]byte, error) {
	how, known := algorithms[key.Algorithm]
	if !known {
		return nil, fmt.Errorf("kms: no signatures by %s", key.Algorithm)
	}
	out, err := s.Client.Sign(ctx, &kms.SignInput{
		KeyId:            &key.Reference,
		Message:          message,
		MessageType:      how.message,
		SigningAlgorithm: how.algorithm,
	})
	if err != nil {
		return nil, explain(err)
	}
	if how.bits != 0 {
		return fixed(out.Signature, how.bits)
	}
	return out.Signature, nil
}

// algorithms are jwt.Algorithms as KMS names them, and what it is given by each. The
// salt of its PSS is as long as the digest, as RFC 7518 §3.5 asks. bits are those of
// the order of a curve whose signatures it gives in DER.
var algorithms = map[string]struct {
	algorithm types.SigningAlgorithmSpec
	message   types.MessageType
	bits      int
}{
	jwt.RS256:   {types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, types.MessageTypeDigest, 0},
	jwt.RS384:   {types.SigningAlgorithmSpecRsassaPkcs1V15Sha384, types.MessageTypeDigest, 0},
	jwt.RS512:   {types.SigningAlgorithmSpecRsassaPkcs1V15Sha512, types.MessageTypeDigest, 0},
	jwt.PS256:   {types.SigningAlgorithmSpecRsassaPssSha256, types.MessageTypeDigest, 0},
	jwt.PS384:   {types.SigningAlgorithmSpecRsassaPssSha384, types.MessageTypeDigest, 0},
	jwt.PS512:   {types.SigningAlgorithmSpecRsassaPssSha512, types.MessageTypeDigest, 0},
	jwt.ES256:   {types.SigningAlgorithmSpecEcdsaSha256, types.MessageTypeDigest, 256},
	jwt.ES384:   {types.SigningAlgorithmSpecEcdsaSha384, types.MessageTypeDigest, 384},
	jwt.ES512:   {types.SigningAlgorithmSpecEcdsaSha512, types.MessageTypeDigest, 521},
	jwt.EdDSA:   {types.SigningAlgorithmSpecEd25519Sha512, types.MessageTypeRaw, 0},
	jwt.Ed25519: {types.SigningAlgorithmSpecEd25519Sha512, types.MessageTypeRaw, 0},
	jwt.MLDSA44: {types.SigningAlgorithmSpecMlDsaShake256, types.MessageTypeExternalMu, 0},
	jwt.MLDSA65: {types.SigningAlgorithmSpecMlDsaShake256, types.MessageTypeExternalMu, 0},
	jwt.MLDSA87: {types.SigningAlgorithmSpecMlDsaShake256, types.MessageTypeExternalMu, 0},
}

// fixed makes of an ECDSA signature in DER (RFC 3279 §2.2.3), which KMS gives, that of
// RFC 7518 §3.4: r and s, each as long as the order of the curve.
func fixed(der []byte, bits int) ([]byte, error) {
	var signature struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &signature); err != nil {
		return nil, fmt.Errorf("kms: signature: %w", err)
	}
	// asn1 lets more follow than was asked for.
	if again, err := asn1.Marshal(signature); err != nil || !bytes.Equal(again, der) {
		return nil, errors.New("kms: signature: it is more than r and s")
	}
	size := (bits + 7) / 8
	out := make([]byte, 2*size)
	for i, n := range []*big.Int{signature.R, signature.S} {
		if n.Sign() <= 0 || n.BitLen() > bits {
			return nil, fmt.Errorf("kms: signature: it is none on a curve of %d bits", bits)
		}
		n.FillBytes(out[size*i : size*i+size])
	}
	return out, nil
}

// PublicKey is the public half of the key that the ARN names. The errors are
// those of Sign. Not for the way of a request: what it returns is registered.
func (s Signer) PublicKey(ctx context.Context, arn string) (crypto.PublicKey, error) {
	out, err := s.Client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		return nil, explain(err)
	}
	if out.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, fmt.Errorf("kms: %w: it is for %s", jwt.ErrKeyUnusable, out.KeyUsage)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("kms: public key: %w", err)
	}
	return public, nil
}

// explain tells whether another key may do, or another time.
func explain(err error) error {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		// AWS KMS API Reference, "Sign", Errors. KeyUnavailableException is none of
		// these: "You can retry the request."
		switch answer.ErrorCode() {
		case "DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidKeyUsageException":
			return fmt.Errorf("kms: %w: %w", jwt.ErrKeyUnusable, err)
		}
	}
	// What is worth another attempt is worth one of the caller's too.
	if errors.Is(err, context.DeadlineExceeded) || retry.NewStandard().IsErrorRetryable(err) {
		return fmt.Errorf("kms: %w: %w", jwt.ErrBusy, err)
	}
	return fmt.Errorf("kms: %w", err)
}

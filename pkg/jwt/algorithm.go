// What each algorithm signs, and which keys it takes (RFC 7518 §3.3 to §3.5, RFC
// 8037 §3.1, RFC 9864 §2.2, RFC 9964).

package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/mldsa"
	"github.com/go-jose/go-jose/v4"
)

// The algorithms that we sign with, by their names in the IANA registry "JSON Web
// Signature and Encryption Algorithms".
const (
	// RS256 is RSASSA-PKCS1-v1_5: the algorithm that every OpenID Connect client
	// must know, and the cheapest one in AWS KMS.
	RS256 = "RS256"
	RS384 = "RS384"
	RS512 = "RS512"
	PS256 = "PS256" // RSASSA-PSS
	PS384 = "PS384"
	PS512 = "PS512"
	ES256 = "ES256" // ECDSA on P-256
	ES384 = "ES384" // on P-384
	ES512 = "ES512" // on P-521
	// EdDSA and Ed25519 make the same signatures. RFC 9864 §2.2 has deprecated the
	// first name, which more verifiers know.
	EdDSA   = "EdDSA"
	Ed25519 = "Ed25519"
	MLDSA44 = "ML-DSA-44" // FIPS 204, with an empty context
	MLDSA65 = "ML-DSA-65"
	MLDSA87 = "ML-DSA-87"
)

// Algorithms lists them.
func Algorithms() []string {
	return []string{
		RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, MLDSA44, MLDSA65, MLDSA87,
	}
}

// MaxRaw is the longest input, in bytes, that AWS KMS signs without a digest. Those
// who are no KMS keep to it, so that what works with them works there.
const MaxRaw = 4096

// ErrTooLong says that the algorithm signs no JWT as long as that.
var ErrTooLong = errors.New("jwt: the JWT is too long for its algorithm")

// MuSize is the length, in bytes, of what a private key for ML-DSA is given.
const MuSize = 64

// message is what a private key is given to make a signature of input: its digest
// for RSA and ECDSA, for ML-DSA the μ of FIPS 204, and for EdDSA, which hashes it
// twice with a part of the private key, the input itself.
func message(key Key, input []byte) ([]byte, error) {
	switch key.Algorithm {
	case EdDSA, Ed25519:
		if len(input) > MaxRaw {
			return nil, fmt.Errorf("%w: %s takes %d bytes, and these are %d; let fewer claims in, or sign by an algorithm that has a digest, such as ES256",
				ErrTooLong, key.Algorithm, MaxRaw, len(input))
		}
		return input, nil
	case MLDSA44, MLDSA65, MLDSA87:
		if err := CheckKey(key.Algorithm, key.Public); err != nil {
			return nil, fmt.Errorf("jwt: %s: %w", key.ID, err)
		}
		return mu(key.Public.(*mldsa.PublicKey), input), nil
	default:
		return Hash(key.Algorithm, input), nil
	}
}

// mu is FIPS 204 algorithm 7, line 6, of what algorithm 2, line 10, makes of a
// message: H(BytesToBits(tr) ‖ M′, 64), in which tr is H(pk, 64), and M′ the message
// behind a 0, for one that has not been hashed, and the length of the context, 0.
func mu(public *mldsa.PublicKey, input []byte) []byte {
	h := sha3.NewSHAKE256()
	_, _ = h.Write(sha3.SumSHAKE256(public.Bytes(), 64))
	_, _ = h.Write([]byte{0, 0})
	_, _ = h.Write(input)
	out := make([]byte, MuSize)
	_, _ = h.Read(out)
	return out
}

// Hash is the digest of data by "the hash algorithm used in the alg" (OpenID Connect
// Core 1.0 §3.1.3.6). Of EdDSA that is SHA-512 (RFC 8032 §5.1), and of ML-DSA
// SHAKE256, of which 64 bytes are taken, as FIPS 204 takes of a message.
func Hash(algorithm string, data []byte) []byte {
	switch {
	case strings.HasPrefix(algorithm, "ML-DSA-"):
		return sha3.SumSHAKE256(data, 64)
	case strings.HasSuffix(algorithm, "256"):
		sum := sha256.Sum256(data)
		return sum[:]
	case strings.HasSuffix(algorithm, "384"):
		sum := sha512.Sum384(data)
		return sum[:]
	default:
		sum := sha512.Sum512(data)
		return sum[:]
	}
}

// curves are those of ECDSA (RFC 7518 §3.4).
var curves = map[string]elliptic.Curve{ES256: elliptic.P256(), ES384: elliptic.P384(), ES512: elliptic.P521()}

// CheckKey says why a public key is none for an algorithm, or nil. A secret is one
// for none: RFC 8725 §2.1 tells of public keys that were taken for shared secrets.
func CheckKey(algorithm string, public crypto.PublicKey) error {
	var fits bool
	var kind string
	switch algorithm {
	case RS256, RS384, RS512, PS256, PS384, PS512:
		k, ok := public.(*rsa.PublicKey)
		fits, kind = ok && minRSA <= k.N.BitLen() && k.N.BitLen() <= maxRSA, fmt.Sprintf("an RSA key of %d to %d bits", minRSA, maxRSA)
	case ES256, ES384, ES512:
		k, ok := public.(*ecdsa.PublicKey)
		fits, kind = ok && k.Curve == curves[algorithm], "an EC key on "+curves[algorithm].Params().Name
	case EdDSA, Ed25519:
		k, ok := public.(ed25519.PublicKey)
		fits, kind = ok && len(k) == ed25519.PublicKeySize, "a key on edwards25519"
	case MLDSA44, MLDSA65, MLDSA87:
		k, ok := public.(*mldsa.PublicKey)
		fits, kind = ok && k.Parameters().String() == algorithm, "one of that parameter set"
	default:
		return fmt.Errorf("no signatures by %q", algorithm)
	}
	if !fits {
		return fmt.Errorf("a key for %s is %s", algorithm, kind)
	}
	return nil
}

// Verifier is what go-jose verifies a signature with, of a key for the algorithm. It
// does not know the names of all algorithms itself.
func Verifier(algorithm string, public crypto.PublicKey) any {
	if algorithm == Ed25519 || strings.HasPrefix(algorithm, "ML-DSA-") {
		return verifier{algorithm, public}
	}
	return public
}

type verifier struct {
	algorithm string
	public    crypto.PublicKey
}

var _ jose.OpaqueVerifier = verifier{}

func (v verifier) VerifyPayload(input, signature []byte, algorithm jose.SignatureAlgorithm) error {
	if string(algorithm) != v.algorithm {
		return jose.ErrUnsupportedAlgorithm
	}
	switch public := v.public.(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(public, input, signature) {
			return errors.New("jwt: the signature is wrong")
		}
		return nil
	case *mldsa.PublicKey:
		return mldsa.Verify(public, input, signature, nil)
	default:
		return jose.ErrUnsupportedKeyType
	}
}

// Named is what go-jose calls algorithms.
func Named(algorithms []string) []jose.SignatureAlgorithm {
	named := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		named[i] = jose.SignatureAlgorithm(a)
	}
	return slices.Clip(named)
}

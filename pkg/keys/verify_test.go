package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha3"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"filippo.io/mldsa"
	"github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"

	"kmint/pkg/jwt"
)

// A kind is how an algorithm is verified here.
type kind struct {
	kty, crv string
	hash     crypto.Hash // 0 for none
	curve    elliptic.Curve
	scheme   sign.Scheme
}

var kinds = map[string]kind{
	jwt.RS256: {kty: "RSA", hash: crypto.SHA256}, jwt.RS384: {kty: "RSA", hash: crypto.SHA384}, jwt.RS512: {kty: "RSA", hash: crypto.SHA512},
	jwt.PS256: {kty: "RSA", hash: crypto.SHA256}, jwt.PS384: {kty: "RSA", hash: crypto.SHA384}, jwt.PS512: {kty: "RSA", hash: crypto.SHA512},
	jwt.ES256:   {kty: "EC", crv: "P-256", hash: crypto.SHA256, curve: elliptic.P256()},
	jwt.ES384:   {kty: "EC", crv: "P-384", hash: crypto.SHA384, curve: elliptic.P384()},
	jwt.ES512:   {kty: "EC", crv: "P-521", hash: crypto.SHA512, curve: elliptic.P521()},
	jwt.EdDSA:   {kty: "OKP", crv: "Ed25519"},
	jwt.Ed25519: {kty: "OKP", crv: "Ed25519"},
	jwt.MLDSA44: {kty: "AKP", scheme: mldsa44.Scheme()},
	jwt.MLDSA65: {kty: "AKP", scheme: mldsa65.Scheme()},
	jwt.MLDSA87: {kty: "AKP", scheme: mldsa87.Scheme()},
}

// verify checks a token against a JWK set (RFC 7515 §5.2, RFC 7517 §5, RFC 7518 §6,
// RFC 7638 §3, RFC 8037 §2, RFC 9964) without any of the libraries that made them.
func verify(token string, document []byte) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%d parts", len(parts))
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	text, err := decode(parts[0])
	if err != nil {
		return err
	}
	var header struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(text, &header); err != nil {
		return err
	}
	var set struct {
		Keys []struct{ Kty, Alg, Use, Kid, N, E, Crv, X, Y, Pub string }
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return err
	}
	for _, jwk := range set.Keys {
		if jwk.Kid != header.Kid {
			continue
		}
		kind := kinds[jwk.Alg]
		members, numbers := "", []string{}
		switch jwk.Kty {
		case "RSA":
			members, numbers = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, jwk.E, jwk.N), []string{jwk.N, jwk.E}
		case "EC":
			members, numbers = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, jwk.Crv, jwk.X, jwk.Y), []string{jwk.X, jwk.Y}
		case "OKP":
			members, numbers = fmt.Sprintf(`{"crv":%q,"kty":"OKP","x":%q}`, jwk.Crv, jwk.X), []string{jwk.X}
		case "AKP":
			members, numbers = fmt.Sprintf(`{"alg":%q,"kty":"AKP","pub":%q}`, jwk.Alg, jwk.Pub), []string{jwk.Pub}
		}
		thumbprint := sha256.Sum256([]byte(members))
		if base64.RawURLEncoding.EncodeToString(thumbprint[:]) != jwk.Kid {
			return fmt.Errorf("kid %s is not the thumbprint", jwk.Kid)
		}
		if jwk.Kty != kind.kty || jwk.Crv != kind.crv || jwk.Use != "sig" || header.Alg != jwk.Alg || header.Typ != "at+jwt" {
			return fmt.Errorf("header %+v, JWK %+v", header, jwk)
		}
		var raw [][]byte
		for _, number := range numbers {
			n, err := decode(number)
			if err != nil {
				return err
			}
			raw = append(raw, n)
		}
		signature, err := decode(parts[2])
		if err != nil {
			return err
		}
		var public crypto.PublicKey
		switch jwk.Kty {
		case "RSA":
			public = &rsa.PublicKey{N: new(big.Int).SetBytes(raw[0]), E: int(new(big.Int).SetBytes(raw[1]).Int64())}
		case "EC":
			public, err = ecdsa.ParseUncompressedPublicKey(kind.curve, slices.Concat([]byte{4}, raw[0], raw[1]))
		case "OKP":
			public = ed25519.PublicKey(raw[0])
		case "AKP":
			public, err = kind.scheme.UnmarshalBinaryPublicKey(raw[0])
		}
		if err != nil {
			return err
		}
		return check(jwk.Alg, public, []byte(parts[0]+"."+parts[1]), signature)
	}
	return fmt.Errorf("no key %s in the set", header.Kid)
}

// check checks a signature of a signing input (RFC 7518 §3, RFC 8037 §3.1, RFC 9964),
// by libraries of others where the standard library has none.
func check(algorithm string, public crypto.PublicKey, input, signature []byte) error {
	kind := kinds[algorithm]
	var digest []byte
	if kind.hash != 0 {
		digest = prepared(algorithm, nil, input)
	}
	good := false
	switch algorithm[:2] {
	case "RS":
		return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), kind.hash, digest, signature)
	case "PS": // §3.5: "The size of the salt value is the same size as the hash function output."
		return rsa.VerifyPSS(public.(*rsa.PublicKey), kind.hash, digest, signature, &rsa.PSSOptions{SaltLength: kind.hash.Size()})
	case "ES":
		size := map[string]int{jwt.ES256: 32, jwt.ES384: 48, jwt.ES512: 66}[algorithm]
		if len(signature) != 2*size {
			return fmt.Errorf("%d bytes", len(signature))
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		good = ecdsa.Verify(public.(*ecdsa.PublicKey), digest, r, s)
	case "Ed":
		good = ed25519.Verify(public.(ed25519.PublicKey), input, signature)
	case "ML":
		if ours, is := public.(*mldsa.PublicKey); is {
			theirs, err := kind.scheme.UnmarshalBinaryPublicKey(ours.Bytes())
			if err != nil {
				return err
			}
			public = theirs
		}
		good = kind.scheme.Verify(public.(sign.PublicKey), input, signature, nil)
	}
	if !good {
		return errors.New("wrong signature")
	}
	return nil
}

// prepared is what a private key is given of a signing input.
func prepared(algorithm string, public crypto.PublicKey, input []byte) []byte {
	kind := kinds[algorithm]
	switch {
	case kind.hash != 0:
		h := kind.hash.New()
		h.Write(input)
		return h.Sum(nil)
	case kind.scheme != nil: // FIPS 204, algorithm 7, line 6
		tr := sha3.SumSHAKE256(public.(*mldsa.PublicKey).Bytes(), 64)
		return sha3.SumSHAKE256(slices.Concat(tr, []byte{0, 0}, input), 64)
	default:
		return input
	}
}

package kmstest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"

	"kmint/infra/rig/kmstest"
)

// AWS KMS Developer Guide, "Key spec reference": what each spec signs by, and the types
// of messages that it takes. The signatures are verified by the standard library, those
// of ML-DSA by one of others.
func TestEverySpec(t *testing.T) {
	const (
		pkcs, pss, ecdsaOf = "RSASSA_PKCS1_V1_5_SHA_", "RSASSA_PSS_SHA_", "ECDSA_SHA_"
		pure, ph, mldsaOf  = "ED25519_SHA_512", "ED25519_PH_SHA_512", "ML_DSA_SHAKE_256"
	)
	ofRSA := []string{pkcs + "256", pkcs + "384", pkcs + "512", pss + "256", pss + "384", pss + "512"}
	specs := map[string][]string{
		kmstest.RSA2048: ofRSA, kmstest.RSA3072: ofRSA, kmstest.RSA4096: ofRSA,
		kmstest.P256: {ecdsaOf + "256"}, kmstest.P384: {ecdsaOf + "384"}, kmstest.P521: {ecdsaOf + "512"},
		kmstest.Edwards: {pure, ph},
		kmstest.MLDSA44: {mldsaOf}, kmstest.MLDSA65: {mldsaOf}, kmstest.MLDSA87: {mldsaOf},
	}
	schemes := map[string]sign.Scheme{kmstest.MLDSA44: mldsa44.Scheme(), kmstest.MLDSA65: mldsa65.Scheme(), kmstest.MLDSA87: mldsa87.Scheme()}
	all := append(slices.Clone(ofRSA), ecdsaOf+"256", ecdsaOf+"384", ecdsaOf+"512", pure, ph, mldsaOf)
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

	s := kmstest.New()
	c := client(t, s)
	text := []byte("a message")
	for spec, algorithms := range specs {
		arn := must(s.Create(spec))
		out, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &arn})
		if err != nil {
			t.Fatal(err)
		}
		var listed []string
		for _, a := range out.SigningAlgorithms {
			listed = append(listed, string(a))
		}
		slices.Sort(listed)
		if want := slices.Sorted(slices.Values(algorithms)); !slices.Equal(listed, want) || string(out.KeySpec) != spec {
			t.Errorf("%s signs by %v, want %v", spec, listed, want)
		}
		verify, mu := verifier(t, schemes[spec], out.PublicKey)
		for _, algorithm := range all {
			hash := hashes[algorithm[strings.LastIndexByte(algorithm, '_')+1:]]
			h := hash.New()
			h.Write(text)
			for _, test := range []struct {
				kind    types.MessageType
				message []byte
				takes   bool
			}{
				{"", text, algorithm != ph},
				{types.MessageTypeRaw, text, algorithm != ph},
				{types.MessageTypeRaw, make([]byte, 4097), false},
				{types.MessageTypeDigest, h.Sum(nil), algorithm != pure && algorithm != mldsaOf},
				{types.MessageTypeDigest, h.Sum(nil)[1:], false},
				{types.MessageTypeExternalMu, mu(text), algorithm == mldsaOf},
				{types.MessageTypeExternalMu, mu(text)[1:], false},
			} {
				in := &kms.SignInput{KeyId: &arn, Message: test.message, MessageType: test.kind, SigningAlgorithm: types.SigningAlgorithmSpec(algorithm)}
				signed, err := c.Sign(t.Context(), in)
				switch {
				case !slices.Contains(algorithms, algorithm) && len(test.message) <= 4096:
					if codeOf(err) != "InvalidKeyUsageException" {
						t.Errorf("%s by %s: %v", algorithm, spec, err)
					}
					continue
				case !test.takes:
					if codeOf(err) != "ValidationException" {
						t.Errorf("%s by %s, %d bytes as %s: %v", algorithm, spec, len(test.message), test.kind, err)
					}
					continue
				case err != nil:
					t.Fatalf("%s by %s as %s: %v", algorithm, spec, test.kind, err)
				}
				if !verify(algorithm, hash, text, signed.Signature) {
					t.Errorf("%s by %s as %s: wrong", algorithm, spec, test.kind)
				}
				if verify(algorithm, hash, []byte("another"), signed.Signature) {
					t.Errorf("%s by %s as %s verifies for another message", algorithm, spec, test.kind)
				}
				again, err := c.Verify(t.Context(), &kms.VerifyInput{
					KeyId: &arn, Message: test.message, MessageType: test.kind, SigningAlgorithm: in.SigningAlgorithm, Signature: signed.Signature,
				})
				if test.kind != types.MessageTypeExternalMu && (err != nil || !again.SignatureValid) {
					t.Errorf("%s by %s as %s: Verify: %v", algorithm, spec, test.kind, err)
				}
			}
		}
	}
}

// verifier reads a public key as GetPublicKey gives it. verify takes the message, and mu
// makes of one what ML-DSA signs, or 64 bytes for other keys.
func verifier(t *testing.T, scheme sign.Scheme, der []byte) (verify func(algorithm string, hash crypto.Hash, text, signature []byte) bool, mu func([]byte) []byte) {
	t.Helper()
	if scheme != nil {
		var info struct {
			Algorithm struct{ ID asn1.ObjectIdentifier }
			Key       asn1.BitString
		}
		rest, err := asn1.Unmarshal(der, &info)
		if err != nil || len(rest) != 0 {
			t.Fatal(err)
		}
		public, err := scheme.UnmarshalBinaryPublicKey(info.Key.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return func(_ string, _ crypto.Hash, text, signature []byte) bool {
				return scheme.Verify(public, text, signature, nil)
			},
			func(text []byte) []byte { // FIPS 204, algorithm 7, line 6
				return sha3.SumSHAKE256(slices.Concat(sha3.SumSHAKE256(info.Key.Bytes, 64), []byte{0, 0}, text), 64)
			}
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return func(algorithm string, hash crypto.Hash, text, signature []byte) bool {
		h := hash.New()
		h.Write(text)
		digest := h.Sum(nil)
		switch public := parsed.(type) {
		case *rsa.PublicKey:
			if strings.HasPrefix(algorithm, "RSASSA_PSS") {
				return rsa.VerifyPSS(public, hash, digest, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
			}
			return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
		case *ecdsa.PublicKey:
			return ecdsa.VerifyASN1(public, digest, signature)
		case ed25519.PublicKey:
			if algorithm == "ED25519_PH_SHA_512" { // KMS hashes what is hashed already
				again := sha512.Sum512(digest)
				return ed25519.VerifyWithOptions(public, again[:], signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
			}
			return ed25519.Verify(public, text, signature)
		default:
			return false
		}
	}, func([]byte) []byte { return make([]byte, 64) }
}

// Keys of every spec are the same after a start.
func TestEverySpecIsKept(t *testing.T) {
	dir := t.TempDir()
	s := must(kmstest.Open(dir))
	public := func(s *kmstest.Server, arn string) string {
		out, err := client(t, s).GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: aws.String(arn)})
		return string(must(out, err).PublicKey)
	}
	kept := map[string]string{}
	for _, spec := range []string{kmstest.RSA3072, kmstest.P384, kmstest.P521, kmstest.Edwards, kmstest.MLDSA44, kmstest.MLDSA65, kmstest.MLDSA87} {
		arn := must(s.Create(spec))
		kept[arn] = public(s, arn)
	}
	again := must(kmstest.Open(dir))
	for arn, want := range kept {
		if public(again, arn) != want {
			t.Errorf("%s is another key", arn)
		}
	}
	if _, err := kmstest.New().Create("ECC_SECG_P256K1"); err == nil {
		t.Error("a key of a kind not held was made")
	}
}

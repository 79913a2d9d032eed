package kmstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"slices"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
)

// Types of messages.
const (
	raw        = "RAW"
	digest     = "DIGEST"
	externalMu = "EXTERNAL_MU"
)

// An algorithm makes signatures with keys of some specs (AWS KMS Developer Guide, "Key
// spec reference").
type algorithm struct {
	specs []string
	hash  crypto.Hash
	pss   bool
	types []string
}

var (
	rsaSpecs = []string{RSA2048, RSA3072, RSA4096}
	hashed   = []string{raw, digest}
)

var signing = map[string]algorithm{
	"RSASSA_PKCS1_V1_5_SHA_256": {rsaSpecs, crypto.SHA256, false, hashed},
	"RSASSA_PKCS1_V1_5_SHA_384": {rsaSpecs, crypto.SHA384, false, hashed},
	"RSASSA_PKCS1_V1_5_SHA_512": {rsaSpecs, crypto.SHA512, false, hashed},
	"RSASSA_PSS_SHA_256":        {rsaSpecs, crypto.SHA256, true, hashed},
	"RSASSA_PSS_SHA_384":        {rsaSpecs, crypto.SHA384, true, hashed},
	"RSASSA_PSS_SHA_512":        {rsaSpecs, crypto.SHA512, true, hashed},
	"ECDSA_SHA_256":             {[]string{P256}, crypto.SHA256, false, hashed},
	"ECDSA_SHA_384":             {[]string{P384}, crypto.SHA384, false, hashed},
	"ECDSA_SHA_512":             {[]string{P521}, crypto.SHA512, false, hashed},
	// AWS KMS API Reference, "Sign": "ED25519_SHA_512 signing algorithm requires KMS
	// MessageType:RAW; ED25519_PH_SHA_512 signing algorithm requires KMS
	// MessageType:DIGEST".
	"ED25519_SHA_512":    {[]string{Edwards}, 0, false, []string{raw}},
	"ED25519_PH_SHA_512": {[]string{Edwards}, crypto.SHA512, false, []string{digest}},
	"ML_DSA_SHAKE_256":   {[]string{MLDSA44, MLDSA65, MLDSA87}, mldsacrypto.MLDSAMu, false, []string{raw, externalMu}},
	"SM2DSA":             {}, // of keys that are not held here
}

// signingAlgorithms lists those of a spec, or all.
func signingAlgorithms(spec string) []string {
	var names []string
	for name, a := range signing {
		if spec == "" || slices.Contains(a.specs, spec) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A message is what a key signs, and how.
type message struct {
	key     *key
	text    []byte // a digest, a μ, or the message itself
	options crypto.SignerOpts
}

// message checks a request to sign or verify.
func (s *Server) message(r request, operation string) (message, *refusal) {
	if refused := checkMessage(r.Message); refused != nil {
		return message{}, refused
	}
	a, known := signing[r.SigningAlgorithm]
	if !known {
		return message{}, invalidEnum("signingAlgorithm", r.SigningAlgorithm, signingAlgorithms(""))
	}
	if r.MessageType == "" {
		r.MessageType = raw
	}
	if types := []string{raw, digest, externalMu}; !slices.Contains(types, r.MessageType) {
		return message{}, invalidEnum("messageType", r.MessageType, types)
	}
	k, refused := s.usable(r.KeyId)
	switch {
	case refused != nil:
		return message{}, refused
	case k.signer == nil:
		return message{}, refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.arn(), k.usage(), operation)
	case !slices.Contains(a.specs, k.spec):
		return message{}, refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", r.SigningAlgorithm, k.spec)
	case !slices.Contains(a.types, r.MessageType):
		return message{}, refuse("ValidationException", "Message type %s is incompatible with algorithm %s.", r.MessageType, r.SigningAlgorithm)
	case r.MessageType == digest && len(r.Message) != a.hash.Size():
		return message{}, refuse("ValidationException", "Digest is invalid length for algorithm %s.", r.SigningAlgorithm)
	case r.MessageType == externalMu && len(r.Message) != 64:
		return message{}, refuse("ValidationException", "Message of type EXTERNAL_MU is not 64 bytes long.")
	}
	m := message{k, r.Message, a.hash}
	switch {
	case k.spec == Edwards && r.MessageType == digest:
		// "KMS still performs the SHA-512 prehash".
		again := sha512.Sum512(r.Message)
		m.text, m.options = again[:], &ed25519.Options{Hash: crypto.SHA512}
	case r.MessageType != raw || k.spec == Edwards:
	case a.hash == mldsacrypto.MLDSAMu:
		m.options = &mldsa.Options{}
	default:
		h := a.hash.New()
		h.Write(r.Message)
		m.text = h.Sum(nil)
	}
	if a.pss {
		m.options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	return m, nil
}

func (s *Server) sign(r request) (any, *refusal) {
	m, refused := s.message(r, "Sign")
	if refused != nil {
		return nil, refused
	}
	if r.DryRun {
		return nil, dryRun()
	}
	// The signature needs no lock, and would else make all others wait.
	s.mu.Unlock()
	signature, err := m.key.signer.Sign(rand.Reader, m.text, m.options)
	s.mu.Lock()
	if err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	return struct {
		KeyId            string
		Signature        []byte
		SigningAlgorithm string
	}{m.key.arn(), signature, r.SigningAlgorithm}, nil
}

func (s *Server) verify(r request) (any, *refusal) {
	m, refused := s.message(r, "Verify")
	if refused != nil {
		return nil, refused
	}
	if r.DryRun {
		return nil, dryRun()
	}
	valid := false
	switch public := m.key.signer.Public().(type) {
	case *rsa.PublicKey:
		if pss, is := m.options.(*rsa.PSSOptions); is {
			valid = rsa.VerifyPSS(public, pss.Hash, m.text, r.Signature, pss) == nil
		} else {
			valid = rsa.VerifyPKCS1v15(public, m.options.HashFunc(), m.text, r.Signature) == nil
		}
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(public, m.text, r.Signature)
	case ed25519.PublicKey:
		valid = ed25519.VerifyWithOptions(public, m.text, r.Signature, &ed25519.Options{Hash: m.options.HashFunc()}) == nil
	case *mldsa.PublicKey:
		if r.MessageType == externalMu {
			return nil, refuse(notImplemented, "kmstest verifies no EXTERNAL_MU")
		}
		valid = mldsa.Verify(public, m.text, r.Signature, nil) == nil
	}
	if !valid {
		return nil, refuse("KMSInvalidSignatureException", "")
	}
	return struct {
		KeyId            string
		SignatureValid   bool
		SigningAlgorithm string
	}{m.key.arn(), true, r.SigningAlgorithm}, nil
}

package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"slices"
)

var encryptionAlgorithms = []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE", Symmetric}

// idLength is how many bytes of a ciphertext name its key.
const idLength = 36

// encrypts checks that a key can do what a request asks for.
func (r request) encrypts(k *key, operation string) *refusal {
	algorithm := r.EncryptionAlgorithm
	switch {
	case algorithm != "" && !slices.Contains(encryptionAlgorithms, algorithm):
		return invalidEnum("encryptionAlgorithm", algorithm, encryptionAlgorithms)
	case k.aes == nil:
		return refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.arn(), k.usage(), operation)
	case algorithm != "" && algorithm != Symmetric:
		return refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", algorithm, k.spec)
	}
	return nil
}

// sealer is AES-256-GCM, and what the ciphertext is bound to: the key and the
// encryption context, whatever the order of its members.
func (k *key) sealer(r request) (cipher.AEAD, []byte, error) {
	block, err := aes.NewCipher(k.aes)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, nil, err
	}
	context, err := json.Marshal(r.EncryptionContext) // sorted
	if len(r.EncryptionContext) == 0 {
		context = nil
	}
	return aead, append([]byte(k.id), context...), err
}

func (s *Server) encrypt(r request) (any, *refusal) {
	if n := len(r.Plaintext); n == 0 || n > maxMessage {
		return nil, invalid("plaintext", "Member must have length greater than or equal to 1 and less than or equal to 4096")
	}
	k, refused := s.usable(r.KeyId)
	if refused == nil {
		refused = r.encrypts(k, "Encrypt")
	}
	switch {
	case refused != nil:
		return nil, refused
	case r.DryRun:
		return nil, dryRun()
	}
	aead, bound, err := k.sealer(r)
	if err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	return struct {
		CiphertextBlob      []byte
		EncryptionAlgorithm string
		KeyId               string
	}{aead.Seal([]byte(k.id), nil, r.Plaintext, bound), Symmetric, k.arn()}, nil
}

// decrypt finds the key in the ciphertext: "If you used a symmetric encryption KMS
// key, AWS KMS can get the KMS key from metadata that it adds to the symmetric
// ciphertext blob." (AWS KMS API Reference, "Decrypt")
func (s *Server) decrypt(r request) (any, *refusal) {
	if n := len(r.CiphertextBlob); n == 0 || n > maxCiphertext {
		return nil, invalid("ciphertextBlob", "Member must have length greater than or equal to 1 and less than or equal to 6144")
	}
	var named *key
	if r.KeyId != "" {
		var refused *refusal
		if named, refused = s.usable(r.KeyId); refused == nil {
			refused = r.encrypts(named, "Decrypt")
		}
		if refused != nil {
			return nil, refused
		}
	}
	if len(r.CiphertextBlob) < idLength || !isID(string(r.CiphertextBlob[:idLength])) {
		return nil, refuse("InvalidCiphertextException", "")
	}
	k, refused := s.usable(string(r.CiphertextBlob[:idLength]))
	switch {
	case refused != nil:
		return nil, refused
	case named != nil && named != k:
		return nil, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	if refused := r.encrypts(k, "Decrypt"); refused != nil {
		return nil, refused
	}
	aead, bound, err := k.sealer(r)
	if err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	plaintext, err := aead.Open(nil, nil, r.CiphertextBlob[idLength:], bound)
	switch {
	case err != nil:
		return nil, refuse("InvalidCiphertextException", "")
	case r.DryRun:
		return nil, dryRun()
	}
	return struct {
		EncryptionAlgorithm string
		KeyId               string
		Plaintext           []byte
	}{Symmetric, k.arn(), plaintext}, nil
}

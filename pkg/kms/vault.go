package kms

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// A Vault encrypts the secrets of clients under a symmetric key in KMS. Each call
// is one to KMS: what was opened is for its caller to remember.
type Vault struct {
	Client *kms.Client
	// Key is the ARN of the SYMMETRIC_DEFAULT key, "" where there is none.
	Key string
}

var errNoKey = fmt.Errorf("kms: %w: there is no key for secrets", jwt.ErrKeyUnusable)

// Seal encrypts a secret for its client, as base64. Two times give two texts. The
// errors are those of Signer.Sign.
func (v Vault) Seal(ctx context.Context, clientID string, secret oauth.Secret) (string, error) {
	if v.Key == "" {
		return "", errNoKey
	}
	out, err := v.Client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: &v.Key, Plaintext: []byte(secret.Reveal()), EncryptionContext: bound(clientID),
	})
	if err != nil {
		return "", explain(err)
	}
	return base64.StdEncoding.EncodeToString(out.CiphertextBlob), nil
}

// Unseal decrypts what Seal made for the same client; for another it is an error.
// The errors are those of Signer.Sign.
func (v Vault) Unseal(ctx context.Context, clientID, sealed string) (oauth.Secret, error) {
	if v.Key == "" {
		return "", errNoKey
	}
	blob, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("kms: the sealed secret of %q: %w", clientID, err)
	}
	// KMS would find the key by the ciphertext, and so take one of somebody else's.
	out, err := v.Client.Decrypt(ctx, &kms.DecryptInput{KeyId: &v.Key, CiphertextBlob: blob, EncryptionContext: bound(clientID)})
	if err != nil {
		return "", explain(err)
	}
	return oauth.Secret(out.Plaintext), nil
}

// bound is the encryption context: KMS decrypts only under the same, so a sealed
// secret cannot be moved to another client's record. CloudTrail shows it.
func bound(clientID string) map[string]string { return map[string]string{"client_id": clientID} }

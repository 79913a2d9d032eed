package kms

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/pkg/oauth"
)

// maxSecrets bounds the secrets in memory.
const maxSecrets = 1000

// A Vault encrypts the secrets of clients under a symmetric key in KMS. It is safe
// for use side by side, and not to be copied.
type Vault struct {
	Client *kms.Client
	// Key is the ARN of the SYMMETRIC_DEFAULT key.
	Key string

	mu     sync.Mutex
	opened map[sealed]oauth.Secret
}

type sealed struct{ clientID, text string }

// Seal encrypts a secret for its client, as base64. Two times give two texts. The
// errors are those of Signer.Sign.
func (v *Vault) Seal(ctx context.Context, clientID string, secret oauth.Secret) (string, error) {
	out, err := v.Client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: &v.Key, Plaintext: []byte(secret.Reveal()), EncryptionContext: bound(clientID),
	})
	if err != nil {
		return "", explain(err)
	}
	return base64.StdEncoding.EncodeToString(out.CiphertextBlob), nil
}

// Unseal decrypts what Seal made for the same client; for another it is an error.
// What was unsealed stays in memory, so a warm function pays one call for each
// secret: a text never stands for another secret, and one that is to count no
// more is taken out of the client's record. The errors are those of Signer.Sign.
func (v *Vault) Unseal(ctx context.Context, clientID, text string) (oauth.Secret, error) {
	id := sealed{clientID, text}
	v.mu.Lock()
	secret, ok := v.opened[id]
	v.mu.Unlock()
	if ok {
		return secret, nil
	}
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("kms: the sealed secret of %q: %w", clientID, err)
	}
	// KeyId is not needed, but without it a key of somebody else's would do.
	out, err := v.Client.Decrypt(ctx, &kms.DecryptInput{KeyId: &v.Key, CiphertextBlob: blob, EncryptionContext: bound(clientID)})
	if err != nil {
		return "", explain(err)
	}
	secret = oauth.Secret(out.Plaintext)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened == nil || len(v.opened) >= maxSecrets {
		v.opened = map[sealed]oauth.Secret{}
	}
	v.opened[id] = secret
	return secret, nil
}

// bound is the encryption context: KMS decrypts only under the same, so a sealed
// secret cannot be moved to another client's record. CloudTrail shows it.
func bound(clientID string) map[string]string { return map[string]string{"client_id": clientID} }

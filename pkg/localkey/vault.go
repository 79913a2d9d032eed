package localkey

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"

	"kmint/pkg/oauth"
)

// Seal encrypts a client's secret by AES-256-GCM, as base64. The client_id is the
// additional data: what was sealed for one client is nothing for another.
func (k *Keys) Seal(_ context.Context, clientID string, secret oauth.Secret) (string, error) {
	aead, err := k.aead()
	if err != nil {
		return "", err
	}
	blob := aead.Seal(nil, nil, []byte(secret.Reveal()), []byte(clientID)) //nolint:gosec // it draws the nonce itself
	return base64.StdEncoding.EncodeToString(blob), nil
}

// Unseal decrypts what Seal made for the same client.
func (k *Keys) Unseal(_ context.Context, clientID, sealed string) (oauth.Secret, error) {
	blob, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("localkey: the sealed secret of %q: %w", clientID, err)
	}
	aead, err := k.aead()
	if err != nil {
		return "", err
	}
	secret, err := aead.Open(nil, nil, blob, []byte(clientID))
	if err != nil {
		return "", fmt.Errorf("localkey: the sealed secret of %q: %w", clientID, err)
	}
	return oauth.Secret(secret), nil
}

func (k *Keys) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.secrets)
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	return aead, nil
}

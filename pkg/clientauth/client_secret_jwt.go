// client_secret_jwt (OpenID Connect Core 1.0 §9).

package clientauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A Vault opens what was sealed for a client. An error that is jwt.ErrBusy says that
// the vault may do so later.
type Vault interface {
	Unseal(ctx context.Context, clientID, sealed string) (oauth.Secret, error)
}

// clientSecretJWT asks the vault last, and for the second secret only where the first
// has not made the MAC.
func (a Authenticator) clientSecretJWT(ctx context.Context, c Claim) ([]store.Use, error) {
	read, uses, err := a.selfIssued(ctx, c, jwt.SymmetricAlgorithms())
	if err != nil {
		return nil, err
	}
	wrong, closed := errors.New("the client has no secret"), error(nil)
	for _, sealed := range c.Client.SealedSecrets {
		secret, err := a.Vault.Unseal(ctx, c.Client.ID, sealed)
		if err != nil {
			closed = errors.Join(closed, err)
			continue
		}
		if wrong = read.ProveBySecret([]byte(secret.Reveal())); wrong == nil {
			return uses, nil
		}
	}
	if closed != nil {
		return nil, fmt.Errorf("clientauth: secret of %s: %w", c.Client.ID, closed)
	}
	return nil, because(wrong)
}

// An OpenVault remembers for at most store.MaxAge, in memory alone, what a Vault has
// opened: as long as the client's record is remembered too. It goes by the sealed
// text, so that a new secret counts as soon as it is read. It is not to be copied.
type OpenVault struct {
	Vault
	now     func() time.Time
	secrets *lru.Cache[sealedFor, opened]
}

var _ Vault = (*OpenVault)(nil)

type sealedFor struct{ clientID, sealed string }

type opened struct {
	secret oauth.Secret
	at     time.Time
}

const maxOpened = 256

// NewOpenVault makes one. now is the clock.
func NewOpenVault(v Vault, now func() time.Time) *OpenVault {
	secrets, _ := lru.New[sealedFor, opened](maxOpened) // fails for a size below 1 alone
	return &OpenVault{v, now, secrets}
}

// Unseal opens what was sealed.
func (v *OpenVault) Unseal(ctx context.Context, clientID, sealed string) (oauth.Secret, error) {
	name, now := sealedFor{clientID, sealed}, v.now()
	if kept, ok := v.secrets.Get(name); ok && !now.Before(kept.at) && now.Before(kept.at.Add(store.MaxAge)) {
		return kept.secret, nil
	}
	secret, err := v.Vault.Unseal(ctx, clientID, sealed)
	if err != nil {
		v.secrets.Remove(name)
		return "", err
	}
	v.secrets.Add(name, opened{secret, now})
	return secret, nil
}

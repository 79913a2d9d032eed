// Public keys as JSON (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2, RFC 9964), and their
// thumbprints (RFC 7638).

package jwt

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"filippo.io/mldsa"
	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // member names are case-sensitive, and none may repeat
)

// A Set is the public keys of an issuer (RFC 7517 §5).
type Set struct {
	Keys []Key `json:"keys"`
}

// akp is the kty of RFC 9964.
const akp = "AKP"

// An akpKey is a key of that kind. Of those, the alg is a part of the key, and so
// required.
type akpKey struct {
	Use       string `json:"use,omitempty"`
	Type      string `json:"kty"`
	ID        string `json:"kid,omitempty"`
	Algorithm string `json:"alg"`
	Public    string `json:"pub"`
	Private   any    `json:"priv,omitempty"`
}

// MarshalJSON writes the public half as a JWK.
func (k Key) MarshalJSON() ([]byte, error) {
	if public, ok := k.Public.(*mldsa.PublicKey); ok {
		return json.Marshal(akpKey{
			Use: "sig", Type: akp, ID: k.ID, Algorithm: k.Algorithm, Public: base64.RawURLEncoding.EncodeToString(public.Bytes()),
		})
	}
	return json.Marshal(jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
}

// UnmarshalJSON reads a JWK for signatures. Its alg and kid may be missing. One that
// shows a private or a secret key is refused.
func (k *Key) UnmarshalJSON(text []byte) error {
	var a akpKey
	if err := strict.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("jwt: key: %w", err)
	}
	switch {
	case a.Use != "" && a.Use != "sig":
		return errors.New("jwt: the key is not for signatures")
	case a.Private != nil:
		return errors.New("jwt: the key is not public")
	case a.Type == akp:
		public, err := readMLDSA(a)
		if err != nil {
			return err
		}
		*k = Key{ID: a.ID, Algorithm: a.Algorithm, Public: public}
		return nil
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(text, &jwk); err != nil {
		return fmt.Errorf("jwt: key: %w", err)
	}
	if !jwk.IsPublic() {
		return errors.New("jwt: the key is not public")
	}
	*k = Key{ID: jwk.KeyID, Algorithm: jwk.Algorithm, Public: jwk.Key}
	return nil
}

func readMLDSA(a akpKey) (*mldsa.PublicKey, error) {
	for _, parameters := range []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()} {
		if parameters.String() != a.Algorithm {
			continue
		}
		encoded, err := decode(a.Public)
		if err != nil {
			return nil, err
		}
		return mldsa.NewPublicKey(parameters, encoded)
	}
	return nil, fmt.Errorf("jwt: no key of kty %s has alg %.32q", akp, a.Algorithm)
}

// Thumbprint is the base64url SHA-256 thumbprint of a public key (RFC 7638 §3).
func Thumbprint(public crypto.PublicKey) (string, error) {
	if key, ok := public.(*mldsa.PublicKey); ok {
		// RFC 9964, "AKP Thumbprints", names the members, in the order of RFC 7638 §3.3.
		text, err := json.Marshal(struct {
			Algorithm string `json:"alg"`
			Type      string `json:"kty"`
			Public    string `json:"pub"`
		}{key.Parameters().String(), akp, base64.RawURLEncoding.EncodeToString(key.Bytes())})
		if err != nil {
			return "", fmt.Errorf("jwt: thumbprint: %w", err)
		}
		sum := sha256.Sum256(text)
		return base64.RawURLEncoding.EncodeToString(sum[:]), nil
	}
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("jwt: thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

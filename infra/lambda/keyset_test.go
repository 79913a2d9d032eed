package lambda

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// A keySet is what a JWK set says, by kid. It is read and used without the
// library that the functions sign with: the standard library alone.
type keySet map[string]publishedKey

type publishedKey struct {
	algorithm string
	public    crypto.PublicKey
}

func readKeySet(tree any) (keySet, error) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []jwk
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, err
	}
	keys := keySet{}
	for _, k := range set.Keys {
		public, thumbprint, err := k.read()
		if err != nil {
			return nil, fmt.Errorf("%w: %+v", err, k)
		}
		if k.Kid != thumbprint {
			return nil, fmt.Errorf("the kid %s is not the thumbprint", k.Kid)
		}
		keys[k.Kid] = publishedKey{k.Alg, public}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key")
	}
	return keys, nil
}

type jwk struct{ Kty, Use, Alg, Kid, N, E, Crv, X, Y string }

// read returns the key and its thumbprint. RFC 7638 §3.2: the required members in
// lexicographic order.
func (k jwk) read() (crypto.PublicKey, string, error) {
	part := func(text string) *big.Int {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			return new(big.Int)
		}
		return new(big.Int).SetBytes(raw)
	}
	switch kind := k.Kty + " " + k.Alg + k.Crv; {
	case k.Use != "sig":
	case kind == "RSA RS256" || kind == "RSA PS256":
		sum := sha256.Sum256([]byte(`{"e":"` + k.E + `","kty":"RSA","n":"` + k.N + `"}`))
		return &rsa.PublicKey{N: part(k.N), E: int(part(k.E).Int64())}, encode(string(sum[:])), nil
	case kind == "EC ES256P-256":
		x, y := part(k.X), part(k.Y)
		point := append([]byte{4}, append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)...)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		return public, thumbprintEC(k.X, k.Y), err
	}
	return nil, "", errors.New("not a key to verify with")
}

func thumbprintEC(x, y string) string {
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return encode(string(sum[:]))
}

func (k keySet) find(kid any) (publishedKey, error) {
	name, _ := kid.(string)
	key, ok := k[name]
	if !ok {
		return publishedKey{}, errors.New("the key is not published")
	}
	return key, nil
}

// verify checks a compact JWS (RFC 7515 §5.2) and returns header and claims.
func (k keySet) verify(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a compact JWS")
	}
	seen := map[string]any{}
	for i, name := range []string{"header", "claims"} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		var members map[string]any
		if err := d.Decode(&members); err != nil {
			return nil, err
		}
		seen[name] = members
	}
	header := seen["header"].(map[string]any)
	key, err := k.find(header["kid"])
	if err != nil {
		return nil, err
	}
	if header["alg"] != key.algorithm {
		return nil, fmt.Errorf("alg is %v", header["alg"])
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	return seen, key.verify([]byte(parts[0]+"."+parts[1]), signature)
}

// verify obeys RFC 7518 §3.3 (RS256), §3.4 (ES256) and §3.5 (PS256).
func (k publishedKey) verify(signed, signature []byte) error {
	digest := sha256.Sum256(signed)
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		if k.algorithm == "PS256" {
			return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
	case *ecdsa.PublicKey:
		if len(signature) != 64 {
			return fmt.Errorf("the signature has %d bytes", len(signature))
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		if !ecdsa.Verify(public, digest[:], r, s) {
			return errors.New("the signature is wrong")
		}
		return nil
	default:
		return fmt.Errorf("a key of type %T", public)
	}
}

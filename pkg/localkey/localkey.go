// Package localkey answers: who signs where there is no AWS KMS?
//
// It is the development counterpart of package kms: the same methods, on keys that
// lie in files readable by their owner alone. Whoever can read the files can mint,
// which is why no function on AWS links this package.
package localkey

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kmint/pkg/jwt"
)

// Reference names the signing key for RS256, as an ARN names a key in KMS.
const Reference = "local"

// References name the signing keys, by their algorithms.
func References() map[string]string {
	return map[string]string{jwt.RS256: Reference, jwt.PS256: "local-ps256", jwt.ES256: "local-es256"}
}

const (
	bits      = 2048
	keySize   = 32
	pemType   = "PRIVATE KEY"
	macFile   = "mac-key"
	vaultFile = "secrets-key"
)

// files hold the signing keys: PKCS #8 (RFC 5208) in PEM (RFC 7468).
var files = map[string]string{
	jwt.RS256: "signing-key.pem", jwt.PS256: "signing-key-ps256.pem", jwt.ES256: "signing-key-es256.pem",
}

// Keys are a signing key for each algorithm, a MAC key and one that encrypts.
type Keys struct {
	signing map[string]signingKey // by reference
	mac     []byte
	secrets []byte
}

type signingKey struct {
	algorithm string
	id        string
	private   crypto.Signer
}

// Open reads the keys under dir. Those that are not there yet are made, at once
// whole, so that of several that start together all use the same.
func Open(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	k := &Keys{signing: map[string]signingKey{}}
	for _, algorithm := range jwt.Algorithms() {
		key, err := openSigningKey(filepath.Join(dir, files[algorithm]), algorithm)
		if err != nil {
			return nil, err
		}
		k.signing[References()[algorithm]] = key
	}
	for name, key := range map[string]*[]byte{macFile: &k.mac, vaultFile: &k.secrets} {
		path := filepath.Join(dir, name)
		var err error
		if *key, err = readOrCreate(path, randomKey); err != nil {
			return nil, err
		}
		if len(*key) != keySize {
			return nil, fmt.Errorf("localkey: %s has %d bytes, not %d", path, len(*key), keySize)
		}
	}
	return k, nil
}

func openSigningKey(path, algorithm string) (signingKey, error) {
	text, err := readOrCreate(path, func() ([]byte, error) { return newSigningKey(algorithm) })
	if err != nil {
		return signingKey{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return signingKey{}, fmt.Errorf("localkey: %s holds no private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return signingKey{}, fmt.Errorf("localkey: %s: %w", path, err)
	}
	key := signingKey{algorithm: algorithm}
	switch private := parsed.(type) {
	case *rsa.PrivateKey: // RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"
		if algorithm != jwt.ES256 && private.N.BitLen() >= bits {
			key.private = private
		}
	case *ecdsa.PrivateKey: // RFC 7518 §3.4
		if algorithm == jwt.ES256 && private.Curve == elliptic.P256() {
			key.private = private
		}
	}
	if key.private == nil {
		return signingKey{}, fmt.Errorf("localkey: %s holds no key for %s", path, algorithm)
	}
	if key.id, err = jwt.Thumbprint(key.private.Public()); err != nil {
		return signingKey{}, fmt.Errorf("localkey: %w", err)
	}
	return key, nil
}

func newSigningKey(algorithm string) ([]byte, error) {
	var private any
	var err error
	if algorithm == jwt.ES256 {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func randomKey() ([]byte, error) {
	key := make([]byte, keySize)
	_, err := rand.Read(key)
	return key, err
}

// readOrCreate reads a file that, where there was none, it first makes.
func readOrCreate(path string, create func() ([]byte, error)) ([]byte, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the caller's folder
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			err = fmt.Errorf("localkey: %w", err)
		}
		return content, err
	}
	if content, err = create(); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	if err := place(path, content); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	content, err = os.ReadFile(path) //nolint:gosec // another's, if it came first
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	return content, nil
}

// place lets a whole file appear under path, unless there is one.
func place(path string, content []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary.Name())) }()
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Sign returns the JWS signature (RFC 7518 §3) of a SHA-256 digest. The error wraps
// jwt.ErrKeyUnusable if the key is another than those held here.
func (k *Keys) Sign(_ context.Context, key jwt.Key, digest []byte) ([]byte, error) {
	held, ok := k.signing[key.Reference]
	switch {
	case !ok || key.ID != held.id:
		return nil, fmt.Errorf("localkey: %w: %s is not held here", jwt.ErrKeyUnusable, key.ID)
	case key.Algorithm != held.algorithm:
		return nil, fmt.Errorf("localkey: no signatures by %s", key.Algorithm)
	case len(digest) != sha256.Size:
		return nil, fmt.Errorf("localkey: a digest of %d bytes", len(digest))
	}
	signature, err := sign(held, digest)
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	return signature, nil
}

func sign(key signingKey, digest []byte) ([]byte, error) {
	private, ok := key.private.(*ecdsa.PrivateKey)
	if ok {
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	}
	if key.algorithm == jwt.PS256 {
		return key.private.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return key.private.Sign(rand.Reader, digest, crypto.SHA256)
}

// PublicKey is the public half of one of the signing keys that References name.
func (k *Keys) PublicKey(_ context.Context, reference string) (crypto.PublicKey, error) {
	held, ok := k.signing[reference]
	if !ok {
		return nil, fmt.Errorf("localkey: %w: %s is not held here", jwt.ErrKeyUnusable, reference)
	}
	return held.private.Public(), nil
}

// HourlyKey is the key, of 32 bytes, that seals things of one purpose in one hour
// (counted since 1970).
func (k *Keys) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	h := hmac.New(sha256.New, k.mac)
	h.Write(binary.BigEndian.AppendUint64([]byte(purpose), uint64(hour))) //nolint:gosec // two's complement is as good
	return h.Sum(nil), nil
}

// Package localkey answers: who signs where there is no AWS KMS?
//
// It is the development counterpart of package kms: the same methods, on an RSA
// key and a MAC key that lie in files readable by their owner alone. Whoever can
// read the files can mint, which is why no function on AWS links this package.
package localkey

import (
	"context"
	"crypto"
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

// Reference names the one signing key, as an ARN names a key in KMS.
const Reference = "local"

const (
	bits        = 2048
	macSize     = 32
	pemType     = "PRIVATE KEY"
	signingFile = "signing-key.pem" // PKCS #8 (RFC 5208) in PEM (RFC 7468)
	macFile     = "mac-key"
)

// Keys are a signing key and a MAC key.
type Keys struct {
	signing *rsa.PrivateKey
	id      string
	mac     []byte
}

// Open reads the keys under dir. Those that are not there yet are made, at once
// whole, so that of several that start together all use the same.
func Open(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	k := &Keys{}
	path := filepath.Join(dir, signingFile)
	text, err := readOrCreate(path, newSigningKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("localkey: %s holds no private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("localkey: %s: %w", path, err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < bits { // RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"
		return nil, fmt.Errorf("localkey: %s holds no RSA key of %d bits", path, bits)
	}
	k.signing = private
	if k.id, err = jwt.Thumbprint(&private.PublicKey); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	path = filepath.Join(dir, macFile)
	if k.mac, err = readOrCreate(path, newMACKey); err != nil {
		return nil, err
	}
	if len(k.mac) != macSize {
		return nil, fmt.Errorf("localkey: %s has %d bytes, not %d", path, len(k.mac), macSize)
	}
	return k, nil
}

func newSigningKey() ([]byte, error) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func newMACKey() ([]byte, error) {
	key := make([]byte, macSize)
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

// Sign returns the RS256 signature (RFC 7518 §3.3) of a SHA-256 digest. The error
// wraps jwt.ErrKeyUnusable if the key is another than the one held here.
func (k *Keys) Sign(_ context.Context, key jwt.Key, digest []byte) ([]byte, error) {
	if key.Reference != Reference || key.ID != k.id {
		return nil, fmt.Errorf("localkey: %w: %s is not held here", jwt.ErrKeyUnusable, key.ID)
	}
	if key.Algorithm != jwt.RS256 {
		return nil, fmt.Errorf("localkey: no signatures by %s", key.Algorithm)
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, k.signing, crypto.SHA256, digest)
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	return signature, nil
}

// PublicKey is the public half of the signing key, whose name is Reference.
func (k *Keys) PublicKey(_ context.Context, reference string) (crypto.PublicKey, error) {
	if reference != Reference {
		return nil, fmt.Errorf("localkey: %w: %s is not held here", jwt.ErrKeyUnusable, reference)
	}
	return &k.signing.PublicKey, nil
}

// HourlyKey is the key, of 32 bytes, that seals things of one purpose in one hour
// (counted since 1970).
func (k *Keys) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	h := hmac.New(sha256.New, k.mac)
	h.Write(binary.BigEndian.AppendUint64([]byte(purpose), uint64(hour))) //nolint:gosec // two's complement is as good
	return h.Sum(nil), nil
}

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
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
	"filippo.io/mldsa/x509"

	"kmint/pkg/jwt"
)

// Reference names the signing key for RS256, as an ARN names a key in KMS.
const Reference = "local"

// References name the signing keys that are always there, by their algorithms.
func References() map[string]string {
	return map[string]string{jwt.RS256: Reference, jwt.PS256: ReferenceOf(jwt.PS256), jwt.ES256: ReferenceOf(jwt.ES256)}
}

// ReferenceOf names the signing key for an algorithm.
func ReferenceOf(algorithm string) string {
	if algorithm == jwt.RS256 {
		return Reference
	}
	return Reference + "-" + strings.ToLower(algorithm)
}

const (
	bits      = 2048
	keySize   = 32
	pemType   = "PRIVATE KEY"
	macFile   = "mac-key"
	vaultFile = "secrets-key"
)

// fileOf holds a signing key: PKCS #8 (RFC 5208) in PEM (RFC 7468).
func fileOf(algorithm string) string {
	return "signing-key" + strings.TrimPrefix(ReferenceOf(algorithm), Reference) + ".pem"
}

// Keys are a signing key for each algorithm that was asked for, a MAC key and one
// that encrypts.
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

// Open reads the keys under dir. Those of References and of more algorithms that are
// not there yet are made, at once whole, so that of several that start together all
// use the same.
func Open(dir string, more ...string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	k := &Keys{signing: map[string]signingKey{}}
	for _, algorithm := range jwt.Algorithms() {
		path := filepath.Join(dir, fileOf(algorithm))
		if _, asked := References()[algorithm]; !asked && !slices.Contains(more, algorithm) {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		key, err := openSigningKey(path, algorithm)
		if err != nil {
			return nil, err
		}
		k.signing[ReferenceOf(algorithm)] = key
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
	private, ok := parsed.(crypto.Signer)
	if !ok || jwt.CheckKey(algorithm, private.Public()) != nil {
		return signingKey{}, fmt.Errorf("localkey: %s holds no key for %s", path, algorithm)
	}
	key := signingKey{algorithm: algorithm, private: private}
	if key.id, err = jwt.Thumbprint(key.private.Public()); err != nil {
		return signingKey{}, fmt.Errorf("localkey: %w", err)
	}
	return key, nil
}

func newSigningKey(algorithm string) ([]byte, error) {
	var private any
	var err error
	switch algorithm {
	case jwt.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwt.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jwt.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jwt.EdDSA, jwt.Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case jwt.MLDSA44:
		private, err = mldsa.GenerateKey(mldsa.MLDSA44())
	case jwt.MLDSA65:
		private, err = mldsa.GenerateKey(mldsa.MLDSA65())
	case jwt.MLDSA87:
		private, err = mldsa.GenerateKey(mldsa.MLDSA87())
	default:
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

// Sign returns the JWS signature of a message, as kms.Signer does. The error wraps
// jwt.ErrKeyUnusable if the key is another than those held here.
func (k *Keys) Sign(_ context.Context, key jwt.Key, message []byte) ([]byte, error) {
	held, ok := k.signing[key.Reference]
	switch {
	case !ok || key.ID != held.id:
		return nil, fmt.Errorf("localkey: %w: %s is not held here", jwt.ErrKeyUnusable, key.ID)
	case key.Algorithm != held.algorithm:
		return nil, fmt.Errorf("localkey: no signatures by %s", key.Algorithm)
	}
	signature, err := sign(held, message)
	if err != nil {
		return nil, fmt.Errorf("localkey: %w", err)
	}
	return signature, nil
}

// sign obeys RFC 7518 §3.3 to §3.5, RFC 8037 §3.1 and RFC 9964.
func sign(key signingKey, message []byte) ([]byte, error) {
	var hash crypto.Hash // 0 for the message itself
	switch _, is := key.private.(*mldsa.PrivateKey); {
	case is:
		hash = mldsacrypto.MLDSAMu
	case strings.HasSuffix(key.algorithm, "256"):
		hash = crypto.SHA256
	case strings.HasSuffix(key.algorithm, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(key.algorithm, "512"):
		hash = crypto.SHA512
	}
	if private, is := key.private.(*ecdsa.PrivateKey); is {
		if len(message) != hash.Size() { // which ecdsa would pass over
			return nil, fmt.Errorf("a digest of %d bytes", len(message))
		}
		r, s, err := ecdsa.Sign(rand.Reader, private, message)
		if err != nil {
			return nil, err
		}
		size := (private.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	}
	if strings.HasPrefix(key.algorithm, "PS") {
		return key.private.Sign(rand.Reader, message, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	}
	return key.private.Sign(rand.Reader, message, hash)
}

// Algorithms lists those that a key is held for, in the order of jwt.Algorithms.
func (k *Keys) Algorithms() []string {
	return slices.DeleteFunc(jwt.Algorithms(), func(algorithm string) bool {
		_, held := k.signing[ReferenceOf(algorithm)]
		return !held
	})
}

// PublicKey is the public half of the signing key of that name.
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

// Package kmstest answers: would AWS KMS have done this?
//
// A Server speaks the JSON protocol of AWS KMS and holds real keys: those for
// signatures of every spec but SM2 and ECC_SECG_P256K1, HMAC_256 and
// SYMMETRIC_DEFAULT. It is strict where it matters to us: it refuses what KMS
// refuses, with the codes and words of KMS, and signs a digest as it is given. Other test servers hash a digest once more, or sign with a disabled
// key, so what works with them may fail on AWS. It throttles, delays and drops
// on request, and counts.
//
// It knows no permissions: it keeps key policies and refuses those that KMS would, but
// obeys none, and knows no grants.
package kmstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"filippo.io/mldsa"
)

// Specs of keys that the server holds.
const (
	RSA2048   = "RSA_2048"
	RSA3072   = "RSA_3072"
	RSA4096   = "RSA_4096"
	P256      = "ECC_NIST_P256"
	P384      = "ECC_NIST_P384"
	P521      = "ECC_NIST_P521"
	Edwards   = "ECC_NIST_EDWARDS25519"
	MLDSA44   = "ML_DSA_44"
	MLDSA65   = "ML_DSA_65"
	MLDSA87   = "ML_DSA_87"
	HMAC256   = "HMAC_256"
	Symmetric = "SYMMETRIC_DEFAULT"
)

// States of a key.
const (
	Enabled         = "Enabled"
	Disabled        = "Disabled"
	PendingDeletion = "PendingDeletion"
)

// Where every key of the server lives.
const (
	Region  = "us-east-1"
	Account = "000000000000"
)

const arnPrefix = "arn:aws:kms:" + Region + ":" + Account + ":"

// In bytes.
const (
	// maxMessage is the longest message that KMS signs, authenticates or encrypts.
	maxMessage = 4096
	// maxCiphertext is the longest that it decrypts.
	maxCiphertext = 6144
)

// A Server is a KMS. The zero value is not ready: see New.
type Server struct {
	// Now is the clock.
	Now func() time.Time

	mu      sync.Mutex
	dir     string
	keys    map[string]*key   // by key id
	aliases map[string]string // "alias/..." to key id
	calls   map[string]int
	queued  map[string][]Fault
	always  map[string]Fault
}

var _ http.Handler = (*Server)(nil)

// New makes a server without keys, which keeps nothing.
func New() *Server {
	return &Server{
		Now:     time.Now,
		keys:    map[string]*key{},
		aliases: map[string]string{},
		calls:   map[string]int{},
		queued:  map[string][]Fault{},
		always:  map[string]Fault{},
	}
}

// A key has a signer, a secret for MACs, or one that encrypts.
type key struct {
	id          string
	spec        string
	state       string
	description string
	created     time.Time
	deletion    time.Time
	tags        []tag
	policy      string // "" for the default
	multiRegion bool
	signer      crypto.Signer
	secret      []byte
	aes         AES
}

// AES is the 32 bytes of a SYMMETRIC_DEFAULT key.
type AES []byte

type tag struct{ TagKey, TagValue string }

func (k *key) arn() string { return arnPrefix + "key/" + k.id }

func (k *key) usage() string {
	switch {
	case k.signer != nil:
		return "SIGN_VERIFY"
	case k.aes != nil:
		return "ENCRYPT_DECRYPT"
	default:
		return "GENERATE_VERIFY_MAC"
	}
}

// Create makes a random key, and returns its ARN.
func (s *Server) Create(spec string) (arn string, err error) {
	k, err := s.generate(spec)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
	return k.arn(), s.save()
}

// Add holds a key of the caller's: an *rsa.PrivateKey of 2,048, 3,072 or 4,096 bits,
// an *ecdsa.PrivateKey on P-256, P-384 or P-521, an ed25519.PrivateKey, an
// *mldsa.PrivateKey, 32 bytes for HMAC_256, or AES. id is a UUID, which ends its ARN.
func (s *Server) Add(id string, material any) (arn string, err error) {
	k, err := s.hold(id, material)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = k
	return k.arn(), s.save()
}

// Alias lets name ("alias/...") stand for a key.
func (s *Server) Alias(name, arn string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, refused := s.find(arn)
	if refused != nil {
		return refused
	}
	s.aliases[name] = k.id
	return s.save()
}

// Aliased returns the ARN of the key that name stands for, or "".
func (s *Server) Aliased(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[s.aliases[name]]; k != nil {
		return k.arn()
	}
	return ""
}

// SetState puts a key into a state, as the operations of that purpose would.
func (s *Server) SetState(arn, state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, refused := s.find(arn)
	if refused != nil {
		return refused
	}
	k.state = state
	return s.save()
}

// Remove deletes a key at once, which KMS itself does after days.
func (s *Server) Remove(arn string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, refused := s.find(arn)
	if refused != nil {
		return refused
	}
	delete(s.keys, k.id)
	return s.save()
}

// Calls counts the requests for an operation ("Sign") that came in, whatever
// became of them.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// A Drop says when a connection is closed without an answer.
type Drop int

// Moments of a Drop.
const (
	Never Drop = iota
	// Before the request is performed.
	Before
	// After it was performed: only the answer is lost.
	After
)

// A Fault is what befalls one request. Its parts come in the order of the fields.
type Fault struct {
	// Delay is waited first.
	Delay time.Duration
	// Error is a code that KMS might answer for reasons of its own, such as
	// Throttled. Nothing is performed.
	Error string
	Drop  Drop
}

// Codes for Fault.Error.
const (
	Throttled      = "ThrottlingException"
	Internal       = "KMSInternalException"
	Unavailable    = "KeyUnavailableException"
	TimedOut       = "DependencyTimeoutException"
	AccessDenied   = "AccessDeniedException"
	notImplemented = "UnsupportedOperationException"
)

// Next lets the faults befall the next requests for an operation, one each.
func (s *Server) Next(operation string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued[operation] = append(s.queued[operation], faults...)
}

// Always lets a fault befall every request for an operation, once those of Next
// are used up; the zero Fault ends it.
func (s *Server) Always(operation string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always[operation] = fault
}

// arrive counts a request, and draws its fault.
func (s *Server) arrive(operation string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	if queue := s.queued[operation]; len(queue) > 0 {
		s.queued[operation] = queue[1:]
		return queue[0]
	}
	return s.always[operation]
}

// ServeHTTP answers one request of the JSON 1.1 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		write(w, nil, refuse("SerializationException", "the body cannot be read"))
		return
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !ok || r.Method != http.MethodPost {
		write(w, nil, refuse("UnknownOperationException", ""))
		return
	}
	fault := s.arrive(operation)
	if fault.Delay > 0 {
		wait := time.NewTimer(fault.Delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if fault.Error != "" {
		write(w, nil, own(fault.Error))
		return
	}
	if fault.Drop == Before {
		panic(http.ErrAbortHandler) // net/http closes the connection
	}
	var answer any
	var refused *refusal
	if r.Header.Get("Authorization") == "" {
		refused = refuse("MissingAuthenticationTokenException", "Request is missing Authentication Token")
	} else {
		answer, refused = s.perform(operation, body)
	}
	if fault.Drop == After {
		panic(http.ErrAbortHandler)
	}
	write(w, answer, refused)
}

// A refusal is an error of KMS.
type refusal struct {
	Code    string `json:"__type"`
	Message string `json:"message,omitempty"`
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// own says what KMS says when the fault is its own.
func own(code string) *refusal {
	switch code {
	case Throttled:
		return refuse(code, "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
	case AccessDenied:
		return refuse(code, "User is not authorized to perform this operation on this resource")
	default:
		return refuse(code, "")
	}
}

func (r *refusal) status() int {
	switch r.Code {
	case Internal, Unavailable:
		return http.StatusInternalServerError
	case TimedOut:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

func write(w http.ResponseWriter, answer any, refused *refusal) {
	status := http.StatusOK
	if refused != nil {
		answer, status = refused, refused.status()
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-RequestId", newID())
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate, private")
	w.WriteHeader(status)
	if answer != nil { // some operations answer with an empty body
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// generate makes a random key of a spec.
func (s *Server) generate(spec string) (*key, error) {
	var material any
	var err error
	switch spec {
	case RSA2048, RSA3072, RSA4096:
		bits, _ := strconv.Atoi(strings.TrimPrefix(spec, "RSA_"))
		material, err = rsa.GenerateKey(rand.Reader, bits)
	case P256:
		material, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		material, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		material, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case Edwards:
		_, material, err = ed25519.GenerateKey(rand.Reader)
	case MLDSA44:
		material, err = mldsa.GenerateKey(mldsa.MLDSA44())
	case MLDSA65:
		material, err = mldsa.GenerateKey(mldsa.MLDSA65())
	case MLDSA87:
		material, err = mldsa.GenerateKey(mldsa.MLDSA87())
	case HMAC256, Symmetric:
		secret := make([]byte, 32)
		_, err = rand.Read(secret)
		if material = secret; spec == Symmetric {
			material = AES(secret)
		}
	default:
		return nil, fmt.Errorf("kmstest: no keys of spec %q are held here", spec)
	}
	if err != nil {
		return nil, err
	}
	return s.hold(newID(), material)
}

func (s *Server) hold(id string, material any) (*key, error) {
	k := &key{id: id, state: Enabled, created: s.Now()}
	switch m := material.(type) {
	case crypto.Signer:
		if k.spec = specOf(m); k.spec == "" {
			return nil, fmt.Errorf("kmstest: no spec is that of this %T", m)
		}
		k.signer = m
	case []byte:
		if len(m) != 32 {
			return nil, fmt.Errorf("kmstest: HMAC key of %d bytes", len(m))
		}
		k.spec, k.secret = HMAC256, m
	case AES:
		if len(m) != 32 {
			return nil, fmt.Errorf("kmstest: AES key of %d bytes", len(m))
		}
		k.spec, k.aes = Symmetric, m
	default:
		return nil, fmt.Errorf("kmstest: key of type %T", material)
	}
	if !isID(id) {
		return nil, fmt.Errorf("kmstest: %q is no UUID", id)
	}
	return k, nil
}

// specOf is the spec of a private key, "" for one that KMS does not hold.
func specOf(private crypto.Signer) string {
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return map[int]string{2048: RSA2048, 3072: RSA3072, 4096: RSA4096}[k.N.BitLen()]
	case *ecdsa.PrivateKey:
		return map[elliptic.Curve]string{elliptic.P256(): P256, elliptic.P384(): P384, elliptic.P521(): P521}[k.Curve]
	case ed25519.PrivateKey:
		return Edwards
	case *mldsa.PrivateKey:
		return strings.ReplaceAll(k.PublicKey().Parameters().String(), "-", "_")
	default:
		return ""
	}
}

// newID makes a UUID (RFC 9562 §5.4).
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func isID(id string) bool {
	if hexadecimal, ok := strings.CutPrefix(id, "mrk-"); ok { // a multi-Region key's
		_, err := hex.DecodeString(hexadecimal)
		return err == nil && len(hexadecimal) == 32
	}
	parts := strings.Split(id, "-")
	if len(id) != 36 || len(parts) != 5 || len(parts[0]) != 8 || len(parts[1]) != 4 || len(parts[2]) != 4 || len(parts[3]) != 4 {
		return false
	}
	_, err := hex.DecodeString(strings.Join(parts, ""))
	return err == nil
}

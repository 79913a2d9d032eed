package kmstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/mldsa/x509"
)

// request has the members of every request that is understood.
type request struct {
	KeyId               string
	Message             []byte
	MessageType         string
	SigningAlgorithm    string
	MacAlgorithm        string
	Mac                 []byte
	Signature           []byte
	Plaintext           []byte
	CiphertextBlob      []byte
	EncryptionAlgorithm string
	EncryptionContext   map[string]string
	DryRun              bool
	KeySpec             string
	KeyUsage            string
	Description         string
	Tags                []tag
	TagKeys             []string
	AliasName           string
	TargetKeyId         string
	PendingWindowInDays *int
	Policy              string
	PolicyName          string
	MultiRegion         bool
	Limit               *int
	Marker              string
}

var macAlgorithms = []string{"HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"}

// perform does what the body asks for.
func (s *Server) perform(operation string, body []byte) (any, *refusal) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, refuse("SerializationException", "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bury()
	var answer any
	var refused *refusal
	switch operation {
	case "Sign":
		return s.sign(r)
	case "Verify":
		return s.verify(r)
	case "GetPublicKey":
		return s.getPublicKey(r)
	case "GenerateMac":
		return s.generateMAC(r)
	case "VerifyMac":
		return s.verifyMAC(r)
	case "Encrypt":
		return s.encrypt(r)
	case "Decrypt":
		return s.decrypt(r)
	case "DescribeKey":
		return s.describeKey(r)
	case "ListResourceTags":
		return s.listResourceTags(r)
	case "ListKeys":
		return s.listKeys(r)
	case "GetKeyPolicy":
		return s.getKeyPolicy(r)
	case "PutKeyPolicy":
		answer, refused = s.putKeyPolicy(r)
	case "CreateKey":
		answer, refused = s.createKey(r)
	case "CreateAlias":
		answer, refused = s.createAlias(r)
	case "EnableKey":
		answer, refused = s.setEnabled(r, Enabled)
	case "DisableKey":
		answer, refused = s.setEnabled(r, Disabled)
	case "ScheduleKeyDeletion":
		answer, refused = s.scheduleKeyDeletion(r)
	case "CancelKeyDeletion":
		answer, refused = s.cancelKeyDeletion(r)
	case "TagResource":
		answer, refused = s.tagResource(r)
	case "UntagResource":
		answer, refused = s.untagResource(r)
	default:
		return nil, refuse(notImplemented, "kmstest does not know %s", operation)
	}
	if refused != nil {
		return nil, refused
	}
	if err := s.save(); err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	return answer, nil
}

// find finds a key by its id, its ARN, an alias or an alias's ARN.
func (s *Server) find(name string) (*key, *refusal) {
	resource, isARN := strings.CutPrefix(name, arnPrefix)
	switch {
	case name == "":
		return nil, invalid("keyId", "Member must not be null")
	case strings.HasPrefix(name, "arn:") && !isARN:
		return nil, refuse("NotFoundException", "Invalid arn %s", name)
	case strings.HasPrefix(resource, "alias/"):
		if k := s.keys[s.aliases[resource]]; k != nil {
			return k, nil
		}
		return nil, refuse("NotFoundException", "Alias %s%s is not found.", arnPrefix, resource)
	}
	id := name
	if isARN {
		id, _ = strings.CutPrefix(resource, "key/")
	}
	if !isID(id) {
		return nil, refuse("NotFoundException", "Invalid keyId '%s'", name)
	}
	if k := s.keys[id]; k != nil {
		return k, nil
	}
	return nil, refuse("NotFoundException", "Key '%skey/%s' does not exist", arnPrefix, id)
}

// managed finds a key for an operation that takes no alias.
func (s *Server) managed(name string) (*key, *refusal) {
	if strings.HasPrefix(strings.TrimPrefix(name, arnPrefix), "alias/") {
		return nil, refuse("NotFoundException", "Invalid keyId '%s'", name)
	}
	return s.find(name)
}

// usable finds a key for its own purpose (AWS KMS Developer Guide, "Key states of
// KMS keys").
func (s *Server) usable(name string) (*key, *refusal) {
	k, refused := s.find(name)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == Disabled:
		return nil, refuse("DisabledException", "%s is disabled.", k.arn())
	case k.state != Enabled:
		return nil, pending(k)
	}
	return k, nil
}

func pending(k *key) *refusal {
	return refuse("KMSInvalidStateException", "%s is pending deletion.", k.arn())
}

func invalid(member, constraint string) *refusal {
	return refuse("ValidationException", "1 validation error detected: Value at '%s' failed to satisfy constraint: %s", member, constraint)
}

// invalidEnum says which values are known, those first that come first in order.
func invalidEnum(member, value string, known []string) *refusal {
	if value == "" {
		return invalid(member, "Member must not be null")
	}
	return refuse("ValidationException", "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]",
		value, member, strings.Join(known, ", "))
}

func checkMessage(message []byte) *refusal {
	switch {
	case len(message) < 1:
		return invalid("message", "Member must have length greater than or equal to 1")
	case len(message) > maxMessage:
		return invalid("message", fmt.Sprintf("Member must have length less than or equal to %d", maxMessage))
	}
	return nil
}

func dryRun() *refusal {
	return refuse("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

func (s *Server) getPublicKey(r request) (any, *refusal) {
	k, refused := s.usable(r.KeyId)
	if refused != nil {
		return nil, refused
	}
	if k.signer == nil {
		return nil, refuse("UnsupportedOperationException", "%s has no public key", k.arn())
	}
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	return struct {
		KeyId                 string
		PublicKey             []byte
		KeySpec               string
		CustomerMasterKeySpec string
		KeyUsage              string
		SigningAlgorithms     []string
	}{k.arn(), der, k.spec, k.spec, k.usage(), signingAlgorithms(k.spec)}, nil
}

// mac checks a request to make or verify a MAC, and yields the key and the MAC.
func (s *Server) mac(r request, operation string) (*key, []byte, *refusal) {
	if refused := checkMessage(r.Message); refused != nil {
		return nil, nil, refused
	}
	if !slices.Contains(macAlgorithms, r.MacAlgorithm) {
		return nil, nil, invalidEnum("macAlgorithm", r.MacAlgorithm, macAlgorithms)
	}
	k, refused := s.usable(r.KeyId)
	switch {
	case refused != nil:
		return nil, nil, refused
	case k.secret == nil:
		return nil, nil, refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", k.arn(), k.usage(), operation)
	case r.MacAlgorithm != "HMAC_SHA_256":
		return nil, nil, refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", r.MacAlgorithm, k.spec)
	case r.DryRun:
		return nil, nil, dryRun()
	}
	h := hmac.New(sha256.New, k.secret)
	h.Write(r.Message)
	return k, h.Sum(nil), nil
}

func (s *Server) generateMAC(r request) (any, *refusal) {
	k, mac, refused := s.mac(r, "GenerateMac")
	if refused != nil {
		return nil, refused
	}
	return struct {
		KeyId        string
		Mac          []byte
		MacAlgorithm string
	}{k.arn(), mac, r.MacAlgorithm}, nil
}

func (s *Server) verifyMAC(r request) (any, *refusal) {
	k, mac, refused := s.mac(r, "VerifyMac")
	if refused != nil {
		return nil, refused
	}
	if !hmac.Equal(mac, r.Mac) {
		return nil, refuse("KMSInvalidMacException", "")
	}
	return struct {
		KeyId        string
		MacAlgorithm string
		MacValid     bool
	}{k.arn(), r.MacAlgorithm, true}, nil
}

// metadata is the KeyMetadata of CreateKey and DescribeKey. Times are in seconds.
func (k *key) metadata() map[string]any {
	m := map[string]any{
		"AWSAccountId":          Account,
		"Arn":                   k.arn(),
		"CreationDate":          float64(k.created.UnixMilli()) / 1000,
		"CustomerMasterKeySpec": k.spec,
		"Description":           k.description,
		"Enabled":               k.state == Enabled,
		"KeyId":                 k.id,
		"KeyManager":            "CUSTOMER",
		"KeySpec":               k.spec,
		"KeyState":              k.state,
		"KeyUsage":              k.usage(),
		"MultiRegion":           k.multiRegion,
		"Origin":                "AWS_KMS",
	}
	switch {
	case k.signer != nil:
		m["SigningAlgorithms"] = signingAlgorithms(k.spec)
	case k.aes != nil:
		m["EncryptionAlgorithms"] = []string{Symmetric}
	default:
		m["MacAlgorithms"] = []string{"HMAC_SHA_256"}
	}
	if k.state == PendingDeletion {
		m["DeletionDate"] = float64(k.deletion.UnixMilli()) / 1000
	}
	return m
}

func (s *Server) describeKey(r request) (any, *refusal) {
	k, refused := s.find(r.KeyId)
	if refused != nil {
		return nil, refused
	}
	return map[string]any{"KeyMetadata": k.metadata()}, nil
}

func (s *Server) createKey(r request) (any, *refusal) {
	// What is named neither way encrypts.
	if r.KeySpec == "" {
		r.KeySpec = Symmetric
	}
	if r.KeyUsage == "" && r.KeySpec == Symmetric {
		r.KeyUsage = "ENCRYPT_DECRYPT"
	}
	usage, held := map[string]string{HMAC256: "GENERATE_VERIFY_MAC", Symmetric: "ENCRYPT_DECRYPT"}[r.KeySpec]
	if len(signingAlgorithms(r.KeySpec)) > 0 {
		usage, held = "SIGN_VERIFY", true
	}
	switch {
	case !held:
		return nil, refuse(notImplemented, "kmstest holds no keys of spec %q", r.KeySpec)
	case r.KeyUsage == "":
		return nil, refuse("ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	case strings.HasPrefix(r.KeySpec, "RSA_") && r.KeyUsage == "ENCRYPT_DECRYPT", strings.HasPrefix(r.KeySpec, "ECC_NIST_P") && r.KeyUsage == "KEY_AGREEMENT":
		return nil, refuse(notImplemented, "kmstest holds no keys for %s", r.KeyUsage)
	case r.KeyUsage != usage:
		return nil, refuse("ValidationException", "KeyUsage %s is not compatible with KeySpec %s", r.KeyUsage, r.KeySpec)
	}
	if r.Policy != "" {
		if refused := checkPolicy(r.Policy); refused != nil {
			return nil, refused
		}
	}
	k, err := s.generate(r.KeySpec)
	if err != nil {
		return nil, refuse(Internal, "%v", err)
	}
	k.description, k.policy, k.multiRegion = r.Description, r.Policy, r.MultiRegion
	if k.multiRegion {
		k.id = "mrk-" + strings.ReplaceAll(k.id, "-", "")
	}
	if refused := k.tag(r.Tags); refused != nil {
		return nil, refused
	}
	s.keys[k.id] = k
	return map[string]any{"KeyMetadata": k.metadata()}, nil
}

func (s *Server) createAlias(r request) (any, *refusal) {
	if name := r.AliasName; !strings.HasPrefix(name, "alias/") || strings.HasPrefix(name, "alias/aws/") || len(name) > 256 {
		return nil, refuse("InvalidAliasNameException", "Invalid alias name %s", name)
	}
	k, refused := s.managed(r.TargetKeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == PendingDeletion:
		return nil, pending(k)
	case s.aliases[r.AliasName] != "":
		return nil, refuse("AlreadyExistsException", "An alias with the name %s%s already exists", arnPrefix, r.AliasName)
	}
	s.aliases[r.AliasName] = k.id
	return nil, nil
}

func (s *Server) setEnabled(r request, state string) (any, *refusal) {
	k, refused := s.managed(r.KeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == PendingDeletion:
		return nil, pending(k)
	}
	k.state = state
	return nil, nil
}

func (s *Server) scheduleKeyDeletion(r request) (any, *refusal) {
	days := 30
	if r.PendingWindowInDays != nil {
		days = *r.PendingWindowInDays
	}
	if days < 7 || days > 30 {
		return nil, refuse("ValidationException", "PendingWindowInDays must be between 7 and 30, inclusive.")
	}
	k, refused := s.managed(r.KeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == PendingDeletion:
		return nil, pending(k)
	}
	k.state = PendingDeletion
	k.deletion = s.Now().Add(time.Duration(days) * 24 * time.Hour)
	return map[string]any{
		"KeyId": k.arn(), "KeyState": k.state, "PendingWindowInDays": days,
		"DeletionDate": float64(k.deletion.UnixMilli()) / 1000,
	}, nil
}

func (s *Server) cancelKeyDeletion(r request) (any, *refusal) {
	k, refused := s.managed(r.KeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state != PendingDeletion:
		return nil, refuse("KMSInvalidStateException", "%s is not pending deletion.", k.arn())
	}
	k.state = Disabled
	return map[string]any{"KeyId": k.arn()}, nil
}

// tag adds tags, or replaces their values.
func (k *key) tag(tags []tag) *refusal {
	for _, t := range tags {
		if t.TagKey == "" || len(t.TagKey) > 128 || len(t.TagValue) > 256 || strings.HasPrefix(t.TagKey, "aws:") {
			return refuse("TagException", "The tag %q is not valid", t.TagKey)
		}
	}
	for _, t := range tags {
		k.untag([]string{t.TagKey})
		k.tags = append(k.tags, t)
	}
	return nil
}

func (k *key) untag(names []string) {
	k.tags = slices.DeleteFunc(k.tags, func(t tag) bool { return slices.Contains(names, t.TagKey) })
}

func (s *Server) tagResource(r request) (any, *refusal) {
	k, refused := s.managed(r.KeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == PendingDeletion:
		return nil, pending(k)
	}
	return nil, k.tag(r.Tags)
}

func (s *Server) untagResource(r request) (any, *refusal) {
	k, refused := s.managed(r.KeyId)
	switch {
	case refused != nil:
		return nil, refused
	case k.state == PendingDeletion:
		return nil, pending(k)
	}
	k.untag(r.TagKeys)
	return nil, nil
}

func (s *Server) listResourceTags(r request) (any, *refusal) {
	k, refused := s.managed(r.KeyId)
	if refused != nil {
		return nil, refused
	}
	return map[string]any{"Tags": append([]tag{}, k.tags...), "Truncated": false}, nil
}

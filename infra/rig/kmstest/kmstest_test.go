package kmstest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"kmint/infra/rig/kmstest"
)

// Made once: an RSA key takes its time.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

const (
	rsaID = "11111111-1111-4111-8111-111111111111"
	ecID  = "22222222-2222-4222-8222-222222222222"
	macID = "33333333-3333-4333-8333-333333333333"
	aesID = "44444444-4444-4444-8444-444444444444"
)

var secret = bytes.Repeat([]byte{7}, 32)

// setup starts a server that holds one key of each kind.
func setup(t *testing.T) (*kmstest.Server, *kms.Client, *ecdsa.PrivateKey) {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := kmstest.New()
	for id, material := range map[string]any{rsaID: rsaKey(), ecID: ec, macID: secret, aesID: kmstest.AES(secret)} {
		if _, err := s.Add(id, material); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Alias("alias/first", rsaID); err != nil {
		t.Fatal(err)
	}
	return s, client(t, s), ec
}

func client(t *testing.T, h http.Handler) *kms.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return kms.New(kms.Options{
		Region:       kmstest.Region,
		BaseEndpoint: aws.String(server.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer:      aws.NopRetryer{},
	})
}

// codeOf is the code of an error of KMS, or "".
func codeOf(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

const (
	rs256 = types.SigningAlgorithmSpecRsassaPkcs1V15Sha256
	ps256 = types.SigningAlgorithmSpecRsassaPssSha256
	ps384 = types.SigningAlgorithmSpecRsassaPssSha384
	es256 = types.SigningAlgorithmSpecEcdsaSha256
)

func TestSignaturesVerifyOutside(t *testing.T) {
	_, c, ec := setup(t)
	message := []byte("a message")
	digest256 := sha256.Sum256(message)
	h := crypto.SHA384.New()
	h.Write(message)
	digest384 := h.Sum(nil)
	for name, test := range map[string]struct {
		key       string
		algorithm types.SigningAlgorithmSpec
		digest    []byte
		verify    func(signature []byte) error
	}{
		"RS256": {rsaID, rs256, digest256[:], func(s []byte) error {
			return rsa.VerifyPKCS1v15(&rsaKey().PublicKey, crypto.SHA256, digest256[:], s)
		}},
		"PS256, salted by the length of the hash": {rsaID, ps256, digest256[:], func(s []byte) error {
			return rsa.VerifyPSS(&rsaKey().PublicKey, crypto.SHA256, digest256[:], s, &rsa.PSSOptions{SaltLength: 32})
		}},
		"PS384, salted by the length of the hash": {rsaID, ps384, digest384, func(s []byte) error {
			return rsa.VerifyPSS(&rsaKey().PublicKey, crypto.SHA384, digest384, s, &rsa.PSSOptions{SaltLength: 48})
		}},
		"ES256, as DER": {ecID, es256, digest256[:], func(s []byte) error {
			if !ecdsa.VerifyASN1(&ec.PublicKey, digest256[:], s) {
				return errors.New("wrong signature")
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []*kms.SignInput{
				{KeyId: &test.key, Message: test.digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: test.algorithm},
				{KeyId: &test.key, Message: message, MessageType: types.MessageTypeRaw, SigningAlgorithm: test.algorithm},
				{KeyId: &test.key, Message: message, SigningAlgorithm: test.algorithm},
			} {
				out, err := c.Sign(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				if err := test.verify(out.Signature); err != nil {
					t.Errorf("%s: %v", in.MessageType, err)
				}
				verify := &kms.VerifyInput{KeyId: in.KeyId, Message: in.Message, MessageType: in.MessageType, SigningAlgorithm: in.SigningAlgorithm, Signature: out.Signature}
				if answer, err := c.Verify(t.Context(), verify); err != nil || !answer.SignatureValid {
					t.Errorf("Verify: %v", err)
				}
				verify.Signature[20] ^= 1
				if _, err := c.Verify(t.Context(), verify); codeOf(err) != "KMSInvalidSignatureException" {
					t.Errorf("Verify of a wrong signature: %v", err)
				}
			}
		})
	}
}

func TestSignRefusesWhatKMSRefuses(t *testing.T) {
	s, c, _ := setup(t)
	disabled, deleted := must(s.Create(kmstest.HMAC256)), must(s.Create(kmstest.P256))
	for arn, state := range map[string]string{disabled: kmstest.Disabled, deleted: kmstest.PendingDeletion} {
		if err := s.SetState(arn, state); err != nil {
			t.Fatal(err)
		}
	}
	const arn = "arn:aws:kms:us-east-1:000000000000:"
	raw, digest := types.MessageTypeRaw, types.MessageTypeDigest
	for name, test := range map[string]struct {
		key       string
		kind      types.MessageType
		length    int
		algorithm types.SigningAlgorithmSpec
		code      string
	}{
		"by id":                       {rsaID, digest, 32, rs256, ""},
		"by ARN":                      {arn + "key/" + rsaID, digest, 32, rs256, ""},
		"by alias":                    {"alias/first", digest, 32, rs256, ""},
		"by the ARN of an alias":      {arn + "alias/first", digest, 32, rs256, ""},
		"raw, 1 byte":                 {rsaID, raw, 1, rs256, ""},
		"raw, 4096 bytes":             {rsaID, raw, 4096, rs256, ""},
		"raw, 4097 bytes":             {rsaID, raw, 4097, rs256, "ValidationException"},
		"raw, nothing":                {rsaID, raw, 0, rs256, "ValidationException"},
		"a digest too short":          {rsaID, digest, 31, rs256, "ValidationException"},
		"a digest too long":           {rsaID, digest, 33, rs256, "ValidationException"},
		"a digest of another hash":    {rsaID, digest, 32, ps384, "ValidationException"},
		"ECDSA by an RSA key":         {rsaID, digest, 32, es256, "InvalidKeyUsageException"},
		"RSA by an EC key":            {ecID, digest, 32, rs256, "InvalidKeyUsageException"},
		"by an HMAC key":              {macID, digest, 32, rs256, "InvalidKeyUsageException"},
		"by a key that encrypts":      {aesID, digest, 32, rs256, "InvalidKeyUsageException"},
		"unknown algorithm":           {rsaID, digest, 32, "RS256", "ValidationException"},
		"unknown kind of message":     {rsaID, "HASH", 32, rs256, "ValidationException"},
		"ML-DSA's kind of message":    {rsaID, types.MessageTypeExternalMu, 64, rs256, "ValidationException"},
		"a disabled key":              {disabled, digest, 32, rs256, "DisabledException"},
		"a key to be deleted":         {deleted, digest, 32, es256, "KMSInvalidStateException"},
		"no such key":                 {"55555555-5555-4555-8555-555555555555", digest, 32, rs256, "NotFoundException"},
		"no key's name":               {"first", digest, 32, rs256, "NotFoundException"},
		"no such alias":               {"alias/second", digest, 32, rs256, "NotFoundException"},
		"a key of another account":    {"arn:aws:kms:us-east-1:111122223333:key/" + rsaID, digest, 32, rs256, "NotFoundException"},
		"a key of another Region":     {"arn:aws:kms:eu-west-1:000000000000:key/" + rsaID, digest, 32, rs256, "NotFoundException"},
		"an ARN that names no key":    {arn + "grant/x", digest, 32, rs256, "NotFoundException"},
		"an algorithm of no key here": {ecID, digest, 48, types.SigningAlgorithmSpecEcdsaSha384, "InvalidKeyUsageException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Sign(t.Context(), &kms.SignInput{
				KeyId: &test.key, Message: make([]byte, test.length), MessageType: test.kind, SigningAlgorithm: test.algorithm,
			})
			if (err == nil) != (test.code == "") || codeOf(err) != test.code {
				t.Errorf("got %v, want %q", err, test.code)
			}
		})
	}
	t.Run("dry run", func(t *testing.T) {
		_, err := c.Sign(t.Context(), &kms.SignInput{KeyId: aws.String(rsaID), Message: []byte("m"), SigningAlgorithm: rs256, DryRun: aws.Bool(true)})
		if codeOf(err) != "DryRunOperationException" {
			t.Error(err)
		}
	})
}

func TestGetPublicKey(t *testing.T) {
	s, c, _ := setup(t)
	out, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: aws.String("alias/first")})
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil || !rsaKey().PublicKey.Equal(public) {
		t.Errorf("public key: %v", err)
	}
	if *out.KeyId != "arn:aws:kms:us-east-1:000000000000:key/"+rsaID || out.KeySpec != types.KeySpecRsa2048 || out.KeyUsage != types.KeyUsageTypeSignVerify || len(out.SigningAlgorithms) != 6 {
		t.Errorf("%+v", out)
	}
	if err := s.SetState(rsaID, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	for key, code := range map[string]string{rsaID: "DisabledException", macID: "UnsupportedOperationException", aesID: "UnsupportedOperationException", "alias/none": "NotFoundException"} {
		if _, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &key}); codeOf(err) != code {
			t.Errorf("%s: got %v, want %s", key, err, code)
		}
	}
}

func TestMac(t *testing.T) {
	_, c, _ := setup(t)
	in := &kms.GenerateMacInput{KeyId: aws.String(macID), Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256}
	out, err := c.GenerateMac(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := hmac.New(sha256.New, secret)
	want.Write([]byte("m"))
	if !hmac.Equal(out.Mac, want.Sum(nil)) {
		t.Error("wrong MAC")
	}
	verify := &kms.VerifyMacInput{KeyId: in.KeyId, Message: in.Message, MacAlgorithm: in.MacAlgorithm, Mac: out.Mac}
	if answer, err := c.VerifyMac(t.Context(), verify); err != nil || !answer.MacValid {
		t.Error(err)
	}
	verify.Message = []byte("n")
	if _, err := c.VerifyMac(t.Context(), verify); codeOf(err) != "KMSInvalidMacException" {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		key       string
		length    int
		algorithm types.MacAlgorithmSpec
		code      string
	}{
		"4096 bytes":     {macID, 4096, types.MacAlgorithmSpecHmacSha256, ""},
		"4097 bytes":     {macID, 4097, types.MacAlgorithmSpecHmacSha256, "ValidationException"},
		"nothing":        {macID, 0, types.MacAlgorithmSpecHmacSha256, "ValidationException"},
		"a wrong length": {macID, 1, types.MacAlgorithmSpecHmacSha512, "InvalidKeyUsageException"},
		"no algorithm":   {macID, 1, "HS256", "ValidationException"},
		"one encrypting": {aesID, 1, types.MacAlgorithmSpecHmacSha256, "InvalidKeyUsageException"},
		"a signing key":  {rsaID, 1, types.MacAlgorithmSpecHmacSha256, "InvalidKeyUsageException"},
	} {
		_, err := c.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: &test.key, Message: make([]byte, test.length), MacAlgorithm: test.algorithm})
		if (err == nil) != (test.code == "") || codeOf(err) != test.code {
			t.Errorf("%s: got %v, want %q", name, err, test.code)
		}
	}
}

func TestEncrypt(t *testing.T) {
	s, c, _ := setup(t)
	other, disabled := must(s.Create(kmstest.Symmetric)), must(s.Create(kmstest.Symmetric))
	to := map[string]string{"a": "1", "b": "2"}
	encrypt := func(key string, plaintext []byte, context map[string]string) ([]byte, error) {
		out, err := c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: plaintext, EncryptionContext: context})
		if err != nil {
			return nil, err
		}
		return out.CiphertextBlob, nil
	}
	whole, plain := must(encrypt(aesID, []byte("m"), to)), must(encrypt(aesID, []byte("m"), nil))
	long := []byte("longer than chance")
	if again := must(encrypt(aesID, []byte("m"), to)); bytes.Equal(whole, again) || bytes.Contains(must(encrypt(aesID, long, to)), long) {
		t.Error("not encrypted, or twice the same")
	}
	gone := must(encrypt(disabled, []byte("m"), to))
	if err := s.SetState(disabled, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-1] ^= 1
	for name, test := range map[string]struct {
		key     string // "" names none
		blob    []byte
		context map[string]string
		code    string
	}{
		"as it was":                  {aesID, whole, to, ""},
		"without a key's name":       {"", whole, to, ""},
		"without context":            {aesID, plain, nil, ""},
		"with an empty context":      {aesID, plain, map[string]string{}, ""},
		"another context":            {aesID, whole, map[string]string{"a": "1", "b": "3"}, "InvalidCiphertextException"},
		"less context":               {aesID, whole, map[string]string{"a": "1"}, "InvalidCiphertextException"},
		"no context":                 {aesID, whole, nil, "InvalidCiphertextException"},
		"a context where there none": {aesID, plain, to, "InvalidCiphertextException"},
		"another key":                {other, whole, to, "IncorrectKeyException"},
		"a key to sign with":         {rsaID, whole, to, "InvalidKeyUsageException"},
		"a key for MACs":             {macID, whole, to, "InvalidKeyUsageException"},
		"a disabled key":             {"", gone, to, "DisabledException"},
		"no such key":                {"alias/none", whole, to, "NotFoundException"},
		"changed":                    {aesID, changed, to, "InvalidCiphertextException"},
		"cut off":                    {aesID, whole[:len(whole)-1], to, "InvalidCiphertextException"},
		"too short":                  {aesID, whole[:8], to, "InvalidCiphertextException"},
		"nothing":                    {aesID, nil, to, "ValidationException"},
		"6145 bytes":                 {aesID, make([]byte, 6145), to, "ValidationException"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &kms.DecryptInput{CiphertextBlob: test.blob, EncryptionContext: test.context}
			if test.blob == nil {
				in.CiphertextBlob = []byte{}
			}
			if test.key != "" {
				in.KeyId = &test.key
			}
			out, err := c.Decrypt(t.Context(), in)
			if (err == nil) != (test.code == "") || codeOf(err) != test.code {
				t.Fatalf("got %v, want %q", err, test.code)
			}
			if err == nil && (string(out.Plaintext) != "m" || *out.KeyId != "arn:aws:kms:us-east-1:000000000000:key/"+aesID) {
				t.Errorf("%+v", out)
			}
		})
	}
	for name, test := range map[string]struct {
		key    string
		length int
		code   string
	}{
		"4096 bytes":          {aesID, 4096, ""},
		"4097 bytes":          {aesID, 4097, "ValidationException"},
		"nothing":             {aesID, 0, "ValidationException"},
		"by a signing key":    {rsaID, 1, "InvalidKeyUsageException"},
		"by a key for MACs":   {macID, 1, "InvalidKeyUsageException"},
		"by a disabled key":   {disabled, 1, "DisabledException"},
		"by an unknown alias": {"alias/none", 1, "NotFoundException"},
	} {
		if _, err := encrypt(test.key, make([]byte, test.length), to); (err == nil) != (test.code == "") || codeOf(err) != test.code {
			t.Errorf("%s: got %v, want %q", name, err, test.code)
		}
	}
	_, err := c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: aws.String(aesID), Plaintext: []byte("m"), EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256})
	if codeOf(err) != "InvalidKeyUsageException" {
		t.Errorf("RSA by a symmetric key: %v", err)
	}
}

func TestTheLifeOfAKey(t *testing.T) {
	s, c, _ := setup(t)
	ctx := t.Context()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	created, err := c.CreateKey(ctx, &kms.CreateKeyInput{
		KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify, Description: aws.String("d"),
		Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("1")}, {TagKey: aws.String("b"), TagValue: aws.String("2")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := created.KeyMetadata.KeyId
	sign := func() string {
		_, err := c.Sign(ctx, &kms.SignInput{KeyId: id, Message: []byte("m"), SigningAlgorithm: es256})
		if err != nil && codeOf(err) == "" {
			t.Fatal(err)
		}
		return codeOf(err)
	}
	state := func() types.KeyState {
		out, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: id})
		if err != nil {
			t.Fatal(err)
		}
		if out.KeyMetadata.Enabled != (out.KeyMetadata.KeyState == types.KeyStateEnabled) || !out.KeyMetadata.CreationDate.Equal(now) {
			t.Errorf("%+v", out.KeyMetadata)
		}
		return out.KeyMetadata.KeyState
	}
	step := func(name string, err error, code string) {
		t.Helper()
		if (err == nil) != (code == "") || codeOf(err) != code {
			t.Errorf("%s: got %v, want %q", name, err, code)
		}
	}
	wantState := func(want types.KeyState, code string) {
		t.Helper()
		if got := state(); got != want {
			t.Errorf("state %s, want %s", got, want)
		}
		if got := sign(); got != code {
			t.Errorf("Sign: %q, want %q", got, code)
		}
	}
	wantState(types.KeyStateEnabled, "")
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
	step("DisableKey", err, "")
	wantState(types.KeyStateDisabled, "DisabledException")
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
	step("EnableKey", err, "")
	wantState(types.KeyStateEnabled, "")

	_, err = c.TagResource(ctx, &kms.TagResourceInput{KeyId: id, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("3")}}})
	step("TagResource", err, "")
	_, err = c.UntagResource(ctx, &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"b"}})
	step("UntagResource", err, "")
	tags, err := c.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: id})
	step("ListResourceTags", err, "")
	if len(tags.Tags) != 1 || *tags.Tags[0].TagKey != "a" || *tags.Tags[0].TagValue != "3" {
		t.Errorf("tags %+v", tags.Tags)
	}
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/second"), TargetKeyId: id})
	step("CreateAlias", err, "")
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/second"), TargetKeyId: id})
	step("CreateAlias again", err, "AlreadyExistsException")
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("second"), TargetKeyId: id})
	step("CreateAlias of no alias", err, "InvalidAliasNameException")
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String("alias/second")})
	step("DisableKey by alias", err, "NotFoundException")

	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(6)})
	step("ScheduleKeyDeletion too soon", err, "ValidationException")
	scheduled, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
	step("ScheduleKeyDeletion", err, "")
	if !scheduled.DeletionDate.Equal(now.AddDate(0, 0, 7)) {
		t.Errorf("to be deleted at %v", scheduled.DeletionDate)
	}
	wantState(types.KeyStatePendingDeletion, "KMSInvalidStateException")
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
	step("EnableKey", err, "KMSInvalidStateException")
	_, err = c.TagResource(ctx, &kms.TagResourceInput{KeyId: id, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("3")}}})
	step("TagResource", err, "KMSInvalidStateException")
	_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: id})
	step("CancelKeyDeletion", err, "")
	wantState(types.KeyStateDisabled, "DisabledException")

	_, err = c.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048})
	step("CreateKey without usage", err, "ValidationException")
	_, err = c.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeSignVerify})
	step("CreateKey with a wrong usage", err, "ValidationException")
	encrypting, err := c.CreateKey(ctx, &kms.CreateKeyInput{})
	step("CreateKey", err, "")
	if m := encrypting.KeyMetadata; m.KeySpec != types.KeySpecSymmetricDefault || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt || len(m.EncryptionAlgorithms) != 1 {
		t.Errorf("%+v", m)
	}
	_, err = c.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecEccSecgP256k1, KeyUsage: types.KeyUsageTypeSignVerify})
	step("CreateKey of a kind not held", err, "UnsupportedOperationException")
}

func TestFaults(t *testing.T) {
	s, c, _ := setup(t)
	sign := func(ctx context.Context) error {
		_, err := c.Sign(ctx, &kms.SignInput{KeyId: aws.String(ecID), Message: []byte("m"), SigningAlgorithm: es256})
		return err
	}
	s.Next("Sign", kmstest.Fault{Error: kmstest.Throttled}, kmstest.Fault{Drop: kmstest.Before}, kmstest.Fault{Drop: kmstest.After}, kmstest.Fault{Error: kmstest.Internal})
	if err := sign(t.Context()); codeOf(err) != "ThrottlingException" {
		t.Error(err)
	}
	for range 2 {
		if err := sign(t.Context()); err == nil || codeOf(err) != "" {
			t.Errorf("dropped: %v", err)
		}
	}
	if err := sign(t.Context()); codeOf(err) != "KMSInternalException" {
		t.Error(err)
	}
	if err := sign(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.Calls("Sign"); n != 5 {
		t.Errorf("%d calls, want 5", n)
	}
	s.Always("Sign", kmstest.Fault{Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := sign(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s.Always("Sign", kmstest.Fault{})
	if err := sign(t.Context()); err != nil {
		t.Error(err)
	}

	// What is dropped before is not performed, what is dropped after is.
	for drop, want := range map[kmstest.Drop]types.KeyState{kmstest.Before: types.KeyStateEnabled, kmstest.After: types.KeyStateDisabled} {
		arn := must(s.Create(kmstest.HMAC256))
		s.Next("DisableKey", kmstest.Fault{Drop: drop})
		if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &arn}); err == nil || codeOf(err) != "" {
			t.Errorf("dropped: %v", err)
		}
		out, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &arn})
		if err != nil || out.KeyMetadata.KeyState != want {
			t.Errorf("%v: %v, want %s", err, out, want)
		}
	}
}

func TestWithoutASignature(t *testing.T) {
	s, _, _ := setup(t)
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte("{}")))
	r.Header.Set("X-Amz-Target", "TrentService.Sign")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !bytes.Contains(w.Body.Bytes(), []byte("MissingAuthenticationTokenException")) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOpenKeeps(t *testing.T) {
	dir := t.TempDir()
	s, err := kmstest.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	arn := must(s.Add(ecID, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	mac, aes := must(s.Create(kmstest.HMAC256)), must(s.Create(kmstest.Symmetric))
	sealed, err := client(t, s).Encrypt(t.Context(), &kms.EncryptInput{KeyId: &aes, Plaintext: []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Alias("alias/a", arn), s.SetState(mac, kmstest.Disabled)); err != nil {
		t.Fatal(err)
	}
	public := func(s *kmstest.Server) []byte {
		out, err := client(t, s).GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: aws.String("alias/a")})
		if err != nil {
			t.Fatal(err)
		}
		return out.PublicKey
	}
	again, err := kmstest.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(public(s), public(again)) || again.Aliased("alias/a") != arn {
		t.Error("another key")
	}
	_, err = client(t, again).GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: &mac, Message: []byte("m"), MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	if codeOf(err) != "DisabledException" {
		t.Error(err)
	}
	if out, err := client(t, again).Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob}); err != nil || string(out.Plaintext) != "m" {
		t.Error(err)
	}
	info, err := os.Stat(dir + "/kms.json")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := os.WriteFile(dir+"/kms.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kmstest.Open(dir); err == nil {
		t.Error("a broken file was opened")
	}
}

// must is for what cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAddRefuses(t *testing.T) {
	s := kmstest.New()
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id       string
		material any
	}{
		"no UUID": {"first", secret}, "another curve": {ecID, small}, "a short secret": {macID, secret[:31]}, "a short AES key": {aesID, kmstest.AES(secret[:31])}, "no key": {ecID, "secret"},
	} {
		if _, err := s.Add(test.id, test.material); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := s.Create("SM2"); err == nil {
		t.Error("a key of a kind not held was made")
	}
}

package kmstest_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"kmint/infra/rig/kmstest"
)

// What AWS documents of the operations by which keys are made, guarded and ended.
func TestLife(t *testing.T) {
	server := kmstest.New()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	server.Now = func() time.Time { return now }
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	c := kms.NewFromConfig(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	ctx := t.Context()
	refused := func(what string, err error, code string) {
		t.Helper()
		var answer smithy.APIError
		if !errors.As(err, &answer) || answer.ErrorCode() != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	const good = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"kms:*","Resource":"*"}]}`
	create := func(policy string) (string, error) {
		out, err := c.CreateKey(ctx, &kms.CreateKeyInput{
			KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify, Policy: &policy, MultiRegion: aws.Bool(true),
		})
		if err != nil {
			return "", err
		}
		if !aws.ToBool(out.KeyMetadata.MultiRegion) || !strings.Contains(*out.KeyMetadata.Arn, ":key/mrk-") {
			t.Errorf("a multi-Region key: %+v", out.KeyMetadata)
		}
		return *out.KeyMetadata.Arn, nil
	}
	for name, policy := range map[string]string{
		"no JSON":       "x",
		"nobody":        `{"Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`,
		"not in charge": strings.Replace(good, "kms:*", "kms:DescribeKey", 1),
		"locked out":    strings.Replace(good, `"Allow"`, `"Deny"`, 1),
	} {
		_, err := create(policy)
		refused(name, err, "MalformedPolicyDocumentException")
	}
	arn, err := create(good)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &arn}); err != nil || *out.Policy != good {
		t.Errorf("the policy %+v: %v", out, err)
	}
	_, err = c.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &arn, Policy: aws.String("x")})
	refused("another policy", err, "MalformedPolicyDocumentException")
	_, err = c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &arn, PolicyName: aws.String("mine")})
	refused("a policy by another name", err, "NotFoundException")

	// Without one, a key has the default.
	plain, err := server.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &plain}); err != nil || !strings.Contains(*out.Policy, "Enable IAM User Permissions") {
		t.Errorf("the default policy %+v: %v", out, err)
	}

	// Page by page, each key once.
	seen := map[string]bool{}
	pages := kms.NewListKeysPaginator(c, &kms.ListKeysInput{Limit: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil || len(page.Keys) > 1 {
			t.Fatalf("a page: %+v %v", page, err)
		}
		for _, k := range page.Keys {
			seen[*k.KeyArn] = true
		}
	}
	if len(seen) != 2 || !seen[arn] || !seen[plain] {
		t.Errorf("listed %v", seen)
	}
	_, err = c.ListKeys(ctx, &kms.ListKeysInput{Limit: aws.Int32(1001)})
	refused("too long a page", err, "ValidationException")

	// A key that is to be deleted is listed and has a policy, and takes another; then
	// it is gone.
	if _, err := c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn, PendingWindowInDays: aws.Int32(30)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn})
	refused("twice", err, "KMSInvalidStateException")
	_, err = c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})
	refused("disable", err, "KMSInvalidStateException")
	if _, err := c.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &arn, Policy: aws.String(good)}); err != nil {
		t.Error(err)
	}
	for _, wait := range []struct {
		until time.Duration
		keys  int
	}{{30*24*time.Hour - time.Second, 2}, {30 * 24 * time.Hour, 1}} {
		now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(wait.until)
		if out, err := c.ListKeys(ctx, &kms.ListKeysInput{}); err != nil || len(out.Keys) != wait.keys || len(server.States()) != wait.keys {
			t.Errorf("after %s: %+v %v", wait.until, out, err)
		}
	}
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	refused("a key that is gone", err, "NotFoundException")
}

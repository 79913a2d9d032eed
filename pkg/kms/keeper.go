package kms

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"kmint/pkg/jwt"
)

// Tags of KMS keys. Roles reach keys by them.
const (
	// TagStack is the name of the CloudFormation stack, TagUse what a key is for.
	TagStack = "kmint:stack"
	TagUse   = "kmint:use"
	// TagAlgorithm is the algorithm of a key that a rotation has made, and TagMadeBy
	// says that one has.
	TagAlgorithm = "kmint:algorithm"
	TagMadeBy    = "kmint:made-by"

	// Sign is the use of signing keys, Rotate who makes them.
	Sign   = "sign"
	Rotate = "rotate"
)

// pendingDays are the days until a key is deleted: the most that KMS can wait.
const pendingDays = 30

// createTimeout bounds the making of a key: nobody waits for it.
const createTimeout = 30 * time.Second

// A Keeper knows the signing keys of a stack by their tags, makes them and ends them.
// KMS gives no key a name of the caller's, and has no way to create one only once: so
// a key whose creation was not heard of can be found by its tags alone.
type Keeper struct {
	Client *kms.Client
	Stack  string
	// Signers are the ARNs of the roles that sign.
	Signers []string
}

// Held lists the stack's signing keys. It asks for the tags of every key in the
// account's Region.
func (k Keeper) Held(ctx context.Context) ([]jwt.Held, error) {
	var held []jwt.Held
	pages := kms.NewListKeysPaginator(k.Client, &kms.ListKeysInput{Limit: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explain(err)
		}
		for _, entry := range page.Keys {
			h, ours, err := k.held(ctx, aws.ToString(entry.KeyArn))
			if err != nil {
				return nil, err
			}
			if ours {
				held = append(held, h)
			}
		}
	}
	return held, nil
}

// held describes a key, if it is one of the stack's.
func (k Keeper) held(ctx context.Context, arn string) (h jwt.Held, ours bool, err error) {
	tags := map[string]string{}
	pages := kms.NewListResourceTagsPaginator(k.Client, &kms.ListResourceTagsInput{KeyId: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		switch {
		// The policy of a key of others may keep its tags from us; and one may go
		// meanwhile.
		case refusedAs(err, "AccessDeniedException", "NotFoundException"):
			return h, false, nil
		case err != nil:
			return h, false, explain(err)
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
		}
	}
	if tags[TagStack] != k.Stack || tags[TagUse] != Sign {
		return h, false, nil
	}
	out, err := k.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		return h, false, explain(err)
	}
	h = describe(out.KeyMetadata)
	h.Algorithm, h.Made = tags[TagAlgorithm], tags[TagMadeBy] == Rotate
	if h.Made && h.State != jwt.Deleting {
		h.Guarded, err = k.guarded(ctx, h)
	}
	return h, true, err
}

func describe(m *types.KeyMetadata) jwt.Held {
	h := jwt.Held{Reference: aws.ToString(m.Arn), Created: aws.ToTime(m.CreationDate), State: jwt.Disabled}
	switch {
	case m.KeyState == types.KeyStatePendingDeletion, m.KeyState == types.KeyStatePendingReplicaDeletion:
		h.State = jwt.Deleting
	// Of a key whose material was imported, somebody has a copy.
	case m.KeyState == types.KeyStateEnabled && m.Origin == types.OriginTypeAwsKms:
		h.State = jwt.Usable
	}
	return h
}

// policyName is the only one that a key can have.
const policyName = "default"

func (k Keeper) guarded(ctx context.Context, h jwt.Held) (bool, error) {
	if _, known := algorithms[h.Algorithm]; !known { // nobody here has made it
		return false, nil
	}
	want, err := document(h.Reference, k.Signers, h.Algorithm)
	if err != nil {
		return false, err
	}
	out, err := k.Client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &h.Reference, PolicyName: aws.String(policyName)})
	if err != nil {
		return false, explain(err)
	}
	return same(want, aws.ToString(out.Policy)), nil
}

// PublicKey is as in Signer.
func (k Keeper) PublicKey(ctx context.Context, arn string) (crypto.PublicKey, error) {
	return Signer{k.Client}.PublicKey(ctx, arn)
}

// Create makes a key for an algorithm, of the same spec as the one at like.
func (k Keeper) Create(ctx context.Context, algorithm, like string) (jwt.Held, error) {
	model, err := k.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &like})
	if err != nil {
		return jwt.Held{}, explain(err)
	}
	policy, err := document(like, k.Signers, algorithm)
	if err != nil {
		return jwt.Held{}, err
	}
	tag := func(name, value string) types.Tag { return types.Tag{TagKey: &name, TagValue: &value} }
	out, err := k.Client.CreateKey(ctx, &kms.CreateKeyInput{
		KeySpec: model.KeyMetadata.KeySpec, KeyUsage: types.KeyUsageTypeSignVerify, MultiRegion: model.KeyMetadata.MultiRegion,
		Description: aws.String(fmt.Sprintf("kmint %s, signs tokens by %s, made by rotation", k.Stack, algorithm)),
		Policy:      &policy,
		Tags:        []types.Tag{tag(TagStack, k.Stack), tag(TagUse, Sign), tag(TagAlgorithm, algorithm), tag(TagMadeBy, Rotate)},
	}, once)
	if err != nil {
		return jwt.Held{}, explain(err)
	}
	h := describe(out.KeyMetadata)
	h.Algorithm, h.Made, h.Guarded = algorithm, true, true
	return h, nil
}

// once waits for an answer that may take a while, and asks no second time: that would
// make a second key.
func once(o *kms.Options) {
	o.Retryer = aws.NopRetryer{}
	if client, ours := o.HTTPClient.(*awshttp.BuildableClient); ours {
		o.HTTPClient = client.WithTimeout(createTimeout)
	}
}

// Guard gives a key its policy: the roles that sign may be others by now.
func (k Keeper) Guard(ctx context.Context, arn, algorithm string) error {
	policy, err := document(arn, k.Signers, algorithm)
	if err != nil {
		return err
	}
	_, err = k.Client.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &arn, PolicyName: aws.String(policyName), Policy: &policy})
	return explained(err)
}

// Disable keeps a key from signing, at once. EnableKey undoes it. One that is gone signs
// no more either.
func (k Keeper) Disable(ctx context.Context, arn string) error {
	_, err := k.Client.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})
	if refusedAs(err, "NotFoundException") {
		return nil
	}
	return k.unless(ctx, err, arn, jwt.Disabled, jwt.Deleting)
}

// Delete lets a key be gone in 30 days. Until then CancelKeyDeletion undoes it.
func (k Keeper) Delete(ctx context.Context, arn string) error {
	_, err := k.Client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn, PendingWindowInDays: aws.Int32(pendingDays)})
	return k.unless(ctx, err, arn, jwt.Deleting)
}

// unless is err, but where another has done the same before.
func (k Keeper) unless(ctx context.Context, err error, arn string, states ...string) error {
	if !refusedAs(err, "KMSInvalidStateException") {
		return explained(err)
	}
	out, again := k.Client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if again == nil && slices.Contains(states, describe(out.KeyMetadata).State) {
		return nil
	}
	return explain(err)
}

// explained is explain, and nil where nothing went wrong.
func explained(err error) error {
	if err == nil {
		return nil
	}
	return explain(err)
}

func refusedAs(err error, codes ...string) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && slices.Contains(codes, answer.ErrorCode())
}

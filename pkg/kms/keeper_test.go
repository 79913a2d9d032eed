package kms_test

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
)

const role = "arn:aws:iam::000000000000:role/token"

// keep starts a KMS, of which the stack "one" has a signing key of the template's.
func keep(t *testing.T) (server *kmstest.Server, keeper kms.Keeper, first string) {
	t.Helper()
	server = kmstest.New()
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	first, err := server.Create(kmstest.P256)
	if err != nil {
		t.Fatal(err)
	}
	tag(t, server, first, kms.TagStack, "one", kms.TagUse, kms.Sign)
	client := kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	return server, kms.Keeper{Client: client, Stack: "one", Signers: []string{role}}, first
}

func tag(t *testing.T, server *kmstest.Server, arn string, pairs ...string) {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if err := server.Tag(arn, pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
}

func held(t *testing.T, k kms.Keeper) []jwt.Held {
	t.Helper()
	all, err := k.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b jwt.Held) int { return a.Created.Compare(b.Created) })
	return all
}

func TestKeeper(t *testing.T) {
	server, k, first := keep(t)
	ctx := t.Context()
	epoch := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	server.Now = func() time.Time { return epoch }

	// Keys of others: of no tags, of another stack, for another use.
	for _, tags := range [][]string{nil, {kms.TagStack, "two", kms.TagUse, kms.Sign}, {kms.TagStack, "one", kms.TagUse, "seal"}, {kms.TagStack, "one"}} {
		arn, err := server.Create(kmstest.P256)
		if err != nil {
			t.Fatal(err)
		}
		tag(t, server, arn, tags...)
	}
	made, err := k.Create(ctx, jwt.ES256, first)
	if err != nil {
		t.Fatal(err)
	}
	want := jwt.Held{Reference: made.Reference, Algorithm: jwt.ES256, State: jwt.Usable, Created: epoch, Made: true, Guarded: true}
	if made.Created = made.Created.UTC(); made != want {
		t.Errorf("made %+v", made)
	}
	find := func(arn string) (h jwt.Held) {
		t.Helper()
		all := held(t, k)
		if i := slices.IndexFunc(all, func(h jwt.Held) bool { return h.Reference == arn }); i >= 0 {
			h = all[i]
			h.Created = h.Created.UTC()
		}
		return h
	}
	if all := held(t, k); len(all) != 2 || find(made.Reference) != want || find(first).Made || find(first).State != jwt.Usable {
		t.Fatalf("held %+v", all)
	}
	if i := slices.IndexFunc(server.States(), func(s kmstest.State) bool { return s.ARN == made.Reference }); server.States()[i].Spec != kmstest.P256 {
		t.Errorf("it is %+v", server.States()[i])
	}
	if public, err := k.PublicKey(ctx, made.Reference); err != nil || jwt.CheckKey(jwt.ES256, public) != nil {
		t.Errorf("public key %v: %v", public, err)
	}

	// Other roles sign now.
	k.Signers = append(k.Signers, role+"2")
	if find(made.Reference).Guarded {
		t.Error("the old policy counts as the new")
	}
	for range 2 {
		if err := k.Guard(ctx, made.Reference, jwt.ES256); err != nil || !find(made.Reference).Guarded {
			t.Errorf("guard: %v", err)
		}
	}
	// What says the same in other words is the same.
	out, err := k.Client.GetKeyPolicy(ctx, &awskms.GetKeyPolicyInput{KeyId: &made.Reference})
	if err != nil {
		t.Fatal(err)
	}
	other := strings.NewReplacer(`["DIGEST"]`, `"DIGEST"`, `"`+role+`","`+role+`2"`, `"`+role+`2", "`+role+`"`).Replace(*out.Policy)
	if other == *out.Policy {
		t.Fatal("nothing was changed")
	}
	if _, err := k.Client.PutKeyPolicy(ctx, &awskms.PutKeyPolicyInput{KeyId: &made.Reference, Policy: &other}); err != nil || !find(made.Reference).Guarded {
		t.Errorf("in other words: %v", err)
	}

	// The end, each step twice: two runs at once do that.
	for range 2 {
		if err := k.Disable(ctx, made.Reference); err != nil || find(made.Reference).State != jwt.Disabled {
			t.Errorf("disable: %v", err)
		}
	}
	for range 2 {
		if err := k.Delete(ctx, made.Reference); err != nil || find(made.Reference).State != jwt.Deleting {
			t.Errorf("delete: %v", err)
		}
	}
	if err := k.Disable(ctx, made.Reference); err != nil || find(made.Reference).State != jwt.Deleting {
		t.Errorf("disable what is to be deleted: %v", err)
	}
	server.Now = func() time.Time { return epoch.Add(30*24*time.Hour - time.Second) }
	if find(made.Reference).State != jwt.Deleting {
		t.Error("it is gone early")
	}
	server.Now = func() time.Time { return epoch.Add(30 * 24 * time.Hour) }
	if all := held(t, k); len(all) != 1 || all[0].Reference != first {
		t.Errorf("afterwards %+v", all)
	}
	if err := k.Disable(ctx, made.Reference); err != nil {
		t.Errorf("disable what is gone: %v", err)
	}
	if err := k.Delete(ctx, made.Reference); err == nil {
		t.Error("what is gone can be deleted")
	}
}

// A key whose making was not heard of is there all the same, and seen.
func TestKeeperLosesNothing(t *testing.T) {
	server, k, first := keep(t)
	server.Next("CreateKey", kmstest.Fault{Delay: 1500 * time.Millisecond, Drop: kmstest.After})
	if _, err := k.Create(t.Context(), jwt.ES256, first); err == nil {
		t.Fatal("the answer was lost")
	}
	made := 0
	for _, h := range held(t, k) {
		if h.Made && h.Algorithm == jwt.ES256 && h.Guarded {
			made++
		}
	}
	if made != 1 || server.Calls("CreateKey") != 1 {
		t.Errorf("%d keys were made by %d calls", made, server.Calls("CreateKey"))
	}
	// Not seeing all is an error, and no shorter list.
	for _, operation := range []string{"ListKeys", "ListResourceTags", "DescribeKey", "GetKeyPolicy"} {
		fault := kmstest.Fault{Error: kmstest.Internal}
		server.Next(operation, fault, fault)
		if all, err := k.Held(t.Context()); err == nil {
			t.Errorf("%s fails: %+v", operation, all)
		}
	}
	// But the tags of others' keys, whose policies do not let us.
	server.Next("ListResourceTags", kmstest.Fault{Error: kmstest.AccessDenied})
	if all := held(t, k); len(all) != 1 {
		t.Errorf("held %+v", all)
	}
}

// More keys than a page has.
func TestKeeperPages(t *testing.T) {
	server, k, _ := keep(t)
	for range 1010 {
		arn, err := server.Create(kmstest.HMAC256)
		if err != nil {
			t.Fatal(err)
		}
		tag(t, server, arn, kms.TagStack, "one", kms.TagUse, kms.Sign)
	}
	if all := held(t, k); len(all) != 1011 {
		t.Errorf("%d keys", len(all))
	}
}

// The policy leaves the account in charge, and forbids nothing but signatures.
func TestPolicy(t *testing.T) {
	for _, algorithm := range jwt.Algorithms() {
		statements, err := kms.Policy("root", []string{"a", "b"}, algorithm)
		if err != nil || len(statements) != 4 {
			t.Fatalf("%s: %+v %v", algorithm, statements, err)
		}
		denied := map[string][]string{}
		for i, s := range statements {
			if i == 0 {
				if s.Effect != "Allow" || s.Action != "kms:*" || s.Principal["AWS"] != "root" || s.Condition != nil {
					t.Errorf("%s: %+v", algorithm, s)
				}
				continue
			}
			if s.Effect != "Deny" || s.Action != "kms:Sign" || len(s.Condition) != 1 {
				t.Errorf("%s: %+v", algorithm, s)
			}
			for operator, keys := range s.Condition {
				for key, values := range keys {
					denied[operator+" "+key] = values
				}
			}
		}
		if !reflect.DeepEqual(denied["ArnNotEquals aws:PrincipalArn"], []string{"a", "b"}) ||
			len(denied["StringNotEquals kms:MessageType"]) != 1 || len(denied["StringNotEquals kms:SigningAlgorithm"]) != 1 {
			t.Errorf("%s: %v", algorithm, denied)
		}
	}
	if _, err := kms.Policy("root", nil, "HS256"); err == nil {
		t.Error("a policy for HS256")
	}
	text, err := json.Marshal(kms.Statement{ID: "x"})
	if err != nil || strings.Contains(string(text), "Condition") {
		t.Errorf("%s %v", text, err)
	}
}

package lambda

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/kms"
	"kmint/pkg/store"
)

// The rotate function, built and run, on a schedule's event: what it logs is the golden
// file's, its calls are counted, and the registry is what it should be.
func TestRotate(t *testing.T) {
	r := newRig(t)
	for _, arn := range []string{r.signingKey, r.ps256Key, r.es256Key} {
		for name, value := range map[string]string{kms.TagStack: "kmint", kms.TagUse: kms.Sign} {
			if err := r.kms.Tag(arn, name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	db := &dynamo.Store{DB: dynamo.NewClient(r.db.Config()), ConfigTable: r.tables.Config}
	rotate := r.start(t, "rotate")
	event := readEvent(t, "rotate/scheduled")
	var runs []any
	run := func(what string) {
		t.Helper()
		counted := []string{"CreateKey", "PutKeyPolicy", "DisableKey", "ScheduleKeyDeletion", "Sign"}
		before := map[string]int{}
		for _, operation := range counted {
			before[operation] = r.kms.Calls(operation)
		}
		payload, _, lines := rotate.ask(t, event)
		if string(payload) != "null" {
			t.Fatalf("%s: %s", what, payload)
		}
		calls := map[string]int{}
		for _, operation := range counted {
			if n := r.kms.Calls(operation) - before[operation]; n > 0 {
				calls[operation] = n
			}
		}
		runs = append(runs, map[string]any{"run": what, "kms": calls, "log": nameless(t, lines)})
	}
	// ago lets everything have happened so much earlier.
	ago := func(d time.Duration) {
		t.Helper()
		registry, err := db.Registry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		registry.Version++
		for i := range registry.Keys {
			registry.Keys[i].Since = registry.Keys[i].Since.Add(-d)
		}
		if err := db.ReplaceRegistry(t.Context(), registry); err != nil {
			t.Fatal(err)
		}
	}
	run("the first after kmint import")
	run("another at once: IAM may not have seen the tags yet")
	r.kms.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) } // for what is made from now on
	if err := forget(r.kms); err != nil {
		t.Fatal(err)
	}
	run("the first again: the keys it had made were deleted by hand")
	run("nothing is due")
	ago(90 * 24 * time.Hour)
	run("a period later")
	ago(30*24*time.Hour + 3*time.Hour)
	run("once the last token has expired")
	registry, err := db.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, k := range registry.Keys {
		states[k.State]++
	}
	if states[store.KeyNext] != 3 || states[store.KeyActive] != 3 || states[store.KeyRevoked] != 3 || len(states) != 3 {
		t.Errorf("listed %v", states)
	}
	disabled := 0
	for _, s := range r.kms.States() {
		if s.State == kmstest.Disabled && slices.Contains([]string{r.signingKey, r.ps256Key, r.es256Key}, s.ARN) {
			disabled++
		}
	}
	if disabled != 3 {
		t.Errorf("%d of the template's keys are disabled", disabled)
	}

	raw, err := json.MarshalIndent(runs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := goldenPath("rotate/scheduled")
	if os.Getenv("GOLDEN") == "write" {
		if err := os.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Fatal("the golden file is written; read the difference")
	}
	want, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(want)) != string(raw) {
		t.Errorf("%v: got\n%s", err, raw)
	}

	// What no run of the golden file does: keys that it made are ended, one that somebody
	// has changed is guarded again, and keys of others are seen and left alone.
	for _, stranger := range strangers() {
		arn, err := r.kms.Create(kmstest.P256)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range stranger.Tags {
			if err := r.kms.Tag(arn, name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	unguard(t, r)
	for _, d := range []time.Duration{90 * 24 * time.Hour, 30*24*time.Hour + 3*time.Hour, 31 * 24 * time.Hour, 0} {
		ago(d)
		run("later")
	}
	r.exact(t, r.stack(t, nil), asked(rotate), map[string]string{
		"RotateRole.TagWhatItMakes allows kms:TagResource a key aws:requesttag/kmint:made-by=rotate aws:requesttag/kmint:stack=kmint aws:requesttag/kmint:use=sign aws:resourcetag/": "KMS asks for this permission on a key that is not made yet, and has no condition that tells the making of a key from the tagging of one",
	})
	calls := asked(rotate)
	r.checkRemoved(t, calls, []removal{
		{"RotateFunction", "RotateRole.KeepTheRegistry: dynamodb:PutItem", "TestRotate"},
		{"RotateFunction", "RotateRole.KeepTheKeysItMade: kms:PutKeyPolicy", "TestRotate"},
		{"RotateFunction", "RotateRole.DeleteTheKeysItMade", "TestRotate"},
		{"RotateFunction", "RotateRole.TagWhatItMakes", "TestRotate"},
	})
	r.checkWidened(t, calls, map[string]widening{
		"rotate signs":                {"[kms:GetPublicKey, kms:GetKeyPolicy, kms:PutKeyPolicy]", "[kms:GetPublicKey, kms:GetKeyPolicy, kms:PutKeyPolicy, kms:Sign]", "RotateFunction", "RotateRole.KeepTheKeysItMade allows kms:Sign a key "},
		"the template's keys deleted": {"aws:ResourceTag/kmint:made-by: rotate\n                  NumericGreater", "aws:ResourceTag/kmint:use: sign\n                  NumericGreater", "RotateFunction", "RotateRole.DeleteTheKeysItMade allows kms:ScheduleKeyDeletion a key aws:resourcetag/kmint:stack=kmint "},
		"deleted within a week":       {"kms:ScheduleKeyDeletionPendingWindowInDays: \"30\"", "kms:ScheduleKeyDeletionPendingWindowInDays: \"7\"", "RotateFunction", "RotateRole.DeleteTheKeysItMade allows kms:ScheduleKeyDeletion a key "},
		"keys without a tag":          {"                    aws:RequestTag/kmint:made-by: rotate\n                    kms:KeyUsage: SIGN_VERIFY", "                    kms:KeyUsage: SIGN_VERIFY", "RotateFunction", "RotateRole.MakeSigningKeys allows kms:CreateKey * aws:requesttag/kmint:made-by=another "},
		"keys that encrypt":           {"                    kms:KeyUsage: SIGN_VERIFY\n", "", "RotateFunction", "RotateRole.MakeSigningKeys allows kms:CreateKey * "},
	})
}

// unguard takes the policy of a key that rotation has made away.
func unguard(t *testing.T, r *rig) {
	t.Helper()
	for _, s := range r.kms.States() {
		if s.Tags[kms.TagMadeBy] == kms.Rotate && s.Tags[kms.TagStack] == "kmint" {
			_, err := kms.NewClient(r.kmsConfig()).PutKeyPolicy(t.Context(), &awskms.PutKeyPolicyInput{
				KeyId: &s.ARN, Policy: aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + kmstest.Account + `:root"}, "Action": "kms:*", "Resource": "*"}]}`),
			})
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// forget deletes the keys that rotation has made.
func forget(server *kmstest.Server) error {
	for _, s := range server.States() {
		if s.Tags[kms.TagMadeBy] == kms.Rotate {
			if err := server.Remove(s.ARN); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameless is lines of the log without what differs from one run to the next.
func nameless(t *testing.T, lines []string) []any {
	t.Helper()
	kid, arn := regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`), regexp.MustCompile(`^arn:aws:kms:us-east-1:000000000000:key/[0-9a-f-]{36}$`)
	all := []any{}
	for _, line := range lines {
		tree := readTree(t, []byte(line)).(map[string]any)
		for _, member := range []string{"time", "request_id", "trace_id", "_aws"} {
			delete(tree, member)
		}
		for name, value := range tree {
			if text, ok := value.(string); ok && kid.MatchString(text) {
				tree[name] = "${kid}"
			} else if ok && arn.MatchString(text) {
				tree[name] = "${arn}"
			}
		}
		all = append(all, tree)
	}
	return all
}

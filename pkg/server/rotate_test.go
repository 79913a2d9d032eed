package server_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// Each step is an event, each algorithm one in the end, and a failure one that says so.
func TestRotate(t *testing.T) {
	db := empty(t)
	cloud := kmstest.New()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	cloud.Now = func() time.Time { return now }
	endpoint := httptest.NewServer(cloud)
	defer endpoint.Close()
	arn, err := cloud.Create(kmstest.P256)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{kms.TagStack: "kmint", kms.TagUse: kms.Sign} {
		if err := cloud.Tag(arn, name, value); err != nil {
			t.Fatal(err)
		}
	}
	client := kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	keeper := kms.Keeper{Client: client, Stack: "kmint", Signers: []string{"arn:aws:iam::000000000000:role/token"}}
	var log bytes.Buffer
	f := server.Rotate{
		Registries: db, Inventory: keeper, Keeper: keeper, Period: 90 * 24 * time.Hour, Publish: 24 * time.Hour,
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	// Before `kmint import` there is nothing to rotate.
	if err := f.Handler()(t.Context()); err != nil || log.Len() != 0 {
		t.Fatalf("%v\n%s", err, log.String())
	}
	public, err := keeper.PublicKey(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	first, err := keys.New(jwt.ES256, public, arn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.First(t.Context(), db, first, now); err != nil {
		t.Fatal(err)
	}
	lines := func(want ...string) {
		t.Helper()
		got := strings.Split(strings.TrimSpace(log.String()), "\n")
		log.Reset()
		if len(got) != len(want) {
			t.Fatalf("%d lines, want %d\n%s", len(got), len(want), strings.Join(got, "\n"))
		}
		for i := range want {
			if !regexp.MustCompile(want[i]).MatchString(got[i]) {
				t.Errorf("line %s, want %s", got[i], want[i])
			}
		}
	}
	run := func(after time.Duration, failed bool, want ...string) {
		t.Helper()
		now = now.Add(after)
		if err := f.Handler()(t.Context()); (err != nil) != failed {
			t.Error(err)
		}
		lines(want...)
	}
	const failed = `level=WARN msg=audit event=key_rotation_failed auth0=kms_key_management_failure reason="keys: `
	const kid = `[A-Za-z0-9_-]{43}`
	run(0, false, `level=INFO msg=audit event=key_created auth0=kms_key_management_success alg=ES256 reference=arn:aws:kms:\S+`, `level=INFO msg="signing keys" alg=ES256 kid=`+first.ID+` age_h=0 next="" retired=0`)
	run(6*time.Hour, false, `msg=audit event=key_published auth0=kms_key_state_changed alg=ES256 kid=`+kid+` reference=arn`, `msg="signing keys" alg=ES256 kid=`+first.ID+` age_h=6 next=`+kid+` retired=0`)
	run(6*time.Hour, false, `msg="signing keys"`)
	cloud.Next("CreateKey", kmstest.Fault{Error: kmstest.AccessDenied})
	run(90*24*time.Hour, true, `msg=audit event=key_activated auth0=kms_key_state_changed alg=ES256 kid=`+kid, `msg="signing keys"`, failed, `level=ERROR msg="rotation failed" reason="keys: arn:\S+ for ES256 is not created: kms: .*AccessDeniedException`)
	run(time.Minute, false, `event=key_created`, `msg="signing keys" alg=ES256 kid=`+kid+` age_h=0 next="" retired=1`)
	f.Publish = time.Hour
	run(time.Minute, true, `msg="signing keys"`, failed, `level=ERROR msg="rotation failed" reason="keys: a key published for 1h0m0s signs before all verifiers know it`)
}

// What package keys takes for the longest lifetime is.
func TestLongestLifetime(t *testing.T) {
	if keys.Longest(store.Registry{LongestLifetime: 1}) < token.IDTokenLifetime || keys.Longest(store.Registry{LongestLifetime: 1}) < token.LogoutTokenLifetime {
		t.Error("an ID token or a logout token lives longer")
	}
}

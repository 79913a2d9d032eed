package main

import (
	"strings"
	"testing"

	"kmint/infra/rig/kmstest"
)

// The example that has each thing once comes back from DynamoDB as it was written:
// the second import finds nothing to change. A stack refuses it all the same.
func TestImportFullExample(t *testing.T) {
	const full = "../examples/full.json"
	if code, out, errs := try(t, "check", "--seed", full); code != 1 || out != "" || !strings.Contains(errs, "is published with kmint") {
		t.Errorf("check: exit %d\n%s%s", code, out, errs)
	}
	a := newAccount(t)
	args := a.flags("--seed", full)
	for flag, spec := range map[string]string{"--key=ES256": kmstest.P256, "--key=PS256": kmstest.RSA2048, "--secrets-key": kmstest.Symmetric} {
		arn, err := a.kms.Create(spec)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, flag+"="+arn)
	}
	good(t, args...)
	for line := range strings.Lines(good(t, append(args, "--dry-run")...)) {
		if !strings.HasPrefix(line, "dry run: unchanged ") {
			t.Error(line)
		}
	}
}

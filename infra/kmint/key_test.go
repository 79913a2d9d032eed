package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/store"
)

// listKeys lists ES256 keys, "state since", where since is how long ago.
func (a account) listKeys(keysAndAges ...string) (ids []string) {
	a.t.Helper()
	ctx := a.t.Context()
	was, err := a.store.Registry(ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	r := store.Registry{Version: was.Version + 1, LongestLifetime: 24 * 60 * 60}
	for _, s := range keysAndAges {
		state, age, _ := strings.Cut(s, " ")
		ago, err := time.ParseDuration(age)
		if err != nil {
			a.t.Fatal(err)
		}
		arn, err := a.kms.Create(kmstest.P256)
		if err != nil {
			a.t.Fatal(err)
		}
		public, err := kms.Signer{Client: kms.NewClient(a.config())}.PublicKey(ctx, arn)
		if err != nil {
			a.t.Fatal(err)
		}
		key, err := keys.New(jwt.ES256, public, arn)
		if err != nil {
			a.t.Fatal(err)
		}
		jwk, err := key.MarshalJSON()
		if err != nil {
			a.t.Fatal(err)
		}
		r.Keys = append(r.Keys, store.SigningKey{ID: key.ID, Reference: arn, Algorithm: jwt.ES256, JWK: string(jwk), State: state, Since: time.Now().Add(-ago)})
		ids = append(ids, key.ID)
	}
	if err := a.store.ReplaceRegistry(ctx, r); err != nil {
		a.t.Fatal(err)
	}
	return ids
}

// states are those that are listed, and those of KMS.
func (a account) states() string {
	a.t.Helper()
	r, err := a.store.Registry(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	var all []string
	for _, k := range r.Keys {
		state := k.State
		for _, s := range a.kms.States() {
			if s.ARN == k.Reference && s.State != kmstest.Enabled {
				state += " " + s.State
			}
		}
		all = append(all, state)
	}
	return strings.Join(all, ", ")
}

func TestKey(t *testing.T) {
	a := newAccount(t)
	key := func(do string, more ...string) []string {
		return append([]string{"key", do, "--config-table", a.store.ConfigTable, "--algorithm", "ES256"}, more...)
	}
	if out := good(t, key("list")...); !strings.Contains(out, "no key is listed") {
		t.Errorf("an empty list:\n%s", out)
	}
	for _, test := range []struct {
		name   string
		before []string
		do     string
		// which key is revoked, by its number
		which int
		more  []string
		// want is of the output, or of the refusal; %d the number of a key.
		want string
		code int
		// after is what is listed then, "" for what was.
		after string
	}{
		{"rotate", []string{"active 2000h", "next 3h"}, "rotate", 0, nil, "%1 active since .*, signs\n%0 retired since .*, is published until .* or later\n", 0, "retired, active"},
		{"rotate too early", []string{"active 2000h", "next 40m"}, "rotate", 0, nil, "the key %1 was published 40m0s ago; verifiers may hold a JWKS for 2h0m0s; earliest ", 1, ""},
		{"rotate without a next", []string{"active 2000h"}, "rotate", 0, nil, "no key for ES256 is published to sign next; the rotate function publishes one", 1, ""},
		{"rotate another line", []string{"active 2000h", "next 3h"}, "rotate", 0, []string{"--algorithm", "RS256"}, "no signing key is active for RS256", 1, ""},
		{"rollback", []string{"retired 1h", "active 1h", "next 1h"}, "rollback", 0, nil, "%0 active since .*, signs\n%1 retired", 0, "active, retired, next"},
		{"rollback to nothing", []string{"active 1h", "next 1h"}, "rollback", 0, nil, "no key for ES256 that has signed before is published still", 1, ""},
		{"revoke", []string{"retired 27h", "active 27h"}, "revoke", 0, nil, "%0 revoked since .*, counts no more\n", 0, "revoked Disabled, active"},
		{"revoke too early", []string{"retired 3h", "active 3h"}, "revoke", 0, nil, "the key %0 signed until 3h0m0s ago; its tokens live for up to 24h0m0s; earliest ", 1, ""},
		{"revoke what signs", []string{"active 3h", "next 3h"}, "revoke", 0, nil, "%0 signs; rotate first, or say that it is compromised", 1, ""},
		{"revoke the next", []string{"active 3h", "next 3h"}, "revoke", 1, nil, "%1 revoked since .*, counts no more\n", 0, "active, revoked Disabled"},
		{"force", []string{"active 3h", "next 1m"}, "revoke", 0, []string{"--force", "seen on a shared disk"}, "%1 active since .*, signs\n%0 revoked since .*, counts no more: seen on a shared disk\n", 0, "revoked Disabled, active"},
		{"force without a next", []string{"active 3h"}, "revoke", 0, []string{"--force", "seen"}, "%0 signs, and no key is published to take its place", 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := a.listKeys(test.before...)
			before := a.states()
			args := key(test.do, test.more...)
			if test.do == "revoke" {
				args = slices.Insert(args, 2, ids[test.which])
			}
			code, out, errs := try(t, args...)
			want := test.want
			for i, id := range ids {
				want = strings.ReplaceAll(want, fmt.Sprint("%", i), id)
			}
			if code != test.code || !matches(out+strings.TrimPrefix(errs, "kmint: "), want) {
				t.Errorf("exit %d\n%s%swant %s", code, out, errs, want)
			}
			if test.after == "" {
				test.after = before
			}
			if got := a.states(); got != test.after {
				t.Errorf("left %s, want %s", got, test.after)
			}
			list := good(t, key("list")...)
			for _, id := range ids {
				if !strings.Contains(list, id) {
					t.Errorf("%s is not in the list:\n%s", id, list)
				}
			}
		})
	}

	// A key that cannot sign is not made to.
	for _, do := range []string{"rotate", "rollback"} {
		a.listKeys("retired 3h", "active 3h", "next 3h")
		r, err := a.store.Registry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 2} {
			if err := a.kms.SetState(r.Keys[i].Reference, kmstest.Disabled); err != nil {
				t.Fatal(err)
			}
		}
		if code, _, errs := try(t, key(do)...); code != 1 || !strings.Contains(errs, "cannot sign") || a.states() != "retired Disabled, active, next Disabled" {
			t.Errorf("%s to what is disabled: exit %d %s; %s", do, code, errs, a.states())
		}
	}
}

// The stack names the table, and an import writes down how long tokens may live.
func TestKeyOfAStack(t *testing.T) {
	a := newAccount(t)
	server := httptest.NewServer(stacks(map[string]map[string]string{"kmint": {"ConfigTable": a.store.ConfigTable}, "another": {"Url": "x"}}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.URL)
	for _, test := range []struct {
		lifetime int
		dry      bool
		want     int64
	}{{3600, true, 0}, {3600, false, 86400}, {3 * 86400, false, 3 * 86400}, {7200, false, 3 * 86400}} {
		flags := a.flags("--seed", write(t, fmt.Sprintf(`{"apis": [{"identifier": "https://api.example.com/", "token_lifetime": %d}]}`, test.lifetime)))
		if test.dry {
			flags = append(flags, "--dry-run")
		}
		good(t, flags...)
		if r, err := a.store.Registry(t.Context()); err != nil || r.LongestLifetime != test.want {
			t.Errorf("%+v: %+v %v", test, r, err)
		}
	}
	r, err := a.store.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out := good(t, "key", "list", "--stack", "kmint"); !strings.Contains(out, "RS256  "+r.Keys[0].ID+"  active since ") {
		t.Errorf("listed\n%s", out)
	}
	for stack, want := range map[string]string{
		"another": "kmint: the stack another has no output ConfigTable; is it one of kmint's?\n",
		"nowhere": "kmint: the stack nowhere cannot be read: ",
	} {
		if code, out, errs := try(t, "key", "list", "--stack", stack); code != 1 || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("%s: exit %d\n%s%s", stack, code, out, errs)
		}
	}
}

// matches compares texts in which .* stands for whatever is on a line.
func matches(text, want string) bool {
	for part := range strings.SplitSeq(want, ".*") {
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return true
}

func TestKeyUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "say one of kmint key list, rotate, rollback and revoke"},
		{[]string{"turn", "--config-table", "c"}, "say one of"},
		{[]string{"list"}, "name the --stack, or else --config-table"},
		{[]string{"rotate", "--config-table", "c", "--algorithm", "HS256"}, `nothing signs by "HS256"`},
		{[]string{"revoke", "--config-table", "c"}, "say which key is revoked"},
		{[]string{"rotate", "kid", "--config-table", "c"}, `"kid" is no flag`},
		{[]string{"rotate", "--config-table", "c", "--force", "x"}, "--force is for kmint key revoke alone"},
		{[]string{"revoke", "kid", "--config-table", "c", "--force", " "}, "--force says what happened"},
		{[]string{"list", "--config-table", "c", "--now"}, "flag provided but not defined"},
	} {
		if code, _, errs := try(t, append([]string{"key"}, test.args...)...); code != 2 || !strings.Contains(errs, test.want) {
			t.Errorf("%q: exit %d %s, want %s", test.args, code, errs, test.want)
		}
	}
	if k, err := parseKey([]string{"revoke", "--config-table", "c", "kid"}, io.Discard); err != nil || k.KeyID != "kid" {
		t.Errorf("the kid last: %+v %v", k, err)
	}
	kid := "-" + strings.Repeat("k", 42)
	if k, err := parseKey([]string{"revoke", kid, "--config-table", "c"}, io.Discard); err != nil || k.KeyID != kid {
		t.Errorf("a kid like a flag: %+v %v", k, err)
	}
}

// a conflicting registry is one that another has written.
type conflicting struct{ is store.Registry }

var _ store.Registries = conflicting{}

func (c conflicting) Registry(context.Context) (store.Registry, error) { return c.is, nil }
func (conflicting) ReplaceRegistry(context.Context, store.Registry) error {
	return store.ErrConflict
}

func TestReplace(t *testing.T) {
	mine := store.Registry{Version: 3, Keys: []store.SigningKey{{ID: "a"}}}
	if err := replace(t.Context(), conflicting{mine}, mine); err != nil {
		t.Errorf("my own write, its answer lost: %v", err)
	}
	for _, other := range []store.Registry{{Version: 3, Keys: []store.SigningKey{{ID: "b"}}}, {Version: 4, Keys: mine.Keys}} {
		if err := replace(t.Context(), conflicting{other}, mine); err == nil || errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "changed by another") {
			t.Errorf("another's write: %v", err)
		}
	}
}

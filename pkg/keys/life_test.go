package keys_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/store"
)

// a registry of RS256 keys, "state since", where since is in hours before epoch; their
// kids are k0, k1 and so on.
func rs256(states ...string) store.Registry {
	r := store.Registry{Version: 7, LongestLifetime: 24 * 60 * 60}
	for i, s := range states {
		var state string
		var hours int
		if _, err := fmt.Sscan(s, &state, &hours); err != nil {
			panic(err)
		}
		r.Keys = append(r.Keys, store.SigningKey{
			ID: fmt.Sprint("k", i), Reference: fmt.Sprint("arn:", i), Algorithm: jwt.RS256, JWK: "{}", State: state,
			Since: epoch.Add(-time.Duration(hours) * time.Hour),
		})
	}
	r.Keys = append(r.Keys, store.SigningKey{ID: "e", Reference: "arn:e", Algorithm: jwt.ES256, JWK: "{}", State: store.KeyActive, Since: epoch})
	return r
}

// states says it the same way.
func states(r store.Registry) string {
	var all []string
	for _, k := range r.Keys {
		all = append(all, fmt.Sprintf("%s %s %g", k.ID, k.State, epoch.Sub(k.Since).Hours()))
	}
	return strings.Join(all, ", ")
}

func TestChanges(t *testing.T) {
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	activate := func(now time.Time) func(store.Registry) (store.Registry, error) {
		return func(r store.Registry) (store.Registry, error) { return keys.Activate(r, jwt.RS256, now) }
	}
	rollback := func(r store.Registry) (store.Registry, error) { return keys.Rollback(r, jwt.RS256, epoch) }
	revoke := func(kid, compromised string, now time.Time) func(store.Registry) (store.Registry, error) {
		return func(r store.Registry) (store.Registry, error) { return keys.Revoke(r, kid, compromised, now) }
	}
	const end = 26*time.Hour + time.Minute // of a key retired at epoch
	for name, test := range map[string]struct {
		before store.Registry
		do     func(store.Registry) (store.Registry, error)
		want   string // the states, or the beginning of the refusal
		// earliest is when it would not be refused.
		earliest time.Time
	}{
		"rotate":                {rs256("active 900", "next 3"), activate(epoch), "k0 retired 0, k1 active 0, e active 0", time.Time{}},
		"rotate just in time":   {rs256("active 900", "next 0"), activate(at(2*time.Hour + 8*time.Minute)), "k0 retired -2.1333333333333333, k1 active -2.1333333333333333, e active 0", time.Time{}},
		"rotate too early":      {rs256("active 900", "next 1"), activate(epoch), "the key k1 was published 1h0m0s ago; verifiers may hold a JWKS for 2h0m0s; earliest 2030-01-01T01:08:00Z", at(time.Hour + 8*time.Minute)},
		"rotate a second early": {rs256("active 900", "next 0"), activate(at(2*time.Hour + 8*time.Minute - time.Second)), "the key k1 was published 2h7m0s ago", at(2*time.Hour + 8*time.Minute)},
		"rotate without a next": {rs256("active 900"), activate(epoch), "keys: no key for RS256 is published to sign next", time.Time{}},
		"rotate no line":        {rs256("next 900"), activate(epoch), "keys: no signing key is active for RS256", time.Time{}},

		"rollback":              {rs256("retired 900", "retired 1", "active 1", "next 1"), rollback, "k0 retired 900, k1 active 0, k2 retired 0, k3 next 1, e active 0", time.Time{}},
		"rollback to nothing":   {rs256("active 1", "next 1"), rollback, "keys: no key for RS256 that has signed before is published still", time.Time{}},
		"rollback to revoked":   {rs256("revoked 1", "active 1"), rollback, "keys: no key for RS256 that has signed before is published still", time.Time{}},
		"revoke":                {rs256("retired 0", "active 0"), revoke("k0", "", at(end)), "k0 revoked -26.016666666666666, k1 active 0, e active 0", time.Time{}},
		"revoke too early":      {rs256("retired 0", "active 0"), revoke("k0", "", at(time.Minute)), "the key k0 signed until 1m0s ago; its tokens live for up to 24h0m0s; earliest 2030-01-02T02:01:00Z", at(end)},
		"revoke a second early": {rs256("retired 0", "active 0"), revoke("k0", "", at(end-time.Second)), "the key k0 signed until 26h0m0s ago", at(end)},
		"revoke the next":       {rs256("active 1", "next 1"), revoke("k1", "", epoch), "k0 active 1, k1 revoked 0, e active 0", time.Time{}},
		"revoke the active":     {rs256("active 1", "next 1"), revoke("k0", "", epoch), "keys: k0 signs; rotate first", time.Time{}},
		"revoke the revoked":    {rs256("revoked 1", "active 1"), revoke("k0", "stolen", epoch), "keys: k0 is revoked since 2029-12-31T23:00:00Z", time.Time{}},
		"revoke another":        {rs256("active 1"), revoke("k7", "stolen", epoch), "keys: k7 is not listed", time.Time{}},
		"revoke none":           {rs256("active 1"), revoke("", "stolen", epoch), "keys:  is not listed", time.Time{}},
		"compromised, retired":  {rs256("retired 0", "active 0"), revoke("k0", "stolen", epoch), "k0 revoked 0, k1 active 0, e active 0", time.Time{}},
		"compromised, active":   {rs256("active 9", "next 0"), revoke("k0", "stolen", epoch), "k0 revoked 0, k1 active 0, e active 0", time.Time{}},
		"compromised, no next":  {rs256("active 9"), revoke("k0", "stolen", epoch), "keys: k0 signs, and no key is published to take its place", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := states(test.before)
			after, err := test.do(test.before)
			if states(test.before) != before || test.before.Version != 7 {
				t.Error("the old registry has changed")
			}
			if err != nil {
				var early *keys.TooEarly
				if errors.As(err, &early) == test.earliest.IsZero() || early != nil && !early.Earliest.Equal(test.earliest) || !strings.HasPrefix(err.Error(), test.want) {
					t.Errorf("refused: %v, want %s", err, test.want)
				}
				return
			}
			if got := states(after); got != test.want || after.Version != 8 || after.LongestLifetime != test.before.LongestLifetime {
				t.Errorf("got %s, version %d; want %s", got, after.Version, test.want)
			}
			for _, k := range after.Keys {
				if (k.State == store.KeyRevoked) != (k.JWK == "") || strings.HasPrefix(name, "compromised") && k.State == store.KeyRevoked && k.Reason != "stolen" {
					t.Errorf("left %+v", k)
				}
			}
		})
	}
}

func TestLongest(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		kept int64
		want time.Duration
	}{{0, 30 * day}, {60, day}, {24 * 60 * 60, day}, {5 * 24 * 60 * 60, 5 * day}} {
		if got := keys.Longest(store.Registry{LongestLifetime: test.kept}); got != test.want {
			t.Errorf("kept %d: %s, want %s", test.kept, got, test.want)
		}
	}
	r := &registry{}
	for _, step := range []struct {
		allow time.Duration
		wrote bool
		want  int64
	}{{day, true, 86400}, {time.Hour, false, 86400}, {day, false, 86400}, {day + time.Millisecond, true, 86401}, {3 * day, true, 3 * 86400}} {
		wrote, err := keys.Allow(t.Context(), r, step.allow)
		if err != nil || wrote != step.wrote || r.kept.LongestLifetime != step.want {
			t.Errorf("allow %s: %v %v, %+v", step.allow, wrote, err, r.kept)
		}
	}
	if added, err := keys.First(t.Context(), r, newKey(t, "arn"), epoch); err != nil || !added || r.kept.LongestLifetime != 3*86400 {
		t.Errorf("the first key: %v, %+v", err, r.kept)
	}
	// Where nobody has kept count, nobody begins to.
	old := &registry{kept: store.Registry{Version: 3}}
	if wrote, err := keys.Allow(t.Context(), old, day); err != nil || wrote || keys.Longest(old.kept) != 30*day {
		t.Errorf("an old registry: %v, %+v", err, old.kept)
	}
	lost := &registry{lose: 1}
	if wrote, err := keys.Allow(t.Context(), lost, day); err != nil || wrote || lost.kept.LongestLifetime != 86400 {
		t.Errorf("a lost answer: %v, %+v", err, lost.kept)
	}
}

func TestPolicyBounds(t *testing.T) {
	hour := time.Hour
	for _, test := range []struct {
		policy keys.Policy
		good   bool
	}{
		{keys.Policy{Period: keys.DefaultPeriod, Publish: keys.DefaultPublish}, true},
		{keys.Policy{Period: 168 * hour, Publish: 2 * hour}, true},
		{keys.Policy{Period: 168 * hour, Publish: 2*hour - time.Second}, false},
		{keys.Policy{Period: 167 * hour, Publish: 2 * hour}, false},
		{keys.Policy{Period: 168 * hour, Publish: 169 * hour}, false},
		{keys.Policy{}, false},
	} {
		if err := test.policy.Check(); (err == nil) != test.good {
			t.Errorf("%+v: %v", test.policy, err)
		}
	}
}

// A year with the KMS that signs: the template's key is followed by others, tokens
// verify throughout, and what is left of each old key is what should be.
func TestAYear(t *testing.T) {
	server := kmstest.New()
	now := epoch
	server.Now = func() time.Time { return now }
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	arn, err := server.Create(kmstest.P384)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{kms.TagStack: "kmint", kms.TagUse: kms.Sign} {
		if err := server.Tag(arn, name, value); err != nil {
			t.Fatal(err)
		}
	}
	client := kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	keeper := kms.Keeper{Client: client, Stack: "kmint", Signers: []string{"arn:aws:iam::000000000000:role/token"}}
	r := &registry{}
	if _, err := keys.Allow(t.Context(), r, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	register(t, r, inKMS{kms.Signer{Client: client}, nil}, jwt.ES384, arn)

	var done []string
	rotation := keys.Rotation{
		Registries: r, Inventory: keeper, Keeper: keeper, Now: func() time.Time { return now },
		Policy: keys.Policy{Period: keys.DefaultPeriod, Publish: keys.DefaultPublish},
		Done: func(s keys.Step) {
			done = append(done, fmt.Sprintf("%d %s", int(now.Sub(epoch)/(24*time.Hour)), s.Deed))
		},
	}
	for range 366 {
		if err := rotation.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		ring := &keys.Ring{Registry: cached(r), Private: kms.Signer{Client: client}}
		token, err := jwt.Sign(t.Context(), ring, jwt.Choice{Algorithm: jwt.ES384}, jwt.TypAccessToken, someClaims(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := jwt.Verify(t.Context(), ring, token, expected, &claims{}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24 * time.Hour)
	}
	want := []string{
		"0 created", "1 published",
		"90 activated", "90 created", "91 published", "92 revoked", "92 disabled",
		"180 activated", "180 created", "181 published", "182 revoked", "182 disabled", "182 scheduled for deletion", "212 forgotten",
		"270 activated", "270 created", "271 published", "272 revoked", "272 disabled", "272 scheduled for deletion", "302 forgotten",
		"360 activated", "360 created", "361 published", "362 revoked", "362 disabled", "362 scheduled for deletion",
	}
	if !slices.Equal(done, want) {
		t.Errorf("done\n%s\nwant\n%s", strings.Join(done, "\n"), strings.Join(want, "\n"))
	}
	// The template's is kept, and cannot sign.
	var left []string
	for _, k := range server.States() {
		left = append(left, k.Spec+" "+k.State+" "+k.Tags[kms.TagMadeBy])
	}
	slices.Sort(left)
	if !slices.Equal(left, []string{"ECC_NIST_P384 Disabled ", "ECC_NIST_P384 Enabled rotate", "ECC_NIST_P384 Enabled rotate", "ECC_NIST_P384 PendingDeletion rotate"}) {
		t.Errorf("left in KMS: %q", left)
	}

	// A key that signs and is disabled by hand is told of, at every run.
	registered := r.kept.Keys[slices.IndexFunc(r.kept.Keys, func(k store.SigningKey) bool { return k.State == store.KeyActive })]
	if err := server.SetState(registered.Reference, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	if err := rotation.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the active key "+registered.ID+" for ES384 is disabled") {
		t.Errorf("a disabled key: %v", err)
	}
	// A next key that cannot sign is replaced; one that is not to be seen is told of.
	if err := server.SetState(registered.Reference, kmstest.Enabled); err != nil {
		t.Fatal(err)
	}
	next := func() store.SigningKey {
		return r.kept.Keys[slices.IndexFunc(r.kept.Keys, func(k store.SigningKey) bool { return k.State == store.KeyNext })]
	}
	spoilt := next()
	if err := server.SetState(spoilt.Reference, kmstest.Disabled); err != nil {
		t.Fatal(err)
	}
	done = nil
	if err := rotation.Run(t.Context()); err != nil {
		t.Error(err)
	}
	now = now.Add(keys.Settle)
	if err := rotation.Run(t.Context()); err != nil || next().ID == spoilt.ID {
		t.Errorf("a disabled next key: %v, %+v", err, next())
	}
	if got := strings.Join(done, ", "); got != "366 revoked, 366 scheduled for deletion, 366 created, 366 published" {
		t.Errorf("a disabled next key: %s", got)
	}
	if err := server.Remove(next().Reference); err != nil {
		t.Fatal(err)
	}
	done = nil
	now = now.Add(200 * 24 * time.Hour)
	if err := rotation.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the next key "+next().ID+" for ES384 is not there") {
		t.Errorf("a next key that is gone: %v", err)
	}
}

// The item of the registry stays below what DynamoDB holds, with every algorithm, the
// largest keys, the shortest period and the longest lifetime; and a hand that rotates
// without end is stopped.
func TestTheRegistryStaysSmall(t *testing.T) {
	sizes := map[string]int{} // of a public key as JSON
	for _, algorithm := range jwt.Algorithms() {
		sizes[algorithm] = 1000 // RSA of 4096 bits, and less
	}
	for algorithm, bytes := range map[string]int{jwt.MLDSA44: 1312, jwt.MLDSA65: 1952, jwt.MLDSA87: 2592} {
		sizes[algorithm] = bytes*4/3 + 300
	}
	lives := int((keys.Longest(store.Registry{})+keys.SetAge)/keys.MinPeriod) + 1
	ends := int(keys.Pending/keys.MinPeriod) + 1
	var r store.Registry
	entry := func(algorithm, state, jwk string) store.SigningKey {
		return store.SigningKey{
			ID: strings.Repeat("k", 43), Reference: strings.Repeat("a", 80), Algorithm: algorithm, State: state, JWK: jwk, Since: epoch,
		}
	}
	for algorithm, size := range sizes {
		for range 2 + lives {
			r.Keys = append(r.Keys, entry(algorithm, store.KeyRetired, strings.Repeat("j", size)))
		}
		for range ends {
			r.Keys = append(r.Keys, entry(algorithm, store.KeyRevoked, ""))
		}
	}
	after, err := keys.Publish(r, newKey(t, "arn"), epoch)
	if err != nil || len(after.Keys) != len(r.Keys)+1 {
		t.Fatal(err)
	}
	for range 200 {
		r.Keys = append(r.Keys, entry(jwt.RS256, store.KeyRetired, strings.Repeat("j", 1000)))
	}
	if _, err := keys.Publish(r, newKey(t, "arn"), epoch); err == nil || !strings.Contains(err.Error(), "are too many") {
		t.Errorf("no end of keys: %v", err)
	}
}

// A rotation that finds no registry ends no key: one of them may have signed what people
// have. It ends what a registry that has keys does not list.
func TestALostRegistryEndsNoKey(t *testing.T) {
	made := []jwt.Held{{Reference: "made", Algorithm: jwt.RS256, Made: true, Guarded: true, State: jwt.Usable, Created: epoch.Add(-90 * 24 * time.Hour)}}
	policy := keys.Policy{Period: keys.DefaultPeriod, Publish: keys.DefaultPublish}
	lost := store.Registry{}
	if step := keys.Decide(lost, made, policy, epoch); step.Deed != keys.Nothing {
		t.Errorf("%s %s", step.Reference, step.Deed)
	}
	if err := keys.Unusable(lost, made); err == nil || !strings.Contains(err.Error(), "the registry is lost") {
		t.Error(err)
	}
	if err := keys.Unusable(lost, nil); err != nil {
		t.Errorf("a new stack: %v", err)
	}
	other := store.Registry{Version: 1, Keys: []store.SigningKey{{ID: "e", Reference: "e", Algorithm: jwt.ES256, State: store.KeyActive, Since: epoch}}}
	if step := keys.Decide(other, made, policy, epoch); step.Deed != keys.Discarded {
		t.Errorf("%s %q, want %s", step.Reference, step.Deed, keys.Discarded)
	}
}

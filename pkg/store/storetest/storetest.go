// Package storetest answers: is this a store?
//
// Run is the contract of package store as a suite that every store passes, races
// included. Whoever writes a store runs it from a test of theirs. What a moment
// must refuse stands beside what it must allow, and after each refusal the record
// is read again: nothing may have changed, unless the refusal says so.
package storetest

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Stores is one empty store, seen through each of its interfaces.
type Stores struct {
	Clients     store.Clients
	APIs        store.APIs
	Server      store.ServerSettings
	Issuers     store.Issuers
	Config      store.ConfigWriter
	Registries  store.Registries
	Users       store.Users
	Logins      store.Logins
	People      store.UserWriter
	Sessions    store.Sessions
	Joined      store.SessionClients
	Listings    store.Listings
	Consents    store.Consents
	Attempts    store.Attempts
	Codes       store.Codes
	Reader      store.GrantReader
	Grants      store.Grants
	Revocations store.Revocations
	Revoked     store.RevokedTokens
	Uses        store.Uses
	Opaque      store.OpaqueTokens
	Documents   store.Documents
}

// Run runs the suite. open makes an empty store, and leaves its end to t.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s Stores)
	}{
		{"Config", testConfig},
		{"Registry", testRegistry},
		{"RegistryRace", testRegistryRace},
		{"User", testUser},
		{"UserRace", testUserRace},
		{"Session", testSession},
		{"SessionClients", testSessionClients},
		{"SessionClientsRace", testSessionClientsRace},
		{"ListSessions", testListSessions},
		{"ListGrants", testListGrants},
		{"ListPages", testListPages},
		{"Consent", testConsent},
		{"ConsentRace", testConsentRace},
		{"Attempts", testAttempts},
		{"AttemptsRace", testAttemptsRace},
		{"Use", testUse},
		{"UseRace", testUseRace},
		{"RevokeToken", testRevokeToken},
		{"OpaqueToken", testOpaqueToken},
		{"Document", testDocument},
		{"Grant", testGrant},
		{"GrantBornSpent", testBornSpent},
		{"SpendCode", testSpendCode},
		{"SpendCodeEqualsJudge", testSpendEqualsJudge},
		{"SpendCodeRace", testSpendRace},
		{"ReopenCode", testReopenCode},
		{"ReopenCodeEqualsUndo", testReopenCodeEqualsUndo},
		{"ReopenCodeRace", testReopenCodeRace},
		{"RotateRefreshToken", testRotate},
		{"RotateRefreshTokenEqualsJudge", testRotateEqualsJudge},
		{"RotateRefreshTokenRace", testRotateRace},
		{"Leeway", testLeeway},
		{"LeewayRace", testLeewayRace},
		{"Static", testStatic},
		{"StaticRace", testStaticRace},
		{"BoundGrant", testBound},
		{"ManyScopeValues", testManyScopes},
		{"ReopenRotation", testReopenRotation},
		{"ReopenRotationEqualsUndo", testReopenRotationEqualsUndo},
		{"RevokeGrant", testRevokeGrant},
		{"RevokeGrantEqualsJudge", testRevokeEqualsJudge},
		{"RevokeGrantRace", testRevokeRace},
		{"NoZombies", testNoZombies},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

const (
	// racers start at once, in each of raceRounds.
	racers     = 32
	raceRounds = 10
)

// race runs do in many goroutines that start at once, and returns what each
// returned. Whoever finds the store busy comes again, as a client would, with a
// new request; busy reports whether anyone had to.
func race(do func(i int) error) (errs []error, busy bool) {
	errs = make([]error, racers)
	start := make(chan struct{})
	var all sync.WaitGroup
	var again atomic.Bool
	for i := range errs {
		all.Go(func() {
			<-start
			for range 10 {
				if errs[i] = do(i); !errors.Is(errs[i], store.ErrBusy) {
					return
				}
				again.Store(true)
			}
		})
	}
	close(start)
	all.Wait()
	return errs, again.Load()
}

// count counts the errors by which of the kinds they are, and fails on any other.
func count(t *testing.T, errs []error, kinds ...error) map[error]int {
	t.Helper()
	counts := map[error]int{}
next:
	for _, err := range errs {
		for _, kind := range append(kinds, nil) {
			if errors.Is(err, kind) {
				counts[kind]++
				continue next
			}
		}
		t.Errorf("a racer got: %v", err)
	}
	return counts
}

// is fails unless err is want; nil for no error.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// must fails the test at once.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same compares records. Of times the milliseconds count, of lists and maps what
// is in them.
func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	g, w := plain(reflect.ValueOf(got)), plain(reflect.ValueOf(want))
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// plain is a value without what may differ in equal records.
func plain(v reflect.Value) any {
	if v.IsValid() && v.Type() == reflect.TypeFor[time.Time]() {
		at := v.Interface().(time.Time)
		if at.IsZero() {
			return nil
		}
		return at.UnixMilli()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			fields[v.Type().Field(i).Name] = plain(v.Field(i))
		}
		return fields
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	case reflect.Map:
		members := map[any]any{}
		for _, key := range v.MapKeys() {
			members[key.Interface()] = plain(v.MapIndex(key))
		}
		return members
	case reflect.Interface:
		return plain(v.Elem())
	default:
		return v.Interface()
	}
}

// now is the time of a test: a real one, because the item of what has expired
// may be deleted at any moment. Tests of expiry look from a later time.
func now() time.Time { return time.Now().Truncate(time.Millisecond) }

// digest is that of a new secret.
func digest() oauth.Digest { return oauth.NewHandle("").Digest() }

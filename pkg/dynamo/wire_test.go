package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/infra/rig/ddb"
	"kmint/pkg/dynamo"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A fault is what befalls one request on its way.
type fault func(w *wire, r *http.Request) (*http.Response, error)

var errWire = errors.New("the wire broke")

func passed(w *wire, r *http.Request) (*http.Response, error) { return w.inner.Do(r) }

// dropped: it never arrives.
func dropped(*wire, *http.Request) (*http.Response, error) { return nil, errWire }

// lost: it arrives and is carried out, however long that takes, and the answer is
// lost.
func lost(w *wire, r *http.Request) (*http.Response, error) {
	response, err := w.inner.Do(r.WithContext(context.WithoutCancel(r.Context())))
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(errWire, response.Body.Close())
}

// hung: no answer comes for as long as anyone waits.
func hung(_ *wire, r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// answered: DynamoDB answers with an error, having done nothing.
func answered(status int, code string) fault {
	return func(_ *wire, r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
			Body:   io.NopCloser(strings.NewReader(`{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"x"}`)),
		}, nil
	}
}

// then does something else before the request goes on.
func then(do func(), next fault) fault {
	return func(w *wire, r *http.Request) (*http.Response, error) {
		do()
		return next(w, r)
	}
}

// after does something else once the request is through.
func after(do func(), first fault) fault {
	return func(w *wire, r *http.Request) (*http.Response, error) {
		defer do()
		return first(w, r)
	}
}

// A wire is an HTTP client that counts requests, and lets the next ones meet
// faults.
type wire struct {
	inner aws.HTTPClient

	mu     sync.Mutex
	faults []fault
	calls  map[string]int
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if action == "GetItem" && !bytes.Contains(body, []byte(`"ConsistentRead":true`)) {
		action = "weak GetItem"
	}
	w.mu.Lock()
	w.calls[action]++
	next := passed
	if len(w.faults) > 0 {
		next, w.faults = w.faults[0], w.faults[1:]
	}
	w.mu.Unlock()
	return next(w, r)
}

// meets sets what befalls the next requests, and forgets the count.
func (w *wire) meets(faults ...fault) {
	w.faults, w.calls = faults, map[string]int{}
}

// made fails unless exactly these calls were made since meets.
func (w *wire) made(t *testing.T, what string, want map[string]int) {
	t.Helper()
	if !maps.Equal(w.calls, want) {
		t.Errorf("%s: %v, want %v", what, w.calls, want)
	}
	if len(w.faults) > 0 {
		t.Errorf("%s: %d faults were left", what, len(w.faults))
	}
}

// wired is a store behind a wire, and the same store not behind it.
func wired(t *testing.T) (w *wire, s, direct *dynamo.Store) {
	t.Helper()
	local := ddb.ForTest(t)
	w = &wire{inner: http.DefaultClient}
	w.meets()
	cfg := local.Config()
	cfg.HTTPClient = w
	s = open(t, local, cfg)
	copied := *s
	copied.DB = local.Client()
	return w, s, &copied
}

func digest() oauth.Digest { return oauth.NewHandle("").Digest() }

func newGrant(t *testing.T, s *dynamo.Store) (store.Grant, store.Spend) {
	t.Helper()
	now := time.Now()
	g := store.Grant{
		ID: string(digest()), ClientID: "demo", Subject: "ada", Requested: oauth.Scope{"openid"}, Audience: []string{"x"},
		Created: now, CodeExpires: now.Add(time.Minute), End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour),
	}
	if err := s.PutGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g, spendOf(g)
}

func spendOf(g store.Grant) store.Spend {
	return store.Spend{
		GrantID: g.ID, ClientID: g.ClientID, Now: g.Created, By: string(digest()),
		Family: digest(), Current: digest(), Idle: time.Hour,
	}
}

func rotationOf(g store.Grant) store.Rotation {
	return store.Rotation{
		GrantID: g.ID, ClientID: g.ClientID, Family: g.Family, Presented: g.Current, Next: digest(), Salt: string(digest()),
		Now: g.Created, By: string(digest()), Idle: time.Hour,
	}
}

func newRotation(t *testing.T, s *dynamo.Store) (store.Grant, store.Rotation) {
	t.Helper()
	_, spend := newGrant(t, s)
	g, err := s.SpendCode(t.Context(), spend)
	if err != nil {
		t.Fatal(err)
	}
	g.Created = spend.Now
	return g, rotationOf(g)
}

func read(t *testing.T, s *dynamo.Store, id string) store.Grant {
	t.Helper()
	g, err := s.Grant(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// throttled is the answer of a table that is asked too much.
var throttled = answered(http.StatusBadRequest, "ProvisionedThroughputExceededException")

func TestCallsPerMoment(t *testing.T) {
	w, s, direct := wired(t)
	ctx := t.Context()
	now := time.Now()
	g, spend := newGrant(t, direct)
	refreshing, rotation := newRotation(t, direct)
	session := store.Session{Digest: digest(), Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour)}
	name := digest()
	fresh := g
	fresh.ID = string(digest())
	static, staticUse := newRotation(t, direct)
	staticUse.Static = true
	ending := store.Revocation{GrantID: static.ID, ClientID: static.ClientID, Family: static.Family, Now: now}
	use := store.Use{Key: digest(), Until: now.Add(time.Minute), By: "me"}
	others := use
	others.By = "another"
	opaque := store.OpaqueToken{Digest: digest(), Claims: "{}", Expires: now.Add(time.Hour)}
	otherToken, otherGrant, otherSession := opaque, fresh, session
	otherToken.Claims, otherGrant.Subject, otherSession.Subject = `{"sub":"eve"}`, "eve", "eve"
	const url = "https://client.example.com/jwks"
	for _, test := range []struct {
		moment string
		do     func() error
		calls  map[string]int
		want   error
	}{
		{"PutGrant", func() error { return s.PutGrant(ctx, fresh) }, map[string]int{"PutItem": 1}, nil},
		{"PutGrant, again", func() error { return s.PutGrant(ctx, fresh) }, map[string]int{"PutItem": 1}, nil},
		{"PutGrant, another's", func() error { return s.PutGrant(ctx, otherGrant) }, map[string]int{"PutItem": 1}, store.ErrConflict},
		{"Grant", func() error { _, err := s.Grant(ctx, fresh.ID); return err }, map[string]int{"GetItem": 1}, nil},
		{"SpendCode", func() error { _, err := s.SpendCode(ctx, spend); return err }, map[string]int{"UpdateItem": 1}, nil},
		{"SpendCode, my own again", func() error { _, err := s.SpendCode(ctx, spend); return err }, map[string]int{"UpdateItem": 1}, nil},
		{"ReopenCode", func() error { return s.ReopenCode(ctx, g.ID, spend.By) }, map[string]int{"UpdateItem": 1}, nil},
		{"SpendCode, refused", func() error { _, err := s.SpendCode(ctx, spend); return err }, map[string]int{"UpdateItem": 1}, store.ErrUndone},
		{"RotateRefreshToken", func() error { _, err := s.RotateRefreshToken(ctx, rotation); return err }, map[string]int{"UpdateItem": 1}, nil},
		{"ReopenRotation", func() error { return s.ReopenRotation(ctx, refreshing.ID, rotation.By) }, map[string]int{"UpdateItem": 1}, nil},
		{"SpendCode, a replay", func() error { _, err := s.SpendCode(ctx, spendOf(refreshing)); return err }, map[string]int{"UpdateItem": 2}, store.ErrReplayed},
		{"RotateRefreshToken, static", func() error { return second(s.RotateRefreshToken(ctx, staticUse)) }, map[string]int{"UpdateItem": 1}, nil},
		{"RevokeGrant", func() error { return s.RevokeGrant(ctx, ending) }, map[string]int{"UpdateItem": 1}, nil},
		{"RevokeGrant, once more", func() error { return s.RevokeGrant(ctx, ending) }, map[string]int{"UpdateItem": 1}, nil},
		{"RotateRefreshToken, revoked", func() error { return second(s.RotateRefreshToken(ctx, staticUse)) }, map[string]int{"UpdateItem": 1}, store.ErrRevoked},
		{"UseOnce", func() error { return s.UseOnce(ctx, use, now) }, map[string]int{"PutItem": 1}, nil},
		{"UseOnce, refused", func() error { return s.UseOnce(ctx, others, now) }, map[string]int{"PutItem": 1}, store.ErrUsed},
		{"ForgetUse, another's", func() error { return s.ForgetUse(ctx, others) }, map[string]int{"DeleteItem": 1}, nil},
		{"ForgetUse", func() error { return s.ForgetUse(ctx, use) }, map[string]int{"DeleteItem": 1}, nil},
		{"RevokeToken", func() error { return s.RevokeToken(ctx, "jti", use.Until) }, map[string]int{"PutItem": 1}, nil},
		{"TokenRevoked", func() error { return second(s.TokenRevoked(ctx, "jti", now)) }, map[string]int{"GetItem": 1}, nil},
		{"PutToken", func() error { return s.PutToken(ctx, opaque) }, map[string]int{"PutItem": 1}, nil},
		// It was delivered twice, and this is the answer to the second.
		{"PutToken, again", func() error { return s.PutToken(ctx, opaque) }, map[string]int{"PutItem": 1}, nil},
		{"PutToken, another's", func() error { return s.PutToken(ctx, otherToken) }, map[string]int{"PutItem": 1}, store.ErrConflict},
		{"Token", func() error { return second(s.Token(ctx, opaque.Digest, now)) }, map[string]int{"GetItem": 1}, nil},
		{"PutDocument", func() error { return s.PutDocument(ctx, url, []byte("{}"), now, use.Until) }, map[string]int{"PutItem": 1}, nil},
		{"Document", func() error { _, _, _, err := s.Document(ctx, url); return err }, map[string]int{"GetItem": 1}, nil},
		{"PutSession", func() error { return s.PutSession(ctx, session) }, map[string]int{"PutItem": 1}, nil},
		{"PutSession, again", func() error { return s.PutSession(ctx, session) }, map[string]int{"PutItem": 1}, nil},
		{"PutSession, another's", func() error { return s.PutSession(ctx, otherSession) }, map[string]int{"PutItem": 1}, store.ErrConflict},
		{"Session", func() error { _, err := s.Session(ctx, session.Digest, now); return err }, map[string]int{"GetItem": 1}, nil},
		{"RenewSession", func() error { return s.RenewSession(ctx, session.Digest, now) }, map[string]int{"UpdateItem": 1}, nil},
		{"JoinSession", func() error { return s.JoinSession(ctx, session.Digest, "web", now) }, map[string]int{"UpdateItem": 1}, nil},
		{"EndSession", func() error { return second(s.EndSession(ctx, session.Digest)) }, map[string]int{"DeleteItem": 1}, nil},
		{"EndSession, again", func() error { return second(s.EndSession(ctx, session.Digest)) }, map[string]int{"DeleteItem": 1}, store.ErrNotFound},
		{"DeleteSession", func() error { return s.DeleteSession(ctx, session.Digest) }, map[string]int{"DeleteItem": 1}, nil},
		{"BeginAttempt", func() error { return s.BeginAttempt(ctx, name, now) }, map[string]int{"PutItem": 1}, nil},
		{"BeginAttempt, after a failure", func() error { return s.BeginAttempt(ctx, name, now) }, map[string]int{"PutItem": 2}, nil},
		{"ClearAttempts", func() error { return s.ClearAttempts(ctx, name) }, map[string]int{"DeleteItem": 1}, nil},
		{"PutUser", func() error { return s.PutUser(ctx, store.User{Subject: "ada", Username: "ada"}) }, map[string]int{"GetItem": 1, "TransactWriteItems": 1}, nil},
		{"User", func() error { _, err := s.User(ctx, "ada"); return err }, map[string]int{"GetItem": 1}, nil},
		{"Login", func() error { _, err := s.Login(ctx, "ada"); return err }, map[string]int{"GetItem": 1}, nil},
		{"PutClient", func() error { return s.PutClient(ctx, store.Client{ID: "demo"}) }, map[string]int{"PutItem": 1}, nil},
		{"Client", func() error { _, err := s.Client(ctx, "demo"); return err }, map[string]int{"GetItem": 1}, nil},
		{"a client_id too long for a key", func() error { _, err := s.Client(ctx, strings.Repeat("x", 2048)); return err }, map[string]int{}, store.ErrNotFound},
		{"ReplaceRegistry", func() error { return s.ReplaceRegistry(ctx, store.Registry{Version: 1}) }, map[string]int{"PutItem": 1}, nil},
		{"Registry", func() error { _, err := s.Registry(ctx); return err }, map[string]int{"GetItem": 1}, nil},
	} {
		w.meets()
		if err := test.do(); !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", test.moment, err, test.want)
		}
		w.made(t, test.moment, test.calls)
	}
}

// Every item of grants goes away by itself, whatever has happened to it.
func TestTTL(t *testing.T) {
	_, s, direct := wired(t)
	ctx := t.Context()
	put, _ := newGrant(t, s)
	spent, _ := newRotation(t, s)
	reopened, spend := newGrant(t, s)
	rotated, rotation := newRotation(t, s)
	revoked, _ := newRotation(t, s)
	session := store.Session{Digest: digest(), Expires: put.End, IdleExpires: put.Created}
	name := digest()
	static, staticUse := newRotation(t, s)
	staticUse.Static = true
	ended, _ := newRotation(t, s)
	born := spent
	born.ID, born.CodeExpires = string(digest()), time.Time{}
	use := store.Use{Key: digest(), Until: put.Created.Add(time.Minute), By: "me"}
	const url = "https://client.example.com/jwks"
	for what, err := range map[string]error{
		"PutGrant, born spent":       s.PutGrant(ctx, born),
		"RotateRefreshToken, static": second(s.RotateRefreshToken(ctx, staticUse)),
		"RevokeGrant":                s.RevokeGrant(ctx, store.Revocation{GrantID: ended.ID, ClientID: ended.ClientID, Family: ended.Family, Now: put.Created}),
		"UseOnce":                    s.UseOnce(ctx, use, put.Created),
		"RevokeToken":                s.RevokeToken(ctx, "jti", put.End),
		"PutToken":                   s.PutToken(ctx, store.OpaqueToken{Digest: use.Key, Expires: put.End}),
		"PutDocument":                s.PutDocument(ctx, url, nil, put.Created, put.Kept),
		"SpendCode":                  second(s.SpendCode(ctx, spend)),
		"ReopenCode":                 s.ReopenCode(ctx, reopened.ID, spend.By),
		"RotateRefreshToken":         second(s.RotateRefreshToken(ctx, rotation)),
		"ReopenRotation":             s.ReopenRotation(ctx, rotated.ID, rotation.By),
		"PutSession":                 s.PutSession(ctx, session),
		"RenewSession":               s.RenewSession(ctx, session.Digest, put.End.Add(time.Hour)),
		"BeginAttempt":               s.BeginAttempt(ctx, name, put.Created),
		"BeginAttempt again":         s.BeginAttempt(ctx, name, put.Created),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := second(s.SpendCode(ctx, spendOf(revoked))); !errors.Is(err, store.ErrReplayed) {
		t.Error(err)
	}

	want := map[string]time.Time{
		"grant#" + put.ID: put.CodeExpires.Add(time.Minute), "grant#" + spent.ID: put.Kept, "grant#" + reopened.ID: reopened.Kept,
		"grant#" + rotated.ID: rotated.Kept, "grant#" + revoked.ID: revoked.Kept,
		"grant#" + born.ID: born.Kept, "grant#" + static.ID: static.Kept, "grant#" + ended.ID: ended.Kept,
		"once#" + string(use.Key): use.Until, "revoked#" + string(oauth.DigestOf("jti")): put.End,
		"token#" + string(use.Key): put.End, "document#" + string(oauth.DigestOf(url)): put.Kept,
		"session#" + string(session.Digest): session.Expires, "attempts#" + string(name): put.Created.Add(store.FailureWindow),
	}
	out, err := direct.DB.Scan(ctx, &dynamodb.ScanInput{TableName: &s.GrantsTable})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Items) != len(want) {
		t.Errorf("%d items, want %d", len(out.Items), len(want))
	}
	for _, it := range out.Items {
		key := it["pk"].(*types.AttributeValueMemberS).Value
		if _, ok := it["v"].(*types.AttributeValueMemberN); !ok {
			t.Errorf("%s has no version", key)
		}
		ttl, ok := it["ttl"].(*types.AttributeValueMemberN)
		if !ok {
			t.Errorf("%s has no ttl", key)
			continue
		}
		seconds, err := time.ParseDuration(ttl.Value + "s")
		if err != nil {
			t.Fatal(err)
		}
		// Within two seconds, for the grants were written one after another.
		if off := time.Unix(0, 0).Add(seconds).Sub(want[key]); off < 0 || off > 2*time.Second {
			t.Errorf("%s: the ttl is %s later than it should be", key, off)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestLostAnswers(t *testing.T) {
	w, s, direct := wired(t)
	ctx := t.Context()

	for _, test := range []struct {
		name   string
		faults []fault
	}{
		{"the answer is lost", []fault{lost}},
		{"the request is dropped", []fault{dropped}},
		{"a server error, carried out", []fault{after(func() {}, func(w *wire, r *http.Request) (*http.Response, error) {
			if _, err := lost(w, r); !errors.Is(err, errWire) {
				return nil, err
			}
			return answered(http.StatusInternalServerError, "InternalServerError")(w, r)
		})}},
		{"throttled", []fault{throttled}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, spend := newGrant(t, direct)
			w.meets(test.faults...)
			g, err := s.SpendCode(ctx, spend)
			if err != nil || g.By != spend.By || g.Spent.IsZero() {
				t.Errorf("SpendCode: %+v, %v", g, err)
			}
			w.made(t, "SpendCode", map[string]int{"UpdateItem": 2})

			before, rotation := newRotation(t, direct)
			w.meets(test.faults...)
			g, err = s.RotateRefreshToken(ctx, rotation)
			if err != nil || g.Salt != rotation.Salt || g.Generation != 1 {
				t.Errorf("RotateRefreshToken: %+v, %v", g, err)
			}
			w.made(t, "RotateRefreshToken", map[string]int{"UpdateItem": 2})
			if !read(t, direct, before.ID).Revoked.IsZero() {
				t.Error("the grant is revoked")
			}

			static, staticUse := newRotation(t, direct)
			staticUse.Static = true
			w.meets(test.faults...)
			g, err = s.RotateRefreshToken(ctx, staticUse)
			if err != nil || g.Current != static.Current || g.By != static.By {
				t.Errorf("RotateRefreshToken, static: %+v, %v", g, err)
			}
			w.made(t, "RotateRefreshToken, static", map[string]int{"UpdateItem": 2})

			ended, _ := newRotation(t, direct)
			w.meets(test.faults...)
			if err := s.RevokeGrant(ctx, store.Revocation{GrantID: ended.ID, ClientID: ended.ClientID, Family: ended.Family, Now: ended.Created}); err != nil {
				t.Errorf("RevokeGrant: %v", err)
			}
			w.made(t, "RevokeGrant", map[string]int{"UpdateItem": 2})
			if read(t, direct, ended.ID).Revoked.IsZero() {
				t.Error("RevokeGrant: the grant is not revoked")
			}

			use := store.Use{Key: digest(), Until: time.Now().Add(time.Minute), By: "me"}
			others := use
			others.By = "another"
			w.meets(test.faults...)
			if err := s.UseOnce(ctx, use, time.Now()); err != nil {
				t.Errorf("UseOnce: %v", err)
			}
			w.made(t, "UseOnce", map[string]int{"PutItem": 2})
			if err := direct.UseOnce(ctx, others, time.Now()); !errors.Is(err, store.ErrUsed) {
				t.Errorf("UseOnce by another: %v", err)
			}
			w.meets(test.faults...)
			if err := s.ForgetUse(ctx, use); err != nil {
				t.Errorf("ForgetUse: %v", err)
			}
			w.made(t, "ForgetUse", map[string]int{"DeleteItem": 2})
			if err := direct.UseOnce(ctx, others, time.Now()); err != nil {
				t.Errorf("UseOnce by another, once forgotten: %v", err)
			}

			now := time.Now()
			session := store.Session{Digest: digest(), Expires: now.Add(time.Hour), IdleExpires: now.Add(time.Hour)}
			fresh := before
			fresh.ID = string(digest())
			for moment, do := range map[string]func() error{
				"PutGrant":        func() error { return s.PutGrant(ctx, fresh) },
				"PutSession":      func() error { return s.PutSession(ctx, session) },
				"ReplaceRegistry": func() error { return s.ReplaceRegistry(ctx, next(t, direct)) },
				"ReopenRotation":  func() error { return s.ReopenRotation(ctx, before.ID, rotation.By) },
				"BeginAttempt":    func() error { return s.BeginAttempt(ctx, digest(), now) },
				"DeleteSession":   func() error { return s.DeleteSession(ctx, digest()) },
				"PutToken":        func() error { return s.PutToken(ctx, store.OpaqueToken{Digest: digest(), Expires: now}) },
				"RevokeToken":     func() error { return s.RevokeToken(ctx, "jti", now) },
				"PutDocument":     func() error { return s.PutDocument(ctx, "https://a.example.com/", nil, now, now) },
				"PutClient":       func() error { return s.PutClient(ctx, store.Client{ID: "demo"}) },
			} {
				w.meets(test.faults...)
				if err := do(); err != nil {
					t.Errorf("%s: %v", moment, err)
				}
			}
			subject := string(digest())
			w.meets(append([]fault{passed}, test.faults...)...)
			if err := s.PutUser(ctx, store.User{Subject: subject, Username: subject}); err != nil {
				t.Errorf("PutUser: %v", err)
			}
			w.made(t, "PutUser", map[string]int{"GetItem": 1, "TransactWriteItems": 2})
		})
	}

	// The twins: what another has written is not taken for one's own.
	t.Run("another was first", func(t *testing.T) {
		g, mine := newGrant(t, direct)
		w.meets(then(func() { _ = second(direct.SpendCode(ctx, spendOf(g))) }, lost))
		if err := second(s.SpendCode(ctx, mine)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("SpendCode: %v", err)
		}
		// In doubt nobody is accused; whoever comes again is judged.
		if !read(t, direct, g.ID).Revoked.IsZero() {
			t.Error("the grant is revoked")
		}
		if err := second(s.SpendCode(ctx, spendOf(g))); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("SpendCode again: %v", err)
		}
		registry := next(t, direct)
		other := registry
		other.Keys = []store.SigningKey{{ID: "other"}}
		w.meets(then(func() { _ = direct.ReplaceRegistry(ctx, other) }, lost))
		if err := s.ReplaceRegistry(ctx, registry); !errors.Is(err, store.ErrConflict) {
			t.Errorf("ReplaceRegistry: %v", err)
		}
	})

	t.Run("the successor was used meanwhile", func(t *testing.T) {
		// The client does not wait for the answer that was lost: it presents its
		// token again, is given the same successor, and uses that.
		use := func(g store.Grant, first store.Rotation) {
			again := rotationOf(g)
			again.Leeway = time.Minute
			g, err := direct.RotateRefreshToken(ctx, again)
			if err != nil || g.Salt != first.Salt {
				t.Errorf("the same successor: %+v, %v", g, err)
			}
			g.Created = first.Now
			if err := second(direct.RotateRefreshToken(ctx, rotationOf(g))); err != nil {
				t.Error(err)
			}
		}
		g, rotation := newRotation(t, direct)
		w.meets(after(func() { use(g, rotation) }, lost))
		if err := second(s.RotateRefreshToken(ctx, rotation)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("after a lost answer: %v", err)
		}
		if !read(t, direct, g.ID).Revoked.IsZero() {
			t.Error("after a lost answer: the grant is revoked")
		}

		// Without a lost answer it is a replay.
		g, rotation = newRotation(t, direct)
		w.meets()
		if err := second(s.RotateRefreshToken(ctx, rotation)); err != nil {
			t.Error(err)
		}
		use(g, rotation)
		if err := second(s.RotateRefreshToken(ctx, rotation)); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("without: %v", err)
		}
		if read(t, direct, g.ID).Revoked.IsZero() {
			t.Error("without: the grant is not revoked")
		}
	})

	t.Run("of what is used once, both", func(t *testing.T) {
		use := store.Use{Key: digest(), Until: time.Now().Add(time.Minute), By: "me"}
		retry := use
		retry.By = "me, once more"
		w.meets(lost, lost)
		if err := s.UseOnce(ctx, use, time.Now()); !errors.Is(err, store.ErrBusy) {
			t.Errorf("UseOnce: %v", err)
		}
		w.meets()
		if err := s.ForgetUse(ctx, use); err != nil {
			t.Errorf("ForgetUse: %v", err)
		}
		// The very same request again.
		if err := s.UseOnce(ctx, retry, time.Now()); err != nil {
			t.Errorf("UseOnce again: %v", err)
		}
		// What comes late gives back nothing that is another's.
		if err := s.ForgetUse(ctx, use); err != nil {
			t.Errorf("ForgetUse, late: %v", err)
		}
		if err := s.UseOnce(ctx, use, time.Now()); !errors.Is(err, store.ErrUsed) {
			t.Errorf("UseOnce, late: %v", err)
		}
	})

	t.Run("of a token that is not rotated, both", func(t *testing.T) {
		g, use := newRotation(t, direct)
		use.Static = true
		w.meets(lost, lost)
		if err := second(s.RotateRefreshToken(ctx, use)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("RotateRefreshToken: %v", err)
		}
		w.made(t, "RotateRefreshToken, with nothing to give back", map[string]int{"UpdateItem": 2})
		if got := read(t, direct, g.ID); got.Undone != [3]string{} || got.By != g.By || got.Current != g.Current {
			t.Errorf("left %+v", got)
		}
		if err := second(s.RotateRefreshToken(ctx, use)); err != nil {
			t.Errorf("RotateRefreshToken again: %v", err)
		}
	})

	t.Run("of RevokeGrant, both", func(t *testing.T) {
		g, rotation := newRotation(t, direct)
		r := store.Revocation{GrantID: g.ID, ClientID: g.ClientID, Family: g.Family, Now: g.Created}
		w.meets(lost, lost)
		if err := s.RevokeGrant(ctx, r); !errors.Is(err, store.ErrBusy) {
			t.Errorf("RevokeGrant: %v", err)
		}
		if err := s.RevokeGrant(ctx, r); err != nil {
			t.Errorf("RevokeGrant again: %v", err)
		}
		if err := second(s.RotateRefreshToken(ctx, rotation)); !errors.Is(err, store.ErrRevoked) {
			t.Errorf("RotateRefreshToken: %v", err)
		}
	})

	t.Run("both answers", func(t *testing.T) {
		g, spend := newGrant(t, direct)
		w.meets(lost, lost)
		if err := second(s.SpendCode(ctx, spend)); !errors.Is(err, store.ErrBusy) || !errors.Is(err, errWire) {
			t.Errorf("SpendCode: %v", err)
		}
		w.made(t, "SpendCode, and giving it back", map[string]int{"UpdateItem": 3})
		if err := second(s.SpendCode(ctx, spend)); !errors.Is(err, store.ErrUndone) {
			t.Errorf("a late copy: %v", err)
		}
		if err := second(s.SpendCode(ctx, spendOf(g))); err != nil {
			t.Errorf("the client again: %v", err)
		}

		g, rotation := newRotation(t, direct)
		w.meets(lost, lost)
		if err := second(s.RotateRefreshToken(ctx, rotation)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("RotateRefreshToken: %v", err)
		}
		again, err := s.RotateRefreshToken(ctx, rotationOf(g))
		if err != nil || again.Salt != rotation.Salt {
			t.Errorf("the client again: %+v, %v", again, err)
		}
	})

	t.Run("of the revocation", func(t *testing.T) {
		g, _ := newRotation(t, direct)
		w.meets(passed, lost)
		if err := second(s.SpendCode(ctx, spendOf(g))); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("SpendCode: %v", err)
		}
		w.made(t, "SpendCode", map[string]int{"UpdateItem": 3})
		if read(t, direct, g.ID).Revoked.IsZero() {
			t.Error("the grant is not revoked")
		}
	})
}

// next is a registry that may replace the stored one.
func next(t *testing.T, s *dynamo.Store) store.Registry {
	t.Helper()
	r, err := s.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return store.Registry{Version: r.Version + 1, Keys: []store.SigningKey{{ID: string(digest())}}}
}

// Between the judgement and the revocation the code may be given back.
func TestUndoneBeforeTheRevocation(t *testing.T) {
	w, s, direct := wired(t)
	ctx := t.Context()
	g, first := newGrant(t, direct)
	if _, err := direct.SpendCode(ctx, first); err != nil {
		t.Fatal(err)
	}
	mine := spendOf(g)
	w.meets(passed, then(func() {
		if err := direct.ReopenCode(ctx, g.ID, first.By); err != nil {
			t.Error(err)
		}
	}, passed))
	got, err := s.SpendCode(ctx, mine)
	if err != nil || got.By != mine.By || !got.Revoked.IsZero() {
		t.Errorf("SpendCode: %+v, %v", got, err)
	}
	w.made(t, "SpendCode", map[string]int{"UpdateItem": 3})

	before, rotation := newRotation(t, direct)
	rotated, err := direct.RotateRefreshToken(ctx, rotation)
	if err != nil {
		t.Fatal(err)
	}
	w.meets(passed, then(func() {
		if err := direct.ReopenRotation(ctx, before.ID, rotation.By); err != nil {
			t.Error(err)
		}
	}, passed))
	got, err = s.RotateRefreshToken(ctx, rotationOf(before))
	if err != nil || got.Salt != rotated.Salt || !got.Revoked.IsZero() {
		t.Errorf("RotateRefreshToken: %+v, %v", got, err)
	}
	w.made(t, "RotateRefreshToken", map[string]int{"UpdateItem": 3})
}

func TestBusy(t *testing.T) {
	w, s, direct := wired(t)
	ctx := t.Context()

	t.Run("throttled", func(t *testing.T) {
		for code, status := range map[string]int{
			"ProvisionedThroughputExceededException": 400, "ThrottlingException": 400, "RequestLimitExceeded": 400, "TransactionConflictException": 400,
		} {
			g, spend := newGrant(t, direct)
			w.meets(answered(status, code), answered(status, code))
			if err := second(s.SpendCode(ctx, spend)); !errors.Is(err, store.ErrBusy) || !strings.Contains(err.Error(), code) {
				t.Errorf("%s: %v", code, err)
			}
			// It did nothing, so there is nothing to give back.
			w.made(t, code, map[string]int{"UpdateItem": 2})
			if got := read(t, direct, g.ID); !got.Spent.IsZero() || got.Undone != [3]string{} {
				t.Errorf("%s: %+v", code, got)
			}
		}
		w.meets(throttled, throttled)
		_, err := s.Client(ctx, "demo")
		if cause := (*types.ProvisionedThroughputExceededException)(nil); !errors.Is(err, store.ErrBusy) || !errors.As(err, &cause) {
			t.Errorf("Client: %v", err)
		}
	})

	t.Run("the revocation of a replay", func(t *testing.T) {
		g, _ := newRotation(t, direct)
		w.meets(passed, throttled, throttled)
		// Not ErrReplayed, which says that the grant is revoked.
		if err := second(s.SpendCode(ctx, spendOf(g))); !errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrReplayed) {
			t.Errorf("SpendCode: %v", err)
		}
		w.meets()
		if err := second(s.SpendCode(ctx, spendOf(g))); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("SpendCode again: %v", err)
		}
	})

	t.Run("no answer", func(t *testing.T) {
		start := time.Now()
		w.meets(hung, hung)
		_, err := s.Client(ctx, "demo")
		if took := time.Since(start); !errors.Is(err, store.ErrBusy) || took < 1500*time.Millisecond || took > 10*time.Second {
			t.Errorf("Client: %v after %s", err, took)
		}
		w.made(t, "Client", map[string]int{"GetItem": 2})
	})

	t.Run("the deadline of the request", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		w.meets(hung)
		_, err := s.Client(short, "demo")
		if took := time.Since(start); !errors.Is(err, store.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
			t.Errorf("Client: %v after %s", err, took)
		}
		w.made(t, "Client", map[string]int{"GetItem": 1})

		// Nor does it keep a code from being given back.
		g, spend := newGrant(t, direct)
		short, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		w.meets(func(w *wire, r *http.Request) (*http.Response, error) {
			if _, err := lost(w, r); !errors.Is(err, errWire) {
				return nil, err
			}
			return hung(w, r)
		})
		if err := second(s.SpendCode(short, spend)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("SpendCode: %v", err)
		}
		if got := read(t, direct, g.ID); !got.Spent.IsZero() || got.Undone != [3]string{spend.By} {
			t.Errorf("it was not given back: %+v", got)
		}
	})

	// The twin: what is no matter of time is said at once.
	t.Run("refused for good", func(t *testing.T) {
		g, spend := newGrant(t, direct)
		w.meets(answered(http.StatusBadRequest, "AccessDeniedException"))
		if err := second(s.SpendCode(ctx, spend)); err == nil || errors.Is(err, store.ErrBusy) {
			t.Errorf("SpendCode: %v", err)
		}
		w.made(t, "SpendCode", map[string]int{"UpdateItem": 1})
		s := *s
		s.GrantsTable = "no-such-table"
		w.meets()
		if _, err := s.Grant(ctx, g.ID); err == nil || errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("Grant: %v", err)
		}
	})
}

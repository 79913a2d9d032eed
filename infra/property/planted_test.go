package property

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kmint/pkg/store"
)

// A defect stands between the token function and its store.
type defect struct {
	*memory
	spend  func(m *memory, s store.Spend) (store.Grant, error)
	rotate func(m *memory, r store.Rotation) (store.Grant, error)
	api    func(a store.API) store.API
	// uses says that what was used is forgotten; ends, that what was ended is.
	uses, ends bool
	// asks changes requests.
	asks func(r *http.Request)
}

func (d defect) SpendCode(ctx context.Context, s store.Spend) (store.Grant, error) {
	if d.spend == nil {
		return d.memory.SpendCode(ctx, s)
	}
	return d.spend(d.memory, s)
}

func (d defect) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	if d.rotate == nil {
		return d.memory.RotateRefreshToken(ctx, r)
	}
	return d.rotate(d.memory, r)
}

func (d defect) API(ctx context.Context, identifier string) (store.API, error) {
	a, err := d.memory.API(ctx, identifier)
	if d.api != nil {
		a = d.api(a)
	}
	return a, err
}

func (d defect) UseOnce(ctx context.Context, u store.Use, now time.Time) error {
	if d.uses {
		return nil
	}
	return d.memory.UseOnce(ctx, u, now)
}

func (d defect) TokenRevoked(ctx context.Context, jti string, now time.Time) (bool, error) {
	if d.ends {
		return false, nil
	}
	return d.memory.TokenRevoked(ctx, jti, now)
}

func (d defect) Grant(ctx context.Context, id string) (store.Grant, error) {
	g, err := d.memory.Grant(ctx, id)
	if d.ends {
		g.Revoked = time.Time{}
	}
	return g, err
}

// TestPromisesCanBreak plants defects, one at a time, and wants each to be found,
// and by the promise that it breaks.
func TestPromisesCanBreak(t *testing.T) {
	// The smallest history that shows a defect is not needed, and the same ones each
	// time will do.
	for name, value := range map[string]string{"rapid.shrinktime": "0s", "rapid.seed": "1", "rapid.checks": "2000"} {
		before := flag.Lookup(name).Value.String()
		must(flag.Set(name, value))
		t.Cleanup(func() { must(flag.Set(name, before)) })
	}
	ctx := context.Background()
	for name, tt := range map[string]struct {
		defect
		want string
	}{
		"the grant widens the scope": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			g, err := m.SpendCode(ctx, s)
			g.Scope = append([]string{"openid"}, scopeValues...)
			return g, err
		}}, "goes beyond"},
		"the grant widens the audience": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			g, err := m.SpendCode(ctx, s)
			g.Audience = []string{apiName(0), apiName(1)}
			if _, there := m.apis[apiName(1)]; !there {
				g.Audience = g.Audience[:1]
			}
			return g, err
		}}, "goes beyond"},
		"a policy is not looked at": {defect{api: func(a store.API) store.API {
			a.UserPolicy, a.ClientPolicy = store.AllowAll, store.AllowAll
			return a
		}}, "the client"},
		"an API allows what it does not": {defect{api: func(a store.API) store.API {
			a.AllowOfflineAccess = true
			return a
		}}, "does not allow offline_access"},
		"tokens live too long": {defect{api: func(a store.API) store.API {
			a.TokenLifetime += day
			return a
		}}, "it lives from"},
		"a code is good twice": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			g, err := m.SpendCode(ctx, s)
			if errors.Is(err, store.ErrReplayed) {
				return m.Grant(ctx, s.GrantID)
			}
			return g, err
		}}, "a code was used twice"},
		"a replay revokes nothing": {defect{
			spend: func(m *memory, s store.Spend) (store.Grant, error) {
				g, err := m.SpendCode(ctx, s)
				return g, unrevoked(m, s.GrantID, err)
			},
			rotate: func(m *memory, r store.Rotation) (store.Grant, error) {
				g, err := m.RotateRefreshToken(ctx, r)
				return g, unrevoked(m, r.GrantID, err)
			},
		}, "grant is revoked"},
		"a code has no end": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			s.Now = began
			return m.SpendCode(ctx, s)
		}}, "the code has expired"},
		"a code is anyone's": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			if g, err := m.Grant(ctx, s.GrantID); err == nil {
				s.ClientID = g.ClientID
			}
			return m.SpendCode(ctx, s)
		}}, "is not that of the code's client"},
		"the verifier is not looked at": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			if g, err := m.Grant(ctx, s.GrantID); err == nil {
				s.Challenge = g.Challenge
			}
			return m.SpendCode(ctx, s)
		}}, "is not that of the code's client"},
		"a refresh token is good twice": {defect{rotate: func(m *memory, r store.Rotation) (store.Grant, error) {
			g, err := m.RotateRefreshToken(ctx, r)
			if errors.Is(err, store.ErrReplayed) {
				return m.Grant(ctx, r.GrantID)
			}
			return g, err
		}}, "an old refresh token was used twice"},
		"a refresh token needs no proof": {defect{rotate: func(m *memory, r store.Rotation) (store.Grant, error) {
			if g, err := m.Grant(ctx, r.GrantID); err == nil && g.RefreshKey != store.AnyKey {
				r.Key = g.RefreshKey
			} else if err == nil {
				r.Key = "any"
			}
			return m.RotateRefreshToken(ctx, r)
		}}, "is not that of the token's client and key|is not bound"},
		"nothing is bound": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			s.Bind = ""
			return m.SpendCode(ctx, s)
		}}, "is not that of the token's client and key"},
		"a refresh binds nothing": {defect{rotate: func(m *memory, r store.Rotation) (store.Grant, error) {
			r.Bind = ""
			return m.RotateRefreshToken(ctx, r)
		}}, "is not that of the token's client and key"},
		"a refresh token has no end": {defect{rotate: func(m *memory, r store.Rotation) (store.Grant, error) {
			r.Now = began
			return m.RotateRefreshToken(ctx, r)
		}}, "the grant has ended|lay unused"},
		"a proof is good twice":        {defect{uses: true}, "a proof was used twice"},
		"a revoked token still counts": {defect{ends: true}, "is revoked"},
		"proofs are not looked at": {defect{asks: func(r *http.Request) {
			r.Header.Del("DPoP")
		}}, "it is bound to"},
		"any proof will do": {defect{asks: func(r *http.Request) {
			if r.Header.Get("DPoP") != "" {
				r.Header.Set("DPoP", provers[0].proof(r.Method, strings.TrimSuffix(issuer, "/")+r.URL.Path, began, ""))
			}
		}}, "it is bound to|is not that of"},
		"a fault for a refusal": {defect{spend: func(m *memory, s store.Spend) (store.Grant, error) {
			g, err := m.SpendCode(ctx, s)
			if errors.Is(err, store.ErrOtherClient) {
				err = errors.New("not one of ours")
			}
			return g, err
		}}, "the status is 500"},
	} {
		t.Run(name, func(t *testing.T) {
			plant := func(w *world) {
				tt.memory = w.memory
				w.grants, w.lookup, w.once, w.ends, w.kept = tt.defect, tt.defect, tt.defect, tt.defect, tt.defect
				if tt.asks != nil {
					w.asks = tt.asks
				}
			}
			found := findings{name: t.Name()}
			found.check(promises(plant, map[string]int{}))
			if !found.failed {
				t.Fatal("nobody has noticed")
			}
			text := strings.Join(found.said, "\n")
			for want := range strings.SplitSeq(tt.want, "|") {
				if strings.Contains(text, want) {
					return
				}
			}
			t.Errorf("it was found, but not by %q: %.2000s", tt.want, text)
		})
	}
}

// unrevoked takes back that a replay revokes.
func unrevoked(m *memory, id string, err error) error {
	if g, found := m.Grant(context.Background(), id); found == nil && errors.Is(err, store.ErrReplayed) {
		g.Revoked = time.Time{}
		_ = put(m, m.grants, id, g)
	}
	return err
}

// findings is a test that is wanted to fail.
type findings struct {
	name   string
	mu     sync.Mutex
	failed bool
	said   []string
}

var _ rapid.TB = (*findings)(nil)

// check runs the property in a goroutine of its own, which FailNow ends.
func (f *findings) check(property func(*rapid.T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		rapid.Check(f, property)
	}()
	<-done
}

func (f *findings) say(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, text)
}

func (f *findings) Helper()                         {}
func (f *findings) Name() string                    { return f.name }
func (f *findings) Logf(format string, args ...any) { f.say(fmt.Sprintf(format, args...)) }
func (f *findings) Log(args ...any)                 { f.say(fmt.Sprint(args...)) }
func (f *findings) Skipf(string, ...any)            { f.SkipNow() }
func (f *findings) Skip(...any)                     { f.SkipNow() }
func (f *findings) SkipNow()                        { runtime.Goexit() }
func (f *findings) Errorf(format string, args ...any) {
	f.Logf(format, args...)
	f.Fail()
}
func (f *findings) Error(args ...any) {
	f.Log(args...)
	f.Fail()
}
func (f *findings) Fatalf(format string, args ...any) {
	f.Logf(format, args...)
	f.FailNow()
}
func (f *findings) Fatal(args ...any) {
	f.Log(args...)
	f.FailNow()
}
func (f *findings) Fail() { f.failed = true }
func (f *findings) FailNow() {
	f.Fail()
	runtime.Goexit()
}
func (f *findings) Failed() bool { return f.failed }

package faults

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/logout"
	"kmint/pkg/oauth"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

// neverReopens leaves spent what came to nothing.
type neverReopens struct{ store.Grants }

func (neverReopens) ReopenCode(context.Context, string, string) error     { return nil }
func (neverReopens) ReopenRotation(context.Context, string, string) error { return nil }

// spendsLater answers whatever has become of the write.
type spendsLater struct {
	store.Grants
	store.GrantReader
}

func (s spendsLater) SpendCode(ctx context.Context, spend store.Spend) (store.Grant, error) {
	g, err := s.Grants.SpendCode(ctx, spend)
	if !errors.Is(err, store.ErrBusy) {
		return g, err
	}
	if g, err = s.Grant(ctx, spend.GrantID); err != nil {
		return g, err
	}
	return spend.Apply(g), nil
}

// keepsJTIs forgets nothing.
type keepsJTIs struct{ store.Uses }

func (keepsJTIs) ForgetUse(context.Context, store.Use) error { return nil }

// trusting lets everybody in whose jti cannot be looked up.
type trusting struct{ store.Uses }

func (t trusting) UseOnce(ctx context.Context, u store.Use, now time.Time) error {
	err := t.Uses.UseOnce(ctx, u, now)
	if errors.Is(err, store.ErrBusy) {
		return nil
	}
	return err
}

// hasty gives out codes that nobody has written.
type hasty struct{ store.Codes }

func (h hasty) PutGrant(ctx context.Context, g store.Grant) error {
	err := h.Codes.PutGrant(ctx, g)
	if errors.Is(err, store.ErrBusy) {
		return nil
	}
	return err
}

// discreet tells nobody that the table is only busy.
type discreet struct{ store.Users }

func (d discreet) User(ctx context.Context, subject string) (store.User, error) {
	u, err := d.Users.User(ctx, subject)
	if errors.Is(err, store.ErrBusy) {
		err = errors.New("no")
	}
	return u, err
}

// deaf takes a queue that refuses for one that does not.
type deaf struct{ logout.Queue }

func (d deaf) Send(ctx context.Context, messages []string) error {
	_ = d.Queue.Send(ctx, messages)
	return nil
}

// accuses takes every doubt for a replay.
type accuses struct {
	store.Grants
	store.Revocations
}

func (a accuses) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	g, err := a.Grants.RotateRefreshToken(ctx, r)
	if errors.Is(err, store.ErrBusy) {
		err = errors.Join(err, a.RevokeGrant(ctx, store.Revocation{GrantID: r.GrantID, ClientID: r.ClientID, Family: r.Family, Now: r.Now}))
	}
	return g, err
}

// successors draws another successor whenever it is asked, and forgets the one before.
type successors struct {
	store.Grants
	store.GrantReader
}

func (s successors) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	g, err := s.Grants.RotateRefreshToken(ctx, r)
	if err == nil && g.By != r.By {
		g.Salt = oauth.NewID()
	}
	return g, err
}

// A matrix that finds nothing may look at nothing. Each of these defects is one that a
// function could have and no test without a fault would see.
func TestPlanted(t *testing.T) {
	r := newRig(t)
	for name, tt := range map[string]struct {
		plant     plant
		scenarios []string
		faults    []fault
		want      string
	}{
		"nothing is given back": {
			func(f *server.Token, _ *server.Authorize) { f.Grants = neverReopens{f.Grants} },
			[]string{"code, openid", "refresh, openid"}, []fault{{internal, true}}, `"error":"invalid_grant"`,
		},
		"tokens for a code that is not spent": {
			func(f *server.Token, _ *server.Authorize) { f.Grants = spendsLater{f.Grants, f.Kept} },
			[]string{"code"}, []fault{{resetBefore, true}}, "the grant is not spent",
		},
		"a jti stays used up": {
			func(f *server.Token, _ *server.Authorize) { f.Uses = keepsJTIs{f.Uses} },
			[]string{"client_credentials, DPoP"}, []fault{{internal, true}}, "invalid_dpop_proof",
		},
		"a jti that is not used up": {
			func(f *server.Token, _ *server.Authorize) { f.Uses = trusting{f.Uses} },
			[]string{"client_credentials, private_key_jwt"}, []fault{{resetBefore, true}}, "a second time",
		},
		"a code that is not written": {
			func(_ *server.Token, f *server.Authorize) { f.Codes = hasty{f.Codes} },
			[]string{"authorize, session"}, []fault{{throttle, true}}, "no tokens",
		},
		"a 500 where a 503 helps": {
			func(f *server.Token, _ *server.Authorize) { f.Users = discreet{f.Users} },
			[]string{"refresh"}, []fault{{throttle, true}}, "server_error",
		},
		"clients that nobody tells": {
			func(_ *server.Token, f *server.Authorize) { f.Queue = deaf{f.Queue} },
			[]string{"logout"}, []fault{{internal, true}}, "is not told",
		},
		"a thief in every doubt": {
			func(f *server.Token, _ *server.Authorize) { f.Grants = accuses{f.Grants, f.Revocations} },
			[]string{"refresh"}, []fault{{resetAfter, true}}, `"error":"invalid_grant"`,
		},
		"two successors": {
			func(f *server.Token, _ *server.Authorize) { f.Grants = successors{f.Grants, f.Kept} },
			[]string{"refresh, openid"}, []fault{{internal, true}}, "is not the one that is stored",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found []string
			for _, s := range scenarios() {
				if !slices.Contains(tt.scenarios, s.name) {
					continue
				}
				calls, err := r.record(s)
				if err != nil {
					t.Fatal(err)
				}
				for _, call := range calls {
					for _, f := range tt.faults {
						if _, _, err := r.run(cell{s, planned{call, f}}, tt.plant); err != nil {
							found = append(found, err.Error())
						}
					}
				}
			}
			if !slices.ContainsFunc(found, func(e string) bool { return strings.Contains(e, tt.want) }) {
				t.Errorf("the matrix does not see it: %q", found)
			}
		})
	}
}

// A cell whose fault never fires does not hold, however often it is run.
func TestUnfired(t *testing.T) {
	r := newRig(t)
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == "client_credentials" })
	nowhere := planned{callID{"dynamodb.GetItem nothing", 1, 1}, fault{throttle, false}}
	if _, _, err := r.runFired(cell{all[i], nowhere}); !errors.Is(err, errUnfired) {
		t.Errorf("got %v", err)
	}
	// The twin.
	somewhere := planned{callID{"kms.Sign", 1, 1}, fault{throttle, false}}
	if _, _, err := r.runFired(cell{all[i], somewhere}); err != nil {
		t.Error(err)
	}
}

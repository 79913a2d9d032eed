package authorize_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Whom a session logs in is written down with the first answer, which costs a write on
// the session beside the grant's, and with no later one.
func TestASessionKnowsItsClients(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	s := v.logInto("web")
	for _, want := range []string{"JoinSession PutGrant Session User", "PutGrant Session User"} {
		if a := v.get(forSPA); a.query("code") == "" {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
		if calls := h.store.took(); calls != want {
			t.Errorf("it cost %s, want %s", calls, want)
		}
	}
	// That is use as well: no renewal beside it.
	h.now = h.now.Add(time.Hour)
	var write sync.WaitGroup
	write.Add(2)
	h.store.meet = map[string]*sync.WaitGroup{"PutGrant": &write, "JoinSession": &write}
	native := with(forSPA, "client_id", "native", "redirect_uri", "http://127.0.0.1:5000/cb")
	if a := v.get(native); a.query("code") == "" {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	if calls := h.store.took(); calls != "JoinSession PutGrant Session User" {
		t.Errorf("an hour later it cost %s", calls)
	}
	kept, err := h.store.Store.Session(t.Context(), s.Digest, h.now)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(kept.Clients)
	if !slices.Equal(kept.Clients, []string{"native", "spa", "web"}) || !kept.IdleExpires.After(s.IdleExpires) {
		t.Errorf("kept: %+v", kept)
	}
}

func TestALoginKnowsItsClient(t *testing.T) {
	h := newHouse(t, overTLS)
	v := h.visitor()
	v.get(forSPA)
	if a := v.fill("demo", password); a.query("code") == "" {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	g := h.store.grants[len(h.store.grants)-1]
	kept, err := h.store.Store.Session(t.Context(), oauth.Digest(g.SessionID), h.now)
	if err != nil || !slices.Equal(kept.Clients, []string{"spa"}) {
		t.Errorf("kept: %+v %v", kept, err)
	}
}

// A session that cannot learn of the client logs it not in: it could not tell it of
// its end.
func TestASessionThatEndsMeanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		fault error
		want  oauth.Code
	}{
		"ended": {store.ErrNotFound, oauth.LoginRequired},
		"busy":  {store.ErrBusy, oauth.TemporarilyUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, overTLS)
			v := h.visitor()
			v.logInto("web")
			h.store.fail = map[string]error{"JoinSession": tt.fault}
			if a := v.get(forSPA); a.Code != http.StatusFound || a.query("error") != string(tt.want) || a.query("code") != "" {
				t.Errorf("%d to %v", a.Code, a.location)
			}
		})
	}
}

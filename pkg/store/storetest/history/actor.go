// The steps of the token endpoint (package grant), and what may befall them.

package history

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"kmint/pkg/grant"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// An actor is somebody with a token, and the process that serves them.
type actor struct {
	h    *history
	name int
	// parked says that it waits to be let on by next, gone that it has gone.
	parked, gone, next chan struct{}
	over               bool
	alone              bool // nobody else is there, so nothing is waited for

	use *use
	// died: the process has, and takes no further step.
	died bool
	// spared: the call before was an undo that was lost, so this one is not. helpless:
	// none is.
	spared, helpless bool
	// doubtful: it does not know what came of its last call.
	doubtful bool
}

// stopped waits until the actor waits, or is gone.
func (a *actor) stopped() {
	select {
	case <-a.parked:
	case <-a.gone:
		a.over = true
	}
}

// park lets others go on.
func (a *actor) park() {
	if a.alone {
		return
	}
	a.parked <- struct{}{}
	<-a.next
}

func (a *actor) live() {
	defer close(a.gone)
	a.park()
	for range 1 + a.h.random.IntN(maxDeeds) {
		// Of a grant that seems to have ended there is little to tell.
		if a.act() == declined && a.h.chance(60) {
			return
		}
	}
}

// act does one thing, and returns the answer to a right request.
func (a *actor) act() (answer answer) {
	h := a.h
	newest := h.tokens[len(h.tokens)-1]
	client := !h.calm || a.name == 0
	if !h.calm && h.inDoubt(a) && h.chance(50) {
		if h.chance(50) {
			a.revoke(newest, false)
			return ""
		}
		return a.exchange(h.tokens[h.random.IntN(len(h.tokens))], "")
	}
	switch dice := h.random.IntN(100); {
	case dice < 10:
		h.now = h.now.Add([]time.Duration{time.Second, time.Second, 6 * time.Second, 11 * time.Second, time.Minute, 4 * time.Minute}[h.random.IntN(6)])
		a.park()
	case dice < 13:
		h.blocked = !h.blocked
		h.note(map[bool]string{true: "block", false: "unblock"}[h.blocked])
		a.park()
	case dice < 18:
		a.exchange(newest, []string{"client", "scope", "key", "family"}[h.random.IntN(4)])
	case dice < 23 && !h.calm:
		a.revoke(newest, h.chance(40))
	case dice < 27 && !h.calm:
		return a.exchange(h.tokens[h.random.IntN(len(h.tokens))], "")
	case dice < 40 && client && h.rules.leeway > 0:
		// What the client was given has got lost after all; or it is a tab that slept.
		before := 2
		if !h.calm && h.chance(50) {
			before = 3
		}
		return a.exchange(h.tokens[max(len(h.tokens)-before, 0)], "")
	case client:
		// As a client does: what came to nothing it tries again.
		for range 3 {
			answer = a.exchange(newest, "")
			if answer != busy && answer != silent || h.chance(20) {
				break
			}
		}
	default:
		a.park()
	}
	return answer
}

// inDoubt reports whether anybody but one waits to hear of a call that was lost.
func (h *history) inDoubt(but *actor) bool {
	return slices.ContainsFunc(h.actors, func(a *actor) bool { return a != but && !a.over && a.doubtful && a.use.end == 0 })
}

const (
	clientID = "demo"
	granted  = "openid offline_access read:x"
)

// begin writes the grant.
func (h *history) begin() error {
	code := oauth.NewHandle(oauth.CodePrefix)
	h.tokens, h.grantID = []string{code.Reveal()}, string(code.Digest())
	scope, err := oauth.ParseScope(granted)
	if err != nil {
		return err
	}
	return h.stores.Codes.PutGrant(context.Background(), store.Grant{
		ID: h.grantID, ClientID: clientID, Subject: "ada", Scope: scope, Requested: scope, CodeKey: h.rules.key,
		RedirectURI: "https://app.example.com/cb", AuthTime: h.now, Created: h.now,
		CodeExpires: h.rules.code, End: h.rules.end, Kept: h.rules.end.Add(time.Hour),
	})
}

// exchange presents a token, or the code, to the token endpoint. wrong is what is
// wrong with the request, "" for nothing.
func (a *actor) exchange(token, wrong string) answer {
	h := a.h
	if wrong == "key" && h.rules.key == "" || wrong == "family" && token == h.tokens[0] {
		wrong = "client"
	}
	u := a.begin("exchange", token, wrong)
	defer func() { u.end = h.time() }()
	client := store.Client{ID: clientID, AuthMethod: oauth.None, Refresh: store.RefreshPolicy{
		IdleLifetime: int64(h.rules.idle / time.Second), Leeway: int64(h.rules.leeway / time.Second),
	}}
	form, key := url.Values{}, h.rules.key
	switch wrong {
	case "client":
		client.ID = "another"
	case "scope":
		form.Set("scope", "admin")
	case "key":
		key = []string{"", "another"}[h.random.IntN(2)]
	case "family":
		handle, _ := oauth.ParseRefreshHandle(token)
		handle.Family = oauth.NewHandle("")
		token = handle.Token().Reveal()
	}
	now := func() time.Time { return u.at }
	var served grant.Grant
	if u.token == 0 {
		form.Set("code", token)
		served = grant.AuthorizationCode{Grants: h.stores.Grants, Now: now}
	} else {
		form.Set("refresh_token", token)
		served = grant.RefreshToken{Grants: h.stores.Grants, Users: h, Now: now}
	}
	request, err := oauth.Request{}.With(form.Encode())
	if err != nil {
		panic(err)
	}
	ctx := context.WithValue(context.Background(), actorKey{}, a)
	result, err := served.Authorize(ctx, grant.Request{Request: request, Client: client, Key: key})
	spent := err == nil
	if err == nil {
		_, err = result.Authorization.Person.Facts(ctx)
	}
	if err == nil {
		err = a.sign()
	}
	if err != nil && spent && !refused(err) && result.Undo != nil {
		_ = result.Undo(ctx) // the answer is the same
	}
	switch {
	case a.died:
		u.answer = silent
	case err == nil:
		u.answer, u.got = minted, h.token(result.RefreshToken.Reveal())
	case refused(err) && spent:
		u.answer = denied
	case refused(err):
		u.answer = declined
	default:
		u.answer, u.err = busy, err
	}
	return u.answer
}

// refused is what the endpoint takes for the request's own fault.
func refused(err error) bool {
	refusal := (*oauth.Error)(nil)
	return errors.As(err, &refusal) && refusal.Status() < http.StatusInternalServerError
}

// revoke ends the grant of a token, or tries to with one that is made up.
func (a *actor) revoke(token string, wrong bool) {
	handle, ok := oauth.ParseRefreshHandle(token)
	if !ok {
		return // the code
	}
	u := a.begin("revoke", token, "")
	defer func() { u.end = a.h.time() }()
	r := store.Revocation{GrantID: handle.GrantID, ClientID: clientID, Family: handle.Family.Digest(), Now: u.at}
	if wrong {
		u.wrong = "family"
		r.Family = oauth.NewHandle("").Digest()
	}
	err := a.h.stores.Revocations.RevokeGrant(context.WithValue(context.Background(), actorKey{}, a), r)
	switch {
	case a.died:
		u.answer = silent
	case err == nil:
		u.answer = minted
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrOtherClient):
		u.answer = declined
	default:
		u.answer, u.err = busy, err
	}
}

func (a *actor) begin(kind, token, wrong string) *use {
	h := a.h
	a.died, a.spared, a.helpless, a.doubtful = false, false, false, false
	a.use = &use{actor: a.name, kind: kind, token: h.token(token), wrong: wrong, at: h.now, start: h.time()}
	h.log = append(h.log, a.use)
	return a.use
}

var errWire = errors.New("history: the wire broke")

// sign is where the process may fail, or die.
func (a *actor) sign() error {
	a.park()
	switch {
	case a.h.chance(a.h.faults / 4):
		a.die()
	case !a.h.chance(a.h.faults):
		return nil
	}
	a.use.fault = true
	return errWire
}

func (a *actor) die() { a.died, a.use.dirty, a.use.fault = true, true, true }

// User reads the one person.
func (h *history) User(ctx context.Context, subject string) (store.User, error) {
	a := actorOf(ctx)
	a.park()
	if h.chance(h.faults / 2) {
		a.use.fault = true
		return store.User{}, store.ErrBusy
	}
	return store.User{Subject: subject, Blocked: h.blocked}, nil
}

// Carry takes a call to the store. send carries it out; unheard carries out, now or
// late, what nobody hears the answer of, and so is no more than one write. undo says
// that the call gives back, or keeps out, what the request wrote. An error is that the
// caller hears nothing.
func Carry(ctx context.Context, undo bool, send, unheard func()) error {
	a := actorOf(ctx)
	if a == nil {
		send()
		return nil
	}
	return a.carry(undo, send, unheard)
}

func (a *actor) carry(undo bool, send, unheard func()) error {
	if a.died || undo && a.helpless {
		return errWire
	}
	a.park()
	h, u := a.h, a.use
	if undo && u.undone == 0 {
		u.undone = h.time()
	}
	faults := h.faults
	if a.doubtful { // where one is lost, so is the next
		faults = 40
	}
	fault := (!undo || !a.spared) && h.chance(faults)
	a.spared, a.doubtful = undo && fault, fault
	if !fault {
		a.asked(undo)
		send()
		return nil
	}
	u.fault = true
	u.doubt = u.doubt || !undo && u.asked == 0
	arrives := h.chance(50)
	switch dice := h.random.IntN(10); {
	case dice == 0:
		a.die()
	case dice == 1 && undo:
		// The process answers, and could give nothing back.
		a.helpless, u.dirty, arrives = true, true, false
	}
	if arrives {
		a.asked(undo)
		unheard()
	} else if h.chance(60) {
		h.letters = append(h.letters, letter{u, unheard})
	}
	return errWire
}

// asked notes when the store last decided.
func (a *actor) asked(undo bool) {
	if !undo {
		a.use.asked = a.h.time()
	}
}

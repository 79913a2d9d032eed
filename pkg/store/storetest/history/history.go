// Package history answers: does a grant behave, whatever happens to it and in
// whatever order?
//
// A history is one grant and three actors who use it: the client, its other tabs,
// whoever stole a token, the owner who revokes or blocks. Each takes the steps of
// the token endpoint, with its own grants, and stops before every call of the store;
// a scheduler lets one go on at a time. What it picks, what befalls a call (it is
// lost, its answer is lost, a copy of it comes late, the process dies), what an actor
// does next and how the clock moves is drawn from one random source: a history is
// its number, and is the same each time.
//
// What came of it is then put to a model that knows nothing of records: see model.go.
package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kmint/pkg/store"
)

// Stores are the interfaces of one store, which may be shared by histories.
type Stores struct {
	Codes       store.Codes
	Reader      store.GrantReader
	Grants      store.Grants
	Revocations store.Revocations
}

// Local puts a wire before a store that has none: its calls are what may be lost.
func Local(s Stores) Stores {
	w := wire{s}
	s.Grants, s.Revocations = w, w
	return s
}

// Few is how many histories stand for all where time is short: with -short, and
// under the race detector.
const Few = 500

// Run plays so many histories, or the one that HISTORY names, and fails on the first
// to which the model objects. open makes a store for one of the goroutines that play
// side by side; its calls go through Carry.
func Run(t *testing.T, histories int, open func(t *testing.T) Stores) {
	t.Helper()
	if testing.Short() || underRace {
		histories = min(histories, Few)
	}
	first, last := 0, histories
	if name := os.Getenv("HISTORY"); name != "" {
		n, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		first, last = n, n+1
	}
	start := time.Now()
	var next atomic.Int64
	next.Store(int64(first))
	var found seen
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), last-first) {
		s := open(t)
		all.Go(func() {
			for n := next.Add(1) - 1; n < int64(last) && !t.Failed(); n = next.Add(1) - 1 {
				h, err := play(s, uint64(n))
				if err != nil {
					t.Errorf("history %d (HISTORY=%d plays it again): %v\n%s", n, n, err, h)
				}
				found.add(h)
			}
		})
	}
	all.Wait()
	t.Logf("%d histories in %s: %s", last-first, time.Since(start).Round(time.Millisecond), &found)
	if last-first >= Few {
		found.enough(t)
	}
}

// Play plays one history, and returns its log and what the model objects to.
func Play(s Stores, n int) (log string, objection error) {
	h, err := play(s, uint64(n))
	return h.String(), err
}

// A history is being played.
type history struct {
	stores Stores
	rules  rules
	random *rand.Rand
	// calm: one actor alone uses tokens as they are to be used.
	calm   bool
	faults int // of a hundred calls

	now     time.Time
	tick    int
	blocked bool
	grantID string
	tokens  []string // that the outside has seen, the code first
	actors  []*actor
	letters []letter
	log     []*use
}

// A letter is a copy of a write that is on its way.
type letter struct {
	of     *use
	arrive func()
}

// Of the actors.
const (
	crowd    = 3
	maxDeeds = 6
	// marks is how many requests a grant can keep out after they were undone. A copy
	// that is later than so many is beyond what is promised.
	marks = 3
)

// play plays one history and asks the model. The error is its objection, or that the
// history could not be played.
func play(s Stores, n uint64) (*history, error) {
	random := rand.New(rand.NewPCG(n, 0))
	h := &history{stores: s, random: random, calm: random.IntN(2) == 0, now: time.Now().Truncate(time.Millisecond)}
	h.faults = []int{0, 8, 16, 25}[random.IntN(4)]
	h.rules = rules{
		leeway: []time.Duration{0, 10 * time.Second}[random.IntN(2)],
		code:   h.now.Add(time.Minute), idle: 5 * time.Minute, end: h.now.Add(12 * time.Minute),
	}
	if random.IntN(3) == 0 {
		h.rules.key = "the client's key"
	}
	if err := h.begin(); err != nil {
		return h, fmt.Errorf("history: %w", err)
	}
	for i := range crowd {
		h.actors = append(h.actors, &actor{h: h, name: i, parked: make(chan struct{}), gone: make(chan struct{}), next: make(chan struct{})})
	}
	for _, a := range h.actors {
		go a.live()
		a.stopped()
	}
	for h.step() {
	}
	h.close()
	return h, errors.Join(h.model().objections()...)
}

// step lets something happen: an actor goes on, or a letter arrives. It reports
// whether anybody is left.
func (h *history) step() bool {
	var alive []*actor
	for _, a := range h.actors {
		if !a.over {
			alive = append(alive, a)
		}
	}
	if len(alive) == 0 {
		return false
	}
	if len(h.letters) > 0 && h.random.IntN(3) == 0 {
		h.deliver(h.random.IntN(len(h.letters)))
		return true
	}
	a := alive[h.random.IntN(len(alive))]
	// What hurts most is what comes between a call that was lost and the next.
	for tries := 0; tries < 6 && a.doubtful && h.chance(85); tries++ {
		a = alive[h.random.IntN(len(alive))]
	}
	a.next <- struct{}{}
	a.stopped()
	return true
}

// deliver lets a letter arrive, unless it is later than a grant can remember.
func (h *history) deliver(i int) {
	l := h.letters[i]
	h.letters = append(h.letters[:i], h.letters[i+1:]...)
	since := 0
	for _, u := range h.log {
		if u.undone > 0 && l.of.undone > 0 && u.undone > l.of.undone {
			since++
		}
	}
	if since < marks {
		h.tick++
		l.of.late++
		l.arrive()
	}
}

// close asks, undisturbed, whether the last token is good, and whether the next one
// still is after a second use of the code, or of the last.
func (h *history) close() {
	for len(h.letters) > 0 {
		h.deliver(0)
	}
	h.faults, h.blocked = 0, false
	h.note("unblock")
	a := &actor{h: h, name: crowd, alone: true}
	last := h.tokens[len(h.tokens)-1]
	a.exchange(last, "")
	if last != h.tokens[len(h.tokens)-1] && h.random.IntN(2) == 0 {
		a.exchange([]string{h.tokens[0], last}[h.random.IntN(2)], "")
		a.exchange(h.tokens[len(h.tokens)-1], "")
	}
}

// time counts events, not milliseconds: no two are at once.
func (h *history) time() int { h.tick++; return h.tick }

// note logs what is no request.
func (h *history) note(kind string) {
	t := h.time()
	h.log = append(h.log, &use{kind: kind, start: t, end: t, at: h.now})
}

// token names a token by when it was first seen.
func (h *history) token(secret string) int {
	for i, known := range h.tokens {
		if known == secret {
			return i
		}
	}
	h.tokens = append(h.tokens, secret)
	return len(h.tokens) - 1
}

func (h *history) chance(percent int) bool { return h.random.IntN(100) < percent }

// String is the log.
func (h *history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "leeway %s, key %q; token 0 is the code\n", h.rules.leeway, h.rules.key)
	start := h.rules.code.Add(-time.Minute)
	for _, u := range h.log {
		fmt.Fprintf(&b, "%3d-%3d %6s  %s\n", u.start, u.end, u.at.Sub(start), u)
	}
	return b.String()
}

type actorKey struct{}

// actorOf is whose call it is, nil for nobody's.
func actorOf(ctx context.Context) *actor {
	a, _ := ctx.Value(actorKey{}).(*actor)
	return a
}

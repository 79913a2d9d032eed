// What must hold for the world outside (RFC 6749 §4.1.2, RFC 9700 §4.14.2). It sees
// requests and answers, and knows no record: not what is stored of a grant, nor how
// it is judged. Where requests overlap it allows every order that they may have had.

package history

import (
	"fmt"
	"slices"
	"time"
)

// An answer is what a request came to.
type answer string

const (
	minted   answer = "minted"  // tokens went out; of a revocation: done
	declined answer = "refused" // by the store
	denied   answer = "denied"  // for the person's sake, once the token was used
	busy     answer = "busy"    // come again: nothing was decided
	silent   answer = "silent"  // the process died
)

// A use is one request, or what else happened.
type use struct {
	actor int
	kind  string // "exchange", "revoke", "block", "unblock"
	token int    // what was presented
	wrong string // what is wrong with the request
	at    time.Time
	// start and end are when it came and was answered; asked, when the store decided
	// last.
	start, asked, end int
	answer            answer
	got               int // the token that went out
	err               error
	// fault: something befell it. doubt: before anything was heard of the store. dirty:
	// so that nothing could be given back.
	fault, doubt, dirty bool
	undone              int // when giving back began
	late                int // copies that came late
}

func (u *use) String() string {
	if u.kind != "exchange" && u.kind != "revoke" {
		return u.kind
	}
	text := fmt.Sprintf("actor %d %s of token %d", u.actor, u.kind, u.token)
	if u.wrong != "" {
		text += ", the " + u.wrong + " wrong"
	}
	text += ": " + string(u.answer)
	if u.answer == minted && u.kind == "exchange" {
		text += fmt.Sprintf(" token %d, asked at %d", u.got, u.asked)
	}
	if u.answer == busy {
		text += fmt.Sprintf(" (%v)", u.err)
	}
	if u.fault {
		text += ", faults"
	}
	if u.dirty {
		text += ", nothing given back"
	}
	if u.late > 0 {
		text += fmt.Sprintf(", %d late copies", u.late)
	}
	return text
}

// rules are the grant's.
type rules struct {
	leeway, idle time.Duration
	code, end    time.Time
	key          string
}

type model struct {
	rules
	all []*use
}

func (h *history) model() model { return model{h.rules, h.log} }

// of are the right uses of a token that began before t, save but.
func (m model) of(token, t int, but *use) (uses []*use) {
	for _, u := range m.all {
		if u.kind == "exchange" && u.token == token && u.wrong == "" && u.start < t && u != but {
			uses = append(uses, u)
		}
	}
	return uses
}

// spent reports whether it was known before t that the token had been used.
func (m model) spent(token, t int) bool {
	for _, u := range m.of(token, t, nil) {
		if u.answer == minted && u.end < t {
			return true
		}
	}
	return false
}

// successor is the token that came of it, 0 for none.
func (m model) successor(token int) int {
	for _, u := range m.all {
		if u.kind == "exchange" && u.token == token && u.answer == minted {
			return u.got
		}
	}
	return 0
}

// passed reports whether the token's successor was known before t to have been used.
func (m model) passed(token, t int) bool {
	next := m.successor(token)
	return token > 0 && next > 0 && m.spent(next, t)
}

// between are the earliest and the latest time of uses.
func between(uses []*use) (first, last time.Time) {
	for _, u := range uses {
		if first.IsZero() || u.at.Before(first) {
			first = u.at
		}
		if u.at.After(last) {
			last = u.at
		}
	}
	return first, last
}

// lives reports whether the token surely was, and whether it may have been, within
// its time. That begins anew when it is presented: what comes of it may be asked for
// once more.
func (m model) lives(u *use) (surely, maybe bool) {
	if u.token == 0 {
		good := u.at.Before(m.code)
		return good, good
	}
	for parent := range u.token {
		if m.successor(parent) == u.token {
			first, last := between(m.of(parent, u.end, nil))
			surely, maybe = u.at.Before(first.Add(m.idle)), u.at.Before(last.Add(m.idle))
		}
	}
	for _, v := range m.of(u.token, u.start, u) {
		if _, lived := m.lives(v); lived && u.at.Before(v.at.Add(m.idle)) {
			maybe = true
		}
	}
	return surely && u.at.Before(m.end), maybe && u.at.Before(m.end)
}

// replay reports whether it surely is a second use that nothing excuses.
func (m model) replay(u *use) bool {
	if u.wrong != "" || !m.spent(u.token, u.start) {
		return false
	}
	if u.token == 0 || m.passed(u.token, u.start) {
		return true
	}
	others := m.of(u.token, u.end, u)
	for _, v := range others {
		if v.answer == busy || v.answer == silent {
			return false // its rotation may have been reopened
		}
	}
	_, last := between(others)
	return !u.at.Before(last.Add(m.leeway))
}

// suspect reports whether it may be taken for a second use. What was put off
// and given back is no use; within leeway a second one is as good as the first; whose
// first answer was lost may be the second only to themselves.
func (m model) suspect(u *use) bool {
	if u.kind != "exchange" || u.wrong != "" || u.doubt {
		return false
	}
	var others []*use
	for _, v := range m.of(u.token, u.end, u) {
		if v.end > u.start || v.answer != declined && (v.answer != busy || v.dirty) {
			others = append(others, v)
		}
	}
	if len(others) == 0 {
		return false
	}
	first, _ := between(m.of(u.token, u.end, u))
	next := m.successor(u.token)
	alive, _ := m.lives(u)
	excused := u.token > 0 && u.at.Before(first.Add(m.leeway)) && alive && (next == 0 || len(m.of(next, u.end, nil)) == 0)
	return !excused
}

// ended reports whether the grant had surely ended before t, and whether it may have.
func (m model) ended(t int) (surely, maybe bool) {
	for _, u := range m.all {
		revoked := u.kind == "revoke" && u.wrong == ""
		surely = surely || u.end < t && (revoked && u.answer == minted || u.kind == "exchange" && u.answer == declined && m.replay(u))
		maybe = maybe || u.start < t && (revoked || m.suspect(u))
	}
	return surely, maybe
}

// blocked reports likewise of the person while the request was served.
func (m model) blocked(u *use) (surely, maybe bool) {
	for _, b := range m.all {
		switch {
		case b.kind == "block" && b.start < u.end:
			surely, maybe = b.start < u.start, true
		case b.kind == "unblock" && b.start < u.end:
			surely, maybe = false, maybe && b.start > u.start
		}
	}
	return surely && u.token > 0, maybe && u.token > 0
}

// crowded reports whether others came between.
func (m model) crowded(u *use) bool {
	return slices.ContainsFunc(m.all, func(v *use) bool { return v != u && v.start < u.end && v.end > u.start })
}

// objections are what must not have been.
func (m model) objections() (objections []error) {
	object := func(u *use, what string) {
		objections = append(objections, fmt.Errorf("%s (%d: %s)", what, u.start, u))
	}
	parents := map[int]int{}
	for _, u := range m.all {
		if u.kind != "exchange" {
			continue
		}
		ended, _ := m.ended(u.asked)
		alive, mayLive := m.lives(u)
		blocked, mayBeBlocked := m.blocked(u)
		if u.answer == minted {
			parent, known := parents[u.got]
			parents[u.got] = u.token
			for _, rule := range []struct {
				broken bool
				what   string
			}{
				{u.wrong != "", "a wrong request was served"},
				{m.successor(u.token) != u.got, "there is a second successor"},
				{known && parent != u.token, "two tokens have one successor"},
				{known && u.token == 0, "a code was used twice"},
				{ended, "a grant that had ended gave tokens"},
				{m.passed(u.token, u.asked), "a token was good after its successor's use"},
				{m.replay(u), "a second use was served"},
				{!mayLive, "a token was good after its time"},
				{blocked, "a person who was blocked got tokens by a refresh"},
			} {
				if rule.broken {
					object(u, rule.what)
				}
			}
			continue
		}
		_, mayHaveEnded := m.ended(u.end)
		if u.wrong == "" && !u.fault && alive && !mayHaveEnded && !mayBeBlocked {
			object(u, "an honest request got nothing")
		}
		if u.answer == busy && !u.fault && !m.crowded(u) {
			object(u, "a request was put off for nothing")
		}
	}
	return objections
}

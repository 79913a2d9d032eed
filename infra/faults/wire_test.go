package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What befalls a call on its way.
type kind int

const (
	throttle      kind = iota // put off, nothing done
	internal                  // 500, nothing done
	internalAfter             // 500, and done all the same
	timeoutBefore             // no answer, nothing done
	timeoutAfter              // no answer, and done
	resetBefore               // the connection is reset, nothing done
	resetAfter                // the connection is reset, and done
	torn                      // half of the answer comes
	slow                      // the answer takes its time, and comes
	twiceFirst                // the backend gets it twice, and the first answer comes
	twiceSecond               // the same, and the second comes
	late                      // the connection is reset; it is done after the function has answered
	killBefore                // the process dies before the call
	killAfter                 // the process dies after it
	pause                     // the backend stands still for pauseTime, then does all that has piled up, last first
	answerLost                // our own answer does not reach the client; no call is touched
)

// A fault befalls the first attempt of a call, or always all of them.
type fault struct {
	kind   kind
	always bool
}

const (
	slowness  = 300 * time.Millisecond
	pauseTime = 5 * time.Second
)

var names = map[kind]string{
	throttle: "throttle", internal: "500", internalAfter: "500 after", timeoutBefore: "timeout before", timeoutAfter: "timeout after",
	resetBefore: "reset before", resetAfter: "reset after", torn: "torn", slow: "slow", twiceFirst: "twice, first answer",
	twiceSecond: "twice, second answer", late: "late copy", killBefore: "kill before", killAfter: "kill after", pause: "pause 5 s", answerLost: "answer lost",
}

func (f fault) String() string {
	if f.always {
		return names[f.kind] + ", always"
	}
	return names[f.kind]
}

// all are the faults of the matrix. The slowest come first: cells run side by side.
func all() []fault {
	faults := []fault{{pause, false}}
	for _, always := range []bool{true, false} {
		for _, k := range []kind{timeoutAfter, timeoutBefore, late, internalAfter, internal, throttle, resetBefore, resetAfter, torn} {
			faults = append(faults, fault{k, always})
		}
	}
	for _, k := range []kind{slow, twiceFirst, twiceSecond, killBefore, killAfter} {
		faults = append(faults, fault{k, false})
	}
	return faults
}

// noAnswer reports whether the client never hears what became of its request.
func (f fault) noAnswer() bool {
	return f.kind == killBefore || f.kind == killAfter || f.kind == answerLost
}

// A callID names a call of a request: what it does, the how manieth of those that do
// that with another body, and the how manieth with the same.
type callID struct {
	name        string
	which, time int
}

func (c callID) String() string {
	s := c.name
	if c.which > 1 {
		s += " (" + strconv.Itoa(c.which) + ")"
	}
	if c.time > 1 {
		s += " again"
	}
	return s
}

// A planned fault befalls one call.
type planned struct {
	call  callID
	fault fault
}

// A wire is what a function's SDK clients talk to: one server that tells the services
// apart by their headers, as they do.
type wire struct {
	server   *http.Server
	url      string
	backends backends
	die      context.CancelFunc // ends the request that is being answered

	mu      sync.Mutex
	plan    []planned
	calls   []callID
	seen    map[string][]string // bodies by name
	times   map[string]int      // by body
	fired   map[planned]bool
	dead    bool
	copies  []func()           // what comes after the function has answered
	piles   map[string]*pileUp // by service, what waits for a backend that stands still
	waiting sync.WaitGroup     // for those backends
}

type pileUp struct {
	waiting []chan struct{}
}

// backends are the addresses by the prefix of X-Amz-Target.
type backends map[string]string

// forwarder keeps connections to the backends open, but for less time than they do.
var forwarder = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 10 * time.Second}}

func newWire(b backends, plan ...planned) *wire {
	w := &wire{
		backends: b, plan: plan, seen: map[string][]string{}, times: map[string]int{}, fired: map[planned]bool{},
		piles: map[string]*pileUp{}, die: func() {},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	w.url = "http://" + listener.Addr().String()
	w.server = &http.Server{Handler: w}
	go func() { _ = w.server.Serve(listener) }() // until close
	return w
}

// close ends the wire once the backends go on again.
func (w *wire) close() {
	w.waiting.Wait()
	_ = w.server.Close()
}

// answered is called when the function has answered: what was to happen once is over,
// and copies that were still on their way arrive.
func (w *wire) answered() {
	w.mu.Lock()
	copies := w.copies
	w.copies, w.plan = nil, nil
	w.mu.Unlock()
	for _, arrive := range copies {
		arrive()
	}
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it has gone
	}
	service, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if w.backends[service] == "" { // somebody else looks for a server of theirs
		http.NotFound(rw, r)
		return
	}
	p, pile, dead := w.arrive(service, r.Header.Get("X-Amz-Target"), body)
	if dead {
		reset(rw)
		return
	}
	do := func() *httptest.ResponseRecorder { return w.forward(r, body) }
	if pile != nil {
		<-pile
		pass(rw, do())
		return
	}
	if p == nil {
		pass(rw, do())
		return
	}
	switch p.fault.kind {
	case throttle:
		refuse(rw, service, true)
	case internal:
		refuse(rw, service, false)
	case internalAfter:
		do()
		refuse(rw, service, false)
	case timeoutBefore:
		<-r.Context().Done()
	case timeoutAfter:
		do()
		<-r.Context().Done()
	case resetBefore:
		reset(rw)
	case resetAfter:
		do()
		reset(rw)
	case torn:
		a := do()
		rw.Header().Set("Content-Length", strconv.Itoa(a.Body.Len()+1))
		rw.Header().Set("Content-Type", a.Header().Get("Content-Type"))
		rw.WriteHeader(a.Code)
		_, _ = rw.Write(a.Body.Bytes()[:a.Body.Len()/2])
		panic(http.ErrAbortHandler)
	case slow:
		time.Sleep(slowness)
		pass(rw, do())
	case twiceFirst:
		a := do()
		do()
		pass(rw, a)
	case twiceSecond:
		do()
		pass(rw, do())
	case late:
		w.mu.Lock()
		w.copies = append(w.copies, func() { do() })
		w.mu.Unlock()
		reset(rw)
	case killBefore:
		w.kill()
		reset(rw)
	case killAfter:
		do()
		w.kill()
		reset(rw)
	}
}

// arrive writes the call down and says what befalls it: a fault, or that it waits, or
// that there is nobody any more who could have made it.
func (w *wire) arrive(service, target string, body []byte) (*planned, chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, nil, true
	}
	id := w.identify(target, body)
	w.calls = append(w.calls, id)
	if pile := w.piles[service]; pile != nil {
		turn := make(chan struct{})
		pile.waiting = append(pile.waiting, turn)
		return nil, turn, false
	}
	for i := range w.plan {
		p := w.plan[i]
		// Keys of KMS come in no order: what is asked of one again may be asked of any.
		again := id.time > 1 && p.call.time > 1 && strings.HasPrefix(id.name, "kms.")
		if p.call.name != id.name || p.call.which != id.which && !again || p.call.time != id.time && (!p.fault.always || id.time < p.call.time) {
			continue
		}
		w.fired[p] = true
		if p.fault.kind == pause {
			return nil, w.stop(service), false
		}
		return &p, nil, false
	}
	return nil, nil, false
}

// stop lets the backend stand still for a while.
func (w *wire) stop(service string) chan struct{} {
	turn := make(chan struct{})
	pile := &pileUp{waiting: []chan struct{}{turn}}
	w.piles[service] = pile
	w.waiting.Go(func() {
		time.Sleep(pauseTime)
		for {
			w.mu.Lock()
			n := len(pile.waiting)
			if n == 0 {
				delete(w.piles, service)
				w.mu.Unlock()
				return
			}
			last := pile.waiting[n-1]
			pile.waiting = pile.waiting[:n-1]
			w.mu.Unlock()
			close(last)
			time.Sleep(20 * time.Millisecond) // each is done before the next
		}
	})
	return turn
}

func (w *wire) kill() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.die()
}

// identify is called with the lock.
func (w *wire) identify(target string, body []byte) callID {
	name := callName(target, body)
	text := canonical(body)
	which := 0
	for i, seen := range w.seen[name] {
		if seen == text {
			which = i + 1
		}
	}
	if which == 0 {
		w.seen[name] = append(w.seen[name], text)
		which = len(w.seen[name])
	}
	w.times[name+text]++
	return callID{name, which, w.times[name+text]}
}

// canonical is the same for every way in which the SDK writes a map down.
func canonical(body []byte) string {
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		return string(body)
	}
	text, _ := json.Marshal(tree)
	return string(text)
}

// callName says what a call does: the operation, and of DynamoDB the kind of item and
// the first attribute that an update sets; of a MAC, what for.
func callName(target string, body []byte) string {
	service, operation, _ := strings.Cut(target, ".")
	var in struct {
		Key, Item        map[string]struct{ S string }
		UpdateExpression string
		IndexName        string
		Message          []byte
	}
	_ = json.Unmarshal(body, &in) // items hold more than texts, which is left out
	switch {
	case strings.HasPrefix(service, "DynamoDB"):
		key := in.Key["pk"].S + in.Item["pk"].S
		if prefix, _, ok := strings.Cut(key, "#"); ok && prefix != "client" && prefix != "api" {
			key = prefix + "#"
		}
		name := "dynamodb." + operation + " " + key + in.IndexName
		if words := strings.Fields(in.UpdateExpression); len(words) > 1 {
			name += " " + words[0] + " " + strings.TrimPrefix(words[1], "#")
		}
		return name
	case operation == "GenerateMac" && len(in.Message) > 8:
		return "kms." + operation + " " + string(in.Message[:len(in.Message)-8])
	case service == "TrentService":
		return "kms." + operation
	default:
		return "sqs." + operation
	}
}

// forward lets the backend do it, whoever still waits.
func (w *wire) forward(r *http.Request, body []byte) *httptest.ResponseRecorder {
	out := httptest.NewRecorder()
	service, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	request, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, w.backends[service]+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header = r.Header.Clone()
	response, err := forwarder.Do(request)
	if err != nil {
		panic(http.ErrAbortHandler) // as if it had broken, which has to be well too
	}
	defer response.Body.Close()
	if out.Header()["X-Amz-Crc32"] = response.Header["X-Amz-Crc32"]; out.Header().Get("X-Amz-Crc32") == "" {
		out.Header().Del("X-Amz-Crc32")
	}
	out.Header().Set("Content-Type", response.Header.Get("Content-Type"))
	out.WriteHeader(response.StatusCode)
	if _, err := io.Copy(out, response.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	return out
}

func pass(rw http.ResponseWriter, a *httptest.ResponseRecorder) {
	for name, values := range a.Header() {
		rw.Header()[name] = values
	}
	rw.WriteHeader(a.Code)
	_, _ = rw.Write(a.Body.Bytes())
}

// refuse answers as the service does when it is asked too much, or fails.
func refuse(rw http.ResponseWriter, service string, throttled bool) {
	code, status := map[string]string{
		"DynamoDB_20120810": "com.amazonaws.dynamodb.v20120810#InternalServerError", "TrentService": "KMSInternalException", "AmazonSQS": "InternalFailure",
	}[service], http.StatusInternalServerError
	if throttled {
		code, status = map[string]string{
			"DynamoDB_20120810": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
			"TrentService":      "ThrottlingException", "AmazonSQS": "ThrottlingException",
		}[service], http.StatusBadRequest
	}
	rw.Header().Set("Content-Type", "application/x-amz-json-1.0")
	rw.WriteHeader(status)
	_, _ = fmt.Fprintf(rw, `{"__type":%q,"message":"a fault of the rig"}`, code)
}

// reset ends the connection without a farewell.
func reset(rw http.ResponseWriter) {
	connection, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

// Package fetch answers: how is a document of somebody else got safely?
//
// The addresses of such documents come from the metadata of clients and from
// foreign issuers, so whoever writes those chooses what we connect to. OWASP calls
// what may follow server-side request forgery: the instance metadata service, or a
// neighbour in a private network, is asked in our name. guard.go says what is
// refused; what is not refused is bounded in size and time.
//
// A document is remembered for MaxAge, whatever its server says about caching: for
// how long a withdrawn key counts here is ours to say. Where the server cannot be
// reached, the old document serves for as long as StaleFor after it was got: a key
// that its owner withdraws meanwhile counts for that long at most, and nobody but
// the owner's own network can stretch it. A server that answers, but not with the
// document, has withdrawn it, and ends it at once.
package fetch

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	// MaxDocument is the longest document we read, in bytes.
	MaxDocument = 64 << 10
	// Patience is how long one fetch may take in all.
	Patience = 2 * time.Second
	// MaxAge is how long a document is remembered.
	MaxAge = 10 * time.Minute
	// StaleFor is how long after it was got a document serves where its server
	// cannot be reached.
	StaleFor = time.Hour
	// MissAge is how long it is remembered that a document could not be got.
	MissAge = 30 * time.Second
	// Pause is how long after an attempt Refresh leaves a server alone.
	Pause = time.Minute

	// cachePatience is how long the Cache may take: it only spares a fetch.
	cachePatience = time.Second
	maxRemembered = 128
	maxURL        = 2048
)

// An Error says why there is no document.
type Error struct {
	// URL is where it should have been, without the query.
	URL string
	// Refused says that the address must not be asked, or that what it answers is no
	// document; else it could not be got, and may be later.
	Refused bool
	Cause   error
}

func (e *Error) Error() string {
	verb := "could not be got"
	if e.Refused {
		verb = "is refused"
	}
	return fmt.Sprintf("fetch: %s %s: %v", e.URL, verb, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Temporary reports whether the document may be there later.
func (e *Error) Temporary() bool { return !e.Refused }

// A Cache keeps documents for other processes. What it fails at is passed over: it
// only spares a fetch.
type Cache interface {
	// Document returns the body as it was got at the time fetched: empty if it could
	// not be. found is false where nothing is kept.
	Document(ctx context.Context, url string) (body []byte, fetched time.Time, found bool, err error)
	// PutDocument keeps it, and may forget it after until.
	PutDocument(ctx context.Context, url string, body []byte, fetched, until time.Time) error
}

// A Fetcher gets documents, and remembers them. It is not to be copied.
type Fetcher struct {
	// Cache outlives this process; nil for none.
	Cache Cache
	// Resolver looks names up; nil for the machine's.
	Resolver Resolver
	// Roots are the certificate authorities that count; nil for the machine's.
	Roots *x509.CertPool
	// AllowLoopback lets documents be on this very machine, by http too: for
	// development alone.
	AllowLoopback bool
	Now           func() time.Time

	once       sync.Once
	remembered *lru.Cache[string, memory]
	flights    singleflight.Group
}

// A memory is what is known of one address.
type memory struct {
	body    []byte    // nil for none
	fetched time.Time // when body was got
	tried   time.Time // when it was asked for last
	failed  error     // how that ended; nil if well
}

// Get returns the document, which is shared and not to be changed. The error is an
// *Error, or that of ctx.
func (f *Fetcher) Get(ctx context.Context, address string) ([]byte, error) {
	if kept, ok := f.recall(address); ok && f.settled(kept) {
		return f.answer(kept)
	}
	return f.fly(ctx, "get "+address, func(ctx context.Context) memory { return f.get(ctx, address) })
}

// Refresh returns the document as it is now: something is missing in the one that
// Get returned, such as the key of a kid. It asks the server at most once in Pause,
// whoever else asked meanwhile included, and returns what that brought.
func (f *Fetcher) Refresh(ctx context.Context, address string) ([]byte, error) {
	return f.fly(ctx, "refresh "+address, func(ctx context.Context) memory { return f.refresh(ctx, address) })
}

// settled reports whether what is known needs no new attempt.
func (f *Fetcher) settled(m memory) bool {
	now := f.Now()
	if m.failed != nil {
		return within(now, m.tried, MissAge)
	}
	return within(now, m.fetched, MaxAge)
}

func (f *Fetcher) rests(m memory) bool { return within(f.Now(), m.tried, Pause) }

// within reports whether less than d has passed. A clock that was set back counts
// as much time.
func within(now, since time.Time, d time.Duration) bool {
	return !now.Before(since) && now.Before(since.Add(d))
}

// answer is the document where it still counts.
func (f *Fetcher) answer(m memory) ([]byte, error) {
	if m.failed == nil || m.body != nil && within(f.Now(), m.fetched, StaleFor) {
		return m.body, nil
	}
	return nil, m.failed
}

// fly lets those who want the same wait for one attempt. It does not end with the
// request that began it.
func (f *Fetcher) fly(ctx context.Context, name string, attempt func(context.Context) memory) ([]byte, error) {
	background := context.WithoutCancel(ctx)
	flight := f.flights.DoChan(name, func() (any, error) { return attempt(background), nil })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case landed := <-flight:
		known, _ := landed.Val.(memory)
		if strings.HasPrefix(name, "refresh ") {
			return known.body, known.failed
		}
		return f.answer(known)
	}
}

func (f *Fetcher) get(ctx context.Context, address string) memory {
	known, ok := f.recall(address)
	if ok && f.settled(known) { // another flight has landed
		return known
	}
	// Of what this process has, another can know something newer, but not that it could
	// not be got.
	if kept, ok := f.lookUp(ctx, address); ok && (known.body == nil || kept.failed == nil && kept.fetched.After(known.fetched)) {
		if known = kept; f.settled(kept) {
			f.remember(address, kept)
			return kept
		}
	}
	return f.ask(ctx, address, known)
}

func (f *Fetcher) refresh(ctx context.Context, address string) memory {
	known, ok := f.recall(address)
	if ok && f.rests(known) {
		return known
	}
	if kept, ok := f.lookUp(ctx, address); ok && kept.failed == nil && f.rests(kept) {
		f.remember(address, kept)
		return kept
	}
	return f.ask(ctx, address, known)
}

// ask gets the document from its server.
func (f *Fetcher) ask(ctx context.Context, address string, known memory) memory {
	at := f.Now() // the document may change right after it was sent
	body, err := f.download(ctx, address)
	known.tried, known.failed = at, err
	failure, _ := err.(*Error)
	switch {
	case err == nil:
		known.body, known.fetched = body, at
		f.keep(ctx, address, body, at, at.Add(StaleFor))
	case failure != nil && failure.Refused:
		if known.body != nil { // nor does it serve from the Cache any more
			f.keep(ctx, address, nil, at, at.Add(MissAge))
		}
		known.body = nil
	case known.body == nil:
		// What other processes have got is not overwritten by what this one has not.
		f.keep(ctx, address, nil, at, at.Add(MissAge))
	}
	f.remember(address, known)
	return known
}

// lookUp reads the Cache.
func (f *Fetcher) lookUp(ctx context.Context, address string) (memory, bool) {
	if f.Cache == nil {
		return memory{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, cachePatience)
	defer cancel()
	body, fetched, found, err := f.Cache.Document(ctx, address)
	switch {
	case err != nil || !found:
		return memory{}, false
	case len(body) == 0:
		return memory{tried: fetched, fetched: fetched, failed: unavailable(address, fmt.Errorf("another process could not get it at %s", fetched.UTC().Format(time.RFC3339)))}, true
	default:
		return memory{body: body, fetched: fetched, tried: fetched}, true
	}
}

func (f *Fetcher) keep(ctx context.Context, address string, body []byte, fetched, until time.Time) {
	if f.Cache == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cachePatience)
	defer cancel()
	_ = f.Cache.PutDocument(ctx, address, body, fetched, until)
}

func (f *Fetcher) memory() *lru.Cache[string, memory] {
	f.once.Do(func() {
		f.remembered, _ = lru.New[string, memory](maxRemembered) // fails for a size below 1 alone
	})
	return f.remembered
}

func (f *Fetcher) recall(address string) (memory, bool) { return f.memory().Get(address) }

func (f *Fetcher) remember(address string, m memory) {
	if len(address) <= maxURL {
		f.memory().Add(address, m)
	}
}

func refused(address string, cause error) *Error {
	return &Error{URL: withoutQuery(address), Refused: true, Cause: cause}
}

func unavailable(address string, cause error) *Error {
	return &Error{URL: withoutQuery(address), Cause: cause}
}

// withoutQuery is what a log may show of an address.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that is no URL"
	}
	shown := u.Scheme + "://" + u.Host + u.Path
	return shown[:min(len(shown), 256)]
}

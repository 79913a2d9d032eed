package fetch_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kmint/pkg/fetch"
)

const document = `{"keys":[]}`

// names answers for each host with its addresses, and counts.
type names struct {
	addresses map[string][]string
	asked     atomic.Int64
	err       error
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.asked.Add(1)
	var found []netip.Addr
	for _, text := range n.addresses[host] {
		found = append(found, netip.MustParseAddr(text))
	}
	return found, n.err
}

// A site is a server on loopback that counts.
type site struct {
	*httptest.Server
	asked atomic.Int64
}

func serve(t *testing.T, answer http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func roots(s *site) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// named is the address of the site by the name that its certificate is for.
func (s *site) named(host string) string {
	u, _ := url.Parse(s.URL)
	return "https://" + host + ":" + u.Port()
}

func write(media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write([]byte(body))
	}
}

// A clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func kind(err error) string {
	var e *fetch.Error
	switch {
	case err == nil:
		return "got"
	case !errors.As(err, &e):
		return "another error: " + err.Error()
	case e.Refused != e.Temporary():
		if e.Refused {
			return "refused"
		}
		return "unavailable"
	default:
		return "both"
	}
}

func TestAnswers(t *testing.T) {
	long := `"` + strings.Repeat("x", fetch.MaxDocument-2) + `"`
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"JSON":                {write("application/json", document), "got"},
		"JSON with a charset": {write("Application/JSON; charset=utf-8", document), "got"},
		"a JWK Set":           {write("application/jwk-set+json", document), "got"},
		"the longest":         {write("application/json", long), "got"},
		"a byte more":         {write("application/json", long+" "), "refused"},
		"no media type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			w.Write([]byte(document))
		}, "refused"},
		"text":                 {write("text/plain", document), "refused"},
		"a page":               {write("text/html", "<p>"), "refused"},
		"another tree's +json": {write("image/x+json", document), "refused"},
		"JSON that is none":    {write("application/json", "<p>"), "refused"},
		"nothing":              {write("application/json", ""), "refused"},
		"half a document":      {write("application/json", document[:5]), "refused"},
		"a redirect":           {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "refused"},
		"a redirect that is JSON": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://other.example/")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTemporaryRedirect)
			w.Write([]byte(document))
		}, "refused"},
		"not found": {http.NotFound, "refused"},
		"created": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			w.Write([]byte(document))
		}, "refused"},
		"ill":                {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "unavailable"},
		"busy":               {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, "unavailable"},
		"a line that breaks": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
		"a body that breaks": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(document))
		}, "unavailable"},
		"a header longer than 16 Ki": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 20<<10))
			write("application/json", document)(w, nil)
		}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.answer)
			s.Config.ErrorLog = nil
			f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: time.Now}
			body, err := f.Get(t.Context(), s.URL+"/keys")
			if kind(err) != test.want || (body != nil) != (err == nil) {
				t.Errorf("got %.40q, %v, want %s", body, err, test.want)
			}
			if s.asked.Load() != 1 {
				t.Errorf("asked %d times", s.asked.Load())
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	s := serve(t, write("application/json", document))
	plain := httptest.NewServer(write("application/json", document))
	t.Cleanup(plain.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
	_, plainPort, _ := strings.Cut(strings.TrimPrefix(plain.URL, "http://"), ":")
	local := map[string][]string{"example.com": {"127.0.0.1"}, "elsewhere.example": {"127.0.0.1"}, "mixed.example": {"127.0.0.1", "10.0.0.1"}, "metadata.example": {"169.254.169.254"}, "public.example": {"1.1.1.1"}}
	for name, test := range map[string]struct {
		address  string
		loopback bool
		want     string
	}{
		"https to this machine":                      {s.URL, true, "got"},
		"https to a name that is this machine":       {s.named("example.com"), true, "got"},
		"http to this machine":                       {plain.URL, true, "got"},
		"http to a name that is this machine":        {"http://example.com:" + plainPort, true, "got"},
		"https to this machine, not allowed":         {s.URL, false, "refused"},
		"a name that is this machine, not allowed":   {s.named("example.com"), false, "refused"},
		"localhost, not allowed":                     {"https://localhost:" + port, false, "refused"},
		"http to this machine, not allowed":          {plain.URL, false, "refused"},
		"http to another machine":                    {"http://public.example/", true, "refused"},
		"http to another machine, not even loopback": {"http://public.example/", false, "refused"},
		"the metadata service":                       {"https://metadata.example/", false, "refused"},
		"the metadata service beside loopback":       {"https://metadata.example/", true, "refused"},
		"the metadata service by number":             {"http://169.254.169.254/latest/meta-data/", true, "refused"},
		"the metadata service by IPv6":               {"https://[fd00:ec2::254]/", true, "refused"},
		"a mapped address":                           {"https://[::ffff:169.254.169.254]/", false, "refused"},
		"one address of two is private":              {s.named("mixed.example"), true, "refused"},
		"a certificate for another name":             {s.named("elsewhere.example"), true, "unavailable"},
		"a name that nobody has":                     {"https://nobody.example/", false, "unavailable"},
		"user information":                           {strings.Replace(s.URL, "https://", "https://user:pass@", 1), true, "refused"},
		"a user":                                     {strings.Replace(s.URL, "https://", "https://user@", 1), true, "refused"},
		"a fragment":                                 {s.URL + "/#x", true, "refused"},
		"an empty fragment":                          {s.URL + "/#", true, "refused"},
		"another scheme":                             {"file:///etc/passwd", true, "refused"},
		"gopher":                                     {"gopher://127.0.0.1/", true, "refused"},
		"no scheme":                                  {"//127.0.0.1/", true, "refused"},
		"no host":                                    {"https:///keys", true, "refused"},
		"not a URL":                                  {"https://%zz/", true, "refused"},
		"nothing":                                    {"", true, "refused"},
		"too long":                                   {s.URL + "/" + strings.Repeat("x", 2100), true, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			resolver := &names{addresses: local}
			if strings.Contains(test.address, "//localhost") {
				resolver.addresses = map[string][]string{"localhost": {"::1", "127.0.0.1"}}
			}
			before := s.asked.Load()
			f := &fetch.Fetcher{Roots: roots(s), Resolver: resolver, AllowLoopback: test.loopback, Now: time.Now}
			_, err := f.Get(t.Context(), test.address)
			if kind(err) != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			// No answer refuses these: nobody is asked.
			if test.want == "refused" && strings.Contains(err.Error(), "the server answers") {
				t.Errorf("refused late: %v", err)
			}
			if test.want == "refused" && s.asked.Load() != before {
				t.Error("the server was asked")
			}
			if n := resolver.asked.Load(); n > 1 {
				t.Errorf("the name was looked up %d times", n)
			}
		})
	}
}

// A name may answer otherwise the second time; there is none.
func TestTheCheckedAddressIsDialled(t *testing.T) {
	s := serve(t, write("application/json", document))
	resolver := &names{addresses: map[string][]string{"example.com": {"127.0.0.1"}}}
	f := &fetch.Fetcher{Roots: roots(s), Resolver: resolver, AllowLoopback: true, Now: time.Now}
	if _, err := f.Get(t.Context(), s.named("example.com")); err != nil {
		t.Fatal(err)
	}
	if resolver.asked.Load() != 1 || s.asked.Load() != 1 {
		t.Errorf("looked up %d times, asked %d times", resolver.asked.Load(), s.asked.Load())
	}
}

func TestNoProxy(t *testing.T) {
	s := serve(t, write("application/json", document))
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	f := &fetch.Fetcher{Roots: roots(s), Resolver: &names{addresses: map[string][]string{"example.com": {"127.0.0.1"}}}, AllowLoopback: true, Now: time.Now}
	if _, err := f.Get(t.Context(), s.named("example.com")); err != nil {
		t.Error(err)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	s := serve(t, write("application/json", document))
	f := &fetch.Fetcher{Roots: x509.NewCertPool(), AllowLoopback: true, Now: time.Now}
	if _, err := f.Get(t.Context(), s.URL); kind(err) != "unavailable" || s.asked.Load() != 0 {
		t.Errorf("got %v", err)
	}
}

func TestPatience(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a slow one": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answer)
			f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: time.Now}
			began := time.Now()
			_, err := f.Get(t.Context(), s.URL)
			if took := time.Since(began); kind(err) != "unavailable" || took > fetch.Patience+time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	var ill, gone atomic.Bool
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case ill.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case gone.Load():
			http.NotFound(w, r)
		default:
			write("application/json", document)(w, r)
		}
	})
	c := newClock()
	f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: c.Now}
	step := func(what string, pass time.Duration, want string, asked int64) {
		t.Helper()
		c.pass(pass)
		_, err := f.Get(t.Context(), s.URL)
		if kind(err) != want || s.asked.Load() != asked {
			t.Fatalf("%s: %v, asked %d times; want %s and %d", what, err, s.asked.Load(), want, asked)
		}
	}
	step("the first", 0, "got", 1)
	step("before its age", fetch.MaxAge-1, "got", 1)
	step("at its age", 1, "got", 2)
	ill.Store(true)
	step("stale, tried", fetch.MaxAge, "got", 3)
	step("stale, not tried again", fetch.MissAge-1, "got", 3)
	step("stale, tried again", 1, "got", 4)
	step("stale for the last time", fetch.StaleFor-fetch.MaxAge-fetch.MissAge-1, "got", 5)
	step("too old", fetch.MissAge, "unavailable", 6)
	step("a miss is remembered", fetch.MissAge-1, "unavailable", 6)
	ill.Store(false)
	step("and forgotten", 1, "got", 7)
	gone.Store(true)
	step("withdrawn", fetch.MaxAge, "refused", 8)
	ill.Store(true)
	step("what was withdrawn is not stale", fetch.MissAge, "unavailable", 9)
	ill.Store(false)
	gone.Store(false)
	step("there again", fetch.MissAge, "got", 10)
}

func TestRefresh(t *testing.T) {
	var ill atomic.Bool
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		write("application/json", document)(w, r)
	})
	c := newClock()
	f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: c.Now}
	step := func(what string, pass time.Duration, want string, asked int64) {
		t.Helper()
		c.pass(pass)
		_, err := f.Refresh(t.Context(), s.URL)
		if kind(err) != want || s.asked.Load() != asked {
			t.Fatalf("%s: %v, asked %d times; want %s and %d", what, err, s.asked.Load(), want, asked)
		}
	}
	if _, err := f.Get(t.Context(), s.URL); err != nil {
		t.Fatal(err)
	}
	step("just got", 0, "got", 1)
	step("in the pause", fetch.Pause-1, "got", 1)
	step("after it", 1, "got", 2)
	step("in the pause again", fetch.Pause-1, "got", 2)
	ill.Store(true)
	step("it cannot be said", 1, "unavailable", 3)
	step("nor a moment later", 1, "unavailable", 3)
	if _, err := f.Get(t.Context(), s.URL); err != nil || s.asked.Load() != 3 {
		t.Errorf("what was there before is still there: %v", err)
	}
}

// A shelf is a Cache that counts.
type shelf struct {
	mu                  sync.Mutex
	kept                map[string]entry
	reads, writes       int
	readError, putError error
}

type entry struct {
	body           []byte
	fetched, until time.Time
}

func (s *shelf) Document(_ context.Context, url string) ([]byte, time.Time, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	e, found := s.kept[url]
	return e.body, e.fetched, found, s.readError
}

func (s *shelf) PutDocument(_ context.Context, url string, body []byte, fetched, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.putError == nil {
		s.kept[url] = entry{body, fetched, until}
	}
	return s.putError
}

var _ fetch.Cache = (*shelf)(nil)

func TestCache(t *testing.T) {
	for name, test := range map[string]struct {
		age      time.Duration // of what is kept; 0 for nothing
		missed   bool
		ill      bool
		refresh  bool
		shelf    *shelf
		want     string
		asked    int64
		writes   int
		wantBody bool
	}{
		"nothing kept":                         {want: "got", asked: 1, writes: 1, wantBody: true},
		"kept":                                 {age: time.Minute, want: "got", wantBody: true},
		"kept too long":                        {age: fetch.MaxAge, want: "got", asked: 1, writes: 1, wantBody: true},
		"kept too long, the server ill":        {age: fetch.MaxAge, ill: true, want: "got", asked: 1, wantBody: true},
		"kept far too long, the server ill":    {age: fetch.StaleFor, ill: true, want: "unavailable", asked: 1, wantBody: true},
		"missed":                               {age: time.Second, missed: true, want: "unavailable"},
		"missed some time ago":                 {age: fetch.MissAge, missed: true, want: "got", asked: 1, writes: 1, wantBody: true},
		"nothing kept, the server ill":         {ill: true, want: "unavailable", asked: 1, writes: 1},
		"it cannot be read":                    {age: time.Minute, shelf: &shelf{readError: errors.New("on fire")}, want: "got", asked: 1, writes: 1, wantBody: true},
		"it cannot be written":                 {shelf: &shelf{putError: errors.New("on fire")}, want: "got", asked: 1, writes: 1},
		"refreshed, another did":               {age: time.Second, refresh: true, want: "got", wantBody: true},
		"refreshed, another did some time ago": {age: fetch.Pause, refresh: true, want: "got", asked: 1, writes: 1, wantBody: true},
		"refreshed, another failed":            {age: time.Second, missed: true, refresh: true, want: "got", asked: 1, writes: 1, wantBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if test.ill {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				write("application/json", document)(w, r)
			})
			c := newClock()
			if test.shelf == nil {
				test.shelf = &shelf{}
			}
			test.shelf.kept = map[string]entry{}
			if test.age != 0 {
				body := []byte(document)
				if test.missed {
					body = nil
				}
				test.shelf.kept[s.URL] = entry{body: body, fetched: c.Now().Add(-test.age)}
			}
			f := &fetch.Fetcher{Cache: test.shelf, Roots: roots(s), AllowLoopback: true, Now: c.Now}
			get := f.Get
			if test.refresh {
				get = f.Refresh
			}
			for range 2 { // the second time from memory
				if _, err := get(t.Context(), s.URL); kind(err) != test.want {
					t.Errorf("got %v, want %s", err, test.want)
				}
			}
			if s.asked.Load() != test.asked || test.shelf.writes != test.writes || test.shelf.reads != 1 {
				t.Errorf("asked %d, wrote %d, read %d", s.asked.Load(), test.shelf.writes, test.shelf.reads)
			}
			if kept := test.shelf.kept[s.URL]; (len(kept.body) > 0) != test.wantBody {
				t.Errorf("kept %q", kept.body)
			} else if until := kept.until; test.writes > 0 && test.wantBody && until.Sub(kept.fetched) != fetch.StaleFor {
				t.Errorf("kept until %v", until)
			}
		})
	}
}

func TestManyAtOnceAskOnce(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		write("application/json", document)(w, r)
	})
	f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: time.Now}
	impatient, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := f.Get(impatient, s.URL); first <- err }()
	for s.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel() // whoever began it leaves; the others still get it
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() {
			if _, err := f.Get(t.Context(), s.URL); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	close(release)
	wait.Wait()
	if s.asked.Load() != 1 {
		t.Errorf("asked %d times", s.asked.Load())
	}
}

// An error shows where, and no query: it may hold a secret.
func TestErrorsHoldNoQuery(t *testing.T) {
	closed := serve(t, write("application/json", document))
	closed.Close()
	f := &fetch.Fetcher{Now: time.Now}
	here := &fetch.Fetcher{AllowLoopback: true, Now: time.Now}
	for address, f := range map[string]*fetch.Fetcher{"http://example.com/keys": f, closed.URL + "/keys": here} {
		_, err := f.Get(t.Context(), address+"?token=secret")
		if err == nil || !strings.Contains(err.Error(), address+" ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v", err)
		}
	}
}

// What its server has withdrawn does not come back from the Cache, neither when the
// miss is forgotten nor when the server is ill.
func TestWithdrawn(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusOK)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(document))
	})
	c, kept := newClock(), &shelf{kept: map[string]entry{}}
	f := &fetch.Fetcher{Cache: kept, Roots: roots(s), AllowLoopback: true, Now: c.Now}
	another := &fetch.Fetcher{Cache: kept, Roots: roots(s), AllowLoopback: true, Now: c.Now}
	step := func(what string, f *fetch.Fetcher, want string) {
		t.Helper()
		if _, err := f.Get(t.Context(), s.URL); kind(err) != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
	step("first", f, "got")
	status.Store(http.StatusNotFound)
	c.pass(fetch.Pause)
	if _, err := f.Refresh(t.Context(), s.URL); kind(err) != "refused" {
		t.Errorf("refreshed: %v", err)
	}
	step("withdrawn", f, "refused")
	c.pass(fetch.MissAge)
	step("asked once more", f, "refused")
	status.Store(http.StatusServiceUnavailable)
	c.pass(fetch.MissAge)
	step("and then ill", f, "unavailable")
	step("another process", another, "unavailable")
	status.Store(http.StatusOK)
	c.pass(fetch.MissAge)
	step("there again", f, "got")
}

// The clocks of two processes differ, and one may be set back.
func TestClocksThatJump(t *testing.T) {
	s := &shelf{kept: map[string]entry{}}
	c := newClock()
	s.kept["https://example.com/"] = entry{body: []byte(document), fetched: c.Now()}
	f := &fetch.Fetcher{Cache: s, Resolver: &names{err: errors.New("no network")}, Now: c.Now}
	if _, err := f.Get(t.Context(), "https://example.com/"); err != nil {
		t.Error(err)
	}
	c.pass(-time.Second)
	if _, err := f.Get(t.Context(), "https://example.com/"); kind(err) != "unavailable" {
		t.Errorf("a document of the future: %v", err)
	}
}

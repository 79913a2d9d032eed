package faults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"kmint/infra/lambda"
	"kmint/pkg/bolt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A door is where requests go in. Where no answer comes, as from a process that was
// killed, answered is false.
type door interface {
	send(ctx context.Context, q request) (a answer, answered bool)
}

// A load is what clients do at a door, and what they hold of it.
type load struct {
	door   door
	rig    *rig
	cookie string
	// clients have codes and refresh tokens.
	clients []proofs
	service proofs
	leeway  map[string]bool
	// grant reads the table.
	grant func(ctx context.Context, id string) (store.Grant, error)

	until time.Time // when nothing new begins

	mu     sync.Mutex
	chains []*chain
	jtis   map[string]bool
	wrong  []string

	answers, busies, silences, apart, renewed, ticks atomic.Int64
	slowest                                          atomic.Int64
}

// A chain is a grant and what its client holds of it.
type chain struct {
	id      string
	by      proofs
	refresh string
	uses    int64 // of refresh tokens that were answered
	ended   bool  // by a replay that nobody could tell from one
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// longest is how long a client goes on asking.
const longest = 90 * time.Second

// ask sends what fresh makes, and the very same again where the answer asks for that.
// Where none comes the request is made anew; silent says that this happened.
func (l *load) ask(fresh func() request) (a answer, silent bool) {
	q, made := fresh(), time.Now()
	for end := time.Now().Add(longest); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		began := time.Now()
		got, answered := l.door.send(ctx, q)
		cancel()
		took := time.Since(began)
		for slow := l.slowest.Load(); took > time.Duration(slow) && !l.slowest.CompareAndSwap(slow, int64(took)); slow = l.slowest.Load() {
		}
		if !answered {
			l.silences.Add(1)
			silent, q, made = true, fresh(), time.Now()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		again, err := busy(got)
		if used := got.text("error"); used == "invalid_client" || used == "invalid_dpop_proof" {
			// A jti that a late copy of a call has taken once more, or a request that
			// nobody answered.
			l.renewed.Add(1)
			q, made = fresh(), time.Now()
			continue
		}
		if err != nil || !again {
			l.answers.Add(1)
			return got, silent
		}
		l.busies.Add(1)
		time.Sleep(time.Second) // Retry-After
		if time.Since(made) > 30*time.Second {
			q, made = fresh(), time.Now() // an assertion lives for a minute
		}
	}
	l.fail("no answer for %s", longest)
	return answer{}, true
}

// minted keeps what there must be but once.
func (l *load) minted(a answer) {
	parts := strings.Split(a.text("access_token"), ".")
	var claims struct {
		ID string `json:"jti"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	l.mu.Lock()
	twice := l.jtis[claims.ID]
	l.jtis[claims.ID] = true
	l.mu.Unlock()
	if err != nil || twice {
		l.fail("an access token that is none, or was there before: %v %s", err, a)
	}
}

// person goes from code to tokens, and from refresh token to refresh token, again and
// again.
func (l *load) person() {
	for time.Now().Before(l.until) {
		l.visit(l.clients[rand.IntN(len(l.clients))])
	}
}

func (l *load) visit(by proofs) {
	const scope = "openid read:orders offline_access"
	a, _ := l.ask(func() request {
		q := front(by.client, "code", scope, orders, "")
		q.header.Set("Cookie", l.cookie)
		return q
	})
	code := a.location().Get("code")
	if code == "" {
		l.fail("no code: %s", a)
		return
	}
	c := &chain{id: string(oauth.DigestOf(code)), by: by}
	l.mu.Lock()
	l.chains = append(l.chains, c)
	l.mu.Unlock()
	if a, ok := l.tokens(c, true, func() request { return l.rig.spend(by, code) }); ok {
		c.refresh = a.text("refresh_token")
	} else {
		return
	}
	for range 1 + rand.IntN(5) {
		held := c.refresh
		a, ok := l.tokens(c, !l.leeway[by.client], func() request { return l.rig.rotate(by, held) })
		if !ok {
			return
		}
		c.refresh = a.text("refresh_token")
		c.uses++
	}
}

// tokens asks for tokens. once says that where no answer came the client may have to
// begin anew.
func (l *load) tokens(c *chain, once bool, fresh func() request) (answer, bool) {
	a, silent := l.ask(fresh)
	switch {
	case a.status == http.StatusOK && a.text("refresh_token") != "":
		l.minted(a)
		return a, true
	case once && silent && a.text("error") == "invalid_grant":
		l.apart.Add(1)
		c.ended = true
		return a, false
	}
	l.fail("%s is logged out: %s", c.by.client, a)
	c.ended = true
	return a, false
}

// machine asks for tokens in its own name, as fast as it is answered.
func (l *load) machine() {
	for time.Now().Before(l.until) {
		l.tick()
	}
}

func (l *load) tick() {
	l.ticks.Add(1)
	a, _ := l.ask(func() request {
		return l.rig.form("/oauth/token", l.service, url.Values{"grant_type": {oauth.ClientCredentials}, "audience": {orders}})
	})
	if a.status != http.StatusOK {
		l.fail("no token: %s", a)
		return
	}
	l.minted(a)
}

// run lets so many people and machines do what they do, and beside them, whatever they
// are answered, so many more machines each second, of which no more than a hundred
// wait at once.
func (l *load) run(long time.Duration, people, machines, rate int) {
	l.until, l.jtis = time.Now().Add(long), map[string]bool{}
	var work sync.WaitGroup
	for range people {
		work.Go(l.person)
	}
	for range machines {
		work.Go(l.machine)
	}
	waiting := make(chan struct{}, 100)
	every := time.NewTicker(time.Second / time.Duration(rate))
	defer every.Stop()
	for time.Now().Before(l.until) {
		<-every.C
		waiting <- struct{}{}
		work.Go(func() {
			l.tick()
			<-waiting
		})
	}
	work.Wait()
}

// judge compares what the clients hold with the table.
func (l *load) judge(t *testing.T, what string) {
	t.Helper()
	for _, wrong := range l.wrong {
		t.Errorf("%s: %s", what, wrong)
	}
	uses := int64(0)
	for _, c := range l.chains {
		if c.ended {
			continue
		}
		g, err := l.grant(context.Background(), c.id)
		uses += g.Generation
		switch {
		case err != nil:
			t.Errorf("%s: a grant is lost: %v", what, err)
		case !g.Revoked.IsZero():
			t.Errorf("%s: %s is logged out", what, c.by.client)
		case g.Spent.IsZero() || g.Generation != c.uses:
			t.Errorf("%s: %d rotations for %d answers, spent at %s", what, g.Generation, c.uses, g.Spent)
		default:
			if err := holds(g, c.refresh); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	fmt.Printf("%s: %d grants, %d rotations, %d access tokens; %d answers, %d times told to come again, %d times no answer, %d new proofs, the slowest after %s; %d lost, %d counted apart\n",
		what, len(l.chains), uses, len(l.jtis), l.answers.Load(), l.busies.Load(), l.silences.Load(), l.renewed.Load(),
		time.Duration(l.slowest.Load()).Round(time.Millisecond), len(l.wrong), l.apart.Load())
	if len(l.chains) == 0 || uses == 0 || l.ticks.Load() == 0 {
		t.Errorf("%s: nothing has happened", what)
	}
}

// loadTime is LOAD, or what a run of all tests of the repository can wait for: too little
// for a backend to stand still in.
func loadTime(t *testing.T) time.Duration {
	t.Helper()
	if os.Getenv("LOAD") == "" {
		return 4 * time.Second
	}
	long, err := time.ParseDuration(os.Getenv("LOAD"))
	if err != nil {
		t.Fatal(err)
	}
	return long
}

// A turnstile stands before a backend, and can stand still.
type turnstile struct {
	backend string
	gate    sync.RWMutex
}

func (s *turnstile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.gate.RLock()
	s.gate.RUnlock() //nolint:staticcheck // it only waits
	service, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	pass(w, (&wire{backends: backends{service: s.backend}}).forward(r, body))
}

// stop lets it stand still for pauseTime. What has piled up is done then, though nobody
// may wait for it any more.
func (s *turnstile) stop() {
	s.gate.Lock()
	time.Sleep(pauseTime)
	s.gate.Unlock()
}

// A pool runs a built function as Lambda does: one request at a time in each process,
// and a new one, which is cold, where none is idle.
type pool struct {
	function lambda.Function
	most     int

	mu    sync.Mutex
	freed *sync.Cond
	idle  []*lambda.Environment
	all   map[*lambda.Environment]bool
	begun int
}

func newPool(function lambda.Function, most int) *pool {
	p := &pool{function: function, most: most, all: map[*lambda.Environment]bool{}}
	p.freed = sync.NewCond(&p.mu)
	return p
}

func (p *pool) take() (*lambda.Environment, error) {
	p.mu.Lock()
	for len(p.idle) == 0 && p.begun >= p.most {
		p.freed.Wait()
	}
	if n := len(p.idle); n > 0 {
		e := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return e, nil
	}
	p.begun++
	p.mu.Unlock()
	e, err := lambda.Start(context.Background(), p.function)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.begun--
		p.freed.Signal()
		return nil, err
	}
	p.all[e] = true
	return e, nil
}

// give gives one back; one that is broken is ended.
func (p *pool) give(e *lambda.Environment, broken bool) {
	p.mu.Lock()
	alive := p.all[e]
	if alive && !broken {
		p.idle = append(p.idle, e)
		p.freed.Signal()
	}
	p.mu.Unlock()
	if broken {
		p.end(e)
	}
}

// end kills one, whatever it does.
func (p *pool) end(e *lambda.Environment) {
	p.mu.Lock()
	alive := p.all[e]
	delete(p.all, e)
	p.idle = slices.DeleteFunc(p.idle, func(other *lambda.Environment) bool { return other == e })
	if alive {
		p.begun--
		p.freed.Signal()
	}
	p.mu.Unlock()
	if alive {
		_ = e.Close()
	}
}

// kill kills any, or all: then every cache is empty.
func (p *pool) kill(every bool) {
	p.mu.Lock()
	victims := slices.Collect(maps.Keys(p.all))
	p.mu.Unlock()
	for _, e := range victims {
		p.end(e)
		if !every {
			return
		}
	}
}

// A gateway stands before the pools, by function.
type gateway map[string]*pool

func (g gateway) send(ctx context.Context, q request) (answer, bool) {
	u, err := url.Parse(q.target)
	if err != nil {
		panic(err)
	}
	event := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: u.Path, RawQueryString: u.RawQuery, Headers: map[string]string{}, Body: q.body}
	for name := range q.header {
		if name == "Cookie" {
			event.Cookies = strings.Split(q.header.Get(name), "; ")
			continue
		}
		event.Headers[strings.ToLower(name)] = q.header.Get(name)
	}
	event.RequestContext.DomainName = "auth.example.com"
	event.RequestContext.HTTP.Method, event.RequestContext.HTTP.Path = q.method, u.Path
	payload, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	p := g[q.function]
	e, err := p.take()
	if err != nil {
		return answer{}, false
	}
	out, _, err := e.Invoke(ctx, payload)
	p.give(e, err != nil)
	if err != nil {
		return answer{}, false
	}
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(out, &response); err != nil {
		panic(err)
	}
	a := answer{status: response.StatusCode, header: http.Header{}, raw: response.Body}
	for name, value := range response.Headers {
		a.header.Set(name, value)
	}
	for name, values := range response.MultiValueHeaders {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	if response.IsBase64Encoded {
		text, _ := base64.StdEncoding.DecodeString(a.raw)
		a.raw = string(text)
	}
	_ = json.Unmarshal([]byte(a.raw), &a.body)
	return a, true
}

func build(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(dir))
	command := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-o", program, "./"+dir)
	command.Dir, command.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build ./%s: %v\n%s", dir, err, out)
	}
	return program
}

// Clients at the built functions, each of which runs in a few processes, while DynamoDB
// and KMS stand still, one after the other, processes are killed, and all of them at
// once.
func TestLoadOfFunctions(t *testing.T) {
	r := newRig(t)
	tables, signs := &turnstile{backend: r.db.URL}, &turnstile{backend: r.backs["TrentService"]}
	env := map[string]string{
		"LOG": "warn", "STACK": "kmint", "CONFIG_TABLE": r.tables.Config, "USERS_TABLE": r.tables.Users, "GRANTS_TABLE": r.tables.Grants,
		"MAC_KEY": r.mac, "SECRETS_KEY": r.secrets, "LOGOUT_QUEUE": "https://sqs.us-east-1.amazonaws.com/123456789012/logout",
	}
	for name, handler := range map[string]http.Handler{"DYNAMODB": tables, "KMS": signs} {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		env["AWS_ENDPOINT_URL_"+name] = s.URL
	}
	env["AWS_ENDPOINT_URL_SQS"] = r.backs["AmazonSQS"]
	g := gateway{}
	for name, most := range map[string]int{"token": 6, "authorize": 3} {
		g[name] = newPool(lambda.Function{Name: "kmint-" + name, Bootstrap: build(t, "functions/"+name), Env: env}, most)
		t.Cleanup(func() { g[name].kill(true) })
		first, err := g[name].take()
		if err != nil {
			t.Fatal(err)
		}
		g[name].give(first, false)
	}
	handle, err := r.browser(r.anyone.Subject, "web", "web-leeway", "web-jwt")
	if err != nil {
		t.Fatal(err)
	}
	l := &load{
		door: g, rig: r, cookie: sessionCookie + "=" + handle, grant: r.store.Grant,
		clients: []proofs{{client: "web"}, {client: "web-leeway"}, {client: "web-jwt", method: oauth.PrivateKeyJWT}},
		service: proofs{client: "service-jwt", method: oauth.PrivateKeyJWT}, leeway: map[string]bool{"web-leeway": true},
	}
	long := loadTime(t)
	stop := make(chan struct{})
	var faults sync.WaitGroup
	at := func(every time.Duration, do func()) {
		faults.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(every):
					do()
				}
			}
		})
	}
	at(2*time.Second, func() { g["token"].kill(false) })
	at(7*time.Second, func() { g["authorize"].kill(false) })
	at(9*time.Second, func() { g["token"].kill(true) })
	if long >= 4*pauseTime {
		turn := []*turnstile{tables, signs}
		at(4*time.Second, func() {
			turn[0].stop()
			turn[0], turn[1] = turn[1], turn[0]
		})
	}
	l.run(long, 6, 2, 5)
	close(stop)
	faults.Wait()
	l.judge(t, "behind Runtime APIs")
}

// A local is `make run`, which can be killed and begun again where it was.
type local struct {
	program, dir, seed, address string

	mu      sync.Mutex
	command *exec.Cmd
	client  *http.Client
}

// start waits until it answers.
func (l *local) start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, err := url.Parse(l.address)
	if err != nil {
		return err
	}
	l.command = exec.Command(l.program)
	l.command.Dir = filepath.Join("..", "..")
	l.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "PORT=" + u.Port(), "DATA_DIR=" + l.dir, "SEED=" + l.seed, "LOG=error"}
	if err := l.command.Start(); err != nil {
		return err
	}
	for range 600 {
		response, err := http.Get(l.address + "/.well-known/jwks.json")
		if err == nil {
			_ = response.Body.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("make run does not answer")
}

func (l *local) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.command.Process.Kill()
	_ = l.command.Wait()
}

func (l *local) send(ctx context.Context, q request) (answer, bool) {
	r, err := http.NewRequestWithContext(ctx, q.method, l.address+q.target, strings.NewReader(q.body))
	if err != nil {
		panic(err)
	}
	r.Header = q.header.Clone()
	response, err := l.client.Do(r)
	if err != nil {
		return answer{}, false
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, false
	}
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw), cookies: map[string]string{}}
	_ = json.Unmarshal(raw, &a.body)
	for _, c := range response.Cookies() {
		a.cookies[c.Name] = c.Value
	}
	return a, true
}

const localSeed = `{
	"apis": [{"identifier": "` + orders + `", "scopes": {"read:orders": "Read orders"}, "allow_offline_access": true, "token_lifetime": 600}],
	"clients": [
		{"client_id": "web", "client_secret": "` + secret + `", "grant_types": ["authorization_code", "refresh_token"],
			"redirect_uris": ["` + callback + `"], "first_party": true},
		{"client_id": "web-leeway", "client_secret": "` + secret + `", "grant_types": ["authorization_code", "refresh_token"],
			"redirect_uris": ["` + callback + `"], "first_party": true, "refresh_token": {"leeway": 60}},
		{"client_id": "service", "client_secret": "` + secret + `", "grant_types": ["client_credentials"],
			"api_grants": {"` + orders + `": ["read:orders"]}}
	],
	"users": [{"sub": "ada", "username": "ada", "password": "` + password + `"}]
}`

// Clients at `make run`, which is killed every few seconds.
func TestLoadOfMakeRun(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://localhost:" + fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	_ = listener.Close()
	l := &local{
		program: build(t, "infra/local"), dir: t.TempDir(), seed: filepath.Join(t.TempDir(), "seed.json"), address: address,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if err := os.WriteFile(l.seed, []byte(localSeed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.kill)
	page, _ := l.send(t.Context(), front("web", "code", "openid", orders, ""))
	q := url.Values{"username": {"ada"}, "password": {password}}
	for name, value := range fields(page) {
		q.Set(name, value)
	}
	in, _ := l.send(t.Context(), request{method: http.MethodPost, target: "/authorize", body: q.Encode(), header: http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Cookie": {"kmint_login=" + page.cookies["kmint_login"]}, "Origin": {address},
	}})
	if in.cookies["kmint_session"] == "" {
		t.Fatalf("nobody is logged in: %s %s", page, in)
	}
	work := &load{
		door: l, rig: &rig{}, cookie: "kmint_session=" + in.cookies["kmint_session"],
		clients: []proofs{{client: "web"}, {client: "web-leeway"}}, service: proofs{client: "service"}, leeway: map[string]bool{"web-leeway": true},
	}
	stop, over := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				over <- nil
				return
			case <-time.After(4 * time.Second):
			}
			l.kill()
			if err := l.start(); err != nil {
				over <- err
				return
			}
		}
	}()
	work.run(loadTime(t), 4, 2, 10)
	close(stop)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	l.kill()
	db, err := bolt.Open(filepath.Join(l.dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	work.grant = db.Grant
	work.judge(t, "make run")
}

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

// The stack whose keys rotate, and how.
const (
	stack         = "kmint"
	signers       = "arn:aws:iam::" + kmstest.Account + ":role/kmint-TokenRole"
	period        = 7 * 24 * time.Hour
	published     = 24 * time.Hour
	day           = 24 * time.Hour
	rotateTimeout = 300 * time.Second // as in template.yaml
)

// A house is one registry and the private keys there are: all that a run of rotate sees.
// Each cell has its own, since all of the registry is one item.
type house struct {
	kms   *kmstest.Server
	backs backends
	store *dynamo.Store // not behind a wire
	ahead atomic.Int64  // of this machine's clock, in ns
	close []func()
	// signs is the kid that is to sign in the end.
	signs string
	// plant spoils the function that a fault befalls: it is the defect to be found; nil for
	// none.
	plant func(*server.Rotate)
}

func newHouse(db *ddb.Local) (*house, error) {
	h := &house{kms: kmstest.New()}
	h.kms.Now = h.now
	s := httptest.NewServer(h.kms)
	h.backs = backends{"DynamoDB_20120810": db.URL, "TrentService": s.URL}
	h.store = &dynamo.Store{DB: dynamo.NewClient(db.Config()), ConfigTable: "rotation-" + strings.ToLower(rand.Text()), Timeout: time.Minute}
	_, err := db.Client().CreateTable(context.Background(), &dynamodb.CreateTableInput{
		TableName: &h.store.ConfigTable, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
	})
	h.close = []func(){s.Close, func() {
		_, _ = db.Client().DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &h.store.ConfigTable})
	}}
	return h, err
}

func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// at lets it be a while from now, or, less than 0, before.
func (h *house) at(while time.Duration) { h.ahead.Store(int64(while)) }

// config is of a client that talks to the backend at an address.
func (h *house) config(address string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &address,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "example", SecretAccessKey: "example"}, nil
		}),
	}
}

func (h *house) keeper(address string) kms.Keeper {
	config := h.config(address)
	if address == h.backs["TrentService"] {
		config.HTTPClient = forwarder // which waits as long as this machine needs
	}
	return kms.Keeper{Client: kms.NewClient(config), Stack: stack, Signers: []string{signers}}
}

// run runs the function once, behind the wire or, nil, before it. What the registry and
// the keys are like is looked at after each step, by what the log says of it.
func (h *house) run(ctx context.Context, w *wire) (log []string, err error) {
	db, keeper := h.store, h.keeper(h.backs["TrentService"])
	if w != nil {
		keeper = h.keeper(w.url)
		db = &dynamo.Store{DB: dynamo.NewClient(h.config(w.url)), ConfigTable: h.store.ConfigTable}
	}
	watch := &watcher{house: h}
	f := server.Rotate{
		Registries: db, Inventory: keeper, Keeper: keeper, Period: period, Publish: published, Now: h.now,
		Log: slog.New(slog.NewJSONHandler(watch, nil)),
	}
	if h.plant != nil {
		h.plant(&f)
	}
	err = f.Handler()(ctx)
	return strings.Split(strings.TrimSpace(watch.log.String()), "\n"), errors.Join(err, watch.broken)
}

// errUnsound is what no fault may bring about.
var errUnsound = errors.New("unsound")

type watcher struct {
	house  *house
	log    bytes.Buffer
	broken error
}

func (w *watcher) Write(line []byte) (int, error) {
	w.broken = errors.Join(w.broken, w.house.sound())
	return w.log.Write(line)
}

// sound: one key signs, always, and nothing is ended that anybody may need.
func (h *house) sound() error {
	r, err := h.store.Registry(context.Background())
	if err != nil {
		return err
	}
	there, listed := map[string]string{}, map[string]string{}
	for _, s := range h.kms.States() {
		there[s.ARN] = s.State
	}
	signing := 0
	for _, k := range r.Keys {
		listed[k.Reference] = k.State
		if k.State == store.KeyActive {
			signing++
		}
		if k.State != store.KeyRevoked && there[k.Reference] != kmstest.Enabled {
			err = errors.Join(err, fmt.Errorf("%w: the key %s is %s and %q", errUnsound, k.ID, k.State, there[k.Reference]))
		}
	}
	if signing != 1 {
		err = errors.Join(err, fmt.Errorf("%w: %d keys sign: %+v", errUnsound, signing, r.Keys))
	}
	for arn, state := range there {
		if state != kmstest.Enabled && listed[arn] != store.KeyRevoked {
			err = errors.Join(err, fmt.Errorf("%w: %s is %s, and nobody has written that down", errUnsound, arn, state))
		}
	}
	return err
}

// complete: every key is where it belongs, and nothing is left to be done.
func (h *house) complete() error {
	err := h.sound()
	r, wrong := h.store.Registry(context.Background())
	held, worse := h.keeper(h.backs["TrentService"]).Held(context.Background())
	if err := errors.Join(err, wrong, worse); err != nil {
		return err
	}
	states := map[string][]string{}
	listed := map[string]string{}
	for _, k := range r.Keys {
		states[k.State] = append(states[k.State], k.ID)
		listed[k.Reference] = k.State
	}
	if !slices.Equal(states[store.KeyActive], []string{h.signs}) || len(states[store.KeyNext]) != 1 {
		err = errors.Join(err, fmt.Errorf("%s is to sign, and one key to be next: %v", h.signs, states))
	}
	for _, k := range held {
		switch state := listed[k.Reference]; {
		case state == "":
			err = errors.Join(err, fmt.Errorf("an orphan: %+v", k))
		case state == store.KeyRevoked && k.Made && k.State != jwt.Deleting:
			err = errors.Join(err, fmt.Errorf("revoked, and not to be deleted: %+v", k))
		case state != store.KeyRevoked && k.Made && !k.Guarded:
			err = errors.Join(err, fmt.Errorf("not guarded: %+v", k))
		}
	}
	if step := keys.Decide(r, held, keys.Policy{Period: period, Publish: published}, h.now()); step.Deed != keys.Nothing {
		err = errors.Join(err, fmt.Errorf("left to be done: %s %s", step.Deed, step.KeyID))
	}
	return err
}

// begin is what kmint import leaves: the template's key signs.
func (h *house) begin() error {
	arn, err := h.kms.Create(kmstest.P256)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{kms.TagStack: stack, kms.TagUse: kms.Sign} {
		err = errors.Join(err, h.kms.Tag(arn, name, value))
	}
	public, wrong := h.keeper(h.backs["TrentService"]).PublicKey(context.Background(), arn)
	if err := errors.Join(err, wrong); err != nil {
		return err
	}
	key, err := keys.New(jwt.ES256, public, arn)
	if err != nil {
		return err
	}
	if _, err = keys.First(context.Background(), h.store, key, h.now()); err == nil {
		_, err = keys.Allow(context.Background(), h.store, time.Hour)
	}
	h.signs = key.ID
	return err
}

// runs runs it undisturbed, a while from now, and again when IAM has seen all tags.
func (h *house) runs(whiles ...time.Duration) error {
	for _, while := range whiles {
		for _, later := range []time.Duration{0, 2 * keys.Settle} {
			h.at(while + later)
			if _, err := h.run(context.Background(), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// orphan makes a key that no run has heard of.
func (h *house) orphan() error {
	r, err := h.store.Registry(context.Background())
	if err == nil {
		_, err = h.keeper(h.backs["TrentService"]).Create(context.Background(), jwt.ES256, r.Keys[0].Reference)
	}
	return err
}

// houses are those in which a run has something to do.
var houses = map[string]func(h *house) error{
	"rotate, the first run": (*house).begin,
	// Two keys are there, of a run that died and of one that came again.
	"rotate, a key to publish, and one too many": func(h *house) error {
		h.at(-time.Hour)
		if err := h.begin(); err != nil {
			return err
		}
		if _, err := h.run(context.Background(), nil); err != nil {
			return err
		}
		return h.orphan()
	},
	// A key is gone, one has signed its last, one is due, its policy is another, and one is
	// nobody's.
	"rotate, all that can be due": func(h *house) error {
		h.at(-70 * day)
		err := h.begin()
		if err == nil {
			err = h.runs(-70*day, -62*day, -54*day, -46*day)
		}
		if err != nil {
			return err
		}
		r, err := h.store.Registry(context.Background())
		if err != nil {
			return err
		}
		for _, k := range r.Keys {
			if k.State == store.KeyNext {
				h.signs = k.ID
				_, err = h.keeper(h.backs["TrentService"]).Client.PutKeyPolicy(context.Background(), &awskms.PutKeyPolicyInput{
					KeyId: &k.Reference, Policy: aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + kmstest.Account + `:root"}, "Action": "kms:*", "Resource": "*"}]}`),
				})
			}
		}
		h.at(-day)
		return errors.Join(err, h.orphan())
	},
}

// rotation runs a cell: a run that something befalls, and then others.
func rotation(db *ddb.Local, name string, at planned, plant func(*server.Rotate)) (v verdict, calls []callID, err error) {
	h, err := newHouse(db)
	for _, f := range h.close {
		defer f()
	}
	if err == nil {
		err = houses[name](h)
	}
	if err != nil {
		return held, nil, fmt.Errorf("before the run: %w", err)
	}
	h.at(0)
	h.plant = plant
	var plan []planned
	if at != (planned{}) {
		plan = append(plan, at)
	}
	w := newWire(h.backs, plan...)
	defer w.close()
	ctx, cancel := context.WithTimeout(context.Background(), rotateTimeout)
	defer cancel()
	w.die = cancel
	began := time.Now()
	log, first := h.run(ctx, w)
	took := time.Since(began)
	w.mu.Lock()
	calls = slices.Clone(w.calls)
	dead := w.dead
	if len(plan) > 0 && !w.fired[at] {
		err = fmt.Errorf("the fault did not fire: %v", calls)
	}
	w.mu.Unlock()
	w.waiting.Wait()
	w.answered()
	switch {
	case errors.Is(first, errUnsound):
		err = errors.Join(err, first)
	case took > time.Minute+10*time.Second:
		err = errors.Join(err, fmt.Errorf("it took %s", took))
	case first != nil && len(plan) == 0:
		err = errors.Join(err, first)
	case first != nil && !dead:
		err = errors.Join(err, failed(log))
	}
	// Lambda runs a schedule's event again, and the schedule comes again.
	if err := errors.Join(err, h.sound()); err != nil {
		return held, calls, err
	}
	for _, later := range []time.Duration{time.Minute, 3 * keys.Settle, 6 * time.Hour} {
		h.at(later)
		if _, err := h.run(context.Background(), nil); err != nil {
			return held, calls, fmt.Errorf("%s later: %w", later, err)
		}
	}
	return held, calls, h.complete()
}

// failed looks at the log of a run that has failed: one line says so, and why.
func failed(log []string) error {
	lines := slices.DeleteFunc(slices.Clone(log), func(line string) bool { return !strings.Contains(line, `"msg":"rotation failed"`) })
	if len(lines) != 1 || !strings.Contains(lines[0], "kms: ") && !strings.Contains(lines[0], "dynamo: ") {
		return fmt.Errorf("the log does not name the cause once: %q", log)
	}
	return nil
}

// TestMatrixOfRotation puts each fault to each call of a run of rotate. A run has
// nobody who waits for it: what holds is that the next ones complete what it began, that
// one key signs at every moment, and that no key of KMS is left that nobody knows of.
func TestMatrixOfRotation(t *testing.T) {
	db := ddb.ForTest(t)
	var todo []cell
	known, sum := map[string]bool{}, 0
	for _, name := range slices.Sorted(maps.Keys(houses)) {
		if !strings.Contains(name, os.Getenv("SCENARIO")) {
			continue
		}
		_, calls, err := rotation(db, name, planned{}, nil)
		if err != nil {
			t.Errorf("%s, undisturbed: %v", name, err)
			continue
		}
		for _, call := range calls {
			known[call.name] = true
		}
		sum += len(calls)
		all := cells(scenario{name: name}, calls, nil)
		todo = append(todo, all[:len(all)-1]...) // nobody waits for an answer that could be lost
	}
	if os.Getenv("FAULTS") != "all" {
		todo = sample(todo)
	}
	slices.SortStableFunc(todo, func(a, b cell) int { return a.at.fault.weight() - b.at.fault.weight() })
	var mu sync.Mutex
	well := map[string]int{}
	var work sync.WaitGroup
	slots := make(chan struct{}, 2*side) // each has a house of its own
	for _, c := range todo {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			_, calls, err := rotation(db, c.scenario.name, c.at, nil)
			mu.Lock()
			defer mu.Unlock()
			for _, call := range calls {
				if !known[call.name] {
					t.Errorf("%s brings %s about, and no cell has a fault at that", c, call.name)
				}
			}
			if err != nil {
				t.Errorf("%s: %v", c, err)
				return
			}
			well[names[c.at.fault.kind]]++
		})
	}
	work.Wait()
	total := 0
	for _, n := range well {
		total += n
	}
	fmt.Printf("\n%d calls of %d runs of rotate, %d cells: %d held %v\n", sum, len(houses), len(todo), total, well)
}

// early disables a key before that is written down.
type early struct {
	store.Registries
	keys.Keeper
}

func (e early) ReplaceRegistry(ctx context.Context, r store.Registry) error {
	for _, k := range r.Keys {
		if k.State == store.KeyRevoked {
			if err := e.Disable(ctx, k.Reference); err != nil {
				return err
			}
		}
	}
	return e.Registries.ReplaceRegistry(ctx, r)
}

// lazy sees no keys but those that are listed.
type lazy struct {
	keys.Inventory
	store.Registries
}

func (l lazy) Held(ctx context.Context) ([]jwt.Held, error) {
	held, err := l.Inventory.Held(ctx)
	r, wrong := l.Registry(ctx)
	return slices.DeleteFunc(held, func(h jwt.Held) bool {
		return !slices.ContainsFunc(r.Keys, func(k store.SigningKey) bool { return k.Reference == h.Reference })
	}), errors.Join(err, wrong)
}

// TestMatrixFindsDefectsOfRotation plants some before the store and the keys.
func TestMatrixFindsDefectsOfRotation(t *testing.T) {
	db := ddb.ForTest(t)
	const all = "rotate, all that can be due"
	write := callID{"dynamodb.PutItem keys", 2, 1}
	for name, tt := range map[string]struct {
		house string
		at    planned
		plant func(*server.Rotate)
	}{
		"a key that nobody has written down is disabled": {
			all, planned{write, fault{resetBefore, true}},
			func(f *server.Rotate) { f.Registries = early{f.Registries, f.Keeper} },
		},
		"keys that are not listed are not looked for": {
			"rotate, the first run", planned{callID{"kms.CreateKey", 1, 1}, fault{resetAfter, false}},
			func(f *server.Rotate) { f.Inventory = lazy{f.Inventory, f.Registries} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := rotation(db, tt.house, tt.at, nil); err != nil {
				t.Errorf("without the defect: %v", err)
			}
			if _, _, err := rotation(db, tt.house, tt.at, tt.plant); err == nil || strings.Contains(err.Error(), "did not fire") {
				t.Errorf("it is not found: %v", err)
			} else {
				t.Log(err)
			}
		})
	}
}

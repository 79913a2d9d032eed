package lambda

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"kmint/infra/rig/sqstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/sqs"
	"kmint/pkg/store"
)

// missing are steps about somebody or something that is not there, which is remembered
// for a shorter time.
var missing = []string{"token/exchange_person", "authorize/resource_unknown", "deliver/gone"}

// TestBudgets runs the script twice against handlers in this process, whose
// clients are counted, and holds the second time to the budgets.
func TestBudgets(t *testing.T) {
	checkScript(t)
	budgets, sizes, priced := Budgets(), Sizes(), map[string]bool{}
	if len(budgets) != len(script) { // that each step has one is found below
		t.Errorf("%d budgets for %d steps", len(budgets), len(script))
	}
	r := newRig(t)
	m := &meter{}
	handlers, log := r.handlers(m)
	count := 0
	ask := func(t *testing.T, function string, event []byte) ([]byte, string, []string) {
		count++
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", count)
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: id})
		log.Reset()
		payload, err := lambda.NewHandler(handlers[function]).Invoke(ctx, event)
		if err != nil {
			t.Fatal(err)
		}
		return payload, id, strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	}
	warm := time.Now()
	t.Run("cold", func(t *testing.T) { run(t, r, ask) })
	m.pause = 50 * time.Millisecond
	t.Run("warm", func(all *testing.T) {
		run(all, r, func(t *testing.T, function string, event []byte) ([]byte, string, []string) {
			_, name, _ := strings.Cut(t.Name(), "/warm/")
			m.take()
			m.units()
			payload, id, lines := ask(t, function, event)
			calls, units := m.take(), m.units()
			remembered := store.MaxAge // a slow machine fills its caches twice
			if slices.Contains(missing, name) {
				remembered = store.MaxMissAge
			}
			if time.Since(warm) > remembered {
				calls = slices.DeleteFunc(calls, func(c call) bool { return c.fills(r.tables.Config) })
			}
			want, ok := budgets[name]
			if got := sum(t, calls); !ok || got != want {
				all.Errorf("%s costs %+v, want %+v: %v", name, got, want, calls) // the script goes on
			}
			priced[name] = true
			logged := len(strings.Join(lines, "\n")) + 1
			if size, ok := sizes[name]; ok && (size.Reads != units.Reads || size.Writes != units.Writes || max(logged-size.Logged, size.Logged-logged) > 100) {
				all.Errorf("%s has the size %+v, want %+v", name, Size{units.Reads, units.Writes, logged}, size)
			}
			return payload, id, lines
		})
	})
	for name := range sizes {
		if !priced[name] {
			t.Errorf("%s has a size, and is no step", name)
		}
	}
}

// handlers are those of the functions, over counted clients. They take the issuer
// from its record, as without a domain of the owner's, which the built functions
// of TestEvents take from the environment.
func (r *rig) handlers(m *meter) (map[string]any, *bytes.Buffer) {
	counted := func(config aws.Config) aws.Config {
		config.APIOptions = append(config.APIOptions, m.count)
		return config
	}
	db := &dynamo.Store{
		DB:          dynamo.NewClient(counted(r.db.Config())),
		ConfigTable: r.tables.Config, UsersTable: r.tables.Users, GrantsTable: r.tables.Grants,
	}
	keys := kms.NewClient(counted(r.kmsConfig()))
	out := &bytes.Buffer{}
	log := slog.New(slog.NewJSONHandler(out, nil)).With("version", version)
	return map[string]any{
		"token": gateway.Proxy(server.Token{
			TokenPath: "/oauth2/token",
			Clients:   db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
			Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
			MAC: &kms.MAC{Client: keys, Key: r.macKey}, Vault: kms.Vault{Client: keys, Key: r.secretsKey},
			PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
		}.Handler()),
		"authorize": gateway.Proxy(server.Authorize{
			Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db, Joined: db, Listings: db, Ended: db, Consents: db, Codes: db,
			Opaque: db, Documents: db, MAC: &kms.MAC{Client: keys, Key: r.macKey}, PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
			Queue: sqs.Queue{Client: sqs.NewClient(counted(r.sqsConfig())), URL: sqstest.URL},
		}.Handler()),
		"deliver": gateway.Consume(server.Deliver{
			Clients: db, Issuers: db, Registry: db, PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
		}.Handler()),
		"userinfo": gateway.Proxy(server.Userinfo{
			Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
			MAC: &kms.MAC{Client: keys, Key: r.macKey}, Now: time.Now, Log: log,
		}.Handler()),
		"discovery": gateway.Proxy(server.Discovery{
			TokenPath: "/oauth/token", AuthorizeSigns: true, Issuers: db, Registry: db, Now: time.Now, Log: log,
		}.Handler()),
	}, out
}

// A meter sees every attempt of the SDK's clients, just above the wire.
type meter struct {
	// pause makes each call long enough that two which do not wait for one another
	// are seen side by side.
	pause time.Duration

	mu    sync.Mutex
	calls []call
	size  Size
}

type call struct {
	operation    string
	table        string // of a GetItem
	began, ended time.Time
}

func (c call) String() string { return c.operation }

// fills reports whether the call is for what is kept in memory afterwards.
func (c call) fills(configTable string) bool {
	return c.table == configTable || c.operation == "GenerateMac" || c.operation == "Decrypt"
}

// tableKey is that of a read's table in the context of a call.
type tableKey struct{}

func (m *meter) count(stack *middleware.Stack) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("table", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		switch in := in.Parameters.(type) {
		case *dynamodb.GetItemInput:
			ctx = middleware.WithStackValue(ctx, tableKey{}, aws.ToString(in.TableName))
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
		case *dynamodb.QueryInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
		case *dynamodb.PutItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
		case *dynamodb.UpdateItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
		case *dynamodb.DeleteItemInput:
			in.ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
		}
		out, metadata, err := next.HandleInitialize(ctx, in)
		m.consumed(out.Result)
		return out, metadata, err
	}), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("meter", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		began := time.Now()
		time.Sleep(m.pause)
		out, metadata, err := next.HandleDeserialize(ctx, in)
		m.mu.Lock()
		defer m.mu.Unlock()
		table, _ := middleware.GetStackValue(ctx, tableKey{}).(string)
		m.calls = append(m.calls, call{awsmiddleware.GetOperationName(ctx), table, began, time.Now()})
		return out, metadata, err
	}), middleware.After)
}

// consumed adds what DynamoDB says that a call has used, but for what it refused.
func (m *meter) consumed(result any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add := func(to *float64, c *types.ConsumedCapacity) {
		if c != nil {
			*to += aws.ToFloat64(c.CapacityUnits)
		}
	}
	switch out := result.(type) {
	case *dynamodb.GetItemOutput:
		add(&m.size.Reads, out.ConsumedCapacity)
	case *dynamodb.QueryOutput:
		add(&m.size.Reads, out.ConsumedCapacity)
	case *dynamodb.PutItemOutput:
		add(&m.size.Writes, out.ConsumedCapacity)
	case *dynamodb.UpdateItemOutput:
		add(&m.size.Writes, out.ConsumedCapacity)
	case *dynamodb.DeleteItemOutput:
		add(&m.size.Writes, out.ConsumedCapacity)
	}
}

// units returns what was consumed since it was last asked.
func (m *meter) units() Size {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := m.size
	m.size = Size{}
	return size
}

// take returns the calls since it was last asked, in the order of their ends.
func (m *meter) take() []call {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

func sum(t *testing.T, calls []call) (c Cost) {
	t.Helper()
	for _, call := range calls {
		switch call.operation {
		case "GetItem", "Query":
			c.Reads++
		case "PutItem", "UpdateItem", "DeleteItem":
			c.Writes++
		case "Sign":
			c.Signs++
		case "GenerateMac":
			c.MACs++
		case "Decrypt":
			c.Decrypts++
		case "SendMessageBatch":
			c.Sends++
		default:
			t.Errorf("a call of %s", call.operation)
		}
	}
	// Whoever takes the call that ends first, again and again, finds the longest
	// chain.
	slices.SortFunc(calls, func(a, b call) int { return a.ended.Compare(b.ended) })
	var free time.Time
	for _, call := range calls {
		if !call.began.Before(free) {
			c.Trips++
			free = call.ended
		}
	}
	return c
}

func TestSumFindsTheLongestChain(t *testing.T) {
	at := func(began, ended int) call {
		return call{"Sign", "", time.Unix(int64(began), 0), time.Unix(int64(ended), 0)}
	}
	for name, tt := range map[string]struct {
		calls []call
		trips int
	}{
		"none":                         {nil, 0},
		"one after the other":          {[]call{at(0, 1), at(1, 2), at(3, 4)}, 3},
		"side by side":                 {[]call{at(0, 2), at(1, 3)}, 1},
		"two beside a long one":        {[]call{at(0, 9), at(0, 2), at(3, 5)}, 2},
		"one, then two side by side":   {[]call{at(0, 1), at(1, 3), at(2, 4)}, 2},
		"the one that ends last first": {[]call{at(5, 9), at(0, 1)}, 2},
	} {
		if got := sum(t, tt.calls).Trips; got != tt.trips {
			t.Errorf("%s: %d, want %d", name, got, tt.trips)
		}
	}
}

// Package dynamo answers: how do the moments of package store become calls of
// DynamoDB?
//
// Each moment is one conditional UpdateItem (or PutItem) on one item. Every
// update carries attribute_exists, or it would create an item of a grant that is
// gone, without an expiry; a refused write brings the old item along, which
// package store judges: why it was refused costs no second call. Only a person
// and their login name, two items, need a transaction. Nothing is ever scanned, and
// queried is only the index by which people see what is theirs (listing.go): no token
// and no login waits for it.
//
// All reads but that are strong, those of the configuration too: they sit behind a cache
// of a minute, so the dearer read is rare, and what an import wrote is seen by
// whoever asks next rather than missed for as long as misses are remembered.
//
// The records that no condition looks into (client, API, user, registry) are kept
// as JSON text in one attribute: the stored names are those of the records, numbers
// and empty lists come back as they went in, and no encoder by reflection has to be
// linked into a function. A grant and a session are kept as attributes of their own.
// Times are numbers, milliseconds since 1970, save the TTL attribute, which
// DynamoDB wants in seconds.
//
// Retries are made here and not in the SDK, which would not tell that an answer
// was lost: see call.
package dynamo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"

	"kmint/pkg/meter"
	"kmint/pkg/store"
)

// A Store is the store in three tables, whose partition key is pk, a string.
// GrantsTable has the TTL attribute ttl, and the index owner by the attribute owner, a
// string, of which it keeps the keys only. A function that needs not all three tables
// leaves the others out.
type Store struct {
	DB          *dynamodb.Client
	ConfigTable string
	UsersTable  string
	GrantsTable string
	// Timeout bounds each attempt of a call; 0 is a second.
	Timeout time.Duration
	// Patience is how long what was taken is tried to be given back, under the deadline
	// of store.GivingBack; 0 is six seconds.
	Patience time.Duration
}

// NewClient makes the client that every function uses. What bounds an attempt is
// Store.Timeout; that a connection cannot be made is known as soon.
func NewClient(cfg aws.Config) *dynamodb.Client {
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if cfg.HTTPClient == nil {
		client, ok = awshttp.NewBuildableClient(), true
	}
	return dynamodb.NewFromConfig(cfg, once, func(o *dynamodb.Options) {
		// A request has one log line. The SDK would add one of its own to each refused
		// write whose answer has no checksum.
		o.Logger = logging.Nop{}
		if ok { // another kind stays as cfg brings it
			o.HTTPClient = client.
				WithDialerOptions(func(d *net.Dialer) { d.Timeout = timeout }).
				WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = maxIdle })
		}
	})
}

const (
	// timeout bounds an attempt, and attempts a call, under the deadline of the
	// request.
	timeout  = time.Second
	attempts = 2
	// pause is before the second attempt where the first was throttled.
	pause = 50 * time.Millisecond
	// rounds bounds how often a moment is tried anew because others came between.
	rounds   = 3
	patience = 6 * time.Second
	// maxIdle connections stay open: a Lambda needs few, a server of many requests
	// at once would otherwise connect anew for most of them.
	maxIdle = 32
	// maxKey is the longest partition key, in bytes. A longer one finds nothing.
	maxKey = 2048
)

// once makes the SDK try a call once. Each call asks for it, so that a Store is
// right whatever client it is given.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// call makes one call of AWS, and makes it again if it was throttled or its
// answer was lost. lost reports whether the answer of any attempt was: that
// attempt may have written, or may still. What is refused for good is returned
// as it is; what might have gone well is store.ErrBusy.
func (s *Store) call(ctx context.Context, do func(ctx context.Context) error) (lost bool, err error) {
	for attempt := range attempts {
		if attempt > 0 && !lost && !wait(ctx, pause/2+rand.N(pause)) {
			break
		}
		one, cancel := context.WithTimeout(ctx, s.timeout())
		began := time.Now()
		err = do(one)
		cancel()
		meter.Called(ctx, meter.DynamoDBTime, meter.DynamoDBThrottled, time.Since(began), err != nil && throttled(err))
		switch {
		case err == nil:
			return lost, nil
		case throttled(err): // nothing was done
		case refused(err):
			return lost, fmt.Errorf("dynamo: %w", err)
		default:
			lost = true
		}
		if ctx.Err() != nil {
			break
		}
	}
	return lost, fmt.Errorf("dynamo: %w: %w", store.ErrBusy, err)
}

func (s *Store) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return timeout
}

// throttled reports whether DynamoDB put the call off, having done nothing.
func throttled(err error) bool {
	var conflict *types.TransactionConflictException
	return errors.As(err, &conflict) || canceledBy(err, "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded") ||
		retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}

// refused reports whether DynamoDB answered that it will not. Of a server error
// (500) its documentation says that a write may have succeeded.
func refused(err error) bool {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return false
	}
	status := response.HTTPStatusCode()
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}

// canceledBy reports whether a transaction was cancelled for one of the reasons.
func canceledBy(err error, codes ...string) bool {
	var canceled *types.TransactionCanceledException
	return errors.As(err, &canceled) && slices.ContainsFunc(canceled.CancellationReasons,
		func(r types.CancellationReason) bool { return slices.Contains(codes, aws.ToString(r.Code)) })
}

// wait reports whether the time passed before the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// insist makes a write that gives back what was taken, again and again until it is
// through: who is told to come again must find it.
func (s *Store) insist(ctx context.Context, write func(ctx context.Context) error) error {
	until := time.Now().Add(cmp.Or(s.Patience, patience))
	for delay := pause; ; delay = min(2*delay, timeout/2) {
		err := write(ctx)
		if !errors.Is(err, store.ErrBusy) || time.Now().After(until) || !wait(ctx, delay) {
			return err
		}
	}
}

// get reads one item, strongly. ErrNotFound if there is none.
func (s *Store) get(ctx context.Context, table, key string) (item, error) {
	if len(key) > maxKey {
		return nil, store.ErrNotFound
	}
	var out *dynamodb.GetItemOutput
	_, err := s.call(ctx, func(ctx context.Context) (err error) {
		out, err = s.DB.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &table, Key: keyOf(key), ConsistentRead: aws.Bool(true),
		}, once)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(out.Item) == 0:
		return nil, store.ErrNotFound
	default:
		return out.Item, nil
	}
}

// An outcome is what came of a conditional write.
type outcome struct {
	// item is the item as an update left it, or as a refused write found it; nil
	// if there was none.
	item item
	// refused says that the condition did not hold.
	refused bool
	// lost says that the answer of an attempt was lost. It holds beside an error
	// too.
	lost bool
}

// taken reports whether the item that was to be new is another's. It is not where an
// answer was lost, or the write was delivered twice and this is the answer to the
// second: then it is the very same.
func (o outcome) taken(by item) bool {
	return o.refused && !o.lost && !reflect.DeepEqual(o.item, by)
}

// put writes a whole item if the condition holds; "" for in any case.
func (s *Store) put(ctx context.Context, table string, it item, condition string, values item) (outcome, error) {
	in := &dynamodb.PutItemInput{TableName: &table, Item: it}
	if condition != "" {
		in.ConditionExpression = &condition
		in.ExpressionAttributeNames = names(condition)
		in.ExpressionAttributeValues = values
		in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	lost, err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.DB.PutItem(ctx, in, once)
		return err
	})
	return written(outcome{lost: lost}, err)
}

// update changes an item that exists and of which the condition holds; "" for
// any that exists. changes is the update expression.
func (s *Store) update(ctx context.Context, key, changes, condition string, values item) (outcome, error) {
	if len(key) > maxKey {
		return outcome{refused: true}, nil
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &s.GrantsTable, Key: keyOf(key),
		UpdateExpression:                    &changes,
		ConditionExpression:                 aws.String(and("attribute_exists(#pk)", condition)),
		ExpressionAttributeValues:           values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	in.ExpressionAttributeNames = names(changes, *in.ConditionExpression)
	var out *dynamodb.UpdateItemOutput
	lost, err := s.call(ctx, func(ctx context.Context) (err error) {
		out, err = s.DB.UpdateItem(ctx, in, once)
		return err
	})
	if err == nil {
		return outcome{item: out.Attributes, lost: lost}, nil
	}
	return written(outcome{lost: lost}, err)
}

// written tells a refusal by the condition from other errors.
func written(o outcome, err error) (outcome, error) {
	if failed := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &failed) {
		o.refused = true
		if len(failed.Item) > 0 {
			o.item = failed.Item
		}
		return o, nil
	}
	return o, err
}

// remove deletes an item if the condition holds; "" for in any case. No error if it
// does not, or if the item is gone.
func (s *Store) remove(ctx context.Context, key, condition string, values item) error {
	in := &dynamodb.DeleteItemInput{TableName: &s.GrantsTable, Key: keyOf(key)}
	if condition != "" {
		in.ConditionExpression = &condition
		in.ExpressionAttributeNames = names(condition)
		in.ExpressionAttributeValues = values
	}
	lost, err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.DB.DeleteItem(ctx, in, once)
		return err
	})
	_, err = written(outcome{lost: lost}, err)
	return err
}

// take deletes an item, and returns it as it was. ErrNotFound if it is gone.
func (s *Store) take(ctx context.Context, key string) (item, error) {
	if len(key) > maxKey {
		return nil, store.ErrNotFound
	}
	var out *dynamodb.DeleteItemOutput
	_, err := s.call(ctx, func(ctx context.Context) (err error) {
		out, err = s.DB.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &s.GrantsTable, Key: keyOf(key), ReturnValues: types.ReturnValueAllOld,
		}, once)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(out.Attributes) == 0:
		return nil, store.ErrNotFound
	default:
		return out.Attributes, nil
	}
}

// and joins conditions, leaving out the empty ones.
func and(conditions ...string) string {
	var b strings.Builder
	for _, condition := range conditions {
		if condition == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(" AND ")
		}
		b.WriteString(condition)
	}
	return b.String()
}

// names lists the attributes that the expressions name as #attribute. DynamoDB
// reserves more words than anyone remembers, by, current, end and ttl among
// them, so all are named like that.
func names(expressions ...string) map[string]string {
	found := map[string]string{}
	for _, e := range expressions {
		for {
			_, rest, ok := strings.Cut(e, "#")
			if !ok {
				break
			}
			end := 0
			for end < len(rest) && (rest[end] == '_' || 'a' <= rest[end] && rest[end] <= 'z') {
				end++
			}
			found["#"+rest[:end]] = rest[:end]
			e = rest[end:]
		}
	}
	return found
}

// unjson reads the record that json wrote.
func unjson[T any](it item) (T, error) {
	var record T
	if err := json.Unmarshal([]byte(it.text("json")), &record); err != nil {
		return record, fmt.Errorf("dynamo: item %s: %w", it.text("pk"), err)
	}
	return record, nil
}

// jsonItem is an item that keeps a record as JSON text.
func jsonItem(key string, record any) (item, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("dynamo: item %s: %w", key, err)
	}
	it := newItem(key)
	it.setText("json", string(text))
	return it, nil
}

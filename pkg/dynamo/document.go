package dynamo

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Documents = (*Store)(nil)

// documentKey needs no address: an address may be longer than a key.
func documentKey(url string) string { return "document#" + string(oauth.DigestOf(url)) }

// Document reads what was fetched.
func (s *Store) Document(ctx context.Context, url string) (body []byte, fetched time.Time, found bool, err error) {
	it, err := s.get(ctx, s.GrantsTable, documentKey(url))
	if errors.Is(err, store.ErrNotFound) {
		return nil, time.Time{}, false, nil
	}
	if err != nil {
		return nil, time.Time{}, false, err
	}
	if b, ok := it["body"].(*types.AttributeValueMemberB); ok {
		body = b.Value
	}
	return body, it.time("fetched"), true, nil
}

// PutDocument keeps it.
func (s *Store) PutDocument(ctx context.Context, url string, body []byte, fetched, until time.Time) error {
	it := newItem(documentKey(url))
	if len(body) > 0 {
		it["body"] = &types.AttributeValueMemberB{Value: body}
	}
	it["fetched"] = millis(fetched)
	it["ttl"] = seconds(until)
	_, err := s.put(ctx, s.GrantsTable, it, "", nil)
	return err
}

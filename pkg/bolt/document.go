package bolt

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Documents = (*Store)(nil)

// A document is what was fetched.
type document struct {
	Body    []byte
	Fetched time.Time
}

func documentKey(url string) string { return "document#" + string(oauth.DigestOf(url)) }

// Document reads what was fetched.
func (s *Store) Document(_ context.Context, url string) (body []byte, fetched time.Time, found bool, err error) {
	var d document
	err = s.view(grantsBucket, func(b items) error { return b.get(documentKey(url), &d) })
	if errors.Is(err, store.ErrNotFound) {
		return nil, time.Time{}, false, nil
	}
	return d.Body, d.Fetched, err == nil, err
}

// PutDocument keeps it.
func (s *Store) PutDocument(_ context.Context, url string, body []byte, fetched, until time.Time) error {
	return s.update(grantsBucket, func(b items) error {
		return b.put(documentKey(url), document{Body: body, Fetched: fetched}, until)
	})
}

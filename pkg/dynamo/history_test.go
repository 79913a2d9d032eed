package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kmint/infra/rig/ddb"
	"kmint/pkg/store/storetest/history"
)

const histories = 2_000

func TestHistories(t *testing.T) {
	local := ddb.ForTest(t)
	history.Run(t, histories, func(t *testing.T) history.Stores {
		cfg := local.Config()
		cfg.HTTPClient = carried{http.DefaultClient}
		s := open(t, local, cfg)
		// An attempt takes as long as the scheduler likes.
		s.Timeout = time.Minute
		s.Patience = time.Nanosecond // and what is given back is tried once
		return history.Stores{Codes: s, Reader: s, Grants: s, Revocations: s}
	})
}

// carried is an HTTP client each of whose requests the scheduler of a history
// carries to DynamoDB, or does not. So the two writes of an undo, or of a replay,
// have others between them.
type carried struct{ inner aws.HTTPClient }

func (c carried) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var response *http.Response
	send := func(ctx context.Context) (*http.Response, error) {
		copied := r.Clone(ctx)
		copied.Body = io.NopCloser(bytes.NewReader(body))
		return c.inner.Do(copied)
	}
	lost := history.Carry(r.Context(), bytes.Contains(body, []byte(`"SET #undone = :by`)),
		func() { response, err = send(r.Context()) },
		func() { unheard(send(context.WithoutCancel(r.Context()))) })
	if lost != nil {
		unheard(response, err)
		return nil, lost
	}
	return response, err
}

// unheard takes an answer that nobody waits for.
func unheard(response *http.Response, err error) {
	if err == nil && response != nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = errors.Join(err, response.Body.Close())
	}
}

// Package sqs answers: how does a message get into a queue of Amazon SQS?
//
// Who takes it out again is Lambda's own event source mapping, not code of ours.
package sqs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/logging"
)

const (
	// timeout bounds one attempt, attempts one call.
	timeout  = time.Second
	attempts = 2
	// pause is the longest before the second attempt.
	pause = 100 * time.Millisecond
	// most is how many messages one call may bring.
	most = 10
)

// A Queue is one queue.
type Queue struct {
	Client *sqs.Client
	URL    string
}

// NewClient makes the client. A message may arrive twice where an answer was lost.
func NewClient(cfg aws.Config) *sqs.Client {
	return sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		o.Logger = logging.Nop{} // a request has one log line
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, pause })
		client, ours := cfg.HTTPClient.(*awshttp.BuildableClient)
		if cfg.HTTPClient == nil {
			client, ours = awshttp.NewBuildableClient(), true
		}
		if ours { // another kind stays as cfg brings it
			o.HTTPClient = client.WithTimeout(timeout)
		}
	})
}

// Send puts the messages into the queue, ten at a time.
func (q Queue) Send(ctx context.Context, messages []string) error {
	for batch := range slices.Chunk(messages, most) {
		if err := q.send(ctx, batch); err != nil {
			return fmt.Errorf("sqs: %w", err)
		}
	}
	return nil
}

func (q Queue) send(ctx context.Context, batch []string) error {
	ctx, cancel := context.WithTimeout(ctx, attempts*timeout+pause)
	defer cancel()
	in := &sqs.SendMessageBatchInput{QueueUrl: &q.URL}
	for i, message := range batch {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &message})
	}
	out, err := q.Client.SendMessageBatch(ctx, in)
	if err != nil {
		return err
	}
	// A call that succeeds may have taken only some.
	if len(out.Failed) > 0 {
		return fmt.Errorf("%d of %d messages were not taken: %s", len(out.Failed), len(batch), aws.ToString(out.Failed[0].Code))
	}
	return nil
}

package gateway

import (
	"context"
	"sync"

	"github.com/aws/aws-lambda-go/events"
)

// A Consumer is what lambda.Start takes of a queue.
type Consumer func(context.Context, events.SQSEvent) (events.SQSEventResponse, error)

// Consume hands the messages of a batch to do, side by side, and reports those that
// are to come again (ReportBatchItemFailures): all others are deleted.
func Consume(do func(ctx context.Context, message string) error) Consumer {
	return func(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
		failed := make([]bool, len(e.Records))
		var all sync.WaitGroup
		for i, record := range e.Records {
			all.Go(func() { failed[i] = do(ctx, record.Body) != nil })
		}
		all.Wait()
		// An empty list is written as [], which is what says that all is done.
		answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
		for i, record := range e.Records {
			if failed[i] {
				answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.MessageId})
			}
		}
		return answer, nil
	}
}

package sqstest_test

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"kmint/infra/rig/sqstest"
)

func entries(ids ...string) []types.SendMessageBatchRequestEntry {
	list := []types.SendMessageBatchRequestEntry{}
	for _, id := range ids {
		list = append(list, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String("body of " + id)})
	}
	return list
}

// TestServer sends by the SDK: what SQS takes is taken, in its order, and what it
// refuses is refused by its code.
func TestServer(t *testing.T) {
	var took []string
	var ill error
	server := httptest.NewServer(&sqstest.Server{Took: func(messages []string) error {
		took = append(took, messages...)
		return ill
	}})
	t.Cleanup(server.Close)
	client := sqs.NewFromConfig(aws.Config{
		Region: sqstest.Region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("example", "example", ""),
	})
	send := func(queue string, list []types.SendMessageBatchRequestEntry) error {
		_, err := client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &queue, Entries: list})
		return err
	}
	if err := send(sqstest.URL, entries("a", "b")); err != nil || !slices.Equal(took, []string{"body of a", "body of b"}) {
		t.Errorf("%v, and it took %q", err, took)
	}
	for code, tt := range map[string]struct {
		queue string
		list  []types.SendMessageBatchRequestEntry
	}{
		"QueueDoesNotExist":            {sqstest.URL + "s", entries("a")},
		"EmptyBatchRequest":            {sqstest.URL, entries()},
		"TooManyEntriesInBatchRequest": {sqstest.URL, entries(strings.Split("abcdefghijk", "")...)},
		"BatchEntryIdsNotDistinct":     {sqstest.URL, entries("a", "a")},
		"InvalidBatchEntryId":          {sqstest.URL, entries("a b")},
		"BatchRequestTooLong":          {sqstest.URL, []types.SendMessageBatchRequestEntry{{Id: aws.String("a"), MessageBody: aws.String(strings.Repeat("x", 1<<20))}}},
	} {
		if err := send(tt.queue, tt.list); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("%v, want %s", err, code)
		}
	}
	if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(sqstest.URL), MessageBody: aws.String("a")}); err == nil || !strings.Contains(err.Error(), "InvalidAction") {
		t.Errorf("a message alone: %v", err)
	}
	if len(took) != 2 {
		t.Errorf("it took %q", took)
	}
	ill = errors.New("full")
	if err := send(sqstest.URL, entries("a")); err == nil || !strings.Contains(err.Error(), "InternalError") {
		t.Errorf("ill: %v", err)
	}
	e := sqstest.Event([]string{"x", "y"})
	if len(e.Records) != 2 || e.Records[0].MessageId == e.Records[1].MessageId || e.Records[1].Body != "y" {
		t.Errorf("%+v", e)
	}
}

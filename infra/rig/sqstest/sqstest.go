// Package sqstest answers: what was put into the queue?
//
// A Server speaks the JSON protocol of Amazon SQS as far as a sender needs it, and
// refuses what SQS refuses, by its codes. It keeps nothing: each batch goes to Took,
// and Event makes of it what Lambda hands to the function at the other end.
package sqstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// Where the one queue lives.
const (
	Region = "us-east-1"
	URL    = "https://sqs." + Region + ".amazonaws.com/123456789012/kmint-logout"
)

const arn = "arn:aws:sqs:" + Region + ":123456789012:kmint-logout"

// A Server is an Amazon SQS with that queue in it.
type Server struct {
	// Took is called with the bodies of each batch. An error is one of SQS's own side.
	Took func(messages []string) error
}

var _ http.Handler = (*Server)(nil)

const (
	// maxBatch is how many messages one call may bring.
	maxBatch = 10
	// maxBytes is the longest batch.
	maxBytes = 1 << 20
)

type batch struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []struct {
		ID          string `json:"Id"`
		MessageBody string
	}
}

var entryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// refused is why SQS would not take the batch, "" for nothing.
func (b batch) refused() string {
	switch {
	case b.QueueURL != URL:
		return "QueueDoesNotExist"
	case len(b.Entries) == 0:
		return "EmptyBatchRequest"
	case len(b.Entries) > maxBatch:
		return "TooManyEntriesInBatchRequest"
	}
	seen := map[string]bool{}
	for _, e := range b.Entries {
		switch {
		case !entryID.MatchString(e.ID):
			return "InvalidBatchEntryId"
		case seen[e.ID]:
			return "BatchEntryIdsNotDistinct"
		case e.MessageBody == "":
			return "MissingParameter"
		}
		seen[e.ID] = true
	}
	return ""
}

// ServeHTTP takes SendMessageBatch.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":"com.amazonaws.sqs#%s"}`, code)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if err != nil {
		refuse(http.StatusBadRequest, "BatchRequestTooLong")
		return
	}
	var b batch
	if r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" || json.Unmarshal(raw, &b) != nil {
		refuse(http.StatusBadRequest, "InvalidAction")
		return
	}
	if code := b.refused(); code != "" {
		refuse(http.StatusBadRequest, code)
		return
	}
	var messages, taken []string
	for i, e := range b.Entries {
		messages = append(messages, e.MessageBody)
		taken = append(taken, fmt.Sprintf(`{"Id":%q,"MessageId":%q}`, e.ID, messageID(i)))
	}
	if err := s.Took(messages); err != nil {
		refuse(http.StatusInternalServerError, "InternalError")
		return
	}
	_, _ = fmt.Fprintf(w, `{"Successful":[%s]}`, strings.Join(taken, ","))
}

func messageID(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// Event is what Lambda makes of the messages ("Using Lambda with Amazon SQS").
func Event(messages []string) events.SQSEvent {
	var e events.SQSEvent
	for i, body := range messages {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: messageID(i), Body: body, EventSource: "aws:sqs", EventSourceARN: arn, AWSRegion: Region,
			Attributes: map[string]string{"ApproximateReceiveCount": "1"},
		})
	}
	return e
}

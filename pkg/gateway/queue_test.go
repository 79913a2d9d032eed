package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"kmint/pkg/gateway"
)

// What fails comes again, alone; what succeeds does not.
func TestConsume(t *testing.T) {
	var batch events.SQSEvent
	for _, text := range []string{"good", "bad", "good again", "bad too"} {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: "id of " + text, Body: text})
	}
	fails := func(failing bool) gateway.Consumer {
		return gateway.Consume(func(_ context.Context, message string) error {
			if failing && (message == "bad" || message == "bad too") {
				return errors.New("no")
			}
			return nil
		})
	}
	for name, tt := range map[string]struct {
		batch   events.SQSEvent
		failing bool
		want    string
	}{
		"some":     {batch, true, `{"batchItemFailures":[{"itemIdentifier":"id of bad"},{"itemIdentifier":"id of bad too"}]}`},
		"none":     {batch, false, `{"batchItemFailures":[]}`},
		"no batch": {events.SQSEvent{}, true, `{"batchItemFailures":[]}`},
	} {
		answer, err := fails(tt.failing)(t.Context(), tt.batch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(answer)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s %v, want %s", name, got, err, tt.want)
		}
	}
}

// One that hangs does not hold up the others.
func TestConsumeSideBySide(t *testing.T) {
	second := make(chan struct{})
	consumer := gateway.Consume(func(_ context.Context, message string) error {
		if message == "first" {
			<-second
		} else {
			close(second)
		}
		return nil
	})
	if _, err := consumer(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{Body: "first"}, {Body: "second"}}}); err != nil {
		t.Fatal(err)
	}
}

package sqs_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/pkg/sqs"
)

// queueOf is a queue whose server answers as told.
func queueOf(t *testing.T, answer http.HandlerFunc) sqs.Queue {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	client := sqs.NewClient(aws.Config{
		Region: "us-east-1", BaseEndpoint: &server.URL,
		Credentials: credentials.NewStaticCredentialsProvider("example", "example", ""),
	})
	return sqs.Queue{Client: client, URL: server.URL + "/123456789012/logouts"}
}

// read returns the bodies of a batch.
func read(t *testing.T, r *http.Request) (ids, bodies []string) {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	var batch struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []struct{ ID, MessageBody string }
	}
	if err := json.Unmarshal(raw, &batch); err != nil || !strings.HasSuffix(batch.QueueURL, "/logouts") {
		t.Errorf("%s: %v", raw, err)
	}
	if r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" {
		t.Errorf("it calls %s", r.Header.Get("X-Amz-Target"))
	}
	for _, e := range batch.Entries {
		ids, bodies = append(ids, e.ID), append(bodies, e.MessageBody)
	}
	return ids, bodies
}

func succeed(w http.ResponseWriter, ids, failed []string) {
	var done, not []string
	for _, id := range ids {
		if slices.Contains(failed, id) {
			not = append(not, fmt.Sprintf(`{"Id":%q,"Code":"InternalError","SenderFault":false}`, id))
			continue
		}
		done = append(done, fmt.Sprintf(`{"Id":%q,"MessageId":"m"}`, id))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = fmt.Fprintf(w, `{"Successful":[%s],"Failed":[%s]}`, strings.Join(done, ","), strings.Join(not, ","))
}

func TestSend(t *testing.T) {
	var messages []string
	for i := range 23 {
		messages = append(messages, fmt.Sprintf(`{"n":%d,"é":"<&>"}`, i))
	}
	var taken []string
	var calls int
	q := queueOf(t, func(w http.ResponseWriter, r *http.Request) {
		ids, bodies := read(t, r)
		if len(ids) > 10 || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
			t.Errorf("a batch of %q", ids)
		}
		calls++
		taken = append(taken, bodies...)
		succeed(w, ids, nil)
	})
	if err := q.Send(t.Context(), messages); err != nil || calls != 3 || !slices.Equal(taken, messages) {
		t.Errorf("%v after %d calls: %q", err, calls, taken)
	}
	if err := q.Send(t.Context(), nil); err != nil || calls != 3 {
		t.Errorf("nothing: %v, %d calls", err, calls)
	}
}

func TestSendRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		calls  int64
	}{
		"one is not taken": {func(w http.ResponseWriter, r *http.Request) {
			ids, _ := read(t, r)
			succeed(w, ids, []string{"1"})
		}, 1},
		"no such queue": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}`)
		}, 1},
		"ill, and once more": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			q := queueOf(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				tt.answer(w, r)
			})
			if err := q.Send(t.Context(), []string{"a", "b"}); err == nil || calls.Load() != tt.calls {
				t.Errorf("%v after %d calls", err, calls.Load())
			}
		})
	}
}

// A call that hangs is made again, and one that hangs again is given up.
func TestSendHung(t *testing.T) {
	for name, hung := range map[string]int64{"once": 1, "always": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			q := queueOf(t, func(w http.ResponseWriter, r *http.Request) {
				ids, _ := read(t, r)
				if calls.Add(1) <= hung {
					<-r.Context().Done()
					return
				}
				succeed(w, ids, nil)
			})
			began := time.Now()
			err := q.Send(t.Context(), []string{"a"})
			if (err == nil) != (hung == 1) || calls.Load() != 2 || time.Since(began) > 3*time.Second {
				t.Errorf("%v after %d calls and %s", err, calls.Load(), time.Since(began))
			}
		})
	}
}

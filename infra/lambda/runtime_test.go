package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// behaviour names what this test binary does when it is started as a bootstrap.
const behaviour = "KMINT_TEST_BOOTSTRAP"

func TestMain(m *testing.M) {
	switch os.Getenv(behaviour) {
	case "":
		os.Exit(m.Run())
	case "exits":
		fmt.Fprintln(os.Stderr, "CONFIG_TABLE is not set")
		os.Exit(1)
	default:
		lambda.Start(bootstrap)
	}
}

type seen struct {
	Event    string
	ID, ARN  string
	Left     time.Duration
	Trace    string
	Home, Me string
}

func bootstrap(ctx context.Context, event string) (seen, error) {
	fmt.Println("out", event)
	fmt.Fprintln(os.Stderr, "err", event)
	switch event {
	case "fail":
		return seen{}, errors.New("it does not work")
	case "panic":
		panic("it is on fire")
	case "exit":
		os.Exit(3)
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return seen{
		Event: event, ID: lc.AwsRequestID, ARN: lc.InvokedFunctionArn, Left: time.Until(deadline),
		Trace: os.Getenv("_X_AMZN_TRACE_ID"), Home: os.Getenv("HOME"), Me: lambdacontext.FunctionName,
	}, nil
}

func startMyself(t *testing.T, behave string) (*Environment, error) {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Start(t.Context(), Function{Name: "me", Bootstrap: me, Env: map[string]string{behaviour: behave}})
	if err == nil {
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return e, err
}

func TestAFunctionSeesWhatLambdaGives(t *testing.T) {
	t.Setenv("HOME", "/not/for/the/function")
	e, err := startMyself(t, "echoes")
	if err != nil {
		t.Fatal(err)
	}
	for n, event := range []string{"one", "two"} {
		payload, id, err := e.Invoke(t.Context(), []byte(`"`+event+`"`))
		if err != nil {
			t.Fatal(err)
		}
		got := decode[seen](t, payload)
		if got.Event != event || got.ID != id || got.Me != "me" || got.Home != "" ||
			got.ARN != "arn:aws:lambda:us-east-1:123456789012:function:me" ||
			!strings.HasPrefix(got.Trace, "Root=1-") ||
			got.Left < invokeTimeout-5*time.Second || got.Left > invokeTimeout {
			t.Errorf("event %d: %+v", n, got)
		}
		lines, err := e.Log()
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"out " + event, "err " + event}; strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("logged %q, want %q", lines, want)
		}
	}
}

// A function that fails is asked again; one that panicked or exited is gone.
func TestAFunctionThatFails(t *testing.T) {
	for _, tt := range []struct {
		event, want string
		again       bool
	}{
		{"fail", "errorString: it does not work", true},
		{"panic", "string: it is on fire", false},
		{"exit", "exited without an answer", false},
	} {
		t.Run(tt.event, func(t *testing.T) {
			e, err := startMyself(t, "echoes")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := e.Invoke(t.Context(), []byte(`"`+tt.event+`"`)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if _, _, err := e.Invoke(t.Context(), []byte(`"again"`)); (err == nil) != tt.again {
				t.Errorf("asked again: %v", err)
			}
		})
	}
}

func TestAFunctionThatDoesNotStart(t *testing.T) {
	if _, err := startMyself(t, "exits"); err == nil || !strings.Contains(err.Error(), "CONFIG_TABLE is not set") {
		t.Errorf("the log is not told: %v", err)
	}
	if _, err := Start(t.Context(), Function{Name: "me", Bootstrap: "/no/such/bootstrap"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func decode[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

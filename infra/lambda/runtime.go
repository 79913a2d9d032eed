// Package lambda answers: does the function that is deployed do what its source
// says?
//
// It runs a built bootstrap as AWS Lambda does: a process with the environment
// variables of Lambda and no others, which fetches one event at a time from a
// Runtime API and posts the answer there. The API is the one in "Using the Lambda
// runtime API for custom runtimes" (2018-06-01), as far as aws-lambda-go speaks
// it.
//
// The events are those in events/, shaped as API Gateway's HTTP APIs send them in
// payload format 2.0: the tests send every file there to its function and compare
// the answer with the golden file beside it. Where an event needs what an earlier
// answer gave, or what a client makes with its key, a stand-in such as ${code.web}
// or ${proof.spa} holds its place, in a form body too, which is base64 as the
// gateway sends it; events/README.md says what to put there by hand. An event
// without a stand-in also works as it is:
//
//	sam local invoke TokenFunction -e events/token/client_credentials.json
package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of Lambda: how long a function may take to ask for its first event, how
// long one event may take (template.yaml), and how long an answer may be.
const (
	initTimeout   = 10 * time.Second
	invokeTimeout = 10 * time.Second
	maxAnswer     = 6 << 20
)

// A Function is what is deployed.
type Function struct {
	Name string
	// Bootstrap is the program's path.
	Bootstrap string
	// Env is the function's own part of the environment.
	Env map[string]string
}

// An Environment is one execution environment: one process, which serves one
// event at a time.
type Environment struct {
	// Init is how long the process took to ask for its first event.
	Init time.Duration

	function Function
	command  *exec.Cmd
	exited   chan struct{}
	// log is what the process writes to both of its outputs. It is a file rather
	// than a pipe, so that what was written before the answer is there with it.
	log      *os.File
	logRead  int64
	api      *http.Server
	address  string
	invoking sync.Mutex
	count    int

	ready   chan struct{}
	events  chan invocation
	answers chan answer
}

type invocation struct {
	id       string
	deadline time.Time
	payload  []byte
}

type answer struct {
	id      string
	payload []byte
	err     error
}

// A FunctionError is what a function posts instead of an answer.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

var _ error = (*FunctionError)(nil)

// Error gives both.
func (e *FunctionError) Error() string {
	return fmt.Sprintf("lambda: the function failed: %s: %s", e.Type, e.Message)
}

// Start starts the function and waits until it asks for its first event. The
// error of one that does not has what it told Lambda, as *FunctionError, and its log.
func Start(ctx context.Context, f Function) (*Environment, error) {
	log, err := os.CreateTemp("", "kmint-lambda-*.log")
	if err != nil {
		return nil, fmt.Errorf("lambda: %w", err)
	}
	e := &Environment{
		function: f, log: log, exited: make(chan struct{}),
		ready: make(chan struct{}, 1), events: make(chan invocation), answers: make(chan answer, 1),
	}
	if err := e.serve(ctx); err != nil {
		return nil, errors.Join(err, e.removeLog())
	}
	e.command = exec.Command(f.Bootstrap) //nolint:gosec,noctx // the caller built it; it outlives ctx, until Close
	e.command.Env = e.environ()
	e.command.Stdout, e.command.Stderr = log, log
	began := time.Now()
	if err := e.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("lambda: %w", err), e.api.Close(), e.removeLog())
	}
	go func() {
		_ = e.command.Wait() // it always ends by a signal or in failure
		close(e.exited)
	}()
	if err := e.idle(ctx, initTimeout); err != nil {
		select {
		case told := <-e.answers: // to init/error
			err = errors.Join(err, told.err)
		default:
		}
		lines, logErr := e.Log()
		return nil, errors.Join(fmt.Errorf("lambda: %s did not start: %w\n%s", f.Name, err, strings.Join(lines, "\n")), logErr, e.Close())
	}
	e.Init = time.Since(began)
	return e, nil
}

// environ is what "Using Lambda environment variables" lists for a function that
// brings its own runtime.
func (e *Environment) environ() []string {
	env := []string{
		"_HANDLER=bootstrap",
		"AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1",
		"AWS_LAMBDA_FUNCTION_NAME=" + e.function.Name,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/kmint/" + e.function.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef",
		"AWS_LAMBDA_RUNTIME_API=" + e.address,
		"AWS_ACCESS_KEY_ID=ASIAEXAMPLE",
		"AWS_SECRET_ACCESS_KEY=example",
		"AWS_SESSION_TOKEN=example",
		"LAMBDA_TASK_ROOT=/var/task",
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ=:UTC",
	}
	for name, value := range e.function.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// Invoke sends one event, and returns the answer's payload and the id of the
// request. An invocation is over when the function asks for its next event.
func (e *Environment) Invoke(ctx context.Context, event []byte) (payload []byte, id string, err error) {
	e.invoking.Lock()
	defer e.invoking.Unlock()
	e.count++
	i := invocation{
		id:       fmt.Sprintf("00000000-0000-4000-8000-%012d", e.count),
		deadline: time.Now().Add(invokeTimeout),
		payload:  event,
	}
	ctx, cancel := context.WithDeadline(ctx, i.deadline)
	defer cancel()
	select {
	case e.events <- i:
	case <-e.exited:
		return nil, i.id, errors.New("lambda: the process has exited")
	case <-ctx.Done():
		return nil, i.id, ctx.Err()
	}
	var a answer
	select {
	case a = <-e.answers:
	case <-e.exited:
		return nil, i.id, errors.New("lambda: the process exited without an answer")
	case <-ctx.Done():
		return nil, i.id, ctx.Err()
	}
	if a.id != i.id {
		return nil, i.id, fmt.Errorf("lambda: the answer is one to %q", a.id)
	}
	if a.err != nil { // after a panic there is no next event
		return nil, i.id, a.err
	}
	return a.payload, i.id, e.idle(ctx, time.Until(i.deadline))
}

// idle waits until the process asks for its next event.
func (e *Environment) idle(ctx context.Context, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-e.ready:
		return nil
	case <-e.exited:
		return errors.New("the process exited")
	case <-timer.C:
		return fmt.Errorf("it asked for no event within %s", timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Log returns the lines that were written since it was last asked.
func (e *Environment) Log() ([]string, error) {
	size, err := e.log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("lambda: %w", err)
	}
	text := make([]byte, size-e.logRead)
	if _, err := e.log.ReadAt(text, e.logRead); err != nil {
		return nil, fmt.Errorf("lambda: %w", err)
	}
	e.logRead = size
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// CPU is what the process used, after Close.
func (e *Environment) CPU() time.Duration {
	return e.command.ProcessState.UserTime() + e.command.ProcessState.SystemTime()
}

// Close kills the process, as Lambda does, and waits for its end.
func (e *Environment) Close() error {
	err := e.command.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-e.exited
	return errors.Join(err, e.api.Close(), e.removeLog())
}

func (e *Environment) removeLog() error {
	return errors.Join(e.log.Close(), os.Remove(e.log.Name()))
}

// serve starts the Runtime API on a free port.
func (e *Environment) serve(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("lambda: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", e.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", e.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", e.failure)
	e.address = listener.Addr().String()
	e.api = &http.Server{Handler: mux, ReadHeaderTimeout: invokeTimeout}
	go func() { _ = e.api.Serve(listener) }() // until Close
	return nil
}

// next holds the request until there is an event.
func (e *Environment) next(w http.ResponseWriter, r *http.Request) {
	select {
	case e.ready <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	select {
	case i := <-e.events:
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Lambda-Runtime-Aws-Request-Id", i.id)
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
		header.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:"+e.function.Name)
		header.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-"+i.id[len(i.id)-12:]+"000000000000;Sampled=0")
		_, _ = w.Write(i.payload)
	case <-r.Context().Done():
	}
}

func (e *Environment) response(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	if err != nil {
		e.answers <- answer{id: id, err: fmt.Errorf("lambda: the answer cannot be read: %w", err)}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	// A stream that breaks off says why in its trailer.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		e.answers <- answer{id: id, err: &FunctionError{Type: kind, Message: "the answer broke off"}}
	} else {
		e.answers <- answer{id: id, payload: payload}
	}
	w.WriteHeader(http.StatusAccepted)
}

func (e *Environment) failure(w http.ResponseWriter, r *http.Request) {
	failed := &FunctionError{}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer)).Decode(failed); err != nil {
		failed = &FunctionError{Type: "Runtime.Unknown", Message: err.Error()}
	}
	e.answers <- answer{id: r.PathValue("id"), err: failed}
	w.WriteHeader(http.StatusAccepted)
}

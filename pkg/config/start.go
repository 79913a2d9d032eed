// A function that cannot start ("Using the Lambda runtime API for custom runtimes",
// "Initialization error").
//
// It says so and exits. To serve 503 with wrong variables instead would be a function
// that looks well: Lambda's own Errors would count nothing, and so no alarm on a new
// version would take its deployment back, nor would a queue or a schedule send again
// what came to nothing. An environment that has exited is begun anew by every
// invocation, which is what makes a loop of crashes; so each says all that is wrong in
// one line of the log, and the same to Lambda, which gives it to whoever invoked the
// function and writes it down as Runtime.ConfigInvalid. Behind API Gateway the caller
// reads nothing of it. It happens before anything is asked of AWS, and costs no call.

package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// remedy is what whoever reads the line can do.
const remedy = "Set these variables of the function as template.yaml does, by its parameters, and deploy it again, or deploy the version before; until then each invocation fails with this line."

// Start is Read and AWS for a function of that version. Where anything is wrong it
// reports all of it, and exits.
func Start[T Function](version string) (T, aws.Config) {
	env, wrong := Read[T]()
	sdk, err := AWS()
	if wrong = errors.Join(wrong, err); wrong != nil {
		report(version, strings.Split(wrong.Error(), "\n"))
		os.Exit(1)
	}
	return env, sdk
}

// report writes the line, and posts it to Lambda if there is one.
func report(version string, problems []string) {
	slog.New(slog.NewJSONHandler(os.Stdout, nil)).LogAttrs(context.Background(), slog.LevelError, "not started",
		slog.String("version", version), slog.String("function", os.Getenv("AWS_LAMBDA_FUNCTION_NAME")),
		slog.Any("problems", problems), slog.String("remedy", remedy))
	const kind = "Runtime.ConfigInvalid"
	body, err := json.Marshal(map[string]any{"errorType": kind, "errorMessage": strings.Join(append(problems, remedy), "\n"), "stackTrace": []string{}})
	api := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	if err != nil || api == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+api+"/2018-06-01/runtime/init/error", bytes.NewReader(body)) //nolint:gosec // Lambda itself names it
	if err != nil {
		return
	}
	r.Header.Set("Lambda-Runtime-Function-Error-Type", kind)
	// The line is written already: what Lambda answers changes nothing.
	if answer, err := http.DefaultClient.Do(r); err == nil { //nolint:gosec // as above
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
}

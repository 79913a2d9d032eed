// Package codedeploy answers: how is a version of a function called that has no requests
// yet, and CodeDeploy told what came of it?
//
// A version is called by its ARN, with the event that API Gateway would send (HTTP API,
// payload 2.0).
package codedeploy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go/logging"
)

// timeout bounds one call of a function, whose own time is up before.
const timeout = 15 * time.Second

// Versions calls functions.
type Versions struct {
	Client *lambda.Client
}

// NewVersions makes one.
func NewVersions(cfg aws.Config) Versions {
	return Versions{lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.Logger = logging.Nop{} })}
}

// Call sends one request to one version, with a form as its body, "" for none. What a
// function fails with is an error.
func (v Versions) Call(ctx context.Context, version, method, address, form string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e, err := event(method, address, form)
	if err != nil {
		return 0, "", err
	}
	out, err := v.Client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &version, Payload: e})
	if err != nil {
		return 0, "", fmt.Errorf("codedeploy: %w", err)
	}
	if out.FunctionError != nil {
		return 0, "", fmt.Errorf("codedeploy: %s: %.256s", *out.FunctionError, out.Payload)
	}
	var got events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(out.Payload, &got); err != nil {
		return 0, "", fmt.Errorf("codedeploy: %w", err)
	}
	if got.IsBase64Encoded {
		plain, err := base64.StdEncoding.DecodeString(got.Body)
		if err != nil {
			return 0, "", fmt.Errorf("codedeploy: %w", err)
		}
		got.Body = string(plain)
	}
	return got.StatusCode, got.Body, nil
}

func event(method, address, form string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("codedeploy: %.256q is no address", address)
	}
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: method + " " + u.Path, RawPath: u.Path, RawQueryString: u.RawQuery,
		Headers: map[string]string{"host": u.Host, "user-agent": "kmint preflight"},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			DomainName: u.Host, Stage: "$default", RouteKey: method + " " + u.Path,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: method, Path: u.Path, Protocol: "HTTP/1.1", SourceIP: "127.0.0.1"},
		},
	}
	if form != "" {
		e.Headers["content-type"] = "application/x-www-form-urlencoded"
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(form)), true
	}
	return json.Marshal(e)
}

// Deployments tells CodeDeploy.
type Deployments struct {
	Client *codedeploy.Client
}

// NewDeployments makes one.
func NewDeployments(cfg aws.Config) Deployments {
	return Deployments{codedeploy.NewFromConfig(cfg, func(o *codedeploy.Options) { o.Logger = logging.Nop{} })}
}

// Report says whether a deployment is to go on. execution is the id of the hook that
// CodeDeploy waits for.
func (d Deployments) Report(ctx context.Context, deployment, execution string, good bool) error {
	status := types.LifecycleEventStatusFailed
	if good {
		status = types.LifecycleEventStatusSucceeded
	}
	_, err := d.Client.PutLifecycleEventHookExecutionStatus(ctx, &codedeploy.PutLifecycleEventHookExecutionStatusInput{
		DeploymentId: &deployment, LifecycleEventHookExecutionId: &execution, Status: status,
	})
	if err != nil {
		return fmt.Errorf("codedeploy: %w", err)
	}
	return nil
}

// Package gateway answers: how does a handler stand behind API Gateway?
//
// It is a thin coat around the Lambda adapter (HTTP API, payload 2.0). API Gateway
// hands over the path percent-decoded; the adapter would parse it as an address,
// fail on a path such as /%, and print the whole address with its query, which may
// hold a code. So the path is encoded again first, and what still cannot be an
// address is answered here.
package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"kmint/pkg/oauth"
)

// A Function is what lambda.Start takes.
type Function func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error)

// Proxy serves the events of API Gateway by h.
func Proxy(h http.Handler) Function {
	adapter := httpadapter.NewV2(h)
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		e.RawPath = (&url.URL{Path: e.RawPath}).EscapedPath()
		if _, err := url.ParseRequestURI(e.RawPath + "?" + e.RawQueryString); err != nil {
			return refuse()
		}
		return adapter.ProxyWithContext(ctx, e)
	}
}

// refuse says nothing of what was sent.
func refuse() (events.APIGatewayV2HTTPResponse, error) {
	refusal := oauth.InvalidRequest.Errorf("The address of the request is malformed.")
	body, err := json.Marshal(refusal.Body())
	return events.APIGatewayV2HTTPResponse{
		StatusCode: refusal.Code.Status(),
		Headers:    map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"},
		Body:       string(body),
	}, err
}

// Package gateway answers: how does a handler stand behind API Gateway?
//
// It is a thin coat around the Lambda adapter (HTTP API, payload 2.0). API Gateway
// hands over the path percent-decoded; the adapter would parse it as an address,
// fail on a path such as /%, and print the whole address with its query, which may
// hold a code. So what an address cannot hold is encoded first, and every request
// reaches the handler.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
)

// A Function is what lambda.Start takes.
type Function func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error)

// Proxy serves the events of API Gateway by h.
func Proxy(h http.Handler) Function {
	adapter := httpadapter.NewV2(h)
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		e.RawPath = (&url.URL{Path: e.RawPath}).EscapedPath()
		e.RawQueryString = escape(e.RawQueryString)
		return adapter.ProxyWithContext(ctx, e)
	}
}

// escape encodes what no query can hold (RFC 3986 §3.4): control characters, the
// space and the mark of a fragment.
func escape(query string) string {
	var out strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			_, _ = fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

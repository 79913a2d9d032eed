package gateway_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"kmint/pkg/gateway"
)

func event(path, query string) events.APIGatewayV2HTTPRequest {
	return events.APIGatewayV2HTTPRequest{
		Version: "2.0", RawPath: path, RawQueryString: query,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			DomainName: "auth.example.com",
			HTTP:       events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: http.MethodGet, Path: path},
		},
	}
}

// Whatever the path is, the function answers, and prints nothing.
func TestOddPaths(t *testing.T) {
	var printed bytes.Buffer
	log.SetOutput(&printed)
	defer log.SetOutput(os.Stderr)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write

	seen := map[string]string{}
	proxy := gateway.Proxy(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen[r.URL.Path] = r.URL.RawQuery
		w.WriteHeader(http.StatusNoContent)
	}))
	const query = "code=kmint_code.secret"
	for _, path := range []string{"/%", "/a%zz", "/a\nb", "/a b", "/ü", "//x", "/a?b", "/authorize"} {
		answer, err := proxy(t.Context(), event(path, query))
		if err != nil || answer.StatusCode != http.StatusNoContent {
			t.Errorf("%q: %d, %v", path, answer.StatusCode, err)
		}
		if seen[path] != query {
			t.Errorf("%q did not arrive: %q", path, seen)
		}
	}
	// Nor does a query that no address can hold keep a request from the handler.
	if answer, err := proxy(t.Context(), event("/odd", "a=%0a\n #\x7f&b=%41")); err != nil || answer.StatusCode != http.StatusNoContent || seen["/odd"] != "a=%0a%0A%20%23%7F&b=%41" {
		t.Errorf("%d, %v: %q", answer.StatusCode, err, seen["/odd"])
	}

	os.Stdout = stdout
	_ = write.Close()
	out, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if printed.Len() > 0 || len(out) > 0 {
		t.Errorf("printed: %s%s", &printed, out)
	}
}

// Command api is an example of a Lambda function that takes access tokens of kmint.
package main

import (
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/gateway"
	"kmint/pkg/verify"
)

func main() {
	api := &verify.Verifier{
		Issuer:   os.Getenv("ISSUER"),
		Audience: os.Getenv("AUDIENCE"),
		Log:      slog.New(slog.NewJSONHandler(os.Stdout, nil)),
	}
	// The start of a function is the time to fetch the keys. Where that fails, the
	// first request tries again.
	if err := api.Load(context.Background()); err != nil {
		log.Print(err)
	}
	lambda.Start(gateway.Proxy(routes(api)))
}

// routes asks for the scopes that template.yaml names.
func routes(api *verify.Verifier) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /orders", api.Require(http.HandlerFunc(read), "read:orders"))
	mux.Handle("POST /orders", api.Require(http.HandlerFunc(write), "write:orders"))
	return mux
}

func read(w http.ResponseWriter, r *http.Request) {
	claims, _ := verify.FromContext(r.Context())
	body, err := json.Marshal(map[string]any{"orders": []string{}, "reader": claims.Subject})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func write(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }

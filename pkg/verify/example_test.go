package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"kmint/pkg/verify"
)

// An API with two routes. issuer is a kmint that runs for these examples, and token
// an access token of it, for the scope read:orders.
func Example() {
	api := &verify.Verifier{
		Issuer:   issuer,
		Audience: "https://orders.example.com/",
		Resource: "https://orders.example.com/", // where the API is; leave it out if clients need no RFC 9728
		Scopes:   []string{"read:orders", "write:orders"},
	}
	if err := api.Load(context.Background()); err != nil {
		fmt.Println("not started:", err)
		return
	}
	read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "%s may %s", claims.ClientID, claims.Scope)
	})
	write := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders", api.Require(read, "read:orders"))
	mux.Handle("POST /orders", api.Require(write, "write:orders"))
	mux.HandleFunc(api.MetadataPath(), api.ServeMetadata)

	ask := func(method, authorization string) {
		r := httptest.NewRequest(method, "/orders", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			fmt.Println(w.Code, w.Body)
			return
		}
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	ask("GET", "Bearer "+token)
	ask("GET", "")
	ask("POST", "Bearer "+token)
	// Output:
	// 200 demo-service may read:orders
	// 401 Bearer realm="https://orders.example.com/", resource_metadata="https://orders.example.com/.well-known/oauth-protected-resource"
	// 403 Bearer realm="https://orders.example.com/", resource_metadata="https://orders.example.com/.well-known/oauth-protected-resource", error="insufficient_scope", error_description="The access token was not granted the scope write:orders.", scope="write:orders"
}

// Where there is no net/http: a message from a queue, a call by another protocol.
func ExampleVerifier_Verify() {
	api := &verify.Verifier{Issuer: issuer, Audience: "https://orders.example.com/"}
	claims, err := api.Verify(context.Background(), token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claims.ClientID, claims.Scope.Has("read:orders"), claims.Scope.Has("write:orders"))

	_, err = api.Verify(context.Background(), "anything else")
	fmt.Println(err)
	// Output:
	// demo-service true false
	// invalid_token: The access token is refused: it is not a signed JWT.
}

// A handler that decides by itself what a request needs.
func ExampleVerifier_Request() {
	api := &verify.Verifier{Issuer: issuer, Audience: "https://orders.example.com/"}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := "read:orders"
		if r.Method != http.MethodGet {
			need = "write:orders"
		}
		claims, err := api.Request(r, need)
		if err != nil {
			api.Refuse(w, r, err, need)
			return
		}
		_, _ = fmt.Fprint(w, claims.ClientID)
	})
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r := httptest.NewRequest(method, "/orders/1", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(method, w.Code)
	}
	// Output:
	// GET 200
	// DELETE 403
}

package infra_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
)

// TestKeeperCalls holds the table implied against what the rotate function asks of KMS,
// by its answers and its refusals.
func TestKeeperCalls(t *testing.T) {
	server := kmstest.New()
	var mu sync.Mutex
	asked := map[string]bool{}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked["kms:"+strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")] = true
		mu.Unlock()
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(endpoint.Close)
	first, err := server.Create(kmstest.P256)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	keeper := kms.Keeper{
		Client: kms.NewClient(aws.Config{Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: someone}),
		Stack:  "kmint", Signers: []string{"arn:aws:iam::000000000000:role/token"},
	}
	arn := ""
	for name, use := range map[string]func() error{
		"keys.Keeper": func() error {
			var k keys.Keeper = keeper
			made, err := k.Create(ctx, jwt.ES256, first)
			if err != nil {
				return err
			}
			arn = made.Reference
			if err := k.Guard(ctx, arn, jwt.ES256); err != nil {
				return err
			}
			if err := k.Disable(ctx, arn); err != nil {
				return err
			}
			if err := k.Delete(ctx, arn); err != nil {
				return err
			}
			return k.Disable(ctx, arn) // which is refused, so that it looks
		},
		"keys.Inventory": func() error {
			var i keys.Inventory = keeper
			made, err := keeper.Create(ctx, jwt.ES256, first)
			if err != nil {
				return err
			}
			clear(asked)
			if _, err := i.Held(ctx); err != nil {
				return err
			}
			_, err = i.PublicKey(ctx, made.Reference)
			return err
		},
	} {
		clear(asked)
		if err := use(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var wanted []string
		for _, permission := range implied[name] {
			action, _, _ := strings.Cut(permission, " ")
			// What a key is made with it is tagged with, and that is a permission of its own.
			if action != "kms:TagResource" {
				wanted = append(wanted, action)
			}
		}
		made := slices.Collect(maps.Keys(asked))
		for _, call := range missing(made, wanted) {
			t.Errorf("%s calls %s, which the table does not name", name, call)
		}
		for _, call := range missing(wanted, made) {
			t.Errorf("%s never calls %s", name, call)
		}
	}
}

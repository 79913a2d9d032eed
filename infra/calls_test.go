package infra_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"kmint/pkg/clientauth"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	ours "kmint/pkg/kms"
	"kmint/pkg/session"
)

// TestStoreCalls holds the table implied against what package dynamo asks of
// DynamoDB: every method of every store interface that a function is given is
// called, answered with success and with a refusal.
func TestStoreCalls(t *testing.T) {
	for name, kind := range storeInterfaces() {
		t.Run(name, func(t *testing.T) {
			r := &recorder{calls: map[string]bool{}}
			s := reflect.ValueOf(&dynamo.Store{
				DB:          dynamodb.New(dynamodb.Options{Region: "us-east-1", Credentials: someone, HTTPClient: r}),
				ConfigTable: "ConfigTable", UsersTable: "UsersTable", GrantsTable: "GrantsTable",
			})
			if !s.Type().Implements(kind) {
				t.Fatalf("dynamo.Store is no %s", name)
			}
			for _, r.refuse = range []bool{false, true} {
				for i := range kind.NumMethod() {
					method := s.MethodByName(kind.Method(i).Name)
					var arguments []reflect.Value
					for j := range method.Type().NumIn() {
						arguments = append(arguments, argument(t.Context(), method.Type().In(j)))
					}
					method.Call(arguments) // what it returns matters elsewhere
				}
			}
			made := slices.Collect(maps.Keys(r.calls))
			for _, call := range missing(made, implied[name]) {
				t.Errorf("it calls %s, which the table does not name", call)
			}
			for _, call := range missing(implied[name], made) {
				t.Errorf("the table names %s, which it never calls", call)
			}
		})
	}
}

// storeInterfaces are those that some function is given, by name.
func storeInterfaces() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	for _, f := range functions {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(f.Server)) {
			if strings.HasPrefix(field.Type.String(), "store.") && field.Type.Kind() == reflect.Interface {
				found[field.Type.String()] = field.Type
			}
		}
	}
	return found
}

// TestKeyCalls does the same for KMS, where what matters beside the action is
// how: of digests, and by which algorithm.
func TestKeyCalls(t *testing.T) {
	r := &recorder{calls: map[string]bool{}}
	client := kms.NewFromConfig(aws.Config{Region: "us-east-1", Credentials: someone, HTTPClient: r})
	for name, use := range map[string]func() error{
		"keys.PrivateKey": func() error {
			var key keys.PrivateKey = ours.Signer{Client: client}
			for _, algorithm := range jwt.Algorithms() {
				if _, err := key.Sign(t.Context(), jwt.Key{Reference: "x", Algorithm: algorithm}, make([]byte, 32)); err != nil {
					continue // the answer is empty
				}
			}
			return nil
		},
		"session.MAC": func() error {
			var mac session.MAC = &ours.MAC{Client: client, Key: "x"}
			_, err := mac.HourlyKey(t.Context(), "x", 1)
			return err
		},
		"clientauth.Vault": func() error {
			var vault clientauth.Vault = ours.Vault{Client: client, Key: "x"}
			_, err := vault.Unseal(t.Context(), "x", "eA==")
			return err
		},
	} {
		clear(r.calls)
		_ = use() // the answer is empty
		var want []string
		for _, permission := range implied[name] {
			words := strings.Fields(permission)
			how := words[len(words)-1]
			if words[0] == "kms:Sign" { // the message, and by which algorithms
				how = words[len(words)-2]
			}
			want = append(want, words[0]+" "+how)
		}
		slices.Sort(want)
		if made := slices.Sorted(maps.Keys(r.calls)); !slices.Equal(made, want) {
			t.Errorf("%s calls %v, the table says %v", name, made, want)
		}
	}
}

// argument makes a value in which every text is x and every time is set.
func argument(ctx context.Context, t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[context.Context]():
		v.Set(reflect.ValueOf(ctx))
	case t == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1_900_000_000, 0)))
	case t.Kind() == reflect.Int64:
		v.SetInt(1)
	case t.Kind() == reflect.String:
		v.SetString("x")
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(argument(ctx, t.Field(i).Type))
			}
		}
	}
	return v
}

var someone = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "x", SecretAccessKey: "x"}, nil
})

// A recorder answers as DynamoDB and KMS do, and keeps which action was asked for
// on which table and which kind of item.
type recorder struct {
	calls map[string]bool
	// refuse says that no condition holds.
	refuse bool
}

func (r *recorder) Do(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	type item struct {
		PK struct{ S string } `json:"pk"`
	}
	var asked struct {
		TableName, ConditionExpression string
		IndexName                      string
		ExpressionAttributeValues      map[string]struct{ S string }
		Key, Item                      item
		MessageType, MacAlgorithm      string
		EncryptionContext              map[string]string
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	service, action, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
	if service == "TrentService" {
		r.calls["kms:"+action+" "+asked.MessageType+asked.MacAlgorithm+strings.Join(slices.Sorted(maps.Keys(asked.EncryptionContext)), ",")] = true
		return answer(request, http.StatusOK, `{}`), nil
	}
	key := asked.Key.PK.S + asked.Item.PK.S
	if asked.IndexName != "" {
		asked.TableName += "/index/" + asked.IndexName
		key = asked.ExpressionAttributeValues[":owner"].S
	}
	kind, _, ok := strings.Cut(key, "#")
	if ok {
		key = kind + "#*"
	}
	r.calls["dynamodb:"+action+" "+asked.TableName+" "+key] = true
	if asked.IndexName != "" { // what is listed is read
		return answer(request, http.StatusOK, `{"Items": [{"pk": {"S": "`+kind+`#x"}}]}`), nil
	}

	if r.refuse && asked.ConditionExpression != "" {
		return answer(request, http.StatusBadRequest, `{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}`), nil
	}
	return answer(request, http.StatusOK, `{}`), nil
}

func answer(request *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Request: request, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body:   io.NopCloser(strings.NewReader(body)),
	}
}

package lambda

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"kmint/infra/rig/sqstest"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

// TestDeliver takes logout tokens to a client on this machine, where no built function
// goes: OpenID Connect Back-Channel Logout 1.0 §2.5, and, where the client cannot take
// one, the next time that the queue brings its message.
func TestDeliver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var came []string
	status := http.StatusServiceUnavailable
	party := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came = append(came, r.Method+" "+r.PostFormValue("logout_token"))
		w.WriteHeader(status)
	}))
	t.Cleanup(party.Close)
	db := &dynamo.Store{DB: dynamo.NewClient(r.db.Config()), ConfigTable: r.tables.Config}
	if err := db.PutClient(t.Context(), store.Client{ID: "party", BackchannelLogoutURI: party.URL + "/logout"}); err != nil {
		t.Fatal(err)
	}
	keys := kms.NewClient(r.kmsConfig())
	log := &bytes.Buffer{}
	deliver := gateway.Consume(server.Deliver{
		AllowLoopback: true, Clients: db, Issuers: db, Registry: db, PrivateKey: kms.Signer{Client: keys},
		Now: time.Now, Log: slog.New(slog.NewJSONHandler(log, nil)),
	}.Handler())
	batch := sqstest.Event([]string{`{"client_id":"party","sub":"demo-user","sid":"s"}`, `{"client_id":"demo-web","sub":"demo-user","sid":"s"}`})
	again := func() []events.SQSBatchItemFailure {
		t.Helper()
		answer, err := deliver(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		return answer.BatchItemFailures
	}
	if failures := again(); len(failures) != 1 || failures[0].ItemIdentifier != batch.Records[0].MessageId || len(came) != 1 {
		t.Fatalf("from one that cannot: %v, and %d tokens came", failures, len(came))
	}
	if !strings.Contains(log.String(), "party answers 503") {
		t.Errorf("the log: %s", log)
	}
	status = http.StatusOK
	if failures := again(); len(failures) != 0 || len(came) != 2 || came[0] == came[1] {
		t.Fatalf("from one that can: %v, and these came: %q", failures, came)
	}

	key, err := signer{kms.Signer{Client: keys}, r.signingKey}.SigningKey(t.Context(), jwt.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(came[1], "POST ")
	seen, err := keySet{key.ID: {key.Algorithm, key.Public}}.verify(token)
	if err != nil || !ok {
		t.Fatalf("%v in %q", err, came[1])
	}
	header, claims := seen["header"].(map[string]any), seen["claims"].(map[string]any)
	if events := show(claims["events"]); events != `{"http://schemas.openid.net/event/backchannel-logout":{}}` || claims["iss"] != issuer ||
		claims["aud"] != "party" || claims["sub"] != "demo-user" || claims["sid"] != "s" || claims["nonce"] != nil || header["typ"] != "logout+jwt" {
		t.Errorf("the token says %v", seen)
	}
	if strings.Contains(log.String(), token) {
		t.Error("the log holds the token")
	}
}

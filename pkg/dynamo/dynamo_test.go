package dynamo_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kmint/infra/rig/ddb"
	"kmint/pkg/dynamo"
	"kmint/pkg/store/storetest"
)

func TestStore(t *testing.T) {
	local := ddb.ForTest(t)
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		s := open(t, local, local.Config())
		// Thirty-two racers, on a machine that may have other things to do.
		s.Timeout = 10 * time.Second
		return storetest.Stores{
			Clients: s, APIs: s, Server: s, Issuers: s, Config: s, Registries: s, Users: s, Logins: s, People: s,
			Sessions: s, Joined: s, Listings: s, Consents: s, Attempts: s, Codes: s, Reader: s, Grants: s,
			Revocations: s, Revoked: s, Uses: s, Opaque: s, Documents: s,
		}
	})
}

var tables atomic.Int64

// open makes a store in new tables.
func open(t *testing.T, local *ddb.Local, cfg aws.Config) *dynamo.Store {
	t.Helper()
	n := tables.Add(1)
	s := &dynamo.Store{
		DB:          dynamo.NewClient(cfg),
		ConfigTable: fmt.Sprintf("config-%d", n), UsersTable: fmt.Sprintf("users-%d", n), GrantsTable: fmt.Sprintf("grants-%d", n),
	}
	err := ddb.CreateTables(t.Context(), local.Client(), ddb.Tables{Config: s.ConfigTable, Users: s.UsersTable, Grants: s.GrantsTable})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Command authorize is the Lambda function of the authorization endpoint.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/kms"
	"kmint/pkg/server"
	"kmint/pkg/sqs"
)

var version string // stamped by the build

func main() {
	env, sdk := config.Start[config.Authorize](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable, UsersTable: env.UsersTable, GrantsTable: env.GrantsTable}
	key := kms.NewClient(sdk)
	authorize := server.Authorize{
		Issuer: env.Issuer, Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Joined: db, Listings: db, Ended: db, Consents: db, Codes: db, Opaque: db, Documents: db, MAC: &kms.MAC{Client: key, Key: env.MACKey},
		Queue: sqs.Queue{Client: sqs.NewClient(sdk), URL: env.LogoutQueue}, Now: time.Now, Log: env.Logger(version),
	}
	if env.Signs {
		authorize.PrivateKey = kms.Signer{Client: key}
	}
	lambda.Start(gateway.Proxy(authorize.Handler()))
}

// Command userinfo is the Lambda function of the UserInfo endpoint.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/kms"
	"kmint/pkg/server"
)

var version string // stamped by the build

func main() {
	env, sdk := config.Start[config.Userinfo](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable, UsersTable: env.UsersTable, GrantsTable: env.GrantsTable}
	userinfo := server.Userinfo{
		Issuer:  env.Issuer,
		Clients: db, Settings: db, Issuers: db, Registry: db, Users: db, Sessions: db, Grants: db, Uses: db, Revoked: db, Opaque: db,
		MAC: &kms.MAC{Client: kms.NewClient(sdk), Key: env.MACKey}, Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(gateway.Proxy(userinfo.Handler()))
}

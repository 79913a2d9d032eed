// Command token is the Lambda function of the token endpoint.
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
	env, sdk := config.Start[config.Token](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable, UsersTable: env.UsersTable, GrantsTable: env.GrantsTable}
	key := kms.NewClient(sdk)
	token := server.Token{
		Issuer: env.Issuer, TokenPath: env.TokenPath,
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: &kms.MAC{Client: key, Key: env.MACKey}, Vault: kms.Vault{Client: key, Key: env.SecretsKey}, PrivateKey: kms.Signer{Client: key},
		Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(gateway.Proxy(token.Handler()))
}

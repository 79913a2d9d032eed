// Command token is the Lambda function of the token endpoint.
package main

import (
	"context"
	"log"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/kms"
	"kmint/pkg/server"
)

var version string // stamped by the build

func main() {
	env, err := config.Read[config.Token]()
	if err != nil {
		log.Fatal(err)
	}
	sdk, err := awsconfig.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable, UsersTable: env.UsersTable, GrantsTable: env.GrantsTable}
	token := server.Token{
		Issuer: env.Issuer, TokenPath: env.TokenPath,
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Grants: db, Users: db,
		PrivateKey: kms.Signer{Client: kms.NewClient(sdk)},
		Now:        time.Now, Log: env.Logger(version),
	}
	lambda.Start(gateway.Proxy(token.Handler()))
}

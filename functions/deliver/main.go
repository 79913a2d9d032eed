// Command deliver is the Lambda function that takes logout tokens to clients.
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
	env, sdk := config.Start[config.Deliver](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable}
	deliver := server.Deliver{
		Issuer:  env.Issuer,
		Clients: db, Issuers: db, Registry: db, PrivateKey: kms.Signer{Client: kms.NewClient(sdk)},
		Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(gateway.Consume(deliver.Handler()))
}

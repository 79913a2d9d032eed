// Command discovery is the Lambda function of the well-known documents, and of the page by which clients see that a login has changed.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/gateway"
	"kmint/pkg/server"
)

var version string // stamped by the build

func main() {
	env, sdk := config.Start[config.Discovery](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable}
	discovery := server.Discovery{
		Issuer: env.Issuer, TokenPath: env.TokenPath, AuthorizeSigns: env.Signs,
		Issuers: db, Registry: db,
		Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(gateway.Proxy(discovery.Handler()))
}

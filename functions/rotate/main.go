// Command rotate is the Lambda function that a schedule runs to rotate the keys.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/kms"
	"kmint/pkg/server"
)

var version string // stamped by the build

func main() {
	env, sdk := config.Start[config.Rotate](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable}
	keeper := kms.Keeper{Client: kms.NewClient(sdk), Stack: env.Stack, Signers: env.Signers}
	rotate := server.Rotate{
		Registries: db, Inventory: keeper, Keeper: keeper, Period: env.Period(), Publish: env.Publish(),
		Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(rotate.Handler())
}

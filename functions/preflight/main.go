// Command preflight is the Lambda function that CodeDeploy has try new versions.
package main

import (
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"kmint/pkg/codedeploy"
	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/kms"
	"kmint/pkg/server"
)

var version string // stamped by the build

func main() {
	env, sdk := config.Start[config.Preflight](version)
	db := &dynamo.Store{DB: dynamo.NewClient(sdk), ConfigTable: env.ConfigTable}
	preflight := server.Preflight{
		Issuer: env.Issuer, KeyARN: env.Key,
		TokenVersion: env.TokenVersion, AuthorizeVersion: env.AuthorizeVersion, UserinfoVersion: env.UserinfoVersion, DiscoveryVersion: env.DiscoveryVersion,
		Issuers: db, Registration: db, Versions: codedeploy.NewVersions(sdk), Key: kms.Signer{Client: kms.NewClient(sdk)}, Deployments: codedeploy.NewDeployments(sdk),
		Pause: 4 * time.Second, Now: time.Now, Log: env.Logger(version),
	}
	lambda.Start(preflight.Handler())
}

package config

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// AWS is what the environment of a Lambda function says to the SDK: Region,
// credentials, and endpoints where they are named. The SDK's own loader would look
// into files, for single sign-on and at the instance's metadata too, and what it needs
// for that is an eighth of each function.
func AWS() (aws.Config, error) {
	env, err := awsconfig.NewEnvConfig()
	if err != nil {
		return aws.Config{}, fmt.Errorf("config: %w", err)
	}
	var lacks []error
	if env.Region == "" {
		lacks = append(lacks, errors.New("config: AWS_REGION is not set"))
	}
	if !env.Credentials.HasKeys() {
		lacks = append(lacks, errors.New("config: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"))
	}
	cfg := aws.Config{
		Region:        env.Region,
		Credentials:   credentials.StaticCredentialsProvider{Value: env.Credentials},
		ConfigSources: []any{env},
	}
	// Clients find AWS_ENDPOINT_URL_KMS and the like in the sources, and AWS_ENDPOINT_URL,
	// which is for all of them, here.
	if env.BaseEndpoint != "" && !aws.ToBool(env.IgnoreConfiguredEndpoints) {
		cfg.BaseEndpoint = &env.BaseEndpoint
	}
	return cfg, errors.Join(lacks...)
}

package config_test

import (
	"strings"
	"testing"

	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/kms"
	"kmint/pkg/sqs"
)

func TestAWS(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c",
		"AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_KMS": "http://localhost:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://localhost:2",
		"AWS_ENDPOINT_URL_SQS": "http://localhost:3",
	} {
		t.Setenv(name, value)
	}
	cfg, err := config.AWS()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || cfg.Region != "eu-central-1" || keys.AccessKeyID != "a" || keys.SecretAccessKey != "b" || keys.SessionToken != "c" {
		t.Errorf("%+v %+v %v", cfg, keys, err)
	}
	for want, got := range map[string]*string{
		"http://localhost:1": kms.NewClient(cfg).Options().BaseEndpoint,
		"http://localhost:2": dynamo.NewClient(cfg).Options().BaseEndpoint,
		"http://localhost:3": sqs.NewClient(cfg).Options().BaseEndpoint,
	} {
		if got == nil || *got != want {
			t.Errorf("the endpoint is %v, not %s", got, want)
		}
	}
	for names, want := range map[string]string{
		"AWS_REGION":            "config: AWS_REGION is not set",
		"AWS_SECRET_ACCESS_KEY": "config: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
		"AWS_REGION AWS_ACCESS_KEY_ID": "config: AWS_REGION is not set\n" +
			"config: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
	} {
		t.Run(names, func(t *testing.T) {
			for name := range strings.FieldsSeq(names) {
				t.Setenv(name, "")
			}
			if _, err := config.AWS(); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

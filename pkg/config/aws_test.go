package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

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

// One endpoint for all services counts for those that have none of their own.
func TestOneEndpoint(t *testing.T) {
	const all, own = "http://localhost:1", "http://localhost:2"
	for name, tt := range map[string]struct {
		all, own, ignore string
		kms, dynamodb    string // "" for AWS's own
	}{
		"none":                {},
		"one for all":         {all: all, kms: all, dynamodb: all},
		"one of its own":      {own: own, dynamodb: own},
		"both":                {all: all, own: own, kms: all, dynamodb: own},
		"both, not wanted":    {all: all, own: own, ignore: "true"},
		"both, wanted":        {all: all, own: own, ignore: "false", kms: all, dynamodb: own},
		"one, not wanted":     {all: all, ignore: "true"},
		"its own, not wanted": {own: own, ignore: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range map[string]string{
				"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_KMS": "",
				"AWS_ENDPOINT_URL": tt.all, "AWS_ENDPOINT_URL_DYNAMODB": tt.own, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": tt.ignore,
			} {
				t.Setenv(variable, value)
				if value == "" {
					if err := os.Unsetenv(variable); err != nil {
						t.Fatal(err)
					}
				}
			}
			cfg, err := config.AWS()
			if err != nil {
				t.Fatal(err)
			}
			for want, got := range map[*string]*string{
				&tt.kms: kms.NewClient(cfg).Options().BaseEndpoint, &tt.dynamodb: dynamo.NewClient(cfg).Options().BaseEndpoint,
			} {
				if aws.ToString(got) != *want {
					t.Errorf("the endpoint is %q, not %q", aws.ToString(got), *want)
				}
			}
		})
	}
}

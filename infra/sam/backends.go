package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/infra/rig/sqstest"
)

// backends are what the functions reach in AWS, here and seeded.
type backends struct {
	// DynamoDB, KMS and SQS are their addresses.
	DynamoDB, KMS, SQS string
	Tables             ddb.Tables
	// MACKey is the ARN of the HMAC_256 key, SecretsKey of the one that encrypts.
	MACKey, SecretsKey string
	stops              []func() error
}

// Stop ends them.
func (b *backends) Stop() error {
	var errs []error
	for _, stop := range b.stops {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// startBackends starts them, and imports the example as an owner does after a
// deploy. took gets what is put into the queue.
func startBackends(ctx context.Context, root string, took func(messages []string) error) (_ *backends, err error) {
	b := &backends{Tables: ddb.Tables{Config: "kmint-config", Users: "kmint-users", Grants: "kmint-grants"}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Stop())
		}
	}()
	db, err := ddb.Start()
	if err != nil {
		return nil, err
	}
	b.DynamoDB, b.stops = db.URL, append(b.stops, db.Stop)
	if err := ddb.CreateTables(ctx, db.Client(), b.Tables); err != nil {
		return nil, err
	}

	keys := kmstest.New()
	var signingKey, ps256Key, es256Key string
	for _, k := range []struct {
		arn  *string
		spec string
	}{
		{&signingKey, kmstest.RSA2048}, {&ps256Key, kmstest.RSA2048}, {&es256Key, kmstest.P256},
		{&b.MACKey, kmstest.HMAC256}, {&b.SecretsKey, kmstest.Symmetric},
	} {
		if *k.arn, err = keys.Create(k.spec); err != nil {
			return nil, err
		}
	}
	if b.KMS, err = b.serve(keys); err != nil {
		return nil, err
	}
	if b.SQS, err = b.serve(&sqstest.Server{Took: took}); err != nil {
		return nil, err
	}

	for _, file := range []string{"seed.json", "full.json"} {
		seed := exec.CommandContext(ctx, "go", "run", "./infra/kmint", "import",
			"--config-table", b.Tables.Config, "--users-table", b.Tables.Users,
			"--signing-key", signingKey, "--key", "PS256="+ps256Key, "--key", "ES256="+es256Key, "--secrets-key", b.SecretsKey,
			"--issuer", issuer, "--seed", "infra/examples/"+file)
		seed.Dir = root
		seed.Env = append(os.Environ(), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
			"AWS_ENDPOINT_URL_DYNAMODB="+b.DynamoDB, "AWS_ENDPOINT_URL_KMS="+b.KMS)
		if out, err := seed.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("kmint import: %w: %s", err, out)
		}
	}
	return b, nil
}

// serve returns the address at which the service answers.
func (b *backends) serve(service http.Handler) (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: service, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	b.stops = append(b.stops, server.Close)
	return "http://" + listener.Addr().String(), nil
}

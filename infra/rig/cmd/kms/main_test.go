package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

type printed struct {
	Endpoint   string `json:"endpoint"`
	SigningKey string `json:"signing_key"`
	PS256Key   string `json:"ps256_key"`
	ES256Key   string `json:"es256_key"`
	MACKey     string `json:"mac_key"`
	SecretsKey string `json:"secrets_key"`
}

// start runs the command until the test calls stop.
func start(t *testing.T, dir string) (p printed, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", dir, write)
		_ = write.CloseWithError(io.EOF)
		ended <- err
	}()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p)
	}
	if err != nil {
		cancel()
		t.Fatal(err, <-ended)
	}
	return p, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestTheKeysStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kms")
	first, stop := start(t, dir)
	client := kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: &first.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	for name, want := range map[string]struct {
		arn  string
		spec types.KeySpec
	}{
		"alias/kmint-signing": {first.SigningKey, types.KeySpecRsa2048}, "alias/kmint-ps256": {first.PS256Key, types.KeySpecRsa2048},
		"alias/kmint-es256": {first.ES256Key, types.KeySpecEccNistP256}, "alias/kmint-mac": {first.MACKey, types.KeySpecHmac256},
		"alias/kmint-secrets": {first.SecretsKey, types.KeySpecSymmetricDefault},
	} {
		out, err := client.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String(name)})
		if err != nil || *out.KeyMetadata.Arn != want.arn || out.KeyMetadata.KeySpec != want.spec {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop()
	again, stop := start(t, dir)
	defer stop()
	if again.Endpoint = first.Endpoint; again != first {
		t.Errorf("%+v is not %+v", again, first)
	}
	other, stop := start(t, "")
	defer stop()
	if other.SigningKey == first.SigningKey || first.SigningKey == first.PS256Key {
		t.Error("another server has the same key")
	}
}

func TestWhatCannotStart(t *testing.T) {
	running, stop := start(t, "")
	defer stop()
	if err := run(t.Context(), running.Endpoint[len("http://"):], "", io.Discard); err == nil {
		t.Error("a used address was taken")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), "127.0.0.1:0", file, io.Discard); err == nil {
		t.Error("a file was taken for a folder")
	}
}

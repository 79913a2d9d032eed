// Command kms is the KMS test server as a process of its own.
//
//	kms [-listen ADDRESS] [-dir FOLDER]
//
// On its first start it makes the keys that kmint uses: two of RSA_2048 and one of
// ECC_NIST_P256 that sign, one of HMAC_256 and one that encrypts. Each is reached by
// an alias too (alias/kmint-signing, -ps256, -es256, -mac, -secrets). It prints one
// line of JSON as soon as it answers:
//
//	{"endpoint":"http://127.0.0.1:4599","es256_key":"arn:...","mac_key":"arn:...","ps256_key":"arn:...","secrets_key":"arn:...","signing_key":"arn:..."}
//
// With -dir the keys are the same at the next start.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kmint/infra/rig/kmstest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	listen := flag.String("listen", "127.0.0.1:4599", "`address` to listen on; port 0 takes a free one")
	dir := flag.String("dir", "", "`folder` that keeps the keys, in the clear")
	flag.Parse()
	err := run(ctx, *listen, *dir, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kms: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, address, dir string, out io.Writer) error {
	keys := kmstest.New()
	if dir != "" {
		var err error
		if keys, err = kmstest.Open(dir); err != nil {
			return err
		}
	}
	printed := map[string]string{}
	for _, k := range []struct{ name, alias, spec string }{
		{"signing_key", "alias/kmint-signing", kmstest.RSA2048},
		{"ps256_key", "alias/kmint-ps256", kmstest.RSA2048},
		{"es256_key", "alias/kmint-es256", kmstest.P256},
		{"mac_key", "alias/kmint-mac", kmstest.HMAC256},
		{"secrets_key", "alias/kmint-secrets", kmstest.Symmetric},
	} {
		arn, err := keyFor(keys, k.alias, k.spec)
		if err != nil {
			return err
		}
		printed[k.name] = arn
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: keys, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	printed["endpoint"] = "http://" + listener.Addr().String()
	if err := json.NewEncoder(out).Encode(printed); err != nil {
		return err
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = server.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// keyFor returns the key behind an alias, making both if there is none.
func keyFor(keys *kmstest.Server, alias, spec string) (string, error) {
	if arn := keys.Aliased(alias); arn != "" {
		return arn, nil
	}
	arn, err := keys.Create(spec)
	if err != nil {
		return "", err
	}
	return arn, keys.Alias(alias, arn)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// listen opens the port. The host localhost means both loopback addresses,
// because a browser may try either first; a machine without IPv6 has one. With
// port 0 all listeners get the same free port.
func listen(ctx context.Context, host, port string) ([]net.Listener, error) {
	if host != "localhost" {
		l, err := listenOne(ctx, "tcp", host, port)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	v4, err := listenOne(ctx, "tcp4", "127.0.0.1", port)
	if err != nil {
		return nil, err
	}
	v6, err := listenOne(ctx, "tcp6", "::1", portOf(v4))
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		return []net.Listener{v4}, nil
	}
	if err != nil {
		_ = v4.Close()
		return nil, err
	}
	return []net.Listener{v4, v6}, nil
}

func listenOne(ctx context.Context, network, host, port string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, network, net.JoinHostPort(host, port))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %s is in use; end what listens there, or choose another with PORT", port)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("port %s may not be opened by this user; choose one above 1023 with PORT", port)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w", net.JoinHostPort(host, port), err)
	}
	return l, nil
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

package main

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// expose makes a service on this machine's loopback reachable from a container,
// and returns its address as a container sees it. It listens on every interface,
// because which of them a container reaches differs from engine to engine; so it
// is for test data alone, and only while something runs.
func expose(service string, e engine) (address string, stop func() error, err error) {
	target, err := url.Parse(service)
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		return "", nil, err
	}
	proxy := &http.Server{
		Handler:           &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }},
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = proxy.Serve(listener) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return "http://" + net.JoinHostPort(e.Host, port), proxy.Close, err
}

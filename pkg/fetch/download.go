// One document by HTTP (RFC 9110).

package fetch

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// download asks the server of an address.
func (f *Fetcher) download(ctx context.Context, address string) ([]byte, error) {
	u, err := f.check(address)
	if err != nil {
		return nil, refused(address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	addresses, err := f.resolve(ctx, u)
	if err != nil {
		return nil, failure(address, err)
	}
	client, done := f.client(u, addresses)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, refused(address, err)
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	request.Header.Set("User-Agent", "kmint")
	answer, err := client.Do(request)
	if err != nil {
		return nil, failure(address, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if err := describe(answer); err != nil {
		return nil, failure(address, err)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxDocument+1))
	switch {
	case err != nil:
		return nil, failure(address, err)
	case len(body) > MaxDocument:
		return nil, refused(address, fmt.Errorf("the document is longer than %d bytes", MaxDocument))
	case !json.Valid(body):
		return nil, refused(address, errors.New("the document is no JSON"))
	}
	return body, nil
}

// client makes a client that reaches the addresses that were checked, and nothing
// else. done gives back what it holds.
func (f *Fetcher) client(u *url.URL, addresses []netip.Addr) (_ *http.Client, done func()) {
	transport := &http.Transport{
		// No Proxy: a variable of the environment would undo the guard.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return f.dial(ctx, u, addresses)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.Roots},
		DisableKeepAlives:      true, // minutes pass until the next one
		DisableCompression:     true, // what is short may become long
		MaxResponseHeaderBytes: 16 << 10,
	}
	return &http.Client{
		Transport: transport,
		// A redirect leads to where nobody has looked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, transport.CloseIdleConnections
}

// errAnswer marks an answer that is no document.
var errAnswer = errors.New("the server answers")

// describe says why an answer is not a document, or nil.
func describe(answer *http.Response) error {
	switch status := answer.StatusCode; {
	case status == http.StatusOK:
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return fmt.Errorf("the server is ill: %d", status)
	default:
		return fmt.Errorf("%w %d", errAnswer, status)
	}
	media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	isJSON := media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if err != nil || !isJSON {
		return fmt.Errorf("%w with the media type %.64q", errAnswer, media)
	}
	return nil
}

// failure tells what is refused from what could not be got: a name that is not
// found, no connection, no trusted certificate, no answer in time, a server that is
// ill.
func failure(address string, cause error) *Error {
	if whole := (*url.Error)(nil); errors.As(cause, &whole) {
		cause = whole.Err // without the address, whose query is not to be shown
	}
	if errors.Is(cause, errGuard) || errors.Is(cause, errAnswer) {
		return refused(address, cause)
	}
	return unavailable(address, cause)
}

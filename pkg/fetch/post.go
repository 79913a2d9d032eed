// A form to an address that somebody else has chosen, with the same guard as for a
// document.

package fetch

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Post sends the form, once, and returns the status of the answer, whose body is not
// read. The error is an *Error.
func (f *Fetcher) Post(ctx context.Context, address string, form url.Values) (status int, err error) {
	u, err := f.check(address)
	if err != nil {
		return 0, refused(address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	addresses, err := f.resolve(ctx, u)
	if err != nil {
		return 0, failure(address, err)
	}
	client, done := f.client(u, addresses)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, refused(address, err)
	}
	request.GetBody = nil // sent once: nobody knows what came of the first
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "kmint")
	answer, err := client.Do(request)
	if err != nil {
		return 0, failure(address, err)
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<10)
	_ = answer.Body.Close()
	return answer.StatusCode, nil
}

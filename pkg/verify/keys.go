// The issuer's keys: discovery (RFC 8414 §3, OpenID Connect Discovery 1.0 §4) and
// JWK Sets (RFC 7517 §5).

package verify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

const (
	// maxDocument is the longest document we read, in bytes.
	maxDocument = 64 << 10
	// patience is how long one document may take.
	patience = 2 * time.Second
	// pause is how long the issuer is left alone, while there are keys to go on
	// with, after a failed fetch and before an unknown kid is looked for.
	pause = time.Minute
	// shortPause is the same while there are none.
	shortPause = time.Second
)

// cache is the keys as they were fetched last.
type cache struct {
	mu      sync.Mutex
	keys    []jwt.Key
	fetched time.Time // when keys were; zero if never
	tried   time.Time // when the latest fetch ended
	failed  error     // how; nil if well
	flight  chan struct{}
}

// Load fetches the issuer's metadata and keys now, so that a mistake in the
// Verifier's fields, or an issuer that cannot be reached, is seen when a program
// starts. It need not be called: the first token does the same.
func (v *Verifier) Load(ctx context.Context) error {
	if _, err := v.check(); err != nil {
		return err
	}
	v.keys.mu.Lock()
	flight := v.fly(ctx)
	v.keys.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
		return ctx.Err()
	}
	v.keys.mu.Lock()
	defer v.keys.mu.Unlock()
	return v.keys.failed
}

// find returns the keys with a kid: none if the issuer has none, an error if that
// cannot be said.
func (v *Verifier) find(ctx context.Context, kid string) ([]jwt.Key, error) {
	c := &v.keys
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.due(kid) {
		flight := v.fly(ctx)
		c.mu.Unlock()
		var err error
		select {
		case <-flight:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	if !v.usable() {
		return nil, fmt.Errorf("verify: there are no keys: %w", c.failed)
	}
	found := c.named(kid)
	// An unknown kid may be a key that the issuer has made since.
	if len(found) == 0 && c.failed != nil {
		return nil, c.failed
	}
	return found, nil
}

func (c *cache) named(kid string) []jwt.Key {
	var found []jwt.Key
	for _, k := range c.keys {
		if k.ID == kid {
			found = append(found, k)
		}
	}
	return found
}

// due reports whether the issuer is to be asked now. The lock is held.
func (v *Verifier) due(kid string) bool {
	c := &v.keys
	now := v.now()
	rested := now.Sub(c.tried)
	switch {
	case c.tried.IsZero() || rested < 0: // never, or a clock that was set back
		return true
	case !v.usable():
		return rested >= shortPause
	case now.Sub(c.fetched) >= orElse(v.KeysFor, 5*time.Minute):
		return c.failed == nil || rested >= pause
	default:
		return len(c.named(kid)) == 0 && rested >= pause
	}
}

// usable reports whether the keys still count. They outlive KeysFor only where a
// fetch has failed. The lock is held.
func (v *Verifier) usable() bool {
	c := &v.keys
	if c.fetched.IsZero() {
		return false
	}
	life := orElse(v.KeysFor, 5*time.Minute)
	if stale := orElse(v.StaleFor, time.Hour); stale > 0 {
		life += stale
	}
	return v.now().Sub(c.fetched) < life
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// fly fetches, or joins the fetch that is under way: there is one at a time. What
// it returns is closed at the end. The lock is held.
func (v *Verifier) fly(ctx context.Context) <-chan struct{} {
	c := &v.keys
	if c.flight != nil {
		return c.flight
	}
	done := make(chan struct{})
	c.flight = done
	// Others wait for it too, so it does not end with the request that began it.
	ctx = context.WithoutCancel(ctx)
	go func() {
		keys, err := v.fetch(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flight = nil
		c.tried, c.failed = v.now(), err
		if err == nil {
			c.keys, c.fetched = keys, c.tried
		} else {
			v.log().WarnContext(ctx, "verify: the issuer's keys could not be fetched", slog.String("cause", err.Error()))
		}
		close(done)
	}()
	return done
}

func (v *Verifier) fetch(ctx context.Context) ([]jwt.Key, error) {
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := v.discover(ctx, &metadata); err != nil {
		return nil, err
	}
	// RFC 8414 §3.3: "The issuer value returned MUST be identical to the authorization
	// server's issuer identifier value [...]. If these values are not identical, the
	// data contained in the response MUST NOT be used."
	if metadata.Issuer != v.Issuer {
		return nil, fmt.Errorf("verify: the metadata of %s is that of %q", v.Issuer, metadata.Issuer)
	}
	if err := safe(metadata.JWKSURI); err != nil {
		return nil, fmt.Errorf("verify: jwks_uri: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if _, err := v.get(ctx, metadata.JWKSURI, &set); err != nil {
		return nil, err
	}
	var keys []jwt.Key
	for _, raw := range set.Keys {
		// RFC 7517 §5: keys that are not understood are passed over.
		var k jwt.Key
		if json.Unmarshal(raw, &k) == nil && k.ID != "" &&
			slices.ContainsFunc(jwt.Algorithms(), func(a string) bool { return fits(k, a) }) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("verify: %s has no key that can verify", metadata.JWKSURI)
	}
	return keys, nil
}

// discover reads the metadata at the name of RFC 8414 §3.1, or where nothing is
// there, at that of OpenID Connect Discovery 1.0 §4.1. Of an issuer without a path
// they stand side by side.
func (v *Verifier) discover(ctx context.Context, dst any) error {
	u, err := url.Parse(v.Issuer)
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	status, err := v.get(ctx, u.Scheme+"://"+u.Host+"/.well-known/oauth-authorization-server"+path, dst)
	if status != 0 && status != http.StatusOK {
		_, err = v.get(ctx, oauth.Endpoint(v.Issuer, "/.well-known/openid-configuration"), dst)
	}
	return err
}

// get reads a JSON document, and returns the status of the answer, 0 if there was
// none.
func (v *Verifier) get(ctx context.Context, address string, dst any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, fmt.Errorf("verify: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	client := http.Client{}
	if v.Client != nil {
		client = *v.Client
	}
	// A redirect could lead to where no key may come from.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return 0, fmt.Errorf("verify: %s: %w", address, err)
	case answer.StatusCode != http.StatusOK:
		return answer.StatusCode, fmt.Errorf("verify: %s answers %d", address, answer.StatusCode)
	case len(body) > maxDocument:
		return answer.StatusCode, fmt.Errorf("verify: %s is longer than %d bytes", address, maxDocument)
	}
	if err := json.Unmarshal(body, dst); err != nil {
		return answer.StatusCode, fmt.Errorf("verify: %s: %w", address, err)
	}
	return answer.StatusCode, nil
}

// fits reports whether a key may verify by an algorithm. None of jwt.Algorithms is
// symmetric: RFC 8725 §2.1 tells of public keys that were taken for shared secrets.
func fits(k jwt.Key, algorithm string) bool {
	return (k.Algorithm == "" || k.Algorithm == algorithm) && jwt.CheckKey(algorithm, k.Public) == nil
}

// check looks at the fields, and returns the algorithms that count.
func (v *Verifier) check() ([]jose.SignatureAlgorithm, error) {
	if err := safe(v.Issuer); err != nil {
		return nil, fmt.Errorf("verify: Issuer: %w", err)
	}
	if v.Audience == "" {
		return nil, errors.New("verify: Audience is empty: any token of the issuer would do")
	}
	if v.Resource != "" {
		if err := safe(v.Resource); err != nil {
			return nil, fmt.Errorf("verify: Resource: %w", err)
		}
	}
	named := v.Algorithms
	if len(named) == 0 {
		named = jwt.Algorithms()
	}
	for _, name := range named {
		if !slices.Contains(jwt.Algorithms(), name) {
			return nil, fmt.Errorf("verify: Algorithms: %q is none of %s", name, strings.Join(jwt.Algorithms(), ", "))
		}
	}
	return jwt.Named(named), nil
}

// safe says why an address cannot be trusted to name whom it says, or nil: it must
// be https, or http to this very machine, and without query and fragment (RFC 8414
// §2).
func safe(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", address)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(address, "#"):
		return fmt.Errorf("%q has user information, a query or a fragment", address)
	case u.Scheme == "https" && u.Hostname() != "", u.Scheme == "http" && oauth.IsLoopback(u.Hostname()):
		return nil
	default:
		return fmt.Errorf("%q is neither https nor http to this machine", address)
	}
}

// decode reads base64url (RFC 7515 §2), which has no padding, no line breaks and
// one form for each content; Go's decoder passes over line breaks.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("verify: a line break")
	}
	return base64.RawURLEncoding.Strict().DecodeString(part)
}

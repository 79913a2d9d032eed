// The proof that a form is our own (RFC 6749 §10.12, RFC 9700 §4.7: cross-site
// request forgery).

package session

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/oauth"
)

// ErrSeal says that a form was not shown to this browser, or not for this
// request, or too long ago.
var ErrSeal = errors.New("session: the seal does not hold")

// What forms are sealed for. A seal made for one is none for another.
const (
	Login      = "login"
	Logout     = "logout"
	Consent    = "consent"
	Withdrawal = "withdrawal"
	Elsewhere  = "elsewhere"
)

// BrowserCookieName is the name of the cookie that tells browsers apart.
func BrowserCookieName(secure bool) string { return hostPrefix(secure) + "kmint_login" }

// skew is how far the clocks of two functions may be apart.
const skew = time.Minute

// A MAC derives the keys of seals.
type MAC interface {
	// HourlyKey is the key, of 32 bytes, for one purpose in one hour (counted
	// since 1970).
	HourlyKey(ctx context.Context, purpose string, hour int64) ([]byte, error)
}

// A Sealer seals forms.
type Sealer struct {
	// Purpose is what for, "" for Login.
	Purpose string
	MAC     MAC
	Now     func() time.Time
}

// Browser returns the browser's secret from its cookie, or a new one, where it
// brought none that is well-formed. It is kept where it can be: another tab may
// show a form that is sealed for it.
func Browser(cookie oauth.Secret) (browser oauth.Secret, fresh bool) {
	if oauth.IsID(cookie.Reveal()) {
		return cookie, false
	}
	return oauth.Secret(oauth.NewID()), true
}

// Seal binds a request to a browser. The seal holds until the end of the next
// hour.
func (s Sealer) Seal(ctx context.Context, browser oauth.Secret, request string) (string, error) {
	seal, err := s.sealAt(ctx, s.hour(0), browser, request)
	return base64.RawURLEncoding.EncodeToString(seal), err
}

// Check returns nil if the seal was made for this browser and this request, and
// ErrSeal if it was not.
func (s Sealer) Check(ctx context.Context, seal string, browser oauth.Secret, request string) error {
	presented, err := base64.RawURLEncoding.Strict().DecodeString(seal)
	if err != nil || len(presented) != sha256.Size || !oauth.IsID(browser.Reveal()) {
		audit.Happened(ctx, audit.FormRefused)
		return ErrSeal
	}
	hour := s.hour(0)
	hours := []int64{hour, hour - 1}
	// A function whose clock is ahead has begun the next.
	if next := s.hour(skew); next != hour {
		hours = append(hours, next)
	}
	for _, at := range hours {
		right, err := s.sealAt(ctx, at, browser, request)
		if err != nil {
			return err
		}
		if hmac.Equal(presented, right) {
			return nil
		}
	}
	audit.Happened(ctx, audit.FormRefused)
	return ErrSeal
}

// hour is the one that it is a while from now.
func (s Sealer) hour(while time.Duration) int64 {
	return s.Now().Add(while).Unix() / int64(time.Hour/time.Second)
}

// sealAt signs two digests of a fixed width, so that no two pairs of browser and
// request give the same message.
func (s Sealer) sealAt(ctx context.Context, hour int64, browser oauth.Secret, request string) ([]byte, error) {
	purpose := cmp.Or(s.Purpose, Login)
	key, err := s.MAC.HourlyKey(ctx, purpose, hour)
	if err != nil {
		return nil, fmt.Errorf("session: seal: %w", err)
	}
	h := hmac.New(sha256.New, key)
	for _, part := range []string{purpose, browser.Reveal(), request} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	return h.Sum(nil), nil
}

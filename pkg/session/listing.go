// What a person sees of their sessions.

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Of returns a page of a person's sessions that count, the latest login first; from and
// next are those of store.Listings.
func (k Keeper) Of(ctx context.Context, u store.User, from oauth.Digest) (page []store.Session, next oauth.Digest, err error) {
	page, next, err = k.Listings.SessionsOf(ctx, u.Subject, k.Now(), from)
	if err != nil {
		return nil, "", fmt.Errorf("session: list: %w", err)
	}
	page = slices.DeleteFunc(page, func(s store.Session) bool { return u.Ended(s.AuthTime) })
	slices.SortFunc(page, func(a, b store.Session) int { return b.AuthTime.Compare(a.AuthTime) })
	return page, next, nil
}

// Another returns a person's session that is named by its digest, read strongly. ErrNone
// if it has ended, or is another's.
func (k Keeper) Another(ctx context.Context, u store.User, digest oauth.Digest) (store.Session, error) {
	s, err := k.Sessions.Session(ctx, digest, k.Now())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Session{}, fmt.Errorf("%w: %w", ErrNone, err)
	case err != nil:
		return store.Session{}, fmt.Errorf("session: %w", err)
	case s.Subject != u.Subject:
		return store.Session{}, fmt.Errorf("%w: it is another person's", ErrNone)
	}
	return s, nil
}

// LastUsed is when a session was used last, to within RenewEvery. exact is false for one
// that was used so late that its end is the end of its idle time too: then it may have
// been used since.
func LastUsed(s store.Session) (at time.Time, exact bool) {
	return s.IdleExpires.Add(-IdleLifetime), s.IdleExpires.Before(s.Expires)
}

// A kind of browser or system and what tells it. An earlier one hides a later one: Edge
// says that it is Chrome, and Android that it is Linux.
type kind struct{ sign, name string }

var (
	browsers = []kind{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = []kind{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

// Device is the kind of browser and system that a User-Agent names, in words that people
// know: enough to tell a phone from a laptop. Of the rest, which tells people apart,
// nothing is kept. "" for what it does not know.
func Device(userAgent string) string {
	var names []string
	for _, kinds := range [][]kind{browsers, systems} {
		i := slices.IndexFunc(kinds, func(k kind) bool { return strings.Contains(userAgent, k.sign) })
		if i >= 0 {
			names = append(names, kinds[i].name)
		}
	}
	return strings.Join(names, ", ")
}

package store

import (
	"errors"
	"time"
)

// ErrLocked says that the name is locked against login attempts.
var ErrLocked = errors.New("store: too many failed logins")

// Limits of failed logins: ten within the window lock the name for as long.
const (
	MaxFailures    = 10
	FailureWindow  = 15 * time.Minute
	LockedDuration = 15 * time.Minute
)

// A FailureCount is the one item that counts a login name's failures. The zero
// value is a name without failures.
type FailureCount struct {
	Failures int
	// Until ends the window, or the lock once Failures is MaxFailures.
	Until time.Time
}

// Next is the count after one more attempt at now. ErrLocked if there is none
// left; then nothing is to be written, so that trying does not extend a lock.
func (f FailureCount) Next(now time.Time) (FailureCount, error) {
	if !now.Before(f.Until) {
		return FailureCount{Failures: 1, Until: now.Add(FailureWindow)}, nil
	}
	if f.Failures >= MaxFailures {
		return f, ErrLocked
	}
	next := FailureCount{Failures: f.Failures + 1, Until: f.Until}
	if next.Failures == MaxFailures {
		next.Until = now.Add(LockedDuration)
	}
	return next, nil
}

package store

import (
	"context"
	"time"

	"kmint/pkg/oauth"
)

// PageSize is how many a listing looks at for one page.
const PageSize = 25

// Listings finds what is a person's, by an index. That lags behind, for a moment as a
// rule, and knows nothing of time: what it names is a hint, and whatever comes of it is
// decided by a strong read, or by the condition of a write.
//
// A page begins after the one that next names, "" for the first and after the last. One
// with little on it, or nothing, need not be the last. Whatever from is made up begins
// somewhere: it opens nothing that is another's.
type Listings interface {
	// SessionsOf returns sessions of a person that are alive at now, each read strongly.
	SessionsOf(ctx context.Context, subject string, now time.Time, from oauth.Digest) (page []Session, next oauth.Digest, err error)
	// GrantsOf returns the ids of grants that a client holds for a person and that
	// nobody has revoked. RevokeGrant, which ends them, looks at each itself.
	GrantsOf(ctx context.Context, subject, clientID string, from string) (ids []string, next string, err error)
}

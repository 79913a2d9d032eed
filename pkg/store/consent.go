package store

import (
	"context"
	"time"
)

// A Consent is what one person lets one client have: what, in the words of package
// consent, and since when. An empty one says that the person lets the client know who
// they are, and no more; nil is none.
type Consent map[string]time.Time

// Consents keeps what people let clients have. All that one person has said is one
// item, so that they can be shown all of it by one read, and each change is one
// conditional write that leaves their other clients alone.
type Consents interface {
	// Consents returns a person's, by client_id, read strongly. None is no error.
	Consents(ctx context.Context, subject string) (map[string]Consent, error)
	// PutConsent writes next where the one of before, nil for none, still stands.
	// ErrConflict if it does not.
	PutConsent(ctx context.Context, subject, clientID string, before, next Consent) error
	// DeleteConsent withdraws it. No error if there is none.
	DeleteConsent(ctx context.Context, subject, clientID string) error
}

package bolt

import (
	"context"
	"maps"
	"time"

	"kmint/pkg/store"
)

var _ store.Consents = (*Store)(nil)

func consentKey(subject string) string { return "consent#" + subject }

// Consents returns what a person lets clients have.
func (s *Store) Consents(_ context.Context, subject string) (all map[string]store.Consent, err error) {
	err = s.view(usersBucket, func(b items) error { return optional(b.get(consentKey(subject), &all)) })
	return all, err
}

// PutConsent writes it where nothing came between.
func (s *Store) PutConsent(_ context.Context, subject, clientID string, before, next store.Consent) error {
	return s.update(usersBucket, func(b items) error {
		all := map[string]store.Consent{}
		if err := optional(b.get(consentKey(subject), &all)); err != nil {
			return err
		}
		kept, there := all[clientID]
		if there != (before != nil) || !maps.EqualFunc(kept, before, sameMillis) {
			return store.ErrConflict
		}
		all[clientID] = next
		return b.put(consentKey(subject), all, time.Time{})
	})
}

func sameMillis(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }

// DeleteConsent withdraws it.
func (s *Store) DeleteConsent(_ context.Context, subject, clientID string) error {
	return s.update(usersBucket, func(b items) error {
		all := map[string]store.Consent{}
		if err := optional(b.get(consentKey(subject), &all)); err != nil {
			return err
		}
		delete(all, clientID)
		return b.put(consentKey(subject), all, time.Time{})
	})
}

package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Listings = (*Store)(nil)

// There is no index: the file of one machine is looked through.

// SessionsOf lists a person's sessions.
func (s *Store) SessionsOf(_ context.Context, subject string, now time.Time, from oauth.Digest) ([]store.Session, oauth.Digest, error) {
	var page []store.Session
	var next oauth.Digest
	err := s.view(grantsBucket, func(b items) error {
		return each(b, sessionKey(""), sessionKey(from), func(session store.Session) bool {
			if session.Subject != subject || !session.Alive(now) {
				return true
			}
			if len(page) == store.PageSize {
				next = page[len(page)-1].Digest
				return false
			}
			page = append(page, session)
			return true
		})
	})
	return page, next, err
}

// GrantsOf lists the grants that a client holds for a person.
func (s *Store) GrantsOf(_ context.Context, subject, clientID, from string) (ids []string, next string, err error) {
	err = s.view(grantsBucket, func(b items) error {
		return each(b, grantKey(""), grantKey(from), func(g store.Grant) bool {
			if g.Subject != subject || g.ClientID != clientID || !g.Revoked.IsZero() {
				return true
			}
			if len(ids) == store.PageSize {
				next = ids[len(ids)-1]
				return false
			}
			ids = append(ids, g.ID)
			return true
		})
	})
	return ids, next, err
}

// each gives do the records under a prefix that come after a key, until it returns
// false.
func each[T any](b items, prefix, after string, do func(T) bool) error {
	cursor := b.bucket.Cursor()
	for key, text := cursor.Seek([]byte(after)); bytes.HasPrefix(key, []byte(prefix)); key, text = cursor.Next() {
		if string(key) == after {
			continue
		}
		var r record
		var value T
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		if err := json.Unmarshal(r.Value, &value); err != nil {
			return err
		}
		if !do(value) {
			return nil
		}
	}
	return nil
}

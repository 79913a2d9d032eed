package dynamo

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var _ store.Listings = (*Store)(nil)

// The index of the grants table has the partition key owner, which stands in sessions
// and grants alone, and holds keys and nothing else. It is written with the item that
// has it, and no update of an item touches it but the one that revokes.
//
// An owner is the kind of item that it lists and a digest, so that it is short whatever
// the names are, and a role may be given one kind.
const ownerIndex = "owner"

func sessionsOwner(subject string) string { return sessionKey(oauth.DigestOf(subject)) }

func grantsOwner(subject, clientID string) string {
	return grantKey(string(oauth.DigestOf(subject)) + "." + string(oauth.DigestOf(clientID)))
}

// SessionsOf lists a person's sessions.
func (s *Store) SessionsOf(ctx context.Context, subject string, now time.Time, from oauth.Digest) ([]store.Session, oauth.Digest, error) {
	digests, next, err := s.list(ctx, sessionsOwner(subject), sessionKey(""), string(from))
	if err != nil {
		return nil, "", err
	}
	read, readCtx := errgroup.WithContext(ctx)
	found := make([]store.Session, len(digests))
	for i, digest := range digests {
		read.Go(func() error {
			session, err := s.Session(readCtx, oauth.Digest(digest), now)
			if err == nil && session.Subject == subject {
				found[i] = session
			}
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if err := read.Wait(); err != nil {
		return nil, "", err
	}
	var alive []store.Session
	for _, session := range found {
		if session.Digest != "" {
			alive = append(alive, session)
		}
	}
	return alive, oauth.Digest(next), nil
}

// GrantsOf lists the grants that a client holds for a person.
func (s *Store) GrantsOf(ctx context.Context, subject, clientID, from string) ([]string, string, error) {
	return s.list(ctx, grantsOwner(subject, clientID), grantKey(""), from)
}

// list reads a page of the index: the keys of the items, without the prefix.
func (s *Store) list(ctx context.Context, owner, prefix, from string) (found []string, next string, err error) {
	const condition = "#owner = :owner"
	in := &dynamodb.QueryInput{
		TableName: &s.GrantsTable, IndexName: aws.String(ownerIndex),
		KeyConditionExpression:    aws.String(condition),
		ExpressionAttributeNames:  names(condition),
		ExpressionAttributeValues: item{":owner": text(owner)},
		Limit:                     aws.Int32(store.PageSize),
	}
	if from != "" {
		in.ExclusiveStartKey = keyOf(prefix + from)
		in.ExclusiveStartKey["owner"] = text(owner)
	}
	var out *dynamodb.QueryOutput
	_, err = s.call(ctx, func(ctx context.Context) (err error) {
		out, err = s.DB.Query(ctx, in, once)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	for _, it := range out.Items {
		found = append(found, strings.TrimPrefix(item(it).text("pk"), prefix))
	}
	return found, strings.TrimPrefix(item(out.LastEvaluatedKey).text("pk"), prefix), nil
}

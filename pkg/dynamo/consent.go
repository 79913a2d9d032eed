package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/pkg/store"
)

var _ store.Consents = (*Store)(nil)

func consentKey(subject string) string { return "consent#" + subject }

// Of a person's item each client has an attribute of its own, so that consents to two
// clients never get in each other's way. It is named by clientPrefix and the client_id.
const clientPrefix = "client#"

// Consents returns what a person lets clients have.
func (s *Store) Consents(ctx context.Context, subject string) (map[string]store.Consent, error) {
	it, err := s.get(ctx, s.UsersTable, consentKey(subject))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	all := map[string]store.Consent{}
	for name := range it {
		clientID, ok := strings.CutPrefix(name, clientPrefix)
		if !ok {
			continue
		}
		var kept map[string]int64
		if err := json.Unmarshal([]byte(it.text(name)), &kept); err != nil {
			return nil, fmt.Errorf("dynamo: item %s: %w", it.text("pk"), err)
		}
		c := store.Consent{}
		for what, since := range kept {
			c[what] = time.UnixMilli(since).UTC()
		}
		all[clientID] = c
	}
	return all, nil
}

// PutConsent writes it where nothing came between. A text is compared, which is the
// same for equal records: JSON sorts the members.
func (s *Store) PutConsent(ctx context.Context, subject, clientID string, before, next store.Consent) error {
	values := item{":next": consentText(next), ":v": number(store.Version)}
	condition := "attribute_not_exists(#client)"
	if before != nil {
		condition, values[":before"] = "#client = :before", consentText(before)
	}
	out, err := s.changeConsents(ctx, subject, clientID, "SET #client = :next, #v = :v", condition, values)
	if err != nil || !out.refused {
		return err
	}
	// An attempt whose answer was lost may be what stands there now.
	if out.lost && out.item.text(clientPrefix+clientID) == consentText(next).Value {
		return nil
	}
	return store.ErrConflict
}

// DeleteConsent withdraws it.
func (s *Store) DeleteConsent(ctx context.Context, subject, clientID string) error {
	_, err := s.changeConsents(ctx, subject, clientID, "REMOVE #client", "attribute_exists(#client)", nil)
	return err
}

// changeConsents changes a person's item, which need not exist.
func (s *Store) changeConsents(ctx context.Context, subject, clientID, changes, condition string, values item) (outcome, error) {
	in := &dynamodb.UpdateItemInput{
		TableName: &s.UsersTable, Key: keyOf(consentKey(subject)),
		UpdateExpression:                    &changes,
		ConditionExpression:                 &condition,
		ExpressionAttributeNames:            names(changes, condition),
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	in.ExpressionAttributeNames["#client"] = clientPrefix + clientID
	lost, err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.DB.UpdateItem(ctx, in, once)
		return err
	})
	return written(outcome{lost: lost}, err)
}

func consentText(c store.Consent) *types.AttributeValueMemberS {
	kept := map[string]int64{}
	for what, since := range c {
		kept[what] = since.UnixMilli()
	}
	text, _ := json.Marshal(kept) //nolint:errchkjson // of texts and numbers: it never fails
	return &types.AttributeValueMemberS{Value: string(text)}
}

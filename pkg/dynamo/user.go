package dynamo

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	_ store.Users      = (*Store)(nil)
	_ store.Logins     = (*Store)(nil)
	_ store.UserWriter = (*Store)(nil)
)

func userKey(subject string) string { return "user#" + subject }
func loginKey(name string) string   { return "login#" + name }

// User finds a person.
func (s *Store) User(ctx context.Context, subject string) (store.User, error) {
	it, err := s.get(ctx, s.UsersTable, userKey(subject))
	if err != nil {
		return store.User{}, err
	}
	return unjson[store.User](it)
}

// Login finds the person behind a login name.
func (s *Store) Login(ctx context.Context, name string) (string, error) {
	it, err := s.get(ctx, s.UsersTable, loginKey(name))
	if err != nil {
		return "", err
	}
	return it.text("sub"), nil
}

// PutUser writes the person's two items in one transaction, and deletes the login
// name that they had. The name is read first and may change meanwhile; then it is
// read again.
func (s *Store) PutUser(ctx context.Context, u store.User) error {
	for range rounds {
		old, err := s.get(ctx, s.UsersTable, userKey(u.Subject))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		renamed, err := s.putUser(ctx, u, old.text("login"))
		if err != nil || !renamed {
			return err
		}
	}
	return fmt.Errorf("dynamo: %w: the login name keeps changing", store.ErrBusy)
}

// putUser reports whether the person has no longer the login name before, ""
// for none or no person. Then nothing was written.
func (s *Store) putUser(ctx context.Context, u store.User, before string) (renamed bool, err error) {
	user, err := jsonItem(userKey(u.Subject), u)
	if err != nil {
		return false, err
	}
	name := store.LoginName(u.Username)
	user.setText("login", name)
	unchanged, values := "attribute_not_exists(#login)", item(nil)
	if before != "" {
		unchanged, values = "#login = :before", item{":before": text(before)}
	}
	writes := []types.TransactWriteItem{s.transactPut(user, unchanged, values)}
	if name != "" {
		login := newItem(loginKey(name))
		login["sub"] = text(u.Subject)
		writes = append(writes, s.transactPut(login, "attribute_not_exists(#pk) OR #sub = :sub", item{":sub": login["sub"]}))
	}
	if before != "" && before != name {
		writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{
			TableName: &s.UsersTable, Key: keyOf(loginKey(before)),
		}})
	}
	in := &dynamodb.TransactWriteItemsInput{
		TransactItems: writes,
		// Makes a second attempt succeed where the first had. At most 36 characters.
		ClientRequestToken: aws.String(oauth.NewID()[:36]),
	}
	_, err = s.call(ctx, func(ctx context.Context) error {
		_, err := s.DB.TransactWriteItems(ctx, in, once)
		return err
	})
	canceled := (*types.TransactionCanceledException)(nil)
	if !errors.As(err, &canceled) || !canceledBy(err, "ConditionalCheckFailed") {
		return false, err
	}
	if aws.ToString(canceled.CancellationReasons[0].Code) == "ConditionalCheckFailed" {
		return true, nil
	}
	return false, store.ErrConflict
}

func (s *Store) transactPut(it item, condition string, values item) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &s.UsersTable, Item: it,
		ConditionExpression: &condition, ExpressionAttributeNames: names(condition), ExpressionAttributeValues: values,
	}}
}

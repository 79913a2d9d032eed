package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"

	"kmint/pkg/dynamo"
	"kmint/pkg/store"
)

// A restorer is one `kmint restore`.
type restorer struct {
	// Stack is read for the tables where they are not named.
	Stack                   string
	ConfigTable, UsersTable string
	// FromConfig and FromUsers are tables that a backup was restored into, "" for
	// none.
	FromConfig, FromUsers string

	// Wait is how long functions may hold what they read before.
	Wait time.Duration
	Now  func() time.Time
	Out  io.Writer
}

// The items that stay as they are: both are what `kmint import` wrote for this stack,
// and an old registry could hold a key that was revoked since.
var ofThisStack = []string{"keys", "issuer"}

func parseRestore(args []string, errs io.Writer) (*restorer, error) {
	r := &restorer{Wait: store.MaxAge, Now: time.Now}
	flags := newFlags("kmint restore", errs)
	flags.StringVar(&r.Stack, "stack", "", "`name` of the CloudFormation stack, whose outputs name the tables")
	flags.StringVar(&r.ConfigTable, "config-table", "", "`table` of clients, APIs, issuer and keys")
	flags.StringVar(&r.UsersTable, "users-table", "", "`table` of people")
	flags.StringVar(&r.FromConfig, "from-config", "", "`table` that a backup of the config table was restored into")
	flags.StringVar(&r.FromUsers, "from-users", "", "`table` that a backup of the users table was restored into")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, complain(errs, fmt.Sprintf("%q is no flag", flags.Arg(0)))
	case r.Stack == "" && (r.ConfigTable == "" || r.FromUsers != "" && r.UsersTable == ""):
		return nil, complain(errs, "name the --stack, or else --config-table, and --users-table where there is a --from-users")
	}
	return r, nil
}

// run ends all that came of logins before now. Only when every function knows that does
// it bring back what is missing; what is there stays, so that nothing which was changed
// or ended since the backup is undone.
func (r *restorer) run(ctx context.Context) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if r.Stack != "" {
		i := importer{Stack: r.Stack, ConfigTable: r.ConfigTable, UsersTable: r.UsersTable, Keys: map[string]string{}}
		if err := i.readStack(ctx, cfg); err != nil {
			return err
		}
		r.ConfigTable, r.UsersTable = i.ConfigTable, i.UsersTable
	}
	db := &dynamo.Store{DB: dynamo.NewClient(cfg), ConfigTable: r.ConfigTable}
	if registry, err := db.Registry(ctx); err != nil || len(registry.Keys) == 0 {
		return errors.Join(errors.New("the stack has no signing key yet; run kmint import first"), err)
	}
	if err := r.end(ctx, db); err != nil {
		return err
	}
	if r.FromConfig == "" && r.FromUsers == "" {
		return nil
	}
	r.say("waiting %v, until every function knows", r.Wait)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.Wait):
	}
	for _, way := range [][2]string{{r.FromConfig, r.ConfigTable}, {r.FromUsers, r.UsersTable}} {
		if way[0] == "" {
			continue
		}
		// The SDK's own client, which tries again what was throttled.
		if err := r.bring(ctx, dynamodb.NewFromConfig(cfg, quiet), way[0], way[1]); err != nil {
			return fmt.Errorf("%s was not read in full; do it again: %w", way[0], err)
		}
	}
	return nil
}

// end raises the server's not_before. Where the settings are lost, those of the backup
// are what it is raised in.
func (r *restorer) end(ctx context.Context, db *dynamo.Store) error {
	settings, err := db.Settings(ctx)
	lost := settings
	lost.NotBefore = time.Time{}
	if err == nil && r.FromConfig != "" && reflect.ValueOf(lost).IsZero() {
		from := *db
		from.ConfigTable = r.FromConfig
		settings, err = from.Settings(ctx)
	}
	if err != nil {
		return fmt.Errorf("the settings of the server cannot be read: %w", err)
	}
	now := r.Now().UTC().Truncate(time.Millisecond)
	if settings.NotBefore.Before(now) {
		settings.NotBefore = now
	}
	if err := db.PutSettings(ctx, settings); err != nil {
		return fmt.Errorf("the settings of the server cannot be written: %w", err)
	}
	r.say("every login before %s has ended; write into the server of your seed:", settings.NotBefore.Format(time.RFC3339Nano))
	r.say(`  "not_before": %q`, settings.NotBefore.Format(time.RFC3339Nano))
	return nil
}

// quiet keeps the SDK from a line of its own for each refused write.
func quiet(o *dynamodb.Options) { o.Logger = logging.Nop{} }

// bring copies the items that are missing, each by one conditional write.
func (r *restorer) bring(ctx context.Context, db *dynamodb.Client, from, to string) error {
	brought, there := 0, 0
	pages := dynamodb.NewScanPaginator(db, &dynamodb.ScanInput{TableName: &from, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			key, ok := item["pk"].(*types.AttributeValueMemberS)
			if !ok {
				return fmt.Errorf("%s has an item without a pk; is it one of kmint's?", from)
			}
			if slices.Contains(ofThisStack, key.Value) {
				continue
			}
			_, err := db.PutItem(ctx, &dynamodb.PutItemInput{
				TableName: &to, Item: item, ConditionExpression: aws.String("attribute_not_exists(pk)"),
			})
			var refused *types.ConditionalCheckFailedException
			switch {
			case errors.As(err, &refused):
				there++
			case err != nil:
				return err
			default:
				brought++
				kind, _, _ := strings.Cut(key.Value, "#")
				if kind == "client" || kind == "api" {
					r.say("restored %s", strings.Replace(key.Value, "#", " ", 1))
				}
			}
		}
	}
	r.say("%s: %d items restored, %d are there and stay as they are", to, brought, there)
	return nil
}

func (r *restorer) say(format string, args ...any) { _, _ = fmt.Fprintf(r.Out, format+"\n", args...) }

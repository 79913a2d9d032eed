package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/store"
)

// thumbprint is how long a kid is: a SHA-256 in base64url.
const thumbprint = 43

// A keyCommand is one `kmint key`.
type keyCommand struct {
	// Do is list, rotate, rollback or revoke.
	Do string
	// Stack is read for the table where that is not named.
	Stack       string
	ConfigTable string
	// Algorithm is the line that is rotated or rolled back.
	Algorithm string
	// KeyID is the key that is revoked, Compromised what has happened to it, "" for
	// nothing.
	KeyID       string
	Compromised string

	Now func() time.Time
	Out io.Writer
}

func parseKey(args []string, errs io.Writer) (*keyCommand, error) {
	k := &keyCommand{Now: time.Now}
	flags := newFlags("kmint key", errs)
	flags.StringVar(&k.Stack, "stack", "", "`name` of the CloudFormation stack, whose outputs name the table")
	flags.StringVar(&k.ConfigTable, "config-table", "", "`table` that the keys are listed in")
	flags.StringVar(&k.Algorithm, "algorithm", jwt.RS256, "`alg` whose keys are rotated or rolled back")
	flags.StringVar(&k.Compromised, "force", "", "revoke at once, because the key is compromised: say `what happened`")
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		k.Do, args = args[0], args[1:]
	}
	// A thumbprint may begin like a flag, of which none is as long.
	if k.Do == "revoke" && len(args) > 0 && (!strings.HasPrefix(args[0], "-") || len(args[0]) == thumbprint) {
		k.KeyID, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if k.Do == "revoke" && k.KeyID == "" && flags.NArg() == 1 {
		k.KeyID = flags.Arg(0)
	} else if flags.NArg() > 0 {
		return nil, complain(errs, fmt.Sprintf("%q is no flag", flags.Arg(0)))
	}
	forced := false
	flags.Visit(func(f *flag.Flag) { forced = forced || f.Name == "force" })
	switch {
	case !slices.Contains([]string{"list", "rotate", "rollback", "revoke"}, k.Do):
		return nil, complain(errs, "say one of kmint key list, rotate, rollback and revoke")
	case k.Stack == "" && k.ConfigTable == "":
		return nil, complain(errs, "name the --stack, or else --config-table")
	case !slices.Contains(jwt.Algorithms(), k.Algorithm):
		return nil, complain(errs, fmt.Sprintf("nothing signs by %q", k.Algorithm))
	case k.Do == "revoke" && k.KeyID == "":
		return nil, complain(errs, "say which key is revoked: kmint key revoke KID")
	case forced && k.Do != "revoke":
		return nil, complain(errs, "--force is for kmint key revoke alone")
	case forced && strings.TrimSpace(k.Compromised) == "":
		return nil, complain(errs, "--force says what happened to the key; it is written down")
	}
	return k, nil
}

func (k *keyCommand) run(ctx context.Context) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if k.ConfigTable == "" {
		if k.ConfigTable, err = stackTable(ctx, cfg, k.Stack); err != nil {
			return err
		}
	}
	db := &dynamo.Store{DB: dynamo.NewClient(cfg), ConfigTable: k.ConfigTable}
	before, err := db.Registry(ctx)
	if err != nil {
		return fmt.Errorf("the keys cannot be read: %w", err)
	}
	now := k.Now()
	after := before
	switch k.Do {
	case "list":
		return k.list(before, now)
	case "rotate":
		after, err = keys.Activate(before, k.Algorithm, now)
	case "rollback":
		after, err = keys.Rollback(before, k.Algorithm, now)
	case "revoke":
		after, err = keys.Revoke(before, k.KeyID, strings.TrimSpace(k.Compromised), now)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "keys: "))
	}
	keeper := kms.Keeper{Client: kms.NewClient(cfg)}
	for _, key := range changed(before, after, store.KeyActive) {
		if _, err := keeper.PublicKey(ctx, key.Reference); err != nil {
			return fmt.Errorf("the key %s cannot sign: %w", key.ID, err)
		}
	}
	if err := replace(ctx, db, after); err != nil {
		return err
	}
	for _, state := range []string{store.KeyActive, store.KeyRetired, store.KeyRevoked} {
		for _, key := range changed(before, after, state) {
			k.say("%s %s", key.ID, outlook(after, key))
			if state == store.KeyRevoked {
				// The registry comes first: functions take another key once this one is refused.
				if err := keeper.Disable(ctx, key.Reference); err != nil {
					return fmt.Errorf("the key %s is revoked, but not disabled in KMS; the rotate function tries again: %w", key.ID, err)
				}
			}
		}
	}
	return nil
}

// replace replaces the registry. Where another write came between, nothing is tried
// again: what was right may be wrong by now.
func replace(ctx context.Context, registries store.Registries, r store.Registry) error {
	err := registries.ReplaceRegistry(ctx, r)
	if errors.Is(err, store.ErrConflict) {
		if is, again := registries.Registry(ctx); again == nil && same(is, r) {
			return nil
		}
		return errors.New("the keys were changed by another just now; look at kmint key list")
	}
	if err != nil {
		return fmt.Errorf("the keys cannot be written: %w", err)
	}
	return nil
}

func same(a, b store.Registry) bool {
	return a.Version == b.Version && slices.EqualFunc(a.Keys, b.Keys, func(a, b store.SigningKey) bool {
		return a.ID == b.ID && a.State == b.State && a.Since.Equal(b.Since)
	})
}

// changed lists the keys that have come to a state.
func changed(before, after store.Registry, state string) []store.SigningKey {
	return slices.DeleteFunc(slices.Clone(after.Keys), func(k store.SigningKey) bool {
		return k.State != state || slices.ContainsFunc(before.Keys, func(b store.SigningKey) bool { return b.Reference == k.Reference && b.State == state })
	})
}

func (k *keyCommand) list(r store.Registry, now time.Time) error {
	table := tabwriter.NewWriter(k.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ALG\tKID\tSTATE")
	for _, key := range r.Keys {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", key.Algorithm, cmp.Or(key.ID, key.Reference), outlook(r, key))
	}
	if len(r.Keys) == 0 {
		_, _ = fmt.Fprintln(table, "no key is listed; kmint import lists the first")
	}
	return table.Flush()
}

// outlook says what a key does, and from when on it may do another thing.
func outlook(r store.Registry, k store.SigningKey) string {
	var at string
	switch k.State {
	case store.KeyNext:
		at = "may sign from " + stamp(keys.SignsFrom(k, keys.SetAge))
	case store.KeyRetired:
		at = "is published until " + stamp(keys.EndsFrom(k, keys.Longest(r))) + " or later"
	case store.KeyRevoked:
		at = "counts no more"
		if k.Reason != "" {
			at += ": " + k.Reason
		}
	default:
		at = "signs"
	}
	return k.State + " since " + stamp(k.Since) + ", " + at
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (k *keyCommand) say(format string, args ...any) { _, _ = fmt.Fprintf(k.Out, format+"\n", args...) }

// stackTable is the config table of a stack.
func stackTable(ctx context.Context, cfg aws.Config, stack string) (string, error) {
	answer, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &stack})
	if err != nil {
		return "", fmt.Errorf("the stack %s cannot be read: %w", stack, err)
	}
	for _, s := range answer.Stacks {
		for _, output := range s.Outputs {
			if aws.ToString(output.OutputKey) == "ConfigTable" {
				return aws.ToString(output.OutputValue), nil
			}
		}
	}
	return "", fmt.Errorf("the stack %s has no output ConfigTable; is it one of kmint's?", stack)
}

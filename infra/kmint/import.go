package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"kmint/infra/files"
	"kmint/infra/paste"
	"kmint/pkg/config"
	"kmint/pkg/dynamo"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

// An importer is one `kmint import`.
type importer struct {
	// Stack is read for what is not named.
	Stack       string
	ConfigTable string
	UsersTable  string
	// SigningKey is the ARN of a key for RS256, Keys those of keys for other
	// algorithms, and SecretsKey that of the one for the secrets of client_secret_jwt,
	// "" for none.
	SigningKey string
	Keys       map[string]string
	SecretsKey string
	// PreflightKey is the ARN of the key by which the preflight function authenticates,
	// "" for none.
	PreflightKey string
	Issuer       string
	// TokenEndpoint is for the curl.
	TokenEndpoint string

	Seed   string
	DryRun bool

	Out io.Writer
	// Terminal says that Out is read by whoever typed the command, and by nobody
	// later, as a log is.
	Terminal bool
}

func parseImport(args []string, errs io.Writer) (*importer, error) {
	i := &importer{Keys: map[string]string{}}
	flags := newFlags("kmint import", errs)
	flags.StringVar(&i.Stack, "stack", "", "`name` of the CloudFormation stack, whose outputs name the rest")
	flags.StringVar(&i.ConfigTable, "config-table", "", "`table` of clients, APIs, issuer and keys")
	flags.StringVar(&i.UsersTable, "users-table", "", "`table` of people")
	flags.StringVar(&i.SigningKey, "signing-key", "", "`ARN` of the first KMS key that signs by RS256")
	flags.Func("key", "`ALG=ARN` of the first that signs by another algorithm; once for each", i.addKey)
	flags.StringVar(&i.SecretsKey, "secrets-key", "", "`ARN` of the KMS key that encrypts the secrets of client_secret_jwt, if there is one")
	flags.StringVar(&i.PreflightKey, "preflight-key", "", "`ARN` of the KMS key by which the preflight function authenticates, if there is one")
	flags.StringVar(&i.Issuer, "issuer", "", "issuer `URL`, used exactly as it is")
	flags.StringVar(&i.Seed, "seed", "", "configuration `file`; without one, only keys and issuer are written")
	flags.BoolVar(&i.DryRun, "dry-run", false, "say what would change, and write nothing")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, complain(errs, fmt.Sprintf("%q is no flag", flags.Arg(0)))
	}
	if i.Stack == "" {
		if lacks := i.lacks(); len(lacks) > 0 {
			return nil, complain(errs, "name the --stack, or else --"+strings.Join(lacks, ", --"))
		}
	}
	return i, nil
}

// addKey takes a key that a flag names with its algorithm.
func (i *importer) addKey(text string) error {
	algorithm, arn, _ := strings.Cut(text, "=")
	switch {
	case algorithm == jwt.RS256 || !slices.Contains(jwt.Algorithms(), algorithm):
		return fmt.Errorf("%q is no algorithm; it may be %s", algorithm, strings.Join(jwt.Algorithms()[1:], ", "))
	case arn == "":
		return fmt.Errorf("%q names no key; it is like %s=ARN", text, algorithm)
	case i.Keys[algorithm] != "":
		return fmt.Errorf("there is a key for %s already", algorithm)
	}
	i.Keys[algorithm] = arn
	return nil
}

// lacks lists the flags whose values are not known.
func (i *importer) lacks() []string {
	var lacks []string
	for _, f := range []struct{ flag, value string }{
		{"config-table", i.ConfigTable}, {"users-table", i.UsersTable}, {"signing-key", i.SigningKey}, {"issuer", i.Issuer},
	} {
		if f.value == "" {
			lacks = append(lacks, f.flag)
		}
	}
	return lacks
}

// readStack takes from the stack's outputs what no flag has named.
func (i *importer) readStack(ctx context.Context, cfg aws.Config) error {
	answer, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &i.Stack})
	if err != nil {
		return fmt.Errorf("the stack %s cannot be read: %w", i.Stack, err)
	}
	if len(answer.Stacks) != 1 {
		return fmt.Errorf("there is no stack %s", i.Stack)
	}
	for _, output := range answer.Stacks[0].Outputs {
		for _, algorithm := range jwt.Algorithms()[1:] {
			if aws.ToString(output.OutputKey) == parameterOf(algorithm)+"KeyArn" && i.Keys[algorithm] == "" {
				i.Keys[algorithm] = aws.ToString(output.OutputValue)
			}
		}
		field, known := map[string]*string{
			"ConfigTable": &i.ConfigTable, "UsersTable": &i.UsersTable, "SigningKeyArn": &i.SigningKey, "SecretsKeyArn": &i.SecretsKey,
			"PreflightKeyArn": &i.PreflightKey,
			"Issuer":          &i.Issuer, "TokenEndpoint": &i.TokenEndpoint,
		}[aws.ToString(output.OutputKey)]
		if known && *field == "" {
			*field = aws.ToString(output.OutputValue)
		}
	}
	if lacks := i.lacks(); len(lacks) > 0 {
		return fmt.Errorf("the stack %s has no output for --%s; is it one of kmint's?", i.Stack, strings.Join(lacks, ", --"))
	}
	return nil
}

// run does the import. What is wrong with the file is found before anything is
// asked of AWS.
func (i *importer) run(ctx context.Context) error {
	s, err := i.readSeed()
	if err != nil {
		return err
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	// Tables at another endpoint are somebody's own, to try things with.
	if i.Stack != "" || dynamo.NewClient(cfg).Options().BaseEndpoint == nil {
		if err := published(i.Seed, s); err != nil {
			return err
		}
	}
	if i.Stack != "" {
		if err := i.readStack(ctx, cfg); err != nil {
			return err
		}
	}
	if err := config.CheckIssuer(i.Issuer); err != nil {
		return fmt.Errorf("the issuer %w", err)
	}
	client, db := kms.NewClient(cfg), newStore(cfg, i)
	writers := i.writers(db, client)
	// A configuration that does not fit is found before anything is written.
	first, err := i.signingKeys(ctx, kms.Signer{Client: client})
	if err != nil {
		return err
	}
	if err := i.keysFit(ctx, s, db, first); err != nil {
		return err
	}
	if err := i.keepsEnded(ctx, s, db); err != nil {
		return err
	}
	configured := s
	if s, err = i.withPreflight(ctx, s, kms.Signer{Client: client}); err != nil {
		return err
	}
	changes, err := s.DryRun(ctx, writers)
	if err != nil {
		return fmt.Errorf("%s cannot be imported: %w", i.Seed, err)
	}
	if err := i.allowLifetimes(ctx, s, db); err != nil {
		return err
	}
	for _, key := range first {
		if err := i.registerKey(ctx, db, key); err != nil {
			return err
		}
	}
	if err := i.writeIssuer(ctx, db); err != nil {
		return err
	}
	if !i.DryRun {
		if changes, err = s.Write(ctx, writers); err != nil {
			return fmt.Errorf("%s was not imported in full; import it again: %w", i.Seed, err)
		}
	}
	for _, change := range changes {
		i.say("%s", change)
	}
	i.sayCurl(configured)
	return nil
}

// published refuses the secrets of infra/examples: everybody knows them, and what
// reads a table in AWS is on the internet.
func published(path string, s seed.Seed) error {
	if err := s.Published(); err != nil {
		return fmt.Errorf("%s is refused: %w", path, err)
	}
	return nil
}

func (i *importer) readSeed() (seed.Seed, error) {
	if i.Seed == "" {
		return seed.Seed{}, nil
	}
	return files.Seed(i.Seed)
}

func (i *importer) say(format string, args ...any) {
	if i.DryRun {
		format = "dry run: " + format
	}
	_, _ = fmt.Fprintf(i.Out, format+"\n", args...)
}

// sayCurl shows the client's secret on a terminal alone: the output of a deploy
// is often kept.
func (i *importer) sayCurl(s seed.Seed) {
	client, audience, ok := paste.Service(s)
	if i.DryRun || !ok {
		return
	}
	request := paste.TokenRequest{Endpoint: i.TokenEndpoint, Client: client, Audience: audience}
	if request.Endpoint == "" {
		request.Endpoint = oauth.Endpoint(i.Issuer, "/oauth/token")
	}
	remark := ""
	if !i.Terminal {
		request.SecretFrom = "CLIENT_SECRET"
		remark = " (CLIENT_SECRET is the client_secret of " + client.ID + ")"
	}
	_, _ = fmt.Fprintf(i.Out, "\nGet a token%s:\n  %s\n", remark, request.Curl())
}

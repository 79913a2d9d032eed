package iam

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
)

const template = `
Parameters:
  Signs: {Default: "no"}
Conditions:
  MaySign: !Equals [!Ref Signs, "yes"]
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Role: !GetAtt Role.Arn
      LoggingConfig: {LogGroup: !Ref Logs}
      Events:
        Messages: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn}}
  Logs: {Type: AWS::Logs::LogGroup}
  Queue: {Type: AWS::SQS::Queue}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      GlobalSecondaryIndexes:
        - {IndexName: owner, KeySchema: [{AttributeName: owner, KeyType: HASH}]}
  Key:
    Type: AWS::KMS::Key
    Properties:
      Tags: [{Key: stack, Value: !Ref AWS::StackName}]
      KeyPolicy:
        Statement:
          - {Effect: Allow, Principal: {AWS: !Sub "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}, Action: "kms:*", Resource: "*"}
          - {Sid: OnlyES256, Effect: Deny, Principal: {AWS: "*"}, Action: kms:Sign, Resource: "*", Condition: {StringNotEquals: {kms:SigningAlgorithm: ECDSA_SHA_256}}}
  Role:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyDocument:
            Statement:
              - Sid: Items
                Effect: Allow
                Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:Query]
                Resource: [!GetAtt Table.Arn, !Sub "${Table.Arn}/index/owner"]
                Condition:
                  "Null": {"dynamodb:LeadingKeys": "false"}
                  ForAllValues:StringLike: {"dynamodb:LeadingKeys": ["a#*"]}
              - {Sid: Send, Effect: Allow, Action: sqs:SendMessage, Resource: !GetAtt Queue.Arn}
        - !If
          - MaySign
          - PolicyDocument:
              Statement:
                - {Sid: Sign, Effect: Allow, Action: kms:Sign, Resource: "*", Condition: {StringEquals: {aws:ResourceTag/stack: !Ref AWS::StackName}}}
          - !Ref AWS::NoValue
`

func stackOf(t *testing.T, signs string) *Stack {
	t.Helper()
	s := &Stack{
		Name: "s", Region: "us-east-1", Account: "000000000000", Parameters: map[string]string{"Signs": signs},
		Names: map[string]string{"Queue": "https://sqs.us-east-1.amazonaws.com/000000000000/s-Queue"},
		ARNs:  map[string]string{"Queue": "arn:aws:sqs:us-east-1:000000000000:s-Queue"},
	}
	if err := s.Read([]byte(template)); err != nil {
		t.Fatal(err)
	}
	return s
}

// What the role allows reaches the server behind, and what it does not is refused in the
// way that the SDK understands; each call by another reason.
func TestProxy(t *testing.T) {
	reached := ""
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reached = r.Header.Get("X-Amz-Target") + string(body)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(behind.Close)
	stack := stackOf(t, "yes")
	f, err := stack.Function("Function")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := stack.Keys()
	if err != nil {
		t.Fatal(err)
	}
	proxy := &Proxy{Function: f, Stack: stack, DynamoDB: behind.URL, KMS: behind.URL, SQS: behind.URL, Key: func(name string) (Key, bool) {
		return keys["Key"], name == keys["Key"].ARN
	}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	config := aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), RetryMaxAttempts: 1}
	db, keeper, queue := dynamodb.NewFromConfig(config), kms.NewFromConfig(config), sqs.NewFromConfig(config)
	key := func(name, value string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{name: &types.AttributeValueMemberS{Value: value}}
	}
	get := func(table, pk string) func() error {
		return func() error {
			_, err := db.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key("pk", pk)})
			return err
		}
	}
	query := func(index, condition, value string) func() error {
		return func() error {
			in := &dynamodb.QueryInput{
				TableName: aws.String("s-Table"), KeyConditionExpression: &condition, ExpressionAttributeNames: map[string]string{"#k": "owner"}, ExpressionAttributeValues: key(":v", value),
			}
			if index != "" {
				in.IndexName = &index
			}
			_, err := db.Query(t.Context(), in)
			return err
		}
	}
	sign := func(arn string, algorithm kmstypes.SigningAlgorithmSpec) func() error {
		return func() error {
			_, err := keeper.Sign(t.Context(), &kms.SignInput{KeyId: &arn, Message: []byte("m"), SigningAlgorithm: algorithm})
			return err
		}
	}
	send := func(name string) func() error {
		return func() error {
			_, err := queue.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("https://sqs.us-east-1.amazonaws.com/000000000000/" + name), MessageBody: aws.String("m")})
			return err
		}
	}
	arn := keys["Key"].ARN
	for name, tt := range map[string]struct {
		call func() error
		// reaches is what arrives behind, or refused is in what is said.
		reaches, refused string
	}{
		"an item":                    {get("s-Table", "a#1"), "DynamoDB_20120810.GetItem", ""},
		"an item of another kind":    {get("s-Table", "b#1"), "", "no identity-based policy allows the dynamodb:GetItem action"},
		"another table":              {get("another", "a#1"), "", "the template has no table another"},
		"an index":                   {query("owner", "#k = :v", "a#1"), "DynamoDB_20120810.Query", ""},
		"an index, and its order":    {query("owner", "(#k = :v) AND pk > :v", "a#1"), "DynamoDB_20120810.Query", ""},
		"an index of another kind":   {query("owner", "#k = :v", "b#1"), "", "table/s-Table/index/owner because no identity-based policy allows"},
		"an index that is not there": {query("another", "#k = :v", "a#1"), "", "the template has no table"},
		"the table by the index":     {query("", "#k = :v", "a#1"), "", "names no pk"},
		"a whole table": {func() error {
			_, err := db.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("s-Table")})
			return err
		}, "", "which permissions does Scan of DynamoDB ask for?"},
		"an item deleted": {func() error {
			_, err := db.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("s-Table"), Key: key("pk", "a#1")})
			return err
		}, "", "allows the dynamodb:DeleteItem action"},
		"a signature":                             {sign(arn, kmstypes.SigningAlgorithmSpecEcdsaSha256), "TrentService.Sign", ""},
		"a signature by another hash":             {sign(arn, kmstypes.SigningAlgorithmSpecEcdsaSha384), "", "explicit deny in a resource-based policy, Key.OnlyES256"},
		"a key that nobody knows is KMS's matter": {sign(arn+"x", kmstypes.SigningAlgorithmSpecEcdsaSha256), "TrentService.Sign", ""},
		"a message":                               {send("s-Queue"), "AmazonSQS.SendMessage", ""},
		"a message for another":                   {send("another"), "", "resource: arn:aws:sqs:us-east-1:000000000000:another because no identity-based policy"},
	} {
		reached = ""
		err := tt.call()
		problems := strings.Join(proxy.Refusals(), "\n")
		if tt.reaches != "" {
			if err != nil || !strings.HasPrefix(reached, tt.reaches) || problems != "" {
				t.Errorf("%s: %v, %q arrives, and these are noted: %q", name, err, reached, problems)
			}
			continue
		}
		var answer smithy.APIError
		if !errors.As(err, &answer) || !strings.HasPrefix(answer.ErrorCode(), "AccessDenied") || !strings.Contains(answer.ErrorMessage(), tt.refused) || reached != "" || !strings.Contains(problems, tt.refused) {
			t.Errorf("%s: %v, %q arrives, and these are noted: %q", name, err, reached, problems)
		}
	}
	// What is called off half way asks for nothing.
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	before := len(proxy.Calls())
	_, _ = io.WriteString(connection, "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 100\r\n\r\n{")
	_ = connection.(*net.TCPConn).CloseWrite()
	_, _ = io.ReadAll(connection) // until the other end closes it
	if problems := proxy.Refusals(); len(problems) > 0 || len(proxy.Calls()) != before {
		t.Errorf("called off: %q", problems)
	}
	proxy.Fail(func(c Call) bool { return c.Action == "dynamodb:GetItem" })
	var answer *smithy.OperationError
	if err := get("s-Table", "a#1")(); !errors.As(err, &answer) || !strings.Contains(err.Error(), "500") {
		t.Errorf("what is to fail: %v", err)
	}
}

// A role is as the parameters of the template have it, and Lambda asks for what belongs to
// the function's logs and its queue.
func TestFunctionOfAStack(t *testing.T) {
	for signs, want := range map[string]string{"yes": "Role.Items Role.Send Role.Sign", "no": "Role.Items Role.Send"} {
		f, err := stackOf(t, signs).Function("Function")
		if err != nil {
			t.Fatal(err)
		}
		var names, services []string
		for _, s := range f.Role.Policy {
			names = append(names, s.String())
		}
		for _, r := range f.Services {
			services = append(services, r.Action)
		}
		if got := strings.Join(names, " "); got != want || f.Role.ARN != "arn:aws:iam::000000000000:role/s-Role" || strings.Join(f.Conditions, " ") != "MaySign" {
			t.Errorf("signs: %s: %s, %+v", signs, got, f)
		}
		if got := strings.Join(services, " "); got != "logs:CreateLogStream logs:PutLogEvents sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes" {
			t.Errorf("services: %s", got)
		}
	}
	for name, change := range map[string][2]string{
		"a boundary":        {"      Policies:\n", "      PermissionsBoundary: arn:aws:iam::000000000000:policy/p\n      Policies:\n"},
		"a managed policy":  {"      Policies:\n", "      ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]\n      Policies:\n"},
		"a function":        {"!Equals [!Ref Signs", "!Matches [!Ref Signs"},
		"a parameter":       {`{Default: "no"}`, "{}"},
		"no such condition": {"  MaySign:", "  MightSign:"},
		"another's role":    {"Role: !GetAtt Role.Arn", "Role: arn:aws:iam::000000000000:role/other"},
	} {
		changed := strings.Replace(template, change[0], change[1], 1)
		s := stackOf(t, "yes")
		s.Parameters = nil
		if err := s.Read([]byte(changed)); err != nil || changed == template {
			t.Fatal(name, err)
		}
		if _, err := s.Function("Function"); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

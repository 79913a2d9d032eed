// Package infra_test answers: does template.yaml give each function what its code
// needs, and nothing else?
//
// A function's struct in package server names every store and key that it may
// touch. Each of those stands for single IAM actions on single kinds of items;
// the role in the template must allow exactly these. So a parameter that is added
// without a permission, and a permission that nothing uses, both fail here and
// not in somebody's account.
package infra_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmint/pkg/config"
	"kmint/pkg/jwt"
	"kmint/pkg/kms"
	"kmint/pkg/server"
)

// implied says which IAM actions an interface stands for: action, resource and,
// for a table, the partition keys. TestStoreCalls holds it against package
// dynamo.
var implied = map[string][]string{
	"store.Clients":        {"dynamodb:GetItem ConfigTable client#*"},
	"store.APIs":           {"dynamodb:GetItem ConfigTable api#*"},
	"store.ServerSettings": {"dynamodb:GetItem ConfigTable server"},
	"store.Issuers":        {"dynamodb:GetItem ConfigTable issuer"},
	"store.RegistryReader": {"dynamodb:GetItem ConfigTable keys"},
	"store.Users":          {"dynamodb:GetItem UsersTable user#*"},
	"store.Logins":         {"dynamodb:GetItem UsersTable login#*"},
	"store.Consents": {
		"dynamodb:GetItem UsersTable consent#*",
		"dynamodb:UpdateItem UsersTable consent#*",
	},
	"store.Codes":         {"dynamodb:PutItem GrantsTable grant#*"},
	"store.GrantReader":   {"dynamodb:GetItem GrantsTable grant#*"},
	"store.Grants":        {"dynamodb:UpdateItem GrantsTable grant#*"},
	"store.SessionReader": {"dynamodb:GetItem GrantsTable session#*"},
	"store.Uses": {
		"dynamodb:PutItem GrantsTable once#*",
		"dynamodb:DeleteItem GrantsTable once#*",
	},
	"store.Revocations": {
		"dynamodb:UpdateItem GrantsTable grant#*",
		"dynamodb:PutItem GrantsTable revoked#*",
	},
	"store.RevokedTokens": {"dynamodb:GetItem GrantsTable revoked#*"},
	"store.OpaqueTokens": {
		"dynamodb:PutItem GrantsTable token#*",
		"dynamodb:GetItem GrantsTable token#*",
	},
	"store.OpaqueReader": {"dynamodb:GetItem GrantsTable token#*"},
	"store.OpaqueWriter": {"dynamodb:PutItem GrantsTable token#*"},
	"store.Documents": {
		"dynamodb:GetItem GrantsTable document#*",
		"dynamodb:PutItem GrantsTable document#*",
	},
	"store.Sessions": {
		"dynamodb:PutItem GrantsTable session#*",
		"dynamodb:GetItem GrantsTable session#*",
		"dynamodb:UpdateItem GrantsTable session#*",
		"dynamodb:DeleteItem GrantsTable session#*",
	},
	"store.SessionClients": {
		"dynamodb:UpdateItem GrantsTable session#*",
		"dynamodb:DeleteItem GrantsTable session#*",
	},
	"store.Listings": {
		"dynamodb:Query GrantsTable/index/owner session#*",
		"dynamodb:Query GrantsTable/index/owner grant#*",
		"dynamodb:GetItem GrantsTable session#*",
	},
	"store.GrantEnder": {"dynamodb:UpdateItem GrantsTable grant#*"},
	"store.Attempts": {
		"dynamodb:PutItem GrantsTable attempts#*",
		"dynamodb:DeleteItem GrantsTable attempts#*",
	},
	"store.Registries": {
		"dynamodb:GetItem ConfigTable keys",
		"dynamodb:PutItem ConfigTable keys",
	},
	"keys.Inventory": {
		"kms:ListKeys *",
		"kms:ListResourceTags *",
		"kms:DescribeKey key/* kmint:stack=!Ref AWS::StackName kmint:use=sign",
		"kms:GetKeyPolicy key/* kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate",
		"kms:GetPublicKey key/* kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate",
	},
	"keys.Keeper": {
		"kms:DescribeKey key/* kmint:stack=!Ref AWS::StackName kmint:use=sign",
		"kms:CreateKey * new kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate SIGN_VERIFY",
		"kms:TagResource key/* new kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate",
		"kms:PutKeyPolicy key/* kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate",
		"kms:DisableKey key/* kmint:stack=!Ref AWS::StackName kmint:use=sign",
		"kms:ScheduleKeyDeletion key/* kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate >=30",
	},
	"preflight.Registration": {"dynamodb:GetItem ConfigTable client#kmint-preflight"},
	"preflight.Versions": {
		"lambda:InvokeFunction TokenFunction:*", "lambda:InvokeFunction AuthorizeFunction:*",
		"lambda:InvokeFunction UserinfoFunction:*", "lambda:InvokeFunction DiscoveryFunction:*",
	},
	"preflight.Key": {
		"kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=preflight DIGEST ECDSA_SHA_256",
		"kms:GetPublicKey key/* kmint:stack=!Ref AWS::StackName kmint:use=preflight",
	},
	"server.Deployments": {"codedeploy:PutLifecycleEventHookExecutionStatus ServerlessDeploymentApplication/*"},
	"logout.Queue":       {"sqs:SendMessage LogoutQueue"},
	"keys.PrivateKey":    signatures(),
	"session.MAC":        {"kms:GenerateMac MacKey HMAC_SHA_256"},
	"dpop.MAC":           {"kms:GenerateMac MacKey HMAC_SHA_256"},
	"clientauth.Vault":   {"kms:Decrypt key/* kmint:stack=!Ref AWS::StackName kmint:use=seal client_id"},
}

// signatures are those that package kms asks for: each type of message with its
// algorithms.
func signatures() []string {
	algorithms := map[string][]string{}
	for _, algorithm := range jwt.Algorithms() {
		policy, err := kms.Policy("root", nil, algorithm)
		if err != nil {
			panic(err)
		}
		message := policy[2].Condition["StringNotEquals"]["kms:MessageType"][0]
		name := policy[3].Condition["StringNotEquals"]["kms:SigningAlgorithm"][0]
		if !slices.Contains(algorithms[message], name) {
			algorithms[message] = append(algorithms[message], name)
		}
	}
	var needed []string
	for message, names := range algorithms {
		needed = append(needed, "kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=sign "+message+" "+strings.Join(names, ","))
	}
	return needed
}

// A function is what the code says about one Lambda function.
type function struct {
	// Role is the logical id of its role, LogGroup of its log group.
	Role, LogGroup string
	// Server is its struct in package server, Config its environment.
	Server, Config any
	// Routes are its events.
	Routes []string
	// Queue is what it takes from, "" for none.
	Queue string
	// Schedule is when it runs by itself, "" for never.
	Schedule string
}

var functions = map[string]function{
	"TokenFunction": {"TokenRole", "TokenLogGroup", server.Token{}, config.Token{}, []string{
		"POST /oauth/token", "GET /oauth/token", "OPTIONS /oauth/token",
		"POST /token", "GET /token", "OPTIONS /token",
		"POST /v1/token", "GET /v1/token", "OPTIONS /v1/token",
		"POST /{proxy+}", "GET /{proxy+}", "OPTIONS /{proxy+}",
		"POST /oauth/revoke", "OPTIONS /oauth/revoke", "POST /oauth/introspect",
	}, "", ""},
	"AuthorizeFunction": {"AuthorizeRole", "AuthorizeLogGroup", server.Authorize{}, config.Authorize{}, []string{
		"GET /authorize", "POST /authorize", "GET /login", "GET /consents", "POST /consents", "GET /sessions", "POST /sessions", "GET /oidc/logout", "POST /oidc/logout", "GET /v2/logout",
	}, "", ""},
	"UserinfoFunction": {"UserinfoRole", "UserinfoLogGroup", server.Userinfo{}, config.Userinfo{}, []string{
		"GET /userinfo", "POST /userinfo", "OPTIONS /userinfo",
	}, "", ""},
	"DiscoveryFunction": {"DiscoveryRole", "DiscoveryLogGroup", server.Discovery{}, config.Discovery{}, []string{
		"GET /.well-known/openid-configuration", "OPTIONS /.well-known/openid-configuration",
		"GET /.well-known/oauth-authorization-server", "OPTIONS /.well-known/oauth-authorization-server",
		"GET /.well-known/jwks.json", "OPTIONS /.well-known/jwks.json",
		"GET /oidc/check_session",
	}, "", ""},
	"DeliverFunction":   {"DeliverRole", "DeliverLogGroup", server.Deliver{}, config.Deliver{}, nil, "LogoutQueue", ""},
	"PreflightFunction": {"PreflightRole", "PreflightLogGroup", server.Preflight{}, config.Preflight{}, nil, "", ""},
	"RotateFunction":    {"RotateRole", "RotateLogGroup", server.Rotate{}, config.Rotate{}, nil, "", "rate(6 hours)"},
}

func TestTemplate(t *testing.T) {
	for _, problem := range problems(readTemplate(t)) {
		t.Error(problem)
	}
}

// TestTemplateRefuses breaks the template in one place at a time.
func TestTemplateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"an action more":              {"[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]\n", "[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem]\n", "TokenFunction may dynamodb:DeleteItem GrantsTable grant#*, which"},
		"an action less":              {"Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem]", "Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]", "AuthorizeFunction needs dynamodb:DeleteItem GrantsTable session#*"},
		"an action by pattern":        {"[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]\n", "[dynamodb:GetItem, dynamodb:PutItem, dynamodb:Update*]\n", "TokenFunction may dynamodb:Update* GrantsTable grant#*, which"},
		"a kind of item more":         {`["client#*", issuer, server, keys]`, `["client#*", "api#*", issuer, server, keys]`, "UserinfoFunction may dynamodb:GetItem ConfigTable api#*, which"},
		"a kind of item less":         {`["user#*", "login#*"]`, `["user#*"]`, "TokenFunction needs dynamodb:GetItem UsersTable login#*"},
		"consents are everybody's":    {`["consent#*"]`, `["consent#*", "user#*"]`, "AuthorizeFunction may dynamodb:UpdateItem UsersTable user#*, which"},
		"a whole index":               {"Resource: !Sub ${GrantsTable.Arn}/index/owner\n                Condition:\n                  \"Null\": {\"dynamodb:LeadingKeys\": \"false\"}\n", "Resource: !Sub ${GrantsTable.Arn}/index/owner\n                Condition:\n", "AuthorizeFunction may dynamodb:Query GrantsTable/index/owner any key, which"},
		"the table queried":           {"Resource: !Sub ${GrantsTable.Arn}/index/owner", "Resource: !GetAtt GrantsTable.Arn", "AuthorizeFunction may dynamodb:Query GrantsTable session#*, which"},
		"every index":                 {"Resource: !Sub ${GrantsTable.Arn}/index/owner", "Resource: !Sub ${GrantsTable.Arn}/index/*", "AuthorizeFunction needs dynamodb:Query GrantsTable/index/owner"},
		"an index scanned":            {"Action: dynamodb:Query", "Action: [dynamodb:Query, dynamodb:Scan]", "AuthorizeFunction may dynamodb:Scan GrantsTable/index/owner"},
		"whole items in the index":    {"ProjectionType: KEYS_ONLY", "ProjectionType: ALL", "GrantsTable's indexes are not owner of keys alone"},
		"an index by another name":    {"{IndexName: owner,", "{IndexName: whose,", "GrantsTable's indexes are not owner of keys alone"},
		"every item":                  {`["grant#*"]`, `["*"]`, "TokenFunction may dynamodb:UpdateItem GrantsTable *, which"},
		"another table":               {"Resource: !GetAtt UsersTable.Arn", "Resource: !GetAtt ConfigTable.Arn", "TokenFunction may dynamodb:GetItem ConfigTable user#*, which"},
		"no condition on keys":        {`ForAllValues:StringLike: {"dynamodb:LeadingKeys": ["grant#*"]}`, `StringLike: {}`, "TokenFunction may dynamodb:UpdateItem GrantsTable any key, which"},
		"absent keys":                 {`"Null": {"dynamodb:LeadingKeys": "false"}`, `"Null": {}`, "TokenFunction may dynamodb:GetItem ConfigTable any key, which"},
		"any secret is opened":        {`"Null": {"kms:EncryptionContext:client_id": "false"}`, `"Null": {}`, "TokenFunction needs kms:Decrypt key/*"},
		"any key signs":               {"aws:ResourceTag/kmint:use: sign\n", "aws:ResourceTag/kmint:use: seal\n", "TokenFunction needs kms:Sign key/*"},
		"another function signs":      {"Action: kms:GenerateMac\n", "Action: [kms:GenerateMac, kms:Sign]\n", "TokenFunction may kms:Sign MacKey HMAC_SHA_256, which"},
		"preflight calls anything":    {"                  - !Sub ${UserinfoFunction.Arn}:*\n", "                  - \"*\"\n", "PreflightFunction may lambda:InvokeFunction *, which"},
		"preflight calls less":        {"                  - !Sub ${UserinfoFunction.Arn}:*\n", "", "PreflightFunction needs lambda:InvokeFunction UserinfoFunction:*"},
		"another's deployments":       {"deploymentgroup:${ServerlessDeploymentApplication}/*", "deploymentgroup:*", "PreflightFunction may codedeploy:PutLifecycleEventHookExecutionStatus arn:"},
		"preflight makes tokens":      {"aws:ResourceTag/kmint:use: preflight\n                    kms:MessageType", "aws:ResourceTag/kmint:use: sign\n                    kms:MessageType", "PreflightFunction may kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=sign DIGEST ECDSA_SHA_256, which"},
		"preflight is every client":   {"[\"client#kmint-preflight\", issuer]", "[\"client#*\", issuer]", "PreflightFunction may dynamodb:GetItem ConfigTable client#*, which"},
		"others are preflight":        {"aws:PrincipalArn: !GetAtt PreflightRole.Arn", "aws:PrincipalArn: !GetAtt TokenRole.Arn", "PreflightKey lets others sign"},
		"preflight for nothing":       {"    Condition: IsCanary\n    Metadata:\n      # The hook", "    Metadata:\n      # The hook", "PreflightKey is made under another condition than IsCanary"},
		"a managed policy":            {"      Policies:\n        - PolicyName: token\n", "      ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]\n      Policies:\n        - PolicyName: token\n", "TokenRole has ManagedPolicyArns"},
		"a role without its boundary": {"PermissionsBoundary: !If [HasBoundary, !Ref PermissionsBoundaryArn, !Ref \"AWS::NoValue\"]\n      AssumeRolePolicyDocument:\n        Version: \"2012-10-17\"\n        Statement:\n          - Effect: Allow\n            Principal: {Service: lambda", "AssumeRolePolicyDocument:\n        Version: \"2012-10-17\"\n        Statement:\n          - Effect: Allow\n            Principal: {Service: lambda", "TokenRole is not bounded"},
		"a role more":                 {"  DeploymentRole:\n", "  OtherRole:\n    Type: AWS::IAM::Role\n  DeploymentRole:\n", "OtherRole is a role that this test does not know"},
		"a managed policy more":       {"  TracingPolicy:\n", "  OtherPolicy:\n    Type: AWS::IAM::ManagedPolicy\n  TracingPolicy:\n", "OtherPolicy is a policy that this test does not know"},
		"all of X-Ray":                {"Action: [\"xray:PutTraceSegments\", \"xray:PutTelemetryRecords\"]", "Action: \"xray:*\"", "TracingPolicy does not allow just xray:PutTraceSegments"},
		"traced unasked":              {"    Condition: IsTraced\n", "", "TracingPolicy is there under another condition than IsTraced"},
		"a function not traced":       {"!Ref DeliverRole, !Ref RotateRole", "!Ref DeliverRole", "TracingPolicy is not that of every role"},
		"the table's key for all":     {"StringEquals: {\"kms:ViaService\"", "StringLike: {\"kms:ViaService\"", "TableKeyPolicy does not allow just kms:Decrypt"},
		"policies beside the role":    {"Role: !GetAtt TokenRole.Arn", "Policies: [AdministratorAccess]", "TokenFunction's role is not TokenRole alone"},
		"a role swapped":              {"Role: !GetAtt UserinfoRole.Arn", "Role: !GetAtt TokenRole.Arn", "UserinfoFunction's role is not UserinfoRole alone"},
		"a route less":                {"Method: OPTIONS, Path: /userinfo}", "Method: GET, Path: /userinfo}", "UserinfoFunction has no route OPTIONS /userinfo"},
		"a route more":                {"Method: OPTIONS, Path: /userinfo}", "Method: OPTIONS, Path: /whoami}", "UserinfoFunction has a route OPTIONS /whoami"},
		"an own limit without route":  {"        POST /oauth/token:\n", "        PUT /oauth/token:\n", "Api limits PUT /oauth/token, which is no route"},
		"CORS by the gateway":         {"      StageName: $default\n", "      StageName: $default\n      CorsConfiguration: true\n", "Api has a CorsConfiguration"},
		"reserved concurrency":        {"Description: The UserInfo endpoint\n", "Description: The UserInfo endpoint\n      ReservedConcurrentExecutions: 5\n", "UserinfoFunction reserves concurrency"},
		"a variable less":             {"          MAC_KEY: !GetAtt MacKey.Arn\n", "", "TokenFunction has no variable MAC_KEY"},
		"a variable more":             {"          MAC_KEY: !GetAtt MacKey.Arn\n", "          MAC_KEY: !GetAtt MacKey.Arn\n          REALM: kmint\n", "TokenFunction has a variable REALM"},
		"no TTL":                      {"TimeToLiveSpecification: {AttributeName: ttl, Enabled: true}", "TimeToLiveSpecification: {AttributeName: expires, Enabled: true}", "GrantsTable does not expire items by ttl"},
		"grants restored":             {"PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: false}", "PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}", "GrantsTable can be restored"},
		"no recovery":                 {"PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}", "PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: false}", "ConfigTable cannot be restored"},
		"no deletion protection":      {"DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "ConfigTable is not protected against deletion"},
		"clients go with the stack":   {"AWS owns it by default}\n    DeletionPolicy: Retain", "AWS owns it by default}\n    DeletionPolicy: Delete", "ConfigTable goes with the stack"},
		"the key goes with the stack": {"  SigningKey:\n    Type: AWS::KMS::Key\n    DeletionPolicy: Retain", "  SigningKey:\n    Type: AWS::KMS::Key\n    DeletionPolicy: Delete", "SigningKey goes with the stack"},
		"everybody signs":             {"PrincipalArn: [!GetAtt TokenRole.Arn, !GetAtt DeliverRole.Arn,", "PrincipalArn: [!GetAtt TokenRole.Arn, !GetAtt UserinfoRole.Arn,", "SigningKey lets others sign"},
		"rotate lets others sign":     {"\",\", [!GetAtt TokenRole.Arn, !GetAtt DeliverRole.Arn,", "\",\", [!GetAtt TokenRole.Arn, !GetAtt UserinfoRole.Arn,", "RotateFunction's SIGNERS are not those of SigningKey"},
		"functions of another stack":  {"STACK: !Ref AWS::StackName", "STACK: kmint", "the functions' STACK is not the stack's name"},
		"the login page always signs": {"!If [AuthorizeMaySign, !GetAtt AuthorizeRole.Arn, !Ref \"AWS::NoValue\"]]}", "!GetAtt AuthorizeRole.Arn]}", "SigningKey lets others sign"},
		"its role always signs":       {"        - !If\n          - AuthorizeMaySign\n          - PolicyName: sign", "        - !If\n          - HasIssuer\n          - PolicyName: sign", "AuthorizeRole has a policy under a condition"},
		"it signs by default":         {"  AuthorizeSigns:\n    Type: String\n    Default: \"no\"", "  AuthorizeSigns:\n    Type: String\n    Default: \"yes\"", "the parameter AuthorizeSigns is not yes or no, by default no"},
		"it is told another thing":    {"AUTHORIZE_SIGNS: !If [AuthorizeMaySign, \"true\", \"false\"]\n          AWS", "AUTHORIZE_SIGNS: \"true\"\n          AWS", "AuthorizeFunction's AUTHORIZE_SIGNS is not that of AuthorizeSigns"},
		"messages lost":               {"FunctionResponseTypes: [ReportBatchItemFailures]", "FunctionResponseTypes: []", "DeliverFunction does not take from LogoutQueue"},
		"another queue":               {"            Queue: !GetAtt LogoutQueue.Arn", "            Queue: !GetAtt LogoutDeadLetters.Arn", "DeliverFunction has an event that is no route"},
		"nobody rotates":              {"{Schedule: rate(6 hours)}", "{Schedule: rate(6 hours), Enabled: false}", "RotateFunction does not run at rate(6 hours)"},
		"keys of any stack":           {"aws:RequestTag/kmint:stack: !Ref AWS::StackName\n                    aws:RequestTag/kmint:use: sign\n                    aws:RequestTag/kmint:made-by: rotate\n                    kms:KeyUsage: SIGN_VERIFY", "kms:KeyUsage: SIGN_VERIFY", "RotateFunction may kms:CreateKey * SIGN_VERIFY, which"},
		"rotate signs":                {"[kms:GetPublicKey, kms:GetKeyPolicy, kms:PutKeyPolicy]", "[kms:GetPublicKey, kms:GetKeyPolicy, kms:PutKeyPolicy, kms:Sign]", "RotateFunction may kms:Sign key/*"},
		"the template's keys deleted": {"aws:ResourceTag/kmint:made-by: rotate\n                  NumericGreater", "aws:ResourceTag/kmint:use: sign\n                  NumericGreater", "RotateFunction may kms:ScheduleKeyDeletion key/* kmint:stack=!Ref AWS::StackName kmint:use=sign >=30, which"},
		"deleted within a week":       {"kms:ScheduleKeyDeletionPendingWindowInDays: \"30\"", "kms:ScheduleKeyDeletionPendingWindowInDays: \"7\"", "RotateFunction may kms:ScheduleKeyDeletion key/* kmint:stack=!Ref AWS::StackName kmint:use=sign kmint:made-by=rotate >=7, which"},
		"every item for rotate":       {"{\"dynamodb:LeadingKeys\": [keys]}", "{\"dynamodb:LeadingKeys\": [keys, issuer]}", "RotateFunction may dynamodb:PutItem ConfigTable issuer, which"},
		"the rotated keys' policy":    {"Sid: OnlyRS256", "Sid: OnlyPS256", "SigningKey signs by others than RSASSA_PKCS1_V1_5_SHA_256"},
		"letters to nobody":           {"deadLetterTargetArn: !GetAtt LogoutDeadLetters.Arn", "deadLetterTargetArn: !GetAtt LogoutQueue.Arn", "LogoutQueue keeps no dead letters"},
		"given out twice":             {"VisibilityTimeout: 60", "VisibilityTimeout: 30", "LogoutQueue gives a message out again"},
		"a queue that all may read":   {"SqsManagedSseEnabled: true", "SqsManagedSseEnabled: false", "LogoutQueue is not encrypted"},
		"the login page takes":        {"Action: sqs:SendMessage", "Action: [sqs:SendMessage, sqs:ReceiveMessage]", "AuthorizeFunction may sqs:ReceiveMessage LogoutQueue, which"},
		"raw messages signed":         {`{"kms:MessageType": DIGEST}`, `{"kms:MessageType": RAW}`, "SigningKey signs more than digests"},
		"digests by Ed25519":          {`{"kms:MessageType": RAW}`, `{"kms:MessageType": DIGEST}`, "EdDSAKey signs more than messages"},
		"messages by ML-DSA":          {`{"kms:MessageType": EXTERNAL_MU}`, `{"kms:MessageType": [RAW, EXTERNAL_MU]}`, "MLDSA44Key signs more than μ"},
		"the role signs messages":     {"kms:MessageType: DIGEST\n", "kms:MessageType: [DIGEST, RAW]\n", "TokenFunction may kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=sign DIGEST,RAW"},
		"Ed25519 with its own hash":   {"kms:SigningAlgorithm: ED25519_SHA_512\n", "kms:SigningAlgorithm: [ED25519_SHA_512, ED25519_PH_SHA_512]\n", "TokenFunction may kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=sign RAW ED25519_SHA_512,ED25519_PH"},
		"ECDSA on another curve":      {"ECDSA_SHA_512]", "ECDSA_SHA_512, SM2DSA]", "TokenFunction may kms:Sign key/*"},
		"an algorithm less":           {"ECDSA_SHA_256, ECDSA_SHA_384, ECDSA_SHA_512]", "ECDSA_SHA_256, ECDSA_SHA_384]", "TokenFunction needs kms:Sign key/*"},
		"PS256 by the key for RS256":  {`{"kms:SigningAlgorithm": RSASSA_PKCS1_V1_5_SHA_256}`, `{"kms:SigningAlgorithm": RSASSA_PSS_SHA_256}`, "SigningKey signs by others than RSASSA_PKCS1_V1_5_SHA_256"},
		"RS256 by the key for PS256":  {`{"kms:SigningAlgorithm": RSASSA_PSS_SHA_256}`, `{"kms:SigningAlgorithm": [RSASSA_PSS_SHA_256, RSASSA_PKCS1_V1_5_SHA_256]}`, "PS256Key signs by others than RSASSA_PSS_SHA_256"},
		"any algorithm":               {`{StringNotEquals: {"kms:SigningAlgorithm": ECDSA_SHA_256}}`, `{StringNotEquals: {"kms:SigningAlgorithm": ECDSA_SHA_256, "kms:MessageType": DIGEST}}`, "ES256Key signs by others than ECDSA_SHA_256"},
		"the account locked out":      {"Effect: Deny\n            Principal: {AWS: \"*\"}\n            Action: kms:Sign", "Effect: Deny\n            Principal: {AWS: \"*\"}\n            Action: kms:*", "SigningKey's policy has a statement that this test does not know"},
		"nobody administers":          {`Action: "kms:*"`, "Action: kms:DescribeKey", "SigningKey is not administered by the account"},
		"another curve":               {"AllowedValues: [\"no\", ECC_NIST_P256]", "AllowedValues: [\"no\", ECC_NIST_P384]", "the parameter ES256 is not one of no, ECC_NIST_P256"},
		"a spec of its own":           {"KeySpec: !Ref ES256\n", "KeySpec: ECC_NIST_P256\n", "ES256Key is no {Ref ES256} key for SIGN_VERIFY"},
		"the other key's spec":        {"KeySpec: !Ref ES256\n", "KeySpec: !Ref ES384\n", "ES256Key is no {Ref ES256} key for SIGN_VERIFY"},
		"no key that all verify":      {"  RS256:\n    Type: String\n    Default: RSA_2048\n", "  RS256:\n    Type: String\n    Default: RSA_4096\n", "the parameter RS256 is not one of RSA_2048, RSA_3072, RSA_4096, by default RSA_2048"},
		"one Region for ever":         {"MultiRegion: !If [IsMultiRegion, true, false]", "MultiRegion: false", "SigningKey is not multi-Region as MultiRegion says"},
		"a key nobody asked for":      {"    Condition: HasPS256\n    DeletionPolicy", "    DeletionPolicy", "PS256Key is made under another condition than HasPS256"},
		"an algorithm's key for all":  {"  PS256:\n    Type: String\n    Default: \"no\"", "  PS256:\n    Type: String\n    Default: RSA_2048", "the parameter PS256 is not one of no, RSA_2048, RSA_3072, RSA_4096, by default no"},
		"the other key's condition":   {"HasES256: !Not [!Equals [!Ref ES256,", "HasES256: !Not [!Equals [!Ref PS256,", "HasES256 is not that ES256 is a spec"},
		"an output without its key":   {"    Condition: HasPS256\n    Value", "    Value", "the output PS256KeyArn is not that of PS256Key"},
		"the other key's output":      {"Value: !GetAtt ES256Key.Arn", "Value: !GetAtt PS256Key.Arn", "the output ES256KeyArn is not that of ES256Key"},
		"secrets go with the stack":   {"    Condition: HasClientSecretJwt\n    DeletionPolicy: Retain", "    Condition: HasClientSecretJwt\n    DeletionPolicy: Delete", "SecretsKey goes with the stack"},
		"a key more":                  {"  MacKey:\n    Type", "  OtherKey:\n    Type: AWS::KMS::Key\n  MacKey:\n    Type", "OtherKey is a key that this test does not know"},
		"secrets under an old key":    {"EnableKeyRotation: true", "EnableKeyRotation: false", "SecretsKey is not rotated"},
		"a vault that signs":          {"KeyUsage: ENCRYPT_DECRYPT", "KeyUsage: SIGN_VERIFY", "SecretsKey is no SYMMETRIC_DEFAULT key for ENCRYPT_DECRYPT"},
		"a vault of no condition":     {"SECRETS_KEY: !If [HasClientSecretJwt,", "SECRETS_KEY: !If [HasPS256,", "TokenFunction's SECRETS_KEY is not that of SecretsKey under its condition"},
		"a key without its tag":       {"{Key: kmint:use, Value: sign}", "{Key: kmint:use, Value: seal}", "SigningKey has not the tags that TokenRole reaches keys by"},
		"an output less":              {"  JwksUri:\n    Value:", "  Jwks:\n    Value:", "there is no output JwksUri"},
	} {
		t.Run(name, func(t *testing.T) {
			template := readTemplate(t)
			if !strings.Contains(template, c.old) {
				t.Fatalf("the template has no %q", c.old)
			}
			found := problems(strings.Replace(template, c.old, c.new, 1))
			if !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("want %q, got %q", c.want, found)
			}
		})
	}
}

// problems lists all that is wrong with a template.
func problems(templateText string) []string {
	template, err := parse(templateText)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	resources := members(template["Resources"])

	for id := range resources {
		if _, known := functions[id]; !known && text(at(resources[id], "Type")) == "AWS::Serverless::Function" {
			report("%s is a function that this test does not know", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(functions)) {
		checkFunction(id, functions[id], resources, template, report)
	}
	checkPolicies(resources, report)
	checkAPI(resources, report)
	checkTables(resources, report)
	checkQueue(resources, template, report)
	checkKeys(resources, template, report)
	checkParameter("AuthorizeSigns", maySign, template, report)
	for _, id := range []string{"AuthorizeFunction", "DiscoveryFunction"} {
		signs := at(resources[id], "Properties", "Environment", "Variables", "AUTHORIZE_SIGNS")
		if !reflect.DeepEqual(signs, call{"If", []any{maySign, "true", "false"}}) {
			report("%s's AUTHORIZE_SIGNS is not that of AuthorizeSigns", id)
		}
	}
	rotate := at(resources["RotateFunction"], "Properties", "Environment", "Variables")
	if !reflect.DeepEqual(at(rotate, "SIGNERS"), call{"Join", []any{",", signers()}}) {
		report("RotateFunction's SIGNERS are not those of SigningKey")
	}
	if at(template["Globals"], "Function", "Environment", "Variables", "STACK") != any(call{"Ref", "AWS::StackName"}) || at(rotate, "STACK") != nil {
		report("the functions' STACK is not the stack's name")
	}
	for _, output := range []string{"Issuer", "TokenEndpoint", "JwksUri", "ApiUrl", "ConfigTable", "UsersTable", "GrantsTable"} {
		if at(template, "Outputs", output, "Value") == nil {
			report("there is no output %s", output)
		}
	}
	return found
}

func checkFunction(id string, f function, resources, template map[string]any, report func(string, ...any)) {
	properties := members(at(resources[id], "Properties"))
	if referred(properties["Role"]) != f.Role || properties["Policies"] != nil {
		report("%s's role is not %s alone", id, f.Role)
	}
	if referred(at(properties, "LoggingConfig", "LogGroup")) != f.LogGroup {
		report("%s does not log to %s", id, f.LogGroup)
	}
	if properties["ReservedConcurrentExecutions"] != nil {
		report("%s reserves concurrency", id)
	}

	// The role against the code.
	allowed, wrong := permissions(members(at(resources[f.Role], "Properties")))
	for _, problem := range wrong {
		report("%s %s", f.Role, problem)
	}
	needed, err := needs(f)
	if err != nil {
		report("%s: %v", id, err)
	}
	for _, p := range missing(needed, allowed) {
		report("%s needs %s, which %s does not allow", id, p, f.Role)
	}
	for _, p := range missing(allowed, needed) {
		report("%s may %s, which its code does not need", id, p)
	}

	// The routes.
	var routes []string
	took, scheduled := f.Queue == "", f.Schedule == ""
	for _, event := range members(properties["Events"]) {
		if text(at(event, "Type")) == "SQS" && referred(at(event, "Properties", "Queue")) == f.Queue {
			took = slices.Equal(texts(at(event, "Properties", "FunctionResponseTypes")), []string{"ReportBatchItemFailures"})
			continue
		}
		if text(at(event, "Type")) == "Schedule" && text(at(event, "Properties", "Schedule")) == f.Schedule && at(event, "Properties", "Enabled") == nil {
			scheduled = true
			continue
		}
		if text(at(event, "Type")) != "HttpApi" || referred(at(event, "Properties", "ApiId")) != "Api" {
			report("%s has an event that is no route of Api", id)
		}
		routes = append(routes, text(at(event, "Properties", "Method"))+" "+text(at(event, "Properties", "Path")))
	}
	for _, route := range missing(f.Routes, routes) {
		report("%s has no route %s", id, route)
	}
	for _, route := range missing(routes, f.Routes) {
		report("%s has a route %s, which this test does not know", id, route)
	}

	if !took {
		report("%s does not take from %s, message by message", id, f.Queue)
	}
	if !scheduled {
		report("%s does not run at %s", id, f.Schedule)
	}

	// The environment.
	variables := slices.Collect(maps.Keys(members(at(properties, "Environment", "Variables"))))
	variables = slices.AppendSeq(variables, maps.Keys(members(at(template, "Globals", "Function", "Environment", "Variables"))))
	read := environment(reflect.TypeOf(f.Config))
	for _, name := range missing(read, variables) {
		report("%s has no variable %s", id, name)
	}
	for _, name := range missing(variables, read) {
		// The SDK's own, for sam local.
		if !strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
			report("%s has a variable %s, which its code does not read", id, name)
		}
	}
}

// needs lists what the fields of a function's struct stand for, and its logs.
func needs(f function) ([]string, error) {
	needed := []string{
		"logs:CreateLogStream " + f.LogGroup,
		"logs:PutLogEvents " + f.LogGroup,
	}
	if f.Queue != "" { // Lambda takes from it by the function's role
		for _, action := range []string{"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"} {
			needed = append(needed, "sqs:"+action+" "+f.Queue)
		}
	}
	for _, field := range reflect.VisibleFields(reflect.TypeOf(f.Server)) {
		switch field.Type {
		case reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[time.Duration](), reflect.TypeFor[*slog.Logger](), reflect.TypeFor[func() time.Time]():
			continue
		}
		actions, known := implied[field.Type.String()]
		if !known {
			return nil, fmt.Errorf("its field %s is a %s: which IAM actions does that stand for?", field.Name, field.Type)
		}
		needed = append(needed, actions...)
	}
	return needed, nil
}

// permissions reads what a role allows, and what no role may have.
func permissions(role map[string]any) (allowed, wrong []string) {
	if role["ManagedPolicyArns"] != nil {
		wrong = append(wrong, "has ManagedPolicyArns")
	}
	trust := list(at(role, "AssumeRolePolicyDocument", "Statement"))
	if len(trust) != 1 || text(at(trust[0], "Principal", "Service")) != "lambda.amazonaws.com" || text(at(trust[0], "Action")) != "sts:AssumeRole" {
		wrong = append(wrong, "trusts others than Lambda")
	}
	for _, policy := range list(role["Policies"]) {
		policy, plain := conditional(policy)
		if !plain {
			wrong = append(wrong, "has a policy under a condition that this test does not know")
		}
		for _, s := range list(at(policy, "PolicyDocument", "Statement")) {
			statement := members(s)
			if text(statement["Effect"]) != "Allow" || statement["NotAction"] != nil || statement["NotResource"] != nil {
				wrong = append(wrong, "has a statement that does not plainly allow")
				continue
			}
			for _, action := range texts(statement["Action"]) {
				for _, on := range targets(action, statement) {
					allowed = append(allowed, action+" "+on)
				}
			}
		}
	}
	return allowed, wrong
}

// checkPolicies holds that there are no roles and policies beside those of the functions,
// but what a parameter gives them all, and what CodeDeploy has by AWS's own policy.
func checkPolicies(resources map[string]any, report func(string, ...any)) {
	roles := []any{}
	for _, id := range []string{"TokenFunction", "AuthorizeFunction", "UserinfoFunction", "DiscoveryFunction", "DeliverFunction", "RotateFunction"} {
		roles = append(roles, call{"Ref", functions[id].Role})
	}
	roles = append(roles, call{"If", []any{"IsCanary", call{"Ref", "PreflightRole"}, call{"Ref", "AWS::NoValue"}}})
	known := map[string]struct {
		condition string
		statement map[string]any
	}{
		"TracingPolicy": {"IsTraced", map[string]any{
			"Action": []any{"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, "Resource": "*",
		}},
		"TableKeyPolicy": {"HasTableKey", map[string]any{
			"Action": "kms:Decrypt", "Resource": call{"Ref", "TableKeyArn"},
			"Condition": map[string]any{"StringEquals": map[string]any{"kms:ViaService": call{"Sub", "dynamodb.${AWS::Region}.${AWS::URLSuffix}"}}},
		}},
	}
	bounded := call{"If", []any{"HasBoundary", call{"Ref", "PermissionsBoundaryArn"}, call{"Ref", "AWS::NoValue"}}}
	for id, resource := range resources {
		switch text(at(resource, "Type")) {
		case "AWS::IAM::Role":
			ofFunction := false
			for _, f := range functions {
				ofFunction = ofFunction || f.Role == id
			}
			if !ofFunction && id != "DeploymentRole" {
				report("%s is a role that this test does not know", id)
			}
			if !reflect.DeepEqual(at(resource, "Properties", "PermissionsBoundary"), bounded) {
				report("%s is not bounded as PermissionsBoundaryArn says", id)
			}
		case "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy":
			policy, is := known[id]
			if !is {
				report("%s is a policy that this test does not know", id)
				continue
			}
			if text(at(resource, "Condition")) != policy.condition {
				report("%s is there under another condition than %s", id, policy.condition)
			}
			if !reflect.DeepEqual(list(at(resource, "Properties", "Roles")), roles) {
				report("%s is not that of every role", id)
			}
			statements := list(at(resource, "Properties", "PolicyDocument", "Statement"))
			policy.statement["Effect"] = "Allow"
			if len(statements) == 1 {
				policy.statement["Sid"] = at(statements[0], "Sid")
			}
			if len(statements) != 1 || !reflect.DeepEqual(statements[0], any(policy.statement)) {
				report("%s does not allow just %s", id, strings.Join(texts(policy.statement["Action"]), ", "))
			}
		}
	}
	deployment := members(at(resources["DeploymentRole"], "Properties"))
	if deployment["Policies"] != nil || !reflect.DeepEqual(list(deployment["ManagedPolicyArns"]), []any{call{"Sub", "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited"}}) {
		report("DeploymentRole has more than AWS gives CodeDeploy")
	}
}

// conditional is the policy that a role has where AuthorizeSigns is yes, and else not.
func conditional(policy any) (any, bool) {
	if _, is := policy.(call); !is {
		return policy, true
	}
	arguments := list(policy.(call).Argument)
	if policy.(call).Name != "If" || len(arguments) != 3 || arguments[0] != any(maySign) || arguments[2] != any(call{"Ref", "AWS::NoValue"}) {
		return policy, false
	}
	return arguments[1], true
}

// maySign is the condition of what the authorize function needs to sign.
const maySign = "AuthorizeMaySign"

// targets says what a statement allows an action on.
func targets(action string, statement map[string]any) []string {
	condition := statement["Condition"]
	resource := referred(statement["Resource"])
	switch service, _, _ := strings.Cut(action, ":"); service {
	case "dynamodb":
		keys := texts(at(condition, "ForAllValues:StringLike", "dynamodb:LeadingKeys"))
		// "ForAllValues also returns true if there are no context keys in the
		// request": so their presence is asked for too.
		if len(keys) == 0 || text(at(condition, "Null", "dynamodb:LeadingKeys")) != "false" {
			keys = []string{"any key"}
		}
		var on []string
		for _, key := range keys {
			on = append(on, resource+" "+key)
		}
		return on
	case "kms":
		words := []string{resource}
		if resource == "" {
			words[0] = "another resource"
			switch arn, _ := statement["Resource"].(call); {
			case arn == (call{"Sub", "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"}):
				words[0] = "key/*"
			case text(statement["Resource"]) == "*":
				words[0] = "*"
			}
			// A role reaches signing keys by tag, and makes none without.
			words = append(words, tagged("", "aws:ResourceTag/", condition)...)
			words = append(words, tagged("new", "aws:RequestTag/", condition)...)
		}
		for _, key := range []string{"kms:MessageType", "kms:SigningAlgorithm", "kms:MacAlgorithm", "kms:KeyUsage"} {
			if values := texts(at(condition, "StringEquals", key)); len(values) > 0 {
				words = append(words, strings.Join(values, ","))
			}
		}
		if text(at(condition, "Null", "kms:EncryptionContext:client_id")) == "false" {
			words = append(words, "client_id")
		}
		if days := text(at(condition, "NumericGreaterThanEquals", "kms:ScheduleKeyDeletionPendingWindowInDays")); days != "" {
			words = append(words, ">="+days)
		}
		return []string{strings.Join(words, " ")}
	case "lambda", "codedeploy":
		var on []string
		resources := list(statement["Resource"])
		if resources == nil {
			resources = []any{statement["Resource"]}
		}
		for _, r := range resources {
			name := text(r)
			if sub, ok := r.(call); ok {
				name = text(sub.Argument)
			}
			if function, ok := strings.CutSuffix(name, ".Arn}:*"); ok { // its versions
				name = strings.TrimPrefix(function, "${") + ":*"
			}
			name = strings.Replace(name, "arn:${AWS::Partition}:codedeploy:${AWS::Region}:${AWS::AccountId}:deploymentgroup:${ServerlessDeploymentApplication}/", "ServerlessDeploymentApplication/", 1)
			on = append(on, name)
		}
		return on
	default:
		return []string{resource}
	}
}

// tagged lists the tags that a condition asks for.
func tagged(before, prefix string, condition any) []string {
	var words []string
	if stack, ok := at(condition, "StringEquals", prefix+"kmint:stack").(call); ok {
		words = append(words, "kmint:stack=!"+stack.Name+" "+text(stack.Argument))
	}
	for _, tag := range []string{"kmint:use", "kmint:made-by"} {
		if value := text(at(condition, "StringEquals", prefix+tag)); value != "" {
			words = append(words, tag+"="+value)
		}
	}
	if before != "" && len(words) > 0 {
		words = append([]string{before}, words...)
	}
	return words
}

func checkAPI(resources map[string]any, report func(string, ...any)) {
	api := members(at(resources["Api"], "Properties"))
	if text(api["StageName"]) != "$default" {
		report("Api's stage is not $default")
	}
	if api["CorsConfiguration"] != nil {
		report("Api has a CorsConfiguration, which overrides the functions' headers")
	}
	if referred(at(api, "AccessLogSettings", "DestinationArn")) != "ApiLogGroup" {
		report("Api has no access log")
	}
	routes := map[string]bool{}
	for _, f := range functions {
		for _, route := range f.Routes {
			routes[route] = true
		}
	}
	for route := range members(api["RouteSettings"]) {
		if !routes[route] {
			report("Api limits %s, which is no route", route)
		}
	}
}

func checkTables(resources map[string]any, report func(string, ...any)) {
	for _, id := range []string{"ConfigTable", "UsersTable", "GrantsTable"} {
		properties := members(at(resources[id], "Properties"))
		keys := list(properties["KeySchema"])
		if len(keys) != 1 || text(at(keys[0], "AttributeName")) != "pk" || text(at(keys[0], "KeyType")) != "HASH" {
			report("%s's key is not pk alone", id)
		}
		var indexes []any
		if id == "GrantsTable" {
			indexes = []any{map[string]any{
				"IndexName": "owner", "Projection": map[string]any{"ProjectionType": "KEYS_ONLY"},
				"KeySchema": []any{map[string]any{"AttributeName": "owner", "KeyType": "HASH"}},
			}}
		}
		if !reflect.DeepEqual(list(properties["GlobalSecondaryIndexes"]), indexes) || properties["LocalSecondaryIndexes"] != nil {
			report("%s's indexes are not owner of keys alone", id)
		}
		recovered := text(at(properties, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled")) == "true"
		if id == "GrantsTable" {
			if text(at(properties, "TimeToLiveSpecification", "AttributeName")) != "ttl" || text(at(properties, "TimeToLiveSpecification", "Enabled")) != "true" {
				report("%s does not expire items by ttl", id)
			}
			if recovered {
				report("%s can be restored, which would revive spent codes", id)
			}
			continue
		}
		if !recovered {
			report("%s cannot be restored", id)
		}
		if text(properties["DeletionProtectionEnabled"]) != "true" {
			report("%s is not protected against deletion", id)
		}
		checkKept(id, resources, report)
	}
}

// checkQueue holds that a message comes again, not while it is at work, and is not lost.
func checkQueue(resources, template map[string]any, report func(string, ...any)) {
	queue := members(at(resources["LogoutQueue"], "Properties"))
	// Lambda asks for six times the function's timeout.
	timeout, _ := strconv.Atoi(text(at(template, "Globals", "Function", "Timeout")))
	if hidden, _ := strconv.Atoi(text(queue["VisibilityTimeout"])); timeout == 0 || hidden < 6*timeout {
		report("LogoutQueue gives a message out again while it is at work")
	}
	if referred(at(queue, "RedrivePolicy", "deadLetterTargetArn")) != "LogoutDeadLetters" || text(at(queue, "RedrivePolicy", "maxReceiveCount")) != "5" {
		report("LogoutQueue keeps no dead letters")
	}
	for _, id := range []string{"LogoutQueue", "LogoutDeadLetters"} {
		if text(at(resources[id], "Properties", "SqsManagedSseEnabled")) != "true" {
			report("%s is not encrypted", id)
		}
	}
}

func checkKept(id string, resources map[string]any, report func(string, ...any)) {
	if text(at(resources[id], "DeletionPolicy")) != "Retain" || text(at(resources[id], "UpdateReplacePolicy")) != "Retain" {
		report("%s goes with the stack", id)
	}
}

// templateKeys are those of the template.
var templateKeys = map[string]struct {
	// Parameter makes it, or else Spec says what it is, and it is always there.
	Parameter string
	// Specs are what the parameter may be; of one that is yes or no there are none.
	Specs       []string
	Spec, Usage string
	// Use is its tag.
	Use string
	// Algorithm is the one that it signs by.
	Algorithm string
	Output    string
	Kept      bool
}{
	"SigningKey":   {"RS256", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.RS256, "SigningKeyArn", true},
	"RS384Key":     {"RS384", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.RS384, "RS384KeyArn", true},
	"RS512Key":     {"RS512", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.RS512, "RS512KeyArn", true},
	"PS256Key":     {"PS256", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.PS256, "PS256KeyArn", true},
	"PS384Key":     {"PS384", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.PS384, "PS384KeyArn", true},
	"PS512Key":     {"PS512", rsaSpecs, "", "SIGN_VERIFY", "sign", jwt.PS512, "PS512KeyArn", true},
	"ES256Key":     {"ES256", []string{"ECC_NIST_P256"}, "", "SIGN_VERIFY", "sign", jwt.ES256, "ES256KeyArn", true},
	"ES384Key":     {"ES384", []string{"ECC_NIST_P384"}, "", "SIGN_VERIFY", "sign", jwt.ES384, "ES384KeyArn", true},
	"ES512Key":     {"ES512", []string{"ECC_NIST_P521"}, "", "SIGN_VERIFY", "sign", jwt.ES512, "ES512KeyArn", true},
	"EdDSAKey":     {"EdDSA", []string{"ECC_NIST_EDWARDS25519"}, "", "SIGN_VERIFY", "sign", jwt.EdDSA, "EdDSAKeyArn", true},
	"Ed25519Key":   {"Ed25519", []string{"ECC_NIST_EDWARDS25519"}, "", "SIGN_VERIFY", "sign", jwt.Ed25519, "Ed25519KeyArn", true},
	"MLDSA44Key":   {"MLDSA44", []string{"ML_DSA_44"}, "", "SIGN_VERIFY", "sign", jwt.MLDSA44, "MLDSA44KeyArn", true},
	"MLDSA65Key":   {"MLDSA65", []string{"ML_DSA_65"}, "", "SIGN_VERIFY", "sign", jwt.MLDSA65, "MLDSA65KeyArn", true},
	"MLDSA87Key":   {"MLDSA87", []string{"ML_DSA_87"}, "", "SIGN_VERIFY", "sign", jwt.MLDSA87, "MLDSA87KeyArn", true},
	"SecretsKey":   {"ClientSecretJwt", nil, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "seal", "", "SecretsKeyArn", true},
	"PreflightKey": {"", nil, "ECC_NIST_P256", "SIGN_VERIFY", "preflight", jwt.ES256, "PreflightKeyArn", false},
	"MacKey":       {"", nil, "HMAC_256", "GENERATE_VERIFY_MAC", "seal", "", "MacKeyArn", false},
}

var rsaSpecs = []string{"RSA_2048", "RSA_3072", "RSA_4096"}

func checkKeys(resources, template map[string]any, report func(string, ...any)) {
	for id, resource := range resources {
		if _, known := templateKeys[id]; !known && text(at(resource, "Type")) == "AWS::KMS::Key" {
			report("%s is a key that this test does not know", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(templateKeys)) {
		k := templateKeys[id]
		if k.Kept {
			checkKept(id, resources, report)
		}
		properties := members(at(resources[id], "Properties"))
		spec := any(k.Spec)
		if k.Specs != nil {
			spec = call{"Ref", k.Parameter}
		}
		if properties["KeySpec"] != spec || text(properties["KeyUsage"]) != k.Usage {
			report("%s is no %v key for %s", id, spec, k.Usage)
		}
		if !reflect.DeepEqual(properties["MultiRegion"], call{"If", []any{"IsMultiRegion", "true", "false"}}) {
			report("%s is not multi-Region as MultiRegion says", id)
		}
		// KMS rotates symmetric encryption keys only.
		if k.Spec == "SYMMETRIC_DEFAULT" && text(properties["EnableKeyRotation"]) != "true" {
			report("%s is not rotated", id)
		}
		tags := map[string]any{}
		for _, tag := range list(properties["Tags"]) {
			tags[text(at(tag, "Key"))] = at(tag, "Value")
		}
		if tags["kmint:stack"] != any(call{"Ref", "AWS::StackName"}) || tags["kmint:use"] != any(k.Use) {
			report("%s has not the tags that TokenRole reaches keys by", id)
		}
		condition := ""
		switch {
		case id == "PreflightKey":
			condition = "IsCanary"
		case id == "SigningKey":
			checkSpecs(k.Parameter, k.Specs[0], k.Specs, template, report)
		case k.Specs != nil:
			condition = "Has" + k.Parameter
			checkSpecs(k.Parameter, "no", append([]string{"no"}, k.Specs...), template, report)
			if !reflect.DeepEqual(at(template, "Conditions", condition), call{"Not", []any{call{"Equals", []any{call{"Ref", k.Parameter}, "no"}}}}) {
				report("%s is not that %s is a spec", condition, k.Parameter)
			}
		case k.Parameter != "":
			condition = "Has" + k.Parameter
			checkParameter(k.Parameter, condition, template, report)
		}
		if text(at(resources[id], "Condition")) != condition {
			report("%s is made under another condition than %s", id, condition)
		}
		if referred(at(template, "Outputs", k.Output, "Value")) != id || text(at(template, "Outputs", k.Output, "Condition")) != condition {
			report("the output %s is not that of %s", k.Output, id)
		}
		who := signers()
		if id == "PreflightKey" {
			who = call{"GetAtt", "PreflightRole.Arn"}
		}
		checkKeyPolicy(id, k.Algorithm, who, list(at(properties, "KeyPolicy", "Statement")), report)
	}
	checkParameter("MultiRegion", "IsMultiRegion", template, report)
	for _, algorithm := range jwt.Algorithms() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(templateKeys)), func(id string) bool { return templateKeys[id].Algorithm == algorithm }) {
			report("no key is for %s", algorithm)
		}
	}
	secrets := at(resources["TokenFunction"], "Properties", "Environment", "Variables", "SECRETS_KEY")
	if !reflect.DeepEqual(secrets, call{"If", []any{"HasClientSecretJwt", call{"GetAtt", "SecretsKey.Arn"}, call{"Ref", "AWS::NoValue"}}}) {
		report("TokenFunction's SECRETS_KEY is not that of SecretsKey under its condition")
	}
}

// checkSpecs holds what a parameter may be that is the spec of a key.
func checkSpecs(name, otherwise string, specs []string, template map[string]any, report func(string, ...any)) {
	parameter := at(template, "Parameters", name)
	if text(at(parameter, "Default")) != otherwise || !slices.Equal(texts(at(parameter, "AllowedValues")), specs) {
		report("the parameter %s is not one of %s, by default %s", name, strings.Join(specs, ", "), otherwise)
	}
}

// checkParameter holds that a key which costs is made only where it is asked for.
func checkParameter(name, condition string, template map[string]any, report func(string, ...any)) {
	parameter := at(template, "Parameters", name)
	if text(at(parameter, "Default")) != "no" || !slices.Equal(texts(at(parameter, "AllowedValues")), []string{"yes", "no"}) {
		report("the parameter %s is not yes or no, by default no", name)
	}
	if !reflect.DeepEqual(at(template, "Conditions", condition), call{"Equals", []any{call{"Ref", name}, "yes"}}) {
		report("%s is not that %s is yes", condition, name)
	}
}

// checkKeyPolicy holds that a key of the template has the very policy that package kms
// gives those which the rotate function makes, and no statement beside.
func checkKeyPolicy(id, algorithm string, who any, statements []any, report func(string, ...any)) {
	policy, err := kms.Policy("root", []string{"signers"}, cmp.Or(algorithm, jwt.RS256))
	if err != nil {
		report("%s: %v", id, err)
		return
	}
	if algorithm == "" { // nothing signs by it
		policy = policy[:1]
	}
	wanted := map[string]map[string]any{}
	for _, s := range policy {
		statement := map[string]any{
			"Sid": s.ID, "Effect": s.Effect, "Action": s.Action, "Resource": s.Resource, "Principal": map[string]any{"AWS": s.Principal["AWS"]},
		}
		lack := "is not administered by the account"
		if s.Principal["AWS"] == "root" {
			statement["Principal"] = map[string]any{"AWS": call{"Sub", "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
		}
		for operator, keys := range s.Condition {
			for key, values := range keys {
				var value any = values[0]
				switch key {
				case "aws:PrincipalArn":
					lack, value = "lets others sign than TokenRole", who
				case "kms:MessageType":
					lack = "signs more than " + map[string]string{"DIGEST": "digests", "RAW": "messages", "EXTERNAL_MU": "μ"}[values[0]]
				default:
					lack = "signs by others than " + values[0]
				}
				statement["Condition"] = map[string]any{operator: map[string]any{key: value}}
			}
		}
		wanted[lack] = statement
	}
	for _, s := range statements {
		known := false
		for lack, w := range wanted {
			if reflect.DeepEqual(members(s), w) {
				delete(wanted, lack)
				known = true
			}
		}
		if !known {
			report("%s's policy has a statement that this test does not know", id)
		}
	}
	for lack := range wanted {
		report("%s %s", id, lack)
	}
}

// signers are the roles that may sign: one more where AuthorizeSigns is yes.
func signers() any {
	return []any{
		call{"GetAtt", "TokenRole.Arn"}, call{"GetAtt", "DeliverRole.Arn"},
		call{"If", []any{maySign, call{"GetAtt", "AuthorizeRole.Arn"}, call{"Ref", "AWS::NoValue"}}},
	}
}

// environment lists the variables that a struct of package config reads.
func environment(t reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(field.Tag.Get("env"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// missing lists, sorted, what of wanted is not in have.
func missing(wanted, have []string) []string {
	var without []string
	for _, w := range wanted {
		if !slices.Contains(have, w) {
			without = append(without, w)
		}
	}
	slices.Sort(without)
	return slices.Compact(without)
}

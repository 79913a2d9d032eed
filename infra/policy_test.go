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
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/config"
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
	"store.Codes":          {"dynamodb:PutItem GrantsTable grant#*"},
	"store.GrantReader":    {"dynamodb:GetItem GrantsTable grant#*"},
	"store.Grants":         {"dynamodb:UpdateItem GrantsTable grant#*"},
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
	"store.Attempts": {
		"dynamodb:PutItem GrantsTable attempts#*",
		"dynamodb:DeleteItem GrantsTable attempts#*",
	},
	"keys.PrivateKey": {"kms:Sign key/* kmint:stack=!Ref AWS::StackName kmint:use=sign DIGEST"},
	"session.MAC":     {"kms:GenerateMac MacKey HMAC_SHA_256"},
	"dpop.MAC":        {"kms:GenerateMac MacKey HMAC_SHA_256"},
}

// A function is what the code says about one Lambda function.
type function struct {
	// Role is the logical id of its role, LogGroup of its log group.
	Role, LogGroup string
	// Server is its struct in package server, Config its environment.
	Server, Config any
	// Routes are its events.
	Routes []string
}

var functions = map[string]function{
	"TokenFunction": {"TokenRole", "TokenLogGroup", server.Token{}, config.Token{}, []string{
		"POST /oauth/token", "GET /oauth/token", "OPTIONS /oauth/token",
		"POST /token", "GET /token", "OPTIONS /token",
		"POST /v1/token", "GET /v1/token", "OPTIONS /v1/token",
		"POST /{proxy+}", "GET /{proxy+}", "OPTIONS /{proxy+}",
		"POST /oauth/revoke", "OPTIONS /oauth/revoke", "POST /oauth/introspect",
	}},
	"AuthorizeFunction": {"AuthorizeRole", "AuthorizeLogGroup", server.Authorize{}, config.Authorize{}, []string{
		"GET /authorize", "POST /authorize",
	}},
	"UserinfoFunction": {"UserinfoRole", "UserinfoLogGroup", server.Userinfo{}, config.Userinfo{}, []string{
		"GET /userinfo", "POST /userinfo", "OPTIONS /userinfo",
	}},
	"DiscoveryFunction": {"DiscoveryRole", "DiscoveryLogGroup", server.Discovery{}, config.Discovery{}, []string{
		"GET /.well-known/openid-configuration", "OPTIONS /.well-known/openid-configuration",
		"GET /.well-known/oauth-authorization-server", "OPTIONS /.well-known/oauth-authorization-server",
		"GET /.well-known/jwks.json", "OPTIONS /.well-known/jwks.json",
	}},
}

func TestTemplate(t *testing.T) {
	for _, problem := range problems(readTemplate(t)) {
		t.Error(problem)
	}
}

// TestTemplateRefuses breaks the template in one place at a time.
func TestTemplateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"an action more":              {"Action: dynamodb:UpdateItem\n", "Action: [dynamodb:UpdateItem, dynamodb:PutItem]\n", "TokenFunction may dynamodb:PutItem GrantsTable grant#*, which"},
		"an action less":              {"Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem]", "Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem]", "AuthorizeFunction needs dynamodb:DeleteItem GrantsTable session#*"},
		"an action by pattern":        {"Action: dynamodb:UpdateItem\n", "Action: dynamodb:Update*\n", "TokenFunction may dynamodb:Update* GrantsTable grant#*, which"},
		"a kind of item more":         {`["client#*", issuer, keys]`, `["client#*", "api#*", issuer, keys]`, "UserinfoFunction may dynamodb:GetItem ConfigTable api#*, which"},
		"a kind of item less":         {`["user#*", "login#*"]`, `["user#*"]`, "AuthorizeFunction needs dynamodb:GetItem UsersTable login#*"},
		"every item":                  {`["grant#*"]`, `["*"]`, "TokenFunction may dynamodb:UpdateItem GrantsTable *, which"},
		"another table":               {"Resource: !GetAtt UsersTable.Arn", "Resource: !GetAtt ConfigTable.Arn", "TokenFunction may dynamodb:GetItem ConfigTable user#*, which"},
		"no condition on keys":        {`ForAllValues:StringLike: {"dynamodb:LeadingKeys": ["grant#*"]}`, `StringLike: {}`, "TokenFunction may dynamodb:UpdateItem GrantsTable any key, which"},
		"absent keys":                 {`"Null": {"dynamodb:LeadingKeys": "false"}`, `"Null": {}`, "TokenFunction may dynamodb:GetItem ConfigTable any key, which"},
		"any key signs":               {"aws:ResourceTag/kmint:use: sign\n", "aws:ResourceTag/kmint:use: seal\n", "TokenFunction needs kms:Sign key/*"},
		"another function signs":      {"Action: kms:GenerateMac\n", "Action: [kms:GenerateMac, kms:Sign]\n", "AuthorizeFunction may kms:Sign MacKey HMAC_SHA_256, which"},
		"a managed policy":            {"      Policies:\n        - PolicyName: token\n", "      ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]\n      Policies:\n        - PolicyName: token\n", "TokenRole has ManagedPolicyArns"},
		"policies beside the role":    {"Role: !GetAtt TokenRole.Arn", "Policies: [AdministratorAccess]", "TokenFunction's role is not TokenRole alone"},
		"a role swapped":              {"Role: !GetAtt UserinfoRole.Arn", "Role: !GetAtt TokenRole.Arn", "UserinfoFunction's role is not UserinfoRole alone"},
		"a route less":                {"Method: OPTIONS, Path: /userinfo}", "Method: GET, Path: /userinfo}", "UserinfoFunction has no route OPTIONS /userinfo"},
		"a route more":                {"Method: OPTIONS, Path: /userinfo}", "Method: OPTIONS, Path: /whoami}", "UserinfoFunction has a route OPTIONS /whoami"},
		"an own limit without route":  {"        POST /oauth/token:\n", "        PUT /oauth/token:\n", "Api limits PUT /oauth/token, which is no route"},
		"CORS by the gateway":         {"      StageName: $default\n", "      StageName: $default\n      CorsConfiguration: true\n", "Api has a CorsConfiguration"},
		"reserved concurrency":        {"Description: The token endpoint\n", "Description: The token endpoint\n      ReservedConcurrentExecutions: 5\n", "TokenFunction reserves concurrency"},
		"a variable less":             {"          MAC_KEY: !GetAtt MacKey.Arn\n", "", "AuthorizeFunction has no variable MAC_KEY"},
		"a variable more":             {"          MAC_KEY: !GetAtt MacKey.Arn\n", "          MAC_KEY: !GetAtt MacKey.Arn\n          TOKEN_PATH: /token\n", "AuthorizeFunction has a variable TOKEN_PATH"},
		"no TTL":                      {"TimeToLiveSpecification: {AttributeName: ttl, Enabled: true}", "TimeToLiveSpecification: {AttributeName: expires, Enabled: true}", "GrantsTable does not expire items by ttl"},
		"grants restored":             {"PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: false}", "PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}", "GrantsTable can be restored"},
		"no recovery":                 {"PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}", "PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: false}", "ConfigTable cannot be restored"},
		"no deletion protection":      {"DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "ConfigTable is not protected against deletion"},
		"clients go with the stack":   {"  ConfigTable:\n    Type: AWS::DynamoDB::Table\n    DeletionPolicy: Retain", "  ConfigTable:\n    Type: AWS::DynamoDB::Table\n    DeletionPolicy: Delete", "ConfigTable goes with the stack"},
		"the key goes with the stack": {"  SigningKey:\n    Type: AWS::KMS::Key\n    DeletionPolicy: Retain", "  SigningKey:\n    Type: AWS::KMS::Key\n    DeletionPolicy: Delete", "SigningKey goes with the stack"},
		"everybody signs":             {"ArnNotEquals: {aws:PrincipalArn: !GetAtt TokenRole.Arn}", "ArnNotEquals: {aws:PrincipalArn: !GetAtt AuthorizeRole.Arn}", "SigningKey lets others sign"},
		"raw messages signed":         {"StringNotEquals: {kms:MessageType: DIGEST}", "StringNotEquals: {kms:MessageType: RAW}", "SigningKey signs more than digests"},
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
	checkAPI(resources, report)
	checkTables(resources, report)
	checkKeys(resources, report)
	for _, output := range []string{"Issuer", "TokenEndpoint", "JwksUri", "ApiUrl", "ConfigTable", "UsersTable", "GrantsTable", "SigningKeyArn", "MacKeyArn"} {
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
	for _, event := range members(properties["Events"]) {
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
	for _, field := range reflect.VisibleFields(reflect.TypeOf(f.Server)) {
		switch field.Type {
		case reflect.TypeFor[string](), reflect.TypeFor[*slog.Logger](), reflect.TypeFor[func() time.Time]():
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
	for _, property := range []string{"ManagedPolicyArns", "PermissionsBoundary"} {
		if role[property] != nil {
			wrong = append(wrong, "has "+property)
		}
	}
	trust := list(at(role, "AssumeRolePolicyDocument", "Statement"))
	if len(trust) != 1 || text(at(trust[0], "Principal", "Service")) != "lambda.amazonaws.com" || text(at(trust[0], "Action")) != "sts:AssumeRole" {
		wrong = append(wrong, "trusts others than Lambda")
	}
	for _, policy := range list(role["Policies"]) {
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
		if resource == "" {
			// A role reaches signing keys by tag.
			if arn, ok := statement["Resource"].(call); ok && arn == (call{"Sub", "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"}) {
				resource = "key/*"
			}
			if stack, ok := at(condition, "StringEquals", "aws:ResourceTag/kmint:stack").(call); ok {
				resource += " kmint:stack=!" + stack.Name + " " + text(stack.Argument)
			}
			resource += " kmint:use=" + text(at(condition, "StringEquals", "aws:ResourceTag/kmint:use"))
		}
		return []string{resource + " " + text(at(condition, "StringEquals", "kms:MessageType")) + text(at(condition, "StringEquals", "kms:MacAlgorithm"))}
	default:
		return []string{resource}
	}
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

func checkKept(id string, resources map[string]any, report func(string, ...any)) {
	if text(at(resources[id], "DeletionPolicy")) != "Retain" || text(at(resources[id], "UpdateReplacePolicy")) != "Retain" {
		report("%s goes with the stack", id)
	}
}

func checkKeys(resources map[string]any, report func(string, ...any)) {
	checkKept("SigningKey", resources, report)
	signing := members(at(resources["SigningKey"], "Properties"))
	if text(signing["KeySpec"]) != "RSA_2048" || text(signing["KeyUsage"]) != "SIGN_VERIFY" {
		report("SigningKey is no RSA_2048 key that signs")
	}
	mac := members(at(resources["MacKey"], "Properties"))
	if text(mac["KeySpec"]) != "HMAC_256" || text(mac["KeyUsage"]) != "GENERATE_VERIFY_MAC" {
		report("MacKey is no HMAC_256 key")
	}
	tags := map[string]any{}
	for _, tag := range list(signing["Tags"]) {
		tags[text(at(tag, "Key"))] = at(tag, "Value")
	}
	if tags["kmint:stack"] != any(call{"Ref", "AWS::StackName"}) || tags["kmint:use"] != any("sign") {
		report("SigningKey has not the tags that TokenRole reaches keys by")
	}

	var onlyToken, onlyDigests bool
	for _, statement := range list(at(signing, "KeyPolicy", "Statement")) {
		if text(at(statement, "Effect")) != "Deny" || text(at(statement, "Action")) != "kms:Sign" || text(at(statement, "Principal", "AWS")) != "*" {
			continue
		}
		onlyToken = onlyToken || referred(at(statement, "Condition", "ArnNotEquals", "aws:PrincipalArn")) == "TokenRole"
		onlyDigests = onlyDigests || text(at(statement, "Condition", "StringNotEquals", "kms:MessageType")) == "DIGEST"
	}
	if !onlyToken {
		report("SigningKey lets others sign than TokenRole")
	}
	if !onlyDigests {
		report("SigningKey signs more than digests")
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

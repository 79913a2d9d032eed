package infra_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// published are the functions that a new version of is tried with a tenth of the
// requests first, and whether its answers are an alarm too.
var published = map[string]bool{
	"TokenFunction": true, "AuthorizeFunction": true, "UserinfoFunction": true, "DiscoveryFunction": true, "DeliverFunction": false,
}

// optional are the resources that a parameter makes, by the parameters that do.
var optional = map[string][]string{
	"Tracing=yes": {"TracingPolicy"},
	"TableKeyArn=arn:aws:kms:us-east-1:123456789012:key/x":                      {"TableKeyPolicy"},
	"AlarmEmail=ops@example.com":                                                {"AlarmsStack"},
	"AlarmTopicArn=arn:aws:sns:us-east-1:123456789012:x":                        {"AlarmsStack"},
	"AuditFirehoseArn=arn:aws:firehose:us-east-1:123456789012:deliverystream/x": {"AuditStack"},
	"DomainName=a.example CertificateArn=arn:aws:acm:x":                         {"ApiDomain", "ApiDomainMapping"},
	"DomainName=a.example CertificateArn=arn:aws:acm:x HostedZoneId=Z1":         {"ApiDomain", "ApiDomainMapping", "ApiDomainRecord"},
	"DomainName=a.example CertificateArn=arn:aws:acm:x Edge=yes":                {"EdgeStack"},
	"MutualTlsDomainName=a.example":                                             {"MutualTlsStack"},
	"ES256=ECC_NIST_P256 ClientSecretJwt=yes":                                   {"ES256Key", "SecretsKey"},
	"LogKeyArn=arn:aws:kms:x":                                                   nil,
	"PermissionsBoundaryArn=arn:aws:iam::x:policy/y":                            nil,
}

// canary are those that Deployment=canary makes, which is the default.
var canary = []string{
	"Token5xx", "Authorize5xx", "Userinfo5xx", "Discovery5xx", "New5xx",
	"PreflightFunction", "PreflightRole", "PreflightLogGroup", "PreflightKey",
	"NewTokenErrors", "NewAuthorizeErrors", "NewUserinfoErrors", "NewDiscoveryErrors", "NewDeliverErrors",
}

// TestWhatParametersMake holds that the default deploy has none of what not everybody
// needs, and that each parameter makes what it says, and no more.
func TestWhatParametersMake(t *testing.T) {
	template, err := parse(readTemplate(t))
	if err != nil {
		t.Fatal(err)
	}
	check := func(parameters string, want []string) {
		t.Helper()
		made := conditionally(template, parameters)
		slices.Sort(want)
		if !slices.Equal(made, want) {
			t.Errorf("%q makes %v, want %v", parameters, made, want)
		}
	}
	check("", slices.Clone(canary))
	check("Deployment=all-at-once", nil)
	for parameters, made := range optional {
		check(parameters, slices.Concat(canary, made))
	}
	// The twin: each resource that has a condition is made by one of these.
	var all []string
	for _, made := range optional {
		all = append(all, made...)
	}
	for id, resource := range members(template["Resources"]) {
		_, key := templateKeys[id]
		if condition := text(at(resource, "Condition")); condition != "" && !key && !slices.Contains(slices.Concat(all, canary), id) {
			t.Errorf("%s is made under %s, which this test does not try", id, condition)
		}
	}
}

// conditionally lists the resources with a condition that holds under parameters, which
// are name=value, the others as they are by default.
func conditionally(template map[string]any, parameters string) []string {
	values := map[string]string{}
	for name, p := range members(template["Parameters"]) {
		values[name] = text(at(p, "Default"))
	}
	for p := range strings.FieldsSeq(parameters) {
		name, value, _ := strings.Cut(p, "=")
		if at(template, "Parameters", name) == nil {
			return []string{"there is no parameter " + name}
		}
		values[name] = value
	}
	var made []string
	for id, resource := range members(template["Resources"]) {
		if condition := text(at(resource, "Condition")); condition != "" && holds(at(template, "Conditions", condition), template, values) {
			made = append(made, id)
		}
	}
	slices.Sort(made)
	return made
}

func holds(v any, template map[string]any, values map[string]string) bool {
	c := v.(call)
	arguments := list(c.Argument)
	one := func(argument any) bool { return holds(argument, template, values) }
	switch c.Name {
	case "Condition":
		return one(at(template, "Conditions", text(c.Argument)))
	case "Not":
		return !one(arguments[0])
	case "And":
		return !slices.ContainsFunc(arguments, func(a any) bool { return !one(a) })
	case "Or":
		return slices.ContainsFunc(arguments, one)
	case "Equals":
		plain := func(argument any) string {
			if ref, ok := argument.(call); ok {
				return values[text(ref.Argument)]
			}
			return text(argument)
		}
		return plain(arguments[0]) == plain(arguments[1])
	default:
		panic(c.Name)
	}
}

func TestDeployment(t *testing.T) {
	for _, problem := range deploying(readTemplate(t)) {
		t.Error(problem)
	}
}

// TestDeploymentRefuses breaks the template in one place at a time.
func TestDeploymentRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no alias":                    {"      AutoPublishAlias: live\n", "", "TokenFunction is not published as live"},
		"only the code counts":        {"      AutoPublishAliasAllProperties: true\n", "", "TokenFunction is not published as live"},
		"all at once for all":         {"Type: !If [IsCanary, Canary10Percent5Minutes, AllAtOnce]", "Type: AllAtOnce", "TokenFunction's new version does not get"},
		"another's alarm":             {"[!Ref NewTokenErrors, !Ref New5xx]", "[!Ref NewDeliverErrors, !Ref New5xx]", "TokenFunction's new version is not taken back"},
		"its answers do not count":    {"[!Ref NewTokenErrors, !Ref New5xx]", "[!Ref NewTokenErrors]", "TokenFunction's new version is not taken back"},
		"nobody tries it":             {"        Hooks: {PreTraffic: !If [IsCanary, !Ref PreflightFunction, !Ref \"AWS::NoValue\"]}\n", "", "TokenFunction's new version is not tried first"},
		"tried after":                 {"{PreTraffic: !If", "{PostTraffic: !If", "TokenFunction's new version is not tried first"},
		"the version before":          {"TOKEN_VERSION: !Ref TokenFunction.Version", "TOKEN_VERSION: !Ref TokenFunction", "PreflightFunction's TOKEN_VERSION is not the version of TokenFunction"},
		"another version":             {"TOKEN_VERSION: !Ref TokenFunction.Version", "TOKEN_VERSION: !Ref UserinfoFunction.Version", "PreflightFunction's TOKEN_VERSION is not the version of TokenFunction"},
		"a name that is not called":   {"        - CodeDeployHook_${Id}\n", "        - Preflight_${Id}\n", "PreflightFunction has a name that CodeDeploy does not call"},
		"no time to try thrice":       {"      Timeout: 120\n", "      Timeout: 10\n", "PreflightFunction has no time"},
		"rotate too":                  {"      Role: !GetAtt RotateRole.Arn\n", "      Role: !GetAtt RotateRole.Arn\n      AutoPublishAlias: live\n", "RotateFunction is published"},
		"an alarm of all versions":    {"        - {Name: ExecutedVersion, Value: !GetAtt TokenFunction.Version.Version}\n", "", "NewTokenErrors does not look at the errors of the new version"},
		"an alarm of another version": {"!GetAtt TokenFunction.Version.Version", "!GetAtt DeliverFunction.Version.Version", "NewTokenErrors does not look at the errors of the new version"},
		"some errors allowed":         {"      Threshold: 0\n", "      Threshold: 10\n", "NewTokenErrors does not look at the errors of the new version"},
		"a filter of other lines":     {`$.msg = "request" && $.status >= 500`, `$.msg = "request" && $.status >= 400`, "Token5xx does not count"},
		"another group":               {"  Token5xx:\n    Type: AWS::Logs::MetricFilter\n    Condition: IsCanary\n    Properties:\n      LogGroupName: !Ref TokenLogGroup", "  Token5xx:\n    Type: AWS::Logs::MetricFilter\n    Condition: IsCanary\n    Properties:\n      LogGroupName: !Ref UserinfoLogGroup", "Token5xx does not count"},
		"the path of another route":   {"oauth/revoke|", "", "TokenPath may be /oauth/revoke"},
		"another metric":              {"      MetricName: answers_5xx\n", "      MetricName: answers_4xx\n", "New5xx does not look at"},
		"more than KMS signs":         {"  TokenRate:\n    Type: Number\n    Default: 400\n", "  TokenRate:\n    Type: Number\n    Default: 800\n", "TokenRate is 800, and not 0.8 * 1000 / 2"},
		"a burst of more":             {"  TokenBurst:\n    Type: Number\n    Default: 400\n", "  TokenBurst:\n    Type: Number\n    Default: 5000\n", "TokenBurst is 5000"},
		"a route without the limit":   {"          ThrottlingRateLimit: !Ref TokenRate\n", "          ThrottlingRateLimit: 9000\n", "POST /oauth/token is not limited"},
		"no limit for the rest":       {"        ThrottlingRateLimit: !Ref DefaultRate\n", "        ThrottlingRateLimit: 9000\n", "the other routes are not limited"},
		"the back door open":          {"!If [HasApiDomain, true, false]", "false", "Api answers at its own address"},
		"some code unsigned":          {"      CodeSigningConfigArn: !If [HasCodeSigning, !Ref CodeSigningConfigArn, !Ref \"AWS::NoValue\"]\n", "", "TokenFunction takes code that nobody has signed"},
		"never traced":                {"    Tracing: !If [IsTraced, Active, PassThrough]\n", "", "the functions are not traced as Tracing says"},
		"a log in the clear":          {"      KmsKeyId: !If [HasLogKey, !Ref LogKeyArn, !Ref \"AWS::NoValue\"]\n", "", "ApiLogGroup is not encrypted as LogKeyArn says"},
		"a log for ever":              {"      RetentionInDays: !Ref LogRetention\n", "", "ApiLogGroup is not kept as long as LogRetention says"},
		"a table in the clear":        {"      SSESpecification: !If", "      Other: !If", "ConfigTable is not encrypted as TableKeyArn says"},
		"paid for in advance":         {"      BillingMode: PAY_PER_REQUEST\n", "      BillingMode: PROVISIONED\n", "ConfigTable is not paid by request"},
	} {
		t.Run(name, func(t *testing.T) {
			template := readTemplate(t)
			if !strings.Contains(template, c.old) {
				t.Fatalf("the template has no %q", c.old)
			}
			found := deploying(strings.Replace(template, c.old, c.new, 1))
			if !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("want %q, got %q", c.want, found)
			}
		})
	}
}

// optionally is what a property is where a parameter may name something.
func optionally(condition, parameter string) call {
	return call{"If", []any{condition, call{"Ref", parameter}, call{"Ref", "AWS::NoValue"}}}
}

// checkTokenPath reports what the parameter admits that no function would start with.
func checkTokenPath(template map[string]any, report func(string, ...any)) {
	_, after, _ := strings.Cut(text(at(template, "Parameters", "TokenPath", "AllowedPattern")), "(?!/(")
	taken, _, _ := strings.Cut(after, ")$)")
	for id := range functions {
		for _, event := range members(at(template, "Resources", id, "Properties", "Events")) {
			path, isRoute := at(event, "Properties", "Path").(string)
			// Nothing that begins with a dot is admitted anyway.
			if isRoute && path != "/{proxy+}" && !strings.HasPrefix(path, "/.well-known/") && !slices.Contains(strings.Split(taken, "|"), path[1:]) {
				report("TokenPath may be %s, which is another route", path)
			}
		}
	}
}

// deploying lists what is wrong with how the functions are published, limited, signed,
// traced and encrypted.
func deploying(templateText string) (found []string) {
	template, err := parse(templateText)
	if err != nil {
		return []string{err.Error()}
	}
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	resources := members(template["Resources"])
	checkTokenPath(template, report)
	for id := range functions {
		properties := members(at(resources[id], "Properties"))
		if !reflect.DeepEqual(properties["CodeSigningConfigArn"], optionally("HasCodeSigning", "CodeSigningConfigArn")) {
			report("%s takes code that nobody has signed", id)
		}
		answers, known := published[id]
		if !known {
			if properties["AutoPublishAlias"] != nil {
				report("%s is published, and nobody watches its versions", id)
			}
			continue
		}
		// A version is published by what changes, and SAM looks at the code alone if it
		// is not told to look at everything.
		if text(properties["AutoPublishAlias"]) != "live" || text(properties["AutoPublishAliasAllProperties"]) != "true" {
			report("%s is not published as live", id)
		}
		preference := members(properties["DeploymentPreference"])
		if !reflect.DeepEqual(preference["Type"], call{"If", []any{"IsCanary", "Canary10Percent5Minutes", "AllAtOnce"}}) {
			report("%s's new version does not get its requests as Deployment says", id)
		}
		name := strings.TrimSuffix(id, "Function")
		alarms := []any{call{"Ref", "New" + name + "Errors"}}
		if answers {
			alarms = append(alarms, call{"Ref", "New5xx"})
			checkFilter(name, resources, report)
			hook := map[string]any{"PreTraffic": call{"If", []any{"IsCanary", call{"Ref", "PreflightFunction"}, call{"Ref", "AWS::NoValue"}}}}
			if !reflect.DeepEqual(preference["Hooks"], any(hook)) {
				report("%s's new version is not tried first", id)
			}
			variable := strings.ToUpper(name) + "_VERSION"
			if at(resources["PreflightFunction"], "Properties", "Environment", "Variables", variable) != any(call{"Ref", id + ".Version"}) {
				report("PreflightFunction's %s is not the version of %s", variable, id)
			}
		}
		if !reflect.DeepEqual(preference["Alarms"], call{"If", []any{"IsCanary", alarms, []any{call{"Ref", "AWS::NoValue"}}}}) {
			report("%s's new version is not taken back by its own alarms", id)
		}
		metrics, _ := readMetrics(members(at(resources["New"+name+"Errors"], "Properties")))
		want := fmt.Sprintf("AWS/Lambda/Errors FunctionName=!Ref %s Resource=!Sub ${%s}:live ExecutedVersion=!GetAtt %s.Version.Version 60 Sum", id, id, id)
		if !slices.Equal(metrics, []string{want}) || readRaised(members(at(resources["New"+name+"Errors"], "Properties"))) != "> 0 1 notBreaching" {
			report("New%sErrors does not look at the errors of the new version", name)
		}
	}
	hook := members(at(resources["PreflightFunction"], "Properties"))
	if name, ok := hook["FunctionName"].(call); !ok || !strings.HasPrefix(text(append(list(name.Argument), "")[0]), "CodeDeployHook_") {
		report("PreflightFunction has a name that CodeDeploy does not call")
	}
	if text(hook["Timeout"]) != "120" {
		report("PreflightFunction has no time to try three times")
	}
	metrics, _ := readMetrics(members(at(resources["New5xx"], "Properties")))
	if !slices.Equal(metrics, []string{"kmint/deployment/answers_5xx stack=!Ref AWS::StackName 60 Sum"}) || readRaised(members(at(resources["New5xx"], "Properties"))) != ">= 5 1 notBreaching" {
		report("New5xx does not look at what the filters count")
	}
	if !reflect.DeepEqual(at(template, "Globals", "Function", "Tracing"), call{"If", []any{"IsTraced", "Active", "PassThrough"}}) {
		report("the functions are not traced as Tracing says")
	}
	checkLimits(template, report)
	for id, resource := range resources {
		properties := members(at(resource, "Properties"))
		switch text(at(resource, "Type")) {
		case "AWS::Logs::LogGroup":
			if !reflect.DeepEqual(properties["KmsKeyId"], optionally("HasLogKey", "LogKeyArn")) {
				report("%s is not encrypted as LogKeyArn says", id)
			}
			if properties["RetentionInDays"] != any(call{"Ref", "LogRetention"}) {
				report("%s is not kept as long as LogRetention says", id)
			}
		case "AWS::DynamoDB::Table":
			want := call{"If", []any{"HasTableKey", map[string]any{"SSEEnabled": "true", "SSEType": "KMS", "KMSMasterKeyId": call{"Ref", "TableKeyArn"}}, call{"Ref", "AWS::NoValue"}}}
			if !reflect.DeepEqual(properties["SSESpecification"], want) {
				report("%s is not encrypted as TableKeyArn says", id)
			}
			if text(properties["BillingMode"]) != "PAY_PER_REQUEST" {
				report("%s is not paid by request", id)
			}
		}
	}
	return found
}

// checkFilter holds that a function's answers which are a 5xx are counted.
func checkFilter(name string, resources map[string]any, report func(string, ...any)) {
	filter := members(at(resources[name+"5xx"], "Properties"))
	want := []any{map[string]any{
		"MetricNamespace": "kmint/deployment", "MetricName": "answers_5xx", "MetricValue": "1",
		"Dimensions": []any{map[string]any{"Key": "stack", "Value": "$.stack"}},
	}}
	if filter["LogGroupName"] != any(call{"Ref", name + "LogGroup"}) || text(filter["FilterPattern"]) != `{ $.msg = "request" && $.status >= 500 }` ||
		!reflect.DeepEqual(filter["MetricTransformations"], any(want)) {
		report("%s5xx does not count the answers of %sFunction that are a 5xx", name, name)
	}
}

// signaturesAtMost is how many a code exchange takes: an access token's and an ID token's.
const signaturesAtMost = 2

// checkLimits holds the limits against the quota of KMS.
func checkLimits(template map[string]any, report func(string, ...any)) {
	number := func(parameter string) int {
		n, err := strconv.Atoi(text(at(template, "Parameters", parameter, "Default")))
		if err != nil {
			report("%s is no number", parameter)
		}
		return n
	}
	quota, rate, burst := number("KMSQuota"), number("TokenRate"), number("TokenBurst")
	if rate != quota*8/10/signaturesAtMost {
		report("TokenRate is %d, and not 0.8 * %d / %d", rate, quota, signaturesAtMost)
	}
	if burst != rate {
		report("TokenBurst is %d, and not as much as TokenRate", burst)
	}
	api := members(at(template, "Resources", "Api", "Properties"))
	limit := func(rate, burst any) map[string]any {
		return map[string]any{"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst}
	}
	own := func(name, otherwise string) call {
		return call{"If", []any{"OwnTokenPath", call{"Ref", name}, call{"Ref", otherwise}}}
	}
	for route, want := range map[string]map[string]any{
		"POST /oauth/token": limit(call{"Ref", "TokenRate"}, call{"Ref", "TokenBurst"}),
		"POST /{proxy+}":    limit(own("TokenRate", "DefaultRate"), own("TokenBurst", "DefaultBurst")),
	} {
		if !reflect.DeepEqual(at(api["RouteSettings"], route), any(want)) {
			report("%s is not limited by TokenRate", route)
		}
	}
	if !reflect.DeepEqual(api["DefaultRouteSettings"], any(limit(call{"Ref", "DefaultRate"}, call{"Ref", "DefaultBurst"}))) {
		report("the other routes are not limited by DefaultRate")
	}
	if !reflect.DeepEqual(api["DisableExecuteApiEndpoint"], call{"If", []any{"HasApiDomain", "true", "false"}}) {
		report("Api answers at its own address beside the domain")
	}
}

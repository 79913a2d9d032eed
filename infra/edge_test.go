package infra_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestOptionalStacks holds what is in the stacks that stand before the API or take from
// its logs.
func TestOptionalStacks(t *testing.T) {
	files := map[string]string{}
	for _, file := range []string{"edge.yaml", "waf.yaml", "mtls.yaml", "audit.yaml"} {
		files[file] = readFile(t, file)
	}
	for _, problem := range before(files) {
		t.Error(problem)
	}
	for name, c := range map[string]struct{ file, old, new, want string }{
		"tokens are cached":           {"edge.yaml", "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "658327ea-f89d-4fab-a63d-7e88639e58f6", "CloudFront keeps what is no well-known document"},
		"pages are cached":            {"edge.yaml", "PathPattern: /.well-known/*", "PathPattern: /*", "CloudFront keeps what is no well-known document"},
		"one more is cached":          {"edge.yaml", "        CacheBehaviors:\n", "        CacheBehaviors:\n          - {PathPattern: /userinfo, CachePolicyId: !Ref WellKnownCache}\n", "CloudFront keeps what is no well-known document"},
		"the Host is passed on":       {"edge.yaml", "b689b0a8-53d0-40ab-baf2-68738e2966ac", "216adef6-5c7f-47e4-b989-5492eafa07d3", "CloudFront passes on the Host"},
		"kept for a day":              {"edge.yaml", "MaxTTL: 3600", "MaxTTL: 86400", "CloudFront may keep keys for 86400 s"},
		"in the clear":                {"edge.yaml", "ViewerProtocolPolicy: https-only", "ViewerProtocolPolicy: allow-all", "CloudFront answers without TLS"},
		"in the clear behind":         {"edge.yaml", "OriginProtocolPolicy: https-only", "OriginProtocolPolicy: match-viewer", "CloudFront asks the API without TLS"},
		"an old TLS":                  {"edge.yaml", "TLSv1.2_2021", "TLSv1", "CloudFront speaks TLSv1"},
		"queries in the log":          {"waf.yaml", "        - {QueryString: {}}\n", "", "the log of AWS WAF shows QueryString"},
		"cookies in the log":          {"waf.yaml", "{Name: cookie}", "{Name: accept}", "the log of AWS WAF shows cookie"},
		"proofs in the log":           {"waf.yaml", "{Name: dpop}", "{Name: accept}", "the log of AWS WAF shows dpop"},
		"everything in the log":       {"waf.yaml", "DefaultBehavior: DROP", "DefaultBehavior: KEEP", "the log of AWS WAF keeps what was let through"},
		"no limit":                    {"waf.yaml", "Limit: !Ref PeopleLimit", "Limit: 2000000000", "people are limited by 2000000000"},
		"logins without limit":        {"waf.yaml", "                NotStatement:\n", "                AndStatement:\n", "what is no request of programs is not limited as people's"},
		"a path of nobody's":          {"waf.yaml", "SearchString: /v1/token", "SearchString: /v2/token", "the limit of programs is for /v2/token"},
		"redirect URIs refused":       {"waf.yaml", "                - {Name: GenericRFI_QUERYARGUMENTS, ActionToUse: {Count: {}}}\n", "", "AWS WAF refuses by GenericRFI_QUERYARGUMENTS"},
		"everything counts only":      {"waf.yaml", "RuleActionOverrides:\n", "RuleActionOverrides:\n                - {Name: CrossSiteScripting_BODY, ActionToUse: {Count: {}}}\n", "AWS WAF only counts CrossSiteScripting_BODY"},
		"certificates not asked for":  {"mtls.yaml", "      MutualTlsAuthentication: {TruststoreUri: !Ref Truststore}\n", "", "mtls.yaml asks for no certificate"},
		"an old TLS there":            {"mtls.yaml", "SecurityPolicy: TLS_1_2", "SecurityPolicy: TLS_1_0", "mtls.yaml speaks TLS_1_0"},
		"every line is audited":       {"audit.yaml", `FilterPattern: '{ $.msg = "audit" }'`, "FilterPattern: ''", "audit.yaml sends other lines"},
		"a function less":             {"audit.yaml", "LogGroupName: !Ref RotateLogGroup", "LogGroupName: !Ref TokenLogGroup", "audit.yaml does not send the events of RotateLogGroup"},
		"into any stream":             {"audit.yaml", "Resource: !Ref FirehoseArn", "Resource: \"*\"", "audit.yaml's role may more than send"},
		"for whoever asks":            {"audit.yaml", "Service: logs.amazonaws.com", "Service: lambda.amazonaws.com", "audit.yaml's role is for others than CloudWatch Logs"},
		"for any account":             {"audit.yaml", "StringEquals: {\"aws:SourceAccount\"", "StringLike: {\"aws:SourceAccount\"", "audit.yaml's role is for others than CloudWatch Logs"},
		"a role without its boundary": {"audit.yaml", "      PermissionsBoundary: !If [HasBoundary, !Ref PermissionsBoundaryArn, !Ref \"AWS::NoValue\"]\n", "", "audit.yaml's role is not bounded"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(files)
			if !strings.Contains(changed[c.file], c.old) {
				t.Fatalf("%s has no %q", c.file, c.old)
			}
			changed[c.file] = strings.Replace(changed[c.file], c.old, c.new, 1)
			found := before(changed)
			if !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("want %q, got %q", c.want, found)
			}
		})
	}
}

// before lists what is wrong with them.
func before(files map[string]string) (found []string) {
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	parsed := map[string]map[string]any{}
	for file, text := range files {
		template, err := parse(text)
		if err != nil {
			return []string{file + ": " + err.Error()}
		}
		parsed[file] = template
	}
	checkEdge(parsed["edge.yaml"], report)
	checkWaf(parsed["waf.yaml"], report)
	domain := members(at(parsed["mtls.yaml"], "Resources", "Domain", "Properties"))
	if at(domain, "MutualTlsAuthentication", "TruststoreUri") != any(call{"Ref", "Truststore"}) {
		report("mtls.yaml asks for no certificate")
	}
	for _, c := range list(domain["DomainNameConfigurations"]) {
		if policy := text(at(c, "SecurityPolicy")); policy != "TLS_1_2" {
			report("mtls.yaml speaks %s", policy)
		}
	}
	checkAudit(parsed["audit.yaml"], report)
	return found
}

// What CloudFront has by itself ("Use managed cache policies" and "Use managed origin
// request policies" in the Amazon CloudFront Developer Guide).
const (
	cachingDisabled           = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
	allViewerExceptHostHeader = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
)

func checkEdge(template map[string]any, report func(string, ...any)) {
	config := at(template, "Resources", "Distribution", "Properties", "DistributionConfig")
	others := list(at(config, "CacheBehaviors"))
	if text(at(config, "DefaultCacheBehavior", "CachePolicyId")) != cachingDisabled || len(others) != 1 || text(at(others[0], "PathPattern")) != "/.well-known/*" {
		report("CloudFront keeps what is no well-known document")
	}
	if longest := text(at(template, "Resources", "WellKnownCache", "Properties", "CachePolicyConfig", "MaxTTL")); longest != "3600" {
		report("CloudFront may keep keys for %s s", longest)
	}
	for _, behavior := range append([]any{at(config, "DefaultCacheBehavior")}, others...) {
		if text(at(behavior, "OriginRequestPolicyId")) != allViewerExceptHostHeader {
			report("CloudFront passes on the Host, or less than the rest")
		}
		if text(at(behavior, "ViewerProtocolPolicy")) != "https-only" {
			report("CloudFront answers without TLS")
		}
	}
	for _, origin := range list(at(config, "Origins")) {
		if text(at(origin, "CustomOriginConfig", "OriginProtocolPolicy")) != "https-only" {
			report("CloudFront asks the API without TLS")
		}
	}
	if least := text(at(config, "ViewerCertificate", "MinimumProtocolVersion")); least != "TLSv1.2_2021" {
		report("CloudFront speaks %s", least)
	}
}

func checkWaf(waf map[string]any, report func(string, ...any)) {
	logging := members(at(waf, "Resources", "Logging", "Properties"))
	shown := []string{"QueryString", "authorization", "cookie", "dpop", "referer"}
	for _, field := range list(logging["RedactedFields"]) {
		name := text(at(field, "SingleHeader", "Name"))
		if at(field, "QueryString") != nil {
			name = "QueryString"
		}
		shown = slices.DeleteFunc(shown, func(s string) bool { return s == name })
	}
	for _, name := range shown {
		report("the log of AWS WAF shows %s", name)
	}
	if text(at(logging, "LoggingFilter", "DefaultBehavior")) != "DROP" {
		report("the log of AWS WAF keeps what was let through")
	}

	var programs any
	counted := []string{ // they would refuse what is right
		"GenericRFI_QUERYARGUMENTS", "GenericRFI_BODY", "GenericRFI_URIPATH", "EC2MetaDataSSRF_BODY", "EC2MetaDataSSRF_COOKIE", "EC2MetaDataSSRF_URIPATH",
		"EC2MetaDataSSRF_QUERYARGUMENTS", "NoUserAgent_HEADER", "SizeRestrictions_QUERYSTRING", "SizeRestrictions_BODY", "SizeRestrictions_Cookie_HEADER",
	}
	for _, rule := range list(at(waf, "Resources", "WebAcl", "Properties", "Rules")) {
		rate := at(rule, "Statement", "RateBasedStatement")
		switch text(at(rule, "Name")) {
		case "programs":
			programs = at(rate, "ScopeDownStatement")
			if limit := at(rate, "Limit"); limit != any(call{"Ref", "ProgramLimit"}) {
				report("programs are limited by %v", limit)
			}
		case "people":
			if limit := at(rate, "Limit"); limit != any(call{"Ref", "PeopleLimit"}) {
				report("people are limited by %v", limit)
			}
			if !reflect.DeepEqual(at(rate, "ScopeDownStatement", "NotStatement", "Statement"), programs) {
				report("what is no request of programs is not limited as people's")
			}
		case "common":
			var overridden []string
			for _, o := range list(at(rule, "Statement", "ManagedRuleGroupStatement", "RuleActionOverrides")) {
				overridden = append(overridden, text(at(o, "Name")))
			}
			for _, name := range missing(counted, overridden) {
				report("AWS WAF refuses by %s", name)
			}
			for _, name := range missing(overridden, counted) {
				report("AWS WAF only counts %s", name)
			}
		}
	}
	for _, statement := range list(at(programs, "OrStatement", "Statements")) {
		path := text(at(statement, "ByteMatchStatement", "SearchString"))
		if at(statement, "ByteMatchStatement", "SearchString") == any(call{"Ref", "TokenPath"}) {
			continue // by the greedy route
		}
		if !slices.Contains(functions["TokenFunction"].Routes, "POST "+path) {
			report("the limit of programs is for %s, which is no path of theirs", path)
		}
	}
}

func checkAudit(template map[string]any, report func(string, ...any)) {
	groups := []string{"TokenLogGroup", "AuthorizeLogGroup", "UserinfoLogGroup", "DeliverLogGroup", "RotateLogGroup"}
	for _, resource := range members(template["Resources"]) {
		if text(at(resource, "Type")) != "AWS::Logs::SubscriptionFilter" {
			continue
		}
		if text(at(resource, "Properties", "FilterPattern")) != `{ $.msg = "audit" }` {
			report("audit.yaml sends other lines")
		}
		group := referred(at(resource, "Properties", "LogGroupName"))
		groups = slices.DeleteFunc(groups, func(g string) bool { return g == group })
	}
	for _, group := range groups {
		report("audit.yaml does not send the events of %s", group)
	}
	role := members(at(template, "Resources", "Role", "Properties"))
	allowed, wrong := []any{}, false
	for _, policy := range list(role["Policies"]) {
		for _, s := range list(at(policy, "PolicyDocument", "Statement")) {
			allowed = append(allowed, at(s, "Action"))
			wrong = wrong || at(s, "Resource") != any(call{"Ref", "FirehoseArn"})
		}
	}
	if wrong || !reflect.DeepEqual(allowed, []any{[]any{"firehose:PutRecord", "firehose:PutRecordBatch"}}) {
		report("audit.yaml's role may more than send")
	}
	trust := []any{map[string]any{
		"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]any{"Service": "logs.amazonaws.com"},
		"Condition": map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": call{"Ref", "AWS::AccountId"}}},
	}}
	if !reflect.DeepEqual(at(role, "AssumeRolePolicyDocument", "Statement"), any(trust)) {
		report("audit.yaml's role is for others than CloudWatch Logs")
	}
	if !reflect.DeepEqual(role["PermissionsBoundary"], optionally("HasBoundary", "PermissionsBoundaryArn")) {
		report("audit.yaml's role is not bounded")
	}
}

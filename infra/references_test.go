package infra_test

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// templates are those that are deployed, from the module's root.
var templates = []string{"template.yaml", "infra/alarms.yaml", "infra/audit.yaml", "infra/edge.yaml", "infra/mtls.yaml", "infra/waf.yaml"}

// attributes are those by type that a template may ask for, as "Resource and property
// reference" in the CloudFormation User Guide lists them.
var attributes = map[string][]string{
	"AWS::ApiGatewayV2::DomainName": {"RegionalDomainName", "RegionalHostedZoneId"},
	"AWS::CloudFront::Distribution": {"DomainName"},
	"AWS::DynamoDB::Table":          {"Arn"},
	"AWS::IAM::Role":                {"Arn"},
	"AWS::KMS::Key":                 {"Arn"},
	"AWS::Logs::LogGroup":           {"Arn"},
	"AWS::SQS::Queue":               {"Arn", "QueueName"},
	"AWS::WAFv2::WebACL":            {"Arn"},
	// Of a function that is published SAM makes a version too.
	"AWS::Serverless::Function": {"Arn", "Version.Version"},
}

// made are what SAM makes beside a resource: a Ref may ask for it.
var made = map[string][]string{
	"AWS::Serverless::Function": {"Version"},
	"AWS::Serverless::HttpApi":  {"Stage"},
}

func TestReferences(t *testing.T) {
	files := map[string]string{}
	for _, file := range templates {
		files[file] = readFile(t, "../"+file)
	}
	for _, problem := range dangling(files) {
		t.Error(problem)
	}
}

// TestReferencesRefuse breaks one template in one place at a time.
func TestReferencesRefuse(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"a resource that is not there": {"template.yaml", "CONFIG_TABLE: !Ref ConfigTable", "CONFIG_TABLE: !Ref ConfTable", "template.yaml: !Ref ConfTable"},
		"an attribute that is none":    {"template.yaml", "MAC_KEY: !GetAtt MacKey.Arn", "MAC_KEY: !GetAtt MacKey.KeyArn", "template.yaml: !GetAtt MacKey.KeyArn"},
		"an attribute of nothing":      {"template.yaml", "MAC_KEY: !GetAtt MacKey.Arn", "MAC_KEY: !GetAtt TheMacKey.Arn", "template.yaml: !GetAtt TheMacKey.Arn"},
		"a text with a hole":           {"template.yaml", "/kmint/${AWS::StackName}/token", "/kmint/${Stack}/token", "template.yaml: !Sub ${Stack}"},
		"a hole with an attribute":     {"template.yaml", "${GrantsTable.Arn}/index/owner", "${GrantsTable.StreamArn}/index/owner", "template.yaml: !Sub ${GrantsTable.StreamArn}"},
		"a condition that is none":     {"template.yaml", "!If [IsTraced, Active,", "!If [IsTracing, Active,", "template.yaml: !If IsTracing"},
		"a resource's condition":       {"template.yaml", "    Condition: HasAlarms\n", "    Condition: HasAlarm\n", "template.yaml: the condition HasAlarm"},
		"a condition of conditions":    {"template.yaml", "!Condition HasDomain, !Not [!Equals", "!Condition HasADomain, !Not [!Equals", "template.yaml: !Condition HasADomain"},
		"a parameter for nothing":      {"template.yaml", "  Memory:\n    Type", "  Speed:\n    Type: String\n  Memory:\n    Type", "template.yaml: nothing uses the parameter Speed"},
		"a condition for nothing":      {"template.yaml", "  IsTraced: !Equals", "  IsFast: !Equals [a, b]\n  IsTraced: !Equals", "template.yaml: nothing uses the condition IsFast"},
		"a template that is not there": {"template.yaml", "TemplateURL: infra/mtls.yaml", "TemplateURL: infra/mutual.yaml", "template.yaml: MutualTlsStack is of infra/mutual.yaml"},
		"a parameter more":             {"template.yaml", "        Truststore: !Ref", "        Trust: !Ref", "template.yaml: MutualTlsStack names Trust, which infra/mtls.yaml"},
		"a parameter less":             {"template.yaml", "        Truststore: !Ref", "        Trust: !Ref", "template.yaml: MutualTlsStack does not name Truststore"},
		"an output that is none":       {"template.yaml", "EdgeStack.Outputs.DomainName", "EdgeStack.Outputs.Domain", "template.yaml: !GetAtt EdgeStack.Outputs.Domain"},
		"a nested one's output":        {"infra/edge.yaml", "WafStack.Outputs.WebAclArn", "WafStack.Outputs.Acl", "infra/edge.yaml: !GetAtt WafStack.Outputs.Acl"},
		"a hole in the dashboard":      {"infra/alarms.yaml", "\"stack\", \"${Stack}\"", "\"stack\", \"${TheStack}\"", "infra/alarms.yaml: !Sub ${TheStack}"},
		"an alarm's dimension":         {"infra/alarms.yaml", "Value: !Ref ApiId", "Value: !Ref Api", "infra/alarms.yaml: !Ref Api"},
		"an output's condition":        {"template.yaml", "    Condition: HasMutualTls\n    Value", "    Condition: HasMutual\n    Value", "template.yaml: the condition HasMutual"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, file := range templates {
				files[file] = readFile(t, "../"+file)
			}
			if !strings.Contains(files[c.file], c.old) {
				t.Fatalf("%s has no %q", c.file, c.old)
			}
			files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
			found := dangling(files)
			if !slices.ContainsFunc(found, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("want %q, got %q", c.want, found)
			}
		})
	}
}

// dangling lists what the templates refer to and is not there, and what is there that
// nothing refers to.
func dangling(files map[string]string) (found []string) {
	parsed := map[string]map[string]any{}
	for file, text := range files {
		template, err := parse(text)
		if err != nil {
			return []string{file + ": " + err.Error()}
		}
		parsed[file] = template
	}
	for _, file := range slices.Sorted(maps.Keys(parsed)) {
		r := references{file: file, all: parsed, template: parsed[file], used: map[string]bool{}}
		r.check()
		found = append(found, r.found...)
	}
	return found
}

// references goes through one template.
type references struct {
	file     string
	all      map[string]map[string]any
	template map[string]any
	// used are the names of the parameters and, with an ! before, of the conditions
	// that something refers to.
	used  map[string]bool
	found []string
}

func (r *references) report(format string, args ...any) {
	r.found = append(r.found, r.file+": "+fmt.Sprintf(format, args...))
}

func (r *references) check() {
	for section, content := range r.template {
		if section != "Metadata" { // where the parameters are named for the console alone
			r.walk(content)
		}
	}
	for _, section := range []string{"Resources", "Outputs"} {
		for _, item := range members(r.template[section]) {
			if condition := text(at(item, "Condition")); condition != "" {
				r.condition("the condition "+condition, condition)
			}
		}
	}
	for id, resource := range members(r.template["Resources"]) {
		if text(at(resource, "Type")) == "AWS::CloudFormation::Stack" {
			r.stack(id, members(at(resource, "Properties")))
		}
	}
	for name := range members(r.template["Parameters"]) {
		if !r.used[name] {
			r.report("nothing uses the parameter %s", name)
		}
	}
	for name := range members(r.template["Conditions"]) {
		if !r.used["!"+name] {
			r.report("nothing uses the condition %s", name)
		}
	}
}

func (r *references) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			r.walk(item)
		}
	case []any:
		for _, item := range v {
			r.walk(item)
		}
	case call:
		r.call(v)
	}
}

func (r *references) call(c call) {
	switch c.Name {
	case "Ref":
		r.ref("!Ref "+text(c.Argument), text(c.Argument))
	case "GetAtt":
		r.attribute("!GetAtt "+text(c.Argument), text(c.Argument))
	case "Condition":
		r.condition("!Condition "+text(c.Argument), text(c.Argument))
		return
	case "If":
		name := text(list(c.Argument)[0])
		r.condition("!If "+name, name)
	case "Sub":
		r.sub(c.Argument)
	}
	r.walk(c.Argument)
}

var hole = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// sub takes a text, or a text and what the holes in it are.
func (r *references) sub(argument any) {
	given := map[string]any{}
	if parts := list(argument); len(parts) == 2 {
		argument, given = parts[0], members(parts[1])
	}
	for _, match := range hole.FindAllStringSubmatch(text(argument), -1) {
		name := match[1]
		switch {
		case given[name] != nil:
		case strings.Contains(name, ".") && !strings.HasPrefix(name, "AWS::"):
			r.attribute("!Sub "+match[0], name)
		default:
			r.ref("!Sub "+match[0], name)
		}
	}
}

func (r *references) ref(how, name string) {
	r.used[name] = true
	id, beside, _ := strings.Cut(name, ".")
	resource := at(r.template, "Resources", id)
	pseudo := []string{"AWS::AccountId", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix"}
	switch {
	case slices.Contains(pseudo, name), at(r.template, "Parameters", name) != nil:
	case id == "ServerlessDeploymentApplication" && strings.Contains(r.file, "template.yaml"): // SAM makes it
	case resource == nil, beside != "" && !slices.Contains(made[text(at(resource, "Type"))], beside):
		r.report("%s is nothing", how)
	}
}

func (r *references) attribute(how, name string) {
	id, attribute, _ := strings.Cut(name, ".")
	resource := at(r.template, "Resources", id)
	kind := text(at(resource, "Type"))
	if output, ok := strings.CutPrefix(attribute, "Outputs."); ok && kind == "AWS::CloudFormation::Stack" {
		if at(r.all[r.nested(resource)], "Outputs", output) == nil {
			r.report("%s is no output", how)
		}
		return
	}
	if resource == nil || !slices.Contains(attributes[kind], attribute) {
		r.report("%s is nothing", how)
	}
}

func (r *references) condition(how, name string) {
	r.used["!"+name] = true
	if at(r.template, "Conditions", name) == nil {
		r.report("%s is nothing", how)
	}
}

// nested is the file of a stack in this one.
func (r *references) nested(resource any) string {
	return path.Join(path.Dir(r.file), text(at(resource, "Properties", "TemplateURL")))
}

func (r *references) stack(id string, properties map[string]any) {
	file := r.nested(map[string]any{"Properties": properties})
	template := r.all[file]
	if template == nil {
		r.report("%s is of %s, which is not there", id, file)
		return
	}
	given := members(properties["Parameters"])
	for name := range given {
		if at(template, "Parameters", name) == nil {
			r.report("%s names %s, which %s does not know", id, name, file)
		}
	}
	for name, parameter := range members(template["Parameters"]) {
		if given[name] == nil && at(parameter, "Default") == nil {
			r.report("%s does not name %s", id, name)
		}
	}
}

package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Function is what a stack gives one.
type Function struct {
	// ID is its logical id.
	ID   string
	Role Role
	// Services are what Lambda itself, and DynamoDB for the key of a table, ask for by the
	// function's role. Nobody here can see them ask: these are the permissions that their
	// documentation names for what the template says of function and tables.
	Services []Request
	// Conditions are those of the template that its role depends on.
	Conditions []string
}

// Function reads what the template gives a function.
func (s *Stack) Function(id string) (Function, error) {
	f := Function{ID: id}
	arn, err := s.Value(id, "Properties", "Role")
	if err != nil {
		return f, err
	}
	roles, err := s.Resources("AWS::IAM::Role")
	if err != nil {
		return f, err
	}
	for _, role := range roles {
		own, err := s.ARN(role)
		if err != nil {
			return f, err
		}
		if own != arn {
			continue
		}
		f.Role = Role{ARN: own}
		f.Conditions = s.Conditions(role, "Properties")
		f.Conditions = append(f.Conditions, s.attached(role)...)
		if f.Role.Policy, err = s.role(role); err != nil {
			return f, err
		}
		f.Services, err = s.services(id)
		return f, err
	}
	return f, fmt.Errorf("iam: %s has the role %v, which is not in the template", id, arn)
}

// role reads the statements of a role.
func (s *Stack) role(id string) ([]Statement, error) {
	v, err := s.Value(id, "Properties")
	if err != nil {
		return nil, err
	}
	properties, _ := v.(map[string]any)
	for _, name := range []string{"ManagedPolicyArns", "PermissionsBoundary"} {
		if properties[name] != nil {
			return nil, fmt.Errorf("iam: %s has %s, which is not known here", id, name)
		}
	}
	policies, _ := properties["Policies"].([]any)
	var all []Statement
	for _, policy := range policies {
		list, err := statements(id, at(policy, "PolicyDocument"))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	beside, err := s.beside(id)
	if err != nil {
		return nil, err
	}
	for _, policy := range beside {
		document, err := s.Value(policy, "Properties", "PolicyDocument")
		if err != nil {
			return nil, err
		}
		list, err := statements(policy, document)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// beside lists the policies that are attached to a role from without.
func (s *Stack) beside(role string) ([]string, error) {
	name, err := s.name(role)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, kind := range []string{"AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"} {
		policies, err := s.Resources(kind)
		if err != nil {
			return nil, err
		}
		for _, policy := range policies {
			v, err := s.Value(policy, "Properties")
			if err != nil {
				return nil, err
			}
			roles, _ := at(v, "Roles").([]any)
			if slices.Contains(texts(roles), name) || at(v, "RoleName") == name {
				all = append(all, policy)
			}
		}
	}
	return all, nil
}

// attached lists the conditions of the policies that the template may attach to a role.
func (s *Stack) attached(role string) []string {
	resources, _ := s.template["Resources"].(map[string]any)
	var all []string
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		kind, _ := at(resources[id], "Type").(string)
		condition, conditional := at(resources[id], "Condition").(string)
		if strings.HasPrefix(kind, "AWS::IAM::") && conditional && names(at(resources[id], "Properties", "Roles"), role) {
			all = append(all, condition)
			all = append(all, s.Conditions(id, "Properties", "PolicyDocument")...)
		}
	}
	return all
}

// names reports whether a Ref to a resource is in a value.
func names(v any, id string) bool {
	switch v := v.(type) {
	case call:
		return v == call{"Ref", id} || names(v.argument, id)
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return names(item, id) })
	default:
		return false
	}
}

// services lists what services ask for by a function's role.
func (s *Stack) services(id string) ([]Request, error) {
	v, err := s.Value(id, "Properties")
	if err != nil {
		return nil, err
	}
	var all []Request
	ask := func(resource string, actions ...string) {
		for _, action := range actions {
			all = append(all, Request{Action: action, Resource: resource})
		}
	}
	// "Sending Lambda function logs to CloudWatch Logs".
	group := at(v, "LoggingConfig", "LogGroup")
	groups, err := s.Resources("AWS::Logs::LogGroup")
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if name, err := s.name(g); err == nil && name == group {
			arn, err := s.ARN(g)
			if err != nil {
				return nil, err
			}
			ask(strings.TrimSuffix(arn, "*")+"log-stream:x", "logs:CreateLogStream", "logs:PutLogEvents")
		}
	}
	// "Creating and configuring an Amazon SQS event source mapping": the execution role.
	events, _ := at(v, "Events").(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(events)) {
		if queue, ok := at(events[name], "Properties", "Queue").(string); ok && at(events[name], "Type") == "SQS" {
			ask(queue, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
		}
	}
	// "Adding a dead-letter queue", "Visualize Lambda function invocations using AWS X-Ray".
	if queue, ok := at(v, "DeadLetterQueue", "TargetArn").(string); ok {
		ask(queue, "sqs:SendMessage")
	}
	if queue, ok := at(v, "EventInvokeConfig", "DestinationConfig", "OnFailure", "Destination").(string); ok {
		ask(queue, "sqs:SendMessage")
	}
	tracing := at(v, "Tracing")
	if tracing == nil {
		tracing, err = s.resolve(at(s.template, "Globals", "Function", "Tracing"))
	}
	if err != nil {
		return nil, err
	}
	if tracing == "Active" {
		ask("*", "xray:PutTraceSegments", "xray:PutTelemetryRecords")
	}
	// "DynamoDB encryption at rest": of a key of the customer's, in the name of who calls.
	tables, err := s.Resources("AWS::DynamoDB::Table")
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		key, err := s.Value(table, "Properties", "SSESpecification", "KMSMasterKeyId")
		if err != nil {
			return nil, err
		}
		if arn, ok := key.(string); ok {
			all = append(all, Request{"kms:Decrypt", arn, map[string][]string{"kms:viaservice": {"dynamodb." + s.Region + ".amazonaws.com"}}})
		}
	}
	return all, nil
}

// A Key is a KMS key.
type Key struct {
	ARN    string
	Tags   map[string]string
	Policy []Statement
}

// Keys are those of the template that are made, by logical id.
func (s *Stack) Keys() (map[string]Key, error) {
	ids, err := s.Resources("AWS::KMS::Key")
	if err != nil {
		return nil, err
	}
	keys := map[string]Key{}
	for _, id := range ids {
		k := Key{Tags: map[string]string{}}
		if k.ARN, err = s.ARN(id); err != nil {
			return nil, err
		}
		tags, err := s.Value(id, "Properties", "Tags")
		if err != nil {
			return nil, err
		}
		list, _ := tags.([]any)
		for _, tag := range list {
			k.Tags[fmt.Sprint(at(tag, "Key"))] = fmt.Sprint(at(tag, "Value"))
		}
		document, err := s.Value(id, "Properties", "KeyPolicy")
		if err != nil {
			return nil, err
		}
		if k.Policy, err = statements(id, document); err != nil {
			return nil, err
		}
		keys[id] = k
	}
	return keys, nil
}

// leading is the attribute that the leading keys of a table, or of one of its indexes,
// are values of, and the ARN of what is asked.
func (s *Stack) leading(table, index string) (attribute, arn string, err error) {
	ids, err := s.Resources("AWS::DynamoDB::Table")
	if err != nil {
		return "", "", err
	}
	for _, id := range ids {
		if name, err := s.name(id); err != nil || name != table {
			continue
		}
		if arn, err = s.ARN(id); err != nil {
			return "", "", err
		}
		v, err := s.Value(id, "Properties")
		if err != nil {
			return "", "", err
		}
		schema := at(v, "KeySchema")
		if index != "" {
			arn += "/index/" + index
			schema = nil
			indexes, _ := at(v, "GlobalSecondaryIndexes").([]any)
			for _, i := range indexes {
				if at(i, "IndexName") == index {
					schema = at(i, "KeySchema")
				}
			}
		}
		parts, _ := schema.([]any)
		for _, part := range parts {
			if at(part, "KeyType") == "HASH" {
				return fmt.Sprint(at(part, "AttributeName")), arn, nil
			}
		}
	}
	return "", "", fmt.Errorf("iam: the template has no table %s with an index %q", table, index)
}

package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Needless takes each statement out of a role, each action of a statement and each value
// of a condition, one at a time, and lists those without which nothing of the calls is
// refused.
func Needless(role Role, calls []Call) []string {
	calls = distinct(calls)
	var found []string
	for what, less := range role.without() {
		if !slices.ContainsFunc(calls, func(c Call) bool { _, refused := less.Judge(c); return refused != "" }) {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}

// Missed names the event that fails first without a part of a role, by the name that
// Needless has for it; "" for none.
func Missed(role Role, part string, calls []Call) (event string, known bool) {
	less, known := role.without()[part]
	if !known {
		return "", false
	}
	for _, c := range calls {
		if _, refused := less.Judge(c); refused != "" {
			return c.Event, true
		}
	}
	return "", true
}

// without is the role without each of its parts.
func (r Role) without() map[string]Role {
	parts := map[string]Role{}
	replace := func(what string, i int, by ...Statement) {
		less := r
		less.Policy = slices.Replace(slices.Clone(r.Policy), i, i+1, by...)
		parts[what] = less
	}
	drop := func(list []string, i int) []string { return slices.Delete(slices.Clone(list), i, i+1) }
	for i, s := range r.Policy {
		if s.Deny {
			continue
		}
		replace(s.String(), i)
		for j, action := range s.Actions {
			less := s
			if less.Actions = drop(s.Actions, j); len(less.Actions) > 0 {
				replace(fmt.Sprintf("%s: %s", s, action), i, less)
			}
		}
		for j, resource := range s.Resources {
			less := s
			if less.Resources = drop(s.Resources, j); len(less.Resources) > 0 {
				replace(fmt.Sprintf("%s: %s", s, resource), i, less)
			}
		}
		for j, c := range s.Conditions {
			for k, value := range c.Values {
				if fewer := drop(c.Values, k); len(fewer) > 0 {
					less := s
					less.Conditions = slices.Clone(s.Conditions)
					less.Conditions[j].Values = fewer
					replace(fmt.Sprintf("%s: %s %s", s, c.Key, value), i, less)
				}
			}
		}
	}
	return parts
}

// distinct leaves out what was asked before.
func distinct(calls []Call) []Call {
	seen := map[string]bool{}
	var all []Call
	for _, c := range calls {
		if id := fmt.Sprint(c.Request); !seen[id] {
			seen[id] = true
			all = append(all, c)
		}
	}
	return all
}

// A World is all that may be asked for, as far as a test tells one thing from another:
// actions, tables, kinds of items, queues, keys, and how each may be used.
type World struct {
	Stack *Stack
	Keys  []Key
	// Roles are all of the stack: what one is allowed is tried on the others.
	Roles []Role
	// Calls are those of all functions.
	Calls []Call
	// Single are keys of items that are of a kind of their own.
	Single []string

	asked []Call
}

// Wide lists what a role allows that is of no kind of the calls. Two requests are of one
// kind where they differ in nothing but the item's key behind its prefix, the key of one
// set of tags, the stream of a log, or what is encrypted.
func (w *World) Wide(role Role, calls []Call) ([]string, error) {
	made := map[string]bool{}
	for _, c := range calls {
		made[w.kind(c.Request, "")] = true
	}
	requests, err := w.requests()
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, c := range requests {
		// What a key's policy keeps the role from is too much in the role all the same.
		by, _ := role.Decide(c.Request, nil)
		// What it may itself, it may by a service.
		if len(by) == 0 || made[w.kind(c.Request, "")] || made[w.kind(withoutService(c.Request), "")] {
			continue
		}
		found[by[0].String()+" allows "+w.kind(c.Request, "")] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Loose lists the signatures that a role may have of a key and does not ask for: here the
// policy of each key counts, and each key for itself.
func (w *World) Loose(role Role, calls []Call) ([]string, error) {
	made := map[string]bool{}
	for _, c := range calls {
		made[w.kind(c.Request, c.Resource)] = true
	}
	requests, err := w.requests()
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, c := range requests {
		if c.Action != "kms:Sign" || c.Key == nil || c.Key.Policy == nil {
			continue
		}
		if _, refused := role.Judge(c); refused == "" && !made[w.kind(c.Request, c.Resource)] {
			found[w.kind(c.Request, c.Resource)] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func withoutService(r Request) Request {
	r.Context = maps.Clone(r.Context)
	delete(r.Context, "kms:viaservice")
	return r
}

// free are the condition keys whose values tell no kind from another.
var free = []string{"aws:tagkeys", "aws:requesttag/kmint:algorithm", "aws:resourcetag/kmint:algorithm", "kms:calleraccount", "kms:keyspec", "kms:multiregion", "kms:encryptionalgorithm", "kms:encryptioncontextkeys"}

// kind is that of a request; key is the key that it is on, "" where any of its tags will do.
func (w *World) kind(r Request, key string) string {
	words := []string{r.Action, r.Resource}
	switch resource := r.Resource; {
	case key != "":
	case strings.Contains(resource, ":kms:"):
		words[1] = "a key"
	case strings.Contains(resource, ":log-stream:"):
		words[1] = resource[:strings.Index(resource, ":log-stream:")]
	// A function's version, and a deployment group, are any.
	case strings.Count(resource, ":") == 7 && strings.Contains(resource, ":lambda:"):
		words[1] = resource[:strings.LastIndex(resource, ":")] + ":*"
	case strings.Contains(resource, ":deploymentgroup:"):
		words[1] = resource[:strings.LastIndex(resource, "/")+1] + "*"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Context)) {
		values := r.Context[name]
		switch {
		case slices.Contains(free, name), len(values) == 0:
		case name == "dynamodb:leadingkeys":
			for _, value := range values {
				if !slices.Contains(w.Single, value) {
					value = itemKind(value)
				}
				words = append(words, value)
			}
		case strings.HasPrefix(name, "kms:encryptioncontext:"):
			words = append(words, name)
		default:
			words = append(words, name+"="+strings.Join(values, ","))
		}
	}
	return strings.Join(words, " ")
}

// itemKind is client#* of client#demo.
func itemKind(key string) string {
	if kind, _, ok := strings.Cut(key, "#"); ok {
		return kind + "#*"
	}
	return key
}

// Actions of the services, as far as somebody might give one away: those on data, and
// those that end or open a thing.
var actions = map[string][]string{
	"dynamodb": {
		"GetItem", "BatchGetItem", "Query", "Scan", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "ConditionCheckItem",
		"PartiQLSelect", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete", "GetRecords", "GetShardIterator",
		"DescribeTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive", "UpdateContinuousBackups", "PutResourcePolicy", "CreateBackup", "ExportTableToPointInTime", "TagResource",
	},
	"kms": {
		"Sign", "Verify", "GenerateMac", "VerifyMac", "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyWithoutPlaintext",
		"CreateKey", "ListKeys", "ListAliases", "ListResourceTags", "DescribeKey", "GetKeyPolicy", "PutKeyPolicy", "GetPublicKey", "DisableKey", "EnableKey",
		"ScheduleKeyDeletion", "CancelKeyDeletion", "TagResource", "UntagResource", "CreateGrant", "RetireGrant", "RevokeGrant", "CreateAlias", "UpdateAlias", "DeleteAlias",
		"UpdateKeyDescription", "EnableKeyRotation", "DisableKeyRotation", "ImportKeyMaterial", "DeleteImportedKeyMaterial", "ReplicateKey", "UpdatePrimaryRegion",
	},
	"sqs":  {"SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "SetQueueAttributes", "PurgeQueue", "DeleteQueue", "AddPermission"},
	"logs": {"CreateLogGroup", "CreateLogStream", "PutLogEvents", "GetLogEvents", "FilterLogEvents", "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy"},
}

// onNone are the actions of KMS that are on no key.
var onNone = []string{"CreateKey", "ListKeys", "ListAliases"}

// requests are one of each kind.
func (w *World) requests() (all []Call, err error) {
	if w.asked != nil {
		return w.asked, nil
	}
	defer func() { w.asked = all }()
	ask := func(action, resource string, key *Key, contexts ...map[string][]string) {
		if len(contexts) == 0 {
			contexts = []map[string][]string{nil}
		}
		for _, context := range contexts {
			all = append(all, Call{Request: Request{action, resource, context}, Key: key})
		}
	}
	items := w.items()
	tables, err := w.tables()
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		for _, action := range actions["dynamodb"] {
			ask("dynamodb:"+action, table, nil, items...)
		}
	}
	for i := range w.Keys {
		key := &w.Keys[i]
		for _, action := range actions["kms"] {
			if slices.Contains(onNone, action) {
				continue
			}
			for _, use := range uses(action) {
				use = maps.Clone(use)
				for name, value := range key.Tags {
					use["aws:resourcetag/"+strings.ToLower(name)] = []string{value}
				}
				ask("kms:"+action, key.ARN, key, use)
			}
		}
	}
	for _, action := range onNone {
		ask("kms:"+action, "*", nil, uses(action)...)
	}
	ask("kms:TagResource", w.Stack.keyToBe(), nil, uses("TagResource")...)
	for _, service := range []struct{ name, kind string }{{"sqs", "AWS::SQS::Queue"}, {"logs", "AWS::Logs::LogGroup"}} {
		ids, err := w.Stack.Resources(service.kind)
		if err != nil {
			return nil, err
		}
		resources := []string{"arn:aws:" + service.name + ":" + w.Stack.Region + ":" + w.Stack.Account + ":another"}
		for _, id := range ids {
			arn, err := w.Stack.ARN(id)
			if err != nil {
				return nil, err
			}
			if group, ok := strings.CutSuffix(arn, ":*"); ok {
				arn = group + ":log-stream:x"
			}
			resources = append(resources, arn)
		}
		for _, resource := range resources {
			for _, action := range actions[service.name] {
				ask(service.name+":"+action, resource, nil)
			}
		}
	}
	// Of a service that is not above, what the roles say, word by word.
	for _, role := range w.Roles {
		for _, s := range role.Policy {
			for _, action := range s.Actions {
				if service, _, _ := strings.Cut(action, ":"); actions[service] == nil {
					for _, resource := range s.Resources {
						if resource != "*" {
							resource = strings.ReplaceAll(resource, "*", "x")
						}
						ask(action, resource, nil)
					}
				}
			}
		}
	}
	return all, nil
}

// items are leading keys: none, one of each kind that is allowed or asked for, and one that
// nobody knows.
func (w *World) items() []map[string][]string {
	kinds := map[string]bool{"another#x": true}
	for _, role := range w.Roles {
		for _, s := range role.Policy {
			for _, c := range s.Conditions {
				if c.Key == "dynamodb:leadingkeys" && !strings.HasPrefix(c.Operator, "Null") {
					for _, value := range c.Values {
						kinds[strings.NewReplacer("*", "x", "?", "x").Replace(value)] = true
					}
				}
			}
		}
	}
	for _, c := range w.Calls {
		for _, key := range c.Context["dynamodb:leadingkeys"] {
			kinds[strings.Replace(itemKind(key), "*", "x", 1)] = true
		}
	}
	all := []map[string][]string{{}}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, map[string][]string{"dynamodb:leadingkeys": {kind}})
	}
	return all
}

// tables are those of the stack, their indexes and one that is not there, and one of others.
func (w *World) tables() ([]string, error) {
	ids, err := w.Stack.Resources("AWS::DynamoDB::Table")
	if err != nil {
		return nil, err
	}
	all := []string{"arn:aws:dynamodb:" + w.Stack.Region + ":" + w.Stack.Account + ":table/another"}
	for _, id := range ids {
		arn, err := w.Stack.ARN(id)
		if err != nil {
			return nil, err
		}
		all = append(all, arn, arn+"/index/another", arn+"/stream/2026-01-01T00:00:00.000")
		indexes, err := w.Stack.Value(id, "Properties", "GlobalSecondaryIndexes")
		if err != nil {
			return nil, err
		}
		list, _ := indexes.([]any)
		for _, index := range list {
			all = append(all, arn+"/index/"+fmt.Sprint(at(index, "IndexName")))
		}
	}
	return all, nil
}

// uses are the ways in which KMS is asked for an action.
func uses(action string) []map[string][]string {
	all := []map[string][]string{{}}
	// each multiplies what there is by the values of a condition key, "" for its absence.
	each := func(name string, values ...string) {
		var more []map[string][]string
		for _, context := range all {
			for _, value := range values {
				context := maps.Clone(context)
				if value != "" {
					context[name] = []string{value}
				}
				more = append(more, context)
			}
		}
		all = more
	}
	switch action {
	case "Sign", "Verify":
		each("kms:messagetype", "RAW", "DIGEST", "EXTERNAL_MU")
		each("kms:signingalgorithm",
			"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
			"ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512", "ED25519_SHA_512", "ED25519_PH_SHA_512", "ML_DSA_SHAKE_256", "SM2DSA")
	case "GenerateMac", "VerifyMac":
		each("kms:macalgorithm", "HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512")
	case "Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyWithoutPlaintext":
		each("kms:encryptioncontext:client_id", "", "x")
		each("kms:encryptioncontext:another", "", "x")
		for _, context := range all {
			for _, name := range []string{"client_id", "another"} {
				if context["kms:encryptioncontext:"+name] != nil {
					context["kms:encryptioncontextkeys"] = append(context["kms:encryptioncontextkeys"], name)
				}
			}
		}
		for _, service := range []string{"dynamodb", "s3"} { // whose context is their own
			all = append(all, map[string][]string{"kms:viaservice": {service + ".us-east-1.amazonaws.com"}})
		}
	case "ScheduleKeyDeletion":
		each("kms:schedulekeydeletionpendingwindowindays", "", "7", "30")
	case "CreateKey", "TagResource":
		each("aws:requesttag/kmint:stack", "", "kmint", "another")
		each("aws:requesttag/kmint:use", "", "sign", "seal")
		each("aws:requesttag/kmint:made-by", "", "rotate", "another")
		if action == "CreateKey" {
			each("kms:keyusage", "SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT")
		}
	}
	return all
}

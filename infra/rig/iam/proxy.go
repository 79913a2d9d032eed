package iam

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Call is one permission that a function asked for.
type Call struct {
	// Function is its logical id, Event what it was at.
	Function, Event string
	Request
	// Key is what it is about, nil where it is on none.
	Key *Key
	// By are the statements that allowed it, Refused says why none did.
	By      []Statement
	Refused string
}

// A Proxy lets through to DynamoDB, KMS, SQS, Lambda and CodeDeploy what the role of a
// function allows.
type Proxy struct {
	Function Function
	Stack    *Stack
	// DynamoDB, KMS and SQS are the addresses of those behind it.
	DynamoDB, KMS, SQS, Lambda, CodeDeploy string
	// DeploymentGroup is the ARN of the one that every deployment is of.
	DeploymentGroup string
	// Key finds a key by its id, its ARN or an alias of it.
	Key func(name string) (Key, bool)

	mu       sync.Mutex
	fails    func(Call) bool
	event    string
	calls    []Call
	problems []string
}

var _ http.Handler = (*Proxy)(nil)

// At says what the function is at from now on.
func (p *Proxy) At(event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.event = event
}

// Fail lets what is allowed fail all the same, as a server's own fault, where fails says so.
// nil ends it.
func (p *Proxy) Fail(fails func(Call) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = fails
}

// Calls are all that the function has asked for.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Refusals says, since it was last asked, which calls were refused, and which could not be
// judged.
func (p *Proxy) Refusals() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.problems
	p.problems = nil
	return problems
}

// maxBody is the longest request of the three services' that is read.
const maxBody = 1 << 20

// ServeHTTP judges a call, and lets it through or refuses it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := new(http.MaxBytesError); err != nil && !errors.As(err, &tooLong) {
		panic(http.ErrAbortHandler) // the caller has gone: it calls off what it needs no more
	}
	target := r.Header.Get("X-Amz-Target")
	prefix, operation, _ := strings.Cut(target, ".")
	if version, ok := invoked(r); ok {
		prefix, operation = lambda, version
	}
	behind := map[string]string{"DynamoDB_20120810": p.DynamoDB, "TrentService": p.KMS, "AmazonSQS": p.SQS, lambda: p.Lambda, codeDeploy: p.CodeDeploy}[prefix]
	to, errURL := url.Parse(behind)
	var asked []Call
	if err = errors.Join(err, errURL); err == nil && behind == "" {
		err = fmt.Errorf("iam: a call of %q", target)
	}
	if err == nil {
		asked, err = p.asked(prefix, operation, body)
	}
	if err != nil {
		p.note(err.Error())
		refuse(w, prefix, "The call could not be judged: "+err.Error())
		return
	}
	for _, call := range asked {
		refused, fails := p.decide(call)
		switch {
		case refused != "":
			refuse(w, prefix, refused)
			return
		case fails:
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	(&httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) { out.SetURL(to) },
		// As the server behind does where the test lets it drop a connection.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}).ServeHTTP(w, r)
}

func (p *Proxy) note(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, problem)
}

// decide notes a call and says why it is refused, in the words of AWS, "" where it is not,
// and whether it fails then.
func (p *Proxy) decide(c Call) (refused string, fails bool) {
	c.Function = p.Function.ID
	c.By, c.Refused = p.Function.Role.Judge(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Event = p.event
	p.calls = append(p.calls, c)
	if c.Refused == "" {
		return "", p.fails != nil && p.fails(c)
	}
	refused = fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", p.Function.Role.ARN, c.Action, c.Resource, c.Refused)
	p.problems = append(p.problems, fmt.Sprintf("%s %v", refused, c.Context))
	return refused, false
}

// Judge is Decide, with the policy of the key that the call is about.
func (r Role) Judge(c Call) (by []Statement, why string) {
	if c.Key == nil {
		return r.Decide(c.Request, nil)
	}
	return r.Decide(c.Request, c.Key.Policy)
}

// refuse answers as the service does whose protocol it is.
func refuse(w http.ResponseWriter, prefix, why string) {
	kind, code, status := "application/x-amz-json-1.0", "com.amazon.coral.service#AccessDeniedException", http.StatusBadRequest
	switch prefix {
	case "TrentService":
		kind, code = "application/x-amz-json-1.1", "AccessDeniedException"
	case codeDeploy:
		kind, code = "application/x-amz-json-1.1", "AccessDeniedException"
	case "AmazonSQS":
		status = http.StatusForbidden
		w.Header().Set("x-amzn-query-error", "AccessDenied;Sender")
	case lambda:
		kind, code, status = "application/json", "AccessDeniedException", http.StatusForbidden
		w.Header().Set("x-amzn-ErrorType", code)
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": why})
}

func (p *Proxy) asked(prefix, operation string, body []byte) ([]Call, error) {
	switch prefix {
	case "DynamoDB_20120810":
		return p.askedOfDynamoDB(operation, body)
	case "TrentService":
		return p.askedOfKMS(operation, body)
	case lambda:
		return []Call{{Request: Request{"lambda:InvokeFunction", operation, nil}}}, nil
	case codeDeploy:
		return []Call{{Request: Request{"codedeploy:" + operation, p.DeploymentGroup, nil}}}, nil
	default:
		return p.askedOfSQS(operation, body)
	}
}

const (
	codeDeploy = "CodeDeploy_20141006"
	// lambda has no such prefix: its protocol is another.
	lambda = "lambda"
)

// invoked is the ARN of the function's version that a request invokes.
func invoked(r *http.Request) (string, bool) {
	name, ok := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
	name, end := strings.CutSuffix(name, "/invocations")
	version, err := url.PathUnescape(name)
	return version, ok && end && err == nil && strings.HasPrefix(version, "arn:")
}

// equality is the one on the partition key that every Query has.
var (
	equality = regexp.MustCompile(`^\(?\s*(#?[A-Za-z0-9_]+)\s*=\s*(:[A-Za-z0-9_]+)\s*\)?$`)
	and      = regexp.MustCompile(`(?i)\s+and\s+`)
)

func (p *Proxy) askedOfDynamoDB(operation string, body []byte) ([]Call, error) {
	type attribute struct{ S *string }
	var in struct {
		TableName, IndexName, KeyConditionExpression string
		Key, Item, ExpressionAttributeValues         map[string]attribute
		ExpressionAttributeNames                     map[string]string
	}
	// An item has attributes of other types.
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("iam: %s: %w", operation, err)
	}
	attributeName, arn, err := p.Stack.leading(in.TableName, in.IndexName)
	if err != nil {
		return nil, err
	}
	var value attribute
	switch operation {
	case "GetItem", "UpdateItem", "DeleteItem":
		value = in.Key[attributeName]
	case "PutItem":
		value = in.Item[attributeName]
	case "Query":
		for _, part := range and.Split(in.KeyConditionExpression, -1) {
			found := equality.FindStringSubmatch(strings.TrimSpace(part))
			if found == nil {
				continue
			}
			name := found[1]
			if full, ok := in.ExpressionAttributeNames[name]; ok {
				name = full
			}
			if name == attributeName {
				value = in.ExpressionAttributeValues[found[2]]
			}
		}
	default:
		return nil, fmt.Errorf("iam: which permissions does %s of DynamoDB ask for?", operation)
	}
	if value.S == nil {
		return nil, fmt.Errorf("iam: %s of %s names no %s", operation, in.TableName, attributeName)
	}
	return []Call{{Request: Request{"dynamodb:" + operation, arn, map[string][]string{"dynamodb:leadingkeys": {*value.S}}}}}, nil
}

func (p *Proxy) askedOfKMS(operation string, body []byte) ([]Call, error) {
	var in struct {
		KeyId, MessageType, SigningAlgorithm, MacAlgorithm, EncryptionAlgorithm, KeySpec, KeyUsage string
		MultiRegion                                                                                *bool
		EncryptionContext                                                                          map[string]string
		Tags                                                                                       []struct{ TagKey, TagValue string }
		PendingWindowInDays                                                                        *int
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("iam: %s: %w", operation, err)
	}
	context := map[string][]string{"kms:calleraccount": {p.Stack.Account}}
	set := func(name, value string) {
		if value != "" {
			context[name] = []string{value}
		}
	}
	switch operation {
	case "Sign", "Verify":
		set("kms:messagetype", cmp.Or(in.MessageType, "RAW"))
		set("kms:signingalgorithm", in.SigningAlgorithm)
	case "GenerateMac", "VerifyMac":
		set("kms:macalgorithm", in.MacAlgorithm)
	case "Encrypt", "Decrypt":
		set("kms:encryptionalgorithm", cmp.Or(in.EncryptionAlgorithm, "SYMMETRIC_DEFAULT"))
		for name, value := range in.EncryptionContext {
			set("kms:encryptioncontext:"+strings.ToLower(name), value)
		}
		context["kms:encryptioncontextkeys"] = slices.Sorted(maps.Keys(in.EncryptionContext))
	case "ScheduleKeyDeletion":
		if in.PendingWindowInDays != nil {
			set("kms:schedulekeydeletionpendingwindowindays", strconv.Itoa(*in.PendingWindowInDays))
		}
	case "CreateKey":
		set("kms:keyspec", cmp.Or(in.KeySpec, "SYMMETRIC_DEFAULT"))
		set("kms:keyusage", cmp.Or(in.KeyUsage, "ENCRYPT_DECRYPT"))
		set("kms:multiregion", strconv.FormatBool(in.MultiRegion != nil && *in.MultiRegion))
	case "ListKeys", "ListResourceTags", "DescribeKey", "GetKeyPolicy", "PutKeyPolicy", "GetPublicKey", "DisableKey", "EnableKey":
	default:
		return nil, fmt.Errorf("iam: which permissions does %s of KMS ask for?", operation)
	}
	tags := maps.Clone(context)
	for _, tag := range in.Tags {
		tags["aws:requesttag/"+strings.ToLower(tag.TagKey)] = []string{tag.TagValue}
		tags["aws:tagkeys"] = append(tags["aws:tagkeys"], tag.TagKey)
	}
	switch operation {
	case "ListKeys":
		return []Call{{Request: Request{"kms:ListKeys", "*", context}}}, nil
	case "CreateKey":
		calls := []Call{{Request: Request{"kms:CreateKey", "*", tags}}}
		// "To use the Tags parameter, kms:TagResource (IAM policy)", on a key that has no
		// tags yet.
		if len(in.Tags) > 0 {
			made := maps.Clone(tags)
			for _, name := range []string{"kms:keyspec", "kms:keyusage", "kms:multiregion"} {
				delete(made, name)
			}
			calls = append(calls, Call{Request: Request{"kms:TagResource", p.Stack.keyToBe(), made}})
		}
		return calls, nil
	}
	key, there := p.Key(in.KeyId)
	if !there { // KMS says so before it looks at permissions
		return nil, nil
	}
	for name, value := range key.Tags {
		set("aws:resourcetag/"+strings.ToLower(name), value)
	}
	if _, alias, ok := strings.Cut(in.KeyId, "alias/"); ok {
		set("kms:requestalias", "alias/"+alias)
	}
	return []Call{{Request: Request{"kms:" + operation, key.ARN, context}, Key: &key}}, nil
}

// keyToBe stands for the ARN of a key that is not made yet.
func (s *Stack) keyToBe() string {
	return "arn:aws:kms:" + s.Region + ":" + s.Account + ":key/00000000-0000-4000-8000-000000000000"
}

func (p *Proxy) askedOfSQS(operation string, body []byte) ([]Call, error) {
	var in struct{ QueueUrl string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("iam: %s: %w", operation, err)
	}
	switch operation {
	case "SendMessage", "SendMessageBatch": // "kmint-logout" of https://sqs.us-east-1.amazonaws.com/123456789012/kmint-logout
		u, err := url.Parse(in.QueueUrl)
		if err != nil {
			return nil, fmt.Errorf("iam: %s: %w", operation, err)
		}
		host, path := strings.Split(u.Hostname(), "."), strings.Split(u.Path, "/")
		if len(host) != 4 || len(path) != 3 {
			return nil, fmt.Errorf("iam: %q is not the address of a queue", in.QueueUrl)
		}
		return []Call{{Request: Request{"sqs:SendMessage", "arn:aws:sqs:" + host[1] + ":" + path[1] + ":" + path[2], nil}}}, nil
	default:
		return nil, fmt.Errorf("iam: which permissions does %s of SQS ask for?", operation)
	}
}

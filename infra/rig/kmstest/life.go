package kmstest

import (
	"encoding/json"
	"slices"
	"strings"
)

// maxPolicy is in bytes.
const maxPolicy = 32 << 10

// bury deletes the keys whose time has come. The caller holds mu.
func (s *Server) bury() {
	now := s.Now()
	for id, k := range s.keys {
		if k.state == PendingDeletion && !k.deletion.IsZero() && !now.Before(k.deletion) {
			delete(s.keys, id)
			for name, target := range s.aliases {
				if target == id {
					delete(s.aliases, name)
				}
			}
		}
	}
}

// listKeys answers page by page; a marker is the id of the last key before the page.
func (s *Server) listKeys(r request) (any, *refusal) {
	limit := 100
	if r.Limit != nil {
		limit = *r.Limit
	}
	if limit < 1 || limit > 1000 {
		return nil, invalid("limit", "Member must be between 1 and 1000")
	}
	type entry struct{ KeyArn, KeyId string }
	page := []entry{}
	for id, k := range s.keys {
		if id > r.Marker {
			page = append(page, entry{k.arn(), id})
		}
	}
	slices.SortFunc(page, func(a, b entry) int { return strings.Compare(a.KeyId, b.KeyId) })
	answer := map[string]any{"Keys": page, "Truncated": false}
	if len(page) > limit {
		page = page[:limit]
		answer = map[string]any{"Keys": page, "Truncated": true, "NextMarker": page[limit-1].KeyId}
	}
	return answer, nil
}

// defaultPolicy is that of a key that was made without one (AWS KMS Developer Guide,
// "Default key policy").
const defaultPolicy = `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : { "AWS" : "` + root + `" },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`

const root = "arn:aws:iam::" + Account + ":root"

// checkPolicy refuses what is no policy, and one by which nobody could ever change it
// again ("the key policy must allow the calling principal to make a subsequent
// PutKeyPolicy request"): here all callers are the account, which the policy must
// leave in charge.
func checkPolicy(policy string) *refusal {
	var p struct {
		Version   string
		Statement []struct {
			Effect           string
			Principal        map[string]any
			Action, Resource any
		}
	}
	malformed := func(why string) *refusal { return refuse("MalformedPolicyDocumentException", "%s", why) }
	switch {
	case len(policy) > maxPolicy:
		return refuse("LimitExceededException", "The policy is longer than 32 KB")
	case json.Unmarshal([]byte(policy), &p) != nil || len(p.Statement) == 0:
		return malformed("Policy is not a valid JSON document")
	}
	inCharge := false
	for _, s := range p.Statement {
		if s.Principal == nil {
			return malformed("Each statement must contain a principal")
		}
		if s.Action == "kms:*" || s.Action == "kms:PutKeyPolicy" {
			inCharge = inCharge || s.Effect == "Allow" && s.Principal["AWS"] == root && s.Resource == "*"
			if s.Effect == "Deny" {
				return malformed("The new key policy will not allow you to update the key policy in the future.")
			}
		}
	}
	if !inCharge {
		return malformed("The new key policy will not allow you to update the key policy in the future.")
	}
	return nil
}

// policied finds a key whose policy is asked for. In every state it has one.
func (s *Server) policied(r request) (*key, *refusal) {
	if r.PolicyName != "" && r.PolicyName != "default" {
		return nil, refuse("NotFoundException", "No such policy exists")
	}
	return s.managed(r.KeyId)
}

func (s *Server) getKeyPolicy(r request) (any, *refusal) {
	k, refused := s.policied(r)
	if refused != nil {
		return nil, refused
	}
	policy := k.policy
	if policy == "" {
		policy = defaultPolicy
	}
	return map[string]any{"Policy": policy, "PolicyName": "default"}, nil
}

func (s *Server) putKeyPolicy(r request) (any, *refusal) {
	k, refused := s.policied(r)
	if refused == nil {
		refused = checkPolicy(r.Policy)
	}
	if refused != nil {
		return nil, refused
	}
	k.policy = r.Policy
	return nil, nil
}

// A State is what a key is like, for a test to look at.
type State struct {
	ARN, Spec, State string
	MultiRegion      bool
	Tags             map[string]string
	// Policy is "" for the default.
	Policy string
}

// States lists all keys, in the order of their ARNs.
func (s *Server) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bury()
	var all []State
	for _, k := range s.keys {
		tags := map[string]string{}
		for _, t := range k.tags {
			tags[t.TagKey] = t.TagValue
		}
		all = append(all, State{k.arn(), k.spec, k.state, k.multiRegion, tags, k.policy})
	}
	slices.SortFunc(all, func(a, b State) int { return strings.Compare(a.ARN, b.ARN) })
	return all
}

// Tag tags a key.
func (s *Server) Tag(arn, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, refused := s.find(arn)
	if refused == nil {
		refused = k.tag([]tag{{name, value}})
	}
	if refused != nil {
		return refused
	}
	return s.save()
}

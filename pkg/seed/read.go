package seed

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Read reads and checks a configuration file. An error is one of reading, or
// Problems: all that is wrong with the file.
func Read(r io.Reader) (Seed, error) {
	file, err := io.ReadAll(r)
	if err != nil {
		return Seed{}, fmt.Errorf("seed: %w", err)
	}
	var problems Problems
	value := problems.parse(file)
	if len(problems) > 0 {
		return Seed{}, problems
	}
	o := problems.asObject("", value)
	var s Seed
	if value, there := o.get("server"); there {
		settings := problems.settings(o.asObject("server", value))
		s.Settings = &settings
	}
	o.objects("apis", func(o *object) { s.APIs = append(s.APIs, problems.api(o)) })
	o.objects("clients", func(o *object) { s.Clients = append(s.Clients, problems.client(o)) })
	o.objects("users", func(o *object) { s.Users = append(s.Users, problems.user(o)) })
	o.rest()
	problems.together(s)
	if err := problems.err(); err != nil {
		return Seed{}, err
	}
	return s, nil
}

// reserved scope values mean the same at every API.
func reserved() oauth.Scope {
	return append(oauth.IdentityScope(), oauth.OfflineAccess, oauth.OnlineAccess)
}

func checkScope(value string) error {
	switch {
	case !oauth.ScopeToken(value):
		return errors.New("it contains a character that no scope value has (RFC 6749 §3.3)")
	case len(value) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	case reserved().Has(value):
		return errors.New("this scope value is reserved, and belongs to no API (OpenID Connect Core 1.0 §5.4, §11)")
	default:
		return nil
	}
}

// id checks a name that is a key: there, not too long for one, and printable.
// RFC 6749 §A.1: client-id = *VSCHAR; a space in it would be lost by people.
func (o *object) id(name, value string, most int) {
	switch _, there := o.has.values[name]; {
	case !there:
		o.add(o.path, "it has no %s", name)
	case len(value) > most:
		o.add(o.at(name), "it is longer than %d bytes", most)
	case !visible(value, 0x21):
		o.add(o.at(name), "it contains a space or another character that is not printable ASCII")
	}
}

func visible(s string, least byte) bool {
	for i := range len(s) {
		if s[i] < least || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// together checks what one record cannot know of itself. A file stands alone:
// what it names is in it.
func (p *Problems) together(s Seed) {
	apis := map[string]store.API{}
	for i, a := range s.APIs {
		if _, again := apis[a.Identifier]; again && a.Identifier != "" {
			p.add(index("apis", i)+".identifier", "another API has it")
		}
		apis[a.Identifier] = a
	}
	clients := map[string]bool{}
	for i, c := range s.Clients {
		path := index("clients", i)
		if c.ID != "" {
			if clients[c.ID] {
				p.add(path+".client_id", "another client has it")
			}
			// An ID token is for the client_id and an access token for the API: were
			// they equal, one would pass for the other.
			if _, isAPI := apis[c.ID]; isAPI {
				p.add(path+".client_id", "it is also the identifier of an API")
			}
		}
		clients[c.ID] = true
		p.clientTogether(path, c, s, apis)
	}
	subjects, names := map[string]bool{}, map[string]bool{}
	for i, u := range s.Users {
		path := index("users", i)
		name := store.LoginName(u.Username)
		if subjects[u.Subject] && u.Subject != "" {
			p.add(path+".sub", "another user has it")
		}
		if names[name] && name != "" {
			p.add(path+".username", "another user has it; the case of letters and the form of characters make no difference")
		}
		subjects[u.Subject], names[name] = true, true
		// RFC 9068 §5: where a client acts in its own name its client_id is the sub, and
		// nothing else may look like that. Auth0's dialect writes it with a suffix.
		if u.Subject != "" && (clients[u.Subject] || clients[strings.TrimSuffix(u.Subject, "@clients")]) {
			p.add(path+".sub", "it is also a client_id: the person could be taken for the client")
		}
	}
	p.settingsTogether(s, apis)
}

// set are the settings, as they are where the file says nothing about the server.
func (s Seed) set() store.Settings {
	if s.Settings == nil {
		return store.Settings{}
	}
	return *s.Settings
}

func (p *Problems) settingsTogether(s Seed, apis map[string]store.API) {
	settings := s.set()
	if name := settings.DefaultAudience; name != "" {
		if _, ok := apis[name]; !ok {
			p.add("server.default_audience", "no API of this file has the identifier %q", name)
		}
	}
	known := reserved()
	for _, api := range s.APIs {
		known = append(known, sortedKeys(api.Scopes)...)
	}
	for i, rule := range settings.Claims {
		if rule.Scope != "" && !known.Has(rule.Scope) {
			p.add(index("server.claims", i)+".scope", "no API of this file has the scope %q, and it is not reserved", rule.Scope)
		}
	}
	for i, t := range settings.TrustedIssuers {
		for _, c := range s.Clients {
			if t.SubjectPrefix != "" && strings.HasPrefix(c.ID, t.SubjectPrefix) {
				p.add(index("server.trusted_issuers", i)+".subject_prefix", "the client_id %q begins with it: somebody of the issuer could be taken for the client (RFC 9068 §5)", c.ID)
			}
		}
	}
}

func (p *Problems) clientTogether(path string, c Client, s Seed, apis map[string]store.API) {
	p.apiGrants(path+".api_grants", c.APIGrants, apis)
	p.apiGrants(path+".user_api_grants", c.UserAPIGrants, apis)
	for _, identifier := range sortedKeys(c.APIGrants) {
		if apis[identifier].ClientPolicy == store.DenyAll {
			p.add(join(path+".api_grants", identifier), "the client_policy of the API is deny_all")
		}
	}
	for _, identifier := range sortedKeys(c.UserAPIGrants) {
		api, ok := apis[identifier]
		if ok && api.UserPolicy != store.RequireGrant {
			p.add(join(path+".user_api_grants", identifier), "it would change nothing: the user_policy of the API is %s, and not require_grant", cmp.Or(api.UserPolicy, store.AllowAll))
		}
	}
	if name := c.ResourceServer; name != "" {
		if _, ok := apis[name]; !ok {
			p.add(path+".resource_server_identifier", "no API of this file has this identifier")
		}
	}
	settings := s.set()
	for i, grant := range c.GrantTypes {
		if legacy(grant) && !settings.LegacyPassword {
			p.add(index(path+".grant_types", i), "%s shows the client a person's password, and so RFC 9700 §2.4 says that it MUST NOT be used; if you have to, set server.legacy_password_grant true", grant)
		}
	}
	issuer := func(name string) *store.TrustedIssuer {
		i := slices.IndexFunc(settings.TrustedIssuers, func(t store.TrustedIssuer) bool { return t.Issuer == name })
		if i < 0 {
			return nil
		}
		return &settings.TrustedIssuers[i]
	}
	if w := c.Workload; w != nil && w.Issuer != "" && issuer(w.Issuer) == nil {
		p.add(path+".workload.issuer", "no trusted issuer of this file is %q", w.Issuer)
	}
	for i, name := range c.Exchange.SubjectIssuers {
		at := index(path+".token_exchange.subject_issuers", i)
		switch t := issuer(name); {
		case t == nil:
			p.add(at, "no trusted issuer of this file is %q", name)
		case t.Audience == "":
			p.add(at, "the trusted issuer has no audience: a JWT that it made for somebody else would count (RFC 7523 §3)")
		}
	}
}

func (p *Problems) apiGrants(path string, grants map[string][]string, apis map[string]store.API) {
	for _, identifier := range sortedKeys(grants) {
		api, ok := apis[identifier]
		if !ok {
			p.add(join(path, identifier), "no API of this file has this identifier")
			continue
		}
		for i, scope := range grants[identifier] {
			if _, ok := api.Scopes[scope]; !ok {
				p.add(index(join(path, identifier), i), "the API has no scope %q", scope)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

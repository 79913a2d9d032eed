// Resource servers: the APIs that tokens are for.

package seed

import (
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func (p *Problems) api(o *object) store.API {
	a := store.API{
		Identifier:         o.text("identifier"),
		Name:               o.text("name"),
		AllowOfflineAccess: o.flag("allow_offline_access"),
		TokenLifetime:      o.seconds("token_lifetime", 1, MaxTokenLifetime, store.DefaultTokenLifetime),
		Dialect:            o.oneOf("token_dialect", "", store.RFC9068, store.Auth0Dialect, store.Opaque),
		Algorithm:          o.oneOf("signing_alg", "", jwt.Algorithms()...),
		KeyID:              o.text("signing_key_id"),
		UserPolicy:         o.oneOf("user_policy", "", store.AllowAll, store.RequireGrant, store.DenyAll),
		ClientPolicy:       o.oneOf("client_policy", "", store.AllowAll, store.RequireGrant, store.DenyAll),
	}
	o.id("identifier", a.Identifier, maxID)
	if a.KeyID != "" && !oauth.IsID(a.KeyID) { // keys.New makes no other
		o.add(o.at("signing_key_id"), "it is not a kid of kmint: the RFC 7638 thumbprint, 43 characters")
	}
	if a.Dialect == store.Opaque {
		for _, name := range []string{"signing_alg", "signing_key_id"} {
			if _, there := o.has.values[name]; there {
				o.add(o.at(name), "an opaque token is not signed")
			}
		}
	}
	o.scopes(&a)
	o.policies(&a)
	o.rest()
	return a
}

func (o *object) scopes(a *store.API) {
	value, there := o.get("scopes")
	if !there {
		return
	}
	scopes := o.asObject(o.at("scopes"), value)
	for _, name := range scopes.has.names {
		description, _ := get[string](scopes, name, "a string")
		if err := checkScope(name); err != nil {
			o.add(scopes.at(name), "%v", err)
		}
		if a.Scopes == nil {
			a.Scopes = map[string]string{}
		}
		a.Scopes[name] = description
	}
}

// policies reads Auth0's form of them too.
func (o *object) policies(a *store.API) {
	value, there := o.get("subject_type_authorization")
	if !there {
		return
	}
	nested := o.asObject(o.at("subject_type_authorization"), value)
	for _, of := range []struct {
		name, flat string
		policy     *string
	}{{"user", "user_policy", &a.UserPolicy}, {"client", "client_policy", &a.ClientPolicy}} {
		value, there := nested.get(of.name)
		if !there {
			continue
		}
		o := nested.asObject(nested.at(of.name), value)
		const alias = "require_client_grant" // Auth0's name
		policy := o.oneOf("policy", "", store.AllowAll, store.RequireGrant, alias, store.DenyAll)
		if policy == alias {
			policy = store.RequireGrant
		}
		if *of.policy != "" {
			o.add(o.path, "there is a %s already", of.flat)
		}
		*of.policy = policy
		o.rest()
	}
	nested.rest()
}

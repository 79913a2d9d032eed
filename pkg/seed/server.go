// What the file says of the server as a whole.

package seed

import (
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func (p *Problems) settings(o *object) store.Settings {
	s := store.Settings{
		DefaultAudience: o.text("default_audience"),
		ErrorProfile:    o.oneOf("error_profile", "", store.Strict, store.Auth0),
		DPoPNonce:       o.flag("dpop_nonce_required"),
		LegacyPassword:  o.flag("legacy_password_grant"),
		NotBefore:       o.moment("not_before"),
	}
	o.objects("trusted_issuers", func(o *object) { s.TrustedIssuers = append(s.TrustedIssuers, o.trustedIssuer()) })
	o.objects("claims", func(o *object) { s.Claims = append(s.Claims, o.claimRule()) })
	s.Brand = o.brand()
	o.rest()
	p.issuersTogether(o.at("trusted_issuers"), s.TrustedIssuers)
	names := map[string]bool{}
	for i, rule := range s.Claims {
		if names[rule.Claim] && rule.Claim != "" {
			p.add(index(o.at("claims"), i)+".claim", "another rule has it")
		}
		names[rule.Claim] = true
	}
	return s
}

func (o *object) trustedIssuer() store.TrustedIssuer {
	t := store.TrustedIssuer{Issuer: o.needed("issuer")}
	if err := checkHTTPS(t.Issuer); err != nil && t.Issuer != "" {
		o.add(o.at("issuer"), "%v", err)
	} else if strings.Contains(t.Issuer, "?") {
		o.add(o.at("issuer"), "it has a query (RFC 8414 §2)")
	}
	// OpenID Connect Core 1.0 §3.1.3.7: "The alg value SHOULD be the default of
	// RS256".
	t.Algorithms = o.list("algs", supported(jwt.AsymmetricAlgorithms()...))
	switch _, there := o.has.values["algs"]; {
	case !there:
		t.Algorithms = []string{jwt.RS256}
	case len(t.Algorithms) == 0:
		o.add(o.at("algs"), "it is empty: no JWT would count")
	}
	t.JWKS, t.JWKSURI = o.jwks(t.Algorithms), o.jwksURI()
	t.Audience, t.Subject = o.text("audience"), o.text("subject")
	if err := checkPattern(t.Subject); err != nil && t.Subject != "" {
		o.add(o.at("subject"), "%v; leave it out for any subject", err)
	}
	t.Claims = o.patterns("claims")
	t.SubjectPrefix = t.Issuer + "|"
	if _, there := o.has.values["subject_prefix"]; there {
		t.SubjectPrefix = o.text("subject_prefix")
	}
	if !visible(t.SubjectPrefix, 0x21) || len(t.SubjectPrefix) >= maxID {
		o.add(o.path, "its subject_prefix has %d bytes or more, or a character that is not printable ASCII", maxID)
	}
	o.rest()
	return t
}

// issuersTogether keeps people of different issuers apart.
func (p *Problems) issuersTogether(path string, issuers []store.TrustedIssuer) {
	for i, t := range issuers {
		for _, other := range issuers[:i] {
			if t.Issuer == other.Issuer && t.Issuer != "" {
				p.add(index(path, i)+".issuer", "another trusted issuer has it")
			} else if a, b := t.SubjectPrefix, other.SubjectPrefix; a != "" && b != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
				p.add(index(path, i)+".subject_prefix", "%q and %q begin alike: somebody of one issuer could be taken for somebody of the other", a, b)
			}
		}
	}
}

func (o *object) claimRule() store.ClaimRule {
	r := store.ClaimRule{
		Claim: o.needed("claim"), From: o.needed("from"), Scope: o.text("scope"),
		AccessToken: o.flag("access_token"), IDToken: o.flag("id_token"),
	}
	if r.Claim != "" && !namespaced(r.Claim) {
		o.add(o.at("claim"), notNamespaced, r.Claim)
	}
	if r.From != "" && !attribute(r.From) {
		o.add(o.at("from"), "%q is not supported; it may be user. or client. and a name: user.email or another standard claim, user.sub, user.username, user.attributes.x, client.client_id, client.client_name, client.metadata.x", r.From)
	}
	if !r.AccessToken && !r.IDToken {
		o.add(o.path, "it has neither access_token nor id_token true: it would stand nowhere")
	}
	if r.Scope != "" && !oauth.ScopeToken(r.Scope) {
		o.add(o.at("scope"), "it contains a character that no scope value has (RFC 6749 §3.3)")
	}
	o.rest()
	return r
}

// attribute reports whether a rule may speak of it.
func attribute(from string) bool {
	of, name, _ := strings.Cut(from, ".")
	key, isAttribute := strings.CutPrefix(name, "attributes.")
	datum, isMetadata := strings.CutPrefix(name, "metadata.")
	switch {
	case of == "user" && isAttribute:
		return key != ""
	case of == "user":
		return name == "sub" || name == "username" || isStandard(name)
	case of == "client" && isMetadata:
		return datum != ""
	default:
		return of == "client" && (name == "client_id" || name == "client_name")
	}
}

// Bounds of a moment that is counted: seconds since 1970 would be one of its first
// weeks.
const (
	leastMoment = 100_000_000_000 // March 1973
	mostMoment  = 253_402_300_800_000
)

// moment is a date as RFC 3339 writes it, or milliseconds since 1970. It is kept to
// the millisecond.
func (o *object) moment(name string) time.Time {
	value, there := o.get(name)
	if !there {
		return time.Time{}
	}
	switch value := value.(type) {
	case string:
		t, err := time.Parse(time.RFC3339, value)
		if ms := t.UnixMilli(); err == nil && 0 < ms && ms < mostMoment {
			return time.UnixMilli(ms).UTC()
		}
	case float64:
		if ms := int64(value); float64(ms) == value && leastMoment <= ms && ms < mostMoment {
			return time.UnixMilli(ms).UTC()
		}
	}
	o.add(o.at(name), "it is neither a date such as 2026-01-31T12:00:00Z (RFC 3339) nor a whole number of milliseconds since 1970")
	return time.Time{}
}

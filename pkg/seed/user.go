// People and their claims (OpenID Connect Core 1.0 §5.1).

package seed

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func (p *Problems) user(o *object) User {
	var u User
	u.Subject = o.text("sub")
	// OpenID Connect Core 1.0 §2: sub "MUST NOT exceed 255 ASCII [RFC20]
	// characters in length."
	o.id("sub", u.Subject, maxID)
	u.Username = o.text("username")
	switch _, there := o.has.values["username"]; {
	case !there:
		o.add(o.path, "it has no username")
	case len(u.Username) > maxID || len(store.LoginName(u.Username)) > maxID:
		o.add(o.at("username"), "it is longer than %d bytes", maxID)
	case u.Username != "" && store.LoginName(u.Username) == "":
		o.add(o.at("username"), "it is nothing but space")
	case strings.ContainsFunc(u.Username, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		o.add(o.at("username"), "it contains a control character")
	}
	u.Password = oauth.Secret(o.text("password"))
	if len(u.Password) > maxPassword {
		o.add(o.at("password"), "it is longer than %d bytes", maxPassword)
	}
	for _, claim := range standard {
		value, there := o.get(claim.name)
		if !there {
			continue
		}
		if err := claim.check(value); err != nil {
			o.add(o.at(claim.name), "%v", err)
			continue
		}
		if u.Profile == nil {
			u.Profile = map[string]any{}
		}
		u.Profile[claim.name] = plain(value)
	}
	u.Claims = o.claims()
	u.Attributes = o.facts("attributes")
	u.Blocked = o.flag("blocked")
	u.NotBefore = o.moment("not_before")
	o.rest()
	return u
}

// A standardClaim is one of §5.1, sub left out.
type standardClaim struct {
	name  string
	check func(value any) error
}

var standard = []standardClaim{
	{"name", isText}, {"given_name", isText}, {"family_name", isText}, {"middle_name", isText},
	{"nickname", isText}, {"preferred_username", isText},
	{"profile", isURL}, {"picture", isURL}, {"website", isURL},
	{"email", isEmail}, {"email_verified", isFlag},
	{"gender", isText}, {"birthdate", isBirthdate}, {"zoneinfo", isText}, {"locale", isText},
	{"phone_number", isText}, {"phone_number_verified", isFlag},
	{"address", isAddress},
	{"updated_at", isTime},
}

func isStandard(name string) bool {
	return slices.ContainsFunc(standard, func(c standardClaim) bool { return c.name == name })
}

func isText(value any) error {
	s, ok := value.(string)
	if !ok {
		return fmt.Errorf("it is %s, not a string", kind(value))
	}
	// §5.3.2: a claim that is not returned "SHOULD be omitted [...] it SHOULD NOT
	// be present with a null or empty string value."
	if s == "" {
		return errors.New("it is empty; leave it out")
	}
	return nil
}

func isFlag(value any) error {
	if _, ok := value.(bool); !ok {
		return fmt.Errorf("it is %s, not true or false", kind(value))
	}
	return nil
}

func isURL(value any) error {
	if err := isText(value); err != nil {
		return err
	}
	u, err := url.Parse(value.(string))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("it is not an http or https URL")
	}
	return nil
}

func isEmail(value any) error {
	if err := isText(value); err != nil {
		return err
	}
	address, err := mail.ParseAddress(value.(string))
	if err != nil || address.Address != value {
		return errors.New("it is not an e-mail address (RFC 5322 §3.4.1)")
	}
	return nil
}

// isBirthdate: "ISO 8601-1 YYYY-MM-DD format. The year MAY be 0000, indicating
// that it is omitted. To represent only the year, YYYY format is allowed."
func isBirthdate(value any) error {
	if err := isText(value); err != nil {
		return err
	}
	_, date := time.Parse("2006-01-02", value.(string))
	_, year := time.Parse("2006", value.(string))
	if date != nil && year != nil {
		return errors.New("it is neither YYYY-MM-DD nor YYYY")
	}
	return nil
}

// isAddress is the object of §5.1.1.
func isAddress(value any) error {
	address, ok := value.(members)
	if !ok {
		return fmt.Errorf("it is %s, not an object (OpenID Connect Core 1.0 §5.1.1)", kind(value))
	}
	for _, name := range address.names {
		if err := supported("formatted", "street_address", "locality", "region", "postal_code", "country")(name); err != nil {
			return err
		}
		if err := isText(address.values[name]); err != nil {
			return fmt.Errorf("in %s: %w", name, err)
		}
	}
	if len(address.names) == 0 {
		return errors.New("it is empty; leave it out")
	}
	return nil
}

func isTime(value any) error {
	seconds, ok := value.(float64)
	if !ok || seconds < 0 || seconds != float64(int64(seconds)) {
		return errors.New("it is not a whole number of seconds since 1970")
	}
	return nil
}

// claims are the owner's own. A name that is no URI could one day mean something
// to a client that the owner did not mean (RFC 7519 §4.2: a Public Claim's name
// is registered or "a value that contains a Collision-Resistant Name").
func (o *object) claims() map[string]any {
	value, there := o.get("claims")
	if !there {
		return nil
	}
	c := o.asObject(o.at("claims"), value)
	var claims map[string]any
	for _, name := range c.has.names {
		value, _ := c.get(name)
		switch {
		case !namespaced(name):
			o.add(c.at(name), notNamespaced, strings.TrimSpace(name))
		case len(name) > maxName:
			o.add(c.at(name), "its name is longer than %d bytes", maxName)
		case value == nil:
			o.add(c.at(name), "it is null; leave it out")
		default:
			if claims == nil {
				claims = map[string]any{}
			}
			claims[name] = plain(value)
		}
	}
	return claims
}

const notNamespaced = "the name of a claim of your own is a URI, such as https://example.com/%s, so that it can never be taken for a standard claim (RFC 7519 §4.2)"

// namespaced reports whether name is a URI with an authority, or a URN (RFC
// 8141 §2: "urn:" NID ":" NSS).
func namespaced(name string) bool {
	if !visible(name, 0x21) {
		return false
	}
	u, err := url.Parse(name)
	if err != nil {
		return false
	}
	if strings.EqualFold(u.Scheme, "urn") {
		nid, nss, ok := strings.Cut(u.Opaque, ":")
		return ok && nid != "" && nss != ""
	}
	return u.Scheme != "" && u.Hostname() != ""
}

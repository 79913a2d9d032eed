// The public keys of others (RFC 7517, RFC 7518 §6).

package seed

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
)

// Bounds of a key set.
const (
	maxKeys = 20
	minRSA  = 2048 // RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"
	maxRSA  = 8192
)

// jwks reads a key set by which one of the algorithms is verified, and returns it
// as JSON text, always the same for the same keys.
func (o *object) jwks(algorithms []string) string {
	value, there := o.get("jwks")
	if !there {
		return ""
	}
	set := o.asObject(o.at("jwks"), value)
	count := 0
	ids := map[string]bool{}
	set.objects("keys", func(key *object) {
		count++
		id := key.key(algorithms)
		if ids[id] && id != "" {
			key.add(key.at("kid"), "another key has it")
		}
		ids[id] = true
	})
	switch _, isList := set.has.values["keys"].([]any); {
	case set.has.values["keys"] == nil:
		set.add(set.path, "it has no keys (RFC 7517 §5)")
	case isList && count == 0:
		set.add(set.at("keys"), "it is empty: nothing could be verified")
	case count > maxKeys:
		set.add(set.at("keys"), "it has more than %d keys", maxKeys)
	case count > 1 && ids[""]:
		set.add(set.at("keys"), "with more than one key, each needs a kid: it tells which one signed")
	}
	set.rest()
	text, err := json.Marshal(plain(value))
	if err != nil {
		set.add(set.path, "%v", err)
	}
	return string(text)
}

// key checks one public key, and returns its kid.
func (o *object) key(algorithms []string) string {
	kid, _ := get[string](o, "kid", "a string")
	// What go-jose would pass over, or take for a key of another kind.
	for _, private := range jwt.PrivateMembers() {
		if _, there := o.has.values[private]; there {
			o.add(o.at(private), "it is a secret or private part of a key; here stand public keys alone (RFC 7518 §6)")
			return kid
		}
	}
	kty, curve, alg := o.text("kty"), o.text("crv"), o.text("alg")
	if use := o.text("use"); use != "" && use != "sig" {
		o.add(o.at("use"), "it is %q: such a key verifies no signature", use)
		return kid
	}
	fits := signedBy(kty, curve)
	text, err := json.Marshal(plain(o.has))
	if err != nil {
		o.add(o.path, "%v", err)
		return kid
	}
	var parsed jose.JSONWebKey
	switch {
	case fits == nil:
		o.add(o.path, "it is no RSA key, no EC key on P-256, P-384 or P-521, and no Ed25519 key")
	case json.Unmarshal(text, &parsed) != nil || !parsed.Valid():
		o.add(o.path, "it is not a valid %s public key (RFC 7518 §6)", kty)
	case wrongSize(parsed):
		o.add(o.path, "its modulus has less than %d or more than %d bits (RFC 7518 §3.3)", minRSA, maxRSA)
	case alg != "" && !slices.Contains(fits, alg):
		o.add(o.at("alg"), "it is %q, and the key is for %s", alg, strings.Join(fits, ", "))
	case alg != "" && !slices.Contains(algorithms, alg):
		o.add(o.at("alg"), "it is %q, and only %s count", alg, strings.Join(algorithms, ", "))
	case !slices.ContainsFunc(algorithms, func(a string) bool { return slices.Contains(fits, a) }):
		o.add(o.path, "it is for %s, and only %s count", strings.Join(fits, ", "), strings.Join(algorithms, ", "))
	default:
		// The same eyes will read it when it counts.
		if _, err := jwt.ReadKeySet([]byte(`{"keys":[` + string(text) + `]}`)); err != nil {
			o.add(o.path, "it verifies no signature: %v", err)
		}
	}
	return kid
}

// signedBy lists the algorithms of a kind of key (RFC 7518 §3.1, RFC 8037 §3.1), nil
// for none.
func signedBy(kty, curve string) []string {
	switch kty {
	case "RSA":
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case "EC":
		if alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[curve]; ok {
			return []string{alg}
		}
	case "OKP":
		if curve == "Ed25519" {
			return []string{"EdDSA", "Ed25519"}
		}
	}
	return nil
}

func wrongSize(k jose.JSONWebKey) bool {
	public, isRSA := k.Key.(*rsa.PublicKey)
	return isRSA && (public.N.BitLen() < minRSA || public.N.BitLen() > maxRSA)
}

// jwksURI reads where a key set is published.
func (o *object) jwksURI() string {
	uri := o.text("jwks_uri")
	if uri == "" {
		return ""
	}
	if err := checkHTTPS(uri); err != nil {
		o.add(o.at("jwks_uri"), "%v", err)
	}
	if _, both := o.has.values["jwks"]; both {
		o.add(o.at("jwks_uri"), "there is a jwks already (RFC 7591 §2: they \"MUST NOT both be present\")")
	}
	return uri
}

// checkHTTPS allows what may be fetched from somebody else.
func checkHTTPS(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("it is not an https URL")
	case u.User != nil || strings.Contains(text, "#"):
		return errors.New("it has user information or a fragment")
	case !visible(text, 0x21):
		return errors.New("it contains a space or another character that is not printable ASCII")
	case len(text) > maxName:
		return fmt.Errorf("it is longer than %d bytes", maxName)
	default:
		return nil
	}
}

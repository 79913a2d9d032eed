package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What a client makes with a key of its own: proofs (RFC 9449 §4.2) and assertions
// (RFC 7523 §2.2).
//
//	! proof name key POST /oauth/token [nonce=...] [token=...] [iat=now-600]
//	! jwt name key typ {"claims": "now+60"}
//	! thumbprint name key
//
// A key goes by its name and is made when it is first used, but for example:kid,
// which is of infra/examples/private-keys.json, and secret:x, the key of an HMAC.
func (s *transcript) forge(line string) {
	words := strings.Fields(line)
	if len(words) < 3 {
		s.failf("not a line of a transcript: ! %s", line)
	}
	what, name, key := words[0], words[1], words[2]
	switch what {
	case "proof":
		s.vars[name] = s.proof(key, words[3:])
	case "jwt":
		typ, claims, _ := strings.Cut(strings.TrimSpace(strings.SplitN(line, key, 2)[1]), " ")
		s.vars[name] = s.sign(key, typ, false, []byte(s.times(claims)))
	case "thumbprint":
		jwk := s.key(key)
		public := jwk.Public()
		sum, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			s.failf("%v", err)
		}
		s.vars[name] = base64.RawURLEncoding.EncodeToString(sum)
	default:
		s.failf("not a line of a transcript: ! %s", line)
	}
}

func (s *transcript) proof(key string, words []string) string {
	if len(words) < 2 {
		s.failf("a proof is for a method and a path")
	}
	claims := map[string]any{
		"jti": rand.Text(), "htm": words[0], "htu": strings.TrimSuffix(issuer, "/") + words[1], "iat": time.Now().Unix(),
	}
	for _, option := range words[2:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "nonce", "jti":
			claims[name] = value
		case "token":
			sum := sha256.Sum256([]byte(value))
			claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
		case "iat":
			at, err := strconv.ParseInt(s.times(`"`+value+`"`), 10, 64)
			if err != nil {
				s.failf("%v", err)
			}
			claims[name] = at
		default:
			s.failf("a proof has no %s", option)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		s.failf("%v", err)
	}
	return s.sign(key, "dpop+jwt", true, payload)
}

// sign makes a compact JWT; typ - is none.
func (s *transcript) sign(key, typ string, embed bool, payload []byte) string {
	jwk := s.key(key)
	options := &jose.SignerOptions{EmbedJWK: embed}
	if typ != "-" {
		options = options.WithType(jose.ContentType(typ))
	}
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(jwk.Algorithm), Key: jwk}
	signer, err := jose.NewSigner(signing, options)
	if err != nil {
		s.failf("%v", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		s.failf("%v", err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		s.failf("%v", err)
	}
	return compact
}

func (s *transcript) key(name string) jose.JSONWebKey {
	if secret, ok := strings.CutPrefix(name, "secret:"); ok {
		return jose.JSONWebKey{Key: []byte(secret), Algorithm: string(jose.HS256)}
	}
	if jwk, ok := s.keys[name]; ok {
		return jwk
	}
	var jwk jose.JSONWebKey
	if kid, ok := strings.CutPrefix(name, "example:"); ok {
		text, err := os.ReadFile("../../infra/examples/private-keys.json")
		if err != nil {
			s.failf("%v", err)
		}
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(text, &set); err != nil {
			s.failf("%v", err)
		}
		found := set.Key(kid)
		if len(found) != 1 {
			s.failf("no key %s", kid)
		}
		jwk = found[0]
	} else {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			s.failf("%v", err)
		}
		jwk = jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256)}
	}
	if s.keys == nil {
		s.keys = map[string]jose.JSONWebKey{}
	}
	s.keys[name] = jwk
	return jwk
}

var moment = regexp.MustCompile(`"now([+-]\d+)?"`)

// times puts NumericDates (RFC 7519 §2) for "now", "now+60" and "now-60".
func (s *transcript) times(text string) string {
	return moment.ReplaceAllStringFunc(text, func(m string) string {
		shift, _ := strconv.ParseInt(strings.Trim(m, `now"`), 10, 64) // none is 0
		return fmt.Sprint(time.Now().Unix() + shift)
	})
}

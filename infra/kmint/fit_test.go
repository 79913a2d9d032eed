package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/store"
)

// A fixed registry.
type fixed struct {
	keys []store.SigningKey
	err  error
}

func (f fixed) Registry(context.Context) (store.Registry, error) {
	return store.Registry{Version: 1, Keys: f.keys}, f.err
}

func TestKeysFit(t *testing.T) {
	api := func(algorithm, id string) seed.Seed {
		return seed.Seed{APIs: []store.API{{Identifier: "a"}, {Identifier: "b", Algorithm: algorithm, KeyID: id}}}
	}
	client := func(method, algorithm string) seed.Seed {
		return seed.Seed{Clients: []seed.Client{{Client: store.Client{ID: "c", AuthMethod: method, IDTokenAlgorithm: algorithm}}}}
	}
	active := func(id, algorithm string) store.SigningKey {
		return store.SigningKey{ID: id, Algorithm: algorithm, State: store.KeyActive}
	}
	retired := store.SigningKey{ID: "p", Algorithm: jwt.PS256, State: store.KeyRetired}
	ps, rs := jwt.Key{ID: "p", Algorithm: jwt.PS256}, jwt.Key{ID: "r", Algorithm: jwt.RS256}
	const (
		stack = ": the stack kmint has no key for that; deploy it with the parameter "
		flag  = ": there is no key for that; name one by "
	)
	for name, test := range map[string]struct {
		seed    seed.Seed
		listed  []store.SigningKey
		first   []jwt.Key
		secrets string
		noStack bool
		want    string // "" fits
	}{
		"nothing":                               {seed: seed.Seed{}},
		"RS256 alone":                           {seed: api("", "")},
		"RS256 by name":                         {seed: api(jwt.RS256, "")},
		"PS256, listed":                         {seed: api(jwt.PS256, ""), listed: []store.SigningKey{active("p", jwt.PS256)}},
		"PS256, to be listed":                   {seed: api(jwt.PS256, ""), first: []jwt.Key{rs, ps}},
		"PS256, none":                           {seed: api(jwt.PS256, ""), first: []jwt.Key{rs}, want: "apis[1].signing_alg" + stack + "PS256=RSA_2048"},
		"PS256, none, no stack":                 {seed: api(jwt.PS256, ""), noStack: true, want: "apis[1].signing_alg" + flag + "--key PS256=ARN"},
		"PS256, retired":                        {seed: api(jwt.PS256, ""), listed: []store.SigningKey{retired}, first: []jwt.Key{ps}, want: "apis[1].signing_alg" + stack + "PS256=RSA_2048"},
		"ML-DSA-65, none":                       {seed: api(jwt.MLDSA65, ""), first: []jwt.Key{rs, ps}, want: "apis[1].signing_alg" + stack + "MLDSA65=ML_DSA_65"},
		"PS256, rotated":                        {seed: api(jwt.PS256, ""), listed: []store.SigningKey{retired, active("q", jwt.PS256)}, first: []jwt.Key{ps}},
		"ES256, but PS256":                      {seed: api(jwt.ES256, ""), first: []jwt.Key{rs, ps}, want: "apis[1].signing_alg" + stack + "ES256=ECC_NIST_P256"},
		"a kid, listed":                         {seed: api("", "r"), listed: []store.SigningKey{active("r", jwt.RS256)}},
		"a kid, to be listed":                   {seed: api(jwt.PS256, "p"), first: []jwt.Key{ps}},
		"a kid, none":                           {seed: api("", "x"), first: []jwt.Key{rs}, want: "apis[1].signing_key_id: no active key for RS256 has the kid x"},
		"a kid of another algorithm":            {seed: api("", "p"), first: []jwt.Key{rs, ps}, want: "apis[1].signing_key_id: no active key for RS256 has the kid p"},
		"a kid that another has followed since": {seed: api(jwt.PS256, "p"), listed: []store.SigningKey{retired, active("q", jwt.PS256)}},
		"a kid that has not signed yet":         {seed: api("", "n"), listed: []store.SigningKey{active("r", jwt.RS256), {ID: "n", Algorithm: jwt.RS256, State: store.KeyNext}}, want: "apis[1].signing_key_id: no active"},
		"a kid that another has followed":       {seed: api(jwt.PS256, "p"), listed: []store.SigningKey{active("q", jwt.PS256)}, first: []jwt.Key{ps}, want: "apis[1].signing_key_id: no active"},
		"a client's ID tokens":                  {seed: client(oauth.ClientSecretBasic, jwt.ES256), listed: []store.SigningKey{active("e", jwt.ES256)}},
		"a client's ID tokens, none":            {seed: client(oauth.ClientSecretBasic, jwt.ES256), want: "clients[0].id_token_signed_response_alg" + stack + "ES256=ECC_NIST_P256"},
		"a client's ID tokens, none, no stack":  {seed: client(oauth.ClientSecretBasic, jwt.ES256), noStack: true, want: "clients[0].id_token_signed_response_alg" + flag + "--key ES256=ARN"},
		"a secret's":                            {seed: client(oauth.ClientSecretJWT, ""), secrets: "arn"},
		"a secret's, none":                      {seed: client(oauth.ClientSecretJWT, ""), want: "clients[0].token_endpoint_auth_method" + stack + "ClientSecretJwt=yes"},
		"a secret's, none, no stack":            {seed: client(oauth.ClientSecretJWT, ""), noStack: true, want: "clients[0].token_endpoint_auth_method" + flag + "--secrets-key"},
		"two":                                   {seed: client(oauth.ClientSecretJWT, jwt.PS256), want: "clients[0].id_token_signed_response_alg" + stack + "PS256=RSA_2048\nclients[0].token_endpoint_auth_method" + stack + "ClientSecretJwt=yes"},
	} {
		t.Run(name, func(t *testing.T) {
			i := &importer{Stack: "kmint", Seed: "seed.json", SecretsKey: test.secrets}
			if test.noStack {
				i.Stack = ""
			}
			err := i.keysFit(t.Context(), test.seed, fixed{keys: test.listed}, test.first)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "seed.json cannot be imported: "+test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	cause := errors.New("on fire")
	if err := (&importer{}).keysFit(t.Context(), api(jwt.PS256, ""), fixed{err: cause}, nil); !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestKeysByFlag(t *testing.T) {
	for text, want := range map[string]string{
		"ES384=arn:a":     "",
		"ML-DSA-65=arn:b": "",
		"ES256=arn:a=b":   "", // KMS will say what is wrong with it
		"PS256=arn:c":     "there is a key for PS256 already",
		"RS256=arn:d":     `"RS256" is no algorithm; it may be RS384, `, // that is --signing-key
		"HS256=arn:d":     `"HS256" is no algorithm; it may be RS384, `,
		"es256=arn:d":     `"es256" is no algorithm; it may be RS384, `,
		"arn:aws:kms:x":   `"arn:aws:kms:x" is no algorithm; `,
		"ES512":           `"ES512" names no key; it is like `,
		"ES512=":          `"ES512=" names no key; it is like `,
	} {
		i := &importer{Keys: map[string]string{jwt.PS256: "arn"}}
		if err := i.addKey(text); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

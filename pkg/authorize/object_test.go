package authorize_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/authorize"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// unavailable is a Prover whose keys are elsewhere, and not to be had.
type unavailable struct{}

func (unavailable) Prove(context.Context, jwt.Unproven, trust.Source) error {
	return fmt.Errorf("%w: refused to connect", trust.ErrUnavailable)
}

var _ authorize.Prover = unavailable{}

// withObjects is a front whose clients may send request objects: plain unsigned ones,
// signed by a key, any by a key.
func withObjects(t *testing.T) (*house, *visitor) {
	t.Helper()
	h, v := newFront(t)
	h.endpoint.Trust = &trust.Verifier{}
	front, err := h.store.Client(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &privateKeys()[1].PublicKey, KeyID: "theirs", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	plain, signed, anyKey := front, front, front
	plain.ID, plain.RequestObjectAlgorithm = "plain", "none"
	signed.ID, signed.JWKS, signed.RequestObjectAlgorithm = "signed", string(set), "RS256"
	anyKey.ID, anyKey.JWKS = "any", string(set)
	other := signed
	other.ID, other.RequestObjectAlgorithm = "other", "PS256"
	for _, c := range []store.Client{plain, signed, anyKey, other} {
		if err := h.store.PutClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return h, v
}

func unsignedJWT(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + "."
}

func (h *house) object(by, typ string, claims map[string]any) string {
	h.Helper()
	s := newSigner(privateKeys()[1])
	if by == "ours" {
		s = newSigner(privateKeys()[0])
	}
	s.key.ID = "theirs"
	text, err := jwt.Sign(h.Context(), s, jwt.Choice{}, typ, claims)
	if err != nil {
		h.Fatal(err)
	}
	return text
}

func TestRequestObjects(t *testing.T) {
	h, v := withObjects(t)
	const none = `{"alg":"none"}`
	type said = map[string]any
	for _, tt := range []struct {
		name, client, object string
		want                 oauth.Code
	}{
		{"unsigned", "plain", unsignedJWT(none, `{"state":"in"}`), ""},
		{"unsigned, with a typ", "plain", unsignedJWT(`{"alg":"none","typ":"oauth-authz-req+jwt"}`, `{"state":"in"}`), ""},
		{"numbers, lists and nothing", "plain", unsignedJWT(none, `{"state":"in","max_age":10000,"resource":["`+api+`","`+stock+`"],"display":null,"claims":{"id_token":{"email":null}}}`), ""},
		{"in any order of words", "plain", unsignedJWT(none, `{"state":"in","response_type":"code","client_id":"plain"}`), ""},
		{"unsigned, of one who signs", "signed", unsignedJWT(none, `{"state":"in"}`), oauth.InvalidRequestObject},
		{"unsigned, of one with keys", "any", unsignedJWT(none, `{"state":"in"}`), oauth.InvalidRequestObject},
		{"unsigned, of one without keys", "front", unsignedJWT(none, `{"state":"in"}`), oauth.RequestNotSupported},
		{"signed, of one who does not", "plain", h.object("theirs", "JWT", said{"state": "in"}), oauth.InvalidRequestObject},
		{"alg none in another case", "plain", unsignedJWT(`{"alg":"None"}`, `{"state":"in"}`), oauth.InvalidRequestObject},
		{"alg twice", "plain", unsignedJWT(`{"alg":"none","alg":"none"}`, `{"state":"in"}`), oauth.InvalidRequestObject},
		{"crit", "plain", unsignedJWT(`{"alg":"none","crit":["x"],"x":1}`, `{"state":"in"}`), oauth.InvalidRequestObject},
		{"a member twice", "plain", unsignedJWT(none, `{"state":"in","state":"other"}`), oauth.InvalidRequestObject},
		{"a signature of none", "plain", unsignedJWT(none, `{"state":"in"}`) + "AAAA", oauth.InvalidRequestObject},
		{"two parts", "plain", strings.TrimSuffix(unsignedJWT(none, `{"state":"in"}`), "."), oauth.InvalidRequestObject},
		{"padded", "plain", strings.Replace(unsignedJWT(none, `{"state":"in"}`), ".", "=.", 1), oauth.InvalidRequestObject},
		{"no object", "plain", unsignedJWT(none, `["state"]`), oauth.InvalidRequestObject},
		{"null", "plain", unsignedJWT(none, `null`), ""},
		{"a list of a parameter that is one", "plain", unsignedJWT(none, `{"scope":["openid","email"]}`), oauth.InvalidRequestObject},
		{"a list of objects", "plain", unsignedJWT(none, `{"resource":[{}]}`), oauth.InvalidRequestObject},
		{"a request within", "plain", unsignedJWT(none, `{"request":"x"}`), oauth.InvalidRequestObject},
		{"a request_uri within", "plain", unsignedJWT(none, `{"request_uri":"https://x"}`), oauth.InvalidRequestObject},
		{"another client_id", "plain", unsignedJWT(none, `{"client_id":"front"}`), oauth.InvalidRequestObject},
		{"another response_type", "plain", unsignedJWT(none, `{"response_type":"code token"}`), oauth.InvalidRequestObject},
		{"a NUL", "plain", unsignedJWT(none, `{"state":"\u0000"}`), oauth.InvalidRequestObject},
		{"a registration", "plain", unsignedJWT(none, `{"registration":{}}`), oauth.RegistrationNotSupported},
		{"what is no better within", "plain", unsignedJWT(none, `{"prompt":"none login"}`), oauth.InvalidRequest},
		{"no nonce of a response mode", "plain", unsignedJWT(none, `{"response_mode":"carrier pigeon"}`), oauth.InvalidRequest},

		{"signed", "signed", h.object("theirs", "JWT", said{"state": "in"}), ""},
		{"signed, and all it should say", "any", h.object("theirs", "oauth-authz-req+jwt", said{"state": "in", "iss": "any", "aud": []string{overTLS}, "exp": h.now.Unix() + 1, "nbf": h.now.Unix()}), ""},
		{"by another alg", "other", h.object("theirs", "JWT", said{"state": "in"}), oauth.InvalidRequestObject},
		{"by another key", "signed", h.object("ours", "JWT", said{"state": "in"}), oauth.InvalidRequestObject},
		{"as an access token", "signed", h.object("theirs", jwt.TypAccessToken, said{"state": "in"}), oauth.InvalidRequestObject},
		{"as a proof", "signed", h.object("theirs", "dpop+jwt", said{"state": "in"}), oauth.InvalidRequestObject},
		{"another iss", "signed", h.object("theirs", "JWT", said{"iss": "any"}), oauth.InvalidRequestObject},
		{"an iss that is none", "signed", h.object("theirs", "JWT", said{"iss": 1}), oauth.InvalidRequestObject},
		{"another aud", "signed", h.object("theirs", "JWT", said{"aud": "https://other.example.com/"}), oauth.InvalidRequestObject},
		{"by a clock behind", "signed", h.object("theirs", "JWT", said{"state": "in", "exp": h.now.Unix() - 59}), ""},
		{"expired", "signed", h.object("theirs", "JWT", said{"exp": h.now.Unix() - 60}), oauth.InvalidRequestObject},
		{"by a clock ahead", "signed", h.object("theirs", "JWT", said{"state": "in", "nbf": h.now.Unix() + 60}), ""},
		{"not yet", "signed", h.object("theirs", "JWT", said{"nbf": h.now.Unix() + 61}), oauth.InvalidRequestObject},
		{"an assertion", "signed", h.object("theirs", "JWT", said{"iss": "signed", "sub": "signed", "aud": overTLS, "jti": "j"}), oauth.InvalidRequestObject},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := v.get(forFront("code", "client_id", tt.client, "request", tt.object))
			if a.Code != http.StatusFound || a.query("error") != string(tt.want) || (a.query("code") == "") != (tt.want != "") {
				t.Fatalf("%d to %s: %s", a.Code, a.location, h.log.String())
			}
			if state := a.query("state"); tt.want == "" && strings.Contains(tt.name, "igned") && state != "in" || tt.want == oauth.InvalidRequestObject && state != "st-1" {
				t.Errorf("state %s", state)
			}
		})
	}
}

func TestARequestObjectSaysWhereTheAnswerGoes(t *testing.T) {
	h, v := withObjects(t)
	there := unsignedJWT(`{"alg":"none"}`, `{"redirect_uri":"https://front.example.com/cb?keep=1"}`)
	if a := v.get(forFront("code", "client_id", "plain", "request", there, "redirect_uri", "https://elsewhere.example.com/")); a.query("code") == "" {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	elsewhere := unsignedJWT(`{"alg":"none"}`, `{"redirect_uri":"https://elsewhere.example.com/"}`)
	h.isPage(v.get(forFront("code", "client_id", "plain", "request", elsewhere)), http.StatusBadRequest)
	// What does not count says nothing, of where an error goes either.
	h.isPage(v.get(forFront("code", "client_id", "signed", "request", there, "redirect_uri", "https://elsewhere.example.com/")), http.StatusBadRequest)
}

func TestKeysThatCannotBeHad(t *testing.T) {
	h, v := withObjects(t)
	h.endpoint.Trust = unavailable{}
	a := v.get(forFront("code", "client_id", "signed", "request", h.object("theirs", "JWT", map[string]any{})))
	if a.query("error") != string(oauth.TemporarilyUnavailable) {
		t.Errorf("%d to %s", a.Code, a.location)
	}
	h.endpoint.Trust = nil
	a = v.get(forFront("code", "client_id", "signed", "request", h.object("theirs", "JWT", map[string]any{})))
	if a.query("error") != string(oauth.RequestNotSupported) {
		t.Errorf("%d to %s", a.Code, a.location)
	}
}

func TestTheFormCarriesWhatTheObjectSays(t *testing.T) {
	h, _ := withObjects(t)
	v := h.visitor()
	object := h.object("theirs", "JWT", map[string]any{"state": "in", "nonce": "in", "exp": h.now.Unix() + 1})
	h.isLoginPage(v.get(forFront("code", "client_id", "signed", "request", object)), http.StatusOK)
	h.now = h.now.Add(61e9) // the object has expired
	a := v.fill("demo", password)
	if a.query("code") == "" || a.query("state") != "in" || h.store.grants[len(h.store.grants)-1].Nonce != "in" {
		t.Errorf("%d to %s", a.Code, a.location)
	}
}

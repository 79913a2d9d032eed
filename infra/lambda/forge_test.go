package lambda

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
)

// What a client makes with a key stands in an event as ${assertion.which} (RFC 7523
// §2.2) or ${proof.which} (RFC 9449 §4.2), and is made anew for each step;
// ${sent_assertion.which} and ${sent_proof.which} are the last one once more.

// An assertion is a JWT that says who somebody is.
type assertion struct {
	// by is the kid of a key of infra/examples/private-keys.json, or a client_secret.
	by string
	// kid is what the header says, "" for by.
	kid string
	// age is how long ago it was made. It counts for a minute.
	age    time.Duration
	claims map[string]any
}

const (
	backendKey     = "demo-backend-key-used-in-examples-only"
	workloadsKey   = "demo-workloads-key-used-in-examples-only"
	newBatchSecret = "demo-batch-new-secret-used-in-examples-only"
	oldBatchSecret = "demo-batch-old-secret-used-in-examples-only"
	elsewhere      = "https://elsewhere.example.com/"
)

var assertions = map[string]assertion{
	"backend":           {by: backendKey, claims: own("demo-backend", issuer)},
	"backend_elsewhere": {by: backendKey, claims: own("demo-backend", elsewhere)},
	"backend_late":      {by: backendKey, age: 10 * time.Minute, claims: own("demo-backend", issuer)},
	"backend_forged":    {by: workloadsKey, kid: backendKey, claims: own("demo-backend", issuer)},
	"batch":             {by: newBatchSecret, claims: own("demo-batch", issuer)},
	"batch_old":         {by: oldBatchSecret, claims: own("demo-batch", issuer)},
	"batch_wrong":       {by: "demo-batch-another-secret-used-in-examples-only", claims: own("demo-batch", issuer)},
	"job":               {by: workloadsKey, claims: workload("system:serviceaccount:demo:nightly", "https://login.example.com/")},
	"job_elsewhere":     {by: workloadsKey, claims: workload("system:serviceaccount:other:nightly", "https://login.example.com/")},
	"person":            {by: workloadsKey, claims: workload("demo-buyer", "https://orders.example.com/")},
	"person_elsewhere":  {by: workloadsKey, claims: workload("demo-buyer", elsewhere)},
	// RFC 9101 §4: a request object.
	"request":        {by: backendKey, claims: signedRequest()},
	"request_forged": {by: workloadsKey, kid: backendKey, claims: signedRequest()},
}

func signedRequest() map[string]any {
	return map[string]any{
		"iss": "demo-signed", "aud": issuer, "client_id": "demo-signed", "response_type": "code", "scope": "openid email",
		"redirect_uri": "http://localhost:8080/signed", "state": "af0ifjsldkj-signed",
	}
}

func own(client, audience string) map[string]any {
	return map[string]any{"iss": client, "sub": client, "aud": audience}
}

func workload(subject, audience string) map[string]any {
	return map[string]any{"iss": "https://workloads.example.com/", "sub": subject, "aud": audience, "environment": "production"}
}

// A proof is for the request that it stands in, and for the access token that the
// request sends.
type proof struct {
	// by names a key that is made for the run.
	by string
	// nonce says that it holds the last one that the server gave.
	nonce bool
	age   time.Duration
}

var proofs = map[string]proof{
	"service":           {by: "service"},
	"service_late":      {by: "service", age: 10 * time.Minute},
	"spa":               {by: "spa", nonce: true},
	"spa_without_nonce": {by: "spa"},
	"api":               {by: "api"},
	"other":             {by: "other", nonce: true},
}

// A forge has the keys of the clients.
type forge struct {
	examples jose.JSONWebKeySet
	made     map[string]*ecdsa.PrivateKey
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{made: map[string]*ecdsa.PrivateKey{}}
	file, err := os.ReadFile(filepath.Join(root, "infra/examples/private-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &f.examples); err != nil {
		t.Fatal(err)
	}
	for _, p := range proofs {
		if f.made[p.by] == nil {
			if f.made[p.by], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// thumbprints are those of the keys for proofs, as stand-ins.
func (f *forge) thumbprints(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	for name, key := range f.made {
		all["thumbprint."+name] = thumbprintEC(coordinates(t, &key.PublicKey))
	}
	return all
}

// coordinates are x and y of a point, as a JWK has them.
func coordinates(t *testing.T, key *ecdsa.PublicKey) (x, y string) {
	t.Helper()
	point, err := key.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	half := len(point) / 2
	return encode(string(point[1 : 1+half])), encode(string(point[1+half:]))
}

// forge makes what stands in the event, and keeps it in known.
func (f *forge) forge(t *testing.T, event []byte, known map[string]any) {
	t.Helper()
	e := decode[events.APIGatewayV2HTTPRequest](t, event)
	text := string(event)
	if e.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		text += string(body)
	}
	for _, found := range standIn.FindAllStringSubmatch(text, -1) {
		kindName, which, _ := strings.Cut(found[1], ".")
		var made string
		switch kindName {
		case "assertion":
			made = f.assertion(t, which)
		case "proof":
			made = f.proof(t, which, e, known)
		default:
			continue
		}
		known[found[1]], known["sent_"+found[1]] = made, made
	}
}

func (f *forge) assertion(t *testing.T, which string) string {
	t.Helper()
	a, ok := assertions[which]
	if !ok {
		t.Fatalf("nobody knows the assertion %s", which)
	}
	made := time.Now().Add(-a.age)
	claims := map[string]any{"jti": rand.Text(), "iat": made.Unix(), "exp": made.Add(time.Minute).Unix()}
	maps.Copy(claims, a.claims)
	signing := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(a.by)}
	if keys := f.examples.Key(a.by); len(keys) == 1 {
		key := keys[0]
		if a.kid != "" {
			key.KeyID = a.kid
		}
		signing = jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}
	}
	return signJWT(t, signing, (&jose.SignerOptions{}).WithType("JWT"), claims)
}

func (f *forge) proof(t *testing.T, which string, e events.APIGatewayV2HTTPRequest, known map[string]any) string {
	t.Helper()
	p, ok := proofs[which]
	if !ok {
		t.Fatalf("nobody knows the proof %s", which)
	}
	claims := map[string]any{
		"jti": rand.Text(), "iat": time.Now().Add(-p.age).Unix(),
		"htm": e.RequestContext.HTTP.Method, "htu": strings.TrimSuffix(issuer, "/") + e.RawPath,
	}
	if p.nonce {
		claims["nonce"] = known["nonce"]
	}
	authorization, err := expand(e.Headers["authorization"], known, plain)
	if err != nil {
		t.Fatal(err)
	}
	if token, ok := strings.CutPrefix(authorization, "DPoP "); ok {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = encode(string(sum[:]))
	}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: f.made[p.by]}
	return signJWT(t, signing, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"), claims)
}

func signJWT(t *testing.T, signing jose.SigningKey, options *jose.SignerOptions, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(signing, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

package dpop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/dpop"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

const tokenURL = "https://auth.example.com/oauth/token"

// A half second before the hour ends.
var now = time.Date(2026, 11, 24, 12, 59, 59, 5e8, time.UTC)

// mac is a MAC of one secret that remembers what it was asked for.
type mac struct {
	secret string
	asked  []string
	hours  []int64
	err    error
}

func (m *mac) HourlyKey(_ context.Context, purpose string, hour int64) ([]byte, error) {
	m.asked, m.hours = append(m.asked, purpose), append(m.hours, hour)
	h := hmac.New(sha256.New, []byte(m.secret))
	h.Write(binary.BigEndian.AppendUint64([]byte(purpose), uint64(hour)))
	return h.Sum(nil), m.err
}

func at(m *mac, t time.Time) dpop.Verifier {
	return dpop.Verifier{MAC: m, Now: func() time.Time { return t }}
}

// A client has a key.
type client struct {
	testing.TB
	key *ecdsa.PrivateKey
}

func newClient(t testing.TB) client {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return client{t, key}
}

func (c client) thumbprint() string {
	id, err := jwt.Thumbprint(&c.key.PublicKey)
	if err != nil {
		c.Fatal(err)
	}
	return id
}

func (c client) proof(claims string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: c.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		c.Fatal(err)
	}
	jws, err := signer.Sign([]byte(claims))
	if err != nil {
		c.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		c.Fatal(err)
	}
	return text
}

// claims are those of a good proof at that time, and more.
func claims(t time.Time, more string) string {
	return `{"jti":"1","htm":"POST","htu":"` + tokenURL + `","iat":` + strconv.FormatInt(t.Unix(), 10) + more + `}`
}

func code(err error) oauth.Code {
	if e := (*oauth.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestVerify(t *testing.T) {
	c := newClient(t)
	good := c.proof(claims(now, ""))
	want := dpop.Expected{Method: "POST", URL: tokenURL}
	v := at(&mac{}, now)
	proof, err := v.Verify(t.Context(), []string{good}, want)
	if err != nil || proof.Key != c.thumbprint() || len(proof.Use.Key) != 43 || proof.Use.By != "" || !proof.Use.Until.After(now.Add(time.Minute)) {
		t.Errorf("%+v, %v", proof, err)
	}
	if got, err := v.Verify(t.Context(), nil, want); err != nil || got != (dpop.Proof{}) {
		t.Errorf("without a header: %+v, %v", got, err)
	}
	want.Token = "t"
	if _, err := v.Verify(t.Context(), []string{c.proof(claims(now, `,"ath":"4w3zTszoo6VMRRlTmBzqa-hUsj6QeY2aIwTDoakvlA8"`))}, want); err == nil {
		t.Error("another token's ath is taken")
	}
	sum := sha256.Sum256([]byte("t"))
	if _, err := v.Verify(t.Context(), []string{c.proof(claims(now, `,"ath":"`+base64.RawURLEncoding.EncodeToString(sum[:])+`"`))}, want); err != nil {
		t.Error(err)
	}
	want.Token = ""
	for name, header := range map[string][]string{
		"an empty header":         {""},
		"two headers":             {good, c.proof(claims(now, `,"x":1`))},
		"the same one twice":      {good, good},
		"two in one header":       {good + ", " + good},
		"a proof, and an empty":   {good, ""},
		"for another method":      {c.proof(`{"jti":"1","htm":"GET","htu":"` + tokenURL + `","iat":` + strconv.FormatInt(now.Unix(), 10) + `}`)},
		"an hour old":             {c.proof(claims(now.Add(-time.Hour), ""))},
		"a nonce that is no text": {c.proof(claims(now, `,"nonce":{}`))},
	} {
		got, err := v.Verify(t.Context(), header, want)
		if code(err) != oauth.InvalidDPoPProof || got != (dpop.Proof{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// A fault of ours is no refusal.
	if _, err := v.Verify(t.Context(), []string{good}, dpop.Expected{Method: "POST", URL: "/"}); err == nil || code(err) != "" {
		t.Errorf("%v", err)
	}
}

func TestNonce(t *testing.T) {
	c := newClient(t)
	m := &mac{}
	nonce, err := at(m, now).Nonce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nonceOf := func(m *mac, t0 time.Time) string {
		n, err := at(m, t0).Nonce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// One that only looks new: the time of a nonce, and the rest of an older one, of the
	// same hour.
	mixed, err := base64.RawURLEncoding.DecodeString(nonceOf(m, now.Add(-20*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	forged := base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(now.Unix())), mixed[8:]...))
	last := nonce[len(nonce)-1]
	for name, tt := range map[string]struct {
		nonce string // as JSON
		after time.Duration
		want  oauth.Code
	}{
		"at once":                   {nonce, 0, ""},
		"in the next hour":          {nonce, time.Minute, ""},
		"five minutes later":        {nonce, 5 * time.Minute, ""},
		"later than that":           {nonce, 5*time.Minute + time.Second, oauth.UseDPoPNonce},
		"hours later":               {nonce, 3 * time.Hour, oauth.UseDPoPNonce},
		"of a clock a little ahead": {nonce, -time.Minute, ""},
		"of a clock too far ahead":  {nonce, -61 * time.Second, oauth.UseDPoPNonce},
		"none":                      {"", 0, oauth.UseDPoPNonce},
		"a word":                    {"x", 0, oauth.UseDPoPNonce},
		"of another server":         {nonceOf(&mac{secret: "other"}, now), 0, oauth.UseDPoPNonce},
		"made newer":                {forged, 0, oauth.UseDPoPNonce},
		"one bit changed":           {nonce[:12] + flip(nonce[12]) + nonce[13:], 0, oauth.UseDPoPNonce},
		"cut":                       {nonce[:len(nonce)-4], 0, oauth.UseDPoPNonce},
		"longer":                    {nonce + "AAAA", 0, oauth.UseDPoPNonce},
		"with a line break":         {nonce[:8] + `\n` + nonce[8:], 0, oauth.UseDPoPNonce},
		"with another last letter":  {nonce[:len(nonce)-1] + flip(last), 0, oauth.UseDPoPNonce},
		"before time began":         {"_____________________w", 0, oauth.UseDPoPNonce},
	} {
		then := now.Add(tt.after)
		header := []string{c.proof(claims(then, `,"nonce":"`+tt.nonce+`"`))}
		fresh := &mac{}
		got, err := at(fresh, then).Verify(t.Context(), header, dpop.Expected{Method: "POST", URL: tokenURL, Nonce: true})
		if code(err) != tt.want || (err == nil) != (tt.want == "") || (got != dpop.Proof{}) != (err == nil) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if e := (*oauth.Error)(nil); errors.As(err, &e) && e.Case != oauth.CaseDPoPNonce {
			t.Errorf("%s: the case is %q", name, e.Case)
		}
		// No nonce makes the server ask for another key than this hour's and the one
		// before, or the one that comes in a moment.
		hour := then.Unix() / 3600
		for _, h := range fresh.hours {
			if h != hour && h != hour-1 && h != then.Add(5*time.Second).Unix()/3600 {
				t.Errorf("%s: asked for the key of hour %d in hour %d", name, h, hour)
			}
		}
		// Where none is needed, none is looked at.
		if _, err := at(&mac{err: errors.New("down")}, then).Verify(t.Context(), header, dpop.Expected{Method: "POST", URL: tokenURL}); err != nil {
			t.Errorf("%s, though none is needed: %v", name, err)
		}
	}
	if nonce == nonceOf(m, now.Add(time.Second)) || len(nonce) != 32 {
		t.Errorf("%q", nonce)
	}
	if i := slices.IndexFunc(m.asked, func(purpose string) bool { return purpose != "dpop nonce" }); i >= 0 {
		t.Errorf("the key of %q", m.asked[i])
	}
}

func flip(b byte) string {
	if b == 'A' {
		return "B"
	}
	return "A"
}

// TestOnlyTheNonce holds that a client is sent for a nonce only where that is all
// that was wrong: it would come again for nothing.
func TestOnlyTheNonce(t *testing.T) {
	c := newClient(t)
	want := dpop.Expected{Method: "POST", URL: tokenURL, Nonce: true}
	for name, tt := range map[string]struct {
		proof string
		want  oauth.Code
	}{
		"no nonce":                 {c.proof(claims(now, "")), oauth.UseDPoPNonce},
		"no nonce, and an old iat": {c.proof(claims(now.Add(-time.Hour), "")), oauth.InvalidDPoPProof},
		"no nonce, and no proof":   {"x", oauth.InvalidDPoPProof},
	} {
		m := &mac{}
		if _, err := at(m, now).Verify(t.Context(), []string{tt.proof}, want); code(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		if len(m.asked) != 0 {
			t.Errorf("%s: asked for %v", name, m.asked)
		}
	}
}

// TestMACDown holds that what fails on our side is not the client's fault.
func TestMACDown(t *testing.T) {
	c := newClient(t)
	nonce, err := at(&mac{}, now).Nonce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	down := errors.New("down")
	v := at(&mac{err: down}, now)
	if nonce, err := v.Nonce(t.Context()); !errors.Is(err, down) || nonce != "" {
		t.Errorf("%q, %v", nonce, err)
	}
	header := []string{c.proof(claims(now, `,"nonce":"`+nonce+`"`))}
	if _, err := v.Verify(t.Context(), header, dpop.Expected{Method: "POST", URL: tokenURL, Nonce: true}); !errors.Is(err, down) || code(err) != "" {
		t.Errorf("%v", err)
	}
}

func FuzzVerify(f *testing.F) {
	v := at(&mac{}, now)
	nonce, err := v.Nonce(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("x", nonce, true)
	f.Add("", "", false)
	f.Fuzz(func(t *testing.T, header, sent string, needed bool) {
		want := dpop.Expected{Method: "POST", URL: tokenURL, Nonce: needed}
		if proof, err := v.Verify(t.Context(), []string{header}, want); code(err) != oauth.InvalidDPoPProof || proof != (dpop.Proof{}) {
			t.Errorf("%q: %+v, %v", header, proof, err)
		}
		c := newClient(t)
		quoted := base64.RawURLEncoding.EncodeToString([]byte(sent))
		for _, n := range []string{quoted, nonce} {
			_, err := v.Verify(t.Context(), []string{c.proof(claims(now, `,"nonce":"`+n+`"`))}, want)
			if len(n) > 256 { // longer than any of ours, whether or not one is asked for
				if code(err) != oauth.InvalidDPoPProof {
					t.Errorf("%q: %v", n, err)
				}
				continue
			}
			if good := !needed || n == nonce; good != (err == nil) || !good && code(err) != oauth.UseDPoPNonce {
				t.Errorf("%q: %v", n, err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	c := newClient(b)
	v := at(&mac{}, now)
	nonce, err := v.Nonce(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	header := []string{c.proof(claims(now, `,"nonce":"`+nonce+`"`))}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), header, dpop.Expected{Method: "POST", URL: tokenURL, Nonce: true}); err != nil {
			b.Fatal(err)
		}
	}
}

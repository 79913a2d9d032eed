// Package verify answers: may this request, with this access token, use my API?
//
// It is for the programs that take kmint's access tokens, not for kmint itself:
// nothing of kmint's functions imports it, and it needs neither AWS nor a store.
// A Verifier finds the issuer's public keys by discovery (RFC 8414, OpenID Connect
// Discovery 1.0), keeps them in memory, and judges access tokens by RFC 9068 §4.
//
//	api := &verify.Verifier{
//		Issuer:   "https://auth.example.com/",   // as it stands in the tokens, to the last slash
//		Audience: "https://orders.example.com/", // what this API is called at the issuer
//	}
//	if err := api.Load(ctx); err != nil { // optional: find mistakes now, not at the first request
//		log.Fatal(err)
//	}
//	http.Handle("GET /orders", api.Require(orders, "read:orders"))
//
// Inside orders, FromContext tells who asks. Require answers what RFC 6750 §3 says
// where a token is missing, wrong or too weak. Who does not use net/http calls
// Verify with the token alone.
//
// # Tokens that are bound to a key
//
// A token that is bound to a key (RFC 9449) is never taken as a bearer token: it
// comes by the scheme DPoP, with a proof of the key. Require verifies both, once it
// knows the address that its clients use, which each proof names: from Resource, or
// from RequestURL. The Host header will not do. Whoever runs another API that the
// same client trusts could hand on here what was sent there, with a Host to match.
// No proof counts twice: see UseOnce for a program that runs more than once. A token
// that is bound to a certificate (RFC 8705) is refused.
//
// # What it does not do
//
// A token is judged by itself: where its grant has been revoked, it counts until it
// expires all the same. Tokens in Auth0's dialect, and opaque ones, are not of RFC
// 9068 and are refused. Proofs are asked for no nonce of this API's own (RFC 9449
// §9). A token is read from the Authorization header alone, never from the URL or
// the body.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // member names are case-sensitive, and none may repeat

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// A Verifier judges the access tokens of one issuer for one API. Issuer and
// Audience must be set; every other field may stay empty. It is safe for use side
// by side, and neither to be copied nor changed once it is in use.
type Verifier struct {
	// Issuer is the iss of the tokens, compared exactly, and where discovery
	// starts: an https URL, or http to this very machine.
	Issuer string
	// Audience is this API's identifier at the issuer: one of a token's aud.
	Audience string
	// Algorithms are the JWS algorithms that count, of jwt.Algorithms. Empty means all
	// of them: each of the issuer's keys is for one.
	Algorithms []string

	// Resource is this API's address as its clients know it, an https URL without
	// query and fragment. With it, challenges name the metadata of RFC 9728, which
	// ServeMetadata serves at MetadataPath; and tokens that are bound to a key count.
	// Often, but not always, it is Audience.
	Resource string
	// RequestURL is the address of a request as its client knows it, which a DPoP
	// proof must name (RFC 9449 §4.3), without query and fragment. nil means the
	// scheme and host of Resource, and the path that was sent. One that stands behind
	// a proxy that changes paths has to say more. It must not believe the request's
	// Host, nor a header that anybody can send.
	RequestURL func(*http.Request) string
	// UseOnce remembers a DPoP proof, named by 43 characters, at least until then, and
	// reports whether it was the first to (RFC 9449 §11.1). An error refuses the
	// request with 503. nil means in memory. Of several programs each would then take
	// a proof once: they need a store that they share, in which this is one
	// conditional write.
	UseOnce func(ctx context.Context, proof string, until time.Time) (first bool, err error)
	// Scopes are those that the metadata lists. They demand nothing.
	Scopes []string

	// KeysFor is how long fetched keys are used. 0 means 5 minutes.
	KeysFor time.Duration
	// StaleFor is how much longer they are used where the issuer cannot be reached.
	// So long may a revoked key still count. 0 means an hour, less than 0 not at all.
	StaleFor time.Duration

	// Client fetches the documents. nil means one of our own. Redirects are not
	// followed whatever it says, and each document has 2 seconds and 64 KiB.
	Client *http.Client
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// Log gets a line for each refused request and each failed fetch, never a token.
	// nil means none.
	Log *slog.Logger

	keys cache
	used memory
}

// Claims are what a verified access token says (RFC 9068 §2.2).
type Claims struct {
	Issuer string
	// Subject is the person, or the client itself where it acts in its own name.
	Subject  string
	ClientID string
	Audience []string
	Scope    oauth.Scope
	// ID is the jti.
	ID       string
	Expiry   time.Time
	IssuedAt time.Time
	// AuthTime is when the person logged in. It is zero where nobody did.
	AuthTime time.Time
	// Key is the RFC 7638 thumbprint of the key that the token is bound to, "" for a
	// bearer token.
	Key string

	payload []byte
}

// Decode reads the whole payload into dst, a pointer to a struct or a map, as
// encoding/json does: for claims that have no field here.
func (c Claims) Decode(dst any) error { return json.Unmarshal(c.payload, dst) }

// leeway is how far our clock may be from the server's. RFC 9068 §4 on the exp:
// "Implementers MAY provide for some small leeway, usually no more than a few minutes, to
// account for clock skew." RFC 7519 §4.1.5 says the same of nbf.
const leeway = jwt.Skew

// maxToken is the longest token we look at, in bytes: far more than kmint makes.
const maxToken = 16 << 10

// Verify judges an access token that is bound to no key; VerifyBound is for the
// others. The error is always an *oauth.Error: its code is oauth.InvalidToken;
// oauth.TemporarilyUnavailable where the keys could not be fetched, so that nothing
// can be said of the token; or oauth.ServerError where a field of the Verifier is
// wrong. What a caller may read is in its Description; the cause, for the log, is
// behind Reason.
func (v *Verifier) Verify(ctx context.Context, token string) (Claims, error) {
	claims, err := v.verify(ctx, token)
	if err == nil {
		err = unbound(claims)
	}
	if err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// unbound obeys RFC 9449 §7.2: a bound token must not be accepted as a bearer token.
func unbound(claims Claims) error {
	if claims.Key != "" {
		return invalid("it is bound to a key, so it needs the scheme DPoP and a proof")
	}
	return nil
}

// verify is Verify, but for the key.
func (v *Verifier) verify(ctx context.Context, token string) (Claims, error) {
	algorithms, err := v.check()
	if err != nil {
		return Claims{}, oauth.AsError(err)
	}
	header, err := readHeader(token)
	if err != nil {
		return Claims{}, invalid(err.Error())
	}
	// go-jose refuses what is not in the list, none among it.
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return Claims{}, invalid("its form or algorithm does not count").Because(err)
	}
	keys, err := v.find(ctx, header.KeyID)
	if err != nil {
		return Claims{}, unavailable(err)
	}
	// RFC 8725 §3.1: "each key MUST be used with exactly one algorithm, and this MUST
	// be checked when the cryptographic operation is performed." The key says which.
	i := slices.IndexFunc(keys, func(k jwt.Key) bool { return fits(k, header.Algorithm) })
	if i < 0 {
		return Claims{}, invalid("no key of the issuer has its kid and algorithm")
	}
	payload, err := jws.Verify(jwt.Verifier(header.Algorithm, keys[i].Public))
	if err != nil {
		return Claims{}, invalid("its signature is wrong").Because(err)
	}
	return v.judge(payload)
}

// header holds the members of RFC 7515 §4.1 that we look at. jwk, jku, x5c and x5u
// are not among them: a token does not choose its key.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
	Critical  any    `json:"crit"`
	Base64    any    `json:"b64"`
}

// readHeader reads the first part of a compact JWS, and refuses what need not be
// verified.
func readHeader(token string) (header, error) {
	if len(token) > maxToken {
		return header{}, errors.New("it is too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return header{}, errors.New("it is not a signed JWT")
	}
	var first []byte
	for i, part := range parts {
		decoded, err := decode(part)
		if err != nil || len(decoded) == 0 {
			return header{}, errors.New("it is not a signed JWT")
		}
		if i == 0 {
			first = decoded
		}
	}
	var h header
	if err := strict.Unmarshal(first, &h); err != nil {
		return header{}, errors.New("it is not a signed JWT")
	}
	switch {
	case !isAccessToken(h.Type):
		return header{}, errors.New("its typ is not at+jwt")
	case h.KeyID == "":
		return header{}, errors.New("it names no kid")
	// RFC 7515 §4.1.11: what is critical and not understood makes a token invalid, and
	// RFC 7797 §7: "JWTs MUST NOT use b64 with a false value".
	case h.Critical != nil || h.Base64 != nil:
		return header{}, errors.New("its header asks for what is not supported")
	}
	return h, nil
}

// isAccessToken obeys RFC 9068 §4: "The resource server MUST verify that the typ
// header value is at+jwt or application/at+jwt". They are media types, which
// RFC 7515 §4.1.9 and RFC 2045 §5.1 compare without regard to case.
func isAccessToken(typ string) bool {
	return strings.EqualFold(typ, jwt.TypAccessToken) || strings.EqualFold(typ, "application/"+jwt.TypAccessToken)
}

// judge looks at the claims of a token whose signature is right (RFC 9068 §4).
func (v *Verifier) judge(payload []byte) (Claims, error) {
	var c struct {
		Issuer    string       `json:"iss"`
		Subject   string       `json:"sub"`
		ClientID  string       `json:"client_id"`
		Audience  jwt.Audience `json:"aud"`
		Scope     string       `json:"scope"`
		ID        string       `json:"jti"`
		Expiry    date         `json:"exp"`
		IssuedAt  date         `json:"iat"`
		NotBefore date         `json:"nbf"`
		AuthTime  date         `json:"auth_time"`

		// The members of RFC 7800 §3.1, and of those after it.
		Confirmation map[string]any `json:"cnf"`
	}
	if err := strict.Unmarshal(payload, &c); err != nil {
		return Claims{}, invalid("its claims cannot be read").Because(err)
	}
	now := v.now()
	switch {
	case c.Issuer != v.Issuer:
		return Claims{}, invalid("it is of another issuer")
	case !slices.Contains(c.Audience, v.Audience):
		return Claims{}, invalid("it is not for this API")
	// RFC 9068 §2.2: each of these is REQUIRED. A handler must never see an empty one.
	case c.Subject == "" || c.ClientID == "" || c.ID == "" || c.Expiry.IsZero() || c.IssuedAt.IsZero():
		return Claims{}, invalid("a claim that RFC 9068 requires is missing")
	case !now.Before(c.Expiry.Add(leeway)):
		return Claims{}, invalid("it has expired")
	case c.IssuedAt.After(now.Add(leeway)) || c.NotBefore.After(now.Add(leeway)):
		return Claims{}, invalid("it is not valid yet")
	}
	key, _ := c.Confirmation["jkt"].(string)
	if c.Confirmation != nil && (len(c.Confirmation) != 1 || key == "") {
		return Claims{}, invalid("it is bound to something else than a key for DPoP")
	}
	scope, err := oauth.ParseScope(c.Scope)
	if err != nil {
		return Claims{}, invalid("its scope cannot be read").Because(err)
	}
	return Claims{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, Audience: c.Audience, Scope: scope,
		ID: c.ID, Expiry: c.Expiry.Time, IssuedAt: c.IssuedAt.Time, AuthTime: c.AuthTime.Time, Key: key,
		payload: payload,
	}, nil
}

// date is a NumericDate (RFC 7519 §2): seconds since 1970, which may have a
// fraction.
type date struct{ time.Time }

// UnmarshalJSON reads seconds. Those of no year that has four digits are refused.
func (d *date) UnmarshalJSON(b []byte) error {
	const year10000 = 253402300800
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	if seconds <= 0 || seconds >= year10000 {
		return errors.New("a date that cannot be")
	}
	whole := int64(seconds)
	d.Time = time.Unix(whole, int64((seconds-float64(whole))*1e9))
	return nil
}

func (v *Verifier) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

func (v *Verifier) log() *slog.Logger {
	if v.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return v.Log
}

// invalid says why a token does not count. The reasons tell whoever sent it
// nothing that the token did not.
func invalid(reason string) *oauth.Error {
	return oauth.InvalidToken.Errorf("The access token is refused: %s.", reason)
}

func unavailable(cause error) *oauth.Error {
	return oauth.TemporarilyUnavailable.Errorf("Access tokens cannot be verified at the moment.").Because(cause)
}

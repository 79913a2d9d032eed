// Tokens that are bound to a key (RFC 9449 §7).

package verify

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

// A Proof is the value of a DPoP header, and the request that it came with.
type Proof struct {
	JWT    string
	Method string
	// URL is the address of the request, as its client knows it. Query and fragment
	// do not count. Never take the host from the request: see RequestURL.
	URL string
}

// VerifyBound judges an access token that is bound to a key, and the proof of that
// key, for those who do not use net/http. The error is as that of Verify; its code
// may be oauth.InvalidDPoPProof too. A token that is bound to no key is refused:
// Verify takes those.
func (v *Verifier) VerifyBound(ctx context.Context, token string, proof Proof) (Claims, error) {
	claims, err := v.verify(ctx, token)
	if err != nil {
		return Claims{}, err
	}
	if err := v.prove(ctx, claims, token, proof); err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// prove judges a proof by RFC 9449 §7.1, and lets it be used once.
func (v *Verifier) prove(ctx context.Context, claims Claims, token string, proof Proof) error {
	if claims.Key == "" {
		return invalid("it is bound to no key, and so no token for DPoP")
	}
	shown, err := jwt.VerifyProof(proof.JWT, jwt.ExpectedProof{Method: proof.Method, URL: proof.URL, Token: token, Now: v.now()})
	if err != nil {
		bad := (*jwt.ProofError)(nil)
		if !errors.As(err, &bad) {
			return oauth.AsError(err)
		}
		return oauth.InvalidDPoPProof.Errorf("The DPoP proof is refused: %s.", bad.Reason).Because(err)
	}
	// RFC 9449 §7.1: "the resource server MUST check that the public key of the DPoP
	// proof matches the public key to which the access token is bound".
	if shown.Key != claims.Key {
		return invalid("it is bound to another key than that of the DPoP proof")
	}
	name := oauth.DigestOf(shown.Use)
	var fresh bool
	if v.UseOnce != nil {
		fresh, err = v.UseOnce(ctx, string(name), shown.Until)
	} else {
		fresh, err = v.used.once(name, v.now())
	}
	switch {
	case err != nil:
		return unavailable(err)
	case !fresh:
		return oauth.InvalidDPoPProof.Errorf("The DPoP proof was used before.")
	default:
		return nil
	}
}

// proves reports whether the address of a request is known, which a proof must
// name.
func (v *Verifier) proves() bool { return v.Resource != "" || v.RequestURL != nil }

// requestURL is the htu that a proof for r must have.
func (v *Verifier) requestURL(r *http.Request) string {
	if v.RequestURL != nil {
		return v.RequestURL(r)
	}
	// What the client sent, and not what a mux or http.StripPrefix made of it.
	path := r.URL.EscapedPath()
	if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
		path = sent.EscapedPath()
	}
	resource, err := url.Parse(v.Resource)
	if err != nil {
		return ""
	}
	return resource.Scheme + "://" + resource.Host + path
}

// header reads the DPoP header of a request.
func (v *Verifier) header(r *http.Request) (Proof, error) {
	sent := r.Header.Values("DPoP")
	if len(sent) != 1 {
		// RFC 9449 §4.3: "There is not more than one DPoP HTTP request header field."
		return Proof{}, oauth.InvalidDPoPProof.Errorf("The request has %d DPoP proofs; it needs one.", len(sent))
	}
	return Proof{JWT: sent[0], Method: r.Method, URL: v.requestURL(r)}, nil
}

// memory remembers the proofs that were used, for as long as they would count.
// Those of the last while are in young, those of the while before in old.
type memory struct {
	mu         sync.Mutex
	young, old map[oauth.Digest]struct{}
	since      time.Time // when young began
}

const (
	// while is longer than any proof counts, from when it is first shown.
	while = 3*time.Minute + time.Second
	// maxProofs bounds each of the two, to some 30 MB.
	maxProofs = 1 << 18
)

// errFull says that no proof can be remembered, so none can be let through.
var errFull = errors.New("verify: too many proofs to remember; UseOnce can say where else")

func (m *memory) once(name oauth.Digest, now time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if age := now.Sub(m.since); age >= while || m.young == nil {
		if m.old = m.young; age >= 2*while {
			m.old = nil
		}
		m.young, m.since = map[oauth.Digest]struct{}{}, now
	}
	_, young := m.young[name]
	_, old := m.old[name]
	switch {
	case young || old:
		return false, nil
	case len(m.young) >= maxProofs:
		return false, errFull
	default:
		m.young[name] = struct{}{}
		return true, nil
	}
}

// isDPoP reports whether a request uses the DPoP scheme (RFC 9449 §7.1).
func isDPoP(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, oauth.DPoP)
}

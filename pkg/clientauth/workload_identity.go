// workload_identity: the assertion is the JWT that a trusted issuer gave to the
// workload, and there is no secret anywhere (RFC 7521 §3, where a security token
// service issues it).
//
// The issuer does not know our client_ids, so iss and sub are its own words, and the
// request names the client. testdata shows what AWS STS, GitHub Actions and
// Kubernetes issue, and a client for each.
//
// Such a JWT is a bearer token that its workload may present as often as it likes:
// a Kubernetes pod reads the same file for an hour, and GitHub and AWS hand out one
// that outlives the first request. So its jti is not used up; what bounds it is that
// we are its only audience, that it ends, and that it was made for maxWorkload at
// most.

package clientauth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kmint/pkg/store"
	"kmint/pkg/trust"
)

// maxWorkload is how long a workload's JWT may count: as long as Kubernetes gives
// those whose audience is not itself, unless its operator says otherwise.
const maxWorkload = 24 * time.Hour

func (a Authenticator) workloadIdentity(ctx context.Context, c Claim) error {
	w := c.Client.Workload
	switch {
	case w == nil || w.Issuer == "" || w.Audience == "":
		return refused("the client is bound to no workload")
	case !c.presented.named:
		return refused("the client_id is missing")
	}
	_, err := a.Trust.Verify(ctx, c.presented.secret.Reveal(), trust.Expected{
		Issuer: w.Issuer, Audience: w.Audience, MaxLifetime: maxWorkload, Now: a.Now(),
		Check: func(t trust.Token) error { return bound(*w, t) },
	})
	if err != nil {
		return unproven(err)
	}
	return nil
}

// bound says why a token is not that of the workload, or nil.
func bound(w store.Workload, token trust.Token) error {
	// RFC 8725 §3.11: an access token of the issuer, or another JWT with a typ of its
	// own, is no word about a workload.
	if typ := strings.ToLower(token.Type); typ != "" && typ != "jwt" {
		return fmt.Errorf("typ is %.64q", token.Type)
	}
	// Who else is an audience has the token too.
	if len(token.Audience) != 1 {
		return fmt.Errorf("aud is %.256q", []string(token.Audience))
	}
	if !store.Pattern(w.Subject).Matches(token.Subject) {
		return fmt.Errorf("sub is %.256q", token.Subject)
	}
	for name, pattern := range w.Claims {
		if text, ok := token.Text(name); !ok || !store.Pattern(pattern).Matches(text) {
			return fmt.Errorf("%s is %.256q", name, text)
		}
	}
	return nil
}

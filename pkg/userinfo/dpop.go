// Tokens that are bound to a key (RFC 9449 §7).

package userinfo

import (
	"context"
	"net/http"
	"strings"

	"kmint/pkg/dpop"
	"kmint/pkg/oauth"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// dpopToken takes the token from an Authorization header of the scheme DPoP.
func dpopToken(authorization oauth.Secret) (oauth.Secret, bool) {
	scheme, presented, _ := strings.Cut(authorization.Reveal(), " ")
	presented = strings.TrimLeft(presented, " ")
	return oauth.Secret(presented), strings.EqualFold(scheme, oauth.DPoP) && presented != ""
}

// errBound tells a client of the other scheme.
var errBound = oauth.InvalidToken.Errorf("The access token is bound to a key: it needs the scheme DPoP and a proof.")

// proof checks that whoever sends a bound token has the key, and that nobody else
// uses the scheme.
func (e Endpoint) proof(ctx context.Context, w http.ResponseWriter, r oauth.Request, want dpop.Expected, access token.AccessToken) (dpop.Proof, error) {
	_, tried := dpopToken(r.Authorization)
	switch key := access.Confirmation.Key; {
	case !tried && key == "":
		return dpop.Proof{}, nil
	// RFC 9449 §7.2: a bound token must not be accepted as a bearer token.
	case !tried:
		return dpop.Proof{}, errBound
	case key == "":
		return dpop.Proof{}, oauth.InvalidToken.Errorf("The access token is bound to no key: it is a bearer token.")
	}
	if want.Nonce {
		// RFC 9449 §8.2: a newer nonce may come with any answer, and §9: so it does here.
		fresh, err := e.DPoP.Nonce(ctx)
		if err != nil {
			return dpop.Proof{}, err
		}
		w.Header().Set("DPoP-Nonce", fresh)
	}
	proof, err := e.DPoP.Verify(ctx, r.DPoP, want)
	switch {
	case err != nil:
		return dpop.Proof{}, err
	case proof.Key == "":
		return dpop.Proof{}, oauth.InvalidDPoPProof.Errorf("The request has no DPoP proof.")
	// RFC 9449 §7.1: the server "MUST check that the public key of the DPoP proof
	// matches the public key to which the access token is bound".
	case proof.Key != access.Confirmation.Key:
		return dpop.Proof{}, oauth.InvalidToken.Errorf("The access token is bound to another key than that of the DPoP proof.")
	default:
		return proof, nil
	}
}

// refuse sets WWW-Authenticate (RFC 6750 §3, RFC 9449 §7.1). "If the request lacks
// any authentication information [...], the resource server SHOULD NOT include an
// error code or other error information" (RFC 6750 §3.1).
func refuse(w http.ResponseWriter, r *http.Request, err error) error {
	e := oauth.AsError(err)
	const realm = ` realm="kmint"`
	algs := `, algs="` + strings.Join(dpop.Algorithms(), " ") + `"`
	reason := `, error="` + string(e.Code) + `", error_description="` + e.Description + `"`
	switch {
	case e == errNoToken:
		w.Header()["Www-Authenticate"] = []string{oauth.Bearer + realm, oauth.DPoP + realm + algs}
		return err
	case e.Code == oauth.InsufficientScope:
		reason += `, scope="openid"`
	case e.Code == oauth.InvalidToken || e.Code == oauth.InvalidRequest || e.Code == oauth.InvalidDPoPProof || e.Code == oauth.UseDPoPNonce:
	default:
		return err
	}
	switch _, tried := dpopToken(oauth.Secret(r.Header.Get("Authorization"))); {
	case tried:
		w.Header().Set("WWW-Authenticate", oauth.DPoP+realm+reason+algs)
	case e == errBound: // as RFC 9449 §7.2 shows it
		w.Header()["Www-Authenticate"] = []string{oauth.Bearer + realm + reason, oauth.DPoP + realm + algs}
	default:
		w.Header().Set("WWW-Authenticate", oauth.Bearer+realm+reason)
	}
	// RFC 9449 §9: "Resource servers use an HTTP 401 (Unauthorized) error code"; the
	// codes' own status is that of the token endpoint.
	if e.Code == oauth.InvalidDPoPProof || e.Code == oauth.UseDPoPNonce {
		w.Header().Set("Cache-Control", "no-store")
		if written := web.JSON(w, http.StatusUnauthorized, e.Body()); written != nil {
			return written
		}
	}
	return err
}

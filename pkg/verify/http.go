// Requests and refusals (RFC 6750; RFC 9449 §7).

package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

type contextKey struct{}

// FromContext returns the claims of the token that Require has verified. false
// means that the request did not come by Require.
func FromContext(ctx context.Context) (Claims, bool) {
	claims, ok := ctx.Value(contextKey{}).(Claims)
	return claims, ok
}

// Require lets those requests through to next whose access token counts and has
// every scope, and refuses all others by itself. Without a scope any token for this
// API will do. A preflight of CORS has no token: what answers those stands before
// Require. It panics if a scope can be in no token, as http.Handle does for a
// pattern that can match nothing.
func (v *Verifier) Require(next http.Handler, scopes ...string) http.Handler {
	for _, s := range scopes {
		if !oauth.ScopeToken(s) {
			panic("verify: a scope cannot be " + s)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.Request(r, scopes...)
		if err != nil {
			v.Refuse(w, r, err, scopes...)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, claims)))
	})
}

// Request judges a request, for those who cannot use Require. The error is an
// *oauth.Error, for Refuse to write.
func (v *Verifier) Request(r *http.Request, scopes ...string) (Claims, error) {
	token, err := v.presented(r)
	if err != nil {
		return Claims{}, err
	}
	claims, err := v.verify(r.Context(), token.Reveal())
	if err != nil {
		return Claims{}, err
	}
	if inBody(r) {
		return Claims{}, twoMethods()
	}
	if err := v.bound(r, claims, token); err != nil {
		return Claims{}, err
	}
	for _, s := range scopes {
		if !claims.Scope.Has(s) {
			return Claims{}, oauth.InsufficientScope.Errorf("The access token was not granted the scope %s.", s)
		}
	}
	return claims, nil
}

// errNoToken is answered by a bare challenge.
var errNoToken = oauth.InvalidToken.Errorf("The request has no access token.")

func twoMethods() error {
	// RFC 6750 §2: "Clients MUST NOT use more than one method to transmit the token
	// in each request."
	return oauth.InvalidRequest.Errorf("The request sends the access token by two methods.")
}

// bound looks at the key that a token is bound to, if it is, and at the scheme that
// it came by.
func (v *Verifier) bound(r *http.Request, claims Claims, token oauth.Secret) error {
	if !isDPoP(r) {
		return unbound(claims)
	}
	proof, err := v.header(r)
	if err != nil {
		return err
	}
	return v.prove(r.Context(), claims, token.Reveal(), proof)
}

// presented finds the token in the Authorization header (RFC 6750 §2.1, RFC 9449
// §7.1).
func (v *Verifier) presented(r *http.Request) (oauth.Secret, error) {
	sent := r.Header.Values("Authorization")
	query, _ := url.ParseQuery(r.URL.RawQuery) // what can be read of it
	switch inQuery := query.Has("access_token"); {
	case len(sent) > 1 || inQuery && len(sent) > 0:
		return "", twoMethods()
	case inQuery:
		// RFC 9700 §2.6 and OAuth 2.1 drop the query method of RFC 6750 §2.3: a URL
		// ends up in logs.
		return "", oauth.InvalidRequest.Errorf("An access token must not be sent in the URL; send it in the Authorization header.")
	case len(sent) == 0:
		return "", errNoToken
	}
	if isDPoP(r) {
		_, token, _ := strings.Cut(sent[0], " ")
		switch token = strings.TrimLeft(token, " "); {
		case token == "":
			return "", errNoToken
		case !v.proves():
			return "", invalid("this API takes no tokens that are bound to a key")
		}
		return oauth.Secret(token), nil
	}
	// RFC 6750 §3.1: one who "attempted using an unsupported authentication method"
	// is told no more than one who sent nothing.
	token, ok := oauth.BearerToken(oauth.Secret(sent[0]))
	if !ok {
		return "", errNoToken
	}
	return token, nil
}

// inBody reports whether a form has a token too (RFC 6750 §2.2). The body can be
// read once more. Of a longer one than 64 KiB nothing is said.
func inBody(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" || r.Body == nil {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, maxDocument))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = failed{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), r.Body}
	form, _ := url.ParseQuery(string(head))
	return form.Has("access_token")
}

// failed gives the handler the error that reading its body has met.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// Refuse answers a request that Request has refused: the status, the challenges of
// RFC 6750 §3 and RFC 9449 §7.1 with the scopes that were asked for, and a JSON
// body.
func (v *Verifier) Refuse(w http.ResponseWriter, r *http.Request, err error, scopes ...string) {
	e := oauth.AsError(err)
	v.log().InfoContext(r.Context(), "verify: refused", slog.String("code", string(e.Code)), slog.String("reason", e.Reason()))
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	status := e.Status()
	if e.Code == oauth.InvalidDPoPProof {
		status = http.StatusUnauthorized // RFC 9449 §7.1; the code's own is the token endpoint's
	}
	switch {
	case e.Code == oauth.TemporarilyUnavailable:
		header.Set("Retry-After", "1")
	case status < http.StatusInternalServerError:
		header["Www-Authenticate"] = v.challenges(isDPoP(r), e, scopes)
	}
	// RFC 6750 §3.1: "If the request lacks any authentication information [...], the
	// resource server SHOULD NOT include an error code or other error information."
	if e == errNoToken {
		w.WriteHeader(status)
		return
	}
	write(w, status, e.Body())
}

// write answers with a JSON document.
func write(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// challenges are one for each scheme that would do. RFC 9449 §7.2 shows the reason
// in that which was tried.
func (v *Verifier) challenges(dpop bool, e *oauth.Error, scopes []string) []string {
	realm := " realm=" + quoted(v.Audience)
	if v.Resource != "" {
		realm += ", resource_metadata=" + quoted(v.metadataURL()) // RFC 9728 §5.1
	}
	reason := ""
	if e != errNoToken {
		reason = ", error=" + quoted(string(e.Code)) + ", error_description=" + quoted(e.Description)
	}
	if e.Code == oauth.InsufficientScope {
		reason += ", scope=" + quoted(strings.Join(scopes, " "))
	}
	algs := ", algs=" + quoted(strings.Join(jwt.ProofAlgorithms(), " "))
	switch {
	case !v.proves():
		return []string{oauth.Bearer + realm + reason}
	case dpop:
		return []string{oauth.DPoP + realm + reason + algs}
	default:
		return []string{oauth.Bearer + realm + reason, oauth.DPoP + realm + algs}
	}
}

// quoted is a quoted-string (RFC 9110 §5.6.4), of printable ASCII alone.
func quoted(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

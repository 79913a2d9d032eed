package grant_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// verbatim makes a request that can be sent again as it is.
func (h *house) verbatim(k key, fields ...string) func() answer {
	h.t.Helper()
	form, proof := url.Values{}, h.proof(k)
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return func() answer {
		h.t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("DPoP", proof)
		return h.send(r)
	}
}

// A proof counts once. What failed on our side gives it back, with all that the
// request spent, so that the client may send the very same request again; what
// failed on the client's does not.
func TestAProofCountsOnce(t *testing.T) {
	k := key{}
	requests := map[string]func(h *house) func() answer{
		"client_credentials": func(h *house) func() answer {
			return h.verbatim(k, from("app", "grant_type", oauth.ClientCredentials)...)
		},
		"authorization_code": func(h *house) func() answer {
			return h.verbatim(k, from("spa", "grant_type", oauth.AuthorizationCode, "code", h.code("spa"), "code_verifier", verifier)...)
		},
		"refresh_token": func(h *house) func() answer {
			first := h.ok(h.by(k, from("spa", "grant_type", oauth.AuthorizationCode, "code", h.code("spa"), "code_verifier", verifier)...))
			return h.verbatim(k, from("spa", "grant_type", oauth.RefreshToken, "refresh_token", first.RefreshToken)...)
		},
		"password": func(h *house) func() answer {
			return h.verbatim(k, from("app", "grant_type", oauth.Password, "username", "u", "password", password, "scope", "openid")...)
		},
		"token-exchange": func(h *house) func() answer {
			return h.verbatim(k, from("app", "grant_type", oauth.TokenExchange, "subject_token", h.tokens("app").AccessToken, "subject_token_type", oauth.AccessTokenType)...)
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			k = h.key()
			send := request(h)
			h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
			h.want(send(), 503, oauth.TemporarilyUnavailable)
			h.failing(nil)
			h.store.failing("UseOnce")
			h.want(send(), 503, oauth.TemporarilyUnavailable)
			h.store.failing("")
			h.ok(send())
			h.store.took()
			h.want(send(), 400, oauth.InvalidDPoPProof)
			// But for client_credentials nothing is looked at any more.
			if calls := h.store.took(); calls != "UseOnce" && name != "client_credentials" {
				t.Errorf("a request that was copied cost %s", calls)
			}
		})
	}
	t.Run("a refused request", func(t *testing.T) {
		h := open(t)
		send := h.verbatim(h.key(), from("spa", "grant_type", oauth.AuthorizationCode, "code", "wrong", "code_verifier", verifier)...)
		h.want(send(), 400, oauth.InvalidGrant)
		h.want(send(), 400, oauth.InvalidDPoPProof)
	})
}

func TestAProofIsNeeded(t *testing.T) {
	h := open(t)
	h.change("app", func(c *store.Client) { c.DPoPBound = true })
	h.want(h.post(from("app", "grant_type", oauth.ClientCredentials)...), 400, oauth.InvalidDPoPProof)
	h.ok(h.by(h.key(), from("app", "grant_type", oauth.ClientCredentials)...))
	h.change("app", func(c *store.Client) { c.DPoPNonce = true })
	got := h.by(h.key(), from("app", "grant_type", oauth.ClientCredentials)...)
	h.want(got, 400, oauth.UseDPoPNonce)
	if got.header.Get("DPoP-Nonce") == "" {
		t.Error("no nonce")
	}
}

// A code that names a key (RFC 9449 §10) needs a proof by it, and is not burnt by
// another.
func TestACodeOfAKey(t *testing.T) {
	h := open(t)
	k := h.key()
	code := h.code("app", func(g *store.Grant) { g.CodeKey = k.thumbprint(h) })
	fields := from("app", "grant_type", oauth.AuthorizationCode, "code", code, "code_verifier", verifier)
	h.want(h.post(fields...), 400, oauth.InvalidDPoPProof)
	h.want(h.by(h.key(), fields...), 400, oauth.InvalidDPoPProof)
	h.ok(h.by(k, fields...))
}

// A code of a login that was ended since yields nothing.
func TestACodeOfALoginThatWasEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(h *house)
		refused oauth.Code
	}{
		"by the client's not_before": {func(h *house) {
			h.change("spa", func(c *store.Client) { c.NotBefore = h.clock().Add(time.Second) })
		}, oauth.InvalidGrant},
		"by the server's": {func(h *house) {
			h.set(func(s *store.Settings) { s.NotBefore = h.clock().Add(time.Second) })
		}, oauth.InvalidGrant},
		"by another client's": {func(h *house) {
			h.change("app", func(c *store.Client) { c.NotBefore = h.clock().Add(time.Second) })
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			code := h.code("spa", func(g *store.Grant) { g.CodeExpires = h.clock().Add(time.Hour) })
			tt.change(h)
			h.store.took()
			got := h.exchange("spa", code)
			if got.Error != tt.refused {
				t.Errorf("%d %s", got.status, got.Error)
			}
			if calls := h.store.took(); tt.refused != "" && strings.Contains(calls, "Sign") {
				t.Error(calls)
			}
		})
	}
}

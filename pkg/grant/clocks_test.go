package grant_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// Clocks that are a minute apart, of two machines of ours, and of a client and ours. The
// first step is made by one clock, the second by another, which shows a time so much
// later. Where something ends, and the end is nobody's to move, it ends by the clock of
// whoever looks.
//
// What else judges a time of another: jwt.Period (assertions, foreign issuers' JWTs),
// request objects in package authorize, dpop's nonces, session's seals and verify, each
// tested there; the waits of package keys have keys.Skew within. A cache and a JWKS are
// as old as the one clock of their process says. The lock of a login name, sessions and
// idle times are of minutes to days, and end by so much earlier or later.
func TestClocksThatAreApart(t *testing.T) {
	for name, tt := range map[string]struct {
		// first returns what it is that the second step presents.
		first  func(h *house) string
		second func(h *house, presented string) answer
		fine   []time.Duration
		// refused are those that are too much, by code.
		refused []time.Duration
		code    oauth.Code
	}{
		// A code is good for a minute, and no leeway is allowed: FAPI 2.0 Security Profile
		// §5.3.2.1 "shall issue authorization codes with a maximum lifetime of 60 seconds".
		"a code": {
			func(h *house) string { return h.code("spa") },
			func(h *house, code string) answer { return h.exchange("spa", code) },
			[]time.Duration{-time.Minute, -time.Hour, 59 * time.Second}, []time.Duration{time.Minute}, oauth.InvalidGrant,
		},
		"a refresh token": {
			func(h *house) string { return h.ok(h.exchange("spa", h.code("spa"))).RefreshToken },
			func(h *house, token string) answer { return h.refresh("spa", token) },
			[]time.Duration{-time.Minute, time.Minute}, []time.Duration{30 * time.Minute}, oauth.InvalidGrant,
		},
		"a refresh token that was rotated": {
			func(h *house) string {
				return h.ok(h.refresh("spa", h.ok(h.exchange("spa", h.code("spa"))).RefreshToken)).RefreshToken
			},
			func(h *house, token string) answer { return h.refresh("spa", token) },
			[]time.Duration{-time.Minute, time.Minute}, []time.Duration{30 * time.Minute}, oauth.InvalidGrant,
		},
		// The login of whoever has logged in again is a minute too old: it is ended, and the
		// next one is not. Nobody is let in by it.
		"a grant whose login is later than the not_before of its person": {
			func(h *house) string {
				token := h.ok(h.exchange("spa", h.code("spa"))).RefreshToken
				at := h.clock()
				h.person("u", func(u *store.User) { u.NotBefore = at.Add(-time.Minute) })
				return token
			},
			func(h *house, token string) answer { return h.refresh("spa", token) },
			[]time.Duration{-time.Minute, time.Minute}, nil, "",
		},
		"a grant whose login is earlier": {
			func(h *house) string {
				token := h.ok(h.exchange("spa", h.code("spa"))).RefreshToken
				at := h.clock()
				h.person("u", func(u *store.User) { u.NotBefore = at.Add(time.Minute) })
				return token
			},
			func(h *house, token string) answer { return h.refresh("spa", token) },
			nil, []time.Duration{-time.Minute, 0, time.Minute}, oauth.InvalidGrant,
		},
		// RFC 9449 §11.1: "a relatively brief period (on the order of seconds or minutes)".
		"a proof": {
			func(h *house) string { return h.code("spa") + " " + h.proof(h.key()) },
			func(h *house, presented string) answer {
				code, proof, _ := strings.Cut(presented, " ")
				return h.proven(proof, from("spa", "grant_type", "authorization_code", "code", code, "code_verifier", verifier)...)
			},
			[]time.Duration{-time.Minute, 59 * time.Second}, []time.Duration{-61 * time.Second, 2 * time.Minute}, oauth.InvalidDPoPProof,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, later := range slices.Concat(tt.fine, tt.refused) {
				h := open(t)
				presented := tt.first(h)
				h.wait(later)
				a := tt.second(h, presented)
				fine := slices.Contains(tt.fine, later)
				if fine && (a.status != http.StatusOK || a.AccessToken == "") || !fine && a.Error != tt.code {
					t.Errorf("%s later: %d %s %s", later, a.status, a.Error, a.Description)
				}
			}
		})
	}
}

// proven sends a request with a proof that was made before.
func (h *house) proven(proof string, fields ...string) answer {
	h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", proof)
	return h.send(r)
}

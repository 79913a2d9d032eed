package grant_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
)

func TestACodeIsGivenBackWhenSigningFails(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	busy := h.exchange("spa", code)
	h.want(busy, 503, oauth.TemporarilyUnavailable)
	if busy.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	h.failing(fmt.Errorf("on fire"))
	h.want(h.exchange("spa", code), 500, oauth.ServerError)

	h.failing(nil)
	h.want(h.exchange("spa", code), 200, "")
	h.want(h.exchange("spa", code), 400, oauth.InvalidGrant)
}

func TestARotationIsRepeatedWhenSigningFails(t *testing.T) {
	h := open(t)
	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	h.failing(fmt.Errorf("throttled: %w", jwt.ErrBusy))
	h.want(h.refresh("spa", first.RefreshToken), 503, oauth.TemporarilyUnavailable)
	h.want(h.refresh("spa", first.RefreshToken), 503, oauth.TemporarilyUnavailable)
	h.failing(nil)
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.want(h.refresh("spa", second.RefreshToken), 200, "")
	// The twin: once the successor was used, the old one is a replay.
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)
}

// Of what was asked for, nothing was granted: that is refused, and spends nothing.
func TestNothingOfTheScope(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.want(h.post("grant_type", "authorization_code", "client_id", "spa", "code", code, "code_verifier", verifier, "scope", "write"), 400, oauth.InvalidScope)
	first := h.exchange("spa", code)
	h.want(first, 200, "")
	h.want(h.post("grant_type", "refresh_token", "client_id", "spa", "refresh_token", first.RefreshToken, "scope", "write"), 400, oauth.InvalidScope)
	narrowed := h.post("grant_type", "refresh_token", "client_id", "spa", "refresh_token", first.RefreshToken, "scope", "write read")
	h.want(narrowed, 200, "")
	if narrowed.Scope != "read" {
		t.Errorf("scope %q", narrowed.Scope)
	}
}

func TestLeewayYieldsTheSameSuccessor(t *testing.T) {
	h := open(t)
	first := h.exchange("patient", h.code("patient"))
	h.want(first, 200, "")
	a := h.refresh("patient", first.RefreshToken)
	h.wait(9 * time.Second)
	b := h.refresh("patient", first.RefreshToken)
	h.want(b, 200, "")
	if a.RefreshToken != b.RefreshToken || a.AccessToken == b.AccessToken {
		t.Error("not the same successor with an access token of its own")
	}
	h.wait(2 * time.Second)
	h.want(h.refresh("patient", first.RefreshToken), 400, oauth.InvalidGrant)
	h.want(h.refresh("patient", b.RefreshToken), 400, oauth.InvalidGrant)
}

func TestExpiry(t *testing.T) {
	h := open(t)
	code := h.code("spa")
	h.wait(time.Minute)
	h.want(h.exchange("spa", code), 400, oauth.InvalidGrant)

	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	h.wait(29 * time.Minute)
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.wait(30 * time.Minute) // idle
	h.want(h.refresh("spa", second.RefreshToken), 400, oauth.InvalidGrant)
}

// Go's decoder skips line breaks: a token with one is not an old token of the
// grant, and must not end it.
func TestALineBreakIsNoReplay(t *testing.T) {
	h := open(t)
	first := h.exchange("spa", h.code("spa"))
	h.want(first, 200, "")
	parts := strings.Split(first.RefreshToken, ".")
	for i := 1; i < len(parts); i++ {
		broken := append([]string(nil), parts...)
		broken[i] += "\n"
		h.want(h.refresh("spa", strings.Join(broken, ".")), 400, oauth.InvalidGrant)
	}
	second := h.refresh("spa", first.RefreshToken)
	h.want(second, 200, "")
	h.want(h.refresh("spa", first.RefreshToken), 400, oauth.InvalidGrant)
}

// Thirty-two at once: one wins, and the grant ends revoked, the winner's tokens
// included.
func TestRaces(t *testing.T) {
	race := func(one func() answer) (won []answer) {
		var wg sync.WaitGroup
		answers := make(chan answer, 32)
		for range 32 {
			wg.Go(func() { answers <- one() })
		}
		wg.Wait()
		close(answers)
		for a := range answers {
			if a.status == 200 {
				won = append(won, a)
			} else if a.Error != oauth.InvalidGrant {
				t.Errorf("a loser got %d %s", a.status, a.Error)
			}
		}
		return won
	}
	h := open(t)
	code := h.code("spa")
	won := race(func() answer { return h.exchange("spa", code) })
	if len(won) != 1 {
		t.Fatalf("%d exchanged one code", len(won))
	}
	h.want(h.refresh("spa", won[0].RefreshToken), 400, oauth.InvalidGrant)

	first := h.exchange("spa", h.code("spa"))
	won = race(func() answer { return h.refresh("spa", first.RefreshToken) })
	if len(won) != 1 {
		t.Fatalf("%d rotated one token", len(won))
	}
	h.want(h.refresh("spa", won[0].RefreshToken), 400, oauth.InvalidGrant)
}

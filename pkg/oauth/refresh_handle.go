package oauth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// A RefreshHandle is a refresh token, prefix.grant.family.rotating. The grant's id
// finds the item; the family secret never changes and tells an old token of this
// grant from a guess; the rotating secret is good once.
type RefreshHandle struct {
	GrantID          string
	Family, Rotating Secret
}

// NewRefreshHandle mints the first token of a grant.
func NewRefreshHandle(grantID string) RefreshHandle {
	return RefreshHandle{grantID, NewHandle(""), NewHandle("")}
}

// ParseRefreshHandle reads a token as it stands on the wire. What it returns is
// well-formed, and no more than that.
func ParseRefreshHandle(s string) (RefreshHandle, bool) {
	rest, ok := strings.CutPrefix(s, RefreshPrefix)
	parts := strings.SplitN(rest, ".", 4)
	if !ok || len(parts) != 3 {
		return RefreshHandle{}, false
	}
	for _, p := range parts {
		if !IsID(p) {
			return RefreshHandle{}, false
		}
	}
	return RefreshHandle{parts[0], Secret(parts[1]), Secret(parts[2])}, true
}

// Token is the wire form.
func (h RefreshHandle) Token() Secret {
	return Secret(RefreshPrefix + h.GrantID + "." + h.Family.Reveal() + "." + h.Rotating.Reveal())
}

// Successor derives the next token by HKDF (RFC 5869) from this one and a salt
// that each rotation draws anew: whoever presents the same token again can be
// given the same successor, though no token is stored. The salt alone yields
// nothing. No generation has to go into the derivation, which would mean to read
// it first: the secret presented was good for one generation only.
func (h RefreshHandle) Successor(salt string) (RefreshHandle, error) {
	key, err := hkdf.Key(sha256.New, []byte(h.Token().Reveal()), []byte(salt), h.GrantID, sha256.Size)
	if err != nil {
		return RefreshHandle{}, fmt.Errorf("oauth: successor: %w", err)
	}
	return RefreshHandle{h.GrantID, h.Family, Secret(base64.RawURLEncoding.EncodeToString(key))}, nil
}

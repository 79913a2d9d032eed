package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// ErrNotOurs says that what was presented is no token of ours of the kind asked
// for, or none any more. Whatever else goes wrong says nothing about the token:
// it could not be looked at.
var ErrNotOurs = errors.New("token: not one of ours")

// A Reader knows the tokens that an Issuer has made. Whether one was revoked since
// is not its question.
type Reader struct {
	// Issuers knows the iss.
	Issuers store.Issuers
	Keys    jwt.KeySet
	// Opaque keeps the tokens that say nothing themselves.
	Opaque store.OpaqueReader
	Now    func() time.Time
}

// Access reads an access token of ours in whichever dialect: a JWT by its
// signature alone, an opaque one by one read of the store. audience is what its
// aud must name; "" takes any, for one who has to say of a token what it is and
// lets nobody in by it. allowExpired takes a JWT whose time is over, and leaves it
// to the caller to compare Expiry. ErrNotOurs if it is none, not for the audience,
// or has expired. An ID token is none, though it may have the same typ.
func (r Reader) Access(ctx context.Context, presented oauth.Secret, audience string, allowExpired bool) (AccessToken, error) {
	issuer, err := r.Issuers.Issuer(ctx)
	if err != nil {
		return AccessToken{}, fmt.Errorf("token: issuer: %w", err)
	}
	want := jwt.Expected{Issuer: issuer, Audience: audience, AnyAudience: audience == "", Now: r.Now(), AllowExpired: allowExpired}
	if strings.HasPrefix(presented.Reveal(), oauth.AccessPrefix) {
		return r.opaque(ctx, presented, want)
	}
	want.Type = jwt.TypAccessToken
	t, err := r.access(ctx, presented, want)
	if !errors.Is(err, ErrNotOurs) {
		return t, err
	}
	want.Type = jwt.TypAuth0
	t, other := r.access(ctx, presented, want)
	if errors.Is(other, ErrNotOurs) {
		return t, errors.Join(err, other)
	}
	return t, other
}

// written are the claims of both dialects.
type written struct {
	AccessToken
	AuthorizedParty string `json:"azp"`
}

func (r Reader) access(ctx context.Context, presented oauth.Secret, want jwt.Expected) (AccessToken, error) {
	var c written
	if err := r.verify(ctx, presented, want, &c); err != nil {
		return AccessToken{}, err
	}
	if want.Type == jwt.TypAuth0 {
		c.ClientID = c.AuthorizedParty
	}
	return c.check()
}

// check tells an access token from an ID token, each of which would do: an access
// token has a jti and names its client, and that client is never whom it is for,
// because no API is named like a client.
func (t AccessToken) check() (AccessToken, error) {
	switch {
	case t.ID == "":
		return AccessToken{}, fmt.Errorf("%w: it has no jti", ErrNotOurs)
	case t.ClientID == "" || t.Subject == "":
		return AccessToken{}, fmt.Errorf("%w: it names no client, or no subject", ErrNotOurs)
	case slices.Contains(t.Audience, t.ClientID):
		return AccessToken{}, fmt.Errorf("%w: it is for its own client", ErrNotOurs)
	default:
		return t, nil
	}
}

func (r Reader) opaque(ctx context.Context, presented oauth.Secret, want jwt.Expected) (AccessToken, error) {
	if !oauth.IsID(strings.TrimPrefix(presented.Reveal(), oauth.AccessPrefix)) {
		return AccessToken{}, fmt.Errorf("%w: malformed", ErrNotOurs)
	}
	kept, err := r.Opaque.Token(ctx, presented.Digest(), want.Now)
	if errors.Is(err, store.ErrNotFound) {
		return AccessToken{}, fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	if err != nil {
		return AccessToken{}, fmt.Errorf("token: opaque: %w", err)
	}
	var t AccessToken
	if err := json.Unmarshal([]byte(kept.Claims), &t); err != nil {
		return AccessToken{}, fmt.Errorf("token: opaque: %w", err)
	}
	switch {
	case t.Issuer != want.Issuer:
		return AccessToken{}, fmt.Errorf("%w: iss is %q", ErrNotOurs, t.Issuer)
	case !slices.Contains(t.Audience, want.Audience) && !want.AnyAudience:
		return AccessToken{}, fmt.Errorf("%w: aud does not name %q", ErrNotOurs, want.Audience)
	case want.Now.Unix() >= t.Expiry && !want.AllowExpired:
		return AccessToken{}, fmt.Errorf("%w: expired", ErrNotOurs)
	}
	return t.check()
}

// ID reads an ID token of ours that is for the client. ErrNotOurs and allowExpired
// are as in Access. An access token is none.
func (r Reader) ID(ctx context.Context, presented oauth.Secret, clientID string, allowExpired bool) (IDToken, error) {
	issuer, err := r.Issuers.Issuer(ctx)
	if err != nil {
		return IDToken{}, fmt.Errorf("token: issuer: %w", err)
	}
	var c struct {
		IDToken
		ID string `json:"jti"`
	}
	err = r.verify(ctx, presented, jwt.Expected{
		Type: jwt.TypIDToken, Issuer: issuer, Audience: clientID, Now: r.Now(), AllowExpired: allowExpired,
	}, &c)
	switch {
	case err != nil:
		return IDToken{}, err
	case c.ID != "":
		return IDToken{}, fmt.Errorf("%w: an ID token has no jti", ErrNotOurs)
	case c.Subject == "":
		return IDToken{}, fmt.Errorf("%w: it names no subject", ErrNotOurs)
	}
	return c.IDToken, nil
}

func (r Reader) verify(ctx context.Context, presented oauth.Secret, want jwt.Expected, dst any) error {
	err := jwt.Verify(ctx, r.Keys, presented.Reveal(), want, dst)
	if err == nil || errors.Is(err, jwt.ErrKeySet) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotOurs, err)
}

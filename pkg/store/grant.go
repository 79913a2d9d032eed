package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"kmint/pkg/oauth"
)

// Why a moment was refused. Only ErrReplayed has changed anything: it says that
// the grant is revoked.
var (
	ErrOtherClient = errors.New("store: the grant belongs to another client")
	ErrRedirectURI = errors.New("store: redirect_uri is not the one of the authorization request")
	ErrVerifier    = errors.New("store: code_verifier does not answer the code_challenge")
	ErrOtherKey    = errors.New("store: the grant is bound to another key")
	ErrScope       = errors.New("store: scope goes beyond the grant")
	ErrAudience    = errors.New("store: audience goes beyond the grant")
	ErrRevoked     = errors.New("store: the grant is revoked")
	ErrReplayed    = errors.New("store: used a second time, so the grant is revoked")
	ErrExpired     = errors.New("store: expired")
	ErrUndone      = errors.New("store: a late copy of an attempt that was undone")
)

// A Grant is one item from the authorization code to its last refresh token:
// who allowed what to whom, and until when. It is the authority for revocation:
// one write ends every token that came of it.
type Grant struct {
	// ID is the SHA-256 of the code.
	ID       string
	ClientID string
	Subject  string
	// Parent is the grant whose token was exchanged for the refresh token of this one
	// (RFC 8693), "" for none: this one ends with it.
	Parent string
	// RedirectURI is where the code went; RedirectSent, whether the
	// authorization request named it.
	RedirectURI  string
	RedirectSent bool
	// Challenge is the PKCE code_challenge, "" for none.
	Challenge oauth.Challenge
	Nonce     string
	// Scope is what was granted, Requested what was asked for.
	Scope     oauth.Scope
	Requested oauth.Scope
	// Audience lists the APIs; empty means the userinfo endpoint alone.
	Audience []string
	AuthTime time.Time
	// SessionID is the sid of the SSO session: the digest it is kept under. Online
	// grants end with it.
	SessionID string
	Online    bool
	// Claims and AccessClaims are the snapshot of the person that the code exchange's
	// ID token and access token show, removed by the first rotation.
	Claims       map[string]any
	AccessClaims map[string]any
	// Asked is the claims parameter of the authorization request (OpenID Connect Core
	// 1.0 §5.5), "" for none.
	Asked string
	// Front says that a token left the authorization endpoint beside the code: the
	// grant is kept for it, whatever becomes of the code.
	Front bool
	// CodeKey is the dpop_jkt of the authorization request (RFC 9449 §10), "" for
	// none: the code needs a proof by that key.
	CodeKey string
	// RefreshKey is what a refresh needs a proof by: the thumbprint of the key, AnyKey
	// for a key whichever, "" for none.
	RefreshKey string

	Created     time.Time
	CodeExpires time.Time
	// End is absolute: no refresh token is good beyond it.
	End time.Time
	// Kept is when the item may be deleted once the code is spent: when the last
	// token that could come of it has expired.
	Kept time.Time

	// Spent is when the code was exchanged; zero before.
	Spent time.Time
	// Revoked is when the grant was ended; zero before.
	Revoked time.Time
	// By is the random id of the request whose conditional write came last: a
	// request that finds its own id had succeeded, and only its answer was lost.
	By string
	// Undone holds the By of requests that must not write any more, the latest
	// first: what they wrote was given back, or its answer was lost, and a copy of
	// the write may still be on its way. One would not do: what delays a request
	// delays its retry too, whose mark must not lift that of the first. More than
	// three would be for a copy that is later than three requests after it.
	Undone [3]string

	// Family, Current and Previous are digests of a refresh token's secrets.
	Family   oauth.Digest
	Current  oauth.Digest
	Previous oauth.Digest
	// Salt derived Current from the previous token.
	Salt string
	// Generation counts rotations.
	Generation int64
	// Rotated is when the last rotation was.
	Rotated time.Time
	// IdleExpires ends the current refresh token if it lies unused.
	IdleExpires time.Time
	// Reopened says that the last rotation's answer never left: the previous
	// token yields the same successor.
	Reopened bool
}

// AnyKey binds a confidential client's grant: RFC 9449 §5 lets such a client
// change its key, but a grant that gave bound tokens never gives others.
const AnyKey = "*"

// Proven reports whether a proof by key, "" for no proof, is what the grant's
// refresh token needs.
func (g Grant) Proven(key string) bool {
	return g.RefreshKey == "" || g.RefreshKey == key || g.RefreshKey == AnyKey && key != ""
}

// Codes writes new grants.
type Codes interface {
	// PutGrant writes a grant whose code is unspent. ErrConflict if the id
	// exists, ErrNoEnd if it would never go away.
	PutGrant(ctx context.Context, g Grant) error
}

// GrantReader reads a grant.
type GrantReader interface {
	// Grant reads it strongly. ErrNotFound if there is none. It may be revoked.
	Grant(ctx context.Context, id string) (Grant, error)
}

// Grants holds the moments of the token endpoint. Each is one conditional write
// on one item; where that is refused, Judge says why, and a replay is answered
// by one more write that revokes the grant. Where an answer was lost nobody is
// taken for a thief: that is ErrBusy, and what may have been spent, or may yet be
// by a late copy, is given back, as by ReopenCode or ReopenRotation.
type Grants interface {
	// SpendCode exchanges a code once, and returns the grant as written.
	SpendCode(ctx context.Context, s Spend) (Grant, error)
	// RotateRefreshToken exchanges the current refresh token for its successor.
	// The successor is the one that the returned grant's Salt derives from the
	// token presented: not always the one that the caller drew.
	RotateRefreshToken(ctx context.Context, r Rotation) (Grant, error)
	// ReopenCode gives back a code that the request by spent, because what came
	// after failed. If by has not spent it, or not yet, it no longer can: the same
	// mark keeps a late copy out. It does nothing once the grant is revoked or has
	// been rotated.
	ReopenCode(ctx context.Context, id, by string) error
	// ReopenRotation marks a rotation of the request by, likewise: it is never
	// rolled back, but one that has not been carried out no longer is.
	ReopenRotation(ctx context.Context, id, by string) error
}

// codeGrace is how long the item of a code that nobody spent outlives the code:
// more than clocks differ.
const codeGrace = time.Minute

// ErrNoEnd says that a grant cannot be written, because it would never go away.
var ErrNoEnd = errors.New("store: a grant needs CodeExpires, or Spent, and Kept")

// Until is when the item may be deleted: soon after the code's expiry while that
// is unspent and nothing else hangs on it, after that when it need no longer be Kept. ErrNoEnd if the grant
// does not say.
func (g Grant) Until() (time.Time, error) {
	switch {
	case g.Kept.IsZero(), g.Spent.IsZero() && g.CodeExpires.IsZero():
		return time.Time{}, ErrNoEnd
	case g.Spent.IsZero() && !g.Front:
		return g.CodeExpires.Add(codeGrace), nil
	default:
		return g.Kept, nil
	}
}

// UndoSpend is the grant after ReopenCode, or false if there is nothing to do: by
// is marked already, or the grant is revoked, or rotated, so that its code cannot
// be spent again. Unless by was the last, it is marked and nothing else.
func UndoSpend(g Grant, by string) (Grant, bool) {
	switch {
	case by == "" || !g.Rotated.IsZero() || !g.Revoked.IsZero():
		return g, false
	case g.By != by:
		return g.undo(by), !g.undone(by)
	case g.Spent.IsZero():
		return g, false
	}
	g = g.undo(by)
	g.Spent, g.By = time.Time{}, ""
	g.Family, g.Current, g.IdleExpires, g.RefreshKey = "", "", time.Time{}, ""
	return g, true
}

// UndoRotation is the grant after ReopenRotation, or false likewise. By goes, so
// that whoever saw the grant before and wants to revoke it has to look again.
func UndoRotation(g Grant, by string) (Grant, bool) {
	switch {
	case by == "" || !g.Revoked.IsZero():
		return g, false
	case g.By != by:
		return g.undo(by), !g.undone(by)
	case g.Rotated.IsZero():
		return g, false
	}
	g = g.undo(by)
	g.By, g.Reopened = "", true
	return g, true
}

// undo is the grant with by marked.
func (g Grant) undo(by string) Grant {
	g.Undone = [3]string{by, g.Undone[0], g.Undone[1]}
	return g
}

func (g Grant) undone(by string) bool { return slices.Contains(g.Undone[:], by) }

// A Spend is one exchange of a code (RFC 6749 §4.1.3).
type Spend struct {
	GrantID  string
	ClientID string
	// RedirectURI is what the request sent, "" for none.
	RedirectURI string
	// Challenge is computed from the code_verifier, "" for none.
	Challenge oauth.Challenge
	// Key is the thumbprint of the key that the request was proven by, "" for none,
	// and Bind the RefreshKey that the grant is to have.
	Key  string
	Bind string
	// Scope must be within what the client once asked for: one that was granted
	// less and repeats its request is narrowed again, not refused. Audience must
	// be within what was granted.
	Scope    oauth.Scope
	Audience []string
	Now      time.Time
	// By is random, drawn for this request.
	By string
	// Family and Current are the digests of the first refresh token, stored
	// whether or not it is handed out.
	Family  oauth.Digest
	Current oauth.Digest
	// Idle is how long that may lie unused.
	Idle time.Duration
}

// Judge says what a store is to do with a spend, given the grant as stored. Nil
// means that the write is allowed. ErrReplayed asks the store to revoke. A nil
// from a grant that carries the spend's By (see Done) means that it had
// succeeded.
func (s Spend) Judge(g Grant) error {
	switch {
	case g.ClientID != s.ClientID:
		return ErrOtherClient
	// RFC 6749 §4.1.3: "REQUIRED, if the redirect_uri parameter was included in
	// the authorization request [...], and their values MUST be identical."
	case s.RedirectURI == "" && g.RedirectSent,
		s.RedirectURI != "" && s.RedirectURI != g.RedirectURI:
		return ErrRedirectURI
	// A verifier without a stored challenge is refused too: RFC 9700 §2.1.1,
	// "mitigate PKCE downgrade attacks".
	case s.Challenge != g.Challenge:
		return ErrVerifier
	case g.CodeKey != "" && g.CodeKey != s.Key:
		return ErrOtherKey
	case !s.Scope.Within(g.Requested):
		return ErrScope
	case !within(s.Audience, g.Audience):
		return ErrAudience
	case !g.Revoked.IsZero():
		return ErrRevoked
	case s.Done(g):
		return nil
	// Before any replay: a late copy is no second use, whoever was first.
	case g.undone(s.By):
		return ErrUndone
	case !g.Spent.IsZero():
		return ErrReplayed
	case !s.Now.Before(g.CodeExpires):
		return ErrExpired
	default:
		return nil
	}
}

// Done reports whether the grant shows that this very spend has succeeded.
func (s Spend) Done(g Grant) bool { return !g.Spent.IsZero() && g.By == s.By }

// Apply is the grant after an allowed spend.
func (s Spend) Apply(g Grant) Grant {
	g.Spent, g.By, g.RefreshKey = s.Now, s.By, s.Bind
	g.Family, g.Current, g.IdleExpires = s.Family, s.Current, s.Now.Add(s.Idle)
	return g
}

// A Rotation is one use of a refresh token (RFC 6749 §6, RFC 9700 §4.14.2).
type Rotation struct {
	GrantID  string
	ClientID string
	// Family and Presented are digests of the secrets in the token presented.
	Family    oauth.Digest
	Presented oauth.Digest
	// Next is the digest of the successor that Salt derives.
	Next oauth.Digest
	Salt string
	// Static keeps the token presented: Next and Salt mean nothing.
	Static bool
	// Key is the thumbprint of the key that the request was proven by, "" for none,
	// and Bind what the successor is to be bound to: it binds a grant that was not
	// bound, or to AnyKey alone, and loosens none.
	Key  string
	Bind string
	// Scope and Audience are bounded as in Spend.
	Scope    oauth.Scope
	Audience []string
	Now      time.Time
	By       string
	// Idle is how long the successor may lie unused.
	Idle time.Duration
	// Leeway is how long the previous token yields the same successor.
	Leeway time.Duration
}

// Judge says what a store is to do with a rotation, given the grant as stored.
// Nil means that the write is allowed, or, if Settled, that no write is needed.
func (r Rotation) Judge(g Grant) error {
	switch {
	case g.ClientID != r.ClientID:
		return ErrOtherClient
	case g.Family == "" || !g.Family.Equal(r.Family):
		return ErrNotFound
	case !g.Proven(r.Key):
		return ErrOtherKey
	case !r.Scope.Within(g.Requested):
		return ErrScope
	case !within(r.Audience, g.Audience):
		return ErrAudience
	case !g.Revoked.IsZero():
		return ErrRevoked
	case r.mine(g):
		return nil
	case g.undone(r.By):
		return ErrUndone
	case g.Current.Equal(r.Presented):
		if !r.Now.Before(g.End) || !r.Now.Before(g.IdleExpires) {
			return ErrExpired
		}
		return nil
	case r.sameSuccessor(g):
		return nil
	default:
		return ErrReplayed
	}
}

// Settled reports whether the grant already holds the answer: this very
// rotation had succeeded, or the previous token is to yield the same successor.
func (r Rotation) Settled(g Grant) bool { return r.mine(g) || r.sameSuccessor(g) }

func (r Rotation) mine(g Grant) bool {
	if r.Static {
		return false // done twice it is the same
	}
	return g.By == r.By && g.Previous.Equal(r.Presented)
}

// sameSuccessor needs no look at whether the successor is unused: its use would
// have made it the previous one.
func (r Rotation) sameSuccessor(g Grant) bool {
	if g.Previous == "" || !g.Previous.Equal(r.Presented) {
		return false
	}
	if !r.Now.Before(g.End) || !r.Now.Before(g.IdleExpires) {
		return false
	}
	return g.Reopened || r.Leeway > 0 && r.Now.Before(g.Rotated.Add(r.Leeway))
}

// Apply is the grant after an allowed rotation. One that keeps the token is a use
// of it all the same: the token before yields it no more.
func (r Rotation) Apply(g Grant) Grant {
	if r.Bind != "" && (r.Bind != AnyKey || g.RefreshKey == "") {
		g.RefreshKey = r.Bind
	}
	if r.Static {
		g.IdleExpires, g.Claims, g.AccessClaims = r.Now.Add(r.Idle), nil, nil
		g.Previous, g.Reopened = "", false
		return g
	}
	g.Previous, g.Current, g.Salt = r.Presented, r.Next, r.Salt
	g.Generation, g.Rotated, g.Reopened = g.Generation+1, r.Now, false
	g.By, g.IdleExpires, g.Claims, g.AccessClaims = r.By, r.Now.Add(r.Idle), nil, nil
	return g
}

func within(asked, granted []string) bool {
	return oauth.Scope(asked).Within(granted)
}

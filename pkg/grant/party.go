// The tokens that a token exchange is given (RFC 8693 §2.1).

package grant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/trust"
)

// Foreign checks the JWTs of issuers that the owner trusts.
type Foreign interface {
	Verify(ctx context.Context, token string, want trust.Expected) (trust.Token, error)
}

var _ Foreign = (*trust.Verifier)(nil)

// Parties reads subject_tokens and actor_tokens.
type Parties struct {
	Tokens  token.Reader
	Foreign Foreign
	Clients store.Clients
	// Grants says what a refresh token is, and Reads whether the grant of another
	// token stands.
	Grants   store.Grants
	Reads    store.GrantReader
	Revoked  store.RevokedTokens
	Users    store.Users
	Sessions store.SessionReader
	Now      func() time.Time
}

// A party is whom a token speaks for, and what the token says of that.
type party struct {
	parameter string // which of the request's it was
	// subject is a sub of ours, or a client_id.
	subject string
	// issuer and name are iss and sub as the token has them, clientID the client that
	// it was issued to, "" for a foreign one.
	issuer, name, clientID string
	allows                 policy.Subject
	// expires is when the token does. authTime is that of the login, or, where
	// nothing is known of one, of the token.
	expires, authTime time.Time
	// jti is that of an access token; grantID names the grant that it came of, "" for
	// none.
	jti, grantID string
	sessionID    string
	// online says that the token ends with the session.
	online bool
	// key is the thumbprint that the token is bound to, "" for none.
	key           string
	actor, mayAct map[string]any
	// foreign people need not be ours. user is nil where they are not, and for
	// machines. bare says that nothing stands before their issuer's name for them.
	foreign, bare bool
	user          *store.User
	// grant is that of grantID, and parent the one that it was made of by exchange.
	grant, parent store.Grant
}

func invalidParty(parameter string, cause error) *oauth.Error {
	return oauth.InvalidRequest.Errorf("The %s is invalid, expired, revoked or not for this client.", parameter).Because(cause)
}

// read finds out what the token in the parameter is: ours, or a foreign JWT.
func (p Parties) read(ctx context.Context, r Request, parameter string) (party, error) {
	issuer, err := p.Tokens.Issuers.Issuer(ctx)
	if err != nil {
		return party{}, err
	}
	presented, ofType := oauth.Secret(r.Get(parameter)), r.Get(parameter+"_type")
	var read party
	switch foreign := trust.IssuerOf(presented.Reveal()); {
	case ofType == oauth.RefreshTokenType && parameter == "subject_token":
		read, err = p.refreshToken(ctx, r, presented)
	case (ofType == oauth.JWTType || ofType == oauth.IDTokenType) && foreign != "" && foreign != issuer:
		read, err = p.foreignToken(ctx, r, presented, ofType, foreign)
	case ofType == oauth.IDTokenType:
		read, err = p.idToken(ctx, r, presented)
	case ofType == oauth.AccessTokenType, ofType == oauth.JWTType && foreign == issuer:
		read, err = p.accessToken(ctx, r, presented)
	case ofType == oauth.JWTType:
		err = fmt.Errorf("%w: no JWT", token.ErrNotOurs)
	default:
		return party{}, oauth.InvalidRequest.Errorf("The %s_type is not supported.", parameter)
	}
	if errors.Is(err, token.ErrNotOurs) || refusal(err) {
		return party{}, invalidParty(parameter, err)
	}
	read.parameter = parameter
	if err == nil {
		err = proven(r, read)
	}
	return read, err
}

// proven: what is bound to a key comes with a proof. One who can keep a secret may
// give a key of its own, as an API does with the token it was called with: it has
// checked the proof of the caller. One who cannot could be whoever found the token.
func proven(r Request, p party) error {
	switch {
	case p.key != "" && r.Key == "":
		return oauth.InvalidDPoPProof.Errorf("The %s is bound to a key: the request needs a DPoP proof.", p.parameter)
	case p.key != "" && r.Client.Public() && p.key != r.Key && p.key != store.AnyKey:
		return oauth.InvalidDPoPProof.Errorf("The %s is bound to another key.", p.parameter)
	default:
		return nil
	}
}

// accessToken counts if it was issued to this client, or is for the API that this
// client is.
func (p Parties) accessToken(ctx context.Context, r Request, presented oauth.Secret) (party, error) {
	t, err := p.Tokens.Access(ctx, presented, "", false)
	if err != nil {
		return party{}, err
	}
	api := r.Client.ResourceServer
	if t.ClientID != r.Client.ID && (api == "" || !slices.Contains(t.Audience, api)) {
		return party{}, fmt.Errorf("%w: neither issued to the client nor for its API", token.ErrNotOurs)
	}
	scope, err := oauth.ParseScope(t.Scope)
	if err != nil {
		return party{}, fmt.Errorf("%w: %w", token.ErrNotOurs, err)
	}
	read := party{
		subject: t.Party(), issuer: t.Issuer, name: t.Subject, clientID: t.ClientID,
		allows: policy.Subject{Scope: scope, Machine: t.Machine(), Audience: slices.DeleteFunc(
			slices.Clone([]string(t.Audience)), func(aud string) bool { return aud == token.UserinfoAudience(t.Issuer) },
		)},
		expires: time.Unix(t.Expiry, 0), authTime: time.Unix(t.AuthTime, 0),
		jti: t.ID, grantID: t.GrantID, sessionID: t.SessionID, online: t.SessionID != "",
		key: t.Confirmation.Key, actor: t.Actor,
	}
	if t.AuthTime == 0 {
		read.authTime = time.Unix(t.IssuedAt, 0)
	}
	if t.AuthTime == 0 && t.GrantID == "" && !t.Machine() {
		// It came of an exchange before: of a machine's token, or of a foreign person's.
		switch _, err := p.Clients.Client(ctx, t.Subject); {
		case err == nil:
			read.allows.Machine = true
		case errors.Is(err, store.ErrNotFound):
			read.foreign = true
		default:
			return party{}, err
		}
	}
	return read, nil
}

// idToken counts for the client that it was issued to.
func (p Parties) idToken(ctx context.Context, r Request, presented oauth.Secret) (party, error) {
	t, err := p.Tokens.ID(ctx, presented, r.Client.ID, false)
	return party{
		subject: t.Subject, issuer: t.Issuer, name: t.Subject, clientID: r.Client.ID,
		allows:  policy.Subject{Identity: true},
		expires: time.Unix(t.Expiry, 0), authTime: time.Unix(t.AuthTime, 0),
		sessionID: t.SessionID, actor: t.Actor,
	}, err
}

// refreshToken uses the token and leaves it as it is: the write sees a token that
// was used before, and ends the grant, which reading would not. Else whoever had
// stolen one could live on exchanges, and never be noticed.
func (p Parties) refreshToken(ctx context.Context, r Request, presented oauth.Secret) (party, error) {
	handle, ok := oauth.ParseRefreshHandle(presented.Reveal())
	if !ok {
		return party{}, fmt.Errorf("%w: the refresh token is malformed", token.ErrNotOurs)
	}
	issuer, err := p.Tokens.Issuers.Issuer(ctx)
	if err != nil {
		return party{}, err
	}
	grant, err := p.Grants.RotateRefreshToken(ctx, store.Rotation{
		GrantID: handle.GrantID, ClientID: r.Client.ID,
		Family: handle.Family.Digest(), Presented: handle.Rotating.Digest(), Static: true,
		Key: r.Key, Now: p.Now(), By: oauth.NewID(),
		Idle:   time.Duration(r.Client.Refresh.IdleLifetime) * time.Second,
		Leeway: time.Duration(r.Client.Refresh.Leeway) * time.Second,
	})
	if errors.Is(err, store.ErrOtherKey) {
		return party{}, oauth.InvalidDPoPProof.Errorf("The refresh token is bound to another key.").Because(err)
	}
	return party{
		subject: grant.Subject, issuer: issuer, name: grant.Subject, clientID: r.Client.ID,
		allows:  policy.Subject{Scope: grant.Scope, Audience: grant.Audience},
		expires: grant.End, authTime: grant.AuthTime,
		grantID: grant.ID, sessionID: grant.SessionID, online: grant.Online,
		key: grant.RefreshKey, grant: grant,
	}, err
}

// foreignToken counts if the client may exchange the issuer's, and it says what the
// owner wants it to say.
func (p Parties) foreignToken(ctx context.Context, r Request, presented oauth.Secret, ofType, issuer string) (party, error) {
	i := slices.IndexFunc(r.Settings.TrustedIssuers, func(t store.TrustedIssuer) bool { return t.Issuer == issuer })
	if i < 0 || !slices.Contains(r.Client.Exchange.SubjectIssuers, issuer) || r.Settings.TrustedIssuers[i].Audience == "" {
		return party{}, fmt.Errorf("%w: the client may not exchange tokens of the issuer %.256q", token.ErrNotOurs, issuer)
	}
	trusted := r.Settings.TrustedIssuers[i]
	t, err := p.Foreign.Verify(ctx, presented.Reveal(), trust.Expected{Issuer: issuer, Audience: trusted.Audience, Now: p.Now()})
	if errors.Is(err, trust.ErrUnavailable) {
		return party{}, err
	}
	if err == nil {
		err = meets(t, trusted, ofType)
	}
	if err != nil {
		return party{}, fmt.Errorf("%w: %w", token.ErrNotOurs, err)
	}
	read := party{
		subject: trusted.SubjectPrefix + t.Subject, issuer: issuer, name: t.Subject,
		allows:  policy.Subject{Identity: true},
		expires: t.Expiry, authTime: t.IssuedAt, foreign: true, bare: trusted.SubjectPrefix == "",
	}
	if at, ok := t.Claims["auth_time"].(float64); ok && at > 0 && at <= float64(t.IssuedAt.Unix()) {
		read.authTime = time.Unix(int64(at), 0)
	}
	if read.key, err = confirmation(t.Claims["cnf"]); err == nil {
		read.actor, err = actors(t.Claims["act"], trusted.SubjectPrefix, 0)
	}
	if may, named := t.Claims["may_act"]; named && err == nil {
		var ok bool
		if read.mayAct, ok = may.(map[string]any); !ok {
			err = errors.New("may_act is no object")
		}
	}
	if err != nil {
		return party{}, fmt.Errorf("%w: %w", token.ErrNotOurs, err)
	}
	return read, nil
}

// meets compares a foreign token with what its issuer is trusted for. RFC 8725
// §3.11: by typ, "to prevent confusion of one kind of JWT with another".
func meets(t trust.Token, want store.TrustedIssuer, ofType string) error {
	types := []string{"", "JWT"}
	if ofType == oauth.JWTType {
		types = append(types, "at+jwt", "application/at+jwt")
	}
	switch {
	case !slices.Contains(types, t.Type):
		return fmt.Errorf("its typ is %.64q", t.Type)
	case t.Subject == "" || want.Subject != "" && !store.Pattern(want.Subject).Matches(t.Subject):
		return fmt.Errorf("its sub is %.256q", t.Subject)
	case t.IssuedAt.IsZero():
		return errors.New("it has no iat")
	}
	for name, pattern := range want.Claims {
		if text, ok := t.Text(name); !ok || !store.Pattern(pattern).Matches(text) {
			return fmt.Errorf("its %s is %.256q", name, text)
		}
	}
	return nil
}

// confirmation is the key of a foreign token. One that is bound otherwise cannot be
// shown to be the presenter's.
func confirmation(cnf any) (string, error) {
	if cnf == nil {
		return "", nil
	}
	members, _ := cnf.(map[string]any)
	key, ok := members["jkt"].(string)
	if !ok || len(members) != 1 || !oauth.IsID(key) {
		return "", errors.New("its cnf is none that a DPoP proof answers")
	}
	return key, nil
}

// actors takes a foreign chain of actors over, in our names.
func actors(act any, prefix string, depth int) (map[string]any, error) {
	if act == nil {
		return nil, nil
	}
	members, _ := act.(map[string]any)
	name, ok := members["sub"].(string)
	if !ok || name == "" || depth > maxDepth {
		return nil, errors.New("its act is no chain of actors that we follow")
	}
	within, err := actors(members["act"], prefix, depth+1)
	if err != nil {
		return nil, err
	}
	taken := map[string]any{"sub": prefix + name}
	if within != nil {
		taken["act"] = within
	}
	return taken, nil
}

// lets reports whether who may act for the subject. RFC 8693 §4.4 has claims that
// identify the party; a sub without an iss is one of the same issuer's.
func (p party) lets(who party, ours string) error {
	if p.mayAct == nil {
		return nil
	}
	issuer := p.issuer
	named := false
	for name, value := range p.mayAct {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("its may_act has a %s that is no text", name)
		}
		switch name {
		case "iss":
			issuer = text
		case "sub":
			named = true
			if text != who.name {
				return errors.New("its may_act names another sub")
			}
		case "client_id":
			named = true
			if text != who.clientID || who.issuer != ours {
				return errors.New("its may_act names another client_id")
			}
		default: // who knows what it would have to be
			return fmt.Errorf("its may_act has a %s", name)
		}
	}
	if _, bySub := p.mayAct["sub"]; !named || bySub && issuer != who.issuer {
		return errors.New("its may_act names somebody else")
	}
	return nil
}

// alive reads, side by side, all that may have ended the tokens.
func (p Parties) alive(ctx context.Context, r Request, subject, actor *party) error {
	all := []*party{subject}
	if actor != nil {
		all = append(all, actor)
	}
	read, readCtx := errgroup.WithContext(ctx)
	for _, one := range all {
		p.look(readCtx, read, one)
	}
	if err := read.Wait(); err != nil {
		return err
	}
	read, readCtx = errgroup.WithContext(ctx)
	for _, one := range all {
		p.lookBefore(readCtx, read, one)
	}
	if err := read.Wait(); err != nil {
		return err
	}
	for _, one := range all {
		if err := p.stands(ctx, r, one); err != nil {
			return err
		}
	}
	return nil
}

// look reads what one token depends on.
func (p Parties) look(ctx context.Context, read *errgroup.Group, one *party) {
	look := func(what string, f func() error) {
		read.Go(func() error {
			err := f()
			if errors.Is(err, store.ErrNotFound) {
				return invalidParty(one.parameter, fmt.Errorf("the %s: %w", what, err))
			}
			return err
		})
	}
	if one.jti != "" {
		look("token", func() error {
			revoked, err := p.Revoked.TokenRevoked(ctx, one.jti, p.Now())
			if revoked {
				return fmt.Errorf("%w: it is revoked", store.ErrNotFound)
			}
			return err
		})
	}
	if one.jti != "" && one.grantID != "" { // of a refresh token it has been looked at
		look("grant", func() (err error) { one.grant, err = p.Reads.Grant(ctx, one.grantID); return err })
	}
	if one.bare {
		// RFC 9068 §5: where a client acts in its own name, its client_id is the sub, and
		// nobody else's may be. No client_id begins with a prefix of an issuer.
		look("name", func() error {
			_, err := p.Clients.Client(ctx, strings.TrimSuffix(one.subject, token.MachineSuffix))
			if err == nil {
				return fmt.Errorf("%w: it is that of a client", store.ErrNotFound)
			}
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if !one.allows.Machine {
		look("user", func() error {
			user, err := p.Users.User(ctx, one.subject)
			if one.foreign && errors.Is(err, store.ErrNotFound) {
				return nil
			}
			one.user = &user
			return err
		})
	}
	// An ID token says that somebody is logged in.
	if sid := oauth.Digest(one.sessionID); sid != "" && (one.online || one.jti == "" && one.grantID == "") {
		look("session", func() error { _, err := p.Sessions.Session(ctx, sid, p.Now()); return err })
	}
}

// lookBefore reads the grant that the token's own was made of by exchange.
func (p Parties) lookBefore(ctx context.Context, read *errgroup.Group, one *party) {
	if one.grant.Parent == "" {
		return
	}
	read.Go(func() (err error) {
		if one.parent, err = p.Reads.Grant(ctx, one.grant.Parent); errors.Is(err, store.ErrNotFound) {
			return invalidParty(one.parameter, fmt.Errorf("the grant before: %w", err))
		}
		return err
	})
}

// stands judges what was read. The clients come from the cache: what was issued to
// one that is gone is over, and what came of a login before its not_before.
func (p Parties) stands(ctx context.Context, r Request, one *party) error {
	if one.grant.ID != "" {
		one.authTime, one.sessionID = one.grant.AuthTime, one.grant.SessionID // to the millisecond
	}
	// The grant may be that of another client, whose token was exchanged before.
	clients := []string{r.Client.ID, one.clientID, one.grant.ClientID, one.parent.ClientID}
	if one.allows.Machine {
		clients = append(clients, one.subject)
	}
	for _, id := range clients {
		if id == "" {
			continue
		}
		client, err := p.Clients.Client(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return invalidParty(one.parameter, errors.New("its client is gone"))
		case err != nil:
			return err
		case policy.LoginEnded(client, r.Settings, one.authTime):
			return invalidParty(one.parameter, errors.New("the login was ended"))
		}
	}
	switch {
	case !one.grant.Revoked.IsZero() || !one.parent.Revoked.IsZero() || one.grant.ID != "" && one.grant.Subject != one.subject:
		return invalidParty(one.parameter, errors.New("the grant is revoked"))
	case one.user != nil && one.user.Blocked:
		return invalidParty(one.parameter, errors.New("the user is blocked")).Named(oauth.CaseBlocked)
	case one.user != nil && one.user.Ended(one.authTime):
		return invalidParty(one.parameter, errors.New("the login was ended"))
	default:
		return nil
	}
}

// The resource owner password credentials grant (RFC 6749 §4.3), which RFC 9700
// §2.4 says "MUST NOT be used", for clients that cannot be changed yet; and
// Auth0's form of it, which names a realm.

package grant

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/login"
	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
	"kmint/pkg/token"
	"kmint/pkg/web"
)

// Realm is what Auth0 calls the database of people of a new tenant: ours is the
// only one.
const Realm = "Username-Password-Authentication"

// Password serves password and password-realm.
type Password struct {
	// Login counts the attempts together with those of the login page.
	Login login.Authenticator
	APIs  store.APIs
	Codes store.Codes
	// NeedsRealm is true of Auth0's form.
	NeedsRealm bool
	Now        func() time.Time
}

var _ Grant = Password{}

// Spends is true: it writes a grant.
func (Password) Spends() bool { return true }

// Authorize finds the person. Whatever is wrong with the rest of the request is
// said before the password is looked at, so that nobody can try passwords by
// requests that come to nothing.
func (g Password) Authorize(ctx context.Context, r Request) (Result, error) {
	switch realm := r.Get("realm"); {
	case r.Get("username") == "" || r.Get("password") == "":
		return Result{}, oauth.InvalidRequest.Errorf("The username or the password is missing.")
	case !g.NeedsRealm:
	case realm == "":
		return Result{}, oauth.InvalidRequest.Errorf("The realm is missing.")
	case realm != Realm:
		return Result{}, oauth.InvalidRequest.Errorf("There is no realm of that name; the only one is %s.", Realm)
	}
	asked, err := oauth.ParseScope(r.Get("scope"))
	if err != nil {
		return Result{}, err
	}
	audience, err := policy.Audience(r.Client, r.Audience, r.Settings, asked)
	if err != nil {
		return Result{}, err
	}
	apis, err := findAPIs(ctx, g.APIs, audience)
	if err != nil {
		return Result{}, err
	}
	// There is no browser, and so no session that a refresh token could end with.
	scope, err := allowed(r, apis, asked.Without(oauth.OnlineAccess))
	if err != nil {
		return Result{}, err
	}
	user, err := g.person(ctx, r)
	if err != nil {
		return Result{}, err
	}
	grant, refresh := born(r, user.Subject, g.Now(), policy.Refreshable(scope))
	grant.Scope, grant.Requested, grant.Audience = scope, asked, audience
	grant.AuthTime = grant.Created
	grant.End, grant.Kept = policy.GrantEnds(r.Client, apis, scope, grant.Created)
	if err := put(ctx, g.Codes, grant); err != nil {
		return Result{}, err
	}
	result := Result{Authorization: authorization(grant, nil, nil), RefreshToken: refresh}
	facts := token.FactsOf(user, r.Client, r.Settings.Claims, scope)
	result.Authorization.Person.Facts = func(context.Context) (token.Facts, error) { return facts, nil }
	result.Authorization.Person.Waits = true // for what is here already
	return result, nil
}

// person knows the person by the password. That somebody is blocked is said only to
// who has it.
func (g Password) person(ctx context.Context, r Request) (store.User, error) {
	web.Annotate(ctx, slog.String("login", string(oauth.DigestOf(store.LoginName(r.Get("username"))))))
	user, err := g.Login.Authenticate(ctx, r.Get("username"), r.Get("password"))
	switch {
	// RFC 6749 §5.2: invalid_grant is for "resource owner credentials" too.
	case errors.Is(err, login.ErrRefused):
		return store.User{}, oauth.InvalidGrant.Errorf("Wrong username or password.").Named(oauth.CasePassword).Because(err)
	case errors.Is(err, store.ErrLocked):
		return store.User{}, oauth.InvalidGrant.Errorf("Too many attempts with this username. Wait 15 minutes, then try again.").
			Named(oauth.CaseTooManyAttempts).Because(err)
	case err != nil:
		return store.User{}, err
	case user.Ended(g.Now()):
		audit.Happened(ctx, audit.LoginFailed, slog.String("sub", user.Subject))
		return store.User{}, oauth.InvalidGrant.Errorf("The user is blocked.").Named(oauth.CaseBlocked).Because(errors.New("the user " + user.Subject + " is blocked"))
	default:
		audit.Happened(ctx, audit.LoginSucceeded, slog.String("sub", user.Subject))
		return user, nil
	}
}

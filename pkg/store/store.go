// Package store answers: what do we keep, and which moments are atomic?
//
// It holds the records and narrow interfaces over them, one method for each
// atomic moment of the protocol. There is no generic update: whoever wants to
// change the state of a grant has to say which moment it is. What decides a
// moment (Judge) is here, pure, so that every store refuses for the same
// reasons; storetest is the contract that each store passes, races included.
//
// A store sees digests, never a code, a token or a secret. It checks expiry on
// every read: deletion by TTL may come days late. Times are kept to the
// millisecond, rounded down.
package store

import (
	"context"
	"errors"
	"time"

	"kmint/pkg/oauth"
)

// Version is the version of the items this code writes. Items are read
// tolerantly: during a deployment two versions of the code share them.
const Version = 1

var (
	// ErrNotFound says that there is no such item, or that it has expired.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict says that the item is not as the caller saw it.
	ErrConflict = errors.New("store: the item has changed meanwhile")
	// ErrBusy says that the store throttles or did not answer in time. Nothing
	// was decided; the caller may be told to come again.
	ErrBusy = errors.New("store: busy")
)

// A Client is what RFC 7591 §2 calls client metadata. The JSON names are the
// stored ones.
type Client struct {
	ID string `json:"client_id"`
	// Name is shown to people.
	Name string `json:"client_name,omitempty"`
	// SecretDigest is the SHA-256 of the client secret, "" for a public client.
	SecretDigest oauth.Digest `json:"secret_digest,omitempty"`
	// AuthMethod is the token_endpoint_auth_method.
	AuthMethod             string   `json:"token_endpoint_auth_method"`
	ApplicationType        string   `json:"application_type"`
	GrantTypes             []string `json:"grant_types"`
	ResponseTypes          []string `json:"response_types,omitempty"`
	RedirectURIs           []string `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// WebOrigins are the origins whose scripts may read our answers.
	WebOrigins []string `json:"web_origins,omitempty"`
	// FirstParty clients are the owner's own: nobody is asked for consent.
	FirstParty bool `json:"first_party,omitempty"`
	// APIGrants says which scopes of which API the client has in its own name.
	APIGrants map[string][]string `json:"api_grants,omitempty"`
	Refresh   RefreshPolicy       `json:"refresh_token"`
}

// Public reports whether the client can keep no secret (RFC 6749 §2.1).
func (c Client) Public() bool { return c.AuthMethod == oauth.None }

// A RefreshPolicy bounds a client's refresh tokens. All are in seconds.
type RefreshPolicy struct {
	// Lifetime is absolute: no rotation extends it.
	Lifetime int64 `json:"lifetime"`
	// IdleLifetime is how long a token may lie unused.
	IdleLifetime int64 `json:"idle_lifetime"`
	// Leeway is how long after its rotation the previous token still yields the
	// same successor, as long as that is unused. 0 means that a second use
	// revokes the grant.
	Leeway int64 `json:"leeway"`
}

// An API is a resource server (RFC 6749 §1.1).
type API struct {
	// Identifier is the aud of its access tokens. It never equals a client_id.
	Identifier string `json:"identifier"`
	Name       string `json:"name,omitempty"`
	// Scopes maps each scope value to its description.
	Scopes             map[string]string `json:"scopes,omitempty"`
	AllowOfflineAccess bool              `json:"allow_offline_access,omitempty"`
	// TokenLifetime is in seconds.
	TokenLifetime int64 `json:"token_lifetime"`
}

// DefaultTokenLifetime is that of an access token where no API says otherwise, in
// seconds.
const DefaultTokenLifetime = 24 * 60 * 60

// Settings are the seed's server members.
type Settings struct {
	// DefaultAudience is the API that is meant where a request names none.
	DefaultAudience string `json:"default_audience,omitempty"`
}

// Clients finds one client. ErrNotFound if there is none.
type Clients interface {
	Client(ctx context.Context, id string) (Client, error)
}

// APIs finds one API. ErrNotFound if there is none.
type APIs interface {
	API(ctx context.Context, identifier string) (API, error)
}

// ServerSettings reads the settings.
type ServerSettings interface {
	// Settings returns the zero value where none were written.
	Settings(ctx context.Context) (Settings, error)
}

// Issuers reads the issuer record.
type Issuers interface {
	// Issuer is the issuer identifier (RFC 8414 §2). ErrNotFound if none was
	// written.
	Issuer(ctx context.Context) (string, error)
}

// ConfigWriter upserts configuration. Each write is one item.
type ConfigWriter interface {
	PutClient(ctx context.Context, c Client) error
	PutAPI(ctx context.Context, a API) error
	PutSettings(ctx context.Context, s Settings) error
	PutIssuer(ctx context.Context, issuer string) error
}

// Key states, in the order of a key's life.
const (
	KeyNext    = "next"
	KeyActive  = "active"
	KeyRetired = "retired"
	KeyRevoked = "revoked"
)

// A SigningKey is one entry of the registry.
type SigningKey struct {
	// ID is the kid: the RFC 7638 thumbprint.
	ID string `json:"kid"`
	// Reference is where the private half lives: the ARN of a KMS key.
	Reference string `json:"reference"`
	Algorithm string `json:"alg"`
	// JWK is the public key (RFC 7517), as JSON text.
	JWK   string `json:"jwk"`
	State string `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since"`
}

// A Registry is the one item that lists the signing keys.
type Registry struct {
	// Version counts transitions; 0 is the empty registry that nobody wrote.
	Version int64        `json:"version"`
	Keys    []SigningKey `json:"keys"`
}

// RegistryReader reads the signing-key registry.
type RegistryReader interface {
	// Registry returns the zero Registry where none was written.
	Registry(ctx context.Context) (Registry, error)
}

// Registries keeps the signing-key registry.
type Registries interface {
	RegistryReader
	// ReplaceRegistry writes r if the stored version is r.Version-1: every
	// transition is one conditional write. ErrConflict if it is not.
	ReplaceRegistry(ctx context.Context, r Registry) error
}

// A User is a person who can log in.
type User struct {
	// Subject is the sub (OpenID Connect Core 1.0 §2).
	Subject string `json:"sub"`
	// Username is the login name as it was given.
	Username string `json:"username"`
	// PasswordHash is an argon2id hash in PHC form, "" for no password.
	PasswordHash string `json:"password_hash,omitempty"`
	// Profile holds the standard claims (OpenID Connect Core 1.0 §5.1) that are
	// set, in their wire form, sub left out.
	Profile map[string]any `json:"profile,omitempty"`
	// Claims are the owner's own, each named by a URI.
	Claims map[string]any `json:"claims,omitempty"`
}

// Users finds people. All reads are strong. ErrNotFound if there is none.
type Users interface {
	User(ctx context.Context, subject string) (User, error)
}

// Logins finds the person behind a login name.
type Logins interface {
	// Login returns the sub. name is normalised by LoginName.
	Login(ctx context.Context, name string) (subject string, err error)
}

// UserWriter upserts a person.
type UserWriter interface {
	// PutUser writes the user and the login name in one transaction, and takes
	// the name it had before away. ErrConflict if the name is another's. A user
	// without Username has no login name.
	PutUser(ctx context.Context, u User) error
}

// A Session is one browser's single sign-on (OpenID Connect Core 1.0 §3.1.2.3).
type Session struct {
	// Digest is that of the secret in the cookie.
	Digest oauth.Digest
	// ID is the sid that clients see; it opens nothing.
	ID      string
	Subject string
	// AuthTime is when the person last proved who they are.
	AuthTime time.Time
	// Expires is absolute.
	Expires time.Time
	// IdleExpires moves with use.
	IdleExpires time.Time
}

// Alive reports whether the session counts at now.
func (s Session) Alive(now time.Time) bool {
	return now.Before(s.Expires) && now.Before(s.IdleExpires)
}

// Sessions keeps SSO sessions. Reads are strong.
type Sessions interface {
	// PutSession writes a new session. ErrConflict if the digest exists.
	PutSession(ctx context.Context, s Session) error
	// Session returns ErrNotFound for one that is not alive at now.
	Session(ctx context.Context, digest oauth.Digest, now time.Time) (Session, error)
	// RenewSession moves the idle expiry of an existing session. ErrNotFound if it
	// is gone.
	RenewSession(ctx context.Context, digest oauth.Digest, idleExpires time.Time) error
	// DeleteSession ends it. No error if it is gone.
	DeleteSession(ctx context.Context, digest oauth.Digest) error
}

// Attempts counts failed logins by the digest of the login name, known or not.
type Attempts interface {
	// BeginAttempt takes one of the attempts that the name has left, before the
	// password is looked at, so that guesses made side by side cannot be more
	// than the limit. ErrLocked if none is left.
	BeginAttempt(ctx context.Context, name oauth.Digest, now time.Time) error
	// ClearAttempts forgets the failures after a success.
	ClearAttempts(ctx context.Context, name oauth.Digest) error
}

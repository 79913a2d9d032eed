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
	// SecretDigests are the SHA-256 of the client's current secrets: two while one
	// takes the place of the other, none for a public client and for one that
	// proves itself by a JWT.
	SecretDigests []oauth.Digest `json:"secret_digests,omitempty"`
	// SealedSecrets are the current secrets of a client of client_secret_jwt,
	// encrypted under a KMS key with the client_id as context, base64. Their
	// digests would not do: the secret is the key of an HMAC.
	SealedSecrets []string `json:"sealed_secrets,omitempty"`
	// JWKS holds the client's public keys (RFC 7517 §5) as JSON text; JWKSURI is
	// where they are published. At most one is set.
	JWKS    string `json:"jwks,omitempty"`
	JWKSURI string `json:"jwks_uri,omitempty"`
	// AssertionAlgorithms are the JWS algs that the client's assertions may use.
	AssertionAlgorithms []string `json:"assertion_algs,omitempty"`
	// TokenEndpointAudience accepts the token endpoint's URL as the aud of
	// assertions too, beside the issuer.
	TokenEndpointAudience bool `json:"assertion_aud_token_endpoint,omitempty"`
	// Workload is what a client of workload_identity is bound to.
	Workload *Workload `json:"workload,omitempty"`
	// AuthMethod is the token_endpoint_auth_method.
	AuthMethod             string   `json:"token_endpoint_auth_method"`
	ApplicationType        string   `json:"application_type"`
	GrantTypes             []string `json:"grant_types"`
	ResponseTypes          []string `json:"response_types,omitempty"`
	RedirectURIs           []string `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// BackchannelLogoutURI is told, by a logout token, when a session ends that has
	// logged the client in; FrontchannelLogoutURI is loaded in a frame then. "" for
	// neither. Both always learn the sid.
	BackchannelLogoutURI  string `json:"backchannel_logout_uri,omitempty"`
	FrontchannelLogoutURI string `json:"frontchannel_logout_uri,omitempty"`
	// InitiateLoginURI is where a person is sent who is to log in and comes from no
	// request of the client's, "" for nowhere.
	InitiateLoginURI string `json:"initiate_login_uri,omitempty"`
	// WebOrigins are the origins whose scripts may read our answers.
	WebOrigins []string `json:"web_origins,omitempty"`
	// FirstParty clients are the owner's own: nobody is asked for consent.
	FirstParty bool `json:"first_party,omitempty"`
	// APIGrants says which scopes of which API the client has in its own name.
	APIGrants map[string][]string `json:"api_grants,omitempty"`
	// UserAPIGrants says which scopes of which API the client may have in a
	// person's name, where the API's UserPolicy is RequireGrant.
	UserAPIGrants map[string][]string `json:"user_api_grants,omitempty"`
	// ResourceServer is the identifier of the API that this client is: it may
	// introspect and exchange tokens that are for it.
	ResourceServer string `json:"resource_server_identifier,omitempty"`
	// DPoPBound makes the client send a proof with every token request (RFC 9449
	// §5.2); DPoPNonce, that the proof holds a nonce of ours.
	DPoPBound bool `json:"dpop_bound_access_tokens,omitempty"`
	DPoPNonce bool `json:"dpop_nonce_required,omitempty"`
	// IDTokenAlgorithm is the id_token_signed_response_alg, "" for RS256.
	IDTokenAlgorithm string `json:"id_token_signed_response_alg,omitempty"`
	// DefaultMaxAge is the max_age, in seconds, of a request that has none; nil for
	// none. DefaultACRValues are its acr_values. RequireAuthTime is for the record: every
	// ID token has the auth_time.
	DefaultMaxAge    *int64   `json:"default_max_age,omitempty"`
	DefaultACRValues []string `json:"default_acr_values,omitempty"`
	RequireAuthTime  bool     `json:"require_auth_time,omitempty"`
	// RequestObjectAlgorithm is the JWS alg of request objects (OpenID Connect Core 1.0
	// §6.1): none for those that nobody signs, "" for any alg of the client's keys.
	RequestObjectAlgorithm string         `json:"request_object_signing_alg,omitempty"`
	Exchange               ExchangePolicy `json:"token_exchange,omitzero"`
	// ErrorProfile is Strict or Auth0, "" for the server's.
	ErrorProfile string `json:"error_profile,omitempty"`
	// Metadata are the owner's own facts about the client, for the claims map.
	Metadata map[string]any `json:"metadata,omitempty"`
	Refresh  RefreshPolicy  `json:"refresh_token"`
	// NotBefore ends all grants of logins before it; zero for none.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// Error profiles.
const (
	Strict = "strict"    // the statuses and codes of RFC 6749 §5.2
	Auth0  = oauth.Auth0 // those that the Auth0 SDKs expect
)

// A Workload is what a client without a secret is known by: a JWT that a trusted
// issuer gives to it alone.
type Workload struct {
	// Issuer is one of Settings.TrustedIssuers.
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	// Subject is a Pattern.
	Subject string `json:"subject"`
	// Claims maps further claims to Patterns.
	Claims map[string]string `json:"claims,omitempty"`
}

// An ExchangePolicy says what a client may do by token exchange (RFC 8693 §1.1).
type ExchangePolicy struct {
	// Impersonation lets it exchange a subject_token alone.
	Impersonation bool `json:"impersonation,omitempty"`
	// Delegation lets it exchange a subject_token with an actor_token.
	Delegation bool `json:"delegation,omitempty"`
	// SubjectIssuers are the trusted issuers whose JWTs it may exchange.
	SubjectIssuers []string `json:"subject_issuers,omitempty"`
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
	// NonRotating keeps the token the same. FAPI 2.0 Security Profile §5.3.2.1 asks
	// for it of servers whose clients are confidential and whose tokens are bound.
	NonRotating bool `json:"non_rotating,omitempty"`
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
	// Dialect is what its access tokens look like, "" for RFC9068.
	Dialect string `json:"token_dialect,omitempty"`
	// Algorithm is the JWS alg of its access tokens, "" for RS256; KeyID is the
	// kid, "" for the active key of the algorithm.
	Algorithm string `json:"signing_alg,omitempty"`
	KeyID     string `json:"signing_key_id,omitempty"`
	// UserPolicy is which clients may have its tokens in a person's name, "" for
	// AllowAll; ClientPolicy, which may in their own, "" for RequireGrant.
	UserPolicy   string `json:"user_policy,omitempty"`
	ClientPolicy string `json:"client_policy,omitempty"`
}

// Dialects of access tokens.
const (
	RFC9068      = "rfc9068"
	Auth0Dialect = "auth0"
	Opaque       = "opaque"
)

// Policies of an API.
const (
	AllowAll     = "allow_all"
	RequireGrant = "require_grant"
	DenyAll      = "deny_all"
)

// DefaultTokenLifetime is that of an access token where no API says otherwise, in
// seconds.
const DefaultTokenLifetime = 24 * 60 * 60

// MaxTokenLifetime is the longest that an API may ask for, in seconds.
const MaxTokenLifetime = 30 * 24 * 60 * 60

// Settings are the seed's server members.
type Settings struct {
	// DefaultAudience is the API that is meant where a request names none.
	DefaultAudience string `json:"default_audience,omitempty"`
	// ErrorProfile is Strict or Auth0, "" for Strict.
	ErrorProfile string `json:"error_profile,omitempty"`
	// DPoPNonce makes every proof hold a nonce of ours.
	DPoPNonce bool `json:"dpop_nonce_required,omitempty"`
	// LegacyPassword lets clients that are registered for it use the password
	// grant, which RFC 9700 §2.4 forbids.
	LegacyPassword bool `json:"legacy_password_grant,omitempty"`
	// TrustedIssuers are the foreign issuers whose JWTs count.
	TrustedIssuers []TrustedIssuer `json:"trusted_issuers,omitempty"`
	// Claims is the claims map.
	Claims []ClaimRule `json:"claims,omitempty"`
	// NotBefore ends all grants and sessions of logins before it; zero for none.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Brand is whose pages people see; the zero value for nobody's.
	Brand Brand `json:"brand,omitzero"`
}

// A Brand is how pages look.
type Brand struct {
	Name string `json:"name"`
	// Logo is the https URL of a picture, and LogoDark that of one on a dark ground; ""
	// for none.
	Logo     string `json:"logo_uri,omitempty"`
	LogoDark string `json:"logo_dark_uri,omitempty"`
	// Accent is the colour of buttons and links, as #rrggbb, and AccentDark that on a
	// dark ground; "" for ours.
	Accent     string `json:"accent_color,omitempty"`
	AccentDark string `json:"accent_dark_color,omitempty"`
}

// A TrustedIssuer is a foreign issuer.
type TrustedIssuer struct {
	Issuer string `json:"issuer"`
	// JWKS is its fixed key set as JSON text; else JWKSURI is where it is; else
	// its OpenID Connect discovery document says.
	JWKS    string `json:"jwks,omitempty"`
	JWKSURI string `json:"jwks_uri,omitempty"`
	// Algorithms are the JWS algs that count.
	Algorithms []string `json:"algs,omitempty"`
	// Audience, Subject and Claims are what a subject_token must say: the aud
	// exactly, the others by Pattern; "" for any subject.
	Audience string            `json:"audience,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Claims   map[string]string `json:"claims,omitempty"`
	// SubjectPrefix stands before its sub where that becomes one of ours.
	SubjectPrefix string `json:"subject_prefix"`
}

// A ClaimRule puts an attribute of the user or the client into tokens.
type ClaimRule struct {
	// Claim is a URI.
	Claim string `json:"claim"`
	// From is "user." or "client." and a name: of the profile, of
	// User.Attributes as "user.attributes.x", of Client.Metadata as
	// "client.metadata.x".
	From string `json:"from"`
	// AccessToken and IDToken say where it stands. The ID token's stand in userinfo
	// too.
	AccessToken bool `json:"access_token,omitempty"`
	IDToken     bool `json:"id_token,omitempty"`
	// Scope is a value that must have been granted, "" for none.
	Scope string `json:"scope,omitempty"`
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
	// Reason is why a key was revoked before its time.
	Reason string `json:"reason,omitempty"`
}

// A Registry is the one item that lists the signing keys.
type Registry struct {
	// Version counts transitions; 0 is the empty registry that nobody wrote.
	Version int64        `json:"version"`
	Keys    []SigningKey `json:"keys"`
	// LongestLifetime is the longest, in seconds, that an access token could ever be
	// asked for to live; 0 where nobody has kept count. No key is forgotten earlier.
	LongestLifetime int64 `json:"longest_lifetime,omitempty"`
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
	// Attributes are for the claims map alone.
	Attributes map[string]any `json:"attributes,omitempty"`
	// Blocked people get nothing.
	Blocked bool `json:"blocked,omitempty"`
	// NotBefore ends all sessions and grants of logins before it; zero for none.
	NotBefore time.Time `json:"not_before,omitzero"`
}

// Ended reports whether what a login at authTime began has ended: the person is
// blocked, or whatever began before NotBefore has.
func (u User) Ended(authTime time.Time) bool {
	return u.Blocked || authTime.UnixMilli() < u.NotBefore.UnixMilli() && !u.NotBefore.IsZero()
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
	// ID is the sid that clients see: the digest, under which whoever has a token of
	// the session finds it. It opens nothing.
	ID      string
	Subject string
	// AuthTime is when the person last proved who they are.
	AuthTime time.Time
	// Expires is absolute.
	Expires time.Time
	// IdleExpires moves with use.
	IdleExpires time.Time
	// Clients are the client_ids that it has logged in, in no order: whom to tell when
	// it ends.
	Clients []string
	// Device is what kind of browser it is, in a word or two of package session, "" for
	// one that is not known.
	Device string
}

// Alive reports whether the session counts at now.
func (s Session) Alive(now time.Time) bool {
	return now.Before(s.Expires) && now.Before(s.IdleExpires)
}

// SessionReader reads an SSO session, strongly.
type SessionReader interface {
	// Session returns ErrNotFound for one that is not alive at now.
	Session(ctx context.Context, digest oauth.Digest, now time.Time) (Session, error)
}

// Sessions keeps SSO sessions.
type Sessions interface {
	SessionReader
	// PutSession writes a new session. ErrConflict if the digest exists.
	PutSession(ctx context.Context, s Session) error
	// RenewSession moves the idle expiry of an existing session. ErrNotFound if it
	// is gone.
	RenewSession(ctx context.Context, digest oauth.Digest, idleExpires time.Time) error
	// DeleteSession ends it. No error if it is gone.
	DeleteSession(ctx context.Context, digest oauth.Digest) error
}

// SessionClients knows whom a session has logged in. That is written once for each
// client, on the session's own item: at its first answer, and not at each.
type SessionClients interface {
	// JoinSession adds a client to an existing session, and moves its idle expiry.
	// ErrNotFound if it is gone: it has ended meanwhile, and must log nobody in.
	JoinSession(ctx context.Context, digest oauth.Digest, clientID string, idleExpires time.Time) error
	// EndSession deletes it, and returns what it was: whoever joined before is among
	// its Clients, and nobody joins after. ErrNotFound if it is gone. One that has
	// expired is returned too.
	EndSession(ctx context.Context, digest oauth.Digest) (Session, error)
}

// A Use is the one use of something that is good once, such as the jti of an
// assertion (RFC 7523 §3) or of a proof (RFC 9449 §11.1).
type Use struct {
	// Key is the digest of what is used: its kind, whose it is and its jti.
	Key oauth.Digest
	// Until is when it would be refused for its age.
	Until time.Time
	// By is random, drawn for this request.
	By string
}

// ErrUsed says that it was used before.
var ErrUsed = errors.New("store: used before")

// Uses remembers what is good once.
type Uses interface {
	// UseOnce takes it, in one conditional write. ErrUsed if another By has it and
	// its time is not over; one's own By, whose answer was lost, has it still.
	UseOnce(ctx context.Context, u Use, now time.Time) error
	// ForgetUse gives it back where it is By's: what came after failed on our side,
	// so that the same request may be sent again. No error if it is not.
	ForgetUse(ctx context.Context, u Use) error
}

// A Revocation is how whoever holds a refresh token ends its grant (RFC 7009), and how
// a person ends what a client holds for them.
type Revocation struct {
	GrantID  string
	ClientID string
	// Family is the digest of the token's family secret, "" where it is the person who
	// ends it.
	Family oauth.Digest
	// Subject is that person, "" where it is the client. One of the two is there.
	Subject string
	Now     time.Time
}

// Judge says what a store is to do with a revocation, given the grant as stored.
// Nil means that it is to be ended, or has ended already. Neither age nor key nor
// generation of the token count: who has ever held one may end the grant. The person
// may end it before its code is spent, too.
func (r Revocation) Judge(g Grant) error {
	switch {
	case g.ClientID != r.ClientID:
		return ErrOtherClient
	case r.Subject != "" && g.Subject != r.Subject:
		return ErrNotFound
	case r.Subject == "" && (g.Family == "" || !g.Family.Equal(r.Family)):
		return ErrNotFound
	default:
		return nil
	}
}

// GrantEnder ends grants.
type GrantEnder interface {
	// RevokeGrant ends a grant, in one conditional write. The errors are those of
	// Judge, and ErrNotFound. One that has ended is no error.
	RevokeGrant(ctx context.Context, r Revocation) error
}

// Revocations ends what was given.
type Revocations interface {
	GrantEnder
	// RevokeToken ends one access token, named by its jti, until it expires.
	RevokeToken(ctx context.Context, jti string, expires time.Time) error
}

// RevokedTokens knows the access tokens that were ended. Reads are strong.
type RevokedTokens interface {
	TokenRevoked(ctx context.Context, jti string, now time.Time) (bool, error)
}

// An OpaqueToken is an access token that says nothing: what it means is kept.
type OpaqueToken struct {
	// Digest is that of the token.
	Digest oauth.Digest
	// Claims is what a JWT would say, as JSON text.
	Claims  string
	Expires time.Time
}

// OpaqueReader reads an opaque access token, strongly.
type OpaqueReader interface {
	// Token returns ErrNotFound for one that has expired at now.
	Token(ctx context.Context, digest oauth.Digest, now time.Time) (OpaqueToken, error)
}

// OpaqueWriter keeps opaque access tokens.
type OpaqueWriter interface {
	// PutToken writes a new token. ErrConflict if the digest exists.
	PutToken(ctx context.Context, t OpaqueToken) error
}

// OpaqueTokens are both.
type OpaqueTokens interface {
	OpaqueReader
	OpaqueWriter
}

// Documents keeps what was fetched from others, so that a new process need not
// fetch it again.
type Documents interface {
	// Document returns the body as it was fetched at the time: empty if it could
	// not be. found is false where nothing is kept.
	Document(ctx context.Context, url string) (body []byte, fetched time.Time, found bool, err error)
	// PutDocument keeps it, and may forget it after until.
	PutDocument(ctx context.Context, url string, body []byte, fetched, until time.Time) error
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

// Package audit answers: what happened that someone must be able to ask about?
//
// Each such event has a name of ours, from the list below, and beside it the log type
// code that Auth0 has for it, so that who has searches and alarms on those need only
// change where they look. It is recorded where the decision falls; whoever owns the
// log prints what was recorded in the end, one line each, whatever became of the
// request.
//
// An event says who, which client, which grant and why. It never holds a code, token,
// secret, assertion, verifier, cookie or state, and no login name: login is its digest,
// by which attempts at one name can be told together.
package audit

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// An Event is the name of what happened. The names are never changed: others' filters
// hold them.
type Event string

// At the token endpoint, by grant type. One of these, of the failures below it, or
// ClientAuthFailed is recorded of each request.
const (
	CodeExchanged     = Event("code_exchanged")
	ClientCredentials = Event("client_credentials")
	Refreshed         = Event("refreshed")
	PasswordGrant     = Event("password_grant")
	TokenExchange     = Event("token_exchange")

	CodeExchangeFailed      = Event("code_exchange_failed")
	ClientCredentialsFailed = Event("client_credentials_failed")
	RefreshFailed           = Event("refresh_failed")
	PasswordGrantFailed     = Event("password_grant_failed")
	TokenExchangeFailed     = Event("token_exchange_failed")
	// TokenRequestFailed names no grant type that there is.
	TokenRequestFailed = Event("token_request_failed")

	// CodeReplayed and RefreshReused are a second use of what was spent: the grant is
	// revoked.
	CodeReplayed  = Event("code_replayed")
	RefreshReused = Event("refresh_reused")
)

// Wherever clients come.
const (
	ClientAuthFailed = Event("client_auth_failed")
	// UseReplayed is a second use of the jti of an assertion or a proof. It comes beside
	// the failure of the request.
	UseReplayed = Event("use_replayed")
	CORSRefused = Event("cors_refused")

	GrantRevoked = Event("grant_revoked")
	TokenRevoked = Event("token_revoked")
)

// Of people.
const (
	LoginSucceeded = Event("login_succeeded")
	LoginFailed    = Event("login_failed")
	LoginLocked    = Event("login_locked")
	// Authorized is what a client got for a person at the authorization endpoint, by a
	// login or by the session.
	Authorized      = Event("authorized")
	AuthorizeFailed = Event("authorize_failed")

	ConsentGiven     = Event("consent_given")
	ConsentDenied    = Event("consent_denied")
	ConsentWithdrawn = Event("consent_withdrawn")

	// FormRefused is a form that was not shown in this browser, or too long ago.
	FormRefused = Event("form_refused")

	Logout       = Event("logout")
	LogoutFailed = Event("logout_failed")
	// SessionEnded is one that was ended from another browser.
	SessionEnded = Event("session_ended")

	BackChannelLogout       = Event("backchannel_logout")
	BackChannelLogoutFailed = Event("backchannel_logout_failed")
)

// Of keys, by the rotate function.
const (
	KeyCreated           = Event("key_created")
	KeyGuarded           = Event("key_guarded")
	KeyPublished         = Event("key_published")
	KeyActivated         = Event("key_activated")
	KeyRevoked           = Event("key_revoked")
	KeyDiscarded         = Event("key_discarded")
	KeyForgotten         = Event("key_forgotten")
	KeyDisabled          = Event("key_disabled")
	KeyDeletionScheduled = Event("key_deletion_scheduled")
	KeyRotationFailed    = Event("key_rotation_failed")
)

// A Kind is what is known of an event.
type Kind struct {
	// Auth0 is from "Log Event Type Codes" in Auth0's documentation; "" where it has
	// none.
	Auth0 string
	// Failure says that something was refused or went wrong.
	Failure bool
	// Metrics are those of package meter that it counts for.
	Metrics []string
}

// Kinds are all events.
func Kinds() map[Event]Kind { return kinds }

var (
	tokenOK     = []string{"token_ok"}
	tokenFailed = []string{"token_failed"}
)

var kinds = map[Event]Kind{
	CodeExchanged:     {Auth0: "seacft", Metrics: tokenOK},
	ClientCredentials: {Auth0: "seccft", Metrics: tokenOK},
	Refreshed:         {Auth0: "sertft", Metrics: tokenOK},
	PasswordGrant:     {Auth0: "sepft", Metrics: tokenOK},
	TokenExchange:     {Auth0: "secte", Metrics: tokenOK},

	CodeExchangeFailed:      {Auth0: "feacft", Failure: true, Metrics: tokenFailed},
	ClientCredentialsFailed: {Auth0: "feccft", Failure: true, Metrics: tokenFailed},
	RefreshFailed:           {Auth0: "fertft", Failure: true, Metrics: tokenFailed},
	PasswordGrantFailed:     {Auth0: "fepft", Failure: true, Metrics: tokenFailed},
	TokenExchangeFailed:     {Auth0: "fecte", Failure: true, Metrics: tokenFailed},
	TokenRequestFailed:      {Failure: true, Metrics: tokenFailed},
	CodeReplayed:            {Auth0: "feacft", Failure: true, Metrics: []string{"token_failed", "replays"}},
	RefreshReused:           {Auth0: "ferrt", Failure: true, Metrics: []string{"token_failed", "refresh_reused"}},

	ClientAuthFailed: {Failure: true, Metrics: []string{"invalid_client"}},
	UseReplayed:      {Failure: true, Metrics: []string{"replays"}},
	CORSRefused:      {Auth0: "fco", Failure: true},
	GrantRevoked:     {Auth0: "srrt"},
	TokenRevoked:     {},

	LoginSucceeded:  {Auth0: "s", Metrics: []string{"login_ok"}},
	LoginFailed:     {Auth0: "f", Failure: true, Metrics: []string{"login_failed"}},
	LoginLocked:     {Auth0: "limit_wc", Failure: true, Metrics: []string{"login_failed"}},
	Authorized:      {},
	AuthorizeFailed: {Auth0: "f", Failure: true},

	ConsentGiven:     {},
	ConsentDenied:    {Failure: true},
	ConsentWithdrawn: {},

	FormRefused: {Failure: true},

	Logout:       {Auth0: "slo"},
	LogoutFailed: {Auth0: "flo", Failure: true},
	SessionEnded: {},

	BackChannelLogout:       {Auth0: "oidc_backchannel_logout_succeeded"},
	BackChannelLogoutFailed: {Auth0: "oidc_backchannel_logout_failed", Failure: true},

	KeyCreated:           {Auth0: "kms_key_management_success"},
	KeyGuarded:           {Auth0: "kms_key_management_success"},
	KeyPublished:         {Auth0: "kms_key_state_changed"},
	KeyActivated:         {Auth0: "kms_key_state_changed"},
	KeyRevoked:           {Auth0: "kms_key_state_changed"},
	KeyDiscarded:         {Auth0: "kms_key_state_changed"},
	KeyForgotten:         {Auth0: "kms_key_state_changed"},
	KeyDisabled:          {Auth0: "kms_key_management_success"},
	KeyDeletionScheduled: {Auth0: "kms_key_management_success"},
	KeyRotationFailed:    {Auth0: "kms_key_management_failure", Failure: true},
}

// The codes of Auth0 for a LoginFailed of which more is known, and for what happens at
// the authorization endpoint by prompt=none.
const (
	UnknownName   = "fu"
	WrongPassword = "fp"
	SilentOK      = "ssa"
	SilentFailed  = "fsa"
)

// A Record is one event that has happened.
type Record struct {
	Event Event
	Attrs []slog.Attr
}

// A Trail is what happened in one request. It is safe for use side by side, and not to
// be copied.
type Trail struct {
	mu      sync.Mutex
	records []Record
	notes   []slog.Attr
}

type trailKey struct{}

// With returns a context in which Happened and Note write to t.
func With(ctx context.Context, t *Trail) context.Context {
	return context.WithValue(ctx, trailKey{}, t)
}

// Happened records an event of the request that ctx belongs to. Which client, person
// and grant it is of is taken from what the request's own line is told, unless attrs
// say it. The attribute Auth0 stands in for the code of the list.
func Happened(ctx context.Context, event Event, attrs ...slog.Attr) {
	if t, ok := ctx.Value(trailKey{}).(*Trail); ok {
		t.Add(event, attrs...)
	}
}

// Add is Happened where the Trail is at hand.
func (t *Trail) Add(event Event, attrs ...slog.Attr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = append(t.records, Record{event, attrs})
}

// Note adds to every event of the request, and not to its own line.
func Note(ctx context.Context, attrs ...slog.Attr) {
	if t, ok := ctx.Value(trailKey{}).(*Trail); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.notes = append(t.notes, attrs...)
	}
}

// Take returns what has happened, and the notes.
func (t *Trail) Take() ([]Record, []slog.Attr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.records, t.notes
}

// Message is that of each line: what a subscription filter looks for.
const Message = "audit"

// Print prints one event: its name and Auth0's code, what it is found by, whose it is,
// why it failed if it did, and what was recorded with it. Of two attributes of one name
// the later holds, and an empty one is none. Failures are warnings, so that they are told where less is logged.
func Print(ctx context.Context, log *slog.Logger, r Record, whose, why []slog.Attr) {
	kind := kinds[r.Event]
	level := slog.LevelInfo
	if kind.Failure {
		level = slog.LevelWarn
		whose = slices.Concat(whose, why)
	}
	line := []slog.Attr{slog.String("event", string(r.Event)), slog.String("auth0", kind.Auth0)}
	for _, a := range slices.Concat(Correlated(ctx), whose, r.Attrs) {
		switch i := slices.IndexFunc(line, func(b slog.Attr) bool { return b.Key == a.Key }); {
		case a.Value.String() == "":
		case i >= 0:
			line[i] = a
		default:
			line = append(line, a)
		}
	}
	log.LogAttrs(ctx, level, Message, line...)
}

// Correlated are what the lines of a request are found by: the id that Lambda gives each
// invocation, and that of the trace that it belongs to, as Lambda says it. Of these two
// only the first is Lambda's own: API Gateway makes an id of a trace for requests that
// bring none, so a caller may choose it. None outside of Lambda.
func Correlated(ctx context.Context) (attrs []slog.Attr) {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("request_id", lc.AwsRequestID))
	}
	trace, _ := ctx.Value("x-amzn-trace-id").(string) // package lambda puts it there
	for part := range strings.SplitSeq(trace, ";") {
		if root, ok := strings.CutPrefix(part, "Root="); ok {
			attrs = append(attrs, slog.String("trace_id", root))
		}
	}
	return attrs
}

// Package config answers: what does the environment say?
//
// There is one struct for each function, because each function is given exactly
// what it needs. It is read once, at start, and checked in full: all problems
// are reported together, and a process whose environment is wrong does not
// start; start.go says why, and what is seen of it. The SDK's own variables, such as
// AWS_REGION and AWS_ENDPOINT_URL_DYNAMODB, are the SDK's to read.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Common is what every function is given.
type Common struct {
	// Issuer is the issuer identifier (RFC 8414 §2), used exactly as it is. Empty
	// means the issuer record in the config table.
	Issuer string `env:"ISSUER"`
	// Log is the least level that is logged: debug, info, warn or error.
	Log string `env:"LOG" envDefault:"info"`
	// ConfigTable names the table of clients, APIs, issuer and keys.
	ConfigTable string `env:"CONFIG_TABLE,notEmpty"`
	// Stack is the name of the stack: the dimension of the metrics, and what the tag
	// kmint:stack of the stack's keys has.
	Stack string `env:"STACK,notEmpty"`
}

// Token is the environment of the token function.
type Token struct {
	Common
	// UsersTable names the table of people.
	UsersTable string `env:"USERS_TABLE,notEmpty"`
	// GrantsTable names the table of everything that expires.
	GrantsTable string `env:"GRANTS_TABLE,notEmpty"`
	// MACKey is the ARN of the KMS key (HMAC_256) that nonces for DPoP are made with.
	MACKey string `env:"MAC_KEY,notEmpty"`
	// SecretsKey is the ARN of the KMS key that the secrets of client_secret_jwt
	// are encrypted under. Empty means that no client uses that method.
	SecretsKey string `env:"SECRETS_KEY"`
	// TokenPath is the owner's path of the token endpoint.
	TokenPath string `env:"TOKEN_PATH" envDefault:"/oauth/token"`
}

// Authorize is the environment of the authorize function.
type Authorize struct {
	Common
	// UsersTable names the table of people.
	UsersTable string `env:"USERS_TABLE,notEmpty"`
	// GrantsTable names the table of everything that expires.
	GrantsTable string `env:"GRANTS_TABLE,notEmpty"`
	// MACKey is the ARN of the KMS key (HMAC_256) that seals the steps of a login.
	MACKey string `env:"MAC_KEY,notEmpty"`
	// LogoutQueue is the URL of the queue that the deliver function is fed from.
	LogoutQueue string `env:"LOGOUT_QUEUE,notEmpty"`
	// Signs says that tokens leave the authorization endpoint itself: the implicit and
	// hybrid flows.
	Signs bool `env:"AUTHORIZE_SIGNS"`
}

// Userinfo is the environment of the userinfo function.
type Userinfo struct {
	Common
	// UsersTable names the table of people.
	UsersTable string `env:"USERS_TABLE,notEmpty"`
	// GrantsTable names the table of everything that expires.
	GrantsTable string `env:"GRANTS_TABLE,notEmpty"`
	// MACKey is the ARN of the KMS key (HMAC_256) that nonces for DPoP are made with.
	MACKey string `env:"MAC_KEY,notEmpty"`
}

// Discovery is the environment of the discovery function.
type Discovery struct {
	Common
	// TokenPath is the path announced for the token endpoint.
	TokenPath string `env:"TOKEN_PATH" envDefault:"/oauth/token"`
	// Signs is as in Authorize.
	Signs bool `env:"AUTHORIZE_SIGNS"`
}

// Deliver is the environment of the deliver function.
type Deliver struct {
	Common
}

// Rotate is the environment of the rotate function.
type Rotate struct {
	Common
	// Signers are the ARNs of the roles that may sign.
	Signers []string `env:"SIGNERS,notEmpty"`
	// RotationDays is how long a key signs.
	RotationDays int `env:"ROTATION_DAYS" envDefault:"90"`
	// PublishHours is how long a key is published before it signs.
	PublishHours int `env:"PUBLISH_HOURS" envDefault:"24"`
}

// Period is RotationDays as a time span.
func (c Rotate) Period() time.Duration { return time.Duration(c.RotationDays) * 24 * time.Hour }

// Publish is PublishHours as a time span.
func (c Rotate) Publish() time.Duration { return time.Duration(c.PublishHours) * time.Hour }

// Preflight is the environment of the preflight function.
type Preflight struct {
	Common
	// Key is the ARN of the KMS key that it authenticates by.
	Key string `env:"PREFLIGHT_KEY,notEmpty"`
	// The versions to try, by their ARN.
	TokenVersion     string `env:"TOKEN_VERSION,notEmpty"`
	AuthorizeVersion string `env:"AUTHORIZE_VERSION,notEmpty"`
	UserinfoVersion  string `env:"USERINFO_VERSION,notEmpty"`
	DiscoveryVersion string `env:"DISCOVERY_VERSION,notEmpty"`
}

// Local is the environment of `make run`.
type Local struct {
	// Port is the TCP port to listen on; 0 takes a free one.
	Port string `env:"PORT" envDefault:"3000"`
	// Listen is the host to listen on. localhost means both loopback addresses;
	// a container needs 0.0.0.0.
	Listen string `env:"LISTEN" envDefault:"localhost"`
	// Issuer is the issuer identifier, used exactly as it is. Empty means the
	// address of the port on localhost, with a slash at the end.
	Issuer string `env:"ISSUER"`
	// DataDir keeps the store, the key and the demo.
	DataDir string `env:"DATA_DIR" envDefault:".kmint"`
	// Seed is a configuration file, written to the store at each start.
	Seed string `env:"SEED"`
	// TLSCert and TLSKey are PEM files; with both, https is served.
	TLSCert string `env:"TLS_CERT"`
	TLSKey  string `env:"TLS_KEY"`
	// Log is as in Common, or off. By default what was refused is logged, so that
	// the page that was printed stays in sight.
	Log string `env:"LOG" envDefault:"warn"`
	// TokenPath is one more path for the token endpoint, announced in discovery.
	// Empty means the default of the template, not announced.
	TokenPath string `env:"TOKEN_PATH"`
}

// AnnouncedTokenPath is the path of the token endpoint in discovery: the owner's
// own, or the one that Auth0's clients know.
func (c Local) AnnouncedTokenPath() string {
	if c.TokenPath == "" {
		return "/oauth/token"
	}
	return c.TokenPath
}

// A Function is the environment of one.
type Function interface {
	Token | Authorize | Userinfo | Discovery | Deliver | Rotate | Preflight
}

// Read reads and checks an environment. The error has one line for each problem.
func Read[T Function | Local]() (T, error) {
	return read[T](env.Options{})
}

func read[T any](options env.Options) (T, error) {
	var zero, cfg T
	var problems []error
	if err := env.ParseWithOptions(&cfg, options); err != nil {
		all := env.AggregateError{}
		if !errors.As(err, &all) {
			return zero, fmt.Errorf("config: %w", err)
		}
		for _, err := range all.Errors {
			problems = append(problems, plain[T](err, options))
		}
	}
	for _, problem := range any(&cfg).(interface{ check() []error }).check() {
		// What could not be read is not judged by its zero value too.
		variable, _, _ := strings.Cut(problem.Error(), " ")
		if !slices.ContainsFunc(problems, func(err error) bool { return strings.HasPrefix(err.Error(), variable+" ") }) {
			problems = append(problems, problem)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return zero, err
	}
	return cfg, nil
}

// plain says what the library found by the name of the variable, as checks do.
func plain[T any](err error, options env.Options) error {
	var empty env.EmptyVarError
	var unread env.ParseError
	switch {
	case errors.As(err, &empty): // or not there
		return fmt.Errorf("%s is not set", empty.Key)
	case errors.As(err, &unread):
		field, _ := reflect.TypeFor[T]().FieldByName(unread.Name)
		variable, _, _ := strings.Cut(field.Tag.Get("env"), ",")
		what := "number"
		if field.Type.Kind() == reflect.Bool {
			what = "truth value, true or false"
		}
		value := os.Getenv(variable)
		if options.Environment != nil {
			value = options.Environment[variable]
		}
		return fmt.Errorf("%s %q is not a %s", variable, value, what)
	default:
		return err
	}
}

func (c *Common) check() []error {
	return found(named("ISSUER", CheckIssuer(c.Issuer)), checkLevel(c.Log), checkTable("CONFIG_TABLE", c.ConfigTable))
}

func (c *Token) check() []error {
	return append(c.Common.check(), found(
		checkTable("USERS_TABLE", c.UsersTable), checkTable("GRANTS_TABLE", c.GrantsTable),
		checkKey("MAC_KEY", c.MACKey), checkKey("SECRETS_KEY", c.SecretsKey), checkPath(c.TokenPath),
	)...)
}

func (c *Authorize) check() []error {
	return append(c.Common.check(), found(
		checkTable("USERS_TABLE", c.UsersTable), checkTable("GRANTS_TABLE", c.GrantsTable),
		checkKey("MAC_KEY", c.MACKey), checkQueue("LOGOUT_QUEUE", c.LogoutQueue),
	)...)
}

func (c *Userinfo) check() []error {
	return append(c.Common.check(), found(
		checkTable("USERS_TABLE", c.UsersTable), checkTable("GRANTS_TABLE", c.GrantsTable), checkKey("MAC_KEY", c.MACKey),
	)...)
}

func (c *Discovery) check() []error {
	return append(c.Common.check(), found(checkPath(c.TokenPath))...)
}

// check holds the bounds of keys.Policy.
func (c *Rotate) check() []error {
	problems := c.Common.check()
	if c.RotationDays < 7 || c.RotationDays > 3650 {
		problems = append(problems, fmt.Errorf("ROTATION_DAYS %d is not a number from 7 to 3650", c.RotationDays))
	}
	if c.PublishHours < 2 || c.PublishHours > 7*24 {
		problems = append(problems, fmt.Errorf("PUBLISH_HOURS %d is not a number from 2, for which verifiers may hold a JWKS, to 168", c.PublishHours))
	}
	for _, role := range c.Signers {
		if !strings.HasPrefix(role, "arn:") || !strings.Contains(role, ":role/") {
			problems = append(problems, fmt.Errorf("SIGNERS has %q, which is not the ARN of a role", role))
		}
	}
	return problems
}

func (c *Local) check() []error {
	issuer := CheckIssuer(c.Issuer)
	problems := found(checkPort(c.Port), named("ISSUER", issuer), checkPath(c.TokenPath), checkLevel(c.Log, Off))
	if (c.TLSCert == "") != (c.TLSKey == "") {
		problems = append(problems, errors.New("TLS_CERT and TLS_KEY go together: one of them is not set"))
	}
	if c.TLSCert != "" && strings.HasPrefix(c.Issuer, "http:") && issuer == nil {
		problems = append(problems, fmt.Errorf("ISSUER %q is plain http, but with TLS_CERT only https is served", c.Issuer))
	}
	return problems
}

func named(variable string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", variable, err)
}

func found(errs ...error) []error {
	var problems []error
	for _, err := range errs {
		if err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// CheckIssuer says why issuer can be none, or nil. "" is allowed. RFC 8414
// §2: the issuer identifier is "a URL that uses the "https" scheme and has no
// query or fragment components". Plain http is for this machine alone.
func CheckIssuer(issuer string) error {
	if issuer == "" {
		return nil
	}
	refuse := func(why string) error { return fmt.Errorf("%q %s", issuer, why) }
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return refuse("is not a URL")
	case strings.ContainsAny(issuer, "?#"):
		return refuse("has a query or a fragment (RFC 8414 §2)")
	case u.User != nil:
		return refuse("has user information")
	case u.Path != "" && u.Path != "/":
		return refuse("has a path; kmint answers at the root of a host")
	// A port that is no number, and a host in capitals, are the same address to
	// some and another to others, who compare issuers as text.
	case u.Host != strings.ToLower(u.Host), strings.HasSuffix(u.Host, ":"), u.Scheme+"://"+u.Host+u.EscapedPath() != issuer:
		return refuse("is not written as everybody would write it; use " + u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Host), ":") + u.EscapedPath())
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	default:
		return refuse("is not https; plain http is for localhost alone (RFC 8414 §2)")
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// paths are those that a route can have on every side: API Gateway, net/http and
// a URL that nobody has to escape.
var paths = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func checkPath(path string) error {
	switch {
	case path == "":
		return nil
	case !paths.MatchString(path) || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../"):
		return fmt.Errorf("TOKEN_PATH %q is not a path such as /oauth2/token", path)
	case slices.Contains([]string{"/authorize", "/login", "/consents", "/sessions", "/userinfo", "/oidc/logout", "/oidc/check_session", "/v2/logout", "/oauth/revoke", "/oauth/introspect"}, path) || strings.HasPrefix(path, "/.well-known/"):
		return fmt.Errorf("TOKEN_PATH %q is the path of another endpoint", path)
	default:
		return nil
	}
}

// tableNames are from the Amazon DynamoDB Developer Guide, "Naming rules", but for the
// least length, which is no error of a kind that anybody makes.
var tableNames = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)

// The checks below let "" pass: it is named already where it is wrong.

func checkTable(variable, name string) error {
	if name == "" || tableNames.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%s %q is not the name of a table", variable, name)
}

func checkKey(variable, key string) error {
	if key == "" || strings.HasPrefix(key, "arn:") {
		return nil
	}
	return fmt.Errorf("%s %q is not the ARN of a KMS key", variable, key)
}

func checkQueue(variable, queue string) error {
	if queue == "" || strings.HasPrefix(queue, "https://") || strings.HasPrefix(queue, "http://") {
		return nil
	}
	return fmt.Errorf("%s %q is not the URL of a queue", variable, queue)
}

func checkPort(port string) error {
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > math.MaxUint16 {
		return fmt.Errorf("PORT %q is not a number from 0 to 65535", port)
	}
	return nil
}

// Off is the level at which nothing is logged.
const Off = "off"

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
	Off:     math.MaxInt,
}

// checkLevel takes more levels than those of a function where there are more.
func checkLevel(level string, more ...string) error {
	known := append([]string{"debug", "info", "warn", "error"}, more...)
	if !slices.Contains(known, level) {
		return fmt.Errorf("LOG %q is not one of %s", level, strings.Join(known, ", "))
	}
	return nil
}

// Level is what a logger takes.
func (c Common) Level() slog.Level { return levels[c.Log] }

// Level is what a logger takes.
func (c Local) Level() slog.Level { return levels[c.Log] }

package oauth

import (
	"errors"
	"fmt"
	"net/http"
)

// A Code is an error code of RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1,
// RFC 8707 §2 or OpenID Connect Core 1.0 §3.1.2.6. The HTTP status follows from
// the code, so no caller can pair the two wrongly.
type Code string

// The codes kmint answers with.
const (
	InvalidRequest           Code = "invalid_request"
	InvalidClient            Code = "invalid_client"
	InvalidGrant             Code = "invalid_grant"
	InvalidScope             Code = "invalid_scope"
	InvalidTarget            Code = "invalid_target" // RFC 8707 §2
	InvalidToken             Code = "invalid_token"  // RFC 6750 §3.1
	InsufficientScope        Code = "insufficient_scope"
	UnauthorizedClient       Code = "unauthorized_client"
	UnsupportedGrantType     Code = "unsupported_grant_type"
	UnsupportedResponseType  Code = "unsupported_response_type"
	AccessDenied             Code = "access_denied"
	LoginRequired            Code = "login_required"
	ConsentRequired          Code = "consent_required"
	RequestNotSupported      Code = "request_not_supported"
	InvalidRequestObject     Code = "invalid_request_object"
	UnmetRequirements        Code = "unmet_authentication_requirements" // OpenID Connect Core Unmet Authentication Requirements 1.0 §2
	RequestURINotSupported   Code = "request_uri_not_supported"
	RegistrationNotSupported Code = "registration_not_supported"
	ServerError              Code = "server_error"
	TemporarilyUnavailable   Code = "temporarily_unavailable"
	InvalidDPoPProof         Code = "invalid_dpop_proof"     // RFC 9449 §5
	UseDPoPNonce             Code = "use_dpop_nonce"         // RFC 9449 §8
	UnsupportedTokenType     Code = "unsupported_token_type" // RFC 7009 §2.2.1
	TooManyAttempts          Code = "too_many_attempts"      // Auth0's

	// These four are answers of HTTP itself; no RFC gives them an OAuth code.
	MethodNotAllowed     Code = "method_not_allowed"
	NotFound             Code = "not_found"
	RequestTooLarge      Code = "request_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
)

// Status is the HTTP status in which the code travels when it is not sent on a
// redirect.
func (c Code) Status() int {
	switch c {
	case InvalidClient, InvalidToken:
		return http.StatusUnauthorized
	case InsufficientScope:
		return http.StatusForbidden
	case TooManyAttempts:
		return http.StatusTooManyRequests
	case NotFound:
		return http.StatusNotFound
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case RequestTooLarge:
		return http.StatusRequestEntityTooLarge
	case UnsupportedMediaType:
		return http.StatusUnsupportedMediaType
	case ServerError:
		return http.StatusInternalServerError
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// wire is the code as the body spells it: the answers of HTTP itself are an
// invalid_request to an OAuth client.
func (c Code) wire() Code {
	switch c {
	case MethodNotAllowed, NotFound, RequestTooLarge, UnsupportedMediaType:
		return InvalidRequest
	default:
		return c
	}
}

// Errorf makes an error with the words that the caller may read. RFC 6749 §5.2
// allows %x20-21 / %x23-5B / %x5D-7E there: no quote, no backslash.
func (c Code) Errorf(format string, args ...any) *Error {
	return &Error{Code: c, Description: printable(fmt.Sprintf(format, args...))}
}

// An Error is a code, the public words for the caller and the private cause for
// the log.
type Error struct {
	Code        Code
	Description string
	// Case names the refusal for the profile of Auth0, "" for one that it has no
	// words of its own for.
	Case   Case
	about  string // what the refusal is about, for the words of a Case
	cause  error
	status int // 0 for the code's
	uri    string
}

// Status is the HTTP status in which the error travels.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	return e.Code.Status()
}

// Ours reports whether the failure is the server's, and the request was not at fault.
func (e *Error) Ours() bool { return e.Status() >= http.StatusInternalServerError }

// Named returns the error with its Case.
func (e *Error) Named(c Case) *Error {
	named := *e
	named.Case = c
	return &named
}

// About returns the error with what a Case's words name: the audience, or the grant
// type.
func (e *Error) About(name string) *Error {
	about := *e
	about.about = printable(cut(name))
	return &about
}

// Because returns the error with the cause that the log is to show. The cause
// never reaches the caller.
func (e *Error) Because(cause error) *Error {
	because := *e
	because.cause = cause
	return &because
}

// Error gives everything, for the log.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Description, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Description)
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.cause }

// Reason is what the log line shows: the public words, and the private cause where
// there is one, each cut where a caller could make it long.
func (e *Error) Reason() string {
	if e.cause == nil {
		return cut(e.Description)
	}
	return cut(e.Description) + " " + cut(e.cause.Error())
}

func cut(s string) string {
	const most = 2000 // a panic brings its stack
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// Body is the JSON body of RFC 6749 §5.2.
func (e *Error) Body() ErrorResponse {
	return ErrorResponse{Error: e.Code.wire(), Description: e.Description, URI: e.uri}
}

// ErrorResponse is the error body of RFC 6749 §5.2.
type ErrorResponse struct {
	Error       Code   `json:"error"`
	Description string `json:"error_description,omitempty"`
	URI         string `json:"error_uri,omitempty"`
}

// AsError returns err as an *Error. What is none is a server_error without a
// word about its cause.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return (&Error{Code: ServerError, Description: "The server could not complete the request."}).Because(err)
}

// printable keeps the characters that RFC 6749 §5.2 allows in
// error_description: what a caller sent may be quoted in it, and must not be
// able to break a header or a log line.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c == '"':
			b[i] = '\''
		case c < 0x20 || c > 0x7e || c == '\\':
			b[i] = '?'
		}
	}
	return string(b)
}

// Package web answers: how does a handler's result leave the house?
//
// A handler returns an error; the edge writes it, once, as JSON or as a page,
// logs one line for the request, which holds its metrics too, and one before it for
// each audit event, and sets the headers that every answer needs. The caller reads the code and the public words; the log reads the cause. What
// is no OAuth error leaves as server_error without a word, and a panic leaves
// the same way.
package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kmint/pkg/audit"
	"kmint/pkg/meter"
	"kmint/pkg/oauth"
	"kmint/pkg/words"
)

// A Handler serves one endpoint. It writes its answer and returns nil, or writes
// nothing and returns an error. One that has answered an error in a way of its
// own, by a redirect or a page, may return it too: it is then only logged.
type Handler func(w http.ResponseWriter, r *http.Request) error

// An Edge runs handlers.
type Edge struct {
	Log *slog.Logger
	Now func() time.Time
	// Secure says that the issuer is https: browsers are told to stay there.
	Secure bool
	// Brand says how pages look, and is asked when there is one; nil for our own way.
	// An error is logged, and the page looks our own way.
	Brand func(context.Context) (Brand, error)
	// Warm is set by the first request, which is counted as a cold start; nil for never.
	Warm *atomic.Bool
}

// JSON runs a handler whose errors are the JSON of RFC 6749 §5.2.
func (e Edge) JSON(h Handler) http.Handler { return e.run(h, writeJSONError) }

// Page runs a handler whose errors are a page for a person: nobody was found
// whom an error could be sent to.
func (e Edge) Page(h Handler) http.Handler { return e.run(h, writePageError) }

func (e Edge) run(h Handler, writeError func(http.ResponseWriter, *http.Request, *oauth.Error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := e.Now()
		// The Lambda adapter splits a list at its commas.
		ev := &event{accepted: strings.Join(r.Header.Values("Accept-Language"), ","), query: r.URL}
		r = r.WithContext(meter.With(audit.With(context.WithValue(r.Context(), eventKey{}, ev), &ev.trail), &ev.meter))
		if e.Brand != nil {
			ev.brand = func() (Brand, error) { return e.Brand(r.Context()) }
		}
		r.Body = http.MaxBytesReader(w, r.Body, oauth.MaxBody+1)
		out := &recorder{ResponseWriter: w, event: ev}

		header := out.Header()
		header.Set("Cache-Control", "no-store") // RFC 6749 §5.1 asks for both; a handler may say otherwise
		header.Set("Pragma", "no-cache")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin") // the query may hold a state
		if e.Secure {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}

		err := guard(h, out, r)
		var failure *oauth.Error
		if err != nil {
			failure = oauth.AsError(err)
			if out.status == 0 {
				writeError(out, r, failure)
			}
		}
		if out.status == 0 { // an adapter takes a handler that wrote nothing for a fault
			out.WriteHeader(http.StatusNoContent)
		}
		e.log(r, ev, out.status, failure, e.Now().Sub(began))
	})
}

// guard turns a panic into an error: on Lambda it would end the process and
// answer the caller with the gateway's own 502.
func guard(h Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return h(w, r)
}

func (e Edge) log(r *http.Request, ev *event, status int, failure *oauth.Error, took time.Duration) {
	ctx, level := r.Context(), slog.LevelInfo
	same := audit.Correlated(ctx)
	told := ev.take()
	var why []slog.Attr
	if failure != nil {
		level = slog.LevelWarn
		if failure.Status() >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		why = []slog.Attr{slog.String("error", string(failure.Code)), slog.String("reason", failure.Reason())}
	}
	records, notes := ev.trail.Take()
	whose := slices.Concat([]slog.Attr{slog.String("ip", sourceIP(r))}, theirs(told), notes)
	for _, record := range records {
		for _, metric := range audit.Kinds()[record.Event].Metrics {
			ev.meter.Add(meter.Metric(metric), 1)
		}
		audit.Print(ctx, e.Log, record, whose, why)
	}
	if e.Warm != nil && !e.Warm.Swap(true) {
		ev.meter.Add(meter.ColdStart, 1)
	}
	e.Log.LogAttrs(ctx, level, "request", slices.Concat([]slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
	}, same, told, why, ev.meter.Attrs(ctx, e.Now()))...)
}

// theirs are the attributes of a request that its audit events have too.
func theirs(told []slog.Attr) (some []slog.Attr) {
	for _, a := range told {
		if slices.Contains([]string{"client_id", "sub", "grant", "grant_type", "login"}, a.Key) {
			some = append(some, a)
		}
	}
	return some
}

// sourceIP is who has connected to API Gateway (requestContext.http.sourceIp, which the
// adapter puts there): the one address that no caller can choose, and X-Forwarded-For
// is not looked at. Behind a CDN it is the CDN's.
func sourceIP(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// An event gathers what the request's one log line says, and which language its page is
// to be in.
type event struct {
	trail audit.Trail
	meter meter.Meter

	mu    sync.Mutex
	attrs []slog.Attr
	// accepted is the Accept-Language header, query the URL of the request, preferred
	// the ui_locales that a handler has found.
	accepted  string
	query     *url.URL
	preferred string
	// brand is that of the edge; nil for none.
	brand func() (Brand, error)
}

type eventKey struct{}

func (e *event) take() []slog.Attr {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attrs
}

// longest is how many bytes of a text are logged: what was sent may be quoted in it, five
// times as long, and of a line that is too long CloudWatch makes no metrics.
const longest = 2000

// Annotate adds to the log line of the request that ctx belongs to. Never a
// code, token, secret, assertion, verifier, cookie or state.
func Annotate(ctx context.Context, attrs ...slog.Attr) {
	ev, ok := ctx.Value(eventKey{}).(*event)
	if !ok {
		return
	}
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, a := range attrs {
		if a.Value.Kind() == slog.KindString && len(a.Value.String()) > longest {
			a.Value = slog.StringValue(a.Value.String()[:longest] + "...")
		}
		ev.attrs = append(ev.attrs, a)
	}
}

// Prefer names the languages that a page for the request that ctx belongs to is best in:
// the ui_locales of OpenID Connect Core 1.0 §3.1.2.1. Those of the URL need not be named.
func Prefer(ctx context.Context, uiLocales string) {
	if ev, ok := ctx.Value(eventKey{}).(*event); ok {
		ev.mu.Lock()
		defer ev.mu.Unlock()
		ev.preferred = uiLocales
	}
}

// languageOf is the language for a page that is written to w.
func languageOf(w http.ResponseWriter) words.Language {
	out, ok := w.(*recorder)
	if !ok {
		return words.English
	}
	out.event.mu.Lock()
	defer out.event.mu.Unlock()
	return words.Choose(cmp.Or(out.event.preferred, out.event.query.Query().Get("ui_locales")), out.event.accepted)
}

// brandOf is how a page that is written to w looks.
func brandOf(w http.ResponseWriter) Brand {
	out, ok := w.(*recorder)
	if !ok || out.event.brand == nil {
		return Brand{}
	}
	brand, err := out.event.brand()
	if err != nil {
		out.event.mu.Lock()
		defer out.event.mu.Unlock()
		out.event.attrs = append(out.event.attrs, slog.String("brand", err.Error()))
		return Brand{}
	}
	return brand
}

// recorder remembers the status that was written.
type recorder struct {
	http.ResponseWriter
	event  *event
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// JSON writes v as the answer. An error says that nothing was written.
func JSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller has gone if it fails
	return nil
}

// RetryAfter is what a busy answer asks for, in seconds.
const RetryAfter = "1"

func writeJSONError(w http.ResponseWriter, r *http.Request, e *oauth.Error) {
	setErrorHeaders(w, e)
	// RFC 6749 §5.2: "If the client attempted to authenticate via the
	// "Authorization" request header field, the authorization server MUST respond
	// with an HTTP 401 (Unauthorized) status code and include the
	// "WWW-Authenticate" response header field matching the authentication scheme
	// used by the client." RFC 9110 §15.5.2 asks for it on every 401; an endpoint
	// with a challenge of its own has set it already.
	if e.Status() == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="kmint"`)
	}
	if err := JSON(w, e.Status(), e.Body()); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func setErrorHeaders(w http.ResponseWriter, e *oauth.Error) {
	w.Header().Set("Cache-Control", "no-store")
	if e.Code == oauth.TemporarilyUnavailable {
		w.Header().Set("Retry-After", RetryAfter)
	}
}

// Methods lets the handler see only the methods named, and answers others with
// 405 and Allow (RFC 9110 §15.5.6).
func Methods(h Handler, allowed ...string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		for _, m := range allowed {
			if r.Method == m {
				return h(w, r)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return oauth.MethodNotAllowed.Errorf("The method %s is not allowed here; use %s.", r.Method, strings.Join(allowed, " or "))
	}
}

// What people are told of faults of ours. failed is what oauth.AsError says.
const (
	overloaded words.Phrase = "The server is busy. Try again in a moment."
	failed     words.Phrase = "The server could not complete the request."
)

// Busy maps what a store or a key says under load to the answer that asks the
// client to come again.
func Busy(err error, busy ...error) error {
	for _, b := range busy {
		if errors.Is(err, b) {
			return oauth.TemporarilyUnavailable.Errorf(string(overloaded)).Because(err)
		}
	}
	return err
}

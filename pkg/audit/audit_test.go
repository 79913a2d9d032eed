package audit_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"kmint/pkg/audit"
)

// Names are what filters of others hold, and Auth0's codes are those of its list.
func TestKinds(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for event, kind := range audit.Kinds() {
		if !name.MatchString(string(event)) || kind.Auth0 != "" && !name.MatchString(kind.Auth0) {
			t.Errorf("%s %s", event, kind.Auth0)
		}
		failure := strings.HasPrefix(kind.Auth0, "f") || strings.HasSuffix(kind.Auth0, "_failed") || strings.HasSuffix(kind.Auth0, "_failure") || kind.Auth0 == "limit_wc"
		if kind.Auth0 != "" && failure != kind.Failure {
			t.Errorf("%s is a failure: %v, and Auth0 says %s", event, kind.Failure, kind.Auth0)
		}
	}
}

func TestPrint(t *testing.T) {
	whose := []slog.Attr{slog.String("client_id", "web"), slog.String("sub", "u1"), slog.String("grant", "")}
	why := []slog.Attr{slog.String("reason", "wrong")}
	for name, tt := range map[string]struct {
		record func(t *audit.Trail)
		want   string
	}{
		"a success says no reason": {func(t *audit.Trail) { t.Add(audit.CodeExchanged) },
			"level=INFO msg=audit event=code_exchanged auth0=seacft client_id=web sub=u1\n"},
		"a failure does": {func(t *audit.Trail) { t.Add(audit.CodeReplayed) },
			"level=WARN msg=audit event=code_replayed auth0=feacft client_id=web sub=u1 reason=wrong\n"},
		"what was recorded with it holds": {func(t *audit.Trail) {
			t.Add(audit.LoginFailed, slog.String("auth0", audit.WrongPassword), slog.String("sub", "u2"), slog.String("client_id", ""))
		}, "level=WARN msg=audit event=login_failed auth0=fp client_id=web sub=u2 reason=wrong\n"},
		"nothing": {func(*audit.Trail) {}, ""},
	} {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		var trail audit.Trail
		tt.record(&trail)
		records, _ := trail.Take()
		for _, r := range records {
			audit.Print(t.Context(), logger, r, whose, why)
		}
		if log.String() != tt.want {
			t.Errorf("%s: %s, want %s", name, &log, tt.want)
		}
	}
}

// What happens outside of a request is not recorded, and harms nobody.
func TestNoTrail(t *testing.T) {
	audit.Happened(t.Context(), audit.Logout)
	audit.Note(t.Context(), slog.String("sid", "s1"))
	var trail audit.Trail
	ctx := audit.With(t.Context(), &trail)
	audit.Happened(ctx, audit.Logout)
	audit.Note(ctx, slog.String("sid", "s1"))
	if records, notes := trail.Take(); len(records) != 1 || len(notes) != 1 {
		t.Errorf("%v %v", records, notes)
	}
}

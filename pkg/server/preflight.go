package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"kmint/pkg/preflight"
	"kmint/pkg/store"
)

// A Deployment is what CodeDeploy sends to a hook.
type Deployment struct {
	ID        string `json:"DeploymentId"`
	Execution string `json:"LifecycleEventHookExecutionId"`
}

// Deployments tells CodeDeploy whether a deployment is to go on.
type Deployments interface {
	Report(ctx context.Context, deployment, execution string, good bool) error
}

// Preflight is the preflight function: it tries new versions of the others.
type Preflight struct {
	// Issuer is the issuer identifier, "" for the one in the store's record.
	Issuer string
	// KeyARN is that of the key that it authenticates by, and the others are those of
	// the new versions.
	KeyARN                                                            string
	TokenVersion, AuthorizeVersion, UserinfoVersion, DiscoveryVersion string

	Issuers      store.Issuers
	Registration preflight.Registration
	Versions     preflight.Versions
	Key          preflight.Key
	Deployments  Deployments

	// Pause is the time between two attempts.
	Pause time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// Handler tries them and reports. An error is one of reporting: CodeDeploy knows
// nothing, and the function is to be called again.
func (f Preflight) Handler() func(ctx context.Context, d Deployment) error {
	check := preflight.Check{
		Issuer: f.Issuer, Issuers: f.Issuers, Registration: f.Registration, Versions: f.Versions, Key: f.Key, KeyARN: f.KeyARN,
		TokenVersion: f.TokenVersion, AuthorizeVersion: f.AuthorizeVersion, UserinfoVersion: f.UserinfoVersion, DiscoveryVersion: f.DiscoveryVersion,
		Pause: f.Pause, Now: f.Now,
	}
	return func(ctx context.Context, d Deployment) error {
		err := inTime(ctx, check)
		nothing := errors.Is(err, preflight.ErrNothingToTry)
		good := err == nil || nothing
		level, attrs := slog.LevelInfo, []slog.Attr{slog.String("deployment", d.ID), slog.Bool("good", good)}
		if err != nil {
			level, attrs = slog.LevelError, append(attrs, slog.String("reason", err.Error()))
		}
		if nothing {
			level = slog.LevelWarn
		}
		f.Log.LogAttrs(ctx, level, "preflight", attrs...)
		if err := f.Deployments.Report(ctx, d.ID, d.Execution, good); err != nil {
			f.Log.LogAttrs(ctx, slog.LevelError, "preflight not reported", slog.String("deployment", d.ID), slog.String("reason", err.Error()))
			return err
		}
		return nil
	}
}

// inTime keeps a twentieth of the function's time for the report: CodeDeploy would wait
// an hour for one that does not come.
func inTime(ctx context.Context, check preflight.Check) error {
	if end, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Until(end)/20))
		defer cancel()
	}
	return check.Run(ctx)
}

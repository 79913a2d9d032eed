package clientauth

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// giveBackTimeout bounds the giving back, which outlives the request's deadline.
const giveBackTimeout = 2 * time.Second

// Once uses up what the proof holds, and then does the rest of the request. RFC 7523
// §3: the server "MAY ensure that JWTs are not replayed". What was used up is given
// back where the failure is on our side, so that the very same request may be sent
// again.
func (a Authentication) Once(ctx context.Context, uses store.Uses, now time.Time, rest func(ctx context.Context) error) error {
	by := oauth.NewID()
	err := a.take(ctx, uses, now, by)
	if err == nil {
		err = rest(ctx)
	}
	if refusal := (*oauth.Error)(nil); err == nil || errors.As(err, &refusal) && refusal.Status() < 500 { // the request was at fault
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	for _, use := range a.Uses {
		use.By = by
		err = errors.Join(err, uses.ForgetUse(ctx, use))
	}
	return err
}

func (a Authentication) take(ctx context.Context, uses store.Uses, now time.Time, by string) error {
	work, ctx := errgroup.WithContext(ctx)
	for _, use := range a.Uses {
		use.By = by
		work.Go(func() error {
			err := uses.UseOnce(ctx, use, now)
			if errors.Is(err, store.ErrUsed) {
				return because(err)
			}
			return err
		})
	}
	return work.Wait()
}

// Package once answers: was this used before?
//
// The jti of an assertion (RFC 7523 §3) and of a proof (RFC 9449 §11.1) are good
// once. What a request brings of them is used up together, and given back together
// where the failure is ours: then the very same request may be sent again.
package once

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// A Batch is what one request uses up. It is not to be copied.
type Batch struct {
	Uses store.Uses
	Now  func() time.Time

	all   []use
	taken bool
}

// A use is refused in the words of what it belongs to.
type use struct {
	store.Use
	again *oauth.Error
}

// Add adds uses, By left to the Batch, that are refused by again. One without a Key is
// none.
func (b *Batch) Add(again *oauth.Error, uses ...store.Use) {
	for _, u := range uses {
		if u.Key != "" {
			b.all = append(b.all, use{u, again})
		}
	}
}

// Take takes what was added, side by side, once. The failure of one does not cancel
// the others: a write that is cut off may arrive when it has been given back, and
// stay.
func (b *Batch) Take(ctx context.Context) error {
	if b.taken {
		return nil
	}
	b.taken = true
	by := oauth.NewID()
	var work errgroup.Group
	for i := range b.all {
		b.all[i].By = by
		one := b.all[i]
		work.Go(func() error {
			err := b.Uses.UseOnce(ctx, one.Use, b.Now())
			if errors.Is(err, store.ErrUsed) {
				audit.Happened(ctx, audit.UseReplayed)
				return one.again.Because(err)
			}
			return err
		})
	}
	return work.Wait()
}

// After gives back what was taken, side by side, where err says that the failure is
// ours, and returns err.
func (b *Batch) After(ctx context.Context, err error) error {
	if err == nil || !b.taken || !oauth.AsError(err).Ours() {
		return err
	}
	ctx, cancel := store.GivingBack(ctx)
	defer cancel()
	failed := make([]error, len(b.all))
	var work sync.WaitGroup
	for i, one := range b.all {
		work.Go(func() { failed[i] = b.Uses.ForgetUse(ctx, one.Use) })
	}
	work.Wait()
	return errors.Join(append([]error{err}, failed...)...)
}

// Then takes what was added before it does the rest of the request.
func (b *Batch) Then(ctx context.Context, rest func() error) error {
	err := b.Take(ctx)
	if err == nil {
		err = rest()
	}
	return b.After(ctx, err)
}

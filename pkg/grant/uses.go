// What a request uses up besides its grant: the jti of an assertion (RFC 7523 §3)
// and of a proof (RFC 9449 §11.1).

package grant

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

// uses are taken once, all of them side by side.
type uses struct {
	store store.Uses
	now   func() time.Time
	all   []use
	taken bool
}

// A use is refused in the words of what it belongs to.
type use struct {
	store.Use
	again *oauth.Error
}

func newUses(s store.Uses, now func() time.Time, assertion []store.Use, proof store.Use) *uses {
	u := &uses{store: s, now: now}
	by := oauth.NewID()
	add := func(one store.Use, again *oauth.Error) {
		if one.Key != "" {
			one.By = by
			u.all = append(u.all, use{one, again})
		}
	}
	for _, one := range assertion {
		add(one, oauth.InvalidClient.Errorf("Client authentication failed.").Named(oauth.CaseClient))
	}
	add(proof, oauth.InvalidDPoPProof.Errorf("The DPoP proof was used before."))
	return u
}

// take takes what is not taken yet. The failure of one does not cancel the others: a
// write that is cut off may arrive when it has been given back, and stay.
func (u *uses) take(ctx context.Context) error {
	if u.taken {
		return nil
	}
	u.taken = true
	var work errgroup.Group
	for _, one := range u.all {
		work.Go(func() error {
			err := u.store.UseOnce(ctx, one.Use, u.now())
			if errors.Is(err, store.ErrUsed) {
				return one.again.Because(err)
			}
			return err
		})
	}
	return work.Wait()
}

// after gives back what was taken where the failure is ours, so that the client may
// send the very same request again.
func (u *uses) after(ctx context.Context, err error) error {
	if err == nil || refused(err) || !u.taken {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for _, one := range u.all {
		err = errors.Join(err, u.store.ForgetUse(ctx, one.Use))
	}
	return err
}

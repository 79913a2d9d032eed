// Grants that no code began.

package grant

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/web"
)

// born is a grant of this request as one is after its code was spent, with a
// refresh token or without. What was granted, and until when, is left to the
// caller.
func born(r Request, subject string, now time.Time, refreshable bool) (store.Grant, oauth.Secret) {
	g := store.Grant{
		ID:       oauth.NewID(),
		ClientID: r.Client.ID,
		Subject:  subject,
		Created:  now,
		Spent:    now,
		By:       oauth.NewID(),
	}
	if !refreshable {
		return g, ""
	}
	first := oauth.NewRefreshHandle(g.ID)
	g.RefreshKey = bind(r)
	g.Family, g.Current = first.Family.Digest(), first.Rotating.Digest()
	g.IdleExpires = now.Add(time.Duration(r.Client.Refresh.IdleLifetime) * time.Second)
	return g, first.Token()
}

// put writes it. That nobody gets what it stands for, because signing fails, needs no
// undoing: the item goes when its time is over.
func put(ctx context.Context, codes store.Codes, g store.Grant) error {
	web.Annotate(ctx, slog.String("grant", g.ID))
	if err := codes.PutGrant(ctx, g); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

package store

import (
	"context"
	"time"
)

const (
	// patience bounds the giving back: it outlasts a table that stands still for five
	// seconds.
	patience = 6 * time.Second
	// farewell is left of a request's time for the answer.
	farewell = 500 * time.Millisecond
	// attempt is what there is in any case.
	attempt = time.Second
)

// GivingBack is the context in which a request gives back what it has taken and cannot
// use, so that its client may come again. It does not end with the client's leaving;
// but what outlives the deadline of a function dies with that, unanswered.
func GivingBack(ctx context.Context) (context.Context, context.CancelFunc) {
	most := patience
	if deadline, ok := ctx.Deadline(); ok {
		most = max(attempt, min(most, time.Until(deadline)-farewell))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), most)
}

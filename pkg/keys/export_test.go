package keys

import (
	"time"

	"kmint/pkg/jwt"
	"kmint/pkg/store"
)

// Publish lists a key as the next one.
var Publish = publish

// Deciding is the rotation with another mind.
func (o Rotation) Deciding(decide func(store.Registry, []jwt.Held, Policy, time.Time) Step) Rotation {
	o.decide = decide
	return o
}

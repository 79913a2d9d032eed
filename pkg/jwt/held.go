package jwt

import "time"

// States of a Held.
const (
	Usable   = "usable"
	Disabled = "disabled"
	// Deleting is what ends in the key being gone, and can still be called off.
	Deleting = "deleting"
)

// Held is a private key as whoever holds it describes it, listed in a registry or
// not.
type Held struct {
	// Reference is as in Key.
	Reference string
	// Algorithm is the one that the key was made for, "" if it does not say.
	Algorithm string
	State     string
	Created   time.Time
	// Made says that a rotation made it, and no template and no hand.
	Made bool
	// Guarded says that its policy is the one that it should have.
	Guarded bool
}

package seed

import (
	"cmp"
	"slices"

	"kmint/pkg/jwt"
)

// Algorithms lists those by which tokens are to be signed, each once.
func (s Seed) Algorithms() []string {
	algorithms := []string{jwt.RS256}
	for _, api := range s.APIs {
		algorithms = append(algorithms, cmp.Or(api.Algorithm, jwt.RS256))
	}
	for _, client := range s.Clients {
		algorithms = append(algorithms, cmp.Or(client.IDTokenAlgorithm, jwt.RS256))
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

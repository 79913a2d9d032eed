// none: a public client (RFC 6749 §2.1) says who it is and proves nothing; PKCE
// and rotation bind what it gets.

package clientauth

import "kmint/pkg/oauth"

func none(r oauth.Request) (credentials, error) {
	id := r.Get("client_id")
	if id == "" {
		// RFC 6749 §5.2, invalid_client: "no client authentication included".
		return credentials{}, oauth.InvalidClient.Errorf("The request has no client authentication and no client_id.")
	}
	return credentials{method: oauth.None, clientID: id}, nil
}

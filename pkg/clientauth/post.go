// client_secret_post (RFC 6749 §2.3.1).

package clientauth

import "kmint/pkg/oauth"

func post(r oauth.Request) (credentials, error) {
	id := r.Get("client_id")
	if id == "" {
		return credentials{}, oauth.InvalidRequest.Errorf("The client_id is missing.")
	}
	return credentials{method: oauth.ClientSecretPost, clientID: id, secret: oauth.Secret(r.Get("client_secret"))}, nil
}

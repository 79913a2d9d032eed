package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
)

// A channel is how a client in this process reaches the endpoints: over HTTP,
// like any other, but on the process's own port. The issuer's address may lead
// through a proxy that the process cannot reach, or whose certificate it does
// not trust.
type channel struct {
	// Issuer is without a slash at the end; Own stands in its place.
	Issuer, Own string
	HTTP        *http.Client
}

// newChannel trusts, over https, exactly the certificate that this process
// serves, whoever signed it and whatever its names are.
func newChannel(issuer, own string, certificate *tls.Certificate) channel {
	transport := &http.Transport{}
	if certificate != nil {
		transport.TLSClientConfig = &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter than what this skips
			VerifyConnection: func(state tls.ConnectionState) error {
				if !bytes.Equal(state.PeerCertificates[0].Raw, certificate.Certificate[0]) {
					return errors.New("that is not the certificate of this process")
				}
				return nil
			},
		}
	}
	return channel{
		Issuer: strings.TrimSuffix(issuer, "/"),
		Own:    own,
		HTTP:   &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
}

// metadata is what a client needs of the provider metadata (OpenID Connect
// Discovery 1.0 §3).
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// discover reads the metadata. OpenID Connect Discovery 1.0 §4.3: "The issuer
// value returned MUST be identical to the Issuer URL".
func (c channel) discover(ctx context.Context, issuer string) (metadata, error) {
	var m metadata
	if err := c.get(ctx, c.Issuer+"/.well-known/openid-configuration", "", &m); err != nil {
		return metadata{}, err
	}
	if m.Issuer != issuer {
		return metadata{}, fmt.Errorf("discovery names the issuer %q, not %q", m.Issuer, issuer)
	}
	return m, nil
}

// keys are those that the issuer publishes, read anew at each use.
func (c channel) keys(jwksURI string) jwt.KeySet { return keySet{c, jwksURI} }

type keySet struct {
	channel channel
	uri     string
}

var _ jwt.KeySet = keySet{}

func (k keySet) Keys(ctx context.Context) ([]jwt.Key, error) {
	var set jose.JSONWebKeySet
	if err := k.channel.get(ctx, k.uri, "", &set); err != nil {
		return nil, err
	}
	var keys []jwt.Key
	for _, key := range set.Keys {
		keys = append(keys, jwt.Key{ID: key.KeyID, Algorithm: key.Algorithm, Public: key.Key})
	}
	return keys, nil
}

// get reads a JSON document, with a bearer token unless it is "".
func (c channel) get(ctx context.Context, address string, bearer string, dst any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.own(address), nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		r.Header.Set("Authorization", oauth.Bearer+" "+bearer)
	}
	return c.do(r, dst)
}

// token asks the token endpoint, authenticated as the client says.
func (c channel) token(ctx context.Context, endpoint string, client seed.Client, form url.Values) (oauth.TokenResponse, error) {
	if client.AuthMethod == oauth.ClientSecretPost {
		form.Set("client_id", client.ID)
		form.Set("client_secret", client.Secret.Reveal())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.own(endpoint), strings.NewReader(form.Encode()))
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client.AuthMethod == oauth.ClientSecretBasic {
		// RFC 6749 §2.3.1: both are form-encoded first.
		r.SetBasicAuth(url.QueryEscape(client.ID), url.QueryEscape(client.Secret.Reveal()))
	}
	var response oauth.TokenResponse
	return response, c.do(r, &response)
}

// own is the address with this process's port in place of the issuer.
func (c channel) own(address string) string {
	return c.Own + strings.TrimPrefix(address, c.Issuer)
}

func (c channel) do(r *http.Request, dst any) error {
	response, err := c.HTTP.Do(r) //nolint:gosec // to this process, whatever the address
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answered %d: %s", r.Method, r.URL.Path, response.StatusCode, bytes.TrimSpace(body))
	}
	if err := json.Unmarshal(body, dst); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return nil
}

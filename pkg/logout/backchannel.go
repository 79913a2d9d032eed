// Back-channel logout (OpenID Connect Back-Channel Logout 1.0).

package logout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/audit"
	"kmint/pkg/jwt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/token"
)

// A Queue keeps messages until they were delivered.
type Queue interface {
	// Send puts all of them into the queue, or returns an error; some may be there then.
	Send(ctx context.Context, messages []string) error
}

// parties are the clients that a session has logged in.
type parties []store.Client

// parties reads them side by side. Whoever is gone need not hear of anything.
func (e Endpoint) parties(ctx context.Context, ids []string) (parties, error) {
	found := make(parties, len(ids))
	read, readCtx := errgroup.WithContext(ctx)
	for i, id := range ids {
		read.Go(func() (err error) {
			found[i], err = e.Clients.Client(readCtx, id)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	if err := read.Wait(); err != nil {
		return nil, fmt.Errorf("logout: client: %w", err)
	}
	return found, nil
}

// A notice is what travels by the queue: who is to hear of which session's end. The
// token is made when it is delivered: it lives for minutes, and a queue may keep a
// notice for days.
type notice struct {
	ClientID  string `json:"client_id"`
	Subject   string `json:"sub"`
	SessionID string `json:"sid"`
}

// notify puts a notice for each client that wants one into the queue.
func (e Endpoint) notify(ctx context.Context, told parties, s store.Session) error {
	var messages []string
	for _, client := range told {
		if client.BackchannelLogoutURI == "" {
			continue
		}
		message, err := json.Marshal(notice{client.ID, s.Subject, s.ID})
		if err != nil {
			return fmt.Errorf("logout: notice: %w", err)
		}
		messages = append(messages, string(message))
	}
	if len(messages) == 0 {
		return nil
	}
	if err := e.Queue.Send(ctx, messages); err != nil {
		return oauth.TemporarilyUnavailable.Errorf("The applications that you are logged in to could not be told. Try again in a moment.").
			Because(fmt.Errorf("logout: queue: %w", err))
	}
	return nil
}

// A Poster sends a form to an address that somebody else has chosen. It returns the
// status of the answer.
type Poster interface {
	Post(ctx context.Context, address string, form url.Values) (status int, err error)
}

// A Deliverer delivers notices.
type Deliverer struct {
	Issuers store.Issuers
	Clients store.Clients
	Signer  jwt.Signer
	Poster  Poster
	Now     func() time.Time
}

// Deliver makes the logout token of a notice and sends it. clientID is for the log.
// After an error the notice is to be delivered again; one for a client that no longer
// wants it is none.
func (d Deliverer) Deliver(ctx context.Context, message string) (clientID string, err error) {
	var n notice
	if err := json.Unmarshal([]byte(message), &n); err != nil {
		return "", fmt.Errorf("logout: this is no notice: %w", err)
	}
	if n.ClientID == "" {
		return "", errors.New("logout: this is a notice for nobody")
	}
	client, err := d.Clients.Client(ctx, n.ClientID)
	if errors.Is(err, store.ErrNotFound) || err == nil && client.BackchannelLogoutURI == "" {
		return n.ClientID, nil
	}
	if err != nil {
		return n.ClientID, fmt.Errorf("logout: client: %w", err)
	}
	issuer := token.Issuer{Issuers: d.Issuers, Signer: d.Signer, Now: d.Now}
	told, err := issuer.LogoutToken(ctx, token.Logout{
		ClientID: client.ID, Subject: n.Subject, SessionID: n.SessionID, Algorithm: client.IDTokenAlgorithm,
	})
	if err != nil {
		return n.ClientID, fmt.Errorf("logout: %w", err)
	}
	status, err := d.Poster.Post(ctx, client.BackchannelLogoutURI, url.Values{"logout_token": {told}})
	switch {
	case err != nil:
		return n.ClientID, fmt.Errorf("logout: %w", err)
	// §2.8: "the RP MUST respond with HTTP 200 OK [...]. However, note that some Web
	// frameworks will substitute an HTTP 204 No Content response for an HTTP 200 OK
	// when the HTTP body is empty. Therefore, OPs should be prepared to also process
	// an HTTP 204 No Content response as a successful response."
	case status != http.StatusOK && status != http.StatusNoContent:
		return n.ClientID, fmt.Errorf("logout: %s answers %d", n.ClientID, status)
	}
	audit.Happened(ctx, audit.BackChannelLogout, slog.String("sub", n.Subject), slog.String("sid", n.SessionID))
	return n.ClientID, nil
}
